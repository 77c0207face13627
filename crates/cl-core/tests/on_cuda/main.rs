//! Every operation gives on a GPU what it gives on the CPU. Skipped, with the reason, where there is no GPU.
#![allow(clippy::unwrap_used)]

mod memory;
mod replay;
mod half;
mod training;

use candle_core::{DType, Device, Tensor, Var};
use cl_core::init::Init;

/// The GPU, or the reason why nothing is tested.
fn gpu() -> Option<Device> {
    match cl_core::device("cuda") {
        Ok(device) => Some(device),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

const FLOATS: [DType; 2] = [DType::F32, DType::F64];

fn normal(shape: impl Into<candle_core::Shape>, dtype: DType, seed: u64) -> Tensor {
    let var = Init::Normal(1.0).var(shape, dtype, &Device::Cpu, &mut cl_core::rng(seed, "test")).unwrap();
    var.as_detached_tensor()
}

/// Lists of tensors of these sizes, each with a copy on the GPU. `offset`: views that begin behind the first element, so that
/// they are not aligned.
fn lists(sizes: &[usize], dtype: DType, seed: u64, offset: usize, gpu: &Device) -> [Vec<Tensor>; 2] {
    let make = |(i, &n): (usize, &usize)| {
        let cpu = normal(n + offset, dtype, seed + i as u64);
        let other = cpu.to_device(gpu).unwrap();
        [cpu, other].map(|t| t.narrow(0, offset, n).unwrap())
    };
    let (cpu, other) = sizes.iter().enumerate().map(make).map(|[a, b]| (a, b)).unzip();
    [cpu, other]
}

fn refs(tensors: &[Tensor]) -> Vec<&Tensor> {
    tensors.iter().collect()
}

fn elements(t: &Tensor) -> Vec<f64> {
    let t = t.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Fails where two tensors differ by more than `tolerance` of the largest element.
fn assert_close(what: &str, gpu: &Tensor, cpu: &Tensor, tolerance: f64) {
    assert_eq!((gpu.dims(), gpu.dtype()), (cpu.dims(), cpu.dtype()), "{what}");
    let (found, expected) = (elements(gpu), elements(cpu));
    let scale = expected.iter().fold(1e-30f64, |max, e| max.max(e.abs()));
    for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
        let same = f == e || (f - e).abs() <= tolerance * scale || (f.is_nan() && e.is_nan());
        assert!(same, "{what}, element {i}: {f} on the GPU, {e} on the CPU");
    }
}

fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::F32 { 1e-5 } else { 1e-12 }
}

/// Result and gradients of a function of variables, on both devices.
fn compare(what: &str, inputs: &[Tensor], gpu: &Device, tolerance: f64, f: &dyn Fn(&[Tensor]) -> Tensor) {
    let on = |device: &Device| {
        let vars: Vec<Var> =
            inputs.iter().map(|t| Var::from_tensor(&t.to_device(device).unwrap()).unwrap()).collect();
        let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
        let result = f(&tensors);
        // A gradient that is another for each element.
        let factor = normal(result.shape(), result.dtype(), 99).to_device(device).unwrap();
        let grads = (&result * factor).unwrap().sum_all().unwrap().backward().unwrap();
        let grads: Vec<Tensor> = vars.iter().map(|var| grads.get(var).unwrap().clone()).collect();
        (result, grads)
    };
    let ((cpu, of_cpu), (there, of_gpu)) = (on(&Device::Cpu), on(gpu));
    assert_close(what, &there, &cpu, tolerance);
    for (i, (g, c)) in of_gpu.iter().zip(&of_cpu).enumerate() {
        assert_close(&format!("{what}, gradient {i}"), g, c, tolerance);
    }
}
