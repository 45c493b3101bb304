//! Which UDP ports a call gets. While pairs are free it gets one of its own (RTP even, RTCP the odd
//! one after it, RFC 3550 §11), the one longest unused first. When calls outnumber pairs they share:
//! RTP and RTCP of such a call come to one port, which may be any of the range, with other calls on
//! it. [`super::Demux`] tells their packets apart.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::{CallKey, canonical};

/// How long a closed pair rests: a packet still under way when its call ended has died by then.
pub(crate) const REST: Duration = Duration::from_secs(2);

/// Where a call receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RtpPorts {
    /// This even port for RTP and the next one for RTCP.
    Pair(u16),
    /// One port for both (RFC 5761), which may have other calls.
    Shared(u16),
}

impl RtpPorts {
    pub fn rtp(self) -> u16 {
        match self {
            Self::Pair(port) | Self::Shared(port) => port,
        }
    }

    pub fn rtcp(self) -> u16 {
        match self {
            // Even, so never the last of all.
            Self::Pair(port) => port + 1,
            Self::Shared(port) => port,
        }
    }
}

/// The ports of one pod, and who is on them.
pub struct PortPool {
    start: u16,
    ports: Vec<Port>,
    /// The even ports of pairs that nobody uses, and from when on they may be used again: the order
    /// of closing.
    free: VecDeque<(u16, Option<Instant>)>,
}

#[derive(Default)]
struct Port {
    tenants: Vec<Tenant>,
    /// Another program has it; not to be tried again before.
    taken_until: Option<Instant>,
}

struct Tenant {
    call: CallKey,
    /// Where its SDP says that RTP and RTCP come from.
    named: [SocketAddr; 2],
    /// A packet of it has come.
    heard: bool,
}

impl Port {
    fn waiting(&self) -> usize {
        self.tenants.iter().filter(|tenant| !tenant.heard).count()
    }

    fn names_one_of(&self, addresses: &[SocketAddr; 2]) -> bool {
        // Who holds with an unspecified address expects packets from nowhere.
        let said = |address: &SocketAddr| !address.ip().is_unspecified();
        let mut named = self.tenants.iter().flat_map(|tenant| tenant.named).filter(said);
        named.any(|address| addresses.contains(&address))
    }
}

impl PortPool {
    pub fn new(range: RangeInclusive<u16>) -> Self {
        let (start, end) = (*range.start(), *range.end());
        let free = range.clone().filter(|port| port % 2 == 0 && *port < end);
        Self {
            start,
            free: free.map(|port| (port, None)).collect(),
            ports: range.map(|_| Port::default()).collect(),
        }
    }

    /// Ports for a call whose SDP names these addresses for RTP and RTCP. `None` when every port has
    /// a call that names one of them too, or is another program's.
    pub fn allocate(
        &mut self,
        now: Instant,
        call: CallKey,
        named: [SocketAddr; 2],
    ) -> Option<RtpPorts> {
        let named = named.map(canonical);
        let ports = self.free_pair(now).or_else(|| self.port_to_share(now, &named))?;
        for port in self.of(ports) {
            port.tenants.push(Tenant { call, named, heard: false });
        }
        Some(ports)
    }

    fn free_pair(&mut self, now: Instant) -> Option<RtpPorts> {
        let (_, usable_at) = self.free.front()?;
        if usable_at.is_some_and(|at| now < at) {
            return None;
        }
        self.free.pop_front().map(|(port, _)| RtpPorts::Pair(port))
    }

    /// The one with the fewest calls that have received no packet yet: those have only their SDP to
    /// be told apart by.
    fn port_to_share(&mut self, now: Instant, named: &[SocketAddr; 2]) -> Option<RtpPorts> {
        let usable = |port: &Port| {
            port.taken_until.is_none_or(|until| until <= now) && !port.names_one_of(named)
        };
        let (_, number) = (self.start..=u16::MAX)
            .zip(&self.ports)
            .filter(|(_, port)| usable(port))
            .map(|(number, port)| ((port.waiting(), port.tenants.len()), number))
            .min()?;
        self.free.retain(|(even, _)| *even != number & !1);
        Some(RtpPorts::Shared(number))
    }

    fn of(&mut self, ports: RtpPorts) -> &mut [Port] {
        let index = |port: u16| usize::from(port.saturating_sub(self.start));
        let range = index(ports.rtp())..=index(ports.rtcp());
        self.ports.get_mut(range).unwrap_or_default()
    }

    fn tenant(&mut self, ports: RtpPorts, call: CallKey) -> impl Iterator<Item = &mut Tenant> {
        let tenants = self.of(ports).iter_mut().flat_map(|port| &mut port.tenants);
        tenants.filter(move |tenant| tenant.call == call)
    }

    /// A packet of the call has come.
    pub fn handle_heard(&mut self, ports: RtpPorts, call: CallKey) {
        self.tenant(ports, call).for_each(|tenant| tenant.heard = true);
    }

    /// The call's SDP names other addresses.
    pub fn handle_retarget(&mut self, ports: RtpPorts, call: CallKey, named: [SocketAddr; 2]) {
        let named = named.map(canonical);
        self.tenant(ports, call).for_each(|tenant| tenant.named = named);
    }

    pub fn release(&mut self, now: Instant, ports: RtpPorts, call: CallKey) {
        for port in self.of(ports) {
            port.tenants.retain(|tenant| tenant.call != call);
        }
        let even = ports.rtp() & !1;
        let last = self.start + (self.ports.len() - 1) as u16;
        if even < self.start || even >= last {
            return;
        }
        let is_free = self.of(RtpPorts::Pair(even)).iter().all(|port| port.tenants.is_empty());
        if is_free {
            self.free.push_back((even, Some(now + REST)));
        }
    }

    /// The same, of ports that another program turned out to have.
    pub fn release_taken(&mut self, now: Instant, ports: RtpPorts, call: CallKey) {
        for port in self.of(ports) {
            port.taken_until = Some(now + REST);
        }
        self.release(now, ports, call);
    }
}

#[cfg(test)]
#[path = "ports_tests.rs"]
#[expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
mod tests;
