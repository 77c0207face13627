//! softmax(βQKᵀ + mask)·V and its log-sum-exp, without a matrix of queries × keys: attention, and one step of a
//! continuous Hopfield network (Ramsauer et al. 2021, eq. 10), over as many patterns as there is room for.
//!
//! | operand | shape | |
//! |---|---|---|
//! | Q | (.., n, d) | queries, f32 or f64, f16 or bf16 |
//! | K | (.., m, d) or (m, d) | keys, of each batch or shared by all |
//! | V | (.., m, v) or (m, v) | values, as the keys |
//! | mask | (m), (n, m) or (.., n, m), any of the leading ones 1 | optional, added to βQKᵀ; −∞ hides; no gradient |
//! | result | (.., n, v) | Σⱼ pᵢⱼ vⱼ, p = softmax over j |
//! | log-sum-exp | (.., n) | Lᵢ = ln Σⱼ exp(βqᵢkⱼ + maskᵢⱼ); f32 where the operands are half of it |
//!
//! Forward, a block of queries goes over blocks of keys with a running maximum and a running sum (Milakov & Gimelshein 2018;
//! Rabe & Staats 2021). Backward, p is computed again from L, block by block (Dao et al. 2022): with g the gradient of the
//! result, h that of L, and Dᵢ = gᵢ·resultᵢ,
//!
//! dSᵢⱼ = pᵢⱼ (gᵢ·vⱼ − Dᵢ + hᵢ), ∂Q = β dS K, ∂K = β dSᵀQ, ∂V = pᵀg.
//!
//! The memory beside operands and results is that of a block. A query that sees no key gets zeros, L = −∞, and no gradient.
//!
//! Half precision is summed in f32 everywhere: on the CPU operands are converted to f32 and the result back; on a GPU weights and
//! dS are rounded to it before they are multiplied.
//!
//! In f16 the backward pass has its weights in f16 too: of 2¹⁴ equal weights and more they lose digits, of 2²⁵ they are 0. bf16 has the
//! range of f32 and is what large memories are for.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor};

use super::cpu::for_float;
use crate::{Error, Result};

pub(super) fn retrieve(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    beta: f64,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    Question::new(queries, keys, Some(values), beta, mask)?.result(&Arc::default())
}

pub(super) fn log_partition(
    queries: &Tensor,
    keys: &Tensor,
    beta: f64,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    Question::new(queries, keys, None, beta, mask)?.log(&Arc::default())
}

pub(super) fn retrieve_with_log_partition(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    beta: f64,
    mask: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let question = Question::new(queries, keys, Some(values), beta, mask)?;
    let log = Arc::default();
    Ok((question.result(&log)?, question.log(&log)?))
}

/// L, once it is known.
type Log = Arc<OnceLock<Tensor>>;

/// What is asked for, checked: operands of three dimensions, (batches, rows, columns).
struct Question {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sizes: Sizes,
    beta: f64,
    mask: Option<Tensor>,
    /// What stands before the rows.
    before: Vec<usize>,
    /// What the result is converted to.
    dtype: DType,
}

impl Question {
    /// Without values only L can be asked for.
    fn new(q: &Tensor, k: &Tensor, v: Option<&Tensor>, beta: f64, mask: Option<&Tensor>) -> Result<Self> {
        if !beta.is_finite() {
            return Err(Error::invalid("beta", format!("{beta} is not a finite number")));
        }
        let none = match v {
            None => Some(without_columns(k)?),
            Some(_) => None,
        };
        let (Some(v), dtype) = (v.or(none.as_ref()), q.dtype()) else { unreachable!("one of them is there") };
        let sizes = sizes(q, k, v)?;
        let Sizes { batch, m, .. } = sizes;
        let mask = mask.map(|mask| fitted(mask, q, m)).transpose()?;
        let convert = q.device().is_cpu() && matches!(dtype, DType::F16 | DType::BF16);
        let computed = |t: &Tensor| if convert { t.to_dtype(DType::F32) } else { Ok(t.clone()) };
        let flat = |t: &Tensor| -> Result<Tensor> {
            let [.., rows, columns] = t.dims() else { unreachable!("sizes() has seen two dimensions") };
            let batches = t.elem_count().checked_div(rows * columns).unwrap_or(0);
            // Of nothing it cannot be told how often: as often as there are queries for it.
            let batches = if t.elem_count() == 0 { if t.rank() == 2 { 1 } else { batch } } else { batches };
            Ok(computed(t)?.contiguous()?.reshape((batches, *rows, *columns))?)
        };
        Ok(Self {
            q: flat(q)?,
            k: flat(k)?,
            v: flat(v)?,
            sizes,
            beta,
            mask: mask.map(|mask| computed(&mask)).transpose()?,
            before: q.dims()[..q.rank() - 2].to_vec(),
            dtype,
        })
    }

    /// (.., n, v), and L into `log`.
    fn result(&self, log: &Log) -> Result<Tensor> {
        let result = self.q.apply_op3(&self.k, &self.v, self.operation(Asked::Result, log))?;
        Ok(result
            .reshape([&self.before[..], &[self.sizes.n, self.sizes.v]].concat())?
            .to_dtype(self.dtype)?)
    }

    /// (.., n), computed if it is not in `log`.
    fn log(&self, log: &Log) -> Result<Tensor> {
        let none = without_columns(&self.v.detach())?;
        let found = self.q.apply_op3(&self.k, &none, self.operation(Asked::Log, log))?;
        Ok(found.reshape([&self.before[..], &[self.sizes.n]].concat())?)
    }

    fn operation(&self, asked: Asked, log: &Log) -> Retrieve {
        let sizes = if asked == Asked::Log { Sizes { v: 0, ..self.sizes } } else { self.sizes };
        Retrieve { sizes, beta: self.beta, mask: self.mask.clone(), asked, log: Arc::clone(log) }
    }
}

/// As many rows, with nothing in them.
fn without_columns(t: &Tensor) -> Result<Tensor> {
    let mut dims = t.dims().to_vec();
    if let Some(columns) = dims.last_mut() {
        *columns = 0;
    }
    Ok(Tensor::zeros(dims, t.dtype(), t.device())?)
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
    let ([before @ .., n, d], dtype @ (DType::F32 | DType::F64 | DType::F16 | DType::BF16)) =
        (q.dims(), q.dtype())
    else {
        return wrong("queries (.., n, d) of f32, f64, f16 or bf16".into(), q);
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
    super::cpu::same_place("retrieve", q, mask)?;
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

/// What the operation gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// (batches, n, v)
    Result,
    /// (batches, n)
    Log,
}

struct Retrieve {
    sizes: Sizes,
    beta: f64,
    mask: Option<Tensor>,
    asked: Asked,
    /// Filled by the forward pass, for the backward pass and for who asks for both.
    log: Log,
}

/// The gradients of queries, keys and values.
type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

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

    fn shape(&self) -> Shape {
        let Sizes { batch, n, v, .. } = self.sizes;
        match self.asked {
            Asked::Result => Shape::from((batch, n, v)),
            Asked::Log => Shape::from((batch, n)),
        }
    }

    /// L (batches, n), of the forward pass.
    fn known_log(&self) -> candle_core::Result<&Tensor> {
        self.log.get().ok_or_else(|| candle_core::Error::Msg("retrieve: backward before forward".into()).bt())
    }

    fn cpu_gradients<T: super::cpu::Real>(
        &self,
        [q, k, v]: [&Tensor; 3],
        result: &Tensor,
        grad: &Tensor,
        needs: [bool; 3],
    ) -> candle_core::Result<[Vec<T>; 3]> {
        use super::cpu::with_slice;
        with_slice(q, |q| {
            with_slice(k, |k| {
                with_slice(v, |v| {
                    with_slice(result, |result| {
                        with_slice(self.known_log()?, |log| {
                            with_slice(grad, |grad| {
                                let (grad, log_grad) = match self.asked {
                                    Asked::Result => (grad, None),
                                    Asked::Log => (&grad[..0], Some(grad)),
                                };
                                let result = if self.asked == Asked::Log { &result[..0] } else { result };
                                let known = cpu::Known { q, k, v, result, log, grad, log_grad };
                                self.with_mask(|mask| {
                                    Ok(cpu::backward(known, self.sizes, self.beta, mask, needs))
                                })
                            })
                        })
                    })
                })
            })
        })
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
        let Sizes { batch, n, .. } = self.sizes;
        for_float!("retrieve", q, T => {
            use candle_core::WithDType as _;
            if let (Asked::Log, Some(log)) = (self.asked, self.log.get()) {
                let log = super::cpu::with_slice::<T, _>(log, |log| Ok(log.to_vec()))?;
                return Ok((T::to_cpu_storage_owned(log), self.shape()));
            }
            let (q, k, v) = (
                super::cpu::slice::<T>(q, lq)?,
                super::cpu::slice::<T>(k, lk)?,
                super::cpu::slice::<T>(v, lv)?,
            );
            let (result, log) = self.with_mask(|mask| Ok(cpu::forward(q, k, v, self.sizes, self.beta, mask)))?;
            let given = if self.asked == Asked::Log { log.clone() } else { result };
            let log = Tensor::from_vec(log, (batch, n), &candle_core::Device::Cpu)?;
            // There is one forward pass for each operation.
            let _ = self.log.set(log);
            Ok((T::to_cpu_storage_owned(given), self.shape()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        q: &candle_core::CudaStorage,
        lq: &Layout,
        k: &candle_core::CudaStorage,
        lk: &Layout,
        v: &candle_core::CudaStorage,
        lv: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        Ok((cuda::forward(self, (q, lq), (k, lk), (v, lv))?, self.shape()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        result: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Gradients> {
        if super::second_order() {
            return self.differentiable(q, k, v, grad);
        }
        // L does not depend on values, of which there are none.
        let needs = [q.track_op(), k.track_op(), v.track_op()];
        #[cfg(feature = "cuda")]
        if q.device().is_cuda() {
            return cuda::backward(self, [q, k, v], result, grad, needs);
        }
        for_float!("retrieve", q, T => {
            let [gq, gk, gv] = self.cpu_gradients::<T>([q, k, v], result, grad, needs)?;
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
    ) -> candle_core::Result<Gradients> {
        let mut s = (q.broadcast_matmul(&k.transpose(1, 2)?.contiguous()?)? * self.beta)?;
        if let Some(mask) = &self.mask {
            s = s.broadcast_add(mask)?;
        }
        // Where no key is seen, the largest score is −∞ and the sum 0: both are kept from making what is no number. The sum
        // is at least 1 elsewhere.
        let e = s.broadcast_sub(&s.max_keepdim(2)?.detach().maximum(-1e30)?)?.exp()?;
        let p = e.broadcast_div(&e.sum_keepdim(2)?.maximum(1e-30)?)?;
        let inner = match (self.asked, self.sizes.v) {
            (Asked::Log, _) => grad.to_dtype(q.dtype())?.unsqueeze(2)?.broadcast_as(p.shape())?,
            (Asked::Result, 0) => p.zeros_like()?,
            (Asked::Result, _) => {
                let dp = grad.contiguous()?.broadcast_matmul(&v.transpose(1, 2)?.contiguous()?)?;
                dp.broadcast_sub(&(&p * &dp)?.sum_keepdim(2)?)?
            }
        };
        let ds = ((p.clone() * inner)? * self.beta)?;
        let shared = |g: Tensor, like: &Tensor| match like.dim(0)? == g.dim(0)? {
            true => Ok(g),
            false => g.sum_keepdim(0),
        };
        let gk = shared(ds.transpose(1, 2)?.contiguous()?.matmul(q)?, k)?;
        let gv = match self.sizes.v {
            0 => v.zeros_like()?,
            _ => shared(p.transpose(1, 2)?.contiguous()?.matmul(&grad.contiguous()?)?, v)?,
        };
        Ok((Some(ds.broadcast_matmul(k)?), Some(gk), Some(gv)))
    }
}
