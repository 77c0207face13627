//! The kernel of `quadratic_penalty`.

use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, Layout, Result, Shape, Storage, Tensor};

use super::Quadratic;
use crate::kernels::QUADRATIC_PENALTY;
use crate::ops::cpu::{contiguous, for_float, refs};
use crate::ops::cuda::{
    Float, TENSORS, THREADS, blocks, grid, launch, partials, pointer, room, scratch_pointer, stream,
    tensor_pointer, tickets,
};

/// Elements that a thread reads of each operand at a time.
const AT_A_TIME: usize = 4;

/// The bowls of a launch: `Terms` of the kernel.
#[derive(Clone, Copy)]
#[repr(C)]
struct Terms {
    importance: [u64; TENSORS],
    anchor: [u64; TENSORS],
    count: u32,
    add: u32,
}

// SAFETY: plain numbers, laid out as in C.
unsafe impl DeviceRepr for Terms {}

/// ½ Σₖ Σ Fₖ(θ−θ*ₖ)², and its gradient if asked for.
pub(super) fn penalty<T: Float>(
    theta: &CudaStorage,
    layout: &Layout,
    terms: &[Quadratic],
    with_gradient: bool,
) -> Result<(CudaStorage, Option<Tensor>)> {
    let (device, n) = (&theta.device, layout.shape().elem_count());
    let value = CudaStorage::wrap_cuda_slice(device.alloc_zeros::<T>(1)?, device.clone());
    let at = pointer::<T>(&value, &Layout::contiguous(()))?;
    let gradient = with_gradient.then(|| room::<T>(device, n)).transpose()?;
    let into = gradient.as_ref().map(|g| pointer::<T>(g, &Layout::contiguous(n))).transpose()?.unwrap_or(0);
    // One launch without terms, too: the gradient is to be zeros then.
    let parts: Vec<&[Quadratic]> =
        if terms.is_empty() { vec![terms] } else { terms.chunks(TENSORS).collect() };
    for (i, part) in parts.into_iter().enumerate().filter(|_| n > 0) {
        let mut table = Terms {
            importance: [0; TENSORS],
            anchor: [0; TENSORS],
            count: part.len() as u32,
            add: u32::from(i > 0),
        };
        for (at, term) in part.iter().enumerate() {
            table.importance[at] = tensor_pointer::<T>(&term.importance)?;
            table.anchor[at] = tensor_pointer::<T>(&term.anchor)?;
        }
        let grid_size = blocks(n, THREADS * AT_A_TIME);
        let partial = partials::<f64>(device, grid_size)?;
        launch!(
            device,
            QUADRATIC_PENALTY,
            T,
            "quadratic_penalty",
            grid(grid_size, 1),
            table,
            pointer::<T>(theta, layout)?,
            into,
            at,
            n as u64,
            scratch_pointer(device, &partial),
            tickets(device)?,
        )?;
    }
    let shape: Shape = layout.shape().clone();
    let tensor = |g| Tensor::from_storage(Storage::Cuda(g), shape, BackpropOp::none(), false);
    Ok((value, gradient.map(tensor)))
}

/// g ← g + scale·Σₖ Fₖ (θ − θ*ₖ): a launch for the first terms of all tensors, one for the second ones, and so on.
pub(super) fn add_gradient(
    gradients: &[&Tensor],
    thetas: &[&Tensor],
    terms: &[Vec<Quadratic>],
    scale: f64,
) -> crate::Result<()> {
    let Some(first) = gradients.first() else { return Ok(()) };
    let thetas = contiguous(thetas)?;
    let most = terms.iter().map(Vec::len).max().unwrap_or(0);
    for k in 0..most {
        let with: Vec<usize> = (0..terms.len()).filter(|&i| terms[i].len() > k).collect();
        let of = |f: &dyn Fn(usize) -> Tensor| -> Vec<Tensor> { with.iter().map(|&i| f(i)).collect() };
        let (g, t) = (of(&|i| gradients[i].clone()), of(&|i| thetas[i].clone()));
        let (f, a) = (of(&|i| terms[i][k].importance.clone()), of(&|i| terms[i][k].anchor.clone()));
        for_float!("add_penalty_gradient", first, T => {
            stream::<T, 4>([&refs(&g), &refs(&t), &refs(&f), &refs(&a)], |device, table, blocks| {
                launch!(device, QUADRATIC_PENALTY, T, "add_penalty_gradient", grid(blocks, 1), table, scale as T)
            })
        })?;
    }
    Ok(())
}
