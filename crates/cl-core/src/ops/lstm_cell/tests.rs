#![allow(clippy::unwrap_used)]

use candle_core::{CustomOp2, DType, Tensor};

use super::LstmCell;
use crate::TensorOps;
use crate::ops::testing::{assert_close, assert_gradients, elements, normal, strided};

/// The same from candle's operations.
fn plain(z: &Tensor, c: &Tensor) -> Tensor {
    let width = c.dim(1).unwrap();
    let part = |k: usize| z.narrow(1, k * width, width).unwrap();
    let sigmoid = |t: Tensor| ((t.neg().unwrap().exp().unwrap() + 1.0).unwrap()).recip().unwrap();
    let kept = (sigmoid(part(1)) * c).unwrap();
    let c = (kept + (sigmoid(part(0)) * part(2).tanh().unwrap()).unwrap()).unwrap();
    let h = (sigmoid(part(3)) * c.tanh().unwrap()).unwrap();
    Tensor::stack(&[h, c], 0).unwrap()
}

#[test]
fn equals_the_composition() {
    for (n, h) in [(1, 1), (3, 5), (4, 64), (2, 33), (0, 4)] {
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
            let (z, c) = (normal(&[n, 4 * h], dtype, 1), normal(&[n, h], dtype, 2));
            let found = z.lstm_cell(&c).unwrap();
            assert_eq!(found.dims(), [2, n, h]);
            if n == 0 {
                continue;
            }
            assert_close(&found, &plain(&z, &c), tolerance);
            assert_close(&strided(&z).lstm_cell(&strided(&c)).unwrap(), &found, 0.0);
            let loss = |t: Tensor| t.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let (found, expected) = (loss(found), loss(plain(&z, &c)));
            for var in [&z, &c] {
                assert_close(found.get(var).unwrap(), expected.get(var).unwrap(), 10.0 * tolerance);
            }
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let (z, c) = (normal(&[2, 12], DType::F64, 1), normal(&[2, 3], DType::F64, 2));
    let weigh = normal(&[2, 2, 3], DType::F64, 3).as_detached_tensor();
    assert_gradients(&[&z, &c], || (z.lstm_cell(&c).unwrap() * &weigh).unwrap().sum_all().unwrap());
}

#[test]
fn the_differentiable_gradients_are_those_of_the_loop() {
    let (z, c) = (normal(&[2, 12], DType::F64, 1), normal(&[2, 3], DType::F64, 2));
    let grad = normal(&[2, 2, 3], DType::F64, 3).as_detached_tensor();
    let new = z.lstm_cell(&c).unwrap();
    let (gz, gc) = LstmCell.bwd(&z, &c, &new, &grad).unwrap();
    let found = super::differentiable(&z, &c, &grad).unwrap();
    assert_close(&found[0], &gz.unwrap(), 1e-12);
    assert_close(&found[1], &gc.unwrap(), 1e-12);
}

/// Gates of thousands are shut or open, and nothing becomes infinite on the way.
#[test]
fn saturated_gates_stay_finite() {
    for dtype in [DType::F32, DType::F64] {
        let z = (normal(&[4, 8], dtype, 1).as_tensor() * 1e4).unwrap();
        let z = candle_core::Var::from_tensor(&z).unwrap();
        let c = normal(&[4, 2], dtype, 2);
        let new = z.lstm_cell(&c).unwrap();
        let grads = new.sum_all().unwrap().backward().unwrap();
        for t in [&new, grads.get(&z).unwrap(), grads.get(&c).unwrap()] {
            assert!(elements(t).iter().all(|x| x.is_finite()));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (z, c) = (normal(&[2, 12], DType::F32, 1), normal(&[2, 3], DType::F32, 2));
    for (z, c) in [
        (z.as_tensor(), z.as_tensor()),
        (c.as_tensor(), c.as_tensor()),
        (&z.to_dtype(DType::F64).unwrap(), c.as_tensor()),
        (&z.narrow(0, 0, 1).unwrap(), c.as_tensor()),
    ] {
        assert!(z.lstm_cell(c).unwrap_err().to_string().contains("gates (n, 4h)"));
    }
}
