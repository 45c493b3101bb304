//! The life of an operator: watch, wait to lead, and reconcile what has changed.
//!
//! ```text
//!   watches, polls ─wake─▶ Schedule ─due─▶ pass: World ─▶ plan ─▶ apply ─▶ Schedule
//! ```

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{Instrument, error, info, info_span, warn};
use trunkline_crds::MediaPoolSpec;

use crate::apply::{Applier, Events};
use crate::client::{self, Requests};
use crate::http::{self, Pools, State};
use crate::lease::election::{Election, Timings};
use crate::lease::{Candidate, Ended as Candidacy, Leadership};
use crate::observe::feed::Scope;
use crate::observe::health::Health;
use crate::observe::poll::Polls;
use crate::observe::{Memory, NotReady, Observer, Setup};
use crate::plan::{self, Figures, Plan};
use crate::schedule::{Ended, Schedule};
use crate::schema::{self, Schema};
use crate::telemetry::{self, Metrics, PassResult, RECONCILE_TARGET};
use crate::wakes::Wakes;
use crate::world::Settings;
use crate::{cli, names};

/// No request to the API server takes longer.
const API_TIMEOUT: Duration = Duration::from_secs(10);
/// Passes under way get this long when the operator is told to stop.
const LAST_PASSES: Duration = Duration::from_secs(5);
/// The loop comes by at least so often, for `/livez` to see.
const TICK: Duration = Duration::from_secs(5);

/// Runs until SIGTERM, or until the Lease is lost.
pub fn main(options: cli::Run) -> anyhow::Result<()> {
    let own_name = options.own_name.clone().or_else(|| std::env::var("HOSTNAME").ok());
    let own_name = own_name.unwrap_or_else(|| names::OPERATOR.to_owned());
    let telemetry = telemetry::init(&telemetry::Options {
        format: options.log_format,
        filter: std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty()),
        otlp: options.otlp.clone(),
        instance: own_name.clone(),
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run(options, own_name));
    // A pass under way may have to wait for the network; nobody waits for it.
    runtime.shutdown_background();
    telemetry.shutdown();
    result
}

async fn run(options: cli::Run, own_name: String) -> anyhow::Result<()> {
    let config = kube::Config::infer().await.context("no way to the API server is configured")?;
    let own_namespace =
        options.own_namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let settings = Arc::new(settings(&options)?);
    let metrics = Arc::new(Metrics::new());
    let requests = Arc::new(Requests::new(metrics.clone()));
    let client = client::client(config, requests.clone(), API_TIMEOUT)?;
    let listener = listen(options.http).await?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        http = %options.http,
        image = settings.image,
        namespaces = ?scope(&options, &own_namespace),
        "starting"
    );

    // Unlike the pod's name, never that of a process before.
    let identity = format!("{own_name}_{}", Timestamp::now().as_nanosecond());
    let leases: Api<Lease> = Api::namespaced(client.clone(), &own_namespace);
    let election = Election::new(identity, Timings::default(), Instant::now());
    let candidate = Candidate::new(leases, options.lease.clone(), election);
    let leadership = candidate.leadership();

    let wakes = Arc::new(Wakes::default());
    let health = Arc::new(Health::new(requests));
    let polls =
        Arc::new(Polls::new(options.poll_period, options.status_url.clone(), metrics.clone()));
    let observer = Observer::start(Setup {
        client: client.clone(),
        scope: scope(&options, &own_namespace),
        watch_nodes: options.nodes,
        settings,
        health: health.clone(),
        leadership: leadership.clone(),
        polls: polls.clone(),
        wakes: wakes.clone(),
    });
    tokio::spawn(polls.run(observer.clone()));
    let (schema, schema_seen) = watch::channel(None);
    tokio::spawn(schema::follow(client.clone(), schema, wakes.clone()));

    let events = Events::new(client.clone(), own_name.clone());
    let pools = Arc::new(Pools::default());
    let ticks = Arc::new(Mutex::new(Instant::now()));
    let state = State {
        health,
        metrics: metrics.clone(),
        leadership: leadership.clone(),
        observer: observer.clone(),
        pools: pools.clone(),
        schema: schema_seen.clone(),
        ticked_at: ticks.clone(),
    };
    let until_the_end = std::future::pending();
    tokio::spawn(trunkline_service::http::serve(listener, http::router(state), until_the_end));

    let applier = Applier::new(
        client.clone(),
        leadership.clone(),
        events.clone(),
        metrics.clone(),
        Instant::now(),
    );
    let reconciler = Arc::new(Reconciler {
        observer,
        applier,
        metrics,
        pools,
        schema: schema_seen.clone(),
        memories: Mutex::default(),
    });
    let (stop, stopped) = watch::channel(false);
    let mut passes = tokio::spawn(reconcile(reconciler, leadership.clone(), wakes, stopped, ticks));
    tokio::spawn(schema::tell_when_old(events, schema_seen, leadership, own_namespace, own_name));

    let candidacy = candidate.run(async {
        terminated().await;
        info!("stopping");
        // Whoever leads next shall not meet writes of ours.
        stop.send_replace(true);
        let _ = tokio::time::timeout(LAST_PASSES, &mut passes).await;
    });
    match candidacy.await {
        Candidacy::Released => Ok(()),
        Candidacy::Lost => anyhow::bail!("the Lease is lost: another operator may lead"),
    }
}

fn scope(options: &cli::Run, own_namespace: &str) -> Scope {
    match (options.all_namespaces, options.namespace.is_empty()) {
        (true, _) => Scope::All,
        (false, true) => Scope::Namespaces(vec![own_namespace.to_owned()]),
        (false, false) => {
            let mut names = options.namespace.clone();
            names.sort();
            names.dedup();
            Scope::Namespaces(names)
        }
    }
}

fn settings(options: &cli::Run) -> anyhow::Result<Settings> {
    let default_pool = match &options.default_pool {
        None => MediaPoolSpec::default(),
        Some(path) => {
            let what = || format!("--default-pool {}", path.display());
            let text = std::fs::read(path).with_context(what)?;
            serde_json::from_slice(&text).with_context(what)?
        }
    };
    Ok(Settings {
        image: options.media_image.clone(),
        image_pull_policy: options.media_image_pull_policy.clone(),
        image_pull_secrets: options.media_image_pull_secret.clone(),
        default_pool,
        ..Settings::default()
    })
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("--http {address}"))
}

async fn terminated() {
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        error!("signals cannot be received");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// What passes share.
struct Reconciler {
    observer: Arc<Observer>,
    applier: Applier,
    metrics: Arc<Metrics>,
    pools: Arc<Pools>,
    schema: Schema,
    memories: Mutex<BTreeMap<String, Memory>>,
}

/// Begins passes when they are due, as long as this operator leads.
async fn reconcile(
    reconciler: Arc<Reconciler>,
    leadership: Leadership,
    wakes: Arc<Wakes>,
    mut stop: watch::Receiver<bool>,
    ticked_at: Arc<Mutex<Instant>>,
) {
    let mut schedule = Schedule::default();
    let mut running: JoinSet<(String, Ended)> = JoinSet::new();
    let mut lead = leadership.clone();
    let mut led = false;
    while !*stop.borrow() {
        *ticked_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let now = Instant::now();
        let leads = leadership.holds();
        if leads && !led {
            for namespace in reconciler.observer.namespaces() {
                schedule.wake(&namespace, now);
            }
        }
        led = leads;
        if leads {
            for namespace in schedule.start(now) {
                running.spawn(reconciler.clone().guarded(namespace));
            }
        }
        let due = schedule.next_due().filter(|_| leads).unwrap_or(now + TICK).min(now + TICK);
        tokio::select! {
            _ = stop.changed() => {}
            () = tokio::time::sleep_until(due.into()) => {}
            () = lead.acquired(), if !leads => {}
            Some(joined) = running.join_next() => {
                // A pass catches its own panics, so this one was not aborted by anybody.
                if let Ok((namespace, ended)) = joined {
                    schedule.finished(&namespace, ended, Instant::now());
                }
            }
            woken = wakes.woken() => {
                let now = Instant::now();
                let mut namespaces = woken.namespaces;
                if woken.all {
                    namespaces.append(&mut reconciler.observer.namespaces());
                    schedule.wake_all(now);
                }
                for namespace in namespaces {
                    schedule.wake(&namespace, now);
                }
            }
        }
    }
    while running.join_next().await.is_some() {}
}

impl Reconciler {
    /// A pass on a task of its own, so that a panic in it is a failure like others.
    fn guarded(self: Arc<Self>, namespace: String) -> impl Future<Output = (String, Ended)> {
        let span = info_span!(target: RECONCILE_TARGET, "reconcile", namespace);
        async move {
            let (started_at, metrics) = (Instant::now(), self.metrics.clone());
            let name = namespace.clone();
            let pass = tokio::spawn(async move { self.pass(&name).await }.in_current_span());
            let (result, ended) = match pass.await {
                Ok(done) => done,
                Err(error) => {
                    error!(%error, "reconcile panicked");
                    (PassResult::Failed, Ended::Failed)
                }
            };
            metrics.pass(result, started_at.elapsed());
            (namespace, ended)
        }
        .instrument(span)
    }

    async fn pass(&self, namespace: &str) -> (PassResult, Ended) {
        if !self.observer.namespaces().contains(namespace) && self.observer.is_listed() {
            self.pools.replace(namespace, BTreeMap::new());
            self.memories().remove(namespace);
            return (PassResult::Done, Ended::Gone);
        }
        let mut memory = self.memories().get(namespace).cloned().unwrap_or_default();
        let plan = match self.plan(namespace, &memory).await {
            Ok(plan) => plan,
            Err(error) => {
                warn!(%error, "reconcile cannot begin");
                return (PassResult::NotReady, Ended::Failed);
            }
        };
        let next = plan.next;
        if let Some(refused) = &plan.refused {
            warn!(reason = refused, "nothing is done");
        }
        let figures: BTreeMap<String, Figures> =
            plan.pools.iter().map(|(name, pool)| (name.clone(), pool.figures)).collect();
        if plan.refused.is_none() {
            self.pools.replace(namespace, figures);
        }
        let span = info_span!(target: RECONCILE_TARGET, "apply");
        let outcome = self.applier.apply(namespace, plan, &mut memory).instrument(span).await;
        self.memories().insert(namespace.to_owned(), memory);
        for failure in &outcome.failures {
            warn!(error = failure, "reconcile failed; it is tried again");
        }
        if !outcome.failures.is_empty() {
            return (PassResult::Failed, Ended::Failed);
        }
        let until = |at: Timestamp| Duration::try_from(at.duration_since(Timestamp::now()));
        let next = next.map(|at| until(at).unwrap_or_default());
        let again_in = match (next, outcome.again_in()) {
            (Some(next), Some(again)) => Some(next.min(again)),
            (next, again) => next.or(again),
        };
        (PassResult::Done, Ended::Done { again_in })
    }

    async fn plan(&self, namespace: &str, memory: &Memory) -> Result<Plan, NotReady> {
        let schema = *self.schema.borrow();
        let Some(schema) = schema else {
            return Err(NotReady::Watches("CustomResourceDefinitions: not read yet".into()));
        };
        let span = info_span!(target: RECONCILE_TARGET, "observe");
        let world = self.observer.world(namespace, schema, memory).instrument(span).await?;
        let span = info_span!(target: RECONCILE_TARGET, "plan");
        // Thousands of trunks are compressed here: not on a thread that others wait for.
        let planned = tokio::task::spawn_blocking(move || {
            span.in_scope(|| plan::plan(&world, Timestamp::now()))
        });
        match planned.await {
            Ok(plan) => Ok(plan),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    fn memories(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Memory>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
