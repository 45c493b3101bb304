//! A pod as the plan reads it: what it is worth, where it stands, what is wrong with it.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};

use super::agenda::Agenda;
use crate::names;
use crate::world::{Poll, World};

/// A node that is not ready for so long has lost its pods.
pub(super) const NODE_LOST: SignedDuration = SignedDuration::from_secs(20);
/// A pod that is silent for so long is no capacity.
pub(super) const SILENT: SignedDuration = SignedDuration::from_secs(60);
/// A new pod proves itself for so long before an old one goes.
pub(super) const PROVEN: SignedDuration = SignedDuration::from_secs(10);

/// The node of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// None yet.
    Unassigned,
    Good,
    /// Its pods should go elsewhere.
    Cordoned,
    /// Not ready for [`NODE_LOST`].
    Lost,
    /// It does not exist any more, or its administrator says that it is off for good.
    Gone,
}

/// Why a pod does not come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Image(String),
    CrashLoop(String),
    Unschedulable(String),
}

pub(super) struct Seen<'a> {
    pub(super) pod: &'a Pod,
    pub(super) poll: Option<&'a Poll>,
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
    /// `None` for a pod that somebody else named so.
    pub(super) slot: Option<u16>,
    pub(super) place: Place,
    /// Since when its node is ready again.
    pub(super) node_ready_since: Option<Timestamp>,
    /// Its object says that it belongs to this very pool, not to one of the same name before it.
    pub(super) ours: bool,
}

impl<'a> Seen<'a> {
    pub(super) fn new(world: &'a World, pod: &'a Pod, pool_uid: &str, agenda: &Agenda) -> Self {
        let metadata = &pod.metadata;
        let uid = metadata.uid.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        let owners = metadata.owner_references.iter().flatten();
        let (place, node_ready_since) = place(world, pod, agenda);
        let mut seen = Self {
            pod,
            poll: world.polls.get(uid),
            name,
            uid,
            slot: None,
            place,
            node_ready_since,
            ours: owners.into_iter().any(|it| it.uid == pool_uid),
        };
        seen.slot = seen.annotation(names::SLOT).and_then(|it| it.parse().ok());
        seen
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&'a str> {
        self.pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    fn label(&self, key: &str) -> Option<&'a str> {
        self.pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    pub(super) fn resource_version(&self) -> &'a str {
        self.pod.metadata.resource_version.as_deref().unwrap_or_default()
    }

    pub(super) fn revision(&self) -> &'a str {
        self.label(names::REVISION).unwrap_or_default()
    }

    pub(super) fn node(&self) -> Option<&'a str> {
        self.pod.spec.as_ref()?.node_name.as_deref().filter(|it| !it.is_empty())
    }

    pub(super) fn drain(&self) -> Option<&'a str> {
        self.annotation(names::DRAIN)
    }

    pub(super) fn drain_started(&self) -> Option<Timestamp> {
        self.annotation(names::DRAIN_STARTED)?.parse().ok()
    }

    /// The block of media ports it was given.
    pub(super) fn media_ports(&self) -> Option<(u16, u16)> {
        let (first, last) = self.annotation(names::MEDIA_PORTS)?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    }

    pub(super) fn terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// It has ended and will not come back (evicted, or its node was shut down).
    pub(super) fn finished(&self) -> bool {
        matches!(self.phase(), "Failed" | "Succeeded")
    }

    fn phase(&self) -> &'a str {
        self.pod.status.as_ref().and_then(|it| it.phase.as_deref()).unwrap_or("Pending")
    }

    fn container(&self) -> Option<&'a ContainerStatus> {
        self.pod.status.as_ref()?.container_statuses.as_ref()?.first()
    }

    /// Whether its process runs now; while it does not there can be no call.
    pub(super) fn process_up(&self) -> bool {
        let running =
            |it: &ContainerStatus| it.state.as_ref().is_some_and(|it| it.running.is_some());
        match self.container() {
            Some(container) => running(container),
            // Nobody says, so the phase has to.
            None => self.phase() == "Running",
        }
    }

    /// The time of its Ready condition's last change to true; the kubelet counts readiness gates in.
    pub(super) fn ready_since(&self) -> Option<Timestamp> {
        let conditions = self.pod.status.as_ref()?.conditions.as_ref()?;
        let ready = conditions.iter().find(|it| it.type_ == "Ready" && it.status == "True")?;
        Some(ready.last_transition_time.as_ref().map_or(Timestamp::MIN, |it| it.0))
    }

    pub(super) fn ready(&self) -> bool {
        self.ready_since().is_some() && !matches!(self.place, Place::Lost | Place::Gone)
    }

    /// Ready by its own account and by the kubelet's, and neither leaving nor silent for long.
    pub(super) fn takes_calls(&self, agenda: &Agenda) -> bool {
        !self.leaving() && self.ready() && self.poll.is_some() && !self.silent(agenda)
    }

    /// It takes no calls, or soon none: drained, deleted, ended, or lost with its node.
    pub(super) fn leaving(&self) -> bool {
        self.terminating()
            || self.finished()
            || self.drain().is_some()
            || matches!(self.place, Place::Lost | Place::Gone)
    }

    /// It has not answered for [`SILENT`].
    pub(super) fn silent(&self, agenda: &Agenda) -> bool {
        let since = self.poll.and_then(|it| it.silent_since);
        since.is_some_and(|since| agenda.passed(since, SILENT))
    }

    /// It did not answer lately.
    pub(super) fn hushed(&self) -> bool {
        self.poll.is_some_and(|it| it.silent_since.is_some())
    }

    /// It takes calls, has the configuration of this hash, and did not fall over for a while.
    pub(super) fn proven(&self, config_hash: &str, agenda: &Agenda) -> bool {
        self.takes_calls(agenda)
            && self.config_hash() == Some(config_hash)
            && self.ready_since().is_some_and(|since| agenda.passed(since, PROVEN))
    }

    /// The hash it reports.
    pub(super) fn config_hash(&self) -> Option<&'a str> {
        self.poll?.status.as_ref().map(|it| it.config_hash.as_str())
    }

    /// As it last said; a pod that never said anything has had no time for calls.
    pub(super) fn calls(&self) -> u32 {
        self.poll.and_then(|it| it.status.as_ref()).map_or(0, |it| it.calls.total())
    }

    /// Calls that the end of its drain has ended.
    pub(super) fn calls_drained(&self) -> u64 {
        self.poll.and_then(|it| it.status.as_ref()).map_or(0, |it| it.drained)
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        let state = self.container().and_then(|it| it.state.as_ref());
        if let Some(waiting) = state.and_then(|it| it.waiting.as_ref()) {
            let words = || waiting.message.clone().unwrap_or_default();
            match waiting.reason.as_deref().unwrap_or_default() {
                "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" => {
                    return Some(Trouble::Image(words()));
                }
                "CrashLoopBackOff"
                | "RunContainerError"
                | "CreateContainerError"
                | "CreateContainerConfigError" => return Some(Trouble::CrashLoop(words())),
                _ => {}
            }
        }
        let conditions = self.pod.status.as_ref()?.conditions.as_ref()?;
        let scheduled = conditions.iter().find(|it| it.type_ == "PodScheduled")?;
        let unschedulable =
            scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable");
        let words = scheduled.message.clone().unwrap_or_default();
        unschedulable.then_some(Trouble::Unschedulable(words))
    }

    /// Its own addresses, by family first come first.
    pub(super) fn pod_ips(&self) -> Vec<IpAddr> {
        let status = self.pod.status.as_ref();
        let all = status.and_then(|it| it.pod_ips.as_ref()).into_iter().flatten();
        all.filter_map(|it| it.ip.parse().ok()).collect()
    }

    /// Those of its node, as the kubelet tells them.
    pub(super) fn host_ips(&self) -> Vec<IpAddr> {
        let status = self.pod.status.as_ref();
        let all = status.and_then(|it| it.host_ips.as_ref()).into_iter().flatten();
        all.filter_map(|it| it.ip.parse().ok()).collect()
    }
}

fn place(world: &World, pod: &Pod, agenda: &Agenda) -> (Place, Option<Timestamp>) {
    let name = pod.spec.as_ref().and_then(|it| it.node_name.as_deref()).filter(|it| !it.is_empty());
    let (Some(name), Some(nodes)) = (name, &world.nodes) else {
        let place = if name.is_none() { Place::Unassigned } else { Place::Good };
        return (place, None);
    };
    let Some(node) = nodes.get(name) else { return (Place::Gone, None) };
    let spec = node.spec.as_ref();
    let taints = spec.and_then(|it| it.taints.as_ref()).into_iter().flatten();
    if taints.into_iter().any(|it| it.key == "node.kubernetes.io/out-of-service") {
        return (Place::Gone, None);
    }
    let (ready, since) = readiness(node);
    if !ready && since.is_none_or(|since| agenda.passed(since, NODE_LOST)) {
        return (Place::Lost, None);
    }
    let cordoned = spec.and_then(|it| it.unschedulable).unwrap_or(false);
    (if cordoned { Place::Cordoned } else { Place::Good }, since.filter(|_| ready))
}

/// Whether a node is ready, and since when that is so.
fn readiness(node: &Node) -> (bool, Option<Timestamp>) {
    let conditions = node.status.as_ref().and_then(|it| it.conditions.as_ref());
    match conditions.into_iter().flatten().find(|it| it.type_ == "Ready") {
        Some(it) => (it.status == "True", it.last_transition_time.as_ref().map(|it| it.0)),
        // A node that has just been made says nothing yet.
        None => (true, None),
    }
}
