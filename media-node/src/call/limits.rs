//! How many calls, and how many a second: counted per pod, per trunk and per agent.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Which limit is reached, with the sentence that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LimitReached {
    /// The field that holds the limit.
    pub(super) field: &'static str,
    pub(super) text: String,
    /// What `Retry-After` proposes.
    pub(super) retry_after: Duration,
}

/// Live calls by whom they belong to, and a bucket of starts for each trunk.
#[derive(Default)]
pub(super) struct Limits {
    pod: u32,
    trunks: HashMap<String, TrunkLoad>,
    agents: HashMap<String, u32>,
}

#[derive(Default)]
struct TrunkLoad {
    active: u32,
    bucket: Option<Bucket>,
}

/// A second's worth of starts may come at once; after that they drip in at the configured rate.
struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant, per_second: u32) -> Result<(), Duration> {
        let rate = f64::from(per_second);
        let earned = now.saturating_duration_since(self.filled_at).as_secs_f64() * rate;
        self.tokens = (self.tokens + earned).min(rate);
        self.filled_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - self.tokens) / rate))
        }
    }
}

/// What a trunk allows; `None` is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TrunkLimits {
    pub(super) concurrent_calls: Option<u32>,
    pub(super) calls_per_second: Option<u32>,
}

impl Limits {
    #[cfg(test)]
    pub(super) fn pod_calls(&self) -> u32 {
        self.pod
    }

    pub(super) fn trunk_calls(&self, trunk: &str) -> u32 {
        self.trunks.get(trunk).map_or(0, |load| load.active)
    }

    pub(super) fn agent_calls(&self, agent: &str) -> u32 {
        self.agents.get(agent).copied().unwrap_or(0)
    }

    /// Counts a call in on the pod and on its trunk, or says which limit stands in the way.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        pod_limit: u32,
        trunk: &str,
        limits: TrunkLimits,
    ) -> Result<(), LimitReached> {
        const BUSY: Duration = Duration::from_secs(5);
        if self.pod >= pod_limit {
            return Err(LimitReached {
                field: "spec.callsPerPod",
                text: format!("this node carries its {pod_limit} calls"),
                retry_after: BUSY,
            });
        }
        let load = self.trunks.entry(trunk.to_owned()).or_default();
        if let Some(limit) = limits.concurrent_calls
            && load.active >= limit
        {
            return Err(LimitReached {
                field: "spec.limits.concurrentCalls",
                text: format!("trunk {trunk} carries its {limit} calls"),
                retry_after: BUSY,
            });
        }
        if let Some(rate) = limits.calls_per_second {
            let bucket = load
                .bucket
                .get_or_insert_with(|| Bucket { tokens: f64::from(rate), filled_at: now });
            bucket.take(now, rate).map_err(|wait| LimitReached {
                field: "spec.limits.callsPerSecond",
                text: format!("trunk {trunk} starts {rate} calls a second"),
                retry_after: wait,
            })?;
        }
        self.pod += 1;
        load.active += 1;
        Ok(())
    }

    /// The other end of [`Self::admit`].
    pub(super) fn release(&mut self, trunk: &str) {
        self.pod = self.pod.saturating_sub(1);
        if let Some(load) = self.trunks.get_mut(trunk) {
            load.active = load.active.saturating_sub(1);
        }
    }

    /// Counts a call in on an agent.
    pub(super) fn admit_agent(
        &mut self,
        agent: &str,
        limit: Option<u32>,
    ) -> Result<(), LimitReached> {
        let active = self.agents.entry(agent.to_owned()).or_default();
        if let Some(limit) = limit
            && *active >= limit
        {
            return Err(LimitReached {
                field: "spec.limits.concurrentCalls",
                text: format!("agent {agent} carries its {limit} calls"),
                retry_after: Duration::from_secs(5),
            });
        }
        *active += 1;
        Ok(())
    }

    pub(super) fn release_agent(&mut self, agent: &str) {
        if let Some(active) = self.agents.get_mut(agent) {
            *active = active.saturating_sub(1);
        }
    }

    /// Forgets trunks and agents that are gone from the configuration and carry no call.
    pub(super) fn retain(
        &mut self,
        trunk_exists: impl Fn(&str) -> bool,
        agent_exists: impl Fn(&str) -> bool,
    ) {
        self.trunks.retain(|name, load| load.active > 0 || trunk_exists(name));
        self.agents.retain(|name, active| *active > 0 || agent_exists(name));
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
mod tests {
    use super::*;

    const ONE_A_SECOND: TrunkLimits =
        TrunkLimits { concurrent_calls: None, calls_per_second: Some(1) };

    #[test]
    fn a_trunk_at_its_concurrent_calls_refuses_the_next_and_takes_one_after_an_end() {
        let (now, mut limits) = (Instant::now(), Limits::default());
        let two = TrunkLimits { concurrent_calls: Some(2), ..Default::default() };
        assert!(limits.admit(now, 500, "a", two).is_ok());
        assert!(limits.admit(now, 500, "a", two).is_ok());
        let refused = limits.admit(now, 500, "a", two).unwrap_err();
        assert_eq!(refused.field, "spec.limits.concurrentCalls");
        assert!(limits.admit(now, 500, "b", two).is_ok(), "another trunk is not concerned");
        limits.release("a");
        assert!(limits.admit(now, 500, "a", two).is_ok());
    }

    #[test]
    fn starts_beyond_the_rate_are_told_when_to_come_back() {
        let (now, mut limits) = (Instant::now(), Limits::default());
        assert!(limits.admit(now, 500, "a", ONE_A_SECOND).is_ok());
        let refused = limits.admit(now, 500, "a", ONE_A_SECOND).unwrap_err();
        assert_eq!(refused.field, "spec.limits.callsPerSecond");
        assert!(refused.retry_after <= Duration::from_secs(1));
        assert!(limits.admit(now + refused.retry_after, 500, "a", ONE_A_SECOND).is_ok());
    }

    #[test]
    fn a_refused_call_is_counted_nowhere() {
        let (now, mut limits) = (Instant::now(), Limits::default());
        assert!(limits.admit(now, 500, "a", ONE_A_SECOND).is_ok());
        assert!(limits.admit(now, 500, "a", ONE_A_SECOND).is_err());
        assert_eq!((limits.pod_calls(), limits.trunk_calls("a")), (1, 1));
        assert!(limits.admit_agent("x", Some(0)).is_err());
        assert_eq!(limits.agent_calls("x"), 0);
    }

    #[test]
    fn the_pod_counts_all_trunks_together() {
        let (now, mut limits) = (Instant::now(), Limits::default());
        assert!(limits.admit(now, 1, "a", TrunkLimits::default()).is_ok());
        let refused = limits.admit(now, 1, "b", TrunkLimits::default()).unwrap_err();
        assert_eq!(refused.field, "spec.callsPerPod");
    }
}
