//! A call on a port that it shares: RTP and RTCP come to one socket, other calls' packets too.

use std::net::SocketAddr;
use std::time::Instant;

use super::latch::Latch;
use super::{Media, Sink};
use crate::call::canonical;
use crate::rtp::{self, Ssrc};

/// Where a call's packets come from, as far as it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remotes {
    pub rtp: Remote,
    /// `None` when reports come from where RTP does.
    pub rtcp: Option<Remote>,
    /// A tag proves whose a packet is (SRTP).
    pub encrypted: bool,
    /// The source of the last packet heard.
    pub source: Option<Ssrc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    pub address: SocketAddr,
    /// Packets have come from it; else the SDP names it.
    pub latched: bool,
}

impl Remote {
    fn of(latch: &Latch) -> Self {
        Self { address: canonical(latch.target()), latched: latch.latched().is_some() }
    }
}

impl Media {
    pub fn remotes(&self) -> Remotes {
        Remotes {
            rtp: Remote::of(&self.rtp),
            rtcp: (!self.rtcp_mux).then(|| Remote::of(&self.rtcp)),
            encrypted: self.receiver.is_some(),
            source: self.source,
        }
    }

    /// A datagram from a socket to which both RTP and RTCP come, told apart by payload type
    /// (RFC 5761 §4). Decrypted in place.
    pub fn handle_shared(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        sink: &mut impl Sink,
    ) {
        if rtp::is_rtcp(datagram) && !self.rtcp_mux {
            self.handle_rtcp(now, from, datagram, sink);
        } else {
            self.handle_rtp(now, from, datagram, sink);
        }
    }

    /// The same, of a copy of a datagram that may be another call's: `false`, and nothing has
    /// happened, when its tag does not prove it to be this call's.
    pub fn handle_stray(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        sink: &mut impl Sink,
    ) -> bool {
        if self.stopped || self.receiver.is_none() {
            return false;
        }
        let before = self.tally;
        self.handle_shared(now, from, datagram, sink);
        let refused = |it: &super::Report| (it.strangers, it.bad_tags, it.replayed);
        let taken = refused(&self.tally) == refused(&before);
        if !taken {
            self.tally = before;
        }
        taken
    }
}
