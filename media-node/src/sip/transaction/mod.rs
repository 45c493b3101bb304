//! Transactions (RFC 3261 §17, RFC 6026): who repeats what, and when, so that one request gets one
//! answer over a network that loses and doubles messages.
//!
//! ```text
//! message ─▶ Transactions ─▶ Output::{Request, Cancel, Ack, Response, Failed} ─▶ call
//!                 │  ▲──────────────── respond, forget, send_request ◀────────────┘
//!                 └─▶ Output::Transmit ─▶ sockets
//! ```
//!
//! [`Transactions`] is the table of all of them: it matches messages ([`key`]), routes responses by
//! Via (§18.2.2, RFC 3581), and owns one small machine a transaction ([`invite_server`],
//! [`server`], [`client`]). Everything in it is bounded by [`Limits`].

mod client;
mod forgotten;
mod invite_server;
mod key;
#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod property_tests;
mod route;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::client::{Client, NonInvite};
use self::forgotten::Forgotten;
use self::invite_server::InviteServer;
use self::key::{ClientKey, Merged, ServerKey};
use self::server::Server;
use crate::random::Random;
use crate::sip::{
    Flow, HeaderName, Malformed, Message, Method, Request, Response, StatusCode, Tag, owner,
};

/// The round-trip estimate (RFC 3261 §17.1.1.1).
pub const T1: Duration = Duration::from_millis(500);
/// The longest gap between copies of a non-INVITE request or of a response to an INVITE.
pub const T2: Duration = Duration::from_secs(4);
/// How long a message may stay in the network.
pub const T4: Duration = Duration::from_secs(5);
/// 64·T1: timers B, F, H, J, L and M.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(32);

/// What a 503 for want of room asks for, in seconds.
const RETRY_AFTER_SECS: &str = "5";

/// One transaction, unique for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(u64);

/// How much the table holds. A server transaction over UDP stays for half a minute after its
/// answer, so 50 calls set up and ended a second keep some 3,000 of them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Past this many server transactions a request that opens something new (no To tag) gets 503.
    pub new_requests: usize,
    /// Past this many a request within a dialog gets 503 too.
    pub server_transactions: usize,
    /// Past this many our own requests fail at once.
    pub client_transactions: usize,
    /// Requests whose repetitions are met with silence; beyond it the oldest is unknown again.
    pub forgotten: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            new_requests: 20_000,
            server_transactions: 30_000,
            client_transactions: 30_000,
            forgotten: 16_384,
        }
    }
}

/// What the table wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send these bytes to `flow.remote`.
    Transmit { flow: Flow, bytes: Bytes },
    /// A request not seen before; never an ACK or a CANCEL. `flow.remote` is where it came from,
    /// and its top Via has `received` and `rport` filled in. Answer it by
    /// [`Transactions::respond`], or leave it by [`Transactions::forget`].
    Request { id: TransactionId, flow: Flow, request: Request },
    /// A CANCEL for the INVITE `id`, which has no final response yet: it wants a 487. The CANCEL
    /// itself is answered already. Comes once for an INVITE.
    Cancel { id: TransactionId, flow: Flow, request: Request },
    /// An ACK that belongs to no transaction: that of a 2xx, or nobody's.
    Ack { flow: Flow, request: Request },
    /// A response to a request of ours; provisional ones each time they come, one final one.
    Response { id: TransactionId, flow: Flow, response: Response },
    /// The transaction ended badly and is gone.
    Failed { id: TransactionId, cause: FailureCause },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// Client: no final response within 64·T1. Server: no ACK of a final response other than 2xx
    /// within 64·T1, or nobody answered the request in time.
    Timeout,
    /// The connection is gone, or the peer cannot be reached, or there is no room for a request of
    /// ours.
    TransportError,
}

/// What one event made a machine want; each wants one thing at most.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Transmit(Bytes),
    /// Hand the message that was the event to the owner.
    PassUp,
    Failed(FailureCause),
}

/// The table of all transactions of a node.
pub struct Transactions {
    /// The number of this node in its pool; marks the branches of our requests.
    node: Option<u16>,
    random: Box<dyn Random>,
    limits: Limits,
    /// Keys the hashes that make up tags and name forgotten requests.
    secret: [u64; 2],
    last_id: u64,
    slots: HashMap<TransactionId, Slot>,
    servers: HashMap<ServerKey, TransactionId>,
    clients: HashMap<ClientKey, TransactionId>,
    ongoing: HashMap<Merged, TransactionId>,
    /// Those a broken flow ends.
    flows: BTreeSet<(Flow, TransactionId)>,
    /// One entry a transaction with a timer: its earliest.
    deadlines: BTreeSet<(Instant, TransactionId)>,
    forgotten: Forgotten,
    out: VecDeque<Output>,
}

struct Slot {
    /// Where this side's messages go.
    flow: Flow,
    /// Where a request of ours goes when that flow breaks.
    otherwise: Option<Flow>,
    deadline: Option<Instant>,
    machine: Machine,
}

enum Machine {
    InviteServer(InviteServer, ServerSide),
    Server(Server, ServerSide),
    Client(Client<NonInvite>, ClientKey),
}

/// What the table keeps beside a server machine.
struct ServerSide {
    key: ServerKey,
    merged: Option<Merged>,
    born: Instant,
    /// Where the request came from: a CANCEL must come from the same host.
    source: SocketAddr,
    cancelled: bool,
    /// The To tag of our responses, which the 200 to a CANCEL repeats (RFC 3261 §9.2).
    local_tag: Option<Tag>,
}

impl Transactions {
    pub fn new(node: Option<u16>, mut random: Box<dyn Random>, limits: Limits) -> Self {
        let secret = [random.u64(), random.u64()];
        Self {
            node,
            random,
            limits,
            secret,
            last_id: 0,
            slots: HashMap::new(),
            servers: HashMap::new(),
            clients: HashMap::new(),
            ongoing: HashMap::new(),
            flows: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            forgotten: Forgotten::new(limits.forgotten),
            out: VecDeque::new(),
        }
    }

    /// A message from a peer that may know that somebody is here.
    pub fn handle_message(&mut self, now: Instant, flow: Flow, message: Message) {
        self.take_message(now, flow, message, true);
    }

    /// A message from somebody unknown: the same, but the table never answers on its own (481, 482,
    /// 503, 400), so that only what the owner says by [`Self::respond`] ever reaches a stranger.
    pub fn handle_stranger_message(&mut self, now: Instant, flow: Flow, message: Message) {
        self.take_message(now, flow, message, false);
    }

    /// Answers a request that we cannot handle now, and keeps nothing of it: whoever sent it is to
    /// try again soon.
    pub fn put_off(&mut self, flow: Flow, mut request: Request) {
        if let Ok(reply) = route::stamp(&mut request.headers, flow) {
            self.answer(reply, &request, StatusCode::SERVER_INTERNAL_ERROR, None);
        }
    }

    /// Sends the answer that a message too broken for a transaction still allows.
    pub fn handle_malformed(&mut self, flow: Flow, malformed: Malformed) {
        if let Some(mut reply) = malformed.reply
            && let Ok(flow) = route::stamp(&mut reply.headers, flow)
        {
            self.out.push_back(Output::Transmit { flow, bytes: reply.write() });
        }
    }

    /// The connection of `flow` broke, or its UDP peer cannot be reached.
    pub fn handle_transport_error(&mut self, now: Instant, flow: Flow) {
        let all = (flow, TransactionId(0))..=(flow, TransactionId(u64::MAX));
        let ids: Vec<_> = self.flows.range(all).map(|(_, id)| *id).collect();
        for id in ids {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let step = match (&mut slot.machine, slot.otherwise.take()) {
                (Machine::InviteServer(machine, _), _) => machine.handle_transport_error(),
                (Machine::Server(machine, _), _) => machine.handle_transport_error(),
                (Machine::Client(machine, _), Some(other)) => {
                    slot.flow = other;
                    self.flows.remove(&(flow, id));
                    self.flows.insert((other, id));
                    machine.request().map_or(Step::Nothing, Step::Transmit)
                }
                (Machine::Client(machine, _), _) => machine.handle_transport_error(),
            };
            self.perform(id, step);
        }
        self.forgotten.expire(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((deadline, id)) = self.deadlines.first().copied()
            && deadline <= now
        {
            let Some(slot) = self.slots.get_mut(&id) else {
                self.deadlines.pop_first();
                continue;
            };
            let step = match &mut slot.machine {
                Machine::InviteServer(machine, _) => machine.handle_timeout(now),
                Machine::Server(machine, _) => machine.handle_timeout(now),
                Machine::Client(machine, _) => machine.handle_timeout(now),
            };
            self.perform(id, step);
        }
        self.forgotten.expire(now);
    }

    /// Sends a response made by [`Response::to_request`] from the request of `id`, and repeats it
    /// as the transaction demands. One that comes too late, after a final one or after the
    /// transaction ended, goes nowhere; only a 2xx to an INVITE may be sent again.
    pub fn respond(&mut self, now: Instant, id: TransactionId, response: Response) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let status = response.status;
        let (step, side) = match &mut slot.machine {
            Machine::InviteServer(machine, side) => {
                (machine.respond(now, status, response.write()), side)
            }
            Machine::Server(machine, side) => {
                (machine.respond(now, status, response.write()), side)
            }
            Machine::Client(..) => return,
        };
        if let Ok(to) = response.headers.to()
            && let Some(tag) = to.tag()
        {
            side.local_tag = Some(tag);
        }
        // Carriers are seen to repeat a challenged request with a new branch and the old CSeq; it
        // is no second copy of a request still being handled, so it must not get 482.
        let challenged = [StatusCode::UNAUTHORIZED, StatusCode::PROXY_AUTHENTICATION_REQUIRED];
        if challenged.contains(&status)
            && let Some(merged) = side.merged.take()
        {
            self.ongoing.remove(&merged);
        }
        self.perform(id, step);
    }

    /// Sends one response and keeps nothing of the transaction (RFC 3261 §8.2.7): for a challenge to
    /// a stranger, whose address may be forged and must not be sent the same thing ten times.
    /// A repeated request comes as a new [`Output::Request`].
    pub fn respond_statelessly(&mut self, id: TransactionId, response: Response) {
        let is_server = self.slots.get(&id).is_some_and(|slot| slot.server_side().is_some());
        if is_server && let Some(slot) = self.remove(id) {
            self.out.push_back(Output::Transmit { flow: slot.flow, bytes: response.write() });
        }
    }

    /// Sends the 2xx of an INVITE again, byte for byte, while the transaction is in Accepted: what
    /// [`AwaitAck`](crate::sip::await_ack::AwaitAck) asks for.
    pub fn resend_ok(&mut self, id: TransactionId, ok: Bytes) {
        if let Some(slot) = self.slots.get(&id)
            && let Machine::InviteServer(machine, _) = &slot.machine
            && machine.is_accepted()
        {
            self.out.push_back(Output::Transmit { flow: slot.flow, bytes: ok });
        }
    }

    /// Where the responses of `id` go (RFC 3261 §18.2.2); `None` once it ended.
    pub fn reply_flow(&self, id: TransactionId) -> Option<Flow> {
        self.slots.get(&id).filter(|slot| slot.server_side().is_some()).map(|slot| slot.flow)
    }

    /// Whether a request that came on `flow` is a copy of one before, or cancels such a one.
    pub fn knows(&self, flow: Flow, request: &Request) -> bool {
        let mut request = request.clone();
        if route::stamp(&mut request.headers, flow).is_err() {
            return false;
        }
        let Ok((key, _)) = key::of_request(&request) else { return false };
        let known = |key: &ServerKey| self.servers.contains_key(key);
        known(&key) || request.method == Method::Cancel && known(&key.for_method(Method::Invite))
    }

    /// Drops a request without an answer; its repetitions, its CANCEL and its ACK meet silence too.
    pub fn forget(&mut self, id: TransactionId) {
        if let Some(slot) = self.slots.get(&id)
            && let Some(side) = slot.server_side()
        {
            let name = self.name_of(&side.key);
            self.forgotten.insert(name, side.born + TRANSACTION_TIMEOUT);
            self.remove(id);
        }
    }

    /// Sends a request of ours, whole but for its Via, and repeats it until it is answered.
    /// `sent_by` is the host and port where responses find us. Never for INVITE or ACK: an ACK has
    /// no transaction, and an INVITE needs another machine.
    pub fn send_request(
        &mut self,
        now: Instant,
        flow: Flow,
        mut request: Request,
        sent_by: &str,
    ) -> TransactionId {
        let id = self.next_id();
        let fits = !matches!(request.method, Method::Invite | Method::Ack);
        debug_assert!(fits, "a non-INVITE client transaction is for neither INVITE nor ACK");
        if !fits || self.clients.len() >= self.limits.client_transactions {
            self.out.push_back(Output::Failed { id, cause: FailureCause::TransportError });
            return id;
        }
        let branch = format!("z9hG4bK{}", owner::mark(self.node, &self.random.token(16)));
        let rport = if flow.transport.is_reliable() { "" } else { ";rport" };
        let via = format!("SIP/2.0/{} {sent_by}{rport};branch={branch}", flow.transport.as_str());
        request.headers.push_front(HeaderName::Via, Bytes::from(via));

        let key = ClientKey::new(&branch, request.method.clone());
        let bytes = request.write();
        let machine = Client::new(now, flow.transport.is_reliable(), bytes.clone());
        self.clients.insert(key.clone(), id);
        self.insert(id, Slot::new(flow, Machine::Client(machine, key)));
        self.perform(id, Step::Transmit(bytes));
        id
    }

    /// When the flow of a request of ours breaks, it goes by `flow` instead, which is of the same
    /// transport (RFC 3261 §18.1.1).
    pub fn or_by(&mut self, id: TransactionId, flow: Flow) {
        if let Some(slot) = self.slots.get_mut(&id) {
            debug_assert_eq!(slot.flow.transport, flow.transport, "its Via names the transport");
            slot.otherwise = Some(flow);
        }
    }

    /// Whether a request of ours has no final response yet.
    pub fn awaits_answers(&self) -> bool {
        let mut clients = self.clients.values().filter_map(|id| self.slots.get(id));
        clients
            .any(|slot| matches!(&slot.machine, Machine::Client(it, _) if it.request().is_some()))
    }

    /// Waits no longer for the answer to a request of ours. One that still comes is nobody's.
    pub fn abandon(&mut self, id: TransactionId) {
        if matches!(self.slots.get(&id), Some(Slot { machine: Machine::Client(..), .. })) {
            self.remove(id);
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// The earliest deadline of all transactions; `None` when only input can move one.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Transactions in the table.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn take_message(&mut self, now: Instant, flow: Flow, message: Message, answers: bool) {
        match message {
            Message::Request(request) => self.take_request(now, flow, request, answers),
            Message::Response(response) => self.take_response(now, flow, response),
        }
    }

    fn take_request(&mut self, now: Instant, flow: Flow, mut request: Request, answers: bool) {
        // RFC 3261 §18.2.1 and RFC 3581 §4. Without a Via there is nobody to answer.
        let Ok(reply) = route::stamp(&mut request.headers, flow) else { return };
        self.forgotten.expire(now);
        let (key, merged) = match key::of_request(&request) {
            Ok(keys) => keys,
            Err(field) => {
                if answers && request.method != Method::Ack {
                    let reason = format!("Bad Request: {field}");
                    self.answer(reply, &request, StatusCode::BAD_REQUEST, Some(&reason));
                }
                return;
            }
        };
        if request.method == Method::Ack {
            return self.take_ack(now, flow, &key, request);
        }
        if let Some(id) = self.servers.get(&key).copied() {
            let Some(slot) = self.slots.get_mut(&id) else { return };
            let step = match &slot.machine {
                Machine::InviteServer(machine, _) => machine.handle_repeat(),
                Machine::Server(machine, _) => machine.handle_repeat(),
                Machine::Client(..) => Step::Nothing,
            };
            return self.perform(id, step);
        }
        if self.forgotten.contains(self.name_of(&key), now) {
            return;
        }
        if request.method == Method::Cancel {
            return self.take_cancel(now, flow, reply, key, request, answers);
        }
        let in_dialog = request.headers.to().is_ok_and(|to| to.tag().is_some());
        if !in_dialog && self.ongoing.contains_key(&merged) {
            // RFC 3261 §8.2.2.2: the same request by another path.
            if answers {
                self.answer(reply, &request, StatusCode::LOOP_DETECTED, None);
            }
            return;
        }
        if self.is_full(in_dialog) {
            if answers {
                self.answer(reply, &request, StatusCode::SERVICE_UNAVAILABLE, None);
            }
            return;
        }
        let merged = (!in_dialog).then_some(merged);
        let id = self.open_server(now, flow, reply, key, merged, &request.method);
        self.settle(id);
        self.out.push_back(Output::Request { id, flow, request });
    }

    fn take_ack(&mut self, now: Instant, flow: Flow, key: &ServerKey, request: Request) {
        let known = |key: &ServerKey| self.servers.get(key).copied();
        // RFC 2543 peers: the INVITE had either this To tag (a re-INVITE) or none (§17.2.3).
        let found = known(key).or_else(|| known(&key.without_to_tag()?));
        let Some(id) = found else {
            if !self.forgotten.contains(self.name_of(key), now) {
                self.out.push_back(Output::Ack { flow, request });
            }
            return;
        };
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Machine::InviteServer(machine, _) = &mut slot.machine else { return };
        match machine.handle_ack(now) {
            Step::PassUp => self.out.push_back(Output::Ack { flow, request }),
            step => self.perform(id, step),
        }
    }

    fn take_cancel(
        &mut self,
        now: Instant,
        flow: Flow,
        reply: Flow,
        key: ServerKey,
        request: Request,
        answers: bool,
    ) {
        // What a CANCEL cancels differs from it by the method alone (RFC 3261 §9.1); only an INVITE
        // can still be stopped.
        let invite = key.for_method(Method::Invite);
        if self.forgotten.contains(self.name_of(&invite), now) {
            return;
        }
        // RFC 3261 §22.1: a CANCEL cannot be challenged, so it counts when it comes from the host
        // that sent the INVITE.
        let target = self.servers.get(&invite).copied().and_then(|id| {
            let slot = self.slots.get(&id)?;
            let side = slot.server_side()?;
            (side.source.ip() == flow.remote.ip()).then_some((id, side.local_tag.clone()))
        });
        let Some((target, tag)) = target else {
            if answers {
                self.answer(reply, &request, StatusCode::CALL_DOES_NOT_EXIST, None);
            }
            return;
        };

        let mut ok = Response::to_request(&request, StatusCode::OK, None);
        match tag {
            Some(tag) => ok.headers.add_to_tag(tag.as_str()),
            None => ok.headers.add_to_tag(&self.stateless_tag(&request)),
        }
        if self.is_full(true) {
            self.out.push_back(Output::Transmit { flow: reply, bytes: ok.write() });
        } else {
            let id = self.open_server(now, flow, reply, key, None, &Method::Cancel);
            self.respond(now, id, ok);
        }
        if let Some(slot) = self.slots.get_mut(&target)
            && let Machine::InviteServer(machine, side) = &mut slot.machine
            && machine.is_proceeding()
            && !side.cancelled
        {
            side.cancelled = true;
            self.out.push_back(Output::Cancel { id: target, flow, request });
        }
    }

    fn take_response(&mut self, now: Instant, flow: Flow, response: Response) {
        // RFC 3261 §8.1.3.3: more than one Via, and it was for somebody else.
        let Some(key) = key::of_response(&response) else { return };
        let Some(id) = self.clients.get(&key).copied() else { return };
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Machine::Client(machine, _) = &mut slot.machine else { return };
        match machine.handle_response(now, response.status) {
            Step::PassUp => {
                self.out.push_back(Output::Response { id, flow, response });
                self.settle(id);
            }
            step => self.perform(id, step),
        }
    }

    /// Answers without a transaction (RFC 3261 §8.2.7): a repeated request gets the same again.
    fn answer(&mut self, flow: Flow, request: &Request, status: StatusCode, reason: Option<&str>) {
        let mut response = Response::to_request(request, status, reason);
        response.headers.add_to_tag(&self.stateless_tag(request));
        if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVER_INTERNAL_ERROR].contains(&status) {
            let value = Bytes::from_static(RETRY_AFTER_SECS.as_bytes());
            response.headers.push(HeaderName::RetryAfter, value);
        }
        self.out.push_back(Output::Transmit { flow, bytes: response.write() });
    }

    /// A To tag that comes out the same for each copy of a request (RFC 3261 §8.2.7).
    fn stateless_tag(&self, request: &Request) -> String {
        format!("{:016x}", key::tag_hash(self.secret, request))
    }

    fn name_of(&self, key: &ServerKey) -> u64 {
        key::keyed_hash(self.secret, key)
    }

    fn is_full(&self, in_dialog: bool) -> bool {
        let limit =
            if in_dialog { self.limits.server_transactions } else { self.limits.new_requests };
        self.servers.len() >= limit
    }

    fn open_server(
        &mut self,
        now: Instant,
        from: Flow,
        reply: Flow,
        key: ServerKey,
        merged: Option<Merged>,
        method: &Method,
    ) -> TransactionId {
        let id = self.next_id();
        self.servers.insert(key.clone(), id);
        if let Some(merged) = &merged {
            self.ongoing.insert(merged.clone(), id);
        }
        let side = ServerSide {
            key,
            merged,
            born: now,
            source: from.remote,
            cancelled: false,
            local_tag: None,
        };
        let reliable = reply.transport.is_reliable();
        let machine = match method {
            Method::Invite => Machine::InviteServer(InviteServer::new(now, reliable), side),
            _ => Machine::Server(Server::new(now, reliable), side),
        };
        self.insert(id, Slot::new(reply, machine));
        id
    }

    fn next_id(&mut self) -> TransactionId {
        self.last_id += 1;
        TransactionId(self.last_id)
    }

    fn insert(&mut self, id: TransactionId, slot: Slot) {
        self.flows.insert((slot.flow, id));
        self.slots.insert(id, slot);
    }

    fn perform(&mut self, id: TransactionId, step: Step) {
        match step {
            Step::Transmit(bytes) => {
                if let Some(slot) = self.slots.get(&id) {
                    self.out.push_back(Output::Transmit { flow: slot.flow, bytes });
                }
            }
            Step::Failed(cause) => self.out.push_back(Output::Failed { id, cause }),
            Step::Nothing | Step::PassUp => {}
        }
        self.settle(id);
    }

    /// Brings the deadline up to date after a machine moved, and removes one that is over.
    fn settle(&mut self, id: TransactionId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let (is_over, deadline) = match &slot.machine {
            Machine::InviteServer(machine, _) => (machine.is_over(), machine.poll_timeout()),
            Machine::Server(machine, _) => (machine.is_over(), machine.poll_timeout()),
            Machine::Client(machine, _) => (machine.is_over(), machine.poll_timeout()),
        };
        if is_over {
            self.remove(id);
        } else if slot.deadline != deadline {
            if let Some(before) = std::mem::replace(&mut slot.deadline, deadline) {
                self.deadlines.remove(&(before, id));
            }
            self.deadlines.extend(deadline.map(|at| (at, id)));
        }
    }

    fn remove(&mut self, id: TransactionId) -> Option<Slot> {
        let slot = self.slots.remove(&id)?;
        self.flows.remove(&(slot.flow, id));
        if let Some(deadline) = slot.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        match &slot.machine {
            Machine::InviteServer(_, side) | Machine::Server(_, side) => {
                self.servers.remove(&side.key);
                if let Some(merged) = &side.merged {
                    self.ongoing.remove(merged);
                }
            }
            Machine::Client(_, key) => {
                self.clients.remove(key);
            }
        }
        Some(slot)
    }
}

impl Slot {
    fn new(flow: Flow, machine: Machine) -> Self {
        Self { flow, otherwise: None, deadline: None, machine }
    }

    fn server_side(&self) -> Option<&ServerSide> {
        match &self.machine {
            Machine::InviteServer(_, side) | Machine::Server(_, side) => Some(side),
            Machine::Client(..) => None,
        }
    }
}
