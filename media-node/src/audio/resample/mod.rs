//! From one sampling rate to another, as the samples come: a polyphase FIR filter.
//!
//! Between any two of the rates that we know lies one of the ratios 2, 3 and 6, or 3 : 2. The common
//! multiple of both rates is 2, 3 or 6 times the lower one, and there a low-pass of 16 taps for each
//! sample of the lower rate takes away what that rate cannot hold. Going up, only the taps that meet
//! a sample are used; going down, only the sums that are kept are made.
//!
//! Measured against the lower rate: flat within 0.25 dB up to 0.425 of it (3.4 kHz of 8 kHz, the
//! telephone's band), at least 50 dB down from 0.575 of it on; what lies between folds to where
//! no telephone listens. The delay is eight samples of the lower rate: 1 ms with 8 kHz, less with
//! others.
#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use super::format::Rate;

/// Taps for each sample of the lower rate.
const TAPS: usize = 16;
/// The longest filter: between 8 and 48 kHz.
const MAX_TAPS: usize = TAPS * 6;
/// How many samples are filtered at a time: 10 ms of the highest rate.
const BLOCK: usize = 480;

/// One direction of one stream. A piece of sound gives the same samples however it is cut.
pub struct Resampler {
    /// For each phase its taps, in the order in which they meet the samples; `len` each.
    taps: [f32; MAX_TAPS],
    len: usize,
    /// The common multiple over the incoming rate, and over the outgoing one.
    up: usize,
    down: usize,
    /// Where in the grid of the common multiple the next outgoing sample lies: behind which of the
    /// incoming ones that are still to come, and how far.
    newest: usize,
    phase: usize,
    /// The `len - 1` samples before the next one, and room for a block.
    samples: [f32; MAX_TAPS + BLOCK],
}

impl Resampler {
    /// `None` when both rates are the same, and nothing is to be done.
    pub fn new(from: Rate, to: Rate) -> Option<Self> {
        let (from, to) = (from.samples_per_ms(), to.samples_per_ms());
        if from == to {
            return None;
        }
        // All rates are multiples of 8 kHz.
        let common = if from.max(to) % from.min(to) == 0 { from.max(to) } else { from.max(to) * 2 };
        let (up, down) = (common / from, common / to);
        let half: &[f32] = match common / from.min(to) {
            2 => &TAPS_2,
            3 => &TAPS_3,
            _ => &TAPS_6,
        };
        let len = half.len() * 2 / up;
        let mut taps = [0.0; MAX_TAPS];
        // Symmetric: the second half is the first one mirrored. The sum is 1, so stuffing with
        // `up - 1` zeros takes away what this puts back.
        for (n, tap) in half.iter().chain(half.iter().rev()).enumerate() {
            let (phase, age) = (n % up, n / up);
            if let Some(place) = taps.get_mut(phase * len + len - 1 - age) {
                *place = tap * up as f32;
            }
        }
        Some(Self { taps, len, up, down, newest: 0, phase: 0, samples: [0.0; MAX_TAPS + BLOCK] })
    }

    /// The most samples that come of so many.
    pub fn max_output(&self, input: usize) -> usize {
        (input * self.up).div_ceil(self.down)
    }

    /// Filters `input` into the front of `output`, and returns how many samples that are. What does
    /// not fit is lost; [`Self::max_output`] always fits.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        let mut written = 0;
        let mut room = output.iter_mut();
        for block in input.chunks(BLOCK) {
            let history = self.len - 1;
            let Some(fresh) = self.samples.get_mut(history..history + block.len()) else { break };
            for (to, from) in fresh.iter_mut().zip(block) {
                *to = f32::from(*from);
            }
            while self.newest < block.len() {
                let taps = self.taps.get(self.phase * self.len..(self.phase + 1) * self.len);
                let samples = self.samples.get(self.newest..self.newest + self.len);
                if let (Some(taps), Some(samples), Some(to)) = (taps, samples, room.next()) {
                    *to = round(dot(taps, samples));
                    written += 1;
                }
                self.phase += self.down;
                while self.phase >= self.up {
                    self.phase -= self.up;
                    self.newest += 1;
                }
            }
            self.newest -= block.len();
            self.samples.copy_within(block.len()..block.len() + history, 0);
        }
        written
    }
}

/// Both have a whole number of eights.
fn dot(taps: &[f32], samples: &[f32]) -> f32 {
    // Eight sums side by side: one vector instruction each, which one sum in order cannot be.
    let mut sums = [0.0_f32; 8];
    for (taps, samples) in taps.chunks_exact(8).zip(samples.chunks_exact(8)) {
        for ((sum, tap), sample) in sums.iter_mut().zip(taps).zip(samples) {
            *sum += tap * sample;
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// To the nearest sample; what is too loud is clipped.
fn round(value: f32) -> i16 {
    // A cast cuts off towards zero, and saturates.
    (value + 0.5_f32.copysign(value)) as i16
}

// The first halves of symmetric filters, equiripple by the exchange of Parks and McClellan: pass band
// up to 0.425, stop band from 0.575 of the lower rate with six times the weight, their sum 1.
#[rustfmt::skip]
static TAPS_2: [f32; 16] = [
    -0.0025310, 0.0013506, 0.0087518, 0.0043615, -0.0102722, -0.0062692,
    0.0168164, 0.0119765, -0.0252528, -0.0209999, 0.0387248, 0.0378053,
    -0.0646787, -0.0794130, 0.1522354, 0.4373945,
];
#[rustfmt::skip]
static TAPS_3: [f32; 24] = [
    -0.0019887, -0.0010882, 0.0016780, 0.0052528, 0.0059078, 0.0013943,
    -0.0055101, -0.0080511, -0.0018371, 0.0090673, 0.0137101, 0.0044418,
    -0.0131092, -0.0218350, -0.0086152, 0.0194514, 0.0358090, 0.0168408,
    -0.0310510, -0.0660403, -0.0384374, 0.0668201, 0.2082288, 0.3089612,
];
#[rustfmt::skip]
static TAPS_6: [f32; 48] = [
    -0.0014536, -0.0009358, -0.0008629, -0.0004594, 0.0002705, 0.0012200,
    0.0021849, 0.0029053, 0.0031210, 0.0026645, 0.0015223, -0.0001277,
    -0.0019217, -0.0033923, -0.0040749, -0.0036496, -0.0020555, 0.0004429,
    0.0032811, 0.0057000, 0.0069380, 0.0064435, 0.0040688, 0.0001761,
    -0.0043837, -0.0084339, -0.0107498, -0.0103956, -0.0070308, -0.0010993,
    0.0061650, 0.0129504, 0.0172648, 0.0174442, 0.0126535, 0.0032507,
    -0.0090943, -0.0215843, -0.0307775, -0.0332812, -0.0265182, -0.0093960,
    0.0172846, 0.0507909, 0.0868239, 0.1202342, 0.1459498, 0.159_927,
];

#[cfg(test)]
mod tests;
