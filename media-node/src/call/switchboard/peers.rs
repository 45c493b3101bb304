//! What a switchboard passes on to its peers, and what they pass on to it.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Switchboard;
use crate::call::Output;
use crate::call::peers::{Destination, Peers};
use crate::sip::{Flow, Message, Method, Request};

/// A node that drains goes on taking connections for so long, until everybody has heard of it.
const LISTENS_ON: Duration = Duration::from_secs(10);

impl Switchboard {
    /// Who else is there has changed.
    pub fn handle_peers(&mut self, now: Instant, peers: Peers) {
        self.peers = peers;
        self.settle_listening(now);
    }

    /// A message that came to a peer, who thinks that it is ours.
    pub fn handle_passed_on(&mut self, now: Instant, flow: Flow, bytes: &Bytes) {
        let message = Message::parse(bytes);
        if let Ok(Message::Request(request)) = &message
            && request.method == Method::Cancel
            && !self.transactions.knows(flow, request)
        {
            // Every peer was asked: another one knows it, or nobody.
            return;
        }
        self.take(now, flow, message);
    }

    /// A message that did not get to its owner. With `gone` that node does not run, and its calls
    /// neither: we say so in its stead. Else the call may well be up, and nothing must end it.
    pub fn handle_undelivered(&mut self, now: Instant, flow: Flow, bytes: &Bytes, gone: bool) {
        let message = Message::parse(bytes);
        match message {
            Ok(Message::Request(request)) if !gone => self.put_off(now, flow, request),
            message => self.take(now, flow, message),
        }
    }

    /// Asks for patience (RFC 3261 §21.5.1): a 481 would end the dialog.
    fn put_off(&mut self, now: Instant, flow: Flow, request: Request) {
        if request.method != Method::Ack && self.is_known(&flow) {
            self.transactions.put_off(flow, request);
            self.drain_transactions(now);
        }
    }

    /// Gives a message to the peer that it is for; `false` when it is for us.
    pub(super) fn pass_on(
        &mut self,
        now: Instant,
        flow: &Flow,
        message: &Message,
        bytes: &Bytes,
    ) -> bool {
        let known = |request: &Request| self.transactions.knows(*flow, request);
        let destination = self.peers.destination(flow, message, self.is_draining(), known);
        match destination {
            Destination::Here => return false,
            Destination::Unknown => {
                if let Message::Request(request) = message {
                    self.put_off(now, *flow, request.clone());
                }
            }
            Destination::Owner(slot) => self.out.push_back(Output::PassOn {
                slot,
                flow: *flow,
                bytes: bytes.clone(),
                owner: true,
                stranger: !self.is_known(flow),
            }),
            // One datagram from a forged address must not become many.
            Destination::Anybody if !flow.transport.is_reliable() && !self.is_known(flow) => {
                return false;
            }
            Destination::Anybody => {
                let stranger = !self.is_known(flow);
                self.out.extend(self.peers.others().iter().map(|peer| Output::PassOn {
                    slot: peer.slot,
                    flow: *flow,
                    bytes: bytes.clone(),
                    owner: false,
                    stranger,
                }));
            }
        }
        true
    }

    /// When new connections are left to others: only where there is somebody to take them, for all
    /// else would find nobody at our address.
    pub(super) fn deaf_from(&self) -> Option<Instant> {
        let draining = self.draining.filter(|_| self.listening)?;
        self.peers.stand_in().map(|_| draining.since + LISTENS_ON)
    }

    pub(super) fn settle_listening(&mut self, now: Instant) {
        let due = |since: Instant| since + LISTENS_ON <= now && self.peers.stand_in().is_some();
        let listen = !self.draining.is_some_and(|it| due(it.since));
        if listen != self.listening {
            self.listening = listen;
            self.out.push_back(Output::Listen(listen));
        }
    }
}
