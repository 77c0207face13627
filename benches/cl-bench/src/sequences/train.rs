//! The loop of training that the suites share.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;
use cl_core::{Error, Result};
use cl_nn::{Optimizer, OptimizerConfig, clip_norm};
use cl_working_memory::Dnc;
use serde::{Deserialize, Serialize};

/// How long to train, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Steps of the optimizer.
    pub steps: u64,
    /// Sequences in a batch.
    pub batch: usize,
    /// Adam's learning rate at first; it falls linearly to a tenth in the last half.
    pub lr: f64,
    /// The largest norm of a gradient.
    pub clip: f64,
}

/// The mean over the steps since the mark before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Steps taken.
    pub step: u64,
    /// The training loss.
    pub loss: f64,
    /// The training error, in percent.
    pub error: f64,
}

/// A curve has so many marks.
const MARKS: u64 = 50;

/// Trains on the losses and errors (fractions) that `batch` gives: the curve, and how many steps were left out because a
/// number was not finite.
///
/// # Errors
/// [`Error::Interrupted`] if `stop` is set; those of `batch`.
pub fn train(
    dnc: &Dnc,
    training: &Training,
    stop: &AtomicBool,
    mut batch: impl FnMut() -> Result<(Tensor, f64)>,
) -> Result<(Vec<Mark>, u64)> {
    let params = dnc.params()?;
    let mut optimizer = Optimizer::new(OptimizerConfig::adam(training.lr))?;
    let every = (training.steps / MARKS).max(1);
    let (mut curve, mut not_finite) = (Vec::new(), 0);
    let (mut losses, mut errors, mut since) = (0.0, 0.0, 0);
    for step in 1..=training.steps {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let left = (training.steps - step) as f64 / (training.steps as f64 / 2.0);
        optimizer.set_lr(training.lr * left.clamp(0.1, 1.0))?;
        let (loss, error) = batch()?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        let mut gradients = params.gradients(&loss.backward()?)?;
        // The norm is the only thing about a gradient that clipping refuses.
        if value.is_finite() && clip_norm(&mut gradients, training.clip).is_ok() {
            optimizer.step(&params, &gradients)?;
            (losses, errors, since) = (losses + value, errors + error, since + 1);
        } else {
            not_finite += 1;
        }
        if step % every == 0 && since > 0 {
            let n = f64::from(since);
            curve.push(Mark { step, loss: rounded(losses / n), error: rounded(100.0 * errors / n) });
            (losses, errors, since) = (0.0, 0.0, 0);
        }
    }
    Ok((curve, not_finite))
}

/// A curve needs no more digits.
fn rounded(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}
