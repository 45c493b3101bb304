//! Who leads, decided without I/O: told the time and what the API server answered, it says what to
//! ask next.
//!
//! ```text
//!              absent, released or unchanged for its whole duration
//!   Standby ───────────────── Write succeeds ─────────────────▶ Leader ──┐ Write every renew_period
//!      ▲                                                          │  ▲───┘
//!      └ somebody else's record: wait until it could expire       │ no Write succeeded for renew_deadline,
//!                                                                 ▼ or the record names another
//!                                                               Lost: the process ends
//! ```
//!
//! A record is judged by how long it has not changed on *our* monotonic clock, never by the times
//! written in it, so clocks that disagree between nodes do no harm. A write carries the
//! resourceVersion that was last seen: of two candidates that find the same record expired, one
//! gets a conflict.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

/// How patient everybody is.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// Others may take over a record that has not changed for so long.
    pub duration: Duration,
    /// A leader that could not renew for so long stops being one. Below `duration`.
    pub renew_deadline: Duration,
    /// Between two renewals while all is well.
    pub renew_period: Duration,
    /// Between two attempts when one failed.
    pub retry_period: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            // Not at every retry_period as client-go does: two more attempts fit before the
            // deadline, and it is fifteen requests a minute instead of thirty.
            renew_period: Duration::from_secs(4),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Get the Lease; then [`Election::handle_seen`] or [`Election::handle_failed`].
    Read,
    /// Create it, or replace it as it was last seen, with what [`Election::claim`] makes; then
    /// [`Election::handle_written`], [`Election::handle_conflict`] or [`Election::handle_failed`].
    Write,
    /// Nothing, until then or until somebody changes the Lease.
    Wait(Instant),
    /// End the process: somebody else may lead.
    Exit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Standby,
    /// Since the request that last succeeded was sent.
    Leader {
        renewed_at: Instant,
    },
    Lost,
}

/// One candidate.
#[derive(Debug)]
pub struct Election {
    identity: String,
    timings: Timings,
    role: Role,
    /// As it was last seen; `None` when there was none.
    lease: Option<Lease>,
    /// It may have changed since: read it before anything else.
    stale: bool,
    /// When, by our clock, its holder may be taken for gone.
    free_at: Instant,
    /// No request before this.
    next_try: Instant,
}

impl Election {
    /// `identity` is of this process and of no other, not even of its predecessor in the same pod.
    pub fn new(identity: String, timings: Timings, now: Instant) -> Self {
        Self {
            identity,
            timings,
            role: Role::Standby,
            lease: None,
            stale: true,
            free_at: now,
            next_try: now,
        }
    }

    pub fn poll(&mut self, now: Instant) -> Step {
        if let Role::Leader { renewed_at } = self.role
            && now >= renewed_at + self.timings.renew_deadline
        {
            self.role = Role::Lost;
        }
        let due = match self.role {
            Role::Lost => return Step::Exit,
            Role::Leader { .. } => self.next_try,
            Role::Standby if self.stale => self.next_try,
            Role::Standby => self.next_try.max(self.free_at),
        };
        if now < due {
            return match self.holds_until() {
                Some(deadline) => Step::Wait(due.min(deadline)),
                None => Step::Wait(due),
            };
        }
        if self.stale { Step::Read } else { Step::Write }
    }

    /// How long a record lasts: as its holder says, within reason.
    fn lasts(&self, lease: &Lease) -> Duration {
        let said = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        match said.and_then(|seconds| u64::try_from(seconds).ok()) {
            None | Some(0) => self.timings.duration,
            Some(seconds) => Duration::from_secs(seconds.min(MAX_DURATION.as_secs())),
        }
    }

    /// The Lease as somebody read it; `None` when there is none.
    pub fn handle_seen(&mut self, lease: Option<Lease>, now: Instant) {
        let others = match &lease {
            Some(lease) => holder(lease) != Some(self.identity.as_str()),
            None => true,
        };
        if others && matches!(self.role, Role::Leader { .. }) {
            self.role = Role::Lost;
        }
        match &lease {
            // Whoever held a Lease that was deleted may not know it yet.
            None => {}
            Some(lease) if self.seen_version() == version(lease) => {}
            Some(lease) => {
                self.free_at = match holder(lease) {
                    // Our own name is a write whose answer was lost.
                    Some(holder) if holder != self.identity => now + self.lasts(lease),
                    Some(_) | None => now,
                }
            }
        }
        self.lease = lease;
        self.stale = false;
    }

    /// Our write succeeded. `asked_at` is when it was sent: whoever saw the record saw it later.
    pub fn handle_written(&mut self, lease: Lease, asked_at: Instant) {
        self.lease = Some(lease);
        self.stale = false;
        if self.role != Role::Lost {
            self.role = Role::Leader { renewed_at: asked_at };
            self.next_try = asked_at + self.timings.renew_period;
        }
    }

    /// Somebody wrote since we looked: look again, soon.
    pub fn handle_conflict(&mut self, now: Instant) {
        self.stale = true;
        self.next_try = now + CONFLICT_PAUSE;
    }

    /// No answer, or an error. A write may have been done all the same.
    pub fn handle_failed(&mut self, asked_at: Instant, now: Instant) {
        self.stale |= self.role == Role::Standby;
        self.next_try = now.max(asked_at + self.timings.retry_period);
    }

    /// What a standby watched has ended: it looks again.
    pub fn handle_blind(&mut self, now: Instant) {
        self.handle_failed(now, now);
    }

    /// Until when this process may write, as things stand; `None` for all who do not lead.
    pub fn holds_until(&self) -> Option<Instant> {
        match self.role {
            Role::Leader { renewed_at } => Some(renewed_at + self.timings.renew_deadline),
            Role::Standby | Role::Lost => None,
        }
    }

    pub fn is_standby(&self) -> bool {
        self.role == Role::Standby
    }

    /// The version that was last seen, for a watch to begin at.
    pub fn seen_version(&self) -> Option<&str> {
        self.lease.as_ref().and_then(version)
    }

    /// The Lease with our name in it; without a resourceVersion it is to be created. `wall` is for
    /// people to read.
    pub fn claim(&self, name: &str, wall: Timestamp) -> Lease {
        let mut lease = self.last_seen(name);
        let ours = holder(&lease) == Some(self.identity.as_str());
        let spec = lease.spec.get_or_insert_default();
        spec.lease_duration_seconds =
            Some(i32::try_from(self.timings.duration.as_secs()).unwrap_or(i32::MAX));
        spec.renew_time = Some(MicroTime(wall));
        if !ours {
            spec.holder_identity = Some(self.identity.clone());
            spec.acquire_time = Some(MicroTime(wall));
            spec.lease_transitions =
                Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
        }
        lease
    }

    /// The Lease given back, for others to take at once; `None` when it is not ours.
    pub fn release(&mut self, name: &str, wall: Timestamp) -> Option<Lease> {
        let Role::Leader { .. } = self.role else { return None };
        self.role = Role::Lost;
        let mut lease = self.last_seen(name);
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(wall));
        Some(lease)
    }

    fn last_seen(&self, name: &str) -> Lease {
        let mut lease = self.lease.clone().unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec::default()),
        });
        lease.metadata.managed_fields = None;
        lease
    }
}

/// So that an API server that refuses everything is not asked in a tight loop.
const CONFLICT_PAUSE: Duration = Duration::from_millis(100);
/// A record that asks for more is not waited for any longer.
const MAX_DURATION: Duration = Duration::from_secs(120);

/// Who holds it; an empty name is a released Lease.
fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    (!holder.is_empty()).then_some(holder)
}

fn version(lease: &Lease) -> Option<&str> {
    lease.metadata.resource_version.as_deref()
}
