//! Datagrams from strangers on a media port, and streams that a network has treated badly.

#![allow(clippy::unwrap_used, reason = "a target that fails must panic")]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use trunkline_media_node::media::{Codec, CryptoSuite, Digit, MasterKey};
use trunkline_media_node::random::Seeded;
use trunkline_media_node::rtp::quality::emodel::{Impairment, Path};
use trunkline_media_node::rtp::reorder::{Pushed, Ready, Reorder, SLOTS};
use trunkline_media_node::rtp::rtcp::{
    Compound, MAX_COMPOUND_LEN_BYTES, NtpTime, ReportBlock, Rtcp, write_report,
};
use trunkline_media_node::rtp::srtp::{
    MAX_RTCP_OVERHEAD_BYTES, MAX_RTP_OVERHEAD_BYTES, Receiver, Sender, SrtpError,
};
use trunkline_media_node::rtp::stats::{ReceiverStats, SenderStats};
use trunkline_media_node::rtp::telephone_event::{self, Event};
use trunkline_media_node::rtp::{Header, Packet, SequenceNumber, Ssrc, is_rtcp};

#[allow(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A packet is read or refused, and the header we would write for it says the same.
pub(crate) fn packet(data: &[u8]) {
    let _ = is_rtcp(data);
    let Ok(packet) = Packet::parse(data) else { return };
    assert!(packet.payload.len() + 12 + packet.csrcs.len() <= data.len());
    assert!(packet.csrc_iter().count() <= 15);
    let mut out = [0; 12];
    assert_eq!(packet.header.write(&mut out), 12);
    assert_eq!(Packet::parse(&out).map(|packet| packet.header), Ok(packet.header));
}

/// A compound is read or refused; what it says reaches statistics and our own next report.
pub(crate) fn rtcp(data: &[u8]) {
    let Ok(compound) = Compound::parse(data) else { return };
    let now = *START;
    let mut receiver = ReceiverStats::new(Codec::Pcmu.clock_rate_hz());
    let mut sender = SenderStats::new();
    let mut blocks: Vec<ReportBlock> = Vec::new();
    let mut name = String::new();
    let mut packets = 0;
    for packet in compound {
        packets += 1;
        match packet {
            Rtcp::SenderReport { ssrc, info, reports } => {
                receiver.handle_sender_report(now, ssrc, &info);
                blocks.extend(reports);
            }
            Rtcp::ReceiverReport { reports, .. } => blocks.extend(reports),
            Rtcp::SourceDescription { cname, .. } => {
                name = String::from_utf8_lossy(cname.unwrap_or_default()).into_owned();
            }
            Rtcp::Goodbye { reason, .. } => assert!(reason.len() <= 255),
            Rtcp::ExtendedReport { blocks, .. } => {
                for metrics in blocks {
                    assert!(metrics.loss_rate < 1.0 && metrics.r_factor.is_none_or(|r| r <= 100));
                    let scores = [metrics.mos_listening, metrics.mos_conversation];
                    assert!(scores.into_iter().flatten().all(|mos| (1.0..=5.0).contains(&mos)));
                }
            }
            Rtcp::Other { packet_type } => assert!(!(200..=203).contains(&packet_type)),
        }
    }
    assert!(packets > 0 && packets * 4 <= data.len());
    for block in &blocks {
        sender.handle_report(NtpTime(u64::from(block.jitter) << 32), block);
        let path = Path {
            impairment: Impairment::G711_CONCEALED,
            loss_rate: f64::from(block.fraction_lost) / 256.0,
            burst_ratio: f64::from(block.jitter),
            delay: sender.round_trip().unwrap_or_default(),
        };
        assert!((1.0..=4.5).contains(&path.mos()));
    }
    blocks.truncate(10);
    let mut out = [0; MAX_COMPOUND_LEN_BYTES];
    let len = write_report(&mut out, Ssrc(1), None, &blocks, &name);
    assert!(len > 0);
    let Some(Rtcp::ReceiverReport { reports, .. }) = Compound::parse(&out[..len]).unwrap().next()
    else {
        panic!("an RR was written")
    };
    assert!(reports.eq(blocks));
}

/// The input's first byte picks the suite. What follows is never let in as it stands; protected by
/// us it is, once, and with any one bit changed it is not.
pub(crate) fn srtp(data: &[u8]) {
    static KEYS: LazyLock<[MasterKey; 6]> = LazyLock::new(|| {
        CryptoSuite::BY_PREFERENCE.map(|suite| MasterKey::random(suite, &mut Seeded::new(5)))
    });
    let Some((first, data)) = data.split_first() else { return };
    let master = &KEYS[usize::from(*first) % KEYS.len()];
    let (mut sender, mut receiver) = (Sender::new(master), Receiver::new(master));
    assert!(receiver.unprotect_rtp(&mut data.to_vec()).is_err());
    assert!(receiver.unprotect_rtcp(&mut data.to_vec()).is_err());
    assert_eq!(receiver.sources(), 0);

    let flip =
        data.iter().fold(usize::from(*first), |sum, byte| sum * 31 % 65_521 + usize::from(*byte));
    let change = |packet: &[u8]| {
        let mut changed = packet.to_vec();
        changed[flip / 8 % packet.len()] ^= 1 << (flip % 8);
        changed
    };
    let mut buf = [data, &[0; MAX_RTP_OVERHEAD_BYTES]].concat();
    if let Ok(len) = sender.protect_rtp(&mut buf, data.len()) {
        assert!(receiver.unprotect_rtp(&mut change(&buf[..len])).is_err());
        let mut packet = buf[..len].to_vec();
        assert_eq!(receiver.unprotect_rtp(&mut packet), Ok(data.len()));
        assert_eq!(packet[..data.len()], *data);
        assert_eq!(receiver.unprotect_rtp(&mut buf[..len]), Err(SrtpError::Replayed));
    }
    let mut buf = [data, &[0; MAX_RTCP_OVERHEAD_BYTES]].concat();
    if let Ok(len) = sender.protect_rtcp(&mut buf, data.len()) {
        assert!(receiver.unprotect_rtcp(&mut change(&buf[..len])).is_err());
        let mut packet = buf[..len].to_vec();
        assert_eq!(receiver.unprotect_rtcp(&mut packet), Ok(data.len()));
        assert_eq!(packet[..data.len()], *data);
        assert_eq!(receiver.unprotect_rtcp(&mut buf[..len]), Err(SrtpError::Replayed));
    }
}

/// Rows of eight bytes: how far the timestamp moves, flags, four bytes of payload. No packet is
/// counted twice, and the digit that a row spells is one when we send it ourselves: of any length,
/// with packets lost, as the row says.
pub(crate) fn telephone_events(data: &[u8]) {
    const SSRC: Ssrc = Ssrc(1);
    let mut receiver = telephone_event::Receiver::new();
    let mut timestamp = 0u32;
    for row in data.chunks_exact(8) {
        let [t0, t1, t2, flags, payload @ ..] = row else { return };
        timestamp = timestamp.wrapping_add(u32::from_be_bytes([0, *t0, *t1, *t2]));
        let payload = &payload[..usize::from(flags >> 1).min(payload.len())];
        let marker = flags & 1 == 1;
        let heard = receiver.feed(SSRC, timestamp, marker, payload);
        assert!(heard.is_none() || Event::parse(payload).is_ok_and(|event| event.code < 16));
        let again = receiver.feed(SSRC, timestamp, marker, payload);
        assert!(again.is_none_or(|heard| !heard.begins));
        let Some(digit) = payload.first().and_then(|code| Digit::from_event(*code)) else {
            continue;
        };
        let length = u32::from_be_bytes([0, *t0 % 16, *t1, *t2]);
        let step = [80, 160, 320, 960][usize::from(flags >> 5) % 4];
        let mut sender = telephone_event::Sender::new(digit, timestamp, step, length);
        let mut fresh = telephone_event::Receiver::new();
        let (mut begun, mut last, mut turns) = (0, None, 0_u32);
        loop {
            let mut packets = sender.turn().peekable();
            if packets.peek().is_none() {
                break;
            }
            turns += 1;
            for packet in packets {
                // The last turn arrives, whatever else is lost.
                if (turns * 7) % 16 < u32::from(flags >> 4) && !sender.is_released() {
                    continue;
                }
                let heard = fresh.feed(SSRC, packet.timestamp, packet.marker, &packet.payload);
                begun += u32::from(heard.is_some_and(|heard| heard.begins));
                last = heard.or(last);
            }
        }
        let whole = length.max(1).next_multiple_of(step.into());
        assert_eq!(turns, whole / u32::from(step) + 2);
        let last = last.unwrap();
        assert_eq!((begun, last.digit, last.ended), (1, digit, true));
        assert!(last.duration <= whole && flags >> 4 != 0 || last.duration == whole);
    }
}

/// Rows of four bytes: time passed, a step of the sequence number, flags. What comes out is in
/// order, no later than one frame, with the payload it came with.
pub(crate) fn reorder(data: &[u8]) {
    const HOLD: Duration = Duration::from_millis(20);
    let mut reorder = Reorder::new(HOLD);
    let mut stats = ReceiverStats::new(Codec::Pcmu.clock_rate_hz());
    let mut now = *START;
    let (mut sequence, mut ssrc) = (65_500u16, 0u32);
    let mut held = 0usize;
    // What must come out next, as long as no packet has strayed far enough to move the stream.
    let mut next: Option<(Ssrc, SequenceNumber)> = None;
    let mut strayed = false;
    for row in data.chunks_exact(4) {
        let [elapsed, high, low, flags] = row else { return };
        now += Duration::from_millis(u64::from(elapsed % 64));
        // Mostly small steps either way; one in four goes anywhere.
        let step = if flags & 3 == 0 {
            i16::from_be_bytes([*high, *low])
        } else {
            i16::from(low.cast_signed() / 8)
        };
        sequence = sequence.wrapping_add_signed(step);
        ssrc = ssrc.wrapping_add(u32::from(flags & 0xf8 == 0xf8));
        let header = Header {
            payload_type: 0,
            marker: flags & 4 != 0,
            sequence_number: SequenceNumber(sequence),
            // When it came, so that what comes out can be asked how long it waited.
            timestamp: now.duration_since(*START).as_millis() as u32,
            ssrc: Ssrc(ssrc),
        };
        let payload = [*high; 3];
        stats.record(now, &header, payload.len());
        strayed |= next.is_some_and(|(ssrc, next)| {
            let ahead = header.sequence_number.ahead_of(next);
            ssrc == header.ssrc && !(-100..=3000 - 15 * SLOTS as i16).contains(&ahead)
        });
        match reorder.push(now, &header, &payload) {
            Pushed::InOrder => {
                let in_turn = next.is_none_or(|next| next == (header.ssrc, header.sequence_number));
                assert!(in_turn || held == 0, "only an empty buffer starts afresh at once");
                next = Some((header.ssrc, header.sequence_number.next()));
            }
            Pushed::Held => held += 1,
            Pushed::Duplicate | Pushed::Late | Pushed::Dropped => {}
        }
        assert!(held <= SLOTS);
        let at = now.duration_since(*START).as_millis() as u32;
        while let Some(ready) = reorder.pop_ready(now) {
            match ready {
                Ready::Lost { count } => {
                    assert!(count > 0);
                    next =
                        next.map(|(ssrc, next)| (ssrc, SequenceNumber(next.0.wrapping_add(count))));
                }
                Ready::Packet { header, payload } => {
                    held -= 1;
                    assert_eq!(payload.len(), 3);
                    // Waits at most until the first look after its time.
                    assert!(at - header.timestamp <= 20 + u32::from(elapsed % 64));
                    if let Some((ssrc, next)) = next
                        && ssrc == header.ssrc
                        && !strayed
                    {
                        assert_eq!(header.sequence_number, next);
                    }
                    next = Some((header.ssrc, header.sequence_number.next()));
                }
            }
        }
        assert!(reorder.poll_timeout().is_none_or(|until| until > now && until <= now + HOLD));
        assert_eq!(reorder.poll_timeout().is_none(), held == 0);
    }
    assert!(stats.lost() <= stats.expected());
    let _ = stats.report_block(now);
}
