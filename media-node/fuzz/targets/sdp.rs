//! Session descriptions from strangers: none panics, what we write we read, and whatever can be
//! agreed to has an answer that another such machine would accept.

use trunkline_media_node::media::{Codec, CryptoSuite, Direction};
use trunkline_media_node::random::Seeded;
use trunkline_media_node::sdp::{
    Change, Encryption, LocalAddress, Policy, SessionDescription, negotiate as agree, reoffer,
};

/// Parses, writes, and reads the typed parts of every line.
pub fn session_description(data: &[u8]) {
    let parsed = match SessionDescription::parse(data) {
        Ok(parsed) => parsed,
        Err(malformed) => {
            assert!(malformed.offset <= data.len());
            assert!(!malformed.to_string().is_empty());
            return;
        }
    };
    let written = parsed.write();
    // Writing adds at most the space that `m=` lines and line ends take; a description at the very
    // limit may then be too long to be read again.
    if let Ok(again) = SessionDescription::parse(&written) {
        assert_eq!(again.write(), written);
        assert_eq!(again.media.len(), parsed.media.len());
    }
    for media in &parsed.media {
        let _ = (parsed.direction_of(media), parsed.connection_of(media));
        let _ = (media.milliseconds("ptime"), media.milliseconds("maxptime"));
        for payload_type in media.payload_types() {
            assert!(payload_type < 128);
            let _ = media.rtp_map(payload_type);
        }
        for crypto in media.cryptos().flatten() {
            assert!(!format!("{crypto:?}").contains("inline"));
        }
    }
    let _ = format!("{parsed:?}");
}

/// Answers the description under every encryption policy.
pub fn negotiate(data: &[u8]) {
    let Ok(offer) = SessionDescription::parse(data) else { return };
    let local = LocalAddress {
        address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10)),
        rtp_port: 20000,
        rtcp_port: 20001,
    };
    for encryption in [Encryption::Required, Encryption::Preferred, Encryption::Disabled] {
        let policy = Policy {
            codecs: Codec::ALL,
            encryption,
            suites: &CryptoSuite::BY_PREFERENCE,
            packet_time_ms: 20,
            telephone_event: true,
            direction: Direction::SendRecv,
        };
        let agreed = match agree(&offer, &policy, &mut Seeded::new(1)) {
            Ok(agreed) => agreed,
            Err(refused) => {
                // It goes into a header's quoted string.
                assert!(refused.text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
                assert!(!refused.text.contains(['"', '\\']));
                assert!((300..400).contains(&refused.warning));
                continue;
            }
        };
        assert!(encryption != Encryption::Disabled || agreed.crypto.is_none());
        assert!(encryption != Encryption::Required || agreed.crypto.is_some());
        assert!(matches!(agreed.packet_time_ms, 10 | 20 | 30 | 40));
        let answer = agreed.answer(&offer, &local, 1, 1);
        let read = SessionDescription::parse(&answer.write()).expect("what we write we read");
        assert_eq!(read, answer);
        assert_eq!(read.media.len(), offer.media.len());
        assert_eq!(read.media.iter().filter(|media| media.port != 0).count(), 1);
        let same = reoffer(&agreed, &offer, &policy).expect("the same offer again is a refresh");
        assert_eq!(same.change, Change::Same);
        assert_eq!(same.agreed.answer_again(&offer, &local, &answer), answer);
    }
}
