//! The 49 messages of RFC 4475, each with what the RFC says of it and what we do.

use bytes::Bytes;

use super::super::{HeaderName, Malformed, Message, Method, StatusCode};
use crate::sip::{Frame, Framer, Scheme, Transport};

macro_rules! file {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../../../testdata/rfc4475/", $name, ".dat")).as_slice())
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    /// Refused with this status, naming this field.
    Refused(u16, &'static str),
    /// A response that has to be dropped, for this field.
    Dropped(&'static str),
}
use Verdict::{Accepted, Dropped, Refused};

type Row = (&'static str, (&'static str, &'static [u8]), Verdict);

/// Section, file, verdict. The comment is the RFC's own wish where it is not plain.
const TABLE: &[Row] = &[
    ("3.1.1.1", file!("wsinv"), Accepted),
    ("3.1.1.2", file!("intmeth"), Accepted),
    ("3.1.1.3", file!("esc01"), Accepted),
    ("3.1.1.4", file!("escnull"), Accepted),
    ("3.1.1.5", file!("esc02"), Accepted),
    ("3.1.1.6", file!("lwsdisp"), Accepted),
    ("3.1.1.7", file!("longreq"), Accepted),
    // As a datagram: what follows the first message is ignored.
    ("3.1.1.8", file!("dblreq"), Accepted),
    ("3.1.1.9", file!("semiuri"), Accepted),
    ("3.1.1.10", file!("transports"), Accepted),
    ("3.1.1.11", file!("mpart01"), Accepted),
    ("3.1.1.12", file!("unreason"), Accepted),
    ("3.1.1.13", file!("noreason"), Accepted),
    // 400; the Via cannot be read and goes back as it came.
    ("3.1.2.1", file!("badinv01"), Refused(400, "Via")),
    ("3.1.2.2", file!("clerr"), Refused(400, "Content-Length")),
    ("3.1.2.3", file!("ncl"), Refused(400, "Content-Length")),
    ("3.1.2.4", file!("scalar02"), Refused(400, "Max-Forwards")),
    ("3.1.2.5", file!("scalarlg"), Dropped("CSeq")),
    ("3.1.2.6", file!("quotbal"), Refused(400, "To")),
    ("3.1.2.7", file!("ltgtruri"), Refused(400, "Request-URI")),
    ("3.1.2.8", file!("lwsruri"), Refused(400, "Request-URI")),
    ("3.1.2.9", file!("lwsstart"), Refused(400, "Request-URI")),
    ("3.1.2.10", file!("trws"), Refused(400, "Request-Line")),
    // 400, or the escaped header ignored.
    ("3.1.2.11", file!("escruri"), Refused(400, "Request-URI")),
    // 400, or the Date ignored: nothing of ours depends on it.
    ("3.1.2.12", file!("baddate"), Accepted),
    ("3.1.2.13", file!("regbadct"), Refused(400, "Contact")),
    ("3.1.2.14", file!("badaspec"), Refused(400, "To")),
    // 400, or the quotes inferred: a comma leaves too much to infer.
    ("3.1.2.15", file!("baddn"), Refused(400, "header")),
    ("3.1.2.16", file!("badvers"), Refused(505, "Request-Line")),
    ("3.1.2.17", file!("mismatch01"), Refused(400, "CSeq")),
    // 400, or 501 for the method.
    ("3.1.2.18", file!("mismatch02"), Refused(400, "CSeq")),
    ("3.1.2.19", file!("bigcode"), Dropped("Status-Line")),
    // Well-formed; the transaction is matched by the older rules.
    ("3.2.1", file!("badbranch"), Accepted),
    ("3.3.1", file!("insuf"), Refused(400, "From")),
    // 416, which the user agent above says; the message itself is well-formed.
    ("3.3.2", file!("unkscm"), Accepted),
    ("3.3.3", file!("novelsc"), Accepted),
    ("3.3.4", file!("unksm2"), Accepted),
    // 420 from above.
    ("3.3.5", file!("bext01"), Accepted),
    // 415 from above.
    ("3.3.6", file!("invut"), Accepted),
    // 401 from above.
    ("3.3.7", file!("regaut01"), Accepted),
    ("3.3.8", file!("multi01"), Refused(400, "From")),
    ("3.3.9", file!("mcl01"), Refused(400, "Content-Length")),
    // Dropped by whoever matches its second Via; well-formed.
    ("3.3.10", file!("bcast"), Accepted),
    // 483 from above.
    ("3.3.11", file!("zeromf"), Accepted),
    ("3.3.12", file!("cparam01"), Accepted),
    ("3.3.13", file!("cparam02"), Accepted),
    ("3.3.14", file!("regescrt"), Accepted),
    // 406 from above.
    ("3.3.15", file!("sdp01"), Accepted),
    ("3.4.1", file!("inv2543"), Accepted),
];

fn parse(bytes: &[u8]) -> Result<Message, Malformed> {
    let message = Message::parse(&Bytes::copy_from_slice(bytes))?;
    if let Message::Request(request) = &message {
        request.check()?;
    }
    Ok(message)
}

fn good(name: &str) -> Message {
    let (_, (_, bytes), _) = TABLE.iter().find(|(_, (known, _), _)| *known == name).unwrap();
    parse(bytes).unwrap()
}

fn request(name: &str) -> super::super::Request {
    let Message::Request(request) = good(name) else { panic!("{name} is a request") };
    request
}

#[test]
fn each_of_the_49_is_accepted_or_refused_as_the_rfc_says() {
    let mut wrong = Vec::new();
    assert_eq!(TABLE.len(), 49);
    for (section, (name, bytes), expected) in TABLE {
        let verdict = match parse(bytes) {
            Ok(_) => Accepted,
            Err(Malformed { is_request: true, reply, status, field, .. }) => {
                match reply {
                    Some(reply) if reply.status == status => {}
                    _ => wrong.push(format!("{section} {name}: no reply to a {status}")),
                }
                Refused(status.as_u16(), field)
            }
            Err(refused) => {
                assert!(refused.reply.is_none(), "{name}: a response was answered");
                Dropped(refused.field)
            }
        };
        if verdict != *expected {
            wrong.push(format!("{section} {name}: {verdict:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_refusal_names_the_field_and_can_be_read_by_ourselves() {
    for (section, (name, bytes), expected) in TABLE {
        let Refused(status, field) = expected else { continue };
        let reply = parse(bytes).unwrap_err().reply.unwrap();
        let written = reply.write();
        let text = String::from_utf8_lossy(&written);
        assert!(text.starts_with(&format!("SIP/2.0 {status} ")), "{section} {name}: {text}");
        assert!(reply.reason.contains(field), "{section} {name}: {}", reply.reason);
        // Where one of the five copied headers is missing or wrong, the reply is no better.
        let as_it_came =
            ["badinv01", "scalar02", "quotbal", "badaspec", "baddn", "badvers", "insuf", "multi01"];
        let whole = !as_it_came.contains(name);
        assert_eq!(Message::parse(&written).is_ok(), whole, "{section} {name}");
    }
}

/// In the RFC's own archive this file lacks the empty line that its printed form has.
#[test]
fn baddn_with_its_last_line_is_refused_for_its_from() {
    let (_, (_, bytes), _) = TABLE.iter().find(|(_, (name, _), _)| *name == "baddn").unwrap();
    let refused = parse(&[bytes, b"\r\n".as_slice()].concat()).unwrap_err();
    assert_eq!((refused.field, refused.status.as_u16()), ("From", 400));
}

#[test]
fn good_ones_say_the_same_after_being_written() {
    for (section, (name, bytes), expected) in TABLE {
        if *expected != Accepted {
            continue;
        }
        let once = parse(bytes).unwrap().write();
        let twice = parse(&once).unwrap().write();
        assert_eq!(once, twice, "{section} {name}");
    }
}

#[test]
fn the_tortuous_invite_is_understood() {
    let invite = request("wsinv");
    assert_eq!(invite.headers.max_forwards().unwrap(), Some(68));
    assert_eq!(invite.headers.to().unwrap().tag().unwrap().as_str(), "1918181833n");
    let from = invite.headers.from().unwrap();
    assert_eq!(from.display_text().unwrap(), r#"J Rosenberg \""#);
    assert_eq!(from.tag().unwrap().as_str(), "98asjd8");
    let cseq = invite.headers.cseq().unwrap();
    assert_eq!((cseq.seq, cseq.method), (9, Method::Invite));
    let vias = invite.headers.vias().unwrap();
    let branches = vias.iter().map(|via| via.branch.as_ref().unwrap().as_str());
    assert_eq!(branches.collect::<Vec<_>>(), ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]);
    assert_eq!(vias[1].transport, Transport::Tcp.into());
    assert_eq!(invite.headers.text(&HeaderName::Subject).unwrap(), "");
    let unusual = HeaderName::new("unknownheaderwithunusualvalue").unwrap();
    assert_eq!(invite.headers.text(&unusual).unwrap(), ";;,,;;,;");
    let new_fangled = HeaderName::new("NewFangledHeader").unwrap();
    assert_eq!(
        invite.headers.text(&new_fangled).unwrap(),
        "newfangled value continued newfangled value"
    );
    assert!(invite.headers.routes().unwrap()[0].uri.is_loose_router());
    let contact = &invite.headers.contacts().unwrap()[0];
    assert_eq!(contact.display_text().unwrap(), r#"Quoted string """#);
    assert_eq!(contact.params.text("newparam").unwrap(), "newvalue");
    assert_eq!(contact.params.text("Q").unwrap(), "0.33");
    assert!(contact.params.contains("secondparam"));
    assert_eq!(invite.body.len(), 150);
}

#[test]
fn wide_ranges_of_letters_are_understood() {
    let request = request("intmeth");
    assert_eq!(request.method.as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    assert_eq!(
        request.uri.user.as_deref(),
        Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*")
    );
    assert_eq!(request.uri.password.as_deref(), Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    let to = request.headers.to().unwrap();
    assert_eq!(to.display_name.as_deref(), Some(b"BEL:\x07 NUL:\0 DEL:\x7f".as_slice()));
    let from = request.headers.from().unwrap();
    assert_eq!(from.display_text().unwrap(), "token1~` token2'+_ token3*%!.-");
    assert_eq!(from.params.text("fromParam''~+*_!.-%").unwrap(), "работающий");
    assert_eq!(from.tag().unwrap().as_str(), "_token~1'+`*%!-.");
    assert_eq!(
        request.headers.call_id().unwrap().as_str(),
        r#"intmeth.word%ZK-!.*_+'@word`~)(><:\/"][?}{"#
    );
}

#[test]
fn escapes_are_resolved_where_they_are_escapes_only() {
    let invite = request("esc01");
    assert_eq!(invite.uri.user_text().unwrap(), "sips:user@example.com");
    assert_eq!(invite.headers.to().unwrap().uri.user_text().unwrap(), "user");
    assert_eq!(invite.headers.from().unwrap().uri.user_text().unwrap(), "I have spaces");
    let contact = invite.headers.contacts().unwrap().remove(0).uri;
    assert_eq!(contact.user_text().unwrap(), "caller");
    assert!(contact.is_loose_router());
    assert_eq!(contact.param_text("name").unwrap(), "value%41".to_lowercase());

    let unknown = request("esc02");
    assert_eq!(unknown.method, Method::Other("RE%47IST%45R".to_owned()));
    assert_eq!(unknown.headers.to().unwrap().display_text().unwrap(), "%Z%45");
    assert_eq!(unknown.headers.contacts().unwrap().len(), 2);

    let null = request("escnull");
    assert_eq!(null.headers.to().unwrap().uri.user_text().unwrap(), "null-\0-null");
    assert_eq!(null.headers.contacts().unwrap().len(), 2);
}

#[test]
fn the_rest_is_understood_too() {
    assert_eq!(request("lwsdisp").headers.from().unwrap().display_text().unwrap(), "caller");
    assert_eq!(request("longreq").headers.vias().unwrap().len(), 34);
    assert_eq!(request("semiuri").uri.user_text().unwrap(), "user;par=u@example.net");
    assert_eq!(request("semiuri").headers.accepts().unwrap().len(), 6);
    let transports = request("transports").headers.vias().unwrap();
    let transports = transports.iter().map(|via| via.transport.as_str());
    assert_eq!(transports.collect::<Vec<_>>(), ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
    let multipart = request("mpart01");
    let media = multipart.headers.content_type().unwrap().unwrap();
    assert!(media.is("multipart", "mixed"));
    assert_eq!(media.params.text("boundary").unwrap(), "7a9cbec02ceef655");
    assert_eq!(multipart.body.len(), 553);
    let branch = request("badbranch").headers.top_via().unwrap().branch.unwrap();
    assert!(!branch.is_rfc3261());
    assert_eq!(request("unkscm").uri.scheme, Scheme::Other("nobodyknowsthisscheme".to_owned()));
    assert_eq!(request("novelsc").uri.scheme, Scheme::Other("soap.beep".to_owned()));
    assert_eq!(request("zeromf").headers.max_forwards().unwrap(), Some(0));
    assert_eq!(
        request("bext01").headers.tokens(&HeaderName::Require).unwrap(),
        ["nothingSupportsThis", "nothingSupportsThisEither"]
    );
    let without = request("cparam01").headers.contacts().unwrap().remove(0);
    assert!(without.params.contains("unknownparam") && without.uri.params.is_empty());
    let within = request("cparam02").headers.contacts().unwrap().remove(0);
    assert!(within.params.is_empty() && within.uri.params.contains("unknownparam"));
    let escaped = request("regescrt").headers.contacts().unwrap().remove(0);
    assert_eq!(escaped.uri.headers, [("Route".to_owned(), "%3Csip:sip.example.com%3E".to_owned())]);
    assert_eq!(request("inv2543").headers.max_forwards().unwrap(), None);
    assert!(request("inv2543").body.ends_with(b"RTP/AVP 0\r\n"));

    let Message::Response(reason) = good("unreason") else { panic!("a response") };
    assert!(reason.reason.starts_with("= 2**3 * 5**2 но сто девяносто"));
    let Message::Response(none) = good("noreason") else { panic!("a response") };
    assert_eq!((none.status, none.reason.as_str()), (StatusCode::TRYING, ""));
}

#[test]
fn two_requests_on_one_stream_are_two() {
    let (_, (_, bytes), _) = TABLE.iter().find(|(_, (name, _), _)| *name == "dblreq").unwrap();
    let mut framer = Framer::new();
    framer.push(bytes);
    let mut methods = Vec::new();
    // The INVITE's Content-Length is a byte short of its body, so that the stream ends in doubt.
    while let Some(Ok(frame)) = framer.next() {
        let Frame::Message(bytes) = frame else { continue };
        let Message::Request(request) = Message::parse(&bytes).unwrap() else { panic!() };
        methods.push(request.method);
    }
    assert_eq!(methods, [Method::Register, Method::Invite]);
}
