//! A cluster in memory: it does what a plan says, starts pods as a kubelet would, and lets time pass.

mod kubelet;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, PodStatus, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use trunkline_crds::{Agent, MediaPool, Trunk};
use zeroize::Zeroizing;

use crate::names;
use crate::plan::{self, Plan, PodChange, Status};
use crate::world::{
    ConnectionReport, Object, OptionsReport, RandomText, Rejected, Settings, World,
};

pub(in crate::plan::tests) const NAMESPACE: &str = "voice";

/// A deletion that a plan asked for, and how things really stood then.
#[derive(Clone, Debug)]
pub(in crate::plan::tests) struct Deletion {
    pub(in crate::plan::tests) name: String,
    pub(in crate::plan::tests) calls: u32,
    pub(in crate::plan::tests) process_up: bool,
    pub(in crate::plan::tests) node_there: bool,
    pub(in crate::plan::tests) drain_started: Option<Timestamp>,
    pub(in crate::plan::tests) at: Timestamp,
}

pub(in crate::plan::tests) struct Sim {
    pub(in crate::plan::tests) world: World,
    pub(in crate::plan::tests) now: Timestamp,
    serial: u64,
    /// Calls by pod.
    pub(in crate::plan::tests) calls: BTreeMap<String, u32>,
    /// Calls that pods have ended themselves at the deadline of their drain.
    pub(in crate::plan::tests) drained: BTreeMap<String, u64>,
    /// Pods of this image start; others cannot be pulled.
    pub(in crate::plan::tests) good_images: BTreeSet<String>,
    pub(in crate::plan::tests) room: bool,
    /// Whether objects are judged as the API server would, for what it refuses proves nothing.
    pub(in crate::plan::tests) validates: bool,
    /// Pods that do not answer polls.
    pub(in crate::plan::tests) silent: BTreeSet<String>,
    /// Pods whose mounted files are not refreshed.
    pub(in crate::plan::tests) stale: BTreeSet<String>,
    /// What every pod says it does not obey.
    pub(in crate::plan::tests) rejected: Vec<Rejected>,
    /// What every pod says of the carrier of `carrier-a`.
    pub(in crate::plan::tests) options: Option<OptionsReport>,
    /// What each pod says of its way to agent `support`.
    pub(in crate::plan::tests) connections: BTreeMap<String, ConnectionReport>,
    pub(in crate::plan::tests) reaches_us: Option<bool>,
    /// Pods whose files are not refreshed, and which therefore say nothing new.
    pub(in crate::plan::tests) missed: BTreeSet<String>,
    pub(in crate::plan::tests) deletions: Vec<Deletion>,
    pub(in crate::plan::tests) events: Vec<&'static str>,
}

impl Sim {
    pub(in crate::plan::tests) fn new() -> Self {
        let settings = Settings { image: "media:1".into(), ..Settings::default() };
        let mut sim = Self {
            world: World {
                namespace: NAMESPACE.into(),
                settings: Arc::new(settings),
                schema: trunkline_crds::SCHEMA,
                pools: BTreeMap::new(),
                trunks: BTreeMap::new(),
                agents: BTreeMap::new(),
                secrets: BTreeMap::new(),
                pods: BTreeMap::new(),
                polls: BTreeMap::new(),
                nodes: Some(BTreeMap::new()),
                objects: BTreeMap::new(),
                resolved: BTreeMap::new(),
                refused: BTreeMap::new(),
                rendered: BTreeMap::new(),
                status_written: BTreeMap::new(),
                fresh_token: RandomText(Zeroizing::new("t".repeat(43))),
                fresh_key: RandomText(Zeroizing::new("k".repeat(43))),
            },
            now: "2026-11-23T08:00:00Z".parse().unwrap(),
            serial: 0,
            calls: BTreeMap::new(),
            drained: BTreeMap::new(),
            good_images: BTreeSet::from(["media:1".into(), "media:2".into()]),
            room: true,
            validates: true,
            silent: BTreeSet::new(),
            stale: BTreeSet::new(),
            rejected: Vec::new(),
            options: None,
            connections: BTreeMap::new(),
            reaches_us: None,
            missed: BTreeSet::new(),
            deletions: Vec::new(),
            events: Vec::new(),
        };
        sim.node("node-a", "198.51.100.20");
        sim.node("node-b", "198.51.100.21");
        sim
    }

    /// A pool of so many pods with a certificate, one trunk, and the agent that answers it.
    pub(in crate::plan::tests) fn with_pool(replicas: i32) -> Self {
        let mut sim = Self::new();
        sim.secret("sip-cert", &[("tls.crt", "chain"), ("tls.key", "key")]);
        sim.secret("carrier-a", &[("username", "alice"), ("password", "hunter2")]);
        sim.pool(
            "default",
            json!({"replicas": replicas, "tls": {"certificateRef": {"name": "sip-cert"}}}),
        );
        sim.agent(
            "support",
            json!({"endpoint": {"webSocket": {
            "url": "wss://agents.example.com/ws", "dialect": "TwilioMediaStreams"}}}),
        );
        sim.trunk(
            "carrier-a",
            json!({
            "inbound": {"sources": ["203.0.113.0/24"], "authSecretRef": {"name": "carrier-a"}},
            "routes": [{"name": "all", "agentRef": {"name": "support"}}]}),
        );
        sim
    }

    fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn metadata(&mut self, name: &str, generation: i64) -> Value {
        let serial = self.serial();
        json!({"name": name, "namespace": NAMESPACE, "uid": format!("uid-{serial}"),
            "resourceVersion": serial.to_string(), "generation": generation,
            "creationTimestamp": self.now.to_string()})
    }

    /// Makes an object, or changes its spec.
    fn write<K: serde::de::DeserializeOwned + serde::Serialize>(
        &mut self,
        there: Option<&Arc<K>>,
        kind: &str,
        name: &str,
        spec: Value,
    ) -> Arc<K> {
        let mut object = match there {
            Some(there) => {
                let mut object = serde_json::to_value(&**there).unwrap();
                let generation = object["metadata"]["generation"].as_i64().unwrap();
                object["metadata"]["generation"] = json!(generation + 1);
                object["metadata"]["resourceVersion"] = json!(self.serial().to_string());
                object
            }
            None => json!({"apiVersion": trunkline_crds::API_VERSION, "kind": kind,
                "metadata": self.metadata(name, 1)}),
        };
        object["spec"] = spec;
        if !self.validates {
            return Arc::new(serde_json::from_value(object).unwrap());
        }
        let problems = trunkline_crds::validate::validate_object(&without_status(&object));
        assert!(problems.is_empty(), "{kind} {name}: {problems:?}");
        Arc::new(serde_json::from_value(object).unwrap())
    }

    pub(in crate::plan::tests) fn pool(&mut self, name: &str, spec: Value) {
        let there = self.world.pools.get(name).cloned();
        let pool: Arc<MediaPool> = self.write(there.as_ref(), "MediaPool", name, spec);
        self.world.pools.insert(name.into(), pool);
    }

    pub(in crate::plan::tests) fn trunk(&mut self, name: &str, spec: Value) {
        let there = self.world.trunks.get(name).cloned();
        let trunk: Arc<Trunk> = self.write(there.as_ref(), "Trunk", name, spec);
        self.world.trunks.insert(name.into(), trunk);
    }

    pub(in crate::plan::tests) fn agent(&mut self, name: &str, spec: Value) {
        let there = self.world.agents.get(name).cloned();
        let agent: Arc<Agent> = self.write(there.as_ref(), "Agent", name, spec);
        self.world.agents.insert(name.into(), agent);
    }

    /// Changes the pool `default`.
    pub(in crate::plan::tests) fn edit_pool(&mut self, change: impl FnOnce(&mut Value)) {
        let mut spec = serde_json::to_value(&self.world.pools["default"].spec).unwrap();
        change(&mut spec);
        self.pool("default", spec);
    }

    pub(in crate::plan::tests) fn scale(&mut self, replicas: i32) {
        self.edit_pool(|spec| spec["replicas"] = json!(replicas));
    }

    pub(in crate::plan::tests) fn image(&mut self, image: &str) {
        Arc::make_mut(&mut self.world.settings).image = image.into();
    }

    pub(in crate::plan::tests) fn secret(&mut self, name: &str, values: &[(&str, &str)]) {
        let metadata = self.metadata(name, 0);
        let values: BTreeMap<_, _> = values.iter().map(|(k, v)| ((*k).to_owned(), v)).collect();
        let mut secret: Secret = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        secret.data = Some(
            values
                .into_iter()
                .map(|(k, v)| (k, k8s_openapi::ByteString(v.as_bytes().to_vec())))
                .collect(),
        );
        self.world.secrets.insert(name.into(), Arc::new(secret));
    }

    pub(in crate::plan::tests) fn node(&mut self, name: &str, external_ip: &str) {
        let node = json!({"metadata": {"name": name}, "spec": {},
            "status": {
                "addresses": [{"type": "ExternalIP", "address": external_ip},
                    {"type": "InternalIP", "address": "10.0.0.5"}],
                "conditions": [{"type": "Ready", "status": "True",
                    "lastTransitionTime": self.now.to_string()}]}});
        let node: Node = serde_json::from_value(node).unwrap();
        self.nodes().insert(name.into(), Arc::new(node));
    }

    pub(in crate::plan::tests) fn nodes(&mut self) -> &mut BTreeMap<String, Arc<Node>> {
        self.world.nodes.as_mut().unwrap()
    }

    pub(in crate::plan::tests) fn node_ready(&mut self, name: &str, ready: bool) {
        let now = self.now;
        let Some(node) = self.nodes().get_mut(name) else { return };
        let status = Arc::make_mut(node).status.as_mut().unwrap();
        let condition = &mut status.conditions.as_mut().unwrap()[0];
        let word = if ready { "True" } else { "Unknown" };
        if condition.status != word {
            condition.status = word.into();
            condition.last_transition_time = Some(Time(now));
        }
    }

    fn is_node_ready(&self, name: &str) -> bool {
        let node = self.world.nodes.as_ref().unwrap().get(name);
        node.is_some_and(|node| {
            node.status.as_ref().unwrap().conditions.as_ref().unwrap()[0].status == "True"
        })
    }

    pub(in crate::plan::tests) fn cordon(&mut self, name: &str, cordoned: bool) {
        let Some(node) = self.nodes().get_mut(name) else { return };
        Arc::make_mut(node).spec.as_mut().unwrap().unschedulable = Some(cordoned);
    }

    pub(in crate::plan::tests) fn pod(&self, name: &str) -> &Pod {
        &self.world.pods[name]
    }

    pub(in crate::plan::tests) fn pod_names(&self) -> Vec<&str> {
        self.world.pods.keys().map(String::as_str).collect()
    }

    pub(in crate::plan::tests) fn annotation(&self, pod: &str, key: &str) -> Option<&str> {
        annotation(self.world.pods.get(pod)?, key)
    }

    pub(in crate::plan::tests) fn annotate(&mut self, pod: &str, key: &str, value: Option<&str>) {
        let serial = self.serial();
        let pod = Arc::make_mut(self.world.pods.get_mut(pod).unwrap());
        let annotations = pod.metadata.annotations.get_or_insert_default();
        match value {
            Some(value) => annotations.insert(key.into(), value.into()),
            None => annotations.remove(key),
        };
        pod.metadata.resource_version = Some(serial.to_string());
    }

    pub(in crate::plan::tests) fn draining(&self) -> Vec<&str> {
        let draining =
            self.world.pods.iter().filter(|(_, it)| annotation(it, names::DRAIN).is_some());
        draining.map(|(name, _)| name.as_str()).collect()
    }

    pub(in crate::plan::tests) fn running(&self) -> Vec<&str> {
        let up = |it: &&String| self.process_up(it);
        self.world.pods.keys().filter(up).map(String::as_str).collect()
    }

    fn process_up(&self, name: &str) -> bool {
        let status = self.world.pods.get(name).and_then(|it| it.status.as_ref());
        status.is_some_and(|it| it.phase.as_deref() == Some("Running"))
    }

    /// One plan, carried out.
    pub(in crate::plan::tests) fn pass(&mut self) -> Plan {
        let plan = plan::plan(&self.world, self.now);
        self.apply(&plan);
        plan
    }

    fn apply(&mut self, plan: &Plan) {
        if let Some(pool) = &plan.create_pool {
            let spec = serde_json::to_value(&pool.spec).unwrap();
            self.pool(pool.metadata.name.as_deref().unwrap(), spec);
        }
        for (name, pool) in &plan.pools {
            if let Some(rendered) = &pool.rendered {
                self.world.rendered.insert(name.clone(), rendered.clone());
            }
            for object in &pool.apply {
                self.apply_object(object);
            }
            for action in &pool.pods {
                self.change_pod(&action.name, &action.change);
                self.events.extend(action.event.iter().map(|it| it.reason));
            }
            for removal in &pool.delete {
                self.world.objects.remove(&removal.key);
            }
        }
        for patch in &plan.statuses {
            self.world.status_written.insert(patch.key(), self.now);
            self.events.extend(patch.events.iter().map(|it| it.reason));
            match &patch.status {
                Status::Trunk(name, status) => {
                    let it = self.world.trunks.get_mut(name).unwrap();
                    Arc::make_mut(it).status = Some((**status).clone());
                }
                Status::Agent(name, status) => {
                    let it = self.world.agents.get_mut(name).unwrap();
                    Arc::make_mut(it).status = Some((**status).clone());
                }
                Status::MediaPool(name, status) => {
                    let it = self.world.pools.get_mut(name).unwrap();
                    Arc::make_mut(it).status = Some((**status).clone());
                }
            }
        }
    }

    fn apply_object(&mut self, object: &Object) {
        let mut object = object.clone();
        let serial = self.serial().to_string();
        let there = self.world.objects.get(&object.key()).cloned();
        let uid = there.as_ref().and_then(|it| it.metadata().uid.clone());
        let metadata = object.metadata_mut();
        metadata.uid = uid.or(Some(format!("uid-{serial}")));
        metadata.resource_version = Some(serial);
        // Status and what the API server fills in stays.
        if let (Object::Service(new), Some(Object::Service(old))) = (&mut object, there.as_deref())
        {
            new.status = old.status.clone();
        }
        self.world.objects.insert(object.key(), Arc::new(object));
    }

    fn change_pod(&mut self, name: &str, change: &PodChange) {
        match change {
            PodChange::Create(pod) => {
                if self.world.pods.contains_key(name) {
                    return;
                }
                let serial = self.serial();
                let mut pod = (**pod).clone();
                pod.metadata.uid = Some(format!("uid-{serial}"));
                pod.metadata.resource_version = Some(serial.to_string());
                pod.metadata.creation_timestamp = Some(Time(self.now));
                pod.status =
                    Some(PodStatus { phase: Some("Pending".into()), ..Default::default() });
                self.world.pods.insert(name.into(), Arc::new(pod));
            }
            PodChange::Annotate { uid, annotations } => {
                assert_eq!(self.pod(name).metadata.uid.as_deref(), Some(uid.as_str()));
                for (key, value) in annotations {
                    self.annotate(name, key, value.as_deref());
                }
            }
            PodChange::Delete { uid, resource_version, grace_seconds } => {
                let pod = self.world.pods[name].clone();
                let metadata = &pod.metadata;
                assert_eq!(metadata.uid.as_deref(), Some(uid.as_str()));
                assert_eq!(metadata.resource_version.as_deref(), Some(resource_version.as_str()));
                let node = pod.spec.as_ref().unwrap().node_name.as_deref();
                let nodes = self.world.nodes.as_ref().unwrap();
                self.deletions.push(Deletion {
                    name: name.into(),
                    calls: self.calls.get(name).copied().unwrap_or(0),
                    process_up: self.process_up(name),
                    node_there: node.is_none_or(|it| nodes.contains_key(it)),
                    drain_started: annotation(&pod, names::DRAIN_STARTED)
                        .and_then(|it| it.parse().ok()),
                    at: self.now,
                });
                if *grace_seconds == Some(0) || !self.process_up(name) {
                    self.remove_pod(name);
                } else {
                    let now = self.now;
                    let pod = Arc::make_mut(self.world.pods.get_mut(name).unwrap());
                    pod.metadata.deletion_timestamp = Some(Time(now));
                }
            }
        }
    }

    pub(in crate::plan::tests) fn remove_pod(&mut self, name: &str) {
        if let Some(pod) = self.world.pods.remove(name) {
            self.world.polls.remove(pod.metadata.uid.as_deref().unwrap());
        }
        self.calls.remove(name);
        // As garbage collection does with what belongs to a pod that is gone.
        let uids: BTreeSet<_> =
            self.world.pods.values().filter_map(|it| it.metadata.uid.clone()).collect();
        let pools: BTreeSet<_> =
            self.world.pools.values().filter_map(|it| it.metadata.uid.clone()).collect();
        self.world.objects.retain(|_, it| {
            let owners = it.metadata().owner_references.as_ref().unwrap();
            owners.iter().any(|it| uids.contains(&it.uid) || pools.contains(&it.uid))
        });
    }

    pub(in crate::plan::tests) fn pass_time(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// A second of everybody's life.
    pub(in crate::plan::tests) fn tick(&mut self) -> Plan {
        self.pass_time(1);
        self.kubelet();
        self.pass()
    }

    pub(in crate::plan::tests) fn run_for(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.tick();
        }
    }

    /// Until nothing has been left to do for half a minute, looked at ever more seldom.
    pub(in crate::plan::tests) fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..2000 {
            let plan = self.tick();
            quiet = if plan.is_empty() { quiet + 1 } else { 0 };
            if quiet > 7 {
                return;
            }
            self.pass_time(quiet);
        }
        let plan = self.tick();
        panic!("never at rest: {plan:?}");
    }

    pub(in crate::plan::tests) fn condition(&self, kind: &str, name: &str, type_: &str) -> String {
        let conditions = match kind {
            "Trunk" => self.world.trunks[name].status.as_ref().map(|it| &it.conditions),
            "Agent" => self.world.agents[name].status.as_ref().map(|it| &it.conditions),
            _ => self.world.pools[name].status.as_ref().map(|it| &it.conditions),
        };
        let conditions = conditions.expect("a status was written");
        let it = conditions.iter().find(|it| it.type_ == type_).expect("the condition is there");
        format!("{} {}: {}", it.status, it.reason, it.message)
    }
}

pub(in crate::plan::tests) fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn without_status(object: &Value) -> Value {
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove("status");
    // The server's own fields are not a person's to write.
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| matches!(key.as_str(), "name" | "namespace"));
    object
}
