//! What an agent may send, and everything that may happen to a call's media.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_media_node::call::media::{
    AgentFailure, Command, Event, IdleAudio, Media, Plan, PlayoutBudget, Sink,
};
use trunkline_media_node::endpoints::websocket::{Dialect, Incoming, StartInfo, Stream};
use trunkline_media_node::media::{Codec, CryptoSuite, Digits, Direction, KeyTiming, MasterKey};
use trunkline_media_node::random::Seeded;
use trunkline_media_node::rtp::is_rtcp;

/// Any bytes as a message of the agent: read or refused, never more audio than they can hold, and
/// whatever mark was read can be written back as JSON.
pub fn message(data: &[u8]) {
    let mut stream = Stream::new(Dialect::TwilioMediaStreams, &StartInfo::default());
    match stream.parse(data) {
        Incoming::Audio(payload) => {
            let mut len = 0;
            let _ = payload.decode(|audio| len += audio.len());
            assert!(len <= data.len());
        }
        Incoming::Mark(name) => {
            // Our echo has the agent's own shape, so it reads back.
            let echo = stream.mark(&name).expect("this dialect has marks").to_vec();
            assert_eq!(stream.parse(&echo), Incoming::Mark(name));
        }
        Incoming::Clear | Incoming::Ignored => {}
    }
}

const BUDGET_BYTES: usize = 256 * 1024;

/// Counts what comes out and keeps nothing.
#[derive(Default)]
struct Meter {
    packets: usize,
    stopped: bool,
}

impl Sink for Meter {
    fn send_rtp(&mut self, _to: SocketAddr, packet: &[u8]) {
        assert!(!self.stopped && packet.len() <= 600);
        if !is_rtcp(packet) {
            self.packets += 1;
        }
    }

    fn send_rtcp(&mut self, _to: SocketAddr, packet: &[u8]) {
        assert!(!self.stopped && packet.len() <= 600);
    }

    fn send_agent(&mut self, text: &[u8]) {
        assert!(!self.stopped && std::str::from_utf8(text).is_ok());
    }

    fn close_agent(&mut self) {}

    fn event(&mut self, event: Event) {
        assert!(!self.stopped);
        self.stopped = matches!(event, Event::Stopped(_));
    }
}

/// Bytes as a script: each step is one input of the machine, some well formed, some not.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// A whole call by script: never a panic, never a deadline that is not later than now, memory within
/// the budget, and all of it given back at the end.
#[allow(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
pub fn media(data: &[u8]) {
    let mut script = Script(data);
    let budget = Arc::new(PlayoutBudget::new(BUDGET_BYTES));
    let shape = script.byte();
    let mut now = Instant::now();
    let start = now;
    let mut meter = Meter::default();
    let mut media = Media::new(now, plan(shape, budget.clone()), &mut Seeded::new(1));
    let remote: [SocketAddr; 3] =
        ["203.0.113.9:30000", "203.0.113.10:9", "192.0.2.1:1"].map(|at| at.parse().expect("valid"));
    let keys = Digits::parse("1w#", KeyTiming::default()).expect("keys");
    while !script.0.is_empty() {
        let step = script.byte();
        let from = remote[usize::from(step >> 6) % 3];
        match step % 16 {
            0 => {
                let mut datagram = script.bytes(usize::from(step >> 4) * 16).to_vec();
                media.handle_rtp(now, from, &mut datagram, &mut meter);
            }
            1 => {
                let mut datagram = script.bytes(usize::from(step >> 4) * 16).to_vec();
                media.handle_rtcp(now, from, &mut datagram, &mut meter);
            }
            2 | 3 => {
                let len = usize::from(script.short() % 700);
                let mut packet = vec![script.byte(); 12 + len];
                let [s0, s1] = script.short().to_be_bytes();
                let [t0, t1] = script.short().to_be_bytes();
                let kind = [0, 8, 13, 101][usize::from(step >> 4) % 4];
                packet[..12].copy_from_slice(&[
                    0x80,
                    kind,
                    s0,
                    s1,
                    0,
                    0,
                    t0,
                    t1,
                    0,
                    0,
                    0,
                    step >> 7,
                ]);
                media.handle_rtp(now, from, &mut packet, &mut meter);
            }
            4 => {
                let text = script.bytes(usize::from(step >> 4) * 16);
                media.handle_agent_message(now, text, &mut meter);
            }
            5 | 6 => {
                let payload = "AAAA".repeat(usize::from(script.short() % 8192));
                let text = format!(r#"{{"event":"media","media":{{"payload":"{payload}"}}}}"#);
                media.handle_agent_message(now, text.as_bytes(), &mut meter);
            }
            7 => {
                let mark = br#"{"event":"mark","mark":{"name":"m"}}"#;
                media.handle_agent_message(now, mark, &mut meter);
            }
            8 => media.handle_agent_message(now, br#"{"event":"clear"}"#, &mut meter),
            9 => media.handle_agent_open(now, &mut meter),
            10 => match step >> 4 {
                0 => media.handle_agent_failed(now, AgentFailure::Timeout, &mut meter),
                1 => media.replace_agent(Dialect::TwilioMediaStreams, &StartInfo::default()),
                2 => media.handle_agent_closed(now, None, &mut meter),
                _ => media.handle_agent_closed(now, Some(1000), &mut meter),
            },
            11 => {
                let direction = [
                    Direction::SendRecv,
                    Direction::SendOnly,
                    Direction::RecvOnly,
                    Direction::Inactive,
                ][usize::from(step >> 4) % 4];
                let command = match step >> 4 {
                    0..=3 => Command::Answered,
                    4..=7 => Command::Established,
                    8..=12 => Command::Direction(direction),
                    13 => Command::SendDigits { digits: keys.clone(), as_tones: shape & 4 == 0 },
                    14 => Command::Retarget { rtp: from, rtcp: from },
                    _ => Command::Stop,
                };
                media.handle_command(now, command, &mut meter);
            }
            12 => now += Duration::from_micros(u64::from(script.short()) * 16),
            _ => {
                let end = now + Duration::from_millis(script.short().into());
                while let Some(deadline) = media.poll_timeout().filter(|at| *at <= end) {
                    now = now.max(deadline);
                    media.handle_timeout(now, &mut meter);
                    assert!(media.poll_timeout().is_none_or(|next| next > now));
                }
                now = now.max(end);
            }
        }
        assert!(budget.free_bytes() <= BUDGET_BYTES);
    }
    // A frame is 10 ms at least, and input can add one packet a step.
    let frames = usize::try_from((now - start).as_millis() / 10).unwrap_or(usize::MAX);
    assert!(meter.packets <= frames + data.len() + 2);
    media.handle_command(now, Command::Stop, &mut meter);
    assert!(meter.stopped && media.poll_timeout().is_none());
    assert_eq!(budget.free_bytes(), BUDGET_BYTES);
}

fn plan(shape: u8, budget: Arc<PlayoutBudget>) -> Plan {
    let key = |byte| {
        let suite = CryptoSuite::AeadAes128Gcm;
        MasterKey::new(suite, &vec![byte; suite.master_len_bytes()]).expect("the suite's length")
    };
    let (codec, payload_type) = match shape & 17 {
        1 => (Codec::Pcma, 8),
        17 => (Codec::G722, 9),
        _ => (Codec::Pcmu, 0),
    };
    Plan {
        call_id: "0".into(),
        codec,
        payload_type,
        telephone_event: (shape & 2 == 0).then_some(101),
        listen_for_tones: shape & 1 == 0,
        packet_time: Duration::from_millis([20, 10, 30, 60][usize::from(shape >> 2) % 4]),
        crypto: (shape >> 4 == 15).then(|| (key(1), key(2))),
        remote_rtp: "203.0.113.9:30000".parse().expect("valid"),
        remote_rtcp: "203.0.113.9:30001".parse().expect("valid"),
        rtcp_mux: shape & 16 != 0,
        sources: vec!["203.0.113.0/24".parse().expect("valid")],
        behind_load_balancer: shape & 32 != 0,
        direction: Direction::SendRecv,
        inactivity: Duration::from_secs(60),
        idle_audio: [IdleAudio::ComfortNoise, IdleAudio::Silence, IdleAudio::None, IdleAudio::None]
            [usize::from(shape >> 6)],
        dialect: Dialect::TwilioMediaStreams,
        start: StartInfo::default(),
        playout_limit: Duration::from_secs(20),
        playout_budget: budget,
        cname: "node".into(),
    }
}
