//! From a message to bytes. Nothing in a field can end its line: values are clean by their type, the
//! start line is cleaned here.

use bytes::Bytes;

use super::{HeaderName, Headers, Method, Request, Response, StatusCode, scan};

const CRLF: &[u8] = b"\r\n";

pub(super) fn request(request: &Request) -> Bytes {
    let mut out = Vec::with_capacity(size(&request.headers, request.body.len()));
    write_method(&mut out, &request.method);
    out.push(b' ');
    request.uri.write_to(&mut out);
    out.extend_from_slice(b" SIP/2.0\r\n");
    rest(out, &request.headers, &request.body)
}

pub(super) fn response(response: &Response) -> Bytes {
    let mut out = Vec::with_capacity(size(&response.headers, response.body.len()));
    out.extend_from_slice(b"SIP/2.0 ");
    out.extend_from_slice(response.status.to_string().as_bytes());
    out.push(b' ');
    let clean = |byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
    out.extend(response.reason.bytes().map(clean));
    out.extend_from_slice(CRLF);
    rest(out, &response.headers, &response.body)
}

fn size(headers: &Headers, body: usize) -> usize {
    let lines =
        headers.iter().map(|(name, value)| name.as_str().len() + value.as_bytes().len() + 4);
    128 + lines.sum::<usize>() + body
}

fn write_method(out: &mut Vec<u8>, method: &Method) {
    // `Method::Other` can be made by hand with anything in it.
    match scan::token_text(method.as_str().as_bytes()) {
        Some(token) => out.extend_from_slice(token.as_bytes()),
        None => out.extend_from_slice(b"INVALID"),
    }
}

fn rest(mut out: Vec<u8>, headers: &Headers, body: &Bytes) -> Bytes {
    for (name, value) in headers.iter() {
        if *name == HeaderName::ContentLength {
            continue;
        }
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(CRLF);
    }
    out.extend_from_slice(b"Content-Length: ");
    out.extend_from_slice(body.len().to_string().as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
    out.into()
}

/// May a request of this method make a dialog (RFC 3261 §12.1, RFC 6665, RFC 3515)?
fn is_dialog_forming(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Subscribe | Method::Refer)
}

pub(super) fn response_to(
    method: &Method,
    request: &Headers,
    status: StatusCode,
    reason: Option<&str>,
) -> Response {
    let mut headers = Headers::with_capacity(16);
    for (name, value) in request.iter() {
        let copied = match name {
            HeaderName::Via
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq => true,
            HeaderName::Timestamp => status == StatusCode::TRYING,
            HeaderName::RecordRoute => status.is_dialog_forming() && is_dialog_forming(method),
            _ => false,
        };
        if copied {
            headers.push_parsed(name.clone(), value.clone());
        }
    }
    let reason = reason.unwrap_or(status.default_reason()).to_owned();
    Response { status, reason, headers, body: Bytes::new() }
}
