//! softmax(βQKᵀ + mask)·V and its log-sum-exp, without a matrix of queries × keys: attention, and one step of a
//! continuous Hopfield network (Ramsauer et al. 2021, eq. 10), over as many patterns as there is room for.
//!
//! | operand | shape | |
//! |---|---|---|
//! | Q | (.., n, d) | queries, f32 or f64 |
//! | K | (.., m, d) or (m, d) | keys, of each batch or shared by all |
//! | V | (.., m, v) or (m, v) | values, as the keys |
//! | mask | (m), (n, m) or (.., n, m), any of the leading ones 1 | optional, added to βQKᵀ; −∞ hides; no gradient |
//! | result | (.., n, v) | Σⱼ pᵢⱼ vⱼ, p = softmax over j |
//! | log-sum-exp | (.., n) | Lᵢ = ln Σⱼ exp(βqᵢkⱼ + maskᵢⱼ) |
//!
//! Forward, a block of queries goes over blocks of keys with a running maximum and a running sum (Milakov & Gimelshein 2018;
//! Rabe & Staats 2021). Backward, p is computed again from L, block by block (Dao et al. 2022): with g the gradient of the
//! result, h that of L, and Dᵢ = gᵢ·resultᵢ,
//!
//! dSᵢⱼ = pᵢⱼ (gᵢ·vⱼ − Dᵢ + hᵢ), ∂Q = β dS K, ∂K = β dSᵀQ, ∂V = pᵀg.
//!
//! The memory beside operands and results is that of a block. A query that sees no key gets zeros, L = −∞, and no gradient.

mod cpu;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, CustomOp3, D, Layout, Shape, Tensor};

use super::cpu::for_float;
use crate::{Error, Result};

pub(super) fn retrieve(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    beta: f64,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let width = values.dim(D::Minus1)?;
    Ok(both(queries, keys, values, beta, mask)?.narrow(D::Minus1, 0, width)?)
}

pub(super) fn log_partition(
    queries: &Tensor,
    keys: &Tensor,
    beta: f64,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let mut none = keys.dims().to_vec();
    if let Some(width) = none.last_mut() {
        *width = 0;
    }
    let values = Tensor::zeros(none, keys.dtype(), keys.device())?;
    Ok(both(queries, keys, &values, beta, mask)?.squeeze(D::Minus1)?)
}

/// The result, and L behind it: (.., n, v + 1).
fn both(q: &Tensor, k: &Tensor, v: &Tensor, beta: f64, mask: Option<&Tensor>) -> Result<Tensor> {
    if !beta.is_finite() {
        return Err(Error::invalid("beta", format!("{beta} is not a finite number")));
    }
    let sizes = sizes(q, k, v)?;
    let Sizes { batch, n, m, .. } = sizes;
    let mask = mask.map(|mask| fitted(mask, q, m)).transpose()?;
    let flat = |t: &Tensor| -> Result<Tensor> {
        let [.., rows, columns] = t.dims() else { unreachable!("sizes() has seen two dimensions") };
        let batches = t.elem_count().checked_div(rows * columns).unwrap_or(0);
        // Of nothing it cannot be told how often: as often as there are queries for it.
        let batches = if t.elem_count() == 0 { if t.rank() == 2 { 1 } else { batch } } else { batches };
        Ok(t.contiguous()?.reshape((batches, *rows, *columns))?)
    };
    let found = flat(q)?.apply_op3(&flat(k)?, &flat(v)?, Retrieve { sizes, beta, mask })?;
    let mut shape = q.dims()[..q.rank() - 2].to_vec();
    shape.extend([n, sizes.v + 1]);
    Ok(found.reshape(shape)?)
}

/// Batches, queries, keys, and how wide queries and values are.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    n: usize,
    m: usize,
    d: usize,
    v: usize,
}

fn sizes(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Sizes> {
    let wrong = |expected: String, found: &Tensor| {
        Err(Error::mismatch("retrieve", expected, format!("{:?} {:?}", found.dtype(), found.dims())))
    };
    let ([before @ .., n, d], dtype) = (q.dims(), q.dtype()) else {
        return wrong("queries (.., n, d)".into(), q);
    };
    let shared_or_batched = |t: &Tensor| {
        let dims = t.dims();
        dims.len() == 2 || dims.len() >= 2 && dims[..dims.len() - 2] == *before
    };
    if !shared_or_batched(k) || k.dims().last() != Some(d) || k.dtype() != dtype {
        return wrong(format!("keys {dtype:?} ({before:?}.., m, {d}) or (m, {d})"), k);
    }
    let m = k.dims()[k.rank() - 2];
    if !shared_or_batched(v) || v.dims()[v.rank() - 2] != m || v.dtype() != dtype {
        return wrong(format!("values {dtype:?} ({before:?}.., {m}, v) or ({m}, v)"), v);
    }
    if m == 0 {
        return Err(Error::invalid("retrieve", "there are no keys to retrieve from"));
    }
    Ok(Sizes { batch: before.iter().product(), n: *n, m, d: *d, v: v.dims()[v.rank() - 1] })
}

/// The mask as (batches or 1, n or 1, m).
fn fitted(mask: &Tensor, q: &Tensor, m: usize) -> Result<Tensor> {
    let wanted = [&q.dims()[..q.rank() - 1], &[m]].concat();
    let wrong = || {
        let expected =
            format!("a mask {:?} of {wanted:?}, or 1 in place of its leading dimensions", q.dtype());
        Error::mismatch("retrieve", expected, format!("{:?} {:?}", mask.dtype(), mask.dims()))
    };
    let (given, rank) = (mask.dims(), wanted.len());
    if given.is_empty() || given.len() > rank || mask.dtype() != q.dtype() || given.last() != Some(&m) {
        return Err(wrong());
    }
    let mut dims = vec![1; rank - given.len()];
    dims.extend(given);
    if dims.iter().zip(&wanted).any(|(has, wants)| *has != 1 && has != wants) {
        return Err(wrong());
    }
    let (before, rows) = (&dims[..rank - 2], dims[rank - 2]);
    let whole = wanted[..rank - 2].iter().product::<usize>();
    let mask = mask.detach().reshape(dims.as_slice())?;
    let batches = match before.iter().all(|n| *n == 1) {
        true => 1,
        false => whole,
    };
    let mask = match batches {
        1 => mask,
        _ => mask.broadcast_as([&wanted[..rank - 2], &[rows, m]].concat())?,
    };
    Ok(mask.contiguous()?.reshape((batches, rows, m))?)
}

struct Retrieve {
    sizes: Sizes,
    beta: f64,
    mask: Option<Tensor>,
}

impl Retrieve {
    /// Calls `f` with the elements of the mask.
    fn with_mask<T: super::cpu::Real, R>(
        &self,
        f: impl FnOnce(Option<cpu::Mask<'_, T>>) -> candle_core::Result<R>,
    ) -> candle_core::Result<R> {
        match &self.mask {
            None => f(None),
            Some(mask) => {
                let (batches, rows, _) = mask.dims3()?;
                super::cpu::with_slice(mask, |data| f(Some(cpu::Mask { data, batches, rows })))
            }
        }
    }
}

impl CustomOp3 for Retrieve {
    fn name(&self) -> &'static str {
        "retrieve"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let Sizes { batch, n, v: width, .. } = self.sizes;
        let found = for_float!("retrieve", q, T => {
            let (q, k, v) = (
                super::cpu::slice::<T>(q, lq)?,
                super::cpu::slice::<T>(k, lk)?,
                super::cpu::slice::<T>(v, lv)?,
            );
            let found = self.with_mask(|mask| Ok(cpu::forward(q, k, v, self.sizes, self.beta, mask)))?;
            Ok(candle_core::WithDType::to_cpu_storage_owned(found))
        })?;
        Ok((found, Shape::from((batch, n, width + 1))))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        found: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        if super::second_order() {
            return self.differentiable(q, k, v, grad);
        }
        let needs = [q.track_op(), k.track_op(), v.track_op()];
        for_float!("retrieve", q, T => {
            use super::cpu::with_slice;
            let [gq, gk, gv] = with_slice::<T, _>(q, |q| with_slice(k, |k| with_slice(v, |v| {
                with_slice(found, |found| with_slice(grad, |grad| self.with_mask(|mask| {
                    let known = cpu::Known { q, k, v, found, grad };
                    Ok(cpu::backward(known, self.sizes, self.beta, mask, needs))
                })))
            })))?;
            let tensor = |g: Vec<T>, like: &Tensor| Tensor::from_vec(g, like.shape(), like.device());
            let or_none = |needed: bool, g: Vec<T>, like: &Tensor| needed.then(|| tensor(g, like)).transpose();
            Ok((or_none(needs[0], gq, q)?, or_none(needs[1], gk, k)?, or_none(needs[2], gv, v)?))
        })
    }
}

impl Retrieve {
    /// The gradients from candle's operations, so that they can be differentiated again.
    fn differentiable(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let width = self.sizes.v;
        let mut s = (q.broadcast_matmul(&k.transpose(1, 2)?.contiguous()?)? * self.beta)?;
        if let Some(mask) = &self.mask {
            s = s.broadcast_add(mask)?;
        }
        // Where no key is seen, the largest score is −∞ and the sum 0: both are kept from making what is no number. The sum
        // is at least 1 elsewhere.
        let e = s.broadcast_sub(&s.max_keepdim(2)?.detach().maximum(-1e30)?)?.exp()?;
        let p = e.broadcast_div(&e.sum_keepdim(2)?.maximum(1e-30)?)?;
        let (g, h) = (grad.narrow(2, 0, width)?, grad.narrow(2, width, 1)?);
        let dp = match width {
            0 => p.zeros_like()?,
            _ => g.contiguous()?.broadcast_matmul(&v.transpose(1, 2)?.contiguous()?)?,
        };
        let inner = dp.broadcast_sub(&(&p * &dp)?.sum_keepdim(2)?)?.broadcast_add(&h)?;
        let ds = ((p.clone() * inner)? * self.beta)?;
        let shared = |g: Tensor, like: &Tensor| match like.dim(0)? == g.dim(0)? {
            true => Ok(g),
            false => g.sum_keepdim(0),
        };
        let gk = shared(ds.transpose(1, 2)?.contiguous()?.matmul(q)?, k)?;
        let gv = match width {
            0 => v.zeros_like()?,
            _ => shared(p.transpose(1, 2)?.contiguous()?.matmul(&g.contiguous()?)?, v)?,
        };
        Ok((Some(ds.broadcast_matmul(k)?), Some(gk), Some(gv)))
    }
}
