//! The middle of a few measurements and how far they spread.

use serde::Serialize;

/// Median, quartiles and range of one quantity over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle value; the mean of the two middle ones if their number is even.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The first quartile, interpolated linearly.
    pub q1: f64,
    /// The third quartile, interpolated linearly.
    pub q3: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of `values`, in any order; `None` if there are none or one of them is not a finite number.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let quantile = |q: f64| {
            let position = q * (sorted.len() - 1) as f64;
            let (below, above) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
            below + (above - below) * position.fract()
        };
        Some(Self {
            median: quantile(0.5),
            min: quantile(0.0),
            q1: quantile(0.25),
            q3: quantile(0.75),
            max: quantile(1.0),
        })
    }

    /// Of `ours[i] / theirs[i]`. Both numbers of a ratio come from one round, so that what slows the
    /// whole machine for a while slows both.
    #[must_use]
    pub fn of_ratios(ours: &[f64], theirs: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        Self::of(&ratios)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn odd_and_even_numbers_of_values() {
        let odd = Spread::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!(odd, Spread { median: 3.0, min: 1.0, q1: 2.0, q3: 4.0, max: 5.0 });
        let even = Spread::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(even, Spread { median: 2.5, min: 1.0, q1: 1.75, q3: 3.25, max: 4.0 });
        let one = Spread::of(&[7.0]).unwrap();
        assert_eq!(one, Spread { median: 7.0, min: 7.0, q1: 7.0, q3: 7.0, max: 7.0 });
    }

    #[test]
    fn nothing_and_what_is_no_number_have_no_spread() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
        assert_eq!(Spread::of_ratios(&[1.0], &[0.0]), None);
    }

    /// The median of the ratios is not the ratio of the medians: here the machine slows down by ten.
    #[test]
    fn ratios_are_taken_round_by_round() {
        let (ours, theirs) = ([200.0, 20.0, 22.0], [100.0, 10.0, 10.0]);
        let ratio = Spread::of_ratios(&ours, &theirs).unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max), (2.0, 2.0, 2.2));
        assert_eq!(Spread::of(&ours).unwrap().median / Spread::of(&theirs).unwrap().median, 2.2);
    }
}
