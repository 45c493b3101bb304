//! The other nodes of the pool, and which of them a message is for.
//!
//! A carrier sends a request of a call by whatever connection it likes. Behind one balancer, or on SIP
//! ports that the pods of a node share, it may come to a node that has never heard of the call. That
//! node passes it on as it came, and the owner's answers go back the same way:
//!
//! ```text
//! carrier ──BYE──▶ node 1 ──Message──▶ node 0, whose call it is
//!         ◀──200── node 1 ◀──Transmit─
//! ```
//!
//! A message is passed on once: who gets it from a peer keeps it.

use std::net::SocketAddr;

use crate::config::pod_info::Peer;
use crate::sip::{Flow, Message, Method, Request, Transport, owner};

/// Who else is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    slot: Option<u16>,
    own: Option<Peer>,
    others: Vec<Peer>,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Here,
    /// To its owner, of whom there is but one.
    Owner(u16),
    /// To an owner of whom we have not heard, or not yet: pods come up and go before all are told.
    Unknown,
    /// To whoever knows the INVITE that it cancels; everybody else lets it fall.
    Anybody,
}

impl Peers {
    /// `all` may name the node of this slot too.
    pub fn new(slot: Option<u16>, all: &[Peer]) -> Self {
        let own = all.iter().find(|it| Some(it.slot) == slot).cloned();
        let others = all.iter().filter(|it| Some(it.slot) != slot && slot.is_some());
        Self { slot, own, others: others.cloned().collect() }
    }

    pub fn slot(&self) -> Option<u16> {
        self.slot
    }

    /// Of our own admin API, where we were told.
    pub fn own_address(&self) -> Option<SocketAddr> {
        self.own.as_ref().map(|it| it.address)
    }

    /// A peer wrote to us from `address`: a pod that ends is told of no others any more, and yet they
    /// pass on what is for its calls. `false` when we knew.
    pub fn learn(&mut self, slot: u16, address: SocketAddr) -> bool {
        if Some(slot) == self.slot || self.others.iter().any(|it| it.slot == slot) {
            return false;
        }
        // Nothing says that it takes new calls.
        self.others.push(Peer { slot, address, draining: true });
        true
    }

    pub fn others(&self) -> &[Peer] {
        &self.others
    }

    /// Whether a peer hears SIP at the very address and port where we do: a pod on the network of the
    /// same node.
    pub fn shares_our_address(&self, slot: u16) -> bool {
        let ours = self.own.as_ref().map(|it| it.address.ip());
        self.others.iter().any(|it| it.slot == slot && Some(it.address.ip()) == ours)
    }

    /// A peer that takes the calls of our own address in our stead.
    pub fn stand_in(&self) -> Option<u16> {
        let fit = |it: &&Peer| !it.draining && self.shares_our_address(it.slot);
        self.others.iter().find(fit).map(|it| it.slot)
    }

    /// Where a message from the network goes. `known` says whether a request is a copy of one that we
    /// had, or cancels such a one.
    pub(super) fn destination(
        &self,
        flow: &Flow,
        message: &Message,
        draining: bool,
        known: impl Fn(&Request) -> bool,
    ) -> Destination {
        let Some(own) = self.slot else { return Destination::Here };
        if let Some(slot) = owner::of_message(message) {
            let is_peer = self.others.iter().any(|it| it.slot == slot);
            return match slot {
                slot if slot == own => Destination::Here,
                slot if is_peer => Destination::Owner(slot),
                _ => Destination::Unknown,
            };
        }
        if self.others.is_empty() {
            return Destination::Here;
        }
        let Message::Request(request) = message else { return Destination::Here };
        if request.method == Method::Cancel && !known(request) {
            return Destination::Anybody;
        }
        // Datagrams go on coming to the port that we share; connections do not, for we stop listening.
        let new = request.headers.to().is_ok_and(|it| it.tag().is_none());
        if draining
            && flow.transport == Transport::Udp
            && new
            && let Some(slot) = self.stand_in()
            && !known(request)
        {
            return Destination::Owner(slot);
        }
        Destination::Here
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn peer(slot: u16, address: &str, draining: bool) -> Peer {
        Peer { slot, address: address.parse().expect("an address"), draining }
    }

    /// We are slot 1; slot 2 is on our node and drains, slot 3 is there too, slot 4 is elsewhere.
    fn peers() -> Peers {
        let all = [
            peer(1, "10.0.0.1:18081", false),
            peer(2, "10.0.0.1:18082", true),
            peer(3, "10.0.0.1:18083", false),
            peer(4, "10.0.0.2:18084", false),
        ];
        Peers::new(Some(1), &all)
    }

    fn message(method: &str, to: &str) -> Message {
        let text = format!(
            "{method} sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKa\r\n\
             From: <sip:a@x>;tag=7-a\r\nTo: <sip:b@y>{to}\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n\r\n"
        );
        Message::parse(&Bytes::from(text)).expect("a message")
    }

    fn to(method: &str, to: &str, transport: Transport, draining: bool) -> Destination {
        let (local, remote) = (([0, 0, 0, 0], 5060).into(), ([203, 0, 113, 1], 5060).into());
        let flow = Flow { holder: None, id: 0, transport, local, remote };
        peers().destination(&flow, &message(method, to), draining, |_| false)
    }

    #[test]
    fn requests_of_a_dialog_and_acks_go_to_the_node_that_their_to_tag_names() {
        for method in ["BYE", "INVITE", "ACK", "UPDATE"] {
            let destination = |tag| to(method, tag, Transport::Tls, false);
            assert_eq!(destination(";tag=4-k2m8"), Destination::Owner(4), "{method}");
            assert_eq!(destination(";tag=1-k2m8"), Destination::Here, "{method} of ours");
            assert_eq!(destination(";tag=9-k2m8"), Destination::Unknown, "{method} of nobody");
            assert_eq!(destination(";tag=k2m8"), Destination::Here, "{method} without an owner");
            assert_eq!(destination(""), Destination::Here, "{method} without a dialog");
        }
    }

    #[test]
    fn a_cancel_that_we_do_not_know_goes_to_everybody() {
        assert_eq!(to("CANCEL", "", Transport::Tls, false), Destination::Anybody);
        let (local, remote) = (([0, 0, 0, 0], 5060).into(), ([203, 0, 113, 1], 5060).into());
        let flow = Flow { holder: None, id: 0, transport: Transport::Udp, local, remote };
        let known = peers().destination(&flow, &message("CANCEL", ""), true, |_| true);
        assert_eq!(known, Destination::Here);
        let alone = Peers::new(Some(1), &[peer(1, "10.0.0.1:18081", false)]);
        let alone = alone.destination(&flow, &message("CANCEL", ""), true, |_| false);
        assert_eq!(alone, Destination::Here);
    }

    #[test]
    fn while_we_drain_new_datagrams_go_to_a_node_at_our_address_that_does_not() {
        for method in ["INVITE", "OPTIONS"] {
            assert_eq!(to(method, "", Transport::Udp, true), Destination::Owner(3), "{method}");
            assert_eq!(to(method, "", Transport::Udp, false), Destination::Here, "{method}");
            assert_eq!(to(method, "", Transport::Tcp, true), Destination::Here, "{method}");
        }
    }

    #[test]
    fn a_peer_that_writes_is_known_from_then_on() {
        let address = "10.0.0.9:8080".parse().expect("an address");
        let mut peers = peers();
        assert!(!peers.learn(1, address) && !peers.learn(4, address));
        assert!(peers.learn(9, address) && !peers.learn(9, address));
        assert_eq!(peers.others().last(), Some(&peer(9, "10.0.0.9:8080", true)));
    }

    #[test]
    fn a_node_without_a_slot_has_no_peers() {
        assert_eq!(Peers::new(None, &[peer(4, "10.0.0.2:18084", false)]).others(), []);
    }
}
