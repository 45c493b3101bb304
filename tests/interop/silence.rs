//! An agent that thinks for longer than any timeout.

use std::time::Duration;

use trunkline_tests::manifests::{agent, trunk};

use crate::site::{EchoAgent, Site, load, report};

const NUMBER: &str = "+15551230001";

#[test]
fn rtp_keeps_its_cadence_and_the_call_lives_while_the_agent_is_silent_for_75_seconds() {
    let site = Site::new("silence", 10);
    let silent = EchoAgent::start("agent", &site.directory);
    site.manifests.write("agent.yaml", &agent("silent", &silent.url("silent"))).write(
        "trunk.yaml",
        &trunk("carrier", "TLS", "Required", "{sources: [\"127.0.0.0/8\"]}", &[("", "silent")]),
    );
    let node = site.start();

    let mut caller = load("load", &site, NUMBER, &["--calls", "1", "--window", "75"]);
    let result = caller.wait_for_event("result", 0, Duration::from_secs(100));

    assert_eq!((&result["answered"], &result["dropped"]), (&1.into(), &0.into()), "{result}");
    let gaps = &result["media"]["gap_ms"];
    report(&format!("an agent silent for 75 s: gaps between packets {gaps}"));
    let received = result["media"]["received"].as_u64().unwrap_or(0);
    assert!((3500..=3760).contains(&received), "{received} packets in 75 s");
    assert_eq!(result["media"]["lost"], 0);
    // Other tests run on the same cores: the bounds are for the cadence, not for the scheduler.
    assert!(gaps["p90"].as_f64().is_some_and(|p90| p90 < 40.0), "{gaps}");
    assert_eq!(result["unanswered_byes"], 0);
    drop(node);
}
