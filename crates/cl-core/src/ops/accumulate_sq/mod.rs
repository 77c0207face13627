//! F ← decay·F + scale·g² in place: running sums of squared gradients.
//!
//! | operand | shape | |
//! |---|---|---|
//! | F | any, contiguous | f32 or f64, changed |
//! | g | as F | |

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};

use super::cpu::{check_lists, for_float, slice, slice_mut, wide};
use crate::Result;

pub(super) fn accumulate_sq(sums: &[&Tensor], grads: &[&Tensor], decay: f64, scale: f64) -> Result<()> {
    check_lists("accumulate_sq", sums, &[grads])?;
    #[cfg(feature = "cuda")]
    if sums.iter().any(|sum| sum.device().is_cuda()) {
        return cuda::accumulate_sq(sums, grads, decay, scale);
    }
    for (sum, grad) in sums.iter().zip(grads) {
        sum.inplace_op2(&grad.contiguous()?, &AccumulateSq { decay, scale })?;
    }
    Ok(())
}

struct AccumulateSq {
    decay: f64,
    scale: f64,
}

impl InplaceOp2 for AccumulateSq {
    fn name(&self) -> &'static str {
        "accumulate_sq"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        ls: &Layout,
        grad: &CpuStorage,
        lg: &Layout,
    ) -> candle_core::Result<()> {
        for_float!("accumulate_sq", grad, T => {
            let (sum, grad) = (slice_mut::<T>(sum, ls)?, slice::<T>(grad, lg)?);
            let (decay, scale) = (self.decay as T, self.scale as T);
            wide(|| sum.iter_mut().zip(grad).for_each(|(s, &g)| *s = decay * *s + scale * (g * g)));
            Ok(())
        })
    }
}
