//! Twilio Media Streams, bidirectional: JSON text both ways, µ-law at 8 kHz in base64.
//!
//! We play the part of Twilio: `connected`, `start`, then `media`, `dtmf` and `mark` as they come,
//! `stop` at the end; the agent says `media`, `mark` and `clear`. What is written twenty thousand
//! times a second is put together from pieces, without a serialiser.

#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use sha1::{Digest as _, Sha1};

use super::{BASE64, Counters, Incoming, Payload, StartInfo};

/// 20 ms at 8 kHz, what agents are used to.
pub(super) const FRAME_SAMPLES: usize = 160;

/// "Each name and value together less than 500 characters".
pub(super) const PARAMETER_LIMIT_CHARS: usize = 499;

pub(super) const SIGNATURE_HEADER: &str = "X-Twilio-Signature";

/// What the agent checks to know that the call is from someone who has its token: HMAC-SHA1 of the
/// exact URL dialled, in base64.
pub fn signature(token: &str, url: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(token.as_bytes()) else {
        return String::new(); // HMAC takes keys of any length
    };
    mac.update(url.as_bytes());
    BASE64.encode(mac.finalize().into_bytes())
}

/// A Twilio identifier: two letters for the kind, 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sid([u8; 34]);

impl Sid {
    /// Always the same for one kind and name, and not to be guessed back.
    fn of(kind: &str, name: &str) -> Self {
        let hash = Sha1::new().chain_update(kind).chain_update(":").chain_update(name).finalize();
        let hex = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|nibble| match nibble {
            0..=9 => b'0' + nibble,
            _ => b'a' + nibble - 10,
        });
        let mut sid = [0; 34];
        sid.iter_mut().zip(kind.bytes().chain(hex)).for_each(|(to, from)| *to = from);
        Self(sid)
    }
}

impl AsRef<[u8]> for Sid {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// One call's side of the conversation.
pub struct Stream {
    stream_sid: Sid,
    call_sid: Sid,
    account_sid: Sid,
    opening: Opening,
    /// Of the last message written; `connected` has none.
    sequence: u64,
    /// Of the last `media` written.
    chunk: u64,
    out: Vec<u8>,
    pub(super) counters: Counters,
}

enum Opening {
    Connected { parameters: Vec<(String, String)> },
    Start { parameters: Vec<(String, String)> },
    Done,
}

impl Stream {
    pub(super) fn new(start: &StartInfo) -> Self {
        Self {
            stream_sid: Sid::of("MZ", &start.call_id),
            call_sid: Sid::of("CA", &start.call_id),
            account_sid: Sid::of("AC", &start.account),
            opening: Opening::Connected { parameters: start.parameters.clone() },
            sequence: 0,
            chunk: 0,
            out: Vec::with_capacity(512),
            counters: Counters::default(),
        }
    }

    pub(super) fn opening(&mut self) -> Option<&[u8]> {
        match std::mem::replace(&mut self.opening, Opening::Done) {
            Opening::Connected { parameters } => {
                self.opening = Opening::Start { parameters };
                self.out.clear();
                self.put(br#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#);
            }
            Opening::Start { parameters } => self.start(&parameters),
            Opening::Done => return None,
        }
        Some(&self.out)
    }

    fn start(&mut self, parameters: &[(String, String)]) {
        self.begin(br#"{"event":"start","sequenceNumber":""#);
        self.put(br#"","streamSid":""#);
        self.put(self.stream_sid);
        self.put(br#"","start":{"streamSid":""#);
        self.put(self.stream_sid);
        self.put(br#"","accountSid":""#);
        self.put(self.account_sid);
        self.put(br#"","callSid":""#);
        self.put(self.call_sid);
        self.put(br#"","tracks":["inbound"],"customParameters":{"#);
        let mut written: Vec<&str> = Vec::with_capacity(parameters.len());
        for (name, _) in parameters {
            if written.contains(&name.as_str()) {
                continue;
            }
            if !written.is_empty() {
                self.put(b",");
            }
            written.push(name);
            self.put_string(name);
            self.put(b":");
            let last = parameters.iter().rev().find(|(other, _)| other == name);
            self.put_string(last.map_or("", |(_, value)| value));
        }
        self.put(
            br#"},"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}}}"#,
        );
    }

    pub(super) fn media(&mut self, since_start: Duration, frame: &[u8]) -> &[u8] {
        self.chunk += 1;
        self.begin(br#"{"event":"media","sequenceNumber":""#);
        self.put(br#"","streamSid":""#);
        self.put(self.stream_sid);
        self.put(br#"","media":{"track":"inbound","chunk":""#);
        self.put_number(self.chunk);
        self.put(br#"","timestamp":""#);
        self.put_number(u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX));
        self.put(br#"","payload":""#);
        self.put_base64(frame);
        self.put(br#""}}"#);
        &self.out
    }

    pub(super) fn digit(&mut self, digit: char) -> &[u8] {
        self.sequence += 1;
        self.out.clear();
        self.put(br#"{"event":"dtmf","streamSid":""#);
        self.put(self.stream_sid);
        self.put(br#"","sequenceNumber":""#);
        self.put_number(self.sequence);
        self.put(br#"","dtmf":{"track":"inbound_track","digit":"#);
        self.put_string(digit.encode_utf8(&mut [0; 4]));
        self.put(b"}}");
        &self.out
    }

    pub(super) fn mark(&mut self, name: &str) -> &[u8] {
        self.begin(br#"{"event":"mark","sequenceNumber":""#);
        self.put(br#"","streamSid":""#);
        self.put(self.stream_sid);
        self.put(br#"","mark":{"name":"#);
        self.put_string(name);
        self.put(b"}}");
        &self.out
    }

    pub(super) fn stop(&mut self) -> &[u8] {
        self.begin(br#"{"event":"stop","sequenceNumber":""#);
        self.put(br#"","streamSid":""#);
        self.put(self.stream_sid);
        self.put(br#"","stop":{"accountSid":""#);
        self.put(self.account_sid);
        self.put(br#"","callSid":""#);
        self.put(self.call_sid);
        self.put(br#""}}"#);
        &self.out
    }

    /// Starts a message with `head` and its sequence number.
    fn begin(&mut self, head: &[u8]) {
        self.sequence += 1;
        self.out.clear();
        self.put(head);
        self.put_number(self.sequence);
    }

    fn put(&mut self, bytes: impl AsRef<[u8]>) {
        self.out.extend_from_slice(bytes.as_ref());
    }

    fn put_number(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut start = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            start -= 1;
            if number == 0 {
                break;
            }
        }
        self.out.extend(digits.iter().skip(start));
    }

    /// With quotes, and escaped as JSON asks.
    fn put_string(&mut self, text: &str) {
        // Writing a string to memory cannot fail.
        let _ = serde_json::to_writer(&mut self.out, text);
    }

    fn put_base64(&mut self, bytes: &[u8]) {
        let from = self.out.len();
        self.out.resize(from + bytes.len().div_ceil(3) * 4, 0);
        let room = self.out.get_mut(from..).unwrap_or_default();
        let len = BASE64.encode_slice(bytes, room).unwrap_or(0);
        self.out.truncate(from + len);
    }

    pub(super) fn parse<'a>(&mut self, message: &'a [u8]) -> Incoming<'a> {
        let Ok(message) = serde_json::from_slice::<Message<'a>>(message) else {
            self.counters.malformed += 1;
            return Incoming::Ignored;
        };
        let incoming = match (&*message.event.0, message.media, message.mark) {
            ("media", Some(media), _) => Incoming::Audio(Payload { base64: media.payload.0 }),
            ("mark", _, Some(mark)) => Incoming::Mark(mark.name.0),
            ("clear", ..) => Incoming::Clear,
            ("media" | "mark" | "", ..) => {
                self.counters.malformed += 1;
                return Incoming::Ignored;
            }
            _ => {
                self.counters.unknown += 1;
                return Incoming::Ignored;
            }
        };
        let stream_sid = message.stream_sid.0.as_bytes();
        if !stream_sid.is_empty() && stream_sid != self.stream_sid.as_ref() {
            self.counters.foreign += 1;
        }
        incoming
    }
}

#[derive(serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    event: Text<'a>,
    #[serde(borrow, default, rename = "streamSid")]
    stream_sid: Text<'a>,
    #[serde(borrow, default)]
    media: Option<Media<'a>>,
    #[serde(borrow, default)]
    mark: Option<Mark<'a>>,
}

#[derive(serde::Deserialize)]
struct Media<'a> {
    #[serde(borrow)]
    payload: Text<'a>,
}

#[derive(serde::Deserialize)]
struct Mark<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

/// A string borrowed from the message unless it was escaped; `null` reads as empty.
#[derive(Default)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed("")))
            }
        }

        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::panic, reason = "a test may")]
#[path = "twilio_tests.rs"]
mod tests;
