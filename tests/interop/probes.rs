//! Carriers' servers that answer OPTIONS, that keep silent, and that are not there.

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use serde_json::Value;
use trunkline_tests::node::Node;
use trunkline_tests::peers::{Softphone, sipp};
use trunkline_tests::ports;
use trunkline_tests::process::{Process, wait_until};

use crate::site::{SOON, Site, argument, report};

/// The carrier's address; the node serves on 127.0.0.1.
const CARRIER: &str = "127.0.0.2";
/// A question is given up after ten seconds.
const GIVEN_UP: Duration = Duration::from_secs(20);

fn outbound(name: &str, transport: &str, server: &str, more: &str) -> String {
    format!(
        "---
apiVersion: trunkline.dev/v1alpha1
kind: Trunk
metadata: {{name: {name}, namespace: trunkline}}
spec:
  transport: {transport}
  media: {{encryption: Preferred}}
  outbound: {{addresses: [\"{server}\"], optionsPeriodSeconds: 1{more}}}
"
    )
}

fn options_of(node: &Node, trunk: &str) -> Value {
    node.admin.status()["trunks"][trunk]["options"].clone()
}

/// What the node says of a trunk, once it says this reason.
fn wait_for_reason(node: &Node, trunk: &str, reason: &str, timeout: Duration) -> Value {
    let options = wait_until(&format!("{trunk} is {reason}"), timeout, || {
        let options = options_of(node, trunk);
        (options["reason"] == reason).then_some(options)
    });
    assert_eq!(options["ok"], reason == "OptionsOK", "{options}");
    options
}

fn answers(node: &Node) -> u64 {
    let metrics = node.admin.metrics();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("trunkline_options_probes_total{reason=\"ok\"} "));
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn wait_for_self_check(node: &Node, way: &str) {
    wait_until("the self-check is over", SOON, || {
        let advertised = node.admin.status()["advertised"][0].clone();
        let message = advertised["message"].as_str().unwrap_or_default().to_owned();
        assert_ne!(advertised["reachesUs"], false, "{advertised}");
        (advertised["reachesUs"] == true && message.contains(way)).then_some(())
    });
}

fn a_carrier_that_answers_and_then_does_not(transport: &str, mode: &str, gone: &str) {
    let site = Site::new(&format!("options-{transport}"), 10);
    let port = ports::free();
    let mut carrier = {
        let own_port = port.to_string();
        let arguments = ["-i", CARRIER, "-p", &own_port, "-t", mode];
        sipp("answer-options", CARRIER, &arguments, &site.directory)
    };
    wait_until("SIPp listens", SOON, || {
        assert!(carrier.is_running(), "{}", carrier.tail());
        listens(transport, port).then_some(())
    });
    let trunk = outbound("carrier", transport, &format!("{CARRIER}:{port}"), "");
    site.manifests.write("trunk.yaml", &trunk);
    let node = site.start();
    let options = wait_for_reason(&node, "carrier", "OptionsOK", SOON);
    assert_eq!(options["server"], format!("{CARRIER}:{port}"));
    assert!(options["rttMilliseconds"].is_u64() && options["at"].is_string(), "{options}");
    report(&format!("{transport}: {}", options["message"]));
    wait_for_self_check(&node, &format!("over {transport}"));
    wait_until("it is asked again and again", SOON, || (answers(&node) >= 3).then_some(()));
    assert!(node.admin.metrics().contains("trunkline_probed_trunks{state=\"reachable\"} 1"));
    if transport == "TCP" {
        assert_eq!(connections_to(port), 1, "every question goes on the same connection");
    }

    drop(carrier);
    let options = wait_for_reason(&node, "carrier", gone, GIVEN_UP);
    report(&format!("{transport}, gone: {}", options["message"]));
    assert!(node.admin.metrics().contains("trunkline_probed_trunks{state=\"unreachable\"} 1"));
    assert_eq!(told(&node.process, "the carrier answers"), 1, "a change is logged once");
    assert_eq!(told(&node.process, "the carrier is out of reach"), 1, "a change is logged once");
}

/// Local and remote address of every socket, as the kernel writes them.
fn sockets(transport: &str) -> Vec<(String, String)> {
    let table = format!("/proc/net/{}", transport.to_lowercase());
    let text = std::fs::read_to_string(table).expect("the kernel tells its sockets");
    let addresses = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1).map(str::to_owned);
        Some((words.next()?, words.next()?))
    };
    text.lines().filter_map(addresses).collect()
}

/// 127.0.0.2 and a port in that writing.
fn carrier_at(port: u16) -> String {
    format!("0200007F:{port:04X}")
}

fn listens(transport: &str, port: u16) -> bool {
    sockets(transport).iter().any(|(local, _)| *local == carrier_at(port))
}

/// TCP connections to the carrier's port, those included that were closed a moment ago.
fn connections_to(port: u16) -> usize {
    sockets("TCP").iter().filter(|(_, remote)| *remote == carrier_at(port)).count()
}

fn told(node: &Process, words: &str) -> usize {
    node.output().lines().filter(|line| line.contains(words)).count()
}

#[test]
fn a_carrier_over_udp_answers_and_then_does_not() {
    a_carrier_that_answers_and_then_does_not("UDP", "u1", "OptionsTimeout");
}

#[test]
fn a_carrier_over_tcp_answers_and_then_does_not() {
    a_carrier_that_answers_and_then_does_not("TCP", "t1", "ConnectFailed");
}

#[test]
fn who_does_not_answer_is_told_by_how_far_we_came() {
    let site = Site::new("options-nobody", 10);
    let silent_udp = UdpSocket::bind((CARRIER, 0)).expect("loopback has a free port");
    let silent_tcp = TcpListener::bind((CARRIER, 0)).expect("loopback has a free port");
    let udp = silent_udp.local_addr().expect("bound above").to_string();
    let tcp = silent_tcp.local_addr().expect("bound above").to_string();
    let nobody = format!("{CARRIER}:{}", ports::free());
    let trunks = [
        outbound("silent-udp", "UDP", &udp, ""),
        outbound("silent-tcp", "TCP", &tcp, ""),
        outbound("silent-tls", "TLS", &tcp, ""),
        outbound("nobody", "TCP", &nobody, ""),
        outbound("nameless", "UDP", "sip.carrier.invalid", ""),
        outbound("other-family", "UDP", "[::1]:5060", ""),
    ];
    site.manifests.write("trunks.yaml", &trunks.concat());
    let node = site.start();
    for (trunk, reason, words) in [
        ("nobody", "ConnectFailed", "refused"),
        ("other-family", "ConnectFailed", "IPv6"),
        ("nameless", "DNSFailed", "sip.carrier.invalid"),
        ("silent-tls", "TLSHandshakeFailed", "no answer in time"),
        ("silent-udp", "OptionsTimeout", "within 10 s"),
        ("silent-tcp", "OptionsTimeout", "within 10 s"),
    ] {
        let options = wait_for_reason(&node, trunk, reason, GIVEN_UP);
        report(&format!("{trunk}: {}", options["message"]));
        assert!(options["message"].as_str().is_some_and(|it| it.contains(words)), "{options}");
        assert!(options.get("rttMilliseconds").is_none(), "{options}");
    }
    assert_eq!(node.admin.status()["state"], "Ready", "the node takes calls all the same");
}

#[test]
fn over_tls_both_sides_may_want_a_certificate() {
    let site = Site::new("options-tls", 10);
    let certificate = &site.certificate;
    let port = ports::free().to_string();
    let files = [&certificate.ca_file, &certificate.certificate_file, &certificate.key_file]
        .map(|file| argument(file));
    let mut carrier = Softphone::start(
        "carrier",
        &site.directory,
        &[
            "--port",
            &port,
            "--ca",
            &files[0],
            "--certificate",
            &files[1],
            "--key",
            &files[2],
            "--ask-certificate",
        ],
    );
    carrier.0.wait_for_event("ready", 0, SOON);

    let server = format!("localhost:{port}");
    let ca = ", caRef: {name: carrier-ca}";
    let shows = ", clientCertificateRef: {name: sip-cert}";
    let indented: String = certificate.ca.lines().map(|line| format!("    {line}\n")).collect();
    let trunks = [
        "apiVersion: v1\nkind: Secret\nmetadata: {name: carrier-ca, namespace: trunkline}\n\
         stringData:\n  ca.crt: |\n"
            .to_owned(),
        indented,
        outbound("mutual", "TLS", &server, &format!("{ca}{shows}")),
        outbound("shows-nothing", "TLS", &server, ca),
        outbound("public-roots", "TLS", &server, shows),
    ];
    site.manifests.write("trunks.yaml", &trunks.concat());
    let node = site.start();
    let options = wait_for_reason(&node, "mutual", "OptionsOK", SOON);
    report(&format!("TLS: {}", options["message"]));
    wait_for_self_check(&node, "over TLS");
    wait_until("it is asked again and again", SOON, || (answers(&node) >= 3).then_some(()));
    let options = wait_for_reason(&node, "public-roots", "TLSHandshakeFailed", SOON);
    assert!(
        options["message"].as_str().is_some_and(|it| it.contains("UnknownIssuer")),
        "{options}"
    );
    report(&format!("without caRef: {}", options["message"]));
    let options = wait_until("the one that shows nothing was asked", GIVEN_UP, || {
        let options = options_of(&node, "shows-nothing");
        options["reason"].is_string().then_some(options)
    });
    report(&format!("without clientCertificateRef: {}", options["message"]));
    assert_eq!(options["ok"], false, "{options}");
}
