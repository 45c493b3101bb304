//! A kind's objects as they were last seen: one watch for each namespace, each with its own back-off.

use std::fmt::Debug;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::health::{Health, Watch};
use crate::client::Target;

/// A watch that failed begins anew after so long, then after twice as long, at most …
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// … this. kube's own back-off begins afresh with each attempt, and so never grows while a list fails.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// A failure after so long without one is a first one.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// Where the operator works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    Namespaces(Vec<String>),
}

/// What is watched, and what of it matters.
pub struct Kind<K> {
    /// Without it nothing can be planned.
    pub required: bool,
    pub labels: Option<String>,
    /// Takes away what nobody reads, before it is kept.
    pub trim: fn(&mut K),
    /// Whether the change from the one to the other is no news.
    pub same: fn(&K, &K) -> bool,
}

/// What a watch brought.
pub enum News<'a, K> {
    One(&'a K),
    /// Everything was listed anew.
    All,
}

/// One kind, wherever it is watched.
pub struct Feed<K: Resource + 'static>
where
    K::DynamicType: Hash + Eq,
{
    parts: Vec<(Arc<Watch>, Store<K>)>,
}

impl<K> Feed<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Default + Clone + Eq + Hash + Send + Sync,
{
    /// Watches a namespaced kind in `scope`, and calls `on_news` after each change.
    pub fn namespaced(
        client: &Client,
        scope: &Scope,
        health: &Health,
        kind: &Kind<K>,
        on_news: impl Fn(News<'_, K>) + Clone + Send + 'static,
    ) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope>,
    {
        let apis = match scope {
            Scope::All => vec![(None, Api::all(client.clone()))],
            Scope::Namespaces(names) => names
                .iter()
                .map(|name| (Some(name.clone()), Api::namespaced(client.clone(), name)))
                .collect(),
        };
        let parts = apis
            .into_iter()
            .map(|(namespace, api)| start(api, namespace, health, kind, on_news.clone()))
            .collect();
        Self { parts }
    }

    /// Watches a kind that is in no namespace.
    pub fn cluster(
        client: &Client,
        health: &Health,
        kind: &Kind<K>,
        on_news: impl Fn(News<'_, K>) + Clone + Send + 'static,
    ) -> Self {
        Self { parts: vec![start(Api::all(client.clone()), None, health, kind, on_news)] }
    }

    pub fn all(&self) -> impl Iterator<Item = Arc<K>> + '_ {
        self.parts.iter().flat_map(|(_, store)| store.state())
    }

    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = Arc<K>> + 'a {
        self.parts
            .iter()
            .filter(move |(watch, _)| {
                watch.target.namespace.as_deref().is_none_or(|it| it == namespace)
            })
            .flat_map(|(_, store)| store.state())
            .filter(move |object| object.meta().namespace.as_deref() == Some(namespace))
    }

    /// The namespaces that have one at least.
    pub fn namespaces(&self) -> impl Iterator<Item = String> + '_ {
        self.all().filter_map(|object| object.meta().namespace.clone())
    }

    pub fn watches(&self) -> impl Iterator<Item = &Arc<Watch>> {
        self.parts.iter().map(|(watch, _)| watch)
    }
}

fn start<K>(
    api: Api<K>,
    namespace: Option<String>,
    health: &Health,
    kind: &Kind<K>,
    on_news: impl Fn(News<'_, K>) + Send + 'static,
) -> (Arc<Watch>, Store<K>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Default + Clone + Eq + Hash + Send + Sync,
{
    let target = Target {
        resource: K::plural(&K::DynamicType::default()).into_owned(),
        namespace,
        selected: kind.labels.is_some(),
    };
    let watch = Arc::new(Watch::new(target, kind.required));
    health.add(watch.clone());
    let (reader, mut writer) = store();
    let mut config = watcher::Config::default();
    if let Some(labels) = &kind.labels {
        config = config.labels(labels);
    }
    let (trim, same) = (kind.trim, kind.same);
    let (seen, state) = (reader.clone(), watch.clone());
    tokio::spawn(async move {
        let mut events = pin!(watch::watcher(api, config).modify(trim));
        let mut retry_after = FIRST_RETRY;
        let mut failed_at: Option<Instant> = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    let is_news = match &event {
                        Event::Apply(new) => {
                            let old = seen.get(&ObjectRef::from_obj(new));
                            old.is_none_or(|old| !same(&old, new))
                        }
                        Event::Delete(_) | Event::InitDone => true,
                        Event::Init | Event::InitApply(_) => false,
                    };
                    writer.apply_watcher_event(&event);
                    match &event {
                        Event::InitDone => {
                            state.set_listed();
                            info!(
                                resource = state.target.resource,
                                namespace = state.target.namespace,
                                objects = seen.len(),
                                "listed"
                            );
                            on_news(News::All);
                        }
                        Event::Apply(object) | Event::Delete(object) if is_news => {
                            debug!(
                                resource = state.target.resource,
                                name = object.name_any(),
                                "changed"
                            );
                            on_news(News::One(object));
                        }
                        _ => {}
                    }
                }
                Err(error) => {
                    let why = in_words(&error);
                    warn!(
                        resource = state.target.resource,
                        namespace = state.target.namespace,
                        error = why,
                        "watch failed; it is tried again"
                    );
                    state.failed(why);
                    if failed_at.is_some_and(|at| at.elapsed() > FORGOTTEN) {
                        retry_after = FIRST_RETRY;
                    }
                    tokio::time::sleep(retry_after).await;
                    failed_at = Some(Instant::now());
                    retry_after = LAST_RETRY.min(2 * retry_after);
                }
            }
        }
    });
    (watch, reader)
}

/// Without the Debug text that the errors' own Display repeats.
fn in_words(error: &watcher::Error) -> String {
    use watcher::Error::{
        InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed,
    };
    match error {
        InitialListFailed(error) => format!("list: {}", crate::client::in_words(error)),
        WatchStartFailed(error) | WatchFailed(error) => {
            format!("watch: {}", crate::client::in_words(error))
        }
        WatchError(status) => format!("watch: {}", status.message),
        NoResourceVersion => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response, StatusCode};
    use k8s_openapi::api::core::v1::Node;
    use kube::client::Body;
    use tower_test::mock;

    use super::*;
    use crate::client::Requests;
    use crate::observe::trim;
    use crate::telemetry::Metrics;

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_forbidden_is_tried_twice_a_minute() {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        tokio::spawn(async move {
            while let Some((_, send)) = handle.next_request().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let status = serde_json::json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
                    "reason": "Forbidden", "message": "nodes is forbidden",
                });
                let body = Body::from(status.to_string().into_bytes());
                let mut response = Response::new(body);
                *response.status_mut() = StatusCode::FORBIDDEN;
                send.send_response(response);
            }
        });
        let client = Client::new(service, "default");
        let health = Health::new(Arc::new(Requests::new(Arc::new(Metrics::new()))));
        let feed = Feed::<Node>::cluster(&client, &health, &trim::nodes(), |_| {});
        tokio::time::sleep(Duration::from_secs(600)).await;
        let asked = asked.load(Ordering::Relaxed);
        assert!((20..=30).contains(&asked), "{asked} times in ten minutes");
        assert!(feed.watches().all(|watch| !watch.is_listed()));
    }
}
