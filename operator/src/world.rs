//! What is: one namespace as the watches, polls and probes last saw it. Plain data, built anew for
//! each pass; cheap to build, for objects are shared with the watches' stores.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use trunkline_crds::{Agent, MediaPool, MediaPoolSpec, Trunk};
use zeroize::Zeroizing;

use crate::plan::Rendered;

/// One namespace. A map's key is the object's name unless said otherwise.
///
/// It must be whole: every Secret of [`crate::plan::config::wanted_secrets`] has been read or is known
/// not to exist, and every watch behind a map has listed once. A plan over half a world would delete
/// what it does not see.
#[derive(Clone)]
pub struct World {
    pub namespace: String,
    pub settings: Arc<Settings>,
    /// [`trunkline_crds::SCHEMA`] as the installed CRDs carry it, the lowest of the three.
    pub schema: u32,
    pub pools: BTreeMap<String, Arc<MediaPool>>,
    pub trunks: BTreeMap<String, Arc<Trunk>>,
    pub agents: BTreeMap<String, Arc<Agent>>,
    /// The referenced ones that exist.
    pub secrets: BTreeMap<String, Arc<Secret>>,
    /// All with label [`crate::names::POOL`], terminating ones included.
    pub pods: BTreeMap<String, Arc<Pod>>,
    /// What pods say of themselves, by the pod's uid.
    pub polls: BTreeMap<String, Poll>,
    /// `None` without the right to see nodes, or while their watch is stale.
    pub nodes: Option<BTreeMap<String, Arc<Node>>>,
    /// What we made beside pods: all with label [`crate::names::MANAGED_BY`].
    pub objects: BTreeMap<ObjectKey, Arc<Object>>,
    /// Addresses of names that [`crate::plan::Plan::resolve`] asked for.
    pub resolved: BTreeMap<String, Vec<IpAddr>>,
    /// Pods that the API server refused to take, by pool; gone when one was taken.
    pub refused: BTreeMap<String, Refusal>,
    /// From the plan before, by pool, so that nothing is rendered twice.
    pub rendered: BTreeMap<String, Arc<Rendered>>,
    /// When we last wrote the status of an object.
    pub status_written: BTreeMap<StatusKey, Timestamp>,
    /// Drawn at random for this world; becomes the admin token of a pool that has none.
    pub fresh_token: RandomText,
    /// The same for the key that its pods share.
    pub fresh_key: RandomText,
}

/// What the operator was told at its start.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Image of the media node.
    pub image: String,
    /// `None`: the cluster's own habit.
    pub image_pull_policy: Option<String>,
    pub image_pull_secrets: Vec<String>,
    /// The spec of the pool that is made on first need.
    pub default_pool: MediaPoolSpec,
    /// User and group of media pods: one of their own, for whoever shares it on the host network may
    /// join the SIP ports.
    pub user_id: i64,
    /// Whether calls are written into the status of Trunks and Agents.
    pub calls_in_status: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: "trunkline-media-node".into(),
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            default_pool: MediaPoolSpec::default(),
            user_id: 50610,
            calls_in_status: true,
        }
    }
}

/// 256 random bits in a URL-safe alphabet.
#[derive(Clone, PartialEq, Eq)]
pub struct RandomText(pub Zeroizing<String>);

impl fmt::Debug for RandomText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RandomText(…)")
    }
}

/// What the operator makes beside pods. Printing it with `{:?}` is safe.
#[derive(Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a handful for each pool, most of them behind an Arc"
)]
pub enum Object {
    Secret(Secret),
    ServiceAccount(ServiceAccount),
    Service(Service),
    PodDisruptionBudget(PodDisruptionBudget),
    NetworkPolicy(NetworkPolicy),
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectKey { kind, name } = self.key();
        write!(f, "{kind:?}/{name}")
    }
}

/// The kinds of [`Object`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    Secret,
    ServiceAccount,
    Service,
    PodDisruptionBudget,
    NetworkPolicy,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub kind: ObjectKind,
    pub name: String,
}

impl Object {
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Secret(_) => ObjectKind::Secret,
            Self::ServiceAccount(_) => ObjectKind::ServiceAccount,
            Self::Service(_) => ObjectKind::Service,
            Self::PodDisruptionBudget(_) => ObjectKind::PodDisruptionBudget,
            Self::NetworkPolicy(_) => ObjectKind::NetworkPolicy,
        }
    }

    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Secret(it) => &it.metadata,
            Self::ServiceAccount(it) => &it.metadata,
            Self::Service(it) => &it.metadata,
            Self::PodDisruptionBudget(it) => &it.metadata,
            Self::NetworkPolicy(it) => &it.metadata,
        }
    }

    pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Secret(it) => &mut it.metadata,
            Self::ServiceAccount(it) => &mut it.metadata,
            Self::Service(it) => &mut it.metadata,
            Self::PodDisruptionBudget(it) => &mut it.metadata,
            Self::NetworkPolicy(it) => &mut it.metadata,
        }
    }

    pub fn key(&self) -> ObjectKey {
        let name = self.metadata().name.clone().unwrap_or_default();
        ObjectKey { kind: self.kind(), name }
    }

    /// With `apiVersion` and `kind`, as server-side apply wants it.
    pub fn to_value(&self) -> serde_json::Value {
        let value = match self {
            Self::Secret(it) => serde_json::to_value(it),
            Self::ServiceAccount(it) => serde_json::to_value(it),
            Self::Service(it) => serde_json::to_value(it),
            Self::PodDisruptionBudget(it) => serde_json::to_value(it),
            Self::NetworkPolicy(it) => serde_json::to_value(it),
        };
        value.expect("maps with text keys and no floats are always JSON")
    }
}

/// An object whose status we write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusKey {
    Trunk(String),
    Agent(String),
    MediaPool(String),
}

/// What asking one pod for its status has brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Poll {
    /// The last answer; stays when later polls fail.
    pub status: Option<NodeStatus>,
    pub heard_at: Option<Timestamp>,
    /// The first of the polls that failed since.
    pub silent_since: Option<Timestamp>,
    /// How many answers in a row, the last included, said that the pod drains and has no call.
    pub idle_polls: u32,
}

impl Poll {
    /// An answer came.
    pub fn heard(&mut self, status: NodeStatus, at: Timestamp) {
        let idle = status.state == NodeState::Draining && status.calls.total() == 0;
        self.idle_polls = if idle { self.idle_polls.saturating_add(1) } else { 0 };
        self.status = Some(status);
        self.heard_at = Some(at);
        self.silent_since = None;
    }

    /// No answer came, or one that cannot be read.
    pub fn failed(&mut self, at: Timestamp) {
        self.silent_since.get_or_insert(at);
        self.idle_polls = 0;
    }
}

/// A media node's `GET /v1/status`, as far as the operator reads it. Unknown fields are passed over,
/// and missing ones are as an older node left them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    pub slot: Option<u16>,
    pub revision: Option<String>,
    pub config_hash: String,
    pub version: String,
    pub state: NodeState,
    /// Why it is not ready, in words.
    pub reasons: Vec<String>,
    pub calls: CallCounts,
    pub capacity: u32,
    pub accepted: u64,
    pub refused: u64,
    /// Calls that the drain's deadline has ended.
    pub drained: u64,
    pub saturated: bool,
    pub advertised: Vec<AdvertisedReport>,
    pub trunks: BTreeMap<String, TrunkReport>,
    pub agents: BTreeMap<String, AgentReport>,
    pub rejected: Vec<Rejected>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum NodeState {
    Ready,
    Draining,
    /// Also any state that we do not know.
    #[default]
    #[serde(other)]
    NotReady,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CallCounts {
    pub active: u32,
    pub setup: u32,
}

impl CallCounts {
    pub fn total(self) -> u32 {
        self.active.saturating_add(self.setup)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrunkReport {
    pub calls: u32,
    /// Absent until the node asks carriers.
    pub options: Option<OptionsReport>,
    /// Absent without registration.
    pub registered: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OptionsReport {
    pub ok: bool,
    pub rtt_milliseconds: Option<u32>,
    /// A reason of the condition `Reachable`, and a sentence for people.
    pub reason: String,
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentReport {
    pub calls: u32,
    /// Absent until the node has tried.
    pub connection: Option<ConnectionReport>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionReport {
    pub ok: bool,
    /// A reason of the condition `Reachable`, and the end of a sentence for people.
    pub reason: String,
    pub message: String,
}

/// An address that the node tells carriers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AdvertisedReport {
    pub address: String,
    /// Whether it leads back to the node; absent where the node cannot know.
    pub reaches_us: Option<bool>,
    /// A sentence for people.
    pub message: String,
}

/// An object, or a part of one, that a node does not obey, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rejected {
    pub kind: String,
    pub name: String,
    pub field: String,
    pub message: String,
    /// `LeftOut`, `LastGoodKept` or `PartlyLoaded`.
    pub outcome: String,
}

/// Why the API server takes no pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Pod Security said no, rather than a quota, a webhook or a missing object.
    pub pod_security: bool,
    /// The API server's own words.
    pub message: String,
}
