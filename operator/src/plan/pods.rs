//! The life of a pool's pods.
//!
//! ```text
//!   created ─▶ Starting ─▶ Ready ─▶ Draining ─▶ deleted
//!                            ▲          │
//!                            └─ revived ┘
//! ```
//!
//! A pod is *current* when it has the revision of the moment and its node is not cordoned. New pods
//! surge beside old ones, prove themselves, and only then do old ones drain; a drained pod is deleted
//! when it has said twice that no call is left, or when its time is over. Only when no block of ports
//! is free for a new pod does an old one drain before it. A pod that never ran has nothing to drain
//! and goes at once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use trunkline_crds::conditions::reasons;

use super::agenda::Agenda;
use super::exposure::Addresses;
use super::objects::{self, Maker};
use super::peers::peers;
use super::placement::Wish;
use super::seen::{Place, Seen, Trouble};
use super::slots::{free_slots, slots};
use super::{Event, PodAction, PodChange, Regarding};
use crate::names;
use crate::world::NodeState;

/// Why a pod drains, as its annotation says. Everything else was written by a person.
mod why {
    pub(super) const SCALE_DOWN: &str = "scale-down";
    pub(super) const ROLLOUT: &str = "rollout";
    pub(super) const CORDONED: &str = "node-cordoned";
    pub(super) const NODE_LOST: &str = "node-lost";
}

/// The pod ends its calls itself when its time is over; this much later it is deleted.
const AFTER_DEADLINE: SignedDuration = SignedDuration::from_secs(5);
const GRACE_AFTER_DEADLINE_SECONDS: u32 = 30;
/// The kubelet is asked again to refresh a pod's files after this long, then after twice as long, …
const KICK: SignedDuration = SignedDuration::from_secs(3);
const KICK_AT_MOST: SignedDuration = SignedDuration::from_secs(60);

/// What is to be done, and what hinders it.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) actions: Vec<PodAction>,
    /// Reason and message while pods are being replaced or made.
    pub(super) progressing: Option<(&'static str, String)>,
    /// Reason and message when there cannot be as many pods as wanted.
    pub(super) limited: Option<(&'static str, String)>,
}

/// The pods of one pool and what they should be like.
pub(super) struct Fleet<'a> {
    pub(super) make: Maker<'a>,
    pub(super) agenda: &'a Agenda,
    pub(super) pods: &'a [Seen<'a>],
    pub(super) addresses: &'a Addresses<'a>,
    pub(super) wish: Wish,
    pub(super) revision: &'a str,
    /// `None` when there is no configuration: then no pod is made.
    pub(super) config_hash: Option<&'a str>,
    /// The pool cannot be obeyed as it is written, so no pod is made, and none leaves because of it.
    pub(super) held: bool,
}

/// Annotations to write, by the pod's name.
type Changes<'a> = BTreeMap<&'a str, BTreeMap<String, Option<String>>>;

impl<'a> Fleet<'a> {
    pub(super) fn desired(&self) -> usize {
        usize::try_from(self.make.spec.replicas).unwrap_or(0)
    }

    /// The pods that count: all that are not leaving.
    pub(super) fn active(&self) -> impl Iterator<Item = &'a Seen<'a>> {
        self.pods.iter().filter(|it| it.ours && !it.leaving())
    }

    fn is_current(&self, pod: &Seen<'_>) -> bool {
        (self.held || pod.revision() == self.revision) && pod.place != Place::Cordoned
    }

    pub(super) fn plan(&self) -> Outcome {
        let mut outcome = Outcome::default();
        let mut changes = Changes::new();
        let mut events: BTreeMap<&str, Event> = BTreeMap::new();
        let mut gone: BTreeSet<&str> = BTreeSet::new();

        for pod in self.pods.iter().filter(|it| it.ours) {
            if let Some(delete) = self.end(pod) {
                gone.insert(pod.name);
                outcome.actions.push(delete);
            }
        }
        let rest = || self.pods.iter().filter(|it| it.ours && !gone.contains(it.name));
        // Those that are deleted too: they still end their calls.
        let peers = peers(self.pods.iter().filter(|it| it.ours));
        for pod in rest().filter(|it| !it.terminating() && !it.finished()) {
            self.tell(pod, peers.as_deref(), &mut changes);
            if pod.place == Place::Lost && pod.drain().is_none() {
                self.mark(pod, why::NODE_LOST, &mut changes, &mut events);
            }
        }

        let active: Vec<_> = self.active().filter(|it| !gone.contains(it.name)).collect();
        let (current, outdated): (Vec<_>, Vec<_>) =
            active.iter().copied().partition(|it| self.is_current(it));
        let room = self.room_for_new(&current, &outdated);
        let revived = self.revivable(room);
        for pod in &revived {
            let change = changes.entry(pod.name).or_default();
            for key in [names::DRAIN, names::DRAIN_STARTED] {
                change.insert(key.into(), None);
            }
            for (key, value) in [(names::SAFE_TO_EVICT, "false"), (names::DO_NOT_DISRUPT, "true")] {
                change.insert(key.into(), Some(value.into()));
            }
            let note = "takes calls again: it is needed".to_owned();
            events.insert(pod.name, pod_event(pod.name, pod.uid, "DrainCancelled", false, note));
        }

        let missing = room.saturating_sub(revived.len());
        let mut victims = self.victims(&current, &outdated);
        if missing > 0 && victims.is_empty() {
            victims.extend(self.makes_way(&current, &outdated).map(|it| (it, why::ROLLOUT)));
        }
        for (pod, reason) in victims {
            if pod.process_up() {
                self.mark(pod, reason, &mut changes, &mut events);
            } else {
                // It never took a call, so there is nothing to wait for.
                outcome.actions.push(delete(pod, None, None));
                gone.insert(pod.name);
            }
        }

        for (name, annotations) in changes.into_iter().filter(|(name, _)| !gone.contains(name)) {
            let Some(pod) = self.pods.iter().find(|it| it.name == name) else { continue };
            outcome.actions.push(PodAction {
                name: name.to_owned(),
                change: PodChange::Annotate { uid: pod.uid.to_owned(), annotations },
                event: events.remove(name),
            });
        }
        self.create(missing, &mut outcome);
        outcome.progressing = self.progress(&current, &outdated);
        if outcome.limited.is_none() {
            outcome.limited = self.limits(&current);
        }
        outcome
    }

    /// Deletes what has nothing left to do, or no time left to do it.
    fn end(&self, pod: &Seen<'_>) -> Option<PodAction> {
        if pod.place == Place::Gone {
            let note = "its node does not exist any more".to_owned();
            let event = pod_event(pod.name, pod.uid, "NodeGone", true, note);
            return Some(delete(pod, Some(0), Some(event)));
        }
        if pod.terminating() || pod.place == Place::Lost {
            return None;
        }
        if pod.finished() {
            return Some(delete(pod, None, None));
        }
        pod.drain()?;
        if !pod.process_up() {
            return Some(delete(pod, None, None));
        }
        let idle_twice = pod.poll.is_some_and(|it| it.idle_polls >= 2);
        if !idle_twice && !self.overdue(pod) {
            return None;
        }
        // The pod itself ends its calls at the deadline, so it has none a moment later.
        let cut = pod.calls_drained() + u64::from(pod.calls());
        if idle_twice && cut == 0 {
            let note = "no call is left".to_owned();
            let event = pod_event(pod.name, pod.uid, "DrainFinished", false, note);
            return Some(delete(pod, None, Some(event)));
        }
        let seconds = self.make.spec.drain.timeout_seconds;
        let note = format!("{cut} calls were left after drain.timeoutSeconds ({seconds} s)");
        let event = pod_event(pod.name, pod.uid, "DrainDeadlineExceeded", cut > 0, note);
        Some(delete(pod, Some(GRACE_AFTER_DEADLINE_SECONDS), Some(event)))
    }

    /// Whether a draining pod's time is over. A pod that was lost with its node hears of the drain only
    /// when the node is back, so its time starts then.
    fn overdue(&self, pod: &Seen<'_>) -> bool {
        let Some(started) = pod.drain_started() else { return false };
        let back = pod.node_ready_since.filter(|_| pod.drain() == Some(why::NODE_LOST));
        let since = back.map_or(started, |back| back.max(started));
        let timeout = SignedDuration::from_secs(i64::from(self.make.spec.drain.timeout_seconds));
        self.agenda.passed(since, timeout + AFTER_DEADLINE)
    }

    /// Brings a pod's annotations to what they should say.
    fn tell(&self, pod: &'a Seen<'a>, peers: Option<&str>, changes: &mut Changes<'a>) {
        let mut say = |key: &str, value: Option<String>| {
            if pod.annotation(key) != value.as_deref() {
                changes.entry(pod.name).or_default().insert(key.to_owned(), value);
            }
        };
        say(names::PEERS, peers.map(str::to_owned));
        let advertised = self.addresses.of_pod(pod);
        if advertised.media.is_some() {
            say(names::ADDRESS, advertised.media);
        }
        if advertised.sip.is_some() {
            say(names::SIP_ADDRESS, advertised.sip);
        }
        match (pod.drain(), pod.drain_started()) {
            (Some(_), None) => say(names::DRAIN_STARTED, Some(self.agenda.now.to_string())),
            (None, Some(_)) => say(names::DRAIN_STARTED, None),
            _ => {}
        }
        let state = pod.poll.and_then(|it| it.status.as_ref()).map(|it| it.state);
        if pod.drain().is_some() && state == Some(NodeState::Draining) && pod.calls() == 0 {
            say(names::SAFE_TO_EVICT, None);
            say(names::DO_NOT_DISRUPT, None);
        }
        if let Some(hash) = self.config_hash.filter(|_| pod.place != Place::Lost) {
            let now = self.agenda.now;
            if pod.annotation(names::CONFIG_HASH) != Some(hash) {
                say(names::CONFIG_HASH, Some(hash.to_owned()));
            }
            let news = [names::CONFIG_HASH, names::ADDRESS, names::SIP_ADDRESS];
            let told = changes
                .get(pod.name)
                .is_some_and(|it| news.iter().any(|key| it.contains_key(*key)));
            let kicked = match told {
                true => Some(now),
                false => self.kick_again(pod, hash),
            };
            if let Some(first) = kicked {
                let kicked = Some(format!("{first}/{now}"));
                changes
                    .entry(pod.name)
                    .or_default()
                    .insert(names::CONFIG_KICKED.to_owned(), kicked);
            }
        }
    }

    /// When the first kick was, if another one is due: the pod's files are not what they should be. A
    /// kubelet that is refreshing them at the moment something changes may miss the change, and looks
    /// again a minute later by itself.
    fn kick_again(&self, pod: &Seen<'_>, hash: &str) -> Option<Timestamp> {
        let poll = pod.poll.filter(|it| it.silent_since.is_none())?;
        let status = poll.status.as_ref()?;
        let told =
            [names::ADDRESS, names::SIP_ADDRESS].into_iter().filter_map(|it| pod.annotation(it));
        let mut addresses = told.flat_map(|it| it.split(','));
        let has_addresses =
            addresses.all(|told| status.advertised.iter().any(|it| it.address == told));
        let drains = status.state == NodeState::Draining || pod.drain().is_none();
        if status.config_hash == hash && has_addresses && drains {
            return None;
        }
        let created = pod.pod.metadata.creation_timestamp.as_ref().map(|it| it.0);
        let (first, last) = pod
            .annotation(names::CONFIG_KICKED)
            .and_then(|it| it.split_once('/'))
            .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)))
            .or(created.map(|it| (it, it)))?;
        // A drain is marked by itself: it counts as a first kick.
        let (first, last) = match pod.drain_started().filter(|it| *it > last) {
            Some(started) => (started, started),
            None => (first, last),
        };
        let gap: SignedDuration = Timestamp::duration_since(last, first);
        let gap = gap.clamp(KICK, KICK_AT_MOST);
        // An answer from before the kick says nothing about it.
        let due = self.agenda.passed(last, gap) && poll.heard_at.is_some_and(|at| at > last);
        due.then_some(first)
    }

    /// How many pods are to be added, revived ones included.
    fn room_for_new(&self, current: &[&Seen<'_>], outdated: &[&Seen<'_>]) -> usize {
        let desired = self.desired();
        let failing = current
            .iter()
            .any(|it| matches!(it.trouble(), Some(Trouble::Image(_) | Trouble::CrashLoop(_))));
        let surge = match outdated.is_empty() || failing {
            true => 0,
            false => desired.div_ceil(4).max(1),
        };
        let total = current.len() + outdated.len();
        let wanted = desired.saturating_sub(current.len());
        wanted.min((desired + surge).saturating_sub(total))
    }

    /// Draining pods that are as good as new ones, those with most calls first.
    fn revivable(&self, room: usize) -> Vec<&'a Seen<'a>> {
        let by_us = [why::SCALE_DOWN, why::ROLLOUT, why::CORDONED];
        let mut found: Vec<_> = self
            .pods
            .iter()
            .filter(|it| it.ours && !it.terminating() && !it.finished())
            .filter(|it| it.drain().is_some_and(|why| by_us.contains(&why)))
            .filter(|it| it.place == Place::Good && it.process_up() && self.is_current(it))
            .filter(|it| self.end(it).is_none())
            .collect();
        found.sort_by_key(|it| (std::cmp::Reverse(it.calls()), it.slot));
        found.truncate(room);
        found
    }

    /// Who is to drain, and why.
    fn victims(
        &self,
        current: &[&'a Seen<'a>],
        outdated: &[&'a Seen<'a>],
    ) -> Vec<(&'a Seen<'a>, &'static str)> {
        let desired = self.desired();
        let proven = match self.config_hash {
            Some(hash) => current.iter().filter(|it| it.proven(hash, self.agenda)).count(),
            None => 0,
        };
        let why_outdated = |it: &Seen<'_>| match it.place {
            Place::Cordoned if it.revision() == self.revision => why::CORDONED,
            _ => why::ROLLOUT,
        };
        let (serving, rest): (Vec<_>, Vec<_>) =
            outdated.iter().copied().partition(|it| it.takes_calls(self.agenda));
        let (idle, down): (Vec<_>, Vec<_>) = rest.into_iter().partition(|it| it.process_up());

        // What never came up holds nobody; what is up but takes no calls makes way for who does.
        let mut victims: Vec<_> = down.into_iter().map(|it| (it, why_outdated(it))).collect();
        let total = current.len() + outdated.len() - victims.len();
        let spare_idle = total.saturating_sub(desired).min(proven);
        victims.extend(self.ranked(idle).take(spare_idle).map(|it| (it, why_outdated(it))));
        let spare = (proven + serving.len()).saturating_sub(desired);
        victims.extend(self.ranked(serving).take(spare).map(|it| (it, why_outdated(it))));

        // A pod that just fell silent may have any number of calls: wait for it. And for one with calls
        // that is not ready: mostly its drain was just called off.
        let unsettled = current.iter().any(|it| match it.ready() {
            true => it.hushed() && !it.silent(self.agenda),
            false => it.process_up() && it.calls() > 0 && !it.silent(self.agenda),
        });
        let excess = current.len().saturating_sub(desired);
        if excess > 0 && !unsettled {
            let going = self.ranked(current.to_vec()).take(excess);
            victims.extend(going.map(|it| (it, why::SCALE_DOWN)));
        }
        victims
    }

    /// The old pod that drains before there is a new one, because no block of ports is free for a new
    /// one beside it. All but a quarter of the pods go on taking calls, and always one.
    fn makes_way(
        &self,
        current: &[&'a Seen<'a>],
        outdated: &[&'a Seen<'a>],
    ) -> Option<&'a Seen<'a>> {
        let media = &self.make.spec.exposure.media;
        let hash = self.config_hash.filter(|_| !self.held)?;
        if free_slots(media, self.pods).next().is_some()
            || !current.iter().all(|it| it.proven(hash, self.agenda))
        {
            return None;
        }
        let serving =
            current.iter().chain(outdated).filter(|it| it.takes_calls(self.agenda)).count();
        let most = (current.len() + outdated.len()).min(self.desired());
        let share = most.div_ceil(4);
        let leaving = self.pods.iter().filter(|it| it.leaving()).count();
        if leaving >= share || serving <= (most - share).max(1) {
            return None;
        }
        // The block that fewest have to leave.
        let is_outdated = |pod: &Seen<'_>| outdated.iter().any(|it| it.name == pod.name);
        let (_, staying) = slots(media, self.pods)
            .filter(|(_, all)| all.iter().all(|it| it.leaving() || is_outdated(it)))
            .map(|(_, all)| all.into_iter().filter(|it| !it.leaving()).collect::<Vec<_>>())
            .filter(|staying| !staying.is_empty())
            .map(|staying| {
                let calls: u32 = staying.iter().map(|it| it.calls()).sum();
                ((staying.len(), calls), staying)
            })
            .min_by_key(|(cost, _)| *cost)?;
        self.ranked(staying).next()
    }

    /// Whom to let go first: who takes no calls, then fewest calls, then the emptiest node, then the
    /// highest slot.
    fn ranked(&self, mut pods: Vec<&'a Seen<'a>>) -> impl Iterator<Item = &'a Seen<'a>> {
        let mut on_node: BTreeMap<&str, u32> = BTreeMap::new();
        for pod in self.active() {
            *on_node.entry(pod.node().unwrap_or_default()).or_default() += 1;
        }
        pods.sort_by_key(|it| {
            let crowd = on_node.get(it.node().unwrap_or_default()).copied().unwrap_or(0);
            let takes_calls = it.takes_calls(self.agenda);
            (takes_calls, it.calls(), crowd, std::cmp::Reverse(it.slot))
        });
        pods.into_iter()
    }

    fn mark(
        &self,
        pod: &'a Seen<'a>,
        reason: &str,
        changes: &mut Changes<'a>,
        events: &mut BTreeMap<&'a str, Event>,
    ) {
        let change = changes.entry(pod.name).or_default();
        change.insert(names::DRAIN.into(), Some(reason.to_owned()));
        change.insert(names::DRAIN_STARTED.into(), Some(self.agenda.now.to_string()));
        let note = format!("takes no new calls ({reason}); {} calls go on", pod.calls());
        events.insert(pod.name, pod_event(pod.name, pod.uid, "DrainStarted", false, note));
    }

    fn create(&self, missing: usize, outcome: &mut Outcome) {
        let Some(config_hash) = self.config_hash.filter(|_| !self.held) else { return };
        let mut free = free_slots(&self.make.spec.exposure.media, self.pods);
        let peers = peers(self.pods.iter().filter(|it| it.ours));
        for _ in 0..missing {
            let Some(place) = free.next() else {
                let leaving = self.pods.iter().filter(|it| it.leaving()).count();
                let draining = match leaving {
                    0 => String::new(),
                    n => format!(" ({n} by pods that are leaving)"),
                };
                outcome.limited = Some((
                    reasons::PORT_RANGE_EXHAUSTED,
                    format!(
                        "every block of exposure.media.portRange is taken{draining}: widen the \
                         range or lower portsPerPod"
                    ),
                ));
                return;
            };
            let mut pod = objects::pod(&self.make, &place, &self.wish, self.revision, config_hash);
            let annotations = pod.metadata.annotations.get_or_insert_default();
            annotations.extend(peers.iter().map(|it| (names::PEERS.to_owned(), it.clone())));
            let name = names::pod(self.make.pool, place.slot);
            let (first, last) = place.ports;
            let note = format!("created with media ports {first}-{last}");
            outcome.actions.push(PodAction {
                event: Some(pod_event(&name, "", "PodCreated", false, note)),
                name,
                change: PodChange::Create(Box::new(pod)),
            });
        }
    }

    fn progress(
        &self,
        current: &[&Seen<'_>],
        outdated: &[&Seen<'_>],
    ) -> Option<(&'static str, String)> {
        let desired = self.desired();
        let proven =
            |it: &&&Seen<'_>| self.config_hash.is_some_and(|hash| it.proven(hash, self.agenda));
        let done = current.iter().filter(proven).count();
        for pod in current {
            let name = pod.name;
            let with = |what: &str, words: &str| match words {
                "" => format!("pod {name} {what}"),
                words => format!("pod {name} {what}: {words}"),
            };
            match pod.trouble() {
                Some(Trouble::Image(words)) => {
                    let what = format!("cannot pull image {}", self.make.settings.image);
                    return Some((reasons::IMAGE_PULL_BACK_OFF, with(&what, &words)));
                }
                Some(Trouble::CrashLoop(words)) => {
                    let message = with("keeps ending, see its log", &words);
                    return Some((reasons::CRASH_LOOP, message));
                }
                Some(Trouble::Unschedulable(words)) => {
                    return Some((reasons::UNSCHEDULABLE, with("finds no node", &words)));
                }
                None => {}
            }
        }
        if !outdated.is_empty() {
            let old = outdated.len();
            let message = format!("{done}/{desired} pods are new, {old} old ones still take calls");
            return Some((reasons::ROLLING_OUT, message));
        }
        (done < desired || current.len() > desired).then(|| {
            (
                reasons::ROLLING_OUT,
                format!("{done}/{desired} pods take calls and have proved themselves"),
            )
        })
    }

    fn limits(&self, current: &[&Seen<'_>]) -> Option<(&'static str, String)> {
        let silent: Vec<_> = self.active().filter(|it| it.ready() && it.hushed()).collect();
        if let Some(first) = silent.first() {
            let message = format!(
                "pod {} does not answer the operator: its last numbers count, and no pod is taken away \
                 for a minute",
                first.name
            );
            return Some((reasons::METRICS_MISSING, message));
        }
        let waiting = current.iter().find_map(|it| match it.trouble() {
            Some(Trouble::Unschedulable(words)) => Some((it.name, words)),
            _ => None,
        })?;
        let (name, words) = waiting;
        Some((reasons::UNSCHEDULABLE, format!("pod {name} finds no node: {words}")))
    }
}

fn delete(pod: &Seen<'_>, grace_seconds: Option<u32>, event: Option<Event>) -> PodAction {
    PodAction {
        name: pod.name.to_owned(),
        change: PodChange::Delete {
            uid: pod.uid.to_owned(),
            resource_version: pod.resource_version().to_owned(),
            grace_seconds,
        },
        event,
    }
}

fn pod_event(name: &str, uid: &str, reason: &'static str, warning: bool, note: String) -> Event {
    let regarding = Regarding { kind: "Pod", name: name.to_owned(), uid: uid.to_owned() };
    Event { regarding, warning, reason, note }
}
