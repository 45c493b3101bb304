//! How many statuses may be written in a second.

use std::time::Instant;

/// A bucket of tokens. Time comes from outside.
#[derive(Debug)]
pub(super) struct Budget {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Budget {
    pub(super) fn new(per_second: f64, burst: f64, now: Instant) -> Self {
        Self { per_second, burst, tokens: burst, filled_at: now }
    }

    /// Whether one more may be written now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        self.filled_at = self.filled_at.max(now);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let start = Instant::now();
        let mut budget = Budget::new(5.0, 10.0, start);
        let taken = |budget: &mut Budget, at: Duration| {
            (0..100).filter(|_| budget.take(start + at)).count()
        };
        assert_eq!(taken(&mut budget, Duration::ZERO), 10);
        assert_eq!(taken(&mut budget, Duration::from_millis(1_000)), 5);
        assert_eq!(taken(&mut budget, Duration::from_millis(1_100)), 0);
        assert_eq!(taken(&mut budget, Duration::from_secs(3_600)), 10, "never more than a burst");
    }

    #[test]
    fn a_clock_that_does_not_advance_gives_nothing() {
        let start = Instant::now();
        let mut budget = Budget::new(5.0, 1.0, start + Duration::from_secs(1));
        assert!(budget.take(start + Duration::from_secs(1)));
        assert!(!budget.take(start));
        assert!(!budget.take(start + Duration::from_secs(1)));
    }
}
