#![allow(clippy::unwrap_used)]

use candle_core::{DType, Tensor};
use proptest::prelude::*;

use super::{backward, sum_of_squares};
use crate::TensorOps;
use crate::ops::testing::{assert_close, elements, normal, strided};

fn data(shape: &[usize], dtype: DType, seed: u64) -> Tensor {
    normal(shape, dtype, seed).as_detached_tensor()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Against the squares of each sample's outer product.
    #[test]
    fn sums_of_squared_gradients(n in 0usize..7, inputs in 1usize..9, outputs in 1usize..9, seed: u64) {
        for dtype in [DType::F32, DType::F64] {
            let (a, delta) = (data(&[n, inputs], dtype, seed), data(&[n, outputs], dtype, seed ^ 1));
            let weight = data(&[outputs, inputs], dtype, seed ^ 2).copy().unwrap();
            let bias = data(&[outputs], dtype, seed ^ 3).copy().unwrap();
            let (mut w, mut b) = (weight.copy().unwrap(), bias.copy().unwrap());
            let mut norms = Vec::new();
            for i in 0..n {
                let (a, d) = (a.get(i).unwrap(), delta.get(i).unwrap());
                let outer = d.unsqueeze(1).unwrap().matmul(&a.unsqueeze(0).unwrap()).unwrap().sqr().unwrap();
                let d = d.sqr().unwrap();
                norms.push(elements(&outer).iter().chain(&elements(&d)).sum::<f64>());
                (w, b) = ((w + outer).unwrap(), (b + d).unwrap());
            }
            a.per_sample_sq(&delta.sqr().unwrap(), &weight, Some(&bias)).unwrap();
            let tolerance = if dtype == DType::F32 { 1e-4 } else { 1e-12 };
            assert_close(&weight, &w, tolerance);
            assert_close(&bias, &b, tolerance);
            if n > 0 {
                let norms = Tensor::new(norms, a.device()).unwrap();
                assert_close(&a.per_sample_norm_sq(&delta, true).unwrap(), &norms, tolerance);
            }
        }
    }
}

#[test]
fn strided_operands() {
    let (a, s) = (data(&[5, 3], DType::F64, 1), data(&[5, 4], DType::F64, 2));
    let sums = || {
        (
            Tensor::zeros((4, 3), DType::F64, a.device()).unwrap(),
            Tensor::zeros(4, DType::F64, a.device()).unwrap(),
        )
    };
    let (plain, apart) = (sums(), sums());
    a.per_sample_sq(&s, &plain.0, Some(&plain.1)).unwrap();
    strided(&a).per_sample_sq(&strided(&s), &apart.0, Some(&apart.1)).unwrap();
    assert_close(&apart.0, &plain.0, 1e-15);
    assert_close(&apart.1, &plain.1, 1e-15);
}

#[test]
fn flow_through_a_layer() {
    for (n, c, out, inputs) in [(4, 3, 5, 6), (1, 1, 1, 1), (0, 3, 5, 6), (4, 0, 5, 6)] {
        let deltas = data(&[n, c, out], DType::F64, 1);
        let (weight, activation) = (data(&[out, inputs], DType::F64, 2), data(&[n, inputs], DType::F64, 3));
        let activation = activation.relu().unwrap();
        let below = backward(&deltas, &weight, &activation).unwrap();
        assert_eq!(below.dims(), [n, c, inputs]);
        if n * c == 0 {
            assert_eq!(elements(&sum_of_squares(&deltas).unwrap()), vec![0.0; n * out]);
            continue;
        }
        let mask = activation.gt(0.0).unwrap().to_dtype(DType::F64).unwrap().unsqueeze(1).unwrap();
        let expected = deltas.broadcast_matmul(&weight).unwrap().broadcast_mul(&mask).unwrap();
        assert_close(&below, &expected, 1e-12);
        assert_close(&sum_of_squares(&deltas).unwrap(), &deltas.sqr().unwrap().sum(1).unwrap(), 1e-12);
        let apart = backward(&strided(&deltas), &strided(&weight), &strided(&activation)).unwrap();
        assert_close(&apart, &expected, 1e-12);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (a, s) = (data(&[5, 3], DType::F32, 1), data(&[4, 4], DType::F32, 2));
    let sum = Tensor::zeros((4, 3), DType::F32, a.device()).unwrap();
    assert!(a.per_sample_sq(&s, &sum, None).is_err());
    assert!(a.per_sample_sq(&data(&[5, 4], DType::F32, 2), &sum.t().unwrap(), None).is_err());
    assert!(a.per_sample_norm_sq(&s, true).is_err());
    assert!(backward(&data(&[2, 3, 4], DType::F32, 1), &sum, &data(&[3, 3], DType::F32, 1)).is_err());
}
