//! What is wrong with a peer's message, and the answer that says so.

use super::scan::Fault;
use super::{HeaderName, Response, StatusCode};

/// The peer's message breaks the grammar or a limit. `Display` says where and why, in our words
/// only: nothing of what the peer sent is in it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{field}: {problem} (byte {offset})")]
pub struct Malformed {
    /// A header's usual name, or `Request-Line`, `Status-Line`, `Request-URI`, `URI`, `body`.
    pub field: &'static str,
    /// Bytes into the message; into the value, where a single value was parsed.
    pub offset: usize,
    pub problem: &'static str,
    /// 400, or what fits better: 505, 513.
    pub status: StatusCode,
    /// A response never gets an answer, whatever is wrong with it.
    pub is_request: bool,
    /// Ready to be sent where the request came from, when enough of it could be read. Never for an
    /// ACK.
    pub reply: Option<Box<Response>>,
}

impl Malformed {
    pub(crate) fn new(field: &'static str, fault: Fault) -> Self {
        Self {
            field,
            offset: fault.offset,
            problem: fault.problem,
            status: StatusCode::BAD_REQUEST,
            is_request: false,
            reply: None,
        }
    }

    pub(super) fn header(name: &HeaderName, fault: Fault) -> Self {
        Self::new(name.field(), fault)
    }

    /// The status line's phrase: `Bad Request (Contact: expected a token)`.
    pub fn reason(&self) -> String {
        format!("{} ({}: {})", self.status.default_reason(), self.field, self.problem)
    }
}
