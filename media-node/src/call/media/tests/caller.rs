//! The carrier's packets on their way to the agent.

use super::*;
use crate::audio::g711::Law;
use crate::media::Digit;
use crate::rtp::telephone_event;

fn key(byte: u8, suite: CryptoSuite) -> MasterKey {
    MasterKey::new(suite, &vec![byte; suite.master_len_bytes()]).unwrap()
}

pub(super) fn encrypted(suite: CryptoSuite) -> Call {
    Call::planned(|plan| plan.crypto = Some((key(1, suite), key(2, suite)))).bring_up()
}

fn digit_packet(call: &mut Call, n: u16, start: u32, code: u8, end: bool, duration: u16) {
    let event = telephone_event::Event { code, end, volume: 10, duration };
    let header = Header { payload_type: 101, ..header(n, start) };
    call.carrier_sends(at(CARRIER), &header, &event.write());
}

#[test]
fn a_packet_in_order_is_passed_on_at_once_and_untouched() {
    let mut call = Call::up();
    call.run(ms(33));
    call.take_events();
    for n in 0..5 {
        let began = call.now;
        call.caller_speaks(n, &[n as u8; FRAME]);
        assert_eq!(call.take_heard(), [(began, 20 * u64::from(n), vec![n as u8; FRAME])]);
        call.run(ms(20));
    }
    let first: Vec<_> = call.take_events();
    assert_eq!(first, [Event::Latched(at(CARRIER)), Event::FirstAudioFromCaller]);
    assert_eq!(call.report().first_caller_audio_ms, Some(33));
}

#[test]
fn the_callers_audio_counts_from_the_answer_on() {
    let mut call = Call::new();
    call.open();
    call.caller_speaks(0, &[1; FRAME]);
    call.run(secs(1));
    assert!(call.take_heard().is_empty());
    call.command(Command::Answered);
    call.caller_speaks(1, &[2; FRAME]);
    assert_eq!(call.take_heard().len(), 1);
}

#[test]
fn an_agent_that_comes_after_the_answer_hears_from_then_on() {
    let mut call = Call::new();
    call.command(Command::Answered);
    call.command(Command::Established);
    call.caller_speaks(0, &[1; FRAME]);
    call.run(ms(500));
    call.open();
    call.caller_speaks(1, &[2; FRAME]);
    let heard = call.take_heard();
    assert_eq!((heard.len(), heard[0].1, heard[0].2[0]), (1, 0, 2));
}

#[test]
fn two_packets_that_changed_places_are_put_back() {
    let mut call = Call::up();
    for n in [0, 2, 1, 3] {
        call.caller_speaks(n, &[n as u8; FRAME]);
    }
    let order: Vec<u8> = call.take_heard().iter().map(|(_, _, audio)| audio[0]).collect();
    assert_eq!(order, [0, 1, 2, 3]);
}

#[test]
fn a_gap_holds_packets_for_one_frame_and_is_concealed() {
    let mut call = Call::up();
    call.caller_speaks(0, &[1; FRAME]);
    call.run(ms(40));
    call.take_heard();
    let began = call.now;
    call.caller_speaks(2, &[3; FRAME]);
    assert!(call.take_heard().is_empty());
    call.run(ms(30));
    let heard = call.take_heard();
    assert_eq!((heard[0].0, heard[0].1, heard[0].2[0]), (began + ms(20), 20, 1));
    assert_eq!((heard[1].0, heard[1].1), (began + ms(20), 40));
    assert_eq!(heard[1].2[MAX_BLEND..], [3; FRAME - MAX_BLEND]);
    call.caller_speaks(1, &[2; FRAME]); // too late
    assert!(call.take_heard().is_empty());
    assert_eq!(call.report().late, 1);
    assert_eq!((call.report().filled_ms, call.report().gaps), (20, 1));
}

#[test]
fn when_the_caller_sends_nothing_silence_flows_every_20_ms() {
    let mut call = Call::up();
    call.run(secs(2));
    let heard = call.take_heard();
    assert_eq!(heard.len(), 96); // from 100 ms on
    assert!(heard.windows(2).all(|pair| pair[1].0 - pair[0].0 == ms(20)));
    assert!(
        heard
            .iter()
            .enumerate()
            .all(|(n, (_, time, audio))| { *time == 20 * n as u64 && audio[..] == [0xff; FRAME] })
    );
}

#[test]
fn comfort_noise_of_the_carrier_is_silence_for_the_agent() {
    let mut call = Call::up();
    call.caller_speaks(0, &[1; FRAME]);
    call.carrier_sends(at(CARRIER), &Header { payload_type: 13, ..header(1, 160) }, &[40]);
    call.run(secs(1));
    let header = Header { marker: true, ..header(2, 8000) };
    call.carrier_sends(at(CARRIER), &header, &[2; FRAME]);
    let heard = call.take_heard();
    assert_eq!((heard.last().unwrap().1, heard.last().unwrap().2[0]), (1000, 2));
    assert_eq!(call.report().unusable, 0);
}

#[test]
fn packets_of_another_length_become_frames_of_20_ms() {
    for len in [80_usize, 240, 320, 480] {
        let mut call = Call::up();
        for n in 0..10_u16 {
            let header = header(n, u32::from(n) * len as u32);
            call.carrier_sends(at(CARRIER), &header, &vec![9; len]);
            call.run(ms(len as u64 / 8));
        }
        let heard = call.take_heard();
        assert_eq!(heard.len(), len * 10 / FRAME);
        assert!(heard.iter().all(|(_, _, audio)| audio[..] == [9; FRAME]), "{len}");
    }
}

#[test]
fn an_a_law_caller_is_heard_by_a_mu_law_agent() {
    let mut call = Call::planned(|plan| (plan.codec, plan.payload_type) = (Codec::Pcma, 8));
    call = call.bring_up();
    let mut expected = speech(FRAME);
    call.carrier_sends(at(CARRIER), &Header { payload_type: 8, ..header(0, 0) }, &expected);
    crate::audio::g711::transcode(Law::A, Law::Mu, &mut expected);
    assert_eq!(call.take_heard()[0].2, expected);
}

#[test]
fn a_payload_type_that_nobody_agreed_on_is_counted_and_not_heard() {
    let mut call = Call::up();
    call.carrier_sends(at(CARRIER), &Header { payload_type: 8, ..header(0, 0) }, &[1; FRAME]);
    call.caller_speaks(1, &[2; FRAME]);
    assert_eq!(call.take_heard().len(), 1);
    assert_eq!(call.report().unusable, 1);
}

#[test]
fn a_key_is_told_once_however_often_its_packets_are_repeated() {
    let mut call = Call::up();
    call.take_events();
    call.caller_speaks(0, &[1; FRAME]);
    call.take_told();
    let mut n = 1;
    for (key, start) in [(5, 160), (11, 3200)] {
        for step in 1..=4 {
            digit_packet(&mut call, n, start, key, false, step * 160);
            n += 1;
        }
        for _ in 0..3 {
            digit_packet(&mut call, n, start, key, true, 800);
            n += 1;
        }
    }
    assert_eq!(call.take_told(), ["dtmf 5", "dtmf #"]);
    let events = call.take_events();
    let digits: Vec<_> =
        events.iter().filter(|event| matches!(event, Event::Digit(_))).cloned().collect();
    let digit = |c| Event::Digit(Digit::new(c).unwrap());
    assert_eq!(digits, [digit('5'), digit('#')]);
    assert_eq!(call.report().digits, 2);
}

#[test]
fn sound_goes_on_as_silence_while_a_key_is_held() {
    let mut call = Call::up();
    call.caller_speaks(0, &[1; FRAME]);
    for step in 1..=25 {
        call.run(ms(20));
        digit_packet(&mut call, step, 160, 1, step > 22, step.min(23) * 160);
    }
    call.run(ms(20));
    call.caller_speaks(26, &[2; FRAME]);
    let heard = call.take_heard();
    assert_eq!(heard.last().unwrap().1, 26 * 20);
    assert!(heard.windows(2).all(|pair| pair[1].1 == pair[0].1 + 20));
}

#[test]
fn every_suite_carries_both_voices() {
    for suite in CryptoSuite::BY_PREFERENCE {
        let mut call = encrypted(suite);
        for n in 0..50 {
            call.caller_speaks(n, &[n as u8; FRAME]);
            call.agent_speaks(&speech(FRAME));
            call.run(ms(20));
        }
        assert_eq!(call.take_heard().len(), 50, "{suite:?}");
        let sent = call.take_sent();
        assert!(sent.iter().filter(|sent| sent.payload == speech(FRAME)).count() >= 49);
        assert_eq!(call.report().bad_tags, 0);
    }
}

#[test]
fn plain_rtp_is_not_heard_on_an_encrypted_call() {
    let mut call = encrypted(CryptoSuite::AesCm128HmacSha1_80);
    call.carrier = None;
    call.caller_speaks(0, &[1; FRAME]);
    assert!(call.take_heard().is_empty());
    assert_eq!(call.report().bad_tags, 1);
    assert!(call.take_events().iter().all(|event| !matches!(event, Event::Latched(_))));
}

#[test]
fn a_stranger_is_neither_heard_nor_answered() {
    let mut call = Call::up();
    call.caller_speaks(0, &[1; FRAME]);
    call.take_heard();
    for stranger in ["192.0.2.66:30000", "203.0.113.9:30002", "203.0.113.10:30000"] {
        call.carrier_sends(at(stranger), &header(1, 160), &[0x66; FRAME]);
    }
    assert!(call.take_heard().is_empty());
    assert_eq!(call.report().strangers, 3);
    call.run(secs(1));
    assert!(call.take_sent().iter().all(|sent| sent.to == at(CARRIER)));
}

#[test]
fn a_carrier_behind_a_nat_is_found_inside_the_trunks_networks_only() {
    let mut call = Call::planned(|plan| plan.remote_rtp = at("10.1.2.3:4000")).bring_up();
    call.take_events();
    call.carrier_sends(at("192.0.2.66:5"), &header(0, 0), &[6; FRAME]);
    assert!(call.take_events().is_empty());
    call.carrier_sends(at("203.0.113.77:5"), &header(0, 0), &[1; FRAME]);
    assert_eq!(call.take_events()[0], Event::Latched(at("203.0.113.77:5")));
    call.take_sent();
    call.run(ms(100));
    assert!(call.take_sent().iter().all(|sent| sent.to == at("203.0.113.77:5")));
    assert_eq!(call.report().latched, Some(at("203.0.113.77:5")));
}

#[test]
fn with_srtp_the_tag_is_the_proof_and_a_newer_packet_moves_the_call() {
    let mut call = encrypted(CryptoSuite::AeadAes128Gcm);
    let mut older = call.packet(&header(9, 1440), &[0; FRAME]);
    call.carrier_sends(at("192.0.2.1:1000"), &header(10, 1600), &[1; FRAME]);
    assert_eq!(call.media.rtp.target(), at("192.0.2.1:1000"));
    let replayed = call.packet(&header(11, 1760), &[2; FRAME]);
    let mut first = replayed.clone();
    call.step(|media, now, sink| media.handle_rtp(now, at("192.0.2.1:1000"), &mut first, sink));
    // Recorded and sent again from elsewhere: heard by nobody, moves nothing.
    let mut again = replayed;
    call.step(|media, now, sink| media.handle_rtp(now, at("198.51.100.6:66"), &mut again, sink));
    assert_eq!(call.media.rtp.target(), at("192.0.2.1:1000"));
    assert_eq!(call.report().replayed, 1);
    // Older but new to us, by another road: moves nothing either.
    call.step(|media, now, sink| media.handle_rtp(now, at("192.0.2.2:2000"), &mut older, sink));
    assert_eq!(call.media.rtp.target(), at("192.0.2.1:1000"));
    call.carrier_sends(at("192.0.2.2:2000"), &header(12, 1920), &[3; FRAME]);
    assert_eq!(call.media.rtp.target(), at("192.0.2.2:2000"));
    assert_eq!(call.take_events().last(), Some(&Event::Latched(at("192.0.2.2:2000"))));
}

#[test]
fn signalling_moves_the_call() {
    let mut call = Call::up();
    call.caller_speaks(0, &[1; FRAME]);
    let (rtp, rtcp) = (at("203.0.113.50:6000"), at("203.0.113.50:6001"));
    call.command(Command::Retarget { rtp, rtcp });
    call.take_sent();
    call.take_heard();
    call.caller_speaks(1, &[2; FRAME]); // a straggler of the old address
    assert!(call.take_heard().is_empty());
    call.run(ms(100));
    assert!(call.take_sent().iter().all(|sent| sent.to == rtp));
    call.carrier_sends(rtp, &header(2, 320), &[3; FRAME]);
    call.run(ms(20)); // what the straggler left is a gap
    assert!(call.take_heard().iter().any(|(_, _, audio)| audio[FRAME - 1] == 3));
}

#[test]
fn a_new_source_goes_on_without_a_hole_or_a_jump() {
    let mut call = Call::up();
    for n in 0..3 {
        call.caller_speaks(n, &[1; FRAME]);
        call.run(ms(20));
    }
    for n in 0..3 {
        let header =
            Header { ssrc: Ssrc(77), ..header(40_000 + n, 7_000_000 + u32::from(n) * 160) };
        call.carrier_sends(at(CARRIER), &header, &[2; FRAME]);
        call.run(ms(20));
    }
    let heard = call.take_heard();
    assert!(heard.len() >= 5, "{}", heard.len());
    assert!(heard.windows(2).all(|pair| pair[1].1 == pair[0].1 + 20));
    assert!(heard.iter().all(|(_, _, audio)| is_speech(audio)));
}

#[test]
fn on_hold_the_carriers_audio_is_not_the_callers() {
    let mut call = Call::up();
    call.command(Command::Direction(Direction::Inactive));
    call.caller_speaks(0, &[1; FRAME]);
    call.run(ms(500));
    assert!(call.take_heard().iter().all(|(_, _, audio)| !is_speech(audio)));
    // Music on hold, which the carrier offers as sendonly, is heard.
    call.command(Command::Direction(Direction::RecvOnly));
    call.caller_speaks(1, &[1; FRAME]);
    assert!(call.take_heard().iter().any(|(_, _, audio)| is_speech(audio)));
}

#[test]
fn datagrams_of_any_kind_are_survived() {
    let mut call = Call::up();
    for len in 0..40 {
        for first in [0, 0x80, 0x90, 0xa0, 0xbf, 0xff] {
            let mut datagram = vec![0xff; len];
            if let Some(byte) = datagram.first_mut() {
                *byte = first;
            }
            call.step(|media, now, sink| {
                media.handle_rtp(now, at(CARRIER), &mut datagram.clone(), sink);
                media.handle_rtcp(now, at(CARRIER_RTCP), &mut datagram, sink);
            });
        }
    }
    assert!(call.report().unusable > 0);
}
