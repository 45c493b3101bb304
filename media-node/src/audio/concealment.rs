//! What is played for a packet of G.711 that did not come, in the shape of ITU-T G.711 Appendix I.
//!
//! The last period of the voice goes on, then the last two and the last three in turn, so that it
//! does not buzz; after 10 ms it grows quieter, and after 60 ms it is gone. Appendix I delays all audio
//! by 3.75 ms in order to blend into a gap. Here nothing good waits: what is made begins at the level
//! that the last good sample left, and it is the first good audio behind the gap that is blended.
//!
//! While nothing is lost only the last 49 ms are kept, as the bytes that came.

use super::g711::{self, Law};

/// Three of the longest periods and a quarter of one: 48.75 ms at 8 kHz.
const HISTORY: usize = 3 * MAX_PERIOD + MAX_PERIOD / 4;
/// 200 Hz and 66 Hz; a higher voice is found by a multiple of its period.
const MIN_PERIOD: usize = 40;
const MAX_PERIOD: usize = 120;
/// Over how much the voice is compared with itself: 20 ms.
const WINDOW: usize = 160;
/// What either law has for silence, and nobody hears.
const SILENT: i16 = 8;
/// 5 ms: how long the level of the last good sample takes to be forgotten.
const RETURN: usize = 40;
/// 10 ms: how long one, then two periods are repeated, and the audio before it is attenuated.
const STEP: usize = 80;
/// 60 ms: from here on there is silence.
const GONE: usize = 6 * STEP;
/// 200 ms: a gap that lasted so long is a pause, and who speaks after it begins as he did.
const PAUSE: usize = 20 * STEP;
/// The longest blend into good audio: 10 ms.
pub const MAX_BLEND: usize = 80;
/// By how much the blend grows for each [`STEP`] of the gap beyond the first.
const BLEND_GROWTH: usize = 32;

/// Conceals the gaps of one stream of G.711 at 8 kHz.
pub struct Concealer {
    law: Law,
    /// The stream's last bytes, those made here too.
    history: [u8; HISTORY],
    gap: Option<Gap>,
}

/// A gap, from its first sample to the end of the blend behind it.
struct Gap {
    /// The history when the gap began.
    samples: [i16; HISTORY],
    period: usize,
    /// How many periods are repeated in turn: 1 to 3.
    periods: usize,
    /// The place in those periods.
    at: usize,
    /// How far the last good sample was from where its period began anew.
    step: i32,
    /// Samples made so far.
    made: usize,
}

impl Concealer {
    /// For audio that comes, and is made, by `law`.
    pub fn new(law: Law) -> Self {
        Self { law, history: [law.silence_byte(); HISTORY], gap: None }
    }

    /// Good audio as it was passed on, [blended](Self::blend) where it came behind a gap.
    pub fn remember(&mut self, coded: &[u8]) {
        self.gap = None;
        self.keep(coded);
    }

    /// Fills `coded` with what may have been in the gap, one byte a sample. A gap goes on over
    /// several calls until audio is [remembered](Self::remember).
    pub fn conceal(&mut self, coded: &mut [u8]) {
        let mut rest = &mut *coded;
        let gap = self.gap.get_or_insert_with(|| Gap::behind(self.law, &self.history));
        let mut piece = [0; STEP];
        while !rest.is_empty() {
            let (now, later) = rest.split_at_mut(rest.len().min(STEP));
            let made = &mut piece[..now.len()];
            made.fill_with(|| gap.next_sample());
            g711::encode(self.law, made, now);
            rest = later;
        }
        self.keep(coded);
    }

    /// Whether the next good audio comes behind a gap, in which there was more than silence.
    pub fn is_concealing(&self) -> bool {
        self.gap.as_ref().is_some_and(|gap| gap.made < PAUSE)
    }

    /// Blends the first good audio behind a gap with what would have gone on, and returns how many
    /// bytes of `good` changed, [`MAX_BLEND`] at most. Does nothing where there is no gap to be heard.
    pub fn blend(&mut self, good: &mut [u8]) -> usize {
        let Some(gap) = self.gap.as_mut().filter(|gap| gap.made < PAUSE) else { return 0 };
        let beyond = (gap.made / STEP).saturating_sub(1);
        let whole = (gap.period / 4 + beyond * BLEND_GROWTH).min(MAX_BLEND);
        let mut samples = [0; MAX_BLEND];
        let len = g711::decode(self.law, good, &mut samples[..whole]);
        for (n, sample) in samples[..len].iter_mut().enumerate() {
            *sample = mix(gap.next_sample().into(), i32::from(*sample), n + 1, whole + 1) as i16;
        }
        g711::encode(self.law, &samples[..len], good);
        len
    }

    fn keep(&mut self, coded: &[u8]) {
        let newest = &coded[coded.len().saturating_sub(HISTORY)..];
        self.history.copy_within(newest.len().., 0);
        self.history[HISTORY - newest.len()..].copy_from_slice(newest);
    }
}

impl Gap {
    fn behind(law: Law, history: &[u8; HISTORY]) -> Self {
        let mut samples = [0; HISTORY];
        g711::decode(law, history, &mut samples);
        let silent = samples.iter().all(|sample| sample.abs() <= SILENT);
        let period = period(&samples);
        let step = i32::from(samples[HISTORY - 1]) - i32::from(samples[HISTORY - 1 - period]);
        Self { samples, period, periods: 1, at: 0, step, made: if silent { PAUSE } else { 0 } }
    }

    fn next_sample(&mut self) -> i16 {
        if self.made >= GONE {
            self.made = (self.made + 1).min(PAUSE);
            return 0;
        }
        let wanted = (self.made / STEP + 1).min(3);
        if wanted > self.periods && self.made.is_multiple_of(STEP) {
            self.periods = wanted;
            // The same place of the period, in the oldest of them.
            self.at %= self.period;
        }
        let quarter = self.period / 4;
        let mut sample = self.cycle(self.periods, self.at);
        let since = self.made % STEP;
        if self.made < RETURN {
            // From where the last good sample left off, back to the voice as it was.
            sample += self.step * (RETURN - self.made) as i32 / (RETURN + 1) as i32;
        } else if (STEP..3 * STEP).contains(&self.made) && since < quarter {
            // One period more than until now: from the one to the other.
            let len = (self.periods - 1) * self.period;
            let before = self.cycle(self.periods - 1, (self.before_at() + since) % len);
            sample = mix(before, sample, since + 1, quarter + 1);
        }
        let faded = self.made.saturating_sub(STEP);
        sample = sample * (GONE - STEP - faded) as i32 / (GONE - STEP) as i32;
        self.at = (self.at + 1) % (self.periods * self.period);
        self.made += 1;
        sample.clamp(i16::MIN.into(), i16::MAX.into()) as i16
    }

    /// Where the cycle with one period less stood when this one began.
    fn before_at(&self) -> usize {
        let first = STEP % self.period;
        match self.periods {
            2 => first,
            _ => (first + STEP) % (2 * self.period),
        }
    }

    /// One sample of the last periods played round and round. Towards the end of the round they
    /// turn into what stood before them, so that the end meets the beginning.
    fn cycle(&self, periods: usize, at: usize) -> i32 {
        let (len, quarter) = (periods * self.period, self.period / 4);
        let start = HISTORY - len;
        let sample = i32::from(self.samples[start + at]);
        match at.checked_sub(len - quarter) {
            Some(n) => {
                let before = i32::from(self.samples[start - quarter + n]);
                mix(sample, before, n + 1, quarter + 1)
            }
            None => sample,
        }
    }
}

/// From `one` to `other`, `part` of `whole` of the way.
fn mix(one: i32, other: i32, part: usize, whole: usize) -> i32 {
    one + (other - one) * part as i32 / whole.max(1) as i32
}

/// The distance at which the last 20 ms are most like what went before: on every second sample
/// first, then on all of them around the best.
fn period(samples: &[i16; HISTORY]) -> usize {
    let likeness = |period: usize, every: usize| {
        let (mut product, mut energy) = (0_i64, 0_i64);
        for at in (HISTORY - WINDOW..HISTORY).step_by(every) {
            let (now, then) = (i64::from(samples[at]), i64::from(samples[at - period]));
            product += now * then;
            energy += then * then;
        }
        product as f32 / (energy.max(1) as f32).sqrt()
    };
    let best = |candidates: &mut dyn Iterator<Item = usize>, every: usize| {
        candidates
            .map(|period| (period, likeness(period, every)))
            .reduce(|best, next| if next.1 > best.1 { next } else { best })
            .map_or(MAX_PERIOD, |(period, _)| period)
    };
    let coarse = best(&mut (MIN_PERIOD..=MAX_PERIOD).step_by(2), 2);
    best(&mut (coarse.max(MIN_PERIOD + 1) - 1..=(coarse + 1).min(MAX_PERIOD)), 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: usize = 160;

    /// A voice: so many harmonics of a pitch that wanders, growing and falling.
    fn voice(frames: usize, harmonics: u32) -> Vec<i16> {
        let mut phase = 0.0_f64;
        (0..frames * FRAME)
            .map(|n| {
                let t = n as f64 / 8000.0;
                phase += (140.0 + 25.0 * (t * 1.7).sin()) / 8000.0;
                let loud = 0.6 + 0.4 * (t * 11.0).sin();
                let sum: f64 = (1..=harmonics)
                    .map(|k| (phase * f64::from(k) * std::f64::consts::TAU).sin() / f64::from(k))
                    .sum();
                (sum * loud * 6000.0) as i16
            })
            .collect()
    }

    fn coded(samples: &[i16]) -> Vec<u8> {
        let mut coded = vec![0; samples.len()];
        g711::encode(Law::Mu, samples, &mut coded);
        coded
    }

    fn decoded(coded: &[u8]) -> Vec<i16> {
        let mut samples = vec![0; coded.len()];
        g711::decode(Law::Mu, coded, &mut samples);
        samples
    }

    /// Which frames are lost: `percent` of them, in runs of `burst`, none of the first five.
    fn losses(frames: usize, percent: u64, burst: usize) -> Vec<bool> {
        let (mut seed, mut left) = (77_u64, 0);
        (0..frames)
            .map(|frame| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if left == 0 && frame >= 5 && (seed >> 33) % (100 * burst as u64) < percent {
                    left = burst;
                }
                left = left.saturating_sub(1);
                left > 0 || (frame >= 5 && (seed >> 33) % (100 * burst as u64) < percent)
            })
            .collect()
    }

    fn concealed(sent: &[u8], lost: &[bool]) -> Vec<u8> {
        let mut concealer = Concealer::new(Law::Mu);
        let mut heard = Vec::new();
        for (frame, lost) in sent.chunks(FRAME).zip(lost) {
            let mut frame = frame.to_vec();
            if *lost {
                concealer.conceal(&mut frame);
            } else {
                concealer.blend(&mut frame);
                concealer.remember(&frame);
            }
            heard.extend(frame);
        }
        heard
    }

    /// What a receiver without concealment plays: nothing, or the last frame again.
    fn filled(sent: &[u8], lost: &[bool], repeat: bool) -> Vec<u8> {
        let mut last = vec![0xff; FRAME];
        let mut heard = Vec::new();
        for (frame, lost) in sent.chunks(FRAME).zip(lost) {
            match (lost, repeat) {
                (true, false) => last = vec![0xff; FRAME],
                (true, true) => {}
                (false, _) => last = frame.to_vec(),
            }
            heard.extend(&last);
        }
        heard
    }

    /// In dB, the mean over the frames that were lost, each between -10 and 35 as is usual.
    fn segmental_snr(sent: &[i16], heard: &[i16], lost: &[bool]) -> f64 {
        let frames = sent.chunks(FRAME).zip(heard.chunks(FRAME)).zip(lost);
        let snrs: Vec<f64> = frames
            .filter(|(_, lost)| **lost)
            .map(|((sent, heard), _)| {
                let power: f64 = sent.iter().map(|s| f64::from(*s).powi(2)).sum();
                let pairs = sent.iter().zip(heard);
                let noise: f64 = pairs.map(|(s, h)| (f64::from(*s) - f64::from(*h)).powi(2)).sum();
                (10.0 * (power / noise.max(1.0)).log10()).clamp(-10.0, 35.0)
            })
            .collect();
        snrs.iter().sum::<f64>() / snrs.len() as f64
    }

    /// In dB, over windows of 32 ms that overlap by half: how far the spectra are from each other
    /// where anything was lost.
    fn spectral_distance(sent: &[i16], heard: &[i16], lost: &[bool]) -> f64 {
        const LEN: usize = 256;
        let spectrum = |samples: &[i16]| -> Vec<f64> {
            (2..LEN / 4)
                .map(|bin| {
                    let (mut re, mut im) = (0.0, 0.0);
                    for (n, sample) in samples.iter().enumerate() {
                        let turn = std::f64::consts::TAU * n as f64 / LEN as f64;
                        let weighted = f64::from(*sample) * (0.5 - 0.5 * turn.cos());
                        re += weighted * (turn * bin as f64).cos();
                        im += weighted * (turn * bin as f64).sin();
                    }
                    10.0 * (re * re + im * im + 1e6).log10()
                })
                .collect()
        };
        let distances: Vec<f64> = (0..sent.len() - LEN)
            .step_by(LEN / 2)
            .filter(|at| lost[at / FRAME..=(at + LEN - 1) / FRAME].contains(&true))
            .map(|at| {
                let (one, other) = (spectrum(&sent[at..at + LEN]), spectrum(&heard[at..at + LEN]));
                let squares: f64 = one.iter().zip(&other).map(|(a, b)| (a - b).powi(2)).sum();
                (squares / one.len() as f64).sqrt()
            })
            .collect();
        distances.iter().sum::<f64>() / distances.len() as f64
    }

    #[test]
    fn a_voice_is_nearer_to_itself_than_by_silence_or_by_repetition() {
        let voice = voice(400, 16);
        let sent = coded(&voice);
        for (percent, burst) in [(5, 1), (10, 1), (20, 1), (5, 2), (10, 2), (20, 3)] {
            let lost = losses(400, percent, burst);
            assert!(lost.iter().filter(|lost| **lost).count() > 5);
            let [ours, silence, repetition] =
                [concealed(&sent, &lost), filled(&sent, &lost, false), filled(&sent, &lost, true)]
                    .map(|heard| {
                        let heard = decoded(&heard);
                        let snr = segmental_snr(&voice, &heard, &lost);
                        (snr, spectral_distance(&voice, &heard, &lost))
                    });
            let what =
                format!("{percent} % in runs of {burst}: {ours:?} {silence:?} {repetition:?}");
            assert!(ours.0 > silence.0 + 1.0 && ours.0 > repetition.0 + 1.0, "{what}");
            assert!(ours.1 < silence.1 - 1.0 && ours.1 < repetition.1, "{what}");
        }
    }

    #[test]
    fn no_join_steps_further_than_the_voice_itself() {
        let voice = voice(400, 2);
        let sent = coded(&voice);
        let steps = |samples: &[i16]| -> i32 {
            let pairs = samples.windows(2);
            pairs.map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().unwrap()
        };
        let own = steps(&decoded(&sent));
        for (percent, burst) in [(10, 1), (20, 1), (20, 3), (20, 8)] {
            let lost = losses(400, percent, burst);
            let ours = steps(&decoded(&concealed(&sent, &lost)));
            assert!(ours * 4 <= own * 5, "{percent} % in runs of {burst}: {ours}, the voice {own}");
        }
        // The same measure finds the clicks of silence put in.
        let lost = losses(400, 20, 3);
        assert!(steps(&decoded(&filled(&sent, &lost, false))) * 4 > own * 5);
    }

    #[test]
    fn a_long_gap_fades_to_silence_by_60_ms_and_speech_comes_back_untouched_after_10_ms() {
        let sent = coded(&voice(20, 16));
        let mut lost = [false; 20];
        lost[8..15].fill(true);
        let heard = concealed(&sent, &lost);
        let power = |frame: usize| -> f64 {
            let samples = decoded(&heard[frame * FRAME..(frame + 1) * FRAME]);
            samples.iter().map(|s| f64::from(*s).powi(2)).sum()
        };
        assert!(power(8) > power(9) && power(9) > power(10));
        assert!(heard[11 * FRAME..15 * FRAME].iter().all(|byte| *byte == 0xff));
        assert_eq!(heard[15 * FRAME + MAX_BLEND..], sent[15 * FRAME + MAX_BLEND..]);
        assert_eq!(heard[..8 * FRAME], sent[..8 * FRAME], "what is good is never touched");
    }

    #[test]
    fn what_is_said_after_a_pause_begins_as_it_was_said() {
        let sent = coded(&voice(30, 16));
        for (gap, blended) in [(1, true), (9, true), (10, false), (20, false)] {
            let mut lost = [false; 30];
            lost[5..5 + gap].fill(true);
            let next = (5 + gap) * FRAME..(6 + gap) * FRAME;
            assert_eq!(concealed(&sent, &lost)[next.clone()] != sent[next], blended, "{gap}");
        }
    }

    #[test]
    fn the_period_of_a_voice_is_found() {
        for hertz in [70, 90, 110, 150, 190] {
            let mut samples = [0; HISTORY];
            for (n, sample) in samples.iter_mut().enumerate() {
                let phase = n as f64 * f64::from(hertz) / 8000.0 * std::f64::consts::TAU;
                *sample = (4000.0 * (phase.sin() + 0.5 * (2.0 * phase).sin())) as i16;
            }
            let wanted = 8000.0 / f64::from(hertz);
            let found = period(&samples) as f64;
            let turns = (found / wanted).round();
            assert!(turns >= 1.0 && (found - wanted * turns).abs() <= 1.0, "{hertz} Hz: {found}");
        }
    }

    #[test]
    fn without_history_there_is_silence() {
        for law in [Law::Mu, Law::A] {
            let mut frame = [1; FRAME];
            let mut concealer = Concealer::new(law);
            assert_eq!(concealer.blend(&mut frame), 0);
            concealer.conceal(&mut frame);
            let heard = frame.map(|byte| g711::to_linear(law, byte).abs());
            assert!(heard.iter().all(|sample| *sample <= 8), "{law:?}");
            assert_eq!(concealer.blend(&mut frame), 0, "the first word begins as it was said");
        }
    }

    proptest! {
        /// Whatever came, in pieces of whatever length: nothing overflows, and how a gap is cut into
        /// calls changes nothing.
        #[test]
        fn any_bytes_are_concealed(
            bytes in prop::collection::vec(any::<u8>(), 0..900),
            cuts in prop::collection::vec(1usize..200, 1..10),
        ) {
            let (mut one, mut many) = (Concealer::new(Law::A), Concealer::new(Law::A));
            one.remember(&bytes);
            many.remember(&bytes);
            let mut whole = vec![0; cuts.iter().sum()];
            one.conceal(&mut whole);
            let mut parts = Vec::new();
            for cut in cuts {
                let mut part = vec![0; cut];
                many.conceal(&mut part);
                parts.extend(part);
            }
            prop_assert_eq!(&whole, &parts);
            let mut good = bytes.clone();
            let blended = one.blend(&mut good);
            prop_assert!(blended <= MAX_BLEND);
            prop_assert_eq!(&good[blended..], &bytes[blended..]);
        }
    }
}
