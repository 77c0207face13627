//! W ← W − η·δᵀa, b ← b − η·Σₙ δₙ in place: a step of stochastic gradient descent on a linear layer whose gradient is never
//! stored.
//!
//! | operand | shape | |
//! |---|---|---|
//! | W | (out, in), contiguous | f32 or f64, changed |
//! | b | (out), contiguous | as W, optional, changed |
//! | a | (n, in) | inputs of the layer |
//! | δ | (n, out) | its output gradients |
//!
//! Inputs and output gradients in f16 or bf16 are widened to the dtype of the weight.

#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Tensor};

use super::cpu::{Matrix, check_in_place, computed_in, for_float, matmul_add_scaled, slice, slice_mut, wide};
#[cfg(feature = "cuda")]
use super::cuda;
use crate::{Error, Result};

pub(super) fn descend(
    weight: &Tensor,
    bias: Option<&Tensor>,
    inputs: &Tensor,
    deltas: &Tensor,
    lr: f64,
) -> Result<()> {
    let ((out, in_), (n, width), (m, height)) = (weight.dims2()?, inputs.dims2()?, deltas.dims2()?);
    let dtype = weight.dtype();
    let fits = |t: &Tensor| t.dtype() == dtype || computed_in(t.dtype()) != t.dtype();
    if n != m
        || width != in_
        || height != out
        || bias.is_some_and(|b| b.dims() != [out] || b.dtype() != dtype)
        || ![inputs, deltas].into_iter().all(fits)
    {
        let text = |t: &Tensor| format!("{:?} {:?}", t.dtype(), t.dims());
        return Err(Error::mismatch(
            "descend",
            format!("inputs (n, {in_}), output gradients (n, {out}) and a bias ({out}) of {dtype:?}"),
            format!("{}, {} and {:?}", text(inputs), text(deltas), bias.map(text)),
        ));
    }
    let (inputs, deltas) = (&inputs.to_dtype(dtype)?, &deltas.to_dtype(dtype)?);
    check_in_place("descend", weight, &[])?;
    weight.inplace_op3(&inputs.contiguous()?, &deltas.contiguous()?, &Weight(lr))?;
    if let Some(bias) = bias {
        check_in_place("descend", bias, &[])?;
        #[cfg(feature = "cuda")]
        if bias.device().is_cuda() {
            return Ok(for_float!("descend", bias, T => cuda::add_sum_of_rows::<T>(bias, -lr as T, deltas))?);
        }
        bias.inplace_op2(&deltas.contiguous()?, &Bias(lr))?;
    }
    Ok(())
}

struct Weight(f64);

impl InplaceOp3 for Weight {
    fn name(&self) -> &'static str {
        "descend"
    }

    fn cpu_fwd(
        &self,
        weight: &mut CpuStorage,
        lw: &Layout,
        inputs: &CpuStorage,
        li: &Layout,
        deltas: &CpuStorage,
        ld: &Layout,
    ) -> candle_core::Result<()> {
        let ((n, in_), out) = (li.shape().dims2()?, lw.dims()[0]);
        for_float!("descend", inputs, T => {
            let weight = slice_mut::<T>(weight, lw)?;
            let (inputs, deltas) = (slice::<T>(inputs, li)?, slice::<T>(deltas, ld)?);
            let (inputs, deltas) = (Matrix::new(inputs, n, in_), Matrix::new(deltas, n, out));
            matmul_add_scaled(weight, -self.0 as T, deltas.t(), inputs);
            Ok(())
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        weight: &mut candle_core::CudaStorage,
        lw: &Layout,
        inputs: &candle_core::CudaStorage,
        li: &Layout,
        deltas: &candle_core::CudaStorage,
        ld: &Layout,
    ) -> candle_core::Result<()> {
        for_float!("descend", inputs, T => {
            cuda::add_product::<T>((weight, lw), -self.0 as T, (deltas, ld), (inputs, li))
        })
    }
}

struct Bias(f64);

impl InplaceOp2 for Bias {
    fn name(&self) -> &'static str {
        "descend"
    }

    fn cpu_fwd(
        &self,
        bias: &mut CpuStorage,
        lb: &Layout,
        deltas: &CpuStorage,
        ld: &Layout,
    ) -> candle_core::Result<()> {
        for_float!("descend", deltas, T => {
            let (bias, deltas) = (slice_mut::<T>(bias, lb)?, slice::<T>(deltas, ld)?);
            let lr = self.0 as T;
            wide(|| {
                for deltas in deltas.chunks_exact(bias.len().max(1)) {
                    bias.iter_mut().zip(deltas).for_each(|(b, &d)| *b -= lr * d);
                }
            });
            Ok(())
        })
    }
}
