//! What we write, another parser reads, and reads as meant: `ezk-sdp-types` is the oracle.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::net::{IpAddr, SocketAddr};

use ezk_sdp_types::{
    Direction as TheirDirection, MediaType, SessionDescription as Theirs, TaggedAddress,
    TransportProtocol,
};
use trunkline_media_node::media::{Codec, CryptoSuite, Direction, MasterKey};
use trunkline_media_node::random::Seeded;
use trunkline_media_node::sdp::{
    Agreed, Encryption, LocalAddress, Policy, SessionDescription, negotiate, reoffer,
};

const KEY_30: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB";
const KEY_28: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ==";
const KEY_46: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ==";

fn policy() -> Policy<'static> {
    Policy {
        codecs: &[Codec::Pcmu, Codec::Pcma],
        encryption: Encryption::Preferred,
        suites: &CryptoSuite::BY_PREFERENCE,
        packet_time_ms: 20,
        telephone_event: true,
        direction: Direction::SendRecv,
    }
}

fn offers() -> Vec<String> {
    let head = "v=0\r\no=- 3724394400 3724394401 IN IP4 198.51.100.7\r\ns=call\r\n\
                c=IN IP4 198.51.100.7\r\nt=0 0\r\n";
    [
        "m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:30\r\n".to_owned(),
        "m=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=sendonly\r\na=rtcp:4444\r\n".to_owned(),
        "m=video 4100 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\nm=audio 4000 RTP/AVPF 0\r\na=rtcp-mux\r\n".to_owned(),
        format!("m=audio 4000 RTP/SAVP 0 8\r\na=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:{KEY_46}\r\na=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}\r\na=inactive\r\n"),
        format!("m=audio 4000 RTP/SAVPF 0\r\na=crypto:12 AEAD_AES_128_GCM inline:{KEY_28}\r\n"),
        format!("m=audio 4000 RTP/SAVP 0\r\na=crypto:3 AES_CM_128_HMAC_SHA1_32 inline:{KEY_30}\r\n"),
    ]
    .into_iter()
    .map(|media| format!("{head}{media}"))
    .collect()
}

fn locals() -> [LocalAddress; 3] {
    let local = |address: &str, rtp_port, rtcp_port| LocalAddress {
        address: address.parse().unwrap(),
        rtp_port,
        rtcp_port,
    };
    [
        local("192.0.2.10", 20000, 20001),
        local("192.0.2.10", 20000, 20000),
        local("2001:db8::10", 20000, 20001),
    ]
}

fn theirs(text: &[u8]) -> Theirs {
    let text = std::str::from_utf8(text).expect("we write UTF-8");
    Theirs::parse(&text.into()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn address(tagged: &TaggedAddress) -> IpAddr {
    match tagged {
        TaggedAddress::IP4(address) => (*address).into(),
        TaggedAddress::IP6(address) => (*address).into(),
        _ => panic!("we write literals"),
    }
}

fn compare(agreed: &Agreed, offer: &SessionDescription, local: &LocalAddress) {
    let written = agreed.answer(offer, local, 7, 3).write();
    let read = theirs(&written);
    assert_eq!((&*read.origin.session_id, &*read.origin.session_version), ("7", "3"));
    assert_eq!(address(&read.origin.address), local.address);
    assert_eq!(address(&read.connection.as_ref().unwrap().address), local.address);
    assert_eq!(read.media_descriptions.len(), offer.media.len());
    for (index, media) in read.media_descriptions.iter().enumerate() {
        if index != agreed.media_index {
            assert_eq!(media.media.port, 0);
            continue;
        }
        assert_eq!(media.media.media_type, MediaType::Audio);
        assert_eq!(media.media.port, local.rtp_port);
        let proto = match offer.media[index].protocol.as_str() {
            "RTP/AVP" => TransportProtocol::RtpAvp,
            "RTP/AVPF" => TransportProtocol::RtpAvpf,
            "RTP/SAVP" => TransportProtocol::RtpSavp,
            _ => TransportProtocol::RtpSavpf,
        };
        assert_eq!(media.media.proto, proto);
        let mut formats = vec![u32::from(agreed.payload_type)];
        formats.extend(agreed.telephone_event.map(|event| u32::from(event.payload_type)));
        assert_eq!(media.media.fmts.iter().map(|f| u32::from(*f)).collect::<Vec<_>>(), formats);
        let map = &media.rtpmap[0];
        assert_eq!((map.payload, map.clock_rate), (agreed.payload_type, 8000));
        assert_eq!(&*map.encoding, agreed.codec.encoding_name());
        let direction = match media.direction {
            TheirDirection::SendRecv => Direction::SendRecv,
            TheirDirection::SendOnly => Direction::SendOnly,
            TheirDirection::RecvOnly => Direction::RecvOnly,
            TheirDirection::Inactive => Direction::Inactive,
        };
        assert_eq!(direction, agreed.direction);
        assert_eq!(media.rtcp_mux, agreed.rtcp_mux);
        let named = !agreed.rtcp_mux && local.rtcp_port != local.rtp_port + 1;
        assert_eq!(media.rtcp.as_ref().map(|rtcp| rtcp.port), named.then_some(local.rtcp_port));
        match (&agreed.crypto, media.crypto.as_slice()) {
            (None, []) => {}
            (Some(ours), [line]) => {
                assert_eq!(line.tag, ours.tag);
                let suite = CryptoSuite::from_name(line.suite.as_str()).unwrap();
                let [key] = line.keys.as_slice() else { panic!("one key") };
                assert!(key.lifetime.is_none() && key.mki.is_none() && line.params.is_empty());
                let bytes = base64::Engine::decode(
                    &base64::engine::general_purpose::STANDARD,
                    key.key_and_salt.as_bytes(),
                );
                assert!(MasterKey::new(suite, &bytes.unwrap()).as_ref() == Some(&ours.local));
            }
            _ => panic!("one a=crypto when encrypted, none when plain"),
        }
    }
}

#[test]
fn the_oracle_reads_our_answers_as_meant() {
    for text in offers() {
        let offer = SessionDescription::parse(text.as_bytes()).unwrap();
        let agreed = negotiate(&offer, &policy(), &mut Seeded::new(3)).unwrap();
        for local in locals() {
            compare(&agreed, &offer, &local);
        }
    }
}

/// The other way round: the same offer, written by the oracle, is agreed to in the same way.
#[test]
fn we_read_what_the_oracle_writes() {
    for text in offers() {
        let offer = SessionDescription::parse(text.as_bytes()).unwrap();
        let rewritten = theirs(text.as_bytes()).to_string();
        let again = SessionDescription::parse(rewritten.as_bytes()).unwrap();
        let first = negotiate(&offer, &policy(), &mut Seeded::new(3)).unwrap();
        let second = negotiate(&again, &policy(), &mut Seeded::new(3)).unwrap();
        assert_eq!(first, second, "{text}\n{rewritten}");
        assert!(reoffer(&first, &again, &policy()).is_ok());
        let rtp: SocketAddr = "198.51.100.7:4000".parse().unwrap();
        assert_eq!(second.remote_rtp, rtp);
    }
}
