//! SIPp over UDP and TCP, with RTP: what carriers do, and what they do wrong.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use trunkline_tests::manifests::{agent, credentials, trunk};
use trunkline_tests::node::Node;
use trunkline_tests::peers::{Softphone, sipp};
use trunkline_tests::process::wait_until;
use trunkline_tests::sound;
use trunkline_tests::wav::Wav;

use crate::site::{EchoAgent, SOON, Site, newest_call, report};

/// The carrier's address; the node serves on 127.0.0.1.
const CARRIER: &str = "127.0.0.2";
const STRANGER: &str = "127.0.0.3";
const FROM_CARRIER: &str = "{sources: [\"127.0.0.2/32\"]}";
/// Routed to the echo agent, and to one that never accepts.
const NUMBER: &str = "+15551230001";
const SLOW_NUMBER: &str = "+15551230002";

struct Carrier {
    site: Site,
    node: Node,
    agent: EchoAgent,
    transport: &'static str,
    /// Accepts TCP and says nothing.
    _slow: TcpListener,
}

impl Carrier {
    fn start(test: &str, transport: &'static str) -> Self {
        Self::start_with(test, transport, FROM_CARRIER, |text| text)
    }

    fn start_with(
        test: &str,
        transport: &'static str,
        inbound: &str,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let site = Site::new(test, 60);
        let agent_process = EchoAgent::start("agent", &site.directory);
        let slow = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let slow_url = format!("ws://{}/", slow.local_addr().expect("bound above"));
        let routes = [(SLOW_NUMBER, "slow"), ("", "echo")];
        site.manifests
            .write("secret.yaml", &credentials("carrier-in", "carrier", "right"))
            .write("echo.yaml", &agent("echo", &agent_process.url("echo")))
            .write("slow.yaml", &agent("slow", &slow_url))
            .write(
                "trunk.yaml",
                &change(trunk("carrier", transport, "Disabled", inbound, &routes)),
            );
        let said = Wav::new(8000, sound::speech_like(8000, 10.0, 3));
        std::fs::write(Path::new(&site.file("speech.ulaw")), said.to_ulaw())
            .expect("the run's directory is writable");
        let node = site.start();
        Self { site, node, agent: agent_process, transport, _slow: slow }
    }

    /// Runs a scenario to its end; panics unless every call of it succeeded.
    fn run(&self, scenario: &str, more: &[&str], timeout: Duration) {
        self.run_from(CARRIER, scenario, more, timeout);
    }

    fn run_from(&self, source: &str, scenario: &str, more: &[&str], timeout: Duration) {
        let (mode, port) = match self.transport {
            "TCP" => ("t1", self.site.ports.tcp),
            _ => ("u1", self.site.ports.udp),
        };
        let own_port = trunkline_tests::ports::free().to_string();
        let media = trunkline_tests::ports::free_block(420);
        let first = media.to_string();
        let mut arguments =
            vec!["-i", source, "-mi", source, "-p", &own_port, "-t", mode, "-mp", &first];
        if !more.contains(&"-s") {
            arguments.extend(["-s", NUMBER]);
        }
        if !more.contains(&"-m") {
            arguments.extend(["-m", "1"]);
        }
        arguments.extend(more);
        let remote = format!("127.0.0.1:{port}");
        let mut sipp = sipp(scenario, &remote, &arguments, &self.site.directory);
        let status = sipp.wait(timeout);
        let errors = self.site.file(&format!("{scenario}-errors.log"));
        let errors = std::fs::read_to_string(errors).unwrap_or_default();
        assert!(
            status.success(),
            "SIPp {scenario}: {status}\n{errors}\n{}",
            self.node.process.tail()
        );
    }

    /// Frames of audio the agent heard in each call that has ended.
    fn frames_heard(&self) -> Vec<u64> {
        let ends = self.agent.process.events("end");
        ends.iter().filter_map(|end| end["frames"].as_u64()).collect()
    }

    fn wait_for_ended_calls(&self, count: usize) {
        wait_until("every call has ended", SOON, || {
            (self.node.admin.calls_in("Ended").len() == count).then_some(())
        });
    }
}

fn a_basic_call_carries_audio_both_ways(transport: &'static str) {
    let carrier = Carrier::start(&format!("basic-{transport}"), transport);
    carrier.run("basic", &["-d", "3000"], Duration::from_secs(20));
    let ended = newest_call(&carrier.node, "the call has ended", |call| call["state"] == "Ended");
    assert_eq!(ended["end"]["by"], "Caller", "{ended}");
    let frames = wait_until("the agent's end", SOON, || carrier.frames_heard().first().copied());
    assert!(frames >= 140, "the agent heard {frames} frames of 150");
}

#[test]
fn a_basic_call_over_udp_carries_audio_both_ways() {
    a_basic_call_carries_audio_both_ways("UDP");
}

#[test]
fn a_basic_call_over_tcp_carries_audio_both_ways() {
    a_basic_call_carries_audio_both_ways("TCP");
}

#[test]
fn a_cancelled_call_is_answered_487_and_leaves_nothing() {
    let carrier = Carrier::start("cancel", "UDP");
    carrier.run("cancel", &["-s", SLOW_NUMBER], SOON);
    carrier.wait_for_ended_calls(1);
}

#[test]
fn a_retransmitted_invite_makes_one_call() {
    let carrier = Carrier::start("retransmitted", "UDP");
    carrier.run("retransmitted-invite", &["-nr", "-s", SLOW_NUMBER], SOON);
    carrier.wait_for_ended_calls(1);
    assert_eq!(carrier.node.admin.calls().len(), 1);
}

#[test]
fn a_200_whose_ack_is_lost_comes_again_and_the_call_lives() {
    let carrier = Carrier::start("lost-ack", "UDP");
    carrier.run("lost-ack", &["-nr"], Duration::from_secs(20));
    carrier.wait_for_ended_calls(1);
}

#[test]
fn a_call_that_is_never_acknowledged_is_given_up_with_a_bye() {
    let carrier = Carrier::start("no-ack", "UDP");
    carrier.run("no-ack", &[], Duration::from_secs(60));
    carrier.wait_for_ended_calls(1);
}

#[test]
fn a_bye_before_any_audio_ends_the_call() {
    let carrier = Carrier::start("early-bye", "UDP");
    carrier.run("early-bye", &[], SOON);
    carrier.wait_for_ended_calls(1);
}

#[test]
fn a_stranger_gets_no_answer() {
    let carrier = Carrier::start("stranger", "UDP");
    carrier.run_from(STRANGER, "unknown-source", &[], SOON);
    assert!(carrier.node.admin.calls().is_empty());
}

const BY_PASSWORD: &str = "{authSecretRef: {name: carrier-in}}";

#[test]
fn the_right_password_makes_a_call() {
    let carrier = Carrier::start_with("right-digest", "UDP", BY_PASSWORD, |text| text);
    let uri = format!("sip:{NUMBER}@127.0.0.1:{}", carrier.site.ports.udp);
    // PJSIP picks one of the two challenges by itself.
    let mut phone = Softphone::start(
        "softphone",
        &carrier.site.directory,
        &[
            "--uri",
            &uri,
            "--transport",
            "udp",
            "--srtp",
            "off",
            "--address",
            STRANGER,
            "--username",
            "carrier",
            "--password",
            "right",
        ],
    );
    phone.0.wait_for_event("connected", 0, SOON);
    phone.hang_up();
    phone.0.wait_for_event("disconnected", 0, SOON);
    carrier.wait_for_ended_calls(1);
}

#[test]
fn a_wrong_password_is_refused() {
    let carrier = Carrier::start_with("wrong-digest", "UDP", BY_PASSWORD, |text| text);
    carrier.run_from(STRANGER, "wrong-digest", &[], SOON);
    assert!(carrier.node.admin.calls_in("Active").is_empty());
}

#[test]
fn hold_and_resume_are_answered_in_the_right_direction() {
    let carrier = Carrier::start("hold-resume", "UDP");
    carrier.run("hold-resume", &[], Duration::from_secs(20));
    carrier.wait_for_ended_calls(1);
}

#[test]
fn options_are_answered() {
    Carrier::start("options", "UDP").run("options", &[], SOON);
}

#[test]
fn past_a_trunks_limit_calls_are_answered_503_with_retry_after() {
    let one = |text: String| text.replace("concurrentCalls: 500", "concurrentCalls: 1");
    let carrier = Carrier::start_with("busy", "UDP", FROM_CARRIER, one);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| carrier.run("basic", &["-d", "10000"], Duration::from_secs(30)));
        newest_call(&carrier.node, "the first call is active", |call| call["state"] == "Active");
        carrier.run("busy", &[], SOON);
        first.join().expect("the first call is not disturbed");
    });
}

#[test]
fn fifty_calls_at_once_for_a_minute_all_succeed() {
    let carrier = Carrier::start("fifty", "UDP");
    carrier.run(
        "basic",
        &["-m", "50", "-l", "50", "-r", "25", "-d", "60000"],
        Duration::from_secs(100),
    );
    carrier.wait_for_ended_calls(50);
    wait_until("all agents' ends", SOON, || (carrier.frames_heard().len() == 50).then_some(()));
    let frames = carrier.frames_heard();
    let (least, most) = (frames.iter().min().copied(), frames.iter().max().copied());
    report(&format!("50 calls for a minute: the agent heard {least:?} to {most:?} frames of 3000"));
    assert!(least >= Some(2850), "a call lost audio: {frames:?}");
}
