//! RTP as a carrier speaks it (RFC 3550): headers, SRTP, RTCP, reordering, statistics, quality and
//! telephone-event.
//!
//! ```text
//!  datagram ─▶ is_rtcp ─┬─ no ─▶ srtp::Receiver ─▶ packet::Packet ─▶ stats ─▶ reorder ─▶ audio
//!                       └─ yes ▶ srtp::Receiver ─▶ rtcp::Compound ─▶ stats       └▶ telephone_event
//! ```
//!
//! Nothing here reads a clock, draws a random number or allocates for a packet: the time is handed
//! in, buffers are the caller's, and a call's state is made once, when the call is.

pub mod packet;
pub mod quality;
pub mod reorder;
pub mod rtcp;
pub mod srtp;
pub mod stats;
pub mod telephone_event;

pub use packet::{Header, Packet, SequenceNumber, Ssrc};

/// A datagram that breaks the grammar of RTP, RTCP or telephone-event. Names where, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {field} at byte {offset}")]
pub struct Malformed {
    /// The field of the RFC that is wrong: `"version"`, `"padding"`, `"report blocks"` …
    pub field: &'static str,
    /// Where that field starts, in bytes from the start of the datagram.
    pub offset: usize,
}

impl Malformed {
    pub(crate) const fn at(field: &'static str, offset: usize) -> Self {
        Self { field, offset }
    }
}

/// Whether a datagram that shares a port with RTP is RTCP: packet types 192 to 223, which RTP
/// payload types 64 to 95 must then leave alone (RFC 5761 §4). Says nothing about validity.
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [_, 192..=223, ..])
}
