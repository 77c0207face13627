//! The kernel of `path_integral`.

use candle_core::Tensor;

use crate::Result;
use crate::kernels::PATH_INTEGRAL;
use crate::ops::cpu::{contiguous, for_float, refs};
use crate::ops::cuda::{grid, launch, stream};

pub(super) fn path_integral(
    omegas: &[&Tensor],
    grads: &[&Tensor],
    thetas: &[&Tensor],
    before: &[&Tensor],
) -> Result<()> {
    let Some(first) = omegas.first() else { return Ok(()) };
    let (grads, thetas) = (contiguous(grads)?, contiguous(thetas)?);
    Ok(for_float!("path_integral", first, T => {
        stream::<T, 4>([omegas, &refs(&grads), &refs(&thetas), before], |device, table, blocks| {
            launch!(device, PATH_INTEGRAL, T, "path_integral", grid(blocks, 1), table)
        })
    })?)
}
