//! The element-wise part of an LSTM (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000) in one node.
//!
//! | operand | shape | |
//! |---|---|---|
//! | z | (n, 4h) | before the non-linearities, in PyTorch's order: input gate, forget gate, candidate, output gate |
//! | c | (n, h) | the cell state before |
//! | result | (2, n, h) | h′ = σ(z_o) tanh(c′), then c′ = σ(z_f) c + σ(z_i) tanh(z_g) |

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};

use super::cpu::{Real, WideLoop, for_float, sigmoid, slice, tanh, wide_loop, with_slice, zeros};
use crate::{Error, Result};

pub(super) fn lstm_cell(gates: &Tensor, cell: &Tensor) -> Result<Tensor> {
    let text = |t: &Tensor| format!("{:?} {:?}", t.dtype(), t.dims());
    match (gates.dims(), cell.dims()) {
        ([n, wide], [m, h]) if n == m && *wide == 4 * h && gates.dtype() == cell.dtype() => {}
        _ => {
            let expected = "gates (n, 4h) and cells (n, h) of one dtype";
            return Err(Error::mismatch(
                "lstm_cell",
                expected,
                format!("{} and {}", text(gates), text(cell)),
            ));
        }
    }
    Ok(gates.contiguous()?.apply_op2(&cell.contiguous()?, LstmCell)?)
}

struct LstmCell;

impl CustomOp2 for LstmCell {
    fn name(&self) -> &'static str {
        "lstm_cell"
    }

    fn cpu_fwd(
        &self,
        z: &CpuStorage,
        lz: &Layout,
        c: &CpuStorage,
        lc: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (n, width) = lc.shape().dims2()?;
        let new = for_float!("lstm_cell", z, T => {
            let (z, c) = (slice::<T>(z, lz)?, slice::<T>(c, lc)?);
            let mut new = zeros::<T>(2 * n * width);
            wide_loop(Forward { z, c, new: &mut new, width });
            Ok(candle_core::WithDType::to_cpu_storage_owned(new))
        })?;
        Ok((new, Shape::from((2, n, width))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        z: &candle_core::CudaStorage,
        lz: &Layout,
        c: &candle_core::CudaStorage,
        lc: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        for_float!("lstm_cell", z, T => cuda::forward::<T>((z, lz), (c, lc)))
    }

    fn bwd(
        &self,
        z: &Tensor,
        c: &Tensor,
        new: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        if super::second_order() {
            let [gz, gc] = differentiable(z, c, grad)?;
            return Ok((Some(gz), Some(gc)));
        }
        #[cfg(feature = "cuda")]
        if z.device().is_cuda() {
            return for_float!("lstm_cell", z, T => cuda::backward::<T>(z, c, new, grad));
        }
        let width = c.dim(1)?;
        for_float!("lstm_cell", z, T => {
            let (mut gz, mut gc) = (zeros::<T>(z.elem_count()), zeros::<T>(c.elem_count()));
            with_slice::<T, _>(z, |z| with_slice(c, |c| with_slice(new, |new| with_slice(grad, |g| {
                wide_loop(Backward { z, c, new, g, gz: &mut gz, gc: &mut gc, width });
                Ok(())
            }))))?;
            Ok((
                Some(Tensor::from_vec(gz, z.shape(), z.device())?),
                c.track_op().then(|| Tensor::from_vec(gc, c.shape(), c.device())).transpose()?,
            ))
        })
    }
}

struct Forward<'a, T> {
    z: &'a [T],
    c: &'a [T],
    new: &'a mut [T],
    width: usize,
}

impl<T: Real> WideLoop for Forward<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Self { z, c, new, width } = self;
        if width == 0 {
            return;
        }
        let (h_new, c_new) = new.split_at_mut(c.len());
        let rows = z.chunks_exact(4 * width).zip(c.chunks_exact(width));
        for ((z, c), (h_new, c_new)) in
            rows.zip(h_new.chunks_exact_mut(width).zip(c_new.chunks_exact_mut(width)))
        {
            let [zi, zf, zg, zo] = quarters(z, width);
            for k in 0..width {
                c_new[k] = sigmoid(zf[k]) * c[k] + sigmoid(zi[k]) * tanh(zg[k]);
                h_new[k] = sigmoid(zo[k]) * tanh(c_new[k]);
            }
        }
    }
}

struct Backward<'a, T> {
    z: &'a [T],
    c: &'a [T],
    new: &'a [T],
    g: &'a [T],
    gz: &'a mut [T],
    gc: &'a mut [T],
    width: usize,
}

impl<T: Real> WideLoop for Backward<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Self { z, c, new, g, gz, gc, width } = self;
        if width == 0 {
            return;
        }
        let (g_hidden, g_cell) = g.split_at(c.len());
        let c_new = &new[c.len()..];
        for row in 0..c.len() / width {
            let at = row * width..(row + 1) * width;
            let (c, c_new, gh) = (&c[at.clone()], &c_new[at.clone()], &g_hidden[at.clone()]);
            let (g_cell, gc) = (&g_cell[at.clone()], &mut gc[at]);
            let [zi, zf, zg, zo] = quarters(&z[row * 4 * width..][..4 * width], width);
            let (gi, rest) = gz[row * 4 * width..][..4 * width].split_at_mut(width);
            let (gf, rest) = rest.split_at_mut(width);
            let (gg, go) = rest.split_at_mut(width);
            for k in 0..width {
                let (i, f, o) = (sigmoid(zi[k]), sigmoid(zf[k]), sigmoid(zo[k]));
                let (candidate, squashed) = (tanh(zg[k]), tanh(c_new[k]));
                let one = T::one();
                let of_cell = g_cell[k] + gh[k] * o * (one - squashed * squashed);
                go[k] = gh[k] * squashed * o * (one - o);
                gi[k] = of_cell * candidate * i * (one - i);
                gf[k] = of_cell * c[k] * f * (one - f);
                gg[k] = of_cell * i * (one - candidate * candidate);
                gc[k] = of_cell * f;
            }
        }
    }
}

#[inline(always)]
fn quarters<T>(z: &[T], width: usize) -> [&[T]; 4] {
    [0, 1, 2, 3].map(|part| &z[part * width..][..width])
}

/// The gradients from candle's operations, so that they can be differentiated again.
fn differentiable(z: &Tensor, c: &Tensor, grad: &Tensor) -> candle_core::Result<[Tensor; 2]> {
    let width = c.dim(1)?;
    let part = |k: usize| z.narrow(1, k * width, width);
    let sigmoid = |t: Tensor| ((t.neg()?.exp()? + 1.0)?).recip();
    let (i, f, o) = (sigmoid(part(0)?)?, sigmoid(part(1)?)?, sigmoid(part(3)?)?);
    let candidate = part(2)?.tanh()?;
    let squashed = ((&f * c)? + (&i * &candidate)?)?.tanh()?;
    let (gh, g_cell) = (grad.get(0)?, grad.get(1)?);
    let of_cell = (g_cell + ((&gh * &o)? * (1.0 - squashed.sqr()?)?)?)?;
    let gate = |g: Tensor, gate: &Tensor| (g * gate)? * (1.0 - gate)?;
    let go = gate((&gh * &squashed)?, &o)?;
    let gi = gate((&of_cell * &candidate)?, &i)?;
    let gf = gate((&of_cell * c)?, &f)?;
    let gg = ((&of_cell * &i)? * (1.0 - candidate.sqr()?)?)?;
    Ok([Tensor::cat(&[gi, gf, gg, go], 1)?, (of_cell * f)?])
}
