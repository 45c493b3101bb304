//! One pool: what belongs to it, what it is to have, and what is to be done for that.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trunkline_crds::conditions::reasons;
use trunkline_crds::effective::Effective;
use trunkline_crds::media_pool::{AddressSource, ExposureMode};
use trunkline_crds::trunk::Transport;
use trunkline_crds::{Agent, MediaPool, Trunk};

use super::agenda::Agenda;
use super::config::{self, Contents, Rendered, Secrets};
use super::conflicts::{self, Claimant, Verdict};
use super::exposure::{self, Addresses};
use super::objects::{self, Maker};
use super::pods::{Fleet, Outcome};
use super::seen::Seen;
use super::{Figures, PoolPlan, children, placement, references};
use crate::names;
use crate::world::{RandomText, Rejected, World};

/// How every message of a media node begins that names what its release cannot do.
pub(super) const NOT_SUPPORTED: &str = "not supported yet: ";

/// What the plan knows of a pool; the statuses are made from it.
pub(super) struct Pool<'a> {
    pub(super) name: &'a str,
    pub(super) object: &'a MediaPool,
    pub(super) trunks: BTreeMap<&'a str, &'a Trunk>,
    /// Those that the pool's trunks lead to.
    pub(super) agents: BTreeMap<&'a str, &'a Agent>,
    /// What of them is in the configuration.
    pub(super) rendered_trunks: BTreeSet<&'a str>,
    pub(super) rendered_agents: BTreeSet<&'a str>,
    pub(super) transports: BTreeMap<&'a str, Transport>,
    /// Field and words, by trunk.
    pub(super) contradictions: BTreeMap<&'a str, Vec<String>>,
    pub(super) verdicts: BTreeMap<String, Verdict>,
    /// Reason and message when the pool cannot be obeyed as it is written.
    pub(super) held: Option<(&'static str, String)>,
    pub(super) rendered: Option<Arc<Rendered>>,
    /// Of the configuration in force.
    pub(super) config_hash: Option<String>,
    pub(super) revision: String,
    pub(super) pods: Vec<Seen<'a>>,
    pub(super) sip_hosts: Vec<String>,
    pub(super) media_hosts: Vec<String>,
    /// Why ready-to-be pods have no address, and what to know of those that have one.
    pub(super) address_pending: Option<String>,
    pub(super) address_note: Option<String>,
    pub(super) progressing: Option<(&'static str, String)>,
    pub(super) limited: Option<(&'static str, String)>,
    pub(super) figures: Figures,
}

impl<'a> Pool<'a> {
    /// Ready pods that stay: whose word on the configuration counts.
    pub(super) fn ready(&self) -> impl Iterator<Item = &Seen<'a>> {
        self.pods.iter().filter(|it| it.ours && !it.leaving() && it.ready())
    }

    /// Ready pods that have the configuration of now.
    pub(super) fn programmed(&self) -> impl Iterator<Item = &Seen<'a>> {
        self.reporting().filter(|it| unreadable(it).is_none())
    }

    /// Ready pods that speak of the configuration of now, whether they could read it or not.
    fn reporting(&self) -> impl Iterator<Item = &Seen<'a>> {
        let hash = self.config_hash.as_deref();
        self.ready().filter(move |it| it.config_hash().is_some() && it.config_hash() == hash)
    }

    /// The words of a pod that cannot read the configuration of now.
    pub(super) fn unreadable(&self) -> Option<String> {
        let mut words = self.reporting().filter_map(|it| Some((it.name, unreadable(it)?)));
        words.next().map(|(pod, words)| format!("pod {pod} cannot read its configuration: {words}"))
    }

    /// What pods with the configuration of now do not obey of one object, each once.
    pub(super) fn rejected(&self, kind: &str, name: &str) -> Vec<&'a Rejected> {
        let mut found: Vec<&Rejected> = Vec::new();
        for status in self.programmed().filter_map(|it| it.poll?.status.as_ref()) {
            let of_it = status.rejected.iter().filter(|it| it.kind == kind && it.name == name);
            found.extend(of_it.filter(|it| !found.contains(it)).collect::<Vec<_>>());
        }
        found
    }

    pub(super) fn certificate(&self) -> bool {
        self.object.spec.tls.is_some()
    }
}

/// Why a pod stays with the configuration before: then its hash tells what it has seen, not what it obeys.
fn unreadable<'a>(pod: &Seen<'a>) -> Option<&'a str> {
    let rejected = pod.poll?.status.as_ref()?.rejected.iter();
    let mut files = rejected.filter(|it| it.kind == "File" && it.name == config::MANIFESTS);
    files.next().map(|it| it.message.as_str())
}

/// What must be in the world beside the pool itself for a plan.
pub(super) struct Ground<'a> {
    pub(super) world: &'a World,
    pub(super) agenda: &'a Agenda,
    pub(super) unresolved: &'a RefCell<BTreeSet<String>>,
}

pub(super) fn plan<'a>(
    ground: &Ground<'a>,
    name: &'a str,
    object: &'a MediaPool,
) -> (Pool<'a>, PoolPlan) {
    let (world, agenda) = (ground.world, ground.agenda);
    let spec = &object.spec;
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let make = Maker {
        settings: &world.settings,
        namespace: &world.namespace,
        pool: name,
        pool_uid: uid,
        spec,
    };

    let trunks = trunks_of(world, name);
    let agents = agents_of(world, &trunks);
    let in_force = config::in_force(world, name);
    let uses: Vec<_> = trunks
        .values()
        .flat_map(|it| references::of_trunk(&it.spec))
        .chain(agents.values().flat_map(|it| references::of_agent(&it.spec)))
        .chain(references::of_pool(spec))
        .collect();
    let secrets = Secrets::new(world, &uses, in_force);

    let held = held(world, object, &secrets);
    let rendered_trunks: BTreeMap<_, _> = trunks
        .iter()
        .filter(|(_, it)| secrets.suffice(&references::of_trunk(&it.spec)))
        .map(|(name, it)| (*name, *it))
        .collect();
    let rendered_agents: BTreeMap<_, _> = agents
        .iter()
        .filter(|(_, it)| secrets.suffice(&references::of_agent(&it.spec)))
        .map(|(name, it)| (*name, *it))
        .collect();
    let token = random_text(config::TOKEN, in_force, &world.fresh_token);
    let key = random_text(config::KEY, in_force, &world.fresh_key);
    let contents = Contents {
        pool: (name, object),
        trunks: rendered_trunks,
        agents: rendered_agents,
        secrets: &secrets,
        token: &token,
        key: &key,
    };
    let rendered = held.is_none().then(|| contents.render(world.rendered.get(name), in_force));
    let config_hash = match &rendered {
        Some(it) if it.files.is_empty() => None,
        Some(it) => Some(it.hash.clone()),
        None => in_force.map(config::hash),
    };

    let mut pods: Vec<Seen<'a>> = world
        .pods
        .values()
        .filter(|it| {
            it.metadata
                .labels
                .as_ref()
                .and_then(|it| it.get(names::POOL))
                .is_some_and(|it| it == name)
        })
        .map(|it| Seen::new(world, it, uid, agenda))
        .collect();
    pods.sort_by_key(|it| (it.slot, it.name));

    let addresses = Addresses { world, pool: name, spec, unresolved: ground.unresolved };
    let calls = calls_by_agent(&pods);
    let revision = objects::revision(&make);
    let fleet = Fleet {
        make,
        agenda,
        pods: &pods,
        addresses: &addresses,
        wish: placement::wish(&spec.placement, &trunks, &agents, &calls),
        revision: &revision,
        config_hash: config_hash.as_deref(),
        held: held.is_some(),
    };
    let Outcome { actions, progressing, limited } = fleet.plan();

    let mut pool = Pool {
        name,
        object,
        rendered_trunks: contents.trunks.keys().copied().collect(),
        rendered_agents: contents.agents.keys().copied().collect(),
        transports: BTreeMap::new(),
        contradictions: BTreeMap::new(),
        verdicts: BTreeMap::new(),
        trunks,
        agents,
        held,
        config_hash,
        revision: revision.clone(),
        figures: figures(&pods, agenda, spec.replicas, rendered.as_deref()),
        sip_hosts: Vec::new(),
        media_hosts: Vec::new(),
        address_pending: None,
        address_note: None,
        progressing,
        limited,
        rendered: rendered.clone(),
        pods: Vec::new(),
    };
    pool.find_addresses(&addresses, &pods);
    pool.pods = pods;
    pool.judge(&secrets);

    let desired = match &rendered {
        Some(rendered) => children::desired(&make, &pool.pods, rendered),
        None => Vec::new(),
    };
    let plan = PoolPlan {
        delete: match pool.held {
            Some(_) => Vec::new(),
            None => children::orphans(world, name, &desired),
        },
        apply: desired.into_iter().filter(|it| !children::is_so(world, it)).collect(),
        pods: actions,
        figures: pool.figures,
        rendered,
    };
    (pool, plan)
}

/// The trunks that name the pool and are not being deleted.
fn trunks_of<'a>(world: &'a World, pool: &str) -> BTreeMap<&'a str, &'a Trunk> {
    world
        .trunks
        .iter()
        .filter(|(_, it)| *it.spec.pool_ref.name == *pool)
        .filter(|(_, it)| it.metadata.deletion_timestamp.is_none())
        .map(|(name, it)| (name.as_str(), &**it))
        .collect()
}

fn agents_of<'a>(
    world: &'a World,
    trunks: &BTreeMap<&'a str, &'a Trunk>,
) -> BTreeMap<&'a str, &'a Agent> {
    let there =
        |name: &str| world.agents.get(name).filter(|it| it.metadata.deletion_timestamp.is_none());
    let reached = trunks
        .values()
        .flat_map(|it| references::agents_reached(&it.spec, |name| there(name).map(|it| &it.spec)));
    let reached: BTreeSet<&str> = reached.collect();
    reached
        .into_iter()
        .filter_map(|name| world.agents.get_key_value(name))
        .map(|(name, it)| (name.as_str(), &**it))
        .collect()
}

/// What is in force under `name`, else what was drawn for this world.
fn random_text(name: &str, in_force: Option<&config::Files>, fresh: &RandomText) -> String {
    in_force
        .and_then(|files| files.get(name))
        .and_then(|it| String::from_utf8(it.0.clone()).ok())
        .filter(|it| !it.trim().is_empty())
        .unwrap_or_else(|| fresh.0.to_string())
}

/// Why the pool cannot be obeyed as it is written. Its pods stay as they are until it can.
fn held(
    world: &World,
    object: &MediaPool,
    secrets: &Secrets<'_>,
) -> Option<(&'static str, String)> {
    let spec = &object.spec;
    let unsupported = |field: &str, more: &str| {
        Some((reasons::UNSUPPORTED, format!("{NOT_SUPPORTED}{field}{more}")))
    };
    if spec.exposure.address.source == AddressSource::Stun {
        let more = " (STUN): write Static with the address that carriers are told";
        return unsupported("spec.exposure.address.source", more);
    }
    if spec.records.webhook.is_some() {
        return unsupported("spec.records.webhook", ": records go to the log");
    }
    if let Some(message) = exposure::contradiction(spec) {
        return Some((reasons::INVALID, message));
    }
    let uses = references::of_pool(spec);
    if !secrets.suffice(&uses) {
        let missing = config::missing(world, &uses);
        let message = missing.into_iter().next().map(|it| it.message).unwrap_or_default();
        return Some((reasons::INVALID_CERTIFICATE, message));
    }
    None
}

fn calls_by_agent<'a>(pods: &[Seen<'a>]) -> BTreeMap<&'a str, u32> {
    let mut calls = BTreeMap::new();
    for status in pods.iter().filter_map(|it| it.poll?.status.as_ref()) {
        for (agent, report) in &status.agents {
            *calls.entry(agent.as_str()).or_default() += report.calls;
        }
    }
    calls
}

fn figures(
    pods: &[Seen<'_>],
    agenda: &Agenda,
    replicas: i32,
    rendered: Option<&Rendered>,
) -> Figures {
    let mut figures =
        Figures { desired: u32::try_from(replicas).unwrap_or(0), ..Figures::default() };
    let sizes = rendered.into_iter().flat_map(|it| it.files.values()).map(|it| it.0.len());
    figures.config_bytes = u32::try_from(sizes.sum::<usize>()).unwrap_or(u32::MAX);
    for pod in pods.iter().filter(|it| it.ours) {
        let status = pod.poll.and_then(|it| it.status.as_ref());
        if let Some(status) = status.filter(|_| !pod.finished()) {
            figures.active_calls += status.calls.active;
            figures.setup_calls += status.calls.setup;
        }
        if pod.terminating() {
            figures.terminating += 1;
        } else if matches!(pod.place, super::seen::Place::Lost | super::seen::Place::Gone) {
            figures.lost += 1;
        } else if pod.drain().is_some() {
            figures.draining += 1;
        } else if !pod.finished() {
            figures.replicas += 1;
            if pod.takes_calls(agenda) {
                figures.ready += 1;
                figures.capacity_calls += status.map_or(0, |it| it.capacity);
            } else {
                figures.starting += 1;
            }
        }
    }
    figures
}

impl<'a> Pool<'a> {
    fn find_addresses(&mut self, addresses: &Addresses<'_>, pods: &[Seen<'_>]) {
        let live: Vec<_> = pods.iter().filter(|it| it.ours && !it.finished()).collect();
        let staying: Vec<_> = live.iter().copied().filter(|it| !it.leaving()).collect();
        self.sip_hosts = addresses.of_sip(&staying);
        self.media_hosts = addresses.of_media(&live);
        for pod in &staying {
            let advertised = addresses.of_pod(pod);
            if let Some(why) = advertised.pending.filter(|_| pod.process_up()) {
                self.address_pending.get_or_insert(format!("pod {}: {why}", pod.name));
            }
            if let Some(note) = advertised.note {
                self.address_note.get_or_insert(note);
            }
        }
    }

    /// Contradictions and conflicts of the pool's trunks.
    fn judge(&mut self, secrets: &Secrets<'_>) {
        let mode = self.object.spec.exposure.mode;
        for (name, trunk) in &self.trunks {
            let effective = Effective::of(&trunk.spec);
            let mut faults: Vec<String> = effective
                .contradictions
                .iter()
                .map(|it| format!("{}: {}", it.field, it.message))
                .collect();
            let transport = effective.transport;
            if exposure::sip_uri(&self.object.spec, transport, "").is_none() {
                faults.push(format!(
                    "MediaPool {} has {transport} turned off: write a port for its exposure.sip, or \
                     another transport",
                    self.name
                ));
            } else if mode == ExposureMode::LoadBalancer && transport != Transport::Tls {
                faults.push(format!(
                    "MediaPool {} is behind a load balancer, which carries SIP over TLS only: write \
                     transport: TLS, or name a pool of another mode",
                    self.name
                ));
            }
            self.transports.insert(name, transport);
            if !faults.is_empty() {
                self.contradictions.insert(name, faults);
            }
        }
        let left_out: BTreeSet<&str> = self
            .programmed()
            .filter_map(|it| it.poll?.status.as_ref())
            .flat_map(|it| &it.rejected)
            .filter(|it| it.kind == "Trunk" && it.outcome == "LeftOut")
            .map(|it| it.name.as_str())
            .collect();
        let claimants = self
            .trunks
            .iter()
            .filter(|(name, _)| self.rendered_trunks.contains(*name))
            .map(|(name, trunk)| Claimant {
                name,
                trunk,
                transport: self.transports[name],
                left_out: left_out.contains(name) || self.contradictions.contains_key(name),
            })
            .collect();
        self.verdicts = conflicts::judge(claimants, secrets);
    }
}
