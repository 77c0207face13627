#![allow(clippy::unwrap_used)]
use candle_core::{DType, Tensor};

use crate::TensorOps as _;
use crate::ops::testing::{assert_close, normal, strided};

/// Against the gradient as a tensor, for odd, single and empty sizes, contiguous and not.
#[test]
fn is_the_step_along_the_product() {
    for dtype in [DType::F32, DType::F64] {
        for (n, in_, out) in [(1, 1, 1), (3, 5, 2), (10, 37, 19), (64, 100, 10), (0, 4, 3)] {
            let (w, b) = (normal(&[out, in_], dtype, 1), normal(&[out], dtype, 2));
            let (a, d) = (normal(&[n, in_], dtype, 3), normal(&[n, out], dtype, 4));
            let (a, d) = (a.as_detached_tensor(), d.as_detached_tensor());
            for (a, d) in [(a.clone(), d.clone()), (strided(&a), strided(&d))] {
                let (w, b) = (w.copy().unwrap(), b.copy().unwrap());
                let step = |value: &Tensor, gradient: Tensor| (value - (gradient * 0.3).unwrap()).unwrap();
                let (gw, gb) = match n {
                    0 => (w.zeros_like().unwrap(), b.zeros_like().unwrap()),
                    _ => (
                        d.t().unwrap().contiguous().unwrap().matmul(&a.contiguous().unwrap()).unwrap(),
                        d.sum(0).unwrap(),
                    ),
                };
                let (expected_w, expected_b) = (step(&w, gw), step(&b, gb));
                w.descend(Some(&b), &a, &d, 0.3).unwrap();
                let tolerance = if dtype == DType::F32 { 1e-5 } else { 1e-13 };
                assert_close(&w, &expected_w, tolerance);
                assert_close(&b, &expected_b, tolerance);
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (w, b) = (normal(&[3, 4], DType::F32, 1), normal(&[3], DType::F32, 2));
    let (a, d) = (normal(&[5, 4], DType::F32, 3), normal(&[5, 3], DType::F32, 4));
    let refused = |w: &Tensor, b: &Tensor, a: &Tensor, d: &Tensor| {
        w.descend(Some(b), a, d, 0.1).unwrap_err().to_string()
    };
    assert!(refused(&w, &b, &d, &a).contains("descend"));
    assert!(refused(&w, &a, &a, &d).contains("descend"));
    assert!(refused(&w, &b, &a.narrow(0, 0, 4).unwrap(), &d).contains("descend"));
    assert!(refused(&w, &b, &a.to_dtype(DType::F64).unwrap(), &d).contains("F64"));
    assert!(refused(&strided(&w), &b, &a, &d).contains("contiguous"));
}
