//! ω ← ω − g·(θ − θ'), θ' ← θ in place: the running path integral of Synaptic Intelligence
//! (Zenke et al. 2017, eq. 3), and the parameters it starts from next time.
//!
//! | operand | shape | |
//! |---|---|---|
//! | ω | any, contiguous | f32 or f64, changed |
//! | g, θ | as ω | gradient of the step, parameters after it |
//! | θ' | as ω | parameters before the step, changed |

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp1, InplaceOp3, Layout, Tensor};

use super::cpu::{Real, check_in_place, check_lists, for_float, slice, slice_mut, wide};
use crate::Result;

pub(super) fn path_integral(
    omegas: &[&Tensor],
    grads: &[&Tensor],
    thetas: &[&Tensor],
    before: &[&Tensor],
) -> Result<()> {
    check_lists("path_integral", omegas, &[grads, thetas, before])?;
    for before in before {
        check_in_place("path_integral", before, &[])?;
    }
    #[cfg(feature = "cuda")]
    if omegas.iter().any(|omega| omega.device().is_cuda()) {
        return cuda::path_integral(omegas, grads, thetas, before);
    }
    for (((omega, grad), theta), before) in omegas.iter().zip(grads).zip(thetas).zip(before) {
        let (grad, theta) = (&grad.contiguous()?, &theta.contiguous()?);
        before.inplace_op1(&Outer { omega, grad, theta })?;
    }
    Ok(())
}

struct Outer<'a> {
    omega: &'a Tensor,
    grad: &'a Tensor,
    theta: &'a Tensor,
}

impl InplaceOp1 for Outer<'_> {
    fn name(&self) -> &'static str {
        "path_integral"
    }

    fn cpu_fwd(&self, before: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        for_float!("path_integral", before, T => {
            let inner = Inner { before: Mutex::new(slice_mut::<T>(before, layout)?) };
            self.omega.inplace_op3(self.grad, self.theta, &inner)
        })
    }
}

struct Inner<'a, T> {
    before: Mutex<&'a mut [T]>,
}

impl<T: Real> InplaceOp3 for Inner<'_, T> {
    fn name(&self) -> &'static str {
        "path_integral"
    }

    fn cpu_fwd(
        &self,
        omega: &mut CpuStorage,
        lo: &Layout,
        grad: &CpuStorage,
        lg: &Layout,
        theta: &CpuStorage,
        lt: &Layout,
    ) -> candle_core::Result<()> {
        let mut before = self.before.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let omega = slice_mut::<T>(omega, lo)?;
        let (grad, theta) = (slice::<T>(grad, lg)?, slice::<T>(theta, lt)?);
        wide(|| {
            for (((o, &g), &t), b) in omega.iter_mut().zip(grad).zip(theta).zip(before.iter_mut()) {
                *o -= g * (t - *b);
                *b = t;
            }
        });
        Ok(())
    }
}
