//! G.722 at 64 kbit/s (ITU-T, September 2012, mode 1): 16 kHz sound in two bands, one byte for two
//! samples, through `audio-codec`.
//!
//! Both bands are predicted from what came before, so a stream keeps one encoder and one decoder
//! from first to last; after a loss they find together again within a few milliseconds.
#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use audio_codec::g722::{G722Decoder, G722Encoder};
use audio_codec::{Decoder as _, Encoder as _};

/// How much later a sample comes out than it went in, coded and decoded: the filters that split and
/// join the bands, in samples of 16 kHz.
pub const DELAY_SAMPLES: usize = 22;

#[derive(Default)]
pub struct Encoder(G722Encoder);

impl Encoder {
    /// Encodes pairs of samples, as many as fit both, and returns how many bytes they are.
    pub fn encode(&mut self, samples: &[i16], coded: &mut [u8]) -> usize {
        let pairs = (samples.len() / 2).min(coded.len());
        let samples = samples.get(..pairs * 2).unwrap_or_default();
        self.0.encode_into(samples, coded).unwrap_or(0)
    }
}

#[derive(Default)]
pub struct Decoder(G722Decoder);

impl Decoder {
    /// Decodes as many bytes as fit both, and returns how many samples they are. Never fails: every
    /// byte is two samples.
    pub fn decode(&mut self, coded: &[u8], samples: &mut [i16]) -> usize {
        let coded = coded.get(..coded.len().min(samples.len() / 2)).unwrap_or_default();
        self.0.decode_into(coded, samples).unwrap_or(0)
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may fail")]
mod tests {
    use super::*;
    use crate::audio::tone::{level_db, sine, snr_db};

    /// Coded and decoded, without the delay and the first 50 ms.
    fn there_and_back(samples: &[i16]) -> Vec<i16> {
        let mut coded = vec![0; samples.len() / 2];
        assert_eq!(Encoder::default().encode(samples, &mut coded), coded.len());
        let mut decoded = vec![0; samples.len()];
        assert_eq!(Decoder::default().decode(&coded, &mut decoded), decoded.len());
        decoded.split_off(800 + DELAY_SAMPLES)
    }

    #[test]
    fn each_band_keeps_its_level_and_as_much_of_the_sound_as_its_bits_allow() {
        // Six bits below 4 kHz, two above.
        for (hz, snr) in
            [(200.0, 30.0), (1000.0, 30.0), (3000.0, 27.0), (5000.0, 12.0), (6500.0, 12.0)]
        {
            let said = sine(16_000, hz, 8000.0, 16_000);
            let heard = there_and_back(&said);
            let said = &said[800..800 + heard.len()];
            let got = snr_db(said, &heard);
            assert!(got > snr, "{hz} Hz: {got:.1} dB");
            let change = level_db(&heard) - level_db(said);
            assert!(change.abs() < 0.5, "{hz} Hz: {change:.2} dB");
        }
    }

    #[test]
    fn the_loudest_sound_does_not_wrap() {
        let said: Vec<i16> =
            (0..16_000).map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let heard = there_and_back(&said);
        let crossings = heard.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count();
        assert!(crossings.abs_diff(heard.len() / 20) <= 1, "{crossings} changes of sign");
    }

    #[test]
    fn a_decoder_that_lost_a_packet_finds_its_way_back() {
        let said = sine(16_000, 700.0, 8000.0, 16_000);
        let mut coded = vec![0; 8000];
        Encoder::default().encode(&said, &mut coded);
        let (mut whole, mut holed) = (vec![0; 16_000], vec![0; 16_000 - 320]);
        Decoder::default().decode(&coded, &mut whole);
        coded.drain(4000..4160);
        Decoder::default().decode(&coded, &mut holed);
        assert!(snr_db(&whole[8320 + 800..], &holed[8000 + 800..]) > 30.0);
    }

    #[test]
    fn a_stream_may_be_cut_anywhere_between_pairs_and_the_shorter_buffer_decides() {
        let said = sine(16_000, 1500.0, 8000.0, 640);
        let (mut whole, mut pieces) = ([0; 320], [0; 320]);
        Encoder::default().encode(&said, &mut whole);
        let mut encoder = Encoder::default();
        for (samples, coded) in said.chunks(128).zip(pieces.chunks_mut(64)) {
            assert_eq!(encoder.encode(samples, coded), 64);
        }
        assert_eq!(whole, pieces);
        assert_eq!(encoder.encode(&said[..7], &mut [0; 9]), 3);
        assert_eq!(encoder.encode(&said, &mut [0; 9]), 9);
        assert_eq!(Decoder::default().decode(&whole, &mut [0; 9]), 8);
    }
}
