//! Regularizers that keep a network near what it has learnt: elastic weight consolidation, Synaptic
//! Intelligence, L2, and the Fisher information that tells which parameters matter.
//!
//! They take candle's own types and go into a training loop that is already there:
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use cl_core::{TensorOps, Units};
//! use cl_nn::{Mlp, Optimizer, OptimizerConfig};
//! use cl_regularize::{Ewc, EwcConfig, Fisher};
//!
//! let mut rng = cl_core::rng(0, "example");
//! let net = Mlp::new(&[4, 16, 2], DType::F32, &Device::Cpu, &mut rng)?;
//! let mut optimizer = Optimizer::new(OptimizerConfig::adam(0.01))?;
//! let mut ewc = Ewc::new(EwcConfig { lambda: 400.0, ..Default::default() })?;
//! # let x = Tensor::new(&[[0f32, 1., 0., 1.], [1., 0., 1., 0.]], &Device::Cpu)?;
//! # let y = Tensor::new(&[0u32, 1], &Device::Cpu)?;
//! # let tasks = [(x.clone(), y.clone()), (x.neg()?, y)];
//! for (x, y) in &tasks {
//!     for _ in 0..10 {
//!         let loss = net.forward(x)?.cross_entropy(y, Units::All, None)?;
//!         optimizer.backward_step(net.params(), &(loss + ewc.penalty(net.params())?)?)?;
//!     }
//!     ewc.consolidate(net.params(), Fisher::Exact.estimate(&net, x, y, Units::All, &mut rng)?)?;
//! }
//! # Ok::<(), cl_core::Error>(())
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`Fisher`] | the diagonal Fisher information, by seven estimators that are not the same thing |
//! | [`Ewc`] | a quadratic penalty per task, or one that is carried on and decays |
//! | [`AdaptiveEwc`] | the Fisher as a running mean over training steps, small values set to zero |
//! | [`Si`] | importance from the path that training took |
//! | [`Mas`] | importance from how much the outputs depend on a parameter |
//! | [`RWalk`] | the running Fisher, and importance from the path over how far the outputs moved |
//! | [`L2`] | every parameter matters the same |
//!
//! **λ is not the same number everywhere.** Here the penalty of EWC is (λ/2) Σ F(θ−θ*)², as in the paper and
//! in van de Ven's code. Avalanche, Mammoth and Hsu et al. leave the ½ out: their λ is half of ours.

mod adaptive;
mod ewc;
mod fisher;
mod l2;
mod mas;
mod running;
mod rwalk;
mod si;

pub use adaptive::{AdaptiveEwc, AdaptiveEwcConfig};
pub use ewc::{Carry, Ewc, EwcConfig};
pub use fisher::Fisher;
pub use l2::L2;
pub use mas::{Mas, Sensitivity};
pub use rwalk::{RWalk, RWalkConfig};
pub use si::{Si, SiConfig};

use candle_core::{Device, Tensor};
use cl_core::{Error, Params, Quadratic, Result, TensorOps};

/// `scale` · ½ Σₖ Σ Fₖ(θ−θ*ₖ)² over all trainable parameters; `bowls[i]` are those of parameter i. A
/// scalar; 0, without a gradient, where there are no bowls yet or the scale is 0.
fn penalty(params: &Params, bowls: &[Vec<Quadratic>], scale: f64) -> Result<Tensor> {
    if !bowls.is_empty() {
        check_count("penalty", params, bowls.len())?;
    }
    if bowls.is_empty() || scale == 0.0 {
        let (dtype, device) = params
            .trainable()
            .next()
            .map_or((candle_core::DType::F32, Device::Cpu), |p| (p.var.dtype(), p.var.device().clone()));
        return Ok(Tensor::zeros((), dtype, &device)?);
    }
    let bowls: Vec<&[Quadratic]> = bowls.iter().map(Vec::as_slice).collect();
    Ok((Tensor::quadratic_penalty_all(&tensors(params), &bowls)? * scale)?)
}

/// gradients ← gradients + the gradient of [`penalty`], in place; without a graph, and in few launches on a GPU.
fn add_gradient(params: &Params, bowls: &[Vec<Quadratic>], scale: f64, gradients: &[Tensor]) -> Result<()> {
    check_tensors("add_gradient", params, gradients)?;
    if bowls.is_empty() || scale == 0.0 {
        return Ok(());
    }
    check_count("add_gradient", params, bowls.len())?;
    let bowls: Vec<&[Quadratic]> = bowls.iter().map(Vec::as_slice).collect();
    Tensor::add_penalty_gradient_all(&refs(gradients), &tensors(params), &bowls, scale)
}

/// The trainable parameters, in order, for an operation on all of them.
fn tensors(params: &Params) -> Vec<&Tensor> {
    params.trainable().map(|param| param.var.as_tensor()).collect()
}

/// References to tensors, for an operation on all of them.
fn refs(tensors: &[Tensor]) -> Vec<&Tensor> {
    tensors.iter().collect()
}

/// Refuses a list that is not one entry for each trainable parameter.
fn check_count(what: &'static str, params: &Params, got: usize) -> Result<()> {
    let expected = params.trainable().count();
    if got == expected {
        return Ok(());
    }
    Err(Error::mismatch(
        what,
        format!("one tensor for each of {expected} trainable parameters"),
        got.to_string(),
    ))
}

/// Refuses a list that is not one tensor, of its shape and dtype, for each trainable parameter.
fn check_tensors(what: &'static str, params: &Params, got: &[Tensor]) -> Result<()> {
    check_count(what, params, got.len())?;
    for (param, got) in params.trainable().zip(got) {
        if (param.var.dtype(), param.var.dims()) != (got.dtype(), got.dims()) {
            let text = |t: &Tensor| format!("{:?} {:?}", t.dtype(), t.dims());
            return Err(Error::mismatch(what, format!("{} as {}", param.name, text(&param.var)), text(got)));
        }
    }
    Ok(())
}

/// Refuses coefficients that are negative or not finite.
fn check_coefficients(coefficients: &[(&str, f64)]) -> Result<()> {
    match coefficients.iter().find(|(_, value)| !value.is_finite() || *value < 0.0) {
        Some((name, value)) => {
            Err(Error::invalid(*name, format!("{value} is not a finite number of at least 0")))
        }
        None => Ok(()),
    }
}
