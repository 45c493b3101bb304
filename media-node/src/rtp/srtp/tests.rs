use proptest::prelude::*;

use super::*;
use crate::media::CryptoSuite;
use crate::random::Seeded;
use crate::rtp::{SequenceNumber, rtcp};

fn master(suite: CryptoSuite) -> MasterKey {
    MasterKey::random(suite, &mut Seeded::new(suite.master_len_bytes() as u64))
}

fn pair(suite: CryptoSuite) -> (Sender, Receiver) {
    (Sender::new(&master(suite)), Receiver::new(&master(suite)))
}

fn plain(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        payload_type: 0,
        marker: false,
        sequence_number: SequenceNumber(sequence),
        timestamp: u32::from(sequence) * 160,
        ssrc: Ssrc(ssrc),
    };
    let mut packet = vec![0; 12];
    header.write(&mut packet);
    packet.extend(payload);
    packet
}

fn protect(sender: &mut Sender, plain: &[u8]) -> Vec<u8> {
    let mut buf = plain.to_vec();
    buf.resize(plain.len() + MAX_RTP_OVERHEAD_BYTES, 0xee);
    let len = sender.protect_rtp(&mut buf, plain.len()).unwrap();
    buf.truncate(len);
    buf
}

fn unprotect(receiver: &mut Receiver, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut packet = packet.to_vec();
    let len = receiver.unprotect_rtp(&mut packet)?;
    packet.truncate(len);
    Ok(packet)
}

fn protect_rtcp(sender: &mut Sender, plain: &[u8]) -> Vec<u8> {
    let mut buf = plain.to_vec();
    buf.resize(plain.len() + MAX_RTCP_OVERHEAD_BYTES, 0xee);
    let len = sender.protect_rtcp(&mut buf, plain.len()).unwrap();
    buf.truncate(len);
    buf
}

fn unprotect_rtcp(receiver: &mut Receiver, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut packet = packet.to_vec();
    let len = receiver.unprotect_rtcp(&mut packet)?;
    packet.truncate(len);
    Ok(packet)
}

fn report(ssrc: u32) -> Vec<u8> {
    let mut out = [0; 64];
    let len = rtcp::write_report(&mut out, Ssrc(ssrc), None, &[], "call@node");
    out[..len].to_vec()
}

#[test]
fn every_suite_carries_rtp_and_rtcp() {
    for suite in CryptoSuite::BY_PREFERENCE {
        let (mut sender, mut receiver) = pair(suite);
        let tag = match suite {
            CryptoSuite::AeadAes128Gcm | CryptoSuite::AeadAes256Gcm => 16,
            CryptoSuite::AesCm128HmacSha1_32 | CryptoSuite::AesCm256HmacSha1_32 => 4,
            _ => 10,
        };
        for sequence in 0..300u16 {
            let plain = plain(1, sequence, &vec![sequence as u8; usize::from(sequence)]);
            let packet = protect(&mut sender, &plain);
            assert_eq!(packet.len(), plain.len() + tag);
            assert_eq!(packet[..12], plain[..12], "the header stays in the clear");
            assert!(sequence < 8 || packet[12..plain.len()] != plain[12..]);
            assert_eq!(unprotect(&mut receiver, &packet), Ok(plain));
        }
        let rtcp_tag = tag.max(10);
        for _ in 0..3 {
            let packet = protect_rtcp(&mut sender, &report(1));
            assert_eq!(packet.len(), report(1).len() + rtcp_tag + 4);
            assert_eq!(unprotect_rtcp(&mut receiver, &packet), Ok(report(1)));
            assert_eq!(unprotect_rtcp(&mut receiver, &packet), Err(SrtpError::Replayed));
        }
        assert_eq!(receiver.sources(), 1);
    }
}

#[test]
fn packets_of_libsrtp_s_own_test_are_made_and_read() {
    // srtp_driver.c: one packet of SSRC cafebabe under the keys of RFC 3711 B.3 and RFC 6188 §7.2.
    let hex = |text: &str| -> Vec<u8> {
        let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
    };
    let plain = [hex("800f1234decafbadcafebabe"), vec![0xab; 16]].concat();
    for (suite, key, sealed) in [
        (
            CryptoSuite::AesCm128HmacSha1_80,
            "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6",
            "4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb",
        ),
        (
            CryptoSuite::AesCm256HmacSha1_80,
            "f0f04914b513f2763a1b1fa130f10e29 98f6f6e43e4309d1e622a0e332b9f1b6
             3b04803de51ee7c96423ab5b78d2",
            "f1d9de17ff251ff1aa007774b0b4b40d a08d9d9a5b3a55d8873b",
        ),
    ] {
        let master = MasterKey::new(suite, &hex(key)).unwrap();
        let packet = protect(&mut Sender::new(&master), &plain);
        assert_eq!(packet[12..], hex(sealed), "{}", suite.name());
        assert_eq!(unprotect(&mut Receiver::new(&master), &packet).as_ref(), Ok(&plain));
    }
}

#[test]
fn csrcs_and_extension_stay_in_the_clear_and_authentic() {
    for suite in CryptoSuite::BY_PREFERENCE {
        let (mut sender, mut receiver) = pair(suite);
        let mut packet = plain(1, 1, &[]);
        packet[0] |= 0x10 | 1;
        packet.extend([0, 0, 0, 9, 0xbe, 0xde, 0, 1, 1, 2, 3, 4]);
        packet.extend([7; 20]);
        let sealed = protect(&mut sender, &packet);
        assert_eq!(sealed[..24], packet[..24]);
        assert_ne!(sealed[24..44], packet[24..44]);
        assert_eq!(unprotect(&mut receiver, &sealed), Ok(packet));
    }
}

#[test]
fn every_change_and_every_cut_of_a_packet_is_refused() {
    for suite in CryptoSuite::BY_PREFERENCE {
        let (mut sender, mut receiver) = pair(suite);
        let good = protect(&mut sender, &plain(1, 5, &[0x55; 40]));
        let good_rtcp = protect_rtcp(&mut sender, &report(1));
        let mut refused = Vec::new();
        for at in 0..good.len().max(good_rtcp.len()) {
            for change in 1..=255u8 {
                if let Some(byte) = good.get(at) {
                    let mut bad = good.clone();
                    bad[at] = byte ^ change;
                    if unprotect(&mut receiver, &bad).is_ok() {
                        refused.push(("rtp", at, change));
                    }
                }
                if let Some(byte) = good_rtcp.get(at) {
                    let mut bad = good_rtcp.clone();
                    bad[at] = byte ^ change;
                    if unprotect_rtcp(&mut receiver, &bad).is_ok() {
                        refused.push(("rtcp", at, change));
                    }
                }
            }
            if unprotect(&mut receiver, &good[..at.min(good.len() - 1)]).is_ok()
                || unprotect_rtcp(&mut receiver, &good_rtcp[..at.min(good_rtcp.len() - 1)]).is_ok()
            {
                refused.push(("cut", at, 0));
            }
        }
        assert!(refused.is_empty(), "{}: let in {refused:?}", suite.name());
        assert_eq!(receiver.sources(), 0, "nothing is remembered of what was refused");
        assert!(unprotect(&mut receiver, &good).is_ok());
        assert!(unprotect_rtcp(&mut receiver, &good_rtcp).is_ok());
        let mut longer = good.clone();
        longer.push(0);
        assert!(unprotect(&mut pair(suite).1, &longer).is_err());
    }
}

#[test]
fn a_packet_under_another_key_is_refused() {
    for suite in CryptoSuite::BY_PREFERENCE {
        let mut sender = Sender::new(&MasterKey::random(suite, &mut Seeded::new(99)));
        let mut receiver = pair(suite).1;
        let packet = protect(&mut sender, &plain(1, 5, &[0; 160]));
        assert_eq!(unprotect(&mut receiver, &packet), Err(SrtpError::BadTag));
        let packet = protect_rtcp(&mut sender, &report(1));
        assert_eq!(unprotect_rtcp(&mut receiver, &packet), Err(SrtpError::BadTag));
    }
}

#[test]
fn forged_sources_leave_nothing_behind_and_authentic_ones_are_bounded() {
    let (mut sender, mut receiver) = pair(CryptoSuite::AesCm128HmacSha1_80);
    for ssrc in 0..10_000 {
        let mut forged = plain(ssrc, 1, &[0; 30]);
        assert_eq!(unprotect(&mut receiver, &forged), Err(SrtpError::BadTag));
        forged[1] = 200;
        assert_eq!(unprotect_rtcp(&mut receiver, &forged), Err(SrtpError::BadTag));
    }
    assert_eq!(receiver.sources(), 0);
    for ssrc in 0..MAX_SOURCES as u32 {
        let packet = protect(&mut sender, &plain(ssrc, 1, &[0; 30]));
        assert!(unprotect(&mut receiver, &packet).is_ok());
    }
    let mut buf = plain(1000, 1, &[0; 100]);
    assert_eq!(sender.protect_rtp(&mut buf, 50), Err(SrtpError::TooManySources));
    let packet = protect(&mut pair(CryptoSuite::AesCm128HmacSha1_80).0, &plain(1000, 1, &[0; 30]));
    assert_eq!(unprotect(&mut receiver, &packet), Err(SrtpError::TooManySources));
    let packet = protect_rtcp(&mut sender, &report(1000));
    assert_eq!(unprotect_rtcp(&mut receiver, &packet), Err(SrtpError::TooManySources));
    // The known ones go on.
    let packet = protect(&mut sender, &plain(3, 2, &[0; 30]));
    assert!(unprotect(&mut receiver, &packet).is_ok());
}

#[test]
fn the_sequence_number_rolls_over_with_loss_and_disorder() {
    for suite in CryptoSuite::BY_PREFERENCE {
        let (mut sender, mut receiver) = pair(suite);
        let packets: Vec<_> = (0..400u32)
            .map(|i| plain(1, (65_400 + i) as u16, &i.to_be_bytes()))
            .map(|plain| (protect(&mut sender, &plain), plain))
            .collect();
        // Every seventh is lost, each run of five comes backwards.
        for run in packets.chunks(5) {
            for (i, (packet, plain)) in run.iter().enumerate().rev() {
                if i != 3 {
                    assert_eq!(unprotect(&mut receiver, packet).as_ref(), Ok(plain));
                }
            }
        }
        let (late, _) = &packets[3];
        assert_eq!(unprotect(&mut receiver, late), Err(SrtpError::TooOld));
        let (again, _) = &packets[397];
        assert_eq!(unprotect(&mut receiver, again), Err(SrtpError::Replayed));
    }
}

#[test]
fn many_rollovers_are_counted() {
    let (mut sender, mut receiver) = pair(CryptoSuite::AeadAes128Gcm);
    let mut sequence = 0u16;
    for step in 0..40u16 {
        let plain = plain(1, sequence, &[1; 20]);
        let packet = protect(&mut sender, &plain);
        assert_eq!(unprotect(&mut receiver, &packet), Ok(plain));
        sequence = sequence.wrapping_add(0x7f00 + step);
    }
    assert_eq!(sender.last[0].1 >> 16, 19);
}

#[test]
fn a_sequence_number_is_never_sent_twice() {
    let (mut sender, _) = pair(CryptoSuite::AeadAes256Gcm);
    protect(&mut sender, &plain(1, 100, &[0; 20]));
    for sequence in [100, 99, 0, 100u16.wrapping_add(0x8000)] {
        let mut buf = plain(1, sequence, &[0; 40]);
        let before = buf.clone();
        assert_eq!(sender.protect_rtp(&mut buf, 32), Err(SrtpError::Reused));
        assert_eq!(buf, before, "a refused packet is left as it was");
    }
    protect(&mut sender, &plain(2, 100, &[0; 20]));
    protect(&mut sender, &plain(1, 101, &[0; 20]));
}

#[test]
fn a_buffer_without_room_is_refused() {
    for suite in CryptoSuite::BY_PREFERENCE {
        let (mut sender, _) = pair(suite);
        let mut packet = plain(1, 1, &[0; 20]);
        assert_eq!(sender.protect_rtp(&mut packet, 32), Err(SrtpError::NoRoom));
        assert_eq!(sender.protect_rtp(&mut packet, 33), Err(SrtpError::NoRoom));
        assert_eq!(sender.protect_rtp(&mut packet, 11), Err(SrtpError::TooShort));
        let mut report = report(1);
        let len = report.len();
        assert_eq!(sender.protect_rtcp(&mut report, len), Err(SrtpError::NoRoom));
        assert_eq!(sender.protect_rtcp(&mut report, 7), Err(SrtpError::TooShort));
        // Nothing was spent on the refused ones.
        protect(&mut sender, &plain(1, 1, &[0; 20]));
        assert_eq!(sender.next_rtcp, 0);
    }
}

#[test]
fn a_key_has_an_end() {
    for suite in CryptoSuite::BY_PREFERENCE {
        let (mut sender, mut receiver) = pair(suite);
        sender.last.push((Ssrc(1), RTP_INDEX_END - 2));
        receiver.sources.push(Source {
            ssrc: Ssrc(1),
            rtp: Some(Window::starting_with(RTP_INDEX_END - 2)),
            rtcp: None,
        });
        let last = protect(&mut sender, &plain(1, 0xffff, &[0; 20]));
        assert!(unprotect(&mut receiver, &last).is_ok());
        let mut buf = plain(1, 0, &[0; 40]);
        assert_eq!(sender.protect_rtp(&mut buf, 32), Err(SrtpError::KeyUsedUp));
        assert_eq!(unprotect(&mut receiver, &buf), Err(SrtpError::KeyUsedUp));
        sender.next_rtcp = RTCP_INDEX_END - 1;
        let packet = protect_rtcp(&mut sender, &report(1));
        assert_eq!(unprotect_rtcp(&mut receiver, &packet), Ok(report(1)));
        let mut buf = [report(1), vec![0; 20]].concat();
        assert_eq!(sender.protect_rtcp(&mut buf, report(1).len()), Err(SrtpError::KeyUsedUp));
    }
}

#[test]
fn rtcp_comes_late_within_its_own_window() {
    let (mut sender, mut receiver) = pair(CryptoSuite::AesCm256HmacSha1_32);
    let packets: Vec<_> = (0..200).map(|_| protect_rtcp(&mut sender, &report(1))).collect();
    assert!(unprotect_rtcp(&mut receiver, &packets[150]).is_ok());
    assert!(unprotect_rtcp(&mut receiver, &packets[23]).is_ok());
    assert_eq!(unprotect_rtcp(&mut receiver, &packets[23]), Err(SrtpError::Replayed));
    assert_eq!(unprotect_rtcp(&mut receiver, &packets[22]), Err(SrtpError::TooOld));
    assert!(unprotect(&mut receiver, &protect(&mut sender, &plain(1, 0, &[0; 4]))).is_ok());
    assert_eq!(receiver.sources(), 1);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_pass_and_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        suite in prop::sample::select(CryptoSuite::BY_PREFERENCE.to_vec()),
    ) {
        let (mut sender, mut receiver) = pair(suite);
        prop_assert!(unprotect(&mut receiver, &bytes).is_err());
        prop_assert!(unprotect_rtcp(&mut receiver, &bytes).is_err());
        let mut buf = bytes.clone();
        buf.resize(bytes.len() + MAX_RTCP_OVERHEAD_BYTES, 0);
        if let Ok(len) = sender.protect_rtp(&mut buf, bytes.len()) {
            prop_assert_eq!(unprotect(&mut receiver, &buf[..len]), Ok(bytes));
        }
    }
}
