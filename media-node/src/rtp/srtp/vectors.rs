//! The published vectors, against the keys they give.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn derived(key: &[u8], salt: &[u8], label: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    derive(key, salt, label, &mut out);
    out
}

#[test]
fn rfc_3711_b_2_aes_cm_key_stream() {
    let cipher = Aes128Enc::new_from_slice(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    let mut stream = vec![0; 0xff02 * 16];
    let iv = shifted(&hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"));
    apply_keystream(&cipher, iv, &mut stream);
    let block = |counter: usize| &stream[counter * 16..][..16];
    for (counter, expected) in [
        (0, "E03EAD0935C95E80E166B16DD92B4EB4"),
        (1, "D23513162B02D0F72A43A2FE4A5F97AB"),
        (2, "41E95B3BB0A2E8DD477901E4FCA894C0"),
        (0xfeff, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
        (0xff00, "362B7C3C6773516318A077D7FC5073AE"),
        (0xff01, "6A2CC3787889374FBEB4C81B17BA6C44"),
    ] {
        assert_eq!(block(counter), hex(expected), "block {counter:#x}");
    }
}

#[test]
fn rfc_3711_b_3_key_derivation() {
    let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
    let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
    assert_eq!(derived(&key, &salt, 0, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(derived(&key, &salt, 2, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
    let auth = "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCE\
                E049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC25\
                6D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2";
    assert_eq!(derived(&key, &salt, 1, 94), hex(auth));
}

#[test]
fn rfc_6188_7_1_aes_256_cm_key_stream() {
    let key = hex("57f82fe3613fd170a85ec93c40b1f092 2ec4cb0dc025b58272147cc438944a98");
    let cipher = Aes256Enc::new_from_slice(&key).unwrap();
    let mut stream = vec![0; 0xff02 * 16];
    apply_keystream(&cipher, shifted(&hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd")), &mut stream);
    for (counter, expected) in [
        (0, "92bdd28a93c3f52511c677d08b5515a4"),
        (1, "9da71b2378a854f67050756ded165bac"),
        (2, "63c4868b7096d88421b563b8c94c9a31"),
        (0xfeff, "cea518c90fd91ced9cbb18c078a54711"),
        (0xff00, "3dbc4814f4da5f00a08772b63c6a046d"),
        (0xff01, "6eb246913062a16891433e97dd01a57f"),
    ] {
        assert_eq!(&stream[counter * 16..][..16], hex(expected), "block {counter:#x}");
    }
}

#[test]
fn rfc_6188_7_2_key_derivation() {
    let key = hex("f0f04914b513f2763a1b1fa130f10e29 98f6f6e43e4309d1e622a0e332b9f1b6");
    let salt = hex("3b04803de51ee7c96423ab5b78d2");
    let cipher_key = "5ba1064e30ec51613cad926c5a28ef73 1ec7fb397f70a960653caf06554cd8c4";
    assert_eq!(derived(&key, &salt, 0, 32), hex(cipher_key));
    assert_eq!(derived(&key, &salt, 1, 20), hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"));
    assert_eq!(derived(&key, &salt, 2, 14), hex("fa31791685ca444a9e07c6c64e93"));
}

#[test]
fn rfc_2202_hmac_sha1() {
    let long = [0xaa; 80];
    let cases: [(&[u8], &[u8], &str); 5] = [
        (&[0x0b; 20], b"Hi There", "b617318655057264e28bc0b6fb378c8ef146be00"),
        (b"Jefe", b"what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (&[0xaa; 20], &[0xdd; 50], "125d7342b9ac11cd91a39af48aa17b4f63f175d3"),
        (
            &long,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "aa4ae5e15272d00e95705637ce8a3b55ed402112",
        ),
        (
            &long,
            b"Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data",
            "e8e99d0f45237d786d6bbaa7965c7808bbff1a91",
        ),
    ];
    for (key, data, expected) in cases {
        let mut mac = Hmac::<Sha1>::new_from_slice(key).unwrap();
        mac.update(data);
        assert_eq!(mac.finalize().into_bytes().to_vec(), hex(expected));
    }
}

const GALLIA: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
                      69736120 696e2070 61727465 73207472 6573";
const GALLIA_SSRC: u32 = 0x5501_a0b2;
const MARS: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
                    deadbeef deadbeef deadbeef deadbeef deadbeef";
const MARS_SSRC: u32 = 0x4d61_7273;

/// The keys of RFC 7714 §16 and §17, which are session keys.
fn gcm(suite: CryptoSuite) -> SessionKeys {
    let key: Vec<u8> = (0..suite.key_len_bytes() as u8).collect();
    SessionKeys::from_session(suite, &key, &[], b"Quid pro quo", GCM_TAG)
}

#[test]
fn rfc_7714_16_srtp() {
    for (suite, sealed) in [
        (
            CryptoSuite::AeadAes128Gcm,
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f
             42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        ),
        (
            CryptoSuite::AeadAes256Gcm,
            "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3
             b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
        ),
    ] {
        let mut packet = hex(GALLIA);
        packet.resize(packet.len() + GCM_TAG, 0);
        gcm(suite).seal_rtp(&mut packet, 12, GALLIA_SSRC, 0xf17b);
        assert_eq!(packet, hex(sealed), "{}", suite.name());
        gcm(suite).open_rtp(&mut packet, 12, GALLIA_SSRC, 0xf17b).unwrap();
        assert_eq!(packet[..50], hex(GALLIA), "{}", suite.name());
    }
}

#[test]
fn rfc_7714_17_srtcp_encrypted() {
    for (suite, sealed) in [
        (
            CryptoSuite::AeadAes128Gcm,
            "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1
             730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
        ),
        (
            CryptoSuite::AeadAes256Gcm,
            "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1
             110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
        ),
    ] {
        let plain = hex(MARS);
        let mut packet = plain.clone();
        packet.resize(plain.len() + GCM_TAG + INDEX, 0);
        gcm(suite).seal_rtcp(&mut packet, plain.len(), MARS_SSRC, 0x5d4);
        assert_eq!(packet, hex(sealed), "{}", suite.name());
        assert_eq!(gcm(suite).rtcp_trailer(&packet), Some(0x8000_05d4));
        gcm(suite).open_rtcp(&mut packet, MARS_SSRC, 0x8000_05d4).unwrap();
        assert_eq!(packet[..plain.len()], plain, "{}", suite.name());
    }
}

#[test]
fn rfc_7714_17_srtcp_authenticated_only() {
    for (suite, trailer) in [
        (CryptoSuite::AeadAes128Gcm, "841dd968 3dd78ec9 2ae58790 125f62b3 000005d4"),
        (CryptoSuite::AeadAes256Gcm, "91db4afb feee5a97 8fab4393 ed2615fe 000005d4"),
    ] {
        let plain = hex(MARS);
        let mut packet = [plain.clone(), hex(trailer)].concat();
        assert_eq!(gcm(suite).rtcp_trailer(&packet), Some(0x5d4));
        gcm(suite).open_rtcp(&mut packet, MARS_SSRC, 0x5d4).unwrap();
        assert_eq!(packet[..plain.len()], plain, "{}", suite.name());
    }
}
