//! A carrier that speaks another codec than the agent.

use super::*;
use crate::audio::{dtmf, g722};
use crate::media::Digit;

fn g722(packet_time: Duration, idle_audio: IdleAudio) -> Call {
    Call::planned(|plan| {
        (plan.codec, plan.payload_type) = (Codec::G722, 9);
        (plan.packet_time, plan.idle_audio) = (packet_time, idle_audio);
    })
    .bring_up()
}

#[test]
fn frames_of_every_length_leave_by_the_rtp_clock_of_the_codec() {
    for length in [10, 20, 30, 40, 60] {
        let mut call = g722(ms(length), IdleAudio::ComfortNoise);
        call.run(ms(200));
        call.agent_speaks(&speech(4000));
        call.run(secs(1));
        let sent = call.take_sent();
        let samples = length as usize * 8;
        assert!(sent.len() >= 1200 / length as usize - 1);
        assert!(sent.iter().all(|packet| packet.payload.len() == samples));
        for pair in sent.windows(2) {
            let passed = pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp);
            assert_eq!(passed as usize, samples, "frames of {length} ms");
        }
        let report = call.report();
        assert_eq!((report.agent_audio_ms, report.played_ms), (500, 500));
    }
}

#[test]
fn a_lost_packet_becomes_as_much_silence_for_the_agent() {
    let mut call = g722(ms(20), IdleAudio::None);
    let mut encoder = g722::Encoder::default();
    let tone: Vec<i16> = (0..320).map(|n| if n / 8 % 2 == 0 { 4000 } else { -4000 }).collect();
    for n in 0..20_u16 {
        let mut payload = [0; 160];
        encoder.encode(&tone, &mut payload);
        let header = Header { payload_type: 9, ..header(n, u32::from(n) * 160) };
        if n != 10 {
            call.carrier_sends(at(CARRIER), &header, &payload);
        }
        call.run(ms(20));
    }
    call.run(ms(20));
    let heard = call.take_heard();
    let silent = |(_, _, audio): &&(Instant, u64, Vec<u8>)| audio.iter().all(|code| *code == 0xff);
    assert_eq!(heard.iter().filter(silent).map(|(_, at, _)| *at).collect::<Vec<_>>(), [200]);
    assert!(heard.iter().all(|(_, _, audio)| audio.len() == 160));
    assert_eq!(
        heard.iter().map(|(_, at, _)| *at).collect::<Vec<_>>(),
        (0..20).map(|n| n * 20).collect::<Vec<_>>()
    );
    assert_eq!(call.report().filled_ms, 20);
}

#[test]
fn silence_as_idle_audio_is_silence_for_whoever_decodes_it() {
    let mut call = g722(ms(20), IdleAudio::Silence);
    call.agent_speaks(&speech(1600));
    call.run(secs(1));
    let mut decoder = g722::Decoder::default();
    let mut last = [0; 320];
    for packet in call.take_sent() {
        decoder.decode(&packet.payload, &mut last);
    }
    assert!(last.iter().all(|sample| sample.unsigned_abs() < 16), "{last:?}");
}

#[test]
fn a_key_is_heard_as_a_tone_in_g722_too() {
    let mut call = Call::planned(|plan| {
        (plan.codec, plan.payload_type) = (Codec::G722, 9);
        (plan.telephone_event, plan.listen_for_tones) = (None, true);
    })
    .bring_up();
    let (mut encoder, levels) = (g722::Encoder::default(), dtmf::Levels::default());
    let mut tone = dtmf::Tone::new(Digit::new('6').unwrap(), 16_000, 5 * 320, levels);
    for n in 0..10_u16 {
        let (mut samples, mut payload) = ([0; 320], [0; 160]);
        tone.fill(&mut samples);
        encoder.encode(&samples, &mut payload);
        let header = Header { payload_type: 9, ..header(n, u32::from(n) * 160) };
        call.carrier_sends(at(CARRIER), &header, &payload);
        call.run(ms(20));
    }
    assert_eq!(call.take_told().iter().filter(|it| *it == "dtmf 6").count(), 1);
}

#[cfg(feature = "opus")]
mod opus {
    use super::*;
    use crate::audio::format::Rate;
    use crate::audio::{g711, opus};

    #[test]
    fn opus_goes_by_48_khz_both_ways_and_a_lost_packet_is_made_up_for() {
        let mut call =
            Call::planned(|plan| (plan.codec, plan.payload_type) = (Codec::Opus, 111)).bring_up();
        let mut encoder = opus::Encoder::new(Rate::Hz48000);
        for n in 0..50_u16 {
            let said: Vec<i16> =
                (0..960).map(|n| if n / 48 % 2 == 0 { 8000 } else { -8000 }).collect();
            let mut payload = [0; 480];
            let len = encoder.encode(&said, &mut payload);
            let header = Header { payload_type: 111, ..header(n, u32::from(n) * 960) };
            if n != 30 {
                call.carrier_sends(at(CARRIER), &header, &payload[..len]);
            }
            call.agent_speaks(&speech(160));
            call.run(ms(20));
        }
        call.run(ms(20));
        let heard = call.take_heard();
        let times: Vec<u64> = heard.iter().map(|(_, at, _)| *at).collect();
        assert_eq!(times, (0..50).map(|n| n * 20).collect::<Vec<_>>());
        let loud = |audio: &[u8]| audio.iter().any(|code| g711::ulaw_to_linear(*code) > 3000);
        assert!(heard[1..].iter().all(|(_, _, audio)| loud(audio)), "the lost one too");
        assert_eq!(call.report().filled_ms, 0);
        for pair in call.take_sent().windows(2) {
            assert_eq!(pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp), 960);
            assert!((1..=480).contains(&pair[1].payload.len()));
        }
        // What is no Opus is counted, and heard by nobody.
        let header = Header { payload_type: 111, ..header(50, 50 * 960) };
        call.carrier_sends(at(CARRIER), &header, &[0x03, 63, 0]);
        assert_eq!(call.report().unusable, 1);
    }
}
