//! `a=crypto` (RFC 4568 §9): one way the writer offers to encrypt what it sends.
#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::media::{CryptoSuite, MasterKey};

use super::description::number;

/// A key must last this many packets: more than two hours of 10 ms packets, the longest call there
/// is by default. Keys are not replaced during a call, so one that runs out sooner is passed over.
const MIN_LIFETIME_PACKETS: u64 = 1 << 20;

/// Padding is asked for by RFC 4568 §6.1 and left out by some.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Why a line cannot be used, ordered from the least to the most interesting for a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CryptoProblem {
    /// Not of the form of RFC 4568 §9.1, or a key of the wrong length.
    Malformed,
    /// A suite we do not speak.
    Suite,
    /// `KDR`, `UNENCRYPTED_SRTP` and the like (RFC 4568 §6.3).
    SessionParameter,
    /// A key that runs out during a call.
    Lifetime,
    /// A master key identifier, or several keys told apart by one.
    MasterKeyIdentifier,
}

impl CryptoProblem {
    pub fn text(self) -> &'static str {
        match self {
            Self::Malformed => "no a=crypto line is well-formed",
            Self::Suite => "no a=crypto suite in common",
            Self::SessionParameter => "a=crypto asks for a session parameter that is not supported",
            Self::Lifetime => "a=crypto has a key lifetime below 2^20 packets",
            Self::MasterKeyIdentifier => "a=crypto uses an MKI, which is not supported",
        }
    }
}

/// A line that can be used. `Debug` shows no key, for [`MasterKey`] shows none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CryptoAttribute {
    /// Up to nine digits; the answer repeats it.
    pub tag: u32,
    /// The name as written: an answer says the suite as the offer said it.
    pub suite_name: String,
    pub key: MasterKey,
}

impl CryptoAttribute {
    /// Reads what follows `a=crypto:`: `tag suite inline:key|lifetime|MKI:length session-params`.
    pub fn parse(value: &str) -> Result<Self, CryptoProblem> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next().filter(|tag| tag.len() <= 9).and_then(number);
        let tag = tag.ok_or(CryptoProblem::Malformed)?;
        let suite_name = words.next().ok_or(CryptoProblem::Malformed)?;
        let keys = words.next().ok_or(CryptoProblem::Malformed)?;
        let suite = suite_of(suite_name).ok_or(CryptoProblem::Suite)?;
        if !words.all(is_harmless) {
            return Err(CryptoProblem::SessionParameter);
        }
        if keys.contains(';') {
            return Err(CryptoProblem::MasterKeyIdentifier);
        }
        let inline = match keys.split_once(':') {
            Some((method, inline)) if method.eq_ignore_ascii_case("inline") => inline,
            _ => return Err(CryptoProblem::Malformed),
        };
        let mut parts = inline.split('|');
        let key = parts.next().unwrap_or_default();
        for part in parts.filter(|part| !part.is_empty()) {
            if part.contains(':') {
                return Err(CryptoProblem::MasterKeyIdentifier);
            }
            if lifetime_packets(part)? < MIN_LIFETIME_PACKETS {
                return Err(CryptoProblem::Lifetime);
            }
        }
        let bytes = Zeroizing::new(BASE64.decode(key).map_err(|_| CryptoProblem::Malformed)?);
        let key = MasterKey::new(suite, &bytes).ok_or(CryptoProblem::Malformed)?;
        Ok(Self { tag, suite_name: suite_name.to_owned(), key })
    }

    /// The value of `a=crypto`, without lifetime and MKI: several carriers refuse both.
    pub fn write(&self) -> String {
        let key = Zeroizing::new(BASE64.encode(self.key.key_and_salt()));
        format!("{} {} inline:{}", self.tag, self.suite_name, *key)
    }
}

/// RFC 6188 says `AES_256_CM_…`; its drafts, and softphones that follow them, `AES_CM_256_…`.
fn suite_of(name: &str) -> Option<CryptoSuite> {
    CryptoSuite::from_name(name).or_else(|| match name.to_ascii_uppercase().as_str() {
        "AES_CM_256_HMAC_SHA1_80" => Some(CryptoSuite::AesCm256HmacSha1_80),
        "AES_CM_256_HMAC_SHA1_32" => Some(CryptoSuite::AesCm256HmacSha1_32),
        _ => None,
    })
}

/// `2^31` or `1048576`; one too large for 64 bits is long enough.
fn lifetime_packets(text: &str) -> Result<u64, CryptoProblem> {
    match text.split_once('^') {
        Some(("2", exponent)) => {
            let exponent = number(exponent).ok_or(CryptoProblem::Malformed)?;
            Ok(1_u64.checked_shl(exponent).unwrap_or(u64::MAX))
        }
        Some(_) => Err(CryptoProblem::Malformed),
        None if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(text.parse().unwrap_or(u64::MAX))
        }
        None => Err(CryptoProblem::Malformed),
    }
}

/// RFC 4568 §6.3: a window size is a hint, `-name` may be ignored, a key derivation rate of zero is
/// what we do anyway; every other parameter would change what is on the wire.
fn is_harmless(parameter: &str) -> bool {
    let upper = parameter.to_ascii_uppercase();
    parameter.starts_with('-') || upper.starts_with("WSH=") || upper == "KDR=0"
}
