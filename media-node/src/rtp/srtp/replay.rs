//! Which packet numbers have been let in: the index a 16-bit sequence number stands for
//! (RFC 3711 §3.3.1), and a window that refuses what came before (§3.3.2).

use super::SrtpError;

/// How far behind the newest packet one may still come, in packets.
pub(super) const WINDOW: u64 = 128;

/// The newest index let in, and which of the [`WINDOW`] up to it were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    highest: u64,
    /// Bit *n*: `highest - n` has been let in.
    seen: u128,
}

impl Window {
    /// A window that has let in `index` and nothing else.
    pub(super) fn starting_with(index: u64) -> Self {
        Self { highest: index, seen: 1 }
    }

    /// Whether `index` may be let in. Changes nothing: the packet is not yet authentic.
    pub(super) fn check(&self, index: u64) -> Result<(), SrtpError> {
        let Some(behind) = self.highest.checked_sub(index) else { return Ok(()) };
        if behind >= WINDOW {
            Err(SrtpError::TooOld)
        } else if self.seen >> behind & 1 == 1 {
            Err(SrtpError::Replayed)
        } else {
            Ok(())
        }
    }

    /// Lets `index` in, once [`Self::check`] and the tag allow it.
    pub(super) fn accept(&mut self, index: u64) {
        match index.checked_sub(self.highest) {
            Some(ahead) => {
                let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
                self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
                self.highest = index;
            }
            None => {
                let behind = self.highest - index;
                if behind < WINDOW {
                    self.seen |= 1 << behind;
                }
            }
        }
    }

    /// The index that `sequence` most likely stands for: the one nearest to the newest let in
    /// (RFC 3711, appendix A). Before the first rollover nothing lies behind zero, so there a
    /// number far ahead is taken as it is.
    pub(super) fn guess(&self, sequence: u16) -> u64 {
        let rollovers = self.highest >> 16;
        let newest = i32::from((self.highest & 0xffff) as u16);
        let sequence = i32::from(sequence);
        let rollovers = if newest < 0x8000 {
            if sequence - newest > 0x8000 { rollovers.saturating_sub(1) } else { rollovers }
        } else if newest - 0x8000 > sequence {
            rollovers + 1
        } else {
            rollovers
        };
        rollovers << 16 | u64::from(sequence.cast_unsigned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_index_nearest_to_the_newest_is_guessed() {
        let cases = [
            (0, 0, 0),
            (0, 0x8000, 0x8000),
            (0, 0xffff, 0xffff), // no rollover lies behind zero
            (0x0_ffff, 0, 0x1_0000),
            (0x0_ffff, 0x7ffe, 0x1_7ffe),
            (0x0_ffff, 0x7fff, 0x0_7fff),
            (0x1_0000, 0xffff, 0x0_ffff),
            (0x1_0000, 0x8000, 0x1_8000),
            (0x1_0000, 0x8001, 0x0_8001),
            (0x1_7fff, 0xffff, 0x1_ffff),
            (0x1_8000, 0, 0x1_0000),
            (0x1_8001, 0, 0x2_0000),
            (0xffff_ffff_ffff, 0, 0x1_0000_0000_0000),
        ];
        for (highest, sequence, expected) in cases {
            let guess = Window::starting_with(highest).guess(sequence);
            assert_eq!(guess, expected, "{sequence:#x} after {highest:#x}");
        }
    }

    #[test]
    fn the_window_is_128_wide() {
        let mut window = Window::starting_with(0);
        window.accept(128);
        assert_eq!(window.check(0), Err(SrtpError::TooOld));
        assert_eq!(window.check(1), Ok(()));
        window.accept(1);
        assert_eq!(window.check(1), Err(SrtpError::Replayed));
        assert_eq!(window.check(128), Err(SrtpError::Replayed));
        window.accept(1 << 40);
        assert_eq!(window.check(128), Err(SrtpError::TooOld));
        assert_eq!(window.check((1 << 40) - 127), Ok(()));
        assert_eq!(window.check((1 << 40) - 128), Err(SrtpError::TooOld));
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set(indices in prop::collection::vec(0u64..600, 1..400)) {
            let mut window = Window::starting_with(indices[0]);
            let mut seen = HashSet::from([indices[0]]);
            for &index in &indices[1..] {
                let newest = *seen.iter().max().unwrap();
                let expected = if index + WINDOW <= newest {
                    Err(SrtpError::TooOld)
                } else if seen.contains(&index) {
                    Err(SrtpError::Replayed)
                } else {
                    Ok(())
                };
                prop_assert_eq!(window.check(index), expected);
                if expected.is_ok() {
                    window.accept(index);
                    seen.insert(index);
                }
            }
        }

        #[test]
        fn a_guess_is_never_further_than_half_a_round(
            highest in 0x1_0000u64..1 << 47,
            sequence: u16,
        ) {
            let guess = Window::starting_with(highest).guess(sequence);
            prop_assert_eq!((guess & 0xffff) as u16, sequence);
            prop_assert!(guess.abs_diff(highest) <= 0x8000);
        }
    }
}
