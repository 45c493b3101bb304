//! The status of MediaPools.

use trunkline_crds::MediaPoolStatus;
use trunkline_crds::conditions::{reasons, types};
use trunkline_crds::media_pool::{PoolAddressStatus, PoolAddressType};

use super::{
    Counts, Event, Judgement, Pool, Status, StatusPatch, World, conditions, event, joined, turned,
    words,
};
use crate::names;
use crate::plan::agenda::Agenda;
use crate::plan::config::MAX_LEN_BYTES;
use crate::plan::pool::NOT_SUPPORTED;

/// Reason of `Accepted`, and of the event.
const CONFIG_TOO_LARGE: &str = "ConfigTooLarge";
const MAX_ADDRESSES: usize = 2048;

impl Pool<'_> {
    /// Why nothing new reaches the pods, in a sentence for the trunks.
    pub(super) fn not_rendered(&self) -> Option<String> {
        if let Some((_, message)) = &self.held {
            return Some(format!("MediaPool {} waits: {message}", self.name));
        }
        let len = self.rendered.as_ref()?.too_large?;
        Some(format!("MediaPool {} waits: {}", self.name, too_large(len)))
    }
}

fn too_large(len_bytes: usize) -> String {
    format!(
        "its configuration would take {} KiB of at most {}: move trunks to another MediaPool",
        len_bytes.div_ceil(1024),
        MAX_LEN_BYTES >> 10
    )
}

pub(in crate::plan) fn pool(
    world: &World,
    pool: &Pool<'_>,
    agenda: &Agenda,
) -> Option<StatusPatch> {
    let old = pool.object.status.clone().unwrap_or_default();
    let judgements = [accepted(world, pool), progressing(pool), scaling_limited(pool), ready(pool)];
    let generation = pool.object.metadata.generation;
    let int = |it: u32| i32::try_from(it).unwrap_or(i32::MAX);
    let figures = &pool.figures;
    let mut new = MediaPoolStatus {
        observed_generation: generation,
        replicas: int(figures.replicas),
        ready_replicas: Some(int(figures.ready)),
        draining_replicas: Some(int(figures.draining)),
        selector: Some(names::selector(pool.name)),
        desired_replicas: Some(int(figures.desired)),
        active_calls: Some(int(figures.active_calls)),
        capacity_calls: Some(int(figures.capacity_calls)),
        current_revision: Some(pool.revision.clone()),
        config_hash: pool.config_hash.clone(),
        addresses: addresses(pool),
        conditions: conditions(&old.conditions, &judgements, generation, agenda.now),
    };
    let changed = new != old;
    let calls = std::mem::replace(&mut new.active_calls, old.active_calls);
    let same_but_counts = new == old;
    new.active_calls = calls;
    let events = events(pool, &old, &judgements);
    let counts = Counts { world, agenda };
    let status = Status::MediaPool(pool.name.to_owned(), Box::new(new));
    counts.patch(&pool.object.metadata, status, changed, same_but_counts, events)
}

fn accepted(world: &World, pool: &Pool<'_>) -> Judgement {
    let type_ = types::ACCEPTED;
    if let Some((reason, message)) = &pool.held {
        return Judgement::no(type_, reason, message.clone());
    }
    if let Some(refusal) = world.refused.get(pool.name) {
        let mode = pool.object.spec.exposure.mode;
        let (reason, message) = match refusal.pod_security {
            true => (
                reasons::POD_SECURITY_FORBIDDEN,
                format!(
                    "namespace {} does not allow pods of mode {mode}: label it \
                     pod-security.kubernetes.io/enforce=privileged, or make a pool of mode \
                     LoadBalancer or PodNetwork ({})",
                    world.namespace, refusal.message
                ),
            ),
            false => (reasons::REJECTED, format!("no pod can be made: {}", refusal.message)),
        };
        return Judgement::no(type_, reason, message);
    }
    if let Some(len) = pool.rendered.as_ref().and_then(|it| it.too_large) {
        return Judgement::no(type_, CONFIG_TOO_LARGE, too_large(len));
    }
    let lacking =
        crate::plan::config::missing(world, &crate::plan::references::of_pool(&pool.object.spec));
    if let Some(missing) = lacking.first() {
        let message = format!("{}; until then the one before is in use", missing.message);
        return Judgement::no(type_, reasons::INVALID_CERTIFICATE, message);
    }
    if let Some(words) = pool.unreadable() {
        return Judgement::no(type_, reasons::REJECTED, words);
    }
    let rejected = pool.rejected("MediaPool", pool.name);
    if let Some(first) = rejected.first() {
        let reason = match () {
            () if first.message.starts_with(NOT_SUPPORTED) => reasons::UNSUPPORTED,
            () if first.field.starts_with("spec.tls") => reasons::INVALID_CERTIFICATE,
            () => reasons::INVALID,
        };
        return Judgement::no(type_, reason, words(&rejected));
    }
    let mut notes = Vec::new();
    if !pool.certificate() {
        notes.push(
            "without tls.certificateRef a self-signed certificate is shown, which most carriers refuse"
                .to_owned(),
        );
    }
    notes.extend(pool.address_note.clone());
    Judgement::yes(type_, reasons::ACCEPTED, joined(&notes))
}

fn progressing(pool: &Pool<'_>) -> Judgement {
    match &pool.progressing {
        Some((reason, message)) => Judgement::yes(types::PROGRESSING, reason, message.clone()),
        None => Judgement::no(types::PROGRESSING, reasons::UP_TO_DATE, ""),
    }
}

fn scaling_limited(pool: &Pool<'_>) -> Judgement {
    let type_ = types::SCALING_LIMITED;
    if let Some((reason, message)) = &pool.limited {
        return Judgement::yes(type_, reason, message.clone());
    }
    if pool.object.spec.autoscaling.is_some() {
        let message = format!(
            "{NOT_SUPPORTED}spec.autoscaling: the number of pods stays at spec.replicas; use kubectl \
             scale, an HPA or KEDA"
        );
        return Judgement::yes(type_, reasons::UNSUPPORTED, message);
    }
    Judgement::no(type_, reasons::WITHIN_LIMITS, "")
}

fn ready(pool: &Pool<'_>) -> Judgement {
    let figures = &pool.figures;
    if figures.ready == 0 {
        return match (&pool.address_pending, figures.desired) {
            (Some(why), _) => Judgement::no(types::READY, reasons::ADDRESS_PENDING, why.clone()),
            (None, 0) => Judgement::no(
                types::READY,
                reasons::NO_READY_PODS,
                "spec.replicas is 0: nobody takes calls",
            ),
            (None, desired) => {
                let why = pool.progressing.as_ref().map(|(_, message)| message.clone());
                let why = pool.held.as_ref().map(|(_, message)| message.clone()).or(why);
                let message = match why {
                    Some(why) => format!("0/{desired} pods: {why}"),
                    None => format!("0/{desired} pods"),
                };
                Judgement::no(types::READY, reasons::NO_READY_PODS, message)
            }
        };
    }
    let mut message = format!("{}/{} pods", figures.ready, figures.desired);
    if figures.draining > 0 {
        message.push_str(&format!(", {} draining", figures.draining));
    }
    Judgement::yes(types::READY, reasons::READY, message)
}

fn addresses(pool: &Pool<'_>) -> Vec<PoolAddressStatus> {
    let sip = &pool.object.spec.exposure.sip;
    let port = [sip.tls, sip.tcp, sip.udp].into_iter().find(|it| *it > 0);
    let sip_hosts = pool.sip_hosts.iter().map(|host| PoolAddressStatus {
        type_: PoolAddressType::Sip,
        value: host.clone(),
        port,
    });
    let media_hosts = pool.media_hosts.iter().map(|host| PoolAddressStatus {
        type_: PoolAddressType::Media,
        value: host.clone(),
        port: None,
    });
    sip_hosts.chain(media_hosts).take(MAX_ADDRESSES).collect()
}

fn events(pool: &Pool<'_>, old: &MediaPoolStatus, judgements: &[Judgement]) -> Vec<Event> {
    let metadata = &pool.object.metadata;
    let tell = |warning, reason, note: &str| event("MediaPool", metadata, warning, reason, note);
    let mut events = Vec::new();
    let (before, now) = (old.desired_replicas, i32::try_from(pool.figures.desired).ok());
    if let (Some(before), Some(now)) = (before, now) {
        let note = format!("from {before} to {now} pods");
        if now > before {
            events.push(tell(false, "ScaledUp", &note));
        } else if now < before {
            events.push(tell(false, "ScaledDown", &note));
        }
    }
    for it in judgements.iter().filter(|it| turned(&old.conditions, it)) {
        match (it.type_, it.is) {
            (types::ACCEPTED, Some(false)) => events.push(tell(true, it.reason, &it.message)),
            (types::SCALING_LIMITED, Some(true)) => {
                events.push(tell(true, "ScalingLimited", &it.message));
                if it.reason == reasons::PORT_RANGE_EXHAUSTED {
                    events.extend(oldest_drain(pool));
                }
            }
            (types::PROGRESSING, Some(true)) if it.reason != reasons::ROLLING_OUT => {
                events.push(tell(true, it.reason, &it.message));
            }
            _ => {}
        }
    }
    events
}

/// The pod whose leaving would free a block of ports first.
fn oldest_drain(pool: &Pool<'_>) -> Option<Event> {
    let draining = pool.pods.iter().filter(|it| it.drain().is_some());
    let oldest = draining.min_by_key(|it| (it.drain_started(), it.slot))?;
    let note = format!(
        "its block of media ports is wanted; it drains since {} with {} calls",
        oldest.drain_started().map_or("now".to_owned(), |it| it.to_string()),
        oldest.calls()
    );
    Some(event("Pod", &oldest.pod.metadata, true, reasons::PORT_RANGE_EXHAUSTED, &note))
}
