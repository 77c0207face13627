//! The kernels of `allocation`.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{CudaDevice, CudaStorage, Layout, Result, Shape, Tensor};

use crate::kernels::ALLOCATION;
use crate::ops::cuda::{
    Float, Operand, blocks, device_of, entries, grid, launch, pointer, room, scratch_pointer, tensor_pointer,
};

/// Room for the order of the slots of so many rows.
fn orders(device: &CudaDevice, n: usize, rows: usize) -> Result<CudaSlice<u32>> {
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
