//! The caller's keys, by whichever way they are told: events among the RTP (RFC 4733), SIP INFO, or
//! the tones themselves.
//!
//! One press may be told by two ways. It counts when the first tells it; a second way that tells the
//! same key within a second of the last that was heard of it tells the same press. Each way tells a
//! press once, so two presses of a key remain two, however many ways tell of them.

use std::time::{Duration, Instant};

use super::{Event, Media, Sink};
use crate::audio::dtmf;
use crate::audio::format::{Format, Rate};
use crate::audio::transcode::Transcoder;
use crate::media::{Codec, Digit};
use crate::rtp::{Header, telephone_event};

/// INFO comes up to a round trip and the delay of two servers after the key.
const SAME_PRESS: Duration = Duration::from_secs(1);
/// How many presses may be under way to being told once more.
const PRESSES: usize = 8;
/// A hole in the audio of up to so many samples is a lost packet; in a longer one a key ends.
const LOST_SAMPLES: i32 = 320;
/// How much audio is heard at a time.
const PIECE_SAMPLES: usize = 160;
/// What tones are looked for in.
const LISTENS: Format = Format::Linear(Rate::Hz8000);

/// How a key was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Event,
    Info,
    Tone,
}

/// See the module.
pub(super) struct DigitsIn {
    events: telephone_event::Receiver,
    // Boxed, for few calls have it and it is a kilobyte.
    tones: Option<Box<Tones>>,
    /// A ring.
    presses: [Option<Press>; PRESSES],
    oldest: usize,
}

/// What listens for tones.
struct Tones {
    transcoder: Transcoder,
    /// Steps of the RTP clock for each sample of 8 kHz.
    ticks_per_sample: u32,
    detector: dtmf::Detector,
    /// The timestamp that continues the audio.
    expected: Option<u32>,
}

/// A key that counted.
#[derive(Clone, Copy)]
struct Press {
    digit: Digit,
    heard_at: Instant,
    /// Which ways have told it.
    ways: [bool; 3],
}

impl DigitsIn {
    pub(super) fn new(listen: bool, codec: Codec) -> Self {
        let tones = || {
            Box::new(Tones {
                transcoder: Transcoder::to_agent(codec, LISTENS),
                ticks_per_sample: codec.clock_rate_hz() / LISTENS.rate().hz(),
                detector: dtmf::Detector::new(),
                expected: None,
            })
        };
        Self {
            events: telephone_event::Receiver::new(),
            tones: listen.then(tones),
            presses: [None; PRESSES],
            oldest: 0,
        }
    }

    /// The audio comes from another source from now on.
    pub(super) fn resync(&mut self) {
        if let Some(tones) = &mut self.tones {
            tones.detector.interrupt();
            tones.expected = None;
        }
    }

    /// Whether a key that was told is a press of its own.
    fn counts(&mut self, now: Instant, digit: Digit, way: Way) -> bool {
        let told = self.presses.iter_mut().flatten().filter(|press| {
            let recent = now.saturating_duration_since(press.heard_at) < SAME_PRESS;
            press.digit == digit && recent && !press.ways[way as usize]
        });
        // The oldest of several, for every way tells presses in their order.
        if let Some(press) = told.min_by_key(|press| press.heard_at) {
            press.ways[way as usize] = true;
            return false;
        }
        let mut ways = [false; 3];
        ways[way as usize] = true;
        self.presses[self.oldest] = Some(Press { digit, heard_at: now, ways });
        self.oldest = (self.oldest + 1) % PRESSES;
        true
    }

    /// A key is still held: who tells of it at the end has a second from then.
    fn goes_on(&mut self, now: Instant, digit: Digit, way: Way) {
        let told = self.presses.iter_mut().flatten();
        let told = told.filter(|press| press.digit == digit && press.ways[way as usize]);
        if let Some(press) = told.max_by_key(|press| press.heard_at) {
            press.heard_at = now;
        }
    }
}

impl Media {
    /// A packet of telephone-event, in its turn.
    pub(super) fn hear_event(
        &mut self,
        now: Instant,
        header: &Header,
        payload: &[u8],
        sink: &mut impl Sink,
    ) {
        let events = &mut self.digits_in.events;
        let heard = events.feed(header.ssrc, header.timestamp, header.marker, payload);
        match heard {
            Some(heard) if heard.begins => self.hear_digit(now, heard.digit, Way::Event, sink),
            Some(heard) => self.digits_in.goes_on(now, heard.digit, Way::Event),
            None => {}
        }
    }

    /// Listens to a packet of audio for tones, where the plan asks for it.
    pub(super) fn hear_tones(
        &mut self,
        now: Instant,
        timestamp: u32,
        payload: &[u8],
        sink: &mut impl Sink,
    ) {
        let Some(tones) = &mut self.digits_in.tones else { return };
        let hole = tones.expected.map_or(0, |at| timestamp.wrapping_sub(at).cast_signed());
        let hole = hole / tones.ticks_per_sample as i32;
        if !(0..=LOST_SAMPLES).contains(&hole) {
            tones.detector.interrupt();
        }
        // A key needs 40 ms, and the longest payload is 200.
        let (mut pressed, mut count) = ([None; PRESSES], 0);
        let (detector, mut came) = (&mut tones.detector, 0);
        tones.transcoder.transcode(payload, |bytes| {
            let mut samples = [0; PIECE_SAMPLES];
            let pairs = bytes.as_chunks::<2>().0;
            for (sample, pair) in samples.iter_mut().zip(pairs) {
                *sample = i16::from_le_bytes(*pair);
            }
            came += pairs.len() as u32;
            detector.feed(&samples[..pairs.len().min(PIECE_SAMPLES)], |digit| {
                if let Some(place) = pressed.get_mut(count) {
                    *place = Some(digit);
                    count += 1;
                }
            });
        });
        tones.expected = Some(timestamp.wrapping_add(came * tones.ticks_per_sample));
        let held = tones.detector.held();
        for digit in pressed.into_iter().flatten() {
            self.hear_digit(now, digit, Way::Tone, sink);
        }
        if let Some(digit) = held {
            self.digits_in.goes_on(now, digit, Way::Tone);
        }
    }

    /// A key was told by one of the ways.
    pub(super) fn hear_digit(
        &mut self,
        now: Instant,
        digit: Digit,
        way: Way,
        sink: &mut impl Sink,
    ) {
        if !self.digits_in.counts(now, digit, way) {
            return;
        }
        self.tally.digits += 1;
        if self.feed.is_some()
            && let Some(message) = self.stream.digit(digit.as_char())
        {
            sink.send_agent(message);
        }
        sink.event(Event::Digit(digit));
    }
}
