//! What the kernels of all operations share on the host: pointers, tables of pointers, launches, matrix products.
//!
//! A kernel writes through pointers that were taken under a lock for reading. That is sound: they point to memory of the device,
//! which Rust does not see, and what a thread does with a tensor is done in order, on its stream. Threads that share tensors of
//! a GPU must synchronize, with candle's own operations too.

mod compile;
mod sort;
mod sums;

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::cuda_backend::cudarc::cublas::{CudaBlas, Gemm, GemmConfig, sys::cublasOperation_t};
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, DevicePtr as _, DeviceRepr, LaunchConfig, ValidAsZeroBits,
};
use candle_core::cuda_backend::{CudaDType, DeviceId};
use candle_core::{CudaDevice, CudaStorage, Layout, Result, Storage, Tensor};

pub(crate) use candle_core::cuda_backend::WrapErr;
pub(crate) use candle_core::cuda_backend::cudarc::driver::PushKernelArg;
pub(crate) use compile::function;
pub(crate) use sort::entries;
pub(crate) use sums::{ColumnSums, add_sum_of_rows, column_sums, sum_of_rows};

use super::cpu::{Real, Stored};

/// Threads of a block: `THREADS` of the prelude.
pub(crate) const THREADS: usize = 256;
/// Elements that a block of a streaming kernel goes over: `CHUNK` of the prelude.
pub(crate) const CHUNK: usize = 8192;
/// Tensors, or anchors, of one launch: `TENSORS` of the prelude.
pub(crate) const TENSORS: usize = 48;
/// Blocks beyond which a thread takes several elements, or a warp several samples.
const BLOCKS: usize = 2048;
/// Blocks that can wait for one another in one launch.
const TICKETS: usize = 4096;

/// A type that kernels are made for.
pub(crate) trait Named: CudaDType + DeviceRepr + ValidAsZeroBits {
    /// What stands behind the name of its kernels.
    const SUFFIX: &'static str;
}

macro_rules! named {
    ($($T:ty: $suffix:literal),*) => {
        $(impl Named for $T {
            const SUFFIX: &'static str = $suffix;
        })*
    };
}
named!(f32: "f32", f64: "f64", half::f16: "f16", half::bf16: "bf16");

/// The floating-point types that some kernels read and write: those of [`Float`], and f16 and bf16.
pub(crate) trait Element: Stored<Real: Float> + Named {}

impl<T: Stored<Real: Float> + Named> Element for T {}

/// The floating-point types that kernels compute in.
pub(crate) trait Float: Real + Named {
    /// c ← alpha·op(a)·op(b) + beta·c, by columns, as cuBLAS has it.
    ///
    /// # Safety
    /// The sizes are those of the slices.
    unsafe fn gemm(
        blas: &CudaBlas,
        config: GemmConfig<Self>,
        operands: [&CudaSlice<Self>; 2],
        offsets: [usize; 3],
        c: &mut CudaSlice<Self>,
    ) -> Result<()>;
}

macro_rules! float {
    ($T:ident) => {
        impl Float for $T {
            unsafe fn gemm(
                blas: &CudaBlas,
                config: GemmConfig<Self>,
                [a, b]: [&CudaSlice<Self>; 2],
                [from_a, from_b, from_c]: [usize; 3],
                c: &mut CudaSlice<Self>,
            ) -> Result<()> {
                let (a, b) = (a.slice(from_a..), b.slice(from_b..));
                // SAFETY: the caller's.
                unsafe { blas.gemm(config, &a, &b, &mut c.slice_mut(from_c..)) }.w()
            }
        }
    };
}
float!(f32);
float!(f64);

/// Launches the kernel `name` of an operation for the type `T` with these arguments: what they point to must be as large as the
/// kernel takes it to be.
macro_rules! launch {
    ($device:expr, $kernels:expr, $T:ty, $name:literal, $config:expr, $($arg:expr),* $(,)?) => {{
        use $crate::ops::cuda::Named;
        let name = match <$T as Named>::SUFFIX {
            "f32" => concat!($name, "_f32"),
            "f16" => concat!($name, "_f16"),
            "bf16" => concat!($name, "_bf16"),
            _ => concat!($name, "_f64"),
        };
        $crate::ops::cuda::launch_plain!($device, $kernels, name, $config, $($arg),*)
    }};
}

/// The same for a kernel that there is for one type only, of this whole name.
macro_rules! launch_plain {
    ($device:expr, $kernels:expr, $name:expr, $config:expr, $($arg:expr),* $(,)?) => {{
        use $crate::ops::cuda::{PushKernelArg as _, WrapErr as _, function};
        let (function, stream) = (function($device, &$kernels, $name)?, $device.cuda_stream());
        let mut launch = stream.launch_builder(&function);
        $(let argument = $arg; launch.arg(&argument);)*
        // SAFETY: the kernel's parameters are the arguments given here, in number and type, and its callers have checked the
        // sizes of what they point to.
        unsafe { launch.launch($config) }.w().map(|_| ())
    }};
}
pub(crate) use launch;
pub(crate) use launch_plain;

/// An operand of an operation in the graph: a storage with its layout.
pub(crate) type Operand<'a> = (&'a CudaStorage, &'a Layout);

/// A grid of blocks of [`THREADS`].
pub(crate) fn grid(x: usize, y: usize) -> LaunchConfig {
    LaunchConfig { grid_dim: (x as u32, y as u32, 1), block_dim: (THREADS as u32, 1, 1), shared_mem_bytes: 0 }
}

/// Blocks for `n` pieces of work of which a block does `each` at a time.
pub(crate) fn blocks(n: usize, each: usize) -> usize {
    n.div_ceil(each).clamp(1, BLOCKS)
}

/// Where the elements of a contiguous operand begin.
pub(crate) fn pointer<T: CudaDType + DeviceRepr>(storage: &CudaStorage, layout: &Layout) -> Result<u64> {
    let Some((from, _)) = layout.contiguous_offsets() else {
        candle_core::bail!("a contiguous operand is needed, call contiguous() first")
    };
    let slice = storage.as_cuda_slice::<T>()?;
    let stream = storage.device.cuda_stream();
    // What is recorded when the second one goes is for other streams, of which a device of candle has none.
    let (start, _) = slice.device_ptr(&stream);
    Ok(start + (from * size_of::<T>()) as u64)
}

/// The same of memory that is only here.
pub(crate) fn scratch_pointer<T>(device: &CudaDevice, slice: &CudaSlice<T>) -> u64 {
    slice.device_ptr(&device.cuda_stream()).0
}

/// Calls `f` with the storage and layout of a tensor on a CUDA device.
pub(crate) fn with_storage<R>(
    tensor: &Tensor,
    f: impl FnOnce(&CudaStorage, &Layout) -> Result<R>,
) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => f(storage, layout),
        _ => {
            candle_core::bail!("operands on the CPU and on a GPU in one operation: move one with to_device()")
        }
    }
}

/// Where the elements of a contiguous tensor begin. The tensor must be there until the kernel is launched; then its memory is
/// freed in the order of the stream, behind the kernel.
pub(crate) fn tensor_pointer<T: CudaDType + DeviceRepr>(tensor: &Tensor) -> Result<u64> {
    with_storage(tensor, pointer::<T>)
}

/// The CUDA device of a tensor.
pub(crate) fn device_of(tensor: &Tensor) -> Result<CudaDevice> {
    with_storage(tensor, |storage, _| Ok(storage.device.clone()))
}

/// N operands of several tensors each, as the kernels have it: `Table` of the prelude.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Table<const N: usize> {
    pointers: [[u64; TENSORS]; N],
    sizes: [u64; TENSORS],
    ends: [u32; TENSORS],
    count: u32,
}

// SAFETY: plain numbers, laid out as in C.
unsafe impl<const N: usize> DeviceRepr for Table<N> {}

/// Where each of these tensors begins, all contiguous.
pub(crate) fn pointers<T: CudaDType + DeviceRepr>(tensors: &[&Tensor]) -> Result<Vec<u64>> {
    tensors.iter().map(|tensor| tensor_pointer::<T>(tensor)).collect()
}

/// Calls `launch` for every [`TENSORS`] tensors: operand n of tensor i is `operands[n][i]`, all contiguous, all n of a tensor of
/// one size. The launch is of as many blocks as are given.
pub(crate) fn stream<T: Float, const N: usize>(
    operands: [&[&Tensor]; N],
    launch: impl FnMut(&CudaDevice, Table<N>, usize) -> Result<()>,
) -> Result<()> {
    let mut all: [Vec<u64>; N] = std::array::from_fn(|_| Vec::new());
    for (pointers_of, operand) in all.iter_mut().zip(operands) {
        *pointers_of = pointers::<T>(operand)?;
    }
    stream_at::<N>(operands[0], all, launch)
}

/// [`stream`] of operands that begin at these pointers, of the sizes and on the device of `like`.
pub(crate) fn stream_at<const N: usize>(
    like: &[&Tensor],
    operands: [Vec<u64>; N],
    mut launch: impl FnMut(&CudaDevice, Table<N>, usize) -> Result<()>,
) -> Result<()> {
    let full: Vec<usize> = (0..like.len()).filter(|&i| like[i].elem_count() > 0).collect();
    for part in full.chunks(TENSORS) {
        let mut table = Table {
            pointers: [[0; TENSORS]; N],
            sizes: [0; TENSORS],
            ends: [0; TENSORS],
            count: part.len() as u32,
        };
        let mut end = 0;
        for (at, &i) in part.iter().enumerate() {
            for (n, operand) in operands.iter().enumerate() {
                table.pointers[n][at] = operand[i];
            }
            let size = like[i].elem_count();
            end += size.div_ceil(CHUNK);
            (table.sizes[at], table.ends[at]) = (size as u64, end as u32);
        }
        launch(&device_of(like[part[0]])?, table, end)?;
    }
    Ok(())
}

/// c (rows, columns) ← c + alpha·aᵀ·b with a (k, rows) and b (k, columns), row-major.
pub(crate) fn add_product<T: Float>(
    (c, lc): (&mut CudaStorage, &Layout),
    alpha: T,
    (a, la): Operand<'_>,
    (b, lb): Operand<'_>,
) -> Result<()> {
    let ((k, rows), (_, columns)) = (la.shape().dims2()?, lb.shape().dims2()?);
    if k * rows * columns == 0 {
        return Ok(());
    }
    let offset = |layout: &Layout| match layout.contiguous_offsets() {
        Some((from, _)) => Ok(from),
        None => candle_core::bail!("a contiguous operand is needed, call contiguous() first"),
    };
    // By columns it is the transpose: cᵀ ← cᵀ + alpha·bᵀ·a.
    let config = GemmConfig {
        transa: cublasOperation_t::CUBLAS_OP_N,
        transb: cublasOperation_t::CUBLAS_OP_T,
        m: columns as i32,
        n: rows as i32,
        k: k as i32,
        alpha,
        lda: columns as i32,
        ldb: rows as i32,
        beta: T::one(),
        ldc: columns as i32,
    };
    let blas = c.device.cublas_handle();
    let operands = [b.as_cuda_slice::<T>()?, a.as_cuda_slice::<T>()?];
    let offsets = [offset(lb)?, offset(la)?, offset(lc)?];
    // SAFETY: the layouts, which candle holds to the slices, have these sizes.
    unsafe { T::gemm(&blas, config, operands, offsets, c.as_cuda_slice_mut::<T>()?) }
}

/// Counters for blocks that wait for one another: all 0 before and after each launch. Each thread has its own, since candle gives
/// each thread a stream.
pub(crate) fn tickets(device: &CudaDevice) -> Result<u64> {
    thread_local! {
        static OF_DEVICE: RefCell<HashMap<DeviceId, CudaSlice<u32>>> = RefCell::default();
    }
    OF_DEVICE.with_borrow_mut(|all| {
        let slice = match all.entry(device.id()) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(device.alloc_zeros(TICKETS)?),
        };
        Ok(scratch_pointer(device, slice))
    })
}

/// Room for a number of each block. It is freed behind what was launched before it goes.
pub(crate) fn partials<T: Float>(device: &CudaDevice, n: usize) -> Result<CudaSlice<T>> {
    // SAFETY: every kernel writes what it reads of it.
    unsafe { device.alloc::<T>(n) }
}

/// A tensor of this shape whose elements are whatever was there.
pub(crate) fn room<T: Named>(device: &CudaDevice, n: usize) -> Result<CudaStorage> {
    // SAFETY: every kernel that is given one writes all of it.
    Ok(CudaStorage::wrap_cuda_slice(unsafe { device.alloc::<T>(n)? }, device.clone()))
}
