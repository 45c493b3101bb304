//! Behind load balancers, in a namespace that allows no more than the standard `restricted`. The test
//! plays the cloud: it writes the address of each Service, and leads it, as a balancer does that keeps
//! callers' addresses, to the node of a pod. From there on it is kube-proxy's work.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trunkline_tests::process::wait_until;

use crate::bed::{Cluster, SOON, run};
use crate::calls::is_trusted;
use crate::carrier::{assert_all_well, call_with, result, softphone_hears_itself};
use crate::manifests::{bot, pool};
use crate::release::Release;

const NAMESPACE: &str = "load-balancers";
const SIP: &str = "203.0.113.20";
const SLOTS: u8 = 2;
const NO_SIP: &str = "the load balancer for SIP has no address yet";
const NO_AUDIO: &str = "the load balancer for this node's audio has no address yet";

/// The carrier is known by its address alone, which must arrive as it was.
const TRUNK: &str = r#"
apiVersion: trunkline.dev/v1alpha1
kind: Trunk
metadata: {name: carrier-a}
spec:
  transport: TLS
  media: {encryption: Required}
  inbound: {sources: ["203.0.113.1/32"]}
  routes:
  - {name: patient, agentRef: {name: bot}}
  - {name: greeting, numbers: ["+15559990000"], agentRef: {name: greeter}}
"#;

/// Of the load balancer of a pod's audio.
fn audio(slot: u8) -> String {
    format!("203.0.113.{}", 21 + slot)
}

#[test]
fn calls_come_through_load_balancers_once_the_cloud_has_given_both_addresses() {
    let release = Release::install(Cluster::shared(), NAMESPACE, "baseline");
    let namespace = &release.namespace;
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    release.cluster.kubectl(&["label", "namespace", NAMESPACE, restricted, "--overwrite"]);
    let exposure = "{mode: LoadBalancer, sip: {udp: 0, tcp: 0, tls: 5061}, media: {portRange: {start: 20000, end: 20063}, portsPerPod: 16}, address: {source: LoadBalancer}}";
    namespace.apply(&pool(exposure, SLOTS.into())).expect("a MediaPool");
    namespace.apply(&bot(NAMESPACE)).expect("an Agent");
    let greeter = bot(NAMESPACE)
        .replace("name: bot", "name: greeter")
        .replace(":9000/echo", ":9000/speak-first");
    namespace.apply(&greeter).expect("an Agent");
    namespace.apply(TRUNK).expect("a Trunk");

    // Pods run, and wait for the cloud.
    for slot in 0..SLOTS {
        waits_for(&release, slot, &[NO_SIP, NO_AUDIO]);
    }
    wait_until("each Service is a load balancer", SOON, || {
        let types = "-o=jsonpath={range .items[*]}{.metadata.name}={.spec.type}/{.spec.externalTrafficPolicy} {end}";
        let types = namespace.kubectl(&["get", "services", types]);
        let is = |service| types.contains(&format!("{service}=LoadBalancer/Local "));
        ["default-sip", "default-0", "default-1"].into_iter().all(is).then_some(())
    });
    give_address(&release, "default-sip", SIP);
    for slot in 0..SLOTS {
        waits_for(&release, slot, &[NO_AUDIO]);
    }
    for (object, wanted) in
        [("mediapool/default", "False AddressPending"), ("trunk/carrier-a", "False NoPods")]
    {
        wait_until(wanted, SOON, || (ready(&release, object) == wanted).then_some(()));
    }

    for slot in 0..SLOTS {
        give_address(&release, &format!("default-{slot}"), &audio(slot));
    }
    let address = release.taking_calls("carrier-a");
    assert_eq!(address, format!("sips:{SIP}:5061"));
    namespace.wait_for("jsonpath={.status.readyReplicas}=2", "mediapool/default");
    let nodes: Vec<_> = (0..SLOTS).map(|slot| node(&release, slot)).collect();
    for (slot, node) in (0..SLOTS).zip(&nodes) {
        lead(&release, &audio(slot), node);
        let advertised = &status(&release, slot)["advertised"];
        let told = json!([[SIP, ["SIP"]], [audio(slot), ["Media"]]]);
        let shown = advertised.as_array().into_iter().flatten();
        let shown: Value = shown.map(|it| json!([it["address"], it["carries"]])).collect();
        assert_eq!(shown, told);
    }

    // By way of each node: its pod answers, with the one address for SIP and its own for audio.
    let target = format!("{SIP}:5061");
    let nodes: BTreeSet<_> = nodes.into_iter().collect();
    let mut slots = BTreeSet::new();
    for node in &nodes {
        lead(&release, SIP, node);
        wait_until("the load balancer of SIP leads to a pod", SOON, || {
            is_trusted(&release, &target, &release.certificate).then_some(())
        });
        let calls = |name: &str, more: &[&str]| {
            call_with(&release, &format!("{name}-{node}"), &target, 2, 3, more)
        };
        let patient = calls("patient", &[]);
        // They listen before they speak, and hear the greeting from its first sample.
        let greeted = calls("greeted", &["--to=+15559990000", "--silent=0.6"]);
        let (patient, greeted) = (result(patient), result(greeted));
        assert_eq!(greeted["media"]["greeted_calls"], 2, "{greeted}");
        for result in [patient, greeted] {
            assert_all_well(&result, 2);
            slots.extend(slots_of(&result));
        }
    }
    softphone_hears_itself(&release, "softphone", &target);
    println!("{} nodes, answered by slots {slots:?}", nodes.len());
    assert!(slots.len() >= nodes.len(), "each node with a pod has answered");
}

/// The slots whose pods answered these calls, after a look at the addresses they told.
fn slots_of(result: &Value) -> BTreeSet<u8> {
    let texts = |name: &str| -> Vec<String> {
        let all = result[name].as_array().expect("a list for each call");
        all.iter().map(|it| it.as_str().expect("a text").to_owned()).collect()
    };
    let (contacts, media) = (texts("contacts"), texts("remote_media"));
    assert_eq!((contacts.len(), media.len()), (2, 2), "{result}");
    let slot = |(contact, media): (&String, &String)| {
        // The user part begins with the slot of the pod that has the call.
        let (user, rest) = contact.split_once('@').expect("a URI with a user");
        assert_eq!(rest, format!("{SIP}:5061;transport=tls"), "{contact}");
        let slot = user.strip_prefix("sip:").and_then(|user| user.split('-').next());
        let slot = slot.and_then(|slot| slot.parse().ok()).expect("a slot");
        assert_eq!(media.split(':').next(), Some(audio(slot).as_str()), "{contact} {media}");
        slot
    };
    contacts.iter().zip(&media).map(slot).collect()
}

/// Waits until the node of a slot says that it lacks just that, and Kubernetes that it is not ready.
fn waits_for(release: &Release<'_>, slot: u8, missing: &[&str]) {
    let said = wait_until("the node says what it waits for", SOON, || {
        let ip = of_pod(release, slot, "{.status.podIP}").ok().filter(|ip| !ip.is_empty())?;
        let url = format!("http://{ip}:8080/readyz");
        let said =
            run(release.cluster.on("control", &["curl", "-s", "--max-time", "5"]).arg(url), "");
        let said = said.ok()?;
        let lacks = |words: &str| said.contains(words) == missing.contains(&words);
        (said.contains("\"error\"") && lacks(NO_SIP) && lacks(NO_AUDIO)).then_some(said)
    });
    println!("slot {slot}: {said}");
    assert!(ready(release, &format!("pod/default-{slot}")).starts_with("False"));
}

/// Status and reason of the condition `Ready`.
fn ready(release: &Release<'_>, object: &str) -> String {
    let condition = "{.status.conditions[?(@.type==\"Ready\")]";
    let show = format!("-o=jsonpath={condition}.status}} {condition}.reason}}");
    release.namespace.kubectl(&["get", object, &show])
}

fn of_pod(release: &Release<'_>, slot: u8, path: &str) -> Result<String, String> {
    let (pod, path) = (format!("default-{slot}"), format!("-o=jsonpath={path}"));
    let get = ["--namespace", NAMESPACE, "get", "pod", &pod, &path];
    release.cluster.try_kubectl(&get, "")
}

/// What the cloud's controller does when its balancer stands.
fn give_address(release: &Release<'_>, service: &str, address: &str) {
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}).to_string();
    let patch = ["--subresource=status", "--type=merge", "--patch", &status];
    release.namespace.kubectl(&[&["patch", "service", service], &patch[..]].concat());
}

/// What the cloud's balancer does: packets for `address` go to this node.
fn lead(release: &Release<'_>, address: &str, node: &str) {
    let route = ["ip", "route", "replace", address, "via", node];
    run(&mut release.cluster.on("control", &route), "").expect("a route");
}

/// The public address of a pod's node.
fn node(release: &Release<'_>, slot: u8) -> String {
    let name = of_pod(release, slot, "{.spec.nodeName}").expect("a pod");
    let address = "-o=jsonpath={.status.addresses[?(@.type==\"ExternalIP\")].address}";
    release.cluster.kubectl(&["get", "node", &name, address])
}

/// `/v1/status` of a pod's node.
fn status(release: &Release<'_>, slot: u8) -> Value {
    let token = "-o=go-template={{.data.token | base64decode}}";
    let token = release.namespace.kubectl(&["get", "secret", "default-media-config", token]);
    let ip = of_pod(release, slot, "{.status.podIP}").expect("a pod");
    let (url, token) =
        (format!("http://{ip}:8080/v1/status"), format!("Authorization: Bearer {token}"));
    let curl = ["curl", "-s", "--max-time", "5", "--header", &token, &url];
    let answer = run(&mut release.cluster.on("control", &curl), "").expect("an answer");
    serde_json::from_str(&answer).expect("JSON")
}
