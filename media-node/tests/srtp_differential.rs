//! Our SRTP against two others, `rtc-srtp` and libsrtp2: the same packets from the same key, and the
//! same verdict on everything a network can do to them.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use rtc_srtp::context::Context;
use rtc_srtp::crypto::providers::AwsLcRsProvider;
use rtc_srtp::crypto::{RTCCrypto, RTCCryptoProvider};
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use trunkline_media_node::media::{CryptoSuite, MasterKey};
use trunkline_media_node::random::{Random, Seeded};
use trunkline_media_node::rtp::srtp::{
    MAX_RTCP_OVERHEAD_BYTES, MAX_RTP_OVERHEAD_BYTES, Receiver, Sender,
};
use trunkline_media_node::rtp::{Header, SequenceNumber, Ssrc, rtcp};

/// One implementation with one key, both as sender and as receiver. `None` is a refusal.
trait Peer {
    fn protect(&mut self, packet: &[u8]) -> Option<Vec<u8>>;
    fn unprotect(&mut self, packet: &[u8]) -> Option<Vec<u8>>;
    fn protect_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>>;
    fn unprotect_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>>;
}

struct Ours(Sender, Receiver);

impl Ours {
    fn new(master: &MasterKey) -> Self {
        Self(Sender::new(master), Receiver::new(master))
    }
}

impl Peer for Ours {
    fn protect(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut buf = [packet, &[0; MAX_RTP_OVERHEAD_BYTES]].concat();
        let len = self.0.protect_rtp(&mut buf, packet.len()).ok()?;
        Some(buf[..len].to_vec())
    }

    fn unprotect(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut buf = packet.to_vec();
        let len = self.1.unprotect_rtp(&mut buf).ok()?;
        Some(buf[..len].to_vec())
    }

    fn protect_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut buf = [packet, &[0; MAX_RTCP_OVERHEAD_BYTES]].concat();
        let len = self.0.protect_rtcp(&mut buf, packet.len()).ok()?;
        Some(buf[..len].to_vec())
    }

    fn unprotect_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut buf = packet.to_vec();
        let len = self.1.unprotect_rtcp(&mut buf).ok()?;
        Some(buf[..len].to_vec())
    }
}

struct RtcSrtp {
    sender: Context,
    receiver: Context,
    /// Where the E bit stands, counted from the end.
    e_bit: usize,
}

impl RtcSrtp {
    fn new(master: &MasterKey) -> Self {
        let profile = match master.suite() {
            CryptoSuite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            CryptoSuite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
            CryptoSuite::AesCm256HmacSha1_80 => ProtectionProfile::Aes256CmHmacSha1_80,
            CryptoSuite::AesCm256HmacSha1_32 => ProtectionProfile::Aes256CmHmacSha1_32,
            CryptoSuite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            CryptoSuite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        };
        let provider = AwsLcRsProvider::new();
        let crypto: &dyn RTCCrypto = provider.crypto();
        let context = || {
            let rtp = Some(srtp_replay_protection(128));
            let rtcp = Some(srtcp_replay_protection(128));
            Context::new(master.key(), master.salt(), profile, rtp, rtcp, crypto).unwrap()
        };
        let e_bit = match master.suite() {
            CryptoSuite::AeadAes128Gcm | CryptoSuite::AeadAes256Gcm => 4,
            _ => 4 + 10,
        };
        Self { sender: context(), receiver: context(), e_bit }
    }
}

impl Peer for RtcSrtp {
    fn protect(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.sender.encrypt_rtp(packet).ok().map(|bytes| bytes.to_vec())
    }

    fn unprotect(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.receiver.decrypt_rtp(packet).ok().map(|bytes| bytes.to_vec())
    }

    fn protect_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.sender.encrypt_rtcp(packet).ok().map(|bytes| bytes.to_vec())
    }

    fn unprotect_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        // Version 0.21.1 lets a report in unchecked when its E bit is clear; RFC 3711 §3.4 has its
        // tag checked all the same, and a changed bit must not open the door.
        let at = packet.len().checked_sub(self.e_bit)?;
        if packet[at] & 0x80 == 0 {
            return None;
        }
        self.receiver.decrypt_rtcp(packet).ok().map(|bytes| bytes.to_vec())
    }
}

/// libsrtp2 in a process of its own (`srtp_peer.c`).
struct LibSrtp {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl LibSrtp {
    fn new(master: &MasterKey) -> Self {
        let mut process = Command::new(Self::program())
            .args([master.suite().name(), &hex(master.key_and_salt())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, commands, answers }
    }

    /// Compiled once for all tests of a run.
    fn program() -> &'static PathBuf {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        PROGRAM.get_or_init(|| {
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/srtp_peer.c");
            let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("srtp_peer");
            let made = Command::new("cc")
                .args(["-O1", "-Wall", "-o"])
                .arg(&program)
                .args([source, "-lsrtp2"])
                .output();
            let hint =
                "this test needs a C compiler and libsrtp2: apt-get install gcc libsrtp2-dev";
            let made = made.unwrap_or_else(|error| panic!("cc: {error}; {hint}"));
            let said = String::from_utf8_lossy(&made.stderr);
            assert!(made.status.success(), "{hint}\n{said}");
            program
        })
    }

    fn ask(&mut self, command: char, packet: &[u8]) -> Option<Vec<u8>> {
        writeln!(self.commands, "{command}{}", hex(packet)).unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert!(!answer.is_empty(), "libsrtp's process ended: {:?}", self.process.try_wait());
        let digits: Vec<_> = answer.trim_end().chars().map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| Some((pair[0]? << 4 | pair[1]?) as u8)).collect()
    }
}

impl Drop for LibSrtp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Peer for LibSrtp {
    fn protect(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.ask('p', packet)
    }

    fn unprotect(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.ask('u', packet)
    }

    fn protect_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.ask('P', packet)
    }

    fn unprotect_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.ask('U', packet)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

type Make = fn(&MasterKey) -> Box<dyn Peer>;

/// Runs `test` for every suite with each of the two others.
fn with_each(test: impl Fn(&str, &MasterKey, Make)) {
    let others: [(&str, Make); 2] = [
        ("rtc-srtp", |master| Box::new(RtcSrtp::new(master))),
        ("libsrtp2", |master| Box::new(LibSrtp::new(master))),
    ];
    for (name, make) in others {
        for suite in CryptoSuite::BY_PREFERENCE {
            let master = MasterKey::random(suite, &mut Seeded::new(suite.name().len() as u64));
            test(&format!("{name}, {}", suite.name()), &master, make);
        }
    }
}

fn random(seed: u64) -> Box<dyn Random> {
    Box::new(Seeded::new(seed))
}

fn rtp(ssrc: u32, sequence: u16, payload_len: usize) -> Vec<u8> {
    let header = Header {
        payload_type: 8,
        marker: sequence.is_multiple_of(50),
        sequence_number: SequenceNumber(sequence),
        timestamp: u32::from(sequence) * 160,
        ssrc: Ssrc(ssrc),
    };
    let mut packet = vec![sequence as u8; 12 + payload_len];
    header.write(&mut packet);
    packet
}

fn report(number: u32) -> Vec<u8> {
    let mut out = [0; rtcp::MAX_COMPOUND_LEN_BYTES];
    let cname = "x".repeat(number as usize % 40);
    let len = rtcp::write_report(&mut out, Ssrc(7), None, &[], &cname);
    out[..len].to_vec()
}

#[test]
fn the_same_key_makes_the_same_packets() {
    with_each(|name, master, make| {
        let (mut ours, mut theirs) = (Ours::new(master), make(master));
        for (i, sequence) in (65_400..=u16::MAX).chain(0..200).enumerate() {
            let packet = rtp(0xcafe_babe, sequence, i);
            let made = ours.protect(&packet);
            assert!(made.is_some());
            assert_eq!(made, theirs.protect(&packet), "{name}, packet {sequence}");
        }
        let mut extended = rtp(0xcafe_babe, 200, 30);
        extended[0] |= 0x10 | 2;
        extended[20..24].copy_from_slice(&[0x12, 0x34, 0, 1]);
        assert_eq!(ours.protect(&extended), theirs.protect(&extended), "{name}, extended");
        // We number SRTCP from 0, as RFC 3711 §3.2.1 says; the others from 1.
        ours.protect_rtcp(&report(0));
        for number in 0..50 {
            let made = ours.protect_rtcp(&report(number));
            assert!(made.is_some());
            assert_eq!(made, theirs.protect_rtcp(&report(number)), "{name}, report {number}");
        }
    });
}

/// Sends packets through a network that loses, swaps, repeats, changes and cuts them, and compares
/// what two receivers make of each arrival.
fn compare(
    name: &str,
    seed: u64,
    packets: Vec<Vec<u8>>,
    mut one: impl FnMut(&[u8]) -> Option<Vec<u8>>,
    mut other: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> (usize, usize) {
    let mut random = random(seed);
    let mut below = |end: u32| random.u32() % end;
    let mut history: Vec<Vec<u8>> = Vec::new();
    let mut delayed: VecDeque<Vec<u8>> = VecDeque::new();
    let (mut let_in, mut refused) = (0, 0);
    for packet in packets {
        let mut arrivals = Vec::new();
        match below(20) {
            0 => {}
            1..4 => delayed.push_back(packet.clone()),
            _ => arrivals.push(packet.clone()),
        }
        if below(4) == 0 || delayed.len() > 20 {
            arrivals.extend(delayed.pop_front());
        }
        // Replays lie clearly within the window or clearly behind it.
        if below(5) == 0 {
            let back = [below(90), 140 + below(200)][below(2) as usize] as usize;
            arrivals.extend(history.len().checked_sub(back + 1).map(|at| history[at].clone()));
        }
        if below(5) == 0 {
            let mut changed = packet.clone();
            let at = below(changed.len() as u32) as usize;
            changed[at] ^= 1 << below(8);
            arrivals.push(changed);
        }
        if below(20) == 0 {
            arrivals.push(packet[..below(packet.len() as u32) as usize].to_vec());
        }
        for arrival in arrivals {
            let (first, second) = (one(&arrival), other(&arrival));
            assert_eq!(first.is_some(), second.is_some(), "{name}, seed {seed}: {}", hex(&arrival));
            assert_eq!(first, second, "{name}, seed {seed}");
            let_in += usize::from(first.is_some());
            refused += usize::from(first.is_none());
        }
        history.push(packet);
    }
    (let_in, refused)
}

/// Packets of one source: from just before a rollover, with gaps of up to a few hundred.
fn stream(seed: u64) -> Vec<Vec<u8>> {
    let mut random = random(seed);
    let mut sequence = 65_000u16;
    (0..800)
        .map(|_| {
            let step = match random.u32() % 60 {
                0 => 1 + random.u32() % 300,
                _ => 1,
            };
            sequence = sequence.wrapping_add(step as u16);
            rtp(0x0102_0304, sequence, (random.u32() % 200) as usize)
        })
        .collect()
}

#[test]
fn both_let_in_the_same_packets_of_ours() {
    with_each(|name, master, make| {
        for seed in 0..2 {
            let mut sender = Ours::new(master);
            let packets = stream(seed).iter().map(|p| sender.protect(p).unwrap()).collect();
            let (mut ours, mut theirs) = (Ours::new(master), make(master));
            let (let_in, refused) =
                compare(name, seed, packets, |p| ours.unprotect(p), |p| theirs.unprotect(p));
            assert!(let_in > 500 && refused > 100, "{name}: {let_in} let in, {refused} refused");
        }
    });
}

#[test]
fn both_let_in_the_same_packets_of_theirs() {
    with_each(|name, master, make| {
        let mut sender = make(master);
        let packets = stream(10).iter().map(|p| sender.protect(p).unwrap()).collect();
        let (mut ours, mut theirs) = (Ours::new(master), make(master));
        let (let_in, refused) =
            compare(name, 10, packets, |p| ours.unprotect(p), |p| theirs.unprotect(p));
        assert!(let_in > 500 && refused > 100, "{name}: {let_in} let in, {refused} refused");
    });
}

#[test]
fn both_let_in_the_same_reports_in_either_direction() {
    with_each(|name, master, make| {
        let senders: [Box<dyn Peer>; 2] = [Box::new(Ours::new(master)), make(master)];
        for (seed, mut sender) in (20..).zip(senders) {
            let packets =
                (0..600).map(|number| sender.protect_rtcp(&report(number)).unwrap()).collect();
            let (mut ours, mut theirs) = (Ours::new(master), make(master));
            let (let_in, refused) = compare(
                name,
                seed,
                packets,
                |p| ours.unprotect_rtcp(p),
                |p| theirs.unprotect_rtcp(p),
            );
            assert!(let_in > 400 && refused > 100, "{name}: {let_in} in, {refused} refused");
        }
    });
}

#[test]
fn several_sources_share_a_key() {
    with_each(|name, master, make| {
        let mut sender = make(master);
        let (mut ours, mut theirs) = (Ours::new(master), make(master));
        let packets: Vec<_> = (0..900u32)
            .map(|i| rtp(i % 9, (65_500u32 + i / 9) as u16, 40))
            .map(|packet| sender.protect(&packet).unwrap())
            .collect();
        let (let_in, _) =
            compare(name, 30, packets, |p| ours.unprotect(p), |p| theirs.unprotect(p));
        assert!(let_in > 600, "{name}: {let_in}");
    });
}
