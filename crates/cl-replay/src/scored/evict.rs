//! Which sample makes room.

use cl_core::{Error, Result, Rng};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::ledger::{Ledger, Score, normalise, position};

/// A rule for what a full memory gives up when a sample is offered. [`Evict`] has the usual ones; anything
/// that implements this is as good.
///
/// ```
/// use cl_core::{Result, Rng};
/// use cl_replay::scored::{Eviction, Ledger, Score, Scored};
///
/// /// What was sampled most often has done its work.
/// struct WornOut;
///
/// impl Eviction for WornOut {
///     fn victim(&self, held: &Ledger, _new: &[f64], _rng: &mut Rng) -> Result<Option<usize>> {
///         let accesses = held.column(&Score::Accesses)?;
///         Ok((0..held.len()).max_by(|&a, &b| accesses[a].total_cmp(&accesses[b]).then(b.cmp(&a))))
///     }
/// }
///
/// let memory = Scored::new(100, &["loss"], WornOut, cl_core::rng(0, "memory"))?;
/// # assert!(memory.is_empty());
/// # Ok::<(), cl_core::Error>(())
/// ```
pub trait Eviction {
    /// The slot that is given up for a new sample with the scores `new`, in the order of
    /// [`Ledger::names`]; `None` turns the new sample away. Asked only where the memory is full;
    /// [`Ledger::seen`] counts the new sample already.
    ///
    /// # Errors
    /// Its own; the memory then is what it was before the batch. An answer that is not a slot is an error,
    /// too.
    fn victim(&self, held: &Ledger, new: &[f64], rng: &mut Rng) -> Result<Option<usize>>;

    /// Whether it can work on scores of these names; asked when the memory is made.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&self, names: &[String]) -> Result<()> {
        let _ = names;
        Ok(())
    }
}

/// The usual rules. Where several samples are equally dispensable, the one in the first slot goes. Except
/// for [`Reservoir`](Self::Reservoir), each costs time in proportion to the number of samples in memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Evict {
    /// The sample that came in first: the memory is a queue.
    Oldest,
    /// The sample that was not sampled, and did not come in, for the longest time.
    LeastRecentlyAccessed,
    /// The sample with the lowest score of this name, the new one included, which has to be better than the
    /// worst to come in: the memory holds the best of the stream, by scores as they stand.
    LowestScore(String),
    /// Any sample, all equally likely: the memory forgets exponentially.
    Random,
    /// As in [`crate::Reservoir`]: every sample of the stream stays with equal probability.
    Reservoir,
    /// The sample that is worth least by [`Worth`].
    LeastWorth(Worth),
    /// Gradient-based sample selection, greedy (Aljundi et al. 2019, algorithm 2). The score of this name is
    /// what [`gss::similarity`](crate::gss::similarity) gave, Cᵢ. A new sample with c ≥ 1, whose gradient is
    /// not opposed to all it was compared with, is turned away. Otherwise a candidate i is drawn with
    /// probability Cᵢ / ΣⱼCⱼ and replaced with probability Cᵢ / (Cᵢ + c).
    ///
    /// The authors' code differs: it decides c < 1 by the mean gradient of a batch, and draws candidates
    /// by (Cᵢ − min C) / (max C − min C + 0.01).
    GssGreedy(String),
}

/// What a sample is worth, to [`Evict::LeastWorth`]:
///
/// −age·(1 − exp(−a/τ)) + access·ln(1 + n) + Σ w·ŝ,
///
/// with a the sample's age in offered samples, n how often it was sampled, and ŝ its scores, each normalised
/// over the memory to (s − min) / (max − min), or to 0 where all are equal. A new sample always comes in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worth {
    /// What age takes away, at most.
    pub age: f64,
    /// The age, in offered samples, at which 63 % of that is gone.
    pub tau: f64,
    /// What accesses add. Negative, it lets samples go that were used often.
    pub access: f64,
    /// What scores add: name and w. Negative, it lets samples with a high score go.
    pub scores: Vec<(String, f64)>,
}

impl Default for Worth {
    /// Age only, over 1000 samples.
    fn default() -> Self {
        Self { age: 1.0, tau: 1000.0, access: 0.0, scores: Vec::new() }
    }
}

impl Worth {
    /// The worth of every sample in memory, by slot.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a name that the memory does not have.
    pub fn of(&self, held: &Ledger) -> Result<Vec<f64>> {
        let ages = held.column(&Score::Age)?;
        let accesses = held.column(&Score::Accesses)?;
        let term = |(a, n): (f64, f64)| self.access * n.ln_1p() - self.age * -(-a / self.tau).exp_m1();
        let mut worth: Vec<f64> = ages.into_iter().zip(accesses).map(term).collect();
        for (name, weight) in &self.scores {
            let mut column = held.column(&Score::Named(name.clone()))?;
            normalise(&mut column);
            worth.iter_mut().zip(column).for_each(|(worth, score)| *worth += weight * score);
        }
        Ok(worth)
    }
}

impl Eviction for Evict {
    fn victim(&self, held: &Ledger, new: &[f64], rng: &mut Rng) -> Result<Option<usize>> {
        Ok(match self {
            Self::Oldest => last(&held.column(&Score::Age)?),
            Self::LeastRecentlyAccessed => last(&held.column(&Score::Idle)?),
            Self::LowestScore(name) => {
                let scores = held.column(&Score::Named(name.clone()))?;
                let own = new[position(held.names(), name)?];
                first(&scores).filter(|&slot| scores[slot] < own)
            }
            Self::Random => Some(rng.random_range(0..held.len() as u64) as usize),
            Self::Reservoir => match rng.random_range(0..held.seen()) {
                slot if slot < held.len() as u64 => Some(slot as usize),
                _ => None,
            },
            Self::LeastWorth(worth) => first(&worth.of(held)?),
            Self::GssGreedy(name) => {
                let scores = held.column(&Score::Named(name.clone()))?;
                let own = new[position(held.names(), name)?];
                gss_greedy(name, &scores, own, rng)?
            }
        })
    }

    fn check(&self, names: &[String]) -> Result<()> {
        match self {
            Self::LowestScore(name) | Self::GssGreedy(name) => position(names, name).map(drop),
            Self::LeastWorth(worth) => {
                let mut weights =
                    worth.scores.iter().map(|&(_, weight)| weight).chain([worth.age, worth.access]);
                if !weights.all(f64::is_finite) || worth.tau.is_nan() || worth.tau <= 0.0 {
                    let why = format!("finite weights and a tau above 0 are needed: {worth:?}");
                    return Err(Error::invalid("worth", why));
                }
                worth.scores.iter().try_for_each(|(name, _)| position(names, name).map(drop))
            }
            _ => Ok(()),
        }
    }
}

fn gss_greedy(name: &str, scores: &[f64], own: f64, rng: &mut Rng) -> Result<Option<usize>> {
    if let Some(score) = scores.iter().chain([&own]).find(|&&score| score < 0.0) {
        let why = format!("{score} is no similarity, which is a cosine plus one");
        return Err(Error::invalid(format!("score \"{name}\""), why));
    }
    if own >= 1.0 {
        return Ok(None);
    }
    // All scores may be 0, and then the memory could not be more diverse.
    let total: f64 = scores.iter().sum();
    let mass = rng.random::<f64>() * total;
    let accept = rng.random::<f64>();
    let mut sum = 0.0;
    let reached = scores.iter().position(|score| {
        sum += score;
        sum > mass
    });
    // Rounding can leave the sum at the mass; the candidate then is the last that has a chance.
    let candidate = reached.or_else(|| scores.iter().rposition(|&score| score > 0.0));
    Ok(candidate.filter(|&i| accept < scores[i] / (scores[i] + own)))
}

/// The slot of the smallest number, the first of several.
fn first(column: &[f64]) -> Option<usize> {
    (0..column.len()).min_by(|&a, &b| column[a].total_cmp(&column[b]))
}

/// The slot of the largest number, the first of several.
fn last(column: &[f64]) -> Option<usize> {
    (0..column.len()).min_by(|&a, &b| column[b].total_cmp(&column[a]))
}
