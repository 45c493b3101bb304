use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Dialect, Incoming, StartInfo, Stream};

fn stream(parameters: &[(&str, &str)]) -> Stream {
    let parameters = parameters.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let start = StartInfo {
        call_id: "0-01JDABC".into(),
        account: "trunkline".into(),
        parameters: parameters.collect(),
    };
    Stream::new(Dialect::TwilioMediaStreams, &start)
}

fn opened() -> (Stream, String) {
    let mut stream = stream(&[]);
    while stream.opening().is_some() {}
    let sid = {
        let stop: Value = serde_json::from_slice(stream.stop().unwrap()).unwrap();
        stop["streamSid"].as_str().unwrap().to_owned()
    };
    (stream, sid)
}

fn read(message: Option<&[u8]>) -> Value {
    serde_json::from_slice(message.unwrap()).unwrap()
}

fn audio(stream: &mut Stream, message: &str) -> Option<Vec<u8>> {
    match stream.parse(message.as_bytes()) {
        Incoming::Audio(payload) => {
            let mut audio = Vec::new();
            payload.decode(|piece| audio.extend_from_slice(piece)).ok()?;
            Some(audio)
        }
        _ => None,
    }
}

fn is_sid(value: &Value, kind: &str) -> bool {
    value.as_str().is_some_and(|sid| {
        sid.len() == 34
            && sid.starts_with(kind)
            && sid[2..].chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
    })
}

#[test]
fn the_opening_is_connected_then_start() {
    let mut stream = stream(&[("from_number", "+15551230000"), ("note", "say \"hi\"\n")]);
    assert_eq!(
        stream.opening(),
        Some(&br#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#[..])
    );
    let start = read(stream.opening());
    assert!(stream.opening().is_none());
    assert_eq!(start["event"], "start");
    assert_eq!(start["sequenceNumber"], "1");
    assert!(is_sid(&start["streamSid"], "MZ"));
    assert_eq!(start["streamSid"], start["start"]["streamSid"]);
    assert!(is_sid(&start["start"]["callSid"], "CA"));
    assert!(is_sid(&start["start"]["accountSid"], "AC"));
    assert_eq!(start["start"]["tracks"], json!(["inbound"]));
    assert_eq!(
        start["start"]["mediaFormat"],
        json!({"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1})
    );
    assert_eq!(
        start["start"]["customParameters"],
        json!({"from_number": "+15551230000", "note": "say \"hi\"\n"})
    );
}

#[test]
fn parameters_keep_their_order_and_the_later_value_of_a_name_counts() {
    let mut stream = stream(&[("z", "1"), ("a", "2"), ("z", "3")]);
    stream.opening();
    let start = String::from_utf8(stream.opening().unwrap().to_vec()).unwrap();
    assert!(start.contains(r#""customParameters":{"z":"3","a":"2"}"#), "{start}");
}

#[test]
fn identifiers_are_the_calls_own_and_the_account_is_the_owners() {
    let start = |call_id: &str, account: &str| {
        let info =
            StartInfo { call_id: call_id.into(), account: account.into(), parameters: vec![] };
        let mut stream = Stream::new(Dialect::TwilioMediaStreams, &info);
        stream.opening();
        read(stream.opening())
    };
    let (one, again, other) = (start("1", "a"), start("1", "a"), start("2", "a"));
    assert_eq!(one, again);
    assert_ne!(one["streamSid"], other["streamSid"]);
    assert_ne!(one["start"]["callSid"], other["start"]["callSid"]);
    assert_eq!(one["start"]["accountSid"], other["start"]["accountSid"]);
    assert_ne!(one["start"]["accountSid"], start("1", "b")["start"]["accountSid"]);
}

#[test]
fn media_counts_chunks_and_everything_counts_the_sequence() {
    let mut stream = stream(&[]);
    while stream.opening().is_some() {}
    let first = String::from_utf8(stream.media(Duration::from_millis(5), &[0xff; 160]).to_vec());
    let first = first.unwrap();
    let sid = &first[first.find("MZ").unwrap()..][..34];
    let payload = format!("{}/w==", "/".repeat(212));
    assert_eq!(
        first,
        format!(
            r#"{{"event":"media","sequenceNumber":"2","streamSid":"{sid}","media":{{"track":"inbound","chunk":"1","timestamp":"5","payload":"{payload}"}}}}"#
        )
    );
    assert_eq!(
        read(stream.digit('#')),
        json!({"event": "dtmf", "streamSid": sid, "sequenceNumber": "3",
               "dtmf": {"track": "inbound_track", "digit": "#"}})
    );
    assert_eq!(
        read(stream.mark("utt \"1\"")),
        json!({"event": "mark", "sequenceNumber": "4", "streamSid": sid, "mark": {"name": "utt \"1\""}})
    );
    let second = read(Some(stream.media(Duration::from_secs(3600), &[0; 160])));
    assert_eq!(second["sequenceNumber"], "5");
    assert_eq!(second["media"]["chunk"], "2");
    assert_eq!(second["media"]["timestamp"], "3600000");
    let stop = read(stream.stop());
    assert_eq!(stop["sequenceNumber"], "6");
    assert!(is_sid(&stop["stop"]["callSid"], "CA"));
    assert!(is_sid(&stop["stop"]["accountSid"], "AC"));
}

#[test]
fn nothing_is_allocated_for_media_once_the_first_was_written() {
    let Stream::Twilio(mut stream) = stream(&[]);
    stream.media(Duration::ZERO, &[1; 160]);
    let (capacity, place) = (stream.out.capacity(), stream.out.as_ptr());
    for n in 0..10_000 {
        stream.media(Duration::from_millis(20 * n), &[1; 160]);
    }
    assert_eq!((stream.out.capacity(), stream.out.as_ptr()), (capacity, place));
}

#[test]
fn the_agents_three_messages_are_understood() {
    let (mut stream, sid) = opened();
    let media =
        format!(r#"{{"event":"media","streamSid":"{sid}","media":{{"payload":"AQID/w=="}}}}"#);
    assert_eq!(audio(&mut stream, &media), Some(vec![1, 2, 3, 0xff]));
    let mark = format!(r#"{{"event":"mark","streamSid":"{sid}","mark":{{"name":"utt-1"}}}}"#);
    assert_eq!(stream.parse(mark.as_bytes()), Incoming::Mark("utt-1".into()));
    let clear = format!(r#"{{"event":"clear","streamSid":"{sid}"}}"#);
    assert_eq!(stream.parse(clear.as_bytes()), Incoming::Clear);
    assert_eq!(stream.counters(), Default::default());
}

#[test]
fn what_other_writers_of_json_do_is_understood() {
    let (mut stream, _) = opened();
    // Escaped slashes, keys in another order, fields that nobody asked for, unpadded base64.
    for (message, expected) in [
        (r#"{"media":{"payload":"\/\/\/\/"},"event":"media"}"#, vec![0xff, 0xff, 0xff]),
        (
            r#" {"event":"media","media":{"track":"x","payload":"AQ","n":[1,{}]},"extra":null}"#,
            vec![1],
        ),
        (r#"{"event":"media","media":{"payload":""},"mark":null}"#, vec![]),
    ] {
        assert_eq!(audio(&mut stream, message), Some(expected), "{message}");
    }
    assert_eq!(
        stream.parse(br#"{"event":"mark","mark":{"name":"\u00e9\n"}}"#),
        Incoming::Mark("é\n".into())
    );
    assert_eq!(stream.counters(), Default::default());
}

#[test]
fn plain_text_is_borrowed_from_the_message() {
    let (mut stream, _) = opened();
    let message = br#"{"event":"mark","mark":{"name":"m"}}"#;
    let Incoming::Mark(name) = stream.parse(message) else { panic!("not a mark") };
    assert!(matches!(name, std::borrow::Cow::Borrowed(_)));
}

#[test]
fn a_foreign_stream_sid_is_counted_and_obeyed() {
    let (mut stream, _) = opened();
    let clear = br#"{"event":"clear","streamSid":"MZ00000000000000000000000000000000"}"#;
    assert_eq!(stream.parse(clear), Incoming::Clear);
    assert_eq!(stream.counters().foreign, 1);
}

#[test]
fn nonsense_is_counted_and_ignored() {
    let (mut stream, _) = opened();
    let malformed: [&[u8]; 9] = [
        b"",
        b"hello",
        b"[1,2]",
        b"{\"event\":7}",
        b"{}",
        b"{\"event\":\"media\"}",
        b"{\"event\":\"media\",\"media\":{\"payload\":5}}",
        b"{\"event\":\"mark\",\"mark\":{}}",
        b"\xff\xfe",
    ];
    for message in malformed {
        assert_eq!(stream.parse(message), Incoming::Ignored);
    }
    assert_eq!(stream.counters().malformed, malformed.len() as u64);
    assert_eq!(stream.parse(br#"{"event":"dance"}"#), Incoming::Ignored);
    assert_eq!(stream.counters().unknown, 1);
}

#[test]
fn audio_that_is_not_base64_is_kept_up_to_the_first_wrong_character() {
    let (mut stream, _) = opened();
    let message =
        format!(r#"{{"event":"media","media":{{"payload":"{}!!!!"}}}}"#, "AAAA".repeat(512));
    let Incoming::Audio(payload) = stream.parse(message.as_bytes()) else { panic!("no audio") };
    let mut len = 0;
    assert!(payload.decode(|piece| len += piece.len()).is_err());
    assert_eq!(len, 1536);
}

#[test]
fn every_truncation_and_every_changed_byte_is_survived() {
    let (mut stream, sid) = opened();
    for good in [
        format!(r#"{{"event":"media","streamSid":"{sid}","media":{{"payload":"AQID/w=="}}}}"#),
        format!(r#"{{"event":"mark","streamSid":"{sid}","mark":{{"name":"utt-1"}}}}"#),
    ] {
        for len in 0..good.len() {
            assert_eq!(stream.parse(&good.as_bytes()[..len]), Incoming::Ignored, "{len} bytes");
        }
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bad = good.clone().into_bytes();
                bad[at] = byte;
                if let Incoming::Audio(payload) = stream.parse(&bad) {
                    let _ = payload.decode(|audio| assert!(audio.len() <= 6));
                }
            }
        }
    }
}

#[test]
fn the_signature_is_what_twilios_validators_compute() {
    // Twilio's documented example of a signed URL with form parameters: they are appended to the
    // URL sorted, so as a plain string it is a URL like any other.
    let url = "https://mycompany.com/myapp.php?foo=1&bar=2CallSidCA1234567890ABCDECaller\
               +14158675310Digits1234From+14158675310To+18005551212";
    assert_eq!(super::signature("12345", url), "GvWf1cFY/Q7PnoempGyD5oXAezc=");
    let headers = Dialect::TwilioMediaStreams.handshake_headers(url, Some("12345"));
    assert_eq!(headers, [("X-Twilio-Signature", "GvWf1cFY/Q7PnoempGyD5oXAezc=".to_owned())]);
    assert!(Dialect::TwilioMediaStreams.handshake_headers(url, None).is_empty());
}
