#![allow(clippy::unwrap_used)]

use candle_core::{DType, Tensor};

use crate::ops::testing::{assert_close, elements, normal, strided};
use crate::{AdamStep, TensorOps};

const STEP: AdamStep =
    AdamStep { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false, t: 1 };

/// Four steps from candle's operations, by the algorithm boxes of the papers.
#[test]
fn equals_the_composition() {
    for shape in [vec![], vec![0], vec![1], vec![7, 5], vec![3, 1, 33]] {
        for (weight_decay, decoupled) in [(0.0, false), (0.1, false), (0.1, true)] {
            for dtype in [DType::F32, DType::F64] {
                let theta = normal(&shape, dtype, 1);
                let mut expected = theta.as_tensor().copy().unwrap();
                let dims: Vec<_> = [2].iter().chain(&shape).copied().collect();
                let moments = Tensor::zeros(dims, dtype, theta.device()).unwrap();
                let (mut m, mut v) = (expected.zeros_like().unwrap(), expected.zeros_like().unwrap());
                for t in 1..5u64 {
                    let g = normal(&shape, dtype, 10 + t).as_detached_tensor();
                    let step = AdamStep { weight_decay, decoupled, t, ..STEP };
                    theta.adam_step(&g, &moments, step).unwrap();
                    let g = if decoupled {
                        expected = (expected * (1.0 - 0.01 * weight_decay)).unwrap();
                        g
                    } else {
                        (g + (&expected * weight_decay).unwrap()).unwrap()
                    };
                    m = ((m * 0.9).unwrap() + (&g * (1.0 - 0.9)).unwrap()).unwrap();
                    v = ((v * 0.999).unwrap() + (g.sqr().unwrap() * (1.0 - 0.999)).unwrap()).unwrap();
                    let corrected = |t: &Tensor, b: f64, n: u64| (t / (1.0 - b.powi(n as i32))).unwrap();
                    let root = (corrected(&v, 0.999, t).sqrt().unwrap() + 1e-8).unwrap();
                    expected =
                        (expected - ((corrected(&m, 0.9, t) * 0.01).unwrap() / root).unwrap()).unwrap();
                }
                assert_close(&theta, &expected, if dtype == DType::F32 { 1e-5 } else { 1e-12 });
            }
        }
    }
}

/// The first step has the size of the learning rate, whatever the gradient's.
#[test]
fn the_first_step_is_of_size_lr() {
    for scale in [1e-4, 1.0, 1e4] {
        let theta = normal(&[50], DType::F64, 1);
        let before = theta.as_tensor().copy().unwrap();
        let g = (normal(&[50], DType::F64, 2).as_tensor() * scale).unwrap();
        let moments = Tensor::zeros((2, 50), DType::F64, theta.device()).unwrap();
        theta.adam_step(&g, &moments, AdamStep { eps: 1e-30, ..STEP }).unwrap();
        for way in elements(&(before - theta.as_tensor()).unwrap()) {
            assert!((way.abs() - 0.01).abs() < 1e-5, "{way}");
        }
    }
}

#[test]
fn a_strided_gradient() {
    let (a, b) = (normal(&[4, 6], DType::F32, 1), normal(&[4, 6], DType::F32, 1));
    let g = normal(&[4, 6], DType::F32, 2).as_detached_tensor();
    for (theta, g) in [(&a, g.clone()), (&b, strided(&g))] {
        let moments = Tensor::zeros((2, 4, 6), DType::F32, theta.device()).unwrap();
        theta.adam_step(&g, &moments, STEP).unwrap();
    }
    assert_eq!(elements(&a), elements(&b));
}

#[test]
fn what_does_not_fit_is_refused() {
    let (theta, g) = (normal(&[4, 6], DType::F32, 1), normal(&[4, 6], DType::F32, 2));
    let before = elements(&theta);
    let zeros = |dims: &[usize], dtype| Tensor::zeros(dims, dtype, theta.device()).unwrap();
    assert!(theta.adam_step(&g, &zeros(&[2, 6, 4], DType::F32), STEP).is_err());
    assert!(theta.adam_step(&g, &zeros(&[2, 4, 6], DType::F64), STEP).is_err());
    assert!(theta.adam_step(&normal(&[4], DType::F32, 2), &zeros(&[2, 4, 6], DType::F32), STEP).is_err());
    let moments = zeros(&[2, 4, 6], DType::F32);
    assert!(theta.adam_step(&g, &moments, AdamStep { t: 0, ..STEP }).is_err());
    assert_eq!(elements(&theta), before);
    assert!(elements(&moments).iter().all(|&m| m == 0.0));
}
