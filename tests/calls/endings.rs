//! Every way a call can end, and what is left of it.

use std::time::Duration;

use trunkline_media_node::call::AgentReason;
use trunkline_media_node::call::cause::EndedBy;
use trunkline_media_node::call::media::AgentFailure;
use trunkline_media_node::sip::{HeaderName, Method};

use super::config::{BASE, ROUTES, load, trunk, usual};
use super::net::{Answers, Net, statuses};

const SECOND: Duration = Duration::from_secs(1);

fn up(seed: u64) -> Net {
    let mut net = Net::new(usual(), seed);
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    assert_eq!(statuses(&net.carrier.responses), [100, 180, 200]);
    net
}

fn ended_by(net: &Net, by: EndedBy, cause: &str) {
    let end = net.record().end.as_ref().expect("an ended call says why");
    assert_eq!((end.by, end.cause), (by, cause));
    assert_eq!(net.node.load().trunks, [("carrier-a".to_owned(), 0)], "nothing stays counted");
    assert!(net.node.is_idle());
}

#[test]
fn the_caller_hangs_up() {
    let mut net = up(1);
    let bye = net.carrier.next_request("BYE", "");
    net.send(&bye);
    net.run_for(SECOND);
    assert_eq!(net.carrier.responses.last().unwrap().status.as_u16(), 200);
    assert_eq!(net.agent().events().last(), Some(&"stop"));
    assert!(net.agent().closed.is_some());
    ended_by(&net, EndedBy::Caller, "caller_hung_up");
}

#[test]
fn the_caller_cancels_while_the_phone_rings() {
    let mut net = Net::new(usual(), 2);
    net.answers.insert("support".into(), Answers::Never);
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    let cancel = net.carrier.cancel();
    net.send(&cancel);
    net.run_for(SECOND);
    assert_eq!(statuses(&net.carrier.responses), [100, 180, 200, 487], "200 is the CANCEL's");
    ended_by(&net, EndedBy::Caller, "caller_cancelled");
}

#[test]
fn a_cancel_after_the_agent_opened_tells_it_to_stop() {
    let mut net = Net::new(usual(), 3);
    net.answers.insert("support".into(), Answers::After(Duration::from_millis(995)));
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(Duration::from_millis(990));
    let cancel = net.carrier.cancel();
    net.send(&cancel);
    net.run_for(5 * SECOND);
    // CANCEL and the 200 have crossed, or not; either way nothing is left up for ever.
    let bye = net.carrier.next_request("BYE", "");
    net.send(&bye);
    net.run_for(SECOND);
    assert!(net.ended());
    assert!(net.node.is_idle());
}

#[test]
fn a_bye_before_the_answer_ends_the_call() {
    let mut net = Net::new(usual(), 4);
    net.answers.insert("support".into(), Answers::Never);
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    let tag = net.carrier.responses[1].headers.to().unwrap().tag().unwrap();
    net.carrier.to_tag = tag.as_str().to_owned();
    let bye = net.carrier.next_request("BYE", "");
    net.send(&bye);
    net.run_for(SECOND);
    let all = statuses(&net.carrier.responses);
    assert!(all.contains(&200) && all.contains(&487), "{all:?}");
    ended_by(&net, EndedBy::Caller, "caller_hung_up");
}

#[test]
fn the_agent_closes_its_connection() {
    let mut net = up(5);
    net.agent_closes(Some(1000));
    net.run_for(10 * SECOND);
    let bye = net.carrier.requests.last().expect("a BYE");
    assert_eq!(bye.method, Method::Bye);
    assert!(bye.headers.text(&HeaderName::Reason).unwrap().contains("cause=16"));
    ended_by(&net, EndedBy::Agent, "agent_hung_up");
}

#[test]
fn the_agent_breaks_off_without_a_word() {
    let mut net = up(6);
    net.agent_closes(None);
    net.run_for(10 * SECOND);
    ended_by(&net, EndedBy::Agent, "agent_hung_up");
}

#[test]
fn no_agent_can_be_reached() {
    for reason in [AgentFailure::Connect, AgentFailure::Status(403), AgentFailure::Timeout] {
        let mut net = Net::new(usual(), 7);
        net.answers.insert("support".into(), Answers::Fails(reason));
        let invite = net.carrier.invite("+15551230001");
        net.send(&invite);
        net.run_for(SECOND);
        assert_eq!(statuses(&net.carrier.responses), [100, 180, 480]);
        let response = net.carrier.responses.last().unwrap();
        assert!(response.headers.text(&HeaderName::Warning).unwrap().contains("agent"));
        ended_by(&net, EndedBy::Agent, "agent_unavailable");
    }
}

#[test]
fn an_agent_that_refuses_a_call_is_out_of_reach_until_it_takes_one() {
    for (failure, reason) in [
        (AgentFailure::Status(401), AgentReason::AuthFailed),
        (AgentFailure::Status(503), AgentReason::ConnectFailed),
        (AgentFailure::Protocol, AgentReason::ConnectFailed),
    ] {
        let mut net = Net::new(usual(), 7);
        net.run_for(SECOND);
        assert_eq!(net.reached["support"].reason, AgentReason::Connected);
        net.answers.insert("support".into(), Answers::Fails(failure));
        let invite = net.carrier.invite("+15551230001");
        net.send(&invite);
        net.run_for(SECOND);
        let view = &net.reached["support"];
        assert_eq!((view.ok, view.reason), (false, reason), "{view:?}");
        assert_eq!(view.message, failure.explain());
        // What only a call can know is not forgotten because the server takes connections.
        net.run_for(120 * SECOND);
        assert_eq!(net.reached["support"].reason, reason);

        net.answers.remove("support");
        let invite = net.carrier.invite("+15551230001");
        net.send(&invite);
        net.run_for(SECOND);
        assert_eq!(net.reached["support"].reason, AgentReason::Connected);
    }
}

#[test]
fn the_carrier_falls_silent() {
    let mut net = up(8);
    net.speak(vec![vec![0x55; 160]; 50]);
    net.run_for(30 * SECOND);
    assert!(!net.ended());
    net.run_for(40 * SECOND);
    ended_by(&net, EndedBy::Carrier, "carrier_inactive");
}

#[test]
fn the_agents_silence_never_ends_a_call() {
    let mut net = up(9);
    net.speak(vec![vec![0x55; 160]; 50 * 300]);
    net.run_for(300 * SECOND);
    assert!(!net.ended());
    let heard = net.carrier.heard.len();
    assert!((14_900..=15_100).contains(&heard), "the line is never dead: {heard} packets");
}

#[test]
fn a_200_that_is_never_acknowledged_ends_the_call() {
    let mut net = Net::new(usual(), 10);
    net.carrier.acks = false;
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(40 * SECOND);
    assert_eq!(net.carrier.requests.last().map(|bye| bye.method.clone()), Some(Method::Bye));
    ended_by(&net, EndedBy::Carrier, "no_ack");
}

#[test]
fn the_trunks_longest_call_is_over() {
    let rest = format!("{ROUTES}  limits: {{callDurationSeconds: 60}}\n");
    let manifests = format!("{BASE}{}", trunk("{sources: [\"203.0.113.0/24\"]}", &rest));
    let mut net = Net::new(load(&manifests), 11);
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    net.speak(vec![vec![0x55; 160]; 50 * 70]);
    net.run_for(58 * SECOND);
    assert!(!net.ended());
    net.run_for(3 * SECOND);
    ended_by(&net, EndedBy::Node, "duration_limit");
}

#[test]
fn somebody_hangs_up_through_the_admin_api() {
    let mut net = up(12);
    let id = net.phases[0].1.id.clone();
    assert!(net.node.hang_up(net.now, &id));
    net.run_for(SECOND);
    assert!(!net.node.hang_up(net.now, &id), "an ended call cannot end again");
    assert!(!net.node.hang_up(net.now, "nobody"));
    ended_by(&net, EndedBy::Node, "operator");
}

#[test]
fn a_record_tells_what_the_call_was() {
    let mut net = up(13);
    net.speak(vec![vec![0x55; 160]; 100]);
    net.run_for(3 * SECOND);
    let bye = net.carrier.next_request("BYE", "");
    net.send(&bye);
    net.run_for(SECOND);
    let record = serde_json::to_value(net.record()).unwrap();
    assert_eq!(record["state"], "Ended");
    assert_eq!(record["media"]["codec"], "PCMU");
    assert_eq!(record["media"]["report"]["packetsIn"], 100);
    assert_eq!(record["from"], "+44********23", "numbers are masked by default");
    assert!(record["answeredAt"].as_str().unwrap().ends_with('Z'));
}
