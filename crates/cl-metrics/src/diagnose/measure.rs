//! From tensors and lists to the numbers of a trace: what an observer calls.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use cl_core::{Error, Result};

use super::{Importance, NEAR_ZERO, Priorities, SATURATED_FROM};

/// ‖g‖₂ of all tensors together, summed in f64: one number for the gradients of all parameters.
///
/// # Errors
/// Those of candle.
pub fn norm(tensors: &[Tensor]) -> Result<f64> {
    Ok(dot(tensors, tensors)?.sqrt())
}

/// The cosine between two lists of tensors, each taken as one vector. `None` where one of them is 0, and has no
/// direction.
///
/// # Errors
/// Lists of different lengths, tensors of different shapes.
pub fn cosine(a: &[Tensor], b: &[Tensor]) -> Result<Option<f64>> {
    let norms = norm(a)? * norm(b)?;
    let dot = dot(a, b)?;
    Ok((norms != 0.0).then(|| (dot / norms).clamp(-1.0, 1.0)))
}

fn dot(a: &[Tensor], b: &[Tensor]) -> Result<f64> {
    if a.len() != b.len() {
        return Err(Error::mismatch("cosine", format!("{} tensors", a.len()), b.len().to_string()));
    }
    let mut sum = 0.0;
    for (a, b) in a.iter().zip(b) {
        if a.dims() != b.dims() {
            return Err(Error::mismatch("cosine", format!("{:?}", a.dims()), format!("{:?}", b.dims())));
        }
        let product = (a.to_dtype(DType::F64)? * b.to_dtype(DType::F64)?)?;
        sum += product.sum_all()?.to_scalar::<f64>()?;
    }
    Ok(sum)
}

/// How often each key occurs: labels to classes, tasks of drawn samples to draws.
pub fn counts<K: Ord>(keys: impl IntoIterator<Item = K>) -> BTreeMap<K, u64> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    counts
}

impl Priorities {
    /// The sketch of these priorities, in the form that draws are proportional to. `None` where there are none.
    pub fn of(priorities: &[f64]) -> Option<Self> {
        let valid: Vec<f64> = priorities.iter().copied().filter(|p| p.is_finite() && *p >= 0.0).collect();
        // Divided by the largest first: the sum and the squares of huge ones are infinite.
        let max = valid.iter().copied().fold(0.0, f64::max);
        let shares = valid.iter().map(|p| if max > 0.0 { p / max } else { 0.0 });
        let (sum_of_shares, squares) = shares.fold((0.0, 0.0), |(s, q), p| (s + p, q + p * p));
        (!priorities.is_empty()).then(|| Self {
            count: priorities.len() as u64,
            invalid: (priorities.len() - valid.len()) as u64,
            min: valid.iter().copied().reduce(f64::min).unwrap_or(0.0),
            max,
            mean: max * (sum_of_shares / valid.len().max(1) as f64),
            effective: if squares > 0.0 { sum_of_shares * sum_of_shares / squares } else { 0.0 },
        })
    }
}

impl Importance {
    /// The sketch of `now`, one tensor for each parameter, λ not in it; `before` are those of the consolidation
    /// before. It copies them to the CPU in f64: call it after a consolidation, not at every step.
    ///
    /// # Errors
    /// Lists of different lengths or shapes; no numbers.
    pub fn of(now: &[Tensor], before: Option<&[Tensor]>) -> Result<Self> {
        let values = flat(now)?;
        let finite = || values.iter().copied().filter(|x| x.is_finite());
        let finite_count = finite().count();
        if values.is_empty() {
            return Err(Error::invalid(
                "importance",
                "there are no numbers; give one tensor for each parameter",
            ));
        }
        let max = finite().reduce(f64::max).unwrap_or(0.0);
        let count = values.len() as f64;
        let share = |n: usize| n as f64 / count;
        let total: f64 = finite().sum();
        let change = match before {
            None => None,
            Some(before) => {
                let before = flat(before)?;
                if before.len() != values.len() {
                    return Err(Error::mismatch(
                        "importance before",
                        format!("{} numbers", values.len()),
                        before.len().to_string(),
                    ));
                }
                let moved: f64 = values.iter().zip(&before).map(|(now, before)| (now - before).abs()).sum();
                let size: f64 = before.iter().map(|x| x.abs()).sum();
                Some(moved / size).filter(|change| change.is_finite())
            }
        };
        Ok(Self {
            count: values.len() as u64,
            not_finite: share(values.len() - finite_count),
            min: finite().reduce(f64::min).unwrap_or(0.0),
            max,
            mean: total / finite_count.max(1) as f64,
            total,
            near_zero: share(finite().filter(|x| x.abs() < NEAR_ZERO).count()),
            saturated: share(finite().filter(|x| max > 0.0 && *x >= SATURATED_FROM * max).count()),
            change,
        })
    }
}

fn flat(tensors: &[Tensor]) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    for tensor in tensors {
        values.extend(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?);
    }
    Ok(values)
}
