//! θ ← θ − η·v in place, v ← μ·v + (g + λθ): stochastic gradient descent, one pass.
//!
//! Without a velocity (μ = 0) v is the gradient itself. Weight decay λ is added to the gradient and
//! the velocity starts at 0 and is not damped, as in PyTorch's SGD.
//!
//! | operand | shape | |
//! |---|---|---|
//! | θ | any, contiguous | f32 or f64, changed |
//! | g | as θ | |
//! | v | as θ | optional, changed |

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Tensor};

use super::cpu::{check_lists, for_float, slice, slice_mut, wide};
use super::loss_scale::skips;
use crate::Result;

/// The coefficients of a step of stochastic gradient descent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdStep {
    /// Learning rate η.
    pub lr: f64,
    /// Momentum μ; used only where there is a velocity.
    pub momentum: f64,
    /// Weight decay λ, added to the gradient.
    pub weight_decay: f64,
}

pub(super) fn sgd_step(
    found: Option<&Tensor>,
    thetas: &[&Tensor],
    grads: &[&Tensor],
    velocities: Option<&[&Tensor]>,
    step: SgdStep,
) -> Result<()> {
    check_lists("sgd_step", thetas, &[grads])?;
    if let Some(velocities) = velocities {
        check_lists("sgd_step", velocities, &[thetas])?;
    }
    if skips("sgd_step", found)? {
        return Ok(());
    }
    #[cfg(feature = "cuda")]
    if thetas.iter().any(|theta| theta.device().is_cuda()) {
        return cuda::sgd_step(found, thetas, grads, velocities, step);
    }
    for (i, (theta, grad)) in thetas.iter().zip(grads).enumerate() {
        let grad = &grad.contiguous()?;
        match velocities {
            None => theta.inplace_op2(grad, &Plain(step))?,
            Some(velocities) => {
                // Two passes, velocity first: an operation in place has one destination.
                velocities[i].inplace_op3(grad, theta, &Velocity(step))?;
                theta.inplace_op2(velocities[i], &Plain(SgdStep { weight_decay: 0.0, ..step }))?;
            }
        }
    }
    Ok(())
}

struct Plain(SgdStep);

impl InplaceOp2 for Plain {
    fn name(&self) -> &'static str {
        "sgd_step"
    }

    fn cpu_fwd(
        &self,
        theta: &mut CpuStorage,
        lt: &Layout,
        grad: &CpuStorage,
        lg: &Layout,
    ) -> candle_core::Result<()> {
        for_float!("sgd_step", grad, T => {
            let (theta, grad) = (slice_mut::<T>(theta, lt)?, slice::<T>(grad, lg)?);
            let (lr, decay) = (self.0.lr as T, self.0.weight_decay as T);
            wide(|| {
                if decay == 0.0 {
                    theta.iter_mut().zip(grad).for_each(|(t, &g)| *t -= lr * g);
                } else {
                    theta.iter_mut().zip(grad).for_each(|(t, &g)| *t -= lr * (g + decay * *t));
                }
            });
            Ok(())
        })
    }
}

struct Velocity(SgdStep);

impl InplaceOp3 for Velocity {
    fn name(&self) -> &'static str {
        "sgd_step"
    }

    fn cpu_fwd(
        &self,
        v: &mut CpuStorage,
        lv: &Layout,
        grad: &CpuStorage,
        lg: &Layout,
        theta: &CpuStorage,
        lt: &Layout,
    ) -> candle_core::Result<()> {
        for_float!("sgd_step", grad, T => {
            let (v, grad, theta) = (slice_mut::<T>(v, lv)?, slice::<T>(grad, lg)?, slice::<T>(theta, lt)?);
            let (momentum, decay) = (self.0.momentum as T, self.0.weight_decay as T);
            wide(|| {
                for ((v, &g), &t) in v.iter_mut().zip(grad).zip(theta) {
                    *v = momentum * *v + (g + decay * t);
                }
            });
            Ok(())
        })
    }
}
