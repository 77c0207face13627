//! Room for `sort.cuh`.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{CudaDevice, Result};

use super::Float;

/// Bytes of shared memory in which is sorted: `SORTED_BYTES` of the kernels.
const SORTED_BYTES: usize = 32768;

/// Where `rows` rows of n numbers are sorted that have no place in shared memory: an `Entry` of the kernels for each, up to the next
/// power of two. None is needed for 4096 in f32, for 2048 in f64.
pub(crate) fn entries<T: Float>(
    device: &CudaDevice,
    n: usize,
    rows: usize,
) -> Result<Option<CudaSlice<u64>>> {
    if n > 1 << 30 {
        candle_core::bail!("{n} numbers are more than a kernel sorts, which is 2³⁰");
    }
    // A number in f32 and its place are one word, in f64 two.
    let words = n.next_power_of_two() * (size_of::<T>() / size_of::<f32>());
    if words * size_of::<u64>() <= SORTED_BYTES {
        return Ok(None);
    }
    // SAFETY: a row is written before it is sorted.
    unsafe { device.alloc::<u64>(rows * words) }.map(Some)
}
