//! Whether the watches are alive.
//!
//! A watch of things that do not change brings nothing for hours, so events say little. But the server
//! ends each watch after some minutes and the client opens the next; when that, or a list, has not
//! succeeded for long, what we believe may be long past.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::client::{Requests, Target};

/// A watch that did not begin again for so long is dead: the server ends one after five minutes.
pub const MAX_WATCH_AGE: Duration = Duration::from_secs(600);

/// One watch.
pub struct Watch {
    pub target: Target,
    /// Without it nothing can be planned.
    pub required: bool,
    started_at: Instant,
    listed: AtomicBool,
    trouble: Mutex<Option<(Instant, String)>>,
}

impl Watch {
    pub fn new(target: Target, required: bool) -> Self {
        Self {
            target,
            required,
            started_at: Instant::now(),
            listed: AtomicBool::new(false),
            trouble: Mutex::default(),
        }
    }

    /// All that there is has been seen once.
    pub fn set_listed(&self) {
        self.listed.store(true, Ordering::Release);
    }

    pub fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Acquire)
    }

    pub fn failed(&self, why: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), why));
    }
}

/// All watches of this process.
pub struct Health {
    requests: Arc<Requests>,
    watches: Mutex<Vec<Arc<Watch>>>,
}

/// How one watch fares.
#[derive(Clone, Debug)]
pub struct WatchReport {
    pub target: Target,
    pub required: bool,
    pub listed: bool,
    /// Since it last began or listed well; since the process began, when it never did.
    pub age: Duration,
    /// What went wrong since then.
    pub trouble: Option<String>,
}

impl Health {
    pub fn new(requests: Arc<Requests>) -> Self {
        Self { requests, watches: Mutex::default() }
    }

    pub fn add(&self, watch: Arc<Watch>) {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).push(watch);
    }

    pub fn report(&self, watch: &Watch, now: Instant) -> WatchReport {
        let read_at = self.requests.last_read(&watch.target);
        let trouble = watch.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        WatchReport {
            target: watch.target.clone(),
            required: watch.required,
            listed: watch.is_listed(),
            age: now.saturating_duration_since(read_at.unwrap_or(watch.started_at)),
            trouble: trouble
                .filter(|(at, _)| read_at.is_none_or(|read_at| *at >= read_at))
                .map(|(_, why)| why),
        }
    }

    pub fn reports(&self, now: Instant) -> Vec<WatchReport> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.iter().map(|watch| self.report(watch, now)).collect()
    }
}

impl WatchReport {
    /// Whether the process is better started again.
    pub fn is_dead(&self) -> bool {
        self.required && self.age >= MAX_WATCH_AGE
    }

    /// Why nothing can be planned yet; `None` when it stands in nobody's way.
    pub fn obstacle(&self) -> Option<String> {
        if !self.required || self.listed {
            return None;
        }
        let place = match &self.target.namespace {
            Some(namespace) => format!("{} in {namespace}", self.target.resource),
            None => self.target.resource.clone(),
        };
        Some(match &self.trouble {
            Some(trouble) => format!("{place}: {trouble}"),
            None => format!("{place}: not listed yet"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    fn health() -> (Health, Arc<Watch>) {
        let health = Health::new(Arc::new(Requests::new(Arc::new(Metrics::new()))));
        let target =
            Target { resource: "pods".into(), namespace: Some("voice".into()), selected: true };
        let watch = Arc::new(Watch::new(target, true));
        health.add(watch.clone());
        (health, watch)
    }

    #[test]
    fn a_watch_that_never_began_is_dead_after_ten_minutes() {
        let (health, _) = health();
        let now = Instant::now();
        assert!(!health.reports(now + Duration::from_secs(599))[0].is_dead());
        assert!(health.reports(now + Duration::from_secs(601))[0].is_dead());
    }

    #[test]
    fn a_quiet_watch_lives_as_long_as_it_is_opened_again() {
        let (health, watch) = health();
        let start = Instant::now();
        // No event comes; the server ends the watch every five minutes, and it is opened again.
        for minutes in (0..120).step_by(5) {
            let now = start + Duration::from_secs(minutes * 60);
            health.requests.note_read(watch.target.clone(), now);
            assert!(!health.reports(now + Duration::from_secs(299))[0].is_dead());
        }
        let last = start + Duration::from_secs(115 * 60);
        assert!(health.reports(last + MAX_WATCH_AGE)[0].is_dead());
    }

    #[test]
    fn what_went_wrong_is_told_until_it_went_well_again() {
        let (health, watch) = health();
        watch.failed("pods is forbidden".into());
        let report = health.reports(Instant::now()).remove(0);
        assert_eq!(report.obstacle().unwrap(), "pods in voice: pods is forbidden");
        health.requests.note_read(watch.target.clone(), Instant::now());
        assert_eq!(health.reports(Instant::now())[0].trouble, None);
        watch.set_listed();
        assert_eq!(health.reports(Instant::now())[0].obstacle(), None);
    }
}
