//! When a shard looks for what has come.
//!
//! With few calls it is woken for every packet. A wake-up costs more than a packet, so with more
//! calls it sleeps and does all that has come at once; network cards call it interrupt moderation. It
//! looks at the points of a grid that divides every packet time, so that a frame with a clock of its
//! own always leaves at the same place of the grid: its cadence is as exact as without the grid.

use std::time::{Duration, Instant};

/// From so many calls on, the grid is so wide. Half of it is what it adds to a packet's delay on
/// average.
const GRIDS: [(usize, Duration); 3] = [
    (50, Duration::from_micros(1000)),
    (25, Duration::from_micros(500)),
    (8, Duration::from_micros(250)),
];

pub(super) struct Rhythm {
    origin: Instant,
}

impl Rhythm {
    pub(super) fn new(origin: Instant) -> Self {
        Self { origin }
    }

    /// The next point of the grid for so many calls; `None` when every packet wakes.
    pub(super) fn after(&self, now: Instant, calls: usize) -> Option<Instant> {
        let (_, grid) = GRIDS.into_iter().find(|(from, _)| calls >= *from)?;
        let grid_ns = grid.as_nanos();
        let passed = now.saturating_duration_since(self.origin).as_nanos() / grid_ns;
        let next_ns = u64::try_from((passed + 1) * grid_ns).unwrap_or(u64::MAX);
        Some(self.origin + Duration::from_nanos(next_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_calls_are_woken_for_each_packet() {
        let origin = Instant::now();
        assert_eq!(Rhythm::new(origin).after(origin, 7), None);
        assert!(Rhythm::new(origin).after(origin, 8).is_some());
    }

    #[test]
    fn the_grid_stands_still_and_divides_every_packet_time() {
        let origin = Instant::now();
        let rhythm = Rhythm::new(origin);
        for (calls, grid) in [(8, 250), (25, 500), (50, 1000), (1000, 1000)] {
            let grid = Duration::from_micros(grid);
            assert_eq!(rhythm.after(origin, calls), Some(origin + grid));
            let late = origin + grid * 7 + grid / 3;
            assert_eq!(rhythm.after(late, calls), Some(origin + grid * 8));
            assert_eq!(Duration::from_millis(10).as_nanos() % grid.as_nanos(), 0);
        }
    }
}
