//! The kernel of `best_pairs`.

use candle_core::{CudaStorage, Layout, Result};

use crate::kernels::BEST_PAIRS;
use crate::ops::cuda::{Float, Operand, blocks, entries, grid, launch, pointer, scratch_pointer};

/// Blocks that sort in global memory at a time: pairs are many more than scores.
const BLOCKS: usize = 128;

pub(super) fn best_pairs<T: Float>(
    (scores, layout): Operand<'_>,
    rows: usize,
    keys: usize,
    top: usize,
) -> Result<CudaStorage> {
    let device = &scores.device;
    // SAFETY: the kernel writes all of it.
    let pairs = CudaStorage::wrap_cuda_slice(unsafe { device.alloc::<u32>(3 * rows * top)? }, device.clone());
    if rows * top > 0 {
        let sorted = keys.max(top * top);
        let grid_size = blocks(rows, 1).min(if sorted > 2048 { BLOCKS } else { usize::MAX });
        let entries = entries::<T>(device, sorted, grid_size)?;
        // SAFETY: a block writes it before it reads it.
        let halves = unsafe { device.alloc::<u32>(2 * grid_size * top)? };
        launch!(
            device,
            BEST_PAIRS,
            T,
            "best_pairs",
            grid(grid_size, 1),
            pointer::<T>(scores, layout)?,
            pointer::<u32>(&pairs, &Layout::contiguous(3 * rows * top))?,
            scratch_pointer(device, &halves),
            rows as u64,
            keys as u32,
            top as u32,
            entries.as_ref().map_or(0, |entries| scratch_pointer(device, entries)),
        )?;
    }
    Ok(pairs)
}
