//! The INVITE server transaction (RFC 3261 §17.2.1 with the Accepted state of RFC 6026 §7.1).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{FailureCause, Step, T1, T2, T4, TRANSACTION_TIMEOUT};
use crate::sip::StatusCode;

/// How long an INVITE may go without any response of ours before the transaction is given up.
///
/// RFC 3261 has no such limit, since its §13.3.1.1 has us repeat a provisional response every
/// minute; a transaction its owner forgot would otherwise stay for good.
pub(super) const PROCEEDING_LIMIT: Duration = Duration::from_secs(600);

/// ```text
///            ┌── 1xx ──┐
/// INVITE ─▶ Proceeding ┘── 300–699 ─▶ Completed ── ACK ─▶ Confirmed ── I ─▶ over
///               │                        └─ G: repeat, H: no ACK ─▶ over
///               └── 2xx ─▶ Accepted ── L ─▶ over
/// ```
pub(super) struct InviteServer {
    reliable: bool,
    state: State,
}

enum State {
    Proceeding {
        provisional: Option<Bytes>,
        give_up_at: Instant,
    },
    /// A final response other than 2xx was sent and waits for its ACK.
    Completed {
        response: Bytes,
        /// Timer G and its gap; `None` on a reliable transport.
        resend: Option<(Instant, Duration)>,
        /// Timer H.
        give_up_at: Instant,
    },
    /// The ACK came; later copies of it are absorbed until timer I.
    Confirmed {
        until: Instant,
    },
    /// A 2xx was sent. Repeated INVITEs are absorbed until timer L; the 2xx itself is repeated by
    /// whoever sent it, see [`crate::sip::await_ack`].
    Accepted {
        until: Instant,
    },
    Over,
}

impl InviteServer {
    pub(super) fn new(now: Instant, reliable: bool) -> Self {
        let state = State::Proceeding { provisional: None, give_up_at: now + PROCEEDING_LIMIT };
        Self { reliable, state }
    }

    /// The same INVITE once more.
    pub(super) fn handle_repeat(&self) -> Step {
        match &self.state {
            State::Proceeding { provisional: Some(response), .. }
            | State::Completed { response, .. } => Step::Transmit(response.clone()),
            _ => Step::Nothing,
        }
    }

    /// A response of our own; one that no longer fits the state goes nowhere.
    pub(super) fn respond(&mut self, now: Instant, status: StatusCode, response: Bytes) -> Step {
        match &mut self.state {
            State::Proceeding { provisional, give_up_at } => {
                if status.is_provisional() {
                    *provisional = Some(response.clone());
                    *give_up_at = now + PROCEEDING_LIMIT;
                } else if status.is_success() {
                    self.state = State::Accepted { until: now + TRANSACTION_TIMEOUT };
                } else {
                    self.state = State::Completed {
                        response: response.clone(),
                        resend: (!self.reliable).then(|| (now + T1, T1)),
                        give_up_at: now + TRANSACTION_TIMEOUT,
                    };
                }
                Step::Transmit(response)
            }
            State::Accepted { .. } if status.is_success() => Step::Transmit(response),
            _ => Step::Nothing,
        }
    }

    /// An ACK with the branch of the INVITE. In Accepted it is one of a 2xx all the same, from a
    /// peer that drew no new branch for it, and is passed up.
    pub(super) fn handle_ack(&mut self, now: Instant) -> Step {
        match self.state {
            State::Completed { .. } => {
                self.state =
                    if self.reliable { State::Over } else { State::Confirmed { until: now + T4 } };
                Step::Nothing
            }
            State::Accepted { .. } => Step::PassUp,
            _ => Step::Nothing,
        }
    }

    /// In Accepted nothing is reported: the 2xx, and the call, may live on over another connection.
    pub(super) fn handle_transport_error(&mut self) -> Step {
        match self.state {
            State::Proceeding { .. } | State::Completed { .. } => {
                self.state = State::Over;
                Step::Failed(FailureCause::TransportError)
            }
            _ => Step::Nothing,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Step {
        match &mut self.state {
            State::Proceeding { give_up_at, .. } | State::Completed { give_up_at, .. }
                if now >= *give_up_at =>
            {
                self.state = State::Over;
                Step::Failed(FailureCause::Timeout)
            }
            State::Completed { response, resend: Some((at, gap)), .. } if now >= *at => {
                *gap = (*gap * 2).min(T2);
                *at = now + *gap;
                Step::Transmit(response.clone())
            }
            State::Confirmed { until } | State::Accepted { until } if now >= *until => {
                self.state = State::Over;
                Step::Nothing
            }
            _ => Step::Nothing,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Proceeding { give_up_at, .. } => Some(*give_up_at),
            State::Completed { resend: Some((at, _)), give_up_at, .. } => {
                Some(*(at.min(give_up_at)))
            }
            State::Completed { resend: None, give_up_at, .. } => Some(*give_up_at),
            State::Confirmed { until } | State::Accepted { until } => Some(*until),
            State::Over => None,
        }
    }

    /// May a CANCEL still change anything (RFC 3261 §9.2)?
    pub(super) fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    pub(super) fn is_accepted(&self) -> bool {
        matches!(self.state, State::Accepted { .. })
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> &'static str {
        match self.state {
            State::Proceeding { .. } => "Proceeding",
            State::Completed { .. } => "Completed",
            State::Confirmed { .. } => "Confirmed",
            State::Accepted { .. } => "Accepted",
            State::Over => "Over",
        }
    }
}
