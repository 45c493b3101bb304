//! Finds keys in 8 kHz audio.
//!
//! Every 4 ms a window of 24 ms is looked at with the eight Goertzel filters. It holds a key when
//! one row and one column together are nearly all that sounds, are loud enough, stand in a fair
//! proportion, and are as high as they should be: how far a tone is off shows in how much further
//! its phase has turned since 8 ms ago than that of the nominal frequency would have.
//!
//! Speech and music pass each of these now and then, but not all of them for the 40 ms that a key
//! lasts at least (ITU-T Q.24, table A-1). What is shorter than 24 ms is no key, a hole of up to
//! 10 ms does not end one, and one of 40 ms does.

use std::f32::consts::TAU;
use std::sync::LazyLock;

use super::{FREQUENCIES_HZ, amplitude, key};
use crate::media::Digit;

const RATE_HZ: f32 = 8000.0;
/// 24 ms, and 4 ms.
const WINDOW: usize = 192;
const HOP: usize = 32;
/// Phases are compared over so many hops.
const LAG: usize = 2;

/// The weakest tone, in dBm0; exchanges must hear -24 or so, and networks lose some.
const WEAKEST_DBM0: f32 = -39.0;
/// How much louder the column may be than the row, and the other way round, in dB: 4 and 8 must be
/// heard, for lines take more of the higher.
const NORMAL_TWIST_DB: f32 = 6.0;
const REVERSE_TWIST_DB: f32 = 10.0;
/// How much of all that sounds the two tones are: what is left is 10 dB below them.
const SHARE: f32 = 0.90;
/// How far off a tone may be: 1.5 % must be heard and 3.5 % must not.
const DEVIATION: f32 = 0.025;
/// So many windows in a row make a key,
const HITS: u8 = 5;
/// and so many without it end it.
const MISSES: u8 = 9;

/// See the module. Takes audio in pieces of any size.
pub struct Detector {
    /// The window, the oldest sample first, and how much of its last hop is there.
    samples: [f32; WINDOW],
    fresh: usize,
    /// The filters' outputs of the last windows, the newest first.
    before: [Spectrum; LAG],
    /// A key that is being heard, for so many windows.
    candidate: Option<(Digit, u8)>,
    /// A key that was reported, and for how many windows it has not been heard.
    held: Option<(Digit, u8)>,
}

#[derive(Clone, Copy, Default)]
struct Spectrum {
    re: [f32; 8],
    im: [f32; 8],
}

struct Tables {
    /// Hann.
    window: [f32; WINDOW],
    sum: f32,
    sum_squares: f32,
    cos: [f32; 8],
    sin: [f32; 8],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut window = [0.0; WINDOW];
    for (n, weight) in window.iter_mut().enumerate() {
        *weight = 0.5 - 0.5 * (TAU * (n as f32 + 0.5) / WINDOW as f32).cos();
    }
    let turn = FREQUENCIES_HZ.map(|frequency| TAU * frequency / RATE_HZ);
    Tables {
        window,
        sum: window.iter().sum(),
        sum_squares: window.iter().map(|weight| weight * weight).sum(),
        cos: turn.map(f32::cos),
        sin: turn.map(f32::sin),
    }
});

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector {
    pub fn new() -> Self {
        Self {
            samples: [0.0; WINDOW],
            fresh: 0,
            before: [Spectrum::default(); LAG],
            candidate: None,
            held: None,
        }
    }

    /// Takes 8 kHz linear audio; `pressed` is told each key once, some 40 ms after it began.
    pub fn feed(&mut self, samples: &[i16], mut pressed: impl FnMut(Digit)) {
        let mut rest = samples;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(HOP - self.fresh));
            let room = self.samples.iter_mut().skip(WINDOW - HOP + self.fresh);
            room.zip(now).for_each(|(room, sample)| *room = f32::from(*sample));
            self.fresh += now.len();
            rest = later;
            if self.fresh == HOP {
                if let Some(digit) = self.look() {
                    pressed(digit);
                }
                self.samples.copy_within(HOP.., 0);
                self.fresh = 0;
            }
        }
    }

    /// The key that was reported last, while it is held.
    pub fn held(&self) -> Option<Digit> {
        self.held.map(|(digit, _)| digit)
    }

    /// Nothing sounded for a while, or the source is another: a key that was held is over.
    pub fn interrupt(&mut self) {
        *self = Self::new();
    }

    /// Judges the window; a key that is reported now.
    fn look(&mut self) -> Option<Digit> {
        let found = self.judge();
        self.candidate = match (found, self.candidate) {
            (Some(digit), Some((same, hits))) if digit == same => {
                Some((digit, hits.saturating_add(1)))
            }
            (Some(digit), _) => Some((digit, 1)),
            (None, _) => None,
        };
        if let Some((digit, misses)) = &mut self.held {
            if found == Some(*digit) {
                *misses = 0;
            } else {
                *misses += 1;
            }
            if *misses >= MISSES {
                self.held = None;
            }
        }
        match self.candidate {
            Some((digit, HITS)) if self.held.is_none_or(|(held, _)| held != digit) => {
                self.held = Some((digit, 0));
                Some(digit)
            }
            _ => None,
        }
    }

    /// The key that fills the window, if one does.
    fn judge(&mut self) -> Option<Digit> {
        let tables = &*TABLES;
        let mut weighted = self.samples;
        weighted.iter_mut().zip(&tables.window).for_each(|(sample, weight)| *sample *= weight);
        let power = weighted.iter().map(|sample| sample * sample).sum::<f32>() / tables.sum_squares;
        let weakest = amplitude(WEAKEST_DBM0).powi(2) / 2.0;
        // Too quiet for two tones; their phases are of no use later either.
        if power < weakest {
            self.before = [Spectrum::default(); LAG];
            return None;
        }
        let now = goertzel(&weighted, tables);
        let [.., then] = self.before;
        self.before.rotate_right(1);
        if let Some(newest) = self.before.first_mut() {
            *newest = now;
        }
        // Of a sine of amplitude A a filter gives A/2 times the sum of the window.
        let tones = now.power().map(|square| 2.0 * square / tables.sum.powi(2));
        let loudest = |from: usize| {
            let of_group = tones.iter().enumerate().skip(from).take(4);
            of_group.max_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(from, |(at, _)| at)
        };
        let (row, column) = (loudest(0), loudest(4));
        let mut levels = [0.0; 2];
        for (level, at) in levels.iter_mut().zip([row, column]) {
            let off_hz = now.off_hz(&then, at)?;
            if off_hz.abs() > DEVIATION * FREQUENCIES_HZ.get(at)? {
                return None;
            }
            *level = tones.get(at)? / response(off_hz);
        }
        let [row_power, column_power] = levels;
        let twist_db = 10.0 * (column_power / row_power).log10();
        let is_key = row_power.min(column_power) >= weakest
            && (-REVERSE_TWIST_DB..=NORMAL_TWIST_DB).contains(&twist_db)
            && row_power + column_power >= SHARE * power;
        is_key.then(|| key(row, column - 4)).flatten()
    }
}

impl Spectrum {
    fn power(&self) -> [f32; 8] {
        let mut power = [0.0; 8];
        for ((power, re), im) in power.iter_mut().zip(self.re).zip(self.im) {
            *power = re * re + im * im;
        }
        power
    }

    /// How far the tone in one filter is from its frequency, by the phase it had `LAG` hops before.
    /// `None` when there was none.
    fn off_hz(&self, then: &Self, at: usize) -> Option<f32> {
        const SPAN: f32 = (LAG * HOP) as f32 / RATE_HZ;
        let get = |all: &[f32; 8]| all.get(at).copied();
        let (re, im) = (get(&self.re)?, get(&self.im)?);
        let (re_then, im_then) = (get(&then.re)?, get(&then.im)?);
        if re_then == 0.0 && im_then == 0.0 {
            return None;
        }
        let turned = (im * re_then - re * im_then).atan2(re * re_then + im * im_then);
        let expected = TAU * (FREQUENCIES_HZ.get(at)? * SPAN).fract();
        let more = (turned - expected).rem_euclid(TAU);
        Some(if more > TAU / 2.0 { more - TAU } else { more } / TAU / SPAN)
    }
}

/// All eight filters over one window, weighted already.
fn goertzel(samples: &[f32; WINDOW], tables: &Tables) -> Spectrum {
    let (mut last, mut before) = ([0.0_f32; 8], [0.0_f32; 8]);
    for sample in samples {
        for ((last, before), cos) in last.iter_mut().zip(&mut before).zip(&tables.cos) {
            let next = sample + 2.0 * cos * *last - *before;
            *before = *last;
            *last = next;
        }
    }
    let mut out = Spectrum::default();
    let both = last.iter().zip(before);
    for ((((last, before), re), im), (cos, sin)) in
        both.zip(&mut out.re).zip(&mut out.im).zip(tables.cos.iter().zip(tables.sin))
    {
        *re = last - before * cos;
        *im = before * sin;
    }
    out
}

/// What share of a tone's power a filter gives that is off by so much: the window's own shape.
fn response(off_hz: f32) -> f32 {
    let bins = off_hz * WINDOW as f32 / RATE_HZ;
    if bins.abs() < 1e-3 {
        return 1.0;
    }
    let turn = TAU / 2.0 * bins;
    // Within a tone's tolerance this is never near the pole at 1.
    (turn.sin() / turn / (1.0 - bins * bins)).powi(2).max(0.1)
}
