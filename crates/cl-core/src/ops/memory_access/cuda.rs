//! The kernels of `memory_access`.

use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig};
use candle_core::{CudaStorage, DType, Layout, Result, Storage, Tensor};

use super::MemoryAccess;
use super::layout::{Cells, Parts, Sizes, Trace};
use super::{Found, Strength};
use crate::kernels::MEMORY_ACCESS;
use crate::ops::cuda::{
    Float, THREADS, blocks, device_of, entries, grid, launch, partials, pointer, room, scratch_pointer,
    tensor_pointer,
};

/// Threads of a block, which has a whole sequence: `BLOCK` of the kernels.
const BLOCK: u32 = 512;

/// `Layout` of the kernels.
#[derive(Clone, Copy)]
#[repr(C)]
struct Places {
    write: u64,
    reads: u64,
    usage: u64,
    precedence: u64,
    links: u64,
    state: u64,
    allocation: u64,
    of_write: [u64; 3],
    of_read: [u64; 3],
    ways: [u64; 2],
    trace: u64,
    slots: u32,
    width: u32,
    heads: u32,
    read_keys: u32,
    read_strengths: u32,
    write_key: u32,
    write_strength: u32,
    erase: u32,
    add: u32,
    free: u32,
    allocation_gate: u32,
    write_gate: u32,
    modes: u32,
    interface: u32,
    places_of_modes: [u32; 3],
    has_allocation: u32,
    has_links: u32,
    has_tanh: u32,
    oneplus: u32,
    stop_usage_gradient: u32,
}

// SAFETY: plain numbers, laid out as in C.
unsafe impl DeviceRepr for Places {}

impl Places {
    fn of(access: &MemoryAccess, sizes: Sizes) -> Self {
        let Sizes { slots, width, heads, allocation, link, .. } = sizes;
        let (parts, cells, traced) = (Parts::of(access), sizes.cells(), sizes.traced());
        let Cells { write, reads, usage, precedence, links, .. } = cells;
        let Trace { allocation: of_free, write: of_write, read: of_read, ways } = traced;
        Self {
            write: write.start as u64,
            reads: reads.start as u64,
            usage: usage.start as u64,
            precedence: precedence.start as u64,
            links: links.start as u64,
            state: sizes.state() as u64,
            allocation: of_free.start as u64,
            of_write: of_write.map(|part| part.start as u64),
            of_read: of_read.map(|part| part.start as u64),
            ways: ways.map(|part| part.start as u64),
            trace: sizes.trace() as u64,
            slots: slots as u32,
            width: width as u32,
            heads: heads as u32,
            read_keys: parts.read_keys.start as u32,
            read_strengths: parts.read_strengths.start as u32,
            write_key: parts.write_key.start as u32,
            write_strength: parts.write_strength as u32,
            erase: parts.erase.start as u32,
            add: parts.write.start as u32,
            free: parts.free.start as u32,
            allocation_gate: parts.allocation_gate as u32,
            write_gate: parts.write_gate as u32,
            modes: parts.modes.start as u32,
            interface: parts.end as u32,
            places_of_modes: access.modes.places().map(|place| place as u32),
            has_allocation: u32::from(allocation),
            has_links: u32::from(link),
            has_tanh: u32::from(access.tanh),
            oneplus: u32::from(access.strength == Strength::Oneplus),
            stop_usage_gradient: u32::from(access.stop_usage_gradient),
        }
    }
}

/// `Forward` of the kernels.
#[derive(Clone, Copy)]
#[repr(C)]
struct Forward {
    xi: u64,
    old: u64,
    new: u64,
    reads: u64,
    trace: u64,
    orders: u64,
    asked: u64,
    entries: u64,
}

// SAFETY: plain numbers, laid out as in C.
unsafe impl DeviceRepr for Forward {}

/// `Backward` of the kernels.
#[derive(Clone, Copy)]
#[repr(C)]
struct Backward {
    xi: u64,
    old: u64,
    new: u64,
    trace: u64,
    orders: u64,
    reads: u64,
    g: u64,
    gxi: u64,
    room: u64,
}

// SAFETY: plain numbers, laid out as in C.
unsafe impl DeviceRepr for Backward {}

/// A block for each sequence.
fn sequences(batch: usize) -> LaunchConfig {
    LaunchConfig { block_dim: (BLOCK, 1, 1), ..grid(batch, 1) }
}

/// The step of a batch: one launch.
pub(super) fn forward<T: Float>(
    access: &MemoryAccess,
    sizes: Sizes,
    xi: &Tensor,
    old: &Tensor,
) -> Result<Found> {
    let (batch, at, device) = (sizes.batch, Places::of(access, sizes), device_of(xi)?);
    let old = old.contiguous()?;
    let empty = |each: usize, dtype: DType| {
        // SAFETY: the kernel writes all that is read.
        unsafe { Tensor::empty((batch, each), dtype, xi.device()) }
    };
    let (new, trace) = (empty(sizes.state(), xi.dtype())?, empty(sizes.trace(), xi.dtype())?);
    let orders = empty(sizes.slots, DType::U32)?;
    let each = sizes.heads * sizes.width;
    let reads = room::<T>(&device, batch * each)?;
    let asked = partials::<T>(&device, batch * at.interface as usize)?;
    let entries = entries::<T>(&device, sizes.slots, batch)?;
    let all = Forward {
        xi: tensor_pointer::<T>(xi)?,
        old: tensor_pointer::<T>(&old)?,
        new: tensor_pointer::<T>(&new)?,
        reads: pointer::<T>(&reads, &Layout::contiguous((batch, each)))?,
        trace: tensor_pointer::<T>(&trace)?,
        orders: tensor_pointer::<u32>(&orders)?,
        asked: scratch_pointer(&device, &asked),
        entries: entries.as_ref().map_or(0, |entries| scratch_pointer(&device, entries)),
    };
    launch!(&device, MEMORY_ACCESS, T, "memory_access", sequences(batch), at, all)?;
    Ok(Found { reads: Storage::Cuda(reads), new, trace, orders })
}

/// The gradient of ξ, and that of the state before, which is made in place of that after; `after` is None where that is 0.
pub(super) fn backward<T: Float>(
    step: &super::Access,
    xi: &Tensor,
    grad: &Tensor,
    after: Option<Storage>,
) -> Result<(Tensor, Storage)> {
    let (sizes, device) = (step.sizes, device_of(xi)?);
    let (xi, old, grad) = (xi.detach(), step.old.contiguous()?, grad.detach().contiguous()?);
    let at = Places::of(&step.access, sizes);
    let g = match after {
        Some(Storage::Cuda(g)) => g,
        Some(_) => candle_core::bail!("memory_access: the gradient of a state on another device"),
        None => {
            let zeros = device.alloc_zeros::<T>(sizes.batch * sizes.state())?;
            CudaStorage::wrap_cuda_slice(zeros, device.clone())
        }
    };
    // SAFETY: the kernel writes all of it.
    let gxi = unsafe { xi.empty_like()? };
    let each = at.interface as usize + 5 * (sizes.heads + 1) * sizes.slots;
    let room = partials::<T>(&device, sizes.batch * each)?;
    let all = Backward {
        xi: tensor_pointer::<T>(&xi)?,
        old: tensor_pointer::<T>(&old)?,
        new: tensor_pointer::<T>(&step.new)?,
        trace: tensor_pointer::<T>(&step.trace)?,
        orders: tensor_pointer::<u32>(&step.orders)?,
        reads: tensor_pointer::<T>(&grad)?,
        g: pointer::<T>(&g, &Layout::contiguous((sizes.batch, sizes.state())))?,
        gxi: tensor_pointer::<T>(&gxi)?,
        room: scratch_pointer(&device, &room),
    };
    launch!(&device, MEMORY_ACCESS, T, "memory_access_backward", sequences(sizes.batch), at, all)?;
    Ok((gxi, Storage::Cuda(g)))
}

/// sum ← sum + other.
pub(super) fn add<T: Float>(sum: &CudaStorage, other: &CudaStorage) -> Result<()> {
    let n = sum.as_cuda_slice::<T>()?.len();
    let layout = Layout::contiguous(n);
    launch!(
        &sum.device,
        MEMORY_ACCESS,
        T,
        "add_gradient",
        grid(blocks(n, THREADS), 1),
        pointer::<T>(sum, &layout)?,
        pointer::<T>(other, &layout)?,
        n as u64,
    )
}
