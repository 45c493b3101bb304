use std::f64::consts::TAU;

use super::speech::{Dice, RATE, speech};
use super::*;
use crate::audio::g711;

const KEYS: &str = "0123456789*#ABCD";

fn digit(c: char) -> Digit {
    Digit::new(c).unwrap()
}

/// What the detector hears, in pieces of one packet, through µ-law as a caller comes.
fn heard(samples: &[i16]) -> String {
    heard_in(samples, 160)
}

fn heard_in(samples: &[i16], piece: usize) -> String {
    let mut detector = Detector::new();
    let mut keys = String::new();
    for samples in samples.chunks(piece) {
        let mut coded = vec![0; samples.len()];
        g711::encode(g711::Law::Mu, samples, &mut coded);
        let mut decoded = vec![0; samples.len()];
        g711::decode(g711::Law::Mu, &coded, &mut decoded);
        detector.feed(&decoded, |key| keys.push(key.as_char()));
    }
    keys
}

/// Two sines made without the generator under test.
#[derive(Clone, Copy)]
struct Pair {
    row_hz: f64,
    column_hz: f64,
    row_dbm0: f64,
    column_dbm0: f64,
}

impl Pair {
    fn of(c: char) -> Self {
        let (row, column) = place(digit(c));
        Self {
            row_hz: FREQUENCIES_HZ[row].into(),
            column_hz: FREQUENCIES_HZ[4 + column].into(),
            row_dbm0: -10.0,
            column_dbm0: -10.0,
        }
    }

    fn sound(&self, len: usize) -> Vec<i16> {
        let sine = |hz: f64, dbm0: f64, n: usize| {
            let peak = 32768.0 * 10f64.powf((dbm0 - f64::from(FULL_SCALE_DBM0)) / 20.0);
            peak * (TAU * hz * n as f64 / RATE as f64 + 0.7).sin()
        };
        (0..len)
            .map(|n| {
                let both =
                    sine(self.row_hz, self.row_dbm0, n) + sine(self.column_hz, self.column_dbm0, n);
                both.clamp(-32768.0, 32767.0) as i16
            })
            .collect()
    }
}

fn ms(count: usize) -> usize {
    count * RATE / 1000
}

/// The pieces after each other, with the first beginning at any of the places where it may lie
/// towards the windows.
fn at_every_offset(parts: &[Vec<i16>], mut check: impl FnMut(usize, String)) {
    for offset in 0..33 {
        let mut samples = vec![0; 400 + offset];
        parts.iter().for_each(|part| samples.extend(part));
        samples.resize(samples.len() + 800, 0);
        check(offset, heard(&samples));
    }
}

/// With noise of white spectrum, this far below the row tone.
fn noisy(samples: &mut [i16], dbm0: f64, seed: u64) {
    let mut dice = Dice(seed | 1);
    // A sine of this level has half the square of its peak.
    let rms = 32768.0 * 10f64.powf((dbm0 - f64::from(FULL_SCALE_DBM0)) / 20.0) / 2f64.sqrt();
    for sample in samples {
        let noise = f64::from(dice.normal()) * rms;
        *sample = (f64::from(*sample) + noise).clamp(-32768.0, 32767.0) as i16;
    }
}

#[test]
fn every_key_that_is_made_is_heard() {
    for c in KEYS.chars() {
        let mut tone = Tone::new(digit(c), 8000, ms(60), Levels::default());
        let mut samples = vec![0; ms(60)];
        assert_eq!(tone.fill(&mut samples), ms(60));
        assert_eq!(tone.fill(&mut [0; 10]), 0);
        at_every_offset(&[samples], |offset, keys| assert_eq!(keys, c.to_string(), "at {offset}"));
    }
}

#[test]
fn a_number_is_heard_whatever_the_size_of_the_pieces() {
    let mut samples = Vec::new();
    for c in KEYS.chars().chain("1199".chars()) {
        samples.extend(Pair::of(c).sound(ms(50)));
        samples.extend(vec![0; ms(50)]);
    }
    for piece in [1, 7, 31, 32, 33, 80, 160, 192, 240, 1000, samples.len()] {
        assert_eq!(heard_in(&samples, piece), format!("{KEYS}1199"), "pieces of {piece}");
    }
}

/// ITU-T Q.24, table A-1: 40 ms must be heard, and what is shorter than 23 to 24 ms must not.
#[test]
fn forty_milliseconds_are_a_key_and_twenty_four_are_none() {
    for c in KEYS.chars() {
        at_every_offset(&[Pair::of(c).sound(ms(40))], |offset, keys| {
            assert_eq!(keys, c.to_string(), "{c} of 40 ms at {offset}");
        });
        for len in [5, 10, 20, 24] {
            at_every_offset(&[Pair::of(c).sound(ms(len))], |offset, keys| {
                assert_eq!(keys, "", "{c} of {len} ms at {offset}");
            });
        }
    }
}

#[test]
fn a_pause_of_40_ms_ends_a_key_and_a_hole_of_10_does_not() {
    for c in KEYS.chars() {
        let tone = Pair::of(c).sound(ms(60));
        for (hole, keys) in [(3, 1), (10, 1), (40, 2), (70, 2)] {
            let parts = [tone.clone(), vec![0; ms(hole)], tone.clone()];
            at_every_offset(&parts, |offset, heard| {
                assert_eq!(heard.len(), keys, "{c} with a hole of {hole} ms at {offset}");
            });
        }
    }
}

#[test]
fn another_key_needs_no_pause() {
    let parts = "1470".chars().map(|c| Pair::of(c).sound(ms(60))).collect::<Vec<_>>();
    at_every_offset(&parts, |offset, keys| assert_eq!(keys, "1470", "at {offset}"));
}

#[test]
fn a_key_held_for_ten_seconds_is_one() {
    let mut samples = Pair::of('6').sound(ms(10_000));
    noisy(&mut samples, -28.0, 3);
    assert_eq!(heard(&samples), "6");
}

#[test]
fn keys_are_heard_from_minus_3_to_minus_36_dbm0_and_not_from_minus_45_down() {
    for c in KEYS.chars() {
        for level in (-36..=-3).step_by(3).chain([-45, -50, -60]) {
            let pair = Pair { row_dbm0: level.into(), column_dbm0: level.into(), ..Pair::of(c) };
            let keys = heard(&[vec![0; 333], pair.sound(ms(50)), vec![0; 800]].concat());
            let wanted = if level > -40 { c.to_string() } else { String::new() };
            assert_eq!(keys, wanted, "{c} at {level} dBm0");
        }
    }
}

/// ITU-T Q.24: 1.5 % off must be heard, and 3.5 % must not, of either tone.
#[test]
fn tones_that_are_off_by_1_5_percent_are_heard_and_by_3_5_percent_not() {
    for c in KEYS.chars() {
        for (row_off, column_off, is_key) in [
            (1.5, 1.5, true),
            (-1.5, -1.5, true),
            (1.5, -1.5, true),
            (-1.5, 1.5, true),
            (3.5, 0.0, false),
            (-3.5, 0.0, false),
            (0.0, 3.5, false),
            (0.0, -3.5, false),
            (3.5, 3.5, false),
            (-3.5, -3.5, false),
        ] {
            let nominal = Pair::of(c);
            let pair = Pair {
                row_hz: nominal.row_hz * (1.0 + row_off / 100.0),
                column_hz: nominal.column_hz * (1.0 + column_off / 100.0),
                ..nominal
            };
            let wanted = if is_key { c.to_string() } else { String::new() };
            for len in [40, 45, 100, 500] {
                at_every_offset(&[pair.sound(ms(len))], |offset, keys| {
                    let what = format!("{c} {row_off} % {column_off} % for {len} ms at {offset}");
                    assert_eq!(keys, wanted, "{what}");
                });
            }
        }
    }
}

#[test]
fn twist_of_4_and_8_db_is_heard_and_of_8_and_12_not() {
    for c in KEYS.chars() {
        for (twist, is_key) in [
            (0.0, true),
            (4.0, true),
            (-4.0, true),
            (-8.0, true),
            (8.0, false),
            (12.0, false),
            (-12.0, false),
            (-20.0, false),
        ] {
            let pair = Pair { row_dbm0: -16.0, column_dbm0: -16.0 + twist, ..Pair::of(c) };
            let wanted = if is_key { c.to_string() } else { String::new() };
            at_every_offset(&[pair.sound(ms(50))], |offset, keys| {
                assert_eq!(keys, wanted, "{c} with {twist} dB at {offset}");
            });
        }
    }
}

#[test]
fn keys_are_heard_through_noise_and_noise_is_no_key() {
    let mut wrong = 0;
    for (index, c) in KEYS.chars().cycle().take(320).enumerate() {
        let mut samples = [vec![0; 400], Pair::of(c).sound(ms(50)), vec![0; 800]].concat();
        // 15 dB below each tone (ITU-T Q.24 asks for 15 over the whole band at most).
        noisy(&mut samples, -25.0, index as u64);
        wrong += usize::from(heard(&samples) != c.to_string());
    }
    assert!(wrong == 0, "{wrong} of 320 keys");
    let mut noise = vec![0; 600 * RATE];
    noisy(&mut noise, -15.0, 9);
    assert_eq!(heard(&noise), "");
}

/// Nobody's speech presses keys: half an hour of six voices, among them what a laxer detector
/// took for one.
#[test]
fn speech_is_no_key() {
    let heard: Vec<_> = (4..10).map(|seed| heard(&speech(seed, 300))).collect();
    assert_eq!(heard, [""; 6]);
}

#[test]
fn music_and_the_tones_of_the_network_are_no_keys() {
    let mut dice = Dice(5);
    // Chords of the tempered scale, each of three notes with four harmonics.
    let mut music = Vec::new();
    for _ in 0..2000 {
        let notes: Vec<f64> = (0..3)
            .map(|_| {
                110.0 * 2f64.powf(((dice.even() + 1.0) * 18.0).floor().into()).powf(1.0 / 12.0)
            })
            .collect();
        music.extend((0..ms(180)).map(|n| {
            let of_note = |hz: &f64| -> f64 {
                (1..=4)
                    .map(|harmonic| {
                        let hz = hz * f64::from(harmonic);
                        2000.0 / f64::from(harmonic) * (TAU * hz * n as f64 / RATE as f64).sin()
                    })
                    .sum()
            };
            notes.iter().map(of_note).sum::<f64>() as i16
        }));
    }
    assert_eq!(heard(&music), "");
    for (row_hz, column_hz) in [
        (350.0, 440.0),
        (440.0, 480.0),
        (480.0, 620.0),
        (425.0, 0.0),
        (400.0, 450.0),
        (697.0, 0.0),
        (0.0, 1209.0),
        (697.0, 770.0),
        (1100.0, 2100.0),
        (1300.0, 2100.0),
        (700.0, 900.0),
        (900.0, 1100.0),
        (1100.0, 1700.0),
        (1336.0, 1477.0),
    ] {
        let pair = Pair { row_hz, column_hz, ..Pair::of('1') };
        assert_eq!(heard(&pair.sound(ms(2000))), "", "{row_hz} and {column_hz} Hz");
    }
    // A sweep passes every pair of frequencies at some time, alone.
    let sweep: Vec<i16> = (0..ms(20_000))
        .map(|n| {
            let hz = 300.0 + 3000.0 * n as f64 / ms(20_000) as f64 / 2.0;
            (8000.0 * (TAU * hz * n as f64 / RATE as f64).sin()) as i16
        })
        .collect();
    assert_eq!(heard(&sweep), "");
}

#[test]
fn full_scale_and_silence_are_no_keys() {
    assert_eq!(heard(&vec![0; 8000]), "");
    assert_eq!(heard(&vec![i16::MIN; 8000]), "");
    let square: Vec<i16> =
        (0..16000).map(|n| if n / 5 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
    assert_eq!(heard(&square), "");
}

#[test]
fn an_interruption_ends_a_key() {
    let tone = Pair::of('8').sound(ms(60));
    let mut detector = Detector::new();
    let mut keys = 0;
    for _ in 0..2 {
        detector.feed(&tone, |_| keys += 1);
        detector.interrupt();
    }
    assert_eq!(keys, 2);
}

/// The power of a frequency in a piece, as a sine of this level would have it.
fn level_dbm0(samples: &[i16], rate: f64, hz: f64) -> f64 {
    let (mut re, mut im, mut weights) = (0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let weight = 0.5 - 0.5 * (TAU * (n as f64 + 0.5) / samples.len() as f64).cos();
        let turn = TAU * hz * n as f64 / rate;
        re += weight * f64::from(*sample) * turn.cos();
        im += weight * f64::from(*sample) * turn.sin();
        weights += weight;
    }
    let peak = 2.0 * re.hypot(im) / weights;
    20.0 * (peak / 32768.0).log10() + f64::from(FULL_SCALE_DBM0)
}

#[test]
fn a_tone_has_the_frequencies_and_levels_it_should_and_nothing_else() {
    let levels = Levels { row_dbm0: -12.0, column_dbm0: -9.0 };
    for rate in [8000_u32, 16000, 48000] {
        for c in KEYS.chars() {
            let mut samples = vec![0; rate as usize / 5];
            let mut tone = Tone::new(digit(c), rate, samples.len(), levels);
            // In pieces, as packets take it.
            for piece in samples.chunks_mut(rate as usize / 50) {
                assert_eq!(tone.fill(piece), piece.len());
            }
            let (row, column) = place(digit(c));
            for (at, hz) in FREQUENCIES_HZ.iter().enumerate() {
                let level = level_dbm0(&samples, rate.into(), f64::from(*hz));
                let wanted = if at == row { -12.0 } else { -9.0 };
                if at == row || at == 4 + column {
                    assert!((level - wanted).abs() < 0.1, "{c} at {rate}: {hz} Hz at {level}");
                } else {
                    assert!(level < -50.0, "{c} at {rate}: {hz} Hz at {level}");
                }
            }
        }
    }
}

#[test]
fn a_tone_swells_and_fades_without_a_click() {
    for len in [1, 2, 9, 32, 64, 65, 800] {
        let mut samples = vec![0; len + 5];
        let levels = Levels { row_dbm0: -3.0, column_dbm0: -3.0 };
        let mut tone = Tone::new(digit('D'), 8000, len, levels);
        assert_eq!(tone.fill(&mut samples), len);
        assert!(samples[len..].iter().all(|sample| *sample == 0));
    }
    let mut samples = vec![0; 800];
    Tone::new(digit('D'), 8000, 800, Levels::default()).fill(&mut samples);
    let loudest = samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
    // Four milliseconds at either end: the outer quarter is a seventh as loud at most.
    for edge in [&samples[..8], &samples[792..]] {
        assert!(edge.iter().all(|sample| sample.unsigned_abs() < loudest / 7), "{edge:?}");
    }
    assert!(samples[0].unsigned_abs() < 50 && samples[799].unsigned_abs() < 50);
}
