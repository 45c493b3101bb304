//! Makes a key's two sines.

use std::f64::consts::TAU;

use super::{FREQUENCIES_HZ, amplitude, place};
use crate::media::Digit;

/// How long a tone swells and fades, so that nothing clicks, in milliseconds.
const RAMP_MS: usize = 4;

/// How loud rows and columns are, in dBm0. Columns are the louder ones, for lines take more of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    pub row_dbm0: f32,
    pub column_dbm0: f32,
}

impl Default for Levels {
    fn default() -> Self {
        Self { row_dbm0: -10.0, column_dbm0: -8.0 }
    }
}

/// One key held for a number of samples.
pub struct Tone {
    row: Sine,
    column: Sine,
    len: usize,
    at: usize,
    ramp: usize,
}

struct Sine {
    peak: f64,
    /// Of a whole turn, 0 to 1.
    phase: f64,
    step: f64,
}

impl Sine {
    fn new(frequency_hz: f32, rate_hz: u32, dbm0: f32) -> Self {
        let step = f64::from(frequency_hz) / f64::from(rate_hz.max(1));
        Self { peak: amplitude(dbm0).into(), phase: 0.0, step }
    }

    fn next(&mut self) -> f64 {
        let sample = self.peak * (TAU * self.phase).sin();
        self.phase = (self.phase + self.step).fract();
        sample
    }
}

impl Tone {
    pub fn new(digit: Digit, rate_hz: u32, len_samples: usize, levels: Levels) -> Self {
        let (row, column) = place(digit);
        let sine = |at: usize, dbm0| {
            let frequency = FREQUENCIES_HZ.get(at).copied().unwrap_or_default();
            Sine::new(frequency, rate_hz, dbm0)
        };
        let ramp = RAMP_MS * rate_hz as usize / 1000;
        Self {
            row: sine(row, levels.row_dbm0),
            column: sine(4 + column, levels.column_dbm0),
            len: len_samples,
            at: 0,
            ramp: ramp.min(len_samples / 2),
        }
    }

    /// Writes what is left of the tone, as much as fits, and says how much that was.
    pub fn fill(&mut self, samples: &mut [i16]) -> usize {
        let count = samples.len().min(self.len - self.at);
        for sample in samples.iter_mut().take(count) {
            let both = (self.row.next() + self.column.next()) * self.gain();
            *sample = both.round().clamp(-32768.0, 32767.0) as i16;
            self.at += 1;
        }
        count
    }

    /// A raised cosine at either end, one in between.
    fn gain(&self) -> f64 {
        let from_edge = self.at.min(self.len - 1 - self.at);
        if from_edge >= self.ramp {
            return 1.0;
        }
        let within = (from_edge as f64 + 0.5) / self.ramp as f64;
        0.5 - 0.5 * (TAU / 2.0 * within).cos()
    }
}
