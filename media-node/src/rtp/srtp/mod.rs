//! SRTP and SRTCP (RFC 3711; RFC 6188 for AES-256, RFC 7714 for GCM), in place.
//!
//! SDP gives each direction its own master key, so a call has one [`Sender`] and one [`Receiver`].
//! A packet's number is never sent whole: both sides count the rollovers of the 16-bit sequence
//! number, and the tag proves that they agree. Nothing is remembered of a source before a tag of
//! its packets was good, so that a stranger costs one failed check and no memory.
//!
//! Not spoken: MKI, key derivation rates, FEC, and unencrypted or unauthenticated sessions, none of
//! which we offer or accept in SDP.

#![forbid(unsafe_code)]

mod keys;
mod replay;

use keys::{INDEX, Purpose, SessionKeys};
use replay::Window;

use super::Ssrc;
use super::packet::{Header, header_len};
use crate::media::MasterKey;

/// What [`Sender::protect_rtp`] adds to a packet at most (the GCM tag).
pub const MAX_RTP_OVERHEAD_BYTES: usize = 16;
/// What [`Sender::protect_rtcp`] adds to a packet at most (GCM tag, E bit and index).
pub const MAX_RTCP_OVERHEAD_BYTES: usize = 20;
/// How many sources (SSRCs) one key may carry in one direction. A source is never forgotten while
/// its key lives: that would open it to replay (receiving) or to a nonce used twice (sending).
pub const MAX_SOURCES: usize = 64;

/// Sources that need no allocation when they appear.
const USUAL_SOURCES: usize = 4;
/// The first RTP packet number that no key may carry (RFC 3711 §9.2).
const RTP_INDEX_END: u64 = 1 << 48;
/// The first RTCP packet number that no key may carry.
const RTCP_INDEX_END: u32 = 1 << 31;
/// The shortest RTCP packet: header and SSRC.
const MIN_RTCP: usize = 8;

/// Why a packet was not protected or not let in. Labels for counters: [`SrtpError::label`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SrtpError {
    /// Shorter than header and tag.
    #[error("packet shorter than its header and tag")]
    TooShort,
    /// Not an RTP or RTCP header (version, extension beyond the end).
    #[error("packet with a malformed header")]
    Malformed,
    /// The tag does not match: other key, or changed on the way.
    #[error("authentication failed")]
    BadTag,
    /// Authentic, and seen before.
    #[error("packet seen before")]
    Replayed,
    /// Behind the replay window: seen before or not, nobody can tell.
    #[error("packet behind the replay window")]
    TooOld,
    /// [`MAX_SOURCES`] sources have used this key already.
    #[error("too many sources")]
    TooManySources,
    /// The buffer has no room for the tag.
    #[error("no room for the tag")]
    NoRoom,
    /// The sender was given a packet number that does not go forward; protecting it would use a
    /// nonce twice.
    #[error("sequence number used before")]
    Reused,
    /// 2^48 RTP or 2^31 RTCP packets were sent: the key must be replaced (RFC 3711 §9.2).
    #[error("key used up")]
    KeyUsedUp,
}

impl SrtpError {
    /// A fixed word for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::Malformed => "malformed",
            Self::BadTag => "bad_tag",
            Self::Replayed => "replayed",
            Self::TooOld => "too_old",
            Self::TooManySources => "too_many_sources",
            Self::NoRoom => "no_room",
            Self::Reused => "reused",
            Self::KeyUsedUp => "key_used_up",
        }
    }
}

/// Protects what we send under one master key.
pub struct Sender {
    rtp: SessionKeys,
    rtcp: SessionKeys,
    /// The number of the last packet of each source.
    last: Vec<(Ssrc, u64)>,
    /// The number of the next SRTCP packet, of whatever source: one count for all of them still
    /// gives each of them ascending numbers.
    next_rtcp: u32,
}

impl Sender {
    pub fn new(master: &MasterKey) -> Self {
        Self {
            rtp: SessionKeys::derive(master, Purpose::Rtp),
            rtcp: SessionKeys::derive(master, Purpose::Rtcp),
            last: Vec::with_capacity(USUAL_SOURCES),
            next_rtcp: 0,
        }
    }

    /// Protects the RTP packet in `buf[..len]` in place and returns its new length, at most
    /// [`MAX_RTP_OVERHEAD_BYTES`] more. Sequence numbers of one SSRC must go forward, by less than
    /// half a round each; they should begin below 2^15, so that a peer which misses the first
    /// packets cannot miss a rollover with them.
    pub fn protect_rtp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let packet = buf.get(..len).ok_or(SrtpError::NoRoom)?;
        let (header, header_len) = header_of(packet)?;
        let sealed_len = len + self.rtp.tag_len();
        let packet = buf.get_mut(..sealed_len).ok_or(SrtpError::NoRoom)?;
        let room = self.last.len() < MAX_SOURCES;
        let known = self.last.iter_mut().find(|(ssrc, _)| *ssrc == header.ssrc);
        let sequence = header.sequence_number.0;
        let index = match &known {
            Some((_, last)) => {
                let ahead = sequence.wrapping_sub((*last & 0xffff) as u16);
                if ahead == 0 || ahead >= 0x8000 {
                    return Err(SrtpError::Reused);
                }
                *last + u64::from(ahead)
            }
            None => u64::from(sequence),
        };
        if index >= RTP_INDEX_END {
            return Err(SrtpError::KeyUsedUp);
        }
        match known {
            Some((_, last)) => *last = index,
            None if room => self.last.push((header.ssrc, index)),
            None => return Err(SrtpError::TooManySources),
        }
        self.rtp.seal_rtp(packet, header_len, header.ssrc.0, index);
        Ok(sealed_len)
    }

    /// Protects the RTCP compound in `buf[..len]` in place and returns its new length, at most
    /// [`MAX_RTCP_OVERHEAD_BYTES`] more.
    pub fn protect_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let packet = buf.get(..len).ok_or(SrtpError::NoRoom)?;
        let ssrc = rtcp_ssrc(packet)?;
        let sealed_len = len + self.rtcp.tag_len() + INDEX;
        let packet = buf.get_mut(..sealed_len).ok_or(SrtpError::NoRoom)?;
        if self.next_rtcp >= RTCP_INDEX_END {
            return Err(SrtpError::KeyUsedUp);
        }
        self.rtcp.seal_rtcp(packet, len, ssrc.0, self.next_rtcp);
        self.next_rtcp += 1;
        Ok(sealed_len)
    }
}

/// Lets in what the peer sent under one master key.
pub struct Receiver {
    rtp: SessionKeys,
    rtcp: SessionKeys,
    sources: Vec<Source>,
}

/// What is known of a source whose packets were authentic.
struct Source {
    ssrc: Ssrc,
    rtp: Option<Window>,
    rtcp: Option<Window>,
}

impl Receiver {
    pub fn new(master: &MasterKey) -> Self {
        Self {
            rtp: SessionKeys::derive(master, Purpose::Rtp),
            rtcp: SessionKeys::derive(master, Purpose::Rtcp),
            sources: Vec::with_capacity(USUAL_SOURCES),
        }
    }

    /// Checks and decrypts an SRTP packet in place and returns the length of the RTP packet, which
    /// starts where the SRTP packet did. After [`SrtpError::BadTag`] the bytes behind the header
    /// may have changed: to try several keys on one packet, try each on a copy.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let (header, header_len) = header_of(packet)?;
        let len = packet.len().checked_sub(self.rtp.tag_len()).ok_or(SrtpError::TooShort)?;
        if len < header_len {
            return Err(SrtpError::TooShort);
        }
        let room = self.sources.len() < MAX_SOURCES;
        let known = self.sources.iter_mut().find(|source| source.ssrc == header.ssrc);
        let sequence = header.sequence_number.0;
        // A source we hear for the first time has not rolled over (RFC 3711 §3.3.1).
        let index = match known.as_ref().and_then(|source| source.rtp) {
            Some(window) => {
                let index = window.guess(sequence);
                window.check(index)?;
                index
            }
            None => u64::from(sequence),
        };
        if index >= RTP_INDEX_END {
            return Err(SrtpError::KeyUsedUp);
        }
        if known.is_none() && !room {
            return Err(SrtpError::TooManySources);
        }
        self.rtp.open_rtp(packet, header_len, header.ssrc.0, index)?;
        match known {
            Some(source) => accept(&mut source.rtp, index),
            None => self.sources.push(Source {
                ssrc: header.ssrc,
                rtp: Some(Window::starting_with(index)),
                rtcp: None,
            }),
        }
        Ok(len)
    }

    /// Checks and decrypts an SRTCP packet in place and returns the length of the RTCP compound.
    /// A packet whose sender left the E bit clear is authentic but was not secret, and is let in.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let overhead = self.rtcp.tag_len() + INDEX;
        let len = packet.len().checked_sub(overhead).ok_or(SrtpError::TooShort)?;
        let ssrc = rtcp_ssrc(packet.get(..len).ok_or(SrtpError::TooShort)?)?;
        let trailer = self.rtcp.rtcp_trailer(packet).ok_or(SrtpError::TooShort)?;
        let index = u64::from(trailer & (RTCP_INDEX_END - 1));
        let room = self.sources.len() < MAX_SOURCES;
        let known = self.sources.iter_mut().find(|source| source.ssrc == ssrc);
        match known.as_ref().and_then(|source| source.rtcp) {
            Some(window) => window.check(index)?,
            None if known.is_none() && !room => return Err(SrtpError::TooManySources),
            None => {}
        }
        self.rtcp.open_rtcp(packet, ssrc.0, trailer)?;
        match known {
            Some(source) => accept(&mut source.rtcp, index),
            None => self.sources.push(Source {
                ssrc,
                rtp: None,
                rtcp: Some(Window::starting_with(index)),
            }),
        }
        Ok(len)
    }

    /// How many sources have been authentic under this key.
    pub fn sources(&self) -> usize {
        self.sources.len()
    }
}

fn accept(window: &mut Option<Window>, index: u64) {
    match window {
        Some(window) => window.accept(index),
        None => *window = Some(Window::starting_with(index)),
    }
}

/// The RTP header and how many bytes stay in the clear: CSRCs and extension too (RFC 3711 §3.1).
fn header_of(packet: &[u8]) -> Result<(Header, usize), SrtpError> {
    if packet.len() < super::packet::HEADER_LEN_BYTES {
        return Err(SrtpError::TooShort);
    }
    header_len(packet).map_err(|_| SrtpError::Malformed)
}

/// The SSRC of the first packet of a compound, which the SRTCP index counts for.
fn rtcp_ssrc(compound: &[u8]) -> Result<Ssrc, SrtpError> {
    let [first, _, _, _, s0, s1, s2, s3] =
        *compound.first_chunk::<MIN_RTCP>().ok_or(SrtpError::TooShort)?;
    if first >> 6 != 2 {
        return Err(SrtpError::Malformed);
    }
    Ok(Ssrc(u32::from_be_bytes([s0, s1, s2, s3])))
}

#[cfg(test)]
mod tests;
