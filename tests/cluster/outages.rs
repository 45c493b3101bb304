//! Rows of `docs/failures.md` that hurt the whole cluster, and the largest configuration: one after the
//! other, on a cluster of their own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_tests::process::wait_until;

use crate::bed::{Cluster, SOON};
use crate::carrier::{assert_all_well, call, hang_up, result, talk_on};
use crate::release::Release;
use crate::rights::{Request, requests};
use crate::row::{LATER, Row};

/// A cluster that may be hurt, for one test at a time. It ends with the program.
fn cluster() -> MutexGuard<'static, Option<&'static Cluster>> {
    static CLUSTER: Mutex<Option<&'static Cluster>> = Mutex::new(None);
    let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    cluster.get_or_insert_with(|| {
        let started = Cluster::start_apart("outages");
        started.install_definitions();
        Box::leak(Box::new(started))
    });
    cluster
}

/// A program that stands still until this goes, however the test ends.
struct Frozen<'a> {
    cluster: &'a Cluster,
    machine: String,
    program: &'static str,
}

impl<'a> Frozen<'a> {
    fn new(cluster: &'a Cluster, machine: &str, program: &'static str) -> Self {
        cluster.signal(machine, program, "STOP");
        Self { cluster, machine: machine.to_owned(), program }
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let going_on = self.cluster.try_signal(&self.machine, self.program, "CONT");
        if let Err(error) = going_on {
            eprintln!("{} of {} stands still: {error}", self.program, self.machine);
        }
    }
}

#[test]
fn api_server_down_calls_go_on_new_ones_are_taken_and_no_pod_is_touched_afterwards() {
    let turn = cluster();
    let cluster = turn.expect("it was started");
    let release = Release::install(cluster, "api-down", "baseline");
    let row = Row::start(&release, "api-down", 2);
    let (pods, targets) = (row.pods(), [row.address(0), row.address(1)]);
    let talking = talk_on(&release, "talking", &targets[0], 3);

    let frozen = Frozen::new(cluster, "control", "kube-apiserver");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(25) {
        for target in &targets {
            assert_all_well(&result(call(&release, "during", target, 1, 1)), 1);
        }
    }
    drop(frozen);
    // A change is obeyed again, and that was all that waited.
    wait_until("the API server answers", SOON, || {
        cluster.try_kubectl(&["get", "--raw=/readyz"], "").ok()
    });
    let route = r#"{"spec": {"routes": [{"name": "again", "agentRef": {"name": "api-down"}}]}}"#;
    let patch = ["patch", "trunk", row.name, "--type=merge", "--patch", route];
    release.namespace.kubectl(&patch);
    release.namespace.kubectl(&[
        "wait",
        "--for=jsonpath={.status.observedGeneration}=2",
        "trunk/api-down",
        &format!("--timeout={}s", LATER.as_secs()),
    ]);
    assert_all_well(&hang_up(talking), 3);
    assert_eq!(row.pods(), pods, "the same pods, none restarted");
}

#[test]
fn node_lost_its_pod_is_replaced_after_20_s_and_drained_not_killed_when_the_node_returns() {
    let turn = cluster();
    let cluster = turn.expect("it was started");
    let release = Release::install(cluster, "node-lost", "baseline");
    let row = Row::start(&release, "node-lost", 2);
    let node = |slot: u32| {
        let pod = format!("node-lost-{slot}");
        release.namespace.kubectl(&["get", "pod", &pod, "-o=jsonpath={.spec.nodeName}"])
    };
    let lost = node(0);
    let talking = talk_on(&release, "talking", &row.address(0), 2);
    let frozen = Frozen::new(cluster, &lost, "kubelet");
    let began = Instant::now();
    // What the controller of nodes says after 50 s of silence.
    let patch = json!({"status": {"conditions": [{
        "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
        "lastTransitionTime": now(cluster),
    }]}});
    let patch = ["patch", "node", &lost, "--subresource=status", "--patch", &patch.to_string()];
    cluster.kubectl(&patch);
    wait_until("a replacement is made", LATER, || (row.pods().len() >= 3).then_some(()));
    println!("replaced {:?} after the node was lost", began.elapsed());
    assert!(began.elapsed() > Duration::from_secs(18), "a hiccup is no loss");

    drop(frozen);
    cluster.kubectl(&["wait", "--for=condition=Ready", &format!("node/{lost}"), "--timeout=60s"]);
    row.wait_for_drain(0);
    // Media does not need the kubelet.
    assert_all_well(&hang_up(talking), 2);
    let gone = format!("--timeout={}s", LATER.as_secs());
    release.namespace.kubectl(&["wait", "--for=delete", "pod/node-lost-0", &gone]);
}

/// The time as the API writes it.
fn now(cluster: &Cluster) -> String {
    let date = cluster.on("control", &["date", "-u", "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8_lossy(&date.expect("date is everywhere").stdout).trim().to_owned()
}

#[test]
fn old_crd_with_new_operator_it_refuses_to_render_explains_and_leaves_calls_alone() {
    let turn = cluster();
    let cluster = turn.expect("it was started");
    let release = Release::install(cluster, "old-crd", "baseline");
    let row = Row::start(&release, "old-crd", 1);
    let config = || {
        let config = ["get", "secret", "old-crd-media-config", "-o=jsonpath={.data}"];
        release.namespace.kubectl(&config)
    };
    let (before, pods) = (config(), row.pods());
    let annotation = "-o=jsonpath={.metadata.annotations.trunkline\\.dev/schema}";
    let schema = cluster.kubectl(&["get", "crd", "trunks.trunkline.dev", annotation]);
    let set = |schema: &str| {
        let schema = format!("trunkline.dev/schema={schema}");
        cluster.kubectl(&["annotate", "crd", "trunks.trunkline.dev", &schema, "--overwrite"]);
    };
    set("0");
    // Read every five minutes while all is well, and at the start.
    let operators = "--selector=app.kubernetes.io/component=operator";
    release.namespace.kubectl(&["delete", "pod", operators]);
    let note = wait_until("an event explains", SOON, || {
        let events = ["get", "events", "--field-selector=reason=DefinitionsTooOld"];
        let note = "-o=jsonpath={.items[0].message}";
        let note = release.namespace.try_kubectl(&[&events[..], &[note]].concat()).ok()?;
        (!note.is_empty()).then_some(note)
    });
    println!("{note}");
    assert!(
        note.contains("calls go on as they are") && note.contains("crds.enabled=true"),
        "{note}"
    );
    let route = r#"{"spec": {"routes": [{"name": "other", "agentRef": {"name": "old-crd"}}]}}"#;
    let patch = ["patch", "trunk", row.name, "--type=merge", "--patch", route];
    release.namespace.kubectl(&patch);
    let ready = "-o=jsonpath={.items[*].status.containerStatuses[0].ready}";
    let ready = release.namespace.kubectl(&["get", "pods", operators, ready]);
    assert!(!ready.contains("true"), "no operator says that it can work: {ready}");
    row.assert_takes_calls(0);
    assert!(config() == before, "the pods were told something");

    set(&schema);
    wait_until("the change is obeyed", SOON, || (config() != before).then_some(()));
    assert_eq!(row.pods(), pods);
}

const TRUNKS: usize = 5_000;
const AGENTS: usize = 500;
/// Requests to the API server at once, for the objects.
const CONCURRENT: usize = 16;

#[test]
fn five_thousand_trunks_applied_at_once_are_one_bounded_render() {
    let turn = cluster();
    let cluster = turn.expect("it was started");
    let release = Release::install(cluster, "large", "baseline");
    let _row = Row::start(&release, "large", 1);
    let namespace = "/namespaces/large";
    let api = format!("/apis/trunkline.dev/v1alpha1{namespace}");

    let began = Instant::now();
    create(cluster, TRUNKS, |n| (format!("/api/v1{namespace}/secrets"), secret(n)));
    create(cluster, AGENTS, |n| (format!("{api}/agents"), agent(n)));
    println!("{TRUNKS} Secrets and {AGENTS} Agents: {:?}", began.elapsed());
    let trunks = Instant::now();
    create(cluster, TRUNKS, |n| (format!("{api}/trunks"), large_trunk(n)));
    println!("{TRUNKS} Trunks: {:?}", trunks.elapsed());

    let (applied, since) = (Instant::now(), now(cluster));
    let config = wait_until("a media pod has loaded them all", LATER, || {
        let log = release.namespace.kubectl(&["logs", "large-0", "--tail=3"]);
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let last = lines.rfind(|it| it["trunks"].is_u64())?;
        let all = last["trunks"].as_u64()? == TRUNKS as u64 + 1;
        all.then(|| last["hash"].as_str().unwrap_or_default().to_owned())
    });
    let loaded = applied.elapsed();
    let hash = ["get", "secret", "large-media-config", "-o=jsonpath={.metadata.annotations}"];
    assert!(release.namespace.kubectl(&hash).contains(&config), "a configuration of before");
    // Statuses are written at a bounded pace, and on a busy machine at its own.
    let last = format!("trunk/t-{:04}", TRUNKS - 1);
    let timeout = format!("--timeout={}s", 4 * LATER.as_secs());
    release.namespace.kubectl(&["wait", "--for=condition=Programmed", &last, &timeout]);
    println!(
        "acknowledged by a pod {loaded:?} after the last was applied (target: 10 s, without the \
         optimiser's help here), said of the last after {:?}",
        applied.elapsed()
    );

    let packed = ["get", "secret", "large-media-config", "-o=jsonpath={.data}"];
    let packed: Value = serde_json::from_str(&release.namespace.kubectl(&packed)).expect("JSON");
    let len = packed["manifests.json.gz"].as_str().map_or(0, |it| it.len() / 4 * 3);
    println!("gzipped: {len} of {} bytes", 1 << 20);
    assert!(len > 0 && len < 900 << 10, "{len}");

    // Until the last status is written, and for a minute more.
    let account = "system:serviceaccount:large:large";
    let (mut written, mut since_written) = (usize::MAX, (Instant::now(), now(cluster)));
    wait_until("a minute has passed without a status", 2 * LATER, || {
        let asked = requests(cluster, account);
        let statuses = asked.iter().filter(|it| it.resource.contains("/status")).count();
        if statuses != written {
            (written, since_written) = (statuses, (Instant::now(), now(cluster)));
        }
        (since_written.0.elapsed() > Duration::from_secs(60)).then_some(())
    });
    let asked = requests(cluster, account);
    let renders = |it: &&Request| it.verb == "patch" && it.resource == "secrets" && it.at > since;
    let renders = asked.iter().filter(renders).count();
    // Eleven watches of two operators begin anew every five minutes: five more a minute.
    let rest = asked.iter().filter(|it| it.at > since_written.1 && it.verb != "watch").count() + 5;
    println!(
        "{renders} renders after the last was applied; {written} statuses written, the last {:?} \
         after it; {rest} requests in a minute of rest",
        applied.elapsed().saturating_sub(since_written.0.elapsed())
    );
    assert!((1..=3).contains(&renders), "one, and what was under way");
    assert!(rest <= 30, "{rest} requests");
    for (pod, memory) in operators_memory(&release) {
        println!("{pod}: {} MiB at most", memory >> 10);
        assert!(memory < 150 << 10, "{pod}: {memory} KiB");
    }
}

/// The most memory that each operator has held, in KiB.
fn operators_memory(release: &Release<'_>) -> Vec<(String, u64)> {
    let operators = "--selector=app.kubernetes.io/component=operator";
    let pods = release.namespace.kubectl(&["get", "pods", operators, "-o=json"]);
    let pods: Value = serde_json::from_str(&pods).expect("JSON");
    let memory = |pod: &Value| {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).expect("there");
        let (node, id) = (text("/spec/nodeName"), text("/status/containerStatuses/0/containerID"));
        let pid = release.cluster.pid_of_container(node, id);
        let status = release.cluster.on(node, &["cat", &format!("/proc/{pid}/status")]).output();
        let status = String::from_utf8_lossy(&status.expect("it runs").stdout).into_owned();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|it| it.split_ascii_whitespace().next()?.parse().ok());
        (text("/metadata/name").to_owned(), peak.expect("KiB"))
    };
    pods["items"].as_array().expect("a list").iter().map(memory).collect()
}

/// Creates so many objects, each at its path.
fn create(cluster: &Cluster, count: usize, object: impl Fn(usize) -> (String, Value) + Sync) {
    let object = &object;
    thread::scope(|scope| {
        for first in 0..CONCURRENT {
            scope.spawn(move || {
                for n in (first..count).step_by(CONCURRENT) {
                    let (path, object) = object(n);
                    let (status, answer) = cluster.request("POST", &path, &object);
                    assert_eq!(status, 201, "{answer}");
                }
            });
        }
    });
}

fn secret(n: usize) -> Value {
    // Not the same twice, or gzip would have it easy.
    let password = format!("{:016x}", (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    json!({"metadata": {"name": format!("t-{n:04}")},
           "stringData": {"username": format!("t-{n:04}"), "password": password}})
}

fn agent(n: usize) -> Value {
    json!({"apiVersion": "trunkline.dev/v1alpha1", "kind": "Agent",
           "metadata": {"name": format!("a-{n:03}")},
           "spec": {"endpoint": {"webSocket": {
               "url": format!("wss://agents.example.com/{n}"), "dialect": "TwilioMediaStreams"}}}})
}

fn large_trunk(n: usize) -> Value {
    json!({"apiVersion": "trunkline.dev/v1alpha1", "kind": "Trunk",
           "metadata": {"name": format!("t-{n:04}")},
           "spec": {"poolRef": {"name": "large"},
                    "inbound": {"authSecretRef": {"name": format!("t-{n:04}")}},
                    "routes": [{"name": "main", "numbers": [format!("+1555{n:07}")],
                                "agentRef": {"name": format!("a-{:03}", n % AGENTS)}}]}})
}
