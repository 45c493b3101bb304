//! Noise that tells a caller the line is alive.

use super::format::Format;
use super::g711;

/// A quiet line, in -dBov.
pub const DEFAULT_LEVEL: u8 = 65;

/// Makes noise of a steady level, coded. White noise hisses; this one falls off towards 4 kHz,
/// because each sample is the sum of two neighbours of a white source.
pub struct ComfortNoise {
    format: Format,
    /// Peak of the white source, in 1/256 of a 16-bit step.
    peak: i32,
    state: u64,
    previous: i32,
}

impl ComfortNoise {
    /// `level`: in -dBov (RFC 3389 §3), 0 is the loudest, 127 is silence. Any `seed` will do.
    pub fn new(format: Format, level: u8, seed: u64) -> Self {
        let mut noise = Self { format, peak: 0, state: seed, previous: 0 };
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

    /// Fills `coded` with the next samples, in the format's own width.
    pub fn fill(&mut self, coded: &mut [u8]) {
        if self.peak == 0 {
            coded.fill(self.format.silence_byte());
            return;
        }
        match self.format {
            Format::G711(law) => {
                coded.fill_with(|| g711::from_linear(law, self.sample()));
            }
            Format::Linear(_) => {
                for sample in coded.chunks_exact_mut(2) {
                    sample.copy_from_slice(&self.sample().to_le_bytes());
                }
            }
        }
    }

    fn sample(&mut self) -> i16 {
        let white = self.white();
        let sum = (white + self.previous + 0x80) >> 8;
        self.previous = white;
        sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
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
    use crate::audio::format::Rate;

    const FORMATS: [Format; 3] = [Format::PCMU, Format::PCMA, Format::Linear(Rate::Hz16000)];

    fn samples(format: Format, level: u8) -> Vec<i16> {
        let mut coded = vec![0; 16_000 * format.bytes_per_sample()];
        ComfortNoise::new(format, level, 7).fill(&mut coded);
        match format {
            Format::G711(law) => coded.iter().map(|code| g711::to_linear(law, *code)).collect(),
            Format::Linear(_) => {
                coded.chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
            }
        }
    }

    #[test]
    fn noise_has_the_level_asked_for() {
        for format in FORMATS {
            for level in [20, 30, 40, 50, 60] {
                let samples = samples(format, level);
                let power = samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / 16_000.0;
                let measured = -10.0 * (power / 32768f64.powi(2)).log10();
                assert!(
                    (measured - f64::from(level)).abs() < 1.0,
                    "{format:?} {level}: {measured}"
                );
                let mean = samples.iter().map(|s| f64::from(*s)).sum::<f64>() / 16_000.0;
                assert!(mean.abs() < power.sqrt() / 10.0 + 2.0, "{format:?} {level}: mean {mean}");
            }
        }
    }

    #[test]
    fn noise_falls_off_towards_the_top_of_the_band() {
        let samples = samples(Format::PCMU, 30);
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
        for format in FORMATS {
            let mut coded = [1; 160];
            ComfortNoise::new(format, 127, 0).fill(&mut coded);
            assert_eq!(coded, [format.silence_byte(); 160]);
            let loud = samples(format, 0);
            assert!(loud.iter().any(|s| *s > 30_000) && loud.iter().any(|s| *s < -30_000));
        }
    }

    #[test]
    fn noise_goes_on_where_it_stopped() {
        let (mut whole, mut parts) = ([0; 320], [0; 320]);
        ComfortNoise::new(Format::PCMA, 50, 1).fill(&mut whole);
        let mut noise = ComfortNoise::new(Format::PCMA, 50, 1);
        parts.chunks_mut(80).for_each(|part| noise.fill(part));
        assert_eq!(whole, parts);
    }
}
