//! Rows of `docs/failures.md` that hurt nobody but their own pool. They share one release, and run
//! side by side in it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use trunkline_tests::process::wait_until;

use crate::bed::{Cluster, SOON};
use crate::carrier::{assert_all_well, hang_up, talk_on};
use crate::release::Release;
use crate::row::{CARRIER, LATER, Row, pool, trunk, wait_for_refusal};

fn release() -> &'static Release<'static> {
    static RELEASE: OnceLock<Release<'static>> = OnceLock::new();
    RELEASE.get_or_init(|| Release::install(Cluster::shared(), "failures", "baseline"))
}

/// Events of one reason about one object.
fn events(row: &Row<'_>, object: &str, reason: &str) -> Vec<Value> {
    let selector = format!("--field-selector=involvedObject.name={object},reason={reason}");
    let events = row.namespace().kubectl(&["get", "events", &selector, "-o=json"]);
    let events: Value = serde_json::from_str(&events).expect("JSON");
    events["items"].as_array().expect("a list").clone()
}

#[test]
fn secret_missing_created_later_the_trunk_is_ready_seconds_after_without_a_restart() {
    let row = Row::start(release(), "secret-missing", 1);
    let (namespace, name) = (row.namespace(), "secret-missing-b");
    let before = row.pods();
    let inbound = format!("{{authSecretRef: {{name: {name}}}}}");
    namespace.apply(&trunk(name, row.name, &inbound)).expect("a Trunk");
    let object = format!("trunk/{name}");
    let words = row.wait_for_reason(&object, "ResolvedRefs", "SecretNotFound");
    assert!(words.starts_with("Secret \"secret-missing-b\" not found"), "{words}");
    row.assert_takes_calls(0);

    let secret = ["create", "secret", "generic", name, "--from-literal=username=alice"];
    namespace.kubectl(&[&secret[..], &["--from-literal=password=hunter2"]].concat());
    let began = Instant::now();
    namespace.wait_for("condition=Ready", &object);
    println!("ready {:?} after the Secret was created", began.elapsed());
    assert_eq!(row.pods(), before);
    namespace.kubectl(&["delete", "trunk", name]);
}

#[test]
fn secret_deleted_or_wrong_key_later_the_last_good_stays_in_use_and_one_event_tells() {
    let row = Row::start(release(), "secret-deleted", 1);
    let (namespace, name) = (row.namespace(), "secret-deleted-b");
    let make = |key: &str| {
        let literals = [format!("--from-literal={key}=bob"), "--from-literal=password=x".into()];
        let secret = ["create", "secret", "generic", name, &literals[0], &literals[1]];
        namespace.kubectl(&secret);
    };
    make("username");
    let inbound = format!("{{authSecretRef: {{name: {name}}}}}");
    namespace.apply(&trunk(name, row.name, &inbound)).expect("a Trunk");
    let object = format!("trunk/{name}");
    namespace.wait_for("condition=Ready", &object);
    let config = || {
        let config = format!("{}-media-config", row.name);
        namespace.kubectl(&["get", "secret", &config, "-o=jsonpath={.data}"])
    };
    let before = config();

    namespace.kubectl(&["delete", "secret", name]);
    let words = row.wait_for_reason(&object, "ResolvedRefs", "SecretNotFound");
    assert!(words.starts_with("Secret \"secret-deleted-b\" not found"), "{words}");
    make("user");
    let words = row.wait_for_reason(&object, "ResolvedRefs", "SecretKeyMissing");
    assert!(words.contains("username") && !words.contains("bob"), "{words}");
    assert!(config() == before, "the pods were told something else");
    row.wait_for_reason(&object, "Programmed", "Programmed");
    for reason in ["SecretNotFound", "SecretKeyMissing"] {
        let told = wait_until("the event is there", SOON, || {
            Some(events(&row, name, reason)).filter(|it| !it.is_empty())
        });
        assert!(told.len() == 1 && told[0]["series"].is_null(), "{told:?}");
    }

    namespace.kubectl(&["delete", "secret", name]);
    make("username");
    row.wait_for_reason(&object, "ResolvedRefs", "ResolvedRefs");
    namespace.kubectl(&["delete", "trunk", name]);
}

#[test]
fn trunk_deleted_mid_call_new_calls_are_refused_and_those_that_are_up_end_by_themselves() {
    let row = Row::start(release(), "trunk-deleted", 1);
    let target = row.address(0);
    // A carrier without any Trunk is a stranger, and hears nothing at all.
    let (name, other) = ("trunk-deleted-b", r#"{name: other, numbers: ["+1999*"],"#);
    let other = trunk(name, row.name, CARRIER).replace("{name: main,", other);
    row.namespace().apply(&other).expect("a Trunk");
    row.namespace().wait_for("condition=Ready", &format!("trunk/{name}"));
    let talking = talk_on(row.release, "trunk-deleted", &target, 2);
    // It comes back when the object is gone: nothing holds it.
    row.namespace().kubectl(&["delete", "trunk", row.name, "--timeout=20s"]);
    let why = wait_for_refusal(row.release, &target, &["403", "404"]);
    println!("refused: {why}");
    assert_all_well(&hang_up(talking), 2);
    row.namespace().kubectl(&["delete", "trunk", name]);
}

#[test]
fn agent_deleted_mid_call_new_calls_find_nobody_and_those_that_are_up_go_on() {
    let row = Row::start(release(), "agent-deleted", 1);
    let target = row.address(0);
    let talking = talk_on(row.release, "agent-deleted", &target, 2);
    row.namespace().kubectl(&["delete", "agent", row.name, "--timeout=20s"]);
    let trunk = format!("trunk/{}", row.name);
    let words = row.wait_for_reason(&trunk, "ResolvedRefs", "AgentNotFound");
    assert!(words.contains("Agent \"agent-deleted\" not found"), "{words}");
    let why = wait_for_refusal(row.release, &target, &["404", "480"]);
    println!("refused: {why}");
    assert_all_well(&hang_up(talking), 2);
}

#[test]
fn two_trunks_claim_the_same_the_older_has_it_and_deleting_the_winner_promotes_the_loser() {
    let row = Row::start(release(), "two-claims", 1);
    let (namespace, loser) = (row.namespace(), "two-claims-b");
    namespace.apply(&trunk(loser, row.name, CARRIER)).expect("a Trunk");
    let words = row.wait_for_reason("trunk/two-claims-b", "Accepted", "Conflicted");
    assert!(words.contains("Trunk \"two-claims\" takes every other number"), "{words}");
    let message = "-o=jsonpath={.status.conditions[?(@.type==\"Accepted\")].message}";
    wait_until("the winner names the loser", SOON, || {
        let words = namespace.kubectl(&["get", "trunk", row.name, message]);
        words.contains("two-claims-b").then_some(())
    });
    row.assert_takes_calls(0);

    namespace.kubectl(&["delete", "trunk", row.name]);
    row.wait_for_reason("trunk/two-claims-b", "Accepted", "Accepted");
    namespace.wait_for("condition=Ready", "trunk/two-claims-b");
    row.assert_takes_calls(0);
    namespace.kubectl(&["delete", "trunk", loser]);
}

#[test]
fn config_that_pods_reject_is_said_in_the_pods_words_and_other_trunks_do_not_notice() {
    let row = Row::start(release(), "pods-reject", 1);
    let (namespace, name) = (row.namespace(), "pods-reject-b");
    let ca = format!("--from-file=ca.crt={}", row.release.certificate.ca_file.display());
    namespace.kubectl(&["create", "secret", "generic", name, &ca]);
    let outbound = format!(
        "  outbound: {{addresses: [\"192.0.2.9\"], optionsPeriodSeconds: 0, caRef: {{name: {name}}}}}\n"
    );
    let manifest = trunk(name, row.name, r#"{sources: ["10.77.0.0/16"]}"#) + &outbound;
    namespace.apply(&manifest).expect("a Trunk");
    let object = format!("trunk/{name}");
    namespace.wait_for("condition=Ready", &object);

    let patch = |patch: &str| {
        namespace.kubectl(&["patch", "secret", name, "--type=merge", "--patch", patch]);
    };
    let good = namespace.kubectl(&["get", "secret", name, "-o=jsonpath={.data.ca\\.crt}"]);
    patch(r#"{"stringData": {"ca.crt": "no certificate"}}"#);
    let words = row.wait_for_reason(&object, "Programmed", "Rejected");
    println!("{words}");
    assert!(words.contains("spec.outbound.caRef") && words.contains(name), "{words}");
    row.wait_for_reason(&format!("trunk/{}", row.name), "Programmed", "Programmed");
    row.assert_takes_calls(0);

    patch(&format!(r#"{{"data": {{"ca.crt": "{good}"}}}}"#));
    row.wait_for_reason(&object, "Programmed", "Programmed");
    namespace.kubectl(&["delete", "trunk", name]);
}

#[test]
fn no_free_node_for_surge_the_rollout_waits_and_old_pods_keep_serving() {
    let row = Row::start(release(), "no-free-node", 1);
    let before = row.pods();
    row.new_revision(r#"{"requests": {"cpu": "64"}, "limits": {"cpu": "64"}}"#);
    let pool = format!("mediapool/{}", row.name);
    let words = row.wait_for_reason(&pool, "Progressing", "Unschedulable");
    assert!(words.contains("pod no-free-node-1 finds no node"), "{words}");
    row.assert_takes_calls(0);
    row.new_revision(r#"{"requests": {"cpu": "50m"}, "limits": {"cpu": "1"}}"#);
    row.wait_for_reason(&pool, "Progressing", "UpToDate");
    assert_eq!(row.pods(), before, "and nobody was replaced");
}

#[test]
fn port_range_exhausted_by_draining_pods_is_said_and_ends_with_their_calls() {
    let name = "ports-exhausted";
    let two_blocks = pool(name, 1).replace("end: 20399", "end: 20199");
    let row = Row::with_pool(release(), name, &two_blocks);
    let pool = format!("mediapool/{name}");

    // A pod with a call drains, and the next rollout finds both blocks taken.
    let talking = talk_on(row.release, row.name, &row.address(0), 1);
    row.new_revision(r#"{"limits": {"memory": "300Mi"}}"#);
    row.wait_for_drain(0);
    row.new_revision(r#"{"limits": {"memory": "301Mi"}}"#);
    let words = row.wait_for_reason(&pool, "ScalingLimited", "PortRangeExhausted");
    assert!(words.contains("(1 by pods that are leaving)"), "{words}");
    wait_until("the oldest drain gets a warning", SOON, || {
        let told = events(&row, "ports-exhausted-0", "PortRangeExhausted");
        told.first().filter(|it| it["type"] == "Warning").map(drop)
    });
    row.assert_takes_calls(1);
    assert_all_well(&hang_up(talking), 1);
    row.wait_for_reason(&pool, "ScalingLimited", "WithinLimits");
}

#[test]
fn status_poll_fails_for_one_pod_its_numbers_are_frozen_and_after_a_minute_it_is_no_capacity() {
    let row = Row::start(release(), "poll-fails", 2);
    let (namespace, cluster) = (row.namespace(), row.release.cluster);
    let pod = namespace.kubectl(&["get", "pod", "poll-fails-1", "-o=json"]);
    let pod: Value = serde_json::from_str(&pod).expect("JSON");
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).expect("there");
    let (node, port) =
        (text("/spec/nodeName"), text("/metadata/annotations/trunkline.dev~1admin-port"));
    // Nobody but its node, for the probes, may reach the pod's admin port.
    let gateway = text("/status/podIP").rsplit_once('.').expect("IPv4").0.to_owned() + ".1";
    let pid = cluster.pid_of_container(node, text("/status/containerStatuses/0/containerID"));
    let inside = |rules: &str| {
        let mut nft = cluster.on(node, &["nsenter", "--net", "--target", &pid, "nft", rules]);
        assert!(nft.status().expect("nft is there").success(), "{rules}");
    };
    inside(&format!(
        "add table ip mute; add chain ip mute in {{ type filter hook input priority filter; }}; \
         add rule ip mute in ip saddr != {gateway} tcp dport {port} drop"
    ));
    let began = Instant::now();
    let pool = format!("mediapool/{}", row.name);
    let limited = "-o=jsonpath={.status.conditions[?(@.type==\"ScalingLimited\")].message}";
    wait_until("the silent pod is named", LATER, || {
        let words = namespace.kubectl(&["get", &pool, limited]);
        words.contains("pod poll-fails-1 does not answer the operator").then_some(())
    });
    namespace.kubectl(&["scale", "mediapool", row.name, "--replicas=1"]);
    let ready = "-o=jsonpath={.status.readyReplicas}";
    assert_eq!(namespace.kubectl(&["get", "mediapool", row.name, ready]), "2", "it still counts");
    row.wait_for_drain(1);
    println!("taken away {:?} after it fell silent", began.elapsed());
    assert!(began.elapsed() > Duration::from_secs(55), "{:?}", began.elapsed());
    inside("delete table ip mute");
    namespace.wait_for("delete", "pod/poll-fails-1");
    row.assert_takes_calls(0);
}

#[test]
fn user_edits_an_owned_object_and_it_is_put_back() {
    let row = Row::start(release(), "user-edits", 1);
    let namespace = row.namespace();
    let budget = |field: &str| {
        namespace.kubectl(&["get", "pdb", row.name, &format!("-o=jsonpath={{.spec.{field}}}")])
    };
    let edit = r#"{"spec": {"maxUnavailable": "100%"}}"#;
    namespace.kubectl(&["patch", "pdb", row.name, "--type=merge", "--patch", edit]);
    wait_until("the budget is as it was", SOON, || (budget("maxUnavailable") == "1").then_some(()));
    namespace.kubectl(&["delete", "service", "user-edits-sip"]);
    wait_until("the Service is there again", SOON, || {
        namespace.try_kubectl(&["get", "service", "user-edits-sip"]).ok()
    });
}
