//! Who is not let in, and what they are told.

use std::time::Duration;

use trunkline_media_node::sip::HeaderName;

use super::carrier::offer;
use super::config::{BASE, ROUTES, load, trunk, usual};
use super::net::{Net, statuses};

const SECOND: Duration = Duration::from_secs(1);

fn last_status(net: &Net) -> u16 {
    net.carrier.responses.last().map_or(0, |response| response.status.as_u16())
}

#[test]
fn a_stranger_hears_nothing_at_all() {
    let mut net = Net::new(usual(), 1);
    net.carrier.address = "198.51.100.9:5060".parse().unwrap();
    for method in ["INVITE", "OPTIONS", "REGISTER", "BYE"] {
        let request = net.carrier.next_request(method, "");
        net.send(&request);
    }
    net.send("INVITE sip:broken SIP/2.0\r\n\r\n");
    net.run_for(40 * SECOND);
    assert!(net.carrier.responses.is_empty());
    assert!(net.strangers >= 3);
}

#[test]
fn a_known_source_is_always_told_what_is_wrong() {
    for (what, number, change, status) in [
        ("a number without a route", "+15559999999", ("", ""), 404),
        ("no codec in common", "+15551230001", ("RTP/AVP 0 8 101", "RTP/AVP 18 101"), 488),
        ("only encrypted audio", "+15551230001", ("RTP/AVP", "RTP/SAVP"), 488),
        ("no more hops", "+15551230001", ("Max-Forwards: 70", "Max-Forwards: 0"), 483),
        (
            "an extension we lack",
            "+15551230001",
            ("Max-Forwards", "Require: 100rel\r\nMax-Forwards"),
            420,
        ),
        ("another kind of body", "+15551230001", ("application/sdp", "text/plain"), 415),
        ("a broken header", "+15551230001", ("Contact: <sip:gw@", "Contact: <<sip:gw@"), 400),
        (
            "another scheme",
            "+15551230001",
            ("INVITE sip:+15551230001@192.0.2.10", "INVITE http://example.com/"),
            416,
        ),
    ] {
        let mut net = Net::new(usual(), 2);
        let invite = net.carrier.invite(number).replace(change.0, change.1);
        let len = invite.split("\r\n\r\n").nth(1).unwrap().len();
        let at = invite.find("Content-Length: ").unwrap();
        let end = at + invite[at..].find("\r\n").unwrap();
        let invite = format!("{}Content-Length: {len}{}", &invite[..at], &invite[end..]);
        net.send(&invite);
        net.run_for(SECOND);
        assert_eq!(last_status(&net), status, "{what}: {:?}", statuses(&net.carrier.responses));
        let response = net.carrier.responses.last().unwrap();
        if status != 400 {
            let warning = response.headers.text(&HeaderName::Warning);
            assert!(warning.is_some(), "{what}: a Warning says why");
        }
        assert_eq!(net.node.load().active + net.node.load().setup, 0, "{what}");
    }
}

#[test]
fn a_refusal_names_trunk_and_field() {
    let mut net = Net::new(usual(), 3);
    let invite = net.carrier.invite("+15559999999");
    net.send(&invite);
    net.run_for(SECOND);
    let refusal = &net.refusals[0];
    assert_eq!(refusal.trunk.as_deref(), Some("carrier-a"));
    assert_eq!(refusal.field.as_deref(), Some("spec.routes"));
    assert!(net.carrier.responses.last().unwrap().reason.contains("route"));
}

#[test]
fn methods_we_lack_are_answered_405_with_what_we_have() {
    let mut net = Net::new(usual(), 4);
    let register = net.carrier.next_request("REGISTER", "");
    net.send(&register);
    net.run_for(SECOND);
    assert_eq!(last_status(&net), 405);
    let allow = net.carrier.responses[0].headers.text(&HeaderName::Allow).unwrap().into_owned();
    assert!(allow.contains("INVITE") && allow.contains("UPDATE"), "{allow}");
    let options = net.carrier.next_request("OPTIONS", "");
    net.send(&options);
    net.run_for(SECOND);
    assert_eq!(last_status(&net), 200);
    net.carrier.to_tag = "nobody".into();
    let bye = net.carrier.next_request("BYE", "");
    net.send(&bye);
    net.run_for(SECOND);
    assert_eq!(last_status(&net), 481);
}

#[test]
fn calls_past_a_trunks_limit_are_told_when_to_come_back() {
    let rest = format!("{ROUTES}  limits: {{concurrentCalls: 1}}\n");
    let manifests = format!("{BASE}{}", trunk("{sources: [\"203.0.113.0/24\"]}", &rest));
    let mut net = Net::new(load(&manifests), 5);
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    net.carrier.call_id = "call-2".into();
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    assert_eq!(last_status(&net), 503);
    let response = net.carrier.responses.last().unwrap();
    assert!(response.headers.text(&HeaderName::RetryAfter).is_some());
    assert_eq!(net.refusals[0].field.as_deref(), Some("spec.limits.concurrentCalls"));
}

#[test]
fn an_invite_while_draining_is_refused_and_the_call_that_is_up_goes_on() {
    let mut net = Net::new(usual(), 6);
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    net.node.drain(net.now, net.now + 30 * SECOND);
    net.carrier.call_id = "call-2".into();
    let to_tag = net.carrier.to_tag.clone();
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    assert_eq!(last_status(&net), 503);
    net.carrier.call_id = "call-1".into();
    net.carrier.to_tag = to_tag;
    assert!(!net.ended());
    net.run_for(60 * SECOND);
    assert!(net.ended());
    assert_eq!(net.record().end.as_ref().unwrap().cause, "drained");
    assert!(net.node.is_idle());
}

#[test]
fn a_second_drain_does_not_prolong_the_first_and_what_it_ends_is_counted() {
    let mut net = Net::new(usual(), 6);
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    net.node.drain(net.now, net.now + 5 * SECOND);
    net.node.drain(net.now, net.now + 60 * SECOND);
    net.run_for(4 * SECOND);
    assert!(!net.ended());
    net.run_for(4 * SECOND);
    assert_eq!(net.record().end.as_ref().unwrap().cause, "drained");
    assert_eq!(net.node.load().drained, 1);
    net.node.undrain(net.now);
    assert_eq!(net.node.load().drained, 0);
}

#[test]
fn a_digest_trunk_challenges_and_takes_the_right_password_only() {
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: in, namespace: trunkline}\n\
                  stringData: {username: carrier, password: correct-horse}\n";
    let manifests = format!("{BASE}{}{secret}", trunk("{authSecretRef: {name: in}}", ROUTES));
    for (password, statuses_wanted) in
        [("correct-horse", vec![401, 100, 180, 200]), ("wrong", vec![401, 401])]
    {
        let mut net = Net::new(load(&manifests), 7);
        let invite = net.carrier.invite("+15551230001");
        net.send(&invite);
        net.run_for(SECOND / 2);
        let challenge = {
            let response = &net.carrier.responses[0];
            let values: Vec<&[u8]> =
                response.headers.values(&HeaderName::WwwAuthenticate).collect();
            trunkline_media_node::sip::digest::strongest(values).expect("a challenge we can answer")
        };
        let authorization = trunkline_media_node::sip::digest::answer(
            &challenge,
            &trunkline_media_node::sip::digest::Answer {
                method: "INVITE",
                uri: "sip:+15551230001@192.0.2.10",
                username: "carrier",
                password: password.as_bytes(),
                cnonce: "abcdef",
                nonce_count: 1,
            },
        );
        net.carrier.cseq += 1;
        net.carrier.to_tag.clear();
        let extra = format!("Authorization: {authorization}\r\n");
        let invite = net.carrier.request("INVITE", &extra, &offer("sendrecv"));
        net.send(&invite);
        net.run_for(SECOND / 2);
        assert_eq!(statuses(&net.carrier.responses), statuses_wanted, "{password}");
    }
}

#[test]
fn after_five_wrong_passwords_a_stranger_meets_silence() {
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: in, namespace: trunkline}\n\
                  stringData: {username: carrier, password: correct-horse}\n";
    let manifests = format!("{BASE}{}{secret}", trunk("{authSecretRef: {name: in}}", ROUTES));
    let mut net = Net::new(load(&manifests), 8);
    net.carrier.acks = false;
    for call in 0..9 {
        net.carrier.call_id = format!("guess-{call}");
        let invite = net.carrier.invite("+15551230001");
        net.send(&invite);
        net.run_for(SECOND);
    }
    assert_eq!(net.carrier.responses.len(), 5);
}
