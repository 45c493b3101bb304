//! When each frame for the caller leaves.
//!
//! Frame `n` has its turn at `origin + n · frame`, always: RTP time is wall time. Speech that comes
//! between two turns need not wait for the next: its first frame leaves at once, ahead of its turn
//! by the *lead*, and those behind it keep the same distance. When the speech is over the lead is
//! given back, which is one longer gap. So no deadline is ever computed from the time it is now.
//!
//! A frame of speech that is not here when it should leave has until its turn to come, and half a
//! frame's time at least. It leaves when it comes, and those behind it when they would have.
//!
//! ```text
//! turns   |         |         |         |         |         |         |
//! sent    i         i    S         s         s              i         i      i idle, s speech
//!                        ◀lead▶                   ◀ one longer gap ▶
//! ```

use std::time::{Duration, Instant};

pub(super) struct Clock {
    origin: Instant,
    frame: Duration,
    /// The frame that leaves next.
    next: u64,
    /// How far ahead of its turn; at most one frame.
    lead: Duration,
    /// The next frame should have left, and is waited for.
    overdue: bool,
}

impl Clock {
    /// The first turn comes `phase` after `now`; a phase of its own for each call keeps calls from
    /// all falling into one instant.
    pub(super) fn new(now: Instant, frame: Duration, phase: Duration) -> Self {
        Self { origin: now + phase, frame, next: 0, lead: Duration::ZERO, overdue: false }
    }

    /// Which frame leaves next, counted from 0; the RTP timestamp counts with it.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// When the next frame leaves, or is waited for no longer.
    pub(super) fn deadline(&self) -> Instant {
        if self.overdue { self.patience() } else { self.due() }
    }

    /// When the next frame should leave.
    fn due(&self) -> Instant {
        self.turn() - self.lead
    }

    /// Until when a late frame is waited for.
    fn patience(&self) -> Instant {
        self.turn().max(self.due() + self.frame / 2)
    }

    /// The frame that is due is not here, and may still come. False when it is too late for that.
    pub(super) fn wait(&mut self, now: Instant) -> bool {
        self.overdue = self.patience() > now;
        self.overdue
    }

    /// The late frame is here and leaves now, those behind it when they would have left anyway.
    pub(super) fn forgive(&mut self) {
        self.overdue = false;
    }

    pub(super) fn lead(&self) -> Duration {
        self.lead
    }

    /// How long before its turn something happened that the next frame had to wait for, or how long
    /// after it.
    pub(super) fn earliness(&self, at: Instant) -> Result<Duration, Duration> {
        let turn = self.turn();
        turn.checked_duration_since(at).ok_or_else(|| at.saturating_duration_since(turn))
    }

    /// When the next frame would leave without lead.
    fn turn(&self) -> Instant {
        self.origin + self.frames(self.next)
    }

    fn frames(&self, count: u64) -> Duration {
        let frame_ns = u64::try_from(self.frame.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(frame_ns.saturating_mul(count))
    }

    /// The next frame was sent, or left out on purpose.
    pub(super) fn advance(&mut self) {
        self.next += 1;
    }

    /// Speech begins: the next frame leaves now, however far off its turn is (at most one frame).
    pub(super) fn pull(&mut self, now: Instant) {
        self.lead = self.turn().saturating_duration_since(now).min(self.frame);
        self.overdue = false;
    }

    /// The lead comes nearer to `wanted`, by a step.
    pub(super) fn approach(&mut self, wanted: Duration, step: Duration) {
        let nearest = self.lead.saturating_sub(step);
        self.lead = wanted.clamp(nearest, self.lead + step).min(self.frame);
    }

    /// Speech is over: the next frame waits for its turn.
    pub(super) fn settle(&mut self) {
        self.lead = Duration::ZERO;
        self.overdue = false;
    }

    /// Leaves out the frames that should have left, or were waited for beyond their turn, for a whole
    /// frame or more, so that lateness never becomes a burst. Returns how many.
    pub(super) fn catch_up(&mut self, now: Instant) -> u64 {
        let latest = if self.overdue { self.turn() } else { self.due() };
        let skipped = self.frames_in(now.saturating_duration_since(latest));
        self.next += skipped;
        skipped
    }

    /// After a time without frames: the next one is the first whose turn is not over.
    pub(super) fn skip_to(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.turn());
        self.next += self.frames_in(late);
        if self.turn() < now {
            self.next += 1;
        }
    }

    /// The RTP clock at `now`, in samples since frame 0 had its turn; wraps like the timestamp.
    pub(super) fn samples_at(&self, now: Instant, rate_hz: u32) -> u32 {
        let samples = |span: Duration| (span.as_micros() * u128::from(rate_hz) / 1_000_000) as u32;
        match now.checked_duration_since(self.origin) {
            Some(since) => samples(since),
            None => samples(self.origin - now).wrapping_neg(),
        }
    }

    fn frames_in(&self, span: Duration) -> u64 {
        u64::try_from(span.as_nanos() / self.frame.as_nanos().max(1)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: Duration = Duration::from_millis(20);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn turns_are_a_frame_apart_from_the_first_on() {
        let start = Instant::now();
        let mut clock = Clock::new(start, FRAME, ms(7));
        assert_eq!(clock.deadline(), start + ms(7));
        clock.advance();
        assert_eq!(clock.deadline(), start + ms(27));
    }

    #[test]
    fn speech_between_two_turns_leaves_at_once_and_the_lead_is_given_back() {
        let start = Instant::now();
        let mut clock = Clock::new(start, FRAME, ms(0));
        clock.advance(); // the next turn is at 20
        clock.pull(start + ms(5));
        assert_eq!(clock.deadline(), start + ms(5));
        clock.advance();
        assert_eq!(clock.deadline(), start + ms(25));
        clock.settle();
        assert_eq!(clock.deadline(), start + ms(40)); // a gap of 35 ms, once
    }

    #[test]
    fn a_late_frame_that_is_forgiven_leaves_the_clock_as_it_was() {
        let start = Instant::now();
        let mut clock = Clock::new(start, FRAME, ms(0));
        clock.advance();
        clock.pull(start + ms(5));
        clock.advance(); // due at 25, its turn is at 40
        assert!(clock.wait(start + ms(25)));
        assert_eq!(clock.deadline(), start + ms(40));
        clock.forgive();
        assert_eq!(clock.deadline(), start + ms(25));
        clock.advance();
        assert_eq!(clock.deadline(), start + ms(45));
        assert!(!clock.wait(start + ms(60)), "its turn has come");
    }

    #[test]
    fn with_little_lead_a_late_frame_is_waited_for_beyond_its_turn() {
        let start = Instant::now();
        let mut clock = Clock::new(start, FRAME, ms(0));
        clock.advance();
        clock.pull(start + ms(18)); // its turn is at 20
        assert!(clock.wait(start + ms(18)));
        assert_eq!(clock.deadline(), start + ms(28));
        assert!(!clock.wait(start + ms(28)));
    }

    #[test]
    fn the_lead_changes_step_by_step_and_is_a_frame_at_most() {
        let start = Instant::now();
        let mut clock = Clock::new(start, FRAME, ms(0));
        clock.advance();
        clock.pull(start + ms(5)); // a lead of 15
        let mut lead_after = |wanted| {
            clock.approach(wanted, ms(2));
            clock.lead()
        };
        assert_eq!([30, 30, 30].map(|wanted| lead_after(ms(wanted))), [17, 19, 20].map(ms));
        assert_eq!([17, 17, 0].map(|wanted| lead_after(ms(wanted))), [18, 17, 15].map(ms));
    }

    #[test]
    fn a_late_wake_up_skips_whole_frames_and_no_more() {
        let start = Instant::now();
        let mut clock = Clock::new(start, FRAME, ms(0));
        assert_eq!(clock.catch_up(start + ms(19)), 0);
        assert_eq!(clock.catch_up(start + ms(45)), 2);
        assert_eq!(clock.deadline(), start + ms(40));
    }

    #[test]
    fn samples_count_from_the_first_turn_in_both_directions() {
        let start = Instant::now();
        let clock = Clock::new(start, FRAME, ms(10));
        assert_eq!(clock.samples_at(start + ms(10), 8000), 0);
        assert_eq!(clock.samples_at(start + ms(1010), 8000), 8000);
        assert_eq!(clock.samples_at(start, 8000), 0_u32.wrapping_sub(80));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever happens, a frame leaves at most one frame ahead of its turn, and after a
        /// frame was sent the next one is later.
        #[test]
        fn rtp_time_never_drifts_from_wall_time(
            phase in 0_u64..20_000,
            steps in prop::collection::vec((0_u64..90_000, 0_u8..6), 1..400),
        ) {
            let start = Instant::now();
            let mut clock = Clock::new(start, FRAME, Duration::from_micros(phase));
            let mut now = start;
            for (wait_us, what) in steps {
                now += Duration::from_micros(wait_us);
                match what {
                    0 => clock.settle(),
                    1 => { clock.skip_to(now); clock.pull(now) }
                    2 => clock.approach(Duration::from_micros(wait_us / 3), ms(1)),
                    3 => { clock.wait(now); }
                    4 => clock.forgive(),
                    _ => {}
                }
                if clock.deadline() > now {
                    continue;
                }
                clock.catch_up(now);
                let turn = clock.turn();
                prop_assert!(turn.saturating_duration_since(now) <= FRAME);
                prop_assert!(now.saturating_duration_since(turn) < FRAME);
                clock.advance();
                prop_assert!(clock.deadline() > now);
            }
        }
    }
}
