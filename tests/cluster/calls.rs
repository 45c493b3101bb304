//! From `helm install` and two manifests to calls: a carrier on the public network calls the address
//! that the Trunk's status says, over TLS and SRTP, and hears an agent in the cluster.

use std::time::Instant;

use serde_json::Value;
use trunkline_tests::certificate::Certificate;
use trunkline_tests::process::wait_until;

use crate::bed::{Cluster, SOON, run};
use crate::carrier::{
    assert_all_well, call, call_with, hang_up, refusal, result, softphone_hears_itself, talk,
};
use crate::manifests::{POD_NETWORK, TRUNK, bot, pool};
use crate::release::Release;

#[test]
fn two_manifests_bring_calls_to_both_nodes_and_a_certificate_rotated_meanwhile_is_not_noticed() {
    let release = Release::install(Cluster::shared(), "host-network", "privileged");
    let namespace = &release.namespace;
    let exposure = "{mode: HostNetwork, media: {portRange: {start: 20000, end: 20399}, portsPerPod: 100}, address: {source: NodeExternalIP}}";
    namespace.apply(&pool(exposure, 2)).expect("a MediaPool");
    namespace.apply(&bot("host-network")).expect("an Agent");
    namespace.apply(TRUNK).expect("a Trunk");
    let address = release.taking_calls("carrier-a");
    println!("what to enter at the carrier: {address}");
    assert!(address.starts_with("sips:203.0.113.1"), "{address}");
    namespace.wait_for("condition=Reachable", "agent/bot");
    let shown = namespace.kubectl(&["get", "trunk"]);
    assert!(shown.contains("taking calls"), "{shown}");
    namespace.wait_for("jsonpath={.status.readyReplicas}=2", "mediapool/default");

    let nodes = ["203.0.113.11:5061", "203.0.113.12:5061"];
    for (at, node) in nodes.iter().enumerate() {
        softphone_hears_itself(&release, &format!("softphone-{at}"), node);
    }
    let mut loads: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(at, target)| call(&release, &format!("load-{at}"), target, 5, 12))
        .collect();
    for load in &mut loads {
        load.wait_for_event("window-begin", 0, SOON);
    }
    // While they talk: a route, a Secret and the certificate change.
    let began = Instant::now();
    let route = r#"{"spec": {"routes": [{"name": "main", "agentRef": {"name": "bot"}}, {"name": "other", "numbers": ["+1555999*"], "agentRef": {"name": "bot"}}]}}"#;
    namespace.kubectl(&["patch", "trunk", "carrier-a", "--type=merge", "--patch", route]);
    programmed(&release);
    println!("a route: acknowledged by both nodes after {:?}", began.elapsed());
    let fresh = Certificate::make(&release.directory.join("fresh"));
    let began = Instant::now();
    let (key, public) = (fresh.key_file.display(), fresh.certificate_file.display());
    let secret = namespace.kubectl(&[
        "create",
        "secret",
        "tls",
        "sip-cert",
        "--dry-run=client",
        "-o=yaml",
        &format!("--key={key}"),
        &format!("--cert={public}"),
    ]);
    release
        .cluster
        .try_kubectl(&["--namespace=host-network", "replace", "--filename=-"], &secret)
        .expect("the Secret is there");
    for target in nodes {
        wait_until("a new connection gets the new certificate", SOON, || {
            is_trusted(&release, target, &fresh).then_some(())
        });
    }
    println!("a certificate: shown by both nodes after {:?}", began.elapsed());
    for load in loads {
        assert_all_well(&result(load), 5);
    }
    // New connections see the new certificate.
    let mut again = release;
    again.certificate = fresh;
    assert_all_well(&result(call(&again, "load-fresh", nodes[0], 2, 2)), 2);
}

/// Whether a TLS handshake with `target` succeeds under the authority of `certificate`.
pub(crate) fn is_trusted(release: &Release<'_>, target: &str, certificate: &Certificate) -> bool {
    let mut handshake = release.cluster.on("control", &["openssl", "s_client", "-brief"]);
    handshake.args(["-connect", target, "-servername", "localhost", "-verify_return_error"]);
    handshake.arg("-CAfile").arg(&certificate.ca_file);
    run(&mut handshake, "").is_ok()
}

/// Waits until the nodes have acknowledged the Trunk as it is now.
fn programmed(release: &Release<'_>) {
    wait_until("the nodes acknowledge the Trunk", SOON, || {
        let trunk = release.namespace.kubectl(&["get", "trunk", "carrier-a", "-o=json"]);
        let trunk: Value = serde_json::from_str(&trunk).ok()?;
        let generation = trunk.pointer("/metadata/generation")?.as_i64()?;
        let conditions = trunk.pointer("/status/conditions")?.as_array()?;
        let condition = conditions.iter().find(|it| it["type"] == "Programmed")?;
        (condition["status"] == "True" && condition["observedGeneration"].as_i64()? == generation)
            .then_some(())
    });
}

#[test]
fn a_pool_on_the_network_of_pods_takes_calls_at_a_pods_address() {
    let release = Release::install(Cluster::shared(), "pod-network", "baseline");
    let namespace = &release.namespace;
    let exposure = "{mode: PodNetwork, media: {portRange: {start: 20000, end: 20099}, portsPerPod: 100}, address: {source: PodIP}}";
    namespace.apply(&pool(exposure, 1)).expect("a MediaPool");
    namespace.apply(&bot("pod-network")).expect("an Agent");
    namespace.apply(TRUNK).expect("a Trunk");
    let address = release.taking_calls("carrier-a");
    println!("what to enter at the carrier: {address}");
    let target = release.address("default-0");
    assert_all_well(&result(call(&release, "load", &target, 3, 3)), 3);
    softphone_hears_itself(&release, "softphone", &target);
}

#[test]
fn calls_go_on_by_connections_to_a_pod_that_has_never_heard_of_them() {
    let release = Release::install(Cluster::shared(), "wrong-pod", "baseline");
    let namespace = &release.namespace;
    namespace.apply(&pool(POD_NETWORK, 2)).expect("a MediaPool");
    namespace.apply(&bot("wrong-pod")).expect("an Agent");
    namespace.apply(TRUNK).expect("a Trunk");
    release.taking_calls("carrier-a");
    for pod in ["default-0", "default-1"] {
        namespace.comes_up(&format!("pod/{pod}"));
        wait_until("the pods know of each other", SOON, || {
            namespace.kubectl(&["logs", pod]).contains("other nodes of the pool").then_some(())
        });
    }
    let (own, other) = (release.address("default-0"), release.address("default-1"));
    let there = ["--refresh", "--finish-at", &other];
    assert_all_well(&result(call_with(&release, "load", &own, 3, 3, &there)), 3);
}

#[test]
fn a_rollout_replaces_a_pod_whose_calls_go_on_to_their_own_end() {
    let release = Release::install(Cluster::shared(), "rollout", "baseline");
    let namespace = &release.namespace;
    let exposure = "{mode: PodNetwork, media: {portRange: {start: 20000, end: 20299}, portsPerPod: 100}, address: {source: PodIP}}";
    namespace.apply(&pool(exposure, 1)).expect("a MediaPool");
    namespace.apply(&bot("rollout")).expect("an Agent");
    namespace.apply(TRUNK).expect("a Trunk");
    release.taking_calls("carrier-a");
    let old = release.address("default-0");
    let talking = talk(&release, "talking", &old, 5);

    let smaller = r#"{"spec": {"resources": {"limits": {"memory": "256Mi"}}}}"#;
    namespace.kubectl(&["patch", "mediapool", "default", "--type=merge", "--patch", smaller]);
    wait_until("the old pod drains", SOON, || {
        let annotations = ["get", "pod", "default-0", "-o=jsonpath={.metadata.annotations}"];
        let annotations: Value = serde_json::from_str(&namespace.kubectl(&annotations)).ok()?;
        annotations.get("trunkline.dev/drain").map(drop)
    });
    // The new one takes calls before, and the old one refuses them from then on.
    assert_all_well(&result(call(&release, "new", &release.address("default-1"), 2, 2)), 2);
    let why = wait_until("the old pod refuses a call", SOON, || refusal(&release, &old));
    assert!(why.starts_with("503"), "{why}");
    assert_all_well(&hang_up(talking), 5);
    namespace.wait_for("delete", "pod/default-0");
}

#[test]
fn a_restricted_namespace_takes_pods_on_their_own_network_and_says_why_not_on_the_nodes() {
    let release = Release::install(Cluster::shared(), "restricted-pods", "baseline");
    let namespace = &release.namespace;
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    let label = ["label", "namespace", "restricted-pods", restricted, "--overwrite"];
    release.cluster.kubectl(&label);

    let exposure = "{mode: HostNetwork, media: {portRange: {start: 20000, end: 20099}, portsPerPod: 100}, address: {source: NodeExternalIP}}";
    let host = pool(exposure, 1).replace("name: default", "name: host");
    namespace.apply(&host).expect("a MediaPool");
    namespace.wait_for("condition=Accepted=false", "mediapool/host");
    let accepted = "-o=jsonpath={.status.conditions[?(@.type==\"Accepted\")]}";
    let accepted = namespace.kubectl(&["get", "mediapool", "host", accepted]);
    let accepted: Value = serde_json::from_str(&accepted).expect("a condition");
    assert_eq!(accepted["reason"], "PodSecurityForbidden", "{accepted}");
    let message = accepted["message"].as_str().unwrap_or_default();
    println!("{message}");
    assert!(message.contains("PodNetwork") || message.contains("pod-security"), "{message}");

    let exposure = "{mode: PodNetwork, media: {portRange: {start: 20000, end: 20099}, portsPerPod: 100}, address: {source: PodIP}}";
    namespace.apply(&pool(exposure, 1)).expect("a MediaPool");
    namespace.apply(&bot("restricted-pods")).expect("an Agent");
    namespace.apply(TRUNK).expect("a Trunk");
    release.taking_calls("carrier-a");
    assert_all_well(&result(call(&release, "load", &release.address("default-0"), 2, 2)), 2);
}
