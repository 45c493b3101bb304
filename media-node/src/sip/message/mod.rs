//! Messages of RFC 3261 §7 and §25: read from bytes, asked for typed values, written back.
//!
//! [`Message::parse`] indexes the header fields without copying them (each value is a slice of the
//! datagram) and refuses a message whose Via, From, To, CSeq or Call-ID cannot be read, so that what
//! passes can always be answered. Everything else is parsed when asked for: [`Headers::contacts`],
//! [`Headers::routes`], … Typed values own what they hold, so a tag kept for the length of a call
//! does not keep the datagram it came in.
#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

mod headers;
mod malformed;
mod method;
mod name;
mod params;
mod parse;
pub(crate) mod scan;
mod status;
mod typed;
mod value;
mod write;

pub use headers::Headers;
pub use malformed::Malformed;
pub use method::Method;
pub use name::{HeaderName, OtherName};
pub use params::Params;
pub use status::StatusCode;
pub use typed::{
    Branch, CSeq, CallId, MediaType, NameAddr, Reason, Tag, Via, ViaTransport, warning,
};
pub use value::HeaderValue;

pub(crate) use parse::{HeadSearch, body_len, refusal};

use bytes::Bytes;

use super::Uri;

/// Every limit of the parser. A message past one of them is refused, never cut.
pub mod limits {
    /// Start line and header fields with the empty line after them, in bytes.
    pub const HEAD: usize = 16 * 1024;
    /// In bytes.
    pub const BODY: usize = 64 * 1024;
    /// Header lines in one message.
    pub const HEADERS: usize = 128;
    /// Values of one list header (Via, Route, Supported …) taken together.
    pub const LIST: usize = 128;
    /// Parameters of one header value or URI; header fields in one URI.
    pub const PARAMS: usize = 32;
    /// Empty lines before a message on a stream are skipped; a datagram may begin with this many
    /// bytes of them.
    pub const LEADING_CRLF: usize = 64;
}

#[derive(Clone, Debug)]
pub enum Message {
    Request(Request),
    Response(Response),
}

#[derive(Clone)]
pub struct Request {
    pub method: Method,
    pub uri: Uri,
    pub headers: Headers,
    pub body: Bytes,
}

#[derive(Clone)]
pub struct Response {
    pub status: StatusCode,
    /// A byte that is not UTF-8 shows as �.
    pub reason: String,
    pub headers: Headers,
    pub body: Bytes,
}

impl Message {
    /// One datagram or one framed message. A Content-Length shorter than what is there cuts the
    /// body, a longer one is malformed, none means the rest.
    pub fn parse(bytes: &Bytes) -> Result<Self, Malformed> {
        parse::message(bytes)
    }

    /// As it goes on the wire; Content-Length is counted here and written last.
    pub fn write(&self) -> Bytes {
        match self {
            Self::Request(request) => request.write(),
            Self::Response(response) => response.write(),
        }
    }

    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => &request.headers,
            Self::Response(response) => &response.headers,
        }
    }
}

impl Request {
    /// A request with no headers yet.
    pub fn new(method: Method, uri: Uri) -> Self {
        Self { method, uri, headers: Headers::new(), body: Bytes::new() }
    }

    pub fn write(&self) -> Bytes {
        write::request(self)
    }
}

impl Request {
    /// Reads every header this library has a type for, so that a request can be refused by name of
    /// the first that is wrong ([`Malformed::reply`] is filled in). [`Message::parse`] has checked only
    /// what is needed to answer at all.
    pub fn check(&self) -> Result<(), Malformed> {
        self.headers.check().map_err(|fault| parse::with_reply(fault, &self.method, &self.headers))
    }
}

impl Response {
    /// The answer to `request` as RFC 3261 §8.2.6.2 begins it: Via, From, To, Call-ID and CSeq as
    /// they came; Timestamp in a 100; Record-Route in a 101–299 to a request that may open a dialog
    /// (§12.1.1). The To tag is the caller's affair ([`Headers::add_to_tag`]). Without `reason` the
    /// RFC's own phrase is used.
    pub fn to_request(request: &Request, status: StatusCode, reason: Option<&str>) -> Self {
        write::response_to(&request.method, &request.headers, status, reason)
    }

    pub fn write(&self) -> Bytes {
        write::response(self)
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("uri", &self.uri)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

#[cfg(test)]
mod tests;
