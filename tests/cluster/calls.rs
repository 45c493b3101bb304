//! From `helm install` and two manifests to calls: a carrier on the public network calls the address
//! that the Trunk's status says, over TLS and SRTP, and hears an agent in the cluster.

use std::time::{Duration, Instant};

use serde_json::Value;
use trunkline_tests::certificate::Certificate;
use trunkline_tests::node::tool;
use trunkline_tests::process::{Process, wait_until};

use crate::bed::{Cluster, SOON, run};
use crate::release::Release;

/// What the carrier is: `control` on the public network.
pub(crate) const TRUNK: &str = r#"
apiVersion: trunkline.dev/v1alpha1
kind: Trunk
metadata: {name: carrier-a}
spec:
  transport: TLS
  media: {encryption: Required}
  inbound: {sources: ["203.0.113.1/32", "10.99.0.1/32"]}
  routes:
  - {name: main, agentRef: {name: bot}}
"#;

pub(crate) fn bot(namespace: &str) -> String {
    format!(
        r#"
apiVersion: trunkline.dev/v1alpha1
kind: Agent
metadata: {{name: bot}}
spec:
  endpoint:
    webSocket: {{url: "ws://echo.{namespace}.svc:9000/echo", dialect: TwilioMediaStreams}}
  fallback: {{sipStatus: 480}}
"#
    )
}

fn pool(exposure: &str, replicas: u32) -> String {
    format!(
        r#"
apiVersion: trunkline.dev/v1alpha1
kind: MediaPool
metadata: {{name: default}}
spec:
  replicas: {replicas}
  exposure: {exposure}
  tls: {{certificateRef: {{name: sip-cert}}}}
  drain: {{timeoutSeconds: 60}}
  resources: {{requests: {{cpu: 250m, memory: 64Mi}}, limits: {{cpu: "1", memory: 512Mi}}}}
"#
    )
}

/// Calls `target` from the carrier, and holds the calls for `seconds`.
pub(crate) fn call(
    release: &Release<'_>,
    name: &str,
    target: &str,
    calls: u32,
    seconds: u32,
) -> Process {
    let load = tool("load");
    let mut command = release.cluster.on("control", &[load.to_str().expect("a path of UTF-8")]);
    command.args(["--target", target, "--local", local(target), "--calls", &calls.to_string()]);
    command.args(["--window", &seconds.to_string(), "--warm", "1"]);
    command.arg("--ca").arg(&release.certificate.ca_file);
    Process::start(name, command, &release.directory)
}

/// The carrier's address on the network of `target`.
fn local(target: &str) -> &'static str {
    if target.starts_with("203.0.113.") { "203.0.113.1" } else { "10.99.0.1" }
}

pub(crate) fn result(mut load: Process) -> Value {
    let result = load.wait_for_event("result", 0, Duration::from_secs(120));
    load.wait(Duration::from_secs(10));
    result
}

pub(crate) fn assert_all_well(result: &Value, calls: u64) {
    let number = |pointer: &str| result.pointer(pointer).and_then(Value::as_u64);
    assert_eq!(number("/answered"), Some(calls), "{result}");
    for wrong in ["/dropped", "/unanswered_byes", "/media/lost", "/media/bad", "/media/mute_calls"]
    {
        assert_eq!(number(wrong), Some(0), "{wrong}: {result}");
    }
    assert_eq!(number("/media/echoless_calls"), Some(0), "{result}");
}

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
    let shown = namespace.kubectl(&["get", "trunk"]);
    assert!(shown.contains("taking calls"), "{shown}");
    namespace.wait_for("jsonpath={.status.readyReplicas}=2", "mediapool/default");

    let nodes = ["203.0.113.11:5061", "203.0.113.12:5061"];
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
fn is_trusted(release: &Release<'_>, target: &str, certificate: &Certificate) -> bool {
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
    let pod = namespace.kubectl(&["get", "pod", "default-0", "-o=jsonpath={.status.podIP}"]);
    assert_all_well(&result(call(&release, "load", &format!("{pod}:5061"), 3, 3)), 3);
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
    let address = |pod: &str| {
        let ip = namespace.kubectl(&["get", "pod", pod, "-o=jsonpath={.status.podIP}"]);
        format!("{ip}:5061")
    };
    let old = address("default-0");
    let mut talking = call(&release, "talking", &old, 5, 40);
    talking.wait_for_event("window-begin", 0, SOON);

    let smaller = r#"{"spec": {"resources": {"limits": {"memory": "256Mi"}}}}"#;
    namespace.kubectl(&["patch", "mediapool", "default", "--type=merge", "--patch", smaller]);
    wait_until("the old pod drains", SOON, || {
        let annotations = ["get", "pod", "default-0", "-o=jsonpath={.metadata.annotations}"];
        let annotations: Value = serde_json::from_str(&namespace.kubectl(&annotations)).ok()?;
        annotations.get("trunkline.dev/drain").map(drop)
    });
    // The new one takes calls before, and the old one refuses them from then on.
    assert_all_well(&result(call(&release, "new", &address("default-1"), 2, 2)), 2);
    wait_until("the old pod refuses a call", SOON, || {
        let refused = result(call(&release, "late", &old, 1, 1));
        let failed = refused["failed"].as_object()?.keys().next()?.clone();
        failed.starts_with("503").then_some(())
    });
    assert!(talking.is_running(), "calls were talking all along: {}", talking.tail());
    assert_all_well(&result(talking), 5);
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
    let pod = namespace.kubectl(&["get", "pod", "default-0", "-o=jsonpath={.status.podIP}"]);
    assert_all_well(&result(call(&release, "load", &format!("{pod}:5061"), 2, 2)), 2);
}
