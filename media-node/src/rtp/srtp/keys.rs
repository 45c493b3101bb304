//! Session keys from a master key (RFC 3711 §4.3), and what they do to the bytes of a packet.
//!
//! AES-CM with HMAC-SHA1 comes from the RustCrypto crates, whose SHA-1 uses the processor's
//! instructions; AES-GCM from aws-lc, which serves TLS as well. Key schedules and the keyed state
//! of HMAC are made once; a packet copies the latter and borrows the former. All of them are wiped
//! when dropped (the crates' `zeroize` features; aws-lc by itself).

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipherCore};
use aes::{Aes128Enc, Aes256Enc};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use zeroize::Zeroize;

use super::SrtpError;
use crate::media::{CryptoSuite, MasterKey};

/// The length of the GCM tag, in bytes (RFC 7714 §13).
pub(super) const GCM_TAG: usize = 16;
/// The length of the E bit and SRTCP index behind an SRTCP packet, in bytes.
pub(super) const INDEX: usize = 4;

const AUTH_KEY: usize = 20;

/// Which of a master key's six derived keys are meant (RFC 3711 §4.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Rtp,
    Rtcp,
}

/// The keys of one direction for RTP or for RTCP.
pub(super) enum SessionKeys {
    Cm128(Cm<Aes128Enc>),
    Cm256(Cm<Aes256Enc>),
    Gcm(Gcm),
}

impl SessionKeys {
    pub(super) fn derive(master: &MasterKey, purpose: Purpose) -> Self {
        let suite = master.suite();
        let mut key = [0; 32];
        let mut salt = [0; 14];
        let mut auth = [0; AUTH_KEY];
        let label = if purpose == Purpose::Rtp { 0 } else { 3 };
        let (key_len, salt_len) = (suite.key_len_bytes(), suite.salt_len_bytes());
        derive(master.key(), master.salt(), label, &mut key[..key_len]);
        derive(master.key(), master.salt(), label + 1, &mut auth);
        derive(master.key(), master.salt(), label + 2, &mut salt[..salt_len]);
        // SRTCP keeps the long tag whatever RTP has (RFC 3711 §5.2, RFC 4568 §6.2.2).
        let short =
            matches!(suite, CryptoSuite::AesCm128HmacSha1_32 | CryptoSuite::AesCm256HmacSha1_32);
        let tag_len = if short && purpose == Purpose::Rtp { 4 } else { 10 };
        let keys = Self::from_session(suite, &key[..key_len], &auth, &salt[..salt_len], tag_len);
        key.zeroize();
        salt.zeroize();
        auth.zeroize();
        keys
    }

    /// From keys that are derived already; the lengths are those of `suite`.
    pub(super) fn from_session(
        suite: CryptoSuite,
        key: &[u8],
        auth: &[u8],
        salt: &[u8],
        tag_len: usize,
    ) -> Self {
        let mac = || Hmac::new_from_slice(auth).expect("HMAC takes a key of any length");
        match suite {
            CryptoSuite::AesCm128HmacSha1_80 | CryptoSuite::AesCm128HmacSha1_32 => {
                let cipher = Aes128Enc::new_from_slice(key).expect("the suite's key is 16 bytes");
                Self::Cm128(Cm { cipher, mac: mac(), salt: shifted(salt), tag_len })
            }
            CryptoSuite::AesCm256HmacSha1_80 | CryptoSuite::AesCm256HmacSha1_32 => {
                let cipher = Aes256Enc::new_from_slice(key).expect("the suite's key is 32 bytes");
                Self::Cm256(Cm { cipher, mac: mac(), salt: shifted(salt), tag_len })
            }
            CryptoSuite::AeadAes128Gcm | CryptoSuite::AeadAes256Gcm => {
                let algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
                let key = UnboundKey::new(algorithm, key).expect("the suite's key length");
                Self::Gcm(Gcm { key: LessSafeKey::new(key), salt: shifted(salt) })
            }
        }
    }

    /// How many bytes the tag adds to a packet.
    pub(super) fn tag_len(&self) -> usize {
        match self {
            Self::Cm128(cm) => cm.tag_len,
            Self::Cm256(cm) => cm.tag_len,
            Self::Gcm(_) => GCM_TAG,
        }
    }

    /// Encrypts `packet` behind its header and writes the tag into its last [`Self::tag_len`]
    /// bytes, which the plain packet leaves free.
    pub(super) fn seal_rtp(&self, packet: &mut [u8], header_len: usize, ssrc: u32, index: u64) {
        match self {
            Self::Cm128(cm) => cm.seal_rtp(packet, header_len, ssrc, index),
            Self::Cm256(cm) => cm.seal_rtp(packet, header_len, ssrc, index),
            Self::Gcm(gcm) => gcm.seal_rtp(packet, header_len, ssrc, index),
        }
    }

    /// Checks the tag in the last bytes of `packet`, then decrypts what lies behind its header.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        match self {
            Self::Cm128(cm) => cm.open_rtp(packet, header_len, ssrc, index),
            Self::Cm256(cm) => cm.open_rtp(packet, header_len, ssrc, index),
            Self::Gcm(gcm) => gcm.open_rtp(packet, header_len, ssrc, index),
        }
    }

    /// Encrypts an RTCP compound of `len` bytes behind the first packet's SSRC and writes index and
    /// tag behind it; `packet` ends with room for both.
    pub(super) fn seal_rtcp(&self, packet: &mut [u8], len: usize, ssrc: u32, index: u32) {
        let trailer = (ENCRYPTED | index).to_be_bytes();
        match self {
            Self::Cm128(cm) => cm.seal_rtcp(packet, len, ssrc, trailer),
            Self::Cm256(cm) => cm.seal_rtcp(packet, len, ssrc, trailer),
            Self::Gcm(gcm) => gcm.seal_rtcp(packet, len, ssrc, trailer),
        }
    }

    /// The E bit and index of an SRTCP packet, which the two transforms keep in different places;
    /// `None` when the packet is too short to have them.
    pub(super) fn rtcp_trailer(&self, packet: &[u8]) -> Option<u32> {
        let behind = match self {
            Self::Gcm(_) => 0,
            cm => cm.tag_len(),
        };
        let end = packet.len().checked_sub(behind)?;
        packet.get(..end)?.last_chunk::<INDEX>().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// Checks an SRTCP packet's tag, then decrypts what lies behind the first packet's SSRC when
    /// the E bit is set. The compound ends [`Self::tag_len`] and [`INDEX`] before the packet does.
    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        trailer: u32,
    ) -> Result<(), SrtpError> {
        match self {
            Self::Cm128(cm) => cm.open_rtcp(packet, ssrc, trailer),
            Self::Cm256(cm) => cm.open_rtcp(packet, ssrc, trailer),
            Self::Gcm(gcm) => gcm.open_rtcp(packet, ssrc, trailer),
        }
    }
}

/// The E bit: the packet is encrypted (RFC 3711 §3.4).
const ENCRYPTED: u32 = 1 << 31;
/// Version to SSRC of the first RTCP packet stay in the clear.
const RTCP_HEADER: usize = 8;

/// AES in counter mode with HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1; RFC 6188 §3).
pub(super) struct Cm<C> {
    cipher: C,
    /// Keyed once; each packet finishes a copy.
    mac: Hmac<Sha1>,
    /// k_s * 2^16.
    salt: u128,
    tag_len: usize,
}

impl<C: BlockCipherEncrypt<BlockSize = U16>> Cm<C> {
    fn crypt(&self, bytes: &mut [u8], ssrc: u32, index: u64) {
        let iv = self.salt ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16;
        apply_keystream(&self.cipher, iv, bytes);
    }

    fn seal_rtp(&self, packet: &mut [u8], header_len: usize, ssrc: u32, index: u64) {
        let (plain, tag) = packet.split_at_mut(packet.len() - self.tag_len);
        self.crypt(&mut plain[header_len..], ssrc, index);
        let mut mac = self.mac.clone();
        mac.update(plain);
        mac.update(&rollovers(index));
        tag.copy_from_slice(&mac.finalize().into_bytes()[..self.tag_len]);
    }

    fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        let (coded, tag) = packet.split_at_mut(packet.len() - self.tag_len);
        let mut mac = self.mac.clone();
        mac.update(coded);
        mac.update(&rollovers(index));
        mac.verify_truncated_left(tag).map_err(|_| SrtpError::BadTag)?;
        self.crypt(&mut coded[header_len..], ssrc, index);
        Ok(())
    }

    fn seal_rtcp(&self, packet: &mut [u8], len: usize, ssrc: u32, trailer: [u8; INDEX]) {
        let index = u64::from(u32::from_be_bytes(trailer) & !ENCRYPTED);
        self.crypt(&mut packet[RTCP_HEADER..len], ssrc, index);
        packet[len..len + INDEX].copy_from_slice(&trailer);
        let (coded, tag) = packet.split_at_mut(len + INDEX);
        let mut mac = self.mac.clone();
        mac.update(coded);
        tag.copy_from_slice(&mac.finalize().into_bytes()[..self.tag_len]);
    }

    fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, trailer: u32) -> Result<(), SrtpError> {
        let (coded, tag) = packet.split_at_mut(packet.len() - self.tag_len);
        let mut mac = self.mac.clone();
        mac.update(coded);
        mac.verify_truncated_left(tag).map_err(|_| SrtpError::BadTag)?;
        if trailer & ENCRYPTED != 0 {
            let len = coded.len() - INDEX;
            self.crypt(&mut coded[RTCP_HEADER..len], ssrc, u64::from(trailer & !ENCRYPTED));
        }
        Ok(())
    }
}

/// AES-GCM (RFC 7714).
pub(super) struct Gcm {
    key: LessSafeKey,
    /// The 96-bit salt * 2^32.
    salt: u128,
}

impl Gcm {
    /// Two zero bytes, SSRC and 48 bits of index, under the salt (RFC 7714 §8.1, §9.1: an SRTCP
    /// index, which has 31 bits, stands behind two zero bytes of its own).
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let iv = (self.salt >> 32) ^ u128::from(ssrc) << 48 ^ u128::from(index);
        let bytes = iv.to_be_bytes();
        Nonce::assume_unique_for_key(*bytes.last_chunk().expect("12 of 16 bytes"))
    }

    fn seal_rtp(&self, packet: &mut [u8], header_len: usize, ssrc: u32, index: u64) {
        let (plain, tag) = packet.split_at_mut(packet.len() - GCM_TAG);
        let (header, payload) = plain.split_at_mut(header_len);
        self.seal(ssrc, index, header, payload, tag);
    }

    fn seal(&self, ssrc: u32, index: u64, aad: &[u8], bytes: &mut [u8], tag: &mut [u8]) {
        let made = self
            .key
            .seal_in_place_separate_tag(self.nonce(ssrc, index), Aad::from(aad), bytes)
            .expect("a datagram is far below GCM's 64 GB");
        tag.copy_from_slice(made.as_ref());
    }

    fn open(&self, ssrc: u32, index: u64, aad: &[u8], bytes: &mut [u8]) -> Result<(), SrtpError> {
        self.key
            .open_in_place(self.nonce(ssrc, index), Aad::from(aad), bytes)
            .map(|_| ())
            .map_err(|_| SrtpError::BadTag)
    }

    fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        let (header, coded) = packet.split_at_mut(header_len);
        self.open(ssrc, index, header, coded)
    }

    fn seal_rtcp(&self, packet: &mut [u8], len: usize, ssrc: u32, trailer: [u8; INDEX]) {
        let index = u64::from(u32::from_be_bytes(trailer) & !ENCRYPTED);
        let (plain, behind) = packet.split_at_mut(len);
        let (header, payload) = plain.split_at_mut(RTCP_HEADER);
        let (tag, place) = behind.split_at_mut(GCM_TAG);
        place.copy_from_slice(&trailer);
        self.seal(ssrc, index, &aad(header, trailer), payload, tag);
    }

    fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, trailer: u32) -> Result<(), SrtpError> {
        let index = u64::from(trailer & !ENCRYPTED);
        let len = packet.len() - INDEX;
        if trailer & ENCRYPTED != 0 {
            let (header, coded) = packet[..len].split_at_mut(RTCP_HEADER);
            return self.open(ssrc, index, &aad(header, trailer.to_be_bytes()), coded);
        }
        // RFC 7714 §9.3: nothing is encrypted, compound and trailer are all associated data. They
        // lie on either side of the tag; swapping tag and trailer brings them together.
        let tag_at = len - GCM_TAG;
        packet[tag_at..].rotate_right(INDEX);
        let (data, tag) = packet.split_at_mut(tag_at + INDEX);
        self.open(ssrc, index, data, tag)
    }
}

/// The associated data of an encrypted SRTCP packet: its clear header, then its trailer
/// (RFC 7714 §9.2).
fn aad(header: &[u8], trailer: [u8; INDEX]) -> [u8; RTCP_HEADER + INDEX] {
    let mut aad = [0; RTCP_HEADER + INDEX];
    aad[..RTCP_HEADER].copy_from_slice(header);
    aad[RTCP_HEADER..].copy_from_slice(&trailer);
    aad
}

/// The rollover counter, which the sender does not send but authenticates (RFC 3711 §4.2).
fn rollovers(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// A salt as the high bytes of a block: * 2^16 for 14 bytes, * 2^32 for 12.
fn shifted(salt: &[u8]) -> u128 {
    let mut block = [0; 16];
    block[..salt.len()].copy_from_slice(salt);
    u128::from_be_bytes(block)
}

/// Fills `out` with the key named by `label` (RFC 3711 §4.3.3, RFC 6188 §4; RFC 7714 §11 fills the
/// shorter salt with zeros). The key derivation rate is 0: keys are derived once.
fn derive(key: &[u8], salt: &[u8], label: u8, out: &mut [u8]) {
    // The key id is label and 48 bits of index / rate, here zero; it ends where the salt does.
    let iv = shifted(salt) ^ u128::from(label) << 64;
    if key.len() == 16 {
        apply_keystream(&Aes128Enc::new_from_slice(key).expect("16 bytes"), iv, out);
    } else {
        apply_keystream(&Aes256Enc::new_from_slice(key).expect("MasterKey has 16 or 32"), iv, out);
    }
}

/// Adds the key stream that begins at `iv` to `bytes` (RFC 3711 §4.1.1).
fn apply_keystream<C: BlockCipherEncrypt<BlockSize = U16>>(cipher: &C, iv: u128, bytes: &mut [u8]) {
    let stream = CtrCore::<&C, Ctr128BE>::inner_iv_init(cipher, &iv.to_be_bytes().into());
    stream.apply_keystream_partial(bytes.into());
}

#[cfg(test)]
#[path = "vectors.rs"]
mod tests;
