//! The continuous Hopfield network (Ramsauer et al. 2021): patterns and states are real numbers, and one update is
//! attention. All on plain tensors: patterns (m, d), states (n, d), f32 or f64, or f16 and bf16 to retrieve from.
//!
//! ξ ← softmax(β ξXᵀ) X takes a state to the pattern it is near, where β is large for how far the patterns lie apart; where it
//! is small, to a mean of several. Whether a pattern is found depends on β, on the lengths of the patterns and on how they lie:
//! [`separation`] and [`error_bound`] tell. Patterns of length 1 with β = 1 are averaged, whatever their number.
//!
//! Nothing here makes a matrix of states × patterns.

use candle_core::{D, Tensor};
use cl_core::{Error, Result, TensorOps};
use serde::{Deserialize, Serialize};

/// How often a state is updated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Steps {
    /// So often. Once is attention.
    Exactly(usize),
    /// Until no state moves by more than `tolerance` (Euclidean length), or `at_most` so often.
    Until {
        /// How little a state moves that is at rest.
        tolerance: f64,
        /// The most updates.
        at_most: usize,
    },
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Retrieved {
    /// The states in the end (n, d).
    pub state: Tensor,
    /// Updates that were made.
    pub steps: usize,
    /// How far the last of them moved the state that moved most; `None` where none was made, or nobody asked.
    pub moved: Option<f64>,
}

/// ξ ← softmax(β ξXᵀ) X, from each of `queries` (n, d) on, among `patterns` X (m, d) (eq. 3). Differentiable in both.
///
/// # Errors
/// [`Error::Invalid`] for a β that is not positive, a tolerance that is negative or no number, and no patterns;
/// [`Error::Mismatch`] for shapes or dtypes that do not fit.
pub fn retrieve(queries: &Tensor, patterns: &Tensor, beta: f64, steps: Steps) -> Result<Retrieved> {
    check(beta)?;
    settle(queries, steps, |state| state.retrieve(patterns, patterns, beta, None))
}

/// [`retrieve`] among the patterns of all `parts` (m, d), of which one at a time is brought to where the queries are: for more
/// patterns than the memory of a GPU holds. The same to rounding: with Lᶜ = ln Σ exp(β ξᵀx) over a part and vᶜ what is retrieved from
/// it, all of them give Σ softmax(L)ᶜ vᶜ. Differentiable in the queries; what is recorded for it holds every part that was brought, so
/// detach them where no gradient is wanted.
///
/// # Errors
/// As [`retrieve`].
pub fn retrieve_in_parts(queries: &Tensor, parts: &[Tensor], beta: f64, steps: Steps) -> Result<Retrieved> {
    check(beta)?;
    settle(queries, steps, |state| {
        let mut all: Option<(Tensor, Tensor)> = None;
        for part in parts.iter().filter(|part| part.elem_count() > 0) {
            let part = part.to_device(state.device())?;
            let (found, log) = state.retrieve_with_log_partition(&part, &part, beta, None)?;
            let found = found.to_dtype(log.dtype())?;
            all = Some(match all {
                None => (found, log),
                Some(before) => merged(before, (found, log))?,
            });
        }
        let (found, _) = all.ok_or_else(|| Error::invalid("patterns", "there are none"))?;
        Ok(found.to_dtype(queries.dtype())?)
    })
}

/// What is retrieved (n, d) from two parts together, and its log-sum-exp (n), of those of each.
fn merged((v, log): (Tensor, Tensor), (other, other_log): (Tensor, Tensor)) -> Result<(Tensor, Tensor)> {
    let top = log.maximum(&other_log)?.detach();
    let (weight, other_weight) = ((log - &top)?.exp()?, (other_log - &top)?.exp()?);
    let sum = (&weight + &other_weight)?;
    let share = |weight: Tensor| (weight / &sum)?.unsqueeze(1);
    let found = (v.broadcast_mul(&share(weight)?)? + other.broadcast_mul(&share(other_weight)?)?)?;
    Ok((found, (top + sum.log()?)?))
}

/// Updates states (n, d) as often as `steps` says.
pub(crate) fn settle(
    queries: &Tensor,
    steps: Steps,
    update: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Retrieved> {
    let mut found = Retrieved { state: queries.clone(), steps: 0, moved: None };
    let (tolerance, at_most) = match steps {
        Steps::Exactly(n) => (None, n),
        Steps::Until { tolerance, .. } if tolerance.is_nan() || tolerance < 0.0 => {
            return Err(Error::invalid("tolerance", format!("{tolerance} is no distance")));
        }
        Steps::Until { tolerance, at_most } => (Some(tolerance), at_most),
    };
    while found.steps < at_most {
        let next = update(&found.state)?;
        if tolerance.is_some() {
            found.moved = Some(longest(&(&next.detach() - found.state.detach())?)?);
        }
        found.state = next;
        found.steps += 1;
        if tolerance.zip(found.moved).is_some_and(|(tolerance, moved)| moved <= tolerance) {
            break;
        }
    }
    Ok(found)
}

/// E = −β⁻¹ lse(βXξ) + ½ξᵀξ + β⁻¹ ln m + ½M² of each state (n, d): (n), M the length of the longest pattern (eq. 2). No update
/// raises it, and it lies between 0 and 2M² for states within the patterns. Differentiable but in M.
///
/// # Errors
/// As [`retrieve`].
pub fn energy(states: &Tensor, patterns: &Tensor, beta: f64) -> Result<Tensor> {
    check(beta)?;
    let most = longest(patterns)?;
    let constant = (patterns.dim(0)? as f64).ln() / beta + 0.5 * most * most;
    let near = states.log_partition(patterns, beta, None)?;
    Ok(((states.sqr()?.sum(D::Minus1)? * 0.5)? - (near / beta)?)?.affine(1.0, constant)?)
}

/// Δᵢ = min over j ≠ i of xᵢᵀxᵢ − xᵢᵀxⱼ, for each pattern (m, d): (m) (def. 2). The larger, the easier a pattern is found; below
/// 0 another one is found in its place. Infinite where there is one pattern only.
///
/// In blocks: m² products, and no matrix of them.
///
/// # Errors
/// [`Error::Mismatch`] for other shapes than (m, d); no patterns.
pub fn separation(patterns: &Tensor) -> Result<Vec<f64>> {
    const BLOCK: usize = 256;
    let (m, _) = matrix(patterns)?;
    let x = patterns.detach().to_dtype(candle_core::DType::F64)?;
    let mut all = Vec::with_capacity(m);
    for from in (0..m).step_by(BLOCK) {
        let rows = x.narrow(0, from, BLOCK.min(m - from))?;
        let products = rows.matmul(&x.t()?)?.to_vec2::<f64>()?;
        for (row, products) in products.iter().enumerate() {
            let i = from + row;
            let others = products.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, product)| product);
            all.push(others.fold(f64::INFINITY, |least, product| least.min(products[i] - product)));
        }
    }
    Ok(all)
}

/// What one update from a state at distance `r` of pattern i may be off: 2(m − 1) M exp(−β(Δᵢ − 2rM)), M the length of the
/// longest of `m` patterns (theorem 4, which takes for `r` the distance of the fixed point too, where that is more).
///
/// Any other pattern j has at most the weight exp(−β(ξᵀxᵢ − ξᵀxⱼ)), ξᵀxᵢ − ξᵀxⱼ is at least Δᵢ − r‖xᵢ − xⱼ‖, and no two patterns are
/// more than 2M apart.
pub fn error_bound(m: usize, longest: f64, separation: f64, r: f64, beta: f64) -> f64 {
    match m {
        0 | 1 => 0.0,
        _ => 2.0 * (m - 1) as f64 * longest * (-beta * (separation - 2.0 * r * longest)).exp(),
    }
}

pub(crate) fn check(beta: f64) -> Result<()> {
    if beta > 0.0 && beta.is_finite() {
        return Ok(());
    }
    Err(Error::invalid("beta", format!("{beta} is not a positive number")))
}

fn matrix(patterns: &Tensor) -> Result<(usize, usize)> {
    match *patterns.dims() {
        [0, _] => Err(Error::invalid("patterns", "there are none")),
        [m, d] => Ok((m, d)),
        _ => Err(Error::mismatch("patterns", "(m, d)", format!("{:?}", patterns.dims()))),
    }
}

/// The length of the longest row; 0 where there is none.
fn longest(rows: &Tensor) -> Result<f64> {
    if rows.elem_count() == 0 {
        return Ok(0.0);
    }
    let squares = rows.detach().to_dtype(candle_core::DType::F64)?.sqr()?.sum(D::Minus1)?;
    Ok(squares.flatten_all()?.max(0)?.to_scalar::<f64>()?.sqrt())
}
