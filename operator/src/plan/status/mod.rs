//! What people read: conditions, addresses and numbers of Trunks, Agents and MediaPools.
//!
//! A status is made anew each time and written only when it says something else than the one there.
//! Numbers of calls alone are no news more often than every [`COUNTS_EVERY`].

mod agent;
mod pool;
mod trunk;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use trunkline_crds::conditions::{reasons, types};

use super::agenda::Agenda;
use super::pool::{NOT_SUPPORTED, Pool};
use super::references::Missing;
use super::{Event, Regarding, Status, StatusPatch, Urgency};
use crate::world::{Rejected, StatusKey, World};

pub(super) use agent::agents;
pub(super) use pool::pool;
pub(super) use trunk::trunks;

/// Numbers alone are written at most so often for each object.
pub(super) const COUNTS_EVERY: SignedDuration = SignedDuration::from_secs(30);
/// Longer messages are cut: they hold words of others.
const MAX_MESSAGE_CHARS: usize = 1024;

/// A condition as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    type_: &'static str,
    /// `None` is Unknown.
    is: Option<bool>,
    reason: &'static str,
    message: String,
}

impl Judgement {
    fn yes(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, is: Some(true), reason, message: message.into() }
    }

    fn no(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, is: Some(false), reason, message: message.into() }
    }

    fn unknown(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, is: None, reason, message: message.into() }
    }

    fn word(&self) -> &'static str {
        match self.is {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// The conditions to write: a time of transition changes only with the status.
fn conditions(
    old: &[Condition],
    wanted: &[Judgement],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |it: &Judgement| {
        let before = find(old, it.type_).filter(|old| old.status == it.word());
        Condition {
            type_: it.type_.to_owned(),
            status: it.word().to_owned(),
            reason: it.reason.to_owned(),
            message: cut(&it.message),
            observed_generation: generation,
            last_transition_time: before
                .map_or(Time(whole_seconds(now)), |old| old.last_transition_time.clone()),
        }
    };
    wanted.iter().map(condition).collect()
}

/// As the API server stores it.
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|it| it.type_ == type_)
}

fn cut(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// Whether a condition has just become what is judged now.
fn turned(old: &[Condition], it: &Judgement) -> bool {
    find(old, it.type_).is_none_or(|old| old.status != it.word() || old.reason != it.reason)
}

/// Joins sentences for one message.
fn joined(sentences: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text = sentences.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if sentences.len() > SHOWN {
        text.push_str(&format!("; and {} more", sentences.len() - SHOWN));
    }
    text
}

/// `Accepted`, when nothing but the pods' words speaks against it.
fn supported(rejected: &[&Rejected]) -> Option<Judgement> {
    let words: Vec<String> = rejected
        .iter()
        .filter(|it| it.message.starts_with(NOT_SUPPORTED))
        .map(|it| it.message.clone())
        .collect();
    (!words.is_empty())
        .then(|| Judgement::no(types::ACCEPTED, reasons::UNSUPPORTED, joined(&words)))
}

/// `ResolvedRefs`.
fn resolved(missing: &[Missing]) -> Judgement {
    match missing.first() {
        None => Judgement::yes(types::RESOLVED_REFS, reasons::RESOLVED_REFS, ""),
        Some(first) => {
            let messages: Vec<_> = missing.iter().map(|it| it.message.clone()).collect();
            Judgement::no(types::RESOLVED_REFS, first.reason, joined(&messages))
        }
    }
}

/// How far pods are with an object: how many there are, and how many have it.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    ready: usize,
    programmed: usize,
}

impl Progress {
    fn of<'a>(pools: impl Iterator<Item = &'a Pool<'a>>) -> Self {
        pools.fold(Self::default(), |sum, pool| Self {
            ready: sum.ready + pool.ready().count(),
            programmed: sum.programmed + pool.programmed().count(),
        })
    }

    /// `Programmed` of an object that is in the configuration. What once was programmed as it is
    /// written stays so while pods take up changes of other objects, or while nothing new reaches them
    /// because of `held`.
    fn judge(self, old: &[Condition], generation: Option<i64>, held: Option<String>) -> Judgement {
        let before = find(old, types::PROGRAMMED);
        let stays = before.is_some_and(|it| {
            it.status == "True" && it.observed_generation == generation && generation.is_some()
        });
        match self {
            Self { ready: 0, .. } => {
                Judgement::no(types::PROGRAMMED, reasons::NO_PODS, "no media pod is ready")
            }
            Self { ready, programmed } if stays || (programmed == ready && held.is_none()) => {
                Judgement::yes(types::PROGRAMMED, reasons::PROGRAMMED, "on every ready media pod")
            }
            Self { ready, programmed } => {
                let message = held.unwrap_or_else(|| format!("{programmed}/{ready} media pods"));
                Judgement::no(types::PROGRAMMED, reasons::PENDING, message)
            }
        }
    }
}

/// The pods' own words.
fn words(rejected: &[&Rejected]) -> String {
    let say = |it: &&Rejected| match it.field.as_str() {
        "" => it.message.clone(),
        field => format!("{field}: {}", it.message),
    };
    joined(&rejected.iter().map(say).collect::<Vec<_>>())
}

/// Numbers for a status: a status whose only news they are waits for its turn.
struct Counts<'a> {
    world: &'a World,
    agenda: &'a Agenda,
}

impl Counts<'_> {
    fn may_write(&self, key: &StatusKey) -> bool {
        let written = self.world.status_written.get(key);
        written.is_none_or(|at| self.agenda.passed(*at, COUNTS_EVERY))
    }

    /// The patch for an object, if one is due. `same` tells whether old and new differ in numbers alone.
    fn patch(
        &self,
        metadata: &ObjectMeta,
        status: Status,
        changed: bool,
        same_but_counts: bool,
        events: Vec<Event>,
    ) -> Option<StatusPatch> {
        let uid = metadata.uid.clone().unwrap_or_default();
        let pending = || {
            let programmed = find(status.conditions(), types::PROGRAMMED);
            programmed.is_some_and(|it| it.reason == reasons::PENDING)
        };
        let urgency = match same_but_counts {
            true => Urgency::Numbers,
            false if pending() => Urgency::Interim,
            false => Urgency::News,
        };
        let patch = StatusPatch { uid, status, urgency, events };
        let due = changed && (!same_but_counts || self.may_write(&patch.key()));
        due.then_some(patch)
    }
}

fn event(
    kind: &'static str,
    metadata: &ObjectMeta,
    warning: bool,
    reason: &'static str,
    note: &str,
) -> Event {
    Event {
        regarding: Regarding {
            kind,
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
        },
        warning,
        reason,
        note: cut(note),
    }
}

/// The first judgement that is not true, of those that matter to whoever waits for `Ready`.
fn ready<'a>(
    judgements: impl Iterator<Item = &'a Judgement>,
    well: impl FnOnce() -> String,
) -> Judgement {
    let mut failing = judgements.filter(|it| it.is != Some(true));
    match failing.next() {
        Some(first) => Judgement {
            type_: types::READY,
            is: first.is,
            reason: first.reason,
            message: first.message.clone(),
        },
        None => Judgement::yes(types::READY, reasons::READY, well()),
    }
}

fn count(calls: impl Iterator<Item = u32>) -> i32 {
    calls.fold(0, |sum: i32, it| sum.saturating_add(i32::try_from(it).unwrap_or(i32::MAX)))
}
