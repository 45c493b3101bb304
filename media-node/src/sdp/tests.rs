//! Offers as carriers and softphones write them, and what becomes of them.

use crate::media::{Codec, CryptoSuite, Direction};
use crate::random::Seeded;

use super::*;

/// 46, 30, 44 and 28 bytes of 0x41 in base64.
const KEY_46: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ==";
const KEY_30: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB";
const KEY_44: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
const KEY_28: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ==";

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

fn with(encryption: Encryption) -> Policy<'static> {
    Policy { encryption, ..policy() }
}

const LOCAL: LocalAddress = LocalAddress {
    address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10)),
    rtp_port: 20000,
    rtcp_port: 20001,
};

/// A description with a session part and the media part given, lines ended by `\n`.
fn sdp(media: &str) -> SessionDescription {
    let text = format!(
        "v=0\no=- 3724394400 3724394400 IN IP4 198.51.100.7\ns=call\nc=IN IP4 198.51.100.7\nt=0 0\n{media}"
    );
    SessionDescription::parse(text.as_bytes()).unwrap()
}

fn agree(media: &str, policy: &Policy<'_>) -> Result<Agreed, Unacceptable> {
    negotiate(&sdp(media), policy, &mut Seeded::new(1))
}

fn written(agreed: &Agreed, offer: &SessionDescription) -> String {
    String::from_utf8(agreed.answer(offer, &LOCAL, 7, 1).write()).unwrap()
}

fn address(text: &str) -> std::net::SocketAddr {
    text.parse().unwrap()
}

/// Offered by PJSIP 2.15 with mandatory SRTP.
fn pjsip() -> String {
    format!(
        "m=audio 4000 RTP/SAVP 96 97 98 3 0 8 9 120\n\
         c=IN IP4 198.51.100.7\nb=TIAS:64000\na=rtcp:4001 IN IP4 198.51.100.7\na=sendrecv\n\
         a=rtpmap:96 speex/16000\na=rtpmap:97 speex/8000\na=rtpmap:98 speex/32000\n\
         a=rtpmap:3 GSM/8000\na=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\na=rtpmap:9 G722/8000\n\
         a=rtpmap:120 telephone-event/8000\na=fmtp:120 0-16\na=ssrc:1593518245 cname:2d8a3d3d4fd0\n\
         a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:{KEY_46}\n\
         a=crypto:2 AES_256_CM_HMAC_SHA1_32 inline:{KEY_46}\n\
         a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}\n\
         a=crypto:4 AES_CM_128_HMAC_SHA1_32 inline:{KEY_30}\n"
    )
}

/// A secure trunk of Twilio's.
fn twilio() -> String {
    format!(
        "m=audio 18220 RTP/SAVP 0 8 101\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}\n\
         a=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\na=rtpmap:101 telephone-event/8000\n\
         a=fmtp:101 0-16\na=ptime:20\na=maxptime:20\na=sendrecv\n"
    )
}

const TELNYX: &str = "m=audio 27712 RTP/AVP 9 8 0 18 102 101\na=rtpmap:9 G722/8000\n\
     a=rtpmap:8 PCMA/8000\na=rtpmap:0 PCMU/8000\na=rtpmap:18 G729/8000\na=fmtp:18 annexb=no\n\
     a=rtpmap:102 opus/48000/2\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\n";

#[test]
fn pjsip_is_answered_by_capability_not_by_its_first_line() {
    let offer = sdp(&pjsip());
    let agreed = negotiate(&offer, &with(Encryption::Required), &mut Seeded::new(1)).unwrap();
    let crypto = agreed.crypto.clone().unwrap();
    assert_eq!((crypto.tag, crypto.local.suite()), (3, CryptoSuite::AesCm128HmacSha1_80));
    assert_eq!(crypto.remote.key_and_salt(), [0x41; 30]);
    assert_eq!((agreed.codec, agreed.payload_type), (Codec::Pcmu, 0));
    assert_eq!(agreed.telephone_event.unwrap().payload_type, 120);
    assert_eq!(agreed.remote_rtp, address("198.51.100.7:4000"));
    assert_eq!(agreed.remote_rtcp, address("198.51.100.7:4001"));

    let policy = Policy { suites: &[CryptoSuite::AesCm256HmacSha1_80], ..policy() };
    let agreed = negotiate(&offer, &policy, &mut Seeded::new(1)).unwrap();
    assert_eq!(agreed.crypto.unwrap().tag, 1);
}

#[test]
fn the_answer_to_twilio_word_for_word() {
    let offer = sdp(&twilio());
    let agreed = negotiate(&offer, &with(Encryption::Required), &mut Seeded::new(1)).unwrap();
    let text = written(&agreed, &offer);
    let (before, rest) = text.split_once("inline:").unwrap();
    let (key, after) = rest.split_once("\r\n").unwrap();
    assert_eq!(
        before,
        "v=0\r\no=- 7 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n\
         m=audio 20000 RTP/SAVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_80 "
    );
    assert_eq!(key.len(), 40);
    assert_ne!(key, KEY_30, "our key is our own");
    assert_eq!(after, "a=sendrecv\r\n");
}

#[test]
fn telnyx_plain_takes_our_preference_among_its_codecs() {
    let agreed = agree(TELNYX, &policy()).unwrap();
    assert_eq!((agreed.codec, agreed.payload_type), (Codec::Pcmu, 0));
    assert_eq!(agreed.crypto, None);
    assert_eq!(agreed.remote_rtcp, address("198.51.100.7:27713"));
    let a_law_first = Policy { codecs: &[Codec::Pcma, Codec::Pcmu], ..policy() };
    assert_eq!(agree(TELNYX, &a_law_first).unwrap().codec, Codec::Pcma);
}

#[test]
fn g722_needs_no_rtpmap_and_is_answered_with_its_clock_of_8_khz() {
    let policy = Policy { codecs: &[Codec::G722, Codec::Pcmu], ..policy() };
    for media in [TELNYX, "m=audio 4000 RTP/AVP 0 9 101\na=rtpmap:101 telephone-event/8000\n"] {
        let offer = sdp(media);
        let agreed = negotiate(&offer, &policy, &mut Seeded::new(1)).unwrap();
        assert_eq!((agreed.codec, agreed.payload_type), (Codec::G722, 9));
        assert_eq!(agreed.telephone_event.unwrap().clock_rate_hz, 8000);
        let text = written(&agreed, &offer);
        assert!(text.contains("RTP/AVP 9 101\r\na=rtpmap:9 G722/8000\r\n"), "{text}");
    }
    // By its sampling rate it is another format: who writes that means no G.722 of RFC 3551.
    let media = "m=audio 4000 RTP/AVP 96\na=rtpmap:96 G722/16000\n";
    let refused = agree(media, &policy).unwrap_err();
    assert_eq!(refused.text, "no codec in common: offered G722, this trunk takes G722, PCMU");
    let dynamic = agree("m=audio 4000 RTP/AVP 96\na=rtpmap:96 g722/8000\n", &policy).unwrap();
    assert_eq!((dynamic.codec, dynamic.payload_type), (Codec::G722, 96));
}

#[cfg(feature = "opus")]
#[test]
fn opus_is_answered_with_its_own_clock_two_channels_and_what_we_make_use_of() {
    let policy = Policy { codecs: &[Codec::Opus, Codec::Pcmu], packet_time_ms: 30, ..policy() };
    let offer = sdp("m=audio 4000 RTP/AVP 111 0 110 101\na=rtpmap:111 opus/48000/2\n\
                     a=fmtp:111 minptime=10;useinbandfec=1\na=rtpmap:110 telephone-event/48000\n\
                     a=rtpmap:101 telephone-event/8000\n");
    let agreed = negotiate(&offer, &policy, &mut Seeded::new(1)).unwrap();
    assert_eq!((agreed.codec, agreed.payload_type), (Codec::Opus, 111));
    assert_eq!(agreed.packet_time_ms, 20, "Opus has no packets of 30 ms");
    let text = written(&agreed, &offer);
    assert!(
        text.contains(
            "RTP/AVP 111 110\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n\
             a=rtpmap:110 telephone-event/48000\r\n"
        ),
        "{text}"
    );
    // One channel is not what RFC 7587 §7 has everybody write; then G.711 it is.
    let offer = "m=audio 4000 RTP/AVP 111 0\na=rtpmap:111 opus/48000\n";
    assert_eq!(agree(offer, &policy).unwrap().codec, Codec::Pcmu);
}

/// What encryption makes of each kind of offer: `Ok(encrypted)` or the reason.
#[test]
fn encryption_policy_against_every_kind_of_offer() {
    use Encryption::{Disabled, Preferred, Required};
    use Reason::{EncryptionDisabled, EncryptionRequired, NoCommonCrypto, Protocol};
    let good = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}\n");
    let bad = "a=crypto:1 F8_128_HMAC_SHA1_80 inline:AAAA\n";
    let avp = "m=audio 4000 RTP/AVP 0\n";
    let savp = "m=audio 4000 RTP/SAVP 0\n";
    let savpf = "m=audio 4000 RTP/SAVPF 0\n";
    let dtls = "m=audio 4000 UDP/TLS/RTP/SAVPF 0\n";
    let table = [
        (Required, avp, "", Err(EncryptionRequired)),
        (Required, avp, good.as_str(), Ok(true)),
        (Required, avp, bad, Err(NoCommonCrypto)),
        (Required, savp, "", Err(NoCommonCrypto)),
        (Required, savp, good.as_str(), Ok(true)),
        (Required, savp, bad, Err(NoCommonCrypto)),
        (Required, savpf, good.as_str(), Ok(true)),
        (Required, dtls, good.as_str(), Err(Protocol)),
        (Preferred, avp, "", Ok(false)),
        (Preferred, avp, good.as_str(), Ok(true)),
        (Preferred, avp, bad, Ok(false)),
        (Preferred, savp, "", Err(NoCommonCrypto)),
        (Preferred, savp, good.as_str(), Ok(true)),
        (Preferred, savp, bad, Err(NoCommonCrypto)),
        (Disabled, avp, "", Ok(false)),
        (Disabled, avp, good.as_str(), Ok(false)),
        (Disabled, avp, bad, Ok(false)),
        (Disabled, savp, "", Err(EncryptionDisabled)),
        (Disabled, savp, good.as_str(), Err(EncryptionDisabled)),
    ];
    for (encryption, line, crypto, want) in table {
        let got = agree(&format!("{line}{crypto}"), &with(encryption));
        let got = got.map(|agreed| agreed.crypto.is_some()).map_err(|refused| refused.reason);
        assert_eq!(got, want, "{encryption:?} {line}{crypto}");
    }
}

#[test]
fn every_refusal_reads_well_and_fits_a_warning_header() {
    let required = with(Encryption::Required);
    let table = [
        (
            "m=audio 4000 RTP/AVP 0\n",
            302,
            "this trunk requires encrypted audio; offer RTP/SAVP with a=crypto, not RTP/AVP",
        ),
        ("m=audio 4000 RTP/SAVP 0\n", 306, "the offer is RTP/SAVP without an a=crypto line"),
        (
            "m=audio 4000 RTP/SAVP 0\na=fingerprint:sha-256 AB\n",
            306,
            "keys by DTLS are not supported; offer a=crypto (SDES)",
        ),
        (
            "m=audio 4000 TCP/RTP/AVP 0\n",
            302,
            "media protocol TCP/RTP/AVP is not supported, RTP/SAVP and RTP/AVP are",
        ),
        ("m=video 4000 RTP/SAVP 99\n", 304, "the offer has no open audio stream"),
        ("m=audio 0 RTP/SAVP 0\n", 304, "the offer has no open audio stream"),
        ("", 304, "the offer has no open audio stream"),
    ];
    for (media, warning, text) in table {
        let refused = agree(media, &required).unwrap_err();
        assert_eq!((refused.warning, refused.text.as_str()), (warning, text), "{media}");
        assert_eq!(refused.status(), 488);
    }
    let table = [
        (
            "m=audio 4000 RTP/AVP 18 96 \"x\"\na=rtpmap:96 op\"us/48000/2\n",
            305,
            "no codec in common: offered G729, opus, x, this trunk takes PCMU, PCMA",
        ),
        (
            "m=audio 4000 RTP/AVP 0\nc=IN IP4 media.example\n",
            301,
            "c= must hold an IP address, not a name",
        ),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP4 224.2.1.1/127\n", 330, "multicast is not supported"),
    ];
    for (media, warning, text) in table {
        let refused = agree(media, &policy()).unwrap_err();
        assert_eq!((refused.warning, refused.text.as_str()), (warning, text), "{media}");
    }
    let refused = agree(
        &format!(
            "m=audio 4000 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|1:4\n"
        ),
        &required,
    )
    .unwrap_err();
    assert!(
        refused.text.starts_with("a=crypto uses an MKI, which is not supported; offer one of AEAD")
    );
    assert_eq!(refused.reason.field(), Some("media.encryption"));
}

#[test]
fn static_payload_types_need_no_rtpmap_and_an_rtpmap_overrules_them() {
    assert_eq!(agree("m=audio 4000 RTP/AVP 8\n", &policy()).unwrap().codec, Codec::Pcma);
    // 0 redefined as something else is that something else.
    let refused = agree("m=audio 4000 RTP/AVP 0\na=rtpmap:0 L16/8000\n", &policy()).unwrap_err();
    assert_eq!(refused.reason, Reason::NoCommonCodec);
    // A dynamic number and lower case.
    let agreed = agree("m=audio 4000 RTP/AVP 110\na=rtpmap:110 pcma/8000/1\n", &policy()).unwrap();
    assert_eq!((agreed.codec, agreed.payload_type), (Codec::Pcma, 110));
    // Wrong clock or two channels is another format.
    for map in ["PCMU/16000", "PCMU/8000/2", "PCMU", "PCMU/"] {
        let media = format!("m=audio 4000 RTP/AVP 110\na=rtpmap:110 {map}\n");
        assert!(agree(&media, &policy()).is_err(), "{map}");
    }
}

#[test]
fn telephone_event_of_any_payload_type_on_the_clock_of_the_codec() {
    for payload_type in [96, 101, 120] {
        let media = format!(
            "m=audio 4000 RTP/AVP 0 99 {payload_type}\na=rtpmap:99 telephone-event/16000\n\
             a=rtpmap:{payload_type} Telephone-Event/8000\n"
        );
        let agreed = agree(&media, &policy()).unwrap();
        let event = TelephoneEvent { payload_type, clock_rate_hz: 8000 };
        assert_eq!(agreed.telephone_event, Some(event));
        assert!(
            written(&agreed, &sdp(&media)).contains(&format!("a=fmtp:{payload_type} 0-15\r\n"))
        );
        let without = Policy { telephone_event: false, ..policy() };
        assert_eq!(agree(&media, &without).unwrap().telephone_event, None);
    }
    // Mapped but not among the formats: not offered.
    let media = "m=audio 4000 RTP/AVP 0\na=rtpmap:101 telephone-event/8000\n";
    assert_eq!(agree(media, &policy()).unwrap().telephone_event, None);
}

#[test]
fn packet_time_is_the_peers_wish_within_its_limit_and_ours() {
    let table = [
        ("", 20),
        ("a=ptime:10\n", 10),
        ("a=ptime:30\n", 30),
        ("a=ptime:60\n", 40),
        ("a=ptime:5\n", 10),
        ("a=ptime:25\n", 20),
        ("a=ptime:20.0\n", 20),
        ("a=ptime:0\n", 20),
        ("a=ptime:\n", 20),
        ("a=ptime:never\n", 20),
        ("a=maxptime:10\n", 10),
        ("a=ptime:40\na=maxptime:30\n", 30),
        ("a=maxptime:150\n", 20),
    ];
    for (lines, want) in table {
        let agreed = agree(&format!("m=audio 4000 RTP/AVP 0\n{lines}"), &policy()).unwrap();
        assert_eq!(agreed.packet_time_ms, want, "{lines}");
    }
}

#[test]
fn where_audio_and_reports_go() {
    let table = [
        ("", "198.51.100.7:4000", "198.51.100.7:4001"),
        ("c=IN IP4 203.0.113.9\n", "203.0.113.9:4000", "203.0.113.9:4001"),
        ("c=IN IP6 2001:db8::9\n", "[2001:db8::9]:4000", "[2001:db8::9]:4001"),
        ("c=IN IP4 2001:db8::9\n", "[2001:db8::9]:4000", "[2001:db8::9]:4001"),
        ("a=rtcp:53020\n", "198.51.100.7:4000", "198.51.100.7:53020"),
        ("a=rtcp:53020 IN IP4 203.0.113.8\n", "198.51.100.7:4000", "203.0.113.8:53020"),
        ("a=rtcp:53020 IN IP6 2001:db8::8\n", "198.51.100.7:4000", "[2001:db8::8]:53020"),
        ("a=rtcp:4000\n", "198.51.100.7:4000", "198.51.100.7:4000"),
        ("a=rtcp:0\n", "198.51.100.7:4000", "198.51.100.7:4001"),
        ("a=rtcp:99999\n", "198.51.100.7:4000", "198.51.100.7:4001"),
        ("a=rtcp:53020\na=rtcp-mux\n", "198.51.100.7:4000", "198.51.100.7:4000"),
    ];
    for (lines, rtp, rtcp) in table {
        let agreed = agree(&format!("m=audio 4000 RTP/AVP 0\n{lines}"), &policy()).unwrap();
        assert_eq!(
            (agreed.remote_rtp, agreed.remote_rtcp),
            (address(rtp), address(rtcp)),
            "{lines}"
        );
    }
    // The last port has no neighbour.
    let agreed = agree("m=audio 65535 RTP/AVP 0\n", &policy()).unwrap();
    assert_eq!(agreed.remote_rtcp, address("198.51.100.7:65535"));
}

#[test]
fn the_answer_names_rtcp_when_it_is_not_the_neighbour() {
    let plain = "m=audio 4000 RTP/AVP 0\n";
    let muxed = "m=audio 4000 RTP/AVP 0\na=rtcp-mux\n";
    let shared = LocalAddress { rtcp_port: 20000, ..LOCAL };
    let text = |media: &str, local: &LocalAddress| {
        let agreed = agree(media, &policy()).unwrap();
        String::from_utf8(agreed.answer(&sdp(media), local, 7, 1).write()).unwrap()
    };
    assert!(!text(plain, &LOCAL).contains("a=rtcp"));
    assert!(text(plain, &shared).contains("a=rtcp:20000\r\n"));
    assert!(text(muxed, &shared).contains("a=rtcp-mux\r\n"));
    assert!(!text(muxed, &shared).contains("a=rtcp:"));
    let six = LocalAddress { address: "2001:db8::1".parse().unwrap(), ..LOCAL };
    let text = text(plain, &six);
    assert!(text.contains("o=- 7 1 IN IP6 2001:db8::1\r\n"), "{text}");
    assert!(text.contains("c=IN IP6 2001:db8::1\r\n"), "{text}");
}

#[test]
fn the_answer_has_as_many_lines_and_closes_all_but_ours() {
    let media = "m=video 5000 RTP/AVP 99\na=rtpmap:99 H264/90000\nm=audio 0 RTP/AVP 0\n\
                 m=audio 4000/2 RTP/AVP 8 0\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\n\
                 m=image 6000 udptl t38\n";
    let agreed = agree(media, &policy()).unwrap();
    assert_eq!(agreed.media_index, 2);
    let answer = agreed.answer(&sdp(media), &LOCAL, 7, 1);
    let lines: Vec<String> = String::from_utf8(answer.write())
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("m="))
        .map(str::to_owned)
        .collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/AVP 99",
            "m=audio 0 RTP/AVP 0",
            "m=audio 20000 RTP/AVP 0",
            "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
            "m=image 0 udptl t38",
        ]
    );
}

#[test]
fn of_two_audio_lines_the_encrypted_one_is_used_unless_disabled() {
    let secure =
        format!("m=audio 4002 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}\n");
    let plain = "m=audio 4000 RTP/AVP 0\n";
    for (media, secure_index) in [(format!("{secure}{plain}"), 0), (format!("{plain}{secure}"), 1)]
    {
        for encryption in [Encryption::Required, Encryption::Preferred] {
            let agreed = agree(&media, &with(encryption)).unwrap();
            assert_eq!((agreed.media_index, agreed.crypto.is_some()), (secure_index, true));
        }
        let agreed = agree(&media, &with(Encryption::Disabled)).unwrap();
        assert_eq!((agreed.media_index, agreed.crypto), (1 - secure_index, None));
    }
}

#[test]
fn every_suite_with_its_key_length_and_by_its_draft_name() {
    let table = [
        ("AES_CM_128_HMAC_SHA1_80", KEY_30),
        ("AES_CM_128_HMAC_SHA1_32", KEY_30),
        ("AES_256_CM_HMAC_SHA1_80", KEY_46),
        ("AES_256_CM_HMAC_SHA1_32", KEY_46),
        ("AES_CM_256_HMAC_SHA1_80", KEY_46),
        ("AEAD_AES_128_GCM", KEY_28),
        ("AEAD_AES_256_GCM", KEY_44),
    ];
    for (name, key) in table {
        let media = format!("m=audio 4000 RTP/SAVP 0\na=crypto:7 {name} inline:{key}\n");
        let agreed = agree(&media, &with(Encryption::Required)).unwrap();
        let crypto = agreed.crypto.clone().unwrap();
        assert!(crypto.remote.key_and_salt().iter().all(|byte| *byte == 0x41));
        assert_eq!(crypto.local.suite(), crypto.remote.suite());
        assert_ne!(crypto.local, crypto.remote);
        let text = written(&agreed, &sdp(&media));
        assert!(text.contains(&format!("a=crypto:7 {name} inline:")), "{text}");
        // What we write, we read: the other side derives the key we send with.
        let answer = SessionDescription::parse(text.as_bytes()).unwrap();
        let read = answer.media[0].cryptos().next().unwrap().unwrap();
        assert_eq!(read.key, crypto.local);
        // A key of another length is no key.
        let media = format!("m=audio 4000 RTP/SAVP 0\na=crypto:7 {name} inline:{key}QUFB\n");
        assert!(agree(&media, &policy()).is_err());
    }
}

/// RFC 4568 §9.1 and §6.3 line by line.
#[test]
fn crypto_lines_that_can_be_used_and_those_that_cannot() {
    use CryptoProblem::{Lifetime, Malformed, MasterKeyIdentifier, SessionParameter, Suite};
    let k = KEY_30;
    let ok = |tag: u32| Ok(tag);
    let table = [
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k}"), ok(1)),
        (format!("999999999 aes_cm_128_hmac_sha1_80 INLINE:{k}"), ok(999_999_999)),
        (format!(" 01\tAES_CM_128_HMAC_SHA1_80  inline:{k}|2^31 "), ok(1)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k}|2^48"), ok(1)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k}|2^20"), ok(1)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k}|2147483648"), ok(1)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k}|99999999999999999999999"), ok(1)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k}|"), ok(1)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k} WSH=128 -unknown=1 KDR=0"), ok(1)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k}|2^10"), Err(Lifetime)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k}|1:4"), Err(MasterKeyIdentifier)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k}|2^20|1:4"), Err(MasterKeyIdentifier)),
        (
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k}|2^20|1:4;inline:{k}|2^20|2:4"),
            Err(MasterKeyIdentifier),
        ),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k} KDR=1"), Err(SessionParameter)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k} UNENCRYPTED_SRTP"), Err(SessionParameter)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k} unknown=1"), Err(SessionParameter)),
        (format!("1 F8_128_HMAC_SHA1_80 inline:{k}"), Err(Suite)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 uri:{k}"), Err(Malformed)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 {k}"), Err(Malformed)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k}|2^x"), Err(Malformed)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{k}|3^31"), Err(Malformed)),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:".to_owned(), Err(Malformed)),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:!!!!".to_owned(), Err(Malformed)),
        ("1 AES_CM_128_HMAC_SHA1_80".to_owned(), Err(Malformed)),
        ("1".to_owned(), Err(Malformed)),
        (String::new(), Err(Malformed)),
        (format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{k}"), Err(Malformed)),
        (format!("-1 AES_CM_128_HMAC_SHA1_80 inline:{k}"), Err(Malformed)),
    ];
    for (line, want) in table {
        assert_eq!(CryptoAttribute::parse(&line).map(|crypto| crypto.tag), want, "{line}");
    }
    // Padding may be missing: 28 bytes end in "==".
    let unpadded = KEY_28.trim_end_matches('=');
    assert!(CryptoAttribute::parse(&format!("1 AEAD_AES_128_GCM inline:{unpadded}")).is_ok());
}

#[test]
fn an_mki_line_is_passed_over_for_one_without() {
    let media = format!(
        "m=audio 4000 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|2^20|1:4\n\
         a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:{KEY_30}|2^31\n"
    );
    let agreed = agree(&media, &with(Encryption::Required)).unwrap();
    assert_eq!(agreed.crypto.unwrap().tag, 2);
}

#[test]
fn directions_and_both_forms_of_hold_in_a_first_offer() {
    let table = [
        ("", Direction::SendRecv, "sendrecv"),
        ("a=sendonly\n", Direction::RecvOnly, "recvonly"),
        ("a=recvonly\n", Direction::SendOnly, "sendonly"),
        ("a=inactive\n", Direction::Inactive, "inactive"),
        ("c=IN IP4 0.0.0.0\n", Direction::RecvOnly, "recvonly"),
        ("c=IN IP4 0.0.0.0\na=recvonly\n", Direction::Inactive, "inactive"),
        ("c=IN IP4 0.0.0.0\na=inactive\n", Direction::Inactive, "inactive"),
        ("c=IN IP6 ::\na=sendonly\n", Direction::RecvOnly, "recvonly"),
    ];
    for (lines, ours, word) in table {
        let media = format!("m=audio 4000 RTP/AVP 0\n{lines}");
        let agreed = agree(&media, &policy()).unwrap();
        assert_eq!(agreed.direction, ours, "{lines}");
        assert!(written(&agreed, &sdp(&media)).contains(&format!("a={word}\r\n")));
    }
    // At session level, and overruled by the line's own.
    let session = |own: &str| {
        let text = format!(
            "v=0\no=- 1 1 IN IP4 198.51.100.7\ns=-\nc=IN IP4 198.51.100.7\nt=0 0\na=inactive\nm=audio 4000 RTP/AVP 0\n{own}"
        );
        let offer = SessionDescription::parse(text.as_bytes()).unwrap();
        negotiate(&offer, &policy(), &mut Seeded::new(1)).unwrap().direction
    };
    assert_eq!(session(""), Direction::Inactive);
    assert_eq!(session("a=sendrecv\n"), Direction::SendRecv);
}

/// A call that is up, and what a re-offer makes of it.
#[test]
fn re_offers_refresh_hold_resume_and_move() {
    let base = twilio();
    let offer = sdp(&base);
    let agreed = negotiate(&offer, &with(Encryption::Required), &mut Seeded::new(1)).unwrap();
    let first = agreed.answer(&offer, &LOCAL, 7, 1);
    let again = |media: &str| {
        let offer = sdp(media);
        reoffer(&agreed, &offer, &policy()).map(|reoffer| {
            let answer = reoffer.agreed.answer_again(&offer, &LOCAL, &first);
            (reoffer, answer)
        })
    };

    let (same, answer) = again(&base).unwrap();
    assert_eq!(same.change, Change::Same);
    assert_eq!(same.agreed, agreed);
    assert_eq!(answer, first, "the same session is answered with the same version");

    for (word, ours, written) in [
        ("sendonly", Direction::RecvOnly, "recvonly"),
        ("inactive", Direction::Inactive, "inactive"),
        ("recvonly", Direction::SendOnly, "sendonly"),
    ] {
        let (held, answer) = again(&base.replace("sendrecv", word)).unwrap();
        assert_eq!(held.change, Change::Direction(ours));
        let text = String::from_utf8(answer.write()).unwrap();
        assert!(text.contains("o=- 7 2 IN IP4 192.0.2.10\r\n"), "{text}");
        assert!(text.contains(&format!("a={written}\r\n")), "{text}");
        // Resume, from the held state.
        let resumed = reoffer(&held.agreed, &offer, &policy()).unwrap();
        assert_eq!(resumed.change, Change::Direction(Direction::SendRecv));
        let third = resumed.agreed.answer_again(&offer, &LOCAL, &answer);
        assert_eq!(third.origin.unwrap().session_version, Some(3));
    }

    // The old hold keeps the address we know.
    let (held, _) = again(&format!("{base}c=IN IP4 0.0.0.0\n")).unwrap();
    assert_eq!(held.change, Change::Direction(Direction::RecvOnly));
    assert_eq!(held.agreed.remote_rtp, agreed.remote_rtp);

    let (moved, _) = again(&format!("{base}c=IN IP4 203.0.113.77\n")).unwrap();
    let (rtp, rtcp) = (address("203.0.113.77:18220"), address("203.0.113.77:18221"));
    assert_eq!(moved.change, Change::Target { rtp, rtcp, direction: Direction::SendRecv });

    // The order of codecs, tags of keys, and lines for others may change.
    let renumbered = base.replace("crypto:1 ", "crypto:4 ").replace("0 8 101", "8 0 101");
    let (same, answer) = again(&format!("{renumbered}m=video 5000 RTP/AVP 99\n")).unwrap();
    assert_eq!(same.change, Change::Same);
    assert_eq!(same.agreed.crypto.as_ref().unwrap().tag, 4);
    assert_eq!(same.agreed.crypto.unwrap().local, agreed.crypto.clone().unwrap().local);
    assert_eq!(answer.media.len(), 2);

    for (other, reason) in [
        (base.replace(KEY_30, &KEY_30.replace("QUFB", "QUFC")), Reason::Change),
        (base.replace("audio 18220", "audio 0"), Reason::Change),
        (String::new(), Reason::Change),
        (base.replace("m=audio", "m=video"), Reason::Change),
        (
            base.replace("SAVP 0 8", "SAVP 8").replace("a=rtpmap:0 PCMU/8000\n", ""),
            Reason::NoCommonCodec,
        ),
        (base.replace("101", "102"), Reason::Change),
        (format!("{base}a=rtcp-mux\n"), Reason::Change),
        (TELNYX.to_owned(), Reason::EncryptionRequired),
    ] {
        let refused = again(&other).map(|(reoffer, _)| reoffer.change).unwrap_err();
        assert_eq!(refused.reason, reason, "{other}");
    }
    let plain = agree(TELNYX, &policy()).unwrap();
    let refused = reoffer(&plain, &sdp(&base), &policy()).unwrap_err();
    assert_eq!(refused.reason, Reason::EncryptionDisabled);
}

/// RFC 8866 §5, with the odd line ends and orders that occur.
#[test]
fn the_example_of_the_rfc_is_read_and_written() {
    let text = "v=0\r\no=jdoe 3724394400 3724394405 IN IP4 198.51.100.1\r\n\
        s=Call to John Smith\r\ni=SDP Offer #1\r\nu=http://www.jdoe.example.com/home.html\r\n\
        e=Jane Doe <jane@jdoe.example.com>\r\np=+1 617 555-6011\r\nc=IN IP4 198.51.100.1\r\n\
        t=0 0\r\nm=audio 49170 RTP/AVP 0\r\nm=audio 49180 RTP/AVP 0\r\n\
        m=video 51372 RTP/AVP 99\r\nc=IN IP6 2001:db8::2\r\na=rtpmap:99 h263-1998/90000\r\n";
    let session = SessionDescription::parse(text.as_bytes()).unwrap();
    assert_eq!(session.write(), text.as_bytes());
    let origin = session.origin.as_ref().unwrap();
    assert_eq!((origin.session_id, origin.session_version), (Some(3724394400), Some(3724394405)));
    assert_eq!(session.media.len(), 3);
    assert_eq!(session.media[2].rtp_map(99).unwrap().encoding_name, "h263-1998");
    for text in [
        text.replace("\r\n", "\n"),
        text.replace("\r\n", "\r\n\r\n"),
        text.replace("\r\n", "\r\r\n"),
    ] {
        assert_eq!(SessionDescription::parse(text.as_bytes()).unwrap(), session);
    }
    // No line end at the end; session lines in any order, even below the first m=.
    let shuffled = "v=0\nt=0 0\nc=IN IP4 198.51.100.1\nm=audio 49170 RTP/AVP 0\ns=x\no=- 1 2 IN IP4 198.51.100.1";
    let session = SessionDescription::parse(shuffled.as_bytes()).unwrap();
    assert_eq!(session.origin.as_ref().unwrap().session_version, Some(2));
    assert!(session.media[0].other.is_empty());
}

#[test]
fn what_nobody_knows_is_kept_byte_for_byte() {
    let body = b"v=0\r\ns=\xe9t\xe9\r\nt=0 0\r\nq=\xff\x00 what\r\na=\xfe:\x80\r\nm=audio 1 RTP/AVP 0\r\nk=clear:x\r\nX=1\r\na=weird \xff\r\n";
    let session = SessionDescription::parse(body).unwrap();
    assert_eq!(session.write(), body);
}

#[test]
fn missing_session_lines_do_no_harm() {
    let session =
        SessionDescription::parse(b"v=0\nm=audio 4000 RTP/AVP 0\nc=IN IP4 198.51.100.7\n").unwrap();
    let agreed = negotiate(&session, &policy(), &mut Seeded::new(1)).unwrap();
    let text = written(&agreed, &session);
    assert!(text.contains("s=-\r\n") && text.contains("t=0 0\r\n"), "{text}");
    // The time is repeated when there is one.
    let offer = SessionDescription::parse(
        b"v=0\nt=2873397496 2873404696\nm=audio 4000 RTP/AVP 0\nc=IN IP4 198.51.100.7\n",
    );
    assert!(written(&agreed, &offer.unwrap()).contains("t=2873397496 2873404696\r\n"));
}

#[test]
fn malformed_bodies_name_the_line() {
    let table: [(&[u8], &str, usize); 14] = [
        (b"", "v=", 0),
        (b"\r\n\r\n", "v=", 4),
        (b"hello", "line", 0),
        (b"v=0\r\nhello\r\n", "line", 5),
        (b"v=0\n=x\n", "line", 4),
        (b"v=0\n1=x\n", "line", 4),
        (b"s=-\nv=0\n", "v=", 0),
        (b"v=1\n", "v=", 0),
        (b"v=0\nv=0\n", "v=", 4),
        (b"v=0\no=a\no=b\n", "o=", 8),
        (b"v=0\nc=IN IP4\n", "c=", 4),
        (b"v=0\nm=audio\n", "m=", 4),
        (b"v=0\nm=audio 70000 RTP/AVP 0\n", "m=", 4),
        (b"v=0\nm=audio 1/x RTP/AVP 0\n", "m=", 4),
    ];
    for (body, field, offset) in table {
        let malformed = SessionDescription::parse(body).unwrap_err();
        assert_eq!((malformed.field, malformed.offset), (field, offset), "{malformed}");
    }
}

#[test]
fn sizes_are_limited() {
    let too_long = [b"v=0\na=".as_slice(), &vec![b'x'; MAX_LINE_LEN_BYTES]].concat();
    assert_eq!(SessionDescription::parse(&too_long).unwrap_err().problem, "line too long");
    let many = format!("v=0\n{}", "a=x\n".repeat(MAX_LINES));
    assert_eq!(SessionDescription::parse(many.as_bytes()).unwrap_err().problem, "too many lines");
    let many = format!("v=0\n{}", "m=audio 1 RTP/AVP 0\n".repeat(MAX_MEDIA + 1));
    let problem = SessionDescription::parse(many.as_bytes()).unwrap_err().problem;
    assert_eq!(problem, "too many media lines");
    let many = format!("v=0\nm=audio 1 RTP/AVP{}\n", " 0".repeat(MAX_FORMATS + 1));
    assert_eq!(SessionDescription::parse(many.as_bytes()).unwrap_err().problem, "too many formats");
    assert!(SessionDescription::parse(&vec![b'\n'; MAX_LEN_BYTES + 1]).is_err());
}

#[test]
fn keys_never_show() {
    let media = format!(
        "{}k=clear:{KEY_30}\na=key-mgmt:mikey {KEY_30}\nC=x {KEY_30}\na={KEY_30}\n",
        pjsip()
    );
    let text = format!(
        "v=0\no=- 1 1 IN IP4 198.51.100.7\ns=-\nc=IN IP4 198.51.100.7\nk=base64:{KEY_30}\nt=0 0\n{media}"
    );
    let offer = SessionDescription::parse(text.as_bytes()).unwrap();
    let agreed = negotiate(&offer, &policy(), &mut Seeded::new(1)).unwrap();
    let answer = agreed.answer(&offer, &LOCAL, 7, 1);
    let crypto: Vec<_> = offer.media[0].cryptos().collect();
    let shown = format!("{offer:?} {offer:#?} {agreed:?} {answer:?} {crypto:?}");
    let ours = answer.media[0].attribute("crypto").unwrap().text().unwrap();
    let ours = ours.split_once("inline:").unwrap().1;
    for secret in [KEY_30, KEY_46, ours, "inline", "65, 65, 65"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// Every truncation and every change of one byte: no panic, and what is written is read and written
/// again as the same.
#[test]
fn truncated_and_changed_offers_are_read_or_refused_but_never_panic() {
    let mut failures = Vec::new();
    for media in [pjsip(), twilio(), TELNYX.to_owned()] {
        let good = sdp(&media).write();
        let mut check = |what: String, body: &[u8]| {
            let outcome = std::panic::catch_unwind(|| exercise(body));
            if !matches!(outcome, Ok(true)) {
                failures.push(what);
            }
        };
        for len in 0..good.len() {
            check(format!("cut to {len}"), &good[..len]);
        }
        for at in 0..good.len() {
            for byte in [0, b'\n', b' ', b':', b'9', b'|', 0xff, good[at] ^ 1] {
                let mut body = good.clone();
                body[at] = byte;
                check(format!("byte {at} made {byte:#04x}"), &body);
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// `false` when writing and reading again gives something else.
fn exercise(body: &[u8]) -> bool {
    let Ok(session) = SessionDescription::parse(body) else { return true };
    let text = session.write();
    if SessionDescription::parse(&text).map(|again| again.write()) != Ok(text) {
        return false;
    }
    let Ok(agreed) = negotiate(&session, &policy(), &mut Seeded::new(1)) else { return true };
    let answer = agreed.answer(&session, &LOCAL, 7, 1);
    SessionDescription::parse(&answer.write()) == Ok(answer)
        && reoffer(&agreed, &session, &policy()).map(|reoffer| reoffer.change) == Ok(Change::Same)
}
