//! The matrix products of `linear` by cuBLAS, and the kernels that surround them. The products of f16 and bf16 are summed in f32.

use candle_core::backend::BackendStorage as _;
use candle_core::{CudaStorage, Layout, Result, Shape, Tensor, WithDType as _};

use super::Activation;
use crate::kernels::LINEAR;
use crate::ops::cuda::{
    ColumnSums, Element, Float, Operand, THREADS, blocks, column_sums, device_of, grid, launch, pointer,
    room, tensor_pointer,
};

pub(super) fn forward<T: Element>(
    (x, lx): Operand<'_>,
    (w, lw): Operand<'_>,
    b: Option<Operand<'_>>,
    act: Activation,
) -> Result<(CudaStorage, Shape)> {
    let ((rows, inputs), outputs) = (lx.shape().dims2()?, lw.dims()[0]);
    let shape = Shape::from((rows, outputs));
    let y = match rows * inputs * outputs {
        0 => CudaStorage::wrap_cuda_slice(x.device.alloc_zeros::<T>(rows * outputs)?, x.device.clone()),
        _ => x.matmul(w, (1, rows, outputs, inputs), lx, &lw.transpose(0, 1)?)?,
    };
    if rows * outputs > 0 && (b.is_some() || act == Activation::Relu) {
        let bias = b.map(|(b, lb)| pointer::<T>(b, lb)).transpose()?.unwrap_or(0);
        let n = rows * outputs;
        launch!(
            &x.device,
            LINEAR,
            T,
            "bias_act",
            grid(blocks(n, THREADS), 1),
            pointer::<T>(&y, &Layout::contiguous(&shape))?,
            bias,
            n as u64,
            outputs as u32,
            u32::from(act == Activation::Relu),
        )?;
    }
    Ok((y, shape))
}

/// The gradients of x (if it needs one), W and b.
pub(super) fn backward<T: Element>(
    x: &Tensor,
    w: &Tensor,
    y: &Tensor,
    grad: &Tensor,
    act: Activation,
) -> Result<(Option<Tensor>, Tensor, Tensor)> {
    let ((rows, inputs), outputs) = (x.dims2()?, w.dims()[0]);
    let needs_gx = x.track_op();
    let (x, w, y, grad) = (x.detach(), w.detach(), y.detach().contiguous()?, grad.detach().contiguous()?);
    if rows * inputs * outputs == 0 {
        return Ok((needs_gx.then(|| x.zeros_like()).transpose()?, w.zeros_like()?, grad.sum(0)?));
    }
    let device = device_of(&grad)?;
    // SAFETY: the kernel writes all of both.
    let (masked, gb) = unsafe {
        let masked = if act == Activation::Relu { grad.empty_like()? } else { grad.clone() };
        (masked, Tensor::empty(outputs, grad.dtype(), grad.device())?)
    };
    let [y, into] = match act {
        Activation::Relu => [tensor_pointer::<T>(&y)?, tensor_pointer::<T>(&masked)?],
        Activation::Identity => [0, 0],
    };
    let sums = ColumnSums::<T> {
        g: tensor_pointer::<T>(&grad)?,
        y,
        masked: into,
        out: tensor_pointer::<T>(&gb)?,
        keep: T::Real::from_f64(0.0),
        scale: T::Real::from_f64(1.0),
    };
    column_sums(&device, sums, rows, outputs)?;
    let gw = masked.t()?.matmul(&x)?;
    let gx = needs_gx.then(|| masked.matmul(&w)).transpose()?;
    Ok((gx, gw, gb))
}

/// The output gradients `below` (n·losses, in) of a layer, 0 where its `activation` (n, in) is not above 0; in place.
pub(in crate::ops) fn mask<T: Element>(below: &Tensor, activation: &Tensor, losses: usize) -> Result<()> {
    let n = below.elem_count();
    if n == 0 {
        return Ok(());
    }
    launch!(
        &device_of(below)?,
        LINEAR,
        T,
        "mask",
        grid(blocks(n, THREADS), 1),
        tensor_pointer::<T>(below)?,
        tensor_pointer::<T>(activation)?,
        n as u64,
        activation.dims2()?.1 as u32,
        losses as u32,
    )
}

/// Σ꜀ δₙ꜀²: (n, losses, out) → (n, out).
pub(in crate::ops) fn sum_of_squares<T: Float>(deltas: &Tensor) -> Result<Tensor> {
    let (n, losses, out) = deltas.dims3()?;
    let device = device_of(deltas)?;
    let storage = room::<T>(&device, n * out)?;
    let shape = Shape::from((n, out));
    if n * out > 0 {
        launch!(
            &device,
            LINEAR,
            T,
            "sum_of_squares",
            grid(blocks(n * out, THREADS), 1),
            tensor_pointer::<T>(deltas)?,
            pointer::<T>(&storage, &Layout::contiguous(&shape))?,
            (n * out) as u64,
            out as u32,
            losses as u32,
        )?;
    }
    let op = candle_core::op::BackpropOp::none();
    Ok(Tensor::from_storage(candle_core::Storage::Cuda(storage), shape, op, false))
}
