//! The caller's audio on its way to the agent: one stream without holes, in frames of the dialect's
//! length, whatever the carrier's packets look like.
//!
//! A packet is passed on when it comes. What is missing before it, by its timestamp, is filled first:
//! with what the voice may have said, which fades to silence within 60 ms, or with noise where the
//! carrier said that it is all there is (RFC 3389). When nothing comes at all, silence flows at the pace
//! of speech, so that the agent's clock goes on. If packets come after all that silence has stood in
//! for, they are still passed on, and the surplus is taken back from the next hole.

use std::time::{Duration, Instant};

use crate::audio::comfort_noise::{ComfortNoise, DEFAULT_LEVEL};
use crate::audio::concealment::{Concealer, MAX_BLEND};
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
/// How much is concealed at a time, in samples: 20 ms.
const PIECE: usize = 160;
/// In what time is counted here, whatever either side's clock. All others are multiples.
const RATE_HZ: u32 = 8000;

pub(super) struct Feed {
    /// From how the caller's audio is coded to how the agent wants it.
    transcoder: Transcoder,
    framer: Framer,
    /// Makes up what is missing, where the carrier sends G.711.
    concealer: Option<Concealer>,
    noise: ComfortNoise,
    silence: u8,
    /// The carrier's last word was that there is only noise.
    only_noise: bool,
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
    /// What stood in, less what turned out too much, in samples.
    filled_samples: u64,
    /// How often something stood in.
    gaps: u64,
    in_gap: bool,
}

impl Feed {
    /// A stream that begins now. `frame_samples`: at most 20 ms, in samples of `to`.
    pub(super) fn new(now: Instant, from: Codec, to: Format, frame_samples: usize) -> Self {
        Self {
            transcoder: Transcoder::to_agent(from, to),
            framer: Framer::new(to, frame_samples),
            concealer: from.law().map(Concealer::new),
            noise: ComfortNoise::new(to, DEFAULT_LEVEL, 0),
            silence: to.silence_byte(),
            only_noise: false,
            ticks_per_sample: (from.clock_rate_hz() / RATE_HZ).max(1),
            expected: None,
            last_audio: now,
            stood_in: 0,
            fill_at: now + STALL,
            surplus: 0,
            filled_samples: 0,
            gaps: 0,
            in_gap: false,
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
        let came = self.append(payload, &mut give);
        self.only_noise = false;
        self.in_gap = false;
        // A payload is shorter than a datagram, so its length fits.
        self.expected = Some(timestamp.wrapping_add(came as u32 * self.ticks_per_sample));
        self.last_audio = now;
        self.stood_in = 0;
        self.fill_at = now + STALL + duration(self.surplus);
        came > 0
    }

    /// One packet's audio; behind a gap its beginning is blended with what was made up. Returns how
    /// many samples it was.
    fn append(&mut self, payload: &[u8], give: &mut impl FnMut(Duration, &[u8])) -> u64 {
        let (mut came, mut rest) = (0, payload);
        if let Some(concealer) = &mut self.concealer {
            if concealer.is_concealing() {
                let (first, later) = payload.split_at(payload.len().min(MAX_BLEND));
                let mut blended = [0; MAX_BLEND];
                let blended = &mut blended[..first.len()];
                blended.copy_from_slice(first);
                concealer.blend(blended);
                concealer.remember(blended);
                let append = |bytes: &[u8]| came += self.framer.append(bytes, give);
                self.transcoder.transcode(blended, append);
                rest = later;
            }
            concealer.remember(rest);
        }
        self.transcoder.transcode(rest, |bytes| came += self.framer.append(bytes, give));
        came
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

    /// How much has stood in so far for what did not come.
    pub(super) fn filled(&self) -> Duration {
        duration(self.filled_samples)
    }

    /// How often something stood in.
    pub(super) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// The carrier sends no audio for a while, and says how loud what would be heard is, in -dBov
    /// (RFC 3389 §3).
    pub(super) fn handle_comfort_noise(&mut self, level: u8) {
        self.noise.set_level(level);
        self.only_noise = true;
    }

    fn fill(&mut self, samples: u64, give: &mut impl FnMut(Duration, &[u8])) {
        if samples == 0 {
            return;
        }
        self.filled_samples += samples;
        self.gaps += u64::from(!self.in_gap);
        self.in_gap = true;
        match &mut self.concealer {
            _ if self.only_noise => {
                let noise = &mut self.noise;
                self.framer.fill(samples, give, |bytes| noise.fill(bytes));
            }
            Some(concealer) => {
                let mut rest = samples;
                let mut piece = [0; PIECE];
                while rest > 0 {
                    let made = &mut piece[..rest.min(PIECE as u64) as usize];
                    concealer.conceal(made);
                    self.transcoder.transcode(made, |bytes| {
                        self.framer.append(bytes, give);
                    });
                    rest -= made.len() as u64;
                }
            }
            None => {
                let silence = self.silence;
                self.framer.fill(samples, give, |bytes| bytes.fill(silence));
            }
        }
    }
}

/// Cuts the stream into frames. Times and counts are in samples of 8 kHz.
struct Framer {
    bytes_per_sample: usize,
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

    /// `make` writes what stands in.
    fn fill(
        &mut self,
        samples: u64,
        give: &mut impl FnMut(Duration, &[u8]),
        mut make: impl FnMut(&mut [u8]),
    ) {
        let mut rest = samples;
        while rest > 0 {
            let count = rest.min(self.missing().max(1));
            let end = self.frame_len.min(self.filled + count as usize * self.bytes_per_sample);
            make(&mut self.partial[self.filled..end]);
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

    /// What the agent was given: time in ms and bytes of each frame.
    #[derive(Default)]
    struct Given(Vec<(u128, Vec<u8>)>);

    impl Given {
        fn take(&mut self) -> impl FnMut(Duration, &[u8]) {
            |at, frame| self.0.push((at.as_millis(), frame.to_vec()))
        }

        fn brief(&self) -> Vec<(u128, u8)> {
            assert!(self.0.iter().all(|(_, frame)| frame.len() == FRAME));
            // The last byte: the first ones may be blended with what was made up before.
            self.0.iter().map(|(at, frame)| (*at, frame[FRAME - 1])).collect()
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
    fn lost_packets_are_concealed_before_the_next() {
        let (start, mut given) = (Instant::now(), Given::default());
        let mut feed = feed(start);
        feed.push(start, 0, &[1; FRAME], given.take());
        feed.push(start + ms(60), 480, &[4; FRAME], given.take());
        let [(0, 1), (20, first), (40, second), (60, 4)] = given.brief()[..] else {
            panic!("{:?}", given.brief())
        };
        let loud = |code| g711::ulaw_to_linear(code).abs();
        assert!(loud(1) > loud(first) && loud(first) > loud(second), "{first} {second}");
        assert_eq!((feed.filled(), feed.gaps()), (ms(40), 1));
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
        assert_ne!(given.0[1].1[80..], [0xff; 80], "the voice goes on");
        assert!(given.0[5..].iter().all(|(_, frame)| *frame == [0xff; FRAME]));
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
        assert_eq!(firsts[2..], [g711::linear_to_ulaw(g711::alaw_to_linear(0x2a))]);
        let quiet = |code| g711::ulaw_to_linear(code).abs() <= 8;
        assert!(firsts[..2].iter().all(|code| quiet(*code)), "{firsts:?}");
    }
}
