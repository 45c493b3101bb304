use std::time::Duration;

use super::*;

/// 2026-11-23.
fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_795_392_000))
}

fn report(files: &[(&str, &str)]) -> (u8, String) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let report = check(dir.path(), now(), vec![]);
    (report.exit_code(), report.to_string())
}

const GOOD: &str = r#"
apiVersion: trunkline.dev/v1alpha1
kind: MediaPool
metadata: {name: default, namespace: trunkline}
spec:
  exposure:
    address: {source: Static, static: ["192.0.2.10"]}
---
apiVersion: v1
kind: Secret
metadata: {name: in, namespace: trunkline}
stringData: {username: alice, password: hunter2, token: s3cret}
---
apiVersion: trunkline.dev/v1alpha1
kind: Trunk
metadata: {name: carrier-a, namespace: trunkline}
spec:
  transport: UDP
  inbound:
    sources: ["203.0.113.0/24"]
    authSecretRef: {name: in}
    calledNumber: {countryCode: "44"}
  limits: {concurrentCalls: 20, callsPerSecond: 2}
  routes:
  - {name: support, numbers: ["+15551230001", "+1555200*"], agentRef: {name: support}}
  - {name: rest, agents: [{name: support, weight: 3}, {name: reception}]}
---
apiVersion: trunkline.dev/v1alpha1
kind: Agent
metadata: {name: support, namespace: trunkline}
spec:
  endpoint:
    webSocket: {url: "wss://agents.example/ws?key=zzz", dialect: TwilioMediaStreams, authSecretRef: {name: in}}
  fallback: {agentRef: {name: reception}}
---
apiVersion: trunkline.dev/v1alpha1
kind: Agent
metadata: {name: reception, namespace: trunkline}
spec:
  endpoint: {webSocket: {url: "ws://127.0.0.1:8765", dialect: TwilioMediaStreams}}
  fallback: {sipStatus: 480}
"#;

#[test]
fn good_manifests_are_shown_as_they_take_effect() {
    let (code, text) = report(&[("all.yaml", GOOD)]);
    assert_eq!(
        text,
        "\
MediaPool default
  sip         UDP 5060, TCP 5060, TLS 5061
  media       UDP 20000-29999, 1000 a pod
  calls       at most 500
  address     192.0.2.10
  certificate self-signed, made at start

Trunk carrier-a
  transport   UDP, RTP without encryption
  codecs      PCMU, PCMA, 20 ms a packet
  dtmf        Auto
  idle audio  comfort noise
  inactivity  60 s
  from        203.0.113.0/24 with digest
  number      Request-URI, country code 44
  limits      20 calls, 2 a second, 14400 s a call
  route       +15551230001, +1555200* -> support
  route       every other number -> support (3), reception (1)

Agent reception
  endpoint    ws://127.0.0.1:8765, TwilioMediaStreams
  connect     while the phone rings, within 5 s
  fallback    SIP 480

Agent support
  endpoint    wss://agents.example/ws, TwilioMediaStreams
  connect     while the phone rings, within 5 s
  fallback    Agent reception

good: 1 Trunk, 2 Agents in 1 file
"
    );
    assert_eq!(code, 0);
}

#[test]
fn every_problem_is_named_with_file_line_field_and_what_to_write() {
    let trunks = r#"
apiVersion: trunkline.dev/v1alpha1
kind: Trunk
metadata: {name: a}
spec:
  transport: UDP
  media:
    encryption: Required
  inbound:
    sources: ["203.0.113.0/24"]
  routes:
  - name: rest
    agentRef: {name: nobody}
---
apiVersion: trunkline.dev/v1alpha1
kind: Trunk
metadata: {name: b}
spec:
  inbound:
    sources: ["198.51.100.0/24"]
    authSecretRef: {name: gone}
---
apiVersion: trunkline.dev/v1alpha1
kind: Trunk
metadata: {name: c}
spec:
  inbound:
    sources: ["192.0.2.0/24"]
  outbound:
    addresses: [sip.carrier.example]
    callerId: {default: "+442079460000"}
---
apiVersion: trunkline.dev/v1alpha1
kind: Trunk
metadata: {name: d}
spec:
  inbound:
    sources: ["100.64.0.0/10"]
  routes:
  - name: x
    numbers: [+15551230001]
    agentRef: {name: nobody}
---
apiVersion: trunkline.dev/v1alpha1
kind: Trunk
metadata: {name: e}
spec:
  inbound:
    sources: ["192.0.2.1/32"]
  routes:
  - name: x
    agentRef: {name: nobody}
"#;
    let (code, text) = report(&[("trunks.yaml", trunks), ("broken.yaml", "a: [1\nb: 2\n")]);
    assert_eq!(code, 1);
    let lines: Vec<&str> = text.lines().collect();
    let has = |parts: &[&str]| {
        assert!(
            lines.iter().any(|line| parts.iter().all(|part| line.contains(part))),
            "{parts:?} not in\n{text}"
        );
    };
    has(&["broken.yaml:2: not YAML: "]);
    has(&["trunks.yaml:8: Trunk/a: spec.media.encryption: ", "write transport: TLS"]);
    has(&["trunks.yaml:21: Trunk/b: spec.inbound.authSecretRef.name: Secret \"gone\" not found"]);
    has(&["trunks.yaml:31: Trunk/c: spec.outbound.callerId: not supported yet; this release"]);
    has(&["trunks.yaml:41: Trunk/d: spec.routes[0].numbers[0]: ", "quotes"]);
    has(&["trunks.yaml:52: Trunk/e: spec.routes[0].agentRef.name: Agent \"nobody\" not found"]);
    assert_eq!(lines.last(), Some(&"6 problems in 2 files"), "{text}");
}

#[test]
fn warnings_do_not_fail() {
    let text = GOOD.replace("transport: UDP", "transport: TLS").replace("192.0.2.10", "10.0.0.5");
    let (code, text) = report(&[("all.yaml", &text)]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains(
            "warning: all.yaml:5: MediaPool/default: spec.tls.certificateRef: no certificate"
        ),
        "{text}"
    );
    assert!(text.contains("warning: all.yaml:20: Trunk/carrier-a: spec.inbound.sources: 203.0.113.0/24 is a public network"), "{text}");
}

#[test]
fn an_outbound_trunk_loads_and_says_what_it_does_not_do_yet() {
    let trunk = r#"
apiVersion: trunkline.dev/v1alpha1
kind: Trunk
metadata: {name: out}
spec:
  transport: TLS
  outbound:
    addresses: [sip.carrier.example, "[2001:db8::10]:5062"]
"#;
    let (code, text) = report(&[("a.yaml", trunk)]);
    assert_eq!(code, 0, "{text}");
    let row = "  to          sip.carrier.example, [2001:db8::10]:5062, OPTIONS every 30 s\n";
    assert!(text.contains(row), "{text}");
    assert!(
        text.contains("warning: a.yaml:7: Trunk/out: spec.outbound: calls to the carrier come")
    );
    let (code, text) = report(&[(
        "a.yaml",
        &format!("{trunk}    optionsPeriodSeconds: 0\n    caRef: {{name: ca}}\n"),
    )]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("spec.outbound.caRef.name: Secret \"ca\" not found"), "{text}");
}

#[test]
fn a_directory_without_manifests_fails() {
    let (code, text) = report(&[("readme.txt", "")]);
    assert_eq!(code, 1);
    assert!(text.contains("no manifests here"), "{text}");
    assert_eq!(check(Path::new("/nowhere"), now(), vec![]).exit_code(), 1);
    let (code, text) =
        report(&[("a.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n")]);
    assert_eq!((code, text.contains("no Trunk and no Agent")), (1, true), "{text}");
}

#[test]
fn nothing_of_a_secret_is_shown() {
    let (_, good) = report(&[("all.yaml", GOOD)]);
    let bad = GOOD
        .replace("key=zzz", "key=zzz#x")
        .replace("password: hunter2", "password: \"hunter2\\nhunter2\"");
    let (code, bad) = report(&[("all.yaml", &bad)]);
    assert_eq!(code, 1);
    for secret in ["hunter2", "s3cret", "zzz", "alice"] {
        assert!(!good.contains(secret) && !bad.contains(secret), "{secret}\n{good}\n{bad}");
    }
}

#[test]
fn what_a_preset_fills_is_shown() {
    let text = GOOD.replace("  transport: UDP\n", "  preset: Twilio\n");
    let (code, text) = report(&[("all.yaml", &text)]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("  preset      Twilio fills "), "{text}");
}
