//! How output gradients of several losses per sample flow back through a layer.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Shape, Tensor};

use crate::ops::cpu::{Matrix, Stored, for_float, for_stored, matmul, slice, wide};
#[cfg(feature = "cuda")]
use crate::ops::linear::cuda;
use crate::{Error, Result};

/// Σ꜀ δₙ꜀²: (n, c, out) → (n, out), outside of the graph.
pub fn sum_of_squares(deltas: &Tensor) -> Result<Tensor> {
    deltas.dims3()?;
    #[cfg(feature = "cuda")]
    if deltas.device().is_cuda() {
        let deltas = deltas.detach().contiguous()?;
        return Ok(for_float!("sum_of_squares", deltas, T => cuda::sum_of_squares::<T>(&deltas))?);
    }
    Ok(deltas.contiguous()?.apply_op1_no_bwd(&SumOfSquares)?)
}

/// The output gradients of the layer below: (δ·W) where its ReLU let the activation pass, 0 elsewhere.
/// `deltas` (n, c, out), `weight` (out, in), `activation` (n, in) → (n, c, in), outside of the graph. f32, f64, or f16 and bf16
/// with sums in f32.
pub fn backward(deltas: &Tensor, weight: &Tensor, activation: &Tensor) -> Result<Tensor> {
    let ((n, c, out), (rows, in_)) = (deltas.dims3()?, weight.dims2()?);
    if rows != out || activation.dims() != [n, in_] {
        return Err(Error::mismatch(
            "per_sample::backward",
            format!("weight ({out}, in) and activation ({n}, in)"),
            format!("{:?} and {:?}", weight.dims(), activation.dims()),
        ));
    }
    let (deltas, weight, activation) =
        (deltas.reshape((n * c, out))?, weight.contiguous()?, activation.contiguous()?);
    #[cfg(feature = "cuda")]
    if deltas.device().is_cuda() {
        let (below, activation) = (deltas.detach().matmul(&weight.detach())?, activation.detach());
        for_stored!("per_sample::backward", below, T => cuda::mask::<T>(&below, &activation, c))?;
        return Ok(below.reshape((n, c, in_))?);
    }
    let below = deltas.contiguous()?.apply_op3_no_bwd(&weight, &activation, &Backward)?;
    Ok(below.reshape((n, c, in_))?)
}

struct SumOfSquares;

impl CustomOp1 for SumOfSquares {
    fn name(&self) -> &'static str {
        "sum_of_squares"
    }

    fn cpu_fwd(&self, deltas: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (n, c, out) = layout.shape().dims3()?;
        let sums = for_float!("sum_of_squares", deltas, T => {
            let deltas = slice::<T>(deltas, layout)?;
            let mut sums = vec![T::default(); n * out];
            wide(|| {
                for (sums, deltas) in sums.chunks_exact_mut(out.max(1)).zip(deltas.chunks_exact((c * out).max(1))) {
                    for deltas in deltas.chunks_exact(out) {
                        sums.iter_mut().zip(deltas).for_each(|(s, &d)| *s += d * d);
                    }
                }
            });
            Ok(candle_core::WithDType::to_cpu_storage_owned(sums))
        })?;
        Ok((sums, Shape::from((n, out))))
    }
}

struct Backward;

impl CustomOp3 for Backward {
    fn name(&self) -> &'static str {
        "per_sample::backward"
    }

    fn cpu_fwd(
        &self,
        deltas: &CpuStorage,
        ld: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        activation: &CpuStorage,
        la: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let ((rows, out), (n, in_)) = (ld.shape().dims2()?, la.shape().dims2()?);
        let below = for_stored!("per_sample::backward", deltas, T => {
            let (deltas, weight) = (T::widened(slice(deltas, ld)?), T::widened(slice(weight, lw)?));
            let activation = T::widened(slice(activation, la)?);
            let mut below = matmul(Matrix::new(&deltas, rows, out), Matrix::new(&weight, out, in_));
            let losses = rows / n.max(1);
            wide(|| {
                let samples = below.chunks_exact_mut((losses * in_).max(1));
                for (below, activation) in samples.zip(activation.chunks_exact(in_.max(1))) {
                    for below in below.chunks_exact_mut(in_) {
                        below.iter_mut().zip(activation).for_each(|(b, &a)| *b = if a > 0.0 { *b } else { 0.0 });
                    }
                }
            });
            Ok(candle_core::WithDType::to_cpu_storage_owned(T::rounded(below)))
        })?;
        Ok((below, Shape::from((rows, in_))))
    }
}
