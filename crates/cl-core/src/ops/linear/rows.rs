//! Σₙ of the rows of a matrix: what a bias gets from a batch.

use candle_core::Tensor;

use crate::Result;
use crate::ops::cpu::computed_in;
#[cfg(feature = "cuda")]
use crate::ops::{cpu::for_stored, cuda};

/// (n, units) → (units), outside of the graph. candle's own sum over the first dimension took a fifth of the gradient of a
/// batch of 256. f16 and bf16 are summed in f32.
pub(in crate::ops) fn sum_of_rows(rows: &Tensor) -> Result<Tensor> {
    let rows = rows.detach();
    let n = rows.dims2()?.0;
    #[cfg(feature = "cuda")]
    if rows.device().is_cuda() {
        return Ok(for_stored!("sum_of_rows", rows, T => cuda::sum_of_rows::<T>(&rows))?);
    }
    let dtype = computed_in(rows.dtype());
    let ones = Tensor::ones((1, n), dtype, rows.device())?;
    Ok(ones.matmul(&rows.to_dtype(dtype)?)?.squeeze(0)?.to_dtype(rows.dtype())?)
}
