//! The definitions in a real API server: taken, explained, listed, scaled.

use serde_json::{Value, json};
use trunkline_tests::process::wait_until;

use crate::bed::{Cluster, SOON};

const DEFINITIONS: [&str; 3] =
    ["trunks.trunkline.dev", "agents.trunkline.dev", "mediapools.trunkline.dev"];

/// A trunk, its agent and its pool.
const OBJECTS: &str = r#"
apiVersion: trunkline.dev/v1alpha1
kind: Trunk
metadata: {name: carrier-a}
spec: {inbound: {sources: ["203.0.113.0/24"]}, routes: [{name: all, agentRef: {name: bot}}]}
---
apiVersion: trunkline.dev/v1alpha1
kind: Agent
metadata: {name: bot}
spec: {endpoint: {webSocket: {url: "wss://agents.example.com/ws", dialect: TwilioMediaStreams}}}
---
apiVersion: trunkline.dev/v1alpha1
kind: MediaPool
metadata: {name: default}
"#;

/// Words of a line as `kubectl get` aligns it.
fn columns(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect()
}

#[test]
fn the_api_server_takes_the_definitions_without_a_word() {
    let cluster = Cluster::shared();
    for name in DEFINITIONS {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        let (status, definition) = cluster.request("GET", &path, &Value::Null);
        assert_eq!(status, 200, "{definition}");
        let conditions = definition["status"]["conditions"].as_array().expect("conditions");
        for condition in conditions {
            // NonStructuralSchema, Terminating and the like are only there when something is wrong.
            let (kind, state) = (&condition["type"], &condition["status"]);
            let good = ["Established", "NamesAccepted"].iter().any(|known| kind == known);
            assert_eq!((good, state), (true, &json!("True")), "{name}: {condition}");
        }
    }
}

#[test]
fn every_field_that_a_user_writes_is_explained() {
    let cluster = Cluster::shared();
    let outbound = cluster.kubectl(&["explain", "trunk.spec.outbound"]);
    for words in ["KIND:       Trunk", "FIELD: outbound <Object>", "addresses", "authSecretRef"] {
        assert!(outbound.contains(words), "{words:?} is not in:\n{outbound}");
    }
    for kind in ["trunk", "agent", "mediapool"] {
        // Two lines without a description are a field and the blank line after it.
        let all = cluster.kubectl(&["explain", "--recursive=false", &format!("{kind}.spec")]);
        assert!(!all.contains("<no description>"), "{all}");
    }
}

#[test]
fn objects_are_listed_by_their_names_with_the_sentence_that_matters() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("listed");
    namespace.apply(OBJECTS).expect("three good objects");
    let sentence = "Register 203.0.113.11:5061 at the carrier";
    for (kind, status) in [
        ("trunk/carrier-a", json!({"address": "203.0.113.11:5061", "activeCalls": 3})),
        ("agent/bot", json!({"activeCalls": 3})),
        ("mediapool/default", json!({"activeCalls": 3, "capacityCalls": 100, "replicas": 1})),
    ] {
        let mut status = status;
        status["conditions"] = json!([{"type": "Ready", "status": "False", "reason": "Waiting",
            "message": sentence, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let patch = json!({ "status": status }).to_string();
        namespace.kubectl(&["patch", kind, "--subresource=status", "--type=merge", "-p", &patch]);
    }

    let trunks = namespace.kubectl(&["get", "trunk"]);
    let lines: Vec<_> = trunks.lines().map(columns).collect();
    assert_eq!(lines[0], ["NAME", "READY", "STATUS", "ADDRESS", "CALLS", "AGE"]);
    assert_eq!(lines[1][..5], ["carrier-a", "False", sentence, "203.0.113.11:5061", "3"]);
    let agents = namespace.kubectl(&["get", "vagent"]);
    assert_eq!(
        columns(agents.lines().next().expect("a head")),
        ["NAME", "READY", "STATUS", "REGION", "CALLS", "AGE"]
    );
    let pools = namespace.kubectl(&["get", "mpool"]);
    assert_eq!(
        columns(pools.lines().next().expect("a head")),
        ["NAME", "READY", "REPLICAS", "DESIRED", "DRAINING", "CALLS", "CAPACITY", "AGE"]
    );
    let all = namespace.kubectl(&["get", "trunkline", "--output=name"]);
    let mut all: Vec<_> = all.lines().collect();
    all.sort_unstable();
    assert_eq!(
        all,
        [
            "agent.trunkline.dev/bot",
            "mediapool.trunkline.dev/default",
            "trunk.trunkline.dev/carrier-a"
        ]
    );
}

#[test]
fn a_pool_written_without_a_spec_can_be_scaled() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("scaled");
    namespace.apply(OBJECTS).expect("three good objects");
    namespace.kubectl(&["scale", "mediapool/default", "--replicas=3"]);
    let replicas =
        namespace.kubectl(&["get", "mediapool/default", "--output=jsonpath={.spec.replicas}"]);
    assert_eq!(replicas, "3");
}

#[test]
fn what_cannot_be_changed_is_refused_with_what_to_do_instead() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("unchanged");
    namespace.apply(OBJECTS).expect("three good objects");
    let mode = r#"{"spec": {"exposure": {"mode": "PodNetwork"}}}"#;
    let patch = ["patch", "mediapool/default", "--type=merge", "--patch", mode];
    let there = [&["--namespace", "unchanged"], &patch[..]].concat();
    let refused = cluster.try_kubectl(&there, "").expect_err("the mode stays");
    assert!(
        refused.contains("spec.exposure.mode")
            && refused.contains("make a new MediaPool with the other mode"),
        "{refused}"
    );
}

#[test]
fn status_is_not_written_with_the_spec() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("status");
    namespace
        .apply(&OBJECTS.replace("spec: {inbound", "status: {activeCalls: 7}\nspec: {inbound"))
        .expect("status is passed over");
    let calls = namespace.kubectl(&["get", "trunk", "carrier-a", "-o=jsonpath={.status}"]);
    assert_eq!(calls, "");
}

#[test]
fn an_object_goes_at_once_with_no_operator_there() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("deleted");
    namespace.apply(OBJECTS).expect("three good objects");
    namespace.kubectl(&["delete", "trunkline", "--all", "--timeout=10s"]);
    wait_until("nothing of ours is left", SOON, || {
        namespace.kubectl(&["get", "trunkline", "-o=name"]).is_empty().then_some(())
    });
}
