//! When an agent's frames come, and how far ahead of their turns they should leave.
//!
//! An agent that speaks in real time, frame by frame, never does so evenly. Frames that leave as they
//! come give the caller its jitter; frames that all wait for the latest keep the caller waiting for the
//! worst hiccup of anybody on the way. So the lead is such that of the last five seconds all frames
//! were here in time but one in twenty-four, and those leave when they come.

use std::time::Duration;

/// How many frames are remembered.
const WINDOW: usize = 256;
/// One frame in so many may be late.
const LATE: usize = 24;
/// So many frames are needed before anything is said of them, and between two looks.
const LOOK: usize = 32;

/// The last frames of the agent: how long before its turn each was here.
pub(super) struct Arrivals {
    /// In microseconds, less the shift; negative when the turn had passed. A ring.
    earliness_us: [i32; WINDOW],
    seen: usize,
    /// What turns have moved since frames were recorded: those that were taken by something else.
    shift_us: i32,
    /// The lead that suits what was seen; more than a frame when speech waits for longer than that.
    lead: Option<Duration>,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { earliness_us: [0; WINDOW], seen: 0, shift_us: 0, lead: None }
    }
}

impl Arrivals {
    /// Speech begins anew: what was learnt of the last says nothing of when its frames come.
    pub(super) fn reset(&mut self) {
        (self.seen, self.shift_us, self.lead) = (0, 0, None);
    }

    /// A turn of this length went by without a frame of the agent, so all its frames have later turns.
    pub(super) fn pass_turn(&mut self, frame: Duration) {
        self.shift_us = self.shift_us.saturating_add(micros(frame));
        self.lead = self.lead.map(|lead| lead + frame);
    }

    /// A frame was here `early` before its turn, or that much after it.
    pub(super) fn record(&mut self, early: Result<Duration, Duration>) {
        let early_us = early.map_or_else(|late| -micros(late), micros);
        self.earliness_us[self.seen % WINDOW] = early_us.saturating_sub(self.shift_us);
        self.seen += 1;
        if self.seen.is_multiple_of(LOOK) {
            let mut known = self.earliness_us;
            let known = &mut known[..self.seen.min(WINDOW)];
            let (_, &mut least, _) = known.select_nth_unstable(known.len() / LATE);
            let lead_us = least.saturating_add(self.shift_us).max(0);
            self.lead = Some(Duration::from_micros(u64::from(lead_us.unsigned_abs())));
        }
    }

    /// The lead that suits the agent; `None` before enough was seen of it.
    pub(super) fn lead(&self) -> Option<Duration> {
        self.lead
    }
}

fn micros(span: Duration) -> i32 {
    i32::try_from(span.as_micros()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn nothing_is_said_of_few_frames() {
        let mut arrivals = Arrivals::default();
        (1..LOOK).for_each(|_| arrivals.record(Ok(ms(7))));
        assert_eq!(arrivals.lead(), None);
        arrivals.record(Ok(ms(7)));
        assert_eq!(arrivals.lead(), Some(ms(7)));
    }

    #[test]
    fn a_late_frame_now_and_then_changes_nothing_and_many_do() {
        for (late_each, lead) in [(26, ms(6)), (16, ms(2))] {
            let mut arrivals = Arrivals::default();
            for n in 0..4 * WINDOW {
                arrivals.record(Ok(if n % late_each == 9 { ms(2) } else { ms(6 + n as u64 % 5) }));
            }
            assert_eq!(arrivals.lead(), Some(lead));
        }
    }

    #[test]
    fn frames_that_come_after_their_turn_need_no_lead() {
        let mut arrivals = Arrivals::default();
        (0..LOOK).for_each(|_| arrivals.record(Err(ms(3))));
        assert_eq!(arrivals.lead(), Some(Duration::ZERO));
    }

    #[test]
    fn a_turn_that_went_by_makes_all_frames_early_by_as_much() {
        let mut arrivals = Arrivals::default();
        (0..LOOK).for_each(|_| arrivals.record(Ok(ms(3))));
        arrivals.pass_turn(FRAME);
        assert_eq!(arrivals.lead(), Some(ms(23)));
        (0..LOOK).for_each(|_| arrivals.record(Ok(ms(25))));
        assert_eq!(arrivals.lead(), Some(ms(23)));
        arrivals.reset();
        assert_eq!(arrivals.lead(), None);
    }

    #[test]
    fn five_seconds_later_a_bad_time_is_forgotten() {
        let mut arrivals = Arrivals::default();
        (0..WINDOW).for_each(|_| arrivals.record(Err(ms(3))));
        (0..WINDOW).for_each(|_| arrivals.record(Ok(ms(9))));
        assert_eq!(arrivals.lead(), Some(ms(9)));
    }
}
