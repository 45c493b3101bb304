//! The agent's speech, or what stands for its silence, to the caller.

use std::time::{Duration, Instant};

use super::voice::MAX_PAYLOAD_BYTES;
use super::{Agent, Event, IdleAudio, Media, Sink};
use crate::rtp::Header;
use crate::rtp::packet::HEADER_LEN_BYTES;
use crate::rtp::srtp::MAX_RTP_OVERHEAD_BYTES;

pub(super) const MIN_FRAME: Duration = Duration::from_millis(10);
pub(super) const MAX_FRAME: Duration = Duration::from_millis(60);
/// The longest packet we send, between header and tag.
pub(super) const MAX_PACKET_BYTES: usize =
    HEADER_LEN_BYTES + MAX_PAYLOAD_BYTES + MAX_RTP_OVERHEAD_BYTES;
/// With so many frames queued an agent runs ahead on purpose, and nothing waits without need.
const AHEAD_FRAMES: usize = 4;
/// Nobody hears a gap that is longer or shorter by so much.
const STEP: Duration = Duration::from_millis(1);
/// After a longer pause an agent's frames no longer come when they would have.
const SAME_SPEECH: Duration = Duration::from_millis(200);
/// A pause of the agent that its record counts.
const SILENCE: Duration = Duration::from_secs(2);

/// How long an interrupted word takes to fade.
const FADE: Duration = Duration::from_millis(10);
/// 10 ms of 16 bits at 48 kHz.
const MAX_FADE_BYTES: usize = 960;

/// What the clock is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Speech, each frame ahead of its turn by the same lead.
    Speaking,
    /// Speech whose next frame is late, and is waited for.
    Waiting,
    /// Idle audio, each frame at its turn.
    Idle,
    /// Nothing at all leaves until there is speech.
    Parked,
}

impl Media {
    /// The clock starts at the first moment at which the caller could hear something.
    pub(super) fn start_playing(&mut self, now: Instant, sink: &mut impl Sink) {
        if self.playing || !self.may_send() || !self.direction.sends() {
            return;
        }
        self.playing = true;
        self.clock = super::Clock::new(now, self.frame, self.phase);
        self.pace = Pace::Idle;
        self.answer_marks(sink);
        self.play(now, sink);
    }

    /// Sends what is due at `now`; afterwards nothing is.
    pub(super) fn play(&mut self, now: Instant, sink: &mut impl Sink) {
        if !self.playing || self.hear_first.is_some() {
            return;
        }
        loop {
            if self.pace == Pace::Parked {
                let has_work = !self.playout.is_empty() || self.presses_keys();
                if !has_work && self.idles_quietly() {
                    return;
                }
                self.clock.skip_to(now);
                self.pace = Pace::Idle;
            }
            // Less than a frame waits for the next turn: more may come to fill it.
            let keys = self.presses_keys();
            if self.playout.len() >= self.voice.frame_bytes() && !keys {
                self.resume(now);
            }
            if self.clock.deadline() > now {
                return;
            }
            self.catch_up(now);
            if self.pace == Pace::Waiting {
                self.clock.settle(); // the frame that was waited for comes too late
            }
            if keys && matches!(self.pace, Pace::Speaking | Pace::Waiting) {
                self.make_way(now, sink);
                continue;
            } else if keys {
                self.press_key(sink);
            } else if !self.playout.is_empty() {
                self.speak(now, sink);
            } else if self.pace == Pace::Speaking && self.clock.wait(now) {
                self.pace = Pace::Waiting;
                continue;
            } else if matches!(self.pace, Pace::Speaking | Pace::Waiting) {
                self.pace = Pace::Idle;
                self.clock.settle();
                self.speech_ended_at = Some(now);
                self.finish_draining(sink);
                continue;
            } else if self.idles_quietly() {
                self.park();
                return;
            } else {
                self.idle(sink);
            }
            self.clock.advance();
        }
    }

    fn catch_up(&mut self, now: Instant) {
        let skipped = self.clock.catch_up(now);
        self.tally.skipped_frames += skipped;
        for _ in 0..skipped {
            self.arrivals.pass_turn(self.frame);
        }
        if skipped > 0 && matches!(self.pace, Pace::Speaking | Pace::Waiting) {
            self.backlog.miss(usize::try_from(skipped).unwrap_or(usize::MAX));
        }
    }

    /// There is a frame of speech to send: what a clock that was not speaking makes of it.
    fn resume(&mut self, now: Instant) {
        match self.pace {
            Pace::Idle => self.clock.pull(now),
            Pace::Waiting => {
                self.clock.forgive();
                self.pace = Pace::Speaking;
            }
            Pace::Speaking | Pace::Parked => {}
        }
    }

    pub(super) fn play_at(&self) -> Option<Instant> {
        let runs = self.playing && self.pace != Pace::Parked;
        runs.then(|| self.clock.deadline())
    }

    /// Nothing leaves from now on, until there is something to send and leave to send it.
    pub(super) fn park(&mut self) {
        self.pace = Pace::Parked;
        self.talking = false;
        self.arrivals.reset();
        self.backlog.reset();
    }

    fn muted(&self) -> bool {
        !self.direction.sends()
    }

    pub(super) fn idles_quietly(&self) -> bool {
        self.muted() || self.idle_audio == IdleAudio::None
    }

    /// One frame of speech, filled up with silence when it is the last and short.
    fn speak(&mut self, now: Instant, sink: &mut impl Sink) {
        let mut packet = [0; MAX_PACKET_BYTES];
        let payload = &mut packet[HEADER_LEN_BYTES..][..MAX_PAYLOAD_BYTES];
        let (spoken, payload_len) = self.voice.speech(&mut self.playout, payload);
        let frame_bytes = self.voice.frame_bytes();
        let complete_at = std::mem::replace(&mut self.complete_at, now); // until the next one comes
        if self.pace != Pace::Speaking {
            self.pace = Pace::Speaking;
            let goes_on = |ended_at| now.saturating_duration_since(ended_at) < SAME_SPEECH;
            if !self.speech_ended_at.is_some_and(goes_on) {
                self.arrivals.reset();
                self.backlog.reset();
            }
            self.count_silence(now);
        }
        if spoken == frame_bytes {
            let ahead = self.playout.len() >= AHEAD_FRAMES * frame_bytes;
            let early =
                if ahead { Ok(self.clock.lead()) } else { self.clock.earliness(complete_at) };
            self.arrivals.record(early);
            if let Some(lead) = self.arrivals.lead() {
                self.clock.approach(lead, STEP);
            }
        }
        if self.muted() {
            self.talking = false;
        } else {
            self.tally.played_ms += self.voice.samples(spoken);
            let marker = !self.talking;
            self.talking = true;
            self.follow_agent(now, &packet[HEADER_LEN_BYTES..][..payload_len], sink);
            self.send_frame(&mut packet, payload_len, marker, sink);
            if !self.heard_agent {
                self.heard_agent = true;
                self.tally.first_audio_delay_ms =
                    self.answered.map(|at| now.saturating_duration_since(at).as_millis() as u64);
                sink.event(Event::FirstAudioFromAgent);
            }
        }
        self.make_up_for_missed_turns();
        self.answer_marks(sink);
    }

    /// Leaves out speech of an agent in real time that would be late for ever.
    fn make_up_for_missed_turns(&mut self) {
        let frame_bytes = self.voice.frame_bytes();
        let late = self.backlog.look(self.playout.len() / frame_bytes);
        if late > 0 {
            let left_out = self.playout.skip(late * frame_bytes);
            self.tally.left_out_ms += self.voice.samples(left_out);
            self.arrivals.reset();
        }
    }

    fn count_silence(&mut self, now: Instant) {
        let Some(ended_at) = self.speech_ended_at.take() else { return };
        let pause = now.saturating_duration_since(ended_at);
        if pause >= SILENCE {
            self.tally.silences += 1;
            let pause_ms = pause.as_millis() as u64;
            self.tally.longest_silence_ms = self.tally.longest_silence_ms.max(pause_ms);
        }
    }

    /// One frame of what the caller hears while the agent is silent.
    fn idle(&mut self, sink: &mut impl Sink) {
        self.talking = false;
        self.arrivals.pass_turn(self.frame);
        if self.backlog.owes() {
            self.backlog.miss(1);
        }
        self.send_idle(sink);
    }

    pub(super) fn send_idle(&mut self, sink: &mut impl Sink) {
        let mut packet = [0; MAX_PACKET_BYTES];
        let payload = &mut packet[HEADER_LEN_BYTES..][..MAX_PAYLOAD_BYTES];
        let payload_len = self.voice.idle(self.idle_audio, payload);
        self.send_frame(&mut packet, payload_len, false, sink);
    }

    /// `packet` holds the frame of this turn, of so many bytes, behind room for the header.
    pub(super) fn send_frame(
        &mut self,
        packet: &mut [u8; MAX_PACKET_BYTES],
        payload_len: usize,
        marker: bool,
        sink: &mut impl Sink,
    ) {
        let timestamp = self.timestamp(self.clock.next());
        self.send_packet(packet, payload_len, self.payload_type, marker, timestamp, sink);
    }

    /// `packet` holds a payload of `payload_len` bytes behind room for the header.
    pub(super) fn send_packet(
        &mut self,
        packet: &mut [u8; MAX_PACKET_BYTES],
        payload_len: usize,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        sink: &mut impl Sink,
    ) {
        let sequence_number = self.sequence_number;
        let header = Header { payload_type, marker, sequence_number, timestamp, ssrc: self.ssrc };
        self.sequence_number = sequence_number.next();
        let mut len = header.write(packet) + payload_len;
        if let Some(sender) = &mut self.sender {
            // Only a key used up for 2^48 packets is refused here.
            let Ok(protected) = sender.protect_rtp(packet, len) else { return };
            len = protected;
        }
        self.sent.record(payload_len);
        sink.send_rtp(self.rtp.target(), &packet[..len]);
    }

    /// The RTP timestamp of a frame of the clock.
    pub(super) fn timestamp(&self, frame: u64) -> u32 {
        let ticks = frame.wrapping_mul(self.frame_ticks.into());
        self.first_timestamp.wrapping_add(ticks as u32)
    }

    /// The RTP clock at `now`.
    pub(super) fn timestamp_at(&self, now: Instant) -> u32 {
        let samples = self.clock.samples_at(now, self.codec.clock_rate_hz());
        self.first_timestamp.wrapping_add(samples)
    }

    /// What waits is forgotten; a word that was being spoken fades within 10 ms, for cut off it would
    /// click. Returns whether it does.
    pub(super) fn interrupt_speech(&mut self) -> bool {
        let mut fading = [0; MAX_FADE_BYTES];
        let len = if self.talking { self.voice.bytes(FADE).min(MAX_FADE_BYTES) } else { 0 };
        let len = self.playout.pop(&mut fading[..len]);
        self.forget_speech();
        let fading = &mut fading[..len];
        self.voice.format().fade_out(fading);
        self.playout.push(fading);
        len > 0
    }

    pub(super) fn forget_speech(&mut self) {
        let cleared = self.playout.clear();
        self.tally.cleared_ms += self.voice.samples(cleared);
        self.backlog.reset();
    }

    /// Answers the marks whose audio has left. Before the caller can hear anything they wait, even
    /// with nothing in front of them.
    pub(super) fn answer_marks(&mut self, sink: &mut impl Sink) {
        if self.playing {
            self.answer_all_marks(sink);
        }
    }

    pub(super) fn answer_all_marks(&mut self, sink: &mut impl Sink) {
        while let Some(name) = self.playout.pop_mark() {
            if matches!(self.agent, Agent::Open)
                && let Some(message) = self.stream.mark(&name)
            {
                self.tally.marks += 1;
                sink.send_agent(message);
            }
        }
    }

    /// The last words of an agent that left are over.
    pub(super) fn finish_draining(&mut self, sink: &mut impl Sink) {
        if let Agent::Draining { code, .. } = self.agent {
            self.agent = Agent::Closed;
            sink.event(Event::AgentClosed { code });
        }
    }
}
