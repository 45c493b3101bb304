//! Whether the node has power left for another call, apart from how many it carries: it says "full"
//! before the calls that talk can hear it.

/// What a media thread has to do, by its own measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strain {
    /// The share of a core that the thread uses, in thousandths.
    pub busy_permille: u32,
    /// The share of its turns that came half a frame late or later, in thousandths.
    pub late_permille: u32,
}

impl Strain {
    /// From here on new calls would be heard by the old ones. A thread can be late without being
    /// busy: when others take its core, or its pod's CPU limit stops it.
    const FULL: Self = Self { busy_permille: 850, late_permille: 100 };
    /// A node that was full takes calls again below this, so that it does not waver.
    const FREE: Self = Self { busy_permille: 750, late_permille: 50 };

    fn is_at_least(self, bound: Self) -> bool {
        self.busy_permille >= bound.busy_permille || self.late_permille >= bound.late_permille
    }
}

/// Full, or not, by the strain of the thread that has least to do.
#[derive(Debug, Default)]
pub(super) struct Overload {
    strain: Strain,
    full: bool,
}

impl Overload {
    pub(super) fn handle(&mut self, strain: Strain) {
        let bound = if self.full { Strain::FREE } else { Strain::FULL };
        self.full = strain.is_at_least(bound);
        self.strain = strain;
    }

    /// Why another call would be one too many; `None` when it would not.
    pub(super) fn reason(&self) -> Option<String> {
        let Strain { busy_permille, late_permille } = self.strain;
        let (busy, late) = (busy_permille / 10, late_permille / 10);
        self.full
            .then(|| format!("the media threads are {busy} % busy, {late} % of their turns late"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full_after(strains: &[(u32, u32)]) -> bool {
        let mut overload = Overload::default();
        for &(busy_permille, late_permille) in strains {
            overload.handle(Strain { busy_permille, late_permille });
        }
        overload.reason().is_some()
    }

    #[test]
    fn a_busy_node_is_full_and_so_is_a_late_one() {
        assert!(!full_after(&[]));
        assert!(!full_after(&[(849, 99)]));
        assert!(full_after(&[(850, 0)]));
        assert!(full_after(&[(100, 100)]));
    }

    #[test]
    fn a_full_node_takes_calls_again_when_it_is_clearly_better() {
        assert!(full_after(&[(900, 0), (800, 0)]));
        assert!(full_after(&[(900, 0), (700, 60)]));
        assert!(!full_after(&[(900, 0), (749, 49)]));
        assert!(!full_after(&[(900, 0), (700, 0), (800, 0)]));
    }

    #[test]
    fn the_reason_has_the_figures() {
        let mut overload = Overload::default();
        overload.handle(Strain { busy_permille: 912, late_permille: 31 });
        let reason = overload.reason().unwrap();
        assert!(reason.contains("91 % busy") && reason.contains("3 % of their turns"), "{reason}");
    }
}
