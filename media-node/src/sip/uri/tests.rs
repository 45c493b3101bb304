#![allow(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use super::*;

fn uri(text: &str) -> Uri {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn parts_are_found() {
    let full = uri(
        "sips:alice:secret@[2001:db8::1]:5061;transport=TCP;lr;maddr=10.0.0.1?Subject=a%20b&x=",
    );
    assert!(full.is_sips());
    assert_eq!(full.user_text().unwrap(), "alice");
    assert_eq!(full.password.as_deref(), Some("secret"));
    assert_eq!(full.host.as_ref().unwrap().ip(), Some("2001:db8::1".parse().unwrap()));
    assert_eq!(full.port, Some(5061));
    assert_eq!(full.param_text("Transport").unwrap(), "tcp");
    assert!(full.is_loose_router());
    assert_eq!(full.headers.len(), 2);
    let bare = uri("SIP:h");
    assert_eq!((bare.scheme.as_str(), bare.user, bare.port), ("sip", None, None));
    // Without brackets nothing tells user and parameters apart but the `@`.
    assert_eq!(uri("sip:user;a=b@h;c=d").user.as_deref(), Some("user;a=b"));
}

#[test]
fn telephone_numbers_are_read() {
    let tel = uri("tel:+1-201.(555)0123;phone-context=example.com;ext=7");
    assert_eq!(tel.user_text().unwrap(), "+12015550123");
    assert_eq!(tel.host, None);
    assert_eq!(tel.params.get("EXT"), Some(Some("7")));
    assert_eq!(tel.to_string(), "tel:+1-201.(555)0123;phone-context=example.com;ext=7");
    assert_eq!(uri("tel:*31#").user_text().unwrap(), "*31#");
    assert!(uri("tel:+12015550123").is_equivalent(&uri("TEL:+1-201-555-0123")));
    assert!(!uri("tel:110;phone-context=+44").is_equivalent(&uri("tel:110")));
}

#[test]
fn what_is_no_uri_is_refused() {
    for wrong in [
        "",
        "sip",
        "sip:",
        ":h",
        "1sip:h",
        "sip:@h",
        "sip:a@",
        "sip:a@b@c",
        "sip:h:",
        "sip:h:65536",
        "sip:h:x",
        "sip:[::1",
        "sip:[zz]",
        "sip:h;",
        "sip:h;=1",
        "sip:h?",
        "sip:h?a",
        "sip:h?=a",
        "sip:a b@h",
        "sip:a@h>",
        "sip:%4@h",
        "sip:a%@h",
        "sip:a@h;x=%",
        "sip:h ",
        "<sip:h>",
        "tel:",
        "tel:a b",
        "tel:;x=1",
        "x:",
        "sip:-_.\u{fc}",
        "sip:.h",
        "sip:a..b",
        "sip:h\r\nX: 1",
        "sip:h/x",
        "sip:a\"b@h",
        "tel:+1?a=b",
    ] {
        assert!(wrong.parse::<Uri>().is_err(), "{wrong:?}");
    }
    let long = format!("sip:{}", "a".repeat(300));
    assert!(long.parse::<Uri>().is_err());
    let params = |count| format!("sip:h{}", ";a".repeat(count)).parse::<Uri>();
    assert!(params(limits::PARAMS).is_ok() && params(limits::PARAMS + 1).is_err());
    let headers = |count| format!("sip:h?a=b{}", "&a=b".repeat(count - 1)).parse::<Uri>();
    assert!(headers(limits::PARAMS).is_ok() && headers(limits::PARAMS + 1).is_err());
}

#[test]
fn what_was_read_is_written_the_same() {
    for text in [
        "sip:h",
        "sip:a@h",
        "sip:a:b@h:1;lr?x=y",
        "sips:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@h",
        "sip:%61@[::1];a=%41;b",
        "tel:+1;ext=7",
        "urn:service:sos",
        "http://a/b?c#d",
        "sip:a@192.0.2.1",
    ] {
        let mut out = Vec::new();
        uri(text).write_to(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}

#[test]
fn letters_out_of_place_are_escaped() {
    assert_eq!(uri("sip:12#3@h").to_string(), "sip:12%233@h");
    assert_eq!(uri("sip:12#3@h").user_text().unwrap(), "12#3");
    let host = Host::parse("h").unwrap();
    let made = Uri::sip(Some("a b@c%41\r\n"), host, Some(5061), Some(Transport::Tls));
    assert_eq!(made.to_string(), "sip:a%20b%40c%2541%0D%0A@h:5061;transport=tls");
    assert_eq!(made.user_text().unwrap(), "a b@c%41\r\n");
}

#[test]
fn a_password_is_never_shown() {
    let secret = uri("sip:alice:secret@h");
    assert!(!format!("{secret} {secret:?}").contains("secret"));
}

/// RFC 3261 §19.1.4, its own examples.
#[test]
fn equivalent_as_the_rfc_says() {
    for (one, two) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
    ] {
        assert!(
            uri(one).is_equivalent(&uri(two)) && uri(two).is_equivalent(&uri(one)),
            "{one} {two}"
        );
    }
    for (one, two) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@h", "sips:a@h"),
        ("sip:a%3Bb@h", "sip:a;b@h"),
        ("sip:a@h", "sip:h"),
        ("sip:a:b@h", "sip:a@h"),
    ] {
        assert!(
            !uri(one).is_equivalent(&uri(two)) && !uri(two).is_equivalent(&uri(one)),
            "{one} {two}"
        );
    }
}

#[test]
fn hosts_are_names_or_addresses() {
    for good in ["h", "a.b.c", "a_b", "example.com.", "192.0.2.1", "[::1]", "1.example"] {
        assert_eq!(Host::parse(good).unwrap().to_string(), good);
    }
    for wrong in ["", ".", "..", "a..b", "::1", "[192.0.2.1]", "a b", "h:1"] {
        assert!(Host::parse(wrong).is_err(), "{wrong}");
    }
    assert_eq!(Host::parse("EXAMPLE.com").unwrap(), Host::parse("example.COM").unwrap());
}
