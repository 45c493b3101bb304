//! Every object as it is sent, in each mode of exposure.

use serde_json::{Value, json};

use super::sim::Sim;
use crate::plan::PodChange;
use crate::world::{Object, ObjectKind};

fn pool(mode: &str) -> Value {
    let exposure = match mode {
        "HostNetwork" => json!({"mode": mode}),
        "LoadBalancer" => json!({"mode": mode, "address": {"source": "LoadBalancer"},
            "media": {"portRange": {"start": 20000, "end": 20009}, "portsPerPod": 2},
            "service": {"annotations": {"example.com/lb": "udp"}, "loadBalancerClass": "example.com/lb"}}),
        _ => json!({"mode": mode, "address": {"source": "PodIP"}}),
    };
    json!({"replicas": 1, "exposure": exposure, "priorityClassName": "calls",
        "tls": {"certificateRef": {"name": "sip-cert"}},
        "placement": {"requirement": "Required", "nodeSelector": {"role": "media"},
            "tolerations": [{"key": "media", "operator": "Exists", "effect": "NoSchedule"}]}})
}

fn sim(mode: &str) -> Sim {
    let mut sim = Sim::with_pool(1);
    sim.world.pools.clear();
    sim.pool("default", pool(mode));
    sim.agent("support", json!({"region": "us-east1", "zone": "us-east1-b",
        "endpoint": {"webSocket": {"url": "wss://agents.example.com/ws", "dialect": "TwilioMediaStreams"}}}));
    sim
}

/// Secret values and the hash over them are no text to review.
fn shown(object: &Object) -> Value {
    let mut value = object.to_value();
    if object.kind() == ObjectKind::Secret {
        for (_, data) in value["data"].as_object_mut().unwrap() {
            *data = json!("[bytes]");
        }
        for (_, hash) in value["metadata"]["annotations"].as_object_mut().unwrap() {
            *hash = json!("[hash]");
        }
    }
    value
}

fn created(mode: &str) -> Value {
    let plan = sim(mode).pass();
    let action = &plan.pools["default"].pods[0];
    let PodChange::Create(pod) = &action.change else { panic!("{action:?}") };
    let mut pod = serde_json::to_value(pod).unwrap();
    pod["metadata"]["annotations"]["trunkline.dev/config-hash"] = json!("[hash]");
    pod
}

fn objects(mode: &str) -> Vec<Value> {
    let mut sim = sim(mode);
    sim.run_for(4);
    sim.world
        .objects
        .values()
        .map(|it| {
            let mut object = (**it).clone();
            object.metadata_mut().resource_version = None;
            object.metadata_mut().uid = None;
            shown(&object)
        })
        .collect()
}

#[test]
fn pod_on_the_host_network() {
    insta::assert_yaml_snapshot!(created("HostNetwork"));
}

#[test]
fn pod_behind_a_load_balancer() {
    insta::assert_yaml_snapshot!(created("LoadBalancer"));
}

#[test]
fn pod_on_the_pod_network() {
    insta::assert_yaml_snapshot!(created("PodNetwork"));
}

#[test]
fn objects_on_the_host_network() {
    insta::assert_yaml_snapshot!(objects("HostNetwork"));
}

#[test]
fn objects_behind_a_load_balancer() {
    insta::assert_yaml_snapshot!(objects("LoadBalancer"));
}

#[test]
fn objects_on_the_pod_network() {
    insta::assert_yaml_snapshot!(objects("PodNetwork"));
}

#[test]
fn pods_own_what_they_need_until_they_are_gone() {
    let mut sim = Sim::with_pool(2);
    sim.settle();
    for object in sim.world.objects.values() {
        let owners = object.metadata().owner_references.as_ref().unwrap();
        let kinds: Vec<_> = owners.iter().map(|it| it.kind.as_str()).collect();
        assert_eq!(kinds, ["MediaPool", "Pod", "Pod"], "{object:?}");
        assert!(owners.iter().all(|it| it.controller.is_none()));
    }
}

#[test]
fn what_a_user_edits_is_put_back_and_what_others_add_is_left() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    let key =
        |sim: &Sim, kind| sim.world.objects.keys().find(|it| it.kind == kind).unwrap().clone();
    let budget = key(&sim, ObjectKind::PodDisruptionBudget);
    let mut object = (*sim.world.objects[&budget]).clone();
    object.metadata_mut().labels.as_mut().unwrap().insert("team".into(), "voice".into());
    sim.world.objects.insert(budget.clone(), std::sync::Arc::new(object.clone()));
    assert!(sim.pass().is_empty(), "a label of somebody else");
    let Object::PodDisruptionBudget(it) = &mut object else { panic!("{object:?}") };
    it.spec.as_mut().unwrap().max_unavailable = None;
    sim.world.objects.insert(budget, std::sync::Arc::new(object));
    let plan = sim.pass();
    assert_eq!(plan.pools["default"].apply.len(), 1);
}

#[test]
fn a_service_that_nothing_needs_is_removed() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    sim.edit_pool(|spec| spec["exposure"]["sip"] = json!({"udp": 5060, "tcp": 0, "tls": 0}));
    let plan = sim.pass();
    let removed: Vec<_> =
        plan.pools["default"].delete.iter().map(|it| it.key.name.as_str()).collect();
    assert_eq!(removed, ["default-sip"]);
}

#[test]
fn the_revision_follows_what_a_running_pod_cannot_change() {
    let revision = |change: &dyn Fn(&mut Sim)| {
        let mut sim = Sim::with_pool(1);
        change(&mut sim);
        sim.settle();
        sim.world.pools["default"].status.clone().unwrap().current_revision.unwrap()
    };
    let same = revision(&|_| {});
    assert_eq!(revision(&|sim| sim.scale(2)), same);
    assert_eq!(
        revision(&|sim| sim.agent(
            "support",
            json!({"region": "eu-west1", "endpoint":
        {"webSocket": {"url": "wss://x.example/", "dialect": "TwilioMediaStreams"}}})
        )),
        same
    );
    assert_eq!(
        revision(&|sim| sim.secret("sip-cert", &[("tls.crt", "new"), ("tls.key", "new")])),
        same
    );
    assert_ne!(revision(&|sim| sim.image("media:2")), same);
    assert_ne!(
        revision(&|sim| sim.edit_pool(|it| it["exposure"]["sip"]["tls"] = json!(5071))),
        same
    );
    assert_ne!(
        revision(&|sim| sim.edit_pool(|it| it["drain"] = json!({"timeoutSeconds": 60}))),
        same
    );
}
