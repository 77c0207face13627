//! y = act(x·Wᵀ + b): the fully connected layer in one node of the graph.
//!
//! | operand | shape | |
//! |---|---|---|
//! | x | (.., in) | data or a computed tensor |
//! | W | (out, in) | as candle-nn and PyTorch keep it |
//! | b | (out) | optional |
//! | y | (.., out) | f32, f64, f16 or bf16, as the operands |
//!
//! With g the gradient of y and m its mask (y > 0 for ReLU): ∂W = (g∘m)ᵀx, ∂b = Σ(g∘m),
//! ∂x = (g∘m)W, which is left out where x is data. ReLU's gradient at 0 is 0, as in PyTorch.
//!
//! In f16 and bf16 all sums are made in f32 and what comes out is rounded: with the unit roundoff u (2⁻¹¹, 2⁻⁸) y and each gradient
//! are within u of themselves on the CPU. A GPU rounds xWᵀ before the bias is added, which is u of xWᵀ more.

mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
mod rows;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};

pub(super) use rows::sum_of_rows;

use super::cpu::{Stored, for_stored, slice, with_slice};
use crate::{Error, Result};

/// What follows the affine map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// max(0, ·).
    Relu,
}

pub(super) fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>, act: Activation) -> Result<Tensor> {
    let (outputs, inputs) = w.dims2()?;
    if x.dims().last() != Some(&inputs) {
        return Err(Error::mismatch("linear", format!("x of (.., {inputs})"), format!("{:?}", x.dims())));
    }
    if let Some(b) = b
        && b.dims() != [outputs]
    {
        return Err(Error::mismatch("linear", format!("b of ({outputs})"), format!("{:?}", b.dims())));
    }
    for t in [Some(w), b].into_iter().flatten() {
        if t.dtype() != x.dtype() {
            return Err(Error::mismatch(
                "linear",
                format!("{:?} as x", x.dtype()),
                format!("{:?}", t.dtype()),
            ));
        }
    }
    let mut shape = x.dims().to_vec();
    *shape.last_mut().expect("x has at least one dimension") = outputs;
    let rows = shape[..shape.len() - 1].iter().product::<usize>();
    let flat = if x.rank() == 2 { x.contiguous()? } else { x.reshape((rows, inputs))?.contiguous()? };
    let w = w.contiguous()?;
    let op = Linear { act };
    let y = match b {
        Some(b) => flat.apply_op3(&w, &b.contiguous()?, op)?,
        None => flat.apply_op2(&w, op)?,
    };
    Ok(if x.rank() == 2 { y } else { y.reshape(shape)? })
}

struct Linear {
    act: Activation,
}

impl Linear {
    fn forward(
        &self,
        (x, lx): (&CpuStorage, &Layout),
        (w, lw): (&CpuStorage, &Layout),
        b: Option<(&CpuStorage, &Layout)>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, inputs) = lx.shape().dims2()?;
        let outputs = lw.dims()[0];
        let y = for_stored!("linear", x, T => {
            let b = b.map(|(b, lb)| slice::<T>(b, lb)).transpose()?.map(T::widened);
            let (x, w) = (T::widened(slice(x, lx)?), T::widened(slice(w, lw)?));
            let y = cpu::forward(&x, &w, b.as_deref(), (rows, inputs, outputs), self.act);
            Ok(candle_core::WithDType::to_cpu_storage_owned(T::rounded(y)))
        })?;
        Ok((y, Shape::from((rows, outputs))))
    }

    /// The gradients of x (if it needs one), W and b.
    fn backward(
        &self,
        x: &Tensor,
        w: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Tensor, Tensor)> {
        if super::second_order() {
            let g = match self.act {
                Activation::Identity => grad.clone(),
                Activation::Relu => (grad * y.gt(0f64)?.to_dtype(y.dtype())?)?,
            };
            let gx = x.track_op().then(|| g.matmul(w)).transpose()?;
            return Ok((gx, g.t()?.matmul(x)?, g.sum(0)?));
        }
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return for_stored!("linear", x, T => cuda::backward::<T>(x, w, y, grad, self.act));
        }
        let (rows, inputs) = x.dims2()?;
        let outputs = w.dims()[0];
        for_stored!("linear", x, T => {
            let (gx, gw, gb) = with_slice(x, |x_data| {
                with_slice(w, |w| {
                    with_slice(y, |y| {
                        with_slice::<T, _>(grad, |g| {
                            let [x_data, w, y, g] = [x_data, w, y, g].map(T::widened);
                            let size = (rows, inputs, outputs);
                            Ok(cpu::backward(&x_data, &w, &y, &g, size, self.act, x.track_op()))
                        })
                    })
                })
            })?;
            let device = x.device();
            Ok((
                gx.map(|gx| Tensor::from_vec(T::rounded(gx), (rows, inputs), device)).transpose()?,
                Tensor::from_vec(T::rounded(gw), (outputs, inputs), device)?,
                Tensor::from_vec(T::rounded(gb), outputs, device)?,
            ))
        })
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.forward((x, lx), (w, lw), Some((b, lb)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        lx: &Layout,
        w: &candle_core::CudaStorage,
        lw: &Layout,
        b: &candle_core::CudaStorage,
        lb: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        for_stored!("linear", x, T => cuda::forward::<T>((x, lx), (w, lw), Some((b, lb)), self.act))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _b: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (gx, gw, gb) = self.backward(x, w, y, grad)?;
        Ok((gx, Some(gw), Some(gb)))
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.forward((x, lx), (w, lw), None)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        lx: &Layout,
        w: &candle_core::CudaStorage,
        lw: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        for_stored!("linear", x, T => cuda::forward::<T>((x, lx), (w, lw), None, self.act))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (gx, gw, _) = self.backward(x, w, y, grad)?;
        Ok((gx, Some(gw)))
    }
}
