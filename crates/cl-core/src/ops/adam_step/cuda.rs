//! The kernel of `adam_step`.

use candle_core::Tensor;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

use super::{AdamStep, Coefficients};
use crate::Result;
use crate::kernels::ADAM_STEP;
use crate::ops::cpu::{contiguous, for_float, refs};
use crate::ops::cuda::{grid, launch, stream};

// SAFETY: plain numbers, laid out as in C: `Adam_f32` and `Adam_f64` of the kernel.
unsafe impl<T: DeviceRepr> DeviceRepr for Coefficients<T> {}

pub(super) fn adam_step(
    thetas: &[&Tensor],
    grads: &[&Tensor],
    moments: &[&Tensor],
    step: &AdamStep,
) -> Result<()> {
    let Some(first) = thetas.first() else { return Ok(()) };
    let grads = contiguous(grads)?;
    let halves = |i| moments.iter().map(|moments| moments.get(i)).collect::<Result<Vec<_>, _>>();
    let (m, v) = (halves(0)?, halves(1)?);
    Ok(for_float!("adam_step", first, T => {
        stream::<T, 4>([thetas, &refs(&grads), &refs(&m), &refs(&v)], |device, table, blocks| {
            launch!(device, ADAM_STEP, T, "adam_step", grid(blocks, 1), table, Coefficients::<T>::of(step))
        })
    })?)
}
