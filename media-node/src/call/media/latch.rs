//! Whose packets are the call's, and where ours go.
//!
//! The first packet may come from elsewhere than the SDP said, for the carrier may sit behind a
//! NAT: with SRTP its tag proves it, without only the trunk's networks do. After that the call stays
//! with that address, and moves only when signalling says so or when an authenticated packet newer
//! than any before comes from another one.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::call::canonical;

/// After a move, packets of the old address may still be on their way; so long they do not win the
/// call back.
const MOVE_GRACE: Duration = Duration::from_secs(1);

/// One of a call's two remote addresses.
pub(super) struct Latch {
    /// What the SDP says.
    named: SocketAddr,
    /// Where packets really come from.
    latched: Option<SocketAddr>,
    /// The address that signalling moved away from, and until when it does not count.
    left_behind: Option<(SocketAddr, Instant)>,
}

impl Latch {
    pub(super) fn new(named: SocketAddr) -> Self {
        Self { named, latched: None, left_behind: None }
    }

    /// Where to send.
    pub(super) fn target(&self) -> SocketAddr {
        self.latched.unwrap_or(self.named)
    }

    pub(super) fn latched(&self) -> Option<SocketAddr> {
        self.latched
    }

    /// Whether a packet without SRTP may be the call's.
    pub(super) fn admits(&self, now: Instant, from: SocketAddr, sources: &[IpNet]) -> bool {
        match self.latched {
            Some(latched) => same(latched, from),
            None if self.is_left_behind(now, from) => false,
            None => {
                let ip = from.ip().to_canonical();
                same(self.named, from) || sources.iter().any(|net| contains(net, ip))
            }
        }
    }

    fn is_left_behind(&self, now: Instant, from: SocketAddr) -> bool {
        self.left_behind.is_some_and(|(old, until)| now < until && same(old, from))
    }

    /// A packet of the call came. `newer`: it is authenticated and newer than any before. Returns
    /// whether the address changed.
    pub(super) fn handle_packet(&mut self, now: Instant, from: SocketAddr, newer: bool) -> bool {
        let moves = match self.latched {
            None => !self.is_left_behind(now, from),
            Some(latched) => newer && !same(latched, from),
        };
        if moves {
            self.latched = Some(from);
            self.left_behind = None;
        }
        moves
    }

    /// Signalling names another address. Naming the same one again changes nothing, though packets
    /// come from elsewhere. Returns whether the address changed.
    pub(super) fn retarget(&mut self, now: Instant, named: SocketAddr) -> bool {
        if same(named, self.named) {
            return false;
        }
        self.left_behind =
            Some((self.target(), now + MOVE_GRACE)).filter(|(old, _)| !same(*old, named));
        self.named = named;
        self.latched = None;
        true
    }
}

/// An IPv4 address may come mapped into IPv6, from a socket that serves both.
fn same(one: SocketAddr, other: SocketAddr) -> bool {
    canonical(one) == canonical(other)
}

fn contains(net: &IpNet, ip: IpAddr) -> bool {
    net.contains(&ip)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn nets() -> Vec<IpNet> {
        vec!["198.51.100.0/24".parse().unwrap()]
    }

    #[test]
    fn plain_packets_come_from_the_named_address_or_the_trunks_networks() {
        let (now, latch) = (Instant::now(), Latch::new(at("203.0.113.1:4000")));
        assert!(latch.admits(now, at("203.0.113.1:4000"), &nets()));
        assert!(latch.admits(now, at("[::ffff:203.0.113.1]:4000"), &nets()));
        assert!(!latch.admits(now, at("203.0.113.1:4002"), &nets()));
        assert!(latch.admits(now, at("198.51.100.77:9"), &nets()));
        assert!(!latch.admits(now, at("192.0.2.66:4000"), &nets()));
    }

    #[test]
    fn once_latched_nobody_else_is_heard_without_proof() {
        let (now, mut latch) = (Instant::now(), Latch::new(at("203.0.113.1:4000")));
        assert!(latch.handle_packet(now, at("198.51.100.77:9"), false));
        assert_eq!(latch.target(), at("198.51.100.77:9"));
        assert!(!latch.admits(now, at("203.0.113.1:4000"), &nets()));
        assert!(!latch.admits(now, at("198.51.100.77:10"), &nets()));
        assert!(!latch.handle_packet(now, at("198.51.100.78:9"), false));
        assert!(latch.handle_packet(now, at("192.0.2.7:7"), true));
        assert_eq!(latch.target(), at("192.0.2.7:7"));
    }

    #[test]
    fn signalling_moves_the_call_and_stragglers_do_not_win_it_back() {
        let (now, mut latch) = (Instant::now(), Latch::new(at("198.51.100.1:4000")));
        latch.handle_packet(now, at("198.51.100.1:4000"), false);
        assert!(latch.retarget(now, at("198.51.100.2:5000")));
        assert_eq!(latch.target(), at("198.51.100.2:5000"));
        assert!(!latch.admits(now, at("198.51.100.1:4000"), &nets()));
        assert!(!latch.handle_packet(now, at("198.51.100.1:4000"), true));
        assert!(latch.handle_packet(now, at("198.51.100.2:5000"), false));
    }

    #[test]
    fn naming_the_same_address_again_keeps_what_was_latched() {
        let (now, mut latch) = (Instant::now(), Latch::new(at("10.0.0.1:4000")));
        latch.handle_packet(now, at("198.51.100.1:4000"), false);
        assert!(!latch.retarget(now, at("10.0.0.1:4000")));
        assert_eq!(latch.target(), at("198.51.100.1:4000"));
    }
}
