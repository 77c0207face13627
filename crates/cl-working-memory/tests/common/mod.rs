//! What the tests of the crate share.
#![allow(dead_code, clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use cl_core::init::Init;
use cl_core::{MemoryAccess, ModeOrder, Strength};

/// A variable of standard normal numbers.
pub fn normal(shape: &[usize], dtype: DType, seed: u64) -> Var {
    Init::Normal(1.0).var(shape, dtype, &Device::Cpu, &mut cl_core::rng(seed, "test")).unwrap()
}

/// A variable of numbers between 0 and 1.
pub fn unit(shape: &[usize], seed: u64) -> Var {
    let uniform = Init::Uniform(0.5).var(shape, DType::F64, &Device::Cpu, &mut cl_core::rng(seed, "test"));
    Var::from_tensor(&(uniform.unwrap().as_tensor() + 0.5).unwrap()).unwrap()
}

/// All elements as f64.
pub fn elements(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Fails where two tensors differ by more than `tolerance` of the larger, or of 1.
pub fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims());
    for (i, (f, e)) in elements(found).into_iter().zip(elements(expected)).enumerate() {
        let scale = f.abs().max(e.abs()).max(1.0);
        assert!((f - e).abs() <= tolerance * scale, "element {i}: {f} against {e}");
    }
}

/// The gradient of a weighted sum of `f` at each of `vars` (f64), against central differences: within 10⁻⁷, where 10⁻⁵ is asked.
pub fn assert_gradients(vars: &[&Var], f: impl Fn() -> Tensor) {
    const STEP: f64 = 1e-5;
    let loss = || {
        let y = f();
        let weigh = normal(y.dims(), DType::F64, 99).as_detached_tensor();
        (y * weigh).unwrap().sum_all().unwrap()
    };
    let grads = loss().backward().unwrap();
    for (v, var) in vars.iter().enumerate() {
        let values = elements(var);
        let found = elements(grads.get(var).unwrap_or_else(|| panic!("variable {v} gets no gradient")));
        for i in 0..values.len() {
            let at = |step: f64| {
                let mut moved = values.clone();
                moved[i] += step;
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                loss().to_scalar::<f64>().unwrap()
            };
            let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            at(0.0);
            let scale = difference.abs().max(1.0);
            let error = (found[i] - difference).abs();
            assert!(error < 1e-7 * scale, "variable {v}, element {i}: {} against {difference}", found[i]);
        }
    }
}

/// Every option of the memory, both ways.
pub fn kinds(width: usize, heads: usize) -> Vec<MemoryAccess> {
    let paper = MemoryAccess { width, heads, ..MemoryAccess::default() };
    vec![
        paper,
        MemoryAccess { strength: Strength::Softplus, ..paper },
        MemoryAccess { modes: ModeOrder::BackwardForwardContent, ..paper },
        MemoryAccess { stop_usage_gradient: true, ..paper },
        MemoryAccess { tanh: true, ..paper },
        MemoryAccess { link: false, ..paper },
        MemoryAccess { allocation: false, ..paper },
        cl_working_memory::content_only(width, heads),
    ]
}
