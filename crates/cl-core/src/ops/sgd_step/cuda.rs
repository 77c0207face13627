//! The kernels of `sgd_step`.

use candle_core::Tensor;

use super::SgdStep;
use crate::Result;
use crate::kernels::SGD_STEP;
use crate::ops::cpu::{contiguous, for_float, refs};
use crate::ops::cuda::{grid, launch, stream, tensor_pointer};

pub(super) fn sgd_step(
    found: Option<&Tensor>,
    thetas: &[&Tensor],
    grads: &[&Tensor],
    velocities: Option<&[&Tensor]>,
    step: SgdStep,
) -> Result<()> {
    let Some(first) = thetas.first() else { return Ok(()) };
    let (grads, found) = (contiguous(grads)?, found.map_or(Ok(0), tensor_pointer::<f32>)?);
    Ok(for_float!("sgd_step", first, T => {
        let (lr, decay, momentum) = (step.lr as T, step.weight_decay as T, step.momentum as T);
        match velocities {
            None => stream::<T, 2>([thetas, &refs(&grads)], |device, table, blocks| {
                launch!(device, SGD_STEP, T, "sgd_step", grid(blocks, 1), table, lr, decay, found)
            }),
            Some(velocities) => stream::<T, 3>([thetas, &refs(&grads), velocities], |device, table, blocks| {
                launch!(device, SGD_STEP, T, "momentum_step", grid(blocks, 1), table, lr, decay, momentum, found)
            }),
        }
    })?)
}
