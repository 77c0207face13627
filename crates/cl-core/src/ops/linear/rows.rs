//! Σₙ of the rows of a matrix: what a bias gets from a batch.

use candle_core::Tensor;

use crate::Result;
#[cfg(feature = "cuda")]
use crate::ops::{cpu::for_float, cuda};

/// (n, units) → (units), outside of the graph. candle's own sum over the first dimension took a fifth of the gradient of a
/// batch of 256.
pub(in crate::ops) fn sum_of_rows(rows: &Tensor) -> Result<Tensor> {
    let rows = rows.detach();
    let n = rows.dims2()?.0;
    #[cfg(feature = "cuda")]
    if rows.device().is_cuda() {
        return Ok(for_float!("sum_of_rows", rows, T => cuda::sum_of_rows::<T>(&rows))?);
    }
    Ok(Tensor::ones((1, n), rows.dtype(), rows.device())?.matmul(&rows)?.squeeze(0)?)
}
