//! The non-INVITE server transaction (RFC 3261 §17.2.2).

use std::time::Instant;

use bytes::Bytes;

use super::{FailureCause, Step, TRANSACTION_TIMEOUT};
use crate::sip::StatusCode;

/// ```text
/// request ─▶ Trying ── 1xx ─▶ Proceeding ── 200–699 ─▶ Completed ── J ─▶ over
///               └─────────── 200–699 ──────────────────────▲
/// ```
pub(super) struct Server {
    reliable: bool,
    state: State,
}

enum State {
    /// No response yet: repeated requests are discarded. With none after 64·T1 the client has given
    /// up, and a response would be of no use (RFC 4320 §4.1).
    Trying {
        give_up_at: Instant,
    },
    Proceeding {
        provisional: Bytes,
        give_up_at: Instant,
    },
    /// Until timer J.
    Completed {
        response: Bytes,
        until: Instant,
    },
    Over,
}

impl Server {
    pub(super) fn new(now: Instant, reliable: bool) -> Self {
        Self { reliable, state: State::Trying { give_up_at: now + TRANSACTION_TIMEOUT } }
    }

    /// The same request once more.
    pub(super) fn handle_repeat(&self) -> Step {
        match &self.state {
            State::Proceeding { provisional: response, .. } | State::Completed { response, .. } => {
                Step::Transmit(response.clone())
            }
            State::Trying { .. } | State::Over => Step::Nothing,
        }
    }

    /// A response of our own; any after a final one is discarded.
    pub(super) fn respond(&mut self, now: Instant, status: StatusCode, response: Bytes) -> Step {
        let (State::Trying { give_up_at } | State::Proceeding { give_up_at, .. }) = self.state
        else {
            return Step::Nothing;
        };
        self.state = if status.is_provisional() {
            State::Proceeding { provisional: response.clone(), give_up_at }
        } else if self.reliable {
            State::Over
        } else {
            State::Completed { response: response.clone(), until: now + TRANSACTION_TIMEOUT }
        };
        Step::Transmit(response)
    }

    /// A final response that was sent is not missed by anybody here, so only an unanswered request
    /// is reported.
    pub(super) fn handle_transport_error(&mut self) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Trying { .. } | State::Proceeding { .. } => {
                Step::Failed(FailureCause::TransportError)
            }
            State::Completed { .. } | State::Over => Step::Nothing,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Step {
        match self.state {
            State::Trying { give_up_at } | State::Proceeding { give_up_at, .. }
                if now >= give_up_at =>
            {
                self.state = State::Over;
                Step::Failed(FailureCause::Timeout)
            }
            State::Completed { until, .. } if now >= until => {
                self.state = State::Over;
                Step::Nothing
            }
            _ => Step::Nothing,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Trying { give_up_at } | State::Proceeding { give_up_at, .. } => Some(give_up_at),
            State::Completed { until, .. } => Some(until),
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
