//! The kernels of `link`.

use candle_core::{CudaStorage, Layout, Result, Shape, Tensor};

use crate::kernels::LINK;
use crate::ops::cuda::{
    Float, Operand, THREADS, blocks, device_of, grid, launch, partials, pointer, room, scratch_pointer,
    tensor_pointer,
};

/// Rows, and columns, of which a block takes the links: `TILE` of the kernels.
const TILE: usize = 64;

/// How many memories there are, and tiles in a row of one; None where there are no links.
fn tiles(shape: &Shape) -> Result<Option<(usize, usize)>> {
    let n = shape.dims()[shape.rank() - 1];
    if shape.elem_count() == 0 {
        return Ok(None);
    }
    let (memories, across) = (shape.elem_count() / n / n, n.div_ceil(TILE));
    if memories * across * across > i32::MAX as usize {
        candle_core::bail!("link: {memories} memories of {n} slots are more than one launch takes");
    }
    Ok(Some((memories, across)))
}

pub(super) fn forward<T: Float>(
    (l, ll): Operand<'_>,
    (w, lw): Operand<'_>,
    (p, lp): Operand<'_>,
) -> Result<(CudaStorage, Shape)> {
    let shape = ll.shape().clone();
    let new = room::<T>(&l.device, shape.elem_count())?;
    if let Some((memories, across)) = tiles(&shape)? {
        launch!(
            &l.device,
            LINK,
            T,
            "link",
            grid(memories * across * across, 1),
            pointer::<T>(l, ll)?,
            pointer::<T>(w, lw)?,
            pointer::<T>(p, lp)?,
            pointer::<T>(&new, &Layout::contiguous(&shape))?,
            shape.dims()[shape.rank() - 1] as u32,
        )?;
    }
    Ok((new, shape))
}

/// The gradients of L, w and p: one pass over the links, then the sums of its tiles.
pub(super) fn backward<T: Float>(l: &Tensor, w: &Tensor, p: &Tensor, grad: &Tensor) -> Result<[Tensor; 3]> {
    let [l, w, p, grad] = [l, w, p, grad].map(|t| t.detach().contiguous());
    let (l, w, p, grad) = (l?, w?, p?, grad?);
    // SAFETY: the kernels write all of them.
    let [gl, gw, gp] = unsafe { [l.empty_like()?, w.empty_like()?, p.empty_like()?] };
    if let Some((memories, across)) = tiles(l.shape())? {
        let (n, device) = (l.dim(candle_core::D::Minus1)?, device_of(&l)?);
        let room = || partials::<T>(&device, memories * across * n);
        let (of_rows, lost, of_columns) = (room()?, room()?, room()?);
        launch!(
            &device,
            LINK,
            T,
            "link_backward",
            grid(memories * across * across, 1),
            tensor_pointer::<T>(&l)?,
            tensor_pointer::<T>(&w)?,
            tensor_pointer::<T>(&p)?,
            tensor_pointer::<T>(&grad)?,
            tensor_pointer::<T>(&gl)?,
            scratch_pointer(&device, &of_rows),
            scratch_pointer(&device, &lost),
            scratch_pointer(&device, &of_columns),
            n as u32,
        )?;
        launch!(
            &device,
            LINK,
            T,
            "link_sums",
            grid(blocks(memories * n, THREADS), 1),
            scratch_pointer(&device, &of_rows),
            scratch_pointer(&device, &lost),
            scratch_pointer(&device, &of_columns),
            tensor_pointer::<T>(&gw)?,
            tensor_pointer::<T>(&gp)?,
            memories as u64,
            n as u32,
        )?;
    }
    Ok([gl, gw, gp])
}
