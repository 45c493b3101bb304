//! The agent's speech waiting to be played: bytes as received, and the marks between them.
//!
//! An agent may say an hour in a second. Its speech is kept in chunks, up to a limit for the call
//! and within a budget of the pod; beyond either the newest is dropped. Chunks that were played are
//! kept for reuse, a few, so that speech at the pace of speech allocates nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// 256 ms of G.711.
const CHUNK_BYTES: usize = 2048;
/// How many played chunks a call keeps, beyond what the budget counts.
const SPARE_CHUNKS: usize = 2;
/// How many marks may wait, and how long their names may be together.
const MARKS: usize = 1024;
const MARK_NAMES_BYTES: usize = 64 * 1024;

/// The memory that all calls of the pod share for speech waiting to be played.
#[derive(Debug)]
pub struct PlayoutBudget {
    free_bytes: AtomicUsize,
}

impl PlayoutBudget {
    pub fn new(bytes: usize) -> Self {
        Self { free_bytes: AtomicUsize::new(bytes) }
    }

    /// What is left, for metrics.
    pub fn free_bytes(&self) -> usize {
        self.free_bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = |free: usize| free.checked_sub(bytes);
        self.free_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.free_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

type Chunk = Box<[u8; CHUNK_BYTES]>;

/// Bytes in, the same bytes out.
pub(super) struct Playout {
    chunks: VecDeque<Chunk>,
    /// Where the first byte is in the first chunk.
    head: usize,
    len: usize,
    spare: Vec<Chunk>,
    limit: usize,
    budget: Arc<PlayoutBudget>,
    /// Bytes ever let in, and bytes ever out again, played or cleared: positions for marks.
    entered: u64,
    left: u64,
    marks: VecDeque<Mark>,
    mark_names_bytes: usize,
}

struct Mark {
    /// Answered when this many bytes have left.
    position: u64,
    name: String,
}

impl Playout {
    pub(super) fn new(limit: usize, budget: Arc<PlayoutBudget>) -> Self {
        Self {
            chunks: VecDeque::new(),
            head: 0,
            len: 0,
            spare: Vec::new(),
            limit,
            budget,
            entered: 0,
            left: 0,
            marks: VecDeque::new(),
            mark_names_bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes in as much of `audio` as there is room for, and returns how many bytes were dropped.
    pub(super) fn push(&mut self, audio: &[u8]) -> usize {
        let room = self.limit.saturating_sub(self.len).min(audio.len());
        let mut rest = &audio[..room];
        while !rest.is_empty() {
            let tail = self.head + self.len;
            if tail == self.chunks.len() * CHUNK_BYTES && !self.grow() {
                break;
            }
            let free = &mut self.chunks[tail / CHUNK_BYTES][tail % CHUNK_BYTES..];
            let (now, later) = rest.split_at(rest.len().min(free.len()));
            free[..now.len()].copy_from_slice(now);
            self.len += now.len();
            rest = later;
        }
        let taken = room - rest.len();
        self.entered += taken as u64;
        audio.len() - taken
    }

    fn grow(&mut self) -> bool {
        if !self.budget.take(CHUNK_BYTES) {
            return false;
        }
        self.chunks.push_back(self.spare.pop().unwrap_or_else(|| Box::new([0; CHUNK_BYTES])));
        true
    }

    /// Fills the front of `frame`, and returns how many bytes there were.
    pub(super) fn pop(&mut self, frame: &mut [u8]) -> usize {
        let mut done = 0;
        self.take(frame.len(), |from| {
            frame[done..done + from.len()].copy_from_slice(from);
            done += from.len();
        })
    }

    /// Leaves out so many bytes, and returns how many there were.
    pub(super) fn skip(&mut self, len: usize) -> usize {
        self.take(len, |_| {})
    }

    fn take(&mut self, len: usize, mut give: impl FnMut(&[u8])) -> usize {
        let mut done = 0;
        while done < len && self.len > 0 {
            let end = CHUNK_BYTES.min(self.head + self.len);
            let from = &self.chunks[0][self.head..end];
            let count = from.len().min(len - done);
            give(&from[..count]);
            done += count;
            self.head += count;
            self.len -= count;
            if self.head == CHUNK_BYTES {
                self.head = 0;
                self.release_front();
            }
        }
        if self.len == 0 {
            self.release_all();
        }
        self.left += done as u64;
        done
    }

    /// Forgets everything that waits, and returns how many bytes that were.
    pub(super) fn clear(&mut self) -> usize {
        let cleared = std::mem::take(&mut self.len);
        self.left += cleared as u64;
        self.release_all();
        cleared
    }

    /// Takes silence off the end, then everything beyond `keep` bytes. A sample has one byte or two.
    pub(super) fn cut_tail(&mut self, keep: usize, width: usize, silent: impl Fn(&[u8]) -> bool) {
        let at = |position: usize| self.chunks[position / CHUNK_BYTES][position % CHUNK_BYTES];
        let mut len = self.len;
        while len >= width {
            let end = self.head + len;
            let sample = [at(end - width), at(end - 1)];
            if !silent(&sample[2 - width..]) {
                break;
            }
            len -= width;
        }
        self.len = len.min(keep);
        if self.len == 0 {
            self.release_all();
        }
    }

    fn release_front(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.budget.give_back(CHUNK_BYTES);
            if self.spare.len() < SPARE_CHUNKS {
                self.spare.push(chunk);
            }
        }
    }

    fn release_all(&mut self) {
        self.head = 0;
        while !self.chunks.is_empty() {
            self.release_front();
        }
        if self.chunks.capacity() > 64 {
            self.chunks.shrink_to(8);
        }
    }

    /// Remembers a mark behind what was let in so far; `false` when too many wait already.
    pub(super) fn push_mark(&mut self, name: &str) -> bool {
        let fits = self.marks.len() < MARKS
            && self.mark_names_bytes.saturating_add(name.len()) <= MARK_NAMES_BYTES;
        if fits {
            self.mark_names_bytes += name.len();
            self.marks.push_back(Mark { position: self.entered, name: name.to_owned() });
        }
        fits
    }

    /// The next mark whose audio has left.
    pub(super) fn pop_mark(&mut self) -> Option<String> {
        let mark = self.marks.pop_front_if(|mark| mark.position <= self.left)?;
        self.mark_names_bytes -= mark.name.len();
        Some(mark.name)
    }
}

impl Drop for Playout {
    fn drop(&mut self) {
        self.budget.give_back(self.chunks.len() * CHUNK_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn playout(limit: usize, budget: usize) -> (Playout, Arc<PlayoutBudget>) {
        let budget = Arc::new(PlayoutBudget::new(budget));
        (Playout::new(limit, budget.clone()), budget)
    }

    #[test]
    fn beyond_the_limit_of_the_call_the_newest_is_dropped() {
        let (mut playout, _) = playout(5000, usize::MAX);
        assert_eq!(playout.push(&[1; 4000]), 0);
        assert_eq!(playout.push(&[2; 4000]), 3000);
        let mut all = [0; 8000];
        assert_eq!(playout.pop(&mut all), 5000);
        assert!(all[..4000].iter().all(|byte| *byte == 1));
        assert!(all[4000..5000].iter().all(|byte| *byte == 2));
    }

    #[test]
    fn calls_share_one_budget_and_give_it_back_when_they_end() {
        let (mut first, budget) = playout(usize::MAX, 3 * CHUNK_BYTES);
        let mut second = Playout::new(usize::MAX, budget.clone());
        assert_eq!(first.push(&[1; 2 * CHUNK_BYTES]), 0);
        assert_eq!(second.push(&[1; 2 * CHUNK_BYTES]), CHUNK_BYTES);
        assert_eq!(budget.free_bytes(), 0);
        first.clear();
        assert_eq!(budget.free_bytes(), 2 * CHUNK_BYTES);
        drop((first, second));
        assert_eq!(budget.free_bytes(), 3 * CHUNK_BYTES);
    }

    #[test]
    fn speech_at_the_pace_of_speech_reuses_its_chunks() {
        let (mut playout, _) = playout(usize::MAX, usize::MAX);
        let mut frame = [0; 160];
        for _ in 0..1000 {
            playout.push(&[7; 320]);
            playout.pop(&mut frame);
            playout.pop(&mut frame);
        }
        assert!(playout.spare.len() + playout.chunks.len() <= SPARE_CHUNKS + 1);
    }

    #[test]
    fn a_mark_is_answered_when_all_before_it_has_left_and_by_clear() {
        let (mut playout, _) = playout(usize::MAX, usize::MAX);
        playout.push(&[1; 200]);
        playout.push_mark("first");
        playout.push(&[1; 100]);
        playout.push_mark("second");
        assert_eq!(playout.pop(&mut [0; 160]), 160);
        assert_eq!(playout.pop_mark(), None);
        assert_eq!(playout.pop(&mut [0; 160]), 140);
        assert_eq!(playout.pop_mark().as_deref(), Some("first"));
        assert_eq!(playout.pop_mark().as_deref(), Some("second"));
        playout.push(&[1; 100]);
        playout.push_mark("third");
        playout.clear();
        assert_eq!(playout.pop_mark().as_deref(), Some("third"));
        assert_eq!(playout.mark_names_bytes, 0);
    }

    #[test]
    fn marks_are_bounded_in_number_and_length() {
        let (mut playout, _) = playout(usize::MAX, usize::MAX);
        playout.push(&[1]);
        assert!(!playout.push_mark(&"x".repeat(MARK_NAMES_BYTES + 1)));
        assert!((0..MARKS).all(|_| playout.push_mark("m")));
        assert!(!playout.push_mark("m"));
    }

    #[test]
    fn silence_at_the_end_is_cut_and_silence_inside_is_kept() {
        let (mut playout, budget) = playout(usize::MAX, 1 << 20);
        playout.push(&[1; 3]);
        playout.push(&[0xff; 5000]);
        playout.push(&[1; 3]);
        playout.push(&[0xff; 9000]);
        playout.cut_tail(usize::MAX, 1, |sample| sample == [0xff]);
        assert_eq!(playout.len(), 5006);
        playout.cut_tail(100, 1, |sample| sample == [0xff]);
        assert_eq!(playout.len(), 100);
        playout.cut_tail(2, 1, |_| false);
        let mut rest = [0; 9];
        assert_eq!(playout.pop(&mut rest), 2);
        playout.push(&[7, 0xff, 0xff, 0xff, 0xff]);
        playout.cut_tail(100, 2, |sample| sample == [0xff, 0xff]);
        assert_eq!(playout.skip(9), 1);
        playout.push(&[0xff; 10]);
        playout.cut_tail(100, 1, |sample| sample == [0xff]);
        assert!(playout.is_empty());
        assert_eq!(budget.free_bytes(), 1 << 20);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_goes_in_comes_out_in_order(
            steps in prop::collection::vec((0_usize..5000, 0_usize..5000), 1..60),
        ) {
            let (mut playout, _) = playout(usize::MAX, usize::MAX);
            let (mut wrote, mut read) = (0_usize, 0_usize);
            let mut buffer = vec![0; 5000];
            for (push, pop) in steps {
                let bytes: Vec<u8> = (wrote..wrote + push).map(|n| (n % 251) as u8).collect();
                prop_assert_eq!(playout.push(&bytes), 0);
                wrote += push;
                let got = playout.pop(&mut buffer[..pop]);
                prop_assert_eq!(got, pop.min(wrote - read));
                for byte in &buffer[..got] {
                    prop_assert_eq!(*byte, (read % 251) as u8);
                    read += 1;
                }
                prop_assert_eq!(playout.len(), wrote - read);
            }
        }
    }
}
