//! What sounds like somebody talking: a buzz of changing pitch through three moving formants, with
//! hisses and pauses between. Enough like a voice to trip a detector that listens badly.

use std::f32::consts::TAU;

pub(super) const RATE: usize = 8000;

/// A generator good enough for noise.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// Evenly spread over -1 to 1.
    pub(super) fn even(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        ((self.0 >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    }

    fn between(&mut self, from: f32, to: f32) -> f32 {
        from + (to - from) * (self.even() + 1.0) / 2.0
    }

    /// A normal variable of variance 1, nearly.
    pub(super) fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.even()).sum::<f32>() / 2.0
    }
}

#[derive(Default)]
struct Resonator {
    last: f32,
    before: f32,
}

impl Resonator {
    fn filter(&mut self, input: f32, frequency: f32, bandwidth: f32) -> f32 {
        let radius = (-TAU / 2.0 * bandwidth / RATE as f32).exp();
        let turn = (TAU * frequency / RATE as f32).cos();
        let out = (1.0 - radius) * input + 2.0 * radius * turn * self.last
            - radius * radius * self.before;
        (self.before, self.last) = (self.last, out);
        out
    }
}

/// First, second and third formant of vowels of men and women (Peterson and Barney, 1952), in Hz.
const VOWELS: [[f32; 3]; 12] = [
    [270.0, 2290.0, 3010.0],
    [390.0, 1990.0, 2550.0],
    [530.0, 1840.0, 2480.0],
    [660.0, 1720.0, 2410.0],
    [730.0, 1090.0, 2440.0],
    [570.0, 840.0, 2410.0],
    [300.0, 870.0, 2240.0],
    [640.0, 1190.0, 2390.0],
    [490.0, 1350.0, 1690.0],
    [860.0, 2050.0, 2850.0],
    [850.0, 1220.0, 2810.0],
    [760.0, 1400.0, 2780.0],
];

/// So many seconds of one speaker.
pub(super) fn speech(seed: u64, seconds: usize) -> Vec<i16> {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let voice = dice.between(80.0, 260.0);
    let mut pitch = voice;
    let mut phase = 0.0;
    let mut formants: [Resonator; 3] = Default::default();
    let mut samples = Vec::with_capacity(seconds * RATE);
    let mut vowel = VOWELS[0];
    while samples.len() < seconds * RATE {
        let kind = dice.between(0.0, 10.0);
        let len = (dice.between(0.05, 0.4) * RATE as f32) as usize;
        let next = VOWELS[(dice.between(0.0, 12.0) as usize).min(11)];
        let target = voice * dice.between(0.75, 1.35);
        let loudness = dice.between(1000.0, 9000.0);
        for n in 0..len {
            let at = n as f32 / len as f32;
            // A formant moves in the first third of a syllable and stands after it.
            let moved = (at * 3.0).min(1.0);
            pitch += (target - pitch) / 1500.0;
            phase += pitch / RATE as f32;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase = phase.fract();
            let noise = dice.even();
            let source = match kind {
                k if k < 7.0 => pulse * 8.0 + 0.02 * noise,
                k if k < 8.5 => 0.6 * noise,
                _ => 0.0,
            };
            let mut out = 0.0;
            for (index, formant) in formants.iter_mut().enumerate() {
                let frequency = vowel[index] + (next[index] - vowel[index]) * moved;
                let bandwidth = [60.0, 90.0, 150.0][index];
                let weight = [1.0, 0.5, 0.25][index];
                out += weight * formant.filter(source, frequency, bandwidth);
            }
            let swell = (TAU / 2.0 * at).sin().sqrt();
            samples.push((out * swell * loudness * 4.0).clamp(-32768.0, 32767.0) as i16);
        }
        vowel = next;
    }
    samples.truncate(seconds * RATE);
    samples
}
