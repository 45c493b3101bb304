//! Asks every server of every carrier, again and again, whether it is there.
//!
//! ```text
//!  Waiting ── its time comes ─▶ Dialling ── a flow ─▶ Asked ── final response ─┐
//!     ▲                            │  ▲                 │ │                    │
//!     │                            │  └─ broke, once ───┘ │                    │
//!     └──────── no flow ───────────┴──── TIMEOUT ─────────┴────────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::record::timestamp;
use super::{
    Asker, Asking, DialFailure, DialKey, Families, OptionsView, Output, Reason, Target,
    in_milliseconds, part, uri_transport,
};
use crate::config::{Config, Server};
use crate::sip::transaction::{FailureCause, TransactionId};
use crate::sip::{Flow, Response, StatusCode, Uri};

/// Bounds one question, from looking up the name to the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A server that is new is asked within this time: at once, but not all in one moment.
const FIRST_WITHIN: Duration = Duration::from_secs(2);
/// The least time from an answer to the next question.
const PAUSE: Duration = Duration::from_secs(1);
/// Questions under way at once; others wait for their turn.
const MAX_RUNNING: usize = 256;

/// A server of one trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key(u64);

/// See the module.
#[derive(Default)]
pub(super) struct Carriers {
    /// The servers of each trunk that is asked, in order of preference.
    trunks: BTreeMap<String, Vec<Key>>,
    probes: HashMap<Key, Probe>,
    /// Those that wait, by when their time comes.
    waiting: BTreeSet<(Instant, Key)>,
    /// Those under way, by when their time is up.
    running: BTreeSet<(Instant, Key)>,
    dials: HashMap<u64, Key>,
    asked: HashMap<TransactionId, Key>,
    families: Families,
    last_number: u64,
}

struct Probe {
    trunk: String,
    server: Arc<Server>,
    period: Duration,
    state: State,
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy)]
enum State {
    Waiting { at: Instant },
    Dialling { give_up_at: Instant, number: u64, again: bool },
    Asked { give_up_at: Instant, id: TransactionId, flow: Flow, sent_at: Instant, again: bool },
}

struct Outcome {
    reason: Reason,
    round_trip: Option<Duration>,
    message: String,
    at: Instant,
}

impl Carriers {
    /// A server that stays keeps its state and its next time.
    pub(super) fn handle_config(&mut self, cx: &mut Asking<'_>, config: &Config) {
        let mut before = std::mem::take(&mut self.trunks);
        for trunk in &config.trunks {
            let mut old = before.remove(&trunk.name).unwrap_or_default();
            let outbound = trunk.outbound.as_ref();
            let wanted = outbound.and_then(|it| Some((it, it.options_period?)));
            let mut keys = Vec::new();
            for (server, period) in
                wanted.iter().flat_map(|(it, period)| it.servers.iter().map(move |s| (s, *period)))
            {
                let stays = old.iter().position(|key| {
                    self.probes.get(key).is_some_and(|probe| probe.server == *server)
                });
                let key = match stays {
                    Some(place) => old.remove(place),
                    None => self.add(cx, &trunk.name, server, period),
                };
                if let Some(probe) = self.probes.get_mut(&key) {
                    probe.period = period;
                }
                keys.push(key);
            }
            if !keys.is_empty() {
                self.trunks.insert(trunk.name.clone(), keys);
            }
            self.remove_all(cx, trunk.name.clone(), old);
        }
        for (trunk, keys) in before {
            self.remove_all(cx, trunk, keys);
        }
    }

    /// Without an address to name in a Via nobody is asked.
    pub(super) fn handle_advertised(&mut self, families: Families) {
        self.families = families;
    }

    pub(super) fn handle_dialled(
        &mut self,
        cx: &mut Asking<'_>,
        number: u64,
        result: Result<Flow, DialFailure>,
    ) {
        let Some(key) = self.dials.remove(&number) else { return };
        let Some(probe) = self.probes.get_mut(&key) else { return };
        let State::Dialling { give_up_at, again, .. } = probe.state else { return };
        let flow = match result {
            Ok(flow) => flow,
            Err(failure) => {
                return self.finish(cx, key, failure.step.into(), None, failure.text);
            }
        };
        let uri = format!("sip:{}{}", probe.server, uri_transport(flow.transport));
        let Ok(uri) = Uri::parse(uri.as_bytes()) else {
            let text = "the server's name does not fit into a SIP URI".to_owned();
            return self.finish(cx, key, Reason::DnsFailed, None, text);
        };
        let call_id = cx.call_id();
        let Some(id) = cx.ask(flow, uri, &call_id) else {
            let text = format!("this node advertises no address of the family of {}", flow.remote);
            return self.finish(cx, key, Reason::ConnectFailed, None, text);
        };
        probe.state = State::Asked { give_up_at, id, flow, sent_at: cx.now, again };
        self.asked.insert(id, key);
    }

    pub(super) fn handle_response(
        &mut self,
        cx: &mut Asking<'_>,
        id: TransactionId,
        response: &Response,
    ) {
        if !response.status.is_final() {
            return;
        }
        let Some(key) = self.asked.remove(&id) else { return };
        let Some(Probe { state: State::Asked { sent_at, .. }, .. }) = self.probes.get(&key) else {
            return;
        };
        let round_trip = cx.now.saturating_duration_since(*sent_at);
        let reason = match response.status {
            StatusCode::REQUEST_TIMEOUT => Reason::OptionsTimeout,
            StatusCode::SERVICE_UNAVAILABLE => Reason::Rejected,
            _ => Reason::OptionsOk,
        };
        let more = match response.status {
            // The phrase is ours: what a peer writes there goes into no log.
            status if !reason.is_ok() => format!(" {}", status.default_reason()),
            _ => String::new(),
        };
        let milliseconds = in_milliseconds(round_trip);
        let text = format!("OPTIONS {}{more} in {milliseconds} ms", response.status);
        self.finish(cx, key, reason, Some(round_trip), text);
    }

    pub(super) fn handle_failed(
        &mut self,
        cx: &mut Asking<'_>,
        id: TransactionId,
        cause: FailureCause,
    ) {
        let Some(key) = self.asked.remove(&id) else { return };
        let Some(probe) = self.probes.get(&key) else { return };
        let State::Asked { give_up_at, again, .. } = probe.state else { return };
        match cause {
            FailureCause::Timeout => self.unanswered(cx, key),
            // A connection that was idle may have been closed as we wrote: that proves nothing.
            FailureCause::TransportError if !again => self.dial(cx, key, give_up_at, true),
            FailureCause::TransportError => {
                let text = "the connection broke before an answer came".to_owned();
                self.finish(cx, key, Reason::ConnectFailed, None, text);
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Asking<'_>) {
        while let Some((at, key)) = self.running.first().copied()
            && at <= cx.now
        {
            let Some(probe) = self.probes.get(&key) else {
                self.running.pop_first();
                continue;
            };
            match probe.state {
                State::Asked { id, flow, .. } => {
                    cx.transactions.abandon(id);
                    if flow.transport.is_reliable() {
                        // Whoever is there no longer reads; the next question finds out by itself.
                        cx.out.push_back(Output::Hangup { flow });
                    }
                    self.unanswered(cx, key);
                }
                State::Dialling { .. } | State::Waiting { .. } => {
                    let text = format!("no connection within {} s", TIMEOUT.as_secs());
                    self.finish(cx, key, Reason::ConnectFailed, None, text);
                }
            }
        }
        while let Some((at, key)) = self.next_waiting()
            && at <= cx.now
        {
            self.waiting.pop_first();
            let give_up_at = cx.now + TIMEOUT;
            self.running.insert((give_up_at, key));
            self.dial(cx, key, give_up_at, false);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let running = self.running.first().map(|(at, _)| *at);
        let waiting = self.next_waiting().map(|(at, _)| at);
        running.into_iter().chain(waiting).min()
    }

    /// The next to be asked, when there is room and an address to ask from.
    fn next_waiting(&self) -> Option<(Instant, Key)> {
        let may_ask = self.families != Families::default() && self.running.len() < MAX_RUNNING;
        self.waiting.first().copied().filter(|_| may_ask)
    }

    fn add(
        &mut self,
        cx: &mut Asking<'_>,
        trunk: &str,
        server: &Arc<Server>,
        period: Duration,
    ) -> Key {
        let key = Key(self.next_number());
        let at = cx.now + part(FIRST_WITHIN.min(period), cx.random);
        let probe = Probe {
            trunk: trunk.to_owned(),
            server: Arc::clone(server),
            period,
            state: State::Waiting { at },
            outcome: None,
        };
        self.probes.insert(key, probe);
        self.waiting.insert((at, key));
        key
    }

    /// Servers that a trunk no longer has.
    fn remove_all(&mut self, cx: &mut Asking<'_>, trunk: String, keys: Vec<Key>) {
        if keys.is_empty() {
            return;
        }
        let options = self.view(cx, &trunk);
        cx.out.push_back(Output::Reachable { trunk, options });
        for key in keys {
            let Some(probe) = self.probes.remove(&key) else { continue };
            match probe.state {
                State::Waiting { at } => {
                    self.waiting.remove(&(at, key));
                }
                State::Dialling { give_up_at, number, .. } => {
                    self.running.remove(&(give_up_at, key));
                    self.dials.remove(&number);
                }
                State::Asked { give_up_at, id, .. } => {
                    self.running.remove(&(give_up_at, key));
                    self.asked.remove(&id);
                    cx.transactions.abandon(id);
                }
            }
        }
    }

    fn dial(&mut self, cx: &mut Asking<'_>, key: Key, give_up_at: Instant, again: bool) {
        let number = self.next_number();
        let Some(probe) = self.probes.get_mut(&key) else { return };
        probe.state = State::Dialling { give_up_at, number, again };
        self.dials.insert(number, key);
        cx.out.push_back(Output::Dial {
            dial: DialKey { asker: Asker::Carriers, number },
            target: Target::Carrier(Arc::clone(&probe.server)),
            families: self.families,
        });
    }

    fn unanswered(&mut self, cx: &mut Asking<'_>, key: Key) {
        let text = format!("no answer to OPTIONS within {} s", TIMEOUT.as_secs());
        self.finish(cx, key, Reason::OptionsTimeout, None, text);
    }

    /// The question is over: says how, and sets the time of the next.
    fn finish(
        &mut self,
        cx: &mut Asking<'_>,
        key: Key,
        reason: Reason,
        round_trip: Option<Duration>,
        message: String,
    ) {
        let Some(probe) = self.probes.get_mut(&key) else { return };
        let give_up_at = match probe.state {
            State::Waiting { .. } => return,
            State::Dialling { give_up_at, number, .. } => {
                self.dials.remove(&number);
                give_up_at
            }
            State::Asked { give_up_at, id, .. } => {
                self.asked.remove(&id);
                give_up_at
            }
        };
        self.running.remove(&(give_up_at, key));
        let began = give_up_at - TIMEOUT;
        // Ten per cent to either side, so that the pods of a pool do not ask in step for ever.
        let fifth = probe.period / 5;
        let spread = probe.period - fifth / 2 + part(fifth, cx.random);
        let at = (began + spread).max(cx.now + PAUSE);
        probe.state = State::Waiting { at };
        self.waiting.insert((at, key));

        let changed = probe.outcome.as_ref().is_none_or(|before| before.reason != reason);
        probe.outcome = Some(Outcome { reason, round_trip, message: message.clone(), at: cx.now });
        let (trunk, server) = (probe.trunk.clone(), probe.server.to_string());
        let options = self.view(cx, &trunk);
        cx.out.push_back(Output::Probed { trunk: trunk.clone(), server, reason, message, changed });
        cx.out.push_back(Output::Reachable { trunk, options });
    }

    fn view(&self, cx: &Asking<'_>, trunk: &str) -> Option<Box<OptionsView>> {
        let asked = || {
            let keys = self.trunks.get(trunk).into_iter().flatten();
            keys.filter_map(|key| self.probes.get(key))
                .filter_map(|probe| Some((&probe.server, probe.outcome.as_ref()?)))
        };
        let best = asked().find(|(_, outcome)| outcome.reason.is_ok());
        let (server, outcome) = best.or_else(|| asked().next())?;
        Some(Box::new(OptionsView {
            ok: outcome.reason.is_ok(),
            server: server.to_string(),
            rtt_milliseconds: outcome.round_trip.map(in_milliseconds),
            reason: outcome.reason,
            message: outcome.message.clone(),
            at: timestamp(cx.epoch, outcome.at),
        }))
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}
