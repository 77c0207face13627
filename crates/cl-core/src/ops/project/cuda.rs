//! The kernels of `project`.

use candle_core::Tensor;

use super::Projection;
use crate::Result;
use crate::kernels::PROJECT;
use crate::ops::cpu::{contiguous, for_float};
use crate::ops::cuda::{device_of, grid, launch, partials, scratch_pointer, stream, tickets};

/// What was found is read back when the gradient has been changed: the device does not wait for it.
pub(super) fn project(gradient: &[Tensor], reference: &[Tensor], eps: f64) -> Result<Projection> {
    let device = device_of(&gradient[0])?;
    let gradient: Vec<&Tensor> = gradient.iter().collect();
    let reference = contiguous(&reference.iter().collect::<Vec<_>>())?;
    let reference: Vec<&Tensor> = reference.iter().collect();
    let found = device.alloc_zeros::<f64>(2)?;
    let at = scratch_pointer(&device, &found);
    for_float!("project", gradient[0], T => {
        let mut add = 0u32;
        stream::<T, 2>([&gradient, &reference], |device, table, blocks| {
            let partial = partials::<f64>(device, 2 * blocks)?;
            let sums = scratch_pointer(device, &partial);
            launch!(device, PROJECT, T, "dots", grid(blocks, 1), table, at, add, sums, tickets(device)?)?;
            add = 1;
            Ok(())
        })?;
        stream::<T, 2>([&gradient, &reference], |device, table, blocks| {
            launch!(device, PROJECT, T, "project", grid(blocks, 1), table, at, eps)
        })
    })?;
    let found = device.clone_dtoh(&found)?;
    let (dot, reference_sq) = (found[0], found[1]);
    Ok(Projection { dot, reference_sq, conflict: dot < 0.0 && reference_sq + eps > 0.0 })
}
