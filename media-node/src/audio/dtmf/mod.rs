//! Keys as tones in the audio (ITU-T Q.23, Q.24): a [`Detector`] for what callers press, and [`Tone`]
//! for what we press.
//!
//! A key is two sines at once, one for its row and one for its column.

mod detector;
#[cfg(test)]
mod speech;
#[cfg(test)]
mod tests;
mod tone;

pub use detector::Detector;
pub use tone::{Levels, Tone};

use crate::media::Digit;

/// Rows, then columns, in Hz (ITU-T Q.23 §3).
const FREQUENCIES_HZ: [f32; 8] = [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0];
/// What stands where on the keypad.
const KEYPAD: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// Full scale of 16 bits is this far above 0 dBm0 (ITU-T G.711, table 5, µ-law; in A-law it is 0.03 dB
/// less).
const FULL_SCALE_DBM0: f32 = 3.17;

/// The peak of a sine of this level.
fn amplitude(dbm0: f32) -> f32 {
    32768.0 * 10f32.powf((dbm0 - FULL_SCALE_DBM0) / 20.0)
}

fn key(row: usize, column: usize) -> Option<Digit> {
    KEYPAD.get(row)?.get(column).copied().and_then(Digit::new)
}

/// Row and column.
fn place(digit: Digit) -> (usize, usize) {
    let c = digit.as_char();
    let rows = KEYPAD.iter().enumerate();
    rows.filter_map(|(row, keys)| Some((row, keys.iter().position(|key| *key == c)?)))
        .next()
        .unwrap_or_default()
}
