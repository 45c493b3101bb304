//! Addresses, in each mode and from each source.

use std::sync::Arc;

use serde_json::{Value, json};

use super::sim::Sim;
use crate::names;
use crate::world::{Object, ObjectKey, ObjectKind};

fn ingress(sim: &mut Sim, service: &str, ingress: Value) {
    let key = ObjectKey { kind: ObjectKind::Service, name: service.into() };
    let Object::Service(mut it) = (*sim.world.objects[&key]).clone() else { panic!("a Service") };
    it.status = serde_json::from_value(json!({"loadBalancer": {"ingress": ingress}})).unwrap();
    sim.world.objects.insert(key, Arc::new(Object::Service(it)));
}

fn addresses(sim: &Sim) -> Vec<String> {
    let status = sim.world.pools["default"].status.clone().unwrap();
    let say = |it: &trunkline_crds::media_pool::PoolAddressStatus| match it.port {
        Some(port) => format!("{} {}:{port}", it.type_, it.value),
        None => format!("{} {}", it.type_, it.value),
    };
    status.addresses.iter().map(say).collect()
}

fn trunk_address(sim: &Sim) -> Option<String> {
    sim.world.trunks["carrier-a"].status.as_ref().unwrap().address.clone()
}

#[test]
fn each_pod_tells_its_nodes_external_address() {
    let mut sim = Sim::with_pool(2);
    sim.settle();
    assert_eq!(sim.annotation("default-0", names::ADDRESS), Some("198.51.100.20"));
    assert_eq!(sim.annotation("default-1", names::ADDRESS), Some("198.51.100.21"));
    assert_eq!(
        addresses(&sim),
        [
            "SIP 198.51.100.20:5061",
            "SIP 198.51.100.21:5061",
            "Media 198.51.100.20",
            "Media 198.51.100.21"
        ]
    );
    assert_eq!(trunk_address(&sim).as_deref(), Some("sips:198.51.100.20:5061 (+1)"));
}

#[test]
fn one_address_a_family_is_told() {
    let mut sim = Sim::with_pool(1);
    for node in ["node-a", "node-b"] {
        let node = Arc::make_mut(sim.nodes().get_mut(node).unwrap());
        node.status.as_mut().unwrap().addresses = serde_json::from_value(json!([
            {"type": "ExternalIP", "address": "198.51.100.20"},
            {"type": "ExternalIP", "address": "2001:db8::20"},
            {"type": "ExternalIP", "address": "198.51.100.99"}]))
        .unwrap();
    }
    sim.settle();
    assert_eq!(sim.annotation("default-0", names::ADDRESS), Some("198.51.100.20,2001:db8::20"));
    let status = sim.world.trunks["carrier-a"].status.clone().unwrap();
    assert_eq!(status.addresses, ["sips:198.51.100.20:5061", "sips:[2001:db8::20]:5061"]);
}

#[test]
fn without_an_external_address_the_internal_one_is_told_and_said() {
    let mut sim = Sim::with_pool(1);
    for node in ["node-a", "node-b"] {
        let node = Arc::make_mut(sim.nodes().get_mut(node).unwrap());
        node.status.as_mut().unwrap().addresses =
            serde_json::from_value(json!([{"type": "InternalIP", "address": "10.0.0.5"}])).unwrap();
    }
    sim.settle();
    let accepted = sim.condition("MediaPool", "default", "Accepted");
    assert!(accepted.contains("has no ExternalIP"), "{accepted}");
    let reachable = sim.condition("Trunk", "carrier-a", "Reachable");
    assert!(
        reachable.starts_with("False PrivateAddress: 203.0.113.0/24 is a public network"),
        "{reachable}"
    );
    let ready = sim.condition("Trunk", "carrier-a", "Ready");
    assert!(ready.starts_with("True Ready: taking calls, but 203.0.113.0/24"), "{ready}");
}

#[test]
fn without_the_right_to_see_nodes_the_missing_right_is_named() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    let (mut blind, pods) = (Sim::with_pool(1), sim.world.pods.clone());
    blind.run_for(3);
    let nodes = blind.world.nodes.take();
    blind.world.pods = pods;
    for pod in blind.world.pods.values_mut() {
        let pod = Arc::make_mut(pod);
        pod.metadata.annotations.as_mut().unwrap().remove(names::ADDRESS);
        pod.status.as_mut().unwrap().conditions = None;
        let owner = &mut pod.metadata.owner_references.as_mut().unwrap()[0];
        owner.uid = blind.world.pools["default"].metadata.uid.clone().unwrap();
    }
    blind.pass();
    let ready = blind.condition("MediaPool", "default", "Ready");
    assert!(
        ready.starts_with("False AddressPending") && ready.contains("list and watch nodes"),
        "{ready}"
    );
    blind.world.nodes = nodes;
    blind.settle();
}

#[test]
fn static_addresses_stand_in_the_configuration_alone() {
    let mut sim = Sim::with_pool(1);
    sim.edit_pool(|spec| {
        spec["exposure"]["address"] = json!({"source": "Static", "static": ["192.0.2.10"]});
    });
    sim.settle();
    assert_eq!(sim.annotation("default-0", names::ADDRESS), None);
    assert_eq!(addresses(&sim), ["SIP 192.0.2.10:5061", "Media 192.0.2.10"]);
}

#[test]
fn behind_load_balancers_sip_and_media_have_addresses_of_their_own() {
    let mut sim = Sim::with_pool(0);
    sim.world.pools.clear();
    sim.pool(
        "default",
        json!({"replicas": 1, "exposure": {"mode": "LoadBalancer",
        "media": {"portRange": {"start": 20000, "end": 20009}, "portsPerPod": 2},
        "address": {"source": "LoadBalancer"}}}),
    );
    sim.run_for(3);
    let waits_for = |sim: &Sim, service: &str| {
        let ready = sim.condition("MediaPool", "default", "Ready");
        let words = format!("the load balancer of Service {service} has no address yet");
        assert!(ready.starts_with("False AddressPending") && ready.contains(&words), "{ready}");
        assert!(sim.condition("Trunk", "carrier-a", "Ready").starts_with("False NoPods"));
    };
    waits_for(&sim, "default-sip");
    ingress(&mut sim, "default-sip", json!([{"ip": "198.51.100.1"}]));
    sim.run_for(3);
    assert_eq!(sim.annotation("default-0", names::SIP_ADDRESS), Some("198.51.100.1"));
    waits_for(&sim, "default-0");
    ingress(&mut sim, "default-0", json!([{"hostname": "lb.example.net"}]));
    let plan = sim.pass();
    assert_eq!(plan.resolve.iter().collect::<Vec<_>>(), ["lb.example.net"]);
    sim.world.resolved.insert("lb.example.net".into(), vec!["198.51.100.2".parse().unwrap()]);
    sim.settle();
    assert_eq!(sim.annotation("default-0", names::ADDRESS), Some("198.51.100.2"));
    assert_eq!(sim.annotation("default-0", names::SIP_ADDRESS), Some("198.51.100.1"));
    assert_eq!(addresses(&sim), ["SIP 198.51.100.1:5061", "Media 198.51.100.2"]);
    assert_eq!(trunk_address(&sim).as_deref(), Some("sips:198.51.100.1:5061"));
}

#[test]
fn a_source_that_does_not_fit_the_mode_is_refused_with_what_to_write() {
    let cases = [
        ("LoadBalancer", "NodeExternalIP", "write exposure.address.source: LoadBalancer or Static"),
        ("PodNetwork", "NodeExternalIP", "write exposure.address.source: PodIP or Static"),
        ("HostNetwork", "LoadBalancer", "write exposure.address.source: NodeExternalIP"),
    ];
    for (mode, source, write) in cases {
        let mut sim = Sim::new();
        sim.pool("default", json!({"exposure": {"mode": mode, "address": {"source": source}}}));
        let plan = sim.pass();
        assert!(plan.pools["default"].pods.is_empty(), "{mode}");
        let accepted = sim.condition("MediaPool", "default", "Accepted");
        assert!(accepted.starts_with("False Invalid") && accepted.contains(write), "{accepted}");
    }
}

#[test]
fn a_load_balancer_takes_neither_a_thousand_ports_nor_plain_sip() {
    let mut sim = Sim::with_pool(0);
    sim.world.pools.clear();
    let pool = |ports: i32| {
        json!({"exposure": {"mode": "LoadBalancer",
        "media": {"portsPerPod": ports}, "address": {"source": "LoadBalancer"}}})
    };
    sim.pool("default", pool(1000));
    sim.pass();
    let accepted = sim.condition("MediaPool", "default", "Accepted");
    assert!(accepted.contains("portsPerPod: 2 to 100, two for each call"), "{accepted}");
    sim.pool("default", pool(4));
    sim.trunk("plain", json!({"transport": "UDP", "inbound": {"sources": ["192.0.2.0/24"]}}));
    sim.pass();
    let accepted = sim.condition("Trunk", "plain", "Accepted");
    assert!(
        accepted.starts_with("False Invalid") && accepted.contains("transport: TLS"),
        "{accepted}"
    );
}
