//! How long an agent's speech waits in the node without need, and how the wait is taken back.
//!
//! An agent that speaks in real time, frame by frame, is sent on as it comes until a frame comes
//! late. One late frame in two seconds is forgiven: it leaves when it comes, and those behind it keep
//! their time. Is there a second one, the clock follows it, and from then on every frame waits for
//! as long as that one was late. So of each two seconds the wait that all frames but one had is given
//! back, a little with each frame, as further lead.

use std::time::Duration;

/// How many frames are watched before anything is taken back: two seconds' worth. One late frame
/// among so many is what cadence allows for.
const WINDOW: u32 = 100;
/// Less is not worth it, and stays as a cushion.
const CUSHION: Duration = Duration::from_micros(500);
/// Nobody hears a gap that is shorter by so much.
const STEP: Duration = Duration::from_millis(1);
/// A frame later than this is worth following: there is more jitter than a caller's buffer likes.
const FORGIVABLE: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(super) struct Slack {
    frames: u32,
    /// The two shortest waits of the window, shortest first.
    least: [Option<Duration>; 2],
    /// A frame of this window was late and forgiven.
    forgiven: bool,
    /// Still to be taken back.
    spare: Duration,
}

impl Slack {
    /// Speech begins, or its clock has moved: what was learnt of the last says nothing of this.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// A frame came later than it should have left. Whether the clock may keep its time.
    pub(super) fn forgives(&mut self, lateness: Duration) -> bool {
        let forgives = !self.forgiven && lateness <= FORGIVABLE;
        self.forgiven |= forgives;
        forgives
    }

    /// A frame leaves that was complete for so long. Returns by how much the next one may leave
    /// earlier than a frame's time after this one.
    pub(super) fn record(&mut self, waited: Duration) -> Duration {
        if !self.spare.is_zero() {
            let step = self.spare.min(STEP);
            self.spare -= step;
            return step;
        }
        self.least = match self.least {
            [least, _] if least.is_none_or(|least| waited < least) => [Some(waited), least],
            [least, second] if second.is_none_or(|second| waited < second) => [least, Some(waited)],
            unchanged => unchanged,
        };
        self.frames += 1;
        if self.frames == WINDOW {
            let all_but_one = self.least[1].unwrap_or_default();
            *self = Self { spare: all_but_one.saturating_sub(CUSHION), ..Self::default() };
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn what_all_frames_but_one_waited_is_taken_back_step_by_step() {
        let mut slack = Slack::default();
        let waits = |n: u32| match n {
            41 => Duration::ZERO,
            n => Duration::from_micros(3_500 + u64::from(n % 7) * 1000),
        };
        for n in 0..WINDOW {
            assert_eq!(slack.record(waits(n)), Duration::ZERO);
        }
        let taken: Vec<_> = (0..5).map(|n| slack.record(waits(n)).as_micros()).collect();
        assert_eq!(taken, [1000, 1000, 1000, 0, 0]);
    }

    #[test]
    fn two_frames_that_did_not_wait_are_reason_enough_to_leave_it() {
        let mut slack = Slack::default();
        for n in 0..10 * WINDOW {
            let waited = if n % (WINDOW / 2) == 9 { Duration::ZERO } else { ms(15) };
            assert_eq!(slack.record(waited), Duration::ZERO);
        }
    }

    #[test]
    fn one_late_frame_a_window_is_forgiven_and_a_very_late_one_never() {
        let mut slack = Slack::default();
        assert!(!slack.forgives(ms(15)));
        assert!(slack.forgives(ms(4)));
        assert!(!slack.forgives(ms(1)));
        for _ in 0..WINDOW {
            slack.record(Duration::ZERO);
        }
        assert!(slack.forgives(ms(1)));
    }
}
