#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;

use crate::ops::testing::{HALVES, assert_close, assert_gradients, assert_rounded, normal, strided};
use crate::{Activation, TensorOps};

/// The same from candle's operations.
fn plain(x: &Tensor, w: &Tensor, b: Option<&Tensor>, act: Activation) -> Tensor {
    let y = x.broadcast_matmul(&w.t().unwrap()).unwrap();
    let y = b.map_or(y.clone(), |b| y.broadcast_add(b).unwrap());
    match act {
        Activation::Identity => y,
        Activation::Relu => y.relu().unwrap(),
    }
}

const ACTIVATIONS: [Activation; 2] = [Activation::Identity, Activation::Relu];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn equals_the_composition(rows in 0usize..9, inputs in 1usize..40, outputs in 1usize..40, seed: u64) {
        for dtype in [DType::F32, DType::F64] {
            let tolerance = if dtype == DType::F32 { 1e-5 } else { 1e-12 };
            let x = normal(&[rows, inputs], dtype, seed);
            let w = normal(&[outputs, inputs], dtype, seed ^ 1);
            let b = normal(&[outputs], dtype, seed ^ 2);
            for act in ACTIVATIONS {
                for b in [None, Some(b.as_tensor())] {
                    let fused = x.linear(&w, b, act).unwrap();
                    prop_assert_eq!(fused.dims(), &[rows, outputs]);
                    if rows > 0 {
                        assert_close(&fused, &plain(&x, &w, b, act), tolerance);
                        let (f, p) = (
                            fused.sqr().unwrap().sum_all().unwrap().backward().unwrap(),
                            plain(&x, &w, b, act).sqr().unwrap().sum_all().unwrap().backward().unwrap(),
                        );
                        for var in [Some(x.as_tensor()), Some(w.as_tensor()), b].into_iter().flatten() {
                            assert_close(f.get(var).unwrap(), p.get(var).unwrap(), 10.0 * tolerance);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn gradients() {
    for act in ACTIVATIONS {
        let (x, w) = (normal(&[5, 3], DType::F64, 1), normal(&[4, 3], DType::F64, 2));
        let b = normal(&[4], DType::F64, 3);
        let weigh = normal(&[5, 4], DType::F64, 4).as_detached_tensor();
        let sum = |y: Tensor| (y * &weigh).unwrap().sum_all().unwrap();
        assert_gradients(&[&x, &w, &b], || sum(x.linear(&w, Some(b.as_tensor()), act).unwrap()));
        assert_gradients(&[&x, &w], || sum(x.linear(&w, None, act).unwrap()));
    }
}

#[test]
fn strided_operands() {
    let (x, w) = (normal(&[5, 3], DType::F32, 1), normal(&[4, 3], DType::F32, 2));
    let b = normal(&[4], DType::F32, 3);
    let (xs, ws, bs) = (strided(&x), strided(&w), strided(&b));
    let expected = plain(&x, &w, Some(&b), Activation::Relu);
    assert_close(&xs.linear(&ws, Some(&bs), Activation::Relu).unwrap(), &expected, 1e-6);
    let transposed = x.t().unwrap().contiguous().unwrap().t().unwrap();
    assert_close(&transposed.linear(&ws, Some(&bs), Activation::Relu).unwrap(), &expected, 1e-6);
}

#[test]
fn more_dimensions() {
    let (x, w) = (normal(&[2, 5, 3], DType::F64, 1), normal(&[4, 3], DType::F64, 2));
    let y = x.linear(&w, None, Activation::Relu).unwrap();
    assert_eq!(y.dims(), [2, 5, 4]);
    assert_close(&y, &plain(&x, &w, None, Activation::Relu), 1e-12);
    assert_gradients(&[&x, &w], || {
        x.linear(&w, None, Activation::Relu).unwrap().sqr().unwrap().sum_all().unwrap()
    });
}

#[test]
fn nothing_in_nothing_out() {
    let (x, w) = (normal(&[3, 0], DType::F32, 1), normal(&[4, 0], DType::F32, 2));
    let b = Var::new(&[1f32, -1., 2., -2.], &Device::Cpu).unwrap();
    let y = x.linear(&w, Some(b.as_tensor()), Activation::Relu).unwrap();
    assert_eq!(y.to_vec2::<f32>().unwrap(), [[1., 0., 2., 0.]; 3]);
}

/// The gradient of data costs a product and is not asked for: candle's own matmul computes it.
#[test]
fn data_gets_no_gradient() {
    let x = normal(&[5, 3], DType::F32, 1).as_detached_tensor();
    let w = normal(&[4, 3], DType::F32, 2);
    let grads = x.linear(&w, None, Activation::Identity).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&x).is_none());
    assert!(grads.get(&w).is_some());
}

/// A diverged network must not look like a dead one.
#[test]
fn nan_passes_relu() {
    let x = Tensor::new(&[[f32::NAN]], &Device::Cpu).unwrap();
    let w = Tensor::new(&[[1f32]], &Device::Cpu).unwrap();
    assert!(x.linear(&w, None, Activation::Relu).unwrap().to_vec2::<f32>().unwrap()[0][0].is_nan());
}

/// In f16 and bf16 what comes out is within one rounding of what comes out in f64, and so are the gradients: all sums are in f32.
/// The sums of 16-bit floats would be off by n times as much, and those of f16 would overflow.
#[test]
fn halves_are_rounded_once() {
    for (dtype, _) in HALVES {
        for (rows, inputs, outputs) in [(1, 1, 1), (5, 3, 2), (64, 700, 30), (700, 64, 33)] {
            let half = |shape: &[usize], seed| {
                let half = normal(shape, DType::F32, seed).to_dtype(dtype).unwrap();
                (Var::from_tensor(&half).unwrap(), half.to_dtype(DType::F64).unwrap())
            };
            let ((x, x64), (w, w64)) = (half(&[rows, inputs], 1), half(&[outputs, inputs], 2));
            let ((b, b64), (g, g64)) = (half(&[outputs], 3), half(&[rows, outputs], 4));
            let product = |a: &Tensor, b: &Tensor| a.matmul(b).unwrap();
            // What the sums in f32 lose is in proportion to the sums of absolute values.
            let abs = |t: &Tensor| t.abs().unwrap();
            let slack = |terms: usize| (terms + 2) as f64 * 2f64.powi(-24);
            for act in ACTIVATIONS {
                let y = x.linear(&w, Some(b.as_tensor()), act).unwrap();
                assert_eq!(y.dtype(), dtype);
                let of = product(&abs(&x64), &abs(&w64).t().unwrap()).broadcast_add(&abs(&b64)).unwrap();
                assert_rounded(&y, &plain(&x64, &w64, Some(&b64), act), slack(inputs), &of);
                let grads = (&y * g.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
                let mask = y.gt(0f64).unwrap().to_dtype(DType::F64).unwrap();
                let g64 = if act == Activation::Relu { (&g64 * mask).unwrap() } else { g64.clone() };
                let t = g64.t().unwrap();
                let of_w = product(&abs(&t), &abs(&x64));
                assert_rounded(grads.get(&w).unwrap(), &product(&t, &x64), slack(rows), &of_w);
                let of_x = product(&abs(&g64), &abs(&w64));
                assert_rounded(grads.get(&x).unwrap(), &product(&g64, &w64), slack(outputs), &of_x);
                let (sum, of_b) = (g64.sum(0).unwrap(), abs(&g64).sum(0).unwrap());
                assert_rounded(grads.get(&b).unwrap(), &sum, slack(rows), &of_b);
                let rows_sum = g.sum_of_rows().unwrap();
                if act == Activation::Identity {
                    assert_rounded(&rows_sum, &sum, slack(rows), &of_b);
                }
            }
        }
    }
}

/// Parameters in f32 that are cast in the graph get gradients in f32.
#[test]
fn the_gradient_of_a_cast_parameter_is_f32() {
    for (dtype, _) in HALVES {
        let (x, w) = (normal(&[5, 3], dtype, 1), normal(&[4, 3], DType::F32, 2));
        let y = x.linear(&w.to_dtype(dtype).unwrap(), None, Activation::Relu).unwrap();
        let grads = y.to_dtype(DType::F32).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(grads.get(&w).unwrap().dtype(), DType::F32);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (x, w) = (normal(&[5, 3], DType::F32, 1), normal(&[4, 2], DType::F32, 2));
    let error = x.linear(&w, None, Activation::Identity).unwrap_err().to_string();
    assert_eq!(error, "linear: expected x of (.., 2), got [5, 3]");
    let w = normal(&[4, 3], DType::F64, 2);
    assert!(x.linear(&w, None, Activation::Identity).unwrap_err().to_string().contains("F32 as x"));
    let (w, b) = (normal(&[4, 3], DType::F32, 2), normal(&[3], DType::F32, 2));
    assert!(x.linear(&w, Some(b.as_tensor()), Activation::Identity).is_err());
}
