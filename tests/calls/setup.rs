//! How a call begins.

use std::time::Duration;

use trunkline_media_node::call::Phase;
use trunkline_media_node::call::media::AgentFailure;
use trunkline_media_node::sip::HeaderName;

use super::config::{BASE, ROUTES, load, trunk, usual};
use super::net::{Answers, Net, statuses};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_phone_rings_until_the_agent_is_ready_and_then_the_call_is_answered() {
    let mut net = Net::new(usual(), 1);
    net.answers.insert("support".into(), Answers::After(3 * SECOND));
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(2 * SECOND);
    assert_eq!(statuses(&net.carrier.responses), [100, 180]);
    net.run_for(2 * SECOND);
    assert_eq!(statuses(&net.carrier.responses), [100, 180, 200]);
    let phases: Vec<Phase> = net.phases.iter().map(|(phase, _)| *phase).collect();
    assert_eq!(phases, [Phase::Routed, Phase::AgentReady, Phase::Answered, Phase::Established]);
    let ok = net.carrier.responses.last().unwrap();
    let body = String::from_utf8(ok.body.to_vec()).unwrap();
    assert!(body.contains("c=IN IP4 192.0.2.10"), "the advertised address: {body}");
    assert!(body.contains("m=audio 20000 RTP/AVP 0 101"), "the first port, one codec: {body}");
    assert!(ok.headers.text(&HeaderName::Contact).unwrap().contains("@192.0.2.10:5060"));
}

#[test]
fn the_agent_hears_who_calls_before_the_first_sound() {
    let mut net = Net::new(usual(), 2);
    net.carrier.number = "+15551230001".into();
    let invite =
        net.carrier.request("INVITE", "X-Customer-Id: 42\r\n", &super::carrier::offer("sendrecv"));
    net.send(&invite);
    net.run_for(SECOND);
    assert_eq!(&net.agent().events()[..2], ["connected", "start"]);
    let (_, start) = &net.agent().messages[1];
    let parameters = &start["start"]["customParameters"];
    for (name, value) in [
        ("tenant", "acme"),
        ("customerId", "42"),
        ("from_number", "+442079460123"),
        ("to_number", "+15551230001"),
        ("trunk", "carrier-a"),
        ("direction", "inbound"),
        ("sip_call_id", "call-1"),
    ] {
        assert_eq!(parameters[name], value, "{name} in {parameters}");
    }
    assert_eq!(parameters["call_id"], net.phases[0].1.id.as_str());
}

#[test]
fn with_connect_answered_the_call_is_answered_before_the_agent_is() {
    let manifests = format!("{BASE}{}", trunk("{sources: [\"203.0.113.0/24\"]}", ROUTES)).replacen(
        "  variables:",
        "  connect: Answered\n  variables:",
        1,
    );
    let mut net = Net::new(load(&manifests), 3);
    net.answers.insert("support".into(), Answers::After(3 * SECOND));
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    assert_eq!(statuses(&net.carrier.responses), [100, 200]);
    net.run_for(3 * SECOND);
    assert_eq!(&net.agent().events()[..2], ["connected", "start"]);
}

#[test]
fn an_agent_that_cannot_be_reached_leads_to_its_fallback() {
    let manifests = format!("{BASE}{}", trunk("{sources: [\"203.0.113.0/24\"]}", ROUTES)).replacen(
        "  variables:",
        "  fallback: {agentRef: {name: reception}}\n  variables:",
        1,
    );
    let mut net = Net::new(load(&manifests), 4);
    net.answers.insert("support".into(), Answers::Fails(AgentFailure::Connect));
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    assert_eq!(net.agents, ["support", "reception"]);
    assert_eq!(statuses(&net.carrier.responses), [100, 180, 200]);
    assert_eq!(net.node.load().agents, [("reception".into(), 1), ("support".into(), 0)]);
}

#[test]
fn a_fallback_status_is_what_the_caller_hears() {
    let manifests = format!("{BASE}{}", trunk("{sources: [\"203.0.113.0/24\"]}", ROUTES)).replacen(
        "  variables:",
        "  fallback: {sipStatus: 486}\n  variables:",
        1,
    );
    let mut net = Net::new(load(&manifests), 5);
    net.answers.insert("support".into(), Answers::Fails(AgentFailure::Timeout));
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    assert_eq!(statuses(&net.carrier.responses), [100, 180, 486]);
    assert_eq!(net.record().end.as_ref().unwrap().cause, "fallback_status");
}

#[test]
fn a_repeated_invite_is_one_call() {
    let mut net = Net::new(usual(), 6);
    let invite = net.carrier.invite("+15551230001");
    for _ in 0..3 {
        net.send(&invite);
    }
    net.run_for(SECOND);
    assert_eq!(net.calls.len(), 1);
    assert!(net.refusals.is_empty());
}

#[test]
fn the_200_is_repeated_until_its_ack_comes() {
    let mut net = Net::new(usual(), 7);
    net.carrier.acks = false;
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(2 * SECOND);
    let repeated = statuses(&net.carrier.responses).iter().filter(|it| **it == 200).count();
    assert_eq!(repeated, 3, "at once, after 0.5 s, after 1.5 s");
    let ack = net.carrier.request("ACK", "", "");
    net.send(&ack);
    net.run_for(5 * SECOND);
    let after = statuses(&net.carrier.responses).iter().filter(|it| **it == 200).count();
    assert_eq!(after, repeated);
}

#[test]
fn hold_and_resume_are_answered_in_the_right_direction() {
    let mut net = Net::new(usual(), 8);
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    for (offered, answered) in
        [("sendonly", "recvonly"), ("inactive", "inactive"), ("sendrecv", "sendrecv")]
    {
        let body = super::carrier::offer(offered);
        let reinvite = net.carrier.next_request("INVITE", &body);
        net.send(&reinvite);
        net.run_for(SECOND);
        let answer = net.carrier.responses.last().unwrap();
        assert_eq!(answer.status.as_u16(), 200);
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(body.contains(&format!("a={answered}\r\n")), "{offered}: {body}");
    }
    let body = super::carrier::offer("sendrecv").replace("RTP/AVP 0 8", "RTP/AVP 18");
    let other = net.carrier.next_request("INVITE", &body);
    net.send(&other);
    net.run_for(SECOND);
    assert_eq!(net.carrier.responses.last().unwrap().status.as_u16(), 488);
    assert!(!net.ended(), "a re-offer that is refused leaves the call as it was");
}

#[test]
fn audio_stops_on_hold_and_goes_on_after_it() {
    let mut net = Net::new(usual(), 9);
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    let hold = net.carrier.next_request("INVITE", &super::carrier::offer("inactive"));
    net.send(&hold);
    net.run_for(SECOND);
    let before = net.carrier.heard.len();
    net.run_for(90 * SECOND);
    assert_eq!(net.carrier.heard.len(), before, "nothing is sent to who does not listen");
    assert!(!net.ended(), "the carrier's silence does not count while it holds");
    let resume = net.carrier.next_request("INVITE", &super::carrier::offer("sendrecv"));
    net.send(&resume);
    net.run_for(SECOND);
    assert!(net.carrier.heard.len() > before + 40);
}
