//! Questions of our own: OPTIONS to the carriers' servers, and to ourselves by the address that we
//! advertise; connections to agents.
//!
//! ```text
//! Carriers ─┐            Output::Dial ─▶ io ─▶ handle_dialled
//! SelfCheck ┼─ Probes ─▶ Transactions (OPTIONS) ─▶ handle_response, handle_failed
//! Agents ───┘            Output::Reach ─▶ io ─▶ handle_reached
//!                        Output::{Probed, Reachable, SelfChecked, AgentReachable} ─▶ log, metrics,
//!                                                                                    /v1/status
//! ```
//!
//! The [`Switchboard`](super::Switchboard) owns them, so that what answers come in on, or is asked
//! by a peer on a connection we opened, goes the way of every other message.

#[cfg(test)]
mod agent_tests;
mod agents;
mod carriers;
mod own;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

pub use self::agents::AgentServer;
use self::agents::Agents;
use self::carriers::Carriers;
use self::own::SelfCheck;
use super::advertised::{Advertised, Traffic, sent_by};
use super::media::AgentFailure;
use super::{Output, of_sip};
use crate::config::{Agent, Config, Pool, Server};
use crate::random::Random;
use crate::sip::transaction::{FailureCause, TransactionId, Transactions};
use crate::sip::{
    CSeq, CallId, Flow, HeaderName, HeaderValue, Method, NameAddr, Request, Response, Tag,
    Transport, Uri,
};

/// Where a flow of our own leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Carrier(Arc<Server>),
    /// This node, by an address that it advertises. Over TLS only our own certificate is right.
    Own {
        transport: Transport,
        address: SocketAddr,
    },
}

impl Target {
    pub fn transport(&self) -> Transport {
        match self {
            Self::Carrier(server) => of_sip(server.transport),
            Self::Own { transport, .. } => *transport,
        }
    }
}

/// Who asked for a flow, and in which try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialKey {
    asker: Asker,
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Carriers,
    SelfCheck,
}

/// Of which families the addresses are that we advertise: where we have no address of our own to
/// name in a Via, there is no use in asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    pub ipv4: bool,
    pub ipv6: bool,
}

impl Families {
    pub fn include(self, address: IpAddr) -> bool {
        if address.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }

    fn of(advertised: &Advertised) -> Self {
        let sip = || advertised.sip.iter().chain(&advertised.private);
        Self { ipv4: sip().any(IpAddr::is_ipv4), ipv6: sip().any(IpAddr::is_ipv6) }
    }
}

/// Why there is no flow. The text is for people and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialFailure {
    pub step: DialStep,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialStep {
    Resolve,
    Connect,
    Handshake,
}

/// What an OPTIONS, or the way to it, has come to; the words of the condition `Reachable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
pub enum Reason {
    /// A final response came. Even a refusal (401, 403, 405, 481, 500) shows that somebody is there.
    #[serde(rename = "OptionsOK")]
    OptionsOk,
    /// No response in time, or a 408 from somebody who had none either.
    OptionsTimeout,
    /// 503: the server is there and takes nothing.
    Rejected,
    ConnectFailed,
    #[serde(rename = "TLSHandshakeFailed")]
    TlsHandshakeFailed,
    #[serde(rename = "DNSFailed")]
    DnsFailed,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OptionsOk => "OptionsOK",
            Self::OptionsTimeout => "OptionsTimeout",
            Self::Rejected => "Rejected",
            Self::ConnectFailed => "ConnectFailed",
            Self::TlsHandshakeFailed => "TLSHandshakeFailed",
            Self::DnsFailed => "DNSFailed",
        }
    }

    /// For metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::OptionsOk => "ok",
            Self::OptionsTimeout => "timeout",
            Self::Rejected => "rejected",
            Self::ConnectFailed => "connect_failed",
            Self::TlsHandshakeFailed => "tls_handshake_failed",
            Self::DnsFailed => "dns_failed",
        }
    }

    pub fn is_ok(self) -> bool {
        self == Self::OptionsOk
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<DialStep> for Reason {
    fn from(step: DialStep) -> Self {
        match step {
            DialStep::Resolve => Self::DnsFailed,
            DialStep::Connect => Self::ConnectFailed,
            DialStep::Handshake => Self::TlsHandshakeFailed,
        }
    }
}

/// Whether a carrier answers OPTIONS: its first server that does, else the first that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OptionsView {
    pub ok: bool,
    /// As `outbound.addresses` has it.
    pub server: String,
    /// From the request to its final response; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_milliseconds: Option<u64>,
    pub reason: Reason,
    /// A sentence for people: `OPTIONS 200 in 41 ms`.
    pub message: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// Whether an address that this node advertises leads back to it. Where it does not, calls may still
/// come in: not every network lets a node reach itself from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdvertisedView {
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// `SIP`, `Media` or both: behind load balancers each has an address of its own.
    pub carries: Vec<Traffic>,
    /// `null` while it is not known, or cannot be.
    pub reaches_us: Option<bool>,
    pub message: String,
}

/// Whether an agent takes connections, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentView {
    pub ok: bool,
    /// From the name to the end of TCP's and TLS's handshakes; absent without a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_milliseconds: Option<u64>,
    pub reason: AgentReason,
    /// For people; after a failure the end of a sentence about the agent.
    pub message: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// The words of an Agent's condition `Reachable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
pub enum AgentReason {
    Connected,
    /// No connection, or none that is a WebSocket.
    ConnectFailed,
    /// It answered the upgrade of a call with 401 or 403.
    AuthFailed,
}

/// What a probe may touch of its switchboard while it handles one input.
pub(super) struct Asking<'a> {
    pub(super) now: Instant,
    pub(super) transactions: &'a mut Transactions,
    pub(super) random: &'a mut dyn Random,
    pub(super) pool: &'a Pool,
    pub(super) advertised: &'a Advertised,
    pub(super) epoch: (Instant, SystemTime),
    pub(super) out: &'a mut VecDeque<Output>,
}

impl Asking<'_> {
    /// Sends an OPTIONS (RFC 3261 §11.1) to whoever is at the other end of `flow`. `None` when we
    /// have no address of that family to name.
    fn ask(&mut self, flow: Flow, to: Uri, call_id: &CallId) -> Option<TransactionId> {
        let address = self.advertised.sip_toward(self.pool, flow.remote.ip())?;
        let sent_by = sent_by(self.pool, address, flow.transport);
        let here = |text: String| {
            NameAddr::new(Uri::parse(text.as_bytes()).expect("made of an address and a port"))
        };
        let contact = here(format!("sip:{sent_by}{}", uri_transport(flow.transport)));
        let tag = Tag::new(&self.random.token(12)).expect("a token is a tag");
        let from = here(format!("sip:{sent_by}")).with_tag(&tag);
        let cseq = CSeq { seq: 1, method: Method::Options };
        let mut request = Request::new(Method::Options, to.clone());
        let headers = &mut request.headers;
        headers.push(HeaderName::MaxForwards, "70");
        headers.push(HeaderName::From, HeaderValue::from(&from));
        headers.push(HeaderName::To, HeaderValue::from(&NameAddr::new(to)));
        headers.push(HeaderName::CallId, HeaderValue::from(call_id));
        headers.push(HeaderName::CSeq, HeaderValue::from(&cseq));
        headers.push(HeaderName::Contact, HeaderValue::from(&contact));
        headers.push(HeaderName::Accept, "application/sdp");
        Some(self.transactions.send_request(self.now, flow, request, &sent_by))
    }

    fn call_id(&mut self) -> CallId {
        CallId::new(&self.random.token(24)).expect("a token is a Call-ID")
    }
}

/// What tells a SIP URI's reader to use this transport.
fn uri_transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Probes {
    carriers: Carriers,
    own: SelfCheck,
    agents: Agents,
}

impl Probes {
    pub(super) fn handle_config(&mut self, cx: &mut Asking<'_>, config: &Config) {
        self.carriers.handle_config(cx, config);
        self.own.handle_config(config);
        self.agents.handle_config(cx, config);
    }

    pub(super) fn handle_advertised(&mut self, cx: &mut Asking<'_>) {
        self.carriers.handle_advertised(Families::of(cx.advertised));
        self.own.handle_advertised(cx);
    }

    /// What an [`Output::Dial`] has come to.
    pub(super) fn handle_dialled(
        &mut self,
        cx: &mut Asking<'_>,
        dial: DialKey,
        result: Result<Flow, DialFailure>,
    ) {
        match dial.asker {
            Asker::Carriers => self.carriers.handle_dialled(cx, dial.number, result),
            Asker::SelfCheck => self.own.handle_dialled(cx, dial.number, result),
        }
    }

    /// What an [`Output::Reach`] has come to.
    pub(super) fn handle_reached(
        &mut self,
        cx: &mut Asking<'_>,
        server: &AgentServer,
        result: Result<Duration, AgentFailure>,
    ) {
        self.agents.handle_reached(cx, server, result);
    }

    /// A call has found its agent ready, or not to be had.
    pub(super) fn handle_call(
        &mut self,
        cx: &mut Asking<'_>,
        agent: &Agent,
        result: Result<(), AgentFailure>,
    ) {
        self.agents.handle_call(cx, agent, result);
    }

    /// A response to a request that may be one of these.
    pub(super) fn handle_response(
        &mut self,
        cx: &mut Asking<'_>,
        id: TransactionId,
        response: &Response,
    ) {
        self.carriers.handle_response(cx, id, response);
    }

    pub(super) fn handle_failed(
        &mut self,
        cx: &mut Asking<'_>,
        id: TransactionId,
        cause: FailureCause,
    ) {
        self.carriers.handle_failed(cx, id, cause);
        self.own.handle_failed(cx, id);
    }

    /// Whether this request is our own, come back to us. It wants no answer.
    pub(super) fn is_our_own(&mut self, cx: &mut Asking<'_>, request: &Request) -> bool {
        self.own.handle_arrival(cx, request)
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Asking<'_>) {
        self.carriers.handle_timeout(cx);
        self.own.handle_timeout(cx);
        self.agents.handle_timeout(cx);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let each =
            [self.carriers.poll_timeout(), self.own.poll_timeout(), self.agents.poll_timeout()];
        each.into_iter().flatten().min()
    }
}

/// Some of `whole`, between nothing and all.
fn part(whole: Duration, random: &mut dyn Random) -> Duration {
    whole.mul_f64(f64::from(random.u32()) / f64::from(u32::MAX))
}

fn in_milliseconds(duration: Duration) -> u64 {
    u64::try_from((duration.as_micros() + 500) / 1000).unwrap_or(u64::MAX)
}
