//! The caller's audio on its way to the agent: one stream without holes, in frames of the dialect's
//! length, whatever the carrier's packets look like.
//!
//! A packet is passed on when it comes. What is missing before it, by its timestamp, is filled with
//! silence first; when nothing comes at all, silence flows at the pace of speech, so that the
//! agent's clock goes on. If packets come after all that silence has stood in for, they are still
//! passed on, and the surplus is taken back from the next hole.

use std::time::{Duration, Instant};

use crate::audio::format::Format;
use crate::audio::transcode::Transcoder;
use crate::media::Codec;

/// How long the carrier may be quiet before silence stands in. Longer than jitter usually is,
/// shorter than any agent's patience.
const STALL: Duration = Duration::from_millis(100);
/// A hole this much longer than the time that passed is not a hole: the timestamps jumped.
const TOLERANCE: Duration = Duration::from_millis(300);
/// The longest frame of any dialect, in bytes: 20 ms of 16 bits at 48 kHz.
const MAX_FRAME_BYTES: usize = 1920;
/// In what time is counted here, whatever either side's clock. All others are multiples.
const RATE_HZ: u32 = 8000;

pub(super) struct Feed {
    /// From how the caller's audio is coded to how the agent wants it.
    transcoder: Transcoder,
    framer: Framer,
    /// Steps of the carrier's RTP clock for each of our samples.
    ticks_per_sample: u32,
    /// The timestamp that continues the stream; `None` before the first packet of a source.
    expected: Option<u32>,
    /// When the last packet came, and how much silence has stood in since.
    last_audio: Instant,
    stood_in: u64,
    /// When silence stands in next.
    fill_at: Instant,
    /// Silence that stood in for audio which came after all, in samples.
    surplus: u64,
    /// Silence put in, less what turned out too much, in samples.
    filled_samples: u64,
}

impl Feed {
    /// A stream that begins now. `frame_samples`: at most 20 ms, in samples of `to`.
    pub(super) fn new(now: Instant, from: Codec, to: Format, frame_samples: usize) -> Self {
        Self {
            transcoder: Transcoder::to_agent(from, to),
            framer: Framer::new(to, frame_samples),
            ticks_per_sample: (from.clock_rate_hz() / RATE_HZ).max(1),
            expected: None,
            last_audio: now,
            stood_in: 0,
            fill_at: now + STALL,
            surplus: 0,
            filled_samples: 0,
        }
    }

    /// One packet's audio, in its turn. `give` gets whole frames with the time since the stream
    /// began. False when the packet could not be decoded.
    pub(super) fn push(
        &mut self,
        now: Instant,
        timestamp: u32,
        payload: &[u8],
        mut give: impl FnMut(Duration, &[u8]),
    ) -> bool {
        if payload.is_empty() {
            return true;
        }
        let hole = self.hole_before(now, timestamp);
        let recovered = self.recover(hole, payload, &mut give);
        self.fill(hole.saturating_sub(recovered), &mut give);
        let mut came = 0;
        self.transcoder.transcode(payload, |bytes| came += self.framer.append(bytes, &mut give));
        // A payload is shorter than a datagram, so its length fits.
        self.expected = Some(timestamp.wrapping_add(came as u32 * self.ticks_per_sample));
        self.last_audio = now;
        self.stood_in = 0;
        self.fill_at = now + STALL + duration(self.surplus);
        came > 0
    }

    /// What a packet brings of the one before it that was lost, in samples.
    fn recover(
        &mut self,
        hole: u64,
        payload: &[u8],
        give: &mut impl FnMut(Duration, &[u8]),
    ) -> u64 {
        let mut came = 0;
        if hole > 0 && hole.is_multiple_of(8) {
            // Holes that are believed are far shorter than an hour.
            let missing_ms = (hole / 8) as usize;
            let append = |bytes: &[u8]| came += self.framer.append(bytes, give);
            self.transcoder.recover(missing_ms, payload, append);
        }
        came
    }

    /// How many samples are missing before a packet.
    fn hole_before(&mut self, now: Instant, timestamp: u32) -> u64 {
        let Some(expected) = self.expected else { return 0 };
        let ahead = timestamp.wrapping_sub(expected).cast_signed() / self.ticks_per_sample as i32;
        if ahead <= 0 {
            // Silence stood in for this very audio, or the timestamps jumped back.
            let doubled = u64::from(ahead.unsigned_abs());
            if doubled <= self.stood_in {
                self.surplus += doubled;
            }
            return 0;
        }
        let hole = u64::from(ahead.unsigned_abs());
        let passed = now.saturating_duration_since(self.last_audio) + TOLERANCE;
        if duration(hole + self.stood_in) > passed {
            return 0;
        }
        let taken_back = hole.min(self.surplus);
        self.surplus -= taken_back;
        hole - taken_back
    }

    /// The source changed: its timestamps have nothing to do with the last one's.
    pub(super) fn resync(&mut self) {
        self.expected = None;
    }

    /// When silence stands in for a caller who sends nothing.
    pub(super) fn poll_timeout(&self) -> Instant {
        self.fill_at
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, mut give: impl FnMut(Duration, &[u8])) {
        if now < self.fill_at {
            return;
        }
        let count = self.framer.missing();
        self.fill(count, &mut give);
        self.stood_in += count;
        let ticks = self.ticks_per_sample;
        self.expected = self.expected.map(|expected| expected.wrapping_add(count as u32 * ticks));
        // Turns that were missed are left out: a stream that goes on fills them by its timestamps.
        let frame = duration(self.framer.frame_samples());
        while self.fill_at <= now {
            self.fill_at += frame;
        }
    }

    /// Silence put in so far.
    pub(super) fn filled(&self) -> Duration {
        duration(self.filled_samples)
    }

    fn fill(&mut self, samples: u64, give: &mut impl FnMut(Duration, &[u8])) {
        self.filled_samples += samples;
        self.framer.fill(samples, give);
    }
}

/// Cuts the stream into frames. Times and counts are in samples of 8 kHz.
struct Framer {
    bytes_per_sample: usize,
    silence: u8,
    /// In bytes.
    frame_len: usize,
    /// The start of a frame that is not full yet.
    partial: [u8; MAX_FRAME_BYTES],
    filled: usize,
    /// Frames given to the agent.
    frames: u64,
}

impl Framer {
    fn new(format: Format, frame_samples: usize) -> Self {
        let bytes_per_sample = format.bytes_per_ms() / 8;
        let wanted = frame_samples.saturating_mul(format.bytes_per_sample());
        let most = MAX_FRAME_BYTES / bytes_per_sample;
        Self {
            bytes_per_sample,
            silence: format.silence_byte(),
            frame_len: (wanted / bytes_per_sample).clamp(1, most) * bytes_per_sample,
            partial: [0; MAX_FRAME_BYTES],
            filled: 0,
            frames: 0,
        }
    }

    /// Returns how many samples that were.
    fn append(&mut self, bytes: &[u8], give: &mut impl FnMut(Duration, &[u8])) -> u64 {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.filled == 0 && rest.len() >= self.frame_len {
                let (frame, later) = rest.split_at(self.frame_len);
                give(self.elapsed(), frame);
                self.frames += 1;
                rest = later;
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(self.frame_len - self.filled));
            self.partial[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            rest = later;
            self.give_full(give);
        }
        (bytes.len() / self.bytes_per_sample) as u64
    }

    fn fill(&mut self, samples: u64, give: &mut impl FnMut(Duration, &[u8])) {
        let mut rest = samples;
        while rest > 0 {
            let count = rest.min(self.missing().max(1));
            let end = self.frame_len.min(self.filled + count as usize * self.bytes_per_sample);
            self.partial[self.filled..end].fill(self.silence);
            self.filled = end;
            rest -= count;
            self.give_full(give);
        }
    }

    /// What the frame that is given next is short of.
    fn missing(&self) -> u64 {
        ((self.frame_len - self.filled) / self.bytes_per_sample) as u64
    }

    fn frame_samples(&self) -> u64 {
        (self.frame_len / self.bytes_per_sample) as u64
    }

    fn give_full(&mut self, give: &mut impl FnMut(Duration, &[u8])) {
        if self.filled == self.frame_len {
            give(self.elapsed(), &self.partial[..self.frame_len]);
            self.filled = 0;
            self.frames += 1;
        }
    }

    /// The stream's own time at the start of the frame that is given next.
    fn elapsed(&self) -> Duration {
        duration(self.frames * self.frame_samples())
    }
}

fn duration(samples: u64) -> Duration {
    Duration::from_micros(samples * (1_000_000 / u64::from(RATE_HZ)))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
mod tests {
    use super::*;
    use crate::audio::g711;

    const FRAME: usize = 160;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// What the agent was given: time in ms, first byte, for each frame.
    #[derive(Default)]
    struct Given(Vec<(u128, Vec<u8>)>);

    impl Given {
        fn take(&mut self) -> impl FnMut(Duration, &[u8]) {
            |at, frame| self.0.push((at.as_millis(), frame.to_vec()))
        }

        fn brief(&self) -> Vec<(u128, u8)> {
            assert!(self.0.iter().all(|(_, frame)| frame.len() == FRAME));
            self.0.iter().map(|(at, frame)| (*at, frame[0])).collect()
        }
    }

    fn feed(start: Instant) -> Feed {
        Feed::new(start, Codec::Pcmu, Format::PCMU, FRAME)
    }

    #[test]
    fn packets_in_order_pass_at_once_and_untouched() {
        let (start, mut given) = (Instant::now(), Given::default());
        let mut feed = feed(start);
        for n in 0..3_u32 {
            feed.push(start + ms(20), 5000 + n * 160, &[n as u8; FRAME], given.take());
        }
        assert_eq!(given.brief(), [(0, 0), (20, 1), (40, 2)]);
    }

    #[test]
    fn a_lost_packet_becomes_silence_before_the_next() {
        let (start, mut given) = (Instant::now(), Given::default());
        let mut feed = feed(start);
        feed.push(start, 0, &[1; FRAME], given.take());
        feed.push(start + ms(60), 480, &[4; FRAME], given.take());
        assert_eq!(given.brief(), [(0, 1), (20, 0xff), (40, 0xff), (60, 4)]);
        assert_eq!(feed.filled(), ms(40));
    }

    #[test]
    fn packets_of_any_length_become_frames_of_20_ms() {
        for len in [80_usize, 240, 320, 480, 100] {
            let (start, mut given) = (Instant::now(), Given::default());
            let mut feed = feed(start);
            let mut sent = Vec::new();
            for n in 0..12_usize {
                let payload: Vec<u8> = (n * len..(n + 1) * len).map(|n| (n % 200) as u8).collect();
                let at = start + ms((n * len / 8) as u64);
                feed.push(at, (n * len) as u32, &payload, given.take());
                sent.extend(payload);
            }
            let got: Vec<u8> = given.0.iter().flat_map(|(_, frame)| frame.clone()).collect();
            assert_eq!(got, sent[..got.len()], "packets of {len} bytes");
            assert!(sent.len() - got.len() < FRAME);
            assert!(given.0.iter().enumerate().all(|(n, (at, _))| *at == 20 * n as u128));
        }
    }

    #[test]
    fn when_the_carrier_stops_silence_flows_every_20_ms_and_fills_a_partial_frame_first() {
        let (start, mut given) = (Instant::now(), Given::default());
        let mut feed = feed(start);
        feed.push(start, 0, &[1; 240], given.take());
        let mut now = start;
        while feed.poll_timeout() <= start + ms(1000) {
            now = feed.poll_timeout();
            feed.handle_timeout(now, given.take());
        }
        assert_eq!(now, start + ms(1000));
        assert_eq!(given.0.len(), 1 + 46);
        assert_eq!(given.0[1].1[..80], [1; 80]);
        assert_eq!(given.0[1].1[80..], [0xff; 80]);
    }

    #[test]
    fn after_a_pause_the_stream_is_as_long_as_the_time_that_passed() {
        let (start, mut given) = (Instant::now(), Given::default());
        let mut feed = feed(start);
        feed.push(start, 0, &[1; FRAME], given.take());
        while feed.poll_timeout() < start + ms(2000) {
            feed.handle_timeout(feed.poll_timeout(), given.take());
        }
        feed.push(start + ms(2000), 16000, &[2; FRAME], given.take());
        assert_eq!(given.brief().last(), Some(&(2000, 2)));
    }

    #[test]
    fn audio_that_comes_after_silence_stood_in_is_kept_and_the_surplus_taken_back() {
        let (start, mut given) = (Instant::now(), Given::default());
        let mut feed = feed(start);
        feed.push(start, 0, &[1; FRAME], given.take());
        while feed.poll_timeout() <= start + ms(160) {
            feed.handle_timeout(feed.poll_timeout(), given.take()); // at 100, 120, 140, 160
        }
        assert_eq!(given.0.len(), 5);
        for n in 1..9_u32 {
            feed.push(start + ms(165), n * 160, &[2; FRAME], given.take());
        }
        assert_eq!(given.brief().iter().filter(|(_, first)| *first == 2).count(), 8);
        // 80 ms too long by now; a hole of 100 ms takes it back.
        feed.push(start + ms(280), 14 * 160, &[3; FRAME], given.take());
        assert_eq!(given.brief().last(), Some(&(14 * 20, 3)));
    }

    #[test]
    fn a_jump_of_the_timestamps_is_no_hole() {
        let (start, mut given) = (Instant::now(), Given::default());
        let mut feed = feed(start);
        feed.push(start, 0, &[1; FRAME], given.take());
        feed.push(start + ms(20), 900_000, &[2; FRAME], given.take());
        feed.push(start + ms(40), 40, &[3; FRAME], given.take());
        feed.resync();
        feed.push(start + ms(60), 77, &[4; FRAME], given.take());
        assert_eq!(given.brief(), [(0, 1), (20, 2), (40, 3), (60, 4)]);
    }

    #[test]
    fn the_other_law_is_converted() {
        let (start, mut given) = (Instant::now(), Given::default());
        let mut feed = Feed::new(start, Codec::Pcma, Format::PCMU, FRAME);
        feed.push(start, 0, &[0xd5; FRAME], given.take());
        feed.push(start + ms(40), 320, &[0x2a; FRAME], given.take());
        let firsts: Vec<u8> = given.brief().iter().map(|(_, first)| *first).collect();
        assert_eq!(firsts[1..], [0xff, g711::linear_to_ulaw(g711::alaw_to_linear(0x2a))]);
        assert!(g711::ulaw_to_linear(firsts[0]).abs() <= 8);
    }
}
