//! Conditions and what they say.

use jiff::SignedDuration;
use serde_json::json;

use super::sim::Sim;
use crate::plan::{Status, Urgency, plan};
use crate::world::{ConnectionReport, OptionsReport, Refusal, Rejected};

fn route(number: &str) -> serde_json::Value {
    json!([{"name": "one", "numbers": [number], "agentRef": {"name": "support"}}])
}

#[test]
fn everything_is_said_at_first_sight() {
    let mut sim = Sim::with_pool(1);
    sim.pass();
    let trunk = |type_| sim.condition("Trunk", "carrier-a", type_);
    assert_eq!(trunk("Accepted"), "True Accepted: ");
    assert_eq!(trunk("ResolvedRefs"), "True ResolvedRefs: ");
    assert_eq!(trunk("Programmed"), "False NoPods: no media pod is ready");
    let not_asked = "the carrier is not asked: the trunk only takes calls";
    assert_eq!(trunk("Reachable"), format!("Unknown Disabled: {not_asked}"));
    assert_eq!(trunk("Ready"), "False NoPods: no media pod is ready");
    assert_eq!(sim.condition("Agent", "support", "Ready"), "False NoPods: no media pod is ready");
}

#[test]
fn a_trunk_without_its_pool_says_which() {
    let mut sim = Sim::with_pool(1);
    sim.trunk(
        "carrier-b",
        json!({"poolRef": {"name": "eu"}, "inbound": {"sources": ["192.0.2.0/24"]}}),
    );
    sim.settle();
    let ready = sim.condition("Trunk", "carrier-b", "Ready");
    assert_eq!(
        ready,
        "False PoolNotFound: MediaPool \"eu\" not found: make it, or correct poolRef.name"
    );
}

#[test]
fn a_default_pool_that_the_api_server_refuses_is_told_in_its_words() {
    let mut sim = Sim::with_pool(1);
    sim.world.pools.clear();
    let refusal = Refusal { pod_security: false, message: "portsPerPod: lower it".into() };
    sim.world.refused.insert("default".into(), refusal);
    for patch in plan(&sim.world, sim.now).statuses {
        let Status::Trunk(_, status) = patch.status else { continue };
        let ready = status.conditions.iter().find(|it| it.type_ == "Ready").unwrap();
        assert_eq!(ready.reason, "PoolNotFound");
        assert_eq!(ready.message, "MediaPool \"default\" cannot be made: portsPerPod: lower it");
        return;
    }
    panic!("no Trunk says anything");
}

#[test]
fn a_missing_agent_drops_its_route_alone() {
    let mut sim = Sim::with_pool(1);
    sim.trunk(
        "carrier-a",
        json!({"inbound": {"sources": ["203.0.113.0/24"]}, "routes": [
        {"name": "sales", "numbers": ["+1555200*"], "agentRef": {"name": "sales"}},
        {"name": "rest", "agentRef": {"name": "support"}}]}),
    );
    sim.settle();
    let status = sim.world.trunks["carrier-a"].status.clone().unwrap();
    assert_eq!(status.unresolved_routes, ["sales"]);
    let resolved = sim.condition("Trunk", "carrier-a", "ResolvedRefs");
    assert_eq!(
        resolved,
        "False AgentNotFound: Agent \"sales\" not found (route \"sales\"): make it, or correct the name"
    );
    assert_eq!(
        sim.condition("Trunk", "carrier-a", "Programmed"),
        "True Programmed: on every ready media pod"
    );
}

#[test]
fn of_two_trunks_that_claim_the_same_the_older_wins_and_both_say_so() {
    let mut sim = Sim::with_pool(1);
    sim.trunk(
        "older",
        json!({"inbound": {"sources": ["192.0.2.0/24"]}, "routes": route("+15550001")}),
    );
    sim.pass_time(10);
    sim.trunk(
        "another",
        json!({"inbound": {"sources": ["192.0.2.7/24"]}, "routes": route("+15550001")}),
    );
    sim.settle();
    let accepted = sim.condition("Trunk", "another", "Accepted");
    assert_eq!(
        accepted,
        "False Conflicted: Trunk \"older\" takes +15550001 from 192.0.2.0/24 already: write other \
         numbers or sources"
    );
    let accepted = sim.condition("Trunk", "older", "Accepted");
    assert!(
        accepted.starts_with("True Accepted") && accepted.contains("\"another\""),
        "{accepted}"
    );
    assert!(sim.events.contains(&"Conflicted"));
    // Deleting the winner promotes the loser.
    sim.world.trunks.remove("older");
    sim.settle();
    assert_eq!(sim.condition("Trunk", "another", "Accepted"), "True Accepted: ");
}

#[test]
fn a_trunk_keeps_what_nobody_else_has() {
    let mut sim = Sim::with_pool(1);
    sim.trunk(
        "older",
        json!({"inbound": {"sources": ["192.0.2.0/24"]}, "routes": route("+15550001")}),
    );
    sim.pass_time(10);
    sim.trunk(
        "younger",
        json!({"inbound": {"sources": ["192.0.2.0/24"]}, "routes": [
        {"name": "one", "numbers": ["+15550001", "+15550002"], "agentRef": {"name": "support"}}]}),
    );
    sim.settle();
    let accepted = sim.condition("Trunk", "younger", "Accepted");
    assert!(
        accepted.starts_with("True PartiallyConflicted: Trunk \"older\" takes +15550001"),
        "{accepted}"
    );
    let ready = sim.condition("Trunk", "younger", "Ready");
    assert!(ready.starts_with("True Ready: taking calls, but Trunk \"older\""), "{ready}");
}

#[test]
fn trunks_over_transports_that_never_meet_do_not_conflict() {
    let mut sim = Sim::with_pool(1);
    let trunk = |transport: &str| json!({"transport": transport, "inbound": {"sources": ["192.0.2.0/24"]}, "routes": route("+15550001")});
    sim.trunk("by-tls", trunk("TLS"));
    sim.trunk("by-udp", trunk("UDP"));
    sim.trunk("by-tcp", trunk("TCP"));
    sim.settle();
    assert_eq!(sim.condition("Trunk", "by-tls", "Accepted"), "True Accepted: ");
    // A UDP trunk also takes TCP, and of the same age the first name wins.
    assert!(sim.condition("Trunk", "by-udp", "Accepted").starts_with("False Conflicted"));
}

#[test]
fn equal_usernames_conflict_and_are_never_shown() {
    let mut sim = Sim::with_pool(1);
    sim.secret("b", &[("username", "alice"), ("password", "another")]);
    sim.secret("c", &[("username", "alice"), ("password", "hunter2")]);
    let trunk = |secret: &str| json!({"inbound": {"authSecretRef": {"name": secret}}, "routes": route("+15550009")});
    sim.pass_time(1);
    sim.trunk("carrier-b", trunk("b"));
    sim.settle();
    let accepted = sim.condition("Trunk", "carrier-b", "Accepted");
    assert!(
        accepted.starts_with(
            "False Conflicted: Trunk \"carrier-a\" has the same username with another password"
        ),
        "{accepted}"
    );
    assert!(!accepted.contains("alice"));
    sim.trunk("carrier-b", trunk("c"));
    sim.settle();
    assert_eq!(sim.condition("Trunk", "carrier-b", "Accepted"), "True Accepted: ");
}

#[test]
fn what_pods_hear_of_the_carrier_is_said_with_its_reason() {
    let mut sim = Sim::with_pool(1);
    sim.trunk(
        "carrier-a",
        json!({"inbound": {"sources": ["203.0.113.0/24"]}, "routes": route("+15550100"),
               "outbound": {"addresses": ["sip.example.com"]}}),
    );
    let reachable = |sim: &Sim| sim.condition("Trunk", "carrier-a", "Reachable");
    sim.settle();
    assert_eq!(reachable(&sim), "Unknown NotProbed: not tried yet");
    let failed = |reason: &str| OptionsReport {
        reason: reason.into(),
        message: "no address of sip.example.com".into(),
        ..OptionsReport::default()
    };
    for (said, shown) in [("DNSFailed", "DNSFailed"), ("NeverHeardOf", "OptionsTimeout")] {
        sim.options = Some(failed(said));
        sim.run_for(10);
        let expected = format!(
            "False {shown}: no address of sip.example.com: look at outbound.addresses and firewalls"
        );
        assert_eq!(reachable(&sim), expected);
    }
    sim.options = Some(OptionsReport { ok: true, ..OptionsReport::default() });
    sim.run_for(10);
    assert_eq!(reachable(&sim), "True OptionsOK: the carrier answers OPTIONS");
}

#[test]
fn the_pods_words_reach_the_person() {
    let mut sim = Sim::with_pool(1);
    let rejected = |message: &str, outcome: &str| Rejected {
        kind: "Trunk".into(),
        name: "carrier-a".into(),
        field: "spec.outbound".into(),
        message: message.into(),
        outcome: outcome.into(),
    };
    sim.rejected = vec![rejected(
        "not supported yet: spec.outbound; this release takes incoming calls only",
        "LeftOut",
    )];
    sim.settle();
    let accepted = sim.condition("Trunk", "carrier-a", "Accepted");
    assert_eq!(
        accepted,
        "False Unsupported: not supported yet: spec.outbound; this release takes incoming calls only"
    );
    sim.rejected = vec![rejected("write something else", "LastGoodKept")];
    sim.settle();
    assert_eq!(sim.condition("Trunk", "carrier-a", "Accepted"), "True Accepted: ");
    let programmed = sim.condition("Trunk", "carrier-a", "Programmed");
    assert_eq!(programmed, "False Rejected: spec.outbound: write something else");
    assert!(sim.events.contains(&"Rejected"));
}

#[test]
fn one_trunks_change_does_not_unprogram_the_others() {
    let mut sim = Sim::with_pool(2);
    sim.settle();
    sim.stale.extend(["default-0".to_owned(), "default-1".to_owned()]);
    sim.trunk("carrier-b", json!({"inbound": {"sources": ["192.0.2.0/24"]}}));
    sim.run_for(2);
    assert!(sim.condition("Trunk", "carrier-a", "Programmed").starts_with("True"));
    assert_eq!(sim.condition("Trunk", "carrier-b", "Programmed"), "False Pending: 0/2 media pods");
    sim.stale.remove("default-0");
    sim.run_for(2);
    assert_eq!(sim.condition("Trunk", "carrier-b", "Programmed"), "False Pending: 1/2 media pods");
    sim.stale.clear();
    sim.settle();
    assert!(sim.condition("Trunk", "carrier-b", "Programmed").starts_with("True"));
}

#[test]
fn an_agent_that_nobody_uses_waits_for_a_trunk() {
    let mut sim = Sim::with_pool(1);
    sim.agent("lonely", json!({"endpoint": {"webSocket": {"url": "wss://x.example/ws?token=secret", "dialect": "TwilioMediaStreams"}}}));
    sim.settle();
    assert_eq!(
        sim.condition("Agent", "lonely", "Ready"),
        "Unknown NoPods: no Trunk leads to this Agent yet"
    );
    let status = sim.world.agents["lonely"].status.clone().unwrap();
    assert_eq!(status.endpoint.as_deref(), Some("wss://x.example/ws"));
    assert_eq!(sim.condition("Agent", "support", "Ready"), "True Ready: ready for calls");
}

#[test]
fn an_agent_that_cannot_be_reached_is_not_ready() {
    let mut sim = Sim::with_pool(2);
    sim.settle();
    assert_eq!(sim.condition("Agent", "support", "Reachable"), "Unknown NotProbed: not tried yet");
    let report = |ok, reason: &str, message: &str| ConnectionReport {
        ok,
        reason: reason.into(),
        message: message.into(),
    };
    let mut say = |pod: &str, report: ConnectionReport| {
        sim.connections.insert(pod.into(), report);
        sim.settle();
        sim.condition("Agent", "support", "Ready")
    };
    let well = || report(true, "Connected", "takes connections");
    assert_eq!(say("default-0", well()), "True Ready: ready for calls");
    assert_eq!(
        say("default-1", report(false, "ConnectFailed", "its name does not resolve")),
        "False ConnectFailed: 1/2 media pods reach it: its name does not resolve"
    );
    let refused = report(false, "AuthFailed", "it answered the upgrade with HTTP 401");
    assert_eq!(
        say("default-1", refused),
        "False AuthFailed: 1/2 media pods reach it: it answered the upgrade with HTTP 401"
    );
    assert_eq!(say("default-1", well()), "True Ready: ready for calls");
    let reachable = sim.condition("Agent", "support", "Reachable");
    assert_eq!(reachable, "True Connected: 2/2 media pods reach it");
}

#[test]
fn a_trunk_that_only_takes_calls_says_whether_its_address_leads_to_the_pods() {
    let mut sim = Sim::with_pool(2);
    let mut say = |reaches_us| {
        sim.reaches_us = reaches_us;
        sim.settle();
        let ready = sim.condition("Trunk", "carrier-a", "Ready");
        assert!(ready.starts_with("True"), "nobody but the carrier knows: {ready}");
        sim.condition("Trunk", "carrier-a", "Reachable")
    };
    let not_asked = "the carrier is not asked: the trunk only takes calls";
    assert_eq!(
        say(Some(true)),
        format!(
            "True SelfCheckOK: {not_asked}; the address that it is told leads to 2/2 media pods"
        )
    );
    assert_eq!(say(Some(false)), "Unknown SelfCheckFailed: 198.51.100.20:5061 over TLS: WORDS");
    assert_eq!(say(None), format!("Unknown Disabled: {not_asked}"));
}

#[test]
fn a_carrier_that_does_not_answer_counts_for_who_calls_out() {
    let mut sim = Sim::with_pool(1);
    sim.trunk("carrier-a", json!({"outbound": {"addresses": ["sip.carrier.example"]}}));
    sim.options = Some(OptionsReport { reason: "OptionsTimeout".into(), ..Default::default() });
    sim.settle();
    assert!(sim.condition("Trunk", "carrier-a", "Ready").starts_with("False OptionsTimeout"));
    assert!(sim.events.contains(&"CarrierUnreachable"));
}

#[test]
fn without_a_certificate_trunk_and_pool_say_what_carriers_will_do() {
    let mut sim = Sim::with_pool(1);
    sim.edit_pool(|spec| {
        spec.as_object_mut().unwrap().remove("tls");
    });
    sim.settle();
    let ready = sim.condition("Trunk", "carrier-a", "Ready");
    assert!(
        ready.starts_with("True Ready: taking calls, but with a self-signed certificate"),
        "{ready}"
    );
    assert!(sim.condition("MediaPool", "default", "Accepted").contains("self-signed"));
}

#[test]
fn a_missing_certificate_holds_a_new_pool_and_not_an_old_one() {
    let mut sim = Sim::with_pool(1);
    let certificate = sim.world.secrets.remove("sip-cert").unwrap();
    sim.run_for(3);
    assert!(sim.pod_names().is_empty());
    let accepted = sim.condition("MediaPool", "default", "Accepted");
    assert!(
        accepted.starts_with("False InvalidCertificate: Secret \"sip-cert\" not found"),
        "{accepted}"
    );
    sim.world.secrets.insert("sip-cert".into(), certificate);
    sim.settle();
    assert_eq!(sim.pod_names(), ["default-0"]);
    sim.world.secrets.remove("sip-cert");
    sim.image("media:2");
    sim.settle();
    assert_eq!(sim.pod_names().len(), 1, "the certificate before serves on, rollouts too");
    assert!(sim.condition("MediaPool", "default", "Accepted").contains("the one before is in use"));
}

#[test]
fn pod_security_is_named_with_the_way_out() {
    let mut sim = Sim::with_pool(1);
    let message = "violates PodSecurity \"restricted:latest\": host namespaces".into();
    sim.world.refused.insert("default".into(), Refusal { pod_security: true, message });
    sim.pass();
    let accepted = sim.condition("MediaPool", "default", "Accepted");
    assert!(
        accepted.starts_with("False PodSecurityForbidden: namespace voice does not allow"),
        "{accepted}"
    );
    assert!(accepted.contains("pod-security.kubernetes.io/enforce=privileged"));
}

#[test]
fn autoscaling_is_not_there_yet_and_says_so() {
    let mut sim = Sim::with_pool(1);
    sim.edit_pool(|spec| spec["autoscaling"] = json!({"maxReplicas": 3}));
    sim.settle();
    let limited = sim.condition("MediaPool", "default", "ScalingLimited");
    assert!(
        limited.starts_with("True Unsupported: not supported yet: spec.autoscaling"),
        "{limited}"
    );
}

#[test]
fn calls_are_written_every_half_minute_and_conditions_at_once() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    sim.calls.insert("default-0".into(), 3);
    let written = |sim: &Sim| sim.world.trunks["carrier-a"].status.as_ref().unwrap().active_calls;
    sim.run_for(2);
    assert_eq!(written(&sim), Some(3), "the last write is long ago");
    sim.calls.insert("default-0".into(), 4);
    sim.run_for(10);
    assert_eq!(written(&sim), Some(3));
    let waiting = plan(&sim.world, sim.now);
    assert!(waiting.statuses.is_empty());
    let next = waiting.next.expect("it wants to be asked again");
    assert!(next.duration_since(sim.now) < SignedDuration::from_secs(30));
    sim.run_for(25);
    assert_eq!(written(&sim), Some(4));
    let mut kinds = Vec::new();
    sim.calls.insert("default-0".into(), 5);
    sim.world.agents.remove("support");
    for patch in sim.tick().statuses {
        if let Status::Trunk(_, status) = patch.status {
            kinds.push((patch.urgency, status.active_calls));
        }
    }
    assert_eq!(kinds, [(Urgency::News, Some(5))], "news take the numbers with them");
}

#[test]
fn times_of_transition_change_with_the_status_alone() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    let since = |sim: &Sim, type_: &str| {
        let status = sim.world.trunks["carrier-a"].status.clone().unwrap();
        status.conditions.iter().find(|it| it.type_ == type_).unwrap().last_transition_time.clone()
    };
    let (accepted, resolved) = (since(&sim, "Accepted"), since(&sim, "ResolvedRefs"));
    sim.world.agents.remove("support");
    sim.settle();
    assert_eq!(since(&sim, "Accepted"), accepted);
    assert_ne!(since(&sim, "ResolvedRefs"), resolved);
}

#[test]
fn a_configuration_that_pods_cannot_read_is_not_taken_for_programmed() {
    let mut sim = Sim::with_pool(1);
    sim.rejected = vec![Rejected {
        kind: "File".into(),
        name: "manifests.json.gz".into(),
        message: "not gzip, or cut short".into(),
        outcome: "LastGoodKept".into(),
        ..Rejected::default()
    }];
    sim.settle();
    assert_eq!(sim.condition("Trunk", "carrier-a", "Programmed"), "False Pending: 0/1 media pods");
    assert_eq!(
        sim.condition("MediaPool", "default", "Accepted"),
        "False Rejected: pod default-0 cannot read its configuration: not gzip, or cut short"
    );
}

#[test]
fn what_was_programmed_stays_so_while_the_pool_waits() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    sim.edit_pool(|spec| spec["exposure"]["address"] = json!({"source": "LoadBalancer"}));
    sim.trunk("late", json!({"inbound": {"sources": ["192.0.2.0/24"]}}));
    sim.settle();
    assert!(sim.condition("MediaPool", "default", "Accepted").starts_with("False Invalid"));
    assert!(sim.condition("Trunk", "carrier-a", "Programmed").starts_with("True"));
    let late = sim.condition("Trunk", "late", "Programmed");
    assert!(
        late.starts_with("False Pending: MediaPool default waits: in mode HostNetwork"),
        "{late}"
    );
    assert_eq!(sim.pod_names(), ["default-0"]);
}
