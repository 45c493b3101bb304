//! When which namespace is looked at: told the time, it says what is due. No I/O.
//!
//! Changes that come together are one pass. What failed is tried again after 1 s, 2 s, 4 s … 60 s; a
//! change does not wait that long, for it may be the remedy. Nothing is looked at twice at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Changes within this time are one.
pub const DEBOUNCE: Duration = Duration::from_millis(500);
/// Everything is looked at again after this time.
pub const RESYNC: Duration = Duration::from_secs(300);
/// Passes at once.
pub const CONCURRENCY: usize = 4;
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// How long a change waits after a pass that failed, at most.
const WAKE_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Well; to be looked at again after this time, or else at the resync.
    Done {
        again_in: Option<Duration>,
    },
    Failed,
    /// There is nothing of ours in the namespace any more.
    Gone,
}

#[derive(Default)]
struct Entry {
    due: Option<Instant>,
    running: bool,
    failures: u32,
    /// No change is heard before this.
    deaf_until: Option<Instant>,
}

/// All namespaces.
#[derive(Default)]
pub struct Schedule {
    entries: BTreeMap<String, Entry>,
    running: usize,
}

impl Schedule {
    /// Something has changed there.
    pub fn wake(&mut self, namespace: &str, now: Instant) {
        let entry = self.entries.entry(namespace.to_owned()).or_default();
        let at = entry.deaf_until.unwrap_or(now).max(now + DEBOUNCE);
        entry.due = Some(entry.due.map_or(at, |due| due.min(at)));
    }

    /// Something has changed in all that are known.
    pub fn wake_all(&mut self, now: Instant) {
        let names: Vec<String> = self.entries.keys().cloned().collect();
        for name in names {
            self.wake(&name, now);
        }
    }

    /// What to begin now, the longest due first.
    pub fn start(&mut self, now: Instant) -> Vec<String> {
        let mut due: Vec<(Instant, &String)> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.running)
            .filter_map(|(name, entry)| Some((entry.due.filter(|due| *due <= now)?, name)))
            .collect();
        due.sort();
        due.truncate(CONCURRENCY - self.running);
        let names: Vec<String> = due.into_iter().map(|(_, name)| name.clone()).collect();
        for name in &names {
            if let Some(entry) = self.entries.get_mut(name) {
                entry.running = true;
                entry.due = None;
            }
        }
        self.running += names.len();
        names
    }

    pub fn finished(&mut self, namespace: &str, ended: Ended, now: Instant) {
        let Some(entry) = self.entries.get_mut(namespace) else { return };
        entry.running = false;
        self.running -= 1;
        let at = match ended {
            Ended::Done { again_in } => {
                entry.failures = 0;
                entry.deaf_until = None;
                now + again_in.unwrap_or(RESYNC).clamp(DEBOUNCE, RESYNC)
            }
            Ended::Failed => {
                let wait = FIRST_RETRY * 2u32.saturating_pow(entry.failures.min(6));
                let wait = wait.min(LAST_RETRY);
                entry.failures = entry.failures.saturating_add(1);
                entry.deaf_until = Some(now + wait.min(WAKE_AFTER_FAILURE));
                // A change that came meanwhile waits its turn too.
                entry.due = entry.due.map(|due| due.max(now + wait.min(WAKE_AFTER_FAILURE)));
                now + wait
            }
            Ended::Gone if entry.due.is_none() => {
                self.entries.remove(namespace);
                return;
            }
            Ended::Gone => return,
        };
        entry.due = Some(entry.due.map_or(at, |due| due.min(at)));
    }

    /// When [`Schedule::start`] may have something next; `None` when a pass must end first, or when
    /// there is nothing.
    pub fn next_due(&self) -> Option<Instant> {
        if self.running >= CONCURRENCY {
            return None;
        }
        self.entries.values().filter(|entry| !entry.running).filter_map(|entry| entry.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn many_changes_are_one_pass_and_one_that_comes_during_it_another() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        for at in 0..5_000 {
            schedule.wake("voice", start + Duration::from_micros(at * 90));
        }
        assert!(schedule.start(start + ms(499)).is_empty());
        assert_eq!(schedule.start(start + ms(500)), ["voice"]);
        schedule.wake("voice", start + ms(600));
        assert!(schedule.start(start + ms(1_100)).is_empty(), "never twice at once");
        schedule.finished("voice", Ended::Done { again_in: None }, start + ms(1_200));
        assert_eq!(schedule.start(start + ms(1_200)), ["voice"]);
    }

    #[test]
    fn a_failure_is_tried_again_ever_later_up_to_a_minute() {
        let (mut schedule, mut now) = (Schedule::default(), Instant::now());
        schedule.wake("voice", now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let due = schedule.next_due().unwrap();
            waits.push((due - now).as_secs());
            now = due;
            assert_eq!(schedule.start(now), ["voice"]);
            schedule.finished("voice", Ended::Failed, now);
        }
        assert_eq!(waits[1..], [1, 2, 4, 8, 16, 32, 60]);
    }

    #[test]
    fn a_change_does_not_wait_for_the_retry() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        let mut now = start;
        schedule.wake("voice", now);
        for _ in 0..8 {
            now = schedule.next_due().unwrap();
            schedule.start(now);
            schedule.finished("voice", Ended::Failed, now);
        }
        schedule.wake("voice", now + ms(10_000));
        assert_eq!(schedule.next_due(), Some(now + ms(10_500)));
        // But changes of our own making cannot turn a failure into a storm.
        schedule.start(now + ms(10_500));
        schedule.finished("voice", Ended::Failed, now + ms(10_600));
        schedule.wake("voice", now + ms(10_600));
        assert_eq!(schedule.next_due(), Some(now + ms(12_600)));
    }

    #[test]
    fn success_forgives_and_sleeps_until_the_resync_or_earlier() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        for (again_in, wanted) in
            [(None, RESYNC), (Some(ms(3_000)), ms(3_000)), (Some(RESYNC * 9), RESYNC)]
        {
            schedule.wake("voice", now);
            assert_eq!(schedule.start(now + DEBOUNCE), ["voice"]);
            schedule.finished("voice", Ended::Done { again_in }, now + DEBOUNCE);
            assert_eq!(schedule.next_due(), Some(now + DEBOUNCE + wanted));
        }
    }

    #[test]
    fn four_run_at_once_and_the_fifth_waits() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        for namespace in ["a", "b", "c", "d", "e"] {
            schedule.wake(namespace, now);
        }
        assert_eq!(schedule.start(now + ms(500)), ["a", "b", "c", "d"]);
        assert_eq!((schedule.next_due(), schedule.start(now + ms(600)).len()), (None, 0));
        schedule.finished("c", Ended::Failed, now + ms(700));
        assert_eq!(schedule.start(now + ms(700)), ["e"]);
    }

    #[test]
    fn an_empty_namespace_is_forgotten_unless_something_came_meanwhile() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        schedule.wake("voice", now);
        schedule.start(now + DEBOUNCE);
        schedule.wake("voice", now + DEBOUNCE);
        schedule.finished("voice", Ended::Gone, now + DEBOUNCE);
        assert_eq!(schedule.start(now + DEBOUNCE * 2), ["voice"]);
        schedule.finished("voice", Ended::Gone, now + DEBOUNCE * 2);
        assert_eq!(schedule.next_due(), None);
    }
}
