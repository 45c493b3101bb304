//! The keys of a call as signalling sees them: INFO both ways, what is asked of the media, and what
//! the record keeps.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Context, Session};
use crate::call::info;
use crate::call::media::Command;
use crate::config::Dtmf;
use crate::media::{Digit, Digits, Step};
use crate::sip::transaction::TransactionId;
use crate::sip::{HeaderName, Method, Request, Response, StatusCode};

/// How many strings may wait to be sent.
const STRINGS: usize = 8;
/// How many keys a caller may send by INFO in a second. Nobody presses more, and room for commands is
/// shared with all other calls.
const INFO_A_SECOND: u32 = 12;
/// How many keys of each side a record keeps.
const KEPT: usize = 256;

/// Why keys cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    #[error("no such call; ended calls are shown for ten minutes")]
    NoSuchCall,
    #[error("the call is not active: keys can be sent once it was answered")]
    NotActive,
    #[error(
        "the carrier did not agree to telephone-event (RFC 4733), and the trunk's spec.media.dtmf \
         insists on it: write Auto"
    )]
    NoWay,
    #[error("what was asked for before is still being sent; try again when it is done")]
    Busy,
}

/// How keys leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Events,
    Tones,
    Info,
}

/// See the module.
#[derive(Default)]
pub(in crate::call) struct SessionDigits {
    /// Only what a record may keep is ever here.
    pub(in crate::call) received: String,
    pub(in crate::call) sent: String,
    /// Given to the media, which has not told yet that it is done.
    asked: VecDeque<Digits>,
    /// To be sent by INFO, and how far the first is.
    waiting: VecDeque<Digits>,
    step: usize,
    state: InfoState,
    /// The carrier refused an INFO with a key.
    refused: bool,
    /// A later offer of the carrier had no events any more.
    without_events: bool,
    /// INFO with keys that came in the second that began then.
    came: Option<(Instant, u32)>,
}

#[derive(Default)]
enum InfoState {
    #[default]
    Idle,
    /// A key was sent; the next may follow when it was answered, and not before it would be over.
    Sent {
        transaction: TransactionId,
        over_at: Instant,
    },
    Resting {
        until: Instant,
    },
}

impl Session {
    /// A request with something to say that is no matter of the dialog (RFC 6086).
    pub(super) fn handle_info(
        &mut self,
        cx: &mut Context<'_>,
        id: TransactionId,
        request: &Request,
    ) {
        if self.is_ending() {
            return self.respond(cx, id, request, StatusCode::CALL_DOES_NOT_EXIST, None);
        }
        // A package that was never agreed on (RFC 6086 §4.2.2): we take none.
        if let Some(name) = HeaderName::new("Info-Package")
            && request.headers.contains(&name)
        {
            let mut response = self.response(request, StatusCode::BAD_INFO_PACKAGE, None);
            if let Some(name) = HeaderName::new("Recv-Info") {
                response.headers.push(name, "nil");
            }
            return cx.transactions.respond(cx.now, id, response);
        }
        if request.body.is_empty() {
            return self.respond(cx, id, request, StatusCode::OK, None);
        }
        if !matches!(request.headers.content_type(), Ok(Some(kind)) if info::is_key(&kind)) {
            let mut response = self.response(request, StatusCode::UNSUPPORTED_MEDIA_TYPE, None);
            response.headers.push(HeaderName::Accept, info::ACCEPT);
            return cx.transactions.respond(cx.now, id, response);
        }
        let signal = match info::parse(&request.body) {
            Ok(signal) => signal,
            Err(unreadable) => {
                let reason = format!("Bad Request ({unreadable})");
                return self.respond(cx, id, request, StatusCode::BAD_REQUEST, Some(&reason));
            }
        };
        // A trunk that insists on another way wants each key once, and its carrier no error.
        if let info::Signal::Key(digit) = signal
            && matches!(self.trunk.dtmf, Dtmf::Auto | Dtmf::Info)
        {
            if !self.digits.may_come(cx.now) {
                let mut response = self.response(request, StatusCode::SERVICE_UNAVAILABLE, None);
                response.headers.push(HeaderName::RetryAfter, "1");
                return cx.transactions.respond(cx.now, id, response);
            }
            self.command(cx, Command::Digit(digit));
        }
        self.respond(cx, id, request, StatusCode::OK, None);
    }

    /// The caller pressed a key.
    pub(super) fn handle_digit(&mut self, cx: &Context<'_>, digit: Digit) {
        keep(&mut self.digits.received, cx, digit);
    }

    /// Presses keys, after those that were asked for before.
    pub(in crate::call) fn send_digits(
        &mut self,
        cx: &mut Context<'_>,
        digits: Digits,
    ) -> Result<(), Unsendable> {
        if !self.is_active() {
            return Err(Unsendable::NotActive);
        }
        if self.digits.asked.len() + self.digits.waiting.len() >= STRINGS {
            return Err(Unsendable::Busy);
        }
        match self.way().ok_or(Unsendable::NoWay)? {
            Way::Events => self.ask(cx, digits, false),
            Way::Tones => self.ask(cx, digits, true),
            Way::Info => {
                self.digits.waiting.push_back(digits);
                self.send_info(cx);
            }
        }
        Ok(())
    }

    fn way(&self) -> Option<Way> {
        let events = self.agreed.telephone_event.is_some() && !self.digits.without_events;
        match self.trunk.dtmf {
            Dtmf::Auto if events => Some(Way::Events),
            Dtmf::Auto if self.carrier_takes_info() && !self.digits.refused => Some(Way::Info),
            Dtmf::Auto | Dtmf::InBand => Some(Way::Tones),
            Dtmf::Info => Some(Way::Info),
            Dtmf::Rfc4733 => events.then_some(Way::Events),
        }
    }

    fn carrier_takes_info(&self) -> bool {
        let allowed = self.request.headers.tokens(&HeaderName::Allow).unwrap_or_default();
        allowed.contains(&Method::Info.as_str())
    }

    fn ask(&mut self, cx: &mut Context<'_>, digits: Digits, as_tones: bool) {
        self.digits.asked.push_back(digits.clone());
        self.command(cx, Command::SendDigits { digits, as_tones });
    }

    /// The media has sent the oldest string that it was asked for.
    pub(super) fn handle_digits_sent(&mut self, cx: &Context<'_>) {
        let Some(digits) = self.digits.asked.pop_front() else { return };
        digits.keys().for_each(|digit| keep(&mut self.digits.sent, cx, digit));
    }

    /// Another media begins: the last one's strings are gone with it.
    pub(super) fn forget_asked_digits(&mut self) {
        self.digits.asked.clear();
    }

    /// The next key by INFO, when it has its turn.
    fn send_info(&mut self, cx: &mut Context<'_>) {
        while matches!(self.digits.state, InfoState::Idle) {
            let Some(digits) = self.digits.waiting.front() else { return };
            let timing = digits.timing;
            match digits.steps().get(self.digits.step).copied() {
                None => {
                    self.digits.waiting.pop_front();
                    self.digits.step = 0;
                }
                Some(Step::Pause(span)) => {
                    self.digits.step += 1;
                    self.digits.state = InfoState::Resting { until: cx.now + span };
                }
                Some(Step::Key(digit)) => {
                    let mut request = self.dialog.request(Method::Info);
                    request.headers.push(HeaderName::ContentType, info::CONTENT_TYPE);
                    request.body = info::write(digit, timing.tone()).into();
                    let transaction = self.send_in_dialog(cx, request);
                    let over_at = cx.now + timing.tone() + timing.gap();
                    self.digits.state = InfoState::Sent { transaction, over_at };
                }
            }
        }
    }

    /// Whether a request of ours with this transaction waits for its answer.
    pub(in crate::call) fn awaits(&self, id: TransactionId) -> bool {
        matches!(self.digits.state, InfoState::Sent { transaction, .. } if transaction == id)
    }

    /// The answer to an INFO of ours; `None` when there will be none.
    pub(in crate::call) fn handle_info_answer(
        &mut self,
        cx: &mut Context<'_>,
        response: Option<&Response>,
    ) {
        let InfoState::Sent { over_at, .. } = self.digits.state else { return };
        let status = response.map(|response| response.status);
        if status.is_some_and(StatusCode::is_provisional) {
            return;
        }
        self.digits.state = InfoState::Idle;
        if self.is_ending() {
            return;
        }
        if status.is_some_and(StatusCode::is_success) {
            if let Some(Step::Key(digit)) =
                self.digits.waiting.front().and_then(|it| it.steps().get(self.digits.step))
            {
                keep(&mut self.digits.sent, cx, *digit);
                self.report.digits_sent += 1;
            }
            self.digits.step += 1;
            self.digits.state = InfoState::Resting { until: over_at.max(cx.now) };
            return self.settle_info(cx);
        }
        // Without its first key a number is another number: what is left is not sent by this way,
        // and by another only when this one was refused.
        self.digits.refused = true;
        let waiting = std::mem::take(&mut self.digits.waiting);
        let step = std::mem::take(&mut self.digits.step);
        if response.is_some() && self.way() == Some(Way::Tones) {
            for (index, digits) in waiting.into_iter().enumerate() {
                if let Some(left) = digits.from_step(if index == 0 { step } else { 0 }) {
                    self.ask(cx, left, true);
                }
            }
        }
    }

    pub(super) fn info_timeout(&self) -> Option<Instant> {
        match self.digits.state {
            InfoState::Resting { until } if !self.is_ending() => Some(until),
            _ => None,
        }
    }

    /// The pause behind a key is over.
    pub(super) fn settle_info(&mut self, cx: &mut Context<'_>) {
        if self.info_timeout().is_some_and(|until| until <= cx.now) {
            self.digits.state = InfoState::Idle;
            self.send_info(cx);
        }
    }
}

impl SessionDigits {
    /// The carrier made a new offer, with events or without.
    pub(super) fn handle_reoffer(&mut self, takes_events: bool) {
        self.without_events = !takes_events;
    }

    fn may_come(&mut self, now: Instant) -> bool {
        let same = self
            .came
            .filter(|(since, _)| now.saturating_duration_since(*since) < Duration::from_secs(1));
        let (since, count) = same.unwrap_or((now, 0));
        self.came = Some((since, count + 1));
        count < INFO_A_SECOND
    }
}

/// Writes a key down where the pool's records keep keys.
fn keep(kept: &mut String, cx: &Context<'_>, digit: Digit) {
    if cx.masking.keeps_digits() && kept.len() < KEPT {
        kept.push(digit.as_char());
    }
}
