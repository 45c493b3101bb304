//! An emulated network in virtual time: a carrier, the node's two machines, and an agent, joined by
//! queues that delay, lose, double and reorder as a seed says. Nothing here waits for a clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use serde_json::Value;
use trunkline_media_node::call::media::{AgentFailure, Command, Event, Media, Sink, Turn};
use trunkline_media_node::call::{
    Advertised, AdvertisedView, AgentView, CallKey, CallView, Demux, DialKey, OptionsView, Output,
    Phase, Refusal, RtpPorts, Setup, Switchboard, Target,
};
use trunkline_media_node::config::Config;
use trunkline_media_node::random::Seeded;
use trunkline_media_node::sip::{Flow, Message, Request, Response, Transport};

use super::carrier::Carrier;

pub(crate) const CARRIER: &str = "203.0.113.7:5060";
pub(crate) const CARRIER_RTP: &str = "203.0.113.7:40000";
pub(crate) const NODE: &str = "192.0.2.10:5060";
pub(crate) const NODE_ADDRESS: &str = "192.0.2.10";

/// What an agent does when its phone rings.
#[derive(Clone, Copy)]
pub(crate) enum Answers {
    After(Duration),
    Fails(AgentFailure),
    Never,
}

/// What the network does to RTP towards the node.
#[derive(Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) loss_percent: u32,
    pub(crate) duplicate_percent: u32,
    pub(crate) jitter: Duration,
}

enum Arrival {
    SipToNode(Bytes),
    /// What the node sent to its own address.
    SipToItself(Flow, Bytes),
    Dialled(DialKey, Flow),
    SipToCarrier(Bytes),
    RtpToNode {
        to: u16,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    RtpToCarrier(Vec<u8>),
    AgentOpens(CallKey),
    AgentFails(CallKey, AgentFailure),
    AgentSays(CallKey, String),
    AgentCloses(CallKey, Option<u16>),
    /// A tick of the carrier's own clock: its timers and the next packet of speech.
    CarrierTick,
}

/// One agent's side of one call.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) messages: Vec<(Instant, Value)>,
    pub(crate) closed: Option<Instant>,
}

impl Heard {
    pub(crate) fn events(&self) -> Vec<&str> {
        self.messages.iter().filter_map(|(_, message)| message["event"].as_str()).collect()
    }

    pub(crate) fn of(&self, event: &str) -> Vec<&(Instant, Value)> {
        self.messages.iter().filter(|(_, message)| message["event"] == event).collect()
    }
}

pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) node: Switchboard,
    pub(crate) carrier: Carrier,
    pub(crate) answers: HashMap<String, Answers>,
    pub(crate) weather: Weather,
    pub(crate) heard: HashMap<CallKey, Heard>,
    pub(crate) calls: Vec<CallKey>,
    pub(crate) agents: Vec<String>,
    pub(crate) phases: Vec<(Phase, CallView)>,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) turns: Vec<Turn>,
    pub(crate) strangers: usize,
    /// What the node knows of the carrier's servers, by trunk.
    pub(crate) options: HashMap<String, OptionsView>,
    pub(crate) reached: HashMap<String, AgentView>,
    pub(crate) advertised: Vec<AdvertisedView>,
    /// One way, for everything but RTP in bad weather.
    pub(crate) latency: Duration,
    media: HashMap<CallKey, Media>,
    /// Where each call receives.
    pub(crate) ports: HashMap<CallKey, RtpPorts>,
    demuxes: HashMap<u16, Demux>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    arrivals: HashMap<u64, Arrival>,
    sequence: u64,
    dice: u64,
}

#[derive(Default)]
struct Outbox {
    rtp: Vec<Vec<u8>>,
    agent: Vec<String>,
    close: bool,
    events: Vec<Event>,
}

impl Sink for Outbox {
    fn send_rtp(&mut self, _: SocketAddr, packet: &[u8]) {
        self.rtp.push(packet.to_vec());
    }

    fn send_rtcp(&mut self, _: SocketAddr, _: &[u8]) {}

    fn send_agent(&mut self, text: &[u8]) {
        self.agent.push(String::from_utf8(text.to_vec()).expect("the dialect writes text"));
    }

    fn close_agent(&mut self) {
        self.close = true;
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

impl Net {
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        Self::with_ports(config, seed, (20000, 20999))
    }

    pub(crate) fn with_ports(config: Config, seed: u64, rtp_ports: (u16, u16)) -> Self {
        let start = Instant::now();
        let node = Switchboard::new(Setup {
            config: Arc::new(config),
            advertised: Advertised::both(&[NODE_ADDRESS.parse().unwrap()]),
            slot: None,
            peers: Default::default(),
            rtp_ports,
            random: Box::new(Seeded::new(seed)),
            transaction_random: Box::new(Seeded::new(seed ^ 0xabcd)),
            pool_key: vec![7; 32],
            epoch: (start, SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
        });
        Self {
            now: start,
            node,
            carrier: Carrier::default(),
            answers: HashMap::new(),
            weather: Weather::default(),
            heard: HashMap::new(),
            calls: Vec::new(),
            agents: Vec::new(),
            phases: Vec::new(),
            refusals: Vec::new(),
            turns: Vec::new(),
            strangers: 0,
            options: HashMap::new(),
            reached: HashMap::new(),
            advertised: Vec::new(),
            latency: Duration::from_millis(5),
            media: HashMap::new(),
            ports: HashMap::new(),
            demuxes: HashMap::new(),
            queue: BinaryHeap::new(),
            arrivals: HashMap::new(),
            sequence: 0,
            dice: seed.wrapping_mul(2).wrapping_add(1),
        }
    }

    /// The call's only agent conversation, when there is one call.
    pub(crate) fn agent(&self) -> &Heard {
        &self.heard[self.calls.last().expect("a call was opened")]
    }

    /// The record of the call that ended last.
    pub(crate) fn record(&self) -> &CallView {
        let ended = self.phases.iter().rev().find(|(phase, _)| *phase == Phase::Ended);
        &ended.expect("a call has ended").1
    }

    pub(crate) fn ended(&self) -> bool {
        self.phases.iter().any(|(phase, _)| *phase == Phase::Ended)
    }

    pub(crate) fn send(&mut self, message: &str) {
        self.sip_to_node(Bytes::from(message.to_owned()), self.latency);
    }

    /// The carrier says these frames, 20 ms apart, from now on.
    pub(crate) fn speak(&mut self, frames: impl IntoIterator<Item = Vec<u8>>) {
        self.carrier.speak(frames);
        self.start_ticking();
    }

    /// The caller presses a key (RFC 4733 event).
    pub(crate) fn press(&mut self, event: u8) {
        self.carrier.press(event);
        self.start_ticking();
    }

    fn start_ticking(&mut self) {
        if self.carrier.begins_to_tick() {
            self.arrive(Duration::ZERO, Arrival::CarrierTick);
        }
    }

    fn sip_to_node(&mut self, bytes: Bytes, after: Duration) {
        self.arrive(after, Arrival::SipToNode(bytes));
    }

    /// The agent of the last call says something now.
    pub(crate) fn agent_says(&mut self, text: String) {
        let call = *self.calls.last().expect("a call was opened");
        self.arrive(Duration::ZERO, Arrival::AgentSays(call, text));
    }

    pub(crate) fn agent_closes(&mut self, code: Option<u16>) {
        let call = *self.calls.last().expect("a call was opened");
        self.arrive(Duration::ZERO, Arrival::AgentCloses(call, code));
    }

    /// To the port of the last call.
    pub(crate) fn rtp_from(&mut self, from: SocketAddr, bytes: Vec<u8>) {
        let Some(ports) = self.calls.last().and_then(|call| self.ports.get(call)) else { return };
        let to = ports.rtp();
        let dice = |this: &mut Self| this.roll() % 100;
        if dice(self) < self.weather.loss_percent {
            return;
        }
        let copies = if dice(self) < self.weather.duplicate_percent { 2 } else { 1 };
        for _ in 0..copies {
            let jitter = match self.weather.jitter.as_micros() as u32 {
                0 => Duration::ZERO,
                most => Duration::from_micros((self.roll() % most).into()),
            };
            self.arrive(
                self.latency + jitter,
                Arrival::RtpToNode { to, from, bytes: bytes.clone() },
            );
        }
    }

    fn roll(&mut self) -> u32 {
        // A linear congruential generator is as random as weather needs to be.
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) as u32
    }

    fn arrive(&mut self, after: Duration, arrival: Arrival) {
        self.sequence += 1;
        self.queue.push(Reverse((self.now + after, self.sequence)));
        self.arrivals.insert(self.sequence, arrival);
    }

    /// Lets the world go on for so long.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.settle();
        while let Some(next) = self.next_moment().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    fn next_moment(&self) -> Option<Instant> {
        let arrival = self.queue.peek().map(|Reverse((at, _))| *at);
        let media = self.media.values().filter_map(Media::poll_timeout).min();
        [arrival, media, self.node.poll_timeout()].into_iter().flatten().min()
    }

    fn step(&mut self) {
        while let Some(Reverse((at, sequence))) = self.queue.peek().copied()
            && at <= self.now
        {
            self.queue.pop();
            let arrival = self.arrivals.remove(&sequence).expect("queued together");
            self.deliver(arrival);
            self.settle();
        }
        if self.node.poll_timeout().is_some_and(|at| at <= self.now) {
            self.node.handle_timeout(self.now);
            assert!(
                self.node.poll_timeout().is_none_or(|next| next > self.now),
                "a deadline that has passed is served"
            );
            self.settle();
        }
        let due: Vec<CallKey> = self
            .media
            .iter()
            .filter(|(_, media)| media.poll_timeout().is_some_and(|at| at <= self.now))
            .map(|(call, _)| *call)
            .collect();
        for call in due {
            self.with_media(call, |media, now, out| media.handle_timeout(now, out));
            let next = self.media.get(&call).and_then(Media::poll_timeout);
            assert!(
                next.is_none_or(|next| next > self.now),
                "a deadline that has passed is served"
            );
        }
        self.settle();
    }

    fn deliver(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::SipToNode(bytes) => {
                let flow = Flow {
                    holder: None,
                    id: 0,
                    transport: Transport::Udp,
                    local: NODE.parse().unwrap(),
                    remote: self.carrier.address,
                };
                self.node.handle_bytes(self.now, flow, &bytes);
            }
            Arrival::SipToItself(flow, bytes) => self.node.handle_bytes(self.now, flow, &bytes),
            Arrival::Dialled(dial, flow) => self.node.handle_dialled(self.now, dial, Ok(flow)),
            Arrival::SipToCarrier(bytes) => {
                for reply in self.carrier.receive(self.now, &bytes) {
                    self.sip_to_node(reply, self.latency);
                }
            }
            Arrival::RtpToNode { to, from, bytes } => self.receive(to, from, bytes),
            Arrival::RtpToCarrier(bytes) => self.carrier.hear(self.now, &bytes),
            Arrival::AgentOpens(call) => {
                self.with_media(call, |media, now, out| media.handle_agent_open(now, out));
            }
            Arrival::AgentFails(call, reason) => {
                self.with_media(call, |media, now, out| {
                    media.handle_agent_failed(now, reason, out);
                });
            }
            Arrival::AgentSays(call, text) => {
                self.with_media(call, |media, now, out| {
                    media.handle_agent_message(now, text.as_bytes(), out);
                });
            }
            Arrival::AgentCloses(call, code) => {
                self.with_media(call, |media, now, out| {
                    media.handle_agent_closed(now, code, out);
                });
            }
            Arrival::CarrierTick => {
                let (packet, next) = self.carrier.tick();
                if let Some(packet) = packet {
                    self.rtp_from(self.carrier.rtp, packet);
                }
                if let Some(next) = next {
                    self.arrive(next, Arrival::CarrierTick);
                }
            }
        }
    }

    fn receive(&mut self, to: u16, from: SocketAddr, mut bytes: Vec<u8>) {
        let Some(mut demux) = self.demuxes.remove(&to) else { return };
        let now = self.now;
        let owner = demux.route(now, from, &bytes, |call| {
            let mut copy = bytes.clone();
            let mut taken = false;
            self.with_media(call, |media, now, out| {
                taken = media.handle_stray(now, from, &mut copy, out);
            });
            taken
        });
        self.demuxes.insert(to, demux);
        self.tell_ports();
        let Some(call) = owner else { return };
        let ports = self.ports[&call];
        self.with_media(call, |media, now, out| match (ports, to == ports.rtp()) {
            (RtpPorts::Shared(_), _) => media.handle_shared(now, from, &mut bytes, out),
            (RtpPorts::Pair(_), true) => media.handle_rtp(now, from, &mut bytes, out),
            (RtpPorts::Pair(_), false) => media.handle_rtcp(now, from, &mut bytes, out),
        });
        self.tell_ports();
    }

    /// Each port hears where the packets of its calls come from, and which calls are gone.
    fn tell_ports(&mut self) {
        for (call, ports) in &self.ports {
            for port in [ports.rtp(), ports.rtcp()] {
                let demux = self.demuxes.entry(port).or_default();
                match self.media.get(call) {
                    Some(media) => demux.update(*call, media.remotes()),
                    None => demux.leave(self.now, *call),
                }
            }
        }
    }

    fn with_media(&mut self, call: CallKey, input: impl FnOnce(&mut Media, Instant, &mut Outbox)) {
        let Some(media) = self.media.get_mut(&call) else { return };
        let mut out = Outbox::default();
        input(media, self.now, &mut out);
        for packet in out.rtp {
            self.arrive(self.latency, Arrival::RtpToCarrier(packet));
        }
        let heard = self.heard.entry(call).or_default();
        for text in out.agent {
            let message = serde_json::from_str(&text).expect("the dialect writes JSON");
            heard.messages.push((self.now, message));
        }
        if out.close {
            heard.closed.get_or_insert(self.now);
        }
        for event in out.events {
            if matches!(event, Event::Stopped(_)) {
                self.media.remove(&call);
            }
            self.node.handle_media(self.now, call, event);
        }
    }

    /// Does what the switchboard wants until it wants nothing more.
    fn settle(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Transmit { flow, bytes } if flow.remote == flow.local => {
                    self.arrive(self.latency, Arrival::SipToItself(flow, bytes));
                }
                Output::Transmit { bytes, .. } => {
                    self.arrive(self.latency, Arrival::SipToCarrier(bytes));
                }
                Output::Open { call, ports, plan, agent, .. } => {
                    self.ports.insert(call, ports);
                    let mut random = Seeded::new(self.sequence + 99);
                    self.media.insert(call, Media::new(self.now, *plan, &mut random));
                    self.tell_ports();
                    self.calls.retain(|it| *it != call);
                    self.calls.push(call);
                    self.agents.push(agent.name.clone());
                    let answers = self.answers.get(&agent.name).copied();
                    match answers.unwrap_or(Answers::After(Duration::from_millis(30))) {
                        Answers::After(delay) => self.arrive(delay, Arrival::AgentOpens(call)),
                        Answers::Fails(reason) => {
                            self.arrive(self.latency, Arrival::AgentFails(call, reason));
                        }
                        Answers::Never => {}
                    }
                }
                Output::Media { call, command } => self.command(call, command),
                Output::Phase { phase, view, .. } => self.phases.push((phase, *view)),
                Output::Turn(turn) => self.turns.push(turn),
                Output::Refused(refusal) => self.refusals.push(*refusal),
                Output::Stranger { .. } => self.strangers += 1,
                Output::Dial { dial, target, .. } => {
                    let remote = match target {
                        Target::Own { address, .. } => address,
                        Target::Carrier(_) => self.carrier.address,
                    };
                    let local = NODE.parse().unwrap();
                    let flow =
                        Flow { holder: None, id: 0, transport: Transport::Udp, local, remote };
                    self.arrive(self.latency, Arrival::Dialled(dial, flow));
                }
                Output::Reachable { trunk, options: Some(options) } => {
                    self.options.insert(trunk, *options);
                }
                Output::Reachable { trunk, options: None } => {
                    self.options.remove(&trunk);
                }
                Output::SelfChecked(advertised) => self.advertised = advertised,
                Output::Reach { server } => {
                    self.node.handle_reached(self.now, &server, Ok(self.latency));
                }
                Output::AgentReachable { agent, view: Some(view) } => {
                    self.reached.insert(agent, *view);
                }
                Output::AgentReachable { agent, view: None } => {
                    self.reached.remove(&agent);
                }
                Output::Malformed { .. }
                | Output::PrivateAddress { .. }
                | Output::Hangup { .. }
                | Output::PassOn { .. }
                | Output::Listen(_)
                | Output::Probed { .. } => {}
            }
        }
    }

    fn command(&mut self, call: CallKey, command: Command) {
        self.with_media(call, |media, now, out| media.handle_command(now, command, out));
        self.tell_ports();
    }
}

/// The responses to one request, in the order of their coming.
pub(crate) fn statuses(log: &[Response]) -> Vec<u16> {
    log.iter().map(|response| response.status.as_u16()).collect()
}

/// Reads what the node sent.
pub(crate) fn read(bytes: &Bytes) -> Result<Request, Box<Response>> {
    match Message::parse(bytes).expect("the node writes what can be read") {
        Message::Request(request) => Ok(request),
        Message::Response(response) => Err(Box::new(response)),
    }
}
