#![allow(clippy::unwrap_used)]

use candle_core::{CustomOp1, DType, Device, Tensor, Var};
use proptest::prelude::*;

use super::Allocation;
use crate::TensorOps;
use crate::ops::testing::{assert_close, assert_gradients, elements, normal, strided};

/// The equation, slot after slot, from candle's operations: usages must differ.
fn plain(u: &Tensor) -> Tensor {
    let n = u.dim(0).unwrap();
    let slots: Vec<Tensor> = (0..n).map(|i| u.narrow(0, i, 1).unwrap()).collect();
    let values = elements(u);
    let a: Vec<Tensor> = (0..n)
        .map(|j| {
            let before = (0..n).filter(|&i| values[i] < values[j] || (values[i] == values[j] && i < j));
            before.fold((1.0 - &slots[j]).unwrap(), |a, i| (a * &slots[i]).unwrap())
        })
        .collect();
    Tensor::cat(&a, 0).unwrap()
}

fn var(values: &[f64]) -> Var {
    Var::new(values, &Device::Cpu).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn is_the_equation_and_sums_to_at_most_one(u in proptest::collection::vec(0.0f64..=1.0, 1..40)) {
        let t = var(&u);
        let a = t.allocation().unwrap();
        assert_close(&a, &plain(&t), 1e-12);
        let sum: f64 = elements(&a).iter().sum();
        prop_assert!(sum <= 1.0 + 1e-12 && elements(&a).iter().all(|a| (0.0..=1.0).contains(a)));
        // What is left is the product of all usages.
        prop_assert!((1.0 - sum - u.iter().product::<f64>()).abs() < 1e-12);
        let single = t.to_dtype(DType::F32).unwrap().allocation().unwrap();
        assert_close(&single.to_dtype(DType::F64).unwrap(), &a, 1e-6);
        let found = a.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let expected = plain(&t).sqr().unwrap().sum_all().unwrap().backward().unwrap();
        assert_close(found.get(&t).unwrap(), expected.get(&t).unwrap(), 1e-12);
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let u = (normal(&[2, 3, 7], DType::F64, 1).as_tensor() * 0.2).unwrap();
    let u = Var::from_tensor(&(u + 0.5).unwrap()).unwrap();
    let weigh = normal(&[2, 3, 7], DType::F64, 2).as_detached_tensor();
    assert_gradients(&[&u], || (u.allocation().unwrap() * &weigh).unwrap().sum_all().unwrap());
}

/// At the ends the equation is a polynomial like anywhere: PyTorch's `cumprod` and division give NaN or 0/0 there.
#[test]
fn finite_gradients_at_usages_of_zero_and_one() {
    for u in [
        vec![0.0; 6],
        vec![1.0; 6],
        vec![0.0, 1.0, 0.0, 1.0],
        vec![0.0, 0.0, 0.5, 1.0, 1.0],
        vec![1e-300, 1.0 - 1e-16, 0.3],
    ] {
        let u = var(&u);
        let weigh = normal(&[u.dim(0).unwrap()], DType::F64, 3).as_detached_tensor();
        let loss = |a: Tensor| (a * &weigh).unwrap().sum_all().unwrap().backward().unwrap();
        let (found, expected) = (loss(u.allocation().unwrap()), loss(plain(&u)));
        assert!(elements(found.get(&u).unwrap()).iter().all(|g| g.is_finite()));
        assert_close(found.get(&u).unwrap(), expected.get(&u).unwrap(), 1e-12);
    }
}

/// Sorting by `partial_cmp` may panic there; the slots that are numbers come first and keep their weights.
#[test]
fn a_usage_that_is_no_number_is_seen_and_does_not_panic() {
    let u = Tensor::new(&[f32::NAN, 0.5, f32::NAN, 0.25], &Device::Cpu).unwrap();
    let a = u.allocation().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!((a[1], a[3]), (0.125, 0.75));
    assert!(a[0].is_nan() && a[2].is_nan());
    let many: Vec<f32> =
        (0..500).map(|i| if i % 7 == 0 { f32::NAN } else { (i * 37 % 101) as f32 }).collect();
    Tensor::new(many.as_slice(), &Device::Cpu).unwrap().allocation().unwrap();
}

#[test]
fn equal_usages_keep_the_order_of_the_slots() {
    let a = Tensor::new(&[0.5f32, 0.5, 0.5], &Device::Cpu).unwrap().allocation().unwrap();
    assert_eq!(a.to_vec1::<f32>().unwrap(), [0.5, 0.25, 0.125]);
}

#[test]
fn strided_empty_and_refused() {
    let u = Tensor::new(&[[0.1f32, 0.9, 0.4], [0.7, 0.2, 0.2]], &Device::Cpu).unwrap();
    assert_close(&strided(&u).allocation().unwrap(), &u.allocation().unwrap(), 0.0);
    for dims in [&[0][..], &[2, 0], &[0, 3]] {
        let none = Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(none.allocation().unwrap().dims(), dims);
    }
    let scalar = Tensor::zeros((), DType::F32, &Device::Cpu).unwrap();
    assert!(scalar.allocation().unwrap_err().to_string().contains("usages (.., n)"));
    assert!(u.to_dtype(DType::U32).unwrap().allocation().is_err());
}

/// The gradient that can be differentiated again is the same.
#[test]
fn the_differentiable_gradient_is_that_of_the_loop() {
    let u = Tensor::new(&[[0.3f64, 0.9, 0.0, 0.3], [1.0, 0.2, 0.6, 0.1]], &Device::Cpu).unwrap();
    let grad = normal(&[2, 4], DType::F64, 4).as_detached_tensor();
    let a = u.allocation().unwrap();
    let expected = Allocation.bwd(&u, &a, &grad).unwrap().unwrap();
    assert_close(&super::differentiable(&u, &grad).unwrap(), &expected, 1e-12);
}
