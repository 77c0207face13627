#![allow(clippy::unwrap_used)]

use candle_core::{DType, Tensor, Var};
use proptest::prelude::*;

use crate::ops::testing::{assert_close, assert_gradients, normal, strided};
use crate::{Quadratic, TensorOps};

fn bowls(shape: &[usize], dtype: DType, n: u64) -> Vec<Quadratic> {
    let new = |seed| normal(shape, dtype, seed).as_detached_tensor();
    (0..n).map(|k| Quadratic { importance: new(100 + k).sqr().unwrap(), anchor: new(200 + k) }).collect()
}

fn plain(theta: &Tensor, bowls: &[Quadratic]) -> Tensor {
    let term = |b: &Quadratic| {
        let way = (theta - &b.anchor).unwrap().sqr().unwrap();
        ((&b.importance * way).unwrap().sum_all().unwrap() * 0.5).unwrap()
    };
    bowls.iter().map(term).reduce(|a, b| (a + b).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn equals_the_composition(rows in 0usize..5, columns in 0usize..1500, n in 1u64..5, seed: u64) {
        for dtype in [DType::F32, DType::F64] {
            let tolerance = if dtype == DType::F32 { 1e-4 } else { 1e-11 };
            let theta = normal(&[rows, columns], dtype, seed);
            let bowls = bowls(&[rows, columns], dtype, n);
            let (fused, plain) = (theta.quadratic_penalty(&bowls).unwrap(), plain(&theta, &bowls));
            if rows * columns > 0 {
                assert_close(&fused, &plain, tolerance);
                let (fused, plain) = (fused.backward().unwrap(), plain.backward().unwrap());
                assert_close(fused.get(&theta).unwrap(), plain.get(&theta).unwrap(), tolerance);
            } else {
                prop_assert_eq!(crate::ops::testing::elements(&fused), vec![0.0]);
            }
        }
    }
}

#[test]
fn gradients() {
    let theta = normal(&[3, 5], DType::F64, 1);
    for n in 1..4 {
        let bowls = bowls(&[3, 5], DType::F64, n);
        assert_gradients(&[&theta], || theta.quadratic_penalty(&bowls).unwrap());
        // Scaled by λ, as it is used; and through a computed tensor.
        assert_gradients(&[&theta], || (theta.quadratic_penalty(&bowls).unwrap() * 400.0).unwrap());
        assert_gradients(&[&theta], || theta.tanh().unwrap().quadratic_penalty(&bowls).unwrap());
    }
}

#[test]
fn strided_operands() {
    let theta = normal(&[3, 5], DType::F64, 1);
    let bowls = bowls(&[3, 5], DType::F64, 2);
    let apart: Vec<_> = bowls
        .iter()
        .map(|b| Quadratic { importance: strided(&b.importance), anchor: strided(&b.anchor) })
        .collect();
    assert_close(&strided(&theta).quadratic_penalty(&apart).unwrap(), &plain(&theta, &bowls), 1e-12);
}

#[test]
fn no_bowl_no_penalty() {
    let theta = normal(&[3, 5], DType::F32, 1);
    assert_eq!(theta.quadratic_penalty(&[]).unwrap().to_scalar::<f32>().unwrap(), 0.0);
}

#[test]
fn what_does_not_fit_is_refused() {
    let theta = normal(&[3, 5], DType::F32, 1);
    assert!(theta.quadratic_penalty(&bowls(&[5, 3], DType::F32, 1)).is_err());
    assert!(theta.quadratic_penalty(&bowls(&[3, 5], DType::F64, 1)).is_err());
    let tracked = Var::from_tensor(&bowls(&[3, 5], DType::F32, 1)[0].importance).unwrap();
    let bowl = Quadratic { importance: tracked.as_tensor().clone(), anchor: theta.as_detached_tensor() };
    assert!(theta.quadratic_penalty(&[bowl]).unwrap_err().to_string().contains("detach"));
}

/// Added in place, it is what a backward pass gives; parameters without terms, and several with many, in one call.
#[test]
fn added_to_gradients() {
    for dtype in [DType::F32, DType::F64] {
        let tolerance = if dtype == DType::F32 { 1e-5 } else { 1e-12 };
        let shapes: [&[usize]; 4] = [&[3, 5], &[0], &[4099], &[7]];
        let counts = [2, 1, 3, 0];
        let thetas: Vec<Var> = (0..).zip(shapes).map(|(i, shape)| normal(shape, dtype, i)).collect();
        let before: Vec<Tensor> =
            (50..).zip(shapes).map(|(i, shape)| normal(shape, dtype, i).as_detached_tensor()).collect();
        let bowls: Vec<Vec<Quadratic>> =
            shapes.iter().zip(counts).map(|(shape, n)| bowls(shape, dtype, n)).collect();
        let after: Vec<Tensor> = before.iter().map(|g| g.copy().unwrap()).collect();
        let terms: Vec<&[Quadratic]> = bowls.iter().map(Vec::as_slice).collect();
        let g: Vec<&Tensor> = after.iter().collect();
        let t: Vec<&Tensor> = thetas.iter().map(Var::as_tensor).collect();
        Tensor::add_penalty_gradient_all(&g, &t, &terms, 0.3).unwrap();
        for (i, theta) in thetas.iter().enumerate().filter(|(i, _)| shapes[*i] != [0] && counts[*i] > 0) {
            let loss = (theta.quadratic_penalty(&bowls[i]).unwrap() * 0.3).unwrap();
            let grads = loss.backward().unwrap();
            let expected = (&before[i] + grads.get(theta).unwrap()).unwrap();
            assert_close(&after[i], &expected, tolerance);
        }
        assert_close(&after[3], &before[3], 0.0);
    }
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let theta = normal(&[4], DType::F32, 1).as_detached_tensor();
    let gradient = theta.copy().unwrap();
    let right = bowls(&[4], DType::F32, 1);
    let add = |g: &[&Tensor], t: &[&Tensor], terms: &[&[Quadratic]]| {
        Tensor::add_penalty_gradient_all(g, t, terms, 1.0).unwrap_err().to_string()
    };
    assert!(add(&[&gradient], &[&theta], &[]).contains("terms of 1"));
    assert!(add(&[&gradient], &[], &[&right]).contains("1 tensors"));
    let other = bowls(&[5], DType::F32, 1);
    assert!(add(&[&gradient, &gradient], &[&theta, &theta], &[&right, &other]).contains("[5]"));
    let tracked = normal(&[4], DType::F32, 2);
    let tracked = [Quadratic { importance: tracked.as_tensor().clone(), anchor: theta.clone() }];
    assert!(add(&[&gradient], &[&theta], &[&tracked]).contains("detach"));
    assert_close(&gradient, &theta, 0.0);
}

#[test]
fn of_all_parameters_it_is_the_sum() {
    let thetas =
        [normal(&[3, 5], DType::F64, 1), normal(&[4], DType::F64, 2), normal(&[2, 2], DType::F64, 3)];
    let terms = [bowls(&[3, 5], DType::F64, 2), bowls(&[4], DType::F64, 1), Vec::new()];
    let all: Vec<&Tensor> = thetas.iter().map(Var::as_tensor).collect();
    let of_each: Vec<&[Quadratic]> = terms.iter().map(Vec::as_slice).collect();
    let sum = (thetas[0].quadratic_penalty(&terms[0]).unwrap()
        + thetas[1].quadratic_penalty(&terms[1]).unwrap())
    .unwrap();
    assert_close(&Tensor::quadratic_penalty_all(&all, &of_each).unwrap(), &sum, 1e-14);
    assert_gradients(&[&thetas[0], &thetas[1], &thetas[2]], || {
        Tensor::quadratic_penalty_all(&all, &of_each).unwrap()
    });
    let error = Tensor::quadratic_penalty_all(&all, &of_each[..2]).unwrap_err().to_string();
    assert!(error.contains("terms of 3 tensors"), "{error}");
    assert!(Tensor::quadratic_penalty_all(&[], &[]).is_err());
}
