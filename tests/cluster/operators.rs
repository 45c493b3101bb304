//! Rows of `docs/failures.md` that hurt the operators of their release, and nobody else: one after the
//! other, on one release.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_tests::process::wait_until;

use crate::bed::{Cluster, SOON, run};
use crate::carrier::{assert_all_well, hang_up, talk_on};
use crate::release::Release;
use crate::row::{LATER, Row};

const NAME: &str = "operator-failures";

/// The release, for one test at a time.
fn release() -> (&'static Release<'static>, MutexGuard<'static, ()>) {
    static RELEASE: OnceLock<Release<'static>> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    (RELEASE.get_or_init(|| Release::install(Cluster::shared(), NAME, "privileged")), turn)
}

const OPERATORS: &str = "--selector=app.kubernetes.io/component=operator";

fn scale_operators(release: &Release<'_>, replicas: usize) {
    let deployment = format!("deployment/{NAME}");
    release.namespace.kubectl(&["scale", &deployment, &format!("--replicas={replicas}")]);
    wait_until("there are as many operators", SOON, || {
        let pods = release.namespace.kubectl(&["get", "pods", OPERATORS, "-o=name"]);
        (pods.lines().count() == replicas).then_some(())
    });
    operators_are_ready(release);
}

fn operators_are_ready(release: &Release<'_>) {
    let deployment = format!("deployment/{NAME}");
    let timeout = format!("--timeout={}s", LATER.as_secs());
    release.namespace.kubectl(&["rollout", "status", &deployment, &timeout]);
}

/// The pod that leads.
fn leader(release: &Release<'_>) -> String {
    let holder = "-o=jsonpath={.spec.holderIdentity}";
    let holder = release.namespace.kubectl(&["get", "lease", NAME, holder]);
    holder.split('_').next().unwrap_or_default().to_owned()
}

fn pod(release: &Release<'_>, name: &str) -> Value {
    let pod = release.namespace.kubectl(&["get", "pod", name, "-o=json"]);
    serde_json::from_str(&pod).expect("JSON")
}

#[test]
fn operator_down_all_replicas_calls_are_taken_and_lost_pods_replaced_when_it_is_back() {
    let (release, _turn) = release();
    let row = Row::start(release, "operator-down", 2);
    let talking = talk_on(release, row.name, &row.address(0), 2);
    scale_operators(release, 0);
    let before = row.pods();
    release.namespace.kubectl(&["delete", "pod", "operator-down-1"]);
    row.assert_takes_calls(0);
    assert_eq!(row.pods(), before[..1], "nobody replaces it");
    scale_operators(release, 2);
    wait_until("the lost pod is replaced", SOON, || {
        let pods = row.pods();
        (pods.len() == 2 && pods[0] == before[0] && pods[1] != before[1]).then_some(())
    });
    assert_all_well(&hang_up(talking), 2);
}

#[test]
fn leader_frozen_another_takes_over_and_the_old_one_exits_when_it_resumes() {
    let (release, _turn) = release();
    operators_are_ready(release);
    let old = leader(release);
    let object = pod(release, &old);
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).expect("there");
    let node = text("/spec/nodeName");
    let pid =
        release.cluster.pid_of_container(node, text("/status/containerStatuses/0/containerID"));
    let signal = |signal: &str| {
        run(&mut release.cluster.on(node, &["kill", signal, &pid]), "").expect("it runs");
    };
    let restarts =
        |object: &Value| object["status"]["containerStatuses"][0]["restartCount"].as_i64();
    let before = restarts(&object).expect("a number");
    signal("-STOP");
    let began = Instant::now();
    wait_until("another leads", SOON, || (leader(release) != old).then_some(()));
    let took = began.elapsed();
    signal("-CONT");
    println!("another led {took:?} after the leader was frozen");
    // A lease of 15 s, retries of 2 s, and what this machine takes to notice.
    assert!(took < Duration::from_secs(45), "{took:?}");
    wait_until("the old one has ended and begun again", SOON, || {
        (restarts(&pod(release, &old)) == Some(before + 1)).then_some(())
    });
    let said = release.namespace.kubectl(&["logs", &old, "--previous", "--tail=5"]);
    // Frozen for longer, its liveness probe may have ended it.
    let went = took > Duration::from_secs(20) || said.contains("the Lease is lost");
    assert!(went, "it was not killed, it went: {said}");
    assert_ne!(leader(release), old);
    operators_are_ready(release);
}

#[test]
fn operator_restarted_in_mid_rollout_the_next_one_goes_on_with_it() {
    let (release, _turn) = release();
    let row = Row::start(release, "mid-rollout", 2);
    let talking = talk_on(release, row.name, &row.address(0), 1);
    row.new_revision(r#"{"limits": {"memory": "300Mi"}}"#);
    wait_until("the first new pod is there", SOON, || (row.pods().len() == 3).then_some(()));
    release.namespace.kubectl(&["delete", "pod", OPERATORS, "--grace-period=0", "--force"]);
    let new = row.pods()[2].clone();
    operators_are_ready(release);
    row.wait_for_drain(0);
    assert_all_well(&hang_up(talking), 1);
    row.wait_for_reason("mediapool/mid-rollout", "Progressing", "UpToDate");
    let uid = |pod: &String| pod.split(' ').nth(1).map(str::to_owned);
    assert!(row.pods().iter().any(|it| uid(it) == uid(&new)), "what was made stayed");
}

#[test]
fn image_cannot_be_pulled_the_rollout_stops_and_old_pods_serve() {
    let (release, _turn) = release();
    let row = Row::start(release, "image-typo", 1);
    let before = row.pods();
    let image = |image: &str| {
        let arguments = "-o=jsonpath={.spec.template.spec.containers[0].args}";
        let deployment = format!("deployment/{NAME}");
        let arguments = release.namespace.kubectl(&["get", &deployment, arguments]);
        let arguments: Vec<String> = serde_json::from_str(&arguments).expect("texts");
        let at = arguments.iter().position(|it| it.starts_with("--media-image="));
        let path = format!("/spec/template/spec/containers/0/args/{}", at.expect("the chart's"));
        let patch =
            format!(r#"[{{"op": "replace", "path": "{path}", "value": "--media-image={image}"}}]"#);
        release.namespace.kubectl(&["patch", &deployment, "--type=json", "--patch", &patch]);
        operators_are_ready(release);
    };
    image("localhost/trunkline-media-node:typo");
    let words = row.wait_for_reason("mediapool/image-typo", "Progressing", "ImagePullBackOff");
    println!("{words}");
    assert!(words.contains("cannot pull image localhost/trunkline-media-node:typo"), "{words}");
    row.assert_takes_calls(0);
    image("localhost/trunkline-media-node:0.1.0");
    row.wait_for_reason("mediapool/image-typo", "Progressing", "UpToDate");
    // The kubelet may still be busy with the pod that never ran.
    wait_until("the old pod alone is left: it was right all along", SOON, || {
        (row.pods() == before).then_some(())
    });
}

#[test]
fn rbac_removed_for_nodes_only_the_addresses_of_nodes_suffer_and_the_condition_names_the_right() {
    let (release, _turn) = release();
    let row = Row::start(release, "no-nodes", 1);
    let cluster = release.cluster;
    // Two releases of one name may be in two namespaces: what is the cluster's has both in its name.
    let name = format!("{NAME}:{NAME}");
    let role = cluster.kubectl(&["get", "clusterrole", &name, "-o=json"]);
    let role: Value = serde_json::from_str(&role).expect("JSON");
    let rules = role["rules"].as_array().expect("a list");
    let grant = |rules: &[Value]| {
        let patch = json!({"rules": rules}).to_string();
        cluster.kubectl(&["patch", "clusterrole", &name, "--type=merge", "--patch", &patch]);
    };
    let of_nodes = |rule: &&Value| rule["resources"] == json!(["nodes"]);
    let others: Vec<Value> = rules.iter().filter(|it| !of_nodes(it)).cloned().collect();
    assert_eq!(others.len() + 1, rules.len(), "{rules:?}");
    grant(&others);
    // A watch that runs goes on; the next one is refused.
    release.namespace.kubectl(&["delete", "pod", OPERATORS]);
    operators_are_ready(release);

    let pool = crate::row::pool("by-node", 1)
        .replace("mode: PodNetwork", "mode: HostNetwork")
        .replace("source: PodIP", "source: NodeExternalIP");
    release.namespace.apply(&pool).expect("a MediaPool");
    let words = row.wait_for_reason("mediapool/by-node", "Ready", "AddressPending");
    println!("{words}");
    assert!(words.contains("allow it to list and watch nodes"), "{words}");
    release.namespace.kubectl(&["scale", "mediapool", row.name, "--replicas=2"]);
    let ready = "jsonpath={.status.readyReplicas}=2";
    release.namespace.wait_for(ready, "mediapool/no-nodes");
    row.assert_takes_calls(1);

    grant(rules);
    // Whether its pod finds a place beside those of other tests is another matter.
    wait_until("nodes are seen again", LATER, || {
        let ready = "-o=jsonpath={.status.conditions[?(@.type==\"Ready\")].message}";
        let words = release.namespace.kubectl(&["get", "mediapool", "by-node", ready]);
        (!words.contains("allow it to list and watch nodes")).then_some(())
    });
    release.namespace.kubectl(&["delete", "mediapool", "by-node"]);
}
