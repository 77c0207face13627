//! What decides which rows are sent on.

use std::time::{Duration, Instant};

use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::confidence::{Score, check_scores};
use crate::curve::check_share;
use crate::system::First;

/// Decides which rows of a batch System 2 answers. Any closure over a [`First`] is one.
pub trait Arbiter {
    /// Whether each row is deferred.
    ///
    /// # Errors
    /// Answers that it cannot judge.
    fn defer(&mut self, first: &First) -> Result<Vec<bool>>;
}

impl<F: FnMut(&First) -> Result<Vec<bool>>> Arbiter for F {
    fn defer(&mut self, first: &First) -> Result<Vec<bool>> {
        self(first)
    }
}

/// System 1 alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Never;

/// System 2 alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Always;

impl Arbiter for Never {
    fn defer(&mut self, first: &First) -> Result<Vec<bool>> {
        Ok(vec![false; first.len()])
    }
}

impl Arbiter for Always {
    fn defer(&mut self, first: &First) -> Result<Vec<bool>> {
        Ok(vec![true; first.len()])
    }
}

/// Defers the rows with a score above a threshold, each by itself: [`calibrate`](crate::calibrate) chooses one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold<S> {
    /// What is looked at.
    pub score: S,
    /// Above it a row is deferred.
    pub above: f64,
}

impl<S: Score> Arbiter for Threshold<S> {
    fn defer(&mut self, first: &First) -> Result<Vec<bool>> {
        if self.above.is_nan() {
            return Err(Error::invalid("threshold", "it is no number"));
        }
        Ok(checked(&self.score, first)?.iter().map(|&score| score > self.above).collect())
    }
}

/// Defers a share of each batch, the highest scores first: a cost that is known beforehand, for batches that are large enough.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TopShare<S> {
    /// What is looked at.
    pub score: S,
    /// Between 0 and 1; ⌊share · n⌋ of n rows are deferred.
    pub share: f64,
}

impl<S: Score> Arbiter for TopShare<S> {
    fn defer(&mut self, first: &First) -> Result<Vec<bool>> {
        check_share("share", self.share)?;
        let scores = checked(&self.score, first)?;
        // 0.3 of 10 rows are 3, whatever 0.3 is in binary.
        let most = (self.share * scores.len() as f64 + 1e-9).floor() as usize;
        Ok(highest(&scores, most, |_| true))
    }
}

/// Defers no more rows than System 2 can be expected to answer before a deadline, the highest scores above a threshold first.
/// What it decides depends on the clock. [`Anytime`](crate::Anytime) holds a deadline that System 2 does not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deadline<S> {
    /// What is looked at.
    pub score: S,
    /// Above it a row may be deferred.
    pub above: f64,
    /// What System 2 takes for any batch.
    pub per_batch: Duration,
    /// What it takes for each row besides.
    pub per_row: Duration,
    /// When answers are needed: set it for each batch.
    pub until: Instant,
}

impl<S: Score> Arbiter for Deadline<S> {
    fn defer(&mut self, first: &First) -> Result<Vec<bool>> {
        if self.above.is_nan() {
            return Err(Error::invalid("threshold", "it is no number"));
        }
        let scores = checked(&self.score, first)?;
        let left = self.until.saturating_duration_since(Instant::now()).checked_sub(self.per_batch);
        let fit = match left {
            None => 0,
            Some(_) if self.per_row.is_zero() => scores.len(),
            Some(left) => (left.as_nanos() / self.per_row.as_nanos()).min(scores.len() as u128) as usize,
        };
        Ok(highest(&scores, fit, |score| score > self.above))
    }
}

/// The scores of a batch, one for each row, all finite.
pub(crate) fn checked(score: &impl Score, first: &First) -> Result<Vec<f64>> {
    let scores = score.scores(first)?;
    check_scores(&scores, first.len())?;
    Ok(scores)
}

/// Marks at most `most` rows whose score may be taken, the highest first; of equal ones, those that come first.
pub(crate) fn highest(scores: &[f64], most: usize, may: impl Fn(f64) -> bool) -> Vec<bool> {
    let mut order: Vec<usize> = (0..scores.len()).filter(|&row| may(scores[row])).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut marked = vec![false; scores.len()];
    order.into_iter().take(most).for_each(|row| marked[row] = true);
    marked
}
