//! From a digit to packets.

use super::Event;
use crate::media::Digit;

/// How often the end of an event or segment is told (RFC 4733 §2.5.1.4).
const ENDS: u8 = 3;
/// What a telephone's keys are heard with, in -dBm0.
const VOLUME: u8 = 10;
/// How much one segment tells (§2.5.1.3), in ticks.
const SEGMENT: u32 = 0xffff;

/// One packet of a digit we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub payload: [u8; Event::LEN_BYTES],
    /// Only on the first packet of the event.
    pub marker: bool,
    /// The start of the event, or of its segment: the same in all packets that tell of it.
    pub timestamp: u32,
}

/// Makes the packets of one digit: an update each packet time while the key is held, the last of
/// them with the end, and two copies of that in the two packet times after it.
pub struct Sender {
    digit: Digit,
    /// The RTP time at which the segment starts.
    timestamp: u32,
    step: u32,
    /// Ticks of this segment and all that follow, and how many of them were told.
    left: u32,
    told: u32,
    first: bool,
    ends: u8,
    /// The last packet of the segment before, and how often it is still to be sent.
    closing: Option<(Outgoing, u8)>,
}

impl Sender {
    /// `timestamp`: RTP time of the start; `step`: ticks in a packet time (160 for 20 ms at 8 kHz);
    /// `duration`: ticks the key is held, rounded up to whole packet times.
    pub fn new(digit: Digit, timestamp: u32, step: u16, duration: u32) -> Self {
        let step = u32::from(step.max(1));
        let left = duration.max(1).div_ceil(step).saturating_mul(step);
        Self { digit, timestamp, step, left, told: 0, first: true, ends: 0, closing: None }
    }

    /// The packets of the next packet time: two while a segment's end is repeated beside the updates
    /// of the next, else one; none when the digit is over.
    pub fn turn(&mut self) -> impl Iterator<Item = Outgoing> + use<> {
        let (mut repeated, mut update) = (None, None);
        if self.ends < ENDS {
            self.told = self.told.saturating_add(self.step).min(self.left);
            if self.told > SEGMENT {
                self.closing = Some((self.packet(SEGMENT, false), ENDS));
                self.timestamp = self.timestamp.wrapping_add(SEGMENT);
                self.told -= SEGMENT;
                self.left -= SEGMENT;
            }
            let end = self.told == self.left;
            self.ends += u8::from(end);
            update = Some(self.packet(self.told, end));
        }
        if let Some((packet, times)) = &mut self.closing {
            repeated = Some(*packet);
            *times -= 1;
            if *times == 0 {
                self.closing = None;
            }
        }
        repeated.into_iter().chain(update)
    }

    /// The key was released; what is left are copies of the end.
    pub fn is_released(&self) -> bool {
        self.ends > 0
    }

    fn packet(&mut self, duration: u32, end: bool) -> Outgoing {
        let duration = u16::try_from(duration).unwrap_or(u16::MAX);
        let event = Event { code: self.digit.event(), end, volume: VOLUME, duration };
        let marker = std::mem::take(&mut self.first);
        Outgoing { payload: event.write(), marker, timestamp: self.timestamp }
    }
}
