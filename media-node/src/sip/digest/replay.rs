//! Which nonce counts were already used (RFC 7616 §3.4.5, `nc`), in bounded memory.

use std::collections::BTreeMap;

/// One nonce: when it was made (seconds of Unix time) and the random number in it.
pub(super) type NonceId = (u64, u64);

/// The nonce counts seen of each nonce that answered a challenge correctly.
///
/// When the table is full its oldest nonce is forgotten, and from then on no nonce as old as that
/// one is taken unless it is still known: what is forgotten can only be challenged again, never
/// replayed.
pub(super) struct Replay {
    seen: BTreeMap<NonceId, Window>,
    /// Nonces up to here and not in `seen` are refused.
    forgotten_up_to: Option<NonceId>,
    capacity: usize,
}

/// The highest count and, as bits, which of the 64 below it came: requests on UDP may overtake one
/// another, so "greater than the last" would refuse honest ones.
#[derive(Clone, Copy, Default)]
struct Window {
    highest: u32,
    below: u64,
}

impl Window {
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            let shifted = self.below.checked_shl(ahead).unwrap_or(0);
            let last = if self.highest == 0 { None } else { 1_u64.checked_shl(ahead - 1) };
            self.below = shifted | last.unwrap_or(0);
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        let Some(bit) = behind.checked_sub(1).and_then(|at| 1_u64.checked_shl(at)) else {
            return false;
        };
        let fresh = self.below & bit == 0;
        self.below |= bit;
        fresh
    }
}

impl Replay {
    pub(super) fn new(capacity: usize) -> Self {
        Self { seen: BTreeMap::new(), forgotten_up_to: None, capacity: capacity.max(1) }
    }

    /// Notes one use of a nonce; false when this count was used before, or when nobody can tell.
    pub(super) fn take(&mut self, nonce: NonceId, count: u32) -> bool {
        if let Some(window) = self.seen.get_mut(&nonce) {
            return window.take(count);
        }
        if self.forgotten_up_to.is_some_and(|up_to| nonce <= up_to) {
            return false;
        }
        if self.seen.len() >= self.capacity
            && let Some(oldest) = self.seen.first_entry()
        {
            if nonce < *oldest.key() {
                return false;
            }
            self.forgotten_up_to = self.forgotten_up_to.max(Some(oldest.remove_entry().0));
        }
        self.seen.entry(nonce).or_default().take(count)
    }

    /// Drops nonces made before `made_before`, which are refused as expired anyway.
    pub(super) fn expire(&mut self, made_before: u64) {
        if self.seen.first_key_value().is_some_and(|(nonce, _)| nonce.0 < made_before) {
            self.seen = self.seen.split_off(&(made_before, 0));
            // The clock may be set back; what was dropped must not come to life again.
            self.forgotten_up_to =
                self.forgotten_up_to.max(Some((made_before.saturating_sub(1), u64::MAX)));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_taken_once_in_any_order_within_the_window() {
        let mut replay = Replay::new(8);
        for (count, fresh) in [
            (1, true),
            (1, false),
            (3, true),
            (2, true),
            (2, false),
            (3, false),
            (66, true),
            (3, false),
            (4, true),
            (4, false),
            (1, false),
            (u32::MAX, true),
            (u32::MAX, false),
            (66, false),
            (u32::MAX - 64, true),
            (u32::MAX - 64, false),
            (u32::MAX - 65, false),
        ] {
            assert_eq!(replay.take((1, 1), count), fresh, "nc={count}");
        }
    }

    #[test]
    fn every_count_of_a_long_row_is_taken_exactly_once() {
        let mut replay = Replay::new(8);
        for count in 1..300 {
            assert!(replay.take((1, 1), count));
        }
        for count in 1..300 {
            assert!(!replay.take((1, 1), count), "nc={count}");
        }
    }

    #[test]
    fn a_full_table_forgets_its_oldest_nonce_and_never_takes_it_again() {
        let mut replay = Replay::new(2);
        assert!(replay.take((10, 1), 1));
        assert!(replay.take((11, 1), 1));
        assert!(replay.take((12, 1), 1));
        assert_eq!(replay.len(), 2);
        assert!(!replay.take((10, 1), 2), "forgotten");
        assert!(!replay.take((9, 1), 1), "older than what was forgotten");
        assert!(replay.take((11, 1), 2), "still known");
        assert_eq!(replay.len(), 2);
    }

    #[test]
    fn expired_nonces_leave_the_table_for_good() {
        let mut replay = Replay::new(8);
        assert!(replay.take((10, 7), 1));
        assert!(replay.take((20, 7), 1));
        replay.expire(15);
        assert_eq!(replay.len(), 1);
        assert!(!replay.take((10, 7), 2));
        assert!(replay.take((20, 7), 2));
    }
}
