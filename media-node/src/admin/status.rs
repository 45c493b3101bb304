//! The shape of `/v1/status`: what the operator polls and a person looks at first.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::call::{AdvertisedView, AgentView, OptionsView, Strain};
use crate::config;

/// A node and how it fares.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The pod's slot in its pool; absent when run by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<u16>,
    /// The pod's template revision, as its label says; absent when run by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Of the configuration in force.
    pub config_hash: String,
    pub version: String,
    pub state: State,
    /// Why it is not ready, in words; empty when it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    pub calls: CallCounts,
    /// Calls at once.
    pub capacity: u32,
    /// Calls taken since the start.
    pub accepted: u64,
    /// Requests refused since the start.
    pub refused: u64,
    /// Calls that were still up when the time of this drain was over, and got a BYE.
    pub drained: u64,
    /// All of `capacity` is taken, or the media threads have enough to do without another call.
    pub saturated: bool,
    pub strain: StrainView,
    /// Each address that carriers are told, and whether it leads back to this node.
    pub advertised: Vec<AdvertisedView>,
    pub trunks: BTreeMap<String, TrunkStatus>,
    pub agents: BTreeMap<String, AgentStatus>,
    /// Objects, or parts of them, that are not obeyed.
    pub rejected: Vec<RejectedObject>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub enum State {
    /// New calls are taken.
    Ready,
    /// Calls go on, new ones are refused.
    Draining,
    /// New calls are refused; `reasons` says why.
    NotReady,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallCounts {
    /// Answered.
    pub active: u32,
    /// Not answered yet.
    pub setup: u32,
}

/// What the media thread has to do that would get the next call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StrainView {
    /// The share of a core that it uses, in thousandths.
    pub busy_permille: u32,
    /// The share of its turns that come half a frame late or later, in thousandths.
    pub late_permille: u32,
}

impl From<Strain> for StrainView {
    fn from(strain: Strain) -> Self {
        let Strain { busy_permille, late_permille } = strain;
        Self { busy_permille, late_permille }
    }
}

#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrunkStatus {
    pub calls: u32,
    /// Whether the carrier answers OPTIONS; absent while nobody has asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<OptionsView>,
    /// The trunk as it is obeyed, presets filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub effective: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    pub calls: u32,
    /// Whether it takes connections; absent while nobody has tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<AgentView>,
}

/// What is known of the ways to carriers and to ourselves.
#[derive(Clone, Debug, Default)]
pub struct Reachability {
    /// By trunk.
    pub trunks: BTreeMap<String, OptionsView>,
    /// By agent.
    pub agents: BTreeMap<String, AgentView>,
    pub advertised: Vec<AdvertisedView>,
}

/// Why an object is not obeyed.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectedObject {
    pub kind: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Empty when it is the object as a whole.
    pub field: String,
    /// What is wrong and what to write instead.
    pub message: String,
    /// `LeftOut`, `LastGoodKept` or `PartlyLoaded`.
    pub outcome: String,
}

impl From<&config::Rejected> for RejectedObject {
    fn from(rejected: &config::Rejected) -> Self {
        let outcome = match rejected.outcome {
            config::Outcome::LeftOut => "LeftOut",
            config::Outcome::LastGoodKept => "LastGoodKept",
            config::Outcome::PartlyLoaded => "PartlyLoaded",
        };
        Self {
            kind: rejected.kind.clone(),
            name: rejected.name.clone(),
            namespace: rejected.namespace.clone(),
            field: rejected.field.clone(),
            message: rejected.message.clone(),
            outcome: outcome.to_owned(),
        }
    }
}
