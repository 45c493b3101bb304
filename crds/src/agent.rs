//! `Agent`: an AI voice agent, how it is reached and what it is told of a call.

use crate::refs::{CaRef, DataKey, KeyRef, Network, ObjectName, ObjectRef};
use crate::trunk::Encryption;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An AI voice agent that answers calls: where it is, what it speaks, what it is told, and what
/// happens when it cannot be reached.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "trunkline.dev",
    version = "v1alpha1",
    kind = "Agent",
    plural = "agents",
    shortname = "vagent",
    namespaced,
    status = "AgentStatus",
    derive = "PartialEq",
    category = "trunkline",
    doc = "An AI voice agent that answers calls: where it is, what it speaks, what it is told, and what happens when it cannot be reached."
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
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(
        name = "Calls",
        type_ = "integer",
        json_path = ".status.activeCalls",
        description = "Calls that talk now"
    ),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AgentSpec {
    /// Where the agent is and what it speaks: exactly one of webSocket, sip and webRTC.
    pub endpoint: Endpoint,

    /// The agent's audio, only where its dialect leaves a choice. Default: what avoids
    /// transcoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<Audio>,

    /// Custom parameters that the agent gets with every call, beside call_id, direction, trunk,
    /// from_number, to_number and sip_call_id. At most 64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(
        validation = Rule::new("self.all(k, size(k) >= 1 && size(k) <= 64)")
            .message("write the name of a variable with 1 to 64 characters"),
        validation = Rule::new("!self.exists(k, k in ['call_id', 'direction', 'trunk', 'from_number', 'to_number', 'sip_call_id'])")
            .message("call_id, direction, trunk, from_number, to_number and sip_call_id are set for every call: choose another name")
    )]
    pub variables: BTreeMap<String, VariableValue>,

    /// SIP headers whose values the agent gets as variables, and which go back to the carrier on
    /// BYE and REFER. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["header".into()]))]
    pub header_variables: Vec<HeaderVariable>,

    /// Where the agent's inference runs: a value of the node label topology.kubernetes.io/region.
    /// Media pods are placed near it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<LabelValue>,

    /// The zone inside the region: a value of the node label topology.kubernetes.io/zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<LabelValue>,

    /// When the agent is connected. Ringing (default): while the phone rings, and the call is
    /// answered when the agent is ready. Answered: after the call has been answered.
    #[serde(default = "ringing")]
    pub connect: Connect,

    /// Past a limit the fallback applies, or the call is refused with 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<AgentLimits>,

    /// What happens to a call when the agent cannot be reached, before or during it: exactly one
    /// of agentRef, sipStatus and transferTo. Default: 480 before the answer, BYE after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,

    /// ConfigMap and key with a WAV file that the caller hears while an agent is replaced.
    /// Default: idle audio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_prompt_ref: Option<KeyRef>,
}

words! {
    /// When the agent is connected.
    Connect {
        /// While the phone rings; answered when the agent is ready.
        Ringing = "Ringing",
        /// After the call has been answered.
        Answered = "Answered",
    }
}

// Not derived: the words come from one macro, and only this set has a default.
#[allow(clippy::derivable_impls)]
impl Default for Connect {
    fn default() -> Self {
        Self::Ringing
    }
}

fn ringing() -> Connect {
    Connect::Ringing
}

text! {
    /// A variable's value.
    VariableValue(min 0, max 1024) {}
}

text! {
    /// The value of a node label.
    LabelValue(min 1, max 63) {
        "self.matches('^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')":
            "write the value of a node label: letters, digits, -, _ and ., as us-east1",
    }
}

/// Where an agent is: exactly one of webSocket, sip and webRTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.webSocket), has(self.sip), has(self.webRTC)].filter(x, x).size() == 1")
        .message("write exactly one of webSocket, sip and webRTC")
)]
pub struct Endpoint {
    /// An agent behind a WebSocket (or, for AudioSocket, a TCP) address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_socket: Option<WebSocket>,

    /// An agent that is a SIP peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip: Option<SipEndpoint>,

    /// An agent that speaks WebRTC.
    #[serde(default, rename = "webRTC", skip_serializing_if = "Option::is_none")]
    pub web_rtc: Option<WebRtc>,
}

words! {
    /// The language an agent speaks on its socket.
    Dialect {
        /// Twilio Media Streams (bidirectional).
        TwilioMediaStreams = "TwilioMediaStreams",
        /// Telnyx media streaming.
        Telnyx = "Telnyx",
        /// Plivo audio streaming.
        Plivo = "Plivo",
        /// Exotel voice streaming.
        Exotel = "Exotel",
        /// Vonage voice WebSocket.
        Vonage = "Vonage",
        /// Pipecat's protobuf frames.
        PipecatProtobuf = "PipecatProtobuf",
        /// OpenAI Realtime.
        OpenAiRealtime = "OpenAIRealtime",
        /// ElevenLabs agents.
        ElevenLabs = "ElevenLabs",
        /// Deepgram voice agent.
        Deepgram = "Deepgram",
        /// Vapi WebSocket transport.
        Vapi = "Vapi",
        /// Ultravox.
        Ultravox = "Ultravox",
        /// Gemini Live.
        GeminiLive = "GeminiLive",
        /// Genesys AudioHook.
        AudioHook = "AudioHook",
        /// Asterisk AudioSocket (TCP).
        AudioSocket = "AudioSocket",
        /// Bare audio frames.
        Raw = "Raw",
    }
}

// Not derived: the words come from one macro, and only this set has a default. Rust only: the
// schema requires a dialect.
#[allow(clippy::derivable_impls)]
impl Default for Dialect {
    fn default() -> Self {
        Self::TwilioMediaStreams
    }
}

/// An agent behind a WebSocket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.dialect == 'AudioSocket' || self.url.matches('^wss?://')")
        .message("this dialect is spoken over a WebSocket: write a url with wss:// or ws://")
        .field_path(".url"),
    validation = Rule::new("self.dialect != 'AudioSocket' || self.url.matches('^(tcp|tls)://')")
        .message("AudioSocket is spoken over plain TCP or TLS: write a url with tcp:// or tls://")
        .field_path(".url")
)]
pub struct WebSocket {
    /// Where the agent listens: wss:// or ws://; for AudioSocket tls:// or tcp://.
    pub url: EndpointUrl,

    /// What is spoken there: TwilioMediaStreams, Telnyx, Plivo, Exotel, Vonage, PipecatProtobuf,
    /// OpenAIRealtime, ElevenLabs, Deepgram, Vapi, Ultravox, GeminiLive, AudioHook, AudioSocket
    /// or Raw.
    pub dialect: Dialect,

    /// Secret and key (default token) with the agent's token. How it is presented is the
    /// dialect's affair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_ref: Option<TokenRef>,

    /// Headers of the opening request, in addition to the dialect's own. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub headers: Vec<Header>,

    /// The dialect's own JSON (a session.update, an initiation message), passed on untouched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_object")]
    pub session: Option<serde_json::Map<String, serde_json::Value>>,

    /// Secret and key (default ca.crt) with the CA of the agent's certificate. Default: the
    /// public CAs.
    #[serde(default, rename = "caRef", skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,

    /// How long the agent may take to be ready, in seconds: default 5. Past it the fallback
    /// applies.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 60))]
    pub connect_timeout_seconds: i32,
}

fn five() -> i32 {
    5
}

fn free_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

text! {
    /// The address of a WebSocket or socket.
    EndpointUrl(min 1, max 2048) {
        "self.matches(r'^(wss?|tcp|tls)://([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?([/?][^ #]*)?$')":
            "write a url as wss://agents.example.com/ws: wss or ws (tls or tcp for AudioSocket), a host, if need be a port and a path; no user, password or blank",
    }
}

text! {
    /// An http address.
    HttpUrl(min 1, max 2048) {
        "self.matches(r'^https?://([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?([/?][^ #]*)?$')":
            "write a url as https://example.com/path: https or http, a host, if need be a port and a path; no user, password or blank",
    }
}

/// Names the token of an agent: one key of a Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenRef {
    /// Name of the Secret; the namespace is always the one of this object.
    pub name: ObjectName,
    /// The key that holds the token. Default token.
    #[serde(default = "token")]
    pub key: DataKey,
}

fn token() -> DataKey {
    "token".into()
}

text! {
    /// The name of a header.
    HeaderName(min 1, max 64) {
        "self.matches('^[-!#$%&+.^_`|~0-9A-Za-z]+$')": "write the name of a header alone, without colon or blank, as X-Tenant",
    }
}

/// A header of the opening request: its value written here or taken from a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.value) != has(self.valueFrom)")
        .message("write exactly one of value and valueFrom"),
    validation = Rule::new("!self.name.matches('^(?i:host|upgrade|connection|content-length|transfer-encoding|sec-websocket-(key|version|accept|extensions))$')")
        .message("this header belongs to the connection itself: choose another")
        .field_path(".name")
)]
pub struct Header {
    /// Its name, as X-Tenant.
    pub name: HeaderName,

    /// Its value. What is secret belongs into valueFrom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    #[x_kube(validation = Rule::new("self.matches('^[^\\\\x00-\\\\x08\\\\x0a-\\\\x1f\\\\x7f]*$')")
        .message("write the value on one line, without control characters"))]
    pub value: Option<String>,

    /// Takes the value from a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<HeaderValueFrom>,
}

/// Where a header's value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderValueFrom {
    /// Secret and key that hold the value.
    pub secret_key_ref: KeyRef,
}

/// An agent that is a SIP peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SipEndpoint {
    /// Where to call, as sip:+15551230001@sip.example.com;transport=tls.
    pub uri: SipUri,

    /// Required (default): SRTP or the agent is not used. Preferred: SRTP when it is taken.
    /// Disabled: plain RTP.
    #[serde(default = "required")]
    pub encryption: Encryption,

    /// Secret with keys username and password, for the agent's digest challenges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_ref: Option<ObjectRef>,

    /// How calls from the agent (it may call us back) are recognised. Leave it out: it may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<SipEndpointInbound>,

    /// Send the call to the agent through this trunk. Default: straight to the host of uri.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk_ref: Option<ObjectRef>,
}

fn required() -> Encryption {
    Encryption::Required
}

// Not derived: the words come from one macro; the safe value stands in Rust as in the schema.
#[allow(clippy::derivable_impls)]
impl Default for Encryption {
    fn default() -> Self {
        Self::Required
    }
}

text! {
    /// A SIP address.
    SipUri(min 1, max 512) {
        "self.matches(r'^sips?:([^@ <>]+@)?([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?(;[^ <>?]*)?([?][^ <>]*)?$')":
            "write a SIP address as sip:+15551230001@sip.example.com;transport=tls",
    }
}

/// How calls from a SIP agent are recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.sources) || has(self.authSecretRef)")
        .message("calls from an agent must be recognised: write sources (its networks) or authSecretRef (digest)")
)]
pub struct SipEndpointInbound {
    /// Networks the agent calls from. At most 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub sources: Option<Vec<Network>>,

    /// Secret with keys username and password: the agent must answer a digest challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_ref: Option<ObjectRef>,
}

/// An agent that speaks WebRTC: exactly one way of meeting it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.liveKit), has(self.smallWebRTC), has(self.openAI), has(self.whip)].filter(x, x).size() == 1")
        .message("write exactly one of liveKit, smallWebRTC, openAI and whip")
)]
pub struct WebRtc {
    /// Meet the agent in a LiveKit room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_kit: Option<LiveKit>,

    /// Pipecat's SmallWebRTC.
    #[serde(default, rename = "smallWebRTC", skip_serializing_if = "Option::is_none")]
    pub small_web_rtc: Option<SmallWebRtc>,

    /// OpenAI Realtime over WebRTC.
    #[serde(default, rename = "openAI", skip_serializing_if = "Option::is_none")]
    pub open_ai: Option<OpenAi>,

    /// WHIP (RFC 9725).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whip: Option<Whip>,
}

/// A LiveKit room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LiveKit {
    /// The LiveKit server, as wss://project.livekit.cloud.
    pub url: EndpointUrl,

    /// Secret with keys apiKey and apiSecret; room tokens are made from them.
    pub auth_secret_ref: ObjectRef,

    /// Name of the agent to call into the room. Default: agents that join every room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub agent_name: Option<String>,

    /// Beginning of the room's name; the call's id follows. Default call-.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub room_prefix: Option<String>,
}

/// Pipecat's SmallWebRTC transport.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SmallWebRtc {
    /// Where offers go, as https://bot.example.com/api/offer.
    pub url: HttpUrl,

    /// Secret and key (default token) with a bearer token for the offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_ref: Option<TokenRef>,

    /// Secret and key (default ca.crt) with the CA of the server's certificate. Default: the
    /// public CAs.
    #[serde(default, rename = "caRef", skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
}

/// OpenAI Realtime over WebRTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpenAi {
    /// Where offers go. Default https://api.openai.com/v1/realtime/calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<HttpUrl>,

    /// Secret and key (default token) with the API key.
    pub auth_secret_ref: TokenRef,

    /// The model, as gpt-realtime-2.
    #[schemars(length(min = 1, max = 128))]
    pub model: String,

    /// The session's own JSON, passed on untouched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_object")]
    pub session: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Default for TokenRef {
    fn default() -> Self {
        Self { name: ObjectName::default(), key: token() }
    }
}

/// A WHIP endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Whip {
    /// Where the offer goes (RFC 9725), as https://media.example.com/whip/agent.
    pub url: HttpUrl,

    /// Secret and key (default token) with a bearer token for the offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_ref: Option<TokenRef>,

    /// Secret and key (default ca.crt) with the CA of the server's certificate. Default: the
    /// public CAs.
    #[serde(default, rename = "caRef", skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
}

words! {
    /// How audio is coded towards the agent.
    Encoding {
        /// Signed 16-bit samples, little-endian.
        Pcm16 = "PCM16",
        /// G.711 µ-law.
        Pcmu = "PCMU",
        /// G.711 A-law.
        Pcma = "PCMA",
        /// Opus.
        Opus = "Opus",
    }
}

/// The agent's audio.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.encoding) || !has(self.sampleRateHertz) || !(self.encoding in ['PCMU', 'PCMA']) || self.sampleRateHertz == 8000")
        .message("PCMU and PCMA have 8000 samples a second: write sampleRateHertz: 8000, or encoding: PCM16")
        .field_path(".sampleRateHertz")
)]
pub struct Audio {
    /// PCM16, PCMU, PCMA or Opus. Default: what the dialect takes without transcoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,

    /// Samples a second: 8000, 16000, 24000 or 48000. Default: the dialect's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [8000, 16000, 24000, 48000]))]
    pub sample_rate_hertz: Option<i32>,
}

/// A SIP header that becomes a variable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderVariable {
    /// The SIP header, as X-Customer-Id.
    pub header: HeaderName,

    /// The variable the agent gets, as customerId.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("!(self in ['call_id', 'direction', 'trunk', 'from_number', 'to_number', 'sip_call_id'])")
        .message("call_id, direction, trunk, from_number, to_number and sip_call_id are set for every call: choose another name"))]
    pub variable: String,
}

/// Limits of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentLimits {
    /// Calls at the same time, on each media pod. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub concurrent_calls: Option<i32>,
}

text! {
    /// Where a call goes by transfer.
    TransferTarget(min 1, max 512) {
        "self.matches('^([+][1-9][0-9]{0,14}|sips?:[^ <>]+)$')":
            "write a number as + and digits (+15551239999) or a SIP address (sip:desk@pbx.example)",
    }
}

/// What happens to a call whose agent cannot be reached: exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.agentRef), has(self.sipStatus), has(self.transferTo)].filter(x, x).size() == 1")
        .message("write exactly one of agentRef, sipStatus and transferTo")
)]
pub struct Fallback {
    /// Another agent takes the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_ref: Option<ObjectRef>,

    /// The call is refused with this SIP status, 400 to 699, as 480.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 699))]
    pub sip_status: Option<i32>,

    /// The call goes to this number or SIP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_to: Option<TransferTarget>,
}

/// What the operator knows of an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// The metadata.generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Calls that talk to the agent now, on all pods; written at most every 30 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_calls: Option<i32>,

    /// The address in use, whichever kind of endpoint it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub endpoint: Option<String>,

    /// Accepted, ResolvedRefs, Programmed, Reachable and Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
