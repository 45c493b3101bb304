//! How much a shard has to do, as others may know it.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::call::Strain;

/// How often the figures are made new.
const WINDOW: Duration = Duration::from_millis(500);
/// A look that comes so much after its time is late: half a frame, as much as a phone's own buffer
/// hides.
const LATE: Duration = Duration::from_millis(10);

/// Written by the shard and read by everybody.
#[derive(Default)]
pub(super) struct Gauge {
    calls: AtomicUsize,
    busy_permille: AtomicU32,
    late_permille: AtomicU32,
}

impl Gauge {
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn strain(&self) -> Strain {
        Strain {
            busy_permille: self.busy_permille.load(Ordering::Relaxed),
            late_permille: self.late_permille.load(Ordering::Relaxed),
        }
    }
}

/// The shard's own measure of itself.
pub(super) struct Meter {
    since: Instant,
    cpu_since: Duration,
    looks: u32,
    late: u32,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, cpu_since: thread_cpu(), looks: 0, late: 0 }
    }

    /// A look came so late.
    pub(super) fn look(&mut self, late: Duration) {
        self.looks += 1;
        self.late += u32::from(late >= LATE);
    }

    /// Once in a window the figures are made new.
    pub(super) fn publish(&mut self, gauge: &Gauge) {
        let elapsed = self.since.elapsed();
        if elapsed < WINDOW {
            return;
        }
        let cpu = thread_cpu();
        let busy = permille(cpu.saturating_sub(self.cpu_since).as_nanos(), elapsed.as_nanos());
        let late = permille(self.late.into(), self.looks.into());
        gauge.busy_permille.store(busy, Ordering::Relaxed);
        gauge.late_permille.store(late, Ordering::Relaxed);
        *self = Self { since: Instant::now(), cpu_since: cpu, looks: 0, late: 0 };
    }
}

fn permille(part: u128, whole: u128) -> u32 {
    u32::try_from(part * 1000 / whole.max(1)).unwrap_or(u32::MAX)
}

/// CPU time of the calling thread.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shares_and_begin_anew_with_each_window() {
        let gauge = Gauge::default();
        let mut meter = Meter::new(Instant::now());
        for late_ms in [0, 1, 9, 10] {
            meter.look(Duration::from_millis(late_ms));
        }
        meter.publish(&gauge);
        assert_eq!(gauge.strain(), Strain::default(), "the window is not over");
        meter.since -= WINDOW;
        meter.publish(&gauge);
        assert_eq!(gauge.strain().late_permille, 250);
        assert!(gauge.strain().busy_permille <= 1000);
        meter.since -= WINDOW;
        meter.publish(&gauge);
        assert_eq!(gauge.strain().late_permille, 0);
    }
}
