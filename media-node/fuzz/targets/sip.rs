//! Datagrams and streams from strangers on the signalling ports.

#![allow(clippy::unwrap_used, reason = "a target that fails must panic")]

use bytes::Bytes;
use trunkline_media_node::sip::{
    Frame, Framer, HeaderName, HeaderValue, Headers, Malformed, Message, Method, NameAddr, Reason,
    Request, Response, StatusCode, Uri, Via, limits,
};

/// A message is read or refused. What was read is written and read again as the same, can be
/// answered, and a refusal can be sent; no single value of it breaks this either.
pub(crate) fn message(data: &[u8]) {
    values(data);
    let bytes = Bytes::copy_from_slice(data);
    let message = match Message::parse(&bytes) {
        Ok(message) => message,
        Err(refused) => return refusal(&refused, data),
    };
    let headers = message.headers();
    assert!(headers.len() <= limits::HEADERS);
    for (name, value) in headers.iter() {
        assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n')));
        assert_eq!(HeaderName::new(name.as_str()).as_ref(), Some(name));
    }
    typed(headers);
    let written = message.write();
    lines(&written);
    let again = Message::parse(&written).unwrap();
    assert_eq!(again.write(), written);
    let others = |headers: &Headers| {
        let kept = headers.iter().filter(|(name, _)| **name != HeaderName::ContentLength);
        kept.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(others(again.headers()), others(headers));
    match (&message, &again) {
        (Message::Request(request), Message::Request(again)) => {
            assert_eq!(request.method, again.method);
            assert_eq!(request.uri, again.uri);
            assert_eq!(request.body, again.body);
            answer(request);
        }
        (Message::Response(response), Message::Response(again)) => {
            assert_eq!(response.status, again.status);
            assert_eq!(response.body, again.body);
        }
        _ => panic!("a request became a response"),
    }
}

fn refusal(refused: &Malformed, data: &[u8]) {
    assert!(refused.offset <= data.len());
    assert!(!refused.to_string().contains(['\r', '\n']));
    let Some(reply) = &refused.reply else { return };
    assert!(refused.is_request && !data.starts_with(b"ACK "));
    assert_eq!(reply.status, refused.status);
    let mut reply = reply.clone();
    let _ = reply.headers.stamp_via("192.0.2.1:5060".parse().unwrap());
    lines(&reply.write());
}

fn answer(request: &Request) {
    if let Err(refused) = request.check() {
        assert_eq!(refused.reply.is_some(), request.method != Method::Ack);
    }
    for status in [StatusCode::TRYING, StatusCode::OK, StatusCode::NOT_FOUND] {
        let mut response = Response::to_request(request, status, None);
        response.headers.add_to_tag("tag");
        response.headers.stamp_via("[2001:db8::1]:5060".parse().unwrap()).unwrap();
        let Message::Response(again) = Message::parse(&response.write()).unwrap() else {
            panic!("a response became a request")
        };
        assert!(again.headers.to().unwrap().tag().is_some());
        assert_eq!(again.headers.cseq().unwrap(), request.headers.cseq().unwrap());
        assert_eq!(again.headers.call_id().unwrap(), request.headers.call_id().unwrap());
        let (via, ours) = (again.headers.top_via().unwrap(), request.headers.top_via().unwrap());
        assert_eq!((&via.branch, &via.host), (&ours.branch, &ours.host));
        assert_eq!(via.rport.is_some(), ours.rport.is_some());
    }
}

/// Every getter; those of what each message must have cannot fail.
fn typed(headers: &Headers) {
    let via = headers.top_via().unwrap();
    assert_eq!(Via::parse(&via.write()).unwrap(), via);
    headers.cseq().unwrap();
    headers.call_id().unwrap();
    headers.max_forwards().unwrap();
    let mut addresses = vec![headers.from().unwrap(), headers.to().unwrap()];
    for list in [headers.contacts(), headers.routes(), headers.record_routes()] {
        addresses.extend(list.unwrap_or_default());
    }
    for name in [HeaderName::PAssertedIdentity, HeaderName::Diversion, HeaderName::ReferTo] {
        addresses.extend(headers.addresses(&name).unwrap_or_default());
    }
    for address in addresses {
        assert_eq!(NameAddr::parse(&address.write()).unwrap(), address);
    }
    let _ = (headers.vias(), headers.content_type(), headers.accepts(), headers.reasons());
    for name in [HeaderName::Require, HeaderName::Supported, HeaderName::Allow] {
        assert!(
            headers.tokens(&name).is_ok_and(|all| all.len() <= limits::LIST) || {
                headers.tokens(&name).is_err()
            }
        );
    }
    let _ = (headers.number(&HeaderName::Expires), headers.text(&HeaderName::Subject));
}

/// `data` as each kind of value.
fn values(data: &[u8]) {
    if let Ok(uri) = Uri::parse(data) {
        let mut written = Vec::new();
        uri.write_to(&mut written);
        let again = Uri::parse(&written).unwrap();
        assert_eq!(again, uri);
        assert!(again.is_equivalent(&uri));
        let _ = (uri.user_text(), uri.param_text("transport"), uri.to_string());
    }
    if let Ok(address) = NameAddr::parse(data) {
        assert_eq!(NameAddr::parse(&address.write()).unwrap(), address);
        let _ = address.display_text();
    }
    if let Ok(via) = Via::parse(data) {
        assert_eq!(Via::parse(&via.write()).unwrap(), via);
    }
    if let Ok(reason) = Reason::parse(data) {
        let value = HeaderValue::from(&reason);
        assert_eq!(Reason::parse(value.as_bytes()).unwrap(), reason);
    }
    assert!(!HeaderValue::from(data).as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n')));
}

/// CR and LF stand as a pair at the end of a line and nowhere else before the body.
fn lines(written: &[u8]) {
    let end = written.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = &written[..end];
    let pairs = head.windows(2).filter(|pair| *pair == b"\r\n").count();
    let of = |byte| head.iter().filter(|other| **other == byte).count();
    assert_eq!((of(b'\r'), of(b'\n')), (pairs, pairs));
}

/// The first byte says how the rest is cut into pieces: the frames are the same in any. A framed
/// message that is not refused ends where its frame does.
pub(crate) fn stream(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let whole = frames(data, data.len().max(1));
    assert_eq!(frames(data, usize::from(*first) % 61 + 1), whole);
    for frame in &whole {
        let Cut::Message(bytes) = frame else { continue };
        match Message::parse(bytes) {
            Ok(Message::Request(request)) => assert!(bytes.ends_with(&request.body)),
            Ok(Message::Response(response)) => assert!(bytes.ends_with(&response.body)),
            Err(refused) => {
                assert!(refused.field != "Content-Length" && refused.field != "body");
                refusal(&refused, bytes);
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Cut {
    Message(Bytes),
    Ping,
    Failed(usize, &'static str),
}

fn frames(data: &[u8], piece: usize) -> Vec<Cut> {
    let mut framer = Framer::new();
    let mut all = Vec::new();
    for piece in data.chunks(piece) {
        framer.push(piece);
        while let Some(frame) = framer.next() {
            all.push(match frame {
                Ok(Frame::Message(bytes)) => Cut::Message(bytes),
                Ok(Frame::Ping) => Cut::Ping,
                Err(error) => {
                    if let Some(reply) = error.reply {
                        lines(&reply.write());
                    }
                    Cut::Failed(error.offset, error.problem)
                }
            });
        }
        assert!(framer.held() <= limits::HEAD + limits::BODY);
    }
    all
}
