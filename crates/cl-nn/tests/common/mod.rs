//! What the tests of the crate share.
#![allow(dead_code, clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use cl_core::init::Init;

/// Standard normal numbers.
pub fn normal(shape: &[usize], dtype: DType, seed: u64) -> Tensor {
    let var = Init::Normal(1.0).var(shape, dtype, &Device::Cpu, &mut cl_core::rng(seed, "test")).unwrap();
    var.into_inner()
}

/// All elements as f64.
pub fn elements(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// All elements of all tensors, bit by bit.
pub fn bits<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<u64> {
    tensors.into_iter().flat_map(elements).map(f64::to_bits).collect()
}

/// Fails where two tensors differ by more than `tolerance` of the larger, or of 1.
pub fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims());
    for (i, (f, e)) in elements(found).into_iter().zip(elements(expected)).enumerate() {
        let scale = f.abs().max(e.abs()).max(1.0);
        assert!((f - e).abs() <= tolerance * scale, "element {i}: {f} against {e}");
    }
}
