//! Digits as named events (RFC 4733).
//!
//! An event is told in many packets that carry the same RTP timestamp, its start, and a duration
//! that grows; the last is sent three times. One that is too long for 16 bits of duration is told in
//! segments, each with a timestamp of its own. [`Receiver`] reports each digit once, whatever was
//! lost; [`Sender`] makes the packets of one.

#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

mod receiver;
mod sender;
#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::panic, reason = "tests")]
mod tests;

pub use receiver::{Heard, Receiver};
pub use sender::{Outgoing, Sender};

use super::Malformed;

/// The payload of a telephone-event packet (RFC 4733 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// 0 to 15 are DTMF.
    pub code: u8,
    pub end: bool,
    /// Power in -dBm0, 0 to 63.
    pub volume: u8,
    /// Since the event's timestamp, in ticks of the RTP clock.
    pub duration: u16,
}

impl Event {
    pub const LEN_BYTES: usize = 4;

    /// Reads the first event of a payload. Senders of DTMF put one in a packet; what may follow it
    /// (RFC 4733 §2.5.1.5) is left unread.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let [code, flags, d0, d1] =
            *payload.first_chunk().ok_or(Malformed::at("telephone-event", 0))?;
        Ok(Self {
            code,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([d0, d1]),
        })
    }

    pub fn write(&self) -> [u8; Self::LEN_BYTES] {
        let [d0, d1] = self.duration.to_be_bytes();
        [self.code, if self.end { 0x80 } else { 0 } | (self.volume & 0x3f), d0, d1]
    }
}
