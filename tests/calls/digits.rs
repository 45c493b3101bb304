//! Keys: the caller's by each way they come, and ours by each way they leave.

use std::time::{Duration, Instant};

use serde_json::Value;
use trunkline_media_node::audio::dtmf;
use trunkline_media_node::audio::g711::{self, Law};
use trunkline_media_node::call::Unsendable;
use trunkline_media_node::media::{Digit, Digits, KeyTiming};
use trunkline_media_node::rtp::Ssrc;
use trunkline_media_node::rtp::telephone_event::{Event, Receiver};
use trunkline_media_node::sip::{HeaderName, Method, Request};

use super::carrier::{HeardRtp, offer};
use super::config::{BASE, ROUTES, load, trunk};
use super::net::{Net, statuses};

const SECOND: Duration = Duration::from_secs(1);
const FRAME: Duration = Duration::from_millis(20);
const EVENTS: u8 = 101;
const RELAY: &str = "Content-Type: application/dtmf-relay\r\n";

/// What a call is like that begins.
struct Setup {
    dtmf: &'static str,
    offers_events: bool,
    allow: &'static str,
    records: &'static str,
}

const USUAL: Setup = Setup { dtmf: "Auto", offers_events: true, allow: "", records: "" };
/// A carrier that knows no events.
const EVENTLESS: Setup = Setup { offers_events: false, ..USUAL };

impl Setup {
    fn up(&self) -> Net {
        let base =
            BASE.replacen("spec:\n  exposure", &format!("spec:\n{}  exposure", self.records), 1);
        let rest = format!("  media: {{dtmf: {}}}\n{ROUTES}", self.dtmf);
        let trunk = trunk("{sources: [\"203.0.113.0/24\"]}", &rest);
        let mut net = Net::new(load(&format!("{base}{trunk}")), 11);
        let body = match self.offers_events {
            true => offer("sendrecv"),
            false => offer("sendrecv").replace(" 101\r\na=rtpmap:101 telephone-event/8000", ""),
        };
        net.carrier.number = "+15551230001".into();
        let allow = match self.allow {
            "" => String::new(),
            methods => format!("Allow: {methods}\r\n"),
        };
        let invite = net.carrier.request("INVITE", &allow, &body);
        net.send(&invite);
        net.run_for(SECOND);
        net
    }
}

fn answers_events(net: &Net) -> bool {
    let ok = net.carrier.responses.last().unwrap();
    std::str::from_utf8(&ok.body).unwrap().contains("telephone-event/8000")
}

fn send(net: &mut Net, text: &str) -> Result<(), Unsendable> {
    let id = net.phases.last().unwrap().1.id.clone();
    net.node.send_digits(net.now, &id, Digits::parse(text, KeyTiming::default()).unwrap())
}

/// The keys that the agent was told.
fn told(net: &Net) -> String {
    let digit = |message: &Value| message["dtmf"]["digit"].as_str().unwrap().to_owned();
    net.agent().of("dtmf").iter().map(|(_, message)| digit(message)).collect()
}

fn info(net: &mut Net, kind: &str, body: &str) -> u16 {
    net.carrier.cseq += 1;
    let request = net.carrier.request("INFO", kind, body);
    net.send(&request);
    net.run_for(Duration::from_millis(50));
    net.carrier.responses.last().unwrap().status.as_u16()
}

/// Packets of µ-law with a key's tone, and as many of silence.
fn tone(c: char, packets: usize) -> Vec<Vec<u8>> {
    let len = packets * 160;
    let mut tone = dtmf::Tone::new(Digit::new(c).unwrap(), 8000, len, dtmf::Levels::default());
    let mut samples = vec![0; 2 * len];
    tone.fill(&mut samples);
    let mut coded = vec![0; samples.len()];
    g711::encode(Law::Mu, &samples, &mut coded);
    coded.chunks(160).map(<[u8]>::to_vec).collect()
}

fn media(bytes: &[u8]) -> String {
    use base64::Engine as _;
    let payload = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!(r#"{{"event":"media","streamSid":"MZ0","media":{{"payload":"{payload}"}}}}"#)
}

/// The keys that a carrier hears as events.
fn events(heard: &[HeardRtp]) -> String {
    let mut receiver = Receiver::new();
    heard
        .iter()
        .filter(|packet| packet.payload_type == EVENTS)
        .filter_map(|it| receiver.feed(Ssrc(1), it.timestamp, it.marker, &it.payload))
        .filter(|heard| heard.begins)
        .map(|heard| heard.digit.as_char())
        .collect()
}

/// The keys that a carrier hears as tones.
fn tones(heard: &[HeardRtp]) -> String {
    let mut detector = dtmf::Detector::new();
    let mut keys = String::new();
    for packet in heard.iter().filter(|packet| packet.payload_type == 0) {
        let mut samples = vec![0; packet.payload.len()];
        g711::decode(Law::Mu, &packet.payload, &mut samples);
        detector.feed(&samples, |digit| keys.push(digit.as_char()));
    }
    keys
}

/// The bodies of the INFO requests that the carrier got.
fn infos(net: &Net) -> Vec<&Request> {
    net.carrier.requests.iter().filter(|request| request.method == Method::Info).collect()
}

fn body(request: &Request) -> &str {
    std::str::from_utf8(&request.body).unwrap()
}

fn hang_up(net: &mut Net) {
    let bye = net.carrier.next_request("BYE", "");
    net.send(&bye);
    net.run_for(SECOND);
}

#[test]
fn keys_leave_while_the_agent_speaks_and_its_speech_goes_on_whole() {
    let mut net = USUAL.up();
    let speech: Vec<u8> = (0..100_u8).flat_map(|n| [n % 100 + 10; 160]).collect();
    net.agent_says(media(&speech));
    net.run_for(Duration::from_millis(505));
    assert_eq!(send(&mut net, "42#"), Ok(()));
    net.run_for(5 * SECOND);

    let heard = &net.carrier.heard;
    assert_eq!(events(heard), "42#");
    for pair in heard.windows(2) {
        assert_eq!(pair[1].sequence_number, pair[0].sequence_number.wrapping_add(1));
    }
    // Each event: 100 ms in five packets of one timestamp, the end three times, a marker on the first.
    let sent: Vec<_> = heard.iter().filter(|it| it.payload_type == EVENTS).collect();
    assert_eq!(sent.len(), 21);
    for (index, event) in sent.chunks(7).enumerate() {
        let told: Vec<_> = event.iter().map(|it| Event::parse(&it.payload).unwrap()).collect();
        let durations: Vec<_> = told.iter().map(|event| event.duration).collect();
        assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
        let ends: Vec<_> = told.iter().map(|event| event.end).collect();
        assert_eq!(ends, [false, false, false, false, true, true, true]);
        let markers: Vec<_> = event.iter().map(|it| it.marker).collect();
        assert_eq!(markers, [true, false, false, false, false, false, false]);
        assert!(event.iter().all(|it| it.timestamp == event[0].timestamp));
        assert!(event.windows(2).all(|pair| pair[1].at - pair[0].at == FRAME));
        // 100 ms and the gap of 60 after the one before.
        let since = event[0].timestamp.wrapping_sub(sent[0].timestamp);
        assert_eq!(since, 8 * 160 * index as u32);
        assert_eq!(event[0].at - sent[0].at, 8 * FRAME * index as u32);
    }
    // Speech waits, nothing of it is lost, and what follows has the timestamp of its time.
    let said: Vec<_> = heard
        .iter()
        .filter(|it| it.payload_type == 0 && (10..110).contains(&it.payload[0]))
        .filter(|it| it.payload.iter().all(|byte| *byte == it.payload[0]))
        .collect();
    let order: Vec<u8> = said.iter().map(|it| it.payload[0]).collect();
    assert_eq!(order, (0..100).map(|n| n % 100 + 10).collect::<Vec<u8>>());
    let (first, last) = (&heard[0], heard.last().unwrap());
    let rtp = f64::from(last.timestamp.wrapping_sub(first.timestamp)) / 8000.0;
    let wall = (last.at - first.at).as_secs_f64();
    assert!((rtp - wall).abs() < 0.021, "RTP says {rtp}, the wall {wall}");

    hang_up(&mut net);
    let report = net.record().media.report.unwrap();
    assert_eq!((report.digits_sent, report.left_out_ms, report.dropped_ms), (3, 0, 0));
}

#[test]
fn events_are_answered_where_they_are_wanted_and_the_callers_keys_come_by_them() {
    for (dtmf, answered) in [("Auto", true), ("RFC4733", true), ("Info", false), ("InBand", false)]
    {
        let mut net = Setup { dtmf, ..USUAL }.up();
        assert_eq!(answers_events(&net), answered, "{dtmf}");
        if answered {
            net.speak((0..5).map(|_| vec![0x20; 160]));
            net.press(5);
            net.press(11);
            net.run_for(SECOND);
            assert_eq!(told(&net), "5#", "{dtmf}");
        }
    }
}

#[test]
fn the_callers_keys_come_by_info_in_each_shape() {
    let mut net = EVENTLESS.up();
    assert_eq!(info(&mut net, RELAY, "Signal=5\r\nDuration=160\r\n"), 200);
    assert_eq!(info(&mut net, "Content-Type: application/dtmf\r\n", "#"), 200);
    assert_eq!(info(&mut net, "Content-Type: Application/DTMF-Relay;x=y\r\n", "signal= 10\n"), 200);
    assert_eq!(told(&net), "5#*");
    // Nothing to say, a flash, and what is no key at all.
    assert_eq!(info(&mut net, "", ""), 200);
    assert_eq!(info(&mut net, RELAY, "Signal=16\r\n"), 200);
    assert_eq!(info(&mut net, RELAY, "Signal=x\r\n"), 400);
    assert_eq!(info(&mut net, "Content-Type: text/plain\r\n", "5"), 415);
    let refused = net.carrier.responses.last().unwrap();
    let accept = refused.headers.text(&HeaderName::Accept).unwrap();
    assert_eq!(accept, "application/dtmf-relay, application/dtmf");
    assert_eq!(info(&mut net, &format!("Info-Package: x\r\n{RELAY}"), "Signal=1"), 469);
    assert_eq!(told(&net), "5#*");
    let ok = &net.carrier.responses[net.carrier.responses.len() - 4];
    assert!(ok.headers.text(&HeaderName::Allow).unwrap().contains("INFO"));
}

#[test]
fn info_outside_a_call_finds_none_and_the_call_goes_on() {
    let mut net = USUAL.up();
    let tag = std::mem::replace(&mut net.carrier.to_tag, "nobody".into());
    assert_eq!(info(&mut net, RELAY, "Signal=5\r\n"), 481);
    net.carrier.to_tag = tag;
    assert_eq!(info(&mut net, RELAY, "Signal=5\r\n"), 200);
    assert_eq!(told(&net), "5");
}

#[test]
fn keys_by_info_faster_than_fingers_are_refused_and_the_call_goes_on() {
    let mut net = EVENTLESS.up();
    for _ in 0..40 {
        net.carrier.cseq += 1;
        let request = net.carrier.request("INFO", RELAY, "Signal=5\r\n");
        net.send(&request);
    }
    net.run_for(SECOND);
    let all = statuses(&net.carrier.responses);
    assert_eq!(all.iter().filter(|status| **status == 503).count(), 28);
    assert_eq!(told(&net), "5".repeat(12));
    assert!(!net.ended());
    assert_eq!(info(&mut net, RELAY, "Signal=6\r\n"), 200);
}

#[test]
fn a_trunk_that_insists_on_one_way_takes_keys_by_no_other() {
    for (dtmf, by_info, by_tone) in
        [("RFC4733", false, false), ("Info", true, false), ("InBand", false, true)]
    {
        let mut net = Setup { dtmf, ..EVENTLESS }.up();
        assert_eq!(info(&mut net, RELAY, "Signal=1\r\n"), 200, "{dtmf}");
        net.speak(tone('2', 5));
        net.run_for(SECOND);
        let wanted = [(by_info, "1"), (by_tone, "2")];
        let wanted: String = wanted.iter().filter(|it| it.0).map(|it| it.1).collect();
        assert_eq!(told(&net), wanted, "{dtmf}");
    }
}

#[test]
fn tones_are_heard_where_no_events_were_agreed_on_and_count_once_with_info() {
    let mut net = EVENTLESS.up();
    net.speak(tone('7', 5));
    net.run_for(Duration::from_millis(150));
    assert_eq!(info(&mut net, RELAY, "Signal=7\r\nDuration=100\r\n"), 200);
    net.run_for(SECOND);
    net.speak(tone('7', 5));
    net.run_for(SECOND);
    assert_eq!(told(&net), "77");
    // The audio went on to the agent as it came.
    let media = net.agent().of("media").len();
    assert!(media >= 20, "{media} frames");

    // With events agreed on nobody listens for tones.
    let mut net = USUAL.up();
    net.speak(tone('7', 5));
    net.run_for(SECOND);
    assert_eq!(told(&net), "");
}

#[test]
fn a_key_told_by_event_and_by_info_counts_once() {
    let mut net = USUAL.up();
    net.speak((0..5).map(|_| vec![0x20; 160]));
    net.press(9);
    net.run_for(SECOND / 2);
    assert_eq!(info(&mut net, RELAY, "Signal=9\r\nDuration=100\r\n"), 200);
    assert_eq!(told(&net), "9");
}

#[test]
fn auto_sends_by_info_to_a_carrier_without_events_that_takes_it() {
    let mut net = Setup { allow: "INVITE, ACK, BYE, INFO", ..EVENTLESS }.up();
    let began = net.now;
    assert_eq!(send(&mut net, "4w2"), Ok(()));
    let mut sent: Vec<Instant> = Vec::new();
    for _ in 0..200 {
        net.run_for(Duration::from_millis(10));
        sent.resize(infos(&net).len(), net.now);
    }
    let infos = infos(&net);
    let bodies: Vec<_> = infos.iter().map(|request| body(request)).collect();
    assert_eq!(bodies, ["Signal=4\r\nDuration=100\r\n", "Signal=2\r\nDuration=100\r\n"]);
    let kind = infos[0].headers.text(&HeaderName::ContentType).unwrap();
    assert_eq!(kind, "application/dtmf-relay");
    assert!(sent[0] - began <= FRAME);
    let apart = sent[1] - sent[0];
    assert!(
        (Duration::from_millis(640)..=Duration::from_millis(700)).contains(&apart),
        "{apart:?}"
    );
    assert_eq!(tones(&net.carrier.heard), "");
    hang_up(&mut net);
    assert_eq!(net.record().media.report.unwrap().digits_sent, 2);
}

#[test]
fn auto_sends_tones_when_info_is_refused_or_not_known_at_all() {
    let mut net = Setup { allow: "INVITE, ACK, BYE, INFO", ..EVENTLESS }.up();
    net.carrier.answers_info = "415 Unsupported Media Type";
    assert_eq!(send(&mut net, "123"), Ok(()));
    net.run_for(2 * SECOND);
    assert_eq!((infos(&net).len(), tones(&net.carrier.heard).as_str()), (1, "123"));
    assert_eq!(send(&mut net, "4"), Ok(()));
    net.run_for(SECOND);
    assert_eq!((infos(&net).len(), tones(&net.carrier.heard).as_str()), (1, "1234"));

    let mut net = EVENTLESS.up();
    assert_eq!(send(&mut net, "5678"), Ok(()));
    net.run_for(2 * SECOND);
    assert_eq!((infos(&net).len(), tones(&net.carrier.heard).as_str()), (0, "5678"));
}

#[test]
fn a_trunk_that_insists_on_one_way_sends_by_no_other() {
    let mut net = Setup { dtmf: "Info", ..USUAL }.up();
    assert_eq!(send(&mut net, "1"), Ok(()));
    net.run_for(SECOND);
    assert_eq!((infos(&net).len(), events(&net.carrier.heard).as_str()), (1, ""));
    // Refused there is no other way, and a number that lacks a key is not sent on.
    net.carrier.answers_info = "488 Not Acceptable Here";
    assert_eq!(send(&mut net, "23"), Ok(()));
    net.run_for(2 * SECOND);
    assert_eq!((infos(&net).len(), tones(&net.carrier.heard).as_str()), (2, ""));

    let mut net = Setup { dtmf: "InBand", allow: "INFO", ..USUAL }.up();
    assert_eq!(send(&mut net, "1"), Ok(()));
    net.run_for(SECOND);
    assert_eq!((infos(&net).len(), tones(&net.carrier.heard).as_str()), (0, "1"));

    let mut net = Setup { dtmf: "RFC4733", ..EVENTLESS }.up();
    assert_eq!(send(&mut net, "1"), Err(Unsendable::NoWay));
}

#[test]
fn a_carrier_whose_new_offer_has_no_events_is_sent_none_until_another_has() {
    let mut net = USUAL.up();
    let without = offer("sendrecv").replace(" 101\r\na=rtpmap:101 telephone-event/8000", "");
    for (body, key, as_tone) in [(without, "1", true), (offer("sendrecv"), "2", false)] {
        let reinvite = net.carrier.next_request("INVITE", &body);
        net.send(&reinvite);
        net.run_for(SECOND);
        assert_eq!(net.carrier.responses.last().unwrap().status.as_u16(), 200);
        net.carrier.heard.clear();
        assert_eq!(send(&mut net, key), Ok(()));
        net.run_for(SECOND);
        let heard = (tones(&net.carrier.heard), events(&net.carrier.heard));
        let wanted = if as_tone { (key, "") } else { ("", key) };
        assert_eq!((heard.0.as_str(), heard.1.as_str()), wanted);
    }
}

#[test]
fn keys_are_for_calls_that_are_up_and_not_without_end() {
    let mut net = USUAL.up();
    for _ in 0..8 {
        assert_eq!(send(&mut net, "1"), Ok(()));
    }
    assert_eq!(send(&mut net, "1"), Err(Unsendable::Busy));
    net.run_for(2 * SECOND);
    assert_eq!(events(&net.carrier.heard), "11111111");
    assert_eq!(send(&mut net, "2"), Ok(()));
    let digits = Digits::parse("1", KeyTiming::default()).unwrap();
    assert_eq!(net.node.send_digits(net.now, "nobody", digits), Err(Unsendable::NoSuchCall));
    hang_up(&mut net);
    assert_eq!(send(&mut net, "1"), Err(Unsendable::NoSuchCall));
}

#[test]
fn a_record_keeps_keys_only_when_the_pool_says_so() {
    for (records, kept) in [("", false), ("  records: {digits: Keep}\n", true)] {
        let mut net = Setup { records, allow: "INFO", ..EVENTLESS }.up();
        for key in ["3", "1", "4"] {
            info(&mut net, RELAY, &format!("Signal={key}\r\n"));
        }
        assert_eq!(send(&mut net, "159#"), Ok(()));
        net.run_for(2 * SECOND);
        hang_up(&mut net);
        let record = serde_json::to_value(net.record()).unwrap();
        let report = net.record().media.report.unwrap();
        assert_eq!((report.digits, report.digits_sent), (3, 4));
        match kept {
            true => {
                assert_eq!(record["digits"]["received"], "314");
                assert_eq!(record["digits"]["sent"], "159#");
            }
            false => {
                assert!(record.get("digits").is_none());
                let text = record.to_string();
                assert!(!text.contains("314") && !text.contains("159#"), "{text}");
            }
        }
    }
}
