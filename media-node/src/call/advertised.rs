//! The addresses that SDP, Contact and Via say.

use std::net::{IpAddr, SocketAddr};

use crate::config::{Pool, SipPorts};
use crate::sip::Transport;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertised {
    pub public: Vec<IpAddr>,
    /// Said to peers within `exposure.address.private.networks`.
    pub private: Vec<IpAddr>,
}

impl Advertised {
    /// The address to tell `peer`; `None` when there is none of its family.
    pub(super) fn toward(&self, pool: &Pool, peer: IpAddr) -> Option<IpAddr> {
        pool.address.toward(peer, &self.public, &self.private)
    }

    /// Every address once, public ones first.
    pub(super) fn all(&self) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = Vec::new();
        for address in self.public.iter().chain(&self.private) {
            if !all.contains(address) {
                all.push(*address);
            }
        }
        all
    }
}

/// The port where we listen on that transport.
pub(super) fn port(ports: &SipPorts, transport: Transport) -> Option<u16> {
    match transport {
        Transport::Udp => ports.udp,
        Transport::Tcp => ports.tcp,
        Transport::Tls => ports.tls,
    }
}

/// Host and port of our Via and Contact.
pub(super) fn sent_by(pool: &Pool, address: IpAddr, transport: Transport) -> String {
    match (address, port(&pool.sip, transport)) {
        (address, Some(port)) => SocketAddr::new(address, port).to_string(),
        (IpAddr::V6(address), None) => format!("[{address}]"),
        (IpAddr::V4(address), None) => address.to_string(),
    }
}
