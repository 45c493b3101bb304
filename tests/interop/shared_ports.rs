//! More calls than the pool has ports: their packets are told apart on the sockets they share.

use std::time::Duration;

use serde_json::Value;
use trunkline_tests::manifests::{NodePorts, agent, pool, trunk};

use crate::site::{EchoAgent, Site, load};

const NUMBER: &str = "+15551230001";
const CALLS: u64 = 8;
const FROM_LOOPBACK: &str = "{sources: [\"127.0.0.0/8\"]}";

/// Eight calls of three seconds, encrypted, on so few ports.
fn eight_calls_share(ports: u16) -> Value {
    let mut site = Site::new(&format!("shared-ports-{ports}"), CALLS as u16);
    site.ports = NodePorts { media: (site.ports.media.0, ports), ..site.ports };
    let own = format!("callsPerPod: {}\n", ports / 2);
    let text = pool(site.ports, Some(&site.certificate));
    assert!(text.contains(&own), "{text}");
    site.manifests.write("pool.yaml", &text.replace(&own, &format!("callsPerPod: {CALLS}\n")));
    let echo = EchoAgent::start("agent", &site.directory);
    let trunk = trunk("carrier", "TLS", "Required", FROM_LOOPBACK, &[("", "echo")]);
    site.manifests
        .write("agent.yaml", &agent("echo", &echo.url("echo")))
        .write("trunk.yaml", &trunk);
    let node = site.start();
    let calls = CALLS.to_string();
    let mut caller = load("load", &site, NUMBER, &["--calls", &calls, "--window", "3"]);
    let result = caller.wait_for_event("result", 0, Duration::from_secs(40));
    drop(node);
    result
}

#[track_caller]
fn assert_each_call_hears_its_own_agent(result: &Value) {
    assert_eq!((&result["answered"], &result["dropped"]), (&CALLS.into(), &0.into()), "{result}");
    let media = &result["media"];
    // Each call has a key of its own, so a packet of another one would be bad.
    for none in ["lost", "bad", "mute_calls", "echoless_calls", "silent_calls"] {
        assert_eq!(media[none], 0, "{none}: {result}");
    }
    assert!(media["received"].as_u64().is_some_and(|count| count >= CALLS * 130), "{result}");
    assert_eq!(result["unanswered_byes"], 0);
}

#[test]
fn eight_encrypted_calls_share_four_ports() {
    assert_each_call_hears_its_own_agent(&eight_calls_share(4));
}

#[test]
fn eight_encrypted_calls_share_one_port() {
    assert_each_call_hears_its_own_agent(&eight_calls_share(1));
}
