#![allow(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

mod sweeps;
mod torture;
mod values;

use bytes::Bytes;

use super::{Malformed, Message, Request, Response};

/// RFC 3261 §24.2, message F1, with what carriers add to it.
pub(crate) const INVITE: &str = "INVITE sip:bob@biloxi.com SIP/2.0\r\n\
    Via: SIP/2.0/TLS pc33.atlanta.com:5061;branch=z9hG4bKnashds8;rport\r\n\
    Via: SIP/2.0/UDP [2001:db8::9:1]:5060;branch=z9hG4bKas3;received=2001:db8::9:ff, SIP/2.0/TCP 192.0.2.7;branch=z9hG4bKt\r\n\
    Max-Forwards: 70\r\n\
    Record-Route: <sip:p2.example.com;lr>, <sip:p1.example.com:5070;lr>\r\n\
    To: Bob <sip:bob@biloxi.com>\r\n\
    From: \"Alice \\\"A\\\" <Ltd>, London\" <sips:alice@atlanta.com>;tag=1928301774\r\n\
    Call-ID: a84b4c76e66710@pc33.atlanta.com\r\n\
    CSeq: 314159 INVITE\r\n\
    Contact: <sip:alice@pc33.atlanta.com;transport=tls>;+sip.instance=\"<urn:uuid:0>\"\r\n\
    P-Asserted-Identity: \"Alice\" <sip:+442079460000@atlanta.com;user=phone>, <tel:+442079460000>\r\n\
    Supported: 100rel, timer,replaces\r\n\
    Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, UPDATE\r\n\
    Session-Expires: 1800;refresher=uac\r\n\
    X-Note: one\r\n  two\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 4\r\n\r\nv=0\n";

pub(crate) fn text(message: &str) -> Bytes {
    Bytes::copy_from_slice(message.as_bytes())
}

/// The invite with `find` replaced once; its body stays.
pub(crate) fn changed(find: &str, replace: &str) -> Bytes {
    let good = INVITE;
    assert!(good.contains(find), "{find} is in the message");
    text(&good.replacen(find, replace, 1))
}

pub(crate) fn invite() -> Request {
    request(&changed("70", "70"))
}

pub(crate) fn request(bytes: &Bytes) -> Request {
    match Message::parse(bytes).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => panic!("not a request"),
    }
}

pub(crate) fn response(bytes: &Bytes) -> Response {
    match Message::parse(bytes).unwrap() {
        Message::Response(response) => response,
        Message::Request(_) => panic!("not a response"),
    }
}

pub(crate) fn refused(bytes: &Bytes) -> Malformed {
    Message::parse(bytes).unwrap_err()
}
