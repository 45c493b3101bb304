//! Labels, annotations and names: the words by which operator, media node and people find each other.

/// Label of everything that the operator makes: the MediaPool it belongs to.
pub const POOL: &str = "trunkline.dev/pool";
/// Label of pods: `media`. With [`POOL`] the selector of `/scale`.
pub const ROLE: &str = "trunkline.dev/role";
/// The only role there is.
pub const MEDIA: &str = "media";
/// Label of pods: a hash of what cannot be changed in a running pod.
pub const REVISION: &str = "trunkline.dev/revision";
/// Label and annotation of pods: the pod's number within its pool, which gives its name, its block of
/// media ports and its admin port.
pub const SLOT: &str = "trunkline.dev/slot";
/// Label of pods: the pool's mode of exposure.
pub const EXPOSURE: &str = "trunkline.dev/exposure";
/// Label of everything that the operator makes.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value, and the name of our field manager.
pub const OPERATOR: &str = "trunkline-operator";
/// Label of the pool that is made on first need. It is the user's from then on.
pub const CREATED_BY: &str = "app.kubernetes.io/created-by";
pub const APP_NAME: &str = "app.kubernetes.io/name";
pub const APP_INSTANCE: &str = "app.kubernetes.io/instance";
pub const MEDIA_NODE: &str = "trunkline-media-node";

/// On a pod and on the config Secret: the hash of the configuration it should have, or holds.
pub const CONFIG_HASH: &str = "trunkline.dev/config-hash";
/// On a pod: when the kubelet was asked to refresh the mounted configuration, first and last, as
/// `2026-11-23T08:00:00Z/2026-11-23T08:00:03Z`. Any change of it makes the kubelet look again.
pub const CONFIG_KICKED: &str = "trunkline.dev/config-kicked";
/// On a pod: addresses to advertise, separated by commas, one a family at most.
pub const ADDRESS: &str = "trunkline.dev/address";
/// On a pod: the address of SIP where it is not that of media (mode LoadBalancer).
pub const SIP_ADDRESS: &str = "trunkline.dev/sip-address";
/// On a pod: the pods of its pool that have an address, itself included, as
/// `[{"slot":0,"address":"10.0.1.5:8080"},{"slot":1,"address":"10.0.2.7:8080","draining":true}]`. What
/// comes to the wrong one is passed on by it. A pod has it from its creation, for it shares its SIP
/// ports as soon as it runs.
pub const PEERS: &str = "trunkline.dev/peers";
/// On a pod: why it takes no new calls. `manual`, or anything else a person writes, is theirs to undo.
pub const DRAIN: &str = "trunkline.dev/drain";
/// On a pod: since when it drains, RFC 3339.
pub const DRAIN_STARTED: &str = "trunkline.dev/drain-started";
/// On a pod: its block of media ports, as `20000-20999`.
pub const MEDIA_PORTS: &str = "trunkline.dev/media-ports";
/// On a pod: the port of its admin API.
pub const ADMIN_PORT: &str = "trunkline.dev/admin-port";
/// On what we apply: a hash of what we wrote, so that what we no longer write is noticed too.
pub const APPLIED: &str = "trunkline.dev/applied";

/// Keeps cluster-autoscaler from a pod with calls.
pub const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
/// Keeps Karpenter from a pod with calls.
pub const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";

/// Node labels.
pub const REGION: &str = "topology.kubernetes.io/region";
pub const ZONE: &str = "topology.kubernetes.io/zone";
pub const HOSTNAME: &str = "kubernetes.io/hostname";

/// The pool that is made on first need.
pub const DEFAULT_POOL: &str = "default";

/// `default-3`: the pod of slot 3, and in mode LoadBalancer its Service.
pub fn pod(pool: &str, slot: u16) -> String {
    format!("{pool}-{slot}")
}

/// The rendered configuration.
pub fn config_secret(pool: &str) -> String {
    format!("{pool}-media-config")
}

/// The pods' ServiceAccount, and their NetworkPolicy.
pub fn media(pool: &str) -> String {
    format!("{pool}-media")
}

/// The Service of SIP.
pub fn sip_service(pool: &str) -> String {
    format!("{pool}-sip")
}

/// What `/scale` says of the pool's pods.
pub fn selector(pool: &str) -> String {
    format!("{POOL}={pool},{ROLE}={MEDIA}")
}
