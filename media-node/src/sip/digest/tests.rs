#![allow(clippy::indexing_slicing)]

use std::time::Duration;

use super::*;
use crate::random::Seeded;
use crate::sip::Uri;

const NOW: u64 = 1_790_000_000;
const VALIDITY: Duration = Duration::from_secs(300);

fn server() -> Authenticator {
    Authenticator::new("sip.example.net", b"the key of the pool", VALIDITY)
}

fn uri(text: &str) -> Uri {
    Uri::parse(text.as_bytes()).unwrap()
}

/// A peer that answers the challenge at this place of the 401.
struct Peer {
    challenge: Challenge,
    password: &'static [u8],
    uri: &'static str,
    nonce_count: u32,
}

impl Peer {
    fn new(challenges: &[String; 2], algorithm: Algorithm) -> Self {
        let challenge = challenges
            .iter()
            .map(|value| Challenge::parse(value.as_bytes()).unwrap())
            .find(|challenge| challenge.algorithm == algorithm)
            .unwrap();
        Self { challenge, password: b"s3cret", uri: "sip:+15550100@192.0.2.10", nonce_count: 0 }
    }

    fn credentials(&mut self) -> Credentials {
        self.nonce_count += 1;
        let value = answer(
            &self.challenge,
            &Answer {
                method: "INVITE",
                uri: self.uri,
                username: "carrier-a",
                password: self.password,
                cnonce: "0a4f113b",
                nonce_count: self.nonce_count,
            },
        );
        Credentials::parse(value.as_bytes()).unwrap().unwrap()
    }
}

fn judge(server: &mut Authenticator, now: u64, it: &Credentials) -> Result<String, Rejected> {
    let lookup = |user: &str| (user == "carrier-a").then_some("s3cret");
    server.verify(now, "INVITE", &uri("sip:+15550100@192.0.2.10"), it, lookup).map(str::to_owned)
}

#[test]
fn the_example_of_rfc_2617_comes_out() {
    let challenge = Challenge::parse(
        br#"Digest realm="testrealm@host.com", qop="auth,auth-int",
            nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#,
    )
    .unwrap();
    let value = answer(
        &challenge,
        &Answer {
            method: "GET",
            uri: "/dir/index.html",
            username: "Mufasa",
            password: b"Circle Of Life",
            cnonce: "0a4f113b",
            nonce_count: 1,
        },
    );
    assert!(value.contains("response=\"6629fae49393a05397450978507c4ef1\""), "{value}");
    assert!(value.contains("opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""));
    assert!(value.contains("qop=auth, nc=00000001, cnonce=\"0a4f113b\""));
}

#[test]
fn the_examples_of_rfc_7616_come_out_for_both_hashes() {
    for (algorithm, response) in [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let challenge = format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", \
             algorithm={algorithm}, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        );
        let value = answer(
            &Challenge::parse(challenge.as_bytes()).unwrap(),
            &Answer {
                method: "GET",
                uri: "/dir/index.html",
                username: "Mufasa",
                password: b"Circle of Life",
                cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
                nonce_count: 1,
            },
        );
        assert!(value.contains(&format!("response=\"{response}\"")), "{algorithm}: {value}");
    }
}

#[test]
fn a_challenge_without_qop_is_answered_as_rfc_2069_had_it() {
    // The example of RFC 2069 §2.4 with the value of its erratum 749.
    let challenge = Challenge::parse(
        br#"Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093""#,
    )
    .unwrap();
    let value = answer(
        &challenge,
        &Answer {
            method: "GET",
            uri: "/dir/index.html",
            username: "Mufasa",
            password: b"CircleOfLife",
            cnonce: "unused",
            nonce_count: 1,
        },
    );
    assert!(value.contains("response=\"1949323746fe6a43ef61f9606e7febea\""), "{value}");
    assert!(!value.contains("cnonce") && !value.contains("qop") && !value.contains("nc="));
}

#[test]
fn a_session_hash_takes_both_nonces_into_the_key() {
    let challenge =
        Challenge::parse(br#"Digest realm="r", nonce="n", qop=auth, algorithm=md5-SESS"#).unwrap();
    let with = Answer {
        method: "REGISTER",
        uri: "sip:r",
        username: "u",
        password: b"p",
        cnonce: "c",
        nonce_count: 1,
    };
    let md5 = |text: &str| Algorithm::Md5.hash(&[text.as_bytes()]);
    let a1 = md5(&format!("{}:n:c", md5("u:r:p")));
    let wanted = md5(&format!("{a1}:n:00000001:c:auth:{}", md5("REGISTER:sip:r")));
    let value = answer(&challenge, &with);
    assert!(value.contains(&format!("response=\"{wanted}\"")), "{value}");
    assert!(value.contains("algorithm=MD5-sess"));
}

#[test]
fn the_strongest_challenge_is_answered_and_unknown_ones_are_passed_over() {
    let values: [&[u8]; 5] = [
        b"Basic realm=\"x\"",
        b"Digest realm=\"x\", nonce=\"1\", qop=\"auth\", algorithm=MD5",
        b"Digest realm=\"x\", nonce=\"2\", qop=\"auth\", algorithm=SHA-256",
        b"Digest realm=\"x\", nonce=\"3\", qop=\"auth\", algorithm=SHA-512-256",
        b"Digest realm=\"x\", nonce=\"4\", qop=\"auth-int\", algorithm=SHA-256",
    ];
    assert_eq!(strongest(values).unwrap().nonce, "2");
    assert!(strongest([b"Basic realm=\"x\"".as_slice()]).is_none());
    for (value, wanted) in [
        (values[0], Unanswerable::Scheme),
        (values[3], Unanswerable::Algorithm),
        (values[4], Unanswerable::Quality),
        (b"Digest realm=\"x\", nonce=\"1\", algorithm=MD5-sess", Unanswerable::Quality),
    ] {
        assert_eq!(Challenge::parse(value).unwrap_err(), wanted);
    }
}

#[test]
fn the_right_password_is_accepted_with_either_hash_for_as_long_as_the_nonce_lives() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let mut server = server();
        let challenges = server.challenge(NOW, false, &mut Seeded::new(1));
        assert!(challenges[0].contains("algorithm=MD5"), "for who reads only the first");
        assert!(challenges[1].contains("algorithm=SHA-256"));
        let mut peer = Peer::new(&challenges, algorithm);
        for now in [NOW, NOW + 1, NOW + 300] {
            let credentials = peer.credentials();
            assert_eq!(judge(&mut server, now, &credentials), Ok("carrier-a".to_owned()));
        }
        let credentials = peer.credentials();
        assert_eq!(judge(&mut server, NOW + 301, &credentials), Err(Rejected::Stale));
    }
}

#[test]
fn another_pod_with_the_key_takes_the_nonce_and_one_without_it_calls_it_stale() {
    let challenges = server().challenge(NOW, false, &mut Seeded::new(1));
    let credentials = Peer::new(&challenges, Algorithm::Sha256).credentials();
    assert!(judge(&mut server(), NOW, &credentials).is_ok());
    assert!(judge(&mut server(), NOW - 60, &credentials).is_ok(), "a clock behind by a minute");
    assert_eq!(judge(&mut server(), NOW - 61, &credentials), Err(Rejected::Stale));
    let mut other = Authenticator::new("sip.example.net", b"another key", VALIDITY);
    assert_eq!(judge(&mut other, NOW, &credentials), Err(Rejected::Stale));
}

#[test]
fn a_nonce_count_is_accepted_once() {
    let mut server = server();
    let challenges = server.challenge(NOW, false, &mut Seeded::new(1));
    let mut peer = Peer::new(&challenges, Algorithm::Md5);
    let (first, second) = (peer.credentials(), peer.credentials());
    assert!(judge(&mut server, NOW, &second).is_ok(), "requests may overtake one another");
    assert!(judge(&mut server, NOW, &first).is_ok());
    for copy in [&first, &second] {
        let rejected = judge(&mut server, NOW, copy).unwrap_err();
        assert_eq!(rejected, Rejected::Replayed);
        assert!(rejected.stale());
    }
    assert_eq!(server.nonces_on_record(), 1);
}

#[test]
fn who_does_not_know_the_password_learns_nothing_and_fills_no_table() {
    let mut server = server();
    let challenges = server.challenge(NOW, false, &mut Seeded::new(1));
    let mut peer = Peer::new(&challenges, Algorithm::Sha256);
    peer.password = b"guess";
    let credentials = peer.credentials();
    assert_eq!(judge(&mut server, NOW, &credentials), Err(Rejected::Wrong));
    assert_eq!(judge(&mut server, NOW + 9999, &credentials), Err(Rejected::Wrong), "not stale");

    peer.password = b"";
    let credentials = peer.credentials();
    let nobody = |_: &str| None::<&str>;
    let target = uri("sip:+15550100@192.0.2.10");
    assert_eq!(
        server.verify(NOW, "INVITE", &target, &credentials, nobody),
        Err(Rejected::Wrong),
        "the empty password of an unknown user"
    );
    assert_eq!(server.nonces_on_record(), 0);
}

#[test]
fn credentials_count_for_the_method_and_the_number_they_were_made_for() {
    let mut server = server();
    let challenges = server.challenge(NOW, false, &mut Seeded::new(1));
    let mut peer = Peer::new(&challenges, Algorithm::Sha256);
    let credentials = peer.credentials();
    let lookup = |_: &str| Some("s3cret");
    let called = uri("sip:+15550100@192.0.2.10");
    let other = uri("sip:+19005550199@192.0.2.10");
    assert_eq!(server.verify(NOW, "BYE", &called, &credentials, lookup), Err(Rejected::Wrong));
    let rejected = server.verify(NOW, "INVITE", &other, &credentials, lookup).unwrap_err();
    assert_eq!(
        (rejected.status(), rejected.to_string().as_str()),
        (400, "malformed credentials: uri: names another target")
    );
    let rewritten = uri("sip:+15550100@node.internal:5080;transport=tcp");
    assert!(server.verify(NOW, "INVITE", &rewritten, &credentials, lookup).is_ok());
    peer.uri = "sip:192.0.2.10:5060";
    let credentials = peer.credentials();
    assert!(server.verify(NOW, "INVITE", &called, &credentials, lookup).is_ok(), "no user signed");
}

#[test]
fn the_credentials_of_our_realm_are_found_among_others_the_stronger_hash_first() {
    let server = server();
    let challenges = server.challenge(NOW, false, &mut Seeded::new(1));
    let line = |realm: &str, algorithm: &str| {
        format!(
            "Digest username=\"u\", realm=\"{realm}\", nonce=\"n\", uri=\"sip:x\", \
             response=\"r\", algorithm={algorithm}, qop=auth, nc=00000001, cnonce=\"c\""
        )
    };
    let lines = [
        "Basic dTpw".to_owned(),
        line("elsewhere", "SHA-256"),
        line(server.realm(), "MD5"),
        line(server.realm(), "SHA-256"),
        line(server.realm(), "SHA-512-256"),
    ];
    let find = |lines: &[String]| server.find(lines.iter().map(|line| line.as_bytes())).unwrap();
    assert_eq!(find(&lines).unwrap().algorithm(), Algorithm::Sha256);
    assert_eq!(find(&lines[..3]).unwrap().algorithm(), Algorithm::Md5);
    assert!(find(&lines[..2]).is_none());
    assert!(challenges[0] != challenges[1]);
}

#[test]
fn what_breaks_the_grammar_is_refused_by_the_name_of_its_parameter() {
    let good = "Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", response=\"h\", \
                qop=auth, nc=00000001, cnonce=\"c\"";
    assert!(Credentials::parse(good.as_bytes()).unwrap().is_some());
    for (from, to, field) in [
        ("username=\"u\", ", "", "username"),
        ("realm=\"r\", ", "", "realm"),
        ("nonce=\"n\", ", "", "nonce"),
        ("uri=\"sip:x\", ", "", "uri"),
        ("response=\"h\", ", "", "response"),
        (", cnonce=\"c\"", "", "cnonce"),
        ("qop=auth, ", "", "qop"),
        ("qop=auth", "qop=auth-int", "qop"),
        ("nc=00000001, ", "", "nc"),
        ("nc=00000001", "nc=1", "nc"),
        ("nc=00000001", "nc=00000000", "nc"),
        ("nc=00000001", "nc=+0000001", "nc"),
        ("nc=00000001", "nc=é000001", "nc"),
        ("nonce=\"n\"", "nonce=\"n", "digest"),
        ("nonce=\"n\",", "nonce=\"n\"", "digest"),
        ("nonce=\"n\"", "nonce=\"n\", NONCE=\"m\"", "digest"),
        ("nonce=\"n\"", "nonce", "digest"),
        ("qop=auth", "userhash=true, qop=auth", "userhash"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        let malformed = Credentials::parse(bad.as_bytes()).unwrap_err();
        assert_eq!(malformed.field, field, "{bad}");
    }
}

#[test]
fn no_truncation_and_no_changed_byte_panics_or_passes() {
    let challenges = server().challenge(NOW, false, &mut Seeded::new(1));
    let peer = Peer::new(&challenges, Algorithm::Sha256);
    let good = answer(
        &peer.challenge,
        &Answer {
            method: "INVITE",
            uri: peer.uri,
            username: "carrier-a",
            password: peer.password,
            cnonce: "c",
            nonce_count: 1,
        },
    );
    let mut passed = Vec::new();
    let mut variants: Vec<Vec<u8>> =
        (0..good.len()).map(|n| good.as_bytes()[..n].to_vec()).collect();
    for at in 0..good.len() {
        for byte in [0, b' ', b'"', b'\\', b',', b'=', b'f', 0x80, 0xff] {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = byte;
            variants.push(bytes);
        }
    }
    for bytes in variants {
        let _ = Challenge::parse(&bytes);
        // An empty element between two commas means nothing.
        let means_the_same = String::from_utf8_lossy(&bytes).replace(",,", ", ") == good;
        if let Ok(Some(credentials)) = Credentials::parse(&bytes)
            && judge(&mut server(), NOW, &credentials).is_ok()
            && !means_the_same
        {
            passed.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    assert!(passed.is_empty(), "{passed:#?}");
}

#[test]
fn debug_shows_no_name_and_no_hash() {
    let challenges = server().challenge(NOW, false, &mut Seeded::new(1));
    let credentials = Peer::new(&challenges, Algorithm::Md5).credentials();
    let text = format!("{credentials:?}");
    assert_eq!(text, "Credentials { realm: \"sip.example.net\", .. }");
}
