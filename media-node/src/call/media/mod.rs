//! One call's media, without I/O: RTP on one side, the agent's conversation on the other, and the
//! clocks between them.
//!
//! ```text
//!  carrier ─▶ latch ─▶ srtp ─▶ stats ─▶ reorder ─┬▶ feed ──────▶ Stream ─▶ agent
//!                                                └▶ digits_in ▶
//!  carrier ◀─ srtp ◀─ header ◀─ clock, noise ◀─ playout ◀────── Stream ◀─ agent
//! ```
//!
//! [`Media`] lives on its shard for as long as the call does. Input comes by `handle_*`, output goes
//! into the [`Sink`] before the call returns, so that nothing waits in queues and nothing is
//! allocated for a packet. A hold is a line that carries nothing our way: the agent's speech goes on
//! by the clock, its turn passes, and nobody hears it; speech from before the first sound is kept.

mod arrivals;
mod backlog;
mod clock;
mod digits_in;
mod digits_out;
mod feed;
mod latch;
mod one_way;
mod plan;
mod play;
mod playout;
mod receive;
mod report;
mod reports;
mod shared;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
mod tests;
mod turns;
mod voice;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

pub use one_way::{OneWay, OneWayKind};
pub use plan::{AgentFailure, Command, Event, IdleAudio, Plan, Sink};
pub use playout::PlayoutBudget;
pub use report::Report;
pub use shared::{Remote, Remotes};
pub use turns::Turn;

use crate::audio::comfort_noise::DEFAULT_LEVEL;
use crate::audio::level::NoiseFloor;
use crate::endpoints::websocket::{Dialect, Incoming, StartInfo, Stream};
use crate::media::{Codec, Direction};
use crate::random::Random;
use crate::rtp::quality::bursts::Bursts;
use crate::rtp::quality::xr::VoipMetrics;
use crate::rtp::reorder::Reorder;
use crate::rtp::srtp;
use crate::rtp::stats::{ReceiverStats, SenderStats};
use crate::rtp::{SequenceNumber, Ssrc};
use arrivals::Arrivals;
use backlog::Backlog;
use clock::Clock;
use digits_in::{DigitsIn, Way};
use digits_out::DigitsOut;
use feed::Feed;
use latch::Latch;
use one_way::Watch;
use play::Pace;
use playout::Playout;
use reports::ReportClock;
use turns::Turns;
use voice::Voice;

/// How long a gap in the caller's packets holds up what is behind it: one frame.
const REORDER_HOLD: Duration = Duration::from_millis(20);
/// How long we wait for the carrier to send first, behind a load balancer.
const HEAR_FIRST: Duration = Duration::from_secs(1);
/// How much of an agent's last words is played after it closed its connection. Agents close with
/// their farewell queued, or with seconds of silence behind it, and an end should feel prompt.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The WebSocket close codes after which the last words count: normal closure, and a close without
/// a code (RFC 6455 §7.4.1). Anything else is a failure.
const CLOSED_NORMALLY: [u16; 2] = [1000, 1005];

/// See the module.
pub struct Media {
    codec: Codec,
    payload_type: u8,
    telephone_event: Option<u8>,
    rtcp_mux: bool,
    sources: Vec<IpNet>,
    behind_load_balancer: bool,
    direction: Direction,
    inactivity: Duration,
    idle_audio: IdleAudio,
    cname: String,

    rtp: Latch,
    rtcp: Latch,
    answered: Option<Instant>,
    established: bool,
    stopped: bool,
    /// Until when we wait to hear from the carrier before we send.
    hear_first: Option<Instant>,
    /// The same for reports, where they have an address of their own.
    hear_reports_first: Option<Instant>,

    // From the carrier.
    receiver: Option<srtp::Receiver>,
    received: ReceiverStats,
    reorder: Reorder,
    bursts: Bursts,
    digits_in: DigitsIn,
    source: Option<Ssrc>,
    heard_at: Instant,
    held_since: Option<Instant>,
    inactive: bool,
    watch: Watch,
    /// Where the last packet came from that was not taken.
    refused_from: Option<SocketAddr>,

    // The agent.
    agent: Agent,
    stream: Stream,
    /// From the answer on, while the agent is there.
    feed: Option<Feed>,

    // To the carrier.
    sender: Option<srtp::Sender>,
    sent: SenderStats,
    /// What the carrier's last extended report says of our audio.
    metrics: Option<VoipMetrics>,
    ssrc: Ssrc,
    sequence_number: SequenceNumber,
    /// The timestamp of frame 0.
    first_timestamp: u32,
    frame: Duration,
    /// The same by the RTP clock.
    frame_ticks: u32,
    phase: Duration,
    playout: Playout,
    digits_out: DigitsOut,
    /// Whether the clock runs: from the first moment on at which the caller could hear something.
    playing: bool,
    clock: Clock,
    pace: Pace,
    arrivals: Arrivals,
    backlog: Backlog,
    /// Since when the next frame of speech is here, whole.
    complete_at: Instant,
    voice: Voice,
    /// The noise behind the caller.
    room: NoiseFloor,
    turns: Turns,
    /// The last packet sent was speech, so the next needs no marker.
    talking: bool,
    speech_ended_at: Option<Instant>,
    heard_agent: bool,
    heard_caller: bool,
    reports: ReportClock,

    tally: Report,
}

enum Agent {
    Connecting,
    Open,
    /// The connection is gone, its last words are being played.
    Draining {
        code: Option<u16>,
        until: Instant,
    },
    Closed,
}

impl Media {
    pub fn new(now: Instant, plan: Plan, random: &mut dyn Random) -> Self {
        let (sender, receiver) = match &plan.crypto {
            Some((local, remote)) => {
                (Some(srtp::Sender::new(local)), Some(srtp::Receiver::new(remote)))
            }
            None => (None, None),
        };
        let frame = plan.packet_time.clamp(play::MIN_FRAME, play::MAX_FRAME);
        let phase = phase(&plan.call_id, frame);
        let stream = Stream::new(plan.dialect, &plan.start);
        let voice = Voice::new(stream.format(), plan.codec, frame, random.u64());
        let limit = voice.bytes(plan.playout_limit);
        let ticks_per_ms = plan.codec.clock_rate_hz() / 1000;
        Self {
            codec: plan.codec,
            payload_type: plan.payload_type,
            telephone_event: plan.telephone_event,
            rtcp_mux: plan.rtcp_mux,
            sources: plan.sources,
            behind_load_balancer: plan.behind_load_balancer,
            direction: plan.direction,
            inactivity: plan.inactivity,
            idle_audio: plan.idle_audio,
            cname: plan.cname,
            rtp: Latch::new(plan.remote_rtp),
            rtcp: Latch::new(plan.remote_rtcp),
            answered: None,
            established: false,
            stopped: false,
            hear_first: None,
            hear_reports_first: None,
            receiver,
            received: ReceiverStats::new(plan.codec.clock_rate_hz()),
            reorder: Reorder::new(REORDER_HOLD),
            bursts: Bursts::default(),
            digits_in: DigitsIn::new(plan.listen_for_tones, plan.codec),
            source: None,
            heard_at: now,
            held_since: (plan.direction != Direction::SendRecv).then_some(now),
            inactive: false,
            watch: Watch::default(),
            refused_from: None,
            agent: Agent::Connecting,
            stream,
            feed: None,
            sender,
            sent: SenderStats::new(),
            metrics: None,
            ssrc: Ssrc(random.u32()),
            // Far from the wrap, so that a lost first packet cannot confuse the peer's rollover
            // counter (RFC 3711 §3.3.1).
            sequence_number: SequenceNumber(random.u32() as u16 & 0x7fff),
            first_timestamp: random.u32(),
            frame,
            // 60 ms at most.
            frame_ticks: frame.as_millis() as u32 * ticks_per_ms,
            phase,
            playout: Playout::new(limit, plan.playout_budget),
            digits_out: DigitsOut::default(),
            playing: false,
            clock: Clock::new(now, frame, phase),
            pace: Pace::Parked,
            arrivals: Arrivals::default(),
            backlog: Backlog::default(),
            complete_at: now,
            voice,
            room: NoiseFloor::new(DEFAULT_LEVEL),
            turns: Turns::new(DEFAULT_LEVEL),
            talking: false,
            speech_ended_at: None,
            heard_agent: false,
            heard_caller: false,
            reports: ReportClock::new(now, random.u64()),
            tally: Report::default(),
        }
    }

    /// The agent accepted the connection: the dialect's opening is written, then
    /// [`Event::AgentReady`].
    pub fn handle_agent_open(&mut self, now: Instant, sink: &mut impl Sink) {
        if self.stopped || !matches!(self.agent, Agent::Connecting) {
            return;
        }
        while let Some(message) = self.stream.opening() {
            sink.send_agent(message);
        }
        self.agent = Agent::Open;
        sink.event(Event::AgentReady);
        self.start_feed(now);
    }

    /// The agent could not be reached.
    pub fn handle_agent_failed(
        &mut self,
        _now: Instant,
        reason: AgentFailure,
        sink: &mut impl Sink,
    ) {
        if !self.stopped && matches!(self.agent, Agent::Connecting) {
            self.agent = Agent::Closed;
            sink.event(Event::AgentFailed { reason });
        }
    }

    /// Another agent takes over from one that failed or closed: its connection is being opened.
    /// What the first one had said and was not played is forgotten.
    pub fn replace_agent(&mut self, dialect: Dialect, start: &StartInfo) {
        if self.stopped || !matches!(self.agent, Agent::Closed) {
            return;
        }
        self.forget_speech();
        while self.playout.pop_mark().is_some() {}
        self.stream = Stream::new(dialect, start);
        self.voice.change_format(self.stream.format());
        self.agent = Agent::Connecting;
    }

    /// One text message of the agent.
    pub fn handle_agent_message(&mut self, now: Instant, text: &[u8], sink: &mut impl Sink) {
        if self.stopped || !matches!(self.agent, Agent::Open) {
            return;
        }
        match self.stream.parse(text) {
            Incoming::Audio(payload) => {
                let (mut came, mut dropped) = (0, 0);
                let was_complete = self.playout.len() >= self.voice.frame_bytes();
                let decoded = payload.decode(|audio| {
                    came += audio.len();
                    dropped += self.playout.push(audio);
                });
                if decoded.is_err() {
                    self.stream.count_malformed();
                }
                self.tally.agent_audio_ms += self.voice.samples(came); // until the report
                self.tally.dropped_ms += self.voice.samples(dropped);
                if !was_complete {
                    self.complete_at = now;
                }
                self.play(now, sink);
            }
            Incoming::Mark(name) => {
                if !self.playout.push_mark(&name) {
                    self.tally.marks_dropped += 1;
                }
                self.answer_marks(sink);
            }
            Incoming::Clear => {
                self.tally.clears += 1;
                let fades = self.interrupt_speech();
                self.hear_interruption(now, fades, sink);
                self.answer_all_marks(sink);
            }
            Incoming::Ignored => {}
        }
    }

    /// The agent's connection is gone; `None` when it broke without a closing handshake. After a
    /// normal close its last words are played, without the silence behind them and not for longer
    /// than five seconds, before [`Event::AgentClosed`].
    pub fn handle_agent_closed(&mut self, now: Instant, code: Option<u16>, sink: &mut impl Sink) {
        if self.stopped {
            return;
        }
        match self.agent {
            Agent::Connecting => {
                self.handle_agent_failed(now, AgentFailure::Closed, sink);
                return;
            }
            Agent::Open => {}
            Agent::Draining { .. } | Agent::Closed => return,
        }
        self.end_feed();
        if code.is_some_and(|code| CLOSED_NORMALLY.contains(&code)) {
            let (keep, format) = (self.voice.bytes(LAST_WORDS), self.voice.format());
            let width = format.bytes_per_sample();
            self.playout.cut_tail(keep, width, |sample| format.is_silent(sample));
        } else {
            self.forget_speech();
        }
        if self.playout.is_empty() {
            self.agent = Agent::Closed;
            sink.event(Event::AgentClosed { code });
        } else {
            self.agent = Agent::Draining { code, until: now + LAST_WORDS + self.frame };
            self.play(now, sink);
        }
    }

    pub fn handle_command(&mut self, now: Instant, command: Command, sink: &mut impl Sink) {
        if self.stopped {
            return;
        }
        match command {
            Command::Answered => {
                if self.answered.is_none() {
                    self.answered = Some(now);
                    self.heard_at = now;
                    self.held_since = self.held_since.map(|_| now);
                    self.start_feed(now);
                }
            }
            Command::Established => {
                if !self.established {
                    self.established = true;
                    self.reports.start(now);
                    self.listen_for_caller(now);
                    self.wait_to_hear(now);
                    self.start_playing(now, sink);
                }
            }
            Command::Direction(direction) => self.turn(now, direction, sink),
            Command::Retarget { rtp, rtcp } => {
                let moved = self.rtp.retarget(now, rtp);
                self.rtcp.retarget(now, rtcp);
                if moved && self.established {
                    self.wait_to_hear(now);
                    self.listen_for_caller(now);
                }
            }
            Command::Digit(digit) => self.hear_digit(now, digit, Way::Info, sink),
            Command::SendDigits { digits, as_tones } => {
                self.digits_out.push(digits, as_tones);
                self.play(now, sink);
            }
            Command::Stop => self.stop(now, sink),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant, sink: &mut impl Sink) {
        if self.stopped {
            return;
        }
        if self.hear_first.is_some_and(|until| until <= now) {
            self.tally.sent_before_heard = true;
            self.stop_waiting(now, sink);
        }
        self.drain_reorder(now, sink);
        self.stand_in(now, sink);
        self.play(now, sink);
        if let Agent::Draining { until, .. } = self.agent
            && until <= now
        {
            self.forget_speech();
            self.finish_draining(sink);
        }
        self.report_when_due(now, sink);
        self.miss_caller(now, sink);
        if self.inactive_at().is_some_and(|at| at <= now) {
            self.inactive = true;
            sink.event(Event::CarrierInactive);
        }
    }

    /// `None` when only input can move the machine. Always later than the `now` of the last
    /// [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        let draining = match self.agent {
            Agent::Draining { until, .. } => Some(until),
            _ => None,
        };
        [
            self.play_at(),
            self.feed.as_ref().map(Feed::poll_timeout),
            self.reorder.poll_timeout(),
            self.report_at(),
            self.inactive_at(),
            self.watch.poll_timeout(),
            self.hear_first,
            draining,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn start_feed(&mut self, now: Instant) {
        if self.answered.is_some() && matches!(self.agent, Agent::Open) && self.feed.is_none() {
            let (to, frame_samples) = (self.stream.format(), self.stream.frame_samples());
            self.feed = Some(Feed::new(now, self.codec, to, frame_samples));
        }
    }

    fn end_feed(&mut self) {
        if let Some(feed) = self.feed.take() {
            self.tally.filled_ms += feed.filled().as_millis() as u64;
            self.tally.gaps += feed.gaps();
        }
    }

    fn wait_to_hear(&mut self, now: Instant) {
        let until = |latch: &Latch| {
            let waits = self.behind_load_balancer && latch.latched().is_none();
            waits.then(|| now + HEAR_FIRST)
        };
        let (rtp, rtcp) = (until(&self.rtp), until(&self.rtcp));
        self.hear_first = rtp;
        self.hear_reports_first = rtcp.filter(|_| !self.rtcp_mux);
        if self.hear_first.is_some() {
            self.park();
        }
    }

    /// The carrier was heard, or will not be waited for any longer: what was said meanwhile follows.
    fn stop_waiting(&mut self, now: Instant, sink: &mut impl Sink) {
        self.hear_first = None;
        self.start_playing(now, sink);
        self.play(now, sink);
    }

    /// Whether a packet may leave now.
    fn may_send(&self) -> bool {
        self.established && self.hear_first.is_none()
    }

    /// The carrier holds or resumes.
    fn turn(&mut self, now: Instant, direction: Direction, sink: &mut impl Sink) {
        self.direction = direction;
        if direction == Direction::SendRecv {
            if let Some(since) = self.held_since.take() {
                let held = now.saturating_duration_since(since);
                self.heard_at = (self.heard_at + held).min(now);
            }
        } else if self.held_since.is_none() {
            self.held_since = Some(now);
        }
        self.listen_for_caller(now);
        self.start_playing(now, sink);
        self.play(now, sink);
    }

    /// When the carrier counts as gone.
    fn inactive_at(&self) -> Option<Instant> {
        let counts = self.answered.is_some() && self.held_since.is_none() && !self.inactive;
        counts.then(|| self.heard_at + self.inactivity)
    }

    fn stop(&mut self, now: Instant, sink: &mut impl Sink) {
        if matches!(self.agent, Agent::Open)
            && let Some(message) = self.stream.stop()
        {
            sink.send_agent(message);
        }
        if matches!(self.agent, Agent::Open | Agent::Connecting) {
            sink.close_agent();
        }
        self.agent = Agent::Closed;
        self.send_bye(now, sink);
        self.end_feed();
        let report = self.report();
        self.playout.clear();
        self.stopped = true;
        sink.event(Event::Stopped(Box::new(report)));
    }
}

/// Where in a frame's time a call's clock ticks: spread by its id, so that calls which begin
/// together do not fall into one instant (FNV-1a).
fn phase(call_id: &str, frame: Duration) -> Duration {
    let hash = call_id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The low bits of FNV-1a of short ids differ least; mix the high ones in.
    let mixed = hash ^ (hash >> 32);
    let frame_us = u64::try_from(frame.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(mixed % frame_us)
}
