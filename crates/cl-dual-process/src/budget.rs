//! A budget of multiply-adds over a stream.

use std::collections::VecDeque;

use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::arbiter::{Arbiter, checked, highest};
use crate::confidence::Score;
use crate::system::First;

/// The multiply-adds of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// Of System 1 and of what decides: every row pays them.
    pub fast: u64,
    /// Of System 2: deferred rows pay it besides.
    pub slow: u64,
}

impl Costs {
    /// The share of rows that can be deferred with this much for each row on the mean, at most 1.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a budget that does not pay for System 1, and for a System 2 that costs nothing.
    pub fn share(&self, per_row: f64) -> Result<f64> {
        if self.slow == 0 {
            return Err(Error::invalid("costs", "System 2 costs nothing: there is nothing to save"));
        }
        if per_row.is_nan() || per_row < self.fast as f64 {
            let why =
                format!("{per_row} multiply-adds a row do not pay for System 1, which takes {}", self.fast);
            return Err(Error::invalid("budget", why));
        }
        Ok(((per_row - self.fast as f64) / self.slow as f64).min(1.0))
    }

    /// The mean multiply-adds of a row where this share is deferred.
    pub fn mean(&self, share: f64) -> f64 {
        self.fast as f64 + share * self.slow as f64
    }
}

/// Keeps the mean cost of a stream within a budget at every moment, and spends it on the highest scores: the threshold follows
/// the last scores, so that it stays right where the stream changes.
///
/// A token bucket: every row adds the budget's share of a deferral, a deferral takes 1. What a quiet time leaves over can be spent
/// later, `burst` deferrals of it at most. Counted from the beginning of the stream, no more is spent than came in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Budget<S> {
    score: S,
    share: f64,
    burst: f64,
    tokens: f64,
    window: usize,
    last: VecDeque<f64>,
}

impl<S: Score> Budget<S> {
    /// `per_row` multiply-adds for each row on the mean; up to `burst` unspent deferrals are kept; the threshold is that of the
    /// last `window` rows.
    ///
    /// # Errors
    /// As [`Costs::share`]; a burst below 1 or that is not finite, a window of 0.
    pub fn new(score: S, costs: Costs, per_row: f64, burst: f64, window: usize) -> Result<Self> {
        let share = costs.share(per_row)?;
        if !(burst.is_finite() && burst >= 1.0) {
            return Err(Error::invalid("burst", format!("{burst}: at least 1, or nothing is ever deferred")));
        }
        if window == 0 {
            return Err(Error::invalid("window", "0 rows give no threshold: some hundreds do"));
        }
        Ok(Self { score, share, burst, tokens: 0.0, window, last: VecDeque::new() })
    }

    /// The share of rows that the budget pays for.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// The score above which a row was deferred if the bucket allowed it; None before the first batch.
    pub fn threshold(&self) -> Option<f64> {
        let mut sorted: Vec<f64> = self.last.iter().copied().collect();
        sorted.sort_by(|a, b| b.total_cmp(a));
        sorted.get((self.share * sorted.len() as f64) as usize).or(sorted.last()).copied()
    }
}

impl<S: Score> Arbiter for Budget<S> {
    fn defer(&mut self, first: &First) -> Result<Vec<bool>> {
        let scores = checked(&self.score, first)?;
        self.last.extend(&scores);
        let surplus = self.last.len().saturating_sub(self.window);
        self.last.drain(..surplus);
        let mut tokens = self.tokens + self.share * scores.len() as f64;
        let most = (tokens + 1e-9).floor() as usize;
        // With a share of 1 there is nothing to choose.
        let threshold = if self.share < 1.0 { self.threshold() } else { None };
        let deferred = highest(&scores, most, |score| threshold.is_none_or(|threshold| score > threshold));
        tokens -= deferred.iter().filter(|&&deferred| deferred).count() as f64;
        self.tokens = tokens.clamp(0.0, self.burst);
        Ok(deferred)
    }
}
