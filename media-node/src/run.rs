//! From a command line to a node that takes calls, and back down again without dropping one.
#![expect(clippy::disallowed_methods, reason = "a process begins at some time")]

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use rustls::pki_types::UnixTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info, warn};
use trunkline_service::http;

use crate::admin::{
    self, AdminState, AgentStatus, CallCounts, Calls, Reachability, RejectedObject, State, Status,
    TrunkStatus,
};
use crate::call::{Advertised, Load, Peers, Setup, Strain, Switchboard};
use crate::cli;
use crate::config::read::What;
use crate::config::watch::Watcher;
use crate::config::{self, Config, Manifests, PodInfo, TlsIdentity, Trunk};
use crate::io::clock::OsRandom;
use crate::io::dial::Dialler;
use crate::io::journal::Journal;
use crate::io::relay::{self, Relay};
use crate::io::shard::{Homes, Shards};
use crate::io::signalling::{Control, Signalling};
use crate::io::sip::{Ports, SipSockets};
use crate::io::tls::{self, ServerCertificate};
use crate::random::Random;
use crate::telemetry::{self, LogFormat, Metrics};

/// Messages from the network that wait for the signalling task.
const INBOUND: usize = 4096;
/// Events of media for each call that may be up.
const EVENTS_A_CALL: usize = 4;

/// Runs a node until it has drained after SIGTERM or SIGINT.
pub fn main(options: cli::Run) -> anyhow::Result<()> {
    let mut watcher = Watcher::new(&options.manifests, What::Manifests);
    let files =
        watcher.read().with_context(|| format!("--manifests {}", options.manifests.display()))?;
    let pod_info = PodInfoSource::open(options.pod_info.clone())?;
    let slot = options.slot.or(pod_info.now.slot);

    let mut manifests =
        Manifests::new(config::Options { advertised: advertised_by(&options, &pod_info.now) });
    let config = manifests.load(&files, UnixTime::now());

    let telemetry = telemetry::init(&telemetry::Options {
        format: log_format(&options, &config),
        filter: std::env::var("RUST_LOG").ok(),
        otlp: options.otlp.clone().or_else(|| config.pool.telemetry.otlp_endpoint.clone()),
        instance: instance(slot),
    })?;
    report(&config, None);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("signalling")
        .enable_all()
        .build()?;
    let result =
        runtime.block_on(serve(Node { options, slot, watcher, manifests, config, pod_info }));
    runtime.shutdown_timeout(Duration::from_secs(2));
    telemetry.shutdown();
    result
}

struct Node {
    options: cli::Run,
    slot: Option<u16>,
    watcher: Watcher,
    manifests: Manifests,
    config: Arc<Config>,
    pod_info: PodInfoSource,
}

async fn serve(node: Node) -> anyhow::Result<()> {
    let Node { options, slot, watcher, manifests, config, pod_info } = node;
    let pool = config.pool.clone();
    let advertised = Advertised::of(&options.advertise, &pod_info.now, &config.pool);
    let rtp_ports = pool.media.block(slot.unwrap_or(0)).with_context(|| {
        format!(
            "slot {} lies past spec.exposure.media.portRange of pool {}",
            slot.unwrap_or(0),
            pool.name
        )
    })?;

    let certificate = ServerCertificate::new(certified_key(pool.tls.as_deref(), &advertised)?);
    let acceptor = TlsAcceptor::from(tls::server_config(certificate.clone())?);

    let (configs, configs_seen) = watch::channel(config.clone());
    let gate = configs_seen.clone();
    let (to_signalling, inbound) = mpsc::channel(INBOUND);
    let shared = slot.is_some();
    let ports = Ports { udp: pool.sip.udp, tcp: pool.sip.tcp, tls: pool.sip.tls, shared };
    let sockets = SipSockets::bind(
        ports,
        acceptor,
        Arc::new(move |address, transport| {
            Switchboard::may_connect(&gate.borrow(), address, transport)
        }),
        to_signalling.clone(),
    )
    .context("SIP (spec.exposure.sip)")?;

    warn_of_ephemeral_ports(rtp_ports);
    let rtp_port_count = usize::from(rtp_ports.1 - rtp_ports.0) + 1;
    let cores = available_parallelism().map_or(1, std::num::NonZero::get);
    let shards =
        Shards::start(options.shards.unwrap_or(cores), rtp_port_count).context("media threads")?;
    let shards = Arc::new(shards);
    let mut random = OsRandom::new();
    let mut pool_key = vec![0; 32];
    match &config.pool_key {
        // Every pod of the pool has the key, so every pod can check every nonce.
        Some(key) => pool_key = key.expose().to_vec(),
        None => random.fill(&mut pool_key),
    }
    let peers = Peers::new(slot, &pod_info.now.peers);
    let relay = Relay::new(configs_seen.clone(), &peers, to_signalling.clone());
    let switchboard = Switchboard::new(Setup {
        config: config.clone(),
        advertised: advertised.clone(),
        slot,
        peers: peers.clone(),
        rtp_ports,
        random: Box::new(OsRandom::new()),
        transaction_random: Box::new(random),
        pool_key,
        epoch: (Instant::now(), SystemTime::now()),
    });

    let (calls, metrics) = (Arc::new(Calls::default()), Arc::new(Metrics::new()));
    let (control, controls) = mpsc::channel(64);
    let (admin_commands, admin_requests) = mpsc::channel(64);
    let (load, load_seen) = watch::channel(switchboard.load());
    let drain_load = load_seen.clone();
    let listener = TcpListener::bind(options.admin)
        .await
        .with_context(|| format!("--admin {}", options.admin))?;
    metrics.config_loaded(config.rejected.len());
    let (reachability, reachability_seen) = watch::channel(Reachability::default());
    let (advertised_changes, advertised_seen) = watch::channel(advertised.clone());
    let (tokens, keys) = (configs_seen.clone(), configs_seen.clone());
    let revision = pod_info.now.revision.clone();
    let threads = shards.clone();
    let state = AdminState {
        calls: calls.clone(),
        metrics: metrics.clone(),
        status: Arc::new(move || {
            let (config, load) = (configs_seen.borrow().clone(), load_seen.borrow().clone());
            let seen = (advertised_seen.borrow(), reachability_seen.borrow());
            status(&config, &load, threads.strain(), &seen.0, &seen.1, slot, revision.clone())
        }),
        token: Arc::new(move || tokens.borrow().admin_token.clone()),
        commands: admin_commands,
        relay: Arc::new(move |sealed| relay::receive(&keys.borrow(), slot, &to_signalling, sealed)),
    };
    let (stop_admin, admin_stopped) = oneshot::channel::<()>();
    let admin = tokio::spawn(http::serve(listener, admin::router(state), async {
        let _ = admin_stopped.await;
    }));

    info!(
        admin = %options.admin,
        udp = ports.udp, tcp = ports.tcp, tls = ports.tls,
        rtp = format!("{}-{}", rtp_ports.0, rtp_ports.1),
        sip = ?advertised.sip, media = ?advertised.media,
        shards = shards.count(),
        trunks = config.trunks.len(),
        agents = config.agents.len(),
        "ready"
    );
    let signalling = Signalling {
        switchboard,
        sockets,
        relay,
        peers,
        dialler: Dialler::new(certificate.clone()),
        shards,
        homes: Homes::default(),
        journal: Journal::new(calls, metrics.clone(), reachability),
        inbound,
        control: controls,
        admin: admin_requests,
        load,
    };
    let capacity = pool.calls_per_pod as usize * EVENTS_A_CALL + 64;
    let signalling = tokio::spawn(signalling.run(capacity));

    let reloads = Reloads {
        options,
        slot,
        configs,
        advertised: advertised_changes,
        certificate,
        control: control.clone(),
        metrics,
    };
    tokio::spawn(reloads.run(manifests, watcher, pod_info));
    tokio::spawn(drain_on_signal(control, pool.drain_timeout, drain_load));
    signalling.await.context("the signalling task failed")?;
    drop(stop_admin);
    let _ = tokio::time::timeout(Duration::from_secs(1), admin).await;
    info!("no call is left: goodbye");
    Ok(())
}

/// The kernel lends ports of its own range to whoever connects, so a call's may be taken.
fn warn_of_ephemeral_ports((start, end): (u16, u16)) {
    let read = |name| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
    let Ok(range) = read("ip_local_port_range") else { return };
    let reserved = read("ip_local_reserved_ports").unwrap_or_default();
    if let Some(kernel) = crate::io::ephemeral::overlap(start..=end, &range, &reserved) {
        warn!(
            rtp = format!("{start}-{end}"),
            kernel = format!("{}-{}", kernel.start(), kernel.end()),
            "spec.exposure.media.portRange overlaps the ports that the kernel gives to outgoing \
             connections (net.ipv4.ip_local_port_range): choose a range outside of it, such as \
             20000-29999, or reserve it with net.ipv4.ip_local_reserved_ports={start}-{end}"
        );
    }
}

/// What `/v1/status` and `/readyz` say.
fn status(
    config: &Config,
    load: &Load,
    strain: Strain,
    advertised: &Advertised,
    reachability: &Reachability,
    slot: Option<u16>,
    revision: Option<String>,
) -> Status {
    let missing = advertised.missing(&config.pool);
    let mut reasons: Vec<String> = missing.into_iter().map(str::to_owned).collect();
    if load.draining {
        reasons.push("this node is draining".to_owned());
    }
    let state = match (load.draining, reasons.is_empty()) {
        (true, _) => State::Draining,
        (false, true) => State::Ready,
        (false, false) => State::NotReady,
    };
    let written: HashMap<&str, &Trunk> =
        config.trunks.iter().map(|it| (it.name.as_str(), &**it)).collect();
    let trunks = load.trunks.iter().map(|(name, calls)| {
        let options = reachability.trunks.get(name).cloned();
        let effective = written.get(name.as_str()).map(|trunk| effective(trunk));
        (name.clone(), TrunkStatus { calls: *calls, options, effective })
    });
    Status {
        slot,
        revision,
        config_hash: config.hash.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state,
        reasons,
        calls: CallCounts { active: load.active, setup: load.setup },
        capacity: load.capacity,
        accepted: load.accepted,
        refused: load.refused,
        drained: load.drained,
        saturated: load.overloaded || load.active + load.setup >= load.capacity,
        strain: strain.into(),
        advertised: reachability.advertised.clone(),
        trunks: trunks.collect(),
        agents: load
            .agents
            .iter()
            .map(|(name, calls)| {
                let connection = reachability.agents.get(name).cloned();
                (name.clone(), AgentStatus { calls: *calls, connection })
            })
            .collect(),
        rejected: config.rejected.iter().map(RejectedObject::from).collect(),
    }
}

/// The trunk as it is obeyed: what was written, then its preset, then the built-in.
fn effective(trunk: &Trunk) -> serde_json::Value {
    serde_json::json!({
        "preset": trunk.preset,
        "transport": trunk.transport,
        "media": {
            "encryption": format!("{:?}", trunk.encryption),
            "codecs": trunk.codecs.iter().map(|it| it.encoding_name()).collect::<Vec<_>>(),
            "packetTimeMilliseconds": trunk.packet_time_ms,
            "inactivityTimeoutSeconds": trunk.inactivity.as_secs(),
            "idleAudio": format!("{:?}", trunk.idle_audio),
        },
        "limits": {
            "concurrentCalls": trunk.limits.concurrent_calls,
            "callsPerSecond": trunk.limits.calls_per_second,
            "callDurationSeconds": trunk.limits.call_duration.as_secs(),
        },
        "outbound": trunk.outbound.as_ref().map(|outbound| serde_json::json!({
            "addresses": outbound.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "optionsPeriodSeconds": outbound.options_period.unwrap_or_default().as_secs(),
        })),
        "routes": trunk.routes.iter().map(|route| &route.name).collect::<Vec<_>>(),
    })
}

/// The first signal drains; the second ends what is left at once.
async fn drain_on_signal(
    control: mpsc::Sender<Control>,
    timeout: Duration,
    load: watch::Receiver<Load>,
) {
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        error!("signals cannot be received");
        return;
    };
    for limit in [timeout, Duration::ZERO] {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        let calls = load.borrow().active + load.borrow().setup;
        info!(calls, timeout_seconds = limit.as_secs(), "draining: no new calls are taken");
        let deadline = Instant::now() + limit;
        if control.send(Control::Exit { deadline }).await.is_err() {
            return;
        }
    }
}

/// Where the downward API's files are, and what they last said.
struct PodInfoSource {
    watcher: Option<Watcher>,
    now: PodInfo,
}

impl PodInfoSource {
    fn open(directory: Option<PathBuf>) -> anyhow::Result<Self> {
        let Some(directory) = directory else {
            return Ok(Self { watcher: None, now: PodInfo::default() });
        };
        let mut watcher = Watcher::new(&directory, What::PodInfo);
        let files =
            watcher.read().with_context(|| format!("--pod-info {}", directory.display()))?;
        let now = PodInfo::parse(&files);
        Ok(Self { watcher: Some(watcher), now })
    }
}

/// Brings what changes on disk into force.
struct Reloads {
    options: cli::Run,
    slot: Option<u16>,
    configs: watch::Sender<Arc<Config>>,
    advertised: watch::Sender<Advertised>,
    certificate: Arc<ServerCertificate>,
    control: mpsc::Sender<Control>,
    metrics: Arc<Metrics>,
}

impl Reloads {
    async fn run(self, mut manifests: Manifests, watcher: Watcher, mut pod_info: PodInfoSource) {
        let (manifest_changes, mut changed_manifests) = mpsc::channel(1);
        tokio::spawn(follow(watcher, manifest_changes));
        let (pod_changes, mut changed_pod_info) = mpsc::channel(1);
        if let Some(watcher) = pod_info.watcher.take() {
            tokio::spawn(follow(watcher, pod_changes.clone()));
        }
        // Held, so that the channel stays open without a directory to watch.
        let _pod_changes = pod_changes;
        let mut last_files = None;
        loop {
            tokio::select! {
                Some(files) = changed_manifests.recv() => {
                    last_files = Some(Arc::new(files));
                }
                Some(files) = changed_pod_info.recv() => {
                    let before = std::mem::replace(&mut pod_info.now, PodInfo::parse(&files));
                    if before.draining() != pod_info.now.draining() {
                        let drain = pod_info.now.draining();
                        info!(drain, "drain mark changed");
                        let deadline =
                            Instant::now() + self.configs.borrow().pool.drain_timeout;
                        let control =
                            if drain { Control::Drain { deadline } } else { Control::Undrain };
                        if self.control.send(control).await.is_err() {
                            return;
                        }
                    }
                    if before.peers != pod_info.now.peers {
                        let peers = Peers::new(self.slot, &pod_info.now.peers);
                        info!(peers = peers.others().len(), "the other nodes of the pool changed");
                        if self.control.send(Control::Peers(peers)).await.is_err() {
                            return;
                        }
                    }
                    // Most annotations are the operator's own notes: nothing is loaded again for them.
                    let told = |info: &PodInfo| (info.addresses.clone(), info.sip_addresses.clone());
                    if told(&before) == told(&pod_info.now) {
                        continue;
                    }
                    manifests.advertise(advertised_by(&self.options, &pod_info.now));
                }
                else => return,
            }
            let before = self.configs.borrow().clone();
            let config = match last_files.clone() {
                Some(files) => {
                    // Thousands of trunks take a second and more: calls do not wait for them.
                    let load = move || {
                        let config = manifests.load(&files, UnixTime::now());
                        (manifests, config)
                    };
                    // It is cancelled only when the process ends.
                    let Ok((again, config)) = tokio::task::spawn_blocking(load).await else {
                        return;
                    };
                    manifests = again;
                    config
                }
                None => before.clone(),
            };
            let advertised = Advertised::of(&self.options.advertise, &pod_info.now, &config.pool);
            if !Arc::ptr_eq(&before, &config) {
                report(&config, Some(&before));
                self.metrics.config_loaded(config.rejected.len());
                self.serve_certificate(&before, &config, &advertised);
                self.configs.send_replace(config.clone());
                if self.control.send(Control::Config(config)).await.is_err() {
                    return;
                }
            }
            if *self.advertised.borrow() != advertised {
                info!(
                    sip = ?advertised.sip, media = ?advertised.media,
                    "advertised address changed"
                );
                self.advertised.send_replace(advertised.clone());
                if self.control.send(Control::Advertised(advertised)).await.is_err() {
                    return;
                }
            }
        }
    }

    fn serve_certificate(&self, before: &Config, config: &Config, advertised: &Advertised) {
        if before.pool.tls == config.pool.tls {
            return;
        }
        match certified_key(config.pool.tls.as_deref(), advertised) {
            Ok(key) => {
                self.certificate.replace(key);
                info!("new TLS certificate in force for new connections");
            }
            Err(error) => warn!(%error, "the TLS certificate stays as it was"),
        }
    }
}

/// Sends the files of a directory each time they change.
async fn follow(mut watcher: Watcher, changes: mpsc::Sender<config::read::Files>) {
    loop {
        let (again, changed) = watcher.changed().await;
        watcher = again;
        match changed {
            Ok(files) => {
                if changes.send(files).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                warn!(error, "the directory cannot be read; what was read stays in force")
            }
        }
    }
}

/// Says in the log what a configuration brings, and what of it is not obeyed.
fn report(config: &Config, before: Option<&Config>) {
    if before.is_some() {
        info!(
            hash = config.hash,
            trunks = config.trunks.len(),
            agents = config.agents.len(),
            rejected = config.rejected.len(),
            "manifests reloaded"
        );
    }
    let texts = |config: &Config| -> (BTreeSet<String>, BTreeSet<String>) {
        let rejected = config.rejected.iter().map(ToString::to_string).collect();
        (rejected, config.warnings.iter().map(ToString::to_string).collect())
    };
    let (old_rejected, old_warnings) = before.map(texts).unwrap_or_default();
    let (rejected, warnings) = texts(config);
    for text in rejected.difference(&old_rejected) {
        warn!("rejected: {text}");
    }
    for text in warnings.difference(&old_warnings) {
        warn!("{text}");
    }
}

fn certified_key(
    identity: Option<&TlsIdentity>,
    advertised: &Advertised,
) -> anyhow::Result<Arc<rustls::sign::CertifiedKey>> {
    match identity {
        Some(identity) => Ok(identity.certified_key()),
        None => {
            let names = advertised.sip.iter().map(IpAddr::to_string);
            tls::self_signed(names.chain(["trunkline.local".to_owned()]).collect())
        }
    }
}

/// What wins over the pool's own `address.static`: the flag, then the pod's annotation.
fn advertised_by(options: &cli::Run, pod_info: &PodInfo) -> Vec<IpAddr> {
    match options.advertise.is_empty() {
        false => options.advertise.clone(),
        true => pod_info.addresses.clone(),
    }
}

fn log_format(options: &cli::Run, config: &Config) -> LogFormat {
    let by_pool = config.pool.telemetry.log_format.map(|format| match format {
        config::LogFormat::Json => LogFormat::Json,
        config::LogFormat::Text => LogFormat::Text,
    });
    options.log_format.or(by_pool).unwrap_or(LogFormat::Text)
}

fn instance(slot: Option<u16>) -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "media-node".into());
    slot.map_or_else(|| host.clone(), |slot| format!("{host}-{slot}"))
}
