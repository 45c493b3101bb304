//! Everything that signalling decides, in one machine without I/O: who may speak, which trunk and
//! agent a call gets, and which call a message belongs to.
//!
//! ```text
//! bytes ─▶ sip::Message ─▶ sip::Transactions ─┬─ in a dialog ──▶ Session
//!                                             └─ new: source or digest ─▶ route ─▶ limits ─▶ offer
//!                                                              └ refused: status, Warning, event
//! ```
//!
//! One task owns the switchboard and does what [`Switchboard::poll_output`] says.

mod peers;
mod requests;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::advertised::Advertised;
use super::cause::Cause;
use super::limits::Limits;
use super::media::{AgentFailure, Event, PlayoutBudget};
use super::overload::{Overload, Strain};
use super::peers::Peers;
use super::ports::PortPool;
use super::probes::{AgentServer, Asking, DialFailure, DialKey, Probes};
use super::record::{CallView, Masking};
use super::session::{Context, Session, Unsendable};
use super::strangers::Strangers;
use super::{CallKey, Output, of_config};
use crate::config::Config;
use crate::media::Digits;
use crate::random::Random;
use crate::sip::dialog::DialogId;
use crate::sip::digest::Authenticator;
use crate::sip::transaction::{self, TransactionId, Transactions};
use crate::sip::{Flow, Malformed, Message, Response, Transport, is_keep_alive};

/// How long a digest nonce may be used before the peer is asked to take a new one.
const NONCE_VALIDITY: Duration = Duration::from_secs(300);
/// What `Retry-After` says while the node drains or lacks something that will not come back at once.
const RETRY_LATER: Duration = Duration::from_secs(30);
/// Speech that waits to be played, over all calls of the pod, in bytes of G.711: an hour.
const PLAYOUT_BUDGET_LEN_BYTES: usize = 8000 * 3600;

/// What a switchboard needs to begin.
pub struct Setup {
    pub config: Arc<Config>,
    pub advertised: Advertised,
    /// The pod's slot; call ids and what tells peers whose a message is begin with it.
    pub slot: Option<u16>,
    pub peers: Peers,
    /// RTP and RTCP ports of this process, both ends included.
    pub rtp_ports: (u16, u16),
    pub random: Box<dyn Random>,
    pub transaction_random: Box<dyn Random>,
    /// Under which digest nonces are made; shared by the pods of a pool.
    pub pool_key: Vec<u8>,
    /// One moment on both clocks: from it every wall time in a record is reckoned.
    pub epoch: (Instant, SystemTime),
}

/// See the module.
pub struct Switchboard {
    config: Arc<Config>,
    advertised: Advertised,
    slot: Option<u16>,
    peers: Peers,
    transactions: Transactions,
    sessions: HashMap<CallKey, Session>,
    dialogs: HashMap<DialogId, CallKey>,
    invites: HashMap<TransactionId, CallKey>,
    ids: HashMap<String, CallKey>,
    next_key: u64,
    limits: Limits,
    overload: Overload,
    ports: PortPool,
    strangers: Strangers,
    probes: Probes,
    authenticator: Authenticator,
    random: Box<dyn Random>,
    playout_budget: Arc<PlayoutBudget>,
    masking: Masking,
    epoch: (Instant, SystemTime),
    draining: Option<Draining>,
    /// Calls that the end of this drain has ended.
    drained: u64,
    /// New connections are taken.
    listening: bool,
    accepted: u64,
    refused: u64,
    out: VecDeque<Output>,
}

#[derive(Clone, Copy)]
struct Draining {
    since: Instant,
    deadline: Instant,
}

/// Numbers for `/v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Answered calls.
    pub active: u32,
    /// Calls that ring.
    pub setup: u32,
    pub capacity: u32,
    pub accepted: u64,
    pub refused: u64,
    pub draining: bool,
    /// Calls that the drain's deadline has ended.
    pub drained: u64,
    /// No call is taken for now, for the media threads have enough to do.
    pub overloaded: bool,
    pub trunks: Vec<(String, u32)>,
    pub agents: Vec<(String, u32)>,
}

impl Switchboard {
    pub fn new(setup: Setup) -> Self {
        let mut random = setup.random;
        let mut salt = vec![0; 32];
        random.fill(&mut salt);
        let config = Arc::clone(&setup.config);
        let mut switchboard = Self {
            masking: Masking::new(setup.config.pool.records, salt),
            config: setup.config,
            advertised: setup.advertised,
            slot: setup.slot,
            peers: setup.peers,
            transactions: Transactions::new(
                setup.slot,
                setup.transaction_random,
                transaction::Limits::default(),
            ),
            sessions: HashMap::new(),
            dialogs: HashMap::new(),
            invites: HashMap::new(),
            ids: HashMap::new(),
            next_key: 0,
            limits: Limits::default(),
            overload: Overload::default(),
            ports: PortPool::new(setup.rtp_ports.0..=setup.rtp_ports.1),
            strangers: Strangers::default(),
            probes: Probes::default(),
            authenticator: authenticator(&setup.pool_key),
            random,
            playout_budget: Arc::new(PlayoutBudget::new(PLAYOUT_BUDGET_LEN_BYTES)),
            epoch: setup.epoch,
            draining: None,
            drained: 0,
            listening: true,
            accepted: 0,
            refused: 0,
            out: VecDeque::new(),
        };
        switchboard.with_probes(setup.epoch.0, |probes, cx| {
            probes.handle_config(cx, &config);
            probes.handle_advertised(cx);
        });
        switchboard
    }

    /// Whether an address may open a connection at all; asked before a TLS handshake is paid for.
    pub fn may_connect(config: &Config, address: IpAddr, transport: Transport) -> bool {
        let transport = of_config(transport);
        let found = config.candidates_by_source(address, transport);
        !found.trunks.is_empty()
            || !found.wrong_transport.is_empty()
            || config.challenges_strangers(transport)
    }

    /// One datagram, or one framed message of a stream.
    pub fn handle_bytes(&mut self, now: Instant, flow: Flow, bytes: &Bytes) {
        if is_keep_alive(bytes) {
            return;
        }
        let message = Message::parse(bytes);
        if let Ok(message) = &message
            && self.pass_on(now, &flow, message, bytes)
        {
            return;
        }
        self.take(now, flow, message);
    }

    fn take(&mut self, now: Instant, flow: Flow, message: Result<Message, Malformed>) {
        let known = self.is_known(&flow);
        match message {
            Ok(message) if known => self.transactions.handle_message(now, flow, message),
            Ok(message) => self.transactions.handle_stranger_message(now, flow, message),
            Err(malformed) => {
                self.out.push_back(Output::Malformed {
                    remote: flow.remote,
                    field: malformed.field,
                    problem: malformed.problem,
                });
                if known {
                    self.transactions.handle_malformed(flow, malformed);
                }
            }
        }
        self.drain_transactions(now);
    }

    /// A connection is gone, or a datagram could not be sent.
    pub fn handle_transport_error(&mut self, now: Instant, flow: Flow) {
        self.transactions.handle_transport_error(now, flow);
        self.drain_transactions(now);
    }

    /// New configuration meets new calls; live ones keep what they began with.
    pub fn handle_config(&mut self, now: Instant, config: Arc<Config>) {
        self.limits.retain(
            |trunk| config.trunks.iter().any(|it| it.name == trunk),
            |agent| config.agents.contains_key(agent),
        );
        self.masking.set_policy(config.pool.records);
        if config.pool_key != self.config.pool_key
            && let Some(key) = &config.pool_key
        {
            self.authenticator = authenticator(key.expose());
        }
        self.config = Arc::clone(&config);
        self.with_probes(now, |probes, cx| probes.handle_config(cx, &config));
        self.drain_transactions(now);
    }

    pub fn handle_advertised(&mut self, now: Instant, advertised: Advertised) {
        self.advertised = advertised;
        self.with_probes(now, Probes::handle_advertised);
        self.drain_transactions(now);
    }

    /// The way that [`Output::Dial`] asked for, or why there is none.
    pub fn handle_dialled(
        &mut self,
        now: Instant,
        dial: DialKey,
        result: Result<Flow, DialFailure>,
    ) {
        self.with_probes(now, |probes, cx| probes.handle_dialled(cx, dial, result));
        self.drain_transactions(now);
    }

    /// Whether [`Output::Reach`] found somebody, and how long that took.
    pub fn handle_reached(
        &mut self,
        now: Instant,
        server: &AgentServer,
        result: Result<Duration, AgentFailure>,
    ) {
        self.with_probes(now, |probes, cx| probes.handle_reached(cx, server, result));
    }

    pub fn handle_media(&mut self, now: Instant, call: CallKey, event: Event) {
        let about_agent = match event {
            Event::AgentReady => Some(Ok(())),
            Event::AgentFailed { reason } => Some(Err(reason)),
            _ => None,
        };
        if let Some(result) = about_agent
            && let Some(agent) = self.sessions.get(&call).map(|it| Arc::clone(&it.agent))
        {
            self.with_probes(now, |probes, cx| probes.handle_call(cx, &agent, result));
        }
        self.with_session(now, call, |session, cx| session.handle_media(cx, event));
        self.drain_transactions(now);
    }

    /// The ports of the last [`Output::Open`] for this call could not be bound.
    pub fn handle_port_taken(&mut self, now: Instant, call: CallKey) {
        self.with_session(now, call, Session::handle_port_taken);
        self.drain_transactions(now);
    }

    /// What the media thread has to do that would get the next call.
    pub fn handle_strain(&mut self, strain: Strain) {
        self.overload.handle(strain);
    }

    /// No shard has room for the media of this call.
    pub fn handle_no_media(&mut self, now: Instant, call: CallKey, why: &str) {
        self.with_session(now, call, |session, cx| session.handle_no_media(cx, why));
        self.drain_transactions(now);
    }

    /// The media of a call did not take a command: it is stuck, and the call with it.
    pub fn handle_media_stuck(&mut self, now: Instant, call: CallKey) {
        self.with_session(now, call, |session, cx| {
            session.end(cx, Cause::Internal("the media of this call does not respond".into()));
        });
        self.drain_transactions(now);
    }

    /// Hangs up. `false` when there is no such call, or it is ending already.
    pub fn hang_up(&mut self, now: Instant, id: &str) -> bool {
        let Some(&call) = self.ids.get(id) else { return false };
        let live = self.with_session(now, call, |session, cx| {
            let live = !session.is_ending();
            session.end(cx, Cause::Operator);
            live
        });
        self.drain_transactions(now);
        live.unwrap_or(false)
    }

    /// Presses keys in a call that is up.
    pub fn send_digits(
        &mut self,
        now: Instant,
        id: &str,
        digits: Digits,
    ) -> Result<(), Unsendable> {
        let call = *self.ids.get(id).ok_or(Unsendable::NoSuchCall)?;
        let sent = self.with_session(now, call, |session, cx| session.send_digits(cx, digits));
        self.drain_transactions(now);
        sent.unwrap_or(Err(Unsendable::NoSuchCall))
    }

    /// Takes no new call from now on; those that are up may go on until `deadline`, or until that of
    /// a drain that is under way: whoever asks later waits no longer.
    pub fn drain(&mut self, now: Instant, deadline: Instant) {
        let before = self.draining.unwrap_or(Draining { since: now, deadline });
        let deadline = before.deadline.min(deadline);
        self.draining = Some(Draining { deadline, ..before });
        self.settle_listening(now);
    }

    /// Ends the drain: the node takes calls again.
    pub fn undrain(&mut self, now: Instant) {
        self.draining = None;
        self.drained = 0;
        self.settle_listening(now);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// No call is left, not even one that is ending.
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty()
    }

    /// No request of ours waits for its final response.
    pub fn awaits_no_answer(&self) -> bool {
        !self.transactions.awaits_answers()
    }

    pub fn load(&self) -> Load {
        let active = self.sessions.values().filter(|session| session.is_active()).count() as u32;
        let setup = self
            .sessions
            .values()
            .filter(|session| !session.is_active() && !session.is_ending())
            .count() as u32;
        Load {
            active,
            setup,
            capacity: self.config.pool.calls_per_pod,
            accepted: self.accepted,
            refused: self.refused,
            draining: self.is_draining(),
            drained: self.drained,
            overloaded: self.overload.reason().is_some(),
            trunks: self
                .config
                .trunks
                .iter()
                .map(|trunk| (trunk.name.clone(), self.limits.trunk_calls(&trunk.name)))
                .collect(),
            agents: self
                .config
                .agents
                .keys()
                .map(|name| (name.clone(), self.limits.agent_calls(name)))
                .collect(),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.transactions.handle_timeout(now);
        let due: Vec<CallKey> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.poll_timeout().is_some_and(|at| at <= now))
            .map(|(key, _)| *key)
            .collect();
        for call in due {
            self.with_session(now, call, Session::handle_timeout);
        }
        self.settle_listening(now);
        if self.draining.is_some_and(|it| it.deadline <= now) {
            let live: Vec<CallKey> = self
                .sessions
                .iter()
                .filter(|(_, session)| !session.is_ending())
                .map(|(key, _)| *key)
                .collect();
            self.drained += live.len() as u64;
            for call in live {
                self.with_session(now, call, |session, cx| session.end(cx, Cause::Drained));
            }
        }
        self.with_probes(now, Probes::handle_timeout);
        self.drain_transactions(now);
    }

    /// `None` when only input can move anything.
    // A pod holds hundreds of calls and most have no timer, so asking each costs less than keeping
    // an index true through every change of state.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self.sessions.values().filter_map(Session::poll_timeout).min();
        let drain = self
            .draining
            .map(|it| it.deadline)
            .filter(|_| self.sessions.values().any(|session| !session.is_ending()));
        let (probes, deaf) = (self.probes.poll_timeout(), self.deaf_from());
        let transactions = self.transactions.poll_timeout();
        [transactions, sessions, drain, probes, deaf].into_iter().flatten().min()
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// A peer whose address a trunk names, whatever transport it came over.
    fn is_known(&self, flow: &Flow) -> bool {
        let found = self.config.candidates_by_source(flow.remote.ip(), of_config(flow.transport));
        !found.trunks.is_empty() || !found.wrong_transport.is_empty()
    }

    fn drain_transactions(&mut self, now: Instant) {
        while let Some(output) = self.transactions.poll_output() {
            match output {
                transaction::Output::Transmit { flow, bytes } => {
                    self.out.push_back(Output::Transmit { flow, bytes });
                }
                transaction::Output::Request { id, flow, request } => {
                    self.handle_request(now, id, flow, request);
                }
                transaction::Output::Cancel { id, .. } => {
                    if let Some(&call) = self.invites.get(&id) {
                        self.with_session(now, call, Session::handle_cancel);
                    }
                }
                transaction::Output::Ack { flow, request } => {
                    let dialog = DialogId::of_request(&request);
                    if let Some(&call) = dialog.and_then(|dialog| self.dialogs.get(&dialog)) {
                        self.with_session(now, call, |session, cx| {
                            session.handle_ack(cx, flow, &request);
                        });
                    }
                }
                // What a BYE is answered changes nothing: the call has ended.
                transaction::Output::Response { id, response, .. } => {
                    self.handle_answer(now, id, Some(&response));
                    self.with_probes(now, |probes, cx| probes.handle_response(cx, id, &response));
                }
                transaction::Output::Failed { id, cause } => {
                    self.handle_answer(now, id, None);
                    self.with_probes(now, |probes, cx| probes.handle_failed(cx, id, cause));
                }
            }
        }
    }

    /// An answer to a request of ours inside a call, or the news that there will be none.
    fn handle_answer(&mut self, now: Instant, id: TransactionId, response: Option<&Response>) {
        let call = self.sessions.iter().find(|(_, session)| session.awaits(id));
        if let Some(call) = call.map(|(call, _)| *call) {
            self.with_session(now, call, |session, cx| session.handle_info_answer(cx, response));
        }
    }

    /// Runs one input through a session, and forgets the session once it is over. What the session
    /// told the transactions is for [`Self::drain_transactions`], which every input ends with.
    fn with_session<T>(
        &mut self,
        now: Instant,
        call: CallKey,
        input: impl FnOnce(&mut Session, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let mut session = self.sessions.remove(&call)?;
        let result = input(&mut session, &mut self.context(now));
        if session.is_over() {
            self.dialogs.remove(session.dialog().id());
            self.ids.remove(&session.id);
            self.invites.remove(&session.invite);
        } else {
            self.sessions.insert(call, session);
        }
        Some(result)
    }

    /// Runs one input through the probes; what they told the transactions is for
    /// [`Self::drain_transactions`].
    fn with_probes<T>(
        &mut self,
        now: Instant,
        input: impl FnOnce(&mut Probes, &mut Asking<'_>) -> T,
    ) -> T {
        let mut cx = Asking {
            now,
            transactions: &mut self.transactions,
            random: &mut *self.random,
            pool: &self.config.pool,
            advertised: &self.advertised,
            epoch: self.epoch,
            out: &mut self.out,
        };
        input(&mut self.probes, &mut cx)
    }

    fn context(&mut self, now: Instant) -> Context<'_> {
        Context {
            now,
            transactions: &mut self.transactions,
            limits: &mut self.limits,
            ports: &mut self.ports,
            random: &mut *self.random,
            playout_budget: &self.playout_budget,
            masking: &self.masking,
            epoch: self.epoch,
            out: &mut self.out,
        }
    }

    /// A live call as the admin API shows it.
    pub fn view(&self, id: &str) -> Option<CallView> {
        let session = self.sessions.get(self.ids.get(id)?)?;
        Some(session.view(&self.masking, self.epoch))
    }
}

fn authenticator(pool_key: &[u8]) -> Authenticator {
    Authenticator::new("trunkline", pool_key, NONCE_VALIDITY)
}
