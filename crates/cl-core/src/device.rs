//! A device by its name.

use candle_core::Device;

use crate::{Error, Result};

/// `cpu`, `cuda` (the first GPU) or `cuda:N`. candle's own way to a GPU panics where there is no driver.
///
/// ```
/// assert!(cl_core::device("cpu")?.is_cpu());
/// assert!(cl_core::device("gpu").is_err());
/// # Ok::<(), cl_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for another name, a build without the feature `cuda`, a machine without a driver or without that GPU.
pub fn device(name: &str) -> Result<Device> {
    let number = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => Some(0),
        Some(("cuda", number)) => number.parse().ok(),
        _ => None,
    };
    match number {
        Some(number) => cuda(number),
        None => Err(Error::invalid(
            "device",
            format!("there is none named {name:?}; there are cpu, cuda and cuda:N"),
        )),
    }
}

/// What a device is called: `CPU`, or the GPU's own name.
///
/// # Errors
/// The driver's own.
pub fn device_name(device: &Device) -> Result<String> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => {
            let name = cuda.cuda_stream().context().name();
            name.map_err(|error| Error::invalid("device", format!("its name is not known: {error}")))
        }
        Device::Cpu => Ok("CPU".to_owned()),
        other => Ok(format!("{:?}", other.location())),
    }
}

#[cfg(feature = "cuda")]
fn cuda(number: usize) -> Result<Device> {
    let no = |why: String| Error::invalid("device", format!("GPU {number} cannot be used: {why}"));
    // Without a driver, or another of CUDA's libraries, what looks for it panics.
    match std::panic::catch_unwind(|| Device::new_cuda(number)) {
        Ok(device) => {
            let device = device.map_err(|error| no(error.to_string()))?;
            keep_memory(&device).map_err(|error| no(error.to_string()))?;
            Ok(device)
        }
        Err(_) => Err(no(
            "CUDA's driver, or its libraries (libcublas, libcurand), are not on this machine".to_owned()
        )),
    }
}

/// Memory that was freed stays with this process. By default it goes back to the driver whenever the device is waited for, and
/// coming again costs more than the operation that it is for.
#[cfg(feature = "cuda")]
fn keep_memory(device: &Device) -> candle_core::Result<()> {
    use candle_core::cuda_backend::WrapErr as _;
    use candle_core::cuda_backend::cudarc::driver::{result::device, sys};

    let Device::Cuda(cuda) = device else { return Ok(()) };
    let mut all = u64::MAX;
    // SAFETY: the attribute is a number of 64 bits, of the pool of a device that has just been opened.
    unsafe {
        let pool = device::get_default_mem_pool(cuda.cuda_stream().context().cu_device()).w()?;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut all).cast()).result().w()
    }
}

/// Whether matrix products of f32 on a GPU may round their operands to TF32, 10 bits behind the point in place of 23: several
/// times as fast where there are tensor cores for it. For the whole process, off at first; nothing without the feature `cuda`.
pub fn allow_tf32(allow: bool) {
    #[cfg(feature = "cuda")]
    candle_core::cuda_backend::set_gemm_reduced_precision_f32(allow);
    #[cfg(not(feature = "cuda"))]
    let _ = allow;
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Device> {
    Err(Error::invalid("device", "this program was built without GPUs: build it with `--features cuda`"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names() {
        assert!(device("cpu").unwrap().is_cpu());
        assert_eq!(device_name(&Device::Cpu).unwrap(), "CPU");
        for name in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "cuda0"] {
            let error = device(name).unwrap_err().to_string();
            assert!(error.contains("cpu, cuda and cuda:N") && error.contains(name), "{error}");
        }
        #[cfg(not(feature = "cuda"))]
        assert!(device("cuda:1").unwrap_err().to_string().contains("--features cuda"));
    }
}
