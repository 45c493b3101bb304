//! Sound that goes one way only: noticed within two seconds, with what is known of why.
//!
//! That the caller is not heard shows in his packets. That he hears nothing shows in his carrier's
//! reports only, whenever they come: a receiver reports on every source that it hears
//! (RFC 3550 §6.4).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;

use super::{Event, Media, Sink};

/// How long nothing may come that should.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How many of the carrier's reports in a row must know nothing of what we send: one may have been
/// under way when we began.
const SILENT_REPORTS: u8 = 2;

/// Whose sound is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub enum OneWayKind {
    /// Nothing of the caller has come since the ACK, the end of a hold or a change of address.
    CallerNotHeard,
    /// The caller was heard, and then no more, without a hold.
    CallerStopped,
    /// The carrier's reports tell that nothing of ours reaches it.
    AgentNotHeard,
}

impl OneWayKind {
    /// A word for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::CallerNotHeard => "caller_not_heard",
            Self::CallerStopped => "caller_stopped",
            Self::AgentNotHeard => "agent_not_heard",
        }
    }
}

/// What a call knows when one side is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneWay {
    pub kind: OneWayKind,
    /// Where the carrier's packets come from, or should; ours go there.
    pub remote: SocketAddr,
    /// Packets that came and were refused, by why, and the address of the last.
    pub strangers: u64,
    pub bad_tags: u64,
    pub unusable: u64,
    pub refused_from: Option<SocketAddr>,
}

impl OneWay {
    /// A sentence for a person. `advertised`: where the carrier was told to send.
    pub fn explain(&self, advertised: SocketAddr) -> String {
        let Self { remote, .. } = self;
        match self.kind {
            OneWayKind::CallerNotHeard => format!(
                "no audio of the caller has come to {advertised}, as the SDP told the carrier; it was to come from \
                 {remote}; {}",
                self.what_came()
            ),
            OneWayKind::CallerStopped => format!(
                "the caller's audio from {remote} to {advertised} has stopped without a hold; {}",
                self.what_came()
            ),
            OneWayKind::AgentNotHeard => format!(
                "the carrier's reports know of nothing that we send from {advertised} to {remote}: is UDP to there open, \
                 and is that address its own?"
            ),
        }
    }

    fn what_came(&self) -> String {
        let from =
            self.refused_from.map_or_else(String::new, |from| format!(", the last from {from}"));
        match self {
            Self { bad_tags: 1.., .. } => {
                format!("{} packets had a wrong SRTP tag{from}: the keys differ", self.bad_tags)
            }
            Self { strangers: 1.., .. } => format!(
                "{} packets were refused{from}: neither that address, nor authentic, nor of spec.inbound.sources",
                self.strangers
            ),
            Self { unusable: 1.., .. } => {
                format!("{} packets were not of the codec that was agreed on", self.unusable)
            }
            _ => "nothing came: is UDP to there open, and is that address ours (MediaPool spec.exposure.address)?".into(),
        }
    }
}

/// Watches whether both sides are heard. Tells of each kind once a call.
#[derive(Default)]
pub(super) struct Watch {
    /// The caller should be heard: the call is up and nobody holds it.
    listens: bool,
    /// Since when he is not, although he should be.
    since: Option<Instant>,
    heard: bool,
    silent_reports: u8,
    told: [bool; 3],
}

impl Watch {
    /// The caller should be heard from now on.
    pub(super) fn listen(&mut self, now: Instant) {
        self.listens = true;
        self.since = Some(now);
        self.heard = false;
    }

    /// The caller is not to be heard, for one side holds.
    pub(super) fn stop_listening(&mut self) {
        self.listens = false;
        self.since = None;
    }

    pub(super) fn handle_sound(&mut self, now: Instant) {
        self.heard |= self.listens;
        self.since = self.listens.then_some(now);
    }

    /// The carrier says that nothing will come for a while (RFC 3389).
    pub(super) fn handle_pause(&mut self) {
        self.since = None;
    }

    /// A report of the carrier, which knows of our packets or does not, though it should.
    fn handle_report(&mut self, knows_us: bool) -> Option<OneWayKind> {
        self.silent_reports = if knows_us { 0 } else { self.silent_reports.saturating_add(1) };
        (self.silent_reports >= SILENT_REPORTS)
            .then_some(OneWayKind::AgentNotHeard)
            .filter(|kind| self.is_news(*kind))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.since.filter(|_| !self.told[self.missing() as usize]).map(|since| since + PATIENCE)
    }

    fn handle_timeout(&mut self, now: Instant) -> Option<OneWayKind> {
        self.poll_timeout().filter(|at| *at <= now)?;
        Some(self.missing()).filter(|kind| self.is_news(*kind))
    }

    fn missing(&self) -> OneWayKind {
        if self.heard { OneWayKind::CallerStopped } else { OneWayKind::CallerNotHeard }
    }

    fn is_news(&mut self, kind: OneWayKind) -> bool {
        !std::mem::replace(&mut self.told[kind as usize], true)
    }
}

impl Media {
    /// The call is up, or its direction or the carrier's address has changed.
    pub(super) fn listen_for_caller(&mut self, now: Instant) {
        if self.established && self.direction.receives() {
            self.watch.listen(now);
        } else {
            self.watch.stop_listening();
        }
    }

    /// Tells when the caller has not been heard for too long.
    pub(super) fn miss_caller(&mut self, now: Instant, sink: &mut impl Sink) {
        if let Some(kind) = self.watch.handle_timeout(now) {
            self.tell_one_way(kind, sink);
        }
    }

    /// The carrier has reported. What it has not heard yet may be under way.
    pub(super) fn hear_of_us(&mut self, knows_us: bool, sink: &mut impl Sink) {
        let sent_for = self.frame * u32::try_from(self.sent.packets()).unwrap_or(u32::MAX);
        if (knows_us || sent_for >= PATIENCE)
            && let Some(kind) = self.watch.handle_report(knows_us)
        {
            self.tell_one_way(kind, sink);
        }
    }

    fn tell_one_way(&self, kind: OneWayKind, sink: &mut impl Sink) {
        sink.event(Event::OneWay(OneWay {
            kind,
            remote: self.rtp.target(),
            strangers: self.tally.strangers,
            bad_tags: self.tally.bad_tags,
            unusable: self.tally.unusable,
            refused_from: self.refused_from,
        }));
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn who_is_never_heard_is_missed_after_two_seconds_and_once() {
        let (start, mut watch) = (Instant::now(), Watch::default());
        assert_eq!(watch.poll_timeout(), None);
        watch.listen(start);
        assert_eq!(watch.handle_timeout(start + ms(1999)), None);
        assert_eq!(watch.poll_timeout(), Some(start + PATIENCE));
        assert_eq!(watch.handle_timeout(start + PATIENCE), Some(OneWayKind::CallerNotHeard));
        assert_eq!(watch.poll_timeout(), None);
        watch.listen(start + ms(5000));
        assert_eq!((watch.poll_timeout(), watch.handle_timeout(start + ms(9000))), (None, None));
    }

    #[test]
    fn who_stops_is_missed_unless_somebody_holds_or_the_carrier_said_so() {
        let (start, mut watch) = (Instant::now(), Watch::default());
        watch.handle_sound(start);
        assert_eq!(watch.poll_timeout(), None, "not up yet");
        watch.listen(start);
        watch.handle_sound(start + ms(100));
        watch.handle_pause();
        assert_eq!(watch.poll_timeout(), None);
        watch.handle_sound(start + ms(9000));
        watch.stop_listening();
        assert_eq!(watch.poll_timeout(), None);
        watch.listen(start + ms(9100));
        watch.handle_sound(start + ms(9200));
        assert_eq!(watch.handle_timeout(start + ms(11_200)), Some(OneWayKind::CallerStopped));
    }

    #[test]
    fn one_report_without_us_says_nothing_and_two_in_a_row_do() {
        let mut watch = Watch::default();
        let told: Vec<_> = [false, true, false, false, false, true, false, false]
            .into_iter()
            .map(|knows_us| watch.handle_report(knows_us).is_some())
            .collect();
        assert_eq!(told, [false, false, false, true, false, false, false, false]);
    }
}
