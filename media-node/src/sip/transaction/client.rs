//! Client transactions (RFC 3261 §17.1): one machine, and a [`Kind`] for what differs by method.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{FailureCause, Step, T1, T2, T4, TRANSACTION_TIMEOUT};
use crate::sip::StatusCode;

/// What tells one client transaction from another: all else of §17.1.1 and §17.1.2 is the same.
pub(super) trait Kind {
    /// The gap between copies of the request doubles up to here; `None` doubles on (timer A).
    const LONGEST_GAP: Option<Duration>;
    /// The gap once a provisional response came (timer E); `None` ends both the copies and the
    /// deadline, as for an INVITE.
    const GAP_WHILE_PROCEEDING: Option<Duration>;

    /// How long copies of the final response are absorbed (timer K; D for an INVITE).
    fn linger(reliable: bool) -> Duration;
}

/// Every method but INVITE and ACK (§17.1.2).
pub(super) struct NonInvite;

impl Kind for NonInvite {
    const LONGEST_GAP: Option<Duration> = Some(T2);
    const GAP_WHILE_PROCEEDING: Option<Duration> = Some(T2);

    fn linger(reliable: bool) -> Duration {
        if reliable { Duration::ZERO } else { T4 }
    }
}

/// ```text
/// request ─▶ Trying ── 1xx ─▶ Proceeding ── 200–699 ─▶ Completed ── K ─▶ over
///               │ E: repeat      │ E: repeat
///               └─ F ────────────┴─▶ over, with no answer
/// ```
pub(super) struct Client<K: Kind> {
    reliable: bool,
    state: State,
    kind: PhantomData<K>,
}

enum State {
    Trying {
        request: Bytes,
        /// Timer E (A) and its gap; `None` on a reliable transport.
        resend: Option<(Instant, Duration)>,
        /// Timer F (B).
        give_up_at: Instant,
    },
    Proceeding {
        request: Bytes,
        resend: Option<(Instant, Duration)>,
        give_up_at: Option<Instant>,
    },
    /// Until timer K (D).
    Completed {
        until: Instant,
    },
    Over,
}

impl<K: Kind> Client<K> {
    /// `request` is sent for the first time at `now`, by the caller.
    pub(super) fn new(now: Instant, reliable: bool, request: Bytes) -> Self {
        let resend = (!reliable).then(|| (now + T1, T1));
        let give_up_at = now + TRANSACTION_TIMEOUT;
        Self { reliable, state: State::Trying { request, resend, give_up_at }, kind: PhantomData }
    }

    pub(super) fn handle_response(&mut self, now: Instant, status: StatusCode) -> Step {
        if matches!(self.state, State::Completed { .. } | State::Over) {
            return Step::Nothing;
        }
        if status.is_final() {
            let linger = K::linger(self.reliable);
            self.state = if linger.is_zero() {
                State::Over
            } else {
                State::Completed { until: now + linger }
            };
        } else if let State::Trying { request, resend, give_up_at } = &self.state {
            let gap = K::GAP_WHILE_PROCEEDING;
            self.state = State::Proceeding {
                request: request.clone(),
                // Timer E runs on as it was set and only then takes the longer gap.
                resend: resend.and_then(|(at, _)| gap.map(|gap| (at, gap))),
                give_up_at: gap.map(|_| *give_up_at),
            };
        }
        Step::PassUp
    }

    /// The request, until a final response came.
    pub(super) fn request(&self) -> Option<Bytes> {
        match &self.state {
            State::Trying { request, .. } | State::Proceeding { request, .. } => {
                Some(request.clone())
            }
            State::Completed { .. } | State::Over => None,
        }
    }

    pub(super) fn handle_transport_error(&mut self) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Trying { .. } | State::Proceeding { .. } => {
                Step::Failed(FailureCause::TransportError)
            }
            State::Completed { .. } | State::Over => Step::Nothing,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Step {
        match &mut self.state {
            State::Trying { give_up_at, .. }
            | State::Proceeding { give_up_at: Some(give_up_at), .. }
                if now >= *give_up_at =>
            {
                self.state = State::Over;
                Step::Failed(FailureCause::Timeout)
            }
            State::Trying { request, resend: Some((at, gap)), .. } if now >= *at => {
                *gap *= 2;
                if let Some(longest) = K::LONGEST_GAP {
                    *gap = (*gap).min(longest);
                }
                *at = now + *gap;
                Step::Transmit(request.clone())
            }
            State::Proceeding { request, resend: Some((at, gap)), .. } if now >= *at => {
                *at = now + *gap;
                Step::Transmit(request.clone())
            }
            State::Completed { until } if now >= *until => {
                self.state = State::Over;
                Step::Nothing
            }
            _ => Step::Nothing,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let earliest = |resend: &Option<(Instant, Duration)>, give_up_at: Option<Instant>| {
            resend.map(|(at, _)| at).into_iter().chain(give_up_at).min()
        };
        match &self.state {
            State::Trying { resend, give_up_at, .. } => earliest(resend, Some(*give_up_at)),
            State::Proceeding { resend, give_up_at, .. } => earliest(resend, *give_up_at),
            State::Completed { until } => Some(*until),
            State::Over => None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> &'static str {
        match self.state {
            State::Trying { .. } => "Trying",
            State::Proceeding { .. } => "Proceeding",
            State::Completed { .. } => "Completed",
            State::Over => "Over",
        }
    }
}
