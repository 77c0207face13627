//! The kernels of `allocation`.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{CudaDevice, CudaStorage, Layout, Result, Shape, Tensor};

use crate::kernels::ALLOCATION;
use crate::ops::cuda::{
    Float, Operand, blocks, device_of, grid, launch, pointer, room, scratch_pointer, tensor_pointer,
};

/// Bytes of shared memory in which rows are sorted: `SORTED_BYTES` of the kernels.
const SORTED_BYTES: usize = 32768;

/// Where `rows` rows of n slots are sorted that have no place in shared memory: an `Entry` of the kernels for each slot, up to the
/// next power of two. None is needed for 4096 slots in f32, for 2048 in f64.
pub(in crate::ops) fn entries<T: Float>(
    device: &CudaDevice,
    n: usize,
    rows: usize,
) -> Result<Option<CudaSlice<u64>>> {
    if n > 1 << 31 {
        candle_core::bail!("allocation: {n} slots are more than a kernel can sort, which is 2³¹");
    }
    // A usage in f32 and its slot are one word, in f64 two.
    let words = n.next_power_of_two() * (size_of::<T>() / size_of::<f32>());
    if words * size_of::<u64>() <= SORTED_BYTES {
        return Ok(None);
    }
    // SAFETY: a row is written before it is sorted.
    unsafe { device.alloc::<u64>(rows * words) }.map(Some)
}

/// Room for the order of the slots of so many rows.
pub(in crate::ops) fn orders(device: &CudaDevice, n: usize, rows: usize) -> Result<CudaSlice<u32>> {
    // SAFETY: sorting writes all of an order.
    unsafe { device.alloc::<u32>(rows * n) }
}

pub(super) fn forward<T: Float>((u, layout): Operand<'_>) -> Result<(CudaStorage, Shape)> {
    let (shape, device) = (layout.shape().clone(), &u.device);
    let n = *layout.dims().last().expect("there is a dimension of slots");
    let a = room::<T>(device, shape.elem_count())?;
    if shape.elem_count() > 0 {
        let rows = shape.elem_count() / n;
        let grid_size = blocks(rows, 1);
        let (orders, entries) = (orders(device, n, grid_size)?, entries::<T>(device, n, grid_size)?);
        launch!(
            device,
            ALLOCATION,
            T,
            "allocation",
            grid(grid_size, 1),
            pointer::<T>(u, layout)?,
            pointer::<T>(&a, &Layout::contiguous(&shape))?,
            scratch_pointer(device, &orders),
            rows as u64,
            n as u32,
            entries.as_ref().map_or(0, |entries| scratch_pointer(device, entries)),
        )?;
    }
    Ok((a, shape))
}

/// The gradient of the usages u.
pub(super) fn backward<T: Float>(u: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let (u, grad) = (u.detach().contiguous()?, grad.detach().contiguous()?);
    let n = *u.dims().last().expect("there is a dimension of slots");
    // SAFETY: the kernel writes all of it.
    let gu = unsafe { u.empty_like()? };
    if u.elem_count() > 0 {
        let (rows, device) = (u.elem_count() / n, device_of(&u)?);
        let grid_size = blocks(rows, 1);
        let (orders, entries) = (orders(&device, n, grid_size)?, entries::<T>(&device, n, grid_size)?);
        launch!(
            &device,
            ALLOCATION,
            T,
            "allocation_backward",
            grid(grid_size, 1),
            tensor_pointer::<T>(&u)?,
            tensor_pointer::<T>(&grad)?,
            tensor_pointer::<T>(&gu)?,
            scratch_pointer(&device, &orders),
            rows as u64,
            n as u32,
            entries.as_ref().map_or(0, |entries| scratch_pointer(&device, entries)),
        )?;
    }
    Ok(gu)
}
