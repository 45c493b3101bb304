//! Keys both ways, by events and by tones.

use super::*;
use crate::audio::format::{Format, Rate};
use crate::audio::transcode::Transcoder;
use crate::audio::{dtmf, g711};
use crate::media::{Digit, Digits, KeyTiming};
use crate::rtp::telephone_event;

const EVENTS: u8 = 101;

fn digits(text: &str) -> Digits {
    Digits::parse(text, KeyTiming::default()).unwrap()
}

fn press(digits: Digits) -> Command {
    Command::SendDigits { digits, as_tones: false }
}

fn digit(c: char) -> Digit {
    Digit::new(c).unwrap()
}

fn is_event(packet: &Sent) -> bool {
    packet.header.payload_type == EVENTS
}

/// Code, duration and end of an event's packet.
fn told(packet: &Sent) -> (u8, u16, bool) {
    let event = telephone_event::Event::parse(&packet.payload).unwrap();
    (event.code, event.duration, event.end)
}

/// Sequence numbers go up by one, and the time of every packet that is no event is that of its turn.
fn assert_one_stream(sent: &[Sent]) {
    for pair in sent.windows(2) {
        assert_eq!(pair[1].header.sequence_number, pair[0].header.sequence_number.next());
        let step = pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp);
        assert!(step < 8000 && step % 160 == 0, "a step of {step}");
    }
    let mut audio = sent.iter().filter(|packet| !is_event(packet));
    let Some(first) = audio.next() else { return };
    for packet in audio {
        let samples = packet.header.timestamp.wrapping_sub(first.header.timestamp);
        let rtp = Duration::from_micros(u64::from(samples) * 125);
        assert!(rtp.abs_diff(packet.at - first.at) <= ms(20), "RTP time {rtp:?}");
    }
}

#[test]
fn a_key_takes_its_turns_and_speech_waits_and_goes_on_whole() {
    let mut call = Call::up();
    call.run(ms(100));
    call.agent_speaks(&speech(160 * 20));
    call.run(ms(105));
    call.command(press(digits("5")));
    call.run(ms(700));
    let sent = call.take_sent();
    assert_one_stream(&sent);

    let events: Vec<_> = sent.iter().filter(|packet| is_event(packet)).collect();
    let durations: Vec<_> = events.iter().map(|packet| told(packet)).collect();
    let held = [(5, 160, false), (5, 320, false), (5, 480, false), (5, 640, false)];
    assert_eq!(durations[..4], held);
    assert_eq!(durations[4..], [(5, 800, true); 3]);
    assert!(events.iter().all(|it| it.header.timestamp == events[0].header.timestamp));
    let marked: Vec<_> = events.iter().map(|packet| packet.header.marker).collect();
    assert_eq!(marked, [true, false, false, false, false, false, false]);
    for pair in events.windows(2) {
        assert_eq!(pair[1].at - pair[0].at, ms(20));
    }

    // The event begins with the turn that it takes from speech, and takes eight with its gap.
    let at = sent.iter().position(is_event).unwrap();
    let (before, after) = (&sent[at - 1], &sent[at + 7..]);
    assert!(is_speech(&before.payload));
    assert_eq!(events[0].header.timestamp, before.header.timestamp.wrapping_add(160));
    assert_eq!(after[0].header.timestamp, before.header.timestamp.wrapping_add(8 * 160));
    assert!(!is_speech(&after[0].payload), "the rest of the gap");
    assert_eq!(after[1].header.timestamp, before.header.timestamp.wrapping_add(9 * 160));
    assert!(after[1].header.marker, "speech begins anew");
    let said: Vec<u8> = sent
        .iter()
        .filter(|packet| !is_event(packet) && is_speech(&packet.payload))
        .flat_map(|packet| packet.payload.clone())
        .collect();
    assert_eq!(said, speech(160 * 20));
    assert_eq!(call.report().digits_sent, 1);
    assert!(call.take_events().contains(&Event::DigitsSent));
}

#[test]
fn a_number_is_heard_as_it_was_sent_whatever_the_packets_hold() {
    for (packet_ms, idle_audio) in [
        (10, IdleAudio::Silence),
        (20, IdleAudio::None),
        (30, IdleAudio::ComfortNoise),
        (60, IdleAudio::None),
    ] {
        let mut call = Call::planned(|plan| {
            plan.packet_time = ms(packet_ms);
            plan.idle_audio = idle_audio;
        })
        .bring_up();
        call.run(ms(333));
        call.command(press(digits("1123w*#D")));
        call.command(press(digits("0")));
        call.run(secs(6));
        let sent = call.take_sent();
        let mut receiver = telephone_event::Receiver::new();
        let mut heard = String::new();
        let mut lengths = Vec::new();
        for packet in sent.iter().filter(|packet| is_event(packet)) {
            let Header { ssrc, timestamp, marker, .. } = packet.header;
            let event = receiver.feed(ssrc, timestamp, marker, &packet.payload).unwrap();
            if event.begins {
                heard.push(event.digit.as_char());
            }
            lengths.push(event.duration);
        }
        assert_eq!(heard, "1123*#D0", "packets of {packet_ms} ms");
        assert!(lengths.iter().max() <= Some(&960) && lengths.contains(&960) || packet_ms != 60);
        assert_eq!(sent.iter().filter(|it| is_event(it) && it.header.marker).count(), 8);
        let done = call.take_events().iter().filter(|it| **it == Event::DigitsSent).count();
        assert_eq!(done, 2);
        let pairs = sent.windows(2);
        for pair in pairs {
            let next = pair[0].header.sequence_number.next();
            assert_eq!(pair[1].header.sequence_number, next);
        }
    }
}

#[test]
fn a_pause_lasts_and_the_line_is_not_dead_meanwhile() {
    let mut call = Call::up();
    call.run(ms(50));
    call.command(press(digits("1,2")));
    call.run(secs(4));
    let sent = call.take_sent();
    assert_one_stream(&sent);
    let starts: Vec<_> =
        sent.iter().filter(|it| is_event(it) && it.header.marker).map(|it| it.at).collect();
    assert_eq!(starts[1] - starts[0], ms(160 + 2000));
    for pair in sent.windows(2) {
        assert_eq!(pair[1].at - pair[0].at, ms(20));
    }
}

#[test]
fn without_events_keys_are_tones_that_a_detector_hears() {
    for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722] {
        let mut call = Call::planned(|plan| {
            plan.telephone_event = None;
            plan.codec = codec;
        })
        .bring_up();
        call.agent_speaks(&speech(160 * 10));
        call.run(ms(50));
        call.command(press(digits("4711#")));
        call.run(secs(2));
        let sent = call.take_sent();
        assert_one_stream(&sent);
        let mut decoder = Transcoder::to_agent(codec, Format::Linear(Rate::Hz8000));
        let mut detector = dtmf::Detector::new();
        let mut heard = String::new();
        for packet in &sent {
            decoder.transcode(&packet.payload, |bytes| {
                let samples: Vec<i16> =
                    bytes.chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
                detector.feed(&samples, |digit| heard.push(digit.as_char()));
            });
        }
        assert_eq!(heard, "4711#");
    }
}

#[test]
fn a_held_line_keeps_its_keys_until_it_is_resumed() {
    let mut call = Call::up();
    call.run(ms(50));
    call.command(press(digits("123")));
    call.run(ms(65));
    call.command(Command::Direction(Direction::Inactive));
    call.run(secs(3));
    call.command(Command::Direction(Direction::SendRecv));
    call.run(secs(2));
    let mut receiver = telephone_event::Receiver::new();
    let mut heard = String::new();
    for packet in call.take_sent().iter().filter(|packet| is_event(packet)) {
        let Header { ssrc, timestamp, marker, .. } = packet.header;
        let event = receiver.feed(ssrc, timestamp, marker, &packet.payload);
        heard.extend(event.filter(|it| it.begins).map(|it| it.digit.as_char()));
    }
    assert_eq!(heard, "123");
    assert!(call.take_events().contains(&Event::DigitsSent));
}

#[test]
fn keys_wait_until_the_caller_may_hear_them() {
    let mut call = Call::new();
    call.open();
    call.command(Command::Answered);
    call.command(press(digits("7")));
    call.run(secs(1));
    assert!(call.take_sent().is_empty());
    call.command(Command::Established);
    call.run(secs(1));
    assert_eq!(call.take_sent().iter().filter(|packet| is_event(packet)).count(), 7);
}

/// The keys that the agent was told since the last time.
fn keys_told(call: &mut Call) -> String {
    let told = call.take_told();
    told.iter().filter_map(|message| message.strip_prefix("dtmf ")).collect()
}

/// The tone of a key as the caller's audio, cut into packets numbered from `n`.
fn caller_plays(call: &mut Call, n: u16, c: char, count: usize) {
    let mut tone = dtmf::Tone::new(digit(c), 8000, count * FRAME, dtmf::Levels::default());
    for index in 0..count {
        let (mut samples, mut coded) = ([0; FRAME], [0; FRAME]);
        tone.fill(&mut samples);
        g711::encode(g711::Law::Mu, &samples, &mut coded);
        call.caller_speaks(n + index as u16, &coded);
        call.run(ms(20));
    }
}

fn listening() -> Call {
    Call::planned(|plan| {
        plan.telephone_event = None;
        plan.listen_for_tones = true;
    })
    .bring_up()
}

#[test]
fn tones_in_the_audio_are_told_and_the_audio_passes_untouched() {
    let mut call = listening();
    caller_plays(&mut call, 0, '8', 5);
    for n in 5..10 {
        call.caller_speaks(n, &[0xff; FRAME]);
        call.run(ms(20));
    }
    caller_plays(&mut call, 10, '8', 5);
    let told = call.seen.take_told();
    let keys = told.iter().filter(|(_, message)| message["event"] == "dtmf").count();
    assert_eq!(keys, 2);
    assert_eq!(told.iter().filter(|(_, message)| message["event"] == "media").count(), 15);
    assert_eq!(call.report().filled_ms, 0);

    // Unless it is asked for, nobody listens.
    let mut deaf = Call::up();
    caller_plays(&mut deaf, 0, '8', 5);
    assert_eq!(keys_told(&mut deaf), "");
}

#[test]
fn a_lost_packet_does_not_split_a_tone_and_a_silence_that_is_not_sent_does() {
    for (skipped, keys) in [(1, 1), (4, 2)] {
        let mut call = listening();
        caller_plays(&mut call, 0, '3', 5);
        call.run(ms(20 * u64::from(skipped)));
        caller_plays(&mut call, 5 + skipped, '3', 5);
        call.run(ms(100));
        let told = keys_told(&mut call);
        assert_eq!(told, "3".repeat(keys), "{skipped} packets are missing");
    }
}

#[test]
fn a_press_that_is_told_twice_counts_once_and_two_presses_count_twice() {
    // The tone first, and INFO while it is held.
    let mut call = listening();
    caller_plays(&mut call, 0, '5', 5);
    call.command(Command::Digit(digit('5')));
    assert_eq!(keys_told(&mut call), "5");
    // INFO again: a second press, whose tone is the copy this time.
    call.command(Command::Digit(digit('5')));
    assert_eq!(keys_told(&mut call), "5");
    for n in 5..10 {
        call.caller_speaks(n, &[0xff; FRAME]);
        call.run(ms(20));
    }
    caller_plays(&mut call, 10, '5', 5);
    assert_eq!(keys_told(&mut call), "");
    // By one way alone each is a press, and another key is another press.
    for c in ['5', '5', '6'] {
        call.command(Command::Digit(digit(c)));
    }
    assert_eq!(keys_told(&mut call), "556");
    assert_eq!(call.report().digits, 5);
}

#[test]
fn a_key_held_for_long_and_told_at_its_end_counts_once() {
    // By event, and then by INFO when it is released.
    let mut call = Call::up();
    for n in 1..200 {
        let payload =
            telephone_event::Event { code: 9, end: n > 196, volume: 10, duration: n * 160 };
        let header = Header { payload_type: EVENTS, ..header(n, 160) };
        call.carrier_sends(at(CARRIER), &header, &payload.write());
        call.run(ms(20));
    }
    call.run(ms(300));
    call.command(Command::Digit(digit('9')));
    assert_eq!(keys_told(&mut call), "9");
    // A second and more after it the same key is another press.
    call.run(ms(1100));
    call.command(Command::Digit(digit('9')));
    assert_eq!(keys_told(&mut call), "9");

    // By tone likewise.
    let mut call = listening();
    caller_plays(&mut call, 0, '9', 150);
    call.run(ms(300));
    call.command(Command::Digit(digit('9')));
    assert_eq!(keys_told(&mut call), "9");
}

#[test]
fn another_source_may_press_the_same_key_at_the_same_time_of_its_own() {
    let mut call = Call::up();
    for (n, ssrc) in [(1, 1), (2, 1), (3, 2)] {
        let payload = telephone_event::Event { code: 2, end: true, volume: 10, duration: 800 };
        let header = Header { payload_type: EVENTS, ssrc: Ssrc(ssrc), ..header(n, 160) };
        call.carrier_sends(at(CARRIER), &header, &payload.write());
        call.run(ms(60));
    }
    assert_eq!(keys_told(&mut call), "22");
}
