//! `Trunk`: a carrier's SIP trunk, how it is recognised, what it may do and where its calls go.

use crate::preset::PresetName;
use crate::refs::{CaRef, Network, ObjectName, ObjectRef};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// A carrier's SIP trunk: how its calls are recognised, protected and limited, and which agent
/// answers them.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "trunkline.dev",
    version = "v1alpha1",
    kind = "Trunk",
    plural = "trunks",
    namespaced,
    status = "TrunkStatus",
    derive = "PartialEq",
    category = "trunkline",
    doc = "A carrier's SIP trunk: how its calls are recognised, protected and limited, and which agent answers them."
)]
#[kube(
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        description = "What to know or to do, in one sentence"
    ),
    printcolumn(
        name = "Address",
        type_ = "string",
        json_path = ".status.address",
        description = "What to enter at the carrier: the first address, and how many more there are"
    ),
    printcolumn(
        name = "Calls",
        type_ = "integer",
        json_path = ".status.activeCalls",
        description = "Calls that talk now"
    ),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.poolRef.name", priority = 1),
    printcolumn(
        name = "Registered",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Registered")].status"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.inbound) || has(self.outbound)")
        .message("a trunk needs inbound, outbound or both: write how calls come in, or where they go out"),
    validation = Rule::new("!has(self.media) || !has(self.media.encryption) || self.media.encryption != 'Required' || !has(self.transport) || self.transport == 'TLS'")
        .message("SRTP keys travel in SDP, so Required needs TLS: write transport: TLS, or encryption: Preferred or Disabled")
        .field_path(".media.encryption"),
    validation = Rule::new("has(self.inbound) || !has(self.routes) || size(self.routes) == 0")
        .message("routes lead incoming calls to agents: write inbound, or leave out routes")
        .field_path(".routes"),
    validation = Rule::new("!has(self.inbound) || !has(self.inbound.clientCARef) || !has(self.transport) || self.transport == 'TLS'")
        .message("a client certificate is only shown over TLS: write transport: TLS, or leave out clientCARef")
        .field_path(".inbound.clientCARef"),
    validation = Rule::new("!has(self.outbound) || !has(self.outbound.clientCertificateRef) || !has(self.transport) || self.transport == 'TLS'")
        .message("a client certificate is only shown over TLS: write transport: TLS, or leave out clientCertificateRef")
        .field_path(".outbound.clientCertificateRef"),
    validation = Rule::new("!has(self.outbound) || has(self.outbound.addresses) || self.preset != 'Generic'")
        .message("write outbound.addresses, the carrier's SIP servers in order of preference, or a preset that knows them")
        .field_path(".outbound")
)]
pub struct TrunkSpec {
    /// The MediaPool that takes this trunk's calls. Default: the pool named default.
    #[serde(default = "default_pool")]
    pub pool_ref: ObjectRef,

    /// The carrier, whose habits fill every field that is not written here. Generic (default)
    /// fills nothing; Bitcall, Twilio, Telnyx, Plivo, Vonage, Exotel, Bandwidth and DIDWW are
    /// known. What is written wins over the preset, the preset over the built-in default.
    #[serde(default)]
    pub preset: PresetName,

    /// How SIP travels: TLS (default), TCP or UDP. A UDP trunk may switch to TCP for a message
    /// that is too large (RFC 3261 §18.1.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,

    /// Audio: encryption, codecs, digits, silence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<TrunkMedia>,

    /// Calls from the carrier. Leave it out for a trunk that only calls out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Inbound>,

    /// Calls to the carrier. Leave it out for a trunk that only takes calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound: Option<Outbound>,

    /// Past a limit a new call is refused with 503 and Retry-After. Default: only the pool's own
    /// limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<TrunkLimits>,

    /// Which agent answers which number. An exact number wins over the longest prefix, and that
    /// over the one route without numbers; the order written here decides nothing. At most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.filter(r, !has(r.numbers)).size() <= 1")
            .message("only one route may be without numbers, for it takes every call that no other route takes: write numbers on the others")
    )]
    pub routes: Vec<Route>,
}

fn default_pool() -> ObjectRef {
    ObjectRef::to("default")
}

words! {
    /// How SIP travels between us and the carrier.
    Transport {
        /// SIP over TLS, 1.2 or newer.
        Tls = "TLS",
        /// SIP over TCP.
        Tcp = "TCP",
        /// SIP over UDP.
        Udp = "UDP",
    }
}

words! {
    /// Whether audio is encrypted (SRTP, keys in SDP).
    Encryption {
        /// SRTP, or the call is refused.
        Required = "Required",
        /// SRTP where the other side offers or takes it, else plain RTP.
        Preferred = "Preferred",
        /// Plain RTP.
        Disabled = "Disabled",
    }
}

words! {
    /// An audio codec of the carrier's side.
    Codec {
        /// G.711 µ-law, 8 kHz.
        Pcmu = "PCMU",
        /// G.711 A-law, 8 kHz.
        Pcma = "PCMA",
        /// G.722, 16 kHz.
        G722 = "G722",
        /// Opus.
        Opus = "Opus",
    }
}

words! {
    /// How key presses are understood and sent.
    Dtmf {
        /// RFC 4733 when negotiated, else SIP INFO, else in-band tones.
        Auto = "Auto",
        /// telephone-event packets in RTP.
        Rfc4733 = "RFC4733",
        /// SIP INFO requests.
        Info = "Info",
        /// Tones in the audio.
        InBand = "InBand",
    }
}

words! {
    /// What the caller hears while the agent says nothing.
    IdleAudio {
        /// Quiet noise, so that nobody takes the line for dead.
        ComfortNoise = "ComfortNoise",
        /// Digital silence.
        Silence = "Silence",
        /// No packets at all.
        None = "None",
    }
}

/// Audio of a trunk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrunkMedia {
    /// Required: SRTP or the call is refused; default with TLS. Preferred: SRTP when the carrier
    /// offers it. Disabled: plain RTP; default with UDP and TCP, where keys could be read on the
    /// way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,

    /// Codecs in order of preference: PCMU, PCMA, G722, Opus. Default: PCMU, PCMA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self.all(a, self.exists_one(b, a == b))").message("write each codec once")
    )]
    pub codecs: Option<Vec<Codec>>,

    /// Audio in one packet, in milliseconds: 10, 20 (default), 30 or 40.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [10, 20, 30, 40]))]
    pub packet_time_milliseconds: Option<i32>,

    /// How key presses travel. Auto (default): RFC 4733 when negotiated, else SIP INFO, else
    /// tones in the audio. RFC4733, Info or InBand insist on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtmf: Option<Dtmf>,

    /// A call is ended when the carrier has sent no packet for this long, in seconds: default 60,
    /// never below 60. Time on hold and an agent's silence do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 86400))]
    pub inactivity_timeout_seconds: Option<i32>,

    /// What the caller hears while the agent thinks: ComfortNoise (default), Silence, or None (no
    /// packets; some middleboxes then take the call for dead).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_audio: Option<IdleAudio>,
}

text! {
    /// A name in a carrier's certificate: `sip.carrier.example` or `*.carrier.example`.
    CertificateName(min 1, max 253) {
        "self.matches('^([*][.])?[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*$')":
            "write a name as the carrier's certificate has it: sip.carrier.example, or *.carrier.example for every name one level below",
    }
}

/// Calls from the carrier. The carrier must be known by its addresses, by a certificate or by a
/// password; what a message says of itself is never believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.sources) || has(self.clientCARef) || has(self.authSecretRef)")
        .message("an inbound trunk must know its carrier: write sources (the carrier's networks), authSecretRef (digest) or clientCARef with clientNames (mTLS)"),
    validation = Rule::new("!has(self.clientCARef) || has(self.clientNames)")
        .message("a CA vouches for many: write clientNames, the names in this carrier's certificate")
        .field_path(".clientCARef"),
    validation = Rule::new("!has(self.clientNames) || has(self.clientCARef)")
        .message("names are only believed when a CA vouches for them: write clientCARef, or leave out clientNames")
        .field_path(".clientNames")
)]
pub struct Inbound {
    /// Networks that the carrier calls from, as 203.0.113.0/24; one address is /32 or /128. At
    /// most 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub sources: Option<Vec<Network>>,

    /// Secret with keys username and password: the carrier must answer a digest challenge (RFC
    /// 8760, MD5 or SHA-256).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_ref: Option<ObjectRef>,

    /// Secret and key (default ca.crt) with the CA of the carrier's client certificate (mTLS).
    /// Needs clientNames.
    #[serde(default, rename = "clientCARef", skip_serializing_if = "Option::is_none")]
    pub client_ca_ref: Option<CaRef>,

    /// Subject alternative names of which the carrier's certificate must have one, as
    /// sip.carrier.example or *.carrier.example. At most 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub client_names: Option<Vec<CertificateName>>,

    /// Where the called number stands and how it becomes E.164 (+ and digits) before routes are
    /// compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_number: Option<CalledNumber>,
}

words! {
    /// The place of the called number in an INVITE.
    CalledNumberHeader {
        /// The user part of the Request-URI.
        RequestUri = "RequestURI",
        /// The user part of To.
        To = "To",
        /// The user part of P-Called-Party-ID (RFC 7315).
        PCalledPartyId = "PCalledPartyID",
    }
}

/// How the called number is found and brought into E.164.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CalledNumber {
    /// Where it stands: RequestURI (default), To or PCalledPartyID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<CalledNumberHeader>,

    /// Country code without +, as "44". With it a national number (0…) and an international one
    /// (00…) become + and digits. Default: numbers stay as they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3))]
    #[x_kube(validation = Rule::new("self.matches('^[1-9][0-9]*$')")
        .message("write the country code as digits in quotes, without + or 0 in front: \"44\""))]
    pub country_code: Option<String>,

    /// What the carrier puts before every number (a tech prefix), taken off first. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^[+0-9A-Za-z*#._-]*$')")
        .message("write the characters in front of the number as the carrier sends them: letters, digits, +, *, #, ., _ and -"))]
    pub strip_prefix: Option<String>,
}

text! {
    /// A SIP server: a name, an address, either with a port.
    SipServer(min 1, max 260) {
        "isIP(self) || self.matches(r'^([A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9])?([.][A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9])?)*[.]?|\\[[0-9A-Fa-f:.]+\\])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$')":
            "write a SIP server as sip.carrier.example, sip.carrier.example:5061, 192.0.2.10:5060 or [2001:db8::10]:5060, without sip: in front",
    }
}

/// Calls to the carrier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.registration) || has(self.authSecretRef)")
        .message("a registrar asks who registers: write outbound.authSecretRef with username and password, or leave out registration")
        .field_path(".registration")
)]
pub struct Outbound {
    /// The carrier's SIP servers in order of preference: a name (found by NAPTR and SRV, RFC
    /// 3263), a name with a port (A and AAAA only) or an address. At most 16. A preset may know
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub addresses: Option<Vec<SipServer>>,

    /// Secret with keys username and password, for the carrier's digest challenges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_ref: Option<ObjectRef>,

    /// Secret of type kubernetes.io/tls: the certificate that we show to the carrier (mTLS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<ObjectRef>,

    /// Secret and key (default ca.crt) with the CA of the carrier's certificate. Default: the
    /// public CAs.
    #[serde(default, rename = "caRef", skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,

    /// Register with the carrier (RFC 3261 §10). Leave it out: no REGISTER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,

    /// Which numbers our calls may show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_id: Option<CallerId>,

    /// How often OPTIONS asks whether the carrier is there, in seconds: default 30; 0 never asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub options_period_seconds: Option<i32>,

    /// How long a called phone may ring, in seconds: default 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5, max = 600))]
    pub ring_timeout_seconds: Option<i32>,
}

/// Registration with the carrier's registrar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// How long a registration is asked to last, in seconds: default 300. The carrier may say
    /// otherwise, and it is renewed well before the end.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 30, max = 86400))]
    pub expiry_seconds: i32,
}

fn five_minutes() -> i32 {
    300
}

text! {
    /// A number we may call ourselves: E.164, or a user part.
    Number(min 1, max 64) {
        "self.matches('^([+][1-9][0-9]{0,14}|[A-Za-z0-9*#._-]+)$')":
            "write a number as + and digits (+15551230001), or an extension of letters, digits, *, #, ., _ and -",
    }
}

text! {
    /// A number, or with a trailing `*` the beginning of many.
    NumberPattern(min 1, max 65) {
        "self.matches('^([+][1-9][0-9]{0,14}|[A-Za-z0-9*#._-]{1,64})[*]?$') && self != '*'":
            "write a number as + and digits (+15551230001) or an extension of letters, digits, *, #, ., _ and -, with a * at the end for all that begin so; to mean every number leave out the list",
    }
}

/// Which numbers our calls may show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallerId {
    /// The number a call shows when it names none, as +442079460000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Number>,

    /// Numbers that a call may name as its own, each exact or with a trailing * for all that
    /// begin so. Default: only the default number. At most 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allowed: Option<Vec<NumberPattern>>,
}

/// Limits of a trunk. Past one of them a new call is refused with 503 and Retry-After.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrunkLimits {
    /// Calls at the same time, ringing ones included. Default: as many as the pool takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub concurrent_calls: Option<i32>,

    /// New calls a second. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub calls_per_second: Option<i32>,

    /// The longest a call may last, in seconds. Default 14400 (four hours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604800))]
    pub call_duration_seconds: Option<i32>,
}

text! {
    /// The name of a route: lower-case letters, digits and `-`.
    RouteName(min 1, max 63) {
        "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')":
            "write a name of lower-case letters, digits and -, beginning and ending with a letter or digit",
    }
}

/// One way from called numbers to an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.agentRef) != has(self.agents)")
        .message("write exactly one of agentRef (one agent) and agents (several, with weights)")
)]
pub struct Route {
    /// Names the route in status and logs; unique in the trunk.
    pub name: RouteName,

    /// Numbers this route answers: exact (+15551230001) or with a trailing * for all that begin
    /// so (+1555200*). Compared after inbound.calledNumber made them E.164. Leave it out on the
    /// one route that takes all other calls. At most 100; more stand in a second route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // 256 would cost the API server more than it allows for the rule of each number.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub numbers: Option<Vec<NumberPattern>>,

    /// The agent that answers. Exactly one of agentRef and agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_ref: Option<ObjectRef>,

    /// Several agents that share the calls by weight. Exactly one of agentRef and agents. At most
    /// 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.exists(a, a.weight > 0)").message("every weight is 0, so nobody would answer: write a weight above 0 for at least one agent")
    )]
    pub agents: Option<Vec<WeightedAgent>>,
}

/// One of several agents of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WeightedAgent {
    /// Name of the Agent, in the same namespace.
    pub name: ObjectName,

    /// Its share of the calls, against the sum of all weights: 0 to 1000, default 1. 0 sends it
    /// none.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: i32,
}

fn one() -> i32 {
    1
}

/// What the operator knows of a trunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrunkStatus {
    /// The metadata.generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// What to enter at the carrier: the first of addresses, and how many more there are, as
    /// "sips:198.51.100.20:5061 (+2)".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    pub address: Option<String>,

    /// Every address that the carrier must be told, as sips:198.51.100.20:5061.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 300)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub addresses: Vec<String>,

    /// Calls that talk now, on all pods; written at most every 30 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_calls: Option<i32>,

    /// Names of routes whose agent is missing, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub unresolved_routes: Vec<String>,

    /// Accepted, ResolvedRefs, Programmed, Reachable, Registered and Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
