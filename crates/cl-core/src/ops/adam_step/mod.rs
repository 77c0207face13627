//! Adam (Kingma & Ba 2015, algorithm 1) and AdamW (Loshchilov & Hutter 2019, algorithm 2) in place,
//! weights and both moments in one pass.
//!
//! m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², θ ← θ − η · m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + ε).
//! Weight decay λ is added to the gradient (Adam with L2), or, decoupled, shrinks θ by ηλ first.
//!
//! | operand | shape | |
//! |---|---|---|
//! | θ | any, contiguous | f32 or f64, changed |
//! | g | as θ | |
//! | moments | (2, ..θ) | m and v, changed |

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Tensor};

use super::cpu::{Real, check_in_place, check_lists, for_float, slice, slice_mut, wide};
use super::loss_scale::skips;
use crate::{Error, Result};

/// The coefficients of a step of Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Learning rate η.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay λ.
    pub weight_decay: f64,
    /// Whether weight decay acts on the weights (AdamW) rather than on the gradient (Adam with L2).
    pub decoupled: bool,
    /// The number of this step, from 1.
    pub t: u64,
}

pub(super) fn adam_step(
    found: Option<&Tensor>,
    thetas: &[&Tensor],
    grads: &[&Tensor],
    moments: &[&Tensor],
    step: AdamStep,
) -> Result<()> {
    check_lists("adam_step", thetas, &[grads])?;
    if moments.len() != thetas.len() {
        let (expected, got) = (thetas.len(), moments.len());
        return Err(Error::mismatch("adam_step", format!("moments of {expected} tensors"), got.to_string()));
    }
    for (theta, moments) in thetas.iter().zip(moments) {
        check_in_place("adam_step", moments, &[])?;
        if moments.dims().first() != Some(&2)
            || moments.dims()[1..] != *theta.dims()
            || moments.dtype() != theta.dtype()
        {
            return Err(Error::mismatch(
                "adam_step",
                format!("moments (2, {:?}) {:?}", theta.dims(), theta.dtype()),
                format!("{:?} {:?}", moments.dims(), moments.dtype()),
            ));
        }
    }
    if step.t == 0 {
        return Err(Error::invalid("adam_step", "steps are counted from 1"));
    }
    if skips("adam_step", found)? {
        return Ok(());
    }
    #[cfg(feature = "cuda")]
    if thetas.iter().any(|theta| theta.device().is_cuda()) {
        return cuda::adam_step(found, thetas, grads, moments, &step);
    }
    for ((theta, grad), moments) in thetas.iter().zip(grads).zip(moments) {
        if theta.elem_count() > 0 {
            // candle takes an empty tensor for one that overlaps itself. An operation in place has one destination, and this
            // has two: the outer one opens the moments, the inner one, run from within, the weights.
            moments.inplace_op1(&Outer { theta, grad: &grad.contiguous()?, step })?;
        }
    }
    Ok(())
}

struct Outer<'a> {
    theta: &'a Tensor,
    grad: &'a Tensor,
    step: AdamStep,
}

impl InplaceOp1 for Outer<'_> {
    fn name(&self) -> &'static str {
        "adam_step"
    }

    fn cpu_fwd(&self, moments: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        for_float!("adam_step", moments, T => {
            let moments = slice_mut::<T>(moments, layout)?;
            let inner = Inner { moments: Mutex::new(moments), step: self.step };
            self.theta.inplace_op2(self.grad, &inner)
        })
    }
}

struct Inner<'a, T> {
    moments: Mutex<&'a mut [T]>,
    step: AdamStep,
}

impl<T: Real> InplaceOp2 for Inner<'_, T> {
    fn name(&self) -> &'static str {
        "adam_step"
    }

    fn cpu_fwd(
        &self,
        theta: &mut CpuStorage,
        lt: &Layout,
        grad: &CpuStorage,
        lg: &Layout,
    ) -> candle_core::Result<()> {
        let mut moments = self.moments.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let half = moments.len() / 2;
        let (m, v) = moments.split_at_mut(half);
        update(slice_mut::<T>(theta, lt)?, slice::<T>(grad, lg)?, m, v, &self.step);
        Ok(())
    }
}

/// What a step multiplies by, in the type that it is taken in; on the device it is passed as it is.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Coefficients<T> {
    b1: T,
    b2: T,
    c1: T,
    c2: T,
    /// η / (1 − β₁ᵗ).
    size: T,
    /// √(1 − β₂ᵗ).
    root: T,
    eps: T,
    /// What weight decay adds to the gradient.
    coupled: T,
    /// What decoupled weight decay leaves of the weights.
    shrink: T,
}

impl<T: Real> Coefficients<T> {
    fn of(step: &AdamStep) -> Self {
        let real = T::from_f64;
        let exponent = step.t.min(i32::MAX as u64) as i32;
        let (coupled, shrink) = match step.decoupled {
            true => (T::zero(), real(1.0 - step.lr * step.weight_decay)),
            false => (real(step.weight_decay), T::one()),
        };
        Self {
            b1: real(step.beta1),
            b2: real(step.beta2),
            c1: real(1.0 - step.beta1),
            c2: real(1.0 - step.beta2),
            size: real(step.lr / (1.0 - step.beta1.powi(exponent))),
            root: real((1.0 - step.beta2.powi(exponent)).sqrt()),
            eps: real(step.eps),
            coupled,
            shrink,
        }
    }
}

fn update<T: Real>(theta: &mut [T], grad: &[T], m: &mut [T], v: &mut [T], step: &AdamStep) {
    let Coefficients { b1, b2, c1, c2, size, root, eps, coupled, shrink } = Coefficients::<T>::of(step);
    wide(|| {
        for (((t, &g), m), v) in theta.iter_mut().zip(grad).zip(m).zip(v) {
            let g = g + coupled * *t;
            *m = b1 * *m + c1 * g;
            *v = b2 * *v + c2 * g * g;
            *t = shrink * *t - size * *m / (v.sqrt() / root + eps);
        }
    });
}
