//! The kernels of `loss_scale`.

use candle_core::{DType, Tensor};

use super::{LEAST, MOST, ScaleUpdate};
use crate::Result;
use crate::kernels::LOSS_SCALE;
use crate::ops::cpu::for_float;
use crate::ops::cuda::{device_of, grid, launch, stream, tensor_pointer};

/// A launch for each dtype that there is.
pub(super) fn unscale(gradients: &[&Tensor], state: &Tensor) -> Result<()> {
    let state = tensor_pointer::<f32>(state)?;
    for dtype in [DType::F32, DType::F64] {
        let of_dtype: Vec<&Tensor> = gradients.iter().copied().filter(|g| g.dtype() == dtype).collect();
        let Some(first) = of_dtype.first() else { continue };
        for_float!("unscale", first, T => stream::<T, 1>([&of_dtype], |device, table, blocks| {
            launch!(device, LOSS_SCALE, T, "unscale", grid(blocks, 1), table, state)
        }))?;
    }
    Ok(())
}

pub(super) fn update(state: &Tensor, ScaleUpdate { growth, backoff, interval }: ScaleUpdate) -> Result<()> {
    let (device, state) = (device_of(state)?, tensor_pointer::<f32>(state)?);
    Ok(launch!(
        &device,
        LOSS_SCALE,
        f32,
        "update_scale",
        grid(1, 1),
        state,
        growth,
        backoff,
        interval,
        LEAST,
        MOST,
    )?)
}
