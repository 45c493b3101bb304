//! The words that `sdp`, `rtp`, `audio` and `call` share, so that none of them needs to know
//! another: a codec, a direction, a cipher suite and the key that goes with it.

mod digit;

use std::fmt;

pub use digit::{Digit, Digits, KeyTiming, NoDigits, Step};
use zeroize::Zeroize;

/// A speech codec as it travels in RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 µ-law (RFC 3551 §4.5.14), static payload type 0.
    Pcmu,
    /// G.711 A-law (RFC 3551 §4.5.14), static payload type 8.
    Pcma,
    /// G.722 at 64 kbit/s (RFC 3551 §4.5.2), static payload type 9.
    G722,
    /// Opus (RFC 6716, RFC 7587), dynamic payload types only.
    #[cfg(feature = "opus")]
    Opus,
}

impl Codec {
    /// Every codec that this build speaks.
    pub const ALL: &[Self] = &[
        Self::Pcmu,
        Self::Pcma,
        Self::G722,
        #[cfg(feature = "opus")]
        Self::Opus,
    ];

    /// The encoding name of `a=rtpmap` (RFC 3551 §6).
    pub fn encoding_name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            #[cfg(feature = "opus")]
            Self::Opus => "opus",
        }
    }

    /// The payload type that needs no `a=rtpmap`.
    pub fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::Pcmu => Some(0),
            Self::Pcma => Some(8),
            Self::G722 => Some(9),
            #[cfg(feature = "opus")]
            Self::Opus => None,
        }
    }

    /// The rate of the RTP clock, in Hz; not always the sampling rate.
    pub fn clock_rate_hz(self) -> u32 {
        match self {
            // RFC 3551 §4.5.2: G.722 samples at 16 kHz, but its clock runs at 8 kHz, a slip of RFC 1890
            // that stays for compatibility.
            Self::Pcmu | Self::Pcma | Self::G722 => 8000,
            // RFC 7587 §4.1: whatever rate the sound has.
            #[cfg(feature = "opus")]
            Self::Opus => 48_000,
        }
    }

    /// What `a=rtpmap` says: RFC 7587 §7 has Opus always say two, and mono is sent all the same.
    pub fn channels(self) -> u8 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 1,
            #[cfg(feature = "opus")]
            Self::Opus => 2,
        }
    }
}

/// Who sends and who receives, seen from the side that says it (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    /// The same stream seen from the other end (RFC 3264 §6.1).
    pub fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            same => same,
        }
    }

    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// An SRTP protection profile that SDP can name (RFC 4568 §6.2, RFC 6188, RFC 7714).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CryptoSuite {
    AesCm128HmacSha1_80,
    AesCm128HmacSha1_32,
    AesCm256HmacSha1_80,
    AesCm256HmacSha1_32,
    AeadAes128Gcm,
    AeadAes256Gcm,
}

impl CryptoSuite {
    /// Every suite, the one we like best first: authenticated encryption costs half of AES-CM with
    /// HMAC-SHA1 on a CPU with AES instructions, and a short tag is worth little at 20 ms a packet.
    pub const BY_PREFERENCE: [Self; 6] = [
        Self::AeadAes128Gcm,
        Self::AeadAes256Gcm,
        Self::AesCm128HmacSha1_80,
        Self::AesCm256HmacSha1_80,
        Self::AesCm128HmacSha1_32,
        Self::AesCm256HmacSha1_32,
    ];

    /// The name in `a=crypto`.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AesCm256HmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::AesCm256HmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::BY_PREFERENCE.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    pub fn key_len_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AesCm256HmacSha1_80 | Self::AesCm256HmacSha1_32 | Self::AeadAes256Gcm => 32,
        }
    }

    /// The master salt: 112 bits for AES-CM (RFC 3711 §8.2), 96 bits for GCM (RFC 7714 §12).
    pub fn salt_len_bytes(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            _ => 14,
        }
    }

    /// Key and salt together, as `inline:` carries them (RFC 4568 §6.1).
    pub fn master_len_bytes(self) -> usize {
        self.key_len_bytes() + self.salt_len_bytes()
    }
}

/// The longest master key and salt of any suite, in bytes.
pub const MAX_MASTER_LEN_BYTES: usize = 46;

/// A suite with its master key and salt. Wiped when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    suite: CryptoSuite,
    bytes: [u8; MAX_MASTER_LEN_BYTES],
}

impl MasterKey {
    /// `None` when `key_and_salt` has not exactly the length of the suite.
    pub fn new(suite: CryptoSuite, key_and_salt: &[u8]) -> Option<Self> {
        if key_and_salt.len() != suite.master_len_bytes() {
            return None;
        }
        let mut bytes = [0; MAX_MASTER_LEN_BYTES];
        bytes.iter_mut().zip(key_and_salt).for_each(|(to, from)| *to = *from);
        Some(Self { suite, bytes })
    }

    /// A fresh key from the given source of randomness.
    pub fn random(suite: CryptoSuite, random: &mut dyn crate::random::Random) -> Self {
        let mut bytes = [0; MAX_MASTER_LEN_BYTES];
        let len = suite.master_len_bytes();
        if let Some(used) = bytes.get_mut(..len) {
            random.fill(used);
        }
        Self { suite, bytes }
    }

    pub fn suite(&self) -> CryptoSuite {
        self.suite
    }

    pub fn key(&self) -> &[u8] {
        &self.bytes[..self.suite.key_len_bytes()]
    }

    pub fn salt(&self) -> &[u8] {
        &self.bytes[self.suite.key_len_bytes()..self.suite.master_len_bytes()]
    }

    /// Key and salt in one piece, as `inline:` carries them.
    pub fn key_and_salt(&self) -> &[u8] {
        &self.bytes[..self.suite.master_len_bytes()]
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({}, …)", self.suite.name())
    }
}
