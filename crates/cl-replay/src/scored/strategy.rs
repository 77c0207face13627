//! Which samples are drawn.

use candle_core::Tensor;
use cl_core::{Error, Result, Rng};
use rand::{Rng as _, distr::Open01};

use super::ledger::{Ledger, Score, normalise};
use crate::{Draw, k_center};

/// What a draw goes by.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One score, as it is.
    One(Score),
    /// Several, Σ w·ŝ: each score normalised over the memory to (s − min) / (max − min), or to 0 where all
    /// are equal. With weights that add up to 1, their mean.
    Mixed(Vec<(Score, f64)>),
}

impl From<&str> for Value {
    fn from(name: &str) -> Self {
        Self::One(name.into())
    }
}

impl From<Score> for Value {
    fn from(score: Score) -> Self {
        Self::One(score)
    }
}

impl Value {
    /// Of every sample in memory, by slot.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a name that the memory does not have, on no scores, and on a weight that is not
    /// finite.
    pub fn of(&self, held: &Ledger) -> Result<Vec<f64>> {
        match self {
            Self::One(score) => held.column(score),
            Self::Mixed(scores) => {
                if scores.is_empty() || scores.iter().any(|(_, weight)| !weight.is_finite()) {
                    let why = format!("one score or more with finite weights are needed: {scores:?}");
                    return Err(Error::invalid("mixed scores", why));
                }
                let mut values = vec![0.0; held.len()];
                for (score, weight) in scores {
                    let mut column = held.column(score)?;
                    normalise(&mut column);
                    values.iter_mut().zip(column).for_each(|(value, score)| *value += weight * score);
                }
                Ok(values)
            }
        }
    }
}

/// How samples are drawn from a memory.
#[derive(Debug, Clone)]
pub enum Strategy {
    /// All samples equally likely.
    Uniform(Draw),
    /// In proportion to a value of zero or more; all equally likely where it is zero for all. Without
    /// replacement, in proportion among those that are left. A sample with zero is never drawn beside others
    /// that have more.
    Proportional(Value, Draw),
    /// In proportion to exp(value / temperature): nearly uniform at a high temperature, nearly
    /// [`Top`](Self::Top) at a low one.
    Softmax {
        /// May be negative.
        value: Value,
        /// Above zero, in the units of the value.
        temperature: f64,
        /// Whether a sample may be drawn twice.
        draw: Draw,
    },
    /// The samples with the highest values, highest first, of equal ones the lower slot first. Not random.
    Top(Value),
    /// Samples that cover all others in the space of some features, as by [`k_center`](crate::k_center). Not
    /// random.
    KCenter {
        /// (len, d), in the order of [`Scored::all`](super::Scored::all).
        features: Tensor,
        /// The slot that is the first center.
        first: usize,
    },
}

impl Strategy {
    /// `n` slots. The generator has moved only where this succeeds.
    pub(super) fn slots(&self, n: usize, held: &Ledger, rng: &mut Rng) -> Result<Vec<u32>> {
        match self {
            _ if held.is_empty() => {
                Err(Error::invalid("sample", "the memory is empty; offer it samples first"))
            }
            Self::Uniform(draw) => draw.indices(n, held.len(), rng),
            Self::Proportional(value, draw) => {
                let mut values = value.of(held)?;
                if let Some(slot) = values.iter().position(|&value| value < 0.0) {
                    let why =
                        format!("slot {slot} has {}, which is no weight; draw by softmax", values[slot]);
                    return Err(Error::invalid("proportional draw", why));
                }
                if values.iter().all(|&value| value == 0.0) {
                    values.fill(1.0);
                }
                weighted(&values.iter().map(|value| value.ln()).collect::<Vec<_>>(), n, *draw, rng)
            }
            Self::Softmax { value, temperature, draw } => {
                if !(temperature.is_finite() && *temperature > 0.0) {
                    let why = format!("{temperature} is not a finite number above zero");
                    return Err(Error::invalid("temperature", why));
                }
                let values = value.of(held)?;
                let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                // Differences first: a small temperature must not make them infinite minus infinite.
                let logs: Vec<f64> = values.iter().map(|value| (value - largest) / temperature).collect();
                weighted(&logs, n, *draw, rng)
            }
            Self::Top(value) => {
                check_distinct(n, held.len(), "samples are in memory")?;
                let values = value.of(held)?;
                let mut slots: Vec<u32> = (0..held.len() as u32).collect();
                slots.sort_by(|&a, &b| values[b as usize].total_cmp(&values[a as usize]));
                slots.truncate(n);
                Ok(slots)
            }
            Self::KCenter { features, first } => {
                if features.dims().first() != Some(&held.len()) {
                    return Err(Error::mismatch(
                        "k-center draw",
                        format!("{} rows of features, one for each sample in memory", held.len()),
                        format!("{:?}", features.dims()),
                    ));
                }
                match n {
                    0 => Ok(Vec::new()),
                    _ => Ok(k_center(features, n, *first)?.rows),
                }
            }
        }
    }
}

/// Draws in proportion to exp(log). −∞ is a weight of zero.
fn weighted(logs: &[f64], n: usize, draw: Draw, rng: &mut Rng) -> Result<Vec<u32>> {
    match draw {
        Draw::WithReplacement => {
            let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mut total = 0.0;
            let sums: Vec<f64> = logs
                .iter()
                .map(|log| {
                    total += (log - largest).exp();
                    total
                })
                .collect();
            // The intervals are half-open, so that a weight of zero is never hit; the last one that is not
            // empty takes what rounding puts at the very end.
            let end = sums.partition_point(|&sum| sum < total);
            let mut one = || {
                let mass = rng.random::<f64>() * total;
                sums.partition_point(|&sum| sum <= mass).min(end) as u32
            };
            Ok((0..n).map(|_| one()).collect())
        }
        Draw::WithoutReplacement => {
            let possible = logs.iter().filter(|&&log| log > f64::NEG_INFINITY).count();
            check_distinct(n, possible, "samples have a weight above zero")?;
            // The n largest of log w + Gumbel noise are draws one after the other from what is left
            // (Efraimidis and Spirakis 2006; Kool et al. 2019).
            let mut keys: Vec<(f64, u32)> = logs
                .iter()
                .zip(0..)
                .map(|(log, slot)| (log - (-rng.sample::<f64, _>(Open01).ln()).ln(), slot))
                .collect();
            keys.sort_by(|a, b| b.0.total_cmp(&a.0));
            keys.truncate(n);
            Ok(keys.into_iter().map(|(_, slot)| slot).collect())
        }
    }
}

fn check_distinct(n: usize, possible: usize, which: &str) -> Result<()> {
    match n <= possible {
        true => Ok(()),
        false => Err(Error::invalid(
            "sample",
            format!(
                "{n} distinct samples were asked for, {possible} {which}; draw at most that, or with replacement"
            ),
        )),
    }
}
