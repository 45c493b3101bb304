//! What we write, other SIP libraries must read, and see the same in it.
//!
//! `rsip` 0.4, `rsipstack` 0.7 and `ezk-sip-types` 0.6 each read messages made by
//! `trunkline_media_node::sip`; the values they find are compared with those that went in. Where one
//! of them cannot read what RFC 3261 allows, its row says so, and a test fails when that changes.

#![allow(clippy::unwrap_used, reason = "a test; helpers are outside of its functions")]

use bytes::Bytes;
use trunkline_media_node::sip::{
    Branch, CSeq, CallId, HeaderName, Headers, Host, MediaType, Message, Method, NameAddr, Reason,
    Request, Response, StatusCode, Tag, Transport, Uri, Via, message::warning,
};

/// What every reader says of a message, in one spelling.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Method and URI, or status code.
    start: String,
    /// Transport, sent-by, branch, of the top Via.
    via: [String; 3],
    /// Display name, `user@host:port`, tag.
    from: [String; 3],
    to: [String; 3],
    call_id: String,
    cseq: String,
    /// `user@host:port`
    contact: String,
    /// Lower-case names and their values, in the order of the names.
    lines: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Seen {
    /// The fields that differ, one a line.
    fn difference(&self, expected: &Self) -> String {
        let (one, two) = (format!("{self:#?}"), format!("{expected:#?}"));
        let missing = |one: &str, two: &str, mark| {
            let lines = one.lines().filter(|line| !two.lines().any(|other| other == *line));
            lines.map(|line| format!("\n  {mark} {}", line.trim())).collect::<String>()
        };
        missing(&one, &two, "saw") + &missing(&two, &one, "expected")
    }

    fn line(&mut self, name: &str, value: &str) {
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        self.lines.push((name, value));
        self.lines.sort();
    }
}

fn address(user: &str, host: &str, port: Option<impl std::fmt::Display>) -> String {
    let at = if user.is_empty() || host.is_empty() { "" } else { "@" };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{user}{at}{host}{port}").to_lowercase()
}

mod ours {
    use super::*;

    fn uri(uri: &Uri) -> String {
        let host = uri.host.as_ref().map(Host::to_string).unwrap_or_default();
        address(uri.user.as_deref().unwrap_or_default(), &host, uri.port)
    }

    fn party(address: &NameAddr) -> [String; 3] {
        let display = address.display_text().unwrap_or_default().into_owned();
        let tag = address.tag().map(|tag| tag.as_str().to_owned()).unwrap_or_default();
        [display, uri(&address.uri), tag]
    }

    pub(super) fn see(message: &Message) -> Seen {
        let headers = message.headers();
        let via = headers.top_via().unwrap();
        let (start, body) = match message {
            Message::Request(request) => {
                (format!("{} {}", request.method, uri(&request.uri)), request.body.to_vec())
            }
            Message::Response(response) => (response.status.to_string(), response.body.to_vec()),
        };
        let contact = headers.contacts().unwrap();
        let mut seen = Seen {
            start,
            via: [
                via.transport.as_str().to_owned(),
                via.sent_by(),
                via.branch.as_ref().unwrap().as_str().to_owned(),
            ],
            from: party(&headers.from().unwrap()),
            to: party(&headers.to().unwrap()),
            call_id: headers.call_id().unwrap().to_string(),
            cseq: headers.cseq().unwrap().to_string(),
            contact: contact.first().map(|first| uri(&first.uri)).unwrap_or_default(),
            lines: Vec::new(),
            body,
        };
        for (name, value) in headers.iter().filter(|(name, _)| **name != HeaderName::ContentLength)
        {
            seen.line(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
        }
        seen.line("content-length", &seen.body.len().to_string());
        seen
    }
}

/// `rsip` and `rsipstack` share names, not types.
macro_rules! rsip_like {
    ($module:ident, $sip:path) => {
        mod $module {
            use sip::prelude::*;
            use $sip as sip;

            use super::{Seen, address};

            type Outcome<T> = Result<T, String>;

            fn uri(uri: &sip::Uri) -> String {
                let user = uri.auth.as_ref().map(|auth| auth.user.clone()).unwrap_or_default();
                let host = uri.host_with_port.host.to_string();
                address(&user, &host, uri.host_with_port.port.as_ref())
            }

            fn why(error: impl std::fmt::Debug) -> String {
                format!("{error:?}")
            }

            fn plain(display: Option<&String>) -> String {
                let text = display.map(|text| text.trim_matches('"')).unwrap_or_default();
                text.replace("\\\"", "\"").replace("\\\\", "\\")
            }

            pub(super) fn see(bytes: &[u8]) -> Outcome<Seen> {
                let message = sip::SipMessage::try_from(bytes).map_err(why)?;
                let mut seen = Seen::default();
                match &message {
                    sip::SipMessage::Request(request) => {
                        seen.start = format!("{} {}", request.method, uri(&request.uri));
                        seen.body = request.body.clone();
                    }
                    sip::SipMessage::Response(response) => {
                        seen.start = response.status_code.code().to_string();
                        seen.body = response.body.clone();
                    }
                }
                let via = message.via_header().map_err(why)?.typed().map_err(why)?;
                let branch =
                    via.branch().map(|branch| branch.value().to_owned()).unwrap_or_default();
                seen.via = [via.transport.to_string(), uri(&via.uri), branch];
                let from = message.from_header().map_err(why)?.typed().map_err(why)?;
                let tag = from.tag().map(|tag| tag.value().to_owned()).unwrap_or_default();
                seen.from = [plain(from.display_name.as_ref()), uri(&from.uri), tag];
                let to = message.to_header().map_err(why)?.typed().map_err(why)?;
                let tag = to.tag().map(|tag| tag.value().to_owned()).unwrap_or_default();
                seen.to = [plain(to.display_name.as_ref()), uri(&to.uri), tag];
                seen.call_id = message.call_id_header().map_err(why)?.value().to_owned();
                let cseq = message.cseq_header().map_err(why)?.typed().map_err(why)?;
                seen.cseq = format!("{} {}", cseq.seq, cseq.method);
                if let Ok(contact) = message.contact_header() {
                    seen.contact = uri(&contact.typed().map_err(why)?.uri);
                }
                for header in message.headers().iter() {
                    let line = header.to_string();
                    let (name, value) = line.split_once(':').ok_or("a line without a colon")?;
                    seen.line(name, value);
                }
                Ok(seen)
            }
        }
    };
}

rsip_like!(by_rsip, rsip);
rsip_like!(by_rsipstack, rsipstack::sip);

mod by_ezk {
    use bytes::Bytes;
    use ezk_sip_types::header::typed::{CSeq, CallID, Contact, FromTo, Via};
    use ezk_sip_types::msg::{Line, MessageLine, PullParser};
    use ezk_sip_types::parse::Parse;
    use ezk_sip_types::print::AppendCtx;
    use ezk_sip_types::uri::SipUri;
    use ezk_sip_types::{Headers, Name};

    use super::{Seen, address};

    fn uri(uri: &SipUri) -> String {
        // The type of the user part has no public name.
        let text = uri.default_print_ctx().to_string();
        let user = text.split_once('@').map(|(before, _)| before).unwrap_or_default();
        let user = user.split_once(':').map(|(_, user)| user).unwrap_or_default();
        address(user, &host(&uri.host_port.host), uri.host_port.port)
    }

    fn host(host: &ezk_sip_types::host::Host) -> String {
        host.to_string()
    }

    fn party(party: &FromTo) -> [String; 3] {
        let name = party.uri.name.as_ref().map(|name| name.trim_matches('"')).unwrap_or_default();
        let tag = party.tag.as_ref().map(|tag| tag.as_str()).unwrap_or_default();
        [name.to_owned(), uri(&party.uri.uri), tag.to_owned()]
    }

    fn why(error: impl std::fmt::Debug) -> String {
        format!("{error:?}")
    }

    pub(super) fn see(bytes: &[u8]) -> Result<Seen, String> {
        let bytes = Bytes::copy_from_slice(bytes);
        let mut seen = Seen::default();
        let mut parser = PullParser::new(&bytes, 0);
        let start = parser.next().ok_or("no start line")?.map_err(why)?;
        let text = std::str::from_utf8(start).map_err(why)?;
        let (_, start) = MessageLine::parse(&bytes)(text).map_err(why)?;
        seen.start = match &start {
            MessageLine::Request(line) => format!("{} {}", line.method, uri(&line.uri)),
            MessageLine::Response(line) => line.code.into_u16().to_string(),
        };
        let mut headers = Headers::new();
        for line in &mut parser {
            let text = std::str::from_utf8(line.map_err(why)?).map_err(why)?;
            let (_, line) = Line::parse(&bytes, text).map_err(why)?;
            seen.line(line.name.as_print_str(), &line.value);
            headers.insert(line.name, line.value);
        }
        seen.body = bytes[parser.head_end()..].to_vec();
        let via = headers.get_named::<Vec<Via>>().map_err(why)?.remove(0);
        let sent_by = address("", &host(&via.sent_by.host), via.sent_by.port);
        let branch = via.params.get_val("branch").map(|text| text.to_string()).unwrap_or_default();
        seen.via = [via.transport.to_string(), sent_by, branch];
        seen.from = party(&headers.get::<FromTo>(Name::FROM).map_err(why)?);
        seen.to = party(&headers.get::<FromTo>(Name::TO).map_err(why)?);
        seen.call_id = headers.get_named::<CallID>().map_err(why)?.0.to_string();
        let cseq = headers.get_named::<CSeq>().map_err(why)?;
        seen.cseq = format!("{} {}", cseq.cseq, cseq.method);
        if let Some(contact) = headers.try_get_named::<Vec<Contact>>() {
            seen.contact = uri(&contact.map_err(why)?.remove(0).uri.uri);
        }
        Ok(seen)
    }
}

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

fn via(sent_by: &str, port: Option<u16>) -> Via {
    Via::new(Transport::Tls, host(sent_by), port, Branch::new("z9hG4bK0a1b2c").unwrap())
}

fn request(method: Method, sent_by: &str, from: NameAddr) -> Request {
    let target = Uri::sip(Some("+442079460000"), host("sip.carrier.example"), Some(5061), None);
    let mut request = Request::new(method.clone(), target.clone());
    let headers = &mut request.headers;
    headers.push_via(&via(sent_by, Some(5061)));
    headers.push(HeaderName::MaxForwards, 70);
    headers.push(HeaderName::From, from.with_tag(&Tag::new("from-1").unwrap()));
    headers.push(HeaderName::To, NameAddr::new(target));
    headers.push(HeaderName::CallId, &CallId::new("c4f1@media-0").unwrap());
    headers.push(HeaderName::CSeq, &CSeq { seq: 2_147_483_647, method });
    let contact = Uri::sip(Some("0-x7"), host("192.0.2.10"), None, Some(Transport::Tls));
    headers.push(HeaderName::Contact, NameAddr::new(contact));
    request
}

fn alice() -> NameAddr {
    NameAddr::new(Uri::sip(Some("alice smith"), host("example.com"), None, None))
}

fn named(name: &str) -> NameAddr {
    NameAddr { display_name: Some(name.as_bytes().to_vec()), ..alice() }
}

fn with_sdp(mut request: Request) -> Request {
    let media = MediaType {
        kind: "application".to_owned(),
        subtype: "sdp".to_owned(),
        params: Default::default(),
    };
    request.headers.push(HeaderName::ContentType, &media);
    request.body = Bytes::from_static(b"v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\n");
    request
}

fn answer(request: &Request, status: StatusCode, add: impl FnOnce(&mut Headers)) -> Message {
    let mut response = Response::to_request(request, status, None);
    response.headers.add_to_tag("to-1");
    let remote = "192.0.2.99:40123".parse().unwrap();
    response.headers.stamp_via(remote).unwrap();
    add(&mut response.headers);
    Message::Response(response)
}

/// Which of the three read it.
const ALL: [bool; 3] = [true, true, true];
type Row = (&'static str, [bool; 3], Message);

fn rows() -> Vec<Row> {
    let plain = || request(Method::Invite, "192.0.2.10", alice());
    let mut routed = request(Method::Bye, "192.0.2.10", alice());
    let hop = |name| {
        let mut uri = Uri::sip(None, host(name), Some(5070), None);
        uri.params.set("lr", None);
        NameAddr::new(uri)
    };
    routed.headers.push(HeaderName::Route, hop("p1.example.com"));
    routed.headers.push(HeaderName::Route, hop("p2.example.com"));
    routed.headers.push(HeaderName::Reason, &Reason::q850(16, "Normal call clearing"));
    let tel = NameAddr::new("tel:+15551230001".parse().unwrap());
    vec![
        ("an INVITE", ALL, Message::Request(plain())),
        ("an INVITE with SDP", ALL, Message::Request(with_sdp(plain()))),
        ("a BYE with routes", ALL, Message::Request(routed)),
        ("an OPTIONS", ALL, Message::Request(request(Method::Options, "media.example", alice()))),
        ("a name in quotes", ALL, Message::Request(request(Method::Update, "h", named("Alice")))),
        ("a 100", ALL, answer(&plain(), StatusCode::TRYING, |_| ())),
        (
            "a 180 with routes",
            ALL,
            answer(&with_record_route(plain()), StatusCode::RINGING, |headers| {
                headers.push(HeaderName::Allow, "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE");
            }),
        ),
        (
            "a 401",
            ALL,
            answer(&plain(), StatusCode::UNAUTHORIZED, |headers| {
                let value =
                    "Digest realm=\"trunkline\", nonce=\"0a,b\", algorithm=MD5, qop=\"auth\"";
                headers.push(HeaderName::WwwAuthenticate, value);
            }),
        ),
        (
            "a 488 with its warning",
            ALL,
            answer(&plain(), StatusCode::NOT_ACCEPTABLE_HERE, |headers| {
                headers.push(HeaderName::Warning, warning(305, "media-0", "No codec in common"));
            }),
        ),
        (
            "a 503",
            ALL,
            answer(&plain(), StatusCode::SERVICE_UNAVAILABLE, |headers| {
                headers.push(HeaderName::RetryAfter, 5);
            }),
        ),
        (
            "an IPv6 Via",
            [false, true, true],
            Message::Request(request(Method::Invite, "[2001:db8::10]", alice())),
        ),
        (
            "a name with quotes, a semicolon and a comma",
            [true, true, false],
            Message::Request(request(Method::Invite, "h", named("A \"B\"; C, D"))),
        ),
        (
            "a name with brackets",
            [false, false, true],
            Message::Request(request(Method::Invite, "h", named("A <B>"))),
        ),
        ("a tel URI", [false, true, false], Message::Request(request(Method::Invite, "h", tel))),
        (
            "a method of tomorrow",
            [false, false, true],
            Message::Request(request(Method::Other("TELEPORT".to_owned()), "h", alice())),
        ),
    ]
}

fn with_record_route(mut request: Request) -> Request {
    request
        .headers
        .push(HeaderName::RecordRoute, "<sip:p2.example.com;lr>, <sip:p1.example.com;lr>");
    request
}

#[test]
fn others_read_what_we_write_and_see_the_same() {
    type Reader = (&'static str, fn(&[u8]) -> Result<Seen, String>);
    let readers: [Reader; 3] =
        [("rsip", by_rsip::see), ("rsipstack", by_rsipstack::see), ("ezk", by_ezk::see)];
    let mut wrong = Vec::new();
    for (name, reads, message) in rows() {
        let bytes = message.write();
        let expected = ours::see(&message);
        assert_eq!(ours::see(&Message::parse(&bytes).unwrap()), expected, "{name}, by ourselves");
        for ((reader, see), reads) in readers.iter().zip(reads) {
            match see(&bytes) {
                Ok(seen) if reads && seen != expected => {
                    wrong.push(format!("{reader}, {name}:{}", seen.difference(&expected)));
                }
                Err(why) if reads => wrong.push(format!("{reader}, {name}: {why}")),
                Ok(seen) if !reads && seen == expected => {
                    wrong.push(format!("{reader} reads {name} now: say so in the table"));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
