//! Digits as named events (RFC 4733).
//!
//! An event is told in many packets that carry the same RTP timestamp, its start, and a duration
//! that grows; the last is sent three times. [`Detector`] reports the first it sees, whichever that
//! is; [`Writer`] makes them.

#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use super::Malformed;

/// One of `0`–`9`, `*`, `#`, `A`–`D`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digit(char);

/// By event code (RFC 4733 §3.2).
const DIGITS: [char; 16] =
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

impl Digit {
    /// `None` for anything but a digit; lower-case `a`–`d` are taken.
    pub fn new(c: char) -> Option<Self> {
        let c = c.to_ascii_uppercase();
        DIGITS.contains(&c).then_some(Self(c))
    }

    /// Event codes 0 to 15 (RFC 4733 §3.2).
    pub fn from_event(code: u8) -> Option<Self> {
        DIGITS.get(usize::from(code)).copied().map(Self)
    }

    pub fn event(self) -> u8 {
        DIGITS.iter().position(|digit| *digit == self.0).unwrap_or_default() as u8
    }

    pub fn as_char(self) -> char {
        self.0
    }
}

/// The payload of a telephone-event packet (RFC 4733 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// 0 to 15 are DTMF.
    pub code: u8,
    pub end: bool,
    /// Power in -dBm0, 0 to 63.
    pub volume: u8,
    /// Since the event's timestamp, in ticks of the RTP clock.
    pub duration: u16,
}

impl Event {
    pub const LEN_BYTES: usize = 4;

    /// Reads the first event of a payload. Senders of DTMF put one in a packet; what may follow it
    /// (RFC 4733 §2.5.1.4) is left unread.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let [code, flags, d0, d1] =
            *payload.first_chunk().ok_or(Malformed::at("telephone-event", 0))?;
        Ok(Self {
            code,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([d0, d1]),
        })
    }

    pub fn write(&self) -> [u8; Self::LEN_BYTES] {
        let [d0, d1] = self.duration.to_be_bytes();
        [self.code, if self.end { 0x80 } else { 0 } | (self.volume & 0x3f), d0, d1]
    }
}

/// How many events back a packet is still known for one already reported.
const REMEMBERED: usize = 16;

/// Finds each digit once among the packets that repeat it, in whatever order and however many of
/// them come.
#[derive(Default)]
pub struct Detector {
    /// Timestamp and code of the last events, reported or part of one that was.
    known: [Option<(u32, u8)>; REMEMBERED],
    oldest: usize,
    current: Option<Current>,
}

/// The newest event.
struct Current {
    timestamp: u32,
    code: u8,
    duration: u16,
    ended: bool,
}

impl Detector {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one telephone-event packet; `Some` the first time its event is seen. Malformed
    /// payloads and events other than DTMF are passed over.
    pub fn feed(&mut self, timestamp: u32, marker: bool, payload: &[u8]) -> Option<Digit> {
        let event = Event::parse(payload).ok()?;
        let digit = Digit::from_event(event.code)?;
        let key = (timestamp, event.code);
        if self.known.contains(&Some(key)) {
            if let Some(current) = &mut self.current
                && (current.timestamp, current.code) == key
            {
                current.duration = current.duration.max(event.duration);
                current.ended |= event.end;
            }
            return None;
        }
        let continues = !marker
            && self.current.as_ref().is_some_and(|current| current.goes_on(timestamp, &event));
        if let Some(place) = self.known.get_mut(self.oldest) {
            *place = Some(key);
        }
        self.oldest = (self.oldest + 1) % REMEMBERED;
        self.current = Some(Current {
            timestamp,
            code: event.code,
            duration: event.duration,
            ended: event.end,
        });
        (!continues).then_some(digit)
    }
}

impl Current {
    /// Whether a packet with another timestamp is still about this event: the next segment of one
    /// too long for 16 bits of duration (RFC 4733 §2.5.1.3), or the work of a sender that moves the
    /// timestamp with every packet, the repeated ends too. The same key cannot be pressed anew
    /// before it is released.
    fn goes_on(&self, timestamp: u32, event: &Event) -> bool {
        let later = timestamp.wrapping_sub(self.timestamp);
        let duration = u32::from(self.duration);
        self.code == event.code
            && (!self.ended || event.end)
            && (later < duration
                || later == duration && event.duration > self.duration
                || later == u32::from(u16::MAX))
    }
}

/// One packet of a digit we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub payload: [u8; Event::LEN_BYTES],
    pub marker: bool,
    /// The event's own start, the same in all its packets.
    pub timestamp: u32,
    /// The digit is over after this packet.
    pub last: bool,
}

/// How often the end is told (RFC 4733 §2.5.1.4).
const ENDS: u8 = 3;
/// What a telephone's keys are heard with, in -dBm0.
const VOLUME: u8 = 10;

/// Makes the packets of one digit, one per packet time.
pub struct Writer {
    digit: Digit,
    timestamp: u32,
    step: u16,
    duration: u16,
    told: u16,
    ends: u8,
}

impl Writer {
    /// `timestamp`: RTP time of the start; `step`: ticks per packet (160 for 20 ms at 8 kHz);
    /// `duration`: ticks the digit lasts, rounded up to whole steps, at most 65,535.
    pub fn new(digit: Digit, timestamp: u32, step: u16, duration: u16) -> Self {
        let step = step.max(1);
        let steps = duration.max(1).div_ceil(step);
        Self { digit, timestamp, step, duration: step.saturating_mul(steps), told: 0, ends: 0 }
    }

    /// The packet for this tick; `None` when the digit is over (after the third end packet).
    pub fn next_packet(&mut self) -> Option<Outgoing> {
        if self.ends == ENDS {
            return None;
        }
        let marker = self.told == 0;
        self.told = self.told.saturating_add(self.step).min(self.duration);
        let end = self.told == self.duration;
        self.ends += u8::from(end);
        let event = Event { code: self.digit.event(), end, volume: VOLUME, duration: self.told };
        Some(Outgoing {
            payload: event.write(),
            marker,
            timestamp: self.timestamp,
            last: self.ends == ENDS,
        })
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packets(digits: &str, step: u16) -> Vec<Outgoing> {
        let mut timestamp = 0xffff_f000;
        let mut packets = Vec::new();
        for c in digits.chars() {
            let mut writer = Writer::new(Digit::new(c).unwrap(), timestamp, step, 800);
            packets.extend(std::iter::from_fn(|| writer.next_packet()));
            timestamp = timestamp.wrapping_add(800 + 400);
        }
        packets
    }

    fn detect(packets: impl IntoIterator<Item = Outgoing>) -> String {
        let mut detector = Detector::new();
        packets
            .into_iter()
            .filter_map(|p| detector.feed(p.timestamp, p.marker, &p.payload))
            .map(Digit::as_char)
            .collect()
    }

    fn event(code: u8, end: bool, duration: u16) -> [u8; 4] {
        Event { code, end, volume: 10, duration }.write()
    }

    #[test]
    fn digits_have_the_codes_of_the_rfc() {
        for (code, c) in "0123456789*#ABCD".chars().enumerate() {
            let digit = Digit::new(c).unwrap();
            assert_eq!((digit.event(), digit.as_char()), (code as u8, c));
            assert_eq!(Digit::from_event(code as u8), Some(digit));
        }
        assert_eq!(Digit::new('d'), Digit::new('D'));
        assert!(Digit::new('E').is_none() && Digit::new(' ').is_none());
        assert!(Digit::from_event(16).is_none());
    }

    #[test]
    fn an_event_reads_as_it_was_written() {
        // RFC 4733 §2.3: event 5, E, volume 10, duration 1600.
        let bytes = [5, 0x8a, 0x06, 0x40];
        let event = Event { code: 5, end: true, volume: 10, duration: 1600 };
        assert_eq!(Event::parse(&bytes), Ok(event));
        assert_eq!(event.write(), bytes);
        for len in 0..4 {
            assert!(Event::parse(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn the_end_of_a_digit_is_told_three_times() {
        let packets = packets("7", 160);
        let told: Vec<_> = packets
            .iter()
            .map(|p| Event::parse(&p.payload).unwrap())
            .map(|e| (e.duration, e.end))
            .collect();
        let ends = [(800, true), (800, true), (800, true)];
        assert_eq!(told[..4], [(160, false), (320, false), (480, false), (640, false)]);
        assert_eq!(told[4..], ends);
        assert!(packets[0].marker && !packets[1..].iter().any(|p| p.marker));
        assert!(packets[6].last && !packets[..6].iter().any(|p| p.last));
    }

    #[test]
    fn the_shortest_and_the_longest_digit_end() {
        let digit = Digit::new('1').unwrap();
        let all = |step, duration| {
            let mut writer = Writer::new(digit, 0, step, duration);
            std::iter::from_fn(move || writer.next_packet()).collect::<Vec<_>>()
        };
        assert_eq!(all(160, 0).len(), 3);
        assert_eq!(all(0, 2).len(), 4);
        let longest = all(160, u16::MAX);
        assert_eq!(Event::parse(&longest.last().unwrap().payload).unwrap().duration, u16::MAX);
    }

    #[test]
    fn the_same_digit_twice_is_two_digits() {
        assert_eq!(detect(packets("1155", 160)), "1155");
    }

    #[test]
    fn an_event_of_which_only_the_end_came_counts() {
        let packets = packets("1#", 160);
        let last_of_each = packets.iter().filter(|p| p.last).copied();
        assert_eq!(detect(last_of_each), "1#");
    }

    #[test]
    fn a_key_held_for_half_a_minute_is_one_digit() {
        let mut detector = Detector::new();
        let mut digits = 0;
        for segment in 0..4u32 {
            for duration in (160..u16::MAX).step_by(160).chain([u16::MAX]) {
                let timestamp = 1000 + segment * u32::from(u16::MAX);
                let payload = event(3, false, duration);
                digits += usize::from(
                    detector.feed(timestamp, duration == 160 && segment == 0, &payload).is_some(),
                );
            }
        }
        assert_eq!(digits, 1);
    }

    #[test]
    fn a_sender_that_moves_the_timestamp_says_one_digit() {
        let mut detector = Detector::new();
        let heard: Vec<_> = (0..10u16)
            .filter_map(|i| {
                detector.feed(8000 + u32::from(i) * 160, i == 0, &event(9, i > 7, (i + 1) * 160))
            })
            .collect();
        assert_eq!(heard, [Digit('9')]);
    }

    #[test]
    fn flash_and_tones_are_no_digits() {
        let mut detector = Detector::new();
        for code in 16..=255 {
            assert_eq!(detector.feed(code.into(), true, &event(code, false, 160)), None);
        }
        assert_eq!(detector.feed(1, true, &[]), None);
    }

    proptest! {
        /// Whatever is lost, repeated or swapped with its neighbours: a digit of which one packet
        /// comes is heard, and heard once.
        #[test]
        fn every_digit_is_heard_exactly_once(
            digits in "[0-9A-D*#]{1,20}",
            fates in prop::collection::vec((0u8..4, 0usize..4), 20 * 8),
        ) {
            let mut sent: Vec<(usize, Outgoing)> = Vec::new();
            let mut survives = Vec::new();
            let mut digit = 0;
            for (i, packet) in packets(&digits, 160).into_iter().enumerate() {
                let (copies, swap) = fates[i];
                for _ in 0..copies.saturating_sub(1) {
                    sent.push((i + swap, packet));
                    survives.push(digit);
                }
                digit += usize::from(packet.last);
            }
            sent.sort_by_key(|(at, _)| *at);
            let mut expected: Vec<char> = digits
                .chars()
                .enumerate()
                .filter(|(i, _)| survives.contains(i))
                .map(|(_, c)| c)
                .collect();
            let mut heard: Vec<char> = detect(sent.into_iter().map(|(_, p)| p)).chars().collect();
            // Swapped with the neighbour's, first packets may change the order of two digits.
            expected.sort_unstable();
            heard.sort_unstable();
            prop_assert_eq!(heard, expected);
        }
    }
}
