//! Cuts a byte stream into messages (RFC 3261 §18.3, RFC 5626 §3.5.1).
//!
//! The hostile side of a connection decides nothing here: a message ends where one Content-Length
//! says, read by the same code that reads the message later, and a stream in doubt is given up
//! rather than guessed at.
#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use bytes::{Buf, Bytes, BytesMut};

use super::message::scan::Fault;
use super::message::{HeadSearch, Malformed, Response, StatusCode, body_len, limits, refusal};

/// What a stream brings.
#[derive(Clone, Debug)]
pub enum Frame {
    /// From the first letter of the start line to the last byte of the body.
    Message(Bytes),
    /// CRLF CRLF: the peer asks whether we are there; answer with one CRLF.
    Ping,
}

/// The stream cannot be read on: close it, after `reply` if there is one.
#[derive(Clone, Debug, thiserror::Error)]
#[error("stream framing at byte {offset}: {problem}")]
pub struct FramingError {
    /// Bytes into the message that could not be framed.
    pub offset: usize,
    pub problem: &'static str,
    pub reply: Option<Box<Response>>,
}

/// Cuts a stream. Hand in what was read, then take frames until there is none.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    search: HeadSearch,
    /// Head and body together, once the head is whole.
    whole: Option<usize>,
    failed: bool,
}

impl Framer {
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of the stream, in any pieces.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.failed {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes held back until more come: never more than one message and what was pushed last.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// The next frame; `None` until more is pushed, and for ever after an error.
    #[expect(clippy::should_implement_trait, reason = "None means wait here, not the end")]
    pub fn next(&mut self) -> Option<Result<Frame, FramingError>> {
        if self.failed {
            return None;
        }
        let frame = self.step();
        if matches!(frame, Some(Err(_))) {
            self.failed = true;
            self.buffer = BytesMut::new();
        }
        frame
    }

    fn step(&mut self) -> Option<Result<Frame, FramingError>> {
        if self.search.is_fresh() {
            if self.buffer.starts_with(b"\r\n\r\n") {
                self.buffer.advance(4);
                return Some(Ok(Frame::Ping));
            }
            match self.buffer.as_ref() {
                // Perhaps the first half of a ping.
                [] | b"\r" | b"\r\n" | b"\r\n\r" => return None,
                [b'\r', b'\n', ..] => self.buffer.advance(2),
                _ => {}
            }
        }
        let whole = match self.whole {
            Some(whole) => whole,
            None => match self.measure()? {
                Ok(whole) => *self.whole.insert(whole),
                Err(error) => return Some(Err(error)),
            },
        };
        if self.buffer.len() < whole {
            return None;
        }
        self.whole = None;
        self.search = HeadSearch::default();
        Some(Ok(Frame::Message(self.buffer.split_to(whole).freeze())))
    }

    /// The length of the message at the front; `None` until its head is whole.
    fn measure(&mut self) -> Option<Result<usize, FramingError>> {
        let window = self.buffer.get(..limits::HEAD).unwrap_or(&self.buffer);
        let Some(head) = self.search.advance(window) else {
            if self.buffer.len() < limits::HEAD {
                return None;
            }
            let problem = Fault::at(limits::HEAD, "the header fields are too long");
            return Some(Err(self.refuse(limits::HEAD, problem, StatusCode::MESSAGE_TOO_LARGE)));
        };
        let body = match body_len(self.buffer.get(..head).unwrap_or_default()) {
            Ok(Some(body)) if body <= limits::BODY => body,
            Ok(Some(_)) => {
                let problem = Fault::at(head, "the body is too long");
                return Some(Err(self.refuse(head, problem, StatusCode::MESSAGE_TOO_LARGE)));
            }
            // RFC 3261 §20.14: on a stream nothing else says where the message ends.
            Ok(None) => {
                let problem = Fault::at(head, "no Content-Length");
                return Some(Err(self.refuse(head, problem, StatusCode::BAD_REQUEST)));
            }
            Err(problem) => return Some(Err(self.refuse(head, problem, StatusCode::BAD_REQUEST))),
        };
        Some(Ok(head + body))
    }

    fn refuse(&mut self, head: usize, fault: Fault, status: StatusCode) -> FramingError {
        let head = self.buffer.split_to(head.min(self.buffer.len())).freeze();
        let refused = Malformed { status, ..Malformed::new("stream", fault) };
        let refused = refusal(&head, refused);
        FramingError { offset: refused.offset, problem: refused.problem, reply: refused.reply }
    }
}

#[cfg(test)]
mod tests;
