//! Calls that share ports: each hears its own carrier's packets and nobody else's.

use std::net::SocketAddr;
use std::time::Duration;

use trunkline_media_node::call::{CallKey, RtpPorts};
use trunkline_media_node::media::{CryptoSuite, MasterKey};
use trunkline_media_node::rtp::srtp;

use super::audio::unbase64;
use super::config::{BASE, ROUTES, load, trunk, usual};
use super::net::{Net, statuses};

const SECOND: Duration = Duration::from_secs(1);
const PORT: u16 = 20001;

/// One port for all calls.
fn one_port(seed: u64) -> Net {
    Net::with_ports(usual(), seed, (PORT, PORT))
}

/// Where the SDP of a call says that its RTP comes from.
fn named(call: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 7], 40000 + 2 * call))
}

fn invite(net: &mut Net, call: u16, change: impl Fn(String) -> String) {
    net.carrier.call_id = format!("call-{call}");
    let text = net.carrier.invite("+15551230001");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let body = change(body.replace("audio 40000", &format!("audio {}", named(call).port())));
    let (head, _) = head.rsplit_once("Content-Length").unwrap();
    net.send(&format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()));
    net.run_for(SECOND);
    assert_eq!(*statuses(&net.carrier.responses).last().unwrap(), 200);
}

/// A packet of µ-law that says nothing but `sound`.
fn packet(source: u32, sequence_number: u16, sound: u8) -> Vec<u8> {
    let timestamp = u32::from(sequence_number) * 160;
    let header = [0x80, 0, (sequence_number >> 8) as u8, sequence_number as u8];
    [&header[..], &timestamp.to_be_bytes(), &source.to_be_bytes(), &[sound; 160]].concat()
}

/// How many frames of nothing but `sound` the agent of a call has heard.
fn frames_of(net: &Net, call: CallKey, sound: u8) -> usize {
    // The second half of a frame: the first may be blended, and what is made up fades in it.
    let says = |payload: &str| unbase64(payload)[80..].iter().all(|byte| *byte == sound);
    let heard = net.heard[&call].of("media");
    heard.iter().filter(|(_, it)| says(it["media"]["payload"].as_str().unwrap())).count()
}

fn all_frames_of(net: &Net, sound: u8) -> usize {
    net.calls.iter().map(|call| frames_of(net, *call, sound)).sum()
}

#[test]
fn fifty_calls_on_one_port_hear_each_their_own_carrier() {
    let mut net = one_port(1);
    for call in 0..50 {
        invite(&mut net, call, |body| body);
    }
    let answer = String::from_utf8(net.carrier.responses.last().unwrap().body.to_vec()).unwrap();
    assert!(answer.contains("m=audio 20001 "), "{answer}");
    assert!(answer.contains("a=rtcp:20001\r\n"), "{answer}");
    for number in 0..5 {
        for call in 0..50 {
            net.rtp_from(named(call), packet(9, number, 10 + call as u8));
        }
        net.run_for(Duration::from_millis(20));
    }
    net.run_for(SECOND);
    let calls = net.calls.clone();
    assert_eq!(calls.len(), 50);
    for (index, call) in calls.into_iter().enumerate() {
        assert_eq!(net.ports[&call], RtpPorts::Shared(PORT));
        let sound = 10 + index as u8;
        assert_eq!(frames_of(&net, call, sound), 5, "call {index}");
        assert_eq!(all_frames_of(&net, sound), 5, "nobody else hears call {index}");
    }
}

#[test]
fn without_srtp_a_stray_is_heard_only_from_the_sources_and_where_one_call_waits() {
    let mut net = one_port(2);
    let (inside, outside) = ("203.0.113.99:9", "198.51.100.66:40000");
    invite(&mut net, 0, |body| body);
    net.rtp_from(named(0), packet(9, 0, 10));
    net.run_for(SECOND);
    invite(&mut net, 1, |body| body);
    // A stranger who knows the source, and the next sequence number.
    net.rtp_from(outside.parse().unwrap(), packet(9, 1, 66));
    net.run_for(SECOND);
    invite(&mut net, 2, |body| body);
    net.rtp_from(inside.parse().unwrap(), packet(7, 0, 67));
    net.run_for(SECOND);
    assert_eq!((all_frames_of(&net, 66), all_frames_of(&net, 67)), (0, 0), "two calls wait");
    let last = net.calls[2];
    net.rtp_from(named(2), packet(5, 0, 12));
    net.run_for(SECOND);
    assert_eq!(frames_of(&net, last, 12), 1);
    net.rtp_from(inside.parse().unwrap(), packet(7, 1, 67));
    net.run_for(SECOND);
    assert_eq!(frames_of(&net, net.calls[1], 67), 1, "now it is the only one that waits");
}

#[test]
fn late_packets_of_an_ended_call_do_not_reach_the_next_on_its_port() {
    let mut net = one_port(3);
    invite(&mut net, 0, |body| body);
    net.rtp_from(named(0), packet(9, 0, 10));
    net.run_for(SECOND);
    let bye = net.carrier.next_request("BYE", "");
    net.send(&bye);
    net.run_for(Duration::from_millis(100));
    net.carrier.cseq = 1;
    invite(&mut net, 1, |body| body);
    net.rtp_from(named(0), packet(9, 1, 66));
    net.run_for(Duration::from_millis(100));
    assert_eq!(all_frames_of(&net, 66), 0);
    net.rtp_from(named(1), packet(9, 0, 11));
    net.run_for(SECOND);
    assert_eq!(frames_of(&net, net.calls[1], 11), 1);
}

#[test]
fn behind_a_nat_a_call_with_srtp_is_known_by_its_tag() {
    let media = "  media: {encryption: Preferred}\n";
    let inbound = "{sources: [\"203.0.113.0/24\"]}";
    let config = load(&format!("{BASE}{}", trunk(inbound, &format!("{media}{ROUTES}"))));
    let mut net = Net::with_ports(config, 4, (PORT, PORT));
    let suite = CryptoSuite::AesCm128HmacSha1_80;
    // Thirty zeroes and one letter, in base64.
    let inline = |call: u16| format!("{}{}", "A".repeat(39), ["A", "B", "C"][usize::from(call)]);
    for call in 0..3 {
        invite(&mut net, call, |body| {
            let body = body.replace("RTP/AVP", "RTP/SAVP");
            format!("{body}a=crypto:1 {} inline:{}\r\n", suite.name(), inline(call))
        });
    }
    let key = |last: u8| {
        let mut bytes = [0; 30];
        bytes[29] = last;
        MasterKey::new(suite, &bytes).unwrap()
    };
    let protect = |last: u8, mut packet: Vec<u8>| {
        let len = packet.len();
        packet.resize(len + srtp::MAX_RTP_OVERHEAD_BYTES, 0);
        let len = srtp::Sender::new(&key(last)).protect_rtp(&mut packet, len).unwrap();
        packet.truncate(len);
        packet
    };
    // Not even from the trunk's sources: only the tag counts.
    let natted: SocketAddr = "198.51.100.20:1024".parse().unwrap();
    net.rtp_from(natted, protect(1, packet(9, 0, 10)));
    net.run_for(SECOND);
    assert_eq!(frames_of(&net, net.calls[1], 10), 1);
    assert_eq!(all_frames_of(&net, 10), 1);
    // With a key that no call has, and the source of a call, from anywhere.
    for from in ["198.51.100.66:5", "198.51.100.20:1024", "203.0.113.7:40000"] {
        net.rtp_from(from.parse().unwrap(), protect(9, packet(9, 1, 66)));
        net.run_for(SECOND);
    }
    assert_eq!(all_frames_of(&net, 66), 0);
    // It moves to another port of its NAT.
    net.rtp_from("198.51.100.20:2048".parse().unwrap(), protect(1, packet(9, 2, 11)));
    net.run_for(SECOND);
    assert_eq!(frames_of(&net, net.calls[1], 11), 1);
}
