//! Differences of runs that share a seed.

use cl_metrics::Summary;

/// A mean over seeds, and the half width of its 95 % interval by Student's t.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// Of the values.
    pub mean: f64,
    /// None of one value.
    pub half: Option<f64>,
}

/// Student's t at 0.975, with 1 to 20 degrees of freedom.
const T: [f64; 20] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086,
];

impl Mean {
    /// Of some values; none of none, or where one is not finite.
    pub fn of(values: &[f64]) -> Option<Self> {
        let summary = Summary::of(values).ok()?;
        // Of more than 21 values t is a little less: the interval is a little wide.
        let half = summary.sem.map(|sem| sem * T[values.len().saturating_sub(2).min(T.len() - 1)]);
        Some(Self { mean: summary.mean, half })
    }

    /// Of b − a, pair by pair.
    pub fn of_differences(a: &[f64], b: &[f64]) -> Option<Self> {
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
        (a.len() == b.len()).then(|| Self::of(&differences)).flatten()
    }

    /// As text, times `unit`, with its sign where it is a difference.
    pub fn text(&self, unit: f64, digits: usize, signed: bool) -> String {
        let mean = unit * self.mean;
        let mean = if signed { format!("{mean:+.digits$}") } else { format!("{mean:.digits$}") };
        match self.half {
            Some(half) => format!("{mean} ± {:.digits$}", unit * half),
            None => mean,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// By hand: differences 1, 2, 3; s = 1, s/√3 = 0.577, t(2) = 4.303.
    #[test]
    fn an_interval_is_students() {
        let found = Mean::of_differences(&[1.0, 1.0, 1.0], &[2.0, 3.0, 4.0]).unwrap();
        assert_eq!(found.mean, 2.0);
        assert!((found.half.unwrap() - 4.303 / 3f64.sqrt()).abs() < 1e-12);
        assert_eq!(found.text(1.0, 2, true), "+2.00 ± 2.48");
        assert_eq!(Mean::of(&[0.5]).unwrap().text(100.0, 1, false), "50.0");
        assert!(Mean::of(&[]).is_none() && Mean::of_differences(&[1.0], &[]).is_none());
        assert!(Mean::of(&[f64::NAN]).is_none());
    }
}
