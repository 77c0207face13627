//! The DNC's temporal link matrix (Graves et al. 2016, methods, "temporal memory linkage"): which slot was written after which.
//!
//! | operand | shape | |
//! |---|---|---|
//! | L | (.., n, n) | Lᵢⱼ: how much slot i was written right after slot j; f32 or f64, any strides |
//! | w | (.., n) | what is written now |
//! | p | (.., n) | the precedence before: what was written last |
//! | L′ | (.., n, n) | L′ᵢⱼ = (1 − wᵢ − wⱼ) Lᵢⱼ + wᵢ pⱼ, L′ᵢᵢ = 0 |
//!
//! Where Σw ≤ 1, Σp ≤ 1 and rows and columns of L sum to at most 1, so do those of L′. With G the gradient of L′, its
//! diagonal 0: ∂Lᵢⱼ = (1 − wᵢ − wⱼ) Gᵢⱼ, ∂wᵢ = Σⱼ Gᵢⱼ (pⱼ − Lᵢⱼ) − Σⱼ Gⱼᵢ Lⱼᵢ, ∂pⱼ = Σᵢ wᵢ Gᵢⱼ.
//!
//! It is n² numbers and n² work in every step and for every sequence of a batch.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, CustomOp3, D, Layout, Shape, Tensor};

use super::cpu::{for_float, slice, with_slice};
use crate::{Error, Result};

pub(super) fn link(link: &Tensor, write: &Tensor, precedence: &Tensor) -> Result<Tensor> {
    let wrong = |what: &str, found: &Tensor| {
        let expected = format!("{what} of links {:?} {:?}", link.dtype(), link.dims());
        Err(Error::mismatch("link", expected, format!("{:?} {:?}", found.dtype(), found.dims())))
    };
    let [before @ .., n, m] = link.dims() else {
        return Err(Error::mismatch("link", "links (.., n, n)", format!("{:?}", link.dims())));
    };
    if n != m {
        return Err(Error::mismatch("link", "links (.., n, n)", format!("{:?}", link.dims())));
    }
    let row = [before, &[*n]].concat();
    for (what, t) in [("write weights (.., n)", write), ("precedence (.., n)", precedence)] {
        if t.dims() != row || t.dtype() != link.dtype() {
            return wrong(what, t);
        }
    }
    Ok(link.contiguous()?.apply_op3(&write.contiguous()?, &precedence.contiguous()?, Link)?)
}

struct Link;

impl CustomOp3 for Link {
    fn name(&self) -> &'static str {
        "link"
    }

    fn cpu_fwd(
        &self,
        l: &CpuStorage,
        ll: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        p: &CpuStorage,
        lp: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let n = ll.dims()[ll.dims().len() - 1];
        let new = for_float!("link", l, T => {
            let (l, w, p) = (slice::<T>(l, ll)?, slice::<T>(w, lw)?, slice::<T>(p, lp)?);
            Ok(candle_core::WithDType::to_cpu_storage_owned(cpu::forward(l, w, p, n)))
        })?;
        Ok((new, ll.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        l: &candle_core::CudaStorage,
        ll: &Layout,
        w: &candle_core::CudaStorage,
        lw: &Layout,
        p: &candle_core::CudaStorage,
        lp: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        for_float!("link", l, T => cuda::forward::<T>((l, ll), (w, lw), (p, lp)))
    }

    fn bwd(
        &self,
        l: &Tensor,
        w: &Tensor,
        p: &Tensor,
        _new: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        if super::second_order() {
            let [gl, gw, gp] = differentiable(l, w, p, grad)?;
            return Ok((Some(gl), Some(gw), Some(gp)));
        }
        #[cfg(feature = "cuda")]
        if l.device().is_cuda() {
            return for_float!("link", l, T => {
                let [gl, gw, gp] = cuda::backward::<T>(l, w, p, grad)?;
                Ok((Some(gl), Some(gw), Some(gp)))
            });
        }
        for_float!("link", l, T => {
            let [gl, gw, gp] = with_slice::<T, _>(l, |l_data| with_slice(w, |w| with_slice(p, |p| {
                with_slice(grad, |g| Ok(cpu::backward(l_data, w, p, g, l.dim(D::Minus1)?)))
            })))?;
            let tensor = |g: Vec<T>, like: &Tensor| Tensor::from_vec(g, like.shape(), like.device());
            Ok((Some(tensor(gl, l)?), Some(tensor(gw, w)?), Some(tensor(gp, p)?)))
        })
    }
}

/// The gradients from candle's operations, so that they can be differentiated again.
fn differentiable(l: &Tensor, w: &Tensor, p: &Tensor, grad: &Tensor) -> candle_core::Result<[Tensor; 3]> {
    let n = l.dim(D::Minus1)?;
    let off = (1.0 - Tensor::eye(n, l.dtype(), l.device())?)?;
    let g = grad.broadcast_mul(&off)?;
    let (wi, wj, pj) = (w.unsqueeze(D::Minus1)?, w.unsqueeze(D::Minus2)?, p.unsqueeze(D::Minus2)?);
    let kept = (1.0 - wi.broadcast_add(&wj)?)?;
    let gl = (&kept * &g)?;
    let lost = (&g * l)?;
    let gw = (g.broadcast_mul(&pj)? - &lost)?.sum(D::Minus1)? - lost.sum(D::Minus2)?;
    Ok([gl, gw?, g.broadcast_mul(&wi)?.sum(D::Minus2)?])
}
