//! Does what a [`Plan`] says. Nothing else writes to the API server, and nothing here decides.
//!
//! Every write asks first whether this process still leads, is right to repeat, and fails rather than
//! act on something that has changed since it was seen: names are fixed, objects go by server-side
//! apply, pods are changed under the precondition of their uid and deleted under that of their
//! resourceVersion too.

mod budget;
mod events;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, Client};
use serde_json::{Value, json};
use tracing::{Instrument, info, info_span, warn};
use trunkline_crds::{API_VERSION, Agent, MediaPool, Trunk};

use crate::client::in_words;
use crate::lease::Leadership;
use crate::names::OPERATOR;
use crate::observe::Memory;
use crate::plan::{Plan, PodAction, PodChange, PoolPlan, Removal, Status, StatusPatch, Urgency};
use crate::telemetry::{Metrics, RECONCILE_TARGET};
use crate::world::{Object, ObjectKind, Refusal};
use budget::Budget;
pub use events::Events;

/// Statuses that may be written, a second and at once. At once: a pass must not be long, but with
/// thousands to write passes are no shorter.
const NEWS: (f64, f64) = (500.0, 500.0);
/// With few all are told what goes on; with thousands the server has enough to do with the outcome.
const INTERIM: (f64, f64) = (20.0, 50.0);
const NUMBERS: (f64, f64) = (5.0, 10.0);
/// Statuses that are being written at once.
const CONCURRENT_STATUSES: usize = 16;
/// What the budgets did not allow is planned again after this.
const DEFERRED: Duration = Duration::from_secs(1);

/// Why a write was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this operator no longer leads")]
    NotLeading,
    #[error("{what}: {}", in_words(.source))]
    Api { what: String, source: kube::Error },
}

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Each in words; empty when all was done.
    pub failures: Vec<String>,
    /// Statuses that must wait.
    pub deferred: usize,
}

impl Outcome {
    /// When to look again although nothing has changed, as far as the writes are concerned.
    pub fn again_in(&self) -> Option<Duration> {
        (self.deferred > 0).then_some(DEFERRED)
    }
}

/// How many statuses may still be written.
struct Budgets {
    news: Budget,
    interim: Budget,
    numbers: Budget,
}

impl Budgets {
    fn of(&mut self, urgency: Urgency) -> &mut Budget {
        match urgency {
            Urgency::News => &mut self.news,
            Urgency::Interim => &mut self.interim,
            Urgency::Numbers => &mut self.numbers,
        }
    }
}

/// The only writer.
pub struct Applier {
    client: Client,
    leadership: Leadership,
    events: Events,
    metrics: Arc<Metrics>,
    budgets: Mutex<Budgets>,
}

impl Applier {
    pub fn new(
        client: Client,
        leadership: Leadership,
        events: Events,
        metrics: Arc<Metrics>,
        now: Instant,
    ) -> Self {
        let [news, interim, numbers] =
            [NEWS, INTERIM, NUMBERS].map(|(per_second, burst)| Budget::new(per_second, burst, now));
        let budgets = Mutex::new(Budgets { news, interim, numbers });
        Self { client, leadership, events, metrics, budgets }
    }

    /// Does it all, and remembers what the next pass must know.
    pub async fn apply(&self, namespace: &str, plan: Plan, memory: &mut Memory) -> Outcome {
        let mut outcome = Outcome::default();
        memory.refused.retain(|pool, _| plan.pools.contains_key(pool));
        if let Some(pool) = plan.create_pool
            && let Err(error) = self.create_pool(namespace, &pool).await
        {
            // Nothing else says why a Trunk has no pool, so any answer of the API server counts.
            if let Error::Api { source: kube::Error::Api(status), .. } = &error {
                let refusal = Refusal { pod_security: false, message: status.message.clone() };
                memory.refused.insert(pool.metadata.name.unwrap_or_default(), refusal);
            }
            outcome.failures.push(error.to_string());
        }
        memory.rendered.retain(|pool, _| plan.pools.contains_key(pool));
        memory.resolve = plan.resolve;
        for (name, pool) in plan.pools {
            let span = info_span!(target: RECONCILE_TARGET, "apply pool", pool = name);
            let applied = self.apply_pool(namespace, &name, &pool, memory).instrument(span).await;
            outcome.failures.extend(applied.err().map(|error| format!("pool {name}: {error}")));
            if let Some(rendered) = pool.rendered {
                memory.rendered.insert(name, rendered);
            }
        }
        let span = info_span!(target: RECONCILE_TARGET, "statuses", count = plan.statuses.len());
        self.write_statuses(namespace, plan.statuses, memory, &mut outcome).instrument(span).await;
        outcome
    }

    /// What comes after a step that failed waits for the next pass.
    async fn apply_pool(
        &self,
        namespace: &str,
        name: &str,
        plan: &PoolPlan,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        for object in &plan.apply {
            self.apply_object(namespace, object).await?;
        }
        for action in &plan.pods {
            let done = self.change_pod(namespace, action).await;
            if matches!(action.change, PodChange::Create(_)) {
                match &done {
                    Ok(()) => drop(memory.refused.remove(name)),
                    Err(error) => {
                        if let Some(refusal) = refusal(error) {
                            memory.refused.insert(name.to_owned(), refusal);
                        }
                    }
                }
            }
            done?;
        }
        for removal in &plan.delete {
            self.delete_object(namespace, removal).await?;
        }
        Ok(())
    }

    async fn create_pool(&self, namespace: &str, pool: &MediaPool) -> Result<(), Error> {
        self.fence()?;
        let pools: Api<MediaPool> = Api::namespaced(self.client.clone(), namespace);
        match pools.create(&by_us(), pool).await {
            Ok(_) => {
                info!(name = pool.metadata.name, "MediaPool made, for a Trunk needs it");
                self.metrics.action("create_pool");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(source) => Err(failed("the default MediaPool cannot be made".into(), source)),
        }
    }

    async fn apply_object(&self, namespace: &str, object: &Object) -> Result<(), Error> {
        self.fence()?;
        let key = object.key();
        let api = self.objects(namespace, key.kind);
        let params = PatchParams::apply(OPERATOR).force();
        match api.patch(&key.name, &params, &Patch::Apply(object.to_value())).await {
            Ok(_) => {
                info!(kind = ?key.kind, name = key.name, "applied");
                self.metrics.action("apply");
                Ok(())
            }
            Err(source) => Err(failed(format!("{:?} {}", key.kind, key.name), source)),
        }
    }

    async fn delete_object(&self, namespace: &str, removal: &Removal) -> Result<(), Error> {
        self.fence()?;
        let key = &removal.key;
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(removal.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.objects(namespace, key.kind).delete(&key.name, &params).await {
            Ok(_) => {
                info!(kind = ?key.kind, name = key.name, "deleted: nothing needs it any more");
                self.metrics.action("delete_object");
                Ok(())
            }
            // Gone, or another one by now.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(source) => Err(failed(format!("{:?} {}", key.kind, key.name), source)),
        }
    }

    async fn change_pod(&self, namespace: &str, action: &PodAction) -> Result<(), Error> {
        self.fence()?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let name = &action.name;
        let (did, answer) = match &action.change {
            PodChange::Create(pod) => {
                let made = pods.create(&by_us(), pod).await;
                ("create_pod", made.map(|pod| pod.metadata.uid))
            }
            PodChange::Annotate { uid, annotations } => {
                let patch = json!({"metadata": {"uid": uid, "annotations": annotations}});
                let params =
                    PatchParams { field_manager: Some(OPERATOR.into()), ..PatchParams::default() };
                let patched = pods.patch_metadata(name, &params, &Patch::Merge(patch)).await;
                ("annotate_pod", patched.map(|_| Some(uid.clone())))
            }
            PodChange::Delete { uid, resource_version, grace_seconds } => {
                let params = DeleteParams {
                    grace_period_seconds: *grace_seconds,
                    preconditions: Some(Preconditions {
                        uid: Some(uid.clone()),
                        resource_version: Some(resource_version.clone()),
                    }),
                    ..DeleteParams::default()
                };
                let deleted = pods.delete(name, &params).await;
                ("delete_pod", deleted.map(|_| Some(uid.clone())))
            }
        };
        match answer {
            Ok(uid) => {
                info!(pod = name, action = did, "pod changed");
                self.metrics.action(did);
                if let Some(event) = &action.event {
                    let mut event = event.clone();
                    if event.regarding.kind == "Pod" && event.regarding.uid.is_empty() {
                        event.regarding.uid = uid.unwrap_or_default();
                    }
                    self.tell(namespace, &event).await;
                }
                Ok(())
            }
            // The name is taken: the next pass sees by whom.
            Err(kube::Error::Api(status)) if did == "create_pod" && status.code == 409 => Ok(()),
            // Gone already.
            Err(kube::Error::Api(status)) if did != "create_pod" && status.code == 404 => Ok(()),
            Err(source) => Err(failed(format!("pod {name}"), source)),
        }
    }

    async fn write_statuses(
        &self,
        namespace: &str,
        mut statuses: Vec<StatusPatch>,
        memory: &mut Memory,
        outcome: &mut Outcome,
    ) {
        statuses.sort_by_key(|status| status.urgency);
        let planned = statuses.len();
        {
            // All at one moment: with thousands to write, a pass must not last as long as they do.
            let now = Instant::now();
            let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
            statuses.retain(|status| budgets.of(status.urgency).take(now));
        }
        outcome.deferred = planned - statuses.len();
        let mut written = stream::iter(statuses)
            .map(async |status| {
                let result = self.write_status(namespace, &status).await;
                if result.is_ok() {
                    for event in &status.events {
                        self.tell(namespace, event).await;
                    }
                }
                (status.key(), result)
            })
            .buffer_unordered(CONCURRENT_STATUSES);
        while let Some((key, result)) = written.next().await {
            match result {
                Ok(()) => drop(memory.status_written.insert(key, Timestamp::now())),
                Err(error) => outcome.failures.push(error.to_string()),
            }
        }
    }

    async fn write_status(&self, namespace: &str, patch: &StatusPatch) -> Result<(), Error> {
        self.fence()?;
        let (kind, name, resource, status) = match &patch.status {
            Status::Trunk(name, status) => {
                ("Trunk", name, ApiResource::erase::<Trunk>(&()), serde_json::to_value(status))
            }
            Status::Agent(name, status) => {
                ("Agent", name, ApiResource::erase::<Agent>(&()), serde_json::to_value(status))
            }
            Status::MediaPool(name, status) => (
                "MediaPool",
                name,
                ApiResource::erase::<MediaPool>(&()),
                serde_json::to_value(status),
            ),
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let body: Value = json!({
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": name, "uid": patch.uid},
            "status": status.unwrap_or_default(),
        });
        let params = PatchParams::apply(OPERATOR).force();
        match api.patch_status(name, &params, &Patch::Apply(body)).await {
            Ok(_) => {
                self.metrics.action("status");
                Ok(())
            }
            // Deleted, or another one by now.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(source) => Err(failed(format!("status of {kind} {name}"), source)),
        }
    }

    /// An event that cannot be told is no reason to fail.
    async fn tell(&self, namespace: &str, event: &crate::plan::Event) {
        if !self.leadership.holds() {
            return;
        }
        match self.events.publish(namespace, event).await {
            Ok(()) => self.metrics.action("event"),
            Err(error) => {
                warn!(reason = event.reason, error = in_words(&error), "event not recorded");
            }
        }
    }

    fn fence(&self) -> Result<(), Error> {
        if self.leadership.holds() { Ok(()) } else { Err(Error::NotLeading) }
    }

    fn objects(&self, namespace: &str, kind: ObjectKind) -> Api<DynamicObject> {
        let resource = match kind {
            ObjectKind::Secret => ApiResource::erase::<Secret>(&()),
            ObjectKind::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            ObjectKind::Service => ApiResource::erase::<Service>(&()),
            ObjectKind::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            ObjectKind::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
        };
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }
}

fn by_us() -> PostParams {
    PostParams { field_manager: Some(OPERATOR.into()), ..PostParams::default() }
}

fn failed(what: String, source: kube::Error) -> Error {
    Error::Api { what, source }
}

/// Whether the API server took a pod for what it will never take as it is; not a conflict, not a lack
/// of rights of ours, and not an hour of trouble.
fn refusal(error: &Error) -> Option<Refusal> {
    let Error::Api { source: kube::Error::Api(status), .. } = error else { return None };
    let pod_security = status.code == 403 && status.message.contains("violates PodSecurity");
    matches!(status.code, 400 | 403 | 422)
        .then(|| Refusal { pod_security, message: status.message.clone() })
}
