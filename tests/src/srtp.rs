//! SRTP with AES_CM_128_HMAC_SHA1_80 (RFC 3711), as small as a peer needs it: one SSRC a direction.
//!
//! Written apart from the node's own, so that a fault in one shows against the other.

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipherCore};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use hmac::{Hmac, Mac};
use sha1::Sha1;

pub const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
pub const TAG_LEN: usize = 10;
const HEADER_LEN: usize = 12;

/// 16 bytes of key and 14 of salt, as `a=crypto` carries them (RFC 4568 §6.2).
#[derive(Clone)]
pub struct MasterKey([u8; 30]);

impl MasterKey {
    pub fn new(bytes: [u8; 30]) -> Self {
        Self(bytes)
    }

    /// The value after `inline:`; lifetime and MKI, if any, are ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let key = text.split(['|', ' ']).next()?;
        STANDARD.decode(key).ok()?.try_into().ok().map(Self)
    }

    pub fn to_inline(&self) -> String {
        STANDARD.encode(self.0)
    }
}

/// Session keys and rollover of one direction.
pub struct Session {
    cipher: Aes128,
    salt: [u8; 14],
    authentication: Hmac<Sha1>,
    rollover: u32,
    last: Option<u16>,
}

impl Session {
    pub fn new(master: &MasterKey) -> Self {
        let (key, salt) = master.0.split_at(16);
        let prf = Aes128::new_from_slice(key).expect("16 bytes");
        let derive = |label: u8, out: &mut [u8]| {
            // RFC 3711 §4.3.1, key derivation rate 0: the label goes into byte 7 of the salt.
            let mut iv = [0_u8; 16];
            iv[..14].copy_from_slice(salt);
            iv[7] ^= label;
            for (index, part) in out.chunks_mut(16).enumerate() {
                let mut block = iv;
                block[15] = index as u8;
                let mut block = block.into();
                prf.encrypt_block(&mut block);
                part.copy_from_slice(&block[..part.len()]);
            }
        };
        let (mut key, mut tag_key, mut salt) = ([0; 16], [0; 20], [0; 14]);
        derive(0, &mut key);
        derive(1, &mut tag_key);
        derive(2, &mut salt);
        Self {
            cipher: Aes128::new(&key.into()),
            salt,
            authentication: <Hmac<Sha1> as KeyInit>::new_from_slice(&tag_key)
                .expect("any key length will do"),
            rollover: 0,
            last: None,
        }
    }

    /// Encrypts the `length` bytes of RTP in `packet` and appends the tag; the new length.
    pub fn protect(&mut self, packet: &mut [u8], length: usize) -> usize {
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let rollover = self.rollover_of(sequence);
        self.seen(sequence, rollover);
        self.crypt(&mut packet[..length], rollover);
        let tag = self.tag(&packet[..length], rollover);
        packet[length..length + TAG_LEN].copy_from_slice(&tag);
        length + TAG_LEN
    }

    /// Checks and decrypts `packet` in place; the length without the tag, or nothing if it is not good.
    pub fn unprotect(&mut self, packet: &mut [u8]) -> Option<usize> {
        let length = packet.len().checked_sub(TAG_LEN).filter(|&length| length >= HEADER_LEN)?;
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let rollover = self.rollover_of(sequence);
        if self.tag(&packet[..length], rollover) != packet[length..] {
            return None;
        }
        self.seen(sequence, rollover);
        self.crypt(&mut packet[..length], rollover);
        Some(length)
    }

    /// RFC 3711 appendix A.
    fn rollover_of(&self, sequence: u16) -> u32 {
        let Some(last) = self.last else { return self.rollover };
        if last < 0x8000 && sequence > last && sequence - last > 0x8000 {
            self.rollover.wrapping_sub(1)
        } else if last >= 0x8000 && last - 0x8000 > sequence {
            self.rollover.wrapping_add(1)
        } else {
            self.rollover
        }
    }

    fn seen(&mut self, sequence: u16, rollover: u32) {
        let newer = match self.last {
            None => true,
            Some(last) => (rollover, sequence) > (self.rollover, last) && rollover != u32::MAX,
        };
        if newer {
            (self.rollover, self.last) = (rollover, Some(sequence));
        }
    }

    fn crypt(&self, packet: &mut [u8], rollover: u32) {
        let mut iv = [0_u8; 16];
        iv[..14].copy_from_slice(&self.salt);
        for (into, from) in iv[4..8].iter_mut().zip(&packet[8..12]) {
            *into ^= from;
        }
        for (into, from) in iv[8..12].iter_mut().zip(rollover.to_be_bytes()) {
            *into ^= from;
        }
        iv[12] ^= packet[2];
        iv[13] ^= packet[3];
        CtrCore::<&Aes128, Ctr128BE>::inner_iv_init(&self.cipher, &iv.into())
            .apply_keystream_partial((&mut packet[HEADER_LEN..]).into());
    }

    fn tag(&self, packet: &[u8], rollover: u32) -> [u8; TAG_LEN] {
        let mut mac = self.authentication.clone();
        mac.update(packet);
        mac.update(&rollover.to_be_bytes());
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&mac.finalize().into_bytes()[..TAG_LEN]);
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16) -> [u8; 182] {
        let mut packet = [0x55; 182];
        packet[0] = 0x80;
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet
    }

    #[test]
    fn session_keys_are_those_of_rfc_3711_appendix_b_3() {
        let master: [u8; 30] = [
            0xE1, 0xF9, 0x7A, 0x0D, 0x3E, 0x01, 0x8B, 0xE0, 0xD6, 0x4F, 0xA3, 0x2C, 0x06, 0xDE,
            0x41, 0x39, 0x0E, 0xC6, 0x75, 0xAD, 0x49, 0x8A, 0xFE, 0xEB, 0xB6, 0x96, 0x0B, 0x3A,
            0xAB, 0xE6,
        ];
        let session = Session::new(&MasterKey::new(master));
        assert_eq!(
            session.salt,
            [0x30, 0xCB, 0xBC, 0x08, 0x86, 0x3D, 0x8C, 0x85, 0xD4, 0x9D, 0xB3, 0x4A, 0x9A, 0xE1]
        );
        let mut block = [0; 16].into();
        session.cipher.encrypt_block(&mut block);
        let mut expected = [0; 16].into();
        Aes128::new(
            &[
                0xC6, 0x1E, 0x7A, 0x93, 0x74, 0x4F, 0x39, 0xEE, 0x10, 0x73, 0x4A, 0xFE, 0x3F, 0xF7,
                0xA0, 0x87,
            ]
            .into(),
        )
        .encrypt_block(&mut expected);
        assert_eq!(block, expected);
    }

    #[test]
    fn packets_come_back_over_a_rollover_and_a_changed_one_does_not() {
        let key = MasterKey::new([7; 30]);
        let (mut sender, mut receiver) = (Session::new(&key), Session::new(&key));
        for sequence in [0xfffe_u16, 0xffff, 0, 1] {
            let mut bytes = packet(sequence);
            let length = sender.protect(&mut bytes, 172);
            assert_eq!(length, 182);
            let mut forged = bytes;
            forged[100] ^= 1;
            assert_eq!(receiver.unprotect(&mut forged), None);
            assert_eq!(receiver.unprotect(&mut bytes), Some(172));
            assert_eq!(bytes[..172], packet(sequence)[..172]);
        }
        assert_eq!(sender.rollover, 1);
    }
}
