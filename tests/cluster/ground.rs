//! The ground that the other tests stand on: pods on both nodes, the networks, images, Helm, rights,
//! and the end of it all.

use std::fs;
use std::process::Command;

use trunkline_tests::process::wait_until;

use crate::bed::{Cluster, SOON};

/// A web server on the network of each node.
const WEB: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: localhost/busybox:1
        command: [sh, -c, "mkdir /www && hostname >/www/index.html && exec httpd -f -p 8099 -h /www"]
        readinessProbe: {httpGet: {path: /, port: 8099}, periodSeconds: 1}
"#;

#[test]
fn pods_of_both_nodes_answer_the_outside_world_at_their_public_addresses() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("web");
    namespace.apply(WEB).expect("a DaemonSet");
    namespace.kubectl(&["rollout", "status", "daemonset/web", "--timeout=60s"]);
    for (node, address) in [("node-a", "203.0.113.11"), ("node-b", "203.0.113.12")] {
        let url = format!("http://{address}:8099/");
        let answer = cluster.on("control", &["curl", "-s", "--max-time", "5", &url]).output();
        let answer = answer.expect("curl is there").stdout;
        assert_eq!(String::from_utf8_lossy(&answer).trim(), node);
    }
}

#[test]
fn an_image_of_a_program_of_ours_runs_without_a_registry() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("image");
    cluster.load_program("localhost/load:1", &trunkline_tests::node::tool("load"));
    let run = ["run", "load", "--image=localhost/load:1", "--restart=Never", "--", "--help"];
    namespace.kubectl(&run);
    namespace.wait_for("jsonpath={.status.phase}=Succeeded", "pod/load");
    assert!(namespace.kubectl(&["logs", "load"]).contains("Usage: load"));
}

#[test]
fn a_restricted_namespace_refuses_a_pod_on_the_network_of_its_node() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("restricted");
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    namespace.kubectl(&["label", "namespace", "restricted", restricted]);
    let pod = r#"{apiVersion: v1, kind: Pod, metadata: {name: host}, spec: {hostNetwork: true, containers: [{name: c, image: "localhost/busybox:1"}]}}"#;
    // Admission hears of the label a moment later than we.
    let dry = ["--namespace=restricted", "create", "--dry-run=server", "--filename=-"];
    let refused = wait_until("the label counts", SOON, || cluster.try_kubectl(&dry, pod).err());
    assert!(refused.contains("violates PodSecurity \"restricted"), "{refused}");
    assert!(refused.contains("hostNetwork=true"), "{refused}");
}

#[test]
fn a_service_account_may_do_what_it_was_given_and_nothing_else() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("rights");
    let role = ["create", "role", "reader", "--verb=list", "--resource=trunks.trunkline.dev"];
    namespace.kubectl(&role);
    let binding = ["create", "rolebinding", "reader", "--role=reader"];
    namespace.kubectl(&[&binding[..], &["--serviceaccount=rights:default"]].concat());
    let as_account = "--as=system:serviceaccount:rights:default";
    let list = |resource: &str| {
        cluster.try_kubectl(&["get", resource, "--namespace=rights", as_account], "")
    };
    wait_until("it may list trunks", SOON, || list("trunks").ok());
    let refused = list("secrets").expect_err("nobody gave it Secrets");
    assert!(refused.contains("Forbidden"), "{refused}");
}

#[test]
fn nodes_without_a_machine_play_pods_by_the_hundred() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("played");
    let nodes: Vec<_> = (1..=5).map(played_node).collect();
    namespace.apply(&nodes.join("\n---\n")).expect("five nodes");
    namespace.apply(MANY).expect("a Deployment");
    namespace.kubectl(&["rollout", "status", "deployment/many", "--timeout=60s"]);
    cluster.kubectl(&["delete", "node", "--selector=type=kwok"]);
}

/// Tainted, or pods of other tests come to it and only seem to run.
fn played_node(nth: u32) -> String {
    format!(
        "{{apiVersion: v1, kind: Node, metadata: {{name: played-{nth}, labels: {{type: kwok}}}}, \
         spec: {{taints: [{{key: type, value: kwok, effect: NoSchedule}}]}}, \
         status: {{allocatable: {{cpu: 32, memory: 64Gi, pods: 110}}}}}}"
    )
}

const MANY: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: 200
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec:
      nodeSelector: {type: kwok}
      tolerations: [{key: type, operator: Exists}]
      containers: [{name: c, image: none}]
"#;

#[test]
fn helm_of_both_generations_installs_and_removes_a_chart() {
    let cluster = Cluster::shared();
    let chart = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let path = chart.path().join(name);
        fs::create_dir_all(path.parent().expect("it lies in the chart")).expect("writable");
        fs::write(path, text).expect("writable");
    };
    write("Chart.yaml", "apiVersion: v2\nname: tiny\nversion: 0.1.0\n");
    write(
        "templates/pod.yaml",
        r#"{apiVersion: v1, kind: Pod, metadata: {name: "{{ .Release.Name }}"}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: "localhost/busybox:1"}]}}"#,
    );
    let chart = chart.path().to_str().expect("a path of UTF-8");
    for helm in ["helm", "helm3"] {
        let namespace = cluster.namespace(helm);
        let there = ["--namespace", helm, "--wait", "--timeout=60s"];
        cluster.helm(helm, &[&["install", "tiny", chart], &there[..]].concat());
        assert_eq!(namespace.kubectl(&["get", "pod", "tiny", "-o=name"]).trim(), "pod/tiny");
        cluster.helm(helm, &[&["uninstall", "tiny"], &there[..]].concat());
        assert_eq!(namespace.kubectl(&["get", "pod", "-o=name"]), "");
    }
}

#[test]
fn a_cluster_survives_its_api_server_and_goes_with_its_owner() {
    let mut owner = Command::new("sleep").arg("600").spawn().expect("sleep is everywhere");
    let cluster = Cluster::start("owned", owner.id());
    cluster.signal("control", "kube-apiserver", "KILL");
    wait_until("the API server is back", SOON, || {
        cluster.try_kubectl(&["get", "--raw=/readyz"], "").ok()
    });

    owner.kill().expect("it sleeps");
    owner.wait().expect("it is ours");
    wait_until("the cluster has gone", 2 * SOON, || (!cluster.is_running()).then_some(()));
    let mut groups = Command::new("find");
    groups.args(["/sys/fs/cgroup", "-name", "trunkline-bed-owned"]);
    let left = groups.output().expect("find is everywhere").stdout;
    assert_eq!(String::from_utf8_lossy(&left), "");
}
