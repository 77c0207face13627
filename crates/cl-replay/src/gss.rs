//! Gradient-based sample selection: a memory whose gradients point in all directions (Aljundi et al. 2019).
//!
//! Both forms look at nothing but the angles between the gradients of samples, which
//! [`gradient_cosine`](crate::scores::gradient_cosine) has without forming a gradient.
//!
//! **Greedy** (algorithm 2). A new sample's score is its [`similarity`] to a few random samples of the
//! memory; the memory is a [`Scored`](crate::Scored) with the policy
//! [`Evict::GssGreedy`](crate::scored::Evict::GssGreedy):
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use cl_replay::scored::{Evict, Scored, Strategy};
//! use cl_replay::{Draw, gss, scores};
//!
//! # fn main() -> cl_core::Result<()> {
//! # fn gradients(x: &Tensor, _y: &Tensor) -> cl_core::Result<Tensor> { Ok((x - 0.5)?) }
//! let policy = Evict::GssGreedy("similarity".into());
//! let mut memory = Scored::new(4, &["similarity"], policy, cl_core::rng(0, "memory"))?;
//! let mut draws = cl_core::rng(0, "gss");
//! for step in 0..20u32 {
//!     let x = Tensor::full(step as f32 % 3.0, (2, 5), &Device::Cpu)?;
//!     let y = Tensor::full(step % 3, 2, &Device::Cpu)?;
//!     let similarity = if memory.is_empty() {
//!         Tensor::full(gss::FIRST, 2, &Device::Cpu)?
//!     } else {
//!         let uniform = Strategy::Uniform(Draw::WithoutReplacement);
//!         let random = memory.peek(memory.len().min(10), &uniform, &mut draws)?;
//!         let (new, old) = (gradients(&x, &y)?, gradients(&random.x, &random.y)?);
//!         gss::similarity(&scores::cosine(&new, &old)?)?
//!     };
//!     memory.offer(&x, &y, &[("similarity", &similarity)])?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Integer quadratic programme** (algorithm 1). Of all samples of the memory and all recent ones, the
//! subset that minimizes the sum of the cosines between its members: [`select`].

use candle_core::{DType, Tensor};
use cl_core::{Error, Result};

/// The similarity of a sample that has nothing to be compared with, since the memory is empty: a cosine of
/// 0.1, as the authors' code has it; the paper does not say.
pub const FIRST: f64 = 1.1;

/// The greedy score, the largest cosine plus one: `cosines` (n, m), of n new samples and m > 0 random samples
/// of the memory → (n), from 0, opposed to all of them, to 2, the same direction as one of them.
///
/// # Errors
/// [`Error::Mismatch`] on no samples to compare with, see [`FIRST`]; candle's own.
pub fn similarity(cosines: &Tensor) -> Result<Tensor> {
    match cosines.dims() {
        &[_, m] if m > 0 => Ok((cosines.max(1)? + 1.0)?),
        dims => Err(Error::mismatch(
            "similarity",
            "the cosines of n new samples and m > 0 of the memory, (n, m)",
            format!("{dims:?}"),
        )),
    }
}

/// What [`select`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// The chosen rows, ascending.
    pub rows: Vec<u32>,
    /// Σᵢⱼ cos(i, j) over all ordered pairs of them, i = j included.
    pub cost: f64,
    /// Whether no other subset costs less (by more than 1e-9). If not, the search ended early, and this is
    /// the best that was found.
    pub optimal: bool,
}

/// The `k` of n samples whose gradients differ most: minimizes Σᵢⱼ cos(gᵢ, gⱼ) over the pairs of the subset,
/// `cosines` (n, n) symmetric.
///
/// Up to 16 greedy choices, each with another sample first, are improved by exchanging one sample for another
/// until no exchange helps. Then branch and bound looks for something better than the best of them, or proves
/// that there is nothing, and gives up after `nodes` nodes of about n² steps each; with 0, the exchanges are
/// all that is done. (The authors' solver is cut off, too, after 1000 relaxed problems.)
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_replay::{gss, scores};
///
/// let gradients = Tensor::new(&[[1f32, 0.0], [0.9, 0.1], [-1.0, 0.0], [0.0, 1.0]], &Device::Cpu)?;
/// let chosen = gss::select(&scores::cosine(&gradients, &gradients)?, 2, 1000)?;
/// assert_eq!((chosen.rows, chosen.optimal), (vec![0, 2], true));
/// # Ok::<(), cl_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::Mismatch`] where the matrix is not square, [`Error::Invalid`] where it is not symmetric within
/// 1e-3 or not finite, and on a `k` above n.
pub fn select(cosines: &Tensor, k: usize, nodes: u64) -> Result<Selection> {
    let problem = Problem::new(cosines)?;
    let n = problem.n;
    if k > n {
        return Err(Error::invalid("select", format!("{k} of {n} samples cannot be chosen")));
    }
    let starts = (0..n.clamp(1, STARTS)).map(|first| {
        let mut subset = problem.greedy(k, first);
        problem.exchange(&mut subset);
        subset
    });
    let best = starts.min_by(|a, b| problem.cost(a).total_cmp(&problem.cost(b))).unwrap_or_default();
    let mut search = Search { problem: &problem, k, nodes, best_cost: problem.cost(&best), best };
    let optimal = search.branch(&mut Vec::with_capacity(k), 0.0, &(0..n).collect::<Vec<_>>());
    let mut best = search.best;
    best.sort_unstable();
    Ok(Selection {
        cost: problem.cost(&best),
        rows: best.into_iter().map(|row| row as u32).collect(),
        optimal,
    })
}

/// Greedy choices that are improved, each with another sample first.
const STARTS: usize = 16;

/// An improvement that is not one of rounding.
const TOLERANCE: f64 = 1e-10;

/// The cost matrix, symmetric.
struct Problem {
    n: usize,
    cosines: Vec<f64>,
}

impl Problem {
    fn new(cosines: &Tensor) -> Result<Self> {
        let n = match cosines.dims() {
            &[n, m] if n == m => n,
            dims => return Err(Error::mismatch("select", "cosines (n, n)", format!("{dims:?}"))),
        };
        let given = cosines.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        if let Some(at) = given.iter().position(|value| !value.is_finite()) {
            return Err(Error::invalid("select", format!("({}, {}) is {}", at / n, at % n, given[at])));
        }
        let mut cosines = given.clone();
        for i in 0..n {
            for j in 0..n {
                let (a, b) = (given[i * n + j], given[j * n + i]);
                if (a - b).abs() > 1e-3 {
                    return Err(Error::invalid("select", format!("({i}, {j}) is {a}, ({j}, {i}) is {b}")));
                }
                cosines[i * n + j] = 0.5 * (a + b);
            }
        }
        Ok(Self { n, cosines })
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.cosines[i * self.n + j]
    }

    /// What a subset costs.
    fn cost(&self, subset: &[usize]) -> f64 {
        subset.iter().map(|&i| subset.iter().map(|&j| self.at(i, j)).sum::<f64>()).sum()
    }

    /// What `i` adds to the cost of a subset that it is not part of.
    fn added(&self, subset: &[usize], i: usize) -> f64 {
        self.at(i, i) + 2.0 * subset.iter().map(|&j| self.at(i, j)).sum::<f64>()
    }

    /// One after the other, always the one that adds least, after `first`.
    fn greedy(&self, k: usize, first: usize) -> Vec<usize> {
        let mut added: Vec<f64> = (0..self.n).map(|i| self.at(i, i)).collect();
        if let Some(added) = added.get_mut(first) {
            *added = f64::NEG_INFINITY;
        }
        let mut chosen = Vec::with_capacity(k);
        for _ in 0..k {
            let Some(next) = (0..self.n).min_by(|&i, &j| added[i].total_cmp(&added[j])) else { break };
            chosen.push(next);
            added.iter_mut().enumerate().for_each(|(i, added)| *added += 2.0 * self.at(i, next));
            added[next] = f64::INFINITY;
        }
        chosen
    }

    /// Exchanges a member for another sample as long as one exchange makes the subset cheaper, the best
    /// first.
    fn exchange(&self, subset: &mut [usize]) {
        // The sum of the cosines of each sample to the subset.
        let mut sums: Vec<f64> = (0..self.n).map(|i| subset.iter().map(|&j| self.at(i, j)).sum()).collect();
        let mut inside = vec![false; self.n];
        subset.iter().for_each(|&i| inside[i] = true);
        loop {
            let mut best = (-TOLERANCE, None);
            for (place, &out) in subset.iter().enumerate() {
                for new in (0..self.n).filter(|&i| !inside[i]) {
                    let change = self.at(new, new)
                        + self.at(out, out)
                        + 2.0 * (sums[new] - self.at(new, out) - sums[out]);
                    if change < best.0 {
                        best = (change, Some((place, new)));
                    }
                }
            }
            let Some((place, new)) = best.1 else { return };
            let out = std::mem::replace(&mut subset[place], new);
            (inside[out], inside[new]) = (false, true);
            sums.iter_mut().enumerate().for_each(|(i, sum)| *sum += self.at(i, new) - self.at(i, out));
        }
    }
}

/// Branch and bound, depth first.
struct Search<'a> {
    problem: &'a Problem,
    k: usize,
    /// How many nodes may still be looked at.
    nodes: u64,
    best: Vec<usize>,
    best_cost: f64,
}

impl Search<'_> {
    /// Tries all ways to complete `chosen`, of that cost, from `open`. Returns whether it came to an end.
    fn branch(&mut self, chosen: &mut Vec<usize>, cost: f64, open: &[usize]) -> bool {
        let missing = self.k - chosen.len();
        if missing == 0 {
            if cost < self.best_cost - TOLERANCE {
                (self.best_cost, self.best) = (cost, chosen.clone());
            }
            return true;
        }
        // For each open sample, what it adds at least: its part of the pairs with chosen ones, and half of
        // the pairs with the missing − 1 open samples that are cheapest for it.
        let mut least: Vec<(f64, usize)> = open
            .iter()
            .map(|&i| {
                let mut others: Vec<f64> =
                    open.iter().filter(|&&j| j != i).map(|&j| self.problem.at(i, j)).collect();
                if missing - 1 < others.len() {
                    others.select_nth_unstable_by(missing - 1, f64::total_cmp);
                    others.truncate(missing - 1);
                }
                (self.problem.added(chosen, i) + others.iter().sum::<f64>(), i)
            })
            .collect();
        least.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (tried, &(_, i)) in least.iter().enumerate() {
            // From here on, without the samples that were tried.
            let rest = &least[tried..];
            if rest.len() < missing {
                return true;
            }
            let bound = cost + rest[..missing].iter().map(|&(least, _)| least).sum::<f64>();
            if bound > self.best_cost - TOLERANCE {
                return true;
            }
            if self.nodes == 0 {
                return false;
            }
            self.nodes -= 1;
            let added = self.problem.added(chosen, i);
            let open: Vec<usize> = rest[1..].iter().map(|&(_, j)| j).collect();
            chosen.push(i);
            let ended = self.branch(chosen, cost + added, &open);
            chosen.pop();
            if !ended {
                return false;
            }
        }
        true
    }
}
