//! The sockets of calls' RTP and RTCP, and which shard has each of them.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Weak};

use socket2::{Domain, Protocol, Socket, Type};

use crate::call::RtpPorts;

/// Expedited forwarding (RFC 3246) for RTP, where the network honours it.
const DSCP_EF: u32 = 0xb8;

/// A port of one family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PortKey {
    pub(super) number: u16,
    pub(super) ipv4: bool,
}

/// A bound port.
pub(super) struct PortSocket {
    pub(super) key: PortKey,
    pub(super) udp: UdpSocket,
}

/// The sockets of one call: two, or one twice.
#[derive(Clone)]
pub(crate) struct RtpSockets {
    pub(super) rtp: Arc<PortSocket>,
    pub(super) rtcp: Arc<PortSocket>,
}

impl RtpSockets {
    pub(super) fn keys(&self) -> [PortKey; 2] {
        [self.rtp.key, self.rtcp.key]
    }
}

/// Which shard a port belongs to, as long as its socket lives: all its calls go there.
#[derive(Default)]
pub(crate) struct Homes(HashMap<PortKey, Home>);

struct Home {
    socket: Weak<PortSocket>,
    shard: usize,
}

impl Homes {
    /// The ports of a call, bound on every address of the family if they are not yet, and the shard
    /// that has them already.
    pub(crate) fn bind(
        &self,
        ports: RtpPorts,
        ipv4: bool,
    ) -> io::Result<(RtpSockets, Option<usize>)> {
        let (rtp, home) = self.find_or_bind(PortKey { number: ports.rtp(), ipv4 })?;
        if ports.rtcp() == ports.rtp() {
            return Ok((RtpSockets { rtcp: rtp.clone(), rtp }, home));
        }
        let (rtcp, rtcp_home) = self.find_or_bind(PortKey { number: ports.rtcp(), ipv4 })?;
        if home.is_some() && rtcp_home.is_some() && home != rtcp_home {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok((RtpSockets { rtp, rtcp }, home.or(rtcp_home)))
    }

    fn find_or_bind(&self, key: PortKey) -> io::Result<(Arc<PortSocket>, Option<usize>)> {
        let home = self.0.get(&key);
        match home.and_then(|home| Some((home.socket.upgrade()?, home.shard))) {
            Some((socket, shard)) => Ok((socket, Some(shard))),
            None => Ok((Arc::new(PortSocket { key, udp: bind(key)? }), None)),
        }
    }

    /// A call goes to live on this shard.
    pub(crate) fn settle(&mut self, sockets: &RtpSockets, shard: usize) {
        for socket in [&sockets.rtp, &sockets.rtcp] {
            self.0.insert(socket.key, Home { socket: Arc::downgrade(socket), shard });
        }
    }
}

fn bind(PortKey { number, ipv4 }: PortKey) -> io::Result<UdpSocket> {
    let domain = if ipv4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    let any: SocketAddr = if ipv4 {
        let _ = socket.set_tos_v4(DSCP_EF);
        (Ipv4Addr::UNSPECIFIED, number).into()
    } else {
        socket.set_only_v6(true)?;
        let _ = socket.set_tclass_v6(DSCP_EF);
        (Ipv6Addr::UNSPECIFIED, number).into()
    };
    socket.bind(&any.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_port_stays_on_its_shard_while_a_call_uses_it() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut homes = Homes::default();
        let (first, home) = homes.bind(RtpPorts::Shared(free), true).unwrap();
        assert_eq!(home, None);
        homes.settle(&first, 3);
        let (second, home) = homes.bind(RtpPorts::Shared(free), true).unwrap();
        assert_eq!(home, Some(3));
        assert!(Arc::ptr_eq(&first.rtp, &second.rtcp));
        drop((first, second));
        assert_eq!(homes.bind(RtpPorts::Shared(free), true).unwrap().1, None);
    }
}
