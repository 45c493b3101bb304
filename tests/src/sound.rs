//! Sound made for tests, and how alike two sounds are.

use std::f64::consts::TAU;

use crate::wav::Wav;

/// A sine of that frequency and peak.
pub fn tone(sample_rate_hz: u32, frequency_hz: f64, seconds: f64, peak: f64) -> Vec<i16> {
    let length = (f64::from(sample_rate_hz) * seconds) as usize;
    (0..length)
        .map(|n| (peak * (TAU * frequency_hz * n as f64 / f64::from(sample_rate_hz)).sin()) as i16)
        .collect()
}

/// A sweep from one frequency to another: unlike itself at every other delay.
pub fn chirp(sample_rate_hz: u32, from_hz: f64, to_hz: f64, seconds: f64, peak: f64) -> Vec<i16> {
    let rate = f64::from(sample_rate_hz);
    (0..(rate * seconds) as usize)
        .map(|n| {
            let t = n as f64 / rate;
            let phase = TAU * (from_hz * t + (to_hz - from_hz) * t * t / (2.0 * seconds));
            (peak * phase.sin()) as i16
        })
        .collect()
}

/// Something with the rhythm of speech: bursts of gliding harmonics and noise between pauses.
pub fn speech_like(sample_rate_hz: u32, seconds: f64, seed: u64) -> Vec<i16> {
    let rate = f64::from(sample_rate_hz);
    let mut state = seed | 1;
    let mut random = move || {
        // xorshift64: repeatable, good enough for noise.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let length = (rate * seconds) as usize;
    let mut samples = Vec::with_capacity(length);
    while samples.len() < length {
        let syllable = (rate * (0.12 + 0.18 * random())) as usize;
        let pause = (rate * (0.02 + 0.15 * random())) as usize;
        let (pitch, glide, hiss) =
            (90.0 + 120.0 * random(), 40.0 * (random() - 0.5), 0.1 + 0.4 * random());
        let mut phase = 0.0;
        for n in 0..syllable {
            let at = n as f64 / syllable as f64;
            phase += TAU * (pitch + glide * at) / rate;
            let voice: f64 =
                (1..=12).map(|k| (phase * f64::from(k)).sin() / f64::from(k)).sum::<f64>() * 0.5;
            let envelope = (std::f64::consts::PI * at).sin();
            let noise = (random() - 0.5) * hiss;
            samples.push((9000.0 * envelope * (voice + noise)) as i16);
        }
        samples.extend(std::iter::repeat_n(0, pause));
    }
    samples.truncate(length);
    samples
}

/// Where `needle` is found in `hay`, and how well: normalised cross-correlation, 1 is the same sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// -1 to 1.
    pub correlation: f64,
    /// Samples from the start of `hay`.
    pub at: usize,
}

/// The best match of `needle` in `hay` at a delay of `from..=to` samples.
pub fn find(needle: &[i16], hay: &[i16], from: usize, to: usize) -> Option<Match> {
    let wanted: Vec<f32> = needle.iter().map(|&sample| f32::from(sample)).collect();
    let heard: Vec<f32> = hay.iter().map(|&sample| f32::from(sample)).collect();
    let energy = |part: &[f32]| part.iter().map(|x| f64::from(x * x)).sum::<f64>();
    let wanted_energy = energy(&wanted);
    if wanted.is_empty() || wanted_energy == 0.0 || heard.len() < wanted.len() {
        return None;
    }
    let last = to.min(heard.len() - wanted.len());
    let mut best: Option<Match> = None;
    for at in from..=last {
        let part = &heard[at..at + wanted.len()];
        let part_energy = energy(part);
        if part_energy == 0.0 {
            continue;
        }
        let product: f64 = wanted.iter().zip(part).map(|(a, b)| f64::from(a * b)).sum();
        let correlation = product / (wanted_energy * part_energy).sqrt();
        if best.is_none_or(|best| correlation > best.correlation) {
            best = Some(Match { correlation, at });
        }
    }
    best
}

/// Delay in milliseconds and correlation of a quarter of a second said at each of `seconds`, in recordings
/// that began in one instant; no likeness where nothing was said, or nothing heard.
pub fn echo_delays(said: &Wav, heard: &Wav, seconds: &[f64]) -> Vec<(f64, f64)> {
    let rate = said.sample_rate_hz;
    seconds
        .iter()
        .map(|second| {
            let from = (second * f64::from(rate)) as usize;
            let part = &said.samples[from..from + rate as usize / 4];
            find(part, &heard.samples, from, from + rate as usize).map_or((0.0, 0.0), |found| {
                ((found.at - from) as f64 * 1000.0 / f64::from(rate), found.correlation)
            })
        })
        .collect()
}

/// Root mean square of each `window` samples.
pub fn levels(samples: &[i16], window: usize) -> Vec<f64> {
    samples
        .chunks(window)
        .map(|part| {
            let sum: f64 = part.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            (sum / part.len() as f64).sqrt()
        })
        .collect()
}

/// Power of one frequency (Goertzel), as the peak of a sine that would give it.
pub fn peak_at(samples: &[i16], sample_rate_hz: u32, frequency_hz: f64) -> f64 {
    let coefficient = 2.0 * (TAU * frequency_hz / f64::from(sample_rate_hz)).cos();
    let (mut previous, mut before) = (0.0, 0.0);
    for &sample in samples {
        let now = f64::from(sample) + coefficient * previous - before;
        before = previous;
        previous = now;
    }
    let power = previous * previous + before * before - coefficient * previous * before;
    2.0 * power.max(0.0).sqrt() / samples.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delayed_and_quieter_copy_is_found_where_it_is() {
        let said = speech_like(8000, 1.0, 7);
        let mut heard = vec![0; 900];
        heard.extend(said.iter().map(|x| x / 2));
        let found = find(&said[1000..4000], &heard, 0, usize::MAX).unwrap();
        assert_eq!(found.at, 1900);
        assert!(found.correlation > 0.99, "{found:?}");
    }

    #[test]
    fn other_speech_does_not_correlate() {
        let found =
            find(&speech_like(8000, 0.5, 7), &speech_like(8000, 2.0, 99), 0, usize::MAX).unwrap();
        assert!(found.correlation < 0.6, "{found:?}");
    }

    #[test]
    fn a_tone_is_told_from_another() {
        let heard = tone(8000, 440.0, 0.1, 8000.0);
        assert!((peak_at(&heard, 8000, 440.0) - 8000.0).abs() < 200.0);
        assert!(peak_at(&heard, 8000, 1000.0) < 500.0);
    }
}
