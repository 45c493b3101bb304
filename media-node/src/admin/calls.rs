//! The calls that `/v1/calls` shows: those that live, and for a while those that ended.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::call::CallView;
use crate::call::record::CallState;

/// Ended calls are kept this long,
const KEPT_FOR: Duration = Duration::from_secs(600);
/// and no more than this many: about two megabytes.
const KEPT: usize = 1000;

/// Written by the signalling task at each milestone of a call, read by the admin interface.
#[derive(Default)]
pub struct Calls {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By id; ids grow with time, so this is the order in which calls began. Bounded by the limit on
    /// concurrent calls.
    live: BTreeMap<String, CallView>,
    ended: HashMap<String, CallView>,
    /// The ids of those, oldest first, with the moment of the end.
    order: VecDeque<(Instant, String)>,
}

/// Which calls to list; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub state: Option<CallState>,
    pub trunk: Option<String>,
    pub agent: Option<String>,
    pub limit: Option<usize>,
}

impl Filter {
    fn matches(&self, call: &CallView) -> bool {
        self.state.is_none_or(|state| state == call.state)
            && self.trunk.as_ref().is_none_or(|trunk| *trunk == call.trunk)
            && self.agent.as_ref().is_none_or(|agent| *agent == call.agent)
    }
}

impl Calls {
    pub fn new() -> Self {
        Self::default()
    }

    /// The call as it stands now. An ended one leaves the live ones, and cannot come back.
    pub fn put(&self, now: Instant, call: CallView) {
        let mut inner = self.lock();
        inner.forget_old(now);
        if call.state != CallState::Ended {
            if !inner.ended.contains_key(&call.id) {
                inner.live.insert(call.id.clone(), call);
            }
            return;
        }
        inner.live.remove(&call.id);
        let id = call.id.clone();
        // The record may be completed after the end.
        if inner.ended.insert(id.clone(), call).is_some() {
            return;
        }
        inner.order.push_back((now, id));
        if inner.order.len() > KEPT {
            inner.forget_oldest();
        }
    }

    pub fn find(&self, now: Instant, id: &str) -> Option<CallView> {
        let mut inner = self.lock();
        inner.forget_old(now);
        inner.live.get(id).or_else(|| inner.ended.get(id)).cloned()
    }

    /// Live calls first, then ended ones; the newest first in each.
    pub fn list(&self, now: Instant, filter: &Filter) -> Vec<CallView> {
        let mut inner = self.lock();
        inner.forget_old(now);
        let ended = inner.order.iter().rev().filter_map(|(_, id)| inner.ended.get(id));
        let all = inner.live.values().rev().chain(ended);
        let limit = filter.limit.unwrap_or(usize::MAX);
        all.filter(|call| filter.matches(call)).take(limit).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget_old(&mut self, now: Instant) {
        let old = |at: Instant| now.saturating_duration_since(at) >= KEPT_FOR;
        while self.order.front().is_some_and(|(at, _)| old(*at)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.ended.remove(&id);
        }
    }
}
