//! The E-model (ITU-T G.107), as far as packets tell: R = Ro - Is - Idd - Ie,eff.
//!
//! Ro - Is is 93.2, what all of the Recommendation's defaults give. Idd is the delay alone; echo is taken as
//! cancelled where the call leaves packets, and loudness and noise as the defaults, for a node knows
//! neither. Nor does it add the advantage that people grant a mobile phone. So a real call is rather
//! worse than the figure, and calls can be compared by it.

use std::time::Duration;

/// Ro - Is at the default values of G.107.
const UNDISTURBED: f64 = 93.2;

/// What a codec does to speech (ITU-T G.113, appendix I).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// Ie: without loss.
    pub equipment: f64,
    /// Bpl: how well it bears loss.
    pub robustness: f64,
}

impl Impairment {
    /// G.711 whose gaps are concealed as its Appendix I has it.
    pub const G711_CONCEALED: Self = Self { equipment: 0.0, robustness: 25.1 };
}

/// What is known of one direction of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    pub impairment: Impairment,
    /// Packets that were of no use, 0 to 1.
    pub loss_rate: f64,
    /// BurstR: 1 for losses by chance, more when they come together.
    pub burst_ratio: f64,
    /// From mouth to ear.
    pub delay: Duration,
}

impl Path {
    /// The transmission rating, 0 to 93.2. Figures that are none count as no loss, or none together.
    pub fn rating(&self) -> f64 {
        let Impairment { equipment, robustness } = self.impairment;
        let loss_percent = 100.0 * finite(self.loss_rate, 0.0).clamp(0.0, 1.0);
        let burst_ratio = finite(self.burst_ratio, 1.0).max(1.0);
        let lost = (95.0 - equipment) * loss_percent / (loss_percent / burst_ratio + robustness);
        (UNDISTURBED - delay_impairment(self.delay) - equipment - lost).clamp(0.0, 100.0)
    }

    /// The mean opinion score that such a rating stands for, 1 to 4.5 (G.107 annex B).
    pub fn mos(&self) -> f64 {
        mos(self.rating())
    }
}

/// G.107 annex B; there 6.5 is where the cubic would begin to fall.
fn mos(r: f64) -> f64 {
    if r < 6.5 {
        return 1.0;
    }
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

/// Idd: nothing up to 100 ms, then ever more.
fn delay_impairment(delay: Duration) -> f64 {
    let x = (delay.as_secs_f64() / 0.1).max(f64::MIN_POSITIVE).log2();
    if x <= 0.0 {
        return 0.0;
    }
    let root = |x: f64| (1.0 + x.powi(6)).powf(1.0 / 6.0);
    25.0 * (root(x) - 3.0 * root(x / 3.0) + 2.0)
}

fn finite(value: f64, otherwise: f64) -> f64 {
    if value.is_finite() { value } else { otherwise }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(loss_rate: f64, burst_ratio: f64, delay_ms: u64) -> Path {
        let delay = Duration::from_millis(delay_ms);
        Path { impairment: Impairment::G711_CONCEALED, loss_rate, burst_ratio, delay }
    }

    #[test]
    fn an_undisturbed_call_has_the_default_rating_of_the_recommendation() {
        let path = path(0.0, 1.0, 100);
        assert!((path.rating() - 93.2).abs() < 1e-9);
        assert!((path.mos() - 4.41).abs() < 0.005, "{}", path.mos());
    }

    #[test]
    fn delay_counts_as_in_the_recommendation() {
        // G.107's formula by hand: 200 ms is one octave, 400 ms two.
        let expected = |x: f64| {
            25.0 * ((1.0 + x.powi(6)).powf(1.0 / 6.0)
                - 3.0 * (1.0 + (x / 3.0).powi(6)).powf(1.0 / 6.0)
                + 2.0)
        };
        assert!((delay_impairment(Duration::from_millis(200)) - expected(1.0)).abs() < 1e-9);
        assert!((2.9..3.2).contains(&expected(1.0)), "{}", expected(1.0));
        assert!((delay_impairment(Duration::from_millis(400)) - expected(2.0)).abs() < 1e-9);
        assert!((23.0..26.0).contains(&expected(2.0)), "{}", expected(2.0));
        assert_eq!(delay_impairment(Duration::ZERO), 0.0);
    }

    #[test]
    fn loss_counts_more_when_it_comes_together() {
        // 95 * 3 / (3 + 25.1)
        assert!((path(0.03, 1.0, 0).rating() - (93.2 - 285.0 / 28.1)).abs() < 1e-9);
        assert!((path(0.03, 2.0, 0).rating() - (93.2 - 285.0 / 26.6)).abs() < 1e-9);
        assert!(path(0.2, 1.0, 0).mos() < path(0.1, 1.0, 0).mos());
    }

    #[test]
    fn no_figure_leads_out_of_the_scale() {
        for loss in [-1.0, 0.0, 0.5, 1.0, 7.0, f64::NAN, f64::INFINITY] {
            for ratio in [0.0, 1.0, 100.0, f64::NAN, f64::INFINITY] {
                for delay in [0, 1, 400, 100_000, u64::MAX / 1_000_000] {
                    let mos = path(loss, ratio, delay).mos();
                    assert!((1.0..=4.5).contains(&mos), "{loss} {ratio} {delay}: {mos}");
                }
            }
        }
    }
}
