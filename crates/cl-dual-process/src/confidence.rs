//! How sure an answer is of itself.

use candle_core::Tensor;
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::rows::{Rows, log_softmax};
use crate::system::First;

/// How much each row of a batch is to be deferred: the higher, the rather. Any closure over a [`First`] is one.
pub trait Score {
    /// One finite number a row.
    ///
    /// # Errors
    /// Answers that cannot be scored.
    fn scores(&self, first: &First) -> Result<Vec<f64>>;
}

impl<F: Fn(&First) -> Result<Vec<f64>>> Score for F {
    fn scores(&self, first: &First) -> Result<Vec<f64>> {
        self(first)
    }
}

/// Doubt by the answer's own probabilities p = softmax(z): nothing is learned.
///
/// With an accurate System 2 all of them order rows much alike. Where it errs on the rows that System 1 doubts (noisy labels,
/// a shift that both suffer from), they send it what it cannot mend; see [`LearnedRule`](crate::LearnedRule).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// 1 − max p (Hendrycks & Gimpel 2017; Chow's rule).
    MaxSoftmax,
    /// 1 − (p₍₁₎ − p₍₂₎): how near the second class comes.
    Margin,
    /// −Σ p ln p, divided by ln classes: between 0 and 1 (BranchyNet, Teerapittayanon et al. 2016).
    Entropy,
}

impl Confidence {
    /// The doubt of each row of logits (n, classes), between 0 and 1.
    ///
    /// # Errors
    /// [`Error::Invalid`] for logits that are not finite, and for no rows or a single class.
    pub fn doubt(self, logits: &Tensor) -> Result<Vec<f64>> {
        let rows = Rows::logits("logits", logits)?;
        let classes = rows.width() as f64;
        let doubt = |row: &[f64]| {
            let logs = log_softmax(row, 1.0);
            match self {
                // 1 − p as the sum of the others keeps the order of rows whose p rounds to 1.
                Self::MaxSoftmax => {
                    let (mut p, mut most) = (0.0, 0.0_f64);
                    logs.map(f64::exp).for_each(|q| {
                        p += q.min(most);
                        most = most.max(q);
                    });
                    p
                }
                Self::Margin => {
                    let (first, second) = logs.fold((f64::NEG_INFINITY, f64::NEG_INFINITY), |best, log| {
                        if log > best.0 { (log, best.0) } else { (best.0, best.1.max(log)) }
                    });
                    1.0 - (first.exp() - second.exp())
                }
                Self::Entropy => logs.map(|log| -log.exp() * log).sum::<f64>() / classes.ln(),
            }
        };
        Ok(rows.iter().map(|row| doubt(row).clamp(0.0, 1.0)).collect())
    }
}

impl Score for Confidence {
    fn scores(&self, first: &First) -> Result<Vec<f64>> {
        self.doubt(&first.logits)
    }
}

/// An error unless there is a finite score for each of `n` rows.
pub(crate) fn check_scores(scores: &[f64], n: usize) -> Result<()> {
    if scores.len() != n {
        return Err(Error::mismatch("scores", format!("one for each of {n} rows"), scores.len().to_string()));
    }
    match scores.iter().position(|score| !score.is_finite()) {
        Some(row) => Err(Error::invalid("scores", format!("that of row {row} is {}", scores[row]))),
        None => Ok(()),
    }
}
