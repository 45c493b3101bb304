//! Puts packets back in order, waiting for a missing one at most one frame beyond its turn.
//!
//! A packet whose turn it is never enters: [`Reorder::push`] says so and the caller uses it where it
//! lies. Only what comes behind a gap is copied into one of a few fixed slots, and leaves when the
//! gap closes, when the first that waits behind it has waited long enough, or when slots run out.
//! A new SSRC, or two packets in a row far from the others, start the stream afresh.

use std::time::{Duration, Instant};

use super::{Header, SequenceNumber, Ssrc};

/// How many packets can wait at once.
pub const SLOTS: usize = 8;
/// The longest payload that can wait: 64 ms of G.711.
pub const MAX_HELD_PAYLOAD_BYTES: usize = 512;
/// More packets missing than this is a restart, not loss (RFC 3550 A.1, MAX_DROPOUT).
const MAX_DROPOUT: i16 = 3000;
/// A packet further behind than this is a restart, not late (RFC 3550 A.1, MAX_MISORDER).
const MAX_MISORDER: i16 = 100;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Its turn is now: use it at once, then drain [`Reorder::pop_ready`].
    InOrder,
    /// Kept; drain [`Reorder::pop_ready`], which may have it ready already.
    Held,
    /// Here before; drop it.
    Duplicate,
    /// Its turn has passed; drop it.
    Late,
    /// Far from its stream, or behind a gap and too long to be kept; drop it.
    Dropped,
}

/// What comes out, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready<'a> {
    Packet {
        header: Header,
        payload: &'a [u8],
    },
    /// So many packets before the next one did not come in time.
    Lost {
        count: u16,
    },
}

/// One stream's packets, in order.
pub struct Reorder {
    hold: Duration,
    stream: Option<Stream>,
    /// By slot, as `payloads`.
    waiting: [Option<Waiting>; SLOTS],
    /// Every slot once: first those in use, in the order they will leave, then the free ones.
    order: [usize; SLOTS],
    /// How many slots are in use.
    len: usize,
    payloads: Box<[[u8; MAX_HELD_PAYLOAD_BYTES]; SLOTS]>,
    late: u64,
    duplicates: u64,
    lost: u64,
}

#[derive(Clone, Copy)]
struct Stream {
    ssrc: Ssrc,
    next: SequenceNumber,
    /// Bit *n*: the packet *n* + 1 before `next` left here.
    left: u128,
    /// A packet far away came; if this one follows it, the stream has moved there.
    suspect: Option<SequenceNumber>,
}

impl Stream {
    fn starting_at(header: &Header) -> Self {
        Self { ssrc: header.ssrc, next: header.sequence_number, left: 0, suspect: None }
    }

    /// The turn of the next packet has come, and it left.
    fn advance(&mut self) {
        self.next = self.next.next();
        self.left = self.left << 1 | 1;
    }

    fn skip(&mut self, count: u16) {
        self.next = SequenceNumber(self.next.0.wrapping_add(count));
        self.left = self.left.checked_shl(count.into()).unwrap_or(0);
    }
}

#[derive(Clone, Copy)]
struct Waiting {
    header: Header,
    /// When the gap before it is given up.
    until: Instant,
    payload_len: usize,
    /// The stream starts afresh with this packet.
    restarts: bool,
}

impl Reorder {
    /// `hold`: how long a gap may keep what is behind it, usually one frame (20 ms).
    pub fn new(hold: Duration) -> Self {
        Self {
            hold,
            stream: None,
            waiting: [const { None }; SLOTS],
            order: std::array::from_fn(|slot| slot),
            len: 0,
            payloads: Box::new([[0; MAX_HELD_PAYLOAD_BYTES]; SLOTS]),
            late: 0,
            duplicates: 0,
            lost: 0,
        }
    }

    /// Takes a packet in. Whatever the answer, drain [`Self::pop_ready`] afterwards.
    pub fn push(&mut self, now: Instant, header: &Header, payload: &[u8]) -> Pushed {
        let Some(stream) = &mut self.stream else { return self.restart(now, header, payload) };
        if stream.ssrc != header.ssrc {
            return self.restart(now, header, payload);
        }
        let ahead = header.sequence_number.ahead_of(stream.next);
        if !(-MAX_MISORDER..=MAX_DROPOUT).contains(&ahead) {
            if stream.suspect == Some(header.sequence_number) {
                return self.restart(now, header, payload);
            }
            stream.suspect = Some(header.sequence_number.next());
            return Pushed::Dropped;
        }
        match ahead {
            0 => {
                stream.advance();
                Pushed::InOrder
            }
            1.. => self.keep(now, header, payload, false),
            _ => {
                let left = stream.left >> (ahead.unsigned_abs() - 1) & 1 == 1;
                if left {
                    self.duplicates += 1;
                    Pushed::Duplicate
                } else {
                    self.late += 1;
                    Pushed::Late
                }
            }
        }
    }

    /// The next thing whose turn it is at `now`; call until `None`, after a push and when
    /// [`Self::poll_timeout`] is due.
    pub fn pop_ready(&mut self, now: Instant) -> Option<Ready<'_>> {
        let slot = *self.order[..self.len].first()?;
        let first = self.waiting[slot]?;
        let stream = self.stream.as_mut()?;
        if first.restarts {
            *stream = Stream::starting_at(&first.header);
        }
        let missing = first.header.sequence_number.ahead_of(stream.next).max(0).unsigned_abs();
        if missing > 0 {
            if self.poll_timeout().is_none_or(|until| until > now) {
                return None;
            }
            let stream = self.stream.as_mut()?;
            stream.skip(missing);
            self.lost += u64::from(missing);
            return Some(Ready::Lost { count: missing });
        }
        stream.advance();
        self.waiting[slot] = None;
        self.order[..self.len].rotate_left(1);
        self.len -= 1;
        let payload = &self.payloads[slot][..first.payload_len];
        Some(Ready::Packet { header: first.header, payload })
    }

    /// When the oldest gap is given up; `None` while nothing is held.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.iter().flatten().map(|waiting| waiting.until).min()
    }

    /// Packets that came after their turn, for the first time.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Packets that came again.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Packets given up; some of them came [`Self::late`].
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Begins afresh with this packet. What still waits leaves first, at once.
    fn restart(&mut self, now: Instant, header: &Header, payload: &[u8]) -> Pushed {
        if self.len == 0 {
            let mut stream = Stream::starting_at(header);
            stream.advance();
            self.stream = Some(stream);
            return Pushed::InOrder;
        }
        self.waiting.iter_mut().flatten().for_each(|waiting| waiting.until = now);
        self.keep(now, header, payload, true)
    }

    /// Copies a packet into a free slot, behind those before it.
    fn keep(&mut self, now: Instant, header: &Header, payload: &[u8], restarts: bool) -> Pushed {
        let mut place = self.len;
        for (at, slot) in self.order[..self.len].iter().enumerate() {
            let Some(other) = &self.waiting[*slot] else { continue };
            if other.restarts {
                // Not drained since; what comes now has no place in either order.
                return Pushed::Dropped;
            }
            match header.sequence_number.ahead_of(other.header.sequence_number) {
                0 if !restarts => {
                    self.duplicates += 1;
                    return Pushed::Duplicate;
                }
                ..0 if !restarts => {
                    place = at;
                    break;
                }
                _ => {}
            }
        }
        let (Some(&slot), true) =
            (self.order.get(self.len), payload.len() <= MAX_HELD_PAYLOAD_BYTES)
        else {
            return Pushed::Dropped;
        };
        self.payloads[slot][..payload.len()].copy_from_slice(payload);
        let until = if restarts { now } else { now + self.hold };
        self.waiting[slot] =
            Some(Waiting { header: *header, until, payload_len: payload.len(), restarts });
        self.order[place..=self.len].rotate_right(1);
        self.len += 1;
        if self.len == SLOTS {
            // The next packet may need a slot: give up the first gap.
            if let Some(first) = &mut self.waiting[self.order[0]] {
                first.until = now;
            }
        }
        Pushed::Held
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;

    use super::*;

    const HOLD: Duration = Duration::from_millis(20);

    fn header(sequence: u16) -> Header {
        Header {
            payload_type: 0,
            marker: false,
            sequence_number: SequenceNumber(sequence),
            timestamp: u32::from(sequence) * 160,
            ssrc: Ssrc(1),
        }
    }

    /// A reorder buffer that writes down what comes out: `(sequence, None)` or `(0, Some(lost))`.
    struct Bench {
        reorder: Reorder,
        start: Instant,
        out: Vec<(u16, Option<u16>)>,
    }

    impl Bench {
        #[expect(clippy::disallowed_methods, reason = "an epoch for a test, never compared")]
        fn new() -> Self {
            Self { reorder: Reorder::new(HOLD), start: Instant::now(), out: Vec::new() }
        }

        fn push(&mut self, at_ms: u64, header: &Header) -> Pushed {
            let now = self.start + Duration::from_millis(at_ms);
            let payload = header.sequence_number.0.to_be_bytes();
            let pushed = self.reorder.push(now, header, &payload);
            if pushed == Pushed::InOrder {
                self.out.push((header.sequence_number.0, None));
            }
            self.drain(at_ms);
            pushed
        }

        fn drain(&mut self, at_ms: u64) {
            let now = self.start + Duration::from_millis(at_ms);
            while let Some(ready) = self.reorder.pop_ready(now) {
                match ready {
                    Ready::Lost { count } => self.out.push((0, Some(count))),
                    Ready::Packet { header, payload } => {
                        assert_eq!(payload, header.sequence_number.0.to_be_bytes());
                        self.out.push((header.sequence_number.0, None));
                    }
                }
            }
            assert!(self.reorder.poll_timeout().is_none_or(|until| until > now));
        }
    }

    #[test]
    fn packets_in_order_pass_at_once_over_the_wrap() {
        let mut bench = Bench::new();
        for (i, sequence) in (65_500..=u16::MAX).chain(0..100).enumerate() {
            assert_eq!(bench.push(i as u64 * 20, &header(sequence)), Pushed::InOrder);
            assert_eq!(bench.reorder.poll_timeout(), None);
        }
    }

    #[test]
    fn a_swapped_pair_comes_out_in_order() {
        let mut bench = Bench::new();
        for (at, sequence) in [(0, 10), (21, 12), (22, 11), (40, 13)] {
            bench.push(at, &header(sequence));
        }
        assert_eq!(bench.out, [(10, None), (11, None), (12, None), (13, None)]);
        assert_eq!((bench.reorder.lost(), bench.reorder.late()), (0, 0));
    }

    #[test]
    fn a_lost_packet_holds_the_next_for_one_frame_and_no_longer() {
        let mut bench = Bench::new();
        bench.push(0, &header(10));
        assert_eq!(bench.push(40, &header(12)), Pushed::Held);
        assert_eq!(bench.reorder.poll_timeout(), Some(bench.start + Duration::from_millis(60)));
        bench.drain(59);
        assert_eq!(bench.out, [(10, None)]);
        bench.drain(60);
        assert_eq!(bench.out, [(10, None), (0, Some(1)), (12, None)]);
        assert_eq!(bench.push(61, &header(11)), Pushed::Late);
        assert_eq!(bench.push(62, &header(11)), Pushed::Late);
        assert_eq!(bench.push(63, &header(12)), Pushed::Duplicate);
        assert_eq!(bench.push(64, &header(13)), Pushed::InOrder);
    }

    #[test]
    fn a_waiting_packet_that_comes_again_is_a_duplicate() {
        let mut bench = Bench::new();
        bench.push(0, &header(1));
        assert_eq!(bench.push(20, &header(3)), Pushed::Held);
        assert_eq!(bench.push(21, &header(3)), Pushed::Duplicate);
        assert_eq!(bench.reorder.duplicates(), 1);
    }

    #[test]
    fn a_burst_behind_a_gap_is_let_go_when_the_slots_are_full() {
        let mut bench = Bench::new();
        bench.push(0, &header(0));
        for sequence in 2..40 {
            bench.push(1, &header(sequence));
        }
        assert_eq!(bench.out.len(), 40);
        assert_eq!(bench.out[1], (0, Some(1)));
        assert!(bench.out[2..].iter().map(|(s, _)| *s).eq(2..40));
    }

    #[test]
    fn a_new_source_starts_afresh_behind_what_waits() {
        let mut bench = Bench::new();
        bench.push(0, &header(100));
        bench.push(1, &header(102));
        let other = Header { ssrc: Ssrc(2), ..header(7) };
        assert_eq!(bench.push(2, &other), Pushed::Held);
        let expected = [(100, None), (0, Some(1)), (102, None), (7, None)];
        assert_eq!(bench.out, expected);
        assert_eq!(bench.push(3, &Header { ssrc: Ssrc(2), ..header(8) }), Pushed::InOrder);
        assert_eq!(bench.reorder.lost(), 1);
    }

    #[test]
    fn one_stray_is_dropped_and_two_in_a_row_move_the_stream() {
        let mut bench = Bench::new();
        bench.push(0, &header(100));
        assert_eq!(bench.push(1, &header(30_000)), Pushed::Dropped);
        assert_eq!(bench.push(2, &header(101)), Pushed::InOrder);
        assert_eq!(bench.push(3, &header(20_000)), Pushed::Dropped);
        assert_eq!(bench.push(4, &header(20_001)), Pushed::InOrder);
        assert_eq!(bench.push(5, &header(20_002)), Pushed::InOrder);
        assert_eq!(bench.reorder.lost(), 0);
    }

    #[test]
    fn a_payload_too_long_to_wait_passes_in_order_only() {
        let mut bench = Bench::new();
        let long = [0; MAX_HELD_PAYLOAD_BYTES + 1];
        let now = bench.start;
        assert_eq!(bench.reorder.push(now, &header(1), &long), Pushed::InOrder);
        assert_eq!(bench.reorder.push(now, &header(3), &long), Pushed::Dropped);
        assert_eq!(bench.reorder.push(now, &header(2), &long), Pushed::InOrder);
    }

    #[test]
    fn a_caller_that_forgets_to_drain_loses_packets_and_nothing_else() {
        let mut bench = Bench::new();
        let now = bench.start;
        bench.push(0, &header(0));
        let answers: Vec<_> =
            (2..20).map(|s| bench.reorder.push(now, &header(s), &s.to_be_bytes())).collect();
        assert_eq!(answers.iter().filter(|a| **a == Pushed::Held).count(), SLOTS);
        let other = Header { ssrc: Ssrc(2), ..header(7) };
        assert_eq!(bench.reorder.push(now, &other, &[0, 7]), Pushed::Dropped);
        bench.drain(0);
        assert_eq!(bench.push(1, &other), Pushed::InOrder);
    }

    proptest! {
        /// Delays, losses and duplicates: out comes every number at most once, in order, each
        /// either as a packet or as lost, and nobody waits longer than one frame.
        #[test]
        fn what_comes_out_is_in_order_and_on_time(
            first: u16,
            fates in prop::collection::vec((0u64..90, 0u8..100), 1..300),
        ) {
            let mut arrivals = Vec::new();
            for (i, (delay, fate)) in fates.iter().enumerate() {
                let sent = i as u64 * 20;
                let at = if *fate < 60 { sent } else { sent + delay };
                if !(60..70).contains(fate) || i == 0 {
                    arrivals.push((if i == 0 { 0 } else { at }, i as u64));
                }
                if *fate > 95 {
                    arrivals.push((sent + delay + 5, i as u64));
                }
            }
            arrivals.sort_unstable();
            let mut bench = Bench::new();
            let mut arrived = HashMap::new();
            let mut arrival = arrivals.iter().peekable();
            let mut accounted = 0u64; // numbers that have come out, as packet or as lost
            for ms in 0..fates.len() as u64 * 20 + 200 {
                while let Some((_, i)) = arrival.next_if(|(at, _)| *at == ms) {
                    let pushed = bench.push(ms, &header(first.wrapping_add(*i as u16)));
                    if matches!(pushed, Pushed::Held | Pushed::InOrder) {
                        prop_assert!(arrived.insert(*i, ms).is_none());
                    }
                }
                bench.drain(ms);
                for (sequence, lost) in bench.out.drain(..) {
                    if let Some(count) = lost {
                        accounted += u64::from(count);
                        continue;
                    }
                    prop_assert_eq!(sequence, first.wrapping_add(accounted as u16));
                    let at = arrived.get(&accounted).copied();
                    prop_assert!(at.is_some_and(|at| ms - at <= 20), "{:?} at {}", at, ms);
                    accounted += 1;
                }
            }
            let came: BTreeSet<_> = arrivals.iter().map(|(_, i)| *i).collect();
            prop_assert_eq!(Some(accounted), came.last().map(|last| last + 1));
            let out = arrived.len() as u64;
            prop_assert_eq!(accounted, out + bench.reorder.lost());
        }
    }
}
