//! The kernels of `cross_entropy`.

use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{CudaStorage, Layout, Result, Shape, Tensor};

use crate::Units;
use crate::kernels::CROSS_ENTROPY;
use crate::ops::cuda::{
    Element, Operand, THREADS, blocks, device_of, grid, launch, partials, pointer, room, scratch_pointer,
    tensor_pointer, tickets,
};

/// Samples that a block takes at a time: one for each warp.
const SAMPLES: usize = THREADS / 32;

/// [`Units`] as the kernels have it.
#[derive(Clone, Copy)]
#[repr(C)]
struct Which {
    kind: u32,
    size: u32,
}

// SAFETY: plain numbers, laid out as in C.
unsafe impl DeviceRepr for Which {}

impl From<Units> for Which {
    fn from(units: Units) -> Self {
        // More than the kernel counts to is more than there are.
        let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX / 2);
        match units {
            Units::All => Self { kind: 0, size: 0 },
            Units::First(n) => Self { kind: 1, size: size(n) },
            Units::Block(n) => Self { kind: 2, size: size(n) },
        }
    }
}

pub(super) fn loss<T: Element>(
    (z, lz): Operand<'_>,
    (y, ly): Operand<'_>,
    w: Option<Operand<'_>>,
    units: Units,
) -> Result<(CudaStorage, Shape)> {
    let ((n, outputs), device) = (lz.shape().dims2()?, &z.device);
    let shape = Shape::from(());
    let value = room::<T::Real>(device, 1)?;
    let grid_size = blocks(n, SAMPLES);
    let partial = partials::<f64>(device, grid_size)?;
    launch!(
        device,
        CROSS_ENTROPY,
        T,
        "cross_entropy",
        grid(grid_size, 1),
        pointer::<T>(z, lz)?,
        pointer::<u32>(y, ly)?,
        w.map(|(w, lw)| pointer::<T::Real>(w, lw)).transpose()?.unwrap_or(0),
        pointer::<T::Real>(&value, &Layout::contiguous(&shape))?,
        n as u64,
        outputs as u32,
        Which::from(units),
        scratch_pointer(device, &partial),
        tickets(device)?,
    )?;
    Ok((value, shape))
}

/// The gradient of the logits, `scale` () times, if there is one.
pub(super) fn gradient<T: Element>(
    z: &Tensor,
    y: &Tensor,
    w: Option<&Tensor>,
    scale: Option<&Tensor>,
    units: Units,
) -> Result<Tensor> {
    let (n, outputs) = z.dims2()?;
    let (z, y) = (z.detach().contiguous()?, y.contiguous()?);
    let w = w.map(Tensor::contiguous).transpose()?;
    // SAFETY: the kernel writes all of it.
    let g = unsafe { z.empty_like()? };
    if outputs > 0 {
        launch!(
            &device_of(&z)?,
            CROSS_ENTROPY,
            T,
            "cross_entropy_gradient",
            grid(blocks(n, SAMPLES), 1),
            tensor_pointer::<T>(&z)?,
            tensor_pointer::<u32>(&y)?,
            w.as_ref().map(tensor_pointer::<T::Real>).transpose()?.unwrap_or(0),
            scale.map(tensor_pointer::<T::Real>).transpose()?.unwrap_or(0),
            tensor_pointer::<T>(&g)?,
            n as u64,
            outputs as u32,
            Which::from(units),
        )?;
    }
    Ok(g)
}
