//! Which RTP port a call gets: a pair each (RTP even, RTCP the odd one after it, RFC 3550 §11), the
//! one longest unused first, so that a late packet of an old call finds nobody to talk to.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// How long a closed pair rests: a packet still under way when its call ended has died by then.
const REST: Duration = Duration::from_secs(2);

/// The even port; RTCP is the one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortPair(u16);

impl PortPair {
    pub fn rtp(self) -> u16 {
        self.0
    }

    pub fn rtcp(self) -> u16 {
        self.0 + 1
    }
}

/// The pairs of one pod. Least recently used is served first; the queue is the order of closing.
pub struct PortPool {
    free: VecDeque<(PortPair, Option<Instant>)>,
    total: usize,
}

impl PortPool {
    pub fn new(range: RangeInclusive<u16>) -> Self {
        let (start, end) = (u32::from(*range.start()), u32::from(*range.end()));
        let free: VecDeque<_> = (start.next_multiple_of(2)..end)
            .step_by(2)
            .filter_map(|port| u16::try_from(port).ok())
            .map(|port| (PortPair(port), None))
            .collect();
        Self { total: free.len(), free }
    }

    /// How many calls can be up at once.
    pub fn total(&self) -> usize {
        self.total
    }

    pub fn allocate(&mut self, now: Instant) -> Option<PortPair> {
        let (_, closed_at) = self.free.front()?;
        if closed_at.is_some_and(|at| now < at + REST) {
            return None;
        }
        self.free.pop_front().map(|(pair, _)| pair)
    }

    pub fn release(&mut self, now: Instant, pair: PortPair) {
        self.free.push_back((pair, Some(now)));
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_even_and_stay_inside_the_range() {
        let now = Instant::now();
        let mut pool = PortPool::new(20001..=20006);
        assert_eq!(pool.total(), 2, "20002/3 and 20004/5; 20006 has no odd partner");
        let pairs: Vec<_> =
            std::iter::from_fn(|| pool.allocate(now)).map(|p| (p.rtp(), p.rtcp())).collect();
        assert_eq!(pairs, [(20002, 20003), (20004, 20005)]);
    }

    #[test]
    fn the_longest_unused_pair_comes_first_and_a_closed_one_rests() {
        let now = Instant::now();
        let mut pool = PortPool::new(20000..=20005);
        let first = pool.allocate(now).unwrap();
        pool.release(now, first);
        assert_eq!(pool.allocate(now).unwrap().rtp(), 20002);
        assert_eq!(pool.allocate(now).unwrap().rtp(), 20004);
        assert_eq!(pool.allocate(now), None, "only the closed pair is left, and it rests");
        assert_eq!(pool.allocate(now + REST).map(PortPair::rtp), Some(20000));
    }

    #[test]
    fn the_last_port_of_all_never_overflows() {
        let pool = PortPool::new(65534..=65535);
        assert_eq!(pool.total(), 1);
    }
}
