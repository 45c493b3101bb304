//! Test sounds, and what became of them.

use std::f64::consts::TAU;

/// `len` samples of a sine with the peak `amplitude`.
pub(crate) fn sine(rate_hz: u32, hz: f64, amplitude: f64, len: usize) -> Vec<i16> {
    let step = TAU * hz / f64::from(rate_hz);
    (0..len).map(|n| (amplitude * (step * n as f64).sin()).round() as i16).collect()
}

/// The mean power, in dB of one step.
pub(crate) fn level_db(samples: &[i16]) -> f64 {
    let power: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    10.0 * (power / samples.len() as f64).max(1e-9).log10()
}

/// The power at one frequency, in dB of one step; whatever its phase.
pub(crate) fn level_at_db(samples: &[i16], rate_hz: u32, hz: f64) -> f64 {
    let step = TAU * hz / f64::from(rate_hz);
    let len = samples.len() as f64;
    let (mut real, mut imaginary, mut weight) = (0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        // Hann's window: a tone between two whole numbers of periods leaks nothing far away.
        let window = 0.5 - 0.5 * (TAU * n as f64 / len).cos();
        let (sin, cos) = (step * n as f64).sin_cos();
        real += window * f64::from(*sample) * cos;
        imaginary += window * f64::from(*sample) * sin;
        weight += window;
    }
    10.0 * (2.0 * (real * real + imaginary * imaginary) / (weight * weight)).max(1e-9).log10()
}

/// How far what was heard is from what was said.
pub(crate) fn snr_db(said: &[i16], heard: &[i16]) -> f64 {
    let difference: f64 = said
        .iter()
        .zip(heard)
        .map(|(said, heard)| (f64::from(*said) - f64::from(*heard)).powi(2))
        .sum();
    let power: f64 = said.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    10.0 * (power / difference.max(1e-9)).log10()
}
