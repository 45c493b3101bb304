//! What a call says when only one side is heard.

use super::*;
use crate::media::CryptoSuite;
use crate::rtp::rtcp::{self, MAX_COMPOUND_LEN_BYTES, ReportBlock};

fn one_way(call: &mut Call) -> Vec<OneWay> {
    let told = call.take_events().into_iter();
    told.filter_map(|event| match event {
        Event::OneWay(one_way) => Some(one_way),
        _ => None,
    })
    .collect()
}

#[test]
fn a_caller_whose_audio_never_comes_is_named_after_two_seconds() {
    let mut call = Call::up();
    call.run(ms(1999));
    assert_eq!(one_way(&mut call), []);
    call.run(ms(1));
    let told = one_way(&mut call);
    let [OneWay { kind: OneWayKind::CallerNotHeard, refused_from: None, .. }] = told[..] else {
        panic!("{told:?}")
    };
    let text = told[0].explain(at("192.0.2.10:20000"));
    assert!(text.contains("192.0.2.10:20000") && text.contains(CARRIER), "{text}");
    assert!(text.contains("spec.exposure.address"), "{text}");
    call.run(secs(30));
    assert_eq!(one_way(&mut call), [], "once is enough");
}

#[test]
fn a_caller_who_is_heard_held_or_silent_by_announcement_is_not_missed() {
    let mut call = Call::up();
    let speak = |call: &mut Call, from: u16| {
        for n in from..from + 150 {
            call.caller_speaks(n, &[7; FRAME]);
            call.run(ms(20));
        }
    };
    speak(&mut call, 0);
    call.command(Command::Direction(Direction::Inactive));
    call.run(secs(10));
    call.command(Command::Direction(Direction::SendRecv));
    speak(&mut call, 150);
    let noise = Header { payload_type: 13, ..header(300, 300 * 160) };
    call.carrier_sends(at(CARRIER), &noise, &[50]);
    call.run(secs(10));
    assert_eq!(one_way(&mut call), []);
}

#[test]
fn a_caller_who_stops_is_missed() {
    let mut call = Call::up();
    call.caller_speaks(0, &[7; FRAME]);
    call.run(ms(2500));
    let told = one_way(&mut call);
    assert!(matches!(told[..], [OneWay { kind: OneWayKind::CallerStopped, .. }]), "{told:?}");
}

#[test]
fn what_came_instead_is_named() {
    let mut call = Call::up();
    call.carrier_sends(at("198.51.100.66:7"), &header(0, 0), &[1; FRAME]);
    call.run(secs(2));
    let told = one_way(&mut call);
    assert_eq!((told[0].strangers, told[0].refused_from), (1, Some(at("198.51.100.66:7"))));
    assert!(told[0].explain(at("192.0.2.10:2")).contains("198.51.100.66:7"));

    let mut call = caller::encrypted(CryptoSuite::AesCm128HmacSha1_80);
    let mut packet = call.packet(&header(0, 0), &[1; FRAME]);
    packet[20] ^= 1;
    call.step(|media, now, sink| media.handle_rtp(now, at(CARRIER), &mut packet, sink));
    call.run(secs(2));
    let told = one_way(&mut call);
    assert_eq!((told[0].bad_tags, told[0].refused_from), (1, Some(at(CARRIER))));
    assert!(told[0].explain(at("192.0.2.10:2")).contains("the keys differ"));

    let mut call = Call::up();
    let other = Header { payload_type: 18, ..header(0, 0) };
    call.carrier_sends(at(CARRIER), &other, &[1; 20]);
    call.run(secs(2));
    let told = one_way(&mut call);
    assert_eq!((told[0].kind, told[0].unusable), (OneWayKind::CallerNotHeard, 1));
    assert!(told[0].explain(at("192.0.2.10:2")).contains("codec"));
}

#[test]
fn an_agent_whom_the_carrier_does_not_hear_shows_in_its_reports() {
    let mut call = Call::up();
    let report = |call: &mut Call, blocks: &[ReportBlock]| {
        let mut datagram = [0; MAX_COMPOUND_LEN_BYTES];
        let len = rtcp::write_report(&mut datagram, Ssrc(0xca11), None, blocks, "carrier");
        let datagram = &mut datagram[..len];
        call.step(|media, now, sink| media.handle_rtcp(now, at(CARRIER_RTCP), datagram, sink));
    };
    let mut n = 0;
    let mut talk = |call: &mut Call| {
        for _ in 0..250 {
            call.caller_speaks(n, &[7; FRAME]);
            call.run(ms(20));
            n += 1;
        }
    };
    report(&mut call, &[]); // too early to know us
    talk(&mut call);
    let ssrc = call.take_sent()[0].header.ssrc;
    let about_us = ReportBlock {
        ssrc,
        fraction_lost: 0,
        cumulative_lost: 0,
        extended_highest: 250,
        jitter: 0,
        last_sr: 0,
        delay_since_last_sr: 0,
    };
    report(&mut call, &[about_us]);
    talk(&mut call);
    report(&mut call, &[]);
    assert_eq!(one_way(&mut call), []);
    talk(&mut call);
    report(&mut call, &[]);
    let told = one_way(&mut call);
    assert!(matches!(told[..], [OneWay { kind: OneWayKind::AgentNotHeard, .. }]), "{told:?}");
    assert!(told[0].explain(at("192.0.2.10:2")).contains(CARRIER));
}
