//! What the tests of the crate share.
#![allow(dead_code, clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use cl_core::Params;
use cl_core::init::Init;
use cl_nn::Mlp;

/// A network in f64.
pub fn net(widths: &[usize]) -> Mlp {
    Mlp::new(widths, DType::F64, &Device::Cpu, &mut cl_core::rng(1, "weights")).unwrap()
}

/// Standard normal numbers, f64.
pub fn normal(shape: &[usize], seed: u64) -> Tensor {
    let var =
        Init::Normal(1.0).var(shape, DType::F64, &Device::Cpu, &mut cl_core::rng(seed, "test")).unwrap();
    var.into_inner()
}

/// One vector, f64.
pub fn vector(values: &[f64]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

/// Targets that go round the first `units` units.
pub fn targets(n: usize, units: usize) -> Tensor {
    Tensor::from_iter((0..n).map(|i| (i * 7 % units) as u32), &Device::Cpu).unwrap()
}

/// One parameter `theta` of these values, f64.
pub fn params(theta: &[f64]) -> Params {
    let mut params = Params::new();
    params.push("theta", Var::from_tensor(&vector(theta)).unwrap()).unwrap();
    params
}

/// Moves the trainable parameters there.
pub fn go(params: &Params, theta: &[f64]) {
    params.set_flat(&vector(theta)).unwrap();
}

/// All elements as f64.
pub fn elements(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// All elements of all parameters, frozen ones too, bit by bit.
pub fn bits(params: &Params) -> Vec<u64> {
    params.iter().flat_map(|p| elements(&p.var)).map(f64::to_bits).collect()
}

/// The value of a penalty.
pub fn value(penalty: &Tensor) -> f64 {
    penalty.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

/// The gradient of a penalty, over all trainable parameters.
pub fn gradient(params: &Params, penalty: &Tensor) -> Vec<f64> {
    elements(&params.flat_gradient(&penalty.backward().unwrap()).unwrap())
}

/// Fails where two lists differ by more than `tolerance` of the larger, or of 1.
#[track_caller]
pub fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * f.abs().max(e.abs()).max(1.0), "{i}: {f} against {e}");
    }
}
