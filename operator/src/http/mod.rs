//! Probes, metrics, and pools in numbers for those who scale by them.
//!
//! `/livez` is about this process: watches that still begin, a loop that still turns. `/readyz` is about
//! whether it could do its work. Neither asks who leads.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Path, State as Extract};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use trunkline_crds::MediaPool;

use crate::lease::Leadership;
use crate::observe::Observer;
use crate::observe::health::{Health, WatchReport};
use crate::plan::Figures;
use crate::schema::{self, Schema};
use crate::telemetry::{self, Metrics};

/// The loop that begins reconciles comes by every few seconds; when it did not for so long, it hangs.
const MAX_TICK_AGE: Duration = Duration::from_secs(60);

/// The pools of the last pass, by namespace and name. Empty while others lead.
#[derive(Default)]
pub struct Pools(Mutex<BTreeMap<String, BTreeMap<String, Figures>>>);

impl Pools {
    /// All pools of a namespace as they are now.
    pub fn replace(&self, namespace: &str, pools: BTreeMap<String, Figures>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match pools.is_empty() {
            true => drop(all.remove(namespace)),
            false => drop(all.insert(namespace.to_owned(), pools)),
        }
    }

    fn get(&self, namespace: &str, name: &str) -> Option<Figures> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(namespace)?.get(name).copied()
    }

    fn tell(&self, metrics: &Metrics) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pools = all.iter().flat_map(|(namespace, pools)| {
            pools.iter().map(|(name, figures)| (namespace.as_str(), name.as_str(), *figures))
        });
        metrics.set_pools(pools);
    }
}

/// What a handler has at hand.
#[derive(Clone)]
pub struct State {
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub leadership: Leadership,
    pub observer: Arc<Observer>,
    pub pools: Arc<Pools>,
    pub schema: Schema,
    pub ticked_at: Arc<Mutex<Instant>>,
}

/// The whole interface. None of it is secret, and none of it changes anything.
pub fn router(state: State) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/pools/{namespace}/{name}", get(pool))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "not_found", "no such path"))
        .with_state(state)
}

/// Errors as the media node tells them.
fn refuse(status: StatusCode, code: &'static str, message: &str) -> Response {
    let body = serde_json::json!({"error": {"code": code, "message": message}});
    (status, Json(body)).into_response()
}

async fn livez(Extract(state): Extract<State>) -> Response {
    let now = Instant::now();
    let ticked_at = *state.ticked_at.lock().unwrap_or_else(PoisonError::into_inner);
    match why_dead(&state.health.reports(now), now.saturating_duration_since(ticked_at)) {
        None => "ok\n".into_response(),
        Some(why) => refuse(StatusCode::SERVICE_UNAVAILABLE, "not_live", &why),
    }
}

fn why_dead(watches: &[WatchReport], tick_age: Duration) -> Option<String> {
    if tick_age >= MAX_TICK_AGE {
        return Some(format!("the reconcile loop has not turned for {} s", tick_age.as_secs()));
    }
    let dead = watches.iter().find(|watch| watch.is_dead())?;
    let (resource, seconds) = (&dead.target.resource, dead.age.as_secs());
    let trouble = dead.trouble.as_deref().unwrap_or("no error was seen");
    Some(format!("the watch of {resource} has not begun again for {seconds} s: {trouble}"))
}

async fn readyz(Extract(state): Extract<State>) -> Response {
    let mut reasons = state.observer.obstacles(Instant::now());
    match *state.schema.borrow() {
        None => reasons.push("CustomResourceDefinitions: not read yet".to_owned()),
        found => reasons.extend(schema::too_old(found)),
    }
    match reasons.is_empty() {
        true => "ok\n".into_response(),
        false => refuse(StatusCode::SERVICE_UNAVAILABLE, "not_ready", &reasons.join("; ")),
    }
}

async fn metrics(Extract(state): Extract<State>) -> impl IntoResponse {
    let leads = state.leadership.holds();
    state.metrics.set_leader(leads);
    let mut watches = state.health.reports(Instant::now());
    // Of two watches of one resource the older one counts.
    watches.sort_by_key(|watch| watch.age);
    for watch in watches {
        let namespace = watch.target.namespace.as_deref();
        state.metrics.set_watch_age(&watch.target.resource, namespace, watch.age);
    }
    state.pools.tell(&state.metrics);
    ([(header::CONTENT_TYPE, telemetry::CONTENT_TYPE)], state.metrics.write())
}

/// A pool in numbers.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolFigures {
    namespace: String,
    name: String,
    /// `Polls`: what the pods just said, known to the leader. `Status`: what stands in the MediaPool,
    /// with calls up to half a minute old.
    source: &'static str,
    desired_replicas: u32,
    replicas: u32,
    ready_replicas: u32,
    draining_replicas: u32,
    active_calls: u32,
    capacity_calls: u32,
}

impl PoolFigures {
    fn polled(figures: Figures) -> Self {
        Self {
            source: "Polls",
            desired_replicas: figures.desired,
            replicas: figures.replicas,
            ready_replicas: figures.ready,
            draining_replicas: figures.draining,
            active_calls: figures.active_calls,
            capacity_calls: figures.capacity_calls,
            ..Self::default()
        }
    }

    fn written(pool: &MediaPool) -> Self {
        let status = pool.status.clone().unwrap_or_default();
        let count = |count: Option<i32>| count.and_then(|count| count.try_into().ok()).unwrap_or(0);
        Self {
            source: "Status",
            desired_replicas: count(status.desired_replicas),
            replicas: count(Some(status.replicas)),
            ready_replicas: count(status.ready_replicas),
            draining_replicas: count(status.draining_replicas),
            active_calls: count(status.active_calls),
            capacity_calls: count(status.capacity_calls),
            ..Self::default()
        }
    }
}

async fn pool(
    Extract(state): Extract<State>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    let polled = state.pools.get(&namespace, &name).filter(|_| state.leadership.holds());
    let figures = match (polled, state.observer.pool(&namespace, &name)) {
        (Some(figures), _) => PoolFigures::polled(figures),
        (None, Some(pool)) => PoolFigures::written(&pool),
        (None, None) => {
            return refuse(StatusCode::NOT_FOUND, "pool_not_found", "no such MediaPool is watched");
        }
    };
    Json(PoolFigures { namespace, name, ..figures }).into_response()
}
