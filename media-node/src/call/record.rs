//! A call as the world outside sees it: in `/v1/calls`, in the log line that ends it, in a webhook.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::hmac;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::cause::EndedBy;
use super::media::{OneWayKind, Report};
use super::session::Session;
use crate::config::{NumberPolicy, RecordPolicy};

/// A call, live or ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallView {
    pub id: String,
    pub direction: CallDirection,
    pub state: CallState,
    pub trunk: String,
    pub agent: String,
    /// The caller's number, as `MediaPool.spec.records.numbers` wants it shown.
    pub from: String,
    /// The called number, likewise.
    pub to: String,
    pub sip_call_id: String,
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub answered_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// Pressed keys; only where `MediaPool.spec.records.digits` is `Keep`, and once the call has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digits: Option<DigitsView>,
    pub media: MediaView,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub enum CallDirection {
    Inbound,
    Outbound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub enum CallState {
    Trying,
    Ringing,
    Active,
    Ended,
}

/// Who ended the call, and why.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct End {
    pub by: EndedBy,
    /// A word from a fixed set.
    pub cause: &'static str,
    /// The same as a sentence.
    pub reason: String,
    /// The final response to the INVITE.
    pub sip_status: u16,
}

/// What was agreed on, and once the call has ended what its media measured.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MediaView {
    pub codec: String,
    /// The SRTP suite; absent for plain RTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    pub packet_time_milliseconds: u8,
    /// Where the carrier was told to send the caller's audio.
    #[schema(value_type = String)]
    pub local_address: SocketAddr,
    /// Where the carrier said that it sends and receives.
    #[schema(value_type = String)]
    pub remote_address: SocketAddr,
    /// When one side was not heard, and what is known of why. At most one of each kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub one_way_audio: Vec<OneWayView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub report: Option<Report>,
}

/// One side was not heard for two seconds, or the carrier's reports said so.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OneWayView {
    pub kind: OneWayKind,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What was advertised, what came, and what to look at, as a sentence.
    pub reason: String,
}

/// The first 256 keys that either side pressed.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DigitsView {
    /// By the caller.
    pub received: String,
    /// By us.
    pub sent: String,
}

/// How numbers are shown, whether keys are, and the secret that hashes are made under.
pub struct Masking {
    policy: RecordPolicy,
    salt: hmac::Key,
}

impl Masking {
    /// `salt` is this process's own, so hashes join the calls of one caller within a process and
    /// cannot be turned back by trying all numbers.
    pub fn new(policy: RecordPolicy, salt: Vec<u8>) -> Self {
        Self { policy, salt: hmac::Key::new(hmac::HMAC_SHA256, &salt) }
    }

    pub fn set_policy(&mut self, policy: RecordPolicy) {
        self.policy = policy;
    }

    /// Whether pressed keys may stand in records.
    pub fn keeps_digits(&self) -> bool {
        self.policy.keep_digits
    }

    pub fn show(&self, number: &str) -> String {
        match self.policy.numbers {
            NumberPolicy::Full => number.to_owned(),
            NumberPolicy::Masked => masked(number),
            NumberPolicy::Hashed => {
                let tag = hmac::sign(&self.salt, number.as_bytes());
                tag.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
            }
        }
    }
}

impl fmt::Debug for Masking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masking({:?})", self.policy)
    }
}

/// `+442079460123` becomes `+44*******23`: enough to tell calls apart, not to call back. What is
/// shorter than seven characters is hidden but for its last.
fn masked(number: &str) -> String {
    let len = number.chars().count();
    let (head, tail) = if len < 7 { (0, 1) } else { (3, 2) };
    number
        .chars()
        .enumerate()
        .map(|(at, c)| if at < head || at + tail >= len { c } else { '*' })
        .collect()
}

impl Session {
    pub(super) fn view(&self, masking: &Masking, epoch: (Instant, SystemTime)) -> CallView {
        let wall = |at: Instant| timestamp(epoch, at);
        let local_address = SocketAddr::new(self.local.address, self.local.rtp_port);
        let state = match () {
            () if self.ended_at.is_some() => CallState::Ended,
            () if self.answered_at.is_some() => CallState::Active,
            () => CallState::Ringing,
        };
        CallView {
            id: self.id.clone(),
            direction: CallDirection::Inbound,
            state,
            trunk: self.trunk.name.clone(),
            agent: self.agent.name.clone(),
            from: masking.show(&self.from),
            to: masking.show(&self.to),
            sip_call_id: self.sip_call_id.clone(),
            started_at: wall(self.started_at),
            answered_at: self.answered_at.map(wall),
            ended_at: self.ended_at.map(wall),
            end: self.cause.as_ref().map(|cause| End {
                by: cause.by(),
                cause: cause.label(),
                reason: cause.text(),
                sip_status: if self.answered_at.is_some() { 200 } else { cause.status() },
            }),
            digits: (masking.keeps_digits() && self.is_over()).then(|| DigitsView {
                received: self.digits.received.clone(),
                sent: self.digits.sent.clone(),
            }),
            media: MediaView {
                codec: self.agreed.codec.encoding_name().to_owned(),
                encryption: self
                    .agreed
                    .crypto
                    .as_ref()
                    .map(|crypto| crypto.local.suite().name().to_owned()),
                packet_time_milliseconds: self.agreed.packet_time_ms,
                local_address,
                remote_address: self.agreed.remote_rtp,
                one_way_audio: self
                    .one_way
                    .iter()
                    .map(|(at, one_way)| OneWayView {
                        kind: one_way.kind,
                        at: wall(*at),
                        reason: one_way.explain(local_address),
                    })
                    .collect(),
                report: self.is_over().then_some(self.report),
            },
        }
    }
}

/// A moment of the process's clock as wall time.
pub(super) fn timestamp(epoch: (Instant, SystemTime), at: Instant) -> Timestamp {
    let wall = match at.checked_duration_since(epoch.0) {
        Some(since) => epoch.1 + since,
        None => epoch.1.checked_sub(epoch.0 - at).unwrap_or(epoch.1),
    };
    let since: Duration = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Milliseconds are as much as a reader can use.
    Timestamp::from_millisecond(since.as_millis() as i64).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_numbers_keep_the_country_and_the_last_two() {
        assert_eq!(masked("+442079460123"), "+44********23");
        assert_eq!(masked("1000"), "***0");
        assert_eq!(masked("anonymous"), "ano****us");
        assert_eq!(masked(""), "");
    }

    #[test]
    fn hashed_numbers_join_calls_and_do_not_show_the_number() {
        let policy = RecordPolicy { numbers: NumberPolicy::Hashed, keep_digits: false };
        let masking = Masking::new(policy, vec![1; 32]);
        let shown = masking.show("+442079460123");
        assert_eq!(shown, masking.show("+442079460123"));
        assert_ne!(shown, masking.show("+442079460124"));
        assert_eq!(shown.len(), 16);
        assert!(!shown.contains("0123"));
    }
}
