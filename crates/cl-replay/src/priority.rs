//! How important an experience is: rules from a signal of the learner to priorities.

use candle_core::{D, DType, Tensor};
use cl_core::{Error, Result};

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

/// p = ‖∇L‖₂^β: norms of the gradients of each sample's loss (batch), such as those that
/// [`TensorOps::per_sample_norm_sq`](cl_core::TensorOps::per_sample_norm_sq) gives the squares of.
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
    fn priorities(&self, logits: &Tensor) -> Result<Vec<f32>> {
        if logits.rank() != 2 {
            return Err(Error::mismatch("logits", "(batch, classes)", format!("{:?}", logits.dims())));
        }
        let log_pi = candle_log_softmax(logits)?;
        // Where ln π is as low as that, π is 0: a class that was ruled out, −∞, adds nothing.
        let entropy = (log_pi.exp()? * log_pi.maximum(-1e4)?)?.sum(D::Minus1)?.neg()?;
        let mut entropy = vector(entropy)?;
        // Rounding may leave a little less than nothing. What is not a number stays that.
        entropy.iter_mut().filter(|entropy| **entropy < 0.0).for_each(|entropy| *entropy = 0.0);
        Ok(entropy)
    }
}

/// Over the last dimension, with the largest logit taken out.
fn candle_log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    Ok(shifted.broadcast_sub(&log_sum)?)
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
