//! Softmax cross-entropy of whole numbers, over the active output units, in one node of the graph.
//!
//! ℓᵢ = −log softmax(zᵢ)[yᵢ] where the softmax runs over the units that [`Units`] makes active for
//! sample i; the gradient of an inactive unit is exactly 0.
//!
//! | operand | shape | |
//! |---|---|---|
//! | z | (n, outputs) | logits, f32, f64, f16 or bf16 |
//! | y | (n) u32 | target units |
//! | w | (n), as the loss | optional weights |
//! | loss | () | (1/n) Σ ℓᵢ, or Σ wᵢ ℓᵢ where weights are given; f64 of logits in f64, else f32 |
//!
//! ∂zᵢ = (softmax(zᵢ) − onehot(yᵢ)) · (1/n or wᵢ), computed from the logits again in the backward
//! pass: they are few, a second exponential is cheaper than keeping a tensor alive.
//!
//! Logits in f16 and bf16 are read as they are and all is computed in f32: the loss and its scale have the range of f32, and
//! the gradient is rounded once, to the dtype of the logits.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Shape, Tensor};

use super::cpu::{Stored, computed_in, for_stored, slice, with_slice};
use crate::{Error, Result, Units};

pub(super) fn cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    units: Units,
    weights: Option<&Tensor>,
) -> Result<Tensor> {
    check(logits, targets, units, weights)?;
    let op = CrossEntropy { units };
    let logits = logits.contiguous()?;
    Ok(match weights {
        None => logits.apply_op2(&targets.contiguous()?, op)?,
        Some(w) => logits.apply_op3(&targets.contiguous()?, &w.detach().contiguous()?, op)?,
    })
}

pub(super) fn gradient(
    logits: &Tensor,
    targets: &Tensor,
    units: Units,
    weights: Option<&Tensor>,
) -> Result<Tensor> {
    check(logits, targets, units, weights)?;
    #[cfg(feature = "cuda")]
    if logits.device().is_cuda() {
        return Ok(for_stored!("cross_entropy", logits, T => {
            cuda::gradient::<T>(logits, targets, weights, None, units)
        })?);
    }
    let one = Tensor::ones((), computed_in(logits.dtype()), logits.device())?;
    Ok(CrossEntropy { units }.backward(&logits.detach(), targets, weights, &one)?.detach())
}

/// Refuses what no loss can be taken of.
fn check(logits: &Tensor, targets: &Tensor, units: Units, weights: Option<&Tensor>) -> Result<()> {
    let (n, outputs) = logits.dims2()?;
    for other in [Some(targets), weights].into_iter().flatten() {
        super::cpu::same_place("cross_entropy", logits, other)?;
    }
    if targets.dims() != [n] || targets.dtype() != DType::U32 {
        return Err(Error::mismatch(
            "cross_entropy",
            format!("targets U32 [{n}]"),
            format!("{:?} {:?}", targets.dtype(), targets.dims()),
        ));
    }
    if n == 0 {
        return Err(Error::invalid("cross_entropy", "the batch is empty, its mean is not defined"));
    }
    // On a GPU they are not read back: a target that is no active unit makes the loss NaN there.
    let on_cpu = if targets.device().is_cpu() { targets.to_vec1::<u32>()? } else { Vec::new() };
    for target in on_cpu {
        if !units.range(target as usize, outputs).contains(&(target as usize)) {
            return Err(Error::invalid(
                "cross_entropy targets",
                format!("target {target} is not an active unit ({units:?} of {outputs} outputs)"),
            ));
        }
    }
    let dtype = computed_in(logits.dtype());
    match weights {
        Some(w) if w.dims() != [n] || w.dtype() != dtype => Err(Error::mismatch(
            "cross_entropy",
            format!("weights {dtype:?} [{n}]"),
            format!("{:?} {:?}", w.dtype(), w.dims()),
        )),
        _ => Ok(()),
    }
}

struct CrossEntropy {
    units: Units,
}

impl CrossEntropy {
    fn forward(
        &self,
        (z, lz): (&CpuStorage, &Layout),
        (y, ly): (&CpuStorage, &Layout),
        w: Option<(&CpuStorage, &Layout)>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let outputs = lz.dims()[1];
        let targets = slice::<u32>(y, ly)?;
        let loss = for_stored!("cross_entropy", z, T => {
            let z = T::widened(slice(z, lz)?);
            let w = w.map(|(w, lw)| slice(w, lw)).transpose()?;
            let loss = cpu::loss(&z, targets, w, outputs, self.units);
            Ok(candle_core::WithDType::to_cpu_storage_owned(vec![loss]))
        })?;
        Ok((loss, Shape::from(())))
    }

    fn backward(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        weights: Option<&Tensor>,
        grad: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let (n, outputs) = logits.dims2()?;
        if super::second_order() {
            return self.differentiable_gradient(logits, targets, weights, grad);
        }
        #[cfg(feature = "cuda")]
        if logits.device().is_cuda() {
            return for_stored!("cross_entropy", logits, T => {
                cuda::gradient::<T>(logits, targets, weights, Some(grad), self.units)
            });
        }
        for_stored!("cross_entropy", logits, T => {
            let scale = grad.to_scalar()?;
            let w = weights.map(Tensor::to_vec1).transpose()?;
            let y = targets.to_vec1::<u32>()?;
            let g = with_slice::<T, _>(logits, |z| {
                Ok(cpu::gradient(&T::widened(z), &y, w.as_deref(), outputs, self.units, scale))
            })?;
            Tensor::from_vec(T::rounded(g), (n, outputs), logits.device())
        })
    }

    /// The same from candle's operations, so that it can be differentiated again.
    fn differentiable_gradient(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        weights: Option<&Tensor>,
        grad: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let (n, outputs) = logits.dims2()?;
        let (mut active, mut onehot) = (vec![0f64; n * outputs], vec![0f64; n * outputs]);
        for (i, &y) in targets.to_vec1::<u32>()?.iter().enumerate() {
            onehot[i * outputs + y as usize] = 1.0;
            for unit in self.units.range(y as usize, outputs) {
                active[i * outputs + unit] = 1.0;
            }
        }
        let stored = logits.dtype();
        let logits = logits.to_dtype(computed_in(stored))?;
        let tensor =
            |v: Vec<f64>| Tensor::from_vec(v, (n, outputs), logits.device())?.to_dtype(logits.dtype());
        let shifted = logits.broadcast_sub(&logits.max_keepdim(1)?.detach())?;
        let exp = (shifted.exp()? * tensor(active)?)?;
        let p = exp.broadcast_div(&exp.sum_keepdim(1)?)?;
        let g = (p - tensor(onehot)?)?;
        let g = match weights {
            Some(w) => g.broadcast_mul(&w.unsqueeze(1)?)?,
            None => (g / n as f64)?,
        };
        g.broadcast_mul(grad)?.to_dtype(stored)
    }
}

impl CustomOp2 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(
        &self,
        z: &CpuStorage,
        lz: &Layout,
        y: &CpuStorage,
        ly: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.forward((z, lz), (y, ly), None)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        z: &candle_core::CudaStorage,
        lz: &Layout,
        y: &candle_core::CudaStorage,
        ly: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        for_stored!("cross_entropy", z, T => cuda::loss::<T>((z, lz), (y, ly), None, self.units))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        _loss: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(self.backward(logits, targets, None, grad)?), None))
    }
}

impl CustomOp3 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(
        &self,
        z: &CpuStorage,
        lz: &Layout,
        y: &CpuStorage,
        ly: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.forward((z, lz), (y, ly), Some((w, lw)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        z: &candle_core::CudaStorage,
        lz: &Layout,
        y: &candle_core::CudaStorage,
        ly: &Layout,
        w: &candle_core::CudaStorage,
        lw: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        for_stored!("cross_entropy", z, T => cuda::loss::<T>((z, lz), (y, ly), Some((w, lw)), self.units))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        weights: &Tensor,
        _loss: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((Some(self.backward(logits, targets, Some(weights), grad)?), None, None))
    }
}
