//! The kernel of `adam_step`.

use candle_core::Tensor;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

use super::{AdamStep, Coefficients};
use crate::Result;
use crate::kernels::ADAM_STEP;
use crate::ops::cpu::{contiguous, for_float, refs};
use crate::ops::cuda::{grid, launch, pointers, stream_at, tensor_pointer};

// SAFETY: plain numbers, laid out as in C: `Adam_f32` and `Adam_f64` of the kernel.
unsafe impl<T: DeviceRepr> DeviceRepr for Coefficients<T> {}

pub(super) fn adam_step(
    found: Option<&Tensor>,
    thetas: &[&Tensor],
    grads: &[&Tensor],
    moments: &[&Tensor],
    step: &AdamStep,
) -> Result<()> {
    let Some(first) = thetas.first() else { return Ok(()) };
    let (grads, found) = (contiguous(grads)?, found.map_or(Ok(0), tensor_pointer::<f32>)?);
    Ok(for_float!("adam_step", first, T => {
        let m = pointers::<T>(moments)?;
        // The second half of (2, ..θ).
        let v = m.iter().zip(thetas).map(|(m, theta)| m + (theta.elem_count() * size_of::<T>()) as u64).collect();
        let operands = [pointers::<T>(thetas)?, pointers::<T>(&refs(&grads))?, m, v];
        stream_at::<4>(thetas, operands, |device, table, blocks| {
            launch!(device, ADAM_STEP, T, "adam_step", grid(blocks, 1), table, Coefficients::<T>::of(step), found)
        })
    })?)
}
