//! One call's media between an emulated carrier and an emulated agent, in virtual time.

mod agent;
mod caller;
mod codecs;
mod digits;
mod endings;
mod one_way;
mod properties;
mod turns;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::audio::concealment::MAX_BLEND;
use crate::media::{CryptoSuite, MasterKey};
use crate::random::Seeded;
use crate::rtp::rtcp::{Compound, Rtcp};
use crate::rtp::{Header, Packet, SequenceNumber, Ssrc};

const CARRIER: &str = "203.0.113.9:30000";
const CARRIER_RTCP: &str = "203.0.113.9:30001";
const FRAME: usize = 160;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// One packet as the carrier gets it, already unprotected.
#[derive(Clone)]
struct Sent {
    at: Instant,
    to: SocketAddr,
    header: Header,
    payload: Vec<u8>,
}

#[derive(Default)]
struct Recorder {
    now: Option<Instant>,
    rtp: Vec<(Instant, SocketAddr, Vec<u8>)>,
    rtcp: Vec<(Instant, SocketAddr, Vec<u8>)>,
    agent: Vec<(Instant, Vec<u8>)>,
    agent_closed: bool,
    events: Vec<(Instant, Event)>,
}

impl Recorder {
    fn take_told(&mut self) -> Vec<(Instant, Value)> {
        let told = std::mem::take(&mut self.agent).into_iter();
        told.map(|(at, text)| (at, serde_json::from_slice(&text).unwrap())).collect()
    }
}

impl Sink for Recorder {
    fn send_rtp(&mut self, to: SocketAddr, packet: &[u8]) {
        self.rtp.push((self.now.unwrap(), to, packet.to_vec()));
    }

    fn send_rtcp(&mut self, to: SocketAddr, packet: &[u8]) {
        self.rtcp.push((self.now.unwrap(), to, packet.to_vec()));
    }

    fn send_agent(&mut self, text: &[u8]) {
        assert!(!self.agent_closed, "a message after the close");
        self.agent.push((self.now.unwrap(), text.to_vec()));
    }

    fn close_agent(&mut self) {
        self.agent_closed = true;
    }

    fn event(&mut self, event: Event) {
        self.events.push((self.now.unwrap(), event));
    }
}

fn plan() -> Plan {
    Plan {
        call_id: "0-01JDCALL".into(),
        codec: Codec::Pcmu,
        payload_type: 0,
        telephone_event: Some(101),
        listen_for_tones: false,
        packet_time: ms(20),
        crypto: None,
        remote_rtp: at(CARRIER),
        remote_rtcp: at(CARRIER_RTCP),
        rtcp_mux: false,
        sources: vec!["203.0.113.0/24".parse().unwrap()],
        behind_load_balancer: false,
        direction: Direction::SendRecv,
        inactivity: secs(60),
        idle_audio: IdleAudio::Silence,
        dialect: Dialect::TwilioMediaStreams,
        start: StartInfo { call_id: "0-01JDCALL".into(), ..StartInfo::default() },
        playout_limit: secs(600),
        playout_budget: Arc::new(PlayoutBudget::new(1 << 30)),
        cname: "node".into(),
    }
}

/// A call and both its ends.
struct Call {
    start: Instant,
    now: Instant,
    media: Media,
    seen: Recorder,
    /// The carrier's ends of SRTP.
    carrier: Option<(srtp::Sender, srtp::Receiver)>,
}

impl Call {
    fn new() -> Self {
        Self::planned(|_| {})
    }

    fn planned(change: impl FnOnce(&mut Plan)) -> Self {
        let start = Instant::now();
        let mut plan = plan();
        change(&mut plan);
        let carrier = plan
            .crypto
            .as_ref()
            .map(|(ours, theirs)| (srtp::Sender::new(theirs), srtp::Receiver::new(ours)));
        let media = Media::new(start, plan, &mut Seeded::new(7));
        Self { start, now: start, media, seen: Recorder::default(), carrier }
    }

    /// A call in which both ends can be heard.
    fn up() -> Self {
        Self::new().bring_up()
    }

    fn bring_up(mut self) -> Self {
        self.open();
        self.command(Command::Answered);
        self.command(Command::Established);
        self
    }

    fn step<T>(&mut self, act: impl FnOnce(&mut Media, Instant, &mut Recorder) -> T) -> T {
        self.seen.now = Some(self.now);
        act(&mut self.media, self.now, &mut self.seen)
    }

    fn open(&mut self) {
        self.step(|media, now, sink| media.handle_agent_open(now, sink));
    }

    fn command(&mut self, command: Command) {
        self.step(|media, now, sink| media.handle_command(now, command, sink));
    }

    /// Serves every deadline up to `span` from now.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(deadline) = self.media.poll_timeout().filter(|at| *at <= end) {
            assert!(deadline >= self.now, "a deadline in the past");
            self.now = deadline;
            self.step(|media, now, sink| media.handle_timeout(now, sink));
            assert!(
                self.media.poll_timeout().is_none_or(|next| next > deadline),
                "a deadline that is not later than now"
            );
        }
        self.now = end;
    }

    fn agent_says(&mut self, message: &Value) {
        let text = message.to_string();
        self.step(|media, now, sink| media.handle_agent_message(now, text.as_bytes(), sink));
    }

    fn agent_speaks(&mut self, audio: &[u8]) {
        let payload = STANDARD.encode(audio);
        self.agent_says(&json!({"event": "media", "media": {"payload": payload}}));
    }

    fn agent_marks(&mut self, name: &str) {
        self.agent_says(&json!({"event": "mark", "mark": {"name": name}}));
    }

    fn agent_clears(&mut self) {
        self.agent_says(&json!({"event": "clear"}));
    }

    fn agent_closes(&mut self, code: Option<u16>) {
        self.step(|media, now, sink| media.handle_agent_closed(now, code, sink));
    }

    /// One packet of the carrier, numbered `n`, of 20 ms.
    fn caller_speaks(&mut self, n: u16, payload: &[u8]) {
        let header = header(n, u32::from(n) * 160);
        self.carrier_sends(at(CARRIER), &header, payload);
    }

    fn carrier_sends(&mut self, from: SocketAddr, header: &Header, payload: &[u8]) {
        let mut packet = self.packet(header, payload);
        self.step(|media, now, sink| media.handle_rtp(now, from, &mut packet, sink));
    }

    /// A packet as it is on the wire.
    fn packet(&mut self, header: &Header, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 12 + payload.len() + srtp::MAX_RTP_OVERHEAD_BYTES];
        let mut len = header.write(&mut packet) + payload.len();
        packet[12..len].copy_from_slice(payload);
        if let Some((sender, _)) = &mut self.carrier {
            len = sender.protect_rtp(&mut packet, len).unwrap();
        }
        packet.truncate(len);
        packet
    }

    /// What the carrier got since the last time it was asked.
    fn take_sent(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        for (at, to, mut packet) in std::mem::take(&mut self.seen.rtp) {
            if rtp_is_rtcp(&packet) {
                continue;
            }
            let len = match &mut self.carrier {
                Some((_, receiver)) => receiver.unprotect_rtp(&mut packet).unwrap(),
                None => packet.len(),
            };
            let packet = Packet::parse(&packet[..len]).unwrap();
            sent.push(Sent { at, to, header: packet.header, payload: packet.payload.to_vec() });
        }
        sent
    }

    /// What the agent was told since the last time, `media` left out.
    fn take_told(&mut self) -> Vec<String> {
        let told = self.seen.take_told().into_iter().map(|(_, message)| message);
        told.filter(|message| message["event"] != "media").map(|message| brief(&message)).collect()
    }

    /// The caller's audio as the agent got it since the last time: when, at which time of the
    /// stream in ms, and what.
    fn take_heard(&mut self) -> Vec<(Instant, u64, Vec<u8>)> {
        let told = self.seen.take_told().into_iter();
        told.filter(|(_, message)| message["event"] == "media")
            .map(|(at, message)| {
                let text = |field: &str| message["media"][field].as_str().unwrap().to_owned();
                let audio = STANDARD.decode(text("payload")).unwrap();
                (at, text("timestamp").parse().unwrap(), audio)
            })
            .collect()
    }

    fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.seen.events).into_iter().map(|(_, event)| event).collect()
    }

    fn report(&self) -> Report {
        self.media.report()
    }
}

fn rtp_is_rtcp(packet: &[u8]) -> bool {
    crate::rtp::is_rtcp(packet)
}

fn header(sequence_number: u16, timestamp: u32) -> Header {
    Header {
        payload_type: 0,
        marker: false,
        sequence_number: SequenceNumber(sequence_number),
        timestamp,
        ssrc: Ssrc(0xca11),
    }
}

fn brief(message: &Value) -> String {
    match message["event"].as_str().unwrap() {
        "mark" => format!("mark {}", message["mark"]["name"].as_str().unwrap()),
        "dtmf" => format!("dtmf {}", message["dtmf"]["digit"].as_str().unwrap()),
        other => other.to_owned(),
    }
}

/// Speech that can be told from every other, and from silence.
fn speech(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 100) as u8 + 1).collect()
}

fn is_speech(payload: &[u8]) -> bool {
    payload[0] != 0xff
}
