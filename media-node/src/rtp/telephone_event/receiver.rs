//! From packets to digits.

use super::Event;
use crate::media::Digit;
use crate::rtp::Ssrc;

/// How many events and segments back a packet is still known for one of them.
const REMEMBERED: usize = 16;
/// How long the segments of an event are (RFC 4733 §2.5.1.3), in ticks,
const SEGMENT: u32 = 0xffff;
/// and how many of them may be missed: a minute and more at 8 kHz.
const MISSED_SEGMENTS: u32 = 8;
/// A sender that ends its segments sooner does so when about so much is told, to the tick.
const NEARLY_A_SEGMENT: u32 = 0xf000;

/// What a packet says of the newest digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub digit: Digit,
    /// Nothing was heard of this digit before.
    pub begins: bool,
    /// The key was released.
    pub ended: bool,
    /// Power in -dBm0, 0 to 63.
    pub volume: u8,
    /// How long the key has been held, in ticks of the RTP clock, over all segments. Until the end
    /// it is what the last packet knew.
    pub duration: u32,
}

/// Finds each digit once among the packets that repeat it, in whatever order and however many of
/// them come.
///
/// A digit counts from the first packet that comes, whether the start, an update or an end
/// (§2.5.2.2). It is over with its end, or, when all three were lost, with the next one.
#[derive(Default)]
pub struct Receiver {
    /// The last events and segments, reported or part of one that was. A ring.
    known: [Option<Key>; REMEMBERED],
    oldest: usize,
    current: Option<Current>,
}

/// What the packets of one event or segment have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    ssrc: Ssrc,
    timestamp: u32,
    code: u8,
}

/// The newest event, in its newest segment.
struct Current {
    key: Key,
    /// Of the segments before this one.
    told: u32,
    duration: u16,
    ended: bool,
}

impl Receiver {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one telephone-event packet. `None` when it says nothing new: of an older event, of one
    /// that is no digit, or malformed.
    pub fn feed(
        &mut self,
        ssrc: Ssrc,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
    ) -> Option<Heard> {
        let event = Event::parse(payload).ok()?;
        let digit = Digit::from_event(event.code)?;
        let key = Key { ssrc, timestamp, code: event.code };
        let is_known = self.known.contains(&Some(key));
        let mut begins = false;
        let current = match &mut self.current {
            Some(current) if current.key == key => {
                current.duration = current.duration.max(event.duration);
                current.ended |= event.end;
                current
            }
            _ if is_known => return None,
            current => {
                if let Some(place) = self.known.get_mut(self.oldest) {
                    *place = Some(key);
                }
                self.oldest = (self.oldest + 1) % REMEMBERED;
                let told = match current {
                    Some(current) if current.had(&key) => return None,
                    Some(current) if !marker => current.goes_on(&key, &event),
                    _ => None,
                };
                begins = told.is_none();
                current.insert(Current {
                    key,
                    told: told.unwrap_or(0),
                    duration: event.duration,
                    ended: event.end,
                })
            }
        };
        Some(Heard {
            digit,
            begins,
            ended: current.ended,
            volume: event.volume,
            duration: current.told.saturating_add(current.duration.into()),
        })
    }
}

impl Current {
    /// Whether a packet that was never seen belongs to an earlier segment of this event.
    fn had(&self, key: &Key) -> bool {
        let earlier = self.key.timestamp.wrapping_sub(key.timestamp);
        self.same_key(key)
            && earlier.is_multiple_of(SEGMENT)
            && (1..=MISSED_SEGMENTS).contains(&(earlier / SEGMENT))
    }

    /// Whether a packet with another timestamp is still about this event, and then how much of it
    /// came before: the next segment, or the work of a sender that moves the timestamp with every
    /// packet, the repeated ends too. The same key cannot be pressed anew before it is released.
    fn goes_on(&self, key: &Key, event: &Event) -> Option<u32> {
        let later = key.timestamp.wrapping_sub(self.key.timestamp);
        let duration = u32::from(self.duration);
        if !self.same_key(key) || self.ended && !event.end {
            return None;
        }
        let moves = later < duration || later == duration && u32::from(event.duration) > duration;
        let whole =
            later.is_multiple_of(SEGMENT) && (1..=MISSED_SEGMENTS).contains(&(later / SEGMENT));
        let short = duration >= NEARLY_A_SEGMENT && later == duration;
        match () {
            // Durations that grow although the timestamp moves count from the start.
            () if moves && event.duration >= self.duration => Some(self.told),
            () if moves || whole || short => Some(self.told.saturating_add(later)),
            () => None,
        }
    }

    fn same_key(&self, key: &Key) -> bool {
        (self.key.ssrc, self.key.code) == (key.ssrc, key.code)
    }
}
