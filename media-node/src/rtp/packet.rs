//! The RTP fixed header (RFC 3550 §5.1), read without copying and written into the caller's buffer.

#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use super::Malformed;

/// The length of a header without CSRCs and extension, which is what we write.
pub const HEADER_LEN_BYTES: usize = 12;

/// A synchronisation source: who speaks, chosen at random by the speaker (RFC 3550 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ssrc(pub u32);

/// A sequence number: counts packets and wraps after 65,535, so it has neighbours but no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SequenceNumber(pub u16);

impl SequenceNumber {
    /// The number of the packet that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How many packets `self` is ahead of `other`, by the shorter way round (RFC 1982);
    /// negative when it is behind.
    pub fn ahead_of(self, other: Self) -> i16 {
        self.0.wrapping_sub(other.0).cast_signed()
    }
}

/// The fixed header. What we write has no padding, extension or CSRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 0 to 127.
    pub payload_type: u8,
    /// For speech: the first packet after a silence (RFC 3551 §4.1).
    pub marker: bool,
    pub sequence_number: SequenceNumber,
    /// In ticks of the codec's RTP clock; wraps.
    pub timestamp: u32,
    pub ssrc: Ssrc,
}

/// A header extension (RFC 3550 §5.3.1), as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// "Defined by profile"; 0xBEDE is the one-byte form of RFC 8285.
    pub profile: u16,
    /// A whole number of 32-bit words.
    pub data: &'a [u8],
}

/// A packet read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub header: Header,
    /// Up to 15 contributing sources, four bytes each.
    pub csrcs: &'a [u8],
    pub extension: Option<Extension<'a>>,
    /// Without padding; may be empty.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram that [`super::is_rtcp`] does not claim and that is already unprotected.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let (header, flags, rest) = Header::parse(datagram)?;
        let mut offset = HEADER_LEN_BYTES;
        let csrc_len = usize::from(flags & 0x0f) * 4;
        let (csrcs, mut rest) =
            rest.split_at_checked(csrc_len).ok_or(Malformed::at("CSRC list", offset))?;
        offset += csrc_len;
        let mut extension = None;
        if flags & 0x10 != 0 {
            let (head, after) =
                rest.split_first_chunk::<4>().ok_or(Malformed::at("header extension", offset))?;
            let [p0, p1, l0, l1] = *head;
            let len = usize::from(u16::from_be_bytes([l0, l1])) * 4;
            let (data, after) =
                after.split_at_checked(len).ok_or(Malformed::at("header extension", offset))?;
            extension = Some(Extension { profile: u16::from_be_bytes([p0, p1]), data });
            rest = after;
            offset += 4 + len;
        }
        let mut payload = rest;
        if flags & 0x20 != 0 {
            // The last byte counts the padding, itself included, so zero is as wrong as too many.
            let problem = Malformed::at("padding", offset + rest.len().saturating_sub(1));
            let count = usize::from(*rest.last().ok_or(problem)?);
            let kept = rest.len().checked_sub(count).filter(|_| count > 0).ok_or(problem)?;
            payload = rest.get(..kept).ok_or(problem)?;
        }
        Ok(Self { header, csrcs, extension, payload })
    }

    /// The contributing sources that a mixer named.
    pub fn csrc_iter(&self) -> impl Iterator<Item = Ssrc> + 'a {
        self.csrcs.as_chunks::<4>().0.iter().map(|bytes| Ssrc(u32::from_be_bytes(*bytes)))
    }
}

impl Header {
    /// The header, the first byte's flags, and what follows the fixed part.
    pub(super) fn parse(datagram: &[u8]) -> Result<(Self, u8, &[u8]), Malformed> {
        let (fixed, rest) = datagram
            .split_first_chunk::<HEADER_LEN_BYTES>()
            .ok_or(Malformed::at("fixed header", 0))?;
        let [flags, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *fixed;
        if flags >> 6 != 2 {
            return Err(Malformed::at("version", 0));
        }
        let header = Self {
            payload_type: second & 0x7f,
            marker: second & 0x80 != 0,
            sequence_number: SequenceNumber(u16::from_be_bytes([s0, s1])),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: Ssrc(u32::from_be_bytes([r0, r1, r2, r3])),
        };
        Ok((header, flags, rest))
    }

    /// Writes the twelve bytes of the header to the front of `out` and returns 12; the payload goes
    /// behind them. Returns 0, and writes nothing, when `out` is shorter.
    pub fn write(&self, out: &mut [u8]) -> usize {
        let Some(fixed) = out.first_chunk_mut::<HEADER_LEN_BYTES>() else { return 0 };
        let [s0, s1] = self.sequence_number.0.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [r0, r1, r2, r3] = self.ssrc.0.to_be_bytes();
        let second = (self.payload_type & 0x7f) | if self.marker { 0x80 } else { 0 };
        *fixed = [0x80, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3];
        HEADER_LEN_BYTES
    }
}

/// The fixed header, and how many bytes stand before the payload: CSRCs and extension too.
pub(super) fn header_len(datagram: &[u8]) -> Result<(Header, usize), Malformed> {
    let (header, flags, mut rest) = Header::parse(datagram)?;
    let mut len = HEADER_LEN_BYTES + usize::from(flags & 0x0f) * 4;
    rest = rest.get(usize::from(flags & 0x0f) * 4..).ok_or(Malformed::at("CSRC list", 12))?;
    if flags & 0x10 != 0 {
        let problem = Malformed::at("header extension", len);
        let [_, _, l0, l1] = *rest.first_chunk::<4>().ok_or(problem)?;
        let words = usize::from(u16::from_be_bytes([l0, l1]));
        rest.get(4 + words * 4..).ok_or(problem)?;
        len += 4 + words * 4;
    }
    Ok((header, len))
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtp::is_rtcp;

    const HEADER: Header = Header {
        payload_type: 101,
        marker: true,
        sequence_number: SequenceNumber(0xfffe),
        timestamp: 0x0102_0304,
        ssrc: Ssrc(0xdead_beef),
    };

    /// CSRCs, an extension, padding: everything a header can have.
    fn full() -> Vec<u8> {
        let mut bytes = vec![0; 12];
        HEADER.write(&mut bytes);
        bytes[0] |= 0x20 | 0x10 | 2;
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 2]);
        bytes.extend([0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]);
        bytes.extend(b"speech");
        bytes.extend([0, 0, 3]);
        bytes
    }

    #[test]
    fn a_header_reads_as_it_was_written() {
        let mut bytes = [0x55; 15];
        assert_eq!(HEADER.write(&mut bytes), 12);
        let expected = [0x80, 0xe5, 0xff, 0xfe, 1, 2, 3, 4, 0xde, 0xad, 0xbe, 0xef];
        assert_eq!(bytes[..12], expected);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.header, packet.payload), (HEADER, &[0x55; 3][..]));
        assert_eq!(HEADER.write(&mut bytes[..11]), 0);
    }

    #[test]
    fn csrcs_extension_and_padding_are_kept_out_of_the_payload() {
        let bytes = full();
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.header, HEADER);
        assert!(packet.csrc_iter().eq([Ssrc(1), Ssrc(2)]));
        let extension = Extension { profile: 0xbede, data: &[0x10, 0xff, 0, 0] };
        assert_eq!(packet.extension, Some(extension));
        assert_eq!(packet.payload, b"speech");
        assert_eq!(header_len(&bytes), Ok((HEADER, 28)));
    }

    #[test]
    fn padding_of_nothing_or_of_more_than_there_is_is_refused() {
        let mut bytes = full();
        for (count, good) in [(0, false), (1, true), (9, true), (10, false), (255, false)] {
            *bytes.last_mut().unwrap() = count;
            let read = Packet::parse(&bytes);
            assert_eq!(read.is_ok(), good, "{count}");
            assert!(good || read == Err(Malformed::at("padding", 36)));
        }
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_read_or_refused() {
        let good = full();
        for len in 0..good.len() {
            let cut = &good[..len];
            // A cut payload may end in what looks like padding; a cut header is always an error.
            assert!(Packet::parse(cut).is_err() || len > 28, "cut to {len}");
            assert!(header_len(cut).is_err() || len >= 28, "cut to {len}");
        }
        for at in 0..good.len() {
            for value in 0..=255 {
                let mut bytes = good.clone();
                bytes[at] = value;
                if let Ok(packet) = Packet::parse(&bytes) {
                    let (_, header_len) = header_len(&bytes).unwrap();
                    assert!(header_len + packet.payload.len() <= bytes.len());
                }
            }
        }
    }

    #[test]
    fn rtcp_is_told_by_its_packet_type() {
        let types: Vec<u8> = (0..=255).filter(|t| is_rtcp(&[0x80, *t])).collect();
        assert_eq!(types, (192..=223).collect::<Vec<_>>());
        assert!(!is_rtcp(&[]) && !is_rtcp(&[0x80]));
        // No payload type of ours is taken for one, marked or not: 0, 8, 96 to 127.
        let ours = [0, 8].into_iter().chain(96..=127);
        assert!(!ours.flat_map(|pt| [pt, pt | 0x80]).any(|second| is_rtcp(&[0x80, second])));
    }

    #[test]
    fn sequence_numbers_go_round() {
        assert_eq!(SequenceNumber(0xffff).next(), SequenceNumber(0));
        assert_eq!(SequenceNumber(2).ahead_of(SequenceNumber(0xfffe)), 4);
        assert_eq!(SequenceNumber(0xfffe).ahead_of(SequenceNumber(2)), -4);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = header_len(&bytes);
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.payload.len() + 12 <= bytes.len());
            }
        }
    }
}
