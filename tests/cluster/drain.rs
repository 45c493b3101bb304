//! Pods that leave: whatever makes them, the calls that are up go on, and new ones are told to come
//! again or find another pod.

use std::time::Instant;

use serde_json::{Value, json};
use trunkline_tests::process::wait_until;

use crate::bed::{Cluster, DELETED, SOON};
use crate::carrier::{assert_all_well, call, hang_up, refusal, result, talk};
use crate::manifests::{HOUR, TRUNK, bot, one_pod};
use crate::release::Release;

fn takes_calls(name: &str, drain_seconds: u32) -> Release<'static> {
    let release = Release::install(Cluster::shared(), name, "baseline");
    release.take_calls(drain_seconds);
    release
}

/// Waits until a pod that leaves refuses new calls as it should.
fn refuses(release: &Release<'_>, target: &str) {
    let why = wait_until("the pod refuses a call", SOON, || refusal(release, target));
    assert!(why.starts_with("503 ") && why.contains("Retry-After: "), "{why}");
}

/// By the pod, when its time was over.
fn assert_all_ended(result: &Value, calls: u64) {
    let reason = "Q.850;cause=41;text=\"the node is shutting down\"";
    assert_eq!(result["ended_by_callee"], json!({ reason: calls }), "{result}");
}

#[test]
fn a_deleted_pod_keeps_its_calls_to_their_own_end_and_is_replaced_at_once() {
    let release = takes_calls("deleted-pod", HOUR);
    let namespace = &release.namespace;
    let old = release.address("default-0");
    let talking = talk(&release, "talking", &old, 3);

    let began = Instant::now();
    namespace.kubectl(&["delete", "pod", "default-0", "--wait=false"]);
    namespace.comes_up("pod/default-1");
    println!("a deleted pod: its replacement is ready after {:?}", began.elapsed());
    refuses(&release, &old);
    assert_all_well(&result(call(&release, "new", &release.address("default-1"), 2, 2)), 2);

    assert!(namespace.text("pod/default-0", DELETED).is_some(), "it waits for its calls");
    assert_all_well(&hang_up(talking), 3);
    let began = Instant::now();
    namespace.wait_for("delete", "pod/default-0");
    println!("a deleted pod: gone {:?} after its last call", began.elapsed());
}

#[test]
fn a_pod_drained_by_hand_is_replaced_and_taken_back_by_hand() {
    let release = takes_calls("drained-by-hand", HOUR);
    let namespace = &release.namespace;
    let pod = release.address("default-0");
    let talking = talk(&release, "talking", &pod, 3);

    namespace.kubectl(&["annotate", "pod", "default-0", "trunkline.dev/drain=manual"]);
    namespace.comes_up("pod/default-1");
    refuses(&release, &pod);

    namespace.kubectl(&["annotate", "pod", "default-0", "trunkline.dev/drain-"]);
    wait_until("the pod takes calls again", SOON, || {
        refusal(&release, &pod).is_none().then_some(())
    });
    // Of two that take calls, one is too many now: the one without.
    namespace.wait_for("delete", "pod/default-1");
    assert_all_well(&hang_up(talking), 3);

    namespace.kubectl(&["annotate", "pod", "default-0", "trunkline.dev/drain=manual"]);
    namespace.wait_for("delete", "pod/default-0");
}

#[test]
fn at_its_deadline_a_drain_ends_calls_with_a_bye_that_says_why_and_an_event_counts_them() {
    let release = takes_calls("drain-deadline", 5);
    let namespace = &release.namespace;
    let talking = talk(&release, "talking", &release.address("default-0"), 3);

    namespace.kubectl(&["annotate", "pod", "default-0", "trunkline.dev/drain=manual"]);
    namespace.wait_for("delete", "pod/default-0");
    let of_reason = "--field-selector=reason=DrainDeadlineExceeded";
    let told = wait_until("the event", SOON, || {
        let events = namespace.kubectl(&["get", "events", of_reason, "-o=json"]);
        let events: Value = serde_json::from_str(&events).ok()?;
        events["items"].as_array().filter(|it| !it.is_empty()).cloned()
    });
    let told: Vec<_> = told.iter().map(|it| (&it["type"], &it["message"])).collect();
    let message = "3 calls were left after drain.timeoutSeconds (5 s)";
    assert_eq!(told, [(&json!("Warning"), &json!(message))]);

    assert_all_ended(&hang_up(talking), 3);
}

#[test]
fn a_deleted_pod_says_bye_to_calls_that_are_up_at_its_deadline() {
    let release = takes_calls("deleted-deadline", 5);
    let talking = talk(&release, "talking", &release.address("default-0"), 3);
    release.namespace.kubectl(&["delete", "pod", "default-0", "--wait=false"]);
    release.namespace.wait_for("delete", "pod/default-0");
    assert_all_ended(&hang_up(talking), 3);
}

#[test]
fn mediapool_deleted_its_pods_drain_within_their_grace_and_what_they_need_goes_last() {
    let name = "deleted-pool";
    let release = Release::install(Cluster::shared(), name, "baseline");
    let namespace = &release.namespace;
    let voice = |yaml: String| yaml.replace("{name: default}", "{name: voice}");
    namespace.apply(&voice(one_pod(HOUR))).expect("a MediaPool");
    namespace.apply(&bot(name)).expect("an Agent");
    // The operator makes `default` again for whoever names it, but no other.
    let of_pool = "  poolRef: {name: voice}\n  transport: TLS\n";
    namespace.apply(&TRUNK.replace("  transport: TLS\n", of_pool)).expect("a Trunk");
    release.taking_calls("carrier-a");
    let pod = release.address("voice-0");
    let talking = talk(&release, "talking", &pod, 3);

    namespace.kubectl(&["delete", "mediapool", "voice", "--wait=false"]);
    wait_until("the pod is told to go", SOON, || namespace.text("pod/voice-0", DELETED));
    assert_eq!(namespace.get("mediapool/voice"), None);
    refuses(&release, &pod);
    let needed = [
        "secret/voice-media-config",
        "service/voice-sip",
        "serviceaccount/voice-media",
        "networkpolicy/voice-media",
        "poddisruptionbudget/voice",
    ];
    for object in needed {
        let there = namespace.get(object).unwrap_or_else(|| panic!("{object} is gone"));
        assert!(there.pointer(DELETED).is_none(), "{there}");
    }
    assert_all_well(&hang_up(talking), 3);
    namespace.wait_for("delete", "pod/voice-0");
    for object in needed {
        namespace.wait_for("delete", object);
    }
}
