//! `MediaPool`: the pods that terminate calls, their size, ports and public address.

use crate::agent::HttpUrl;
use crate::refs::ObjectRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod exposure;

pub use exposure::*;

/// The media pods that trunks share: how many, how large, on which ports and addresses. A pool
/// named default is made on first need.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "trunkline.dev",
    version = "v1alpha1",
    kind = "MediaPool",
    plural = "mediapools",
    shortname = "mpool",
    namespaced,
    status = "MediaPoolStatus",
    derive = "PartialEq",
    category = "trunkline",
    doc = "The media pods that trunks share: how many, how large, on which ports and addresses. A pool named default is made on first need.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    // Moved to metadata.name by `definitions`.
    validation = Rule::new("size(self) <= 40 && self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("Services and Pods are named after the pool: choose a name of at most 40 lower-case letters, digits and -, beginning with a letter")
)]
#[kube(
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.desiredReplicas"),
    printcolumn(name = "Draining", type_ = "integer", json_path = ".status.drainingReplicas"),
    printcolumn(
        name = "Calls",
        type_ = "integer",
        json_path = ".status.activeCalls",
        description = "Calls that talk now"
    ),
    printcolumn(
        name = "Capacity",
        type_ = "integer",
        json_path = ".status.capacityCalls",
        description = "Calls that the ready pods can take"
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.exposure.mode", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.autoscaling) || self.exposure.media.portsPerPod < 1 || (self.exposure.media.portRange.end - self.exposure.media.portRange.start + 1) / self.exposure.media.portsPerPod >= self.autoscaling.maxReplicas + 1")
        .message("each pod needs a block of portsPerPod ports, and a rollout one block more: widen exposure.media.portRange, or lower portsPerPod or autoscaling.maxReplicas")
        .field_path(".exposure.media")
)]
pub struct MediaPoolSpec {
    /// Number of media pods: default 1. Written by kubectl scale, by the autoscaler or by you.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,

    /// Scale by calls. Leave it out to scale by hand, by HPA or by KEDA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,

    /// Calls that one pod takes at most; more are refused with 503. Default 500.
    #[serde(default = "five_hundred")]
    #[schemars(range(min = 1, max = 100000))]
    pub calls_per_pod: i32,

    /// How carriers reach the pods: mode, ports, address.
    #[serde(default)]
    pub exposure: Exposure,

    /// The certificate shown to carriers. Default: a self-signed one, which most carriers refuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,

    /// On which nodes pods run.
    #[serde(default)]
    pub placement: Placement,

    /// How pods leave.
    #[serde(default)]
    pub drain: Drain,

    /// Requests and limits of a pod. Default 1 CPU and 512Mi, both equal. Whole CPUs, the same in
    /// requests and limits, get cores of their own under the static CPU manager.
    #[serde(default)]
    pub resources: Resources,

    /// PriorityClass of the pods. Default: the cluster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,

    /// Logs and traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,

    /// What call records hold and where they go.
    #[serde(default)]
    pub records: Records,
}

impl Default for MediaPoolSpec {
    fn default() -> Self {
        Self {
            replicas: one(),
            autoscaling: None,
            calls_per_pod: five_hundred(),
            exposure: Exposure::default(),
            tls: None,
            placement: Placement::default(),
            drain: Drain::default(),
            resources: Resources::default(),
            priority_class_name: None,
            telemetry: None,
            records: Records::default(),
        }
    }
}

fn one() -> i32 {
    1
}

fn five_hundred() -> i32 {
    500
}

/// Scaling by calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.minReplicas <= self.maxReplicas")
        .message("minReplicas is above maxReplicas: write at most maxReplicas")
        .field_path(".minReplicas")
)]
pub struct Autoscaling {
    /// Never fewer pods than this: default 1, for somebody must answer the first call.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,

    /// Never more pods than this.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,

    /// Room for at least so many more calls is kept free: default 20.
    #[serde(default = "twenty")]
    #[schemars(range(min = 0, max = 100000))]
    pub headroom_calls: i32,

    /// Room for at least this share of the present calls is kept free, in percent: default 25.
    #[serde(default = "twenty_five")]
    #[schemars(range(min = 0, max = 1000))]
    pub headroom_percent: i32,

    /// Fewer pods only after fewer were enough for this long, in seconds: default 600.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 0, max = 86400))]
    pub scale_down_stabilization_seconds: i32,
}

fn twenty() -> i32 {
    20
}

fn twenty_five() -> i32 {
    25
}

fn ten_minutes() -> i32 {
    600
}

text! {
    /// The value of an annotation or a label selector.
    MetadataValue(min 0, max 4096) {}
}

/// TLS towards carriers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Secret of type kubernetes.io/tls, as cert-manager makes them; renewed ones are taken up
    /// without a restart.
    pub certificate_ref: ObjectRef,
}

words! {
    /// Whether placement may give way.
    PlacementRequirement {
        /// Pods run elsewhere rather than not at all.
        Preferred = "Preferred",
        /// Pods wait for the right place.
        Required = "Required",
    }
}

words! {
    /// What pods are spread over.
    SpreadBy {
        /// Zones.
        Zone = "Zone",
        /// Nodes.
        Node = "Node",
        /// Not spread.
        None = "None",
    }
}

/// On which nodes pods run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Auto (default): near the regions of the Agents. Or a value of the node label
    /// topology.kubernetes.io/region.
    #[serde(default = "auto")]
    pub region: crate::agent::LabelValue,

    /// Preferred (default): elsewhere rather than not at all. Required: wait for the region.
    #[serde(default = "preferred")]
    pub requirement: PlacementRequirement,

    /// Spread pods over each Zone (default), over each Node, or None.
    #[serde(default = "zone")]
    pub spread_by: SpreadBy,

    /// Labels that nodes must have. At most 64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, MetadataValue>,

    /// Taints that pods tolerate. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tolerations: Vec<Toleration>,
}

fn auto() -> crate::agent::LabelValue {
    "Auto".into()
}

fn preferred() -> PlacementRequirement {
    PlacementRequirement::Preferred
}

fn zone() -> SpreadBy {
    SpreadBy::Zone
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            region: auto(),
            requirement: preferred(),
            spread_by: zone(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
        }
    }
}

words! {
    /// How a toleration compares.
    TolerationOperator {
        /// The taint's key is there, whatever its value.
        Exists = "Exists",
        /// The taint's value is equal.
        Equal = "Equal",
    }
}

words! {
    /// What a taint does.
    TaintEffect {
        /// No new pods.
        NoSchedule = "NoSchedule",
        /// No new pods if it can be helped.
        PreferNoSchedule = "PreferNoSchedule",
        /// No pods at all.
        NoExecute = "NoExecute",
    }
}

/// A taint that pods tolerate, as in a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// The taint's key. Without it every key is meant, and operator must be Exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 316))]
    pub key: Option<String>,

    /// Exists or Equal (default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,

    /// The taint's value, for Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,

    /// NoSchedule, PreferNoSchedule or NoExecute. Default: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,

    /// How long NoExecute is tolerated, in seconds. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// How pods leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// How long a leaving pod lets its calls go on, in seconds: default 3600. What talks then gets
    /// a BYE. The only timer: a pod's grace period is this and 30 seconds.
    #[serde(default = "hour")]
    #[schemars(range(min = 0, max = 86400))]
    pub timeout_seconds: i32,
}

fn hour() -> i32 {
    3600
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout_seconds: hour() }
    }
}

/// An amount of CPU or memory, as `2`, `500m` or `1Gi`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Amount {
    /// A whole number.
    Number(i64),
    /// A number with a suffix.
    Text(String),
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

fn amounts(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "maxLength": 32,
            "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
        }
    })
}

/// Requests and limits of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What a pod is given for certain, as cpu and memory. Default 1 CPU, 512Mi.
    #[serde(default = "small")]
    #[schemars(schema_with = "amounts")]
    pub requests: BTreeMap<String, Amount>,

    /// What a pod may use at most, as cpu and memory. Default 1 CPU, 512Mi.
    #[serde(default = "small")]
    #[schemars(schema_with = "amounts")]
    pub limits: BTreeMap<String, Amount>,
}

fn small() -> BTreeMap<String, Amount> {
    BTreeMap::from([
        ("cpu".to_owned(), Amount::Text("1".to_owned())),
        ("memory".to_owned(), Amount::Text("512Mi".to_owned())),
    ])
}

impl Default for Resources {
    fn default() -> Self {
        Self { requests: small(), limits: small() }
    }
}

words! {
    /// How logs are written.
    LogFormat {
        /// One JSON object a line.
        Json = "JSON",
        /// For people.
        Text = "Text",
    }
}

/// Logs and traces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Telemetry {
    /// Where traces go by OTLP, as http://collector:4317. Default: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<HttpUrl>,

    /// JSON (default) or Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
}

words! {
    /// How telephone numbers stand in records and logs.
    RecordNumbers {
        /// Only the last digits.
        Masked = "Masked",
        /// As they are.
        Full = "Full",
        /// As a keyed hash, the same for the same number.
        Hashed = "Hashed",
    }
}

words! {
    /// Whether pressed keys stand in records.
    RecordDigits {
        /// As they were pressed.
        Keep = "Keep",
        /// Only how many.
        Drop = "Drop",
    }
}

/// What call records hold and where they go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Records {
    /// Telephone numbers in records and logs: Masked (default), Full, or Hashed.
    #[serde(default = "masked")]
    pub numbers: RecordNumbers,

    /// Pressed keys in records: Drop (default; they may be a PIN) or Keep.
    #[serde(default = "drop")]
    pub digits: RecordDigits,

    /// Where each record is sent. Default: only to the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

fn masked() -> RecordNumbers {
    RecordNumbers::Masked
}

fn drop() -> RecordDigits {
    RecordDigits::Drop
}

impl Default for Records {
    fn default() -> Self {
        Self { numbers: masked(), digits: drop(), webhook: None }
    }
}

/// Where records are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Each record is sent there by POST, signed, and again until it is taken.
    pub url: HttpUrl,

    /// Secret with key secret, under which records are signed. Default: not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<ObjectRef>,
}

words! {
    /// What an address of a pool is for.
    PoolAddressType {
        /// Signalling.
        Sip = "SIP",
        /// Audio.
        Media = "Media",
    }
}

/// An address that carriers must be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolAddressStatus {
    /// SIP or Media.
    #[serde(rename = "type")]
    pub type_: PoolAddressType,

    /// The address.
    #[schemars(length(max = 253))]
    pub value: String,

    /// The port, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// What the operator knows of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MediaPoolStatus {
    /// The metadata.generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Pods that count: all that are not leaving.
    #[serde(default)]
    pub replicas: i32,

    /// Pods that take calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,

    /// Pods that finish their calls and leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_replicas: Option<i32>,

    /// Selects the pool's pods, for HPA and KEDA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub selector: Option<String>,

    /// Pods that there should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,

    /// Calls that talk now; written at most every 30 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_calls: Option<i32>,

    /// Calls that the ready pods can take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_calls: Option<i32>,

    /// The revision of the pods as they should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub current_revision: Option<String>,

    /// The hash of the configuration as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub config_hash: Option<String>,

    /// Every address that carriers may see, for their lists and firewalls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2048))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub addresses: Vec<PoolAddressStatus>,

    /// Accepted, Progressing, ScalingLimited and Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
