//! Every truncation and every change of one byte of good messages; random ones; and that the work
//! done grows no faster than the message.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::scan::work;
use super::super::*;
use super::{INVITE, text};
use crate::sip::{Frame, Framer, Host, Uri};

const RESPONSE: &str = "SIP/2.0 200 OK\r\n\
    v: SIP/2.0/UDP [2001:db8::1]:5060 ;branch = z9hG4bK-1;rport=7;received=2001:db8::2\r\n\
    f: \"\\\"\" <sip:%41@h:1;lr?a=b>;tag=1\r\nt:tel:+1;tag=2\r\ni: 1@2\r\nCSeq: 1 BYE\r\n\
    Warning: 399 h \"a, b\"\r\nk:\r\nl: 2\r\n\r\nab";

/// Reads all there is to read; what can be read must be written and read again as the same.
fn exercise(bytes: &Bytes) -> Result<(), String> {
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(refused) => {
            let _ = refused.to_string();
            if let Some(reply) = refused.reply {
                well_formed(&reply.write())?;
            }
            return Ok(());
        }
    };
    let headers = message.headers();
    let _ = (headers.vias(), headers.contacts(), headers.routes(), headers.record_routes());
    let _ = (headers.content_type(), headers.accepts(), headers.reasons());
    let _ = headers.addresses(&HeaderName::PAssertedIdentity);
    let written = message.write();
    well_formed(&written)?;
    let again = Message::parse(&written).map_err(|error| format!("written, but {error}"))?;
    if again.write() != written {
        return Err("written twice, not the same".to_owned());
    }
    let pairs = headers.iter().zip(again.headers().iter());
    for ((name, value), (other_name, other)) in pairs {
        if *name != HeaderName::ContentLength && (name, value) != (other_name, other) {
            // Content-Length moves to the end.
            if !headers.contains(&HeaderName::ContentLength) {
                return Err(format!("{name} changed"));
            }
        }
    }
    for address in [headers.from(), headers.to()] {
        let address = address.map_err(|error| format!("passed, but {error}"))?;
        let again = NameAddr::parse(&address.write()).map_err(|error| error.to_string())?;
        if again != address {
            return Err(format!("{again:?} is not {address:?}"));
        }
    }
    let via = headers.top_via().map_err(|error| error.to_string())?;
    let again = Via::parse(&via.write()).map_err(|error| error.to_string())?;
    if again != via {
        return Err(format!("{again:?} is not {via:?}"));
    }
    Ok(())
}

/// CR and LF as pairs only, up to the empty line.
fn well_formed(written: &[u8]) -> Result<(), String> {
    let head = memchr::memmem::find(written, b"\r\n\r\n").ok_or("no empty line")?;
    let head = String::from_utf8_lossy(&written[..head]).replace("\r\n", "");
    if head.contains(['\r', '\n']) { Err("a stray CR or LF".to_owned()) } else { Ok(()) }
}

/// Panics are failures like others, so that one run shows all.
fn outcome(bytes: Vec<u8>) -> Result<(), String> {
    let bytes = Bytes::from(bytes);
    std::panic::catch_unwind(|| exercise(&bytes)).unwrap_or_else(|_| Err("panic".to_owned()))
}

#[test]
fn every_truncation_is_refused_or_understood() {
    let mut failures = Vec::new();
    for (name, message) in [("invite", INVITE), ("response", RESPONSE)] {
        for len in 0..=message.len() {
            let cut = message.as_bytes()[..len].to_vec();
            if len < message.len() && Message::parse(&cut.clone().into()).is_ok() {
                failures.push(format!("{name} cut to {len} bytes passes"));
            }
            if let Err(why) = outcome(cut) {
                failures.push(format!("{name} cut to {len} bytes: {why}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn every_change_of_one_byte_is_refused_or_understood() {
    let values =
        [0, b'\r', b'\n', b' ', b'"', b'%', b',', b':', b';', b'<', b'>', b'@', b'\\', b'9', 0xff];
    let mut failures = Vec::new();
    for (name, message) in [("invite", INVITE), ("response", RESPONSE)] {
        for at in 0..message.len() {
            let flipped = message.as_bytes()[at] ^ 0x01;
            for value in values.into_iter().chain([flipped]) {
                let mut changed = message.as_bytes().to_vec();
                changed[at] = value;
                if let Err(why) = outcome(changed) {
                    failures.push(format!("{name}, byte {at} now {value:#04x}: {why}"));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures: {:#?}",
        failures.len(),
        &failures[..failures.len().min(40)]
    );
}

#[test]
fn work_grows_with_the_message_and_no_faster() {
    fn invite_with(extra: &str) -> Bytes {
        text(&INVITE.replacen("Max-Forwards: 70\r\n", extra, 1))
    }
    type Fill = (&'static str, fn(usize) -> String);
    let fill: &[Fill] = &[
        ("one long value", |len| format!("X-Fill: {}\r\n", "a".repeat(len))),
        ("commas", |len| format!("Contact: {}\r\n", ",".repeat(len))),
        ("quotes", |len| format!("Contact: {}\r\n", "\"\\".repeat(len / 2))),
        ("open brackets", |len| format!("Route: {}\r\n", "<sip:".repeat(len / 5))),
        ("folds", |len| format!("X-Fill: a\r\n{}", " b\r\n".repeat(len / 4))),
        ("lines", |len| "X-Fill: 1\r\n".repeat((len / 6).min(100))),
        ("parameters", |len| format!("Contact: <sip:a@h>{}\r\n", ";a=\"\"".repeat(len / 5))),
        ("uri parameters", |len| format!("Contact: <sip:a@h{}>\r\n", ";a".repeat(len / 2))),
        ("Via values", |len| format!("Via: {}h\r\n", "SIP/2.0/UDP h, ".repeat(len / 15))),
        ("colons", |len| format!("{}\r\n", ":".repeat(len))),
        ("Content-Lengths", |len| "l: 4\r\n".repeat((len / 6).min(100))),
    ];
    let cost = |bytes: &Bytes| {
        work::taken();
        if let Ok(Message::Request(request)) = Message::parse(bytes) {
            let _ = request.check();
        }
        let mut framer = Framer::new();
        for byte in bytes {
            framer.push(&[*byte]);
            let _ = framer.next();
        }
        work::taken()
    };
    for (name, fill) in fill {
        for len in [1_000, 4_000, 14_000] {
            let bytes = invite_with(&fill(len));
            let (cost, size) = (cost(&bytes), bytes.len());
            assert!(cost <= 16 * size, "{name}: {cost} looks at {size} bytes");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_refused_or_understood(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(outcome(bytes), Ok(()));
    }

    #[test]
    fn pieces_of_sip_in_any_order_are_refused_or_understood(
        pieces in proptest::collection::vec(prop::sample::select(vec![
            "INVITE ", "sip:a@b", " SIP/2.0\r\n", "Via: ", "SIP/2.0/UDP h", ";branch=z9hG4bK1", "\r\n",
            "From: ", "<sip:a@h>", ";tag=1", "To: ", "Call-ID: x\r\n", "CSeq: 1 INVITE\r\n", " ", "\"",
            "\\", "<", ">", ",", ";", "=", "l: 0\r\n", "%41", "[::1]", ":5060", "?a=b", "\r\n\r\n",
        ]), 0..40),
    ) {
        prop_assert_eq!(outcome(pieces.concat().into_bytes()), Ok(()));
    }

    #[test]
    fn what_is_written_reads_the_same(
        user in ".{0,12}", display in ".{0,12}", value in ".{0,16}", param in ".{0,8}",
        host in "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z]{2,3})?", port in any::<Option<u16>>(),
    ) {
        let host = Host::parse(&host).unwrap();
        let user = (!user.is_empty()).then_some(user);
        let mut address = NameAddr::new(Uri::sip(user.as_deref(), host, port, None));
        address.display_name = Some(display.clone().into_bytes());
        address.params.set("p", Some(&param));
        let again = NameAddr::parse(&address.write()).unwrap();
        let clean = |text: &str| text.replace(['\r', '\n'], " ");
        prop_assert_eq!(again.uri.user_text().map(|text| text.into_owned()), user);
        prop_assert_eq!(again.display_text().unwrap().into_owned(), clean(&display));
        prop_assert_eq!(again.params.text("p").unwrap().into_owned(), clean(&param));

        let name = HeaderName::new("X-Value").unwrap();
        let mut request = super::invite();
        request.headers.push(name.clone(), value.as_str());
        let again = super::request(&request.write());
        let clean = clean(&value);
        prop_assert_eq!(again.headers.text(&name).unwrap(), clean.trim_matches([' ', '\t']));
    }

    #[test]
    fn a_stream_gives_the_same_messages_in_any_pieces(cuts in proptest::collection::vec(1..200_usize, 1..40)) {
        let stream = [INVITE, "\r\n\r\n", RESPONSE, "\r\n", INVITE].concat();
        let mut framer = Framer::new();
        let (mut rest, mut got) = (stream.as_bytes(), Vec::new());
        for cut in cuts.iter().cycle() {
            let (piece, more) = rest.split_at((*cut).min(rest.len()));
            framer.push(piece);
            while let Some(frame) = framer.next() {
                got.push(match frame.unwrap() {
                    Frame::Message(bytes) => bytes,
                    Frame::Ping => Bytes::from_static(b"ping"),
                });
            }
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(got, [text(INVITE), text("ping"), text(RESPONSE), text(INVITE)]);
    }
}
