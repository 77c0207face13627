//! What the tests of the operations share: data, finite differences, comparison.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};

use crate::init::Init;

/// A variable of standard normal numbers.
pub fn normal(shape: &[usize], dtype: DType, seed: u64) -> Var {
    Init::Normal(1.0).var(shape, dtype, &Device::Cpu, &mut crate::rng(seed, "test")).unwrap()
}

/// All elements as f64.
pub fn elements(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The same values, not contiguous in memory: every second column of a tensor twice as wide.
pub fn strided(t: &Tensor) -> Tensor {
    let last = t.rank() - 1;
    let wide = Tensor::stack(&[t, &t.zeros_like().unwrap()], t.rank()).unwrap();
    let strided = wide.narrow(last + 1, 0, 1).unwrap().squeeze(last + 1).unwrap();
    assert!(t.elem_count() < 2 || !strided.is_contiguous());
    strided
}

/// Fails where two tensors differ by more than `tolerance` of the larger, or of 1.
pub fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims());
    for (i, (f, e)) in elements(found).into_iter().zip(elements(expected)).enumerate() {
        let scale = f.abs().max(e.abs()).max(1.0);
        assert!((f - e).abs() <= tolerance * scale, "element {i}: {f} against {e}");
    }
}

/// The 16-bit floats and their unit roundoff.
pub const HALVES: [(DType, f64); 2] = [(DType::F16, 1.0 / 2048.0), (DType::BF16, 1.0 / 256.0)];

/// Fails where an element of `found`, in f16 or bf16, is further from `exact` than one rounding brings it, and `slack` times the
/// element of `of` for what the sums in f32 lose.
pub fn assert_rounded(found: &Tensor, exact: &Tensor, slack: f64, of: &Tensor) {
    assert_eq!(found.dims(), exact.dims());
    let unit = HALVES.iter().find(|(dtype, _)| *dtype == found.dtype()).unwrap().1;
    for (i, ((f, e), of)) in elements(found).into_iter().zip(elements(exact)).zip(elements(of)).enumerate() {
        // Half of the step below the normal numbers of f16.
        let bound = (unit * e.abs()).max(2f64.powi(-25)) + slack * of;
        assert!((f - e).abs() <= bound, "element {i}: {f} against {e}, bound {bound}");
    }
}

/// The gradient of the scalar `f` at each of `vars` (f64), against central differences.
pub fn assert_gradients(vars: &[&Var], f: impl Fn() -> Tensor) {
    const STEP: f64 = 1e-5;
    let grads = f().backward().unwrap();
    for (v, var) in vars.iter().enumerate() {
        let values = elements(var);
        let found = elements(grads.get(var).unwrap_or_else(|| panic!("variable {v} gets no gradient")));
        for i in 0..values.len() {
            let at = |step: f64| {
                let mut moved = values.clone();
                moved[i] += step;
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                f().to_scalar::<f64>().unwrap()
            };
            let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            at(0.0);
            let scale = difference.abs().max(1.0);
            let error = (found[i] - difference).abs();
            assert!(error < 1e-7 * scale, "variable {v}, element {i}: {} against {difference}", found[i]);
        }
    }
}
