//! What Prometheus reads: `trunkline_operator_…` in the OpenMetrics text format.
//!
//! Labels are from fixed sets, or name what the API server holds: a namespace, a MediaPool.

use std::borrow::Cow;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::plan::Figures;

/// What `/metrics` calls its content.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    resource: String,
    code: Cow<'static, str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabel {
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchLabels {
    resource: String,
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    namespace: String,
    pool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolStateLabels {
    namespace: String,
    pool: String,
    state: &'static str,
}

/// How a reconcile of a namespace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassResult {
    /// All was done, or there was nothing to do.
    Done,
    /// Something failed and is tried again.
    Failed,
    /// The watches have not all listed yet, or a Secret could not be read.
    NotReady,
}

/// Every metric of an operator.
pub struct Metrics {
    registry: Registry,
    leader: Gauge,
    requests: Family<RequestLabels, Counter>,
    watch_age: Family<WatchLabels, Gauge>,
    passes: Family<ResultLabel, Counter>,
    pass_duration: Histogram,
    actions: Family<ActionLabel, Counter>,
    polls: Family<ResultLabel, Counter>,
    acknowledged: Histogram,
    pods: Family<PoolStateLabels, Gauge>,
    desired: Family<PoolLabels, Gauge>,
    calls: Family<PoolStateLabels, Gauge>,
    capacity: Family<PoolLabels, Gauge>,
    config: Family<PoolLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let seconds = |bounds: &[f64]| Histogram::new(bounds.iter().copied());
        let metrics = Self {
            registry: Registry::with_prefix("trunkline_operator"),
            leader: Gauge::default(),
            requests: Family::default(),
            watch_age: Family::default(),
            passes: Family::default(),
            pass_duration: seconds(&[
                0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            ]),
            actions: Family::default(),
            polls: Family::default(),
            acknowledged: seconds(&[0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0]),
            pods: Family::default(),
            desired: Family::default(),
            calls: Family::default(),
            capacity: Family::default(),
            config: Family::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let (seconds, bytes) = (|| Unit::Seconds, || Unit::Bytes);
        let r = &mut self.registry;
        r.register("build", "The version of this operator", build);
        r.register("leader", "1 when this operator leads", self.leader.clone());
        let help = "Requests to the API server, by how they ended; code none is no answer";
        r.register("api_requests", help, self.requests.clone());
        let help = "Since a watch last began or listed well";
        r.register_with_unit("watch_age", help, seconds(), self.watch_age.clone());
        r.register("passes", "Reconciles of a namespace", self.passes.clone());
        let help = "How long a reconcile took";
        r.register_with_unit("pass_duration", help, seconds(), self.pass_duration.clone());
        r.register("actions", "What was written", self.actions.clone());
        r.register("polls", "Status polls of media pods", self.polls.clone());
        let help = "From the kick of a pod that lacks its configuration until it has it";
        r.register_with_unit("config_acknowledged", help, seconds(), self.acknowledged.clone());
        r.register("pods", "Media pods, by state", self.pods.clone());
        r.register("desired_pods", "Media pods there should be", self.desired.clone());
        r.register("calls", "Calls, by state", self.calls.clone());
        r.register("capacity_calls", "Calls that ready pods take at once", self.capacity.clone());
        let help = "The rendered configuration as it is mounted, gzipped";
        r.register_with_unit("config", help, bytes(), self.config.clone());
        self
    }

    /// `code` is `None` when no answer came.
    pub fn api_request(&self, verb: &'static str, resource: &str, code: Option<u16>) {
        let code = code.map_or(Cow::Borrowed("none"), |code| Cow::Owned(code.to_string()));
        let labels = RequestLabels { verb, resource: resource.to_owned(), code };
        self.requests.get_or_create_owned(&labels).inc();
    }

    pub fn pass(&self, result: PassResult, took: Duration) {
        let result = match result {
            PassResult::Done => "done",
            PassResult::Failed => "failed",
            PassResult::NotReady => "not_ready",
        };
        self.passes.get_or_create(&ResultLabel { result }).inc();
        self.pass_duration.observe(took.as_secs_f64());
    }

    /// `action` is from a fixed set: `apply`, `create_pod`, ….
    pub fn action(&self, action: &'static str) {
        self.actions.get_or_create(&ActionLabel { action }).inc();
    }

    pub fn poll(&self, answered: bool) {
        let result = if answered { "answered" } else { "failed" };
        self.polls.get_or_create(&ResultLabel { result }).inc();
    }

    pub fn config_acknowledged(&self, after: Duration) {
        self.acknowledged.observe(after.as_secs_f64());
    }

    /// Set whenever `/metrics` is asked.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Set whenever `/metrics` is asked.
    pub fn set_watch_age(&self, resource: &str, namespace: Option<&str>, age: Duration) {
        let labels = WatchLabels {
            resource: resource.to_owned(),
            namespace: namespace.unwrap_or_default().to_owned(),
        };
        let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        self.watch_age.get_or_create_owned(&labels).set(age);
    }

    /// Set whenever `/metrics` is asked; pools that are not named are forgotten.
    pub fn set_pools<'a>(&self, pools: impl IntoIterator<Item = (&'a str, &'a str, Figures)>) {
        for family in [&self.pods, &self.calls] {
            family.clear();
        }
        for family in [&self.desired, &self.capacity, &self.config] {
            family.clear();
        }
        for (namespace, pool, figures) in pools {
            let of_state = |state| PoolStateLabels {
                namespace: namespace.to_owned(),
                pool: pool.to_owned(),
                state,
            };
            for (state, count) in [
                ("ready", figures.ready),
                ("starting", figures.starting),
                ("draining", figures.draining),
                ("terminating", figures.terminating),
                ("lost", figures.lost),
            ] {
                self.pods.get_or_create_owned(&of_state(state)).set(i64::from(count));
            }
            for (state, count) in [("active", figures.active_calls), ("setup", figures.setup_calls)]
            {
                self.calls.get_or_create_owned(&of_state(state)).set(i64::from(count));
            }
            let labels = PoolLabels { namespace: namespace.to_owned(), pool: pool.to_owned() };
            for (family, count) in [
                (&self.desired, figures.desired),
                (&self.capacity, figures.capacity_calls),
                (&self.config, figures.config_bytes),
            ] {
                family.get_or_create_owned(&labels).set(i64::from(count));
            }
        }
    }

    /// The text that `/metrics` answers with.
    pub fn write(&self) -> String {
        let mut out = String::with_capacity(8 * 1024);
        // Writing to a String cannot fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_is_gone_is_no_longer_told_of() {
        let metrics = Metrics::new();
        let figures = Figures { ready: 2, active_calls: 7, ..Figures::default() };
        metrics.set_pools([("voice", "default", figures)]);
        let text = metrics.write();
        let wanted =
            r#"trunkline_operator_calls{namespace="voice",pool="default",state="active"} 7"#;
        assert!(text.contains(wanted), "{text}");
        metrics.set_pools([]);
        assert!(!metrics.write().contains("voice"));
    }
}
