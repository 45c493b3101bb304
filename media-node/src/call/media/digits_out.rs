//! Keys that we press: as events (RFC 4733) where these were agreed on, else as tones.
//!
//! They leave by the call's own clock, a packet each turn, in place of speech and idle audio. Speech
//! waits meanwhile, whole; RTP time goes on with the turns as ever, so the packet after a key has the
//! timestamp that it would have had without.
//!
//! ```text
//! turns     s    s    |    |    |    |    |    |    |    |    s    s
//! events              M    ·    ·    ·    E    E    E    i            one timestamp, that of M
//!                     ◀──── the key is held ──▶◀─ the gap ─▶
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::play::{MAX_PACKET_BYTES, Pace};
use super::voice::MAX_PAYLOAD_BYTES;
use super::{Event, Media, Sink};
use crate::audio::dtmf;
use crate::media::{Digits, Step};
use crate::rtp::packet::HEADER_LEN_BYTES;
use crate::rtp::telephone_event::{self, Outgoing};

/// The turns after a key that the copies of its end take.
const ENDS: u64 = 2;
/// A key goes on when no more turns than these went by in it.
const FORGIVEN: u64 = 5;
/// The longest frame of a tone: 60 ms at 48 kHz.
const MAX_SAMPLES: usize = 2880;

/// Strings that wait to be sent, and how far the first of them is.
#[derive(Default)]
pub(super) struct DigitsOut {
    /// Each with whether it is to leave as tones.
    strings: VecDeque<(Digits, bool)>,
    step: usize,
    doing: Option<Doing>,
}

/// A key or pause that is under way.
struct Doing {
    what: What,
    /// How many turns it still takes, and the frame of the clock that has the next.
    left: u64,
    next: u64,
}

enum What {
    Event(telephone_event::Sender),
    Tone(dtmf::Tone),
    Pause,
}

impl DigitsOut {
    pub(super) fn push(&mut self, digits: Digits, as_tones: bool) {
        self.strings.push_back((digits, as_tones));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.strings.is_empty()
    }

    /// Turns went by, for the node was late or the line held.
    fn miss(&mut self, frame: u64) {
        let Some(doing) = &mut self.doing else { return };
        let missed = frame.saturating_sub(doing.next);
        match doing.what {
            What::Pause => doing.left = doing.left.saturating_sub(missed),
            // It was heard as far as it was told, and so long after is over for whoever heard it.
            What::Event(_) | What::Tone(_) if missed > FORGIVEN => doing.left = 0,
            What::Event(_) | What::Tone(_) => {}
        }
        if doing.left == 0 {
            self.end_step();
        }
    }

    fn end_step(&mut self) {
        self.doing = None;
        self.step += 1;
    }

    /// The first string is over: true once.
    fn finish(&mut self) -> bool {
        let over = self.doing.is_none()
            && self.strings.front().is_some_and(|(digits, _)| self.step >= digits.steps().len());
        if over {
            self.strings.pop_front();
            self.step = 0;
        }
        over
    }
}

impl Media {
    /// Whether the coming turns are those of keys.
    pub(super) fn presses_keys(&self) -> bool {
        !self.digits_out.is_empty() && self.direction.sends()
    }

    /// Speech makes way for keys, and gives back its lead: their first turn comes as it would have.
    pub(super) fn make_way(&mut self, now: Instant, sink: &mut impl Sink) {
        self.pace = Pace::Idle;
        self.clock.settle();
        if self.playout.is_empty() {
            self.speech_ended_at = Some(now);
            self.finish_draining(sink);
        }
    }

    /// One turn of a key, or of the pause behind it.
    pub(super) fn press_key(&mut self, sink: &mut impl Sink) {
        let frame = self.clock.next();
        self.talking = false;
        self.arrivals.pass_turn(self.frame);
        self.digits_out.miss(frame);
        if self.digits_out.doing.is_none() {
            self.begin_step(frame);
        }
        let Some(doing) = &mut self.digits_out.doing else {
            // The last step was skipped.
            self.rest(sink);
            return self.finish_digits(sink);
        };
        doing.next = frame + 1;
        doing.left = doing.left.saturating_sub(1);
        let over = doing.left == 0;
        match &mut doing.what {
            What::Event(sender) => {
                let mut turn = sender.turn().peekable();
                match turn.peek() {
                    Some(_) => turn.for_each(|packet| self.send_event(packet, sink)),
                    None => self.rest(sink),
                }
            }
            What::Tone(tone) => {
                let mut samples = [0; MAX_SAMPLES];
                let samples = &mut samples[..self.voice.tone_samples()];
                match tone.fill(samples) {
                    0 => self.rest(sink),
                    _ => self.send_samples(samples, sink),
                }
            }
            What::Pause => self.rest(sink),
        }
        if over {
            self.digits_out.end_step();
            self.finish_digits(sink);
        }
    }

    fn finish_digits(&mut self, sink: &mut impl Sink) {
        while self.digits_out.finish() {
            sink.event(Event::DigitsSent);
        }
    }

    /// The next key or pause begins with this frame.
    fn begin_step(&mut self, frame: u64) {
        let out = &self.digits_out;
        let Some((digits, as_tones)) = out.strings.front() else { return };
        let Some(step) = digits.steps().get(out.step) else { return };
        let turns = |span: Duration| {
            let turns = span.as_micros().div_ceil(self.frame.as_micros().max(1));
            u64::try_from(turns).unwrap_or(1).max(1)
        };
        let (what, turns) = match *step {
            Step::Pause(span) => (What::Pause, turns(span)),
            Step::Key(digit) => {
                let (held, gap) = (turns(digits.timing.tone()), turns(digits.timing.gap()));
                self.tally.digits_sent += 1;
                let what = if self.telephone_event.is_some() && !as_tones {
                    let ticks = u64::from(self.codec.clock_rate_hz())
                        * u64::try_from(self.frame.as_micros()).unwrap_or(0)
                        / 1_000_000;
                    let step = u16::try_from(ticks).unwrap_or(u16::MAX);
                    let length = u32::try_from(ticks * held).unwrap_or(u32::MAX);
                    let start = self.timestamp(frame);
                    What::Event(telephone_event::Sender::new(digit, start, step, length))
                } else {
                    let len = self.voice.tone_samples() * held as usize;
                    let rate_hz = self.voice.tone_rate().hz();
                    What::Tone(dtmf::Tone::new(digit, rate_hz, len, dtmf::Levels::default()))
                };
                (what, held + gap.max(ENDS))
            }
        };
        self.digits_out.doing = Some(Doing { what, left: turns, next: frame });
    }

    fn send_event(&mut self, event: Outgoing, sink: &mut impl Sink) {
        let Some(payload_type) = self.telephone_event else { return };
        let mut packet = [0; MAX_PACKET_BYTES];
        let len = event.payload.len();
        packet[HEADER_LEN_BYTES..HEADER_LEN_BYTES + len].copy_from_slice(&event.payload);
        self.send_packet(&mut packet, len, payload_type, event.marker, event.timestamp, sink);
    }

    fn send_samples(&mut self, samples: &[i16], sink: &mut impl Sink) {
        let mut packet = [0; MAX_PACKET_BYTES];
        let payload = &mut packet[HEADER_LEN_BYTES..][..MAX_PAYLOAD_BYTES];
        let payload_len = self.voice.tone(samples, payload);
        self.send_frame(&mut packet, payload_len, false, sink);
    }

    /// A turn between keys.
    fn rest(&mut self, sink: &mut impl Sink) {
        if !self.idles_quietly() {
            self.send_idle(sink);
        }
    }
}
