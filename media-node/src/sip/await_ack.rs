//! The answer to an INVITE, repeated until its ACK arrives.
//!
//! A 2xx ends the server transaction (RFC 6026 keeps it only to absorb repeated INVITEs), so its
//! delivery is the business of whoever accepted the call.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::sip::transaction::{T1, T2};

/// How long a 2xx may go without its ACK: 64·T1 (RFC 3261 §13.3.1.4).
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(32);

/// Repeats the 200 to an INVITE until its ACK arrives (RFC 3261 §13.3.1.4).
///
/// The gap starts at T1 and doubles up to T2, over TCP and TLS too: the hop we see may be reliable
/// while a later one is not. With no ACK after 64·T1 it yields [`Output::GaveUp`], and the caller
/// ends the dialog with a BYE.
pub struct AwaitAck {
    ok: Bytes,
    state: State,
    out: VecDeque<Output>,
}

enum State {
    Waiting { resend_at: Instant, gap: Duration, give_up_at: Instant },
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send the same 2xx again, on the flow that carried it first.
    Transmit(Bytes),
    AckReceived,
    GaveUp,
}

impl AwaitAck {
    /// `ok` is the written 2xx, which the caller sends for the first time at `now`.
    pub fn new(now: Instant, ok: Bytes) -> Self {
        let state =
            State::Waiting { resend_at: now + T1, gap: T1, give_up_at: now + GIVE_UP_AFTER };
        Self { ok, state, out: VecDeque::new() }
    }

    /// The ACK of this dialog with the CSeq number of the INVITE. Repeated ones say nothing new.
    pub fn handle_ack(&mut self) {
        if let State::Waiting { .. } = self.state {
            self.finish(Output::AckReceived);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let State::Waiting { resend_at, gap, give_up_at } = &mut self.state else { return };
        if now >= *give_up_at {
            self.finish(Output::GaveUp);
        } else if now >= *resend_at {
            *gap = (*gap * 2).min(T2);
            *resend_at = now + *gap;
            self.out.push_back(Output::Transmit(self.ok.clone()));
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// `None` when only input can move the machine.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { resend_at, give_up_at, .. } => Some(resend_at.min(give_up_at)),
            State::Done => None,
        }
    }

    fn finish(&mut self, output: Output) {
        self.state = State::Done;
        self.ok = Bytes::new();
        self.out.push_back(output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
    fn start() -> Instant {
        Instant::now()
    }

    fn drain(machine: &mut AwaitAck) -> Vec<Output> {
        std::iter::from_fn(|| machine.poll_output()).collect()
    }

    fn ok() -> Bytes {
        Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n")
    }

    #[test]
    fn without_an_ack_the_200_is_repeated_at_doubling_gaps_and_given_up_after_64_t1() {
        let start = start();
        let mut machine = AwaitAck::new(start, ok());
        let (mut sent_ms, mut gave_up_ms) = (Vec::new(), None);

        while let Some(at) = machine.poll_timeout() {
            machine.handle_timeout(at);
            assert!(machine.poll_timeout().is_none_or(|next| next > at));
            for output in drain(&mut machine) {
                let ms = (at - start).as_millis();
                match output {
                    Output::Transmit(bytes) => {
                        assert_eq!(bytes, ok());
                        sent_ms.push(ms);
                    }
                    Output::GaveUp => gave_up_ms = Some(ms),
                    Output::AckReceived => panic!("nobody acknowledged"),
                }
            }
        }

        assert_eq!(sent_ms, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert_eq!(gave_up_ms, Some(32_000));
    }

    #[test]
    fn an_ack_ends_the_repetition_and_is_reported_once() {
        let start = start();
        let mut machine = AwaitAck::new(start, ok());
        machine.handle_timeout(start + T1);
        assert_eq!(drain(&mut machine), [Output::Transmit(ok())]);

        machine.handle_ack();
        machine.handle_ack();

        assert_eq!(drain(&mut machine), [Output::AckReceived]);
        assert_eq!(machine.poll_timeout(), None);
        machine.handle_timeout(start + GIVE_UP_AFTER);
        assert_eq!(drain(&mut machine), []);
    }

    #[test]
    fn an_ack_after_giving_up_says_nothing() {
        let start = start();
        let mut machine = AwaitAck::new(start, ok());
        machine.handle_timeout(start + GIVE_UP_AFTER);
        machine.handle_ack();
        assert_eq!(drain(&mut machine), [Output::GaveUp]);
    }

    #[test]
    fn a_clock_that_wakes_late_sends_one_copy_and_keeps_the_next_deadline_ahead() {
        let start = start();
        let mut machine = AwaitAck::new(start, ok());
        let late = start + Duration::from_secs(10);
        machine.handle_timeout(late);
        assert_eq!(drain(&mut machine), [Output::Transmit(ok())]);
        assert!(machine.poll_timeout().is_some_and(|next| next > late));
    }
}
