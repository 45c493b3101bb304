//! The sockets of a call's RTP and RTCP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::call::PortPair;

/// Expedited forwarding (RFC 3246) for RTP, where the network honours it.
const DSCP_EF: u32 = 0xb8;

/// A bound pair.
pub(crate) struct RtpSockets {
    pub(super) rtp: UdpSocket,
    pub(super) rtcp: UdpSocket,
}

impl RtpSockets {
    /// Binds the pair on every address of the family.
    pub(crate) fn bind(ports: PortPair, ipv4: bool) -> io::Result<Self> {
        Ok(Self { rtp: bind(ports.rtp(), ipv4)?, rtcp: bind(ports.rtcp(), ipv4)? })
    }
}

fn bind(port: u16, ipv4: bool) -> io::Result<UdpSocket> {
    let domain = if ipv4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    let any: SocketAddr = if ipv4 {
        let _ = socket.set_tos_v4(DSCP_EF);
        (Ipv4Addr::UNSPECIFIED, port).into()
    } else {
        socket.set_only_v6(true)?;
        let _ = socket.set_tclass_v6(DSCP_EF);
        (Ipv6Addr::UNSPECIFIED, port).into()
    };
    socket.bind(&any.into())?;
    Ok(socket.into())
}
