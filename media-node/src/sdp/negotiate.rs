//! What an offer and our policy have in common, and the answer that says so (RFC 3264 §6).
#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use std::net::{IpAddr, SocketAddr};

use crate::media::{Codec, CryptoSuite, Direction, MasterKey};
use crate::random::Random;

use super::crypto::{CryptoAttribute, CryptoProblem};
use super::description::{
    Attribute, Connection, Line, MediaDescription, Origin, SessionDescription, direction_name,
    number,
};

/// Whether audio is encrypted (`media.encryption` of a Trunk).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encryption {
    /// Encrypted, or no call.
    Required,
    /// Encrypted when the peer can, else plain.
    Preferred,
    /// Plain; an offer that insists on encryption is refused.
    Disabled,
}

/// What we want of a call, before any port is taken.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// The one we like best first; it decides, whatever the offer's order.
    pub codecs: &'a [Codec],
    pub encryption: Encryption,
    /// The one we like best first; it decides, whatever the offer's order.
    pub suites: &'a [CryptoSuite],
    /// How much audio a packet holds when the peer does not say, in milliseconds: 10, 20, 30 or 40.
    pub packet_time_ms: u8,
    /// Answer telephone-event (RFC 4733) when it is offered.
    pub telephone_event: bool,
    /// What we are ready to do; `SendRecv` save in a test.
    pub direction: Direction,
}

/// Where the peer shall send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    pub address: IpAddr,
    pub rtp_port: u16,
    /// The odd neighbour, or `rtp_port` itself on a shared port.
    pub rtcp_port: u16,
}

/// Digits as events (RFC 4733).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelephoneEvent {
    pub payload_type: u8,
    pub clock_rate_hz: u32,
}

/// One suite, both keys. `Debug` shows neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// The offer's tag, repeated in the answer (RFC 4568 §5.1.2).
    pub tag: u32,
    /// What we send is protected with this.
    pub local: MasterKey,
    /// What the peer sends is protected with this.
    pub remote: MasterKey,
    suite_name: String,
}

/// What both sides will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The `m=` line of the offer that is used.
    pub media_index: usize,
    pub codec: Codec,
    /// The codec's payload type in both directions.
    pub payload_type: u8,
    pub telephone_event: Option<TelephoneEvent>,
    /// How much audio each of our packets holds, in milliseconds: 10, 20, 30 or 40.
    pub packet_time_ms: u8,
    /// Unspecified (`0.0.0.0`) while the peer holds in the way of RFC 2543; `direction` then says
    /// that we do not send.
    pub remote_rtp: SocketAddr,
    pub remote_rtcp: SocketAddr,
    pub rtcp_mux: bool,
    /// Ours: what we send and receive.
    pub direction: Direction,
    pub crypto: Option<Crypto>,
}

/// Why there is nothing in common. Its label is a metric's label, so the set is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    NoAudio,
    Protocol,
    NoCommonCodec,
    EncryptionRequired,
    EncryptionDisabled,
    NoCommonCrypto,
    Address,
    /// A re-offer asks for more than hold, resume or another address.
    Change,
}

impl Reason {
    pub fn label(self) -> &'static str {
        match self {
            Self::NoAudio => "no_audio",
            Self::Protocol => "media_protocol",
            Self::NoCommonCodec => "no_common_codec",
            Self::EncryptionRequired => "encryption_required",
            Self::EncryptionDisabled => "encryption_disabled",
            Self::NoCommonCrypto => "no_common_crypto",
            Self::Address => "media_address",
            Self::Change => "session_change",
        }
    }

    /// The field of the Trunk that decided, when one did.
    pub fn field(self) -> Option<&'static str> {
        match self {
            Self::NoCommonCodec => Some("media.codecs"),
            Self::EncryptionRequired | Self::EncryptionDisabled | Self::NoCommonCrypto => {
                Some("media.encryption")
            }
            Self::NoAudio | Self::Protocol | Self::Address | Self::Change => None,
        }
    }
}

/// The offer is understood and cannot be met: 488 Not Acceptable Here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Unacceptable {
    pub reason: Reason,
    /// The warn-code (RFC 3261 §20.43).
    pub warning: u16,
    /// A sentence for a person, fit for a quoted string: ASCII, no quotes, no keys.
    pub text: String,
}

impl Unacceptable {
    pub(super) fn new(reason: Reason, warning: u16, text: impl Into<String>) -> Self {
        Self { reason, warning, text: text.into() }
    }

    /// The SIP status that carries it.
    pub fn status(&self) -> u16 {
        488
    }

    pub fn label(&self) -> &'static str {
        self.reason.label()
    }
}

/// Picks the stream, the codec and the keys.
///
/// Every open audio line is tried in the offer's order; an encrypted one goes before a plain one
/// when both would do, for a peer that leaves the choice writes both. Without any, the reason is
/// that of the first line.
pub fn negotiate(
    offer: &SessionDescription,
    policy: &Policy<'_>,
    random: &mut dyn Random,
) -> Result<Agreed, Unacceptable> {
    let mut plain = None;
    let mut refused = None;
    for (media_index, media) in offer.media.iter().enumerate() {
        if !media.is_audio() || media.port == 0 {
            continue;
        }
        match choose(offer, media_index, media, policy) {
            Ok(choice) if choice.crypto.is_some() => return Ok(choice.agree(random)),
            Ok(choice) => plain = plain.or(Some(choice)),
            Err(unacceptable) => refused = refused.or(Some(unacceptable)),
        }
    }
    match (plain, refused) {
        (Some(choice), _) => Ok(choice.agree(random)),
        (None, Some(unacceptable)) => Err(unacceptable),
        (None, None) => {
            Err(Unacceptable::new(Reason::NoAudio, 304, "the offer has no open audio stream"))
        }
    }
}

/// Everything but our own key, so that no key is drawn for a line that loses.
pub(super) struct Choice {
    pub(super) agreed: Agreed,
    pub(super) crypto: Option<CryptoAttribute>,
}

impl Choice {
    fn agree(self, random: &mut dyn Random) -> Agreed {
        let crypto = self.crypto.map(|offered| Crypto {
            tag: offered.tag,
            local: MasterKey::random(offered.key.suite(), random),
            remote: offered.key,
            suite_name: offered.suite_name,
        });
        Agreed { crypto, ..self.agreed }
    }
}

/// What one open audio line can be agreed to, its crypto left to be keyed.
pub(super) fn choose(
    offer: &SessionDescription,
    media_index: usize,
    media: &MediaDescription,
    policy: &Policy<'_>,
) -> Result<Choice, Unacceptable> {
    let crypto = choose_crypto(media, policy)?;
    let (codec, payload_type) = choose_codec(media, policy.codecs)?;
    let address = remote_address(offer, media)?;
    let remote_rtp = SocketAddr::new(address, media.port);
    let rtcp_mux = media.attribute("rtcp-mux").is_some();
    let remote_rtcp = match rtcp_mux {
        true => remote_rtp,
        false => remote_rtcp(media, remote_rtp),
    };
    let offered = offer.direction_of(media).reversed();
    let direction = both(
        offered.sends() && policy.direction.sends(),
        offered.receives() && policy.direction.receives(),
    );
    let telephone_event = match policy.telephone_event {
        true => telephone_event(media, codec.clock_rate_hz()),
        false => None,
    };
    let agreed = Agreed {
        media_index,
        codec,
        payload_type,
        telephone_event,
        packet_time_ms: packet_time_ms(media, codec, policy.packet_time_ms),
        remote_rtp,
        remote_rtcp,
        rtcp_mux,
        direction,
        crypto: None,
    };
    Ok(Choice { agreed, crypto })
}

/// `RTP/AVP` and kin are plain, `RTP/SAVP` and kin encrypted. A peer that leaves the choice writes
/// `RTP/AVP` with `a=crypto`; it is then answered with a key unless encryption is disabled.
fn choose_crypto(
    media: &MediaDescription,
    policy: &Policy<'_>,
) -> Result<Option<CryptoAttribute>, Unacceptable> {
    let protocol = media.protocol.to_ascii_uppercase();
    let must_encrypt = match protocol.as_str() {
        "RTP/AVP" | "RTP/AVPF" => false,
        "RTP/SAVP" | "RTP/SAVPF" => true,
        _ => {
            let protocol = printable(&media.protocol);
            let text =
                format!("media protocol {protocol} is not supported, RTP/SAVP and RTP/AVP are");
            return Err(Unacceptable::new(Reason::Protocol, 302, text));
        }
    };
    match (policy.encryption, must_encrypt) {
        (Encryption::Disabled, true) => {
            let text = format!(
                "the offer asks for encryption ({protocol}), which this trunk has disabled; offer RTP/AVP"
            );
            return Err(Unacceptable::new(Reason::EncryptionDisabled, 302, text));
        }
        (Encryption::Disabled, false) => return Ok(None),
        (Encryption::Required | Encryption::Preferred, _) => {}
    }
    let mut worst = None;
    let mut usable = Vec::new();
    for crypto in media.cryptos() {
        match crypto {
            Ok(crypto) if policy.suites.contains(&crypto.key.suite()) => usable.push(crypto),
            Ok(_) => worst = worst.max(Some(CryptoProblem::Suite)),
            Err(problem) => worst = worst.max(Some(problem)),
        }
    }
    let best = policy
        .suites
        .iter()
        .find_map(|suite| usable.iter().position(|crypto| crypto.key.suite() == *suite));
    if let Some(best) = best {
        return Ok(Some(usable.swap_remove(best)));
    }
    if !must_encrypt && policy.encryption == Encryption::Preferred {
        return Ok(None);
    }
    Err(match worst {
        Some(problem) => {
            let suites: Vec<&str> = policy.suites.iter().map(|suite| suite.name()).collect();
            let text = format!("{}; offer one of {}", problem.text(), suites.join(", "));
            Unacceptable::new(Reason::NoCommonCrypto, 306, text)
        }
        None if must_encrypt && media.attribute("fingerprint").is_some() => Unacceptable::new(
            Reason::NoCommonCrypto,
            306,
            "keys by DTLS are not supported; offer a=crypto (SDES)",
        ),
        None if must_encrypt => Unacceptable::new(
            Reason::NoCommonCrypto,
            306,
            format!("the offer is {protocol} without an a=crypto line"),
        ),
        None => Unacceptable::new(
            Reason::EncryptionRequired,
            302,
            format!(
                "this trunk requires encrypted audio; offer RTP/SAVP with a=crypto, not {protocol}"
            ),
        ),
    })
}

fn choose_codec(media: &MediaDescription, codecs: &[Codec]) -> Result<(Codec, u8), Unacceptable> {
    let chosen = codecs.iter().find_map(|codec| {
        media
            .payload_types()
            .find(|payload_type| codec_of(media, *payload_type) == Some(*codec))
            .map(|payload_type| (*codec, payload_type))
    });
    chosen.ok_or_else(|| {
        let offered: Vec<String> =
            media.formats.iter().take(8).map(|f| format_name(media, f)).collect();
        let ours: Vec<&str> = codecs.iter().map(|codec| codec.encoding_name()).collect();
        let text = format!(
            "no codec in common: offered {}, this trunk takes {}",
            if offered.is_empty() { "none".to_owned() } else { offered.join(", ") },
            ours.join(", "),
        );
        Unacceptable::new(Reason::NoCommonCodec, 305, text)
    })
}

/// A payload type means what its `a=rtpmap` says; without one, what RFC 3551 §6 says.
fn codec_of(media: &MediaDescription, payload_type: u8) -> Option<Codec> {
    let mut all = Codec::ALL.iter().copied();
    match media.rtp_map(payload_type) {
        Some(map) => all.find(|codec| {
            map.encoding_name.eq_ignore_ascii_case(codec.encoding_name())
                && map.clock_rate_hz == codec.clock_rate_hz()
                && map.channels == u32::from(codec.channels())
        }),
        None => all.find(|codec| codec.static_payload_type() == Some(payload_type)),
    }
}

/// A format as a person knows it: `G729`, or its number.
fn format_name(media: &MediaDescription, format: &str) -> String {
    let mapped = number(format)
        .and_then(|number| u8::try_from(number).ok())
        .and_then(|payload_type| media.rtp_map(payload_type))
        .map(|map| map.encoding_name);
    let name = mapped.or(match format {
        "3" => Some("GSM"),
        "4" => Some("G723"),
        "9" => Some("G722"),
        "15" => Some("G728"),
        "18" => Some("G729"),
        _ => None,
    });
    printable(name.unwrap_or(format))
}

/// The peer's word, cut down to what may stand in a header, a log and a terminal.
fn printable(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_alphanumeric() || "/.-_+".contains(*c)).take(32).collect()
}

/// Events on the codec's clock; one of another clock (16000, 48000) belongs to another codec.
fn telephone_event(media: &MediaDescription, clock_rate_hz: u32) -> Option<TelephoneEvent> {
    media
        .payload_types()
        .find(|payload_type| {
            media.rtp_map(*payload_type).is_some_and(|map| {
                map.encoding_name.eq_ignore_ascii_case("telephone-event")
                    && map.clock_rate_hz == clock_rate_hz
            })
        })
        .map(|payload_type| TelephoneEvent { payload_type, clock_rate_hz })
}

/// `a=ptime` is what the peer would like to receive, so it goes before ours; `a=maxptime` limits
/// both (RFC 8866 §6.4). We pack 10, 20, 30 or 40 ms.
fn packet_time_ms(media: &MediaDescription, codec: Codec, ours: u8) -> u8 {
    let wanted = media.milliseconds("ptime").unwrap_or(u32::from(ours));
    let most = media.milliseconds("maxptime").unwrap_or(u32::MAX);
    let whole = wanted.min(most).clamp(10, 40) / 10 * 10;
    // RFC 7587 §6.1: of Opus's frames none is of 30 ms.
    let whole = if codec.static_payload_type().is_none() && whole == 30 { 20 } else { whole };
    u8::try_from(whole).unwrap_or(20)
}

fn remote_address(
    offer: &SessionDescription,
    media: &MediaDescription,
) -> Result<IpAddr, Unacceptable> {
    let connection = offer.connection_of(media).ok_or_else(|| {
        Unacceptable::new(Reason::Address, 301, "the offer has no c= line for its audio")
    })?;
    let address = connection.address.ok_or_else(|| {
        Unacceptable::new(Reason::Address, 301, "c= must hold an IP address, not a name")
    })?;
    if address.is_multicast() {
        return Err(Unacceptable::new(Reason::Address, 330, "multicast is not supported"));
    }
    Ok(address)
}

/// `a=rtcp:port [IN IP4 address]` (RFC 3605), else the next port (RFC 3550 §11).
fn remote_rtcp(media: &MediaDescription, rtp: SocketAddr) -> SocketAddr {
    let neighbour = SocketAddr::new(rtp.ip(), rtp.port().checked_add(1).unwrap_or(rtp.port()));
    let Some(text) = media.attribute("rtcp").and_then(Attribute::text) else { return neighbour };
    let mut words = text.split_ascii_whitespace();
    let port = words.next().and_then(number).and_then(|port| u16::try_from(port).ok());
    let Some(port) = port.filter(|port| *port != 0) else { return neighbour };
    let address = words
        .nth(2)
        .and_then(|address| address.parse::<IpAddr>().ok())
        .map(|address| address.to_canonical())
        .filter(|address| !address.is_multicast() && !address.is_unspecified());
    SocketAddr::new(address.unwrap_or(rtp.ip()), port)
}

fn both(sends: bool, receives: bool) -> Direction {
    match (sends, receives) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}

impl Agreed {
    /// The answer to `offer` (RFC 3264 §6): as many media lines in the same order, ours open, the
    /// others with port 0.
    pub fn answer(
        &self,
        offer: &SessionDescription,
        local: &LocalAddress,
        session_id: u64,
        session_version: u64,
    ) -> SessionDescription {
        let media = offer.media.iter().enumerate().map(|(index, offered)| {
            match index == self.media_index {
                true => self.answer_media(offered, local),
                false => MediaDescription {
                    kind: offered.kind.clone(),
                    port: 0,
                    protocol: offered.protocol.clone(),
                    formats: match offered.formats.is_empty() {
                        true => vec!["0".to_owned()],
                        false => offered.formats.clone(),
                    },
                    ..MediaDescription::default()
                },
            }
        });
        SessionDescription {
            origin: Some(Origin::new(session_id, session_version, local.address)),
            connection: Some(Connection::new(local.address)),
            attributes: Vec::new(),
            other: vec![
                Line { kind: b's', value: b"-".to_vec() },
                // RFC 3264 §6: the time of the answer equals that of the offer.
                Line { kind: b't', value: time_of(offer) },
            ],
            media: media.collect(),
        }
    }

    /// The answer to a re-offer: the session of `previous`, our last answer, whose version grows by
    /// one only when something else changed (RFC 3264 §8).
    pub fn answer_again(
        &self,
        offer: &SessionDescription,
        local: &LocalAddress,
        previous: &SessionDescription,
    ) -> SessionDescription {
        let origin = previous.origin.as_ref();
        let id = origin.and_then(|origin| origin.session_id).unwrap_or(0);
        let version = origin.and_then(|origin| origin.session_version).unwrap_or(0);
        let same = self.answer(offer, local, id, version);
        match same == *previous {
            true => same,
            false => self.answer(offer, local, id, version.wrapping_add(1)),
        }
    }

    fn answer_media(&self, offered: &MediaDescription, local: &LocalAddress) -> MediaDescription {
        let mut formats = vec![self.payload_type.to_string()];
        let mut attributes = vec![rtp_map(
            self.payload_type,
            self.codec.encoding_name(),
            self.codec.clock_rate_hz(),
            self.codec.channels(),
        )];
        attributes.extend(self.format_parameters());
        if let Some(event) = self.telephone_event {
            formats.push(event.payload_type.to_string());
            attributes.push(rtp_map(event.payload_type, "telephone-event", event.clock_rate_hz, 1));
            // Digits, star, pound and A to D (RFC 4733 §3.2).
            attributes.push(Attribute::new("fmtp", format!("{} 0-15", event.payload_type)));
        }
        attributes.push(Attribute::new("ptime", self.packet_time_ms.to_string()));
        if let Some(crypto) = &self.crypto {
            attributes.push(Attribute::new("crypto", crypto.write()));
        }
        attributes.push(Attribute::flag(direction_name(self.direction)));
        if self.rtcp_mux {
            attributes.push(Attribute::flag("rtcp-mux"));
        } else if local.rtp_port.checked_add(1) != Some(local.rtcp_port) {
            attributes.push(Attribute::new("rtcp", local.rtcp_port.to_string()));
        }
        MediaDescription {
            kind: offered.kind.clone(),
            port: local.rtp_port,
            port_count: None,
            protocol: offered.protocol.clone(),
            formats,
            connection: None,
            attributes,
            other: Vec::new(),
        }
    }
}

#[cfg(feature = "opus")]
impl Agreed {
    /// What we can make use of when we receive, whatever the peer can (RFC 7587 §7): what a packet
    /// tells of the one before it. Stereo is not asked for, so mono comes.
    fn format_parameters(&self) -> Option<Attribute> {
        let fec = || Attribute::new("fmtp", format!("{} useinbandfec=1", self.payload_type));
        (self.codec == Codec::Opus).then(fec)
    }
}

#[cfg(not(feature = "opus"))]
impl Agreed {
    /// None of our codecs has any.
    fn format_parameters(&self) -> Option<Attribute> {
        None
    }
}

impl Crypto {
    fn write(&self) -> String {
        let ours = CryptoAttribute {
            tag: self.tag,
            suite_name: self.suite_name.clone(),
            key: self.local.clone(),
        };
        ours.write()
    }

    /// The same keys under the tag and the name by which a re-offer calls them.
    pub(super) fn renamed(&self, offered: &CryptoAttribute) -> Self {
        Self { tag: offered.tag, suite_name: offered.suite_name.clone(), ..self.clone() }
    }
}

fn rtp_map(payload_type: u8, encoding_name: &str, clock_rate_hz: u32, channels: u8) -> Attribute {
    let channels = if channels == 1 { String::new() } else { format!("/{channels}") };
    Attribute::new("rtpmap", format!("{payload_type} {encoding_name}/{clock_rate_hz}{channels}"))
}

/// The offer's first `t=`, when it is two numbers.
fn time_of(offer: &SessionDescription) -> Vec<u8> {
    let line = offer.other.iter().find(|line| line.kind == b't');
    let words: Vec<&[u8]> = line
        .map(|line| line.value.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).collect())
        .unwrap_or_default();
    match words.as_slice() {
        [start, stop]
            if [start, stop].iter().all(|w| w.len() <= 20 && w.iter().all(u8::is_ascii_digit)) =>
        {
            [start, b" ".as_slice(), stop].concat()
        }
        _ => b"0 0".to_vec(),
    }
}
