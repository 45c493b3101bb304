//! Any order of events: no machine leaks, none runs hot, every one ends, and every request of ours
//! gets exactly one outcome.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::tests::{Bench, flow, message, response};
use super::*;
use crate::sip::Transport;

const LIMITS: Limits =
    Limits { new_requests: 12, server_transactions: 16, client_transactions: 4, forgotten: 4 };

#[derive(Clone, Debug)]
enum Event {
    Receive {
        method: &'static str,
        branch: &'static str,
        to_tag: &'static str,
        call: u8,
        seq: u32,
        transport: Transport,
        stranger: bool,
    },
    /// To the nth request seen.
    Respond {
        nth: usize,
        code: u16,
    },
    RespondStatelessly {
        nth: usize,
        code: u16,
    },
    Forget {
        nth: usize,
    },
    Send {
        transport: Transport,
    },
    /// A response to the nth request of ours.
    Answer {
        nth: usize,
        code: u16,
    },
    Break {
        transport: Transport,
    },
    /// Every timer at its moment.
    Pass {
        ms: u64,
    },
    /// A clock that wakes late: one call for all that is due.
    Oversleep {
        ms: u64,
    },
}

fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![Just(Transport::Udp), Just(Transport::Tcp), Just(Transport::Tls)]
}

fn code() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![100, 180, 183, 200, 202, 302, 401, 407, 486, 487, 503, 603])
}

fn event() -> impl Strategy<Value = Event> {
    let method = prop::sample::select(vec!["INVITE", "INVITE", "ACK", "CANCEL", "BYE", "OPTIONS"]);
    let branch =
        prop::sample::select(vec!["", ";branch=old", ";branch=z9hG4bKa", ";branch=z9hG4bKb"]);
    let to_tag = prop::sample::select(vec!["", "ours"]);
    let receive = (method, branch, to_tag, 0..3_u8, 1..4_u32, transport(), any::<bool>()).prop_map(
        |(method, branch, to_tag, call, seq, transport, stranger)| Event::Receive {
            method,
            branch,
            to_tag,
            call,
            seq,
            transport,
            stranger,
        },
    );
    prop_oneof![
        8 => receive,
        6 => (any::<usize>(), code()).prop_map(|(nth, code)| Event::Respond { nth, code }),
        1 => (any::<usize>(), code()).prop_map(|(nth, code)| Event::RespondStatelessly { nth, code }),
        1 => any::<usize>().prop_map(|nth| Event::Forget { nth }),
        2 => transport().prop_map(|transport| Event::Send { transport }),
        2 => (any::<usize>(), code()).prop_map(|(nth, code)| Event::Answer { nth, code }),
        1 => transport().prop_map(|transport| Event::Break { transport }),
        3 => (0..40_000_u64).prop_map(|ms| Event::Pass { ms }),
        1 => (0..400_000_u64).prop_map(|ms| Event::Oversleep { ms }),
    ]
}

/// What the owner of the table knows.
struct Owner {
    bench: Bench,
    seen: Vec<(TransactionId, Request)>,
    /// Cancelled once at most.
    cancelled: BTreeSet<TransactionId>,
    /// Failed once at most.
    failed: BTreeSet<TransactionId>,
    sent: Vec<TransactionId>,
    written: BTreeMap<usize, Request>,
    /// Final responses and failures of each request of ours.
    outcomes: BTreeMap<TransactionId, usize>,
}

impl Owner {
    fn new() -> Self {
        Self {
            bench: Bench::with(LIMITS),
            seen: Vec::new(),
            cancelled: BTreeSet::new(),
            failed: BTreeSet::new(),
            sent: Vec::new(),
            written: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        }
    }

    fn pick(&self, nth: usize) -> Option<(TransactionId, Request)> {
        self.seen.get(nth.checked_rem(self.seen.len())?).cloned()
    }

    fn meet(&mut self, event: Event) {
        let now = self.bench.now;
        match event {
            Event::Receive { method, branch, to_tag, call, seq, transport, stranger } => {
                let via = format!("198.51.100.7:5062{branch}");
                let text = message(method, &via, to_tag, &format!("call-{call}"), seq);
                let parsed = Message::parse(&Bytes::from(text.replace('\n', "\r\n"))).unwrap();
                if stranger {
                    self.bench.table.handle_stranger_message(now, flow(transport), parsed);
                } else {
                    self.bench.table.handle_message(now, flow(transport), parsed);
                }
            }
            Event::Respond { nth, code } => {
                if let Some((id, request)) = self.pick(nth) {
                    self.bench.table.respond(now, id, response(&request, code));
                }
            }
            Event::RespondStatelessly { nth, code } => {
                if let Some((id, request)) = self.pick(nth) {
                    self.bench.table.respond_statelessly(id, response(&request, code));
                }
            }
            Event::Forget { nth } => {
                if let Some((id, _)) = self.pick(nth) {
                    self.bench.table.forget(id);
                }
            }
            Event::Send { transport } => self.send(transport),
            Event::Answer { nth, code } => {
                if let Some(nth) = nth.checked_rem(self.sent.len())
                    && let Some(request) = self.written.get(&nth)
                {
                    let answer = Message::Response(response(request, code));
                    let from = flow(Transport::Udp);
                    self.bench.table.handle_message(now, from, answer);
                }
            }
            Event::Break { transport } => {
                self.bench.table.handle_transport_error(now, flow(transport));
            }
            Event::Pass { ms } => self.pass(now + Duration::from_millis(ms)),
            Event::Oversleep { ms } => {
                self.bench.now += Duration::from_millis(ms);
                self.bench.table.handle_timeout(self.bench.now);
                let next = self.bench.table.poll_timeout();
                assert!(next.is_none_or(|next| next > self.bench.now), "would run hot");
                self.drain(true);
            }
        }
        self.drain(false);
        self.check();
    }

    fn send(&mut self, transport: Transport) {
        let text = message("OPTIONS", "x;branch=z9hG4bKx", "", "ours", 1).replace('\n', "\r\n");
        let Ok(Message::Request(mut request)) = Message::parse(&Bytes::from(text)) else {
            panic!()
        };
        request.headers.remove(&HeaderName::Via);
        let table = &mut self.bench.table;
        let id = table.send_request(self.bench.now, flow(transport), request, "192.0.2.10:5060");
        self.sent.push(id);
        for output in self.bench.drain() {
            match output {
                Output::Transmit { bytes, .. } => {
                    let Ok(Message::Request(request)) = Message::parse(&bytes) else { panic!() };
                    self.written.insert(self.sent.len() - 1, request);
                }
                Output::Failed { id: failed, .. } => {
                    assert_eq!(failed, id);
                    *self.outcomes.entry(id).or_default() += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn pass(&mut self, until: Instant) {
        while let Some(at) = self.bench.table.poll_timeout().filter(|at| *at <= until) {
            self.bench.now = at;
            self.bench.table.handle_timeout(at);
            let next = self.bench.table.poll_timeout();
            assert!(next.is_none_or(|next| next > at), "would run hot");
            self.drain(true);
        }
        self.bench.now = until;
    }

    fn drain(&mut self, by_timer: bool) {
        for output in self.bench.drain() {
            match output {
                Output::Transmit { flow, .. } => {
                    assert!(!(by_timer && flow.transport.is_reliable()), "repeats over TCP");
                }
                Output::Request { id, request, .. } => {
                    assert!(!matches!(request.method, Method::Ack | Method::Cancel));
                    assert!(self.seen.iter().all(|(known, _)| *known != id));
                    self.seen.push((id, request));
                }
                Output::Cancel { id, .. } => {
                    assert!(self.seen.iter().any(|(known, _)| *known == id));
                    assert!(self.cancelled.insert(id), "cancelled twice");
                }
                Output::Ack { request, .. } => assert_eq!(request.method, Method::Ack),
                Output::Response { id, response, .. } => {
                    assert!(self.sent.contains(&id));
                    *self.outcomes.entry(id).or_default() +=
                        usize::from(response.status.is_final());
                }
                Output::Failed { id, .. } if self.sent.contains(&id) => {
                    *self.outcomes.entry(id).or_default() += 1;
                }
                Output::Failed { id, .. } => assert!(self.failed.insert(id), "failed twice"),
            }
        }
    }

    fn check(&self) {
        let table = &self.bench.table;
        assert_eq!(table.servers.len() + table.clients.len(), table.slots.len());
        assert_eq!(table.flows.len(), table.slots.len());
        assert_eq!(table.deadlines.len(), table.slots.len(), "each has a timer that ends it");
        assert!(table.servers.len() <= LIMITS.server_transactions);
        assert!(table.clients.len() <= LIMITS.client_transactions);
        for (merged, id) in &table.ongoing {
            let side = table.slots[id].server_side().unwrap();
            assert_eq!(side.merged.as_ref(), Some(merged));
        }
        assert!(self.outcomes.values().all(|count| *count <= 1), "two outcomes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn in_any_order_of_events_nothing_leaks_and_everything_ends(events in vec(event(), 1..80)) {
        let mut owner = Owner::new();
        for event in events {
            owner.meet(event);
        }
        let end = owner.bench.now + invite_server::PROCEEDING_LIMIT + TRANSACTION_TIMEOUT;
        owner.pass(end);
        owner.check();
        owner.bench.assert_empty();
        for id in &owner.sent {
            prop_assert_eq!(owner.outcomes.get(id), Some(&1), "one outcome for each request of ours");
        }
    }
}
