//! Objects into a [`Config`]: references followed, secrets parsed, what is wrong left out and named.

mod agent;
mod pool;
mod references;
mod schema;
#[cfg(test)]
mod tests;
mod trunk;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::pki_types::UnixTime;
use serde_json::Value;
use trunkline_crds::address::is_public;
use trunkline_crds::agent::AgentSpec;
use trunkline_crds::media_pool::{AddressSource, MediaPoolSpec};
use trunkline_crds::trunk::TrunkSpec;

use self::references::References;
use super::conflicts::Claims;
use super::documents::{self, Body, DEFAULT_NAMESPACE, Key, Object, Parsed, Source};
use super::read::{Files, KEY, RENDERED, SCHEMA, TOKEN};
use super::{
    Agent, Config, Fallback, Ignored, Outcome, Pool, Rejected, Route, Secret, Transport, Trunk,
    Warning, unsupported,
};

/// A field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub field: String,
    pub message: String,
}

impl Fault {
    pub(super) fn new(field: &str, message: &str) -> Self {
        Self { field: field.to_owned(), message: message.to_owned() }
    }
}

/// What the process was told beside the manifests.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// From `--advertise` or the pod's annotation; wins over the pool's static addresses.
    pub advertised: Vec<IpAddr>,
}

/// Turns one reading of the directory after another into configurations, and remembers the last good
/// version of every file and object.
#[derive(Default)]
pub struct Manifests {
    options: Options,
    files: BTreeMap<String, Parsed>,
    good: Good,
}

/// Objects as they last resolved without a fault, all routes and fallbacks included.
#[derive(Default)]
struct Good {
    pool: BTreeMap<Key, Arc<Pool>>,
    trunks: BTreeMap<Key, Arc<Trunk>>,
    agents: BTreeMap<Key, Arc<Agent>>,
}

impl Manifests {
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Counts from the next [`Self::load`] on.
    pub fn advertise(&mut self, addresses: Vec<IpAddr>) {
        self.options.advertised = addresses;
    }

    /// The configuration that `files` amount to. `now` is what certificates are judged by.
    pub fn load(&mut self, files: &Files, now: UnixTime) -> Arc<Config> {
        let mut report = Report::default();
        self.read_files(files, &mut report);
        let lenient = newer_schema(files, &mut report);
        let objects = unique(&self.files, &mut report);
        let index = Index::new(&objects);
        let references = References::new(objects.iter().copied());
        let mut load = Load { good: &mut self.good, references, now, lenient, report };

        let (namespace, name) = served_pool(&objects, &mut load.report);
        let pool = load.pool(&objects, &namespace, &name);
        let agents = load.agents(&objects, &index, &namespace);
        let trunks = load.trunks(&objects, &index, &pool, &agents);
        load.forget_what_is_gone(&objects);

        let mut report = load.report;
        let advertised: Vec<IpAddr> = match self.options.advertised.as_slice() {
            [] => pool.address.fixed.clone(),
            given => given.to_vec(),
        };
        report.warnings.extend(outbound_warnings(&trunks, &index));
        report.warnings.extend(pool_warnings(&pool, &trunks, &advertised, &index, now));
        let mut config = Config {
            hash: files.hash(),
            pool,
            trunks,
            agents,
            admin_token: line(files, TOKEN),
            pool_key: line(files, KEY),
            rejected: report.rejected,
            ignored: report.ignored,
            warnings: report.warnings,
        };
        config
            .rejected
            .sort_by(|a, b| (&a.file, a.line, &a.field).cmp(&(&b.file, b.line, &b.field)));
        let warnings = config.address_warnings(&advertised, |kind, name, field| {
            index.place(kind, &namespace, name, field)
        });
        config.warnings.extend(warnings);
        Arc::new(config)
    }

    fn read_files(&mut self, files: &Files, report: &mut Report) {
        let rendered = files.rendered();
        let counts = |name: &str| match rendered {
            true => name == RENDERED,
            false => !matches!(name, SCHEMA | TOKEN | KEY),
        };
        self.files.retain(|name, _| files.get(name).is_some() && counts(name));
        for (name, bytes) in files.iter().filter(|(name, _)| counts(name)) {
            let parsed = if rendered {
                documents::parse_rendered(name, bytes)
            } else {
                documents::parse(name, bytes)
            };
            match parsed {
                Ok(parsed) => {
                    self.files.insert(name.to_owned(), parsed);
                }
                Err(malformed) => {
                    let kept = self.files.contains_key(name);
                    report.rejected.push(Rejected {
                        kind: "File".into(),
                        name: name.to_owned(),
                        namespace: String::new(),
                        field: String::new(),
                        message: malformed.message,
                        outcome: if kept { Outcome::LastGoodKept } else { Outcome::LeftOut },
                        file: name.to_owned(),
                        line: malformed.line,
                    });
                }
            }
        }
    }
}

/// Whether the rendered list was written for a newer schema than ours. A hand-written one never is.
fn newer_schema(files: &Files, report: &mut Report) -> bool {
    if !files.rendered() {
        return false;
    }
    let text = files.get(SCHEMA).map(|it| String::from_utf8_lossy(it).trim().to_owned());
    match text.as_deref().map(str::parse::<u32>) {
        Some(Ok(schema)) => schema > trunkline_crds::SCHEMA,
        None => false,
        Some(Err(_)) => {
            report.rejected.push(Rejected {
                kind: "File".into(),
                name: SCHEMA.into(),
                namespace: String::new(),
                field: String::new(),
                message: "not a number; taken for a newer schema".into(),
                outcome: Outcome::LeftOut,
                file: SCHEMA.into(),
                line: 0,
            });
            true
        }
    }
}

/// A secret of one line that an operator rendered beside the manifests.
fn line(files: &Files, name: &str) -> Option<Secret> {
    let bytes = files.get(name).filter(|_| files.rendered())?.trim_ascii_end();
    (!bytes.is_empty()).then(|| Secret::new(bytes.to_vec()))
}

/// What a load has to say beside its result.
#[derive(Default)]
struct Report {
    rejected: Vec<Rejected>,
    ignored: Vec<Ignored>,
    warnings: Vec<Warning>,
}

impl Report {
    fn reject(&mut self, object: &Object, fault: &Fault, outcome: Outcome) {
        self.rejected.push(Rejected {
            kind: object.key.kind.clone(),
            name: object.key.name.clone(),
            namespace: object.key.namespace.clone(),
            field: fault.field.clone(),
            message: fault.message.clone(),
            outcome,
            file: object.source.file.clone(),
            line: object.source.line_of(&fault.field),
        });
    }

    fn reject_all(&mut self, object: &Object, faults: &[Fault], kept: bool) {
        let outcome = if kept { Outcome::LastGoodKept } else { Outcome::LeftOut };
        faults.iter().for_each(|fault| self.reject(object, fault, outcome));
    }
}

/// All objects, each once: of two with the same kind, namespace and name the first counts.
fn unique<'a>(files: &'a BTreeMap<String, Parsed>, report: &mut Report) -> Vec<&'a Object> {
    let mut seen: BTreeMap<&Key, &Source> = BTreeMap::new();
    let mut objects = Vec::new();
    for parsed in files.values() {
        for problem in &parsed.problems {
            report.rejected.push(Rejected {
                kind: problem.kind.clone(),
                name: problem.name.clone(),
                namespace: problem.namespace.clone(),
                field: problem.field.clone(),
                message: problem.message.clone(),
                outcome: match problem.kind.as_str() {
                    "Secret" => Outcome::PartlyLoaded,
                    _ => Outcome::LeftOut,
                },
                file: problem.file.clone(),
                line: problem.line,
            });
        }
        for object in &parsed.objects {
            if matches!(object.body, Body::Other) {
                report.ignored.push(Ignored {
                    kind: object.key.kind.clone(),
                    name: object.key.name.clone(),
                    field: String::new(),
                });
                continue;
            }
            if let Body::Api(value) = &object.body
                && !(object.api_version == trunkline_crds::API_VERSION
                    && matches!(object.key.kind.as_str(), "Trunk" | "Agent" | "MediaPool"))
            {
                let faults = schema::accept(value, false).err().unwrap_or_default();
                report.reject_all(object, &faults, false);
                continue;
            }
            if let Some(first) = seen.get(&object.key) {
                let message = match first.line_of("kind") {
                    0 => format!("already in {}; keep one", first.file),
                    line => format!("already in {}:{line}; keep one", first.file),
                };
                report.reject(object, &Fault::new("metadata.name", &message), Outcome::LeftOut);
                continue;
            }
            seen.insert(&object.key, &object.source);
            objects.push(object);
        }
    }
    objects
}

/// Objects by kind and name: what is said of thousands of them must not search them all each time.
struct Index<'a>(HashMap<(&'a str, &'a str), Vec<&'a Object>>);

impl<'a> Index<'a> {
    fn new(objects: &[&'a Object]) -> Self {
        let mut index = Self(HashMap::new());
        for object in objects {
            index.0.entry((&object.key.kind, &object.key.name)).or_default().push(object);
        }
        index
    }

    /// The one in that namespace, else one in another.
    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<&'a Object> {
        let found = self.0.get(&(kind, name))?;
        found.iter().find(|it| it.key.namespace == namespace).or(found.first()).copied()
    }

    /// File and line of a field.
    fn place(&self, kind: &str, namespace: &str, name: &str, field: &str) -> (String, usize) {
        match self.find(kind, namespace, name) {
            Some(it) => (it.source.file.clone(), it.source.line_of(field)),
            None => (String::new(), 0),
        }
    }
}

/// Namespace and name of the pool this node belongs to: the MediaPool there is; of several, the one
/// trunks name; without one, whatever the trunks name. `default` before others, then by name.
fn served_pool(objects: &[&Object], report: &mut Report) -> (String, String) {
    let of_kind = |kind: &'static str| objects.iter().filter(move |it| it.key.kind == kind);
    let by_rank = |names: BTreeSet<(String, String)>| -> Option<(String, String)> {
        names
            .into_iter()
            .min_by_key(|(namespace, name)| (name != "default", namespace.clone(), name.clone()))
    };
    let named: BTreeSet<_> = of_kind("Trunk")
        .map(|trunk| (trunk.key.namespace.clone(), pool_ref(trunk).to_owned()))
        .collect();
    let written: BTreeSet<_> = of_kind("MediaPool")
        .map(|pool| (pool.key.namespace.clone(), pool.key.name.clone()))
        .collect();
    let both: BTreeSet<_> = written.intersection(&named).cloned().collect();
    let served = by_rank(both)
        .or_else(|| by_rank(written))
        .or_else(|| by_rank(named))
        .or_else(|| {
            let mut namespaces = of_kind("Agent").map(|agent| agent.key.namespace.clone());
            namespaces.next().map(|namespace| (namespace, "default".to_owned()))
        })
        .unwrap_or_else(|| (DEFAULT_NAMESPACE.to_owned(), "default".to_owned()));
    for object in objects {
        let (field, message) = match object.key.kind.as_str() {
            "MediaPool" if (&object.key.namespace, &object.key.name) != (&served.0, &served.1) => {
                let message = "this node belongs to MediaPool SERVED; give every pool a directory";
                ("metadata.name", message.to_owned())
            }
            "Trunk" if object.key.namespace == served.0 && pool_ref(object) != served.1 => (
                "spec.poolRef.name",
                "this node belongs to MediaPool SERVED; write its name".to_owned(),
            ),
            "Trunk" | "Agent" if object.key.namespace != served.0 => {
                let message = "this node belongs to MediaPool SERVED, and nothing reaches across \
                               namespaces; write that namespace";
                ("metadata.namespace", message.to_owned())
            }
            _ => continue,
        };
        let message = message.replace("SERVED", &format!("{}/{}", served.0, served.1));
        report.reject(object, &Fault { field: field.to_owned(), message }, Outcome::LeftOut);
        if let Body::Api(value) = &object.body {
            report.reject_all(
                object,
                &schema::accept(value, true).err().unwrap_or_default(),
                false,
            );
        }
    }
    served
}

fn pool_ref(trunk: &Object) -> &str {
    match &trunk.body {
        Body::Api(value) => value["spec"]["poolRef"]["name"].as_str().unwrap_or("default"),
        _ => "default",
    }
}

struct Load<'a> {
    good: &'a mut Good,
    references: References<'a>,
    now: UnixTime,
    /// Unknown fields are listed, not refused.
    lenient: bool,
    report: Report,
}

impl Load<'_> {
    /// The spec of an object that schema, rules and this release all accept.
    fn spec<S: serde::de::DeserializeOwned>(
        &mut self,
        object: &Object,
        unsupported: impl Fn(&S) -> Vec<Fault>,
    ) -> Result<S, Vec<Fault>> {
        let Body::Api(value) = &object.body else { return Err(Vec::new()) };
        let accepted = schema::accept(value, self.lenient)?;
        for field in accepted.unknown {
            let (kind, name) = (object.key.kind.clone(), object.key.name.clone());
            self.report.ignored.push(Ignored { kind, name, field });
        }
        let spec = accepted.object.get("spec").cloned();
        let spec = spec.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let spec: S = serde_json::from_value(spec)
            .map_err(|error| vec![Fault { field: "spec".into(), message: error.to_string() }])?;
        let faults = unsupported(&spec);
        if faults.is_empty() { Ok(spec) } else { Err(faults) }
    }

    fn pool(&mut self, objects: &[&Object], namespace: &str, name: &str) -> Arc<Pool> {
        let defaults = |references: &References<'_>, now| {
            pool::resolve(namespace, name, None, references, now)
                .expect("the built-in defaults name no Secret and no address")
        };
        let Some(object) =
            objects.iter().find(|it| is(it, "MediaPool", namespace) && it.key.name == name)
        else {
            return Arc::new(defaults(&self.references, self.now));
        };
        let resolved = self.spec::<MediaPoolSpec>(object, unsupported::of_pool).and_then(|spec| {
            pool::resolve(namespace, name, Some(&spec), &self.references, self.now)
        });
        match resolved {
            Ok(pool) => keep(&mut self.good.pool, &object.key, pool),
            Err(faults) => {
                let good = self.good.pool.get(&object.key).cloned();
                self.report.reject_all(object, &faults, good.is_some());
                good.unwrap_or_else(|| Arc::new(defaults(&self.references, self.now)))
            }
        }
    }

    fn agents(
        &mut self,
        objects: &[&Object],
        index: &Index<'_>,
        namespace: &str,
    ) -> BTreeMap<String, Arc<Agent>> {
        let mut agents = BTreeMap::new();
        for object in objects.iter().filter(|it| is(it, "Agent", namespace)) {
            let resolved = self.spec::<AgentSpec>(object, unsupported::of_agent).and_then(|spec| {
                agent::resolve(namespace, &object.key.name, &spec, &self.references)
            });
            let agent = match resolved {
                Ok(agent) => Some(keep(&mut self.good.agents, &object.key, agent)),
                Err(faults) => {
                    let good = self.good.agents.get(&object.key).cloned();
                    self.report.reject_all(object, &faults, good.is_some());
                    good
                }
            };
            if let Some(agent) = agent {
                agents.insert(object.key.name.clone(), agent);
            }
        }
        self.fallbacks(index, namespace, &mut agents);
        agents
    }

    /// Takes away fallbacks that lead nowhere, or in a circle.
    fn fallbacks(
        &mut self,
        index: &Index<'_>,
        namespace: &str,
        agents: &mut BTreeMap<String, Arc<Agent>>,
    ) {
        let next =
            |agents: &BTreeMap<String, Arc<Agent>>, name: &str| match agents.get(name)?.fallback {
                Some(Fallback::Agent(ref to)) => Some(to.clone()),
                _ => None,
            };
        let names: Vec<String> = agents.keys().cloned().collect();
        for name in names {
            let Some(to) = next(agents, &name) else { continue };
            let message = if agents.contains_key(&to) {
                let mut seen = BTreeSet::from([name.clone()]);
                let mut at = Some(to);
                while let Some(agent) = at.take_if(|agent| seen.insert(agent.clone())) {
                    at = next(agents, &agent);
                }
                // A circle that does not come back here is broken at one of its own agents.
                if at.as_ref() != Some(&name) {
                    continue;
                }
                "the fallbacks go in a circle; end them with an agent without fallback, or sipStatus"
                    .to_owned()
            } else {
                missing_agent(&to, index, namespace)
            };
            let trimmed = agents.get(&name).map(|it| Agent { fallback: None, ..Agent::clone(it) });
            if let Some(trimmed) = trimmed {
                agents.insert(name.clone(), Arc::new(trimmed));
            }
            if let Some(object) = index.find("Agent", namespace, &name) {
                let fault = Fault { field: "spec.fallback.agentRef.name".into(), message };
                self.report.reject(object, &fault, Outcome::PartlyLoaded);
            }
        }
    }

    fn trunks(
        &mut self,
        objects: &[&Object],
        index: &Index<'_>,
        pool: &Pool,
        agents: &BTreeMap<String, Arc<Agent>>,
    ) -> Vec<Arc<Trunk>> {
        let mut found: Vec<(&Object, Arc<Trunk>)> = Vec::new();
        let ours = |it: &&&Object| is(it, "Trunk", &pool.namespace) && pool_ref(it) == pool.name;
        for object in objects.iter().filter(ours) {
            let created = match &object.body {
                Body::Api(value) => {
                    value["metadata"]["creationTimestamp"].as_str().map(str::to_owned)
                }
                _ => None,
            };
            let resolved = self.spec::<TrunkSpec>(object, unsupported::of_trunk).and_then(|spec| {
                let name = &object.key.name;
                trunk::resolve(
                    &pool.namespace,
                    name,
                    created,
                    &spec,
                    pool,
                    &self.references,
                    self.now,
                )
            });
            match resolved {
                Ok(trunk) => found.push((object, keep(&mut self.good.trunks, &object.key, trunk))),
                Err(faults) => {
                    let good = self.good.trunks.get(&object.key).cloned();
                    self.report.reject_all(object, &faults, good.is_some());
                    found.extend(good.map(|good| (*object, good)));
                }
            }
        }
        found.sort_by(|(_, a), (_, b)| {
            (a.created.is_none(), &a.created, &a.name).cmp(&(
                b.created.is_none(),
                &b.created,
                &b.name,
            ))
        });
        let mut claims = Claims::default();
        let mut trunks: Vec<Arc<Trunk>> = Vec::new();
        for (object, trunk) in found {
            let lost = claims.lost(&trunk);
            let outcome = if lost.everything { Outcome::LeftOut } else { Outcome::PartlyLoaded };
            lost.faults.iter().for_each(|fault| self.report.reject(object, fault, outcome));
            if !lost.everything {
                claims.add(&trunk);
                trunks.push(self.with_agents_there_are(object, trunk, agents, index));
            }
        }
        trunks
    }

    /// The trunk without agents that are missing, and without routes that lead to nobody.
    fn with_agents_there_are(
        &mut self,
        object: &Object,
        trunk: Arc<Trunk>,
        agents: &BTreeMap<String, Arc<Agent>>,
        index: &Index<'_>,
    ) -> Arc<Trunk> {
        let there = |name: &String| agents.contains_key(name);
        if trunk.routes.iter().all(|route| route.agents.iter().all(|(name, _)| there(name))) {
            return trunk;
        }
        let mut routes = Vec::new();
        for route in &trunk.routes {
            let (present, missing): (Vec<_>, Vec<_>) =
                route.agents.iter().cloned().partition(|(name, _)| there(name));
            for (name, _) in missing {
                let fault = Fault {
                    field: agent_field(object, route.index, &name),
                    message: missing_agent(&name, index, &trunk.namespace),
                };
                self.report.reject(object, &fault, Outcome::PartlyLoaded);
            }
            if !present.is_empty() {
                routes.push(Route { agents: present, ..route.clone() });
            }
        }
        Arc::new(Trunk { routes, ..Trunk::clone(&trunk) })
    }

    fn forget_what_is_gone(&mut self, objects: &[&Object]) {
        let there: BTreeSet<&Key> = objects.iter().map(|object| &object.key).collect();
        self.good.pool.retain(|key, _| there.contains(key));
        self.good.trunks.retain(|key, _| there.contains(key));
        self.good.agents.retain(|key, _| there.contains(key));
    }
}

fn is(object: &Object, kind: &str, namespace: &str) -> bool {
    object.key.kind == kind && object.key.namespace == namespace
}

/// Remembers a good version; an unchanged object keeps its `Arc`.
fn keep<T: PartialEq>(good: &mut BTreeMap<Key, Arc<T>>, key: &Key, new: T) -> Arc<T> {
    match good.get(key) {
        Some(old) if **old == new => Arc::clone(old),
        _ => {
            let new = Arc::new(new);
            good.insert(key.clone(), Arc::clone(&new));
            new
        }
    }
}

fn missing_agent(name: &str, index: &Index<'_>, namespace: &str) -> String {
    match index.find("Agent", namespace, name) {
        Some(it) if it.key.namespace == namespace => {
            format!("Agent \"{name}\" is left out, see there")
        }
        Some(it) => format!(
            "Agent \"{name}\" not found in namespace {namespace}; there is one in namespace {}, but \
             references never leave a namespace",
            it.key.namespace
        ),
        None => format!(
            "Agent \"{name}\" not found in namespace {namespace}; write it, or correct the name"
        ),
    }
}

/// The field of a route that names an agent.
fn agent_field(trunk: &Object, route: usize, name: &str) -> String {
    let Body::Api(value) = &trunk.body else { return "spec.routes".into() };
    let route_value = &value["spec"]["routes"][route];
    let place = route_value["agents"]
        .as_array()
        .and_then(|agents| agents.iter().position(|agent| agent["name"].as_str() == Some(name)));
    match place {
        Some(place) => format!("spec.routes[{route}].agents[{place}].name"),
        None => format!("spec.routes[{route}].agentRef.name"),
    }
}

/// Trunks whose carrier is asked, and not called yet.
fn outbound_warnings(trunks: &[Arc<Trunk>], index: &Index<'_>) -> Vec<Warning> {
    let of = |trunk: &Arc<Trunk>| {
        let outbound = trunk.outbound.as_ref()?;
        let asks = match outbound.options_period {
            Some(_) => "the carrier's servers are asked by OPTIONS whether they are there",
            None => "with optionsPeriodSeconds: 0 nothing is done with it",
        };
        let field = "spec.outbound".to_owned();
        let (file, line) = index.place("Trunk", &trunk.namespace, &trunk.name, &field);
        let message = format!("calls to the carrier come with a later release; until then {asks}");
        Some(Warning { kind: "Trunk".into(), name: trunk.name.clone(), field, message, file, line })
    };
    trunks.iter().filter_map(of).collect()
}

/// What a pool leaves to chance.
fn pool_warnings(
    pool: &Pool,
    trunks: &[Arc<Trunk>],
    advertised: &[IpAddr],
    index: &Index<'_>,
    now: UnixTime,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |field: &str, message: String| {
        let (file, line) = index.place("MediaPool", &pool.namespace, &pool.name, field);
        let (kind, name) = ("MediaPool".to_owned(), pool.name.clone());
        warnings.push(Warning { kind, name, field: field.to_owned(), message, file, line });
    };
    if trunks.iter().any(|it| it.transport == Transport::Tls) {
        match &pool.tls {
            None => warn(
                "spec.tls.certificateRef",
                "no certificate: an ephemeral self-signed one serves, which most carriers refuse; \
                 name a kubernetes.io/tls Secret"
                    .into(),
            ),
            Some(tls) => {
                if let Some(days) = tls.days_left_if_few(now) {
                    let message = format!("the certificate ends in {days} days; renew it");
                    warn("spec.tls.certificateRef", message);
                }
            }
        }
    }
    if advertised.is_empty() {
        let source = index
            .find("MediaPool", &pool.namespace, &pool.name)
            .and_then(|it| match &it.body {
                Body::Api(value) => value["spec"]["exposure"]["address"]["source"].as_str(),
                _ => None,
            })
            .unwrap_or(AddressSource::NodeExternalIp.as_str());
        warn(
            "spec.exposure.address.source",
            format!(
                "{source} is found out by the operator; by hand write source: Static and static: \
                 [the address that carriers are told], or give --advertise"
            ),
        );
    }
    warnings
}

impl Config {
    /// Trunks that a public peer calls and that would tell it a private address. `advertised` is
    /// what SDP, Contact and Via say; `place` gives file and line of a field.
    pub fn address_warnings(
        &self,
        advertised: &[IpAddr],
        place: impl Fn(&str, &str, &str) -> (String, usize),
    ) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for trunk in &self.trunks {
            let Some(inbound) = &trunk.inbound else { continue };
            let public = inbound.sources.iter().find(|source| {
                let peer = source.addr();
                let told = self.pool.address.toward(peer, advertised, &[]);
                is_public(peer) && told.is_some_and(|told| !is_public(told))
            });
            let Some(source) = public else { continue };
            let field = "spec.inbound.sources";
            let (file, line) = place("Trunk", &trunk.name, field);
            warnings.push(Warning {
                kind: "Trunk".into(),
                name: trunk.name.clone(),
                field: field.into(),
                message: format!(
                    "{source} is a public network, but would be told a private address, to which it \
                     cannot send: write the public one in the MediaPool's exposure.address.static, \
                     or give --advertise"
                ),
                file,
                line,
            });
        }
        warnings
    }
}

fn count(n: i32) -> u32 {
    u32::try_from(n).unwrap_or(0)
}

fn seconds(n: i32) -> Duration {
    Duration::from_secs(u64::from(count(n)))
}

fn networks<'a>(
    texts: impl Iterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>,
    field: &str,
    faults: &mut Vec<Fault>,
) -> Vec<IpNet> {
    let mut found = Vec::new();
    for (index, text) in texts.enumerate() {
        match text.as_ref().parse::<IpNet>() {
            // 203.0.113.5/24 means the network it is in.
            Ok(network) => found.push(network.trunc()),
            Err(_) => faults.push(Fault::new(
                &format!("{field}[{index}]"),
                "write a network with its prefix length, as 203.0.113.0/24; one address is /32 or /128",
            )),
        }
    }
    found
}

fn addresses<'a>(
    texts: impl Iterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>,
    field: &str,
    faults: &mut Vec<Fault>,
) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for (index, text) in texts.enumerate() {
        match text.as_ref().parse() {
            Ok(address) => found.push(address),
            Err(_) => faults.push(Fault::new(
                &format!("{field}[{index}]"),
                "write an IPv4 or IPv6 address, as 192.0.2.10 or 2001:db8::10",
            )),
        }
    }
    found
}
