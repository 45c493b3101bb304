#![allow(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use super::*;
use crate::sip::message::Message;

const HEAD: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
    To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n";

fn frames(stream: &str) -> Vec<Result<String, &'static str>> {
    let mut framer = Framer::new();
    framer.push(stream.as_bytes());
    let mut all = Vec::new();
    while let Some(frame) = framer.next() {
        all.push(match frame {
            Ok(Frame::Ping) => Ok("ping".to_owned()),
            Ok(Frame::Message(bytes)) => Ok(String::from_utf8(bytes.to_vec()).unwrap()),
            Err(error) => Err(error.problem),
        });
    }
    assert!(framer.next().is_none());
    all
}

#[test]
fn a_length_is_found_however_it_is_written() {
    for line in [
        "Content-Length: 3",
        "content-length:3",
        "Content-Length   : 3",
        "l: 3",
        "L\t:\t3",
        "Content-Length:\r\n  0003 ",
        "l:3\r\nContent-Length: 3",
        "Content-Length: 3\r\nX: 1\r\n  l: 9",
    ] {
        let one = format!("{HEAD}{line}\r\n\r\nabc");
        assert_eq!(frames(&format!("{one}{one}")), [Ok(one.clone()), Ok(one)], "{line}");
    }
}

#[test]
fn a_stream_in_doubt_is_given_up() {
    for line in [
        "X: 1",
        "l: 3\r\nContent-Length: 4",
        "Content-Length: -3",
        "Content-Length: 3,3",
        "l:",
        "Content-Length: 18446744073709551615",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 65537",
        "Content-Length: 3\nX: 1",
        "Content-Length\r\n: 3",
        "l: 3\r\nX",
        "l: 3\r\n\rX: 1",
    ] {
        let stream = format!("{HEAD}{line}\r\n\r\nabc{HEAD}l: 0\r\n\r\n");
        let got = frames(&stream);
        assert!(matches!(&got[..], [Err(_)]), "{line}: {got:?}");
    }
}

#[test]
fn who_sent_what_cannot_be_framed_is_told_why() {
    let mut framer = Framer::new();
    framer.push(format!("{HEAD}l: 3\r\nContent-Length: 4\r\n\r\nabc").as_bytes());
    let error = framer.next().unwrap().unwrap_err();
    let reply = error.reply.unwrap();
    assert_eq!(reply.status.as_u16(), 400);
    assert!(Message::parse(&reply.write()).is_ok());
    framer.push(b"more");
    assert_eq!(framer.held(), 0, "nothing is kept after an error");
    assert!(framer.next().is_none());
}

#[test]
fn pings_and_empty_lines_between_messages() {
    let one = format!("{HEAD}l: 0\r\n\r\n");
    let ping = || Ok("ping".to_owned());
    assert_eq!(
        frames(&format!("\r\n\r\n{one}\r\n{one}")),
        [ping(), Ok(one.clone()), Ok(one.clone())]
    );
    assert_eq!(frames("\r\n\r\n\r\n\r\n"), [ping(), ping()]);
    assert_eq!(frames(&format!("\r\n\r\n\r\n{one}")), [ping(), Ok(one)]);
    assert_eq!(frames("\r\n"), []);
}

#[test]
fn a_head_without_end_is_refused_at_its_limit() {
    let mut framer = Framer::new();
    framer.push(HEAD.as_bytes());
    let mut pushed = HEAD.len();
    let error = loop {
        framer.push(b"X: 0123456789\r\n");
        pushed += 15;
        if let Some(frame) = framer.next() {
            break frame.unwrap_err();
        }
        assert!(pushed < limits::HEAD);
    };
    assert_eq!(error.reply.unwrap().status.as_u16(), 513);
}

#[test]
fn what_is_framed_by_its_lines_may_still_be_refused_alone() {
    let bad = "OPTIONS sip:a@b SIP/2.0\r\nFrom: nonsense\r\nl: 0\r\n\r\n";
    let good = format!("{HEAD}l: 0\r\n\r\n");
    let got = frames(&format!("{bad}{good}"));
    assert_eq!(got.len(), 2, "one bad request does not end the connection");
}

/// What makes request smuggling: a framer and a parser that differ on where a message ends.
#[test]
fn the_parser_agrees_with_the_framer() {
    for lines in
        ["l: 3", "Content-Length   : 3", "X: 1\r\n l: 1\r\nl: 3", "l: 3\r\nCONTENT-LENGTH: 003"]
    {
        let one = format!("{HEAD}{lines}\r\n\r\nabc");
        let Some(Ok(Frame::Message(bytes))) = ({
            let mut framer = Framer::new();
            framer.push(one.as_bytes());
            framer.next()
        }) else {
            panic!("{lines}")
        };
        let Message::Request(request) = Message::parse(&bytes).unwrap() else { panic!() };
        assert_eq!(&request.body[..], b"abc", "{lines}");
    }
}
