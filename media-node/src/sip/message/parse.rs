//! From bytes to a message: lines, names and values, then what every message must have.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use memchr::{memchr2, memmem};

use super::scan::{self, Fault};
use super::{
    HeaderName, HeaderValue, Headers, Malformed, Message, Method, Request, Response, StatusCode,
    limits, write,
};
use crate::sip::Uri;

/// Finds the empty line that ends a head over any number of calls, looking at no byte more than a
/// few times.
#[derive(Debug, Default)]
pub(crate) struct HeadSearch {
    /// No end of a head begins before here.
    from: usize,
}

impl HeadSearch {
    /// Nothing of the message was looked at yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.from == 0
    }

    /// `bytes` is the same message as before, perhaps longer. The length of the head with its empty
    /// line once it is whole.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Option<usize> {
        let rest = bytes.get(self.from..).unwrap_or_default();
        scan::work::count(rest.len());
        match memmem::find(rest, b"\r\n\r\n") {
            Some(at) => Some(self.from + at + 4),
            None => {
                self.from = self.from.max(bytes.len().saturating_sub(3));
                None
            }
        }
    }
}

/// One header line, continuation lines included, as places in the message.
struct Line<'a> {
    at: usize,
    name: &'a [u8],
    value_at: usize,
    /// Untrimmed; holds CR LF where it was folded.
    value: &'a [u8],
    folded: bool,
}

/// Reads lines; CR and LF are legal as a pair at a line's end only.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next line without its end, and where it began; `None` past the last.
    fn line(&mut self) -> Result<(usize, &'a [u8]), Fault> {
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let len = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        scan::work::count(len);
        let (line, end) = rest.split_at_checked(len).unwrap_or((rest, b""));
        self.at = start + len + 2;
        match end {
            [b'\r', b'\n', ..] => Ok((start, line)),
            [] => Err(Fault::at(start, "the message ends within its header fields")),
            _ => Err(Fault::at(start + len, "a CR or LF that is not part of a line end")),
        }
    }

    fn continues(&self) -> bool {
        self.bytes.get(self.at).copied().is_some_and(scan::is_lws)
    }

    /// The next header line; `None` at the empty line.
    fn header(&mut self) -> Result<Option<Line<'a>>, Fault> {
        let (at, line) = self.line()?;
        if line.is_empty() {
            return Ok(None);
        }
        let mut end = at + line.len();
        let folded = self.continues();
        while self.continues() {
            let (more_at, more) = self.line()?;
            end = more_at + more.len();
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            // RFC 3261 §7.3.1 lets white space, not a line end, stand before the colon.
            return Err(Fault::at(at, "a header line without a colon"));
        };
        let name = scan::trim_end(line.get(..colon).unwrap_or_default());
        let value_at = at + colon + 1;
        let value = self.bytes.get(value_at..end).unwrap_or_default();
        Ok(Some(Line { at, name, value_at, value, folded }))
    }
}

/// Joins continuation lines: each line end with the white space around it is one space.
fn unfold(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for line in
        value.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    {
        let line = scan::trim(line);
        if !line.is_empty() {
            if !out.is_empty() {
                out.push(b' ');
            }
            out.extend_from_slice(line);
        }
    }
    out
}

/// The head of a message as far as it could be read.
struct Head<'a> {
    start_line: &'a [u8],
    headers: Headers,
    /// Where the body begins.
    end: usize,
    fault: Option<Malformed>,
}

fn read_head(bytes: &Bytes) -> Head<'_> {
    let mut lines = Lines { bytes, at: skipped(bytes) };
    let mut head =
        Head { start_line: b"", headers: Headers::with_capacity(24), end: 0, fault: None };
    match lines.line() {
        Ok((_, line)) => head.start_line = line,
        Err(fault) => {
            head.fault = Some(Malformed::new("start line", fault));
            return head;
        }
    }
    loop {
        let line = match lines.header() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(fault) => {
                head.fault.get_or_insert(Malformed::new("header", fault));
                break;
            }
        };
        // Past a limit nothing more is read, so that what it costs is bounded by it.
        let too_large = |at, problem| Malformed {
            status: StatusCode::MESSAGE_TOO_LARGE,
            ..Malformed::new("header", Fault::at(at, problem))
        };
        if lines.at > limits::HEAD - 2 {
            head.fault.get_or_insert(too_large(line.at, "the header fields are too long"));
            break;
        }
        if head.headers.len() >= limits::HEADERS {
            head.fault.get_or_insert(too_large(line.at, "too many header fields"));
            break;
        }
        let Some(name) = HeaderName::parse(bytes, line.name) else {
            let fault = Fault::at(line.at, "a header name that is not a token");
            head.fault.get_or_insert(Malformed::new("header", fault));
            continue;
        };
        let value = if line.folded {
            Bytes::from(unfold(line.value))
        } else {
            bytes.slice_ref(scan::trim(line.value))
        };
        head.headers.push_parsed(name, HeaderValue::of_line(value));
    }
    head.end = lines.at.min(bytes.len());
    head
}

/// How many bytes of empty lines stand before the start line (RFC 3261 §7.5).
fn skipped(bytes: &[u8]) -> usize {
    let blank = |byte: &&u8| matches!(byte, b'\r' | b'\n');
    bytes.iter().take(limits::LEADING_CRLF).take_while(blank).count()
}

enum StartLine {
    Request { method: Method, uri: Uri },
    Response { status: StatusCode, reason: String },
}

fn is_version(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"SIP/2.0")
}

/// `SIP/7.0`: another version of SIP, to be answered 505.
fn is_other_version(word: &[u8]) -> bool {
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let (name, rest) = word.split_at_checked(4).unwrap_or_default();
    let mut parts = rest.splitn(2, |byte| *byte == b'.');
    name.eq_ignore_ascii_case(b"SIP/")
        && digits(parts.next().unwrap_or_default())
        && digits(parts.next().unwrap_or_default())
}

fn is_response(line: &[u8]) -> bool {
    line.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"SIP/"))
}

fn read_start_line(line: &[u8]) -> Result<StartLine, Malformed> {
    if is_response(line) { read_status_line(line) } else { read_request_line(line) }
}

fn read_status_line(line: &[u8]) -> Result<StartLine, Malformed> {
    let fault = |problem| Malformed::new("Status-Line", Fault::at(0, problem));
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    if !is_version(parts.next().unwrap_or_default()) {
        return Err(fault("not SIP/2.0"));
    }
    let digits = parts.next().unwrap_or_default();
    let code = scan::number(digits).filter(|_| digits.len() == 3);
    let code = code.and_then(|code| StatusCode::new(code.try_into().ok()?));
    let status = code.ok_or_else(|| fault("the status code is not 100 to 699"))?;
    // The space before an empty phrase is often forgotten.
    let reason = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    Ok(StartLine::Response { status, reason })
}

fn read_request_line(line: &[u8]) -> Result<StartLine, Malformed> {
    let fault = |at, problem| Malformed::new("Request-Line", Fault::at(at, problem));
    let method_len = memchr::memchr(b' ', line).unwrap_or(line.len());
    let (method, rest) = line.split_at_checked(method_len).unwrap_or_default();
    let method = Method::parse(method).ok_or_else(|| fault(0, "the method is not a token"))?;
    let uri_at = method_len + 1;
    let rest = rest.get(1..).unwrap_or_default();
    let uri_len = memchr::memrchr(b' ', rest).unwrap_or(rest.len());
    let (uri, version) = rest.split_at_checked(uri_len).unwrap_or_default();
    let version = version.get(1..).unwrap_or_default();
    if !is_version(version) {
        let mut refused = fault(uri_at + uri_len, "does not end with SIP/2.0");
        if is_other_version(version) {
            refused.status = StatusCode::VERSION_NOT_SUPPORTED;
        }
        return Err(refused);
    }
    let uri =
        Uri::read(uri).map_err(|problem| Malformed::new("Request-URI", problem.shifted(uri_at)))?;
    // RFC 3261 §19.1.1, table 1. To ignore them is allowed (RFC 4475 §3.1.2.11), but nobody sends them.
    if !uri.headers.is_empty() {
        let fault = Fault::at(uri_at, "has header fields in it");
        return Err(Malformed::new("Request-URI", fault));
    }
    Ok(StartLine::Request { method, uri })
}

pub(super) fn message(bytes: &Bytes) -> Result<Message, Malformed> {
    let head = read_head(bytes);
    let is_request = !is_response(head.start_line);
    match assemble(bytes, &head) {
        Ok((StartLine::Request { method, uri }, body)) => {
            Ok(Message::Request(Request { method, uri, headers: head.headers, body }))
        }
        Ok((StartLine::Response { status, reason }, body)) => {
            Ok(Message::Response(Response { status, reason, headers: head.headers, body }))
        }
        Err(mut refused) => {
            let method = head.start_line.split(|byte| *byte == b' ').next().and_then(Method::parse);
            match method {
                Some(method) if is_request => Err(with_reply(refused, &method, &head.headers)),
                _ => {
                    refused.is_request = is_request;
                    Err(refused)
                }
            }
        }
    }
}

fn assemble(bytes: &Bytes, head: &Head<'_>) -> Result<(StartLine, Bytes), Malformed> {
    // Most telling first: the version, for all else may differ with it; then lines, then the rest.
    let start_line = match read_start_line(head.start_line) {
        Err(refused) if refused.status == StatusCode::VERSION_NOT_SUPPORTED => return Err(refused),
        other => other,
    };
    if let Some(fault) = &head.fault {
        return Err(fault.clone());
    }
    let start_line = start_line.map_err(|refused| refused.shifted(skipped(bytes)))?;
    let cseq = head.headers.check_core().map_err(|refused| refused.placed(bytes))?;
    if let StartLine::Request { method, .. } = &start_line
        && *method != cseq.method
    {
        let fault = Fault::at(0, "names another method than the Request-Line");
        return Err(Malformed::header(&HeaderName::CSeq, fault).placed(bytes));
    }
    let present = bytes.len() - head.end;
    let announced = content_length(head.headers.values(&HeaderName::ContentLength))
        .map_err(|fault| Malformed::header(&HeaderName::ContentLength, fault).placed(bytes))?;
    let len = announced.unwrap_or(present);
    if len > present {
        let fault = Fault::at(0, "is more than what follows");
        return Err(Malformed::header(&HeaderName::ContentLength, fault).placed(bytes));
    }
    if len > limits::BODY {
        let fault = Fault::at(head.end, "is too long");
        let status = StatusCode::MESSAGE_TOO_LARGE;
        return Err(Malformed { status, ..Malformed::new("body", fault) });
    }
    Ok((start_line, bytes.slice(head.end..head.end + len)))
}

impl Malformed {
    fn shifted(self, by: usize) -> Self {
        Self { offset: self.offset.saturating_add(by), ..self }
    }

    /// Turns an offset into a value to one into the message: that of the first line of the header.
    fn placed(self, bytes: &[u8]) -> Self {
        let mut lines = Lines { bytes, at: skipped(bytes) };
        if lines.line().is_err() {
            return self;
        }
        while let Ok(Some(line)) = lines.header() {
            let name = HeaderName::new(scan::token_text(line.name).unwrap_or_default());
            if name.is_some_and(|name| name.field() == self.field) {
                let blank = line.value.len() - scan::trim_start(line.value).len();
                return self.shifted(line.value_at + blank);
            }
        }
        self
    }
}

/// The one length all Content-Length lines agree on. Sums that follow must not wrap, so a number past
/// `usize` is a fault here.
fn content_length<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Option<usize>, Fault> {
    let mut agreed = None;
    for value in values {
        let len = scan::number(value).ok_or_else(|| Fault::at(0, "expected a number"))?;
        let len = len.try_into().map_err(|_| Fault::at(0, "is too large"))?;
        if agreed.is_some_and(|known: usize| known != len) {
            return Err(Fault::at(0, "is there twice with different numbers"));
        }
        agreed = Some(len);
    }
    Ok(agreed)
}

/// For streams: the length of the body that follows `head` (which ends with its empty line), `None`
/// when no Content-Length says so. Names and values are read as [`message`] reads them.
pub(crate) fn body_len(head: &[u8]) -> Result<Option<usize>, Fault> {
    let mut lines = Lines { bytes: head, at: 0 };
    lines.line()?;
    let mut lengths = Vec::new();
    while let Some(line) = lines.header()? {
        if !matches!(line.name.first(), Some(b'c' | b'C' | b'l' | b'L')) {
            continue;
        }
        let name = scan::token_text(line.name).and_then(HeaderName::new);
        if name == Some(HeaderName::ContentLength) {
            let value = if line.folded {
                Cow::Owned(unfold(line.value))
            } else {
                Cow::Borrowed(scan::trim(line.value))
            };
            lengths.push((line.value_at, value));
        }
    }
    let at = lengths.first().map_or(0, |(at, _)| *at);
    let values = lengths.iter().map(|(_, value)| value.as_ref());
    content_length(values).map_err(|fault| fault.shifted(at))
}

/// The answer to a head that could not be framed, when it can be answered.
pub(crate) fn refusal(head: &Bytes, mut refused: Malformed) -> Malformed {
    let read = read_head(head);
    refused.is_request = !is_response(read.start_line);
    let method = read.start_line.split(|byte| *byte == b' ').next().and_then(Method::parse);
    match method {
        Some(method) if refused.is_request => with_reply(refused, &method, &read.headers),
        _ => refused,
    }
}

/// Adds the answer to a refused request: never to an ACK (RFC 3261 §17.1.1.3), never to what has no
/// Via. A Via that cannot be read goes back as it came (RFC 4475 §3.1.2.1), to where the request came
/// from.
pub(super) fn with_reply(refused: Malformed, method: &Method, headers: &Headers) -> Malformed {
    let mut refused = Malformed { is_request: true, ..refused };
    if *method == Method::Ack || !headers.contains(&HeaderName::Via) {
        return refused;
    }
    let mut reply = write::response_to(method, headers, refused.status, Some(&refused.reason()));
    // No state is kept for this request, so that a repeat gets the same tag it is made from the
    // request itself (RFC 3261 §8.2.7).
    let mut hasher = DefaultHasher::new();
    for name in [HeaderName::Via, HeaderName::CallId, HeaderName::CSeq, HeaderName::From] {
        headers.first(&name).hash(&mut hasher);
    }
    reply.headers.add_to_tag(&format!("{:016x}", hasher.finish()));
    refused.reply = Some(Box::new(reply));
    refused
}
