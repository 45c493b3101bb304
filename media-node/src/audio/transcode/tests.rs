//! The very bytes, tables, levels and lengths.
#![allow(clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::audio::tone::{level_at_db, sine};

const FORMATS: [Format; 6] = [
    Format::PCMU,
    Format::PCMA,
    Format::Linear(Rate::Hz8000),
    Format::Linear(Rate::Hz16000),
    Format::Linear(Rate::Hz24000),
    Format::Linear(Rate::Hz48000),
];

/// A second of a tone, as an agent writes it.
fn said(format: Format, hz: f64) -> Vec<u8> {
    let samples = sine(format.rate().hz(), hz, 8000.0, format.rate().samples_per_ms() * 1000);
    match format {
        Format::G711(law) => samples.iter().map(|s| g711::from_linear(law, *s)).collect(),
        Format::Linear(_) => samples.iter().flat_map(|s| s.to_le_bytes()).collect(),
    }
}

fn level(format: Format, hz: f64, heard: &[u8]) -> f64 {
    let samples: Vec<i16> = match format {
        Format::G711(law) => heard.iter().map(|code| g711::to_linear(law, *code)).collect(),
        Format::Linear(_) => {
            heard.chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
        }
    };
    level_at_db(&samples[samples.len() / 4..], format.rate().hz(), hz)
}

/// To the carrier and back to the agent, by frames of so many milliseconds.
fn there_and_back(format: Format, codec: Codec, ms: usize, said: &[u8]) -> Vec<u8> {
    let mut to_carrier = Transcoder::to_carrier(format, codec);
    let mut to_agent = Transcoder::to_agent(codec, format);
    let mut heard = Vec::new();
    for frame in said.chunks_exact(format.bytes_per_ms() * ms) {
        let mut payload = [0; 480];
        let len = to_carrier.frame(frame.len(), &mut payload, |to| to.copy_from_slice(frame));
        if codec.static_payload_type().is_some() {
            assert_eq!(len, ms * 8, "{format:?} {codec:?}");
        }
        to_agent.transcode(&payload[..len], |bytes| heard.extend_from_slice(bytes));
    }
    heard
}

#[test]
fn where_both_sides_agree_the_very_bytes_pass() {
    for (codec, format) in [(Codec::Pcmu, Format::PCMU), (Codec::Pcma, Format::PCMA)] {
        let all: Vec<u8> = (0..=255).collect();
        let mut given = Vec::new();
        Transcoder::to_agent(codec, format)
            .transcode(&all, |bytes| given.push((bytes.as_ptr(), bytes.to_vec())));
        assert_eq!(given, [(all.as_ptr(), all.clone())], "not even copied");
        let mut out = [1; 300];
        let fill = |to: &mut [u8]| to.copy_from_slice(&all);
        assert_eq!(Transcoder::to_carrier(format, codec).frame(256, &mut out, fill), 256);
        assert_eq!((&out[..256], &out[256..]), (all.as_slice(), [1; 44].as_slice()));
    }
}

#[test]
fn between_the_laws_a_table_decides() {
    let all: Vec<u8> = (0..=255).collect();
    for (codec, format, from, to) in
        [(Codec::Pcmu, Format::PCMA, Law::Mu, Law::A), (Codec::Pcma, Format::PCMU, Law::A, Law::Mu)]
    {
        let (mut wanted, mut heard) = (all.clone(), Vec::new());
        g711::transcode(from, to, &mut wanted);
        Transcoder::to_agent(codec, format).transcode(&all, |bytes| heard.extend_from_slice(bytes));
        assert_eq!(heard, wanted);
    }
    let mut out = [0; 256];
    Transcoder::to_carrier(Format::PCMU, Codec::Pcma)
        .frame(256, &mut out, |to| to.copy_from_slice(&all));
    let mut wanted = all.clone();
    g711::transcode(Law::Mu, Law::A, &mut wanted);
    assert_eq!(out, *wanted);
}

#[test]
fn a_tone_keeps_its_level_there_and_back_through_every_codec() {
    for format in FORMATS {
        let said = said(format, 1000.0);
        for codec in Codec::ALL {
            let heard = there_and_back(format, *codec, 20, &said);
            assert_eq!(heard.len(), said.len(), "{format:?} {codec:?}");
            let change = level(format, 1000.0, &heard) - level(format, 1000.0, &said);
            assert!(change.abs() < 1.0, "{format:?} {codec:?}: {change:.2} dB");
        }
    }
}

#[test]
fn g722_brings_what_g711_cannot() {
    let format = Format::Linear(Rate::Hz16000);
    let said = said(format, 6000.0);
    let wide = there_and_back(format, Codec::G722, 20, &said);
    let narrow = there_and_back(format, Codec::Pcmu, 20, &said);
    assert!((level(format, 6000.0, &wide) - level(format, 6000.0, &said)).abs() < 1.0);
    assert!(level(format, 6000.0, &said) - level(format, 6000.0, &narrow) > 45.0);
}

#[test]
fn frames_of_every_length_are_whole() {
    for format in FORMATS {
        let said = said(format, 500.0);
        for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722] {
            for ms in [10, 20, 30, 40, 60] {
                let whole = said.len() / format.bytes_per_ms() / ms * ms;
                let heard = there_and_back(format, codec, ms, &said);
                assert_eq!(heard.len(), whole * format.bytes_per_ms());
            }
        }
    }
}

#[test]
fn a_frame_without_room_is_cut_and_nothing_is_written_beyond() {
    let mut to_carrier = Transcoder::to_carrier(Format::PCMU, Codec::G722);
    assert_eq!(to_carrier.frame(160, &mut [0; 100], |to| to.fill(0xff)), 0);
    assert_eq!(to_carrier.frame(100_000, &mut [0; 100], |to| assert!(to.is_empty())), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes are sound, and as long as they say.
    #[test]
    fn payloads_of_any_length_and_cut_anywhere_sound_the_same(
        payload in prop::collection::vec(any::<u8>(), 1..1600),
        cut in 0_usize..1600,
        format in 0_usize..6,
    ) {
        let format = FORMATS[format];
        for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722] {
            let (mut whole, mut cut_up) = (Vec::new(), Vec::new());
            Transcoder::to_agent(codec, format).transcode(&payload, |b| whole.extend_from_slice(b));
            let mut transcoder = Transcoder::to_agent(codec, format);
            let (first, second) = payload.split_at(cut.min(payload.len()));
            transcoder.transcode(first, |b| cut_up.extend_from_slice(b));
            transcoder.transcode(second, |b| cut_up.extend_from_slice(b));
            prop_assert_eq!(&whole, &cut_up);
            prop_assert_eq!(whole.len(), payload.len() * format.bytes_per_ms() / 8);
        }
    }
}
