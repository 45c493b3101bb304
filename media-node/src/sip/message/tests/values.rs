//! One sentence of the grammar each.

use super::super::*;
use super::{changed, invite, refused, request, response, text};
use crate::sip::{Host, Transport};

fn name_addr(value: &str) -> NameAddr {
    NameAddr::parse(value.as_bytes()).unwrap()
}

#[test]
fn a_message_is_what_was_sent() {
    let invite = invite();
    assert_eq!(invite.method, Method::Invite);
    assert_eq!(invite.uri.to_string(), "sip:bob@biloxi.com");
    assert_eq!(invite.headers.call_id().unwrap().as_str(), "a84b4c76e66710@pc33.atlanta.com");
    let from = invite.headers.from().unwrap();
    assert_eq!(from.display_text().unwrap(), "Alice \"A\" <Ltd>, London");
    assert_eq!(from.uri.to_string(), "sips:alice@atlanta.com");
    assert_eq!(invite.headers.to().unwrap().tag(), None);
    let vias = invite.headers.vias().unwrap();
    assert_eq!(vias.len(), 3);
    assert_eq!(vias[0].rport, Some(None));
    assert_eq!(vias[1].host, Host::parse("[2001:db8::9:1]").unwrap());
    assert_eq!(vias[1].received, Some("2001:db8::9:ff".parse().unwrap()));
    assert_eq!(invite.headers.record_routes().unwrap().len(), 2);
    assert_eq!(invite.headers.addresses(&HeaderName::PAssertedIdentity).unwrap().len(), 2);
    assert!(invite.headers.has_token(&HeaderName::Supported, "TIMER"));
    assert_eq!(invite.headers.number(&HeaderName::SessionExpires).unwrap(), Some(1800));
    assert_eq!(invite.headers.text(&HeaderName::new("x-note").unwrap()).unwrap(), "one two");
    assert_eq!(&invite.body[..], b"v=0\n");
    invite.check().unwrap();
}

#[test]
fn compact_names_are_the_long_ones() {
    let compact = text(
        "BYE sip:a@b SIP/2.0\r\nv:SIP/2.0/UDP h;branch=z9hG4bK1\r\nf:<sip:a@b>;tag=1\r\n\
         t: <sip:c@d>\r\ni: x\r\nCSEQ: 1 BYE\r\nm: <sip:a@h>\r\nk: timer\r\nL: 0\r\n\r\n",
    );
    let bye = request(&compact);
    assert_eq!(bye.headers.contacts().unwrap().len(), 1);
    assert_eq!(bye.headers.tokens(&HeaderName::Supported).unwrap(), ["timer"]);
    let written = String::from_utf8(bye.write().to_vec()).unwrap();
    assert!(written.contains("\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: "), "{written}");
}

#[test]
fn every_known_name_is_found_in_any_case() {
    for (name, keys) in HeaderName::KNOWN {
        for key in *keys {
            let key = std::str::from_utf8(key).unwrap();
            assert_eq!(HeaderName::new(key).as_ref(), Some(name), "{key}");
            assert_eq!(HeaderName::new(&key.to_uppercase()).as_ref(), Some(name), "{key}");
        }
        assert_eq!(HeaderName::new(name.as_str()).as_ref(), Some(name), "is in the table in full");
    }
    assert_eq!(HeaderName::new("X-A"), HeaderName::new("x-a"));
    assert_ne!(HeaderName::new("X-A"), HeaderName::new("X-B"));
    assert_eq!(HeaderName::new("X A"), None);
    assert_eq!(HeaderName::new("X-A\r\n"), None);
    assert_eq!(HeaderName::new(""), None);
}

#[test]
fn methods_have_a_case_and_need_not_be_known() {
    assert_eq!(Method::parse(b"INVITE"), Some(Method::Invite));
    assert_eq!(Method::parse(b"invite"), Some(Method::Other("invite".to_owned())));
    assert_eq!(Method::parse(b"B@D"), None);
    let unknown = changed("INVITE sip:", "FROB sip:");
    assert_eq!(refused(&unknown).field, "CSeq");
    let unknown = String::from_utf8(unknown.to_vec()).unwrap().replace("314159 INVITE", "1 FROB");
    assert_eq!(request(&text(&unknown)).method.as_str(), "FROB");
}

#[test]
fn bytes_that_are_not_utf_8_are_kept() {
    let mut bytes = b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n".to_vec();
    bytes.extend_from_slice(
        b"From: \"J\xfcrgen\" <sip:j\xfcrgen@b>;tag=1\r\nTo: K\xf6ln <sip:c@d>\r\n",
    );
    bytes.extend_from_slice(b"Call-ID: x\r\nCSeq: 1 OPTIONS\r\nX-Raw: \xff\x00\xfe\r\n\r\n");
    let options = request(&bytes.into());
    let from = options.headers.from().unwrap();
    assert_eq!(from.display_name.as_deref(), Some(b"J\xfcrgen".as_slice()));
    assert_eq!(from.display_text().unwrap(), "J\u{fffd}rgen");
    assert_eq!(from.uri.user.as_deref(), Some("j%FCrgen"));
    assert_eq!(options.headers.to().unwrap().display_name.as_deref(), Some(b"K\xf6ln".as_slice()));
    assert!(from.write().starts_with(b"\"J\xfcrgen\" <sip:j%FCrgen@b>"));
    let written = options.write();
    assert!(memchr::memmem::find(&written, b"From: \"J\xfcrgen\" <sip:j\xfcrgen@b>").is_some());
    assert!(memchr::memmem::find(&written, b"X-Raw: \xff\x00\xfe\r\n").is_some());
}

#[test]
fn lists_are_split_only_where_a_comma_separates() {
    let mut headers = Headers::new();
    headers.push(HeaderName::Contact, "\"a, \\\" b\" <sip:a,b@h?x=1,2>;q=1 , <sip:c@h>");
    headers.push(HeaderName::Contact, "sip:d@h");
    let contacts = headers.contacts().unwrap();
    assert_eq!(contacts.len(), 3);
    assert_eq!(contacts[0].display_text().unwrap(), "a, \" b");
    headers.push(HeaderName::Subject, "one, two");
    assert_eq!(headers.list(&HeaderName::Subject).unwrap(), [b"one, two"]);
    headers.push(HeaderName::WwwAuthenticate, "Digest realm=\"a, b\", nonce=\"1\"");
    assert_eq!(headers.list(&HeaderName::WwwAuthenticate).unwrap().len(), 1);
    headers.set(HeaderName::Contact, "<sip:a@h>,,<sip:b@h>");
    assert!(headers.contacts().is_err());
    headers.set(HeaderName::Contact, "*");
    assert!(headers.is_contact_star() && headers.contacts().unwrap().is_empty());
}

#[test]
fn a_name_addr_is_read_in_all_its_forms() {
    let plain = name_addr("sip:a@h;tag=1");
    assert_eq!(plain.tag().unwrap().as_str(), "1");
    assert!(plain.uri.params.is_empty());
    let bracketed = name_addr("<sip:a@h;lr;x=y>;tag=1 ; q = \"a;b\"");
    assert!(bracketed.uri.is_loose_router());
    assert_eq!(bracketed.params.text("q").unwrap(), "a;b");
    assert_eq!(name_addr("Mr. J (work) <sip:a@h>").display_text().unwrap(), "Mr. J (work)");
    assert_eq!(name_addr("\"\"<sip:a@h>").display_text().unwrap(), "");
    assert_eq!(name_addr("<sip:a@h>").display_name, None);
    let tel = name_addr("<tel:+44-20-7946-0000;phone-context=x>;tag=2");
    assert_eq!(tel.uri.user_text().unwrap(), "+442079460000");
    assert_eq!(name_addr("tel:110;tag=3").tag().unwrap().as_str(), "3");
    for wrong in [
        "",
        "sip:",
        "a@h",
        "<sip:a@h",
        "sip:a@h>",
        "\"a <sip:a@h>",
        "\"a\" sip:a@h",
        "<sip:a@h> x",
        "<sip:a@h>;tag=1;tag=2",
        "<sip:a@h>;tag=",
        "<sip:a@h>;tag",
        "<sip:a@h>;",
        "<sip:a@h>;=1",
        "< sip:a@h>",
        "sip:a@h?x=y",
        "sip:a,b@h",
        "<sip:a@h>;tag=\"1\"",
        "a, b <sip:a@h>",
        "<sip:a@h><sip:b@h>",
        "sip:a@h;tag=ä",
    ] {
        assert!(NameAddr::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn a_name_addr_written_reads_the_same() {
    for value in [
        "\"a \\\" \\\\ b\" <sip:a@h;lr>;tag=1;x=\"q;\\\"\"",
        "<tel:+1>;q=0.5",
        "sip:a@[::1]:1",
        "Latin <sips:%20@h?a=b&c=d>",
        "\"\" <sip:h>",
        "<urn:service:sos>;tag=1",
    ] {
        let once = name_addr(value);
        let again = NameAddr::parse(&once.write()).unwrap();
        assert_eq!(once, again, "{value}");
    }
}

#[test]
fn a_via_is_read_in_all_its_forms() {
    let via = |value: &str| Via::parse(value.as_bytes());
    let one =
        via("SIP / 2.0 / udp  First.Example.com : 4000 ;ttl=16;maddr=224.2.0.1 ;branch=z9hG4bKa7")
            .unwrap();
    assert_eq!(one.transport, ViaTransport::Udp);
    assert_eq!(one.sent_by(), "first.example.com:4000");
    assert_eq!(one.params.text("ttl").unwrap(), "16");
    let filled = via("SIP/2.0/TLS [::1];rport=9;received=::2;branch=z9hG4bKx").unwrap();
    assert_eq!(filled.rport, Some(Some(9)));
    assert_eq!(filled.received, Some("::2".parse().unwrap()));
    assert_eq!(via("SIP/2.0/UDP h;received=[::2]").unwrap().received, filled.received);
    assert_eq!(via("SIP/2.0/UDP h;received=name").unwrap().received, None);
    for value in
        ["SIP/2.0/WSS x.invalid;branch=z9hG4bK1;keep", "SIP/2.0/TCP [::1]:7;rport=1;a=\"b\""]
    {
        let once = via(value).unwrap();
        assert_eq!(Via::parse(&once.write()).unwrap(), once, "{value}");
    }
    for wrong in [
        "",
        "SIP/2.0",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/1.0/UDP h",
        "HTTP/2.0/UDP h",
        "SIP/2.0/UDP h:",
        "SIP/2.0/UDP h:65536",
        "SIP/2.0/UDP h;branch=",
        "SIP/2.0/UDP h;branch=a;branch=b",
        "SIP/2.0/UDP h;rport=x",
        "SIP/2.0/UDP h;;",
        "SIP/2.0/UDP ::1",
        "SIP/2.0/UDP [::1",
        "SIP/2.0UDP h",
    ] {
        assert!(via(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_via_is_stamped_with_where_the_request_came_from() {
    let stamp = |via: &str, remote: &str| {
        let mut headers = Headers::new();
        headers.push(HeaderName::Via, format!("{via}, SIP/2.0/UDP below"));
        headers.stamp_via(remote.parse().unwrap()).unwrap();
        assert_eq!(headers.vias().unwrap().len(), 2, "the one below stays");
        String::from_utf8(headers.top_via().unwrap().write()).unwrap()
    };
    // RFC 3261 §18.2.1: only where it differs.
    assert_eq!(stamp("SIP/2.0/UDP 192.0.2.1:9", "192.0.2.1:7"), "SIP/2.0/UDP 192.0.2.1:9");
    assert_eq!(stamp("SIP/2.0/UDP h", "192.0.2.1:7"), "SIP/2.0/UDP h;received=192.0.2.1");
    // RFC 3581 §4: both, whatever it says.
    assert_eq!(
        stamp("SIP/2.0/UDP 192.0.2.1;rport", "192.0.2.1:7"),
        "SIP/2.0/UDP 192.0.2.1;received=192.0.2.1;rport=7"
    );
    // What the sender says of itself is not believed.
    assert_eq!(
        stamp("SIP/2.0/UDP h;received=198.51.100.9;rport=1", "[2001:db8::1]:7"),
        "SIP/2.0/UDP h;received=2001:db8::1;rport=7"
    );
    assert_eq!(
        stamp("SIP/2.0/UDP 192.0.2.1;received=elsewhere", "[::ffff:192.0.2.1]:7"),
        "SIP/2.0/UDP 192.0.2.1"
    );
}

#[test]
fn a_response_begins_as_the_rfc_says() {
    let invite = invite();
    let mut ringing = Response::to_request(&invite, StatusCode::RINGING, None);
    ringing.headers.add_to_tag("a6c85cf");
    ringing.headers.add_to_tag("not again");
    let ringing = response(&ringing.write());
    assert_eq!((ringing.status.as_u16(), ringing.reason.as_str()), (180, "Ringing"));
    assert_eq!(ringing.headers.vias().unwrap(), invite.headers.vias().unwrap());
    assert_eq!(
        ringing.headers.text(&HeaderName::To).unwrap(),
        "Bob <sip:bob@biloxi.com>;tag=a6c85cf"
    );
    assert_eq!(ringing.headers.record_routes().unwrap().len(), 2);
    assert!(!ringing.headers.contains(&HeaderName::Contact));
    let refusal =
        Response::to_request(&invite, StatusCode::BUSY_HERE, Some("In a\r\nVia: meeting"));
    assert!(!refusal.headers.contains(&HeaderName::RecordRoute));
    let refusal = response(&refusal.write());
    assert_eq!(refusal.reason, "In a  Via: meeting");
}

#[test]
fn nothing_a_peer_said_can_begin_a_header_of_its_own() {
    let evil = "x\r\nEvil: 1\nEvil: 2\rEvil: 3";
    let mut request = Request::new(Method::Other(evil.to_owned()), "sip:a@h".parse().unwrap());
    request.uri.user = Some(evil.to_owned());
    request.uri.host = Some(Host::Name(evil.to_owned()));
    request.uri.params.set(evil, Some(evil));
    request.uri.headers.push((evil.to_owned(), evil.to_owned()));
    let mut address = NameAddr::new(request.uri.clone());
    address.display_name = Some(evil.as_bytes().to_vec());
    address.params.set("x", Some(evil));
    address.params.set(evil, None);
    request.headers.push(HeaderName::From, &address);
    request.headers.push(HeaderName::Subject, evil);
    request.headers.push_front(HeaderName::UserAgent, evil.as_bytes());
    request.headers.set(HeaderName::Server, evil.to_owned());
    let reason = Reason { protocol: evil.to_owned(), cause: None, text: Some(evil.to_owned()) };
    request.headers.push(HeaderName::Reason, &reason);
    request.headers.push(HeaderName::Warning, warning(399, evil, evil));
    let written = String::from_utf8(request.write().to_vec()).unwrap();
    assert!(written.lines().all(|line| !line.starts_with("Evil")), "{written}");
    assert_eq!(written.matches('\n').count(), written.matches("\r\n").count());
    assert_eq!(written.matches('\r').count(), written.matches("\r\n").count());
}

#[test]
fn content_length_decides_where_the_body_ends() {
    let short = changed("Content-Length: 4", "Content-Length: 003");
    assert_eq!(&request(&short).body[..], b"v=0");
    let none = changed("Content-Length: 4\r\n", "");
    assert_eq!(&request(&none).body[..], b"v=0\n");
    let twice = changed("Content-Length: 4", "Content-Length: 4\r\nl  :\t4");
    assert_eq!(&request(&twice).body[..], b"v=0\n");
    for wrong in [
        "5",
        "-1",
        "",
        "4, 4",
        "4 4",
        "0x4",
        "18446744073709551615",
        "18446744073709551616",
        "4\r\nl: 3",
    ] {
        let refused = refused(&changed("Content-Length: 4", &format!("Content-Length: {wrong}")));
        assert_eq!((refused.field, refused.status.as_u16()), ("Content-Length", 400), "{wrong}");
        assert!(refused.reply.is_some(), "{wrong}");
    }
}

#[test]
fn a_refusal_says_where_and_why_and_can_be_sent() {
    let wrong = changed("Call-ID: a84", "Call-ID: a 84");
    let refused = refused(&wrong);
    assert_eq!(
        refused.to_string(),
        format!("Call-ID: {} (byte {})", refused.problem, refused.offset)
    );
    assert_eq!(&wrong[refused.offset..][..4], b"a 84");
    let reply = refused.reply.unwrap();
    assert!(reply.reason.starts_with("Bad Request (Call-ID: "), "{}", reply.reason);
    let again = super::refused(&wrong).reply.unwrap();
    let tag = reply.headers.to().unwrap().tag();
    assert!(tag.is_some() && tag == again.headers.to().unwrap().tag(), "the same for a repeat");
    assert_eq!(reply.headers.vias().unwrap().len(), 3);
}

#[test]
fn an_ack_and_a_response_are_never_answered() {
    let ack = String::from_utf8(changed("INVITE sip", "ACK sip").to_vec()).unwrap();
    let refused = refused(&text(&ack));
    assert!(refused.is_request && refused.reply.is_none());
    let response = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\n\r\n";
    let refused = super::refused(&text(response));
    assert!(!refused.is_request && refused.reply.is_none());
}

#[test]
fn header_lines_are_strict() {
    for (find, replace) in [
        ("Max-Forwards: 70\r\n", "Max-Forwards 70\r\n"),
        ("Max-Forwards: 70\r\n", ": 70\r\n"),
        ("Max-Forwards: 70\r\n", "Max Forwards: 70\r\n"),
        ("Max-Forwards: 70\r\n", "Max-Forwards: 70\n"),
        ("Max-Forwards: 70\r\n", "Max-Forwards: 7\r0\r\n"),
        ("Max-Forwards: 70\r\n", "Max-Forwards: 70\r\r\n"),
        ("Max-Forwards: 70\r\n", "Max-Forwards: 256\r\n"),
        ("Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nMax-Forwards: 70\r\n"),
        ("To: Bob", "To: <sip:a@b>\r\nt: Bob"),
        ("CSeq: 314159", "CSeq: 4294967296"),
        ("CSeq: 314159 INVITE", "CSeq: 314159INVITE"),
        ("CSeq: 314159 INVITE", "CSeq: 314159 INVITE x"),
        ("INVITE sip", " INVITE sip"),
        ("SIP/2.0\r\n", "SIP/2.0 \r\n"),
        ("SIP/2.0\r\n", "\r\n"),
        ("SIP/2.0\r\n", "SIP/2.0\r\n folded: 1\r\n"),
        ("\r\n\r\nv=0\n", "\r\n"),
    ] {
        assert_eq!(refused(&changed(find, replace)).status.as_u16(), 400, "{replace:?}");
    }
    assert_eq!(refused(&changed("SIP/2.0\r\n", "SIP/3.0\r\n")).status.as_u16(), 505);
    request(&changed("CSeq: 314159", "CSeq: 4294967295"));
    request(&changed("INVITE sip", "\r\n\r\nINVITE sip"));
    request(&changed("Max-Forwards: 70\r\n", "mAX-fORWARDS \t : \r\n\t070  \r\n"));
}

#[test]
fn every_limit_is_kept() {
    let with = |extra: String| changed("Max-Forwards: 70\r\n", &extra);
    let lines = |count| with("Y-X: 1\r\n".repeat(count));
    let known = request(&lines(0)).headers.len();
    assert!(Message::parse(&lines(limits::HEADERS - known)).is_ok());
    assert_eq!(refused(&lines(limits::HEADERS - known + 1)).status.as_u16(), 513);
    assert_eq!(
        refused(&with(format!("Y-X: {}\r\n", "a".repeat(limits::HEAD)))).status.as_u16(),
        513
    );
    let params = |count| with(format!("Contact: <sip:a@h>{}\r\n", ";a".repeat(count)));
    assert!(request(&params(limits::PARAMS)).headers.contacts().is_ok());
    assert!(request(&params(limits::PARAMS + 1)).headers.contacts().is_err());
    assert!(request(&params(limits::PARAMS + 1)).check().unwrap_err().reply.is_some());
    let list = |count| with(format!("Allow: {}\r\n", ",A".repeat(count)));
    assert!(request(&list(limits::LIST - 6)).headers.tokens(&HeaderName::Allow).is_ok());
    assert!(request(&list(limits::LIST - 5)).headers.tokens(&HeaderName::Allow).is_err());
    let routes =
        |count: usize| with(format!("Route: <sip:a@h>{}\r\n", ",<sip:a@h>".repeat(count - 1)));
    assert!(request(&routes(limits::LIST)).headers.routes().is_ok());
    assert!(request(&routes(limits::LIST + 1)).headers.routes().is_err());
    let body = |len: usize| {
        let head =
            String::from_utf8(changed("Content-Length: 4\r\n\r\nv=0\n", "\r\n").to_vec()).unwrap();
        text(&(head + &"a".repeat(len)))
    };
    assert!(Message::parse(&body(limits::BODY)).is_ok());
    assert_eq!(refused(&body(limits::BODY + 1)).status.as_u16(), 513);
}

#[test]
fn headers_are_a_list_in_order() {
    let mut headers = Headers::new();
    headers.push(HeaderName::Subject, "1");
    headers.push(HeaderName::Allow, "INVITE");
    headers.push(HeaderName::Subject, "2");
    headers.set(HeaderName::Subject, "3");
    assert_eq!(headers.values(&HeaderName::Subject).collect::<Vec<_>>(), [b"3"]);
    assert_eq!(headers.iter().next().unwrap().0, &HeaderName::Subject);
    headers.set(HeaderName::Server, "new");
    assert_eq!(headers.len(), 3);
    assert_eq!(headers.remove(&HeaderName::Allow), 1);
    assert!(!headers.contains(&HeaderName::Allow));
    let via =
        Via::new(Transport::Udp, Host::parse("h").unwrap(), None, Branch::new("z9hG4bKa").unwrap());
    headers.push_via(&via);
    assert_eq!(headers.top_via().unwrap(), via);
    assert_eq!(headers.iter().next().unwrap().0, &HeaderName::Via);
}

#[test]
fn reasons_and_warnings_are_for_people_too() {
    let reason = Reason::parse(b"Q.850 ;cause=16 ;text=\"Normal \\\"call\\\" clearing\"").unwrap();
    assert_eq!(reason.cause, Some(16));
    assert_eq!(reason.text.as_deref(), Some("Normal \"call\" clearing"));
    assert_eq!(Reason::parse(HeaderValue::from(&reason).as_bytes()).unwrap(), reason);
    assert!(Reason::parse(b"SIP;cause=x").is_err());
    let value = warning(304, "[2001:db8::1]:5060", "No \"codec\" fits");
    assert_eq!(value.as_bytes(), b"304 [2001:db8::1]:5060 \"No \\\"codec\\\" fits\"");
    assert_eq!(warning(399, "", "x").as_bytes(), b"399 - \"x\"");
}

#[test]
fn what_is_shown_holds_nothing_of_what_a_peer_sent() {
    let bytes = changed("X-Note", "Authorization");
    let shown = format!("{:?} {:?}", request(&bytes), Message::parse(&bytes));
    assert!(!shown.contains("one two") && !shown.contains("v=0"), "{shown}");
    let refused = refused(&changed("Call-ID: a84", "Call-ID: sec ret"));
    assert!(!refused.to_string().contains("ret"), "{refused}");
}
