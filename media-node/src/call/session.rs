//! One call's signalling, from INVITE to the last word: the dialog, the offer and answer, the
//! agent's readiness, and the one place where the call ends.
//!
//! ```text
//!            agent ready / connect: Answered          ACK
//!  Ringing ───────────────────────────────▶ Answered ─────▶ Up
//!     │ CANCEL, no agent, …                     │ no ACK      │ BYE, agent gone, silence, …
//!     └──────────────────────▶ Ending ◀─────────┴─────────────┘
//!                                │ media has reported
//!                                ▼
//!                              Ended
//! ```
//!
//! The audio itself is [`super::media::Media`], on a shard; the two speak by
//! [`Command`](super::media::Command) and [`Event`](super::media::Event).

mod digits;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::cause::Cause;
use super::limits::Limits;
use super::media::{self, Command, Event, OneWay, Report};
use super::ports::{PortPool, RtpPorts};
use super::record::Masking;
use super::{CallKey, Output, Phase};
use crate::config::{self, Agent, Config, Connect, Fallback, Trunk};
use crate::endpoints::websocket::StartInfo;
use crate::media::CryptoSuite;
use crate::random::Random;
use crate::sdp::{self, Agreed, LocalAddress, SessionDescription};
use crate::sip::await_ack::{self, AwaitAck};
use crate::sip::dialog::Dialog;
use crate::sip::transaction::{TransactionId, Transactions};
use crate::sip::{Flow, HeaderName, Method, Request, Response, StatusCode};

use digits::SessionDigits;
pub use digits::Unsendable;

/// What we understand; in `Allow` of every 2xx, 405 and answer to OPTIONS.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO";

/// Media that has not reported by then will not: its shard is gone.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest speech of an agent kept for playing.
const PLAYOUT_LIMIT: Duration = Duration::from_secs(600);

/// What a session may touch of its switchboard while it handles one input.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) transactions: &'a mut Transactions,
    pub(super) limits: &'a mut Limits,
    pub(super) ports: &'a mut PortPool,
    pub(super) random: &'a mut dyn Random,
    pub(super) playout_budget: &'a Arc<media::PlayoutBudget>,
    pub(super) masking: &'a Masking,
    pub(super) epoch: (Instant, SystemTime),
    pub(super) out: &'a mut VecDeque<Output>,
}

/// Everything the switchboard found out before the session began.
pub(super) struct Beginning {
    pub(super) key: CallKey,
    pub(super) id: String,
    pub(super) flow: Flow,
    pub(super) invite: (TransactionId, Request),
    pub(super) dialog: Dialog,
    pub(super) config: Arc<Config>,
    pub(super) trunk: Arc<Trunk>,
    pub(super) agent: Arc<Agent>,
    pub(super) offer: SessionDescription,
    pub(super) agreed: Agreed,
    pub(super) ports: RtpPorts,
    pub(super) local_address: IpAddr,
    /// `host:port` that Via and Contact say.
    pub(super) sent_by: String,
    pub(super) from: String,
    pub(super) to: String,
}

pub(super) struct Session {
    pub(super) key: CallKey,
    pub(super) id: String,
    pub(super) trunk: Arc<Trunk>,
    pub(super) agent: Arc<Agent>,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) sip_call_id: String,
    /// The transaction that brought the call; its 2xx is repeated through it.
    pub(super) invite: TransactionId,
    pub(super) started_at: Instant,
    pub(super) answered_at: Option<Instant>,
    pub(super) ended_at: Option<Instant>,
    pub(super) cause: Option<Cause>,
    pub(super) agreed: Agreed,
    pub(super) report: Report,
    /// At most one of each kind.
    pub(super) one_way: Vec<(Instant, OneWay)>,
    pub(super) local: LocalAddress,
    pub(super) digits: SessionDigits,
    config: Arc<Config>,
    flow: Flow,
    /// The newest that we hold ourselves: it is left when the peer that holds the other is not.
    own_flow: Option<Flow>,
    dialog: Dialog,
    /// The INVITE as it came: headers for the agent's variables, and what responses are made from.
    request: Request,
    state: State,
    reinvite_ack: Option<Reinvite>,
    answer: SessionDescription,
    ports: RtpPorts,
    sent_by: String,
    agent_state: AgentState,
    /// A limit of the trunk or the `Expires` of the INVITE.
    expires_at: Option<Instant>,
}

enum State {
    /// The INVITE waits for its final response.
    Ringing,
    /// The 200 waits for its ACK.
    Answered {
        ack: AwaitAck,
        cseq: u32,
    },
    Up,
    /// Media has been told to stop and has not reported yet.
    Ending {
        give_up_at: Instant,
    },
    Ended,
}

/// A re-INVITE whose 200 waits for its ACK.
struct Reinvite {
    transaction: TransactionId,
    cseq: u32,
    ack: AwaitAck,
}

/// Where the agent of this call stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AgentState {
    Connecting,
    Ready,
    /// The media of the agent that failed is closing; the next one begins when it has.
    Replacing,
}

impl Session {
    /// The call exists: it rings, and its media opens.
    pub(super) fn begin(beginning: Beginning, cx: &mut Context<'_>) -> Self {
        let Beginning { key, id, flow, invite: (invite, request), dialog, .. } = beginning;
        let local = LocalAddress {
            address: beginning.local_address,
            rtp_port: beginning.ports.rtp(),
            rtcp_port: beginning.ports.rtcp(),
        };
        // RFC 8866 §5.2 asks for an id nobody else has; a positive 63-bit number suits every parser.
        let session_id = cx.random.u64() >> 1;
        let answer = beginning.agreed.answer(&beginning.offer, &local, session_id, session_id);
        let mut session = Self {
            key,
            id,
            invite,
            trunk: beginning.trunk,
            agent: beginning.agent,
            from: beginning.from,
            to: beginning.to,
            sip_call_id: dialog.id().call_id.as_str().to_owned(),
            started_at: cx.now,
            answered_at: None,
            ended_at: None,
            cause: None,
            agreed: beginning.agreed,
            report: Report::default(),
            one_way: Vec::new(),
            local,
            digits: SessionDigits::default(),
            config: beginning.config,
            flow,
            own_flow: Some(flow).filter(|flow| flow.holder.is_none()),
            dialog,
            state: State::Ringing,
            reinvite_ack: None,
            answer,
            ports: beginning.ports,
            sent_by: beginning.sent_by,
            agent_state: AgentState::Connecting,
            expires_at: expires(&request).map(|after| cx.now + after),
            request,
        };
        session.report_phase(cx, Phase::Routed);
        match session.agent.connect {
            Connect::Ringing => {
                let ringing = session.response(&session.request, StatusCode::RINGING, None);
                cx.transactions.respond(cx.now, invite, ringing);
            }
            Connect::Answered => session.answer(cx),
        }
        session.open_media(cx);
        session
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Whether the call has been answered and is not ending.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.state, State::Answered { .. } | State::Up)
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.state, State::Ending { .. } | State::Ended)
    }

    pub(super) fn dialog(&self) -> &Dialog {
        &self.dialog
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let ack = match &self.state {
            State::Answered { ack, .. } => ack.poll_timeout(),
            State::Ending { give_up_at } => Some(*give_up_at),
            _ => None,
        };
        let reinvite = self.reinvite_ack.as_ref().and_then(|reinvite| reinvite.ack.poll_timeout());
        let expires = self.expires_at.filter(|_| !self.is_ending());
        [ack, reinvite, expires, self.info_timeout()].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if self.expires_at.is_some_and(|at| cx.now >= at) && !self.is_ending() {
            self.expires_at = None;
            let cause = match self.state {
                State::Ringing => Cause::CallerCancelled,
                _ => Cause::DurationLimit,
            };
            return self.end(cx, cause);
        }
        match &mut self.state {
            State::Answered { ack, .. } => ack.handle_timeout(cx.now),
            State::Ending { give_up_at } if cx.now >= *give_up_at => {
                return self.finish(cx, Report::default());
            }
            _ => {}
        }
        if let Some(reinvite) = &mut self.reinvite_ack {
            reinvite.ack.handle_timeout(cx.now);
        }
        self.settle_info(cx);
        self.drain_acks(cx);
    }

    fn drain_acks(&mut self, cx: &mut Context<'_>) {
        let mut outputs = Vec::new();
        if let State::Answered { ack, .. } = &mut self.state {
            outputs.extend(std::iter::from_fn(|| ack.poll_output()).map(|it| (self.invite, it)));
        }
        if let Some(Reinvite { transaction, ack, .. }) = &mut self.reinvite_ack {
            outputs.extend(std::iter::from_fn(|| ack.poll_output()).map(|it| (*transaction, it)));
        }
        for (transaction, output) in outputs {
            match output {
                await_ack::Output::Transmit(ok) => cx.transactions.resend_ok(transaction, ok),
                await_ack::Output::AckReceived => {}
                await_ack::Output::GaveUp => self.end(cx, Cause::NoAck),
            }
        }
    }

    /// The caller gave up before the answer (RFC 3261 §9.2).
    pub(super) fn handle_cancel(&mut self, cx: &mut Context<'_>) {
        if matches!(self.state, State::Ringing) {
            self.end(cx, Cause::CallerCancelled);
        }
    }

    /// The ACK of a 2xx of ours.
    pub(super) fn handle_ack(&mut self, cx: &mut Context<'_>, flow: Flow, request: &Request) {
        let Ok(cseq) = request.headers.cseq() else { return };
        if self.reinvite_ack.as_ref().is_some_and(|reinvite| reinvite.cseq == cseq.seq) {
            self.reinvite_ack = None;
            return;
        }
        if matches!(self.state, State::Answered { cseq: seq, .. } if seq == cseq.seq) {
            self.heard_on(flow);
            self.state = State::Up;
            self.command(cx, Command::Established);
            self.report_phase(cx, Phase::Established);
        }
    }

    /// A request inside the dialog; never an ACK or a CANCEL.
    pub(super) fn handle_request(
        &mut self,
        cx: &mut Context<'_>,
        id: TransactionId,
        flow: Flow,
        request: &Request,
    ) {
        if let Err(out_of_order) = self.dialog.check_cseq(request) {
            return self.respond(cx, id, request, out_of_order.status(), None);
        }
        self.heard_on(flow);
        match &request.method {
            // Theirs has ended the dialog before; one that crosses ours still finds it.
            Method::Bye if self.cause == Some(Cause::CallerHungUp) => {
                self.respond(cx, id, request, StatusCode::CALL_DOES_NOT_EXIST, None);
            }
            Method::Bye => {
                self.respond(cx, id, request, StatusCode::OK, None);
                self.end(cx, Cause::CallerHungUp);
            }
            Method::Invite | Method::Update => self.handle_reoffer(cx, id, request),
            Method::Info => self.handle_info(cx, id, request),
            Method::Options => {
                let mut response = self.response(request, StatusCode::OK, None);
                response.headers.push(HeaderName::Accept, "application/sdp");
                cx.transactions.respond(cx.now, id, response);
            }
            _ => {
                self.respond(cx, id, request, StatusCode::METHOD_NOT_ALLOWED, None);
            }
        }
    }

    /// The carrier's newest connection is the one that still works.
    fn heard_on(&mut self, flow: Flow) {
        self.flow = flow;
        if flow.holder.is_none() {
            self.own_flow = Some(flow);
        }
    }

    /// Refresh, hold, resume, or a new address (RFC 3264 §8, RFC 3311).
    fn handle_reoffer(&mut self, cx: &mut Context<'_>, id: TransactionId, request: &Request) {
        if self.is_ending() {
            return self.respond(cx, id, request, StatusCode::CALL_DOES_NOT_EXIST, None);
        }
        let is_invite = request.method == Method::Invite;
        if is_invite && (self.reinvite_ack.is_some() || !matches!(self.state, State::Up)) {
            // RFC 3261 §14.2: another INVITE is still under way.
            let mut response = self.response(
                request,
                StatusCode::SERVER_INTERNAL_ERROR,
                Some("INVITE in progress"),
            );
            response.headers.push(HeaderName::RetryAfter, (cx.random.u32() % 10 + 1).to_string());
            return cx.transactions.respond(cx.now, id, response);
        }
        let body = match (request.body.is_empty(), is_invite) {
            // An UPDATE without a body only refreshes.
            (true, false) => None,
            // RFC 3261 §14.2: a re-INVITE without an offer asks for ours, which has not changed.
            (true, true) => Some(self.answer.write()),
            (false, _) => match self.reoffer(cx, request) {
                Ok(body) => Some(body),
                Err((warning, text)) => {
                    let mut response =
                        self.response(request, StatusCode::NOT_ACCEPTABLE_HERE, None);
                    self.warn(&mut response, warning, &text);
                    return cx.transactions.respond(cx.now, id, response);
                }
            },
        };
        if let Err(malformed) = self.dialog.refresh_target(request) {
            let reason = malformed.reason();
            return self.respond(cx, id, request, StatusCode::BAD_REQUEST, Some(&reason));
        }
        let mut response = self.response(request, StatusCode::OK, None);
        if let Some(body) = body {
            response.headers.push(HeaderName::ContentType, "application/sdp");
            response.body = body.into();
        }
        if is_invite && let Ok(cseq) = request.headers.cseq() {
            let ack = AwaitAck::new(cx.now, response.write());
            self.reinvite_ack = Some(Reinvite { transaction: id, cseq: cseq.seq, ack });
        }
        cx.transactions.respond(cx.now, id, response);
    }

    fn reoffer(
        &mut self,
        cx: &mut Context<'_>,
        request: &Request,
    ) -> Result<Vec<u8>, (u16, String)> {
        let offer = SessionDescription::parse(&request.body).map_err(|malformed| {
            (399, format!("SDP {}: {}", malformed.field, malformed.problem))
        })?;
        let policy = policy(&self.trunk);
        let reoffer = sdp::reoffer(&self.agreed, &offer, &policy)
            .map_err(|unacceptable| (unacceptable.warning, unacceptable.text))?;
        match reoffer.change {
            sdp::Change::Same => {}
            sdp::Change::Direction(direction) => self.command(cx, Command::Direction(direction)),
            sdp::Change::Target { rtp, rtcp, direction } => {
                cx.ports.handle_retarget(self.ports, self.key, [rtp, rtcp]);
                self.command(cx, Command::Retarget { rtp, rtcp });
                if direction != self.agreed.direction {
                    self.command(cx, Command::Direction(direction));
                }
            }
        }
        self.answer = reoffer.agreed.answer_again(&offer, &self.local, &self.answer);
        self.agreed = reoffer.agreed;
        self.digits.handle_reoffer(reoffer.takes_events);
        Ok(self.answer.write())
    }

    /// What the media has to say.
    pub(super) fn handle_media(&mut self, cx: &mut Context<'_>, event: Event) {
        match event {
            Event::Stopped(report) => match self.state {
                State::Ending { .. } => self.finish(cx, *report),
                _ if self.agent_state == AgentState::Replacing => self.open_media(cx),
                _ => {
                    self.report = *report;
                    self.end(cx, Cause::Internal("the media of this call stopped".into()));
                }
            },
            _ if self.is_ending() || self.agent_state == AgentState::Replacing => {}
            Event::AgentReady => {
                self.agent_state = AgentState::Ready;
                self.report_phase(cx, Phase::AgentReady);
                self.answer(cx);
            }
            Event::AgentFailed { reason } => self.replace_agent(cx, &reason.explain()),
            Event::AgentClosed { .. } if matches!(self.state, State::Ringing) => {
                self.replace_agent(cx, "it closed its connection while the phone rang");
            }
            Event::AgentClosed { .. } => self.end(cx, Cause::AgentHungUp),
            Event::CarrierInactive => self.end(cx, Cause::CarrierInactive),
            Event::FirstAudioFromAgent => self.report_phase(cx, Phase::FirstAudio),
            Event::Digit(digit) => self.handle_digit(cx, digit),
            Event::DigitsSent => self.handle_digits_sent(cx),
            Event::Latched(_) => cx.ports.handle_heard(self.ports, self.key),
            Event::FirstAudioFromCaller => {}
            Event::Turn(turn) => cx.out.push_back(Output::Turn(turn)),
            Event::OneWay(one_way) => {
                self.one_way.push((cx.now, one_way));
                self.report_phase(cx, Phase::OneWayAudio);
            }
        }
    }

    /// The ports could not be bound: somebody else on this machine has it.
    pub(super) fn handle_port_taken(&mut self, cx: &mut Context<'_>) {
        cx.ports.release_taken(cx.now, self.ports, self.key);
        let named = [self.agreed.remote_rtp, self.agreed.remote_rtcp];
        let next = cx.ports.allocate(cx.now, self.key, named);
        match next {
            Some(ports) if matches!(self.state, State::Ringing) => {
                self.ports = ports;
                self.local =
                    LocalAddress { rtp_port: ports.rtp(), rtcp_port: ports.rtcp(), ..self.local };
                self.open_media(cx);
            }
            next => {
                if let Some(ports) = next {
                    cx.ports.release(cx.now, ports, self.key);
                }
                self.handle_no_media(cx, "an RTP port of this node is taken by another program");
            }
        }
    }

    /// There is no media for this call and there will be none.
    pub(super) fn handle_no_media(&mut self, cx: &mut Context<'_>, why: &str) {
        self.end(cx, Cause::Resources(why.into()));
        self.finish(cx, Report::default());
    }

    /// The agent failed before it was ready: its fallback decides, else the call ends.
    fn replace_agent(&mut self, cx: &mut Context<'_>, why: &str) {
        let mut next = self.agent.fallback.clone();
        loop {
            match next {
                Some(Fallback::Agent(name)) => {
                    let Some(agent) = self.config.agents.get(&name).cloned() else { break };
                    if cx.limits.admit_agent(&agent.name, agent.concurrent_calls).is_err() {
                        next = agent.fallback.clone();
                        continue;
                    }
                    cx.limits.release_agent(&self.agent.name);
                    self.agent = agent;
                    self.agent_state = AgentState::Replacing;
                    self.report_phase(cx, Phase::AgentReplaced);
                    return self.command(cx, Command::Stop);
                }
                Some(Fallback::SipStatus(status)) => {
                    let reason = format!("agent {} is unavailable: {why}", self.agent.name);
                    return self.end(cx, Cause::Fallback { status, reason });
                }
                None => break,
            }
        }
        self.end(cx, Cause::AgentUnavailable(why.into()));
    }

    /// The 200, once.
    fn answer(&mut self, cx: &mut Context<'_>) {
        if !matches!(self.state, State::Ringing) {
            return;
        }
        let mut response = self.response(&self.request, StatusCode::OK, None);
        response.headers.push(HeaderName::ContentType, "application/sdp");
        response.body = self.answer.write().into();
        let cseq = self.request.headers.cseq().map_or(0, |cseq| cseq.seq);
        let ack = AwaitAck::new(cx.now, response.write());
        cx.transactions.respond(cx.now, self.invite, response);
        self.dialog.confirm();
        self.state = State::Answered { ack, cseq };
        self.answered_at = Some(cx.now);
        self.expires_at = Some(cx.now + self.trunk.limits.call_duration);
        self.command(cx, Command::Answered);
        self.report_phase(cx, Phase::Answered);
    }

    /// The one place where a call ends, whosever doing it is. Safe to call twice.
    pub(super) fn end(&mut self, cx: &mut Context<'_>, cause: Cause) {
        let ending = State::Ending { give_up_at: cx.now + REPORT_TIMEOUT };
        match std::mem::replace(&mut self.state, ending) {
            State::Ringing => {
                let status =
                    StatusCode::new(cause.status()).unwrap_or(StatusCode::TEMPORARILY_UNAVAILABLE);
                let mut response = self.response(&self.request, status, None);
                if !matches!(cause, Cause::CallerCancelled | Cause::CallerHungUp) {
                    response.reason = cause.text();
                    self.warn(&mut response, 399, &cause.text());
                }
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    response.headers.push(HeaderName::RetryAfter, "5");
                }
                cx.transactions.respond(cx.now, self.invite, response);
            }
            State::Answered { .. } | State::Up => {
                if cause != Cause::CallerHungUp {
                    self.send_bye(cx, &cause);
                }
            }
            before @ (State::Ending { .. } | State::Ended) => {
                self.state = before;
                return;
            }
        }
        self.reinvite_ack = None;
        self.ended_at = Some(cx.now);
        self.cause = Some(cause);
        if self.agent_state == AgentState::Replacing {
            // Its media has been told already; the report that comes is this call's.
            return;
        }
        self.command(cx, Command::Stop);
    }

    fn send_bye(&mut self, cx: &mut Context<'_>, cause: &Cause) {
        let mut bye = self.dialog.request(Method::Bye);
        let reason = format!("Q.850;cause={};text=\"{}\"", cause.q850(), quotable(&cause.text()));
        bye.headers.push(HeaderName::Reason, reason);
        self.send_in_dialog(cx, bye);
    }

    /// Sends a request of this dialog to the carrier.
    fn send_in_dialog(&self, cx: &mut Context<'_>, request: Request) -> TransactionId {
        let id = cx.transactions.send_request(cx.now, self.flow, request, &self.sent_by);
        let same = |own: &Flow| *own != self.flow && own.transport == self.flow.transport;
        if let Some(own) = self.own_flow.filter(same) {
            cx.transactions.or_by(id, own);
        }
        id
    }

    /// Media has reported: nothing of this call is left but its record.
    fn finish(&mut self, cx: &mut Context<'_>, report: Report) {
        if matches!(self.state, State::Ended) {
            return;
        }
        self.state = State::Ended;
        let sent_by_info = self.report.digits_sent;
        self.report = report;
        self.report.digits_sent += sent_by_info;
        cx.ports.release(cx.now, self.ports, self.key);
        cx.limits.release(&self.trunk.name);
        cx.limits.release_agent(&self.agent.name);
        self.report_phase(cx, Phase::Ended);
    }

    fn open_media(&mut self, cx: &mut Context<'_>) {
        self.agent_state = AgentState::Connecting;
        self.forget_asked_digits();
        let agreed = &self.agreed;
        let sources = self.trunk.inbound.as_ref().map(|inbound| inbound.sources.clone());
        let plan = media::Plan {
            call_id: self.id.clone(),
            codec: agreed.codec,
            payload_type: agreed.payload_type,
            telephone_event: agreed
                .telephone_event
                .filter(|event| event.clock_rate_hz == agreed.codec.clock_rate_hz())
                .map(|event| event.payload_type),
            listen_for_tones: match self.trunk.dtmf {
                config::Dtmf::Auto => agreed.telephone_event.is_none(),
                config::Dtmf::InBand => true,
                config::Dtmf::Rfc4733 | config::Dtmf::Info => false,
            },
            packet_time: Duration::from_millis(agreed.packet_time_ms.into()),
            crypto: agreed.crypto.as_ref().map(|it| (it.local.clone(), it.remote.clone())),
            remote_rtp: agreed.remote_rtp,
            remote_rtcp: agreed.remote_rtcp,
            rtcp_mux: agreed.rtcp_mux,
            sources: sources.unwrap_or_default(),
            behind_load_balancer: self.config.pool.behind_load_balancers,
            direction: agreed.direction,
            inactivity: self.trunk.inactivity,
            idle_audio: match self.trunk.idle_audio {
                config::IdleAudio::ComfortNoise => media::IdleAudio::ComfortNoise,
                config::IdleAudio::Silence => media::IdleAudio::Silence,
                config::IdleAudio::None => media::IdleAudio::None,
            },
            dialect: self.agent.endpoint.dialect.into(),
            start: self.start_info(),
            playout_limit: PLAYOUT_LIMIT,
            playout_budget: cx.playout_budget.clone(),
            cname: cx.random.token(16),
        };
        cx.out.push_back(Output::Open {
            call: self.key,
            ports: self.ports,
            ipv4: self.local.address.is_ipv4(),
            plan: Box::new(plan),
            agent: self.agent.clone(),
        });
        // Another agent in a call that is up already begins where the call stands.
        if self.is_active() {
            self.command(cx, Command::Answered);
            if matches!(self.state, State::Up) {
                self.command(cx, Command::Established);
            }
        }
    }

    /// What the agent hears of the call, the node's own words last so that they win.
    fn start_info(&self) -> StartInfo {
        let mut parameters = self.agent.variables.clone();
        for (header, variable) in &self.agent.header_variables {
            let value = HeaderName::new(header).and_then(|name| self.request.headers.text(&name));
            if let Some(value) = value {
                parameters.push((variable.clone(), value.into_owned()));
            }
        }
        let own = [
            ("call_id", self.id.as_str()),
            ("direction", "inbound"),
            ("trunk", &self.trunk.name),
            ("from_number", &self.from),
            ("to_number", &self.to),
            ("sip_call_id", &self.sip_call_id),
        ];
        parameters.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        StartInfo { call_id: self.id.clone(), account: self.agent.namespace.clone(), parameters }
    }

    fn command(&self, cx: &mut Context<'_>, command: Command) {
        cx.out.push_back(Output::Media { call: self.key, command });
    }

    fn report_phase(&self, cx: &mut Context<'_>, phase: Phase) {
        let view = Box::new(self.view(cx.masking, cx.epoch));
        cx.out.push_back(Output::Phase { call: self.key, phase, view });
    }

    fn respond(
        &self,
        cx: &mut Context<'_>,
        id: TransactionId,
        request: &Request,
        status: StatusCode,
        reason: Option<&str>,
    ) {
        cx.transactions.respond(cx.now, id, self.response(request, status, reason));
    }

    /// A response inside this dialog: our tag, our Contact where the RFC wants one, `Allow`.
    fn response(&self, request: &Request, status: StatusCode, reason: Option<&str>) -> Response {
        let mut response = self.dialog.response(request, status, reason);
        if status.is_success() || status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers.push(HeaderName::Allow, ALLOW);
        }
        response
    }

    fn warn(&self, response: &mut Response, code: u16, text: &str) {
        let agent = self.sent_by.as_str();
        response.headers.push(HeaderName::Warning, crate::sip::message::warning(code, agent, text));
    }
}

/// What the trunk wants of an offer.
pub(super) fn policy(trunk: &Trunk) -> sdp::Policy<'_> {
    sdp::Policy {
        codecs: &trunk.codecs,
        encryption: match trunk.encryption {
            config::Encryption::Required => sdp::Encryption::Required,
            config::Encryption::Preferred => sdp::Encryption::Preferred,
            config::Encryption::Disabled => sdp::Encryption::Disabled,
        },
        suites: &CryptoSuite::BY_PREFERENCE,
        packet_time_ms: trunk.packet_time_ms,
        telephone_event: matches!(trunk.dtmf, config::Dtmf::Auto | config::Dtmf::Rfc4733),
        direction: crate::media::Direction::SendRecv,
    }
}

/// How long the caller is ready to wait (RFC 3261 §13.3.1): a header few send.
fn expires(invite: &Request) -> Option<Duration> {
    let seconds: u32 = invite.headers.text(&HeaderName::Expires)?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.max(1).into()))
}

/// Fit for a quoted string: our own words, made sure of.
fn quotable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
        .filter(|c| !matches!(c, '"' | '\\'))
        .collect()
}

impl From<config::Dialect> for crate::endpoints::websocket::Dialect {
    fn from(dialect: config::Dialect) -> Self {
        match dialect {
            config::Dialect::TwilioMediaStreams => Self::TwilioMediaStreams,
        }
    }
}
