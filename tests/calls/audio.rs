//! What is heard, and when: both ways, through bad weather, with marks, clears and keys.

use std::time::Duration;

use trunkline_media_node::call::media::Turn;

use super::config::{BASE, ROUTES, load, trunk, usual};
use super::net::{Net, Weather};

const SECOND: Duration = Duration::from_secs(1);
const FRAME: Duration = Duration::from_millis(20);

fn up(seed: u64) -> Net {
    let mut net = Net::new(usual(), seed);
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    net
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub(crate) fn unbase64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

pub(crate) fn media(bytes: &[u8]) -> String {
    format!(r#"{{"event":"media","streamSid":"MZ0","media":{{"payload":"{}"}}}}"#, base64(bytes))
}

fn mark(name: &str) -> String {
    format!(r#"{{"event":"mark","streamSid":"MZ0","mark":{{"name":"{name}"}}}}"#)
}

/// Frame `n` of a speech whose every frame is another.
fn frame(n: usize) -> Vec<u8> {
    vec![(n % 100) as u8 + 10; 160]
}

/// The caller's frames that reached the agent, by their last byte. Behind a gap the first 10 ms are
/// blended with what was made up, and what was made up is even nowhere.
fn reached(net: &Net) -> Vec<u8> {
    net.agent()
        .of("media")
        .iter()
        .map(|(_, message)| unbase64(message["media"]["payload"].as_str().unwrap())[80..].to_vec())
        .filter(|rest| rest.iter().all(|byte| *byte == rest[0]))
        .map(|rest| rest[0])
        .filter(|byte| (10..110).contains(byte))
        .collect()
}

/// The agent's frames that reached the carrier, by their first byte, with the moment.
fn played(net: &Net) -> Vec<(std::time::Instant, u8)> {
    net.carrier
        .heard
        .iter()
        .filter(|packet| packet.payload.iter().all(|byte| *byte == packet.payload[0]))
        .map(|packet| (packet.at, packet.payload[0]))
        .filter(|(_, byte)| (10..110).contains(byte))
        .collect()
}

#[test]
fn every_frame_of_the_caller_reaches_the_agent_untouched_and_in_order() {
    let mut net = up(1);
    net.speak((0..100).map(frame));
    net.run_for(3 * SECOND);
    let wanted: Vec<u8> = (0..100).map(|n| frame(n)[0]).collect();
    assert_eq!(reached(&net), wanted);
}

#[test]
fn bad_weather_never_puts_frames_out_of_order_or_doubles_them() {
    for seed in 0..20 {
        let mut net = up(seed);
        net.weather =
            Weather { loss_percent: 10, duplicate_percent: 10, jitter: Duration::from_millis(60) };
        net.speak((0..100).map(frame));
        net.run_for(4 * SECOND);
        let got = reached(&net);
        assert!(got.windows(2).all(|pair| pair[0] < pair[1]), "seed {seed}: {got:?}");
        assert!(got.len() > 40, "seed {seed}: {} of 100 frames", got.len());
    }
}

#[test]
fn a_burst_of_speech_is_played_at_its_own_pace_from_its_first_sample() {
    let mut net = up(2);
    let speech: Vec<u8> = (0..50).flat_map(frame).collect();
    let said = net.now;
    net.agent_says(media(&speech));
    net.run_for(3 * SECOND);
    let played = played(&net);
    let wanted: Vec<u8> = (0..50).map(|n| frame(n)[0]).collect();
    assert_eq!(played.iter().map(|(_, byte)| *byte).collect::<Vec<_>>(), wanted);
    let first = played[0].0 - said;
    assert!(first <= net.latency + Duration::from_millis(1), "the first frame at once: {first:?}");
    for pair in played.windows(2) {
        assert_eq!(pair[1].0 - pair[0].0, FRAME);
    }
    // RFC 3551 §4.1: the marker says where speech begins, for whoever adapts its delay.
    let marked: Vec<_> = net.carrier.heard.iter().filter(|packet| packet.marker).collect();
    assert!(marked.iter().any(|packet| packet.at == played[0].0), "{} markers", marked.len());
}

#[test]
fn rtp_keeps_its_sequence_and_its_clock_through_speech_and_silence() {
    let mut net = up(3);
    for round in 0..5 {
        let speech: Vec<u8> = (0..20 + round).flat_map(frame).collect();
        net.agent_says(media(&speech));
        net.run_for(Duration::from_millis(1237));
    }
    let heard = &net.carrier.heard;
    for pair in heard.windows(2) {
        assert_eq!(pair[1].sequence_number, pair[0].sequence_number.wrapping_add(1));
        assert!(pair[1].timestamp.wrapping_sub(pair[0].timestamp) < 8000);
    }
    let (first, last) = (&heard[0], heard.last().unwrap());
    let rtp = f64::from(last.timestamp.wrapping_sub(first.timestamp)) / 8000.0;
    let wall = (last.at - first.at).as_secs_f64();
    assert!((rtp - wall).abs() < 0.021, "RTP says {rtp}, the wall {wall}");
}

#[test]
fn a_mark_is_answered_when_what_came_before_it_has_left() {
    let mut net = up(4);
    let speech: Vec<u8> = (0..50).flat_map(frame).collect();
    net.agent_says(media(&speech));
    net.agent_says(mark("half"));
    net.agent_says(media(&speech));
    net.agent_says(mark("whole"));
    let said = net.now;
    net.run_for(3 * SECOND);
    let marks = net.agent().of("mark");
    let at: Vec<_> = marks
        .iter()
        .map(|(at, message)| (message["mark"]["name"].as_str().unwrap(), (*at - said).as_millis()))
        .collect();
    assert_eq!(at.len(), 2, "{at:?}");
    assert!(at[0].0 == "half" && (960..=1020).contains(&at[0].1), "{at:?}");
    assert!(at[1].0 == "whole" && (1960..=2020).contains(&at[1].1), "{at:?}");
}

#[test]
fn clear_silences_the_agent_within_a_frame_and_answers_its_marks_at_once() {
    let mut net = up(5);
    let speech: Vec<u8> = (0..500).flat_map(frame).collect();
    net.agent_says(media(&speech));
    net.agent_says(mark("end"));
    net.run_for(SECOND);
    let cleared = net.now;
    net.agent_says(r#"{"event":"clear","streamSid":"MZ0"}"#.into());
    net.run_for(2 * SECOND);
    let last = played(&net).last().unwrap().0;
    assert!(last <= cleared + net.latency + FRAME, "played on for {:?}", last - cleared);
    let marks = net.agent().of("mark");
    assert_eq!(marks.len(), 1);
    assert!(marks[0].0 - cleared <= FRAME);
    let [Turn::Interruption { reaction: None, effect }] = net.turns[..] else {
        panic!("{:?}", net.turns)
    };
    assert!(effect <= FRAME, "{effect:?}");
}

#[test]
fn what_the_agent_says_before_the_ack_is_held_and_played_from_its_first_sample() {
    let mut net = Net::new(usual(), 6);
    net.carrier.acks = false;
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(Duration::from_millis(100));
    let speech: Vec<u8> = (0..10).flat_map(frame).collect();
    net.agent_says(media(&speech));
    net.run_for(Duration::from_millis(300));
    assert!(net.carrier.heard.is_empty(), "nothing before the ACK");
    net.carrier.to_tag = {
        let ok = net.carrier.responses.last().unwrap();
        ok.headers.to().unwrap().tag().unwrap().as_str().to_owned()
    };
    let ack = net.carrier.request("ACK", "", "");
    net.send(&ack);
    net.run_for(SECOND);
    let wanted: Vec<u8> = (0..10).map(|n| frame(n)[0]).collect();
    assert_eq!(played(&net).iter().map(|(_, byte)| *byte).collect::<Vec<_>>(), wanted);
}

/// A call through load balancers, one of SIP and one of audio, whose agent says `speech` at once.
fn balanced(seed: u64, speech: &[u8]) -> Net {
    let balancers = BASE.replacen("  exposure:\n", "  exposure:\n    mode: LoadBalancer\n", 1);
    let trunk = trunk("{sources: [\"203.0.113.0/24\"]}", ROUTES);
    let mut net = Net::new(load(&format!("{balancers}{trunk}")), seed);
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    // The agent is there after 30 ms, and its greeting before the carrier has the 200.
    net.run_for(Duration::from_millis(40));
    net.agent_says(media(speech));
    net.agent_says(mark("greeting"));
    net
}

#[test]
fn behind_load_balancers_a_greeting_waits_for_the_carrier_and_is_heard_from_its_first_sample() {
    let greeting: Vec<u8> = (0..50).flat_map(frame).collect();
    let wanted: Vec<u8> = (0..50).map(|n| frame(n)[0]).collect();
    let said = |net: &Net| played(net).iter().map(|(_, byte)| *byte).collect::<Vec<_>>();

    let mut net = balanced(9, &greeting);
    net.run_for(Duration::from_millis(600));
    assert!(net.carrier.heard.is_empty(), "neither speech nor comfort noise");
    assert!(net.agent().of("mark").is_empty());
    let spoke = net.now;
    net.speak((0..100).map(frame));
    net.run_for(3 * SECOND);
    assert_eq!(said(&net), wanted);
    // There and back; the carrier's first packet needs no longer than the others.
    assert!(net.carrier.heard[0].at - spoke <= 2 * net.latency + FRAME);
    assert_eq!(net.agent().of("mark").len(), 1);
    assert_eq!(reached(&net).len(), 100);
    let bye = net.carrier.next_request("BYE", "");
    net.send(&bye);
    net.run_for(SECOND);
    assert!(!net.record().media.report.unwrap().sent_before_heard);

    // A carrier that waits for us: after a second it hears all of it, and the record says so.
    let mut net = balanced(10, &greeting);
    let answered = net.now;
    net.run_for(3 * SECOND);
    assert_eq!(said(&net), wanted);
    let waited = net.carrier.heard[0].at - answered;
    assert!((SECOND..SECOND + 2 * FRAME).contains(&waited), "{waited:?}");
    let bye = net.carrier.next_request("BYE", "");
    net.send(&bye);
    net.run_for(SECOND);
    assert!(net.record().media.report.unwrap().sent_before_heard);
}

#[test]
fn a_key_reaches_the_agent_once() {
    let mut net = up(7);
    net.speak((0..10).map(frame));
    net.press(5);
    net.press(11);
    net.speak((0..10).map(frame));
    net.run_for(2 * SECOND);
    let digits: Vec<_> = net
        .agent()
        .of("dtmf")
        .iter()
        .map(|(_, message)| message["dtmf"]["digit"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(digits, ["5", "#"]);
}

#[test]
fn a_strangers_packets_never_reach_the_agent() {
    let mut net = up(8);
    net.speak((0..50).map(frame));
    net.run_for(Duration::from_millis(500));
    let mut forged = vec![0x80, 0, 0, 99];
    forged.extend([0; 8]);
    forged.extend(vec![0x77; 160]);
    for port in [40000, 50000] {
        net.rtp_from(format!("198.51.100.9:{port}").parse().unwrap(), forged.clone());
    }
    net.run_for(SECOND);
    let all: Vec<u8> = net
        .agent()
        .of("media")
        .iter()
        .map(|(_, message)| unbase64(message["media"]["payload"].as_str().unwrap())[0])
        .collect();
    assert!(!all.contains(&0x77));
}
