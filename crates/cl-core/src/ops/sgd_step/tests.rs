#![allow(clippy::unwrap_used)]

use candle_core::{DType, Tensor};

use crate::ops::testing::{assert_close, elements, normal, strided};
use crate::{SgdStep, TensorOps};

/// Three steps from candle's operations, as PyTorch documents its SGD.
#[test]
fn equals_the_composition() {
    for shape in [vec![], vec![0], vec![1], vec![7, 5], vec![3, 1, 33]] {
        for (momentum, weight_decay) in [(0.0, 0.0), (0.0, 0.1), (0.9, 0.0), (0.9, 0.1)] {
            for dtype in [DType::F32, DType::F64] {
                let theta = normal(&shape, dtype, 1);
                let mut expected = theta.as_tensor().copy().unwrap();
                let velocity = theta.as_tensor().zeros_like().unwrap();
                let mut v = velocity.copy().unwrap();
                for seed in 2..5 {
                    let g = normal(&shape, dtype, seed).as_detached_tensor();
                    let step = SgdStep { lr: 0.05, momentum, weight_decay };
                    theta.sgd_step(&g, (momentum > 0.0).then_some(&velocity), step).unwrap();
                    let full = (&g + (&expected * weight_decay).unwrap()).unwrap();
                    v = ((v * momentum).unwrap() + full).unwrap();
                    expected = (expected - (&v * 0.05).unwrap()).unwrap();
                }
                assert_close(&theta, &expected, if dtype == DType::F32 { 1e-6 } else { 1e-14 });
            }
        }
    }
}

#[test]
fn a_strided_gradient() {
    let (a, b) = (normal(&[4, 6], DType::F32, 1), normal(&[4, 6], DType::F32, 1));
    let g = normal(&[4, 6], DType::F32, 2).as_detached_tensor();
    let step = SgdStep { lr: 0.1, momentum: 0.0, weight_decay: 0.0 };
    a.sgd_step(&g, None, step).unwrap();
    b.sgd_step(&strided(&g), None, step).unwrap();
    assert_eq!(elements(&a), elements(&b));
}

#[test]
fn what_does_not_fit_is_refused() {
    let theta = normal(&[4, 6], DType::F32, 1);
    let step = SgdStep { lr: 0.1, momentum: 0.9, weight_decay: 0.0 };
    let before = elements(&theta);
    assert!(theta.sgd_step(&normal(&[6, 4], DType::F32, 1), None, step).is_err());
    assert!(theta.sgd_step(&normal(&[4, 6], DType::F64, 1), None, step).is_err());
    let (g, short) = (normal(&[4, 6], DType::F32, 1), normal(&[4], DType::F32, 1));
    assert!(theta.sgd_step(&g, Some(&short), step).is_err());
    let destination: Tensor = strided(&theta);
    assert!(destination.sgd_step(&g, None, step).unwrap_err().to_string().contains("contiguous"));
    assert_eq!(elements(&theta), before);
}
