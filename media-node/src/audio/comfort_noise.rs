//! Noise that tells a caller the line is alive.

use super::{g711, silence_byte};
use crate::media::Codec;

/// A quiet line, in -dBov.
pub const DEFAULT_LEVEL: u8 = 65;

/// Makes noise of a steady level, coded. White noise hisses; this one falls off towards 4 kHz,
/// because each sample is the sum of two neighbours of a white source.
pub struct ComfortNoise {
    codec: Codec,
    /// Peak of the white source, in 1/256 of a 16-bit step.
    peak: i32,
    state: u64,
    previous: i32,
}

impl ComfortNoise {
    /// `level`: in -dBov (RFC 3389 §3), 0 is the loudest, 127 is silence. Any `seed` will do.
    pub fn new(codec: Codec, level: u8, seed: u64) -> Self {
        let mut noise = Self { codec, peak: 0, state: seed, previous: 0 };
        noise.set_level(level);
        noise
    }

    pub fn set_level(&mut self, level: u8) {
        // 0 dBov is the power of a square wave at full scale. The sum of two samples evenly spread
        // over ±peak has the power 2/3 peak².
        let rms = 32768.0 * 10f64.powf(-f64::from(level) / 20.0);
        self.peak = match level {
            127.. => 0,
            _ => (rms * 1.5f64.sqrt() * 256.0) as i32,
        };
    }

    /// Fills `coded` with the next samples, one byte each.
    pub fn fill(&mut self, coded: &mut [u8]) {
        if self.peak == 0 {
            coded.fill(silence_byte(self.codec));
            return;
        }
        for code in coded {
            let white = self.white();
            let sum = (white + self.previous + 0x80) >> 8;
            self.previous = white;
            let sample = sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
            *code = match self.codec {
                Codec::Pcmu => g711::linear_to_ulaw(sample),
                Codec::Pcma => g711::linear_to_alaw(sample),
            };
        }
    }

    /// The next sample of the white source, evenly spread over ±`peak` (a Weyl sequence, mixed:
    /// the ear asks for no more).
    fn white(&mut self) -> i32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let signed = i64::from((mixed >> 32) as u32 as i32);
        ((signed * i64::from(self.peak)) >> 31) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(codec: Codec, level: u8) -> Vec<i16> {
        let mut coded = vec![0; 16_000];
        ComfortNoise::new(codec, level, 7).fill(&mut coded);
        let mut samples = vec![0; coded.len()];
        g711::decode(codec, &coded, &mut samples);
        samples
    }

    #[test]
    fn noise_has_the_level_asked_for() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            for level in [20, 30, 40, 50, 60] {
                let samples = samples(codec, level);
                let power = samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / 16_000.0;
                let measured = -10.0 * (power / 32768f64.powi(2)).log10();
                assert!((measured - f64::from(level)).abs() < 1.0, "{codec:?} {level}: {measured}");
                let mean = samples.iter().map(|s| f64::from(*s)).sum::<f64>() / 16_000.0;
                assert!(mean.abs() < power.sqrt() / 10.0 + 2.0, "{codec:?} {level}: mean {mean}");
            }
        }
    }

    #[test]
    fn noise_falls_off_towards_the_top_of_the_band() {
        let samples = samples(Codec::Pcmu, 30);
        let energy = |sign: i32| -> f64 {
            samples
                .windows(2)
                .map(|w| f64::from(i32::from(w[0]) + sign * i32::from(w[1])).powi(2))
                .sum()
        };
        assert!(energy(1) > 2.5 * energy(-1));
    }

    #[test]
    fn level_127_is_silence_and_the_loudest_does_not_wrap() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            let mut coded = [0; 160];
            ComfortNoise::new(codec, 127, 0).fill(&mut coded);
            assert_eq!(coded, [silence_byte(codec); 160]);
            let loud = samples(codec, 0);
            assert!(loud.iter().any(|s| *s > 30_000) && loud.iter().any(|s| *s < -30_000));
        }
    }

    #[test]
    fn noise_goes_on_where_it_stopped() {
        let (mut whole, mut parts) = ([0; 320], [0; 320]);
        ComfortNoise::new(Codec::Pcma, 50, 1).fill(&mut whole);
        let mut noise = ComfortNoise::new(Codec::Pcma, 50, 1);
        parts.chunks_mut(80).for_each(|part| noise.fill(part));
        assert_eq!(whole, parts);
    }
}
