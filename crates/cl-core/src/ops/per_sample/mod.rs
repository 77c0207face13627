//! Squared gradients of each sample of a linear layer, without a loop over samples.
//!
//! The gradient of sample n for the weight of a linear layer is the outer product δₙ aₙᵀ of its output
//! gradient and its input, so its square is δₙ² ⊗ aₙ², and the sum over a batch one matrix product:
//!
//! W² ← W² + (δ²)ᵀ a², b² ← b² + Σₙ δₙ², ‖∇ₙ‖² = ‖δₙ‖² (‖aₙ‖² + 1).
//!
//! | operand | shape | |
//! |---|---|---|
//! | a | (n, in) | inputs of the layer |
//! | s | (n, out) | squared output gradients δ², or their weighted sum over several losses |
//! | W², b² | (out, in), (out) | sums, changed in place |

//! With several losses c per sample (one for each class, in the exact Fisher), only the output
//! gradients δₙ꜀ differ: their squares are summed over c *before* the product, so that it costs what
//! it costs for one loss.

mod flow;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, InplaceOp1, InplaceOp3, Layout, Tensor};

pub use flow::{backward, sum_of_squares};

use super::cpu::{Matrix, for_float, matmul_add, slice, slice_mut, wide, with_slice};
#[cfg(feature = "cuda")]
use super::cuda;
use crate::{Error, Result};

pub(super) fn per_sample_sq(
    inputs: &Tensor,
    squares: &Tensor,
    weight_sum: &Tensor,
    bias_sum: Option<&Tensor>,
) -> Result<()> {
    let (n, in_) = inputs.dims2()?;
    let (m, out) = squares.dims2()?;
    if n != m || weight_sum.dims() != [out, in_] || bias_sum.is_some_and(|b| b.dims() != [out]) {
        return Err(Error::mismatch(
            "per_sample_sq",
            format!("inputs ({n}, {in_}), squares ({n}, {out}), sums ({out}, {in_}) and ({out})"),
            format!(
                "squares {:?}, sums {:?} and {:?}",
                squares.dims(),
                weight_sum.dims(),
                bias_sum.map(Tensor::dims)
            ),
        ));
    }
    #[cfg(feature = "cuda")]
    if weight_sum.device().is_cuda() {
        // The operation squares them where it reads them; cuBLAS cannot.
        weight_sum.inplace_op3(&inputs.contiguous()?.sqr()?, &squares.contiguous()?, &WeightSum)?;
        if let Some(bias_sum) = bias_sum {
            for_float!("per_sample_sq", bias_sum, T => cuda::add_sum_of_rows::<T>(bias_sum, 1.0, squares))?;
        }
        return Ok(());
    }
    weight_sum.inplace_op3(&inputs.contiguous()?, &squares.contiguous()?, &WeightSum)?;
    if let Some(bias_sum) = bias_sum {
        bias_sum.inplace_op1(&BiasSum { squares })?;
    }
    Ok(())
}

pub(super) fn per_sample_norm_sq(inputs: &Tensor, deltas: &Tensor, bias: bool) -> Result<Tensor> {
    if inputs.dims2()?.0 != deltas.dims2()?.0 {
        return Err(Error::mismatch(
            "per_sample_norm_sq",
            format!("{} rows of output gradients", inputs.dims2()?.0),
            format!("{}", deltas.dims2()?.0),
        ));
    }
    let norm = |t: &Tensor| t.sqr()?.sum(1);
    let inputs = norm(inputs)?;
    let inputs = if bias { (inputs + 1.0)? } else { inputs };
    Ok((norm(deltas)? * inputs)?)
}

struct WeightSum;

impl InplaceOp3 for WeightSum {
    fn name(&self) -> &'static str {
        "per_sample_sq"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        ls: &Layout,
        inputs: &CpuStorage,
        li: &Layout,
        squares: &CpuStorage,
        lq: &Layout,
    ) -> candle_core::Result<()> {
        let ((n, in_), out) = (li.shape().dims2()?, lq.dims()[1]);
        for_float!("per_sample_sq", inputs, T => {
            let inputs = slice::<T>(inputs, li)?;
            let inputs_sq: Vec<T> = wide(|| inputs.iter().map(|a| a * a).collect());
            let squares = Matrix::new(slice::<T>(squares, lq)?, n, out);
            matmul_add(slice_mut::<T>(sum, ls)?, squares.t(), Matrix::new(&inputs_sq, n, in_));
            Ok(())
        })
    }

    /// With inputs that are squared already.
    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        sum: &mut candle_core::CudaStorage,
        ls: &Layout,
        inputs_sq: &candle_core::CudaStorage,
        li: &Layout,
        squares: &candle_core::CudaStorage,
        lq: &Layout,
    ) -> candle_core::Result<()> {
        for_float!("per_sample_sq", squares, T => {
            cuda::add_product::<T>((sum, ls), 1.0, (squares, lq), (inputs_sq, li))
        })
    }
}

struct BiasSum<'a> {
    squares: &'a Tensor,
}

impl InplaceOp1 for BiasSum<'_> {
    fn name(&self) -> &'static str {
        "per_sample_sq"
    }

    fn cpu_fwd(&self, sum: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        for_float!("per_sample_sq", sum, T => {
            let sum = slice_mut::<T>(sum, layout)?;
            with_slice::<T, _>(self.squares, |squares| {
                for row in squares.chunks_exact(sum.len().max(1)) {
                    sum.iter_mut().zip(row).for_each(|(s, &q)| *s += q);
                }
                Ok(())
            })
        })
    }
}
