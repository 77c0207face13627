#![allow(clippy::unwrap_used)]

use candle_core::{CustomOp3, D, DType, Device, Tensor, Var};
use proptest::prelude::*;

use super::Link;
use crate::TensorOps;
use crate::ops::testing::{assert_close, assert_gradients, elements, normal, strided};

/// The same from candle's operations.
fn plain(l: &Tensor, w: &Tensor, p: &Tensor) -> Tensor {
    let n = l.dim(D::Minus1).unwrap();
    let off = (1.0 - Tensor::eye(n, l.dtype(), l.device()).unwrap()).unwrap();
    let wi = w.unsqueeze(D::Minus1).unwrap();
    let kept = (1.0 - wi.broadcast_add(&w.unsqueeze(D::Minus2).unwrap()).unwrap()).unwrap();
    let new = (kept * l).unwrap() + wi.broadcast_mul(&p.unsqueeze(D::Minus2).unwrap()).unwrap();
    new.unwrap().broadcast_mul(&off).unwrap()
}

fn operands(batch: &[usize], n: usize, dtype: DType) -> [Var; 3] {
    let dims = |last: &[usize]| [batch, last].concat();
    [normal(&dims(&[n, n]), dtype, 1), normal(&dims(&[n]), dtype, 2), normal(&dims(&[n]), dtype, 3)]
}

#[test]
fn equals_the_composition() {
    for (batch, n) in [(&[][..], 1), (&[3], 5), (&[2, 2], 33), (&[1], 64), (&[0], 4), (&[2], 0)] {
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
            let [l, w, p] = operands(batch, n, dtype);
            let found = l.link(&w, &p).unwrap();
            assert_eq!(found.dims(), l.dims());
            if found.elem_count() == 0 {
                continue;
            }
            assert_close(&found, &plain(&l, &w, &p), tolerance);
            assert_close(&strided(&l).link(&strided(&w), &strided(&p)).unwrap(), &found, 0.0);
            let loss = |t: Tensor| t.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let (found, expected) = (loss(found), loss(plain(&l, &w, &p)));
            for var in [&l, &w, &p] {
                assert_close(found.get(var).unwrap(), expected.get(var).unwrap(), 20.0 * tolerance);
            }
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let [l, w, p] = operands(&[2], 5, DType::F64);
    let weigh = normal(&[2, 5, 5], DType::F64, 4).as_detached_tensor();
    assert_gradients(&[&l, &w, &p], || (l.link(&w, &p).unwrap() * &weigh).unwrap().sum_all().unwrap());
}

#[test]
fn the_differentiable_gradients_are_those_of_the_loop() {
    let [l, w, p] = operands(&[2], 5, DType::F64);
    let grad = normal(&[2, 5, 5], DType::F64, 4).as_detached_tensor();
    let (gl, gw, gp) = Link.bwd(&l, &w, &p, &l, &grad).unwrap();
    let found = super::differentiable(&l, &w, &p, &grad).unwrap();
    for (found, expected) in found.iter().zip([gl, gw, gp]) {
        assert_close(found, &expected.unwrap(), 1e-12);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// From nothing, whatever is written: rows and columns of at most 1, nothing on the diagonal, nothing negative.
    #[test]
    fn rows_and_columns_sum_to_at_most_one(
        writes in proptest::collection::vec(proptest::collection::vec(0.0f64..=1.0, 6), 1..12),
    ) {
        let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F64, &Device::Cpu).unwrap();
        let (mut l, mut p) = (zeros(&[6, 6]), zeros(&[6]));
        for write in writes {
            let sum = write.iter().sum::<f64>().max(1.0);
            let w = Tensor::new(write.iter().map(|w| w / sum).collect::<Vec<_>>(), &Device::Cpu).unwrap();
            l = l.link(&w, &p).unwrap();
            let kept = 1.0 - elements(&w).iter().sum::<f64>();
            p = ((p * kept).unwrap() + &w).unwrap();
            for sums in [l.sum(0).unwrap(), l.sum(1).unwrap()] {
                prop_assert!(elements(&sums).iter().all(|s| *s <= 1.0 + 1e-12));
            }
            let all = elements(&l);
            prop_assert!(all.iter().all(|l| *l >= -1e-12) && (0..6).all(|i| all[7 * i] == 0.0));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let [l, w, p] = operands(&[2], 3, DType::F32);
    let says = |l: &Tensor, w: &Tensor, p: &Tensor| l.link(w, p).unwrap_err().to_string();
    assert!(says(&w, &w, &p).contains("links (.., n, n)"));
    assert!(says(&l, &l, &p).contains("write weights"));
    assert!(says(&l, &w, &w.narrow(1, 0, 2).unwrap()).contains("precedence"));
    assert!(says(&l, &w.to_dtype(DType::F64).unwrap(), &p).contains("write weights"));
}
