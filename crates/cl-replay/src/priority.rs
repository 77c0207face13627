//! How important an experience is: rules from a signal of the learner to priorities.

use candle_core::{DType, Tensor};
use cl_core::{Error, Result};

use crate::scores;

/// A rule that makes one priority of each sample's signal. A function or closure is one as well.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_replay::{Priority, TdError};
///
/// # fn main() -> cl_core::Result<()> {
/// let delta = Tensor::new(&[-2f32, 0.0, 0.5], &Device::Cpu)?;
/// assert_eq!(TdError { epsilon: 0.5 }.priorities(&delta)?, [2.5, 0.5, 1.0]);
/// let squared = |delta: &Tensor| Ok(delta.sqr()?.to_vec1()?);
/// assert_eq!(squared.priorities(&delta)?, [4.0, 0.0, 0.25]);
/// # Ok(())
/// # }
/// ```
pub trait Priority {
    /// The priorities p of a signal; α is not theirs, but the memory's.
    ///
    /// # Errors
    /// Those of the rule, such as a signal of another shape.
    fn priorities(&self, signal: &Tensor) -> Result<Vec<f32>>;
}

impl<F: Fn(&Tensor) -> Result<Vec<f32>>> Priority for F {
    fn priorities(&self, signal: &Tensor) -> Result<Vec<f32>> {
        self(signal)
    }
}

/// p = |δ| + ε: temporal-difference errors δ (batch). ε is inside the power: pᵅ = (|δ| + ε)ᵅ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TdError {
    /// What an item without error still has.
    pub epsilon: f64,
}

impl Default for TdError {
    /// ε = 10⁻⁶.
    fn default() -> Self {
        Self { epsilon: 1e-6 }
    }
}

impl Priority for TdError {
    fn priorities(&self, delta: &Tensor) -> Result<Vec<f32>> {
        vector((per_sample(delta, "temporal-difference errors")?.abs()? + self.epsilon)?)
    }
}

/// p = ‖∇L‖₂^β: norms of the gradients of each sample's loss (batch), such as
/// [`scores::gradient_norm`] gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradientNorm {
    /// β.
    pub beta: f64,
}

impl Priority for GradientNorm {
    fn priorities(&self, norms: &Tensor) -> Result<Vec<f32>> {
        vector(per_sample(norms, "gradient norms")?.powf(self.beta)?)
    }
}

/// p = −Σ π ln π, in nats: the entropy of the predictive distribution, from logits (batch, classes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PredictiveEntropy;

impl Priority for PredictiveEntropy {
    /// # Errors
    /// As [`scores::entropy`]: logits that are not numbers, of a network that has diverged, have no entropy.
    fn priorities(&self, logits: &Tensor) -> Result<Vec<f32>> {
        vector(scores::entropy(logits)?)
    }
}

fn per_sample<'t>(signal: &'t Tensor, what: &'static str) -> Result<&'t Tensor> {
    if signal.rank() != 1 {
        return Err(Error::mismatch(what, "(batch)", format!("{:?}", signal.dims())));
    }
    Ok(signal)
}

fn vector(priorities: Tensor) -> Result<Vec<f32>> {
    Ok(priorities.to_dtype(DType::F32)?.to_vec1()?)
}
