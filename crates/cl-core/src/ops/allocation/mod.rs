//! The DNC's allocation weighting (Graves et al. 2016, methods, "dynamic memory allocation"): which slot is free to be written.
//!
//! | operand | shape | |
//! |---|---|---|
//! | u | (.., n) | usage of each slot, meant to lie in \[0, 1\]; f32 or f64, any strides |
//! | a | (.., n) | the weighting; Σ a ≤ 1 where 0 ≤ u ≤ 1 |
//!
//! With φ the slots in ascending order of usage, a\[φⱼ\] = (1 − u\[φⱼ\]) ∏_{i<j} u\[φᵢ\]: one stable sort and one exclusive
//! cumulative product. Equal usages keep the order of the slots; what is no number comes last.
//!
//! The gradient goes through the values, not through the order. With v = u\[φ\], P the products, g the gradient of a\[φ\] and
//! Qₖ = gₖ₊₁(1 − vₖ₊₁) + vₖ₊₁ Qₖ₊₁ from the end (Q = 0 at the last),
//!
//! ∂vₖ = Pₖ (Qₖ − gₖ).
//!
//! Nothing is divided by, so that it is finite for usages of 0 and 1 too, where a cumulative product by logarithms or by
//! division has none.

pub(super) mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use super::cpu::{for_float, slice, with_slice, zeros};
use crate::{Error, Result};

pub(super) fn allocation(usage: &Tensor) -> Result<Tensor> {
    if usage.rank() == 0 {
        return Err(Error::mismatch("allocation", "usages (.., n)", "a scalar"));
    }
    Ok(usage.contiguous()?.apply_op1(Allocation)?)
}

struct Allocation;

impl CustomOp1 for Allocation {
    fn name(&self) -> &'static str {
        "allocation"
    }

    fn cpu_fwd(&self, u: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let n = *layout.dims().last().expect("there is a dimension of slots");
        let a = for_float!("allocation", u, T => {
            let u = slice::<T>(u, layout)?;
            let (mut a, mut order) = (zeros::<T>(u.len()), Vec::new());
            for (u, a) in u.chunks_exact(n.max(1)).zip(a.chunks_exact_mut(n.max(1))) {
                cpu::order(u, &mut order);
                cpu::forward(u, &order, a);
            }
            Ok(candle_core::WithDType::to_cpu_storage_owned(a))
        })?;
        Ok((a, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        u: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        for_float!("allocation", u, T => cuda::forward::<T>((u, layout)))
    }

    fn bwd(&self, u: &Tensor, a: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        if super::second_order() {
            return differentiable(u, grad).map(Some);
        }
        #[cfg(feature = "cuda")]
        if u.device().is_cuda() {
            return for_float!("allocation", u, T => cuda::backward::<T>(u, grad).map(Some));
        }
        let n = *u.dims().last().expect("there is a dimension of slots");
        for_float!("allocation", a, T => {
            let gu = with_slice::<T, _>(u, |u| with_slice(grad, |g| {
                let (mut gu, mut order) = (zeros::<T>(u.len()), Vec::new());
                let rows = u.chunks_exact(n.max(1)).zip(g.chunks_exact(n.max(1)));
                for ((u, g), gu) in rows.zip(gu.chunks_exact_mut(n.max(1))) {
                    cpu::order(u, &mut order);
                    cpu::backward(u, &order, g, gu);
                }
                Ok(gu)
            }))?;
            Tensor::from_vec(gu, u.shape(), u.device()).map(Some)
        })
    }
}

/// The same from candle's operations, so that it can be differentiated again: slow, a matrix of slots × slots.
fn differentiable(u: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
    let n = *u.dims().last().expect("there is a dimension of slots");
    let rows = u.elem_count() / n.max(1);
    let (flat, g) = (u.contiguous()?.reshape((rows, n))?, grad.contiguous()?.reshape((rows, n))?);
    let mut order = Vec::new();
    let of_rows: Vec<Tensor> = (0..rows)
        .map(|row| {
            let (u, g) = (flat.get(row)?, g.get(row)?);
            let values = u.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>()?;
            cpu::order(&values, &mut order);
            let mut places = vec![0u32; n];
            (0..n as u32).zip(&order).for_each(|(place, &slot)| places[slot as usize] = place);
            let sorted = Tensor::new(order.as_slice(), u.device())?;
            let (v, g) = (u.index_select(&sorted, 0)?, g.index_select(&sorted, 0)?);
            let one = |k: usize| v.narrow(0, k, 1);
            let (mut products, mut after) = (vec![one(0)?.ones_like()?], vec![one(0)?.zeros_like()?]);
            for k in 1..n {
                products.push((&products[k - 1] * one(k - 1)?)?);
                let k = n - k;
                let last = after.last().expect("it begins with one");
                after.push(((g.narrow(0, k, 1)? * (1.0 - one(k)?)?)? + (one(k)? * last)?)?);
            }
            after.reverse();
            let gv = (Tensor::cat(&products, 0)? * (Tensor::cat(&after, 0)? - g)?)?;
            gv.index_select(&Tensor::new(places.as_slice(), u.device())?, 0)
        })
        .collect::<candle_core::Result<_>>()?;
    match rows * n {
        0 => u.zeros_like(),
        _ => Tensor::stack(&of_rows, 0)?.reshape(u.shape()),
    }
}
