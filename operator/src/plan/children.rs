//! What a pool has beside its pods: what there should be, what there is too much, and whether something
//! is as it should be.

use std::collections::BTreeSet;

use serde_json::Value;
use trunkline_crds::media_pool::ExposureMode;

use super::Removal;
use super::config::Rendered;
use super::objects::{self, Maker};
use super::seen::Seen;
use crate::names;
use crate::world::{Object, ObjectKind, World};

/// Everything beside pods that the pool is to have.
pub(super) fn desired(make: &Maker<'_>, pods: &[Seen<'_>], rendered: &Rendered) -> Vec<Object> {
    let mut owners = vec![make.pool_as_owner()];
    let ours = || pods.iter().filter(|it| it.ours && !it.uid.is_empty());
    owners.extend(ours().map(|it| objects::pod_as_owner(it.name, it.uid)));
    let mut objects = vec![objects::service_account(make, &owners)];
    if !rendered.files.is_empty() {
        objects.push(objects::config_secret(make, &owners, rendered));
    }
    objects.extend(objects::sip_service(make, &owners));
    objects.push(objects::disruption_budget(make, &owners));
    objects.extend(objects::network_policy(make, &owners));
    if make.mode() == ExposureMode::LoadBalancer {
        for pod in ours().filter(|it| !it.finished()) {
            if let (Some(slot), Some(ports)) = (pod.slot, pod.media_ports()) {
                let owner = objects::pod_as_owner(pod.name, pod.uid);
                objects.push(objects::media_service(make, slot, ports, owner));
            }
        }
    }
    objects.into_iter().map(objects::sealed).collect()
}

/// Objects of ours that nothing needs any more, not even pods of a pool of the same name before this
/// one. Objects of other kinds have one name in every pool.
pub(super) fn orphans(world: &World, pool: &str, desired: &[Object]) -> Vec<Removal> {
    let wanted: BTreeSet<_> = desired.iter().map(Object::key).collect();
    let pods: BTreeSet<&str> =
        world.pods.values().filter_map(|it| it.metadata.uid.as_deref()).collect();
    world
        .objects
        .iter()
        .filter(|(key, _)| matches!(key.kind, ObjectKind::Service | ObjectKind::NetworkPolicy))
        .filter(|(key, it)| {
            let labels = it.metadata().labels.as_ref();
            let of_pool = labels.and_then(|it| it.get(names::POOL)).is_some_and(|it| it == pool);
            let leaving = it.metadata().deletion_timestamp.is_some();
            let owners = it.metadata().owner_references.iter().flatten();
            let needed = owners.into_iter().any(|it| it.kind == "Pod" && pods.contains(&*it.uid));
            let needed = needed && key.name != names::sip_service(pool);
            of_pool && !leaving && !needed && !wanted.contains(*key)
        })
        .map(|(key, it)| Removal {
            key: key.clone(),
            uid: it.metadata().uid.clone().unwrap_or_default(),
        })
        .collect()
}

/// Whether an object is as it should be: what we write is there, and we wrote nothing else before.
pub(super) fn is_so(world: &World, desired: &Object) -> bool {
    let Some(there) = world.objects.get(&desired.key()) else { return false };
    let applied = |it: &Object| it.metadata().annotations.as_ref()?.get(names::APPLIED).cloned();
    if applied(there) != applied(desired) {
        return false;
    }
    match (desired, &**there) {
        // The largest by far, so its data are not made into text first.
        (Object::Secret(ours), Object::Secret(theirs)) if ours.data != theirs.data => false,
        _ => holds(&there.to_value(), &desired.to_value()),
    }
}

/// Whether `there` has all of `wanted`. The order of lists means nothing: they are keyed.
fn holds(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| there.get(key).is_some_and(|there| holds(there, wanted))),
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len()
                && wanted.iter().all(|wanted| there.iter().any(|there| holds(there, wanted)))
        }
        _ => there == wanted,
    }
}
