//! What the node was told to do, as types that cannot be wrong.
//!
//! ```text
//! directory ─ read ─▶ Files ─ documents ─▶ Object ─ resolve ─▶ Config ─▶ calls
//!     ▲                                       │                  │
//!   watch                                  Located            rejected, ignored, warnings
//! ```
//!
//! [`Manifests`] turns the bytes of a directory into one immutable [`Config`] after another. A file
//! that does not parse keeps its last good version; an object that is invalid, or asks for what this
//! release cannot do, is left out or kept at its last good version and named in
//! [`Config::rejected`]; everything else loads. A call keeps the `Arc`s it began with, so a change
//! never reaches a call in progress.
//!
//! Everything here is pure over bytes, save [`read`] (a directory into [`read::Files`]) and
//! [`watch`] (when to read it again).

pub mod conflicts;
pub mod documents;
pub mod number;
pub mod pod_info;
pub mod read;
pub mod resolve;
pub mod route;
pub mod secret;
pub mod tls;
pub mod unsupported;
pub mod watch;
pub mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

pub use number::{CalledHeader, CalledNumber, NumberPattern};
pub use pod_info::PodInfo;
pub use resolve::{Manifests, Options};
pub use route::{Candidate, Candidates, Choice, Peer, Unrouted};
pub use secret::Secret;
pub use tls::TlsIdentity;

use crate::media::Codec;

/// Everything the node was told, resolved: no reference is left open, no number out of range.
/// Printing it with `{:?}` is safe.
#[derive(Clone, Debug)]
pub struct Config {
    /// Twelve hexadecimal digits over names and bytes of the files read ([`read::Files::hash`]); the
    /// operator writes the same into the pod's annotation.
    pub hash: String,
    pub pool: Arc<Pool>,
    /// In the order that settles ties: oldest first, then by name.
    pub trunks: Vec<Arc<Trunk>>,
    pub agents: BTreeMap<String, Arc<Agent>>,
    /// Bearer token of the admin API, from the rendered Secret; `None` when run by hand.
    pub admin_token: Option<Secret>,
    /// What the nodes of a pool trust each other by, from the same place. It is never sent.
    pub pool_key: Option<Secret>,
    /// Objects, or parts of them, that are not obeyed, and why.
    pub rejected: Vec<Rejected>,
    /// Fields of a document of a newer schema, and objects of kinds that are not ours.
    pub ignored: Vec<Ignored>,
    /// What works, but probably not as meant.
    pub warnings: Vec<Warning>,
}

/// What of a rejected object is still in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Nothing: it is as if the object were not there.
    LeftOut,
    /// The version before the one that was rejected.
    LastGoodKept,
    /// All but the field named.
    PartlyLoaded,
}

/// One reason why a file, an object, or a part of it is not obeyed. Never holds a secret's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// `Trunk`, `Agent`, `MediaPool`, `Secret`, …, or `File` for one that does not parse.
    pub kind: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// `spec.routes[1].agentRef.name`; empty when it is the object as a whole.
    pub field: String,
    /// What is wrong and what to write instead.
    pub message: String,
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// Counted from 1; 0 when the file has no lines worth naming (the operator's rendered list).
    #[serde(skip_serializing_if = "is_zero")]
    pub line: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl fmt::Display for Rejected {
    /// `trunks.yaml:12: Trunk/carrier-a: spec.transport: write TLS, TCP or UDP`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        located(f, &self.file, self.line, &self.kind, &self.name, &self.field, &self.message)
    }
}

fn located(
    f: &mut fmt::Formatter<'_>,
    file: &str,
    line: usize,
    kind: &str,
    name: &str,
    field: &str,
    message: &str,
) -> fmt::Result {
    if !file.is_empty() {
        write!(f, "{file}:")?;
        if line > 0 {
            write!(f, "{line}:")?;
        }
        f.write_str(" ")?;
    }
    if kind != "File" {
        write!(f, "{kind}")?;
        if !name.is_empty() {
            write!(f, "/{name}")?;
        }
        f.write_str(": ")?;
    }
    if !field.is_empty() {
        write!(f, "{field}: ")?;
    }
    // "not supported yet: FIELD" need not name the field twice in a line that begins with it.
    match message.strip_prefix(NOT_SUPPORTED).and_then(|rest| rest.strip_prefix(field)) {
        Some(rest) if !field.is_empty() => write!(f, "not supported yet{rest}"),
        _ => f.write_str(message),
    }
}

/// How every message begins that names what this release cannot do; the field follows.
pub const NOT_SUPPORTED: &str = "not supported yet: ";

/// Something that was read and passed over on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ignored {
    pub kind: String,
    pub name: String,
    /// Empty when it is the object as a whole.
    pub field: String,
}

/// Something that loads, but that the person who wrote it will want to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    pub kind: String,
    pub name: String,
    pub field: String,
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub line: usize,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        located(f, &self.file, self.line, &self.kind, &self.name, &self.field, &self.message)
    }
}

/// How SIP reaches us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        })
    }
}

/// Whether media must be SRTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    Required,
    Preferred,
    Disabled,
}

/// How keys travel, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtmf {
    /// RFC 4733 when negotiated, else SIP INFO or tones, whichever comes.
    Auto,
    Rfc4733,
    Info,
    InBand,
}

/// What flows to the caller while the agent is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleAudio {
    ComfortNoise,
    Silence,
    None,
}

/// The one MediaPool this node belongs to, or the built-in defaults when there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub name: String,
    pub namespace: String,
    /// `false` when no MediaPool was given and these are the built-in defaults.
    pub written: bool,
    /// Load balancers stand between the carriers and this node: only SIP over TLS comes through, and
    /// a flow must be begun from outside.
    pub behind_load_balancers: bool,
    pub calls_per_pod: u32,
    pub sip: SipPorts,
    pub media: MediaPorts,
    pub address: Address,
    /// `None`: an ephemeral self-signed certificate serves, which most carriers refuse.
    pub tls: Option<Arc<TlsIdentity>>,
    pub drain_timeout: Duration,
    pub records: RecordPolicy,
    pub telemetry: Telemetry,
}

/// Listening ports; `None` where the transport is turned off (written as 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SipPorts {
    pub udp: Option<u16>,
    pub tcp: Option<u16>,
    pub tls: Option<u16>,
}

/// UDP ports for RTP and RTCP, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaPorts {
    pub start: u16,
    pub end: u16,
    pub per_pod: u16,
}

impl MediaPorts {
    /// The ports of one slot, both ends included: `start + slot · portsPerPod` and on. Slot 0 of a
    /// range smaller than `portsPerPod` has the whole range; `None` when the slot lies past the end.
    pub fn block(&self, slot: u16) -> Option<(u16, u16)> {
        let per_pod = u32::from(self.per_pod.max(1));
        let first = u32::from(self.start) + u32::from(slot) * per_pod;
        let last = first + per_pod - 1;
        let end = u32::from(self.end);
        if first > end || (last > end && slot > 0) {
            return None;
        }
        Some((u16::try_from(first).ok()?, u16::try_from(last.min(end)).ok()?))
    }
}

/// What SDP, Contact and Via say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// From `address.static`. Empty when another source has to tell: `--advertise`, or the pod's
    /// annotation.
    pub fixed: Vec<IpAddr>,
    /// The addresses are those of load balancers: one for SIP, one for this node's audio.
    pub of_load_balancers: bool,
    pub private: Option<PrivateAddress>,
}

/// Peers within these networks are told the address the node has there, not the public one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateAddress {
    pub networks: Vec<IpNet>,
    pub source: PrivateSource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrivateSource {
    /// The pod's own address.
    PodIp,
    /// The node's address inside its network.
    NodeInternalIp,
    Static(Vec<IpAddr>),
}

impl Address {
    /// The address to tell `peer`, of the peer's family: a private one when the peer is in one of
    /// the private networks, else one of `public`. `None` when there is none of that family.
    ///
    /// `local` is what this machine calls itself inside its network, for the sources that ask for
    /// it; a static private address wins over it.
    pub fn toward(&self, peer: IpAddr, public: &[IpAddr], local: &[IpAddr]) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        let of_family =
            |list: &[IpAddr]| list.iter().copied().find(|it| it.is_ipv4() == peer.is_ipv4());
        if let Some(private) = &self.private
            && private.networks.iter().any(|network| network.contains(&peer))
        {
            let inside = match &private.source {
                PrivateSource::Static(fixed) => of_family(fixed),
                PrivateSource::PodIp | PrivateSource::NodeInternalIp => of_family(local),
            };
            if inside.is_some() {
                return inside;
            }
        }
        of_family(public)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPolicy {
    pub numbers: NumberPolicy,
    pub keep_digits: bool,
}

/// How telephone numbers appear in records and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberPolicy {
    Masked,
    Full,
    Hashed,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// Where traces go over OTLP; a flag wins over it.
    pub otlp_endpoint: Option<String>,
    pub log_format: Option<LogFormat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Text,
}

/// One carrier's trunk, effective: what was written, then what its preset says, then the built-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    pub name: String,
    pub namespace: String,
    /// `metadata.creationTimestamp`; objects written by hand have none and count as the youngest.
    pub created: Option<String>,
    pub preset: &'static str,
    /// The fields that the preset fills: `media.encryption`.
    pub filled: Vec<&'static str>,
    pub transport: Transport,
    pub encryption: Encryption,
    /// In order of preference, never empty.
    pub codecs: Vec<Codec>,
    pub packet_time_ms: u8,
    pub dtmf: Dtmf,
    /// Of the carrier's RTP and RTCP; at least 60 s.
    pub inactivity: Duration,
    pub idle_audio: IdleAudio,
    pub inbound: Option<Inbound>,
    pub outbound: Option<Outbound>,
    pub limits: TrunkLimits,
    pub routes: Vec<Route>,
}

/// How a carrier proves who it is. At least one of `sources` and `credentials` is there, and all that
/// are there must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    pub sources: Vec<IpNet>,
    pub credentials: Option<Credentials>,
    pub called_number: CalledNumber,
}

/// The carrier's own servers. They are asked by OPTIONS whether they are there; calls to them come
/// later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// In order of preference, never empty.
    pub servers: Vec<Arc<Server>>,
    /// Between two OPTIONS to one server; `None` never asks.
    pub options_period: Option<Duration>,
}

/// A SIP server of a carrier: all that a connection to it depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    pub transport: Transport,
    /// A name, or an address without brackets.
    pub host: String,
    /// As written; see [`Self::port`].
    pub written_port: Option<u16>,
    /// Trust these authorities instead of the public ones.
    pub ca: Option<Vec<rustls::pki_types::CertificateDer<'static>>>,
    /// The certificate that we show.
    pub identity: Option<Arc<TlsIdentity>>,
}

impl Server {
    /// The port that was written, else that of the transport (RFC 3261 §19.1.2).
    pub fn port(&self) -> u16 {
        self.written_port.unwrap_or(match self.transport {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
        })
    }
}

impl fmt::Display for Server {
    /// As a URI has it: `sip.carrier.example`, `[2001:db8::10]:5061`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        match self.written_port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: Secret,
}

/// `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrunkLimits {
    pub concurrent_calls: Option<u32>,
    pub calls_per_second: Option<u32>,
    /// From the answer to the BYE we send.
    pub call_duration: Duration,
}

/// Numbers and the agents that answer them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub name: String,
    /// Its place in the manifest, so that a message can name `spec.routes[index]`.
    pub index: usize,
    /// Empty: the route for every number that no other route takes.
    pub patterns: Vec<NumberPattern>,
    /// Never empty, every name is in [`Config::agents`], weights are at least 1.
    pub agents: Vec<(String, u32)>,
}

/// One agent and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub name: String,
    pub namespace: String,
    pub endpoint: WebSocket,
    /// Sent to the agent as custom parameters, by name.
    pub variables: Vec<(String, String)>,
    /// SIP header in, agent variable out.
    pub header_variables: Vec<(String, String)>,
    pub connect: Connect,
    pub concurrent_calls: Option<u32>,
    pub fallback: Option<Fallback>,
    pub region: Option<String>,
    pub zone: Option<String>,
}

/// A WebSocket agent that speaks the Twilio Media Streams dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocket {
    pub url: WebSocketUrl,
    pub dialect: Dialect,
    pub token: Option<Secret>,
    /// Added to the upgrade request, in the order written.
    pub headers: Vec<(String, Secret)>,
    /// Trust these authorities instead of the public ones.
    pub ca: Option<Vec<rustls::pki_types::CertificateDer<'static>>>,
    pub connect_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    TwilioMediaStreams,
}

/// A `ws://` or `wss://` URL, taken apart. `{:?}` leaves out the query, where people put tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct WebSocketUrl {
    /// As written.
    pub text: String,
    /// `wss`.
    pub tls: bool,
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    pub port: u16,
    /// At least `/`.
    pub path_and_query: String,
}

impl fmt::Debug for WebSocketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.split('?').next().unwrap_or_default())
    }
}

/// When the agent is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    /// While the phone rings; the call is answered when the agent is ready.
    Ringing,
    /// After the call is answered.
    Answered,
}

/// What happens to a call whose agent cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// In [`Config::agents`], and following fallbacks never comes back to where it began.
    Agent(String),
    SipStatus(u16),
}
