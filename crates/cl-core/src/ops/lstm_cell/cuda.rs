//! The kernels of `lstm_cell`.

use candle_core::{CudaStorage, Layout, Result, Shape, Tensor};

use crate::kernels::LSTM_CELL;
use crate::ops::cuda::{
    Float, Operand, THREADS, blocks, device_of, grid, launch, pointer, room, tensor_pointer,
};

pub(super) fn forward<T: Float>((z, lz): Operand<'_>, (c, lc): Operand<'_>) -> Result<(CudaStorage, Shape)> {
    let (n, width) = lc.shape().dims2()?;
    let shape = Shape::from((2, n, width));
    let new = room::<T>(&z.device, shape.elem_count())?;
    if n * width > 0 {
        launch!(
            &z.device,
            LSTM_CELL,
            T,
            "lstm_cell",
            grid(blocks(n * width, THREADS), 1),
            pointer::<T>(z, lz)?,
            pointer::<T>(c, lc)?,
            pointer::<T>(&new, &Layout::contiguous(&shape))?,
            (n * width) as u64,
            width as u32,
        )?;
    }
    Ok((new, shape))
}

/// The gradients of the gates, and of the cells if they need one.
pub(super) fn backward<T: Float>(
    z: &Tensor,
    c: &Tensor,
    new: &Tensor,
    grad: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let needs_gc = c.track_op();
    let [z, c, new, grad] = [z, c, new, grad].map(|t| t.detach().contiguous());
    let (z, c, new, grad) = (z?, c?, new?, grad?);
    // SAFETY: the kernel writes all of both.
    let (gz, gc) = unsafe { (z.empty_like()?, needs_gc.then(|| c.empty_like()).transpose()?) };
    if c.elem_count() > 0 {
        launch!(
            &device_of(&z)?,
            LSTM_CELL,
            T,
            "lstm_cell_backward",
            grid(blocks(c.elem_count(), THREADS), 1),
            tensor_pointer::<T>(&z)?,
            tensor_pointer::<T>(&c)?,
            tensor_pointer::<T>(&new)?,
            tensor_pointer::<T>(&grad)?,
            tensor_pointer::<T>(&gz)?,
            gc.as_ref().map(tensor_pointer::<T>).transpose()?.unwrap_or(0),
            c.elem_count() as u64,
            c.dim(1)? as u32,
        )?;
    }
    Ok((Some(gz), gc))
}
