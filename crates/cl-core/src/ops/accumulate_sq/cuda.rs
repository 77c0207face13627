//! The kernel of `accumulate_sq`.

use candle_core::Tensor;

use crate::Result;
use crate::kernels::ACCUMULATE_SQ;
use crate::ops::cpu::{contiguous, for_float, refs};
use crate::ops::cuda::{grid, launch, stream};

pub(super) fn accumulate_sq(sums: &[&Tensor], grads: &[&Tensor], decay: f64, scale: f64) -> Result<()> {
    let Some(first) = sums.first() else { return Ok(()) };
    let grads = contiguous(grads)?;
    Ok(for_float!("accumulate_sq", first, T => {
        stream::<T, 2>([sums, &refs(&grads)], |device, table, blocks| {
            launch!(device, ACCUMULATE_SQ, T, "accumulate_sq", grid(blocks, 1), table, decay as T, scale as T)
        })
    })?)
}
