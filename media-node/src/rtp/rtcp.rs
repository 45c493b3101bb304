//! RTCP (RFC 3550 §6): sender and receiver reports, source description, goodbye; extended reports
//! (RFC 3611) by their blocks.
//!
//! A datagram is checked whole, then read packet by packet where it lies. Reduced-size RTCP
//! (RFC 5506) passes too: nothing depends on a report coming first.

#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use super::quality::xr::XrBlocks;
use super::{Malformed, Ssrc};

/// Room enough for any compound we write.
pub const MAX_COMPOUND_LEN_BYTES: usize = 512;

/// A point in time as RTCP writes it: 32 bits of seconds, 32 bits of fraction (RFC 3550 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// From time since 1970.
    pub fn from_unix(since_1970: Duration) -> Self {
        // From 1900 to 1970 (RFC 5905 §6); the seconds wrap in 2036, as everybody's do.
        const UNIX_EPOCH: u64 = 2_208_988_800;
        Self::from_seconds(since_1970.as_secs().wrapping_add(UNIX_EPOCH), since_1970)
    }

    /// From time since the call began, for a sender without a wall clock (RFC 3550 §6.4.1).
    pub fn from_elapsed(since_start: Duration) -> Self {
        Self::from_seconds(since_start.as_secs(), since_start)
    }

    fn from_seconds(seconds: u64, of: Duration) -> Self {
        let fraction = (u64::from(of.subsec_nanos()) << 32) / 1_000_000_000;
        Self(seconds << 32 | fraction)
    }

    /// The middle 32 bits, in 1/65,536 s, as LSR and DLSR count.
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// The sender's part of an SR (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    pub ntp: NtpTime,
    /// The same moment on the RTP clock.
    pub rtp_timestamp: u32,
    pub packets: u32,
    /// Payload only.
    pub octets: u32,
}

/// What a receiver says of one source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// Whose packets this is about.
    pub ssrc: Ssrc,
    /// Since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Since the beginning, 24 bits with sign: duplicates can make it negative.
    pub cumulative_lost: i32,
    pub extended_highest: u32,
    /// In ticks of the RTP clock.
    pub jitter: u32,
    /// Middle of the last SR's NTP time; 0 when none came.
    pub last_sr: u32,
    /// Since that SR came, in 1/65,536 s.
    pub delay_since_last_sr: u32,
}

/// One packet of a compound.
#[derive(Clone, Copy, Debug)]
pub enum Rtcp<'a> {
    SenderReport {
        ssrc: Ssrc,
        info: SenderInfo,
        reports: ReportBlocks<'a>,
    },
    ReceiverReport {
        ssrc: Ssrc,
        reports: ReportBlocks<'a>,
    },
    /// The CNAME of the first chunk that has one.
    SourceDescription {
        ssrc: Ssrc,
        cname: Option<&'a [u8]>,
    },
    Goodbye {
        ssrc: Option<Ssrc>,
        reason: &'a [u8],
    },
    /// RFC 3611.
    ExtendedReport {
        ssrc: Ssrc,
        blocks: XrBlocks<'a>,
    },
    /// APP, feedback …: framed rightly, not read.
    Other {
        packet_type: u8,
    },
}

/// The report blocks of an SR or RR: an iterator of [`ReportBlock`].
#[derive(Clone, Copy, Debug)]
pub struct ReportBlocks<'a> {
    blocks: &'a [u8],
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.blocks.split_first_chunk::<BLOCK>()?;
        self.blocks = rest;
        let (words, _) = block.as_chunks::<4>();
        let [ssrc, loss, highest, jitter, last_sr, delay] = *words.as_array()?;
        let [fraction_lost, c0, c1, c2] = loss;
        Some(ReportBlock {
            ssrc: Ssrc(u32::from_be_bytes(ssrc)),
            fraction_lost,
            // 24 bits with sign: shifted down from the top of 32.
            cumulative_lost: i32::from_be_bytes([c0, c1, c2, 0]) >> 8,
            extended_highest: u32::from_be_bytes(highest),
            jitter: u32::from_be_bytes(jitter),
            last_sr: u32::from_be_bytes(last_sr),
            delay_since_last_sr: u32::from_be_bytes(delay),
        })
    }
}

/// A whole datagram, checked: an iterator of [`Rtcp`].
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
    offset: usize,
}

const HEADER: usize = 4;
const SENDER_INFO: usize = 20;
const BLOCK: usize = 24;

const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const XR: u8 = 207;
/// The SDES item every source must send (RFC 3550 §6.5.1).
const CNAME: u8 = 1;

impl<'a> Compound<'a> {
    /// Checks every packet of the datagram (already unprotected), so that iterating cannot fail.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let whole = Self { rest: datagram, offset: 0 };
        let mut packets = whole;
        if packets.read()?.is_none() {
            return Err(Malformed::at("RTCP header", 0));
        }
        while packets.read()?.is_some() {}
        Ok(whole)
    }

    fn read(&mut self) -> Result<Option<Rtcp<'a>>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let offset = self.offset;
        let at = |field, further| Malformed::at(field, offset + further);
        let [flags, packet_type, l0, l1] = *self.rest.first_chunk().ok_or(at("RTCP header", 0))?;
        if flags >> 6 != 2 {
            return Err(at("version", 0));
        }
        let len = HEADER + usize::from(u16::from_be_bytes([l0, l1])) * 4;
        let (packet, rest) = self.rest.split_at_checked(len).ok_or(at("length", 2))?;
        let mut body = packet.get(HEADER..).unwrap_or_default();
        if flags & 0x20 != 0 {
            let problem = at("padding", len - 1);
            // Only the last packet of a compound is padded, by whole words (RFC 3550 §6.4.1).
            let count = usize::from(*body.last().ok_or(problem)?);
            if count == 0 || !count.is_multiple_of(4) || !rest.is_empty() {
                return Err(problem);
            }
            let kept = body.len().checked_sub(count).ok_or(problem)?;
            body = body.get(..kept).ok_or(problem)?;
        }
        let count = usize::from(flags & 0x1f);
        let read = match packet_type {
            SR => {
                let (head, rest) =
                    body.split_first_chunk::<{ 4 + SENDER_INFO }>().ok_or(at("sender info", 4))?;
                let (words, _) = head.as_chunks::<4>();
                let [ssrc, ntp0, ntp1, rtp, packets, octets] =
                    words.as_array().copied().unwrap_or_default().map(u32::from_be_bytes);
                let info = SenderInfo {
                    ntp: NtpTime(u64::from(ntp0) << 32 | u64::from(ntp1)),
                    rtp_timestamp: rtp,
                    packets,
                    octets,
                };
                let blocks = rest.get(..count * BLOCK).ok_or(at("report blocks", 28))?;
                Rtcp::SenderReport { ssrc: Ssrc(ssrc), info, reports: ReportBlocks { blocks } }
            }
            RR => {
                let (ssrc, rest) = body.split_first_chunk::<4>().ok_or(at("SSRC", 4))?;
                let blocks = rest.get(..count * BLOCK).ok_or(at("report blocks", 8))?;
                let ssrc = Ssrc(u32::from_be_bytes(*ssrc));
                Rtcp::ReceiverReport { ssrc, reports: ReportBlocks { blocks } }
            }
            SDES => read_description(body, count).ok_or(at("SDES chunk", 4))?,
            BYE => {
                let (ssrcs, rest) = body.split_at_checked(count * 4).ok_or(at("BYE sources", 4))?;
                let reason = match rest.split_first() {
                    None => &[],
                    Some((len, text)) => {
                        text.get(..usize::from(*len)).ok_or(at("BYE reason", 4 + count * 4))?
                    }
                };
                let ssrc = ssrcs.first_chunk().map(|bytes| Ssrc(u32::from_be_bytes(*bytes)));
                Rtcp::Goodbye { ssrc, reason }
            }
            XR => {
                let (ssrc, rest) = body.split_first_chunk::<4>().ok_or(at("SSRC", 4))?;
                let ssrc = Ssrc(u32::from_be_bytes(*ssrc));
                Rtcp::ExtendedReport { ssrc, blocks: XrBlocks { rest } }
            }
            packet_type => Rtcp::Other { packet_type },
        };
        self.rest = rest;
        self.offset += len;
        Ok(Some(read))
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Rtcp<'a>;

    fn next(&mut self) -> Option<Rtcp<'a>> {
        // `parse` read all of it without an error.
        self.read().ok().flatten()
    }
}

/// Walks `count` chunks of SSRC and items (RFC 3550 §6.5) for the first CNAME.
fn read_description(mut body: &[u8], count: usize) -> Option<Rtcp<'_>> {
    let mut found: Option<(Ssrc, Option<&[u8]>)> = None;
    for _ in 0..count {
        let len = body.len();
        let (ssrc, mut items) = body.split_first_chunk::<4>()?;
        let mut cname = None;
        while let Some((kind, rest)) = items.split_first() {
            if *kind == 0 {
                break;
            }
            let (text_len, rest) = rest.split_first()?;
            let (text, rest) = rest.split_at_checked(usize::from(*text_len))?;
            if *kind == CNAME {
                cname = cname.or(Some(text));
            }
            items = rest;
        }
        // One zero ends the list, more fill the word.
        let used = len - items.len() + 1;
        body = body.get(used.next_multiple_of(4)..)?;
        if found.is_none_or(|(_, name)| name.is_none() && cname.is_some()) {
            found = Some((Ssrc(u32::from_be_bytes(*ssrc)), cname));
        }
    }
    let (ssrc, cname) = found.unwrap_or((Ssrc(0), None));
    Some(Rtcp::SourceDescription { ssrc, cname })
}

/// Writes SR (when `sender` is given) or RR, then SDES with CNAME; returns the length, or 0 when
/// `out` is too short. At most 31 report blocks and 255 bytes of CNAME are written.
pub fn write_report(
    out: &mut [u8],
    ssrc: Ssrc,
    sender: Option<&SenderInfo>,
    reports: &[ReportBlock],
    cname: &str,
) -> usize {
    let mut cursor = Cursor { out, at: 0 };
    put_report(&mut cursor, ssrc, sender, reports, cname).map_or(0, |()| cursor.at)
}

/// Writes what [`write_report`] writes, then BYE with `reason` (may be empty, 255 bytes at most).
pub fn write_bye(
    out: &mut [u8],
    ssrc: Ssrc,
    sender: Option<&SenderInfo>,
    reports: &[ReportBlock],
    cname: &str,
    reason: &str,
) -> usize {
    let mut cursor = Cursor { out, at: 0 };
    let mut put = || {
        put_report(&mut cursor, ssrc, sender, reports, cname)?;
        cursor.packet(BYE, 1, |cursor| {
            cursor.put(&ssrc.0.to_be_bytes())?;
            if reason.is_empty() { Some(()) } else { cursor.text(reason) }
        })
    };
    put().map_or(0, |()| cursor.at)
}

fn put_report(
    cursor: &mut Cursor<'_>,
    ssrc: Ssrc,
    sender: Option<&SenderInfo>,
    reports: &[ReportBlock],
    cname: &str,
) -> Option<()> {
    let reports = reports.get(..31).unwrap_or(reports);
    let packet_type = if sender.is_some() { SR } else { RR };
    cursor.packet(packet_type, reports.len() as u8, |cursor| {
        cursor.put(&ssrc.0.to_be_bytes())?;
        if let Some(info) = sender {
            cursor.put(&info.ntp.0.to_be_bytes())?;
            cursor.put(&info.rtp_timestamp.to_be_bytes())?;
            cursor.put(&info.packets.to_be_bytes())?;
            cursor.put(&info.octets.to_be_bytes())?;
        }
        for block in reports {
            cursor.put(&block.ssrc.0.to_be_bytes())?;
            let [_, c0, c1, c2] = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff).to_be_bytes();
            cursor.put(&[block.fraction_lost, c0, c1, c2])?;
            cursor.put(&block.extended_highest.to_be_bytes())?;
            cursor.put(&block.jitter.to_be_bytes())?;
            cursor.put(&block.last_sr.to_be_bytes())?;
            cursor.put(&block.delay_since_last_sr.to_be_bytes())?;
        }
        Some(())
    })?;
    cursor.packet(SDES, 1, |cursor| {
        cursor.put(&ssrc.0.to_be_bytes())?;
        cursor.put(&[CNAME])?;
        cursor.text(cname)?;
        cursor.put(&[0])
    })
}

struct Cursor<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.out.get_mut(self.at..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.at += bytes.len();
        Some(())
    }

    /// A length byte and at most 255 bytes, cut between characters.
    fn text(&mut self, text: &str) -> Option<()> {
        let text = text.get(..text.floor_char_boundary(255)).unwrap_or_default();
        self.put(&[text.len() as u8])?;
        self.put(text.as_bytes())
    }

    /// A header, what `body` writes, zeros up to a whole word, and the length of it all.
    fn packet(
        &mut self,
        packet_type: u8,
        count: u8,
        body: impl FnOnce(&mut Self) -> Option<()>,
    ) -> Option<()> {
        let start = self.at;
        self.put(&[0x80 | count, packet_type, 0, 0])?;
        body(self)?;
        while !(self.at - start).is_multiple_of(4) {
            self.put(&[0])?;
        }
        let words = u16::try_from((self.at - start) / 4 - 1).ok()?;
        self.out.get_mut(start + 2..start + 4)?.copy_from_slice(&words.to_be_bytes());
        Some(())
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    const INFO: SenderInfo = SenderInfo {
        ntp: NtpTime(0x0123_4567_89ab_cdef),
        rtp_timestamp: 160,
        packets: 3,
        octets: 480,
    };
    const BLOCK_1: ReportBlock = ReportBlock {
        ssrc: Ssrc(0xdead_beef),
        fraction_lost: 128,
        cumulative_lost: -5,
        extended_highest: 0x0001_0002,
        jitter: 17,
        last_sr: 0x4567_89ab,
        delay_since_last_sr: 65_536,
    };

    fn bye() -> Vec<u8> {
        let mut out = [0; MAX_COMPOUND_LEN_BYTES];
        let len = write_bye(&mut out, Ssrc(7), Some(&INFO), &[BLOCK_1], "call@node", "over");
        out[..len].to_vec()
    }

    #[test]
    fn a_compound_reads_as_it_was_written() {
        let bytes = bye();
        let mut packets = Compound::parse(&bytes).unwrap();
        let Some(Rtcp::SenderReport { ssrc, info, mut reports }) = packets.next() else { panic!() };
        assert_eq!((ssrc, info), (Ssrc(7), INFO));
        assert_eq!((reports.next(), reports.next()), (Some(BLOCK_1), None));
        let Some(Rtcp::SourceDescription { ssrc, cname }) = packets.next() else { panic!() };
        assert_eq!((ssrc, cname), (Ssrc(7), Some(&b"call@node"[..])));
        let Some(Rtcp::Goodbye { ssrc, reason }) = packets.next() else { panic!() };
        assert_eq!((ssrc, reason), (Some(Ssrc(7)), &b"over"[..]));
        assert!(packets.next().is_none());
    }

    #[test]
    fn the_bytes_are_those_of_the_rfc() {
        let mut out = [0; 64];
        let len = write_report(&mut out, Ssrc(0x0102_0304), None, &[], "ab");
        let expected = [
            0x80, 201, 0, 1, 1, 2, 3, 4, // RR without blocks
            0x81, 202, 0, 3, 1, 2, 3, 4, 1, 2, b'a', b'b', 0, 0, 0, 0, // SDES, ends in a zero
        ];
        assert_eq!(out[..len], expected);
        for cname in ["", "a", "abc", "abcd", "abcde"] {
            let len = write_report(&mut out, Ssrc(1), None, &[], cname);
            let sdes = Compound::parse(&out[..len]).unwrap().nth(1);
            let Some(Rtcp::SourceDescription { cname: Some(read), .. }) = sdes else { panic!() };
            assert_eq!(read, cname.as_bytes());
        }
    }

    #[test]
    fn every_cut_is_refused_and_no_changed_byte_panics() {
        let good = bye();
        let boundaries = [8 + SENDER_INFO + BLOCK, 8 + SENDER_INFO + BLOCK + 20];
        for len in 0..good.len() {
            let read = Compound::parse(&good[..len]);
            assert_eq!(read.is_ok(), boundaries.contains(&len), "cut to {len}");
        }
        for at in 0..good.len() {
            for value in 0..=255 {
                let mut bytes = good.clone();
                bytes[at] = value;
                if let Ok(packets) = Compound::parse(&bytes) {
                    let count = packets.count();
                    assert!((1..=3).contains(&count), "byte {at} = {value}: {count} packets");
                }
            }
        }
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_padding_stripped() {
        let mut bytes = vec![0x80, 204, 0, 1, 0, 0, 0, 9]; // APP
        bytes.extend([0xa1, 203, 0, 2, 0, 0, 0, 5, 0, 0, 0, 4]); // BYE, padded by a word
        let packets: Vec<_> = Compound::parse(&bytes).unwrap().collect();
        assert!(matches!(packets[0], Rtcp::Other { packet_type: 204 }));
        assert!(matches!(packets[1], Rtcp::Goodbye { ssrc: Some(Ssrc(5)), reason: [] }));
        for padding in [0, 3, 8, 12, 255] {
            *bytes.last_mut().unwrap() = padding;
            assert!(Compound::parse(&bytes).is_err() || padding == 8, "padding {padding}");
        }
    }

    #[test]
    fn a_description_of_several_sources_gives_the_first_name() {
        let sdes: &[u8] = &[
            0x82, 202, 0, 6, 0, 0, 0, 1, 2, 1, b'x', 0, // NAME only
            0, 0, 0, 2, 1, 3, b'a', b'@', b'b', 0, 0, 0,
        ];
        let mut with_len = sdes.to_vec();
        with_len[3] = (sdes.len() / 4 - 1) as u8;
        let Some(Rtcp::SourceDescription { ssrc, cname }) =
            Compound::parse(&with_len).unwrap().next()
        else {
            panic!()
        };
        assert_eq!((ssrc, cname), (Ssrc(2), Some(&b"a@b"[..])));
    }

    #[test]
    fn a_buffer_too_short_gets_nothing() {
        let whole = bye().len();
        let mut out = [0; MAX_COMPOUND_LEN_BYTES];
        for room in 0..whole {
            let wrote =
                write_bye(&mut out[..room], Ssrc(7), Some(&INFO), &[BLOCK_1], "call@node", "over");
            assert_eq!(wrote, 0, "room for {room}");
        }
        let mut large = [0; 2000];
        let len = write_bye(
            &mut large,
            Ssrc(7),
            Some(&INFO),
            &[BLOCK_1; 40],
            &"é".repeat(200),
            &"r".repeat(300),
        );
        let packets: Vec<_> = Compound::parse(&large[..len]).unwrap().collect();
        assert!(matches!(packets[0], Rtcp::SenderReport { reports, .. } if reports.count() == 31));
        assert!(
            matches!(packets[1], Rtcp::SourceDescription { cname: Some(n), .. } if n.len() == 254)
        );
        assert!(matches!(packets[2], Rtcp::Goodbye { reason, .. } if reason.len() == 255));
    }

    #[test]
    fn ntp_time_counts_from_1900() {
        let time = NtpTime::from_unix(Duration::new(0, 500_000_000));
        assert_eq!(time.0, 0x83aa_7e80_8000_0000);
        assert_eq!(time.middle(), 0x7e80_8000);
        assert_eq!(NtpTime::from_elapsed(Duration::from_millis(1250)).0, 0x1_4000_0000);
    }
}
