//! Speech that lies behind because turns went by without it.
//!
//! When the clock is served late it leaves turns out, and what should have left in them waits. Speech
//! that an agent sent ahead may: it is over a little later. Of an agent that speaks in real time
//! nothing would ever be in time again, so as much as waits since then without need is left out, like
//! packets that a network lost.

/// The least that waits is looked for in so many frames: half a second, for agents send in pieces.
const LOOK: usize = 25;

#[derive(Default)]
pub(super) struct Backlog {
    /// Turns that went by and were not made up for.
    owed: usize,
    /// What always waited, in frames, before the first of them.
    usual: usize,
    now: Look,
    last: Option<Look>,
}

#[derive(Clone, Copy)]
struct Look {
    frames: usize,
    /// The least that was left waiting behind any of them.
    least: usize,
    /// A turn went by meanwhile.
    missed: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { frames: 0, least: usize::MAX, missed: false }
    }
}

impl Backlog {
    /// Speech begins anew, or was taken back: nothing waits any more.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// So many turns of speech went by.
    pub(super) fn miss(&mut self, turns: usize) {
        if self.owed == 0 {
            let before = self.last.map_or(self.now.least, |last| last.least.min(self.now.least));
            self.usual = if before == usize::MAX { 0 } else { before };
        }
        self.owed += turns;
        self.now.missed = true;
    }

    /// Whether turns went by that were not made up for.
    pub(super) fn owes(&self) -> bool {
        self.owed > 0
    }

    /// A frame left, and `waiting` whole ones wait behind it. How many of these are to be left out.
    pub(super) fn look(&mut self, waiting: usize) -> usize {
        self.now.frames += 1;
        self.now.least = self.now.least.min(waiting);
        if self.now.frames < LOOK {
            return 0;
        }
        let seen = std::mem::take(&mut self.now);
        self.last = Some(seen);
        let surplus = seen.least.saturating_sub(self.usual);
        // A stall ends between two turns, hence the one. More than that the agent has sent ahead.
        let ahead = surplus > self.owed + 1;
        let settled = surplus == 0 && !seen.missed;
        let out = if ahead { 0 } else { surplus.min(self.owed) };
        self.owed = if ahead || settled { 0 } else { self.owed - out };
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left out while each of these many frames wait.
    fn looks(backlog: &mut Backlog, waiting: impl IntoIterator<Item = usize>) -> usize {
        waiting.into_iter().map(|waiting| backlog.look(waiting)).sum()
    }

    #[test]
    fn what_waits_since_a_turn_went_by_is_left_out() {
        let mut backlog = Backlog::default();
        assert_eq!(looks(&mut backlog, [0; 30]), 0);
        backlog.miss(3);
        assert_eq!(looks(&mut backlog, [3; LOOK - 5]), 0);
        assert_eq!(looks(&mut backlog, [3; LOOK]), 3);
        assert!(!backlog.owes());
        assert_eq!(looks(&mut backlog, [0; 10 * LOOK]), 0);
    }

    #[test]
    fn what_always_waited_is_left_alone() {
        let mut backlog = Backlog::default();
        looks(&mut backlog, [2; LOOK + 7]);
        backlog.miss(1);
        assert_eq!(looks(&mut backlog, [3; 2 * LOOK]), 1);
        assert_eq!(looks(&mut backlog, [2; 10 * LOOK]), 0);
    }

    #[test]
    fn of_an_agent_that_runs_ahead_nothing_is_left_out() {
        let mut backlog = Backlog::default();
        looks(&mut backlog, (400..1000).rev());
        backlog.miss(5);
        assert_eq!(looks(&mut backlog, (0..400).rev()), 0);
        assert!(!backlog.owes());
    }

    #[test]
    fn of_an_agent_that_begins_to_run_ahead_nothing_is_left_out() {
        let mut backlog = Backlog::default();
        looks(&mut backlog, [0; LOOK]);
        backlog.miss(5);
        assert_eq!(looks(&mut backlog, (0..400).chain((0..400).rev())), 0);
        assert!(!backlog.owes());
    }

    #[test]
    fn of_an_agent_that_sends_in_pieces_nothing_is_left_out() {
        let mut backlog = Backlog::default();
        let mut pieces = |count| {
            let pieces = (0..count).flat_map(|_| (0..10).rev());
            looks(&mut backlog, pieces)
        };
        assert_eq!(pieces(7), 0);
        backlog.miss(4);
        let late = (0..20).flat_map(|_| (4..14).rev());
        assert_eq!(looks(&mut backlog, late), 4);
    }

    #[test]
    fn turns_that_go_by_again_and_again_are_made_up_for_meanwhile() {
        let mut backlog = Backlog::default();
        let (mut waiting, mut most) = (0, 0);
        for n in 0..100 * LOOK {
            if n % 10 == 3 {
                backlog.miss(1);
                waiting += 1;
            }
            waiting -= backlog.look(waiting);
            most = most.max(waiting);
        }
        assert!(most <= 8, "{most}");
    }
}
