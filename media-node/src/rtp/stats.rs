//! What RTCP and the call's record say about a stream (RFC 3550 §6.4, appendix A).

use std::time::{Duration, Instant};

use super::rtcp::{NtpTime, ReportBlock, SenderInfo};
use super::{Header, SequenceNumber, Ssrc};

/// How a packet arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Newer than any before it.
    InOrder,
    /// After a newer one, for the first time.
    Reordered,
    Duplicate,
    /// First packet of a source, or after a jump too big to be loss.
    Restarted,
    /// A lone packet far from its stream: not counted until a second one agrees (RFC 3550 A.1).
    Suspect,
}

/// More packets missing than this is a restart, not loss (RFC 3550 A.1).
const MAX_DROPOUT: i16 = 3000;
/// A packet further behind than this is a restart, not late (RFC 3550 A.1).
const MAX_MISORDER: i16 = 100;

/// What arrived from the peer. One per call and direction; a new SSRC starts the extended sequence
/// number afresh and keeps the totals.
pub struct ReceiverStats {
    clock_rate_hz: u32,
    source: Option<Source>,
    /// Of sources before the present one.
    expected_before: u64,
    lost_before: u64,
    packets: u64,
    bytes: u64,
    duplicates: u64,
    reordered: u64,
    last_packet_at: Option<Instant>,
    /// When the peer's last SR came, from whom, and the middle of its NTP time.
    last_sr: Option<(Instant, Ssrc, u32)>,
    /// In 1/16 of a tick, as RFC 3550 A.8 keeps it.
    jitter: u32,
}

struct Source {
    ssrc: Ssrc,
    /// Extended by the count of wraps, as `highest`.
    first: u64,
    highest: u64,
    /// Bit *n*: `highest - n` came. Wide enough to tell a duplicate within [`MAX_MISORDER`].
    seen: u128,
    /// Every packet, duplicates too, as RFC 3550 A.3 counts.
    received: u64,
    unique: u64,
    expected_prior: u64,
    received_prior: u64,
    suspect: Option<SequenceNumber>,
    timing: Option<Timing>,
}

/// The last packet that the jitter was measured with.
#[derive(Clone, Copy)]
struct Timing {
    at: Instant,
    timestamp: u32,
}

/// Counting begins one turn of the sequence number up, so that packets from before the first one
/// heard have a number too when it was heard just after a wrap. Reports leave the turn out.
const FIRST_TURN: u64 = 1 << 16;

impl Source {
    fn starting_with(header: &Header) -> Self {
        let first = FIRST_TURN + u64::from(header.sequence_number.0);
        Self {
            ssrc: header.ssrc,
            first,
            highest: first,
            seen: 1,
            received: 1,
            unique: 1,
            expected_prior: 0,
            received_prior: 0,
            suspect: None,
            timing: None,
        }
    }

    fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }

    fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.unique)
    }

    /// Takes a packet of this source in, or says why not: it is far away.
    fn record(&mut self, sequence: SequenceNumber) -> Arrival {
        let ahead = sequence.ahead_of(SequenceNumber((self.highest & 0xffff) as u16));
        if !(-MAX_MISORDER..=MAX_DROPOUT).contains(&ahead) {
            if self.suspect == Some(sequence) {
                return Arrival::Restarted;
            }
            self.suspect = Some(sequence.next());
            return Arrival::Suspect;
        }
        self.received += 1;
        let distance = u32::from(ahead.unsigned_abs());
        if ahead > 0 {
            self.highest += u64::from(distance);
            self.seen = self.seen.checked_shl(distance).unwrap_or(0) | 1;
            self.unique += 1;
            return Arrival::InOrder;
        }
        if self.seen >> distance & 1 == 1 {
            return Arrival::Duplicate;
        }
        self.seen |= 1 << distance;
        // Before the first we heard: it was sent, so it was expected.
        self.first = self.first.min(self.highest.saturating_sub(distance.into()));
        self.unique += 1;
        Arrival::Reordered
    }
}

impl ReceiverStats {
    pub fn new(clock_rate_hz: u32) -> Self {
        Self {
            clock_rate_hz: clock_rate_hz.max(1),
            source: None,
            expected_before: 0,
            lost_before: 0,
            packets: 0,
            bytes: 0,
            duplicates: 0,
            reordered: 0,
            last_packet_at: None,
            last_sr: None,
            jitter: 0,
        }
    }

    /// Counts a packet that came (after unprotecting, before reordering).
    pub fn record(&mut self, now: Instant, header: &Header, payload_len: usize) -> Arrival {
        let arrival = match &mut self.source {
            Some(source) if source.ssrc == header.ssrc => source.record(header.sequence_number),
            _ => Arrival::Restarted,
        };
        match arrival {
            Arrival::Suspect => return arrival,
            Arrival::Restarted => {
                if let Some(source) = self.source.replace(Source::starting_with(header)) {
                    self.expected_before += source.expected();
                    self.lost_before += source.lost();
                }
            }
            Arrival::Duplicate => self.duplicates += 1,
            Arrival::Reordered => self.reordered += 1,
            Arrival::InOrder => {}
        }
        self.packets += 1;
        self.bytes += payload_len as u64;
        self.last_packet_at = Some(now);
        if arrival != Arrival::Duplicate {
            self.measure_jitter(now, header.timestamp);
        }
        arrival
    }

    /// RFC 3550 A.8, with two exceptions. A timestamp that stands still belongs to packets of one
    /// event (RFC 4733) or frame, sent at different times on purpose. One that jumps by more than a
    /// second against the clock is a new timeline (music on hold, a transfer), not jitter.
    fn measure_jitter(&mut self, now: Instant, timestamp: u32) {
        let Some(source) = &mut self.source else { return };
        let timing = Timing { at: now, timestamp };
        let Some(last) = source.timing else {
            source.timing = Some(timing);
            return;
        };
        if last.timestamp == timestamp {
            return;
        }
        source.timing = Some(timing);
        let rate = u64::from(self.clock_rate_hz);
        let elapsed = now.saturating_duration_since(last.at).as_micros() as u64;
        let elapsed_ticks = elapsed.saturating_mul(rate).saturating_add(500_000) / 1_000_000;
        let moved = timestamp.wrapping_sub(last.timestamp).cast_signed();
        let difference = i64::try_from(elapsed_ticks).unwrap_or(i64::MAX) - i64::from(moved);
        let difference = difference.unsigned_abs();
        if difference > rate {
            return;
        }
        let difference = u32::try_from(difference).unwrap_or(u32::MAX);
        self.jitter = self.jitter.saturating_add(difference) - ((self.jitter + 8) >> 4);
    }

    /// Remembers the peer's SR, for LSR and DLSR of our next report.
    pub fn handle_sender_report(&mut self, now: Instant, ssrc: Ssrc, info: &SenderInfo) {
        self.last_sr = Some((now, ssrc, info.ntp.middle()));
    }

    /// The block for our next SR or RR; `None` before the first packet. Starts a new interval of
    /// `fraction_lost`.
    pub fn report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        let source = self.source.as_mut()?;
        let expected = source.expected();
        let expected_interval = expected.saturating_sub(source.expected_prior);
        let received_interval = source.received.saturating_sub(source.received_prior);
        source.expected_prior = expected;
        source.received_prior = source.received;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction_lost = (lost_interval << 8).checked_div(expected_interval).unwrap_or(0);
        let cumulative = i64::try_from(expected).unwrap_or(i64::MAX)
            - i64::try_from(source.received).unwrap_or(i64::MAX);
        let sr = self.last_sr.filter(|(_, ssrc, _)| *ssrc == source.ssrc);
        Some(ReportBlock {
            ssrc: source.ssrc,
            fraction_lost: fraction_lost.min(255) as u8,
            cumulative_lost: cumulative.clamp(-0x80_0000, 0x7f_ffff) as i32,
            extended_highest: (source.highest - FIRST_TURN) as u32,
            jitter: self.jitter >> 4,
            last_sr: sr.map_or(0, |(_, _, middle)| middle),
            delay_since_last_sr: sr.map_or(0, |(at, _, _)| {
                let delay = now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000;
                u32::try_from(delay).unwrap_or(u32::MAX)
            }),
        })
    }

    /// Who speaks now.
    pub fn ssrc(&self) -> Option<Ssrc> {
        self.source.as_ref().map(|source| source.ssrc)
    }

    /// Everything counted, duplicates too.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Payload only.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many packets the peer must have sent, of all its sources.
    pub fn expected(&self) -> u64 {
        self.expected_before + self.source.as_ref().map_or(0, Source::expected)
    }

    /// Expected and never seen; never negative, duplicates not set off against it.
    pub fn lost(&self) -> u64 {
        self.lost_before + self.source.as_ref().map_or(0, Source::lost)
    }

    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Interarrival jitter (RFC 3550 A.8).
    pub fn jitter(&self) -> Duration {
        let micros = u64::from(self.jitter) * 1_000_000 / 16 / u64::from(self.clock_rate_hz);
        Duration::from_micros(micros)
    }

    pub fn last_packet_at(&self) -> Option<Instant> {
        self.last_packet_at
    }
}

/// What we sent, and what the peer says arrived of it.
#[derive(Default)]
pub struct SenderStats {
    packets: u64,
    bytes: u64,
    round_trip: Option<Duration>,
    remote: Option<ReportBlock>,
}

impl SenderStats {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a packet that left.
    pub fn record(&mut self, payload_len: usize) {
        self.packets += 1;
        self.bytes += payload_len as u64;
    }

    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Payload only.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// For our SR; `rtp_timestamp` is the RTP clock at the moment `ntp`.
    pub fn sender_info(&self, ntp: NtpTime, rtp_timestamp: u32) -> SenderInfo {
        // The counts wrap on the wire (RFC 3550 §6.4.1).
        SenderInfo { ntp, rtp_timestamp, packets: self.packets as u32, octets: self.bytes as u32 }
    }

    /// The peer's report about our stream, come at `now`, on the clock of our own SRs. A round trip
    /// that this makes negative, or longer than any telephone call waits, is a peer's mistake and
    /// not taken.
    pub fn handle_report(&mut self, now: NtpTime, block: &ReportBlock) {
        const LONGEST: u32 = 60 << 16;
        if block.last_sr != 0 {
            let trip =
                now.middle().wrapping_sub(block.last_sr).wrapping_sub(block.delay_since_last_sr);
            if trip <= LONGEST {
                let micros = u64::from(trip) * 1_000_000 / 65_536;
                self.round_trip = Some(Duration::from_micros(micros));
            }
        }
        self.remote = Some(*block);
    }

    /// The last round trip measured (RFC 3550 §6.4.1); `None` until the peer answered one of our
    /// SRs.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// The peer's last report about us.
    pub fn remote(&self) -> Option<&ReportBlock> {
        self.remote.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an epoch for a test, never compared")]
    fn start() -> Instant {
        Instant::now()
    }

    fn header(sequence: u16, timestamp: u32) -> Header {
        Header {
            payload_type: 0,
            marker: false,
            sequence_number: SequenceNumber(sequence),
            timestamp,
            ssrc: Ssrc(9),
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn loss_is_what_the_numbers_leave_out_over_the_wrap() {
        let (mut stats, start) = (ReceiverStats::new(8000), start());
        for i in 0..1000u16 {
            if i % 10 != 3 {
                stats.record(
                    start + ms(u64::from(i) * 20),
                    &header(i.wrapping_sub(500), i.into()),
                    160,
                );
            }
        }
        assert_eq!((stats.packets(), stats.bytes()), (900, 144_000));
        assert_eq!((stats.expected(), stats.lost()), (1000, 100));
        let block = stats.report_block(start).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (25, 100));
        assert_eq!(block.extended_highest, 0x1_01f3);
        let next = stats.report_block(start).unwrap();
        assert_eq!((next.fraction_lost, next.cumulative_lost), (0, 100));
    }

    #[test]
    fn duplicates_and_late_packets_are_told_apart() {
        let (mut stats, start) = (ReceiverStats::new(8000), start());
        let mut record = |sequence| stats.record(start, &header(sequence, 0), 0);
        assert_eq!(record(5), Arrival::Restarted);
        assert_eq!(record(7), Arrival::InOrder);
        assert_eq!(record(7), Arrival::Duplicate);
        assert_eq!(record(6), Arrival::Reordered);
        assert_eq!(record(6), Arrival::Duplicate);
        assert_eq!(record(4), Arrival::Reordered);
        assert_eq!((stats.duplicates(), stats.reordered()), (2, 2));
        assert_eq!((stats.expected(), stats.lost()), (4, 0));
        let block = stats.report_block(start).unwrap();
        assert_eq!((block.cumulative_lost, block.fraction_lost), (-2, 0));
    }

    #[test]
    fn a_new_source_and_a_restart_keep_the_totals() {
        let (mut stats, start) = (ReceiverStats::new(8000), start());
        for sequence in [1, 2, 4] {
            stats.record(start, &header(sequence, 0), 10);
        }
        let other = Header { ssrc: Ssrc(10), ..header(60_000, 0) };
        assert_eq!(stats.record(start, &other, 10), Arrival::Restarted);
        assert_eq!((stats.expected(), stats.lost(), stats.ssrc()), (5, 1, Some(Ssrc(10))));
        let far = |sequence| Header { ssrc: Ssrc(10), ..header(sequence, 0) };
        // 5,636 ahead: too far, until a second one agrees.
        assert_eq!(stats.record(start, &far(100), 10), Arrival::Suspect);
        assert_eq!(stats.record(start, &far(101), 10), Arrival::Restarted);
        assert_eq!((stats.expected(), stats.lost(), stats.packets()), (6, 1, 5));
    }

    #[test]
    fn jitter_follows_the_rfc() {
        let (mut stats, start) = (ReceiverStats::new(8000), start());
        for i in 0..200u64 {
            let late = if i % 2 == 0 { 0 } else { 5 };
            stats.record(start + ms(i * 20 + late), &header(i as u16, i as u32 * 160), 160);
        }
        // |D| is always 5 ms, which the estimator converges to.
        let jitter = stats.jitter();
        assert!((ms(4)..=ms(5)).contains(&jitter), "{jitter:?}");
        assert_eq!(stats.report_block(start).unwrap().jitter, stats.jitter / 16);
    }

    #[test]
    fn events_and_new_timelines_are_no_jitter() {
        let (mut stats, start) = (ReceiverStats::new(8000), start());
        for i in 0..100u64 {
            let timestamp = match i {
                0..30 => i * 160,
                30..50 => 30 * 160,         // one event's packets
                50..70 => i * 160,          // speech goes on where the clock is
                _ => 0x7000_0000 + i * 160, // music on hold
            };
            stats.record(start + ms(i * 20), &header(i as u16, timestamp as u32), 160);
        }
        assert_eq!(stats.jitter(), Duration::ZERO);
    }

    #[test]
    fn the_round_trip_is_what_neither_side_kept() {
        // The example of RFC 3550 §6.4.1, figure 2.
        let mut stats = SenderStats::new();
        let block = ReportBlock {
            ssrc: Ssrc(1),
            fraction_lost: 0,
            cumulative_lost: 0,
            extended_highest: 0,
            jitter: 0,
            last_sr: 0xb705_2000,
            delay_since_last_sr: 0x0005_4000,
        };
        stats.handle_report(NtpTime(0xb710_8000 << 16), &block);
        assert_eq!(stats.round_trip(), Some(Duration::from_millis(6125)));
        stats.handle_report(NtpTime(0xb705_2000 << 16), &block);
        assert_eq!(stats.round_trip(), Some(Duration::from_millis(6125)), "a negative one");
        stats.handle_report(NtpTime(0xb710_8000 << 16), &ReportBlock { last_sr: 0, ..block });
        assert_eq!(stats.round_trip(), Some(Duration::from_millis(6125)), "none of our SRs");
        assert_eq!(stats.remote().map(|block| block.last_sr), Some(0));
    }

    #[test]
    fn our_report_tells_how_long_we_kept_their_sr() {
        let (mut stats, start) = (ReceiverStats::new(8000), start());
        assert_eq!(stats.report_block(start), None);
        stats.record(start, &header(1, 0), 160);
        let info = SenderStats::new().sender_info(NtpTime(0x0001_b705_2000_0000), 0);
        stats.handle_sender_report(start, Ssrc(9), &info);
        let block = stats.report_block(start + ms(5250)).unwrap();
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0xb705_2000, 0x0005_4000));
        stats.handle_sender_report(start, Ssrc(77), &info);
        assert_eq!(stats.report_block(start).unwrap().last_sr, 0, "another source's SR");
    }

    #[test]
    fn a_packet_from_before_the_wrap_counts_when_the_first_heard_came_after_it() {
        let (mut stats, start) = (ReceiverStats::new(8000), start());
        for number in [0, 65_504] {
            stats.record(start, &header(number, 0), 1);
        }
        assert_eq!((stats.expected(), stats.lost()), (33, 31));
        assert_eq!(stats.report_block(start).unwrap().extended_highest, 0);
    }

    proptest! {
        #[test]
        fn counts_agree_with_a_set(offsets in prop::collection::vec(0u64..60, 1..300), first: u16) {
            // Numbers that wander upwards, with repetitions and swaps.
            let (mut stats, start) = (ReceiverStats::new(8000), start());
            let mut seen = std::collections::BTreeSet::new();
            let mut duplicates = 0;
            for (i, offset) in offsets.iter().enumerate() {
                let number = i as u64 + offset;
                stats.record(start, &header(first.wrapping_add(number as u16), 0), 1);
                duplicates += u64::from(!seen.insert(number));
            }
            let span = seen.last().unwrap() - seen.first().unwrap() + 1;
            prop_assert_eq!(stats.duplicates(), duplicates);
            prop_assert_eq!(stats.expected(), span);
            prop_assert_eq!(stats.lost(), span - seen.len() as u64);
        }
    }
}
