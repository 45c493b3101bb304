//! Requests that were left without an answer, remembered by a hash so that their copies stay so.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// Some 40 bytes a request. When it is full the oldest leaves, and a copy of that one would be seen
/// as new: its owner then forgets it once more.
pub(super) struct Forgotten {
    until: HashMap<u64, Instant>,
    in_order: VecDeque<u64>,
    capacity: usize,
}

impl Forgotten {
    pub(super) fn new(capacity: usize) -> Self {
        Self { until: HashMap::new(), in_order: VecDeque::new(), capacity }
    }

    pub(super) fn insert(&mut self, name: u64, until: Instant) {
        if self.capacity == 0 {
            return;
        }
        if self.until.insert(name, until).is_some() {
            return;
        }
        if self.in_order.len() == self.capacity
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.until.remove(&oldest);
        }
        self.in_order.push_back(name);
    }

    pub(super) fn contains(&self, name: u64, now: Instant) -> bool {
        self.until.get(&name).is_some_and(|until| now < *until)
    }

    /// No timer of its own: it is cleared as time passes anyway.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(oldest) = self.in_order.front()
            && self.until.get(oldest).is_none_or(|until| *until <= now)
        {
            self.until.remove(oldest);
            self.in_order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::transaction::T1;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
    fn it_forgets_the_oldest_when_full_and_each_one_in_time() {
        let start = Instant::now();
        let mut forgotten = Forgotten::new(2);
        forgotten.insert(1, start + T1);
        forgotten.insert(2, start + T1 * 2);
        forgotten.insert(3, start + T1 * 3);
        assert_eq!([1, 2, 3].map(|name| forgotten.contains(name, start)), [false, true, true]);
        assert!(!forgotten.contains(2, start + T1 * 2));
        forgotten.expire(start + T1 * 2);
        assert_eq!((forgotten.until.len(), forgotten.in_order.len()), (1, 1));
        forgotten.expire(start + T1 * 3);
        assert_eq!((forgotten.until.len(), forgotten.in_order.len()), (0, 0));
    }
}
