//! Why a call ended, or was never taken: one vocabulary for the SIP response, the record, the log
//! and the metric, so that the four can never disagree.

use serde::Serialize;
use utoipa::ToSchema;

/// Whose doing the end of a call was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
pub enum EndedBy {
    Caller,
    Callee,
    Agent,
    Node,
    Carrier,
}

/// The reason a call ended. Every variant knows whose doing it was, which SIP status says so before
/// the answer, and a label from a fixed set for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// BYE from the caller's side.
    CallerHungUp,
    /// CANCEL before the answer.
    CallerCancelled,
    /// The agent closed its connection after the call was up.
    AgentHungUp,
    /// The agent could not be reached, refused, or was not ready in time; the text says which.
    AgentUnavailable(String),
    /// The agent is unavailable and its `fallback.sipStatus` says what the caller hears.
    Fallback { status: u16, reason: String },
    /// Nothing came from the carrier, neither RTP nor RTCP, for `inactivityTimeoutSeconds`.
    CarrierInactive,
    /// The 200 was repeated for 64·T1 and never acknowledged (RFC 3261 §13.3.1.4).
    NoAck,
    /// `limits.callDurationSeconds` is over.
    DurationLimit,
    /// Somebody asked for it through the admin API.
    Operator,
    /// The node is being drained and its time is over.
    Drained,
    /// No RTP port, no room on a shard, or another shortage of ours; the text says which.
    Resources(String),
    /// The media task went away. A fault of ours.
    Internal(String),
}

impl Cause {
    pub fn by(&self) -> EndedBy {
        match self {
            Self::CallerHungUp | Self::CallerCancelled => EndedBy::Caller,
            Self::AgentHungUp | Self::AgentUnavailable(_) | Self::Fallback { .. } => EndedBy::Agent,
            Self::CarrierInactive | Self::NoAck => EndedBy::Carrier,
            Self::DurationLimit
            | Self::Operator
            | Self::Drained
            | Self::Resources(_)
            | Self::Internal(_) => EndedBy::Node,
        }
    }

    /// The final response to an INVITE that is still open when the call ends for this cause.
    pub fn status(&self) -> u16 {
        match self {
            Self::CallerHungUp | Self::CallerCancelled => 487,
            Self::AgentHungUp | Self::AgentUnavailable(_) | Self::Operator => 480,
            Self::Fallback { status, .. } => *status,
            Self::CarrierInactive | Self::NoAck | Self::DurationLimit => 408,
            Self::Drained | Self::Resources(_) => 503,
            Self::Internal(_) => 500,
        }
    }

    /// From a fixed set, for metrics and records.
    pub fn label(&self) -> &'static str {
        match self {
            Self::CallerHungUp => "caller_hung_up",
            Self::CallerCancelled => "caller_cancelled",
            Self::AgentHungUp => "agent_hung_up",
            Self::AgentUnavailable(_) => "agent_unavailable",
            Self::Fallback { .. } => "fallback_status",
            Self::CarrierInactive => "carrier_inactive",
            Self::NoAck => "no_ack",
            Self::DurationLimit => "duration_limit",
            Self::Operator => "operator",
            Self::Drained => "drained",
            Self::Resources(_) => "resources",
            Self::Internal(_) => "internal",
        }
    }

    /// A sentence for a person: the status line, the `Warning`, the `Reason` and the record say it.
    pub fn text(&self) -> String {
        match self {
            Self::CallerHungUp => "the caller hung up".into(),
            Self::CallerCancelled => "the caller cancelled".into(),
            Self::AgentHungUp => "the agent ended the call".into(),
            Self::AgentUnavailable(why) => format!("the agent is unavailable: {why}"),
            Self::Fallback { reason, .. } => reason.clone(),
            Self::CarrierInactive => "no RTP or RTCP from the carrier".into(),
            Self::NoAck => "no ACK for the answer".into(),
            Self::DurationLimit => "the trunk's limit on call duration".into(),
            Self::Operator => "ended through the admin API".into(),
            Self::Drained => "the node is shutting down".into(),
            Self::Resources(what) | Self::Internal(what) => what.clone(),
        }
    }

    /// The Q.850 cause for the `Reason` header of a BYE (RFC 3326): 16 is normal clearing.
    pub fn q850(&self) -> u8 {
        match self {
            Self::CallerHungUp | Self::CallerCancelled | Self::AgentHungUp | Self::Operator => 16,
            Self::AgentUnavailable(_) | Self::Fallback { .. } => 20,
            Self::CarrierInactive => 31,
            Self::NoAck => 102,
            Self::DurationLimit => 31,
            Self::Drained => 41,
            Self::Resources(_) => 34,
            Self::Internal(_) => 41,
        }
    }
}
