//! Keys in SIP INFO: the bodies `application/dtmf-relay` and `application/dtmf`.
//!
//! No RFC has them (RFC 6086 gives INFO its frame, and calls uses without a package legacy); what
//! gateways have sent for twenty years is:
//!
//! ```text
//! Signal=5          application/dtmf-relay        5          application/dtmf
//! Duration=160
//! ```

#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use crate::media::Digit;
use crate::sip::message::MediaType;

/// What we read, for `Accept`.
pub const ACCEPT: &str = "application/dtmf-relay, application/dtmf";
/// What we write.
pub(super) const CONTENT_TYPE: &str = "application/dtmf-relay";
/// The longest body that is read.
const MAX_LEN_BYTES: usize = 512;

/// What a body tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Key(Digit),
    /// The hook was flashed: no key, and nothing to tell an agent.
    Flash,
}

/// A body that tells no key. The words never repeat what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the body is longer than a key needs")]
    TooLong,
    #[error("the body names no Signal")]
    NoSignal,
    #[error("Signal is none of 0-9, *, #, A-D")]
    NoKey,
}

/// Whether a body of this type may tell keys.
pub(super) fn is_key(kind: &MediaType) -> bool {
    kind.is("application", "dtmf-relay") || kind.is("application", "dtmf")
}

/// Reads a body of either type. Lines other than `Signal` are passed over, above all `Duration`: a
/// key counts when it is told, not for how long. Case and spaces do not matter, nor how lines end.
pub fn parse(body: &[u8]) -> Result<Signal, Unreadable> {
    if body.len() > MAX_LEN_BYTES {
        return Err(Unreadable::TooLong);
    }
    let mut lines = body.split(|byte| matches!(byte, b'\r' | b'\n')).map(<[u8]>::trim_ascii);
    let signal = lines.clone().find_map(|line| {
        let mut halves = line.splitn(2, |byte| matches!(byte, b'=' | b':'));
        let (name, value) = (halves.next()?, halves.next()?);
        name.trim_ascii().eq_ignore_ascii_case(b"signal").then(|| value.trim_ascii())
    });
    match signal {
        Some(value) => key(value),
        // The plain form is nothing but the key.
        None => match lines.find(|line| !line.is_empty()) {
            Some(line) if !line.contains(&b'=') => key(line),
            _ => Err(Unreadable::NoSignal),
        },
    }
}

/// A key as itself, or from 10 on by its event code (RFC 4733 §3.2), with 16 for the hook.
fn key(value: &[u8]) -> Result<Signal, Unreadable> {
    let digit = match value {
        [byte] => Digit::new(char::from(*byte)),
        [b'1', tens @ b'0'..=b'5'] => Digit::from_event(10 + (tens - b'0')),
        _ => None,
    };
    match (digit, value) {
        (Some(digit), _) => Ok(Signal::Key(digit)),
        (None, b"16" | b"!") => Ok(Signal::Flash),
        (None, _) => Err(Unreadable::NoKey),
    }
}

/// The body that tells a key of ours.
pub(super) fn write(digit: Digit, tone: Duration) -> String {
    format!("Signal={}\r\nDuration={}\r\n", digit.as_char(), tone.as_millis())
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn key_of(c: char) -> Result<Signal, Unreadable> {
        Ok(Signal::Key(Digit::new(c).unwrap()))
    }

    #[test]
    fn keys_are_read_in_every_shape_they_come_in() {
        for (body, c) in [
            ("Signal=5\r\nDuration=160\r\n", '5'),
            ("Signal= 5\r\nDuration= 160\r\n", '5'),
            ("signal = *\nduration = 0", '*'),
            ("SIGNAL=d\r", 'D'),
            ("Duration=100\r\nSignal=#\r\n", '#'),
            ("Signal=10\r\nDuration=250\r\n", '*'),
            ("Signal=11", '#'),
            ("Signal=15", 'D'),
            ("Signal:7", '7'),
            ("Signal=3\r\nVolume=10\r\nX=\r\n\r\n", '3'),
            ("9", '9'),
            (" \r\n#\r\n", '#'),
            ("12", 'A'),
        ] {
            assert_eq!(parse(body.as_bytes()), key_of(c), "{body:?}");
        }
        assert_eq!(parse(b"Signal=16\r\n"), Ok(Signal::Flash));
        assert_eq!(parse(b"Signal=!"), Ok(Signal::Flash));
    }

    #[test]
    fn what_is_no_key_says_so() {
        for body in ["Signal=", "Signal=x", "Signal=17", "Signal=1 2", "Signal=\0", "hello", "1234"]
        {
            assert_eq!(parse(body.as_bytes()), Err(Unreadable::NoKey), "{body:?}");
        }
        for body in ["", "\r\n\r\n", "Duration=100", "Sig=1\r\nDuration=2"] {
            assert_eq!(parse(body.as_bytes()), Err(Unreadable::NoSignal), "{body:?}");
        }
        assert_eq!(parse(&[b'1'; 513]), Err(Unreadable::TooLong));
    }

    #[test]
    fn what_is_written_is_read() {
        for code in 0..16 {
            let digit = Digit::from_event(code).unwrap();
            let body = write(digit, Duration::from_millis(100));
            assert_eq!(parse(body.as_bytes()), Ok(Signal::Key(digit)));
        }
        let body = write(Digit::new('#').unwrap(), Duration::from_millis(160));
        assert_eq!(body, "Signal=#\r\nDuration=160\r\n");
    }

    #[test]
    fn cut_or_changed_anywhere_a_body_is_read_or_refused() {
        let body = b"Signal=5\r\nDuration=160\r\n";
        for len in 0..body.len() {
            let _ = parse(&body[..len]);
        }
        for at in 0..body.len() {
            for byte in 0..=255 {
                let mut changed = *body;
                changed[at] = byte;
                let _ = parse(&changed);
            }
        }
    }
}
