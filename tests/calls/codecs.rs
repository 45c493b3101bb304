//! Carriers that speak another codec than their agent: what was said is heard, as loud as it was.

use std::f64::consts::TAU;
use std::time::Duration;

use trunkline_media_node::audio::g711;
use trunkline_media_node::audio::g722::{Decoder, Encoder};

use super::audio::{media, unbase64};
use super::config::{BASE, ROUTES, load, trunk};
use super::net::Net;

const SECOND: Duration = Duration::from_secs(1);
const TONE_HZ: f64 = 1000.0;

/// A call to an agent that speaks PCMU, from a carrier that offers G.722 and G.711, over a trunk
/// that takes `codecs`.
fn up(codecs: &str) -> Net {
    let media = format!("  media: {{codecs: [{codecs}]}}\n{ROUTES}");
    let mut net =
        Net::new(load(&format!("{BASE}{}", trunk("{sources: [\"203.0.113.0/24\"]}", &media))), 1);
    net.carrier.formats = "9 0 8 101";
    net.carrier.payload_type = 9;
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    net
}

fn tone(rate_hz: f64, len: usize) -> Vec<i16> {
    (0..len).map(|n| (8000.0 * (TAU * TONE_HZ * n as f64 / rate_hz).sin()) as i16).collect()
}

/// The level of the tone alone, in dB of one step.
fn level(rate_hz: f64, samples: &[i16]) -> f64 {
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let (sin, cos) = (TAU * TONE_HZ * n as f64 / rate_hz).sin_cos();
        real += f64::from(*sample) * cos;
        imaginary += f64::from(*sample) * sin;
    }
    let len = samples.len() as f64;
    10.0 * (2.0 * (real * real + imaginary * imaginary) / (len * len)).log10()
}

#[test]
fn a_g722_caller_is_heard_by_a_pcmu_agent_as_loud_as_it_spoke() {
    let mut net = up("G722, PCMU");
    let said = tone(16_000.0, 32_000);
    let mut coded = vec![0; 16_000];
    Encoder::default().encode(&said, &mut coded);
    net.speak(coded.chunks(160).map(<[u8]>::to_vec));
    net.run_for(3 * SECOND);
    let frames: Vec<Vec<u8>> = net
        .agent()
        .of("media")
        .iter()
        .map(|(_, message)| unbase64(message["media"]["payload"].as_str().unwrap()))
        .collect();
    assert!(frames.iter().all(|frame| frame.len() == 160), "20 ms of PCMU each");
    let loud = |frame: &&Vec<u8>| {
        frame.iter().any(|code| g711::ulaw_to_linear(*code).unsigned_abs() > 4000)
    };
    let heard: Vec<i16> = frames
        .iter()
        .filter(loud)
        .flat_map(|frame| frame.iter().map(|code| g711::ulaw_to_linear(*code)))
        .collect();
    assert!((15_840..=16_160).contains(&heard.len()), "two seconds of it: {}", heard.len());
    let change = level(8000.0, &heard[800..15_200]) - level(16_000.0, &said);
    assert!(change.abs() < 1.0, "{change:.2} dB");
}

#[test]
fn a_pcmu_agent_is_heard_by_a_g722_caller_as_loud_as_it_spoke() {
    let mut net = up("G722, PCMU");
    let said = tone(8000.0, 16_000);
    let coded: Vec<u8> = said.iter().map(|sample| g711::linear_to_ulaw(*sample)).collect();
    net.agent_says(media(&coded));
    net.run_for(3 * SECOND);
    let heard = &net.carrier.heard;
    assert!(heard.iter().all(|packet| (packet.payload_type, packet.payload.len()) == (9, 160)));
    // RFC 3551 §4.5.2: the clock runs at half of the sampling rate, through speech and noise.
    for pair in heard.windows(2) {
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), 160);
    }
    let (mut decoder, mut samples) = (Decoder::default(), Vec::new());
    for packet in heard {
        let mut decoded = [0; 320];
        assert_eq!(decoder.decode(&packet.payload, &mut decoded), 320);
        samples.extend(decoded);
    }
    let first = samples.iter().position(|sample| sample.unsigned_abs() > 4000).unwrap();
    let change = level(16_000.0, &samples[first + 800..first + 30_400]) - level(8000.0, &said);
    assert!(change.abs() < 1.0, "{change:.2} dB");
    // Before and after it, comfort noise: neither silence nor loud.
    let noise: Vec<i16> = samples.iter().rev().take(3200).copied().collect();
    assert!(noise.iter().all(|sample| sample.unsigned_abs() < 200));
    assert!(noise.iter().any(|sample| *sample != noise[0]));
}

#[test]
fn the_trunk_s_order_of_codecs_decides_whatever_the_offer_s() {
    let mut net = up("PCMU, G722");
    net.run_for(SECOND);
    assert!(net.carrier.heard.iter().all(|packet| packet.payload_type == 0));
    assert!(!net.carrier.heard.is_empty());
}
