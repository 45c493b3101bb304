//! An established call allocates nothing, neither for a packet of its carrier nor for a frame of its
//! agent nor when its clock sends: every allocation of the thread is counted.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use allocation_counter::{AllocationInfo, measure};
use trunkline_media_node::call::media::{
    Command, Event, IdleAudio, Media, Plan, PlayoutBudget, Sink,
};
use trunkline_media_node::endpoints::websocket::{Dialect, StartInfo};
use trunkline_media_node::media::{Codec, CryptoSuite, Direction, MasterKey};
use trunkline_media_node::random::{Random, Seeded};
use trunkline_media_node::rtp::srtp::{MAX_RTP_OVERHEAD_BYTES, Sender};
use trunkline_media_node::rtp::{Header, SequenceNumber, Ssrc, is_rtcp};

const FRAME: usize = 160;
const PACKET_TIME: Duration = Duration::from_millis(20);
const CARRIER: &str = "203.0.113.9:30000";
/// Ten seconds until every table and buffer has the size it keeps, then a minute.
const WARM_UP: u32 = 500;
const TURNS: u32 = 3000;

/// Counts what leaves.
#[derive(Default)]
struct Meter {
    rtp: u32,
    rtcp: u32,
    to_agent: u32,
}

impl Sink for Meter {
    fn send_rtp(&mut self, _to: SocketAddr, packet: &[u8]) {
        // Both share the port.
        let count = if is_rtcp(packet) { &mut self.rtcp } else { &mut self.rtp };
        *count += 1;
    }

    fn send_rtcp(&mut self, _to: SocketAddr, _packet: &[u8]) {
        unreachable!("its reports share the port of its audio");
    }

    fn send_agent(&mut self, _text: &[u8]) {
        self.to_agent += 1;
    }

    fn close_agent(&mut self) {}

    fn event(&mut self, _event: Event) {}
}

struct Call {
    codec: Codec,
    payload_type: u8,
    suite: Option<CryptoSuite>,
    /// Of a hundred packets.
    lost: u64,
    agent_speaks: bool,
}

impl Call {
    fn plan(&self, keys: Option<(MasterKey, MasterKey)>) -> Plan {
        Plan {
            call_id: "0".into(),
            codec: self.codec,
            payload_type: self.payload_type,
            telephone_event: Some(101),
            listen_for_tones: false,
            packet_time: PACKET_TIME,
            crypto: keys,
            remote_rtp: CARRIER.parse().unwrap(),
            remote_rtcp: CARRIER.parse().unwrap(),
            rtcp_mux: true,
            sources: vec!["203.0.113.0/24".parse().unwrap()],
            behind_load_balancer: false,
            direction: Direction::SendRecv,
            inactivity: Duration::from_secs(60),
            idle_audio: IdleAudio::ComfortNoise,
            dialect: Dialect::TwilioMediaStreams,
            start: StartInfo::default(),
            playout_limit: Duration::from_secs(20),
            playout_budget: Arc::new(PlayoutBudget::new(1 << 20)),
            cname: "node".into(),
        }
    }

    /// The packets of a carrier, `None` where one is lost on the way.
    fn packets(&self, key: Option<&MasterKey>, random: &mut dyn Random) -> Vec<Option<Vec<u8>>> {
        let mut sender = key.map(Sender::new);
        (0..WARM_UP + TURNS)
            .map(|number| {
                let mut packet = vec![0x35; 12 + FRAME + MAX_RTP_OVERHEAD_BYTES];
                let header = Header {
                    payload_type: self.payload_type,
                    marker: false,
                    sequence_number: SequenceNumber(number as u16),
                    timestamp: number * FRAME as u32,
                    ssrc: Ssrc(7),
                };
                header.write(&mut packet);
                let len = match &mut sender {
                    Some(sender) => sender.protect_rtp(&mut packet, 12 + FRAME).unwrap(),
                    None => 12 + FRAME,
                };
                packet.truncate(len);
                (random.u64() % 100 >= self.lost).then_some(packet)
            })
            .collect()
    }

    /// A minute of this call: what it allocated, and what left meanwhile.
    fn minute(&self) -> (AllocationInfo, Meter) {
        let mut random = Seeded::new(1);
        let keys = self.suite.map(|suite| {
            (MasterKey::random(suite, &mut random), MasterKey::random(suite, &mut random))
        });
        let mut packets = self.packets(keys.as_ref().map(|(_, theirs)| theirs), &mut random);
        let speech = format!(
            r#"{{"event":"media","streamSid":"MZ0","media":{{"payload":"{}"}}}}"#,
            "VVVV".repeat(53) + "VQ=="
        );
        let (mut now, mut meter) = (Instant::now(), Meter::default());
        let mut media = Media::new(now, self.plan(keys), &mut random);
        media.handle_agent_open(now, &mut meter);
        media.handle_command(now, Command::Answered, &mut meter);
        media.handle_command(now, Command::Established, &mut meter);
        let mut run = |packets: &mut [Option<Vec<u8>>]| {
            let mut meter = Meter::default();
            for packet in packets {
                if let Some(packet) = packet {
                    media.handle_rtp(now, CARRIER.parse().unwrap(), packet, &mut meter);
                }
                if self.agent_speaks {
                    media.handle_agent_message(now, speech.as_bytes(), &mut meter);
                }
                let end = now + PACKET_TIME;
                while let Some(deadline) = media.poll_timeout().filter(|at| *at <= end) {
                    now = now.max(deadline);
                    media.handle_timeout(now, &mut meter);
                }
                now = end;
            }
            meter
        };
        let (warm_up, measured) = packets.split_at_mut(WARM_UP as usize);
        run(warm_up);
        let mut meter = Meter::default();
        let info = measure(|| meter = run(measured));
        (info, meter)
    }
}

#[track_caller]
fn assert_allocates_nothing(call: &Call) {
    let (info, meter) = call.minute();
    assert!(meter.rtp.abs_diff(TURNS) <= 2, "{} packets to the carrier", meter.rtp);
    assert!(meter.to_agent.abs_diff(TURNS) <= 10, "{} frames to the agent", meter.to_agent);
    assert!(meter.rtcp >= 8, "{} reports", meter.rtcp);
    assert_eq!(info.count_total, 0, "{} bytes in all", info.bytes_total);
}

const UNTOUCHED: Call =
    Call { codec: Codec::Pcmu, payload_type: 0, suite: None, lost: 0, agent_speaks: true };

#[test]
fn a_call_whose_bytes_pass_untouched_allocates_nothing() {
    assert_allocates_nothing(&UNTOUCHED);
}

#[test]
fn encrypted_calls_allocate_nothing() {
    for suite in CryptoSuite::BY_PREFERENCE {
        assert_allocates_nothing(&Call { suite: Some(suite), ..UNTOUCHED });
    }
}

#[test]
fn transcoded_calls_allocate_nothing() {
    assert_allocates_nothing(&Call { codec: Codec::Pcma, payload_type: 8, ..UNTOUCHED });
    assert_allocates_nothing(&Call { codec: Codec::G722, payload_type: 9, ..UNTOUCHED });
}

#[test]
fn a_silent_agent_and_lost_packets_allocate_nothing() {
    assert_allocates_nothing(&Call { agent_speaks: false, ..UNTOUCHED });
    assert_allocates_nothing(&Call { lost: 15, ..UNTOUCHED });
}

#[test]
fn the_count_sees_an_allocation() {
    let info = measure(|| drop(std::hint::black_box(vec![0_u8; 10])));
    assert_eq!((info.count_total, info.bytes_total), (1, 10));
}
