//! Distributions, as they are printed.

use serde_json::{Value, json};

/// Collected values of one quantity.
#[derive(Clone, Debug, Default)]
pub struct Distribution(Vec<f64>);

impl Distribution {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values below which these shares lie; nearest rank. Empty: not a number.
    pub fn quantiles<const N: usize>(&mut self, shares: [f64; N]) -> [f64; N] {
        self.0.sort_by(f64::total_cmp);
        shares.map(|share| {
            let rank = (share * self.0.len() as f64).ceil() as usize;
            self.0.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        })
    }

    /// `{"n", "min", "p50", "p90", "p99", "p999", "max"}`, values rounded to a thousandth.
    pub fn summary(&mut self) -> Value {
        if self.0.is_empty() {
            return json!({"n": 0});
        }
        let [min, p50, p90, p99, p999, max] = self.quantiles([0.0, 0.5, 0.9, 0.99, 0.999, 1.0]);
        let round = |x: f64| (x * 1000.0).round() / 1000.0;
        json!({"n": self.0.len(), "min": round(min), "p50": round(p50), "p90": round(p90),
               "p99": round(p99), "p999": round(p999), "max": round(max)})
    }
}

impl FromIterator<f64> for Distribution {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// Median of a few values.
pub fn median(values: &[f64]) -> f64 {
    Distribution(values.to_vec()).quantiles([0.5])[0]
}

/// (largest - smallest) / median of a few values.
pub fn spread(values: &[f64]) -> f64 {
    let [min, median, max] = Distribution(values.to_vec()).quantiles([0.0, 0.5, 1.0]);
    (max - min) / median
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_there() {
        let mut values: Distribution = (1..=100).map(f64::from).collect();
        assert_eq!(values.quantiles([0.0, 0.5, 0.99, 1.0]), [1.0, 50.0, 99.0, 100.0]);
    }
}
