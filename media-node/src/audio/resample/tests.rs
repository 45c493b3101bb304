//! The filter's frequency response, an oracle, levels and cuts.
#![allow(clippy::indexing_slicing)]

use std::f64::consts::TAU;

use proptest::prelude::*;
use rubato::Resampler as _;
use rubato::audioadapter_buffers::direct::InterleavedSlice;

use super::*;
use crate::audio::tone::{level_at_db, level_db, sine};

fn pairs() -> impl Iterator<Item = (Rate, Rate)> {
    Rate::ALL
        .into_iter()
        .flat_map(|from| Rate::ALL.into_iter().map(move |to| (from, to)))
        .filter(|(from, to)| from != to)
}

fn resample(from: Rate, to: Rate, samples: &[i16]) -> Vec<i16> {
    let mut resampler = Resampler::new(from, to).unwrap();
    let mut output = vec![0; resampler.max_output(samples.len())];
    let len = resampler.process(samples, &mut output);
    output.truncate(len);
    output
}

/// How late a sound comes out, in seconds: half of the filter.
fn delay_seconds(from: Rate, to: Rate) -> f64 {
    let resampler = Resampler::new(from, to).unwrap();
    let common = f64::from(from.hz()) * resampler.up as f64;
    (resampler.len * resampler.up - 1) as f64 / 2.0 / common
}

#[test]
fn no_delay_is_longer_than_a_millisecond() {
    for (from, to) in pairs() {
        assert!(delay_seconds(from, to) <= 0.001);
        // An impulse is loudest where the delay says.
        let at = from.samples_per_ms() * 10;
        let mut impulse = vec![0; at * 3];
        impulse[at] = 20_000;
        let heard = resample(from, to, &impulse);
        let loudest = (0..heard.len()).max_by_key(|n| heard[*n].unsigned_abs()).unwrap();
        let late = loudest as f64 / f64::from(to.hz()) - at as f64 / f64::from(from.hz());
        let one = 1.0 / f64::from(to.hz());
        assert!((late - delay_seconds(from, to)).abs() <= one, "{from:?} {to:?}: {late}");
    }
}

#[test]
fn the_pass_band_is_flat_within_a_quarter_of_a_decibel_and_images_are_fifty_below() {
    for (from, to) in pairs() {
        let low = f64::from(from.min(to).hz());
        for share in [0.01, 0.05, 0.1, 0.2, 0.3, 0.35, 0.4, 0.425] {
            let hz = share * low;
            let said = sine(from.hz(), hz, 16_000.0, from.samples_per_ms() * 200);
            let heard = resample(from, to, &said);
            let heard = &heard[to.samples_per_ms() * 20..];
            let level = level_at_db(heard, to.hz(), hz);
            let change = level - level_db(&said);
            assert!(change.abs() < 0.25, "{from:?} {to:?} {hz} Hz: {change:.2} dB");
            // Wherever the incoming rate would mirror it.
            for multiple in 1..to.hz() / from.hz().min(to.hz()) {
                for image in [f64::from(multiple) * low - hz, f64::from(multiple) * low + hz] {
                    if image < f64::from(to.hz()) / 2.0 {
                        let rejected = level - level_at_db(heard, to.hz(), image);
                        assert!(rejected > 50.0, "{from:?} {to:?} {hz} Hz: {image} {rejected:.1}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_the_lower_rate_cannot_hold_is_fifty_decibels_down() {
    for (from, to) in pairs().filter(|(from, to)| from > to) {
        let (low, top) = (f64::from(to.hz()), f64::from(from.hz()) / 2.0);
        for step in 0..40 {
            let hz = low * 0.575 + (top - low * 0.575) * f64::from(step) / 40.0;
            let said = sine(from.hz(), hz, 16_000.0, from.samples_per_ms() * 200);
            let heard = resample(from, to, &said);
            let rejected = level_db(&said) - level_db(&heard[to.samples_per_ms() * 20..]);
            assert!(rejected > 50.0, "{from:?} {to:?} {hz} Hz: {rejected:.1} dB");
        }
    }
}

/// Twelve tones in the pass band, `late` seconds late.
fn chord(rate: Rate, low: Rate, late: f64, len: usize) -> Vec<f64> {
    (0..len)
        .map(|n| {
            let at = n as f64 / f64::from(rate.hz()) - late;
            (1..=12)
                .map(|k| {
                    let hz = f64::from(low.hz()) * 0.033 * f64::from(k);
                    1500.0 * (TAU * hz * at + f64::from(k * k)).sin()
                })
                .sum()
        })
        .collect()
}

#[test]
fn rubato_with_256_taps_says_the_same() {
    for (from, to) in pairs() {
        let low = from.min(to);
        let len = from.samples_per_ms() * 400;
        let ours: Vec<i16> = chord(from, low, 0.0, len).iter().map(|s| s.round() as i16).collect();
        let ours = resample(from, to, &ours);
        let ratio = f64::from(to.hz()) / f64::from(from.hz());
        let parameters = rubato::SincInterpolationParameters::default();
        let fixed = rubato::FixedAsync::Input;
        let mut oracle =
            rubato::Async::<f64>::new_sinc(ratio, 1.0, &parameters, 480, 1, fixed).unwrap();
        // Half of its taps but one sample of the output, of which it cuts off the whole ones.
        let their_delay = 128.0 * ratio - 1.0 - oracle.output_delay() as f64;
        // The same sound, as late as we are: then both agree sample by sample.
        let late = delay_seconds(from, to) - their_delay / f64::from(to.hz());
        let late = chord(from, low, late, len);
        let input = InterleavedSlice::new(&late, 1, len).unwrap();
        let theirs = oracle.process_all(&input, len, None).unwrap().take_data();
        let skip = to.samples_per_ms() * 50;
        let (mut signal, mut noise) = (0.0, 0.0);
        for (ours, theirs) in ours.iter().zip(&theirs).skip(skip).take(ours.len() - 2 * skip) {
            signal += theirs * theirs;
            noise += (f64::from(*ours) - theirs).powi(2);
        }
        let snr = 10.0 * (signal / noise).log10();
        // What differs is the ripple of the pass band.
        assert!(snr > 33.5, "{from:?} {to:?}: {snr:.1} dB");
    }
}

#[test]
fn a_steady_level_stays_and_the_loudest_clips_without_wrapping() {
    for (from, to) in pairs() {
        for level in [0, 1, -1, 100, 32_000, -32_000] {
            let heard = resample(from, to, &vec![level; from.samples_per_ms() * 40]);
            let settled = &heard[to.samples_per_ms() * 4..];
            let off =
                settled.iter().map(|s| (i32::from(*s) - i32::from(level)).abs()).max().unwrap();
            assert!(off <= i32::from(level.unsigned_abs()) / 500, "{from:?} {to:?} {level}: {off}");
        }
        // A square wave at full scale swings over at each edge.
        let square: Vec<i16> = (0..from.samples_per_ms() * 100)
            .map(|n| if n / (from.samples_per_ms() * 2) % 2 == 0 { i16::MAX } else { i16::MIN })
            .collect();
        let heard = resample(from, to, &square).split_off(to.samples_per_ms() * 5);
        assert!(heard.contains(&i16::MAX) && heard.contains(&i16::MIN), "{from:?} {to:?}");
        let crossings = heard.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count();
        assert!(crossings < 50, "{from:?} {to:?}: {crossings} changes of sign");
    }
}

#[test]
fn whole_frames_give_whole_frames_and_one_rate_needs_nothing() {
    for (from, to) in pairs() {
        let mut resampler = Resampler::new(from, to).unwrap();
        for ms in [10, 20, 30, 20, 60] {
            let mut output = vec![0; 3000];
            let input = vec![7; from.samples_per_ms() * ms];
            assert_eq!(resampler.process(&input, &mut output), to.samples_per_ms() * ms);
        }
        assert_eq!(resampler.process(&[1; 480], &mut [0; 3]), 3, "the room decides");
    }
    assert!(Rate::ALL.iter().all(|rate| Resampler::new(*rate, *rate).is_none()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_a_sound_is_cut_it_comes_out_the_same(
        pair in 0_usize..12,
        samples in prop::collection::vec(any::<i16>(), 1..2000),
        cuts in prop::collection::vec(1_usize..700, 1..40),
    ) {
        let (from, to) = pairs().nth(pair).unwrap();
        let whole = resample(from, to, &samples);
        let mut resampler = Resampler::new(from, to).unwrap();
        let (mut rest, mut pieces) = (samples.as_slice(), Vec::new());
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*cut));
            let mut output = vec![0; resampler.max_output(now.len())];
            let len = resampler.process(now, &mut output);
            pieces.extend_from_slice(&output[..len]);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(whole, pieces);
    }
}
