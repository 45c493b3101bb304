//! How long an agent's speech waits in the node without need, and how the wait is taken back.
//!
//! An agent that speaks in real time, frame by frame, is sent on as it comes until one frame comes
//! late: the clock follows it, and from then on every frame waits for as long as that one was late.
//! So the least wait of each second is given back, a little with each frame, as further lead.

use std::time::Duration;

/// How many frames are watched before anything is taken back: a second's worth.
const WINDOW: u32 = 50;
/// Less is not worth it, and stays as a cushion.
const CUSHION: Duration = Duration::from_micros(500);
/// Nobody hears a gap that is shorter by so much.
const STEP: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(super) struct Slack {
    frames: u32,
    least: Option<Duration>,
    /// Still to be taken back.
    spare: Duration,
}

impl Slack {
    /// Speech begins: what was learnt of the last says nothing of this.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// A frame leaves that was complete for so long. Returns by how much the next one may leave
    /// earlier than a frame's time after this one.
    pub(super) fn record(&mut self, waited: Duration) -> Duration {
        if !self.spare.is_zero() {
            let step = self.spare.min(STEP);
            self.spare -= step;
            return step;
        }
        self.frames += 1;
        self.least = Some(self.least.map_or(waited, |least| least.min(waited)));
        if self.frames == WINDOW {
            let least = self.least.take().unwrap_or_default();
            self.frames = 0;
            self.spare = least.saturating_sub(CUSHION);
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_frame_of_a_second_waited_is_taken_back_step_by_step() {
        let mut slack = Slack::default();
        let waits = |n: u32| Duration::from_micros(3_500 + u64::from(n % 7) * 1000);
        for n in 0..WINDOW {
            assert_eq!(slack.record(waits(n)), Duration::ZERO);
        }
        let taken: Vec<_> = (0..5).map(|n| slack.record(waits(n)).as_micros()).collect();
        assert_eq!(taken, [1000, 1000, 1000, 0, 0]);
    }

    #[test]
    fn one_frame_that_did_not_wait_is_reason_enough_to_leave_it() {
        let mut slack = Slack::default();
        for n in 0..10 * WINDOW {
            let waited = Duration::from_millis(if n % WINDOW == 9 { 0 } else { 15 });
            assert_eq!(slack.record(waited), Duration::ZERO);
        }
    }
}
