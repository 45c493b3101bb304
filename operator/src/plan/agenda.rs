//! The time of a plan, and the next time that matters.

use std::cell::Cell;

use jiff::{SignedDuration, Timestamp};

/// Told the time once; remembers the earliest moment that somebody waits for.
pub(super) struct Agenda {
    pub(super) now: Timestamp,
    next: Cell<Option<Timestamp>>,
}

impl Agenda {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { now, next: Cell::new(None) }
    }

    /// Whether `at` has come; if not, the plan is to be made again then.
    pub(super) fn reached(&self, at: Timestamp) -> bool {
        if at <= self.now {
            return true;
        }
        self.next.set(Some(self.next.get().map_or(at, |next| next.min(at))));
        false
    }

    /// Whether `wait` has passed since `since`.
    pub(super) fn passed(&self, since: Timestamp, wait: SignedDuration) -> bool {
        self.reached(since.saturating_add(wait).unwrap_or(Timestamp::MAX))
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.next.get()
    }
}
