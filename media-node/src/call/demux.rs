//! Whose packets arrive on a port that calls share, by where they come from.
//!
//! An address from which a call has heard is that call's, and one that a call's SDP names is too,
//! unless another has it. A packet from anywhere else is offered to calls with SRTP, whose tag
//! proves it; without SRTP it is taken only where just one call waits for its first packet (the call
//! itself then asks whether it comes from the trunk's sources). Everybody else is a stranger, and no
//! call hears of them. Who is alone on a port judges all packets itself.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::CallKey;
use super::canonical;
use super::media::Remotes;
use super::ports::REST;
use crate::rtp::{self, Ssrc};

/// A packet from an unknown address is offered to so many calls; the next one goes on from there.
const OFFERS_A_PACKET: usize = 16;
/// So many offers are made in each interval, so that a flood of strangers costs a port a few
/// thousandths of a core.
const OFFERS_AN_INTERVAL: u32 = 200;
const INTERVAL: Duration = Duration::from_millis(100);
/// How many ended calls are remembered.
const GHOSTS: usize = 256;

/// See the module. One for each port.
#[derive(Default)]
pub struct Demux {
    tenants: Vec<Tenant>,
    owners: HashMap<SocketAddr, Claim>,
    ghosts: VecDeque<Ghost>,
    /// The tenant whom the next stray packet is offered first.
    turn: usize,
    interval_ends: Option<Instant>,
    offers_left: u32,
}

struct Tenant {
    call: CallKey,
    remotes: Remotes,
}

/// Whose an address is.
struct Claim {
    latched: bool,
    /// `None` when several calls claim it alike.
    owner: Option<CallKey>,
}

/// An ended call, whose last packets may still be under way.
struct Ghost {
    call: CallKey,
    remotes: Remotes,
    until: Instant,
}

impl Tenant {
    /// Whether it still waits for its first packet, of RTP or RTCP, from this address.
    fn waits(&self, from: SocketAddr, is_rtcp: bool) -> bool {
        let Remotes { rtp, rtcp, .. } = &self.remotes;
        match rtcp.filter(|_| is_rtcp) {
            // Behind a NAT reports come from the host that RTP comes from, and from another port.
            Some(rtcp) => !rtcp.latched && rtp.latched && rtp.address.ip() == from.ip(),
            None => !rtp.latched,
        }
    }
}

impl Remotes {
    fn all(&self) -> impl Iterator<Item = super::media::Remote> {
        [Some(self.rtp), self.rtcp].into_iter().flatten()
    }
}

impl Demux {
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    /// How many calls are on the port.
    pub fn len(&self) -> usize {
        self.tenants.len()
    }

    /// A call is on this port from now on, or expects its packets from elsewhere.
    pub fn update(&mut self, call: CallKey, remotes: Remotes) {
        match self.tenants.iter_mut().find(|tenant| tenant.call == call) {
            Some(tenant) => {
                let moved =
                    tenant.remotes.rtp != remotes.rtp || tenant.remotes.rtcp != remotes.rtcp;
                tenant.remotes = remotes;
                if !moved {
                    return;
                }
            }
            None => {
                self.ghosts.retain(|ghost| ghost.call != call);
                self.tenants.push(Tenant { call, remotes });
            }
        }
        self.assign();
    }

    /// A call has ended.
    pub fn leave(&mut self, now: Instant, call: CallKey) {
        let Some(index) = self.tenants.iter().position(|tenant| tenant.call == call) else {
            return;
        };
        let Tenant { remotes, .. } = self.tenants.swap_remove(index);
        if self.ghosts.len() == GHOSTS {
            self.ghosts.pop_front();
        }
        self.ghosts.push_back(Ghost { call, remotes, until: now + REST });
        self.assign();
    }

    /// Who has which address: first who has heard from it, then whose SDP names it.
    // Calls come, latch and go; packets come a thousand times as often.
    fn assign(&mut self) {
        self.owners.clear();
        for latched in [true, false] {
            for Tenant { call, remotes } in &self.tenants {
                for remote in remotes.all().filter(|remote| remote.latched == latched) {
                    let claim = self
                        .owners
                        .entry(remote.address)
                        .or_insert(Claim { latched, owner: Some(*call) });
                    if claim.latched == latched && claim.owner != Some(*call) {
                        claim.owner = None;
                    }
                }
            }
        }
    }

    /// The call to give a packet to, or `None` when it is nobody's or was taken by one that it was
    /// offered to. `offer` gives a copy to a call with SRTP, and tells whether its tag was good.
    pub fn route(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        offer: impl FnMut(CallKey) -> bool,
    ) -> Option<CallKey> {
        while self.ghosts.front().is_some_and(|ghost| ghost.until <= now) {
            self.ghosts.pop_front();
        }
        if let [tenant] = self.tenants.as_slice()
            && self.ghosts.is_empty()
        {
            return Some(tenant.call);
        }
        let (from, is_rtcp, source) =
            (canonical(from), rtp::is_rtcp(datagram), source_of(datagram)?);
        let claim = self.owners.get(&from);
        if let Some(owner) = claim.and_then(|claim| claim.owner) {
            // A gateway gives its port to the next call, but not the old call's source with it.
            let is_late = self.is_of_ghost(from, Some(source)) && !self.is_source(owner, source);
            return (!is_late).then_some(owner);
        }
        // What several calls claim alike is for nobody to take without a proof.
        let claimed = claim.is_some();
        if self.offer(now, source, offer) || claimed || self.is_of_ghost(from, None) {
            return None;
        }
        let mut waiting = self.tenants.iter().filter(|tenant| tenant.waits(from, is_rtcp));
        let only = waiting.next().filter(|tenant| !tenant.remotes.encrypted)?;
        waiting.next().is_none().then_some(only.call)
    }

    /// Whether an ended call was heard from there, with that source if one is given.
    fn is_of_ghost(&self, from: SocketAddr, source: Option<Ssrc>) -> bool {
        self.ghosts.iter().any(|ghost| {
            ghost.remotes.all().any(|remote| remote.address == from)
                && (source.is_none() || ghost.remotes.source == source)
        })
    }

    fn is_source(&self, call: CallKey, source: Ssrc) -> bool {
        let tenant = self.tenants.iter().find(|tenant| tenant.call == call);
        tenant.is_some_and(|it| it.remotes.encrypted || it.remotes.source == Some(source))
    }

    /// Offers a stray packet to calls with SRTP: first to who has heard this source before and has
    /// moved, then to who has heard nothing yet, then to the others.
    fn offer(
        &mut self,
        now: Instant,
        source: Ssrc,
        mut offer: impl FnMut(CallKey) -> bool,
    ) -> bool {
        if self.interval_ends.is_none_or(|end| end <= now) {
            self.interval_ends = Some(now + INTERVAL);
            self.offers_left = OFFERS_AN_INTERVAL;
        }
        let rank = |remotes: &Remotes| match remotes.source {
            Some(heard) if heard == source => 0,
            _ if !remotes.rtp.latched => 1,
            _ => 2,
        };
        let count = self.tenants.len();
        let first = self.turn;
        self.turn = (first + OFFERS_A_PACKET) % count.max(1);
        let mut offered = 0;
        for wanted in 0..3 {
            let (before, after) = self.tenants.split_at(first.min(count));
            for Tenant { call, remotes } in after.iter().chain(before) {
                if !remotes.encrypted || rank(remotes) != wanted {
                    continue;
                }
                if offered == OFFERS_A_PACKET || self.offers_left == 0 {
                    return false;
                }
                offered += 1;
                self.offers_left -= 1;
                if offer(*call) {
                    return true;
                }
            }
        }
        false
    }
}

/// Who sent it: the SSRC of RTP (RFC 3550 §5.1), or of RTCP's first packet.
fn source_of(datagram: &[u8]) -> Option<Ssrc> {
    let at = if rtp::is_rtcp(datagram) { 4 } else { 8 };
    datagram.get(at..)?.first_chunk().map(|bytes| Ssrc(u32::from_be_bytes(*bytes)))
}

#[cfg(test)]
#[path = "demux_tests.rs"]
#[expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
mod tests;
