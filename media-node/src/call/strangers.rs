//! Those who match no trunk: how often each may try before it hears nothing more.
//!
//! A peer that matches a trunk's sources is always answered. A stranger is challenged only where a
//! digest trunk without sources exists, and after [`FAILURES_A_MINUTE`] failures it is met with
//! silence, so that a scanner learns nothing and costs nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const FAILURES_A_MINUTE: u32 = 5;
const MINUTE: Duration = Duration::from_secs(60);
/// Addresses remembered at once; when full, those whose minute is over make room, and if none is,
/// whoever is not remembered counts as having used up its tries.
const MAX_REMEMBERED: usize = 10_000;

#[derive(Default)]
pub(super) struct Strangers {
    failures: HashMap<IpAddr, Failures>,
}

struct Failures {
    since: Instant,
    count: u32,
}

impl Strangers {
    /// Whether this address may still be answered.
    pub(super) fn may_try(&mut self, now: Instant, address: IpAddr) -> bool {
        match self.failures.get(&address) {
            Some(failures) if now < failures.since + MINUTE => failures.count < FAILURES_A_MINUTE,
            Some(_) => true,
            None => self.failures.len() < MAX_REMEMBERED || self.make_room(now),
        }
    }

    /// A try that led to nothing: a challenge sent, a wrong password, an unknown user.
    pub(super) fn failed(&mut self, now: Instant, address: IpAddr) {
        if !self.failures.contains_key(&address)
            && self.failures.len() >= MAX_REMEMBERED
            && !self.make_room(now)
        {
            return;
        }
        let failures = self.failures.entry(address).or_insert(Failures { since: now, count: 0 });
        if now >= failures.since + MINUTE {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
    }

    /// The right password clears the slate.
    pub(super) fn succeeded(&mut self, address: IpAddr) {
        self.failures.remove(&address);
    }

    fn make_room(&mut self, now: Instant) -> bool {
        self.failures.retain(|_, failures| now < failures.since + MINUTE);
        self.failures.len() < MAX_REMEMBERED
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
mod tests {
    use super::*;

    const SCANNER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 9));

    #[test]
    fn after_five_failures_a_minute_there_is_silence() {
        let (now, mut strangers) = (Instant::now(), Strangers::default());
        for _ in 0..FAILURES_A_MINUTE {
            assert!(strangers.may_try(now, SCANNER));
            strangers.failed(now, SCANNER);
        }
        assert!(!strangers.may_try(now, SCANNER));
        assert!(strangers.may_try(now + MINUTE, SCANNER));
    }

    #[test]
    fn a_success_clears_the_slate() {
        let (now, mut strangers) = (Instant::now(), Strangers::default());
        (0..FAILURES_A_MINUTE).for_each(|_| strangers.failed(now, SCANNER));
        strangers.succeeded(SCANNER);
        assert!(strangers.may_try(now, SCANNER));
    }

    #[test]
    fn a_flood_of_addresses_costs_bounded_memory() {
        let (now, mut strangers) = (Instant::now(), Strangers::default());
        for n in 0..20_000_u32 {
            strangers.failed(now, IpAddr::V4(n.into()));
        }
        assert_eq!(strangers.failures.len(), MAX_REMEMBERED);
        assert!(!strangers.may_try(now, IpAddr::V4(u32::MAX.into())));
        assert!(strangers.may_try(now + MINUTE, IpAddr::V4(u32::MAX.into())));
    }
}
