//! Probabilities that mean what they say, and thresholds for what is wanted: all chosen on held-out rows.
//!
//! What is chosen holds on the rows it was chosen on. On others it holds as well as a mean over so many rows does; where the data
//! have shifted it does not.

use candle_core::Tensor;
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::budget::Costs;
use crate::confidence::check_scores;
use crate::curve::{check_pair, check_share, count};
use crate::rows::{Rows, argmax, check_labels, log_softmax};

/// Logits are divided by T before the softmax (Guo et al. 2017). No answer changes; the order of doubts between rows may.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Temperature(f64);

impl Temperature {
    /// One that is known.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not a positive number.
    pub fn new(temperature: f64) -> Result<Self> {
        if temperature.is_finite() && temperature > 0.0 {
            return Ok(Self(temperature));
        }
        Err(Error::invalid("temperature", format!("{temperature} is not a positive number")))
    }

    /// The one with the least mean −ln p of the labels (n) under logits (n, classes). It is unique: the sum is convex in 1/T, whose
    /// zero slope is found by bisection.
    ///
    /// # Errors
    /// [`Error::Invalid`] for logits that are not finite, and where no T between 10⁻³ and 10³ is best: each row is right, and
    /// the colder, the better; or the answers are no better than chance.
    pub fn fit(logits: &Tensor, labels: &[u32]) -> Result<Self> {
        let rows = Rows::logits("logits", logits)?;
        check_labels(labels, rows.len(), rows.width())?;
        // d/dβ of Σ −ln softmax(βz)[y] = Σ (Σ p z − z_y), which rises with β = 1/T.
        let slope = |beta: f64| {
            let of = |(row, &label): (&[f64], &u32)| {
                let mean: f64 = log_softmax(row, beta).zip(row).map(|(log, z)| log.exp() * z).sum();
                mean - row[label as usize]
            };
            rows.iter().zip(labels).map(of).sum::<f64>()
        };
        let (mut low, mut high) = (1e-3_f64, 1e3_f64);
        if slope(high) <= 0.0 {
            let why = "every row is right, so that the coldest would be best: hold out more rows";
            return Err(Error::invalid("held-out rows", why));
        }
        if slope(low) >= 0.0 {
            let why = "the answers are no better than chance, so that the hottest would be best";
            return Err(Error::invalid("held-out rows", why));
        }
        for _ in 0..60 {
            let middle = (low * high).sqrt();
            if slope(middle) < 0.0 { low = middle } else { high = middle }
        }
        Ok(Self(1.0 / (low * high).sqrt()))
    }

    /// T.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Logits / T.
    ///
    /// # Errors
    /// candle's own.
    pub fn apply(self, logits: &Tensor) -> Result<Tensor> {
        Ok((logits / self.0)?)
    }
}

/// The expected calibration error: in each of so many equal bins of the largest probability, how far the accuracy is from the mean of
/// it, weighted by rows (Guo et al. 2017).
///
/// # Errors
/// Logits that are not finite, other labels than a class for each row, no bins.
pub fn calibration_error(logits: &Tensor, labels: &[u32], bins: usize) -> Result<f64> {
    let rows = Rows::logits("logits", logits)?;
    check_labels(labels, rows.len(), rows.width())?;
    if bins == 0 {
        return Err(Error::invalid("bins", "0: 15 are usual"));
    }
    let mut off = vec![0.0; bins];
    for (row, &label) in rows.iter().zip(labels) {
        let best = argmax(row);
        let p = log_softmax(row, 1.0).nth(best).map_or(0.0, f64::exp);
        // Bins are open below: 1 is in the last.
        let bin = ((p * bins as f64).ceil() as usize).clamp(1, bins) - 1;
        off[bin] += f64::from(u8::from(best == label as usize)) - p;
    }
    Ok(off.iter().map(|off| off.abs()).sum::<f64>() / rows.len() as f64)
}

/// The lowest threshold above which not more than this share of the scores lies.
///
/// # Errors
/// [`Error::Invalid`] for a share that is not between 0 and 1, no scores, or one that is not finite.
pub fn threshold_for_share(scores: &[f64], share: f64) -> Result<f64> {
    check_share("share", share)?;
    let sorted = descending(scores)?;
    let most = (share * sorted.len() as f64 + 1e-9).floor() as usize;
    // Above the score that would be one too many; below all of them where none is too many.
    Ok(sorted.get(most).copied().unwrap_or(f64::NEG_INFINITY))
}

/// The threshold that spends at most `per_row` multiply-adds a row on the mean.
///
/// # Errors
/// As [`threshold_for_share`] and [`Costs::share`].
pub fn threshold_for_cost(scores: &[f64], costs: &Costs, per_row: f64) -> Result<f64> {
    threshold_for_share(scores, costs.share(per_row)?)
}

/// The highest threshold, and so the least deferral, with which a cascade has at least this accuracy, from which rows each of its
/// systems has right.
///
/// # Errors
/// [`Error::Invalid`] for a target that no threshold reaches, with the best that one does; lists of different lengths.
pub fn threshold_for_accuracy(scores: &[f64], first: &[bool], second: &[bool], target: f64) -> Result<f64> {
    check_pair(first, second)?;
    check_scores(scores, first.len())?;
    check_share("target", target)?;
    let sorted = descending(scores)?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let needed = target * first.len() as f64 - 1e-9;
    let mut right = count(first);
    let mut best = right;
    if right >= needed {
        return Ok(sorted[0]);
    }
    // Rows of equal score are deferred together.
    let mut groups = order.chunk_by(|&a, &b| scores[a] == scores[b]).peekable();
    while let Some(tied) = groups.next() {
        right += tied.iter().map(|&row| f64::from(i8::from(second[row]) - i8::from(first[row]))).sum::<f64>();
        best = best.max(right);
        if right >= needed {
            return Ok(groups.peek().map_or(f64::NEG_INFINITY, |next| scores[next[0]]));
        }
    }
    let best = best / first.len() as f64;
    Err(Error::invalid("target", format!("an accuracy of {target} is not reached: {best:.4} at best")))
}

fn descending(scores: &[f64]) -> Result<Vec<f64>> {
    check_scores(scores, scores.len())?;
    if scores.is_empty() {
        return Err(Error::invalid("scores", "there are none"));
    }
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    Ok(sorted)
}
