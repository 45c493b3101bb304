//! What should be, and what is to be done for it: [`plan`].
//!
//! ```text
//!   conflicts ─▶ config ─▶ objects ─┐
//!                 pods ◀─ exposure ─┼─▶ Plan ─▶ apply
//!                        status ────┘
//! ```
//!
//! Nothing here waits, asks, draws lots or reads a clock: the same world at the same time gives the same
//! plan. Whatever must be remembered stands on the objects (annotations, slots, revisions, conditions),
//! so an operator that starts in the middle of a rollout or a drain goes on with it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use trunkline_crds::{AgentStatus, MediaPool, MediaPoolStatus, TrunkStatus};

mod agenda;
mod children;
pub mod config;
mod conflicts;
mod exposure;
mod objects;
mod peers;
mod placement;
mod pods;
mod pool;
mod references;
mod seen;
mod slots;
mod status;

pub use config::Rendered;

use agenda::Agenda;
use pool::{Ground, Pool};

use crate::names;
use crate::world::{Object, ObjectKey, StatusKey, World};

/// What is to be done: differences only, so an empty plan asks nothing of the API server.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Why nothing at all is planned: the installed CRDs are older than this operator, and would prune
    /// fields without a word. The data plane is left alone.
    pub refused: Option<String>,
    /// The pool `default`, which a trunk needs and nobody made.
    pub create_pool: Option<Box<MediaPool>>,
    pub pools: BTreeMap<String, PoolPlan>,
    pub statuses: Vec<StatusPatch>,
    /// Names of load balancers whose addresses [`World::resolved`] should hold.
    pub resolve: BTreeSet<String>,
    /// When to plan again although nothing has changed.
    pub next: Option<Timestamp>,
}

impl Plan {
    /// Whether nothing is left to do.
    pub fn is_empty(&self) -> bool {
        self.create_pool.is_none()
            && self.statuses.is_empty()
            && self.pools.values().all(PoolPlan::is_empty)
    }
}

/// What is to be done for one pool, in this order. When a step fails, those after it wait for the next
/// pass: pods must not be told of a configuration that is not there.
#[derive(Clone, Debug, Default)]
pub struct PoolPlan {
    /// By server-side apply, with force, as [`crate::names::OPERATOR`].
    pub apply: Vec<Object>,
    pub pods: Vec<PodAction>,
    /// Objects of ours that nothing needs any more.
    pub delete: Vec<Removal>,
    /// What is in force now; to be handed back in [`World::rendered`].
    pub rendered: Option<Arc<Rendered>>,
    /// The pool in numbers, for metrics and `GET /v1/pools/{namespace}/{name}`.
    pub figures: Figures,
}

impl PoolPlan {
    /// Whether nothing is left to do.
    pub fn is_empty(&self) -> bool {
        self.apply.is_empty() && self.pods.is_empty() && self.delete.is_empty()
    }
}

/// An object to delete, if it still is the one that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    pub key: ObjectKey,
    pub uid: String,
}

/// One write to one pod, and the event that tells of it once it is done.
#[derive(Clone, Debug)]
pub struct PodAction {
    pub name: String,
    pub change: PodChange,
    pub event: Option<Event>,
}

#[derive(Clone, Debug)]
pub enum PodChange {
    /// A name that is taken already is no error: the next pass sees whose it is.
    Create(Box<Pod>),
    /// A merge patch of `metadata.annotations`, under the precondition of `uid`; `None` takes one away.
    Annotate { uid: String, annotations: BTreeMap<String, Option<String>> },
    /// Under the preconditions of both; a conflict means that the next pass must look again.
    /// `grace_seconds`: `None` the pod's own, 0 only when its node is gone.
    Delete { uid: String, resource_version: String, grace_seconds: Option<u32> },
}

/// A status as it should be.
#[derive(Clone, Debug)]
pub struct StatusPatch {
    pub uid: String,
    pub status: Status,
    pub urgency: Urgency,
    /// Told once the status is written, so that each is told once.
    pub events: Vec<Event>,
}

/// How long a status may wait when many are to be written; the first comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Somebody waits for it.
    News,
    /// Its pods are still taking the object up, so news follow within seconds.
    Interim,
    /// Only numbers differ.
    Numbers,
}

impl StatusPatch {
    pub fn key(&self) -> StatusKey {
        match &self.status {
            Status::Trunk(name, _) => StatusKey::Trunk(name.clone()),
            Status::Agent(name, _) => StatusKey::Agent(name.clone()),
            Status::MediaPool(name, _) => StatusKey::MediaPool(name.clone()),
        }
    }
}

/// The whole status of the object of that name.
#[derive(Clone, Debug)]
pub enum Status {
    Trunk(String, Box<TrunkStatus>),
    Agent(String, Box<AgentStatus>),
    MediaPool(String, Box<MediaPoolStatus>),
}

impl Status {
    pub(crate) fn conditions(&self) -> &[Condition] {
        match self {
            Self::Trunk(_, it) => &it.conditions,
            Self::Agent(_, it) => &it.conditions,
            Self::MediaPool(_, it) => &it.conditions,
        }
    }
}

/// An event of `events.k8s.io`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub regarding: Regarding,
    pub warning: bool,
    /// One `UpperCamel` word of a fixed set.
    pub reason: &'static str,
    /// Never holds a value from a Secret.
    pub note: String,
}

/// What an event is about. The uid is empty for an object that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regarding {
    pub kind: &'static str,
    pub name: String,
    pub uid: String,
}

/// A pool in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Pods there should be.
    pub desired: u32,
    /// Pods that count: all that are not leaving.
    pub replicas: u32,
    pub ready: u32,
    pub starting: u32,
    pub draining: u32,
    pub terminating: u32,
    pub lost: u32,
    /// Calls on all pods, draining ones included.
    pub active_calls: u32,
    pub setup_calls: u32,
    /// Calls that ready pods can take.
    pub capacity_calls: u32,
    pub config_bytes: u32,
}

/// Compares what is with what should be.
pub fn plan(world: &World, now: Timestamp) -> Plan {
    if world.schema < trunkline_crds::SCHEMA {
        let refused = format!(
            "the installed CRDs have schema {}, and this operator writes schema {}: upgrade the CRDs \
             first; media pods go on as they are",
            world.schema,
            trunkline_crds::SCHEMA
        );
        return Plan { refused: Some(refused), ..Plan::default() };
    }
    let agenda = Agenda::new(now);
    let unresolved = RefCell::new(BTreeSet::new());
    let ground = Ground { world, agenda: &agenda, unresolved: &unresolved };
    let mut plan = Plan::default();
    let mut pools: BTreeMap<&str, Pool<'_>> = BTreeMap::new();
    for (name, object) in &world.pools {
        if object.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let (pool, pool_plan) = pool::plan(&ground, name, object);
        pools.insert(name, pool);
        plan.pools.insert(name.clone(), pool_plan);
    }
    plan.create_pool = default_pool(world).map(Box::new);
    plan.statuses.extend(pools.values().filter_map(|it| status::pool(world, it, &agenda)));
    plan.statuses.extend(status::trunks(world, &pools, &agenda));
    plan.statuses.extend(status::agents(world, &pools, &agenda));
    drop(pools);
    plan.resolve = unresolved.into_inner();
    plan.next = agenda.next();
    plan
}

/// The pool that a trunk needs and nobody made. One that was just deleted comes back only when the
/// last of its pods is gone, so that nothing of the old is mixed into the new.
fn default_pool(world: &World) -> Option<MediaPool> {
    let name = names::DEFAULT_POOL;
    let needed = world
        .trunks
        .values()
        .any(|it| *it.spec.pool_ref.name == *name && it.metadata.deletion_timestamp.is_none());
    let of_old = |pod: &Arc<Pod>| {
        let labels = pod.metadata.labels.as_ref();
        labels.and_then(|it| it.get(names::POOL)).is_some_and(|it| it == name)
    };
    if !needed || world.pools.contains_key(name) || world.pods.values().any(of_old) {
        return None;
    }
    let mut pool = MediaPool::new(name, world.settings.default_pool.clone());
    pool.metadata.namespace = Some(world.namespace.clone());
    let label = (names::CREATED_BY.to_owned(), names::OPERATOR.to_owned());
    pool.metadata.labels = Some(BTreeMap::from([label]));
    Some(pool)
}

/// Where the admin API of a pod listens; `None` while it has no address.
pub fn admin_address(pod: &Pod) -> Option<SocketAddr> {
    let port = pod.metadata.annotations.as_ref()?.get(names::ADMIN_PORT)?.parse().ok()?;
    let address: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests;
