//! The languages that agents speak over a WebSocket.
//!
//! A [`Stream`] is one call's side of such a conversation, without the connection: it writes the
//! messages that tell the agent what the caller says and does, and reads what the agent answers.
//! What differs between languages (framing, encoding, what can be said at all) stays in here; the
//! call only knows audio, keys, marks and `clear`.

#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

pub mod twilio;

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::audio::format::Format;

/// Which language an agent speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    TwilioMediaStreams,
}

/// What an agent is told of its call before the first sound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartInfo {
    /// The call's own id; stream and call identifiers of a dialect are derived from it.
    pub call_id: String,
    /// Whose call it is, as `namespace` or `namespace/agent`: account identifiers of a dialect are
    /// derived from it, so that they are the same for all calls of one owner.
    pub account: String,
    /// In the order in which they are written; of two with one name the later value counts, at
    /// the place of the first.
    pub parameters: Vec<(String, String)>,
}

impl Dialect {
    /// The HTTP headers, by name and value, that prove to the agent who is dialling `url`. `url` is
    /// exactly what is dialled, scheme and query included. The values are secrets.
    pub fn handshake_headers(self, url: &str, token: Option<&str>) -> Vec<(&'static str, String)> {
        match self {
            Self::TwilioMediaStreams => token
                .map(|token| (twilio::SIGNATURE_HEADER, twilio::signature(token, url)))
                .into_iter()
                .collect(),
        }
    }

    /// The longest name and value, together in characters, that agents of this dialect are used
    /// to. Longer parameters are sent all the same; who configured them deserves a warning.
    pub fn parameter_limit_chars(self) -> Option<usize> {
        match self {
            Self::TwilioMediaStreams => Some(twilio::PARAMETER_LIMIT_CHARS),
        }
    }
}

/// One call's side of the conversation with its agent.
///
/// Writing borrows from one buffer that is kept, so each message must be sent before the next is
/// written, and nothing is allocated once the longest message was written.
pub enum Stream {
    Twilio(twilio::Stream),
}

impl Stream {
    pub fn new(dialect: Dialect, start: &StartInfo) -> Self {
        match dialect {
            Dialect::TwilioMediaStreams => Self::Twilio(twilio::Stream::new(start)),
        }
    }

    /// How the agent's audio is written, both ways.
    pub fn format(&self) -> Format {
        match self {
            Self::Twilio(_) => Format::PCMU,
        }
    }

    /// How much audio a message to the agent carries, in samples of its format.
    pub fn frame_samples(&self) -> usize {
        match self {
            Self::Twilio(_) => twilio::FRAME_SAMPLES,
        }
    }

    /// The next message of the opening; `None` when everything was said and audio may follow.
    pub fn opening(&mut self) -> Option<&[u8]> {
        match self {
            Self::Twilio(stream) => stream.opening(),
        }
    }

    /// One frame of the caller's audio that begins `since_start` after the stream did.
    pub fn media(&mut self, since_start: Duration, frame: &[u8]) -> &[u8] {
        match self {
            Self::Twilio(stream) => stream.media(since_start, frame),
        }
    }

    /// The caller pressed a key; `None` when the dialect has no word for it.
    pub fn digit(&mut self, digit: char) -> Option<&[u8]> {
        match self {
            Self::Twilio(stream) => Some(stream.digit(digit)),
        }
    }

    /// Everything before the agent's mark was played.
    pub fn mark(&mut self, name: &str) -> Option<&[u8]> {
        match self {
            Self::Twilio(stream) => Some(stream.mark(name)),
        }
    }

    /// The call is over; the connection is closed after this.
    pub fn stop(&mut self) -> Option<&[u8]> {
        match self {
            Self::Twilio(stream) => Some(stream.stop()),
        }
    }

    /// Reads a message of the agent. What is wrong or unknown is counted and otherwise ignored.
    pub fn parse<'a>(&mut self, message: &'a [u8]) -> Incoming<'a> {
        match self {
            Self::Twilio(stream) => stream.parse(message),
        }
    }

    /// A payload that [`Self::parse`] gave could not be decoded after all.
    pub fn count_malformed(&mut self) {
        match self {
            Self::Twilio(stream) => stream.counters.malformed += 1,
        }
    }

    pub fn counters(&self) -> Counters {
        match self {
            Self::Twilio(stream) => stream.counters,
        }
    }
}

/// What a message of the agent asks for.
#[derive(Debug, PartialEq)]
pub enum Incoming<'a> {
    /// Speech for the caller, to be played after what came before.
    Audio(Payload<'a>),
    /// Say so when everything before this was played.
    Mark(Cow<'a, str>),
    /// Forget what was not played yet.
    Clear,
    /// Nothing for us; counted where it was wrong.
    Ignored,
}

/// Messages of the agent that led to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Not JSON, or not the shape that its event has.
    pub malformed: u64,
    /// An event that the dialect does not know.
    pub unknown: u64,
    /// Named another stream than ours, and was obeyed all the same.
    pub foreign: u64,
}

/// Audio as a message carries it.
#[derive(Debug, PartialEq)]
pub struct Payload<'a> {
    base64: Cow<'a, str>,
}

/// Agents pad their base64 or not, and no sound hangs on the bits behind the last byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How much base64 is decoded at a time; a whole number of groups of four.
const PIECE_CHARS: usize = 2048;

/// Audio that is not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("audio is not base64")]
pub struct NotBase64;

impl Payload<'_> {
    /// Decodes piece by piece, so that an hour of speech in one message needs no second copy of it.
    /// What comes before the first wrong character is taken.
    pub fn decode(&self, mut take: impl FnMut(&[u8])) -> Result<(), NotBase64> {
        let mut piece = [0; PIECE_CHARS / 4 * 3];
        for chars in self.base64.as_bytes().chunks(PIECE_CHARS) {
            let len = BASE64.decode_slice(chars, &mut piece).map_err(|_| NotBase64)?;
            take(piece.get(..len).ok_or(NotBase64)?);
        }
        Ok(())
    }
}
