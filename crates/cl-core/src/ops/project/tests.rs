#![allow(clippy::unwrap_used)]

use candle_core::{DType, Tensor};
use proptest::prelude::*;

use super::project;
use crate::ops::testing::{assert_close, elements, normal, strided};

fn parts(dtype: DType, seed: u64) -> Vec<Tensor> {
    let shapes: [&[usize]; 4] = [&[7, 5], &[7], &[0], &[1, 3, 33]];
    let new = |(i, shape): (usize, &&[usize])| normal(shape, dtype, seed ^ i as u64).as_detached_tensor();
    shapes.iter().enumerate().map(new).map(|t| t.copy().unwrap()).collect()
}

fn flat(parts: &[Tensor]) -> Vec<f64> {
    parts.iter().flat_map(elements).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn equals_the_formula(seed: u64) {
        for dtype in [DType::F32, DType::F64] {
            let tolerance = if dtype == DType::F32 { 1e-4 } else { 1e-11 };
            let (g, r) = (parts(dtype, seed), parts(dtype, seed ^ 0x5555));
            let (before, reference) = (flat(&g), flat(&r));
            let found = project(&g, &r, 1e-7).unwrap();
            let (d, rr) = (dot(&before, &reference), dot(&reference, &reference));
            prop_assert!((found.dot - d).abs() < tolerance * 100.0);
            prop_assert_eq!(found.conflict, d < 0.0);
            let factor = if d < 0.0 { d / (rr + 1e-7) } else { 0.0 };
            for ((after, before), r) in flat(&g).iter().zip(&before).zip(&reference) {
                prop_assert!((after - (before - factor * r)).abs() < tolerance);
            }
            // What is left does not conflict any more, but for what ε leaves.
            prop_assert!(dot(&flat(&g), &reference) > -(tolerance * 100.0 + d.abs() * 1e-7 / rr));
        }
    }
}

#[test]
fn a_reference_that_vanishes_changes_nothing() {
    let g = parts(DType::F64, 1);
    let zeros: Vec<_> = g.iter().map(|t| t.zeros_like().unwrap()).collect();
    let before = flat(&g);
    for eps in [0.0, 1e-7] {
        assert!(!project(&g, &zeros, eps).unwrap().conflict);
        assert_eq!(flat(&g), before);
    }
}

#[test]
fn a_strided_reference() {
    let (a, b) = (parts(DType::F64, 1), parts(DType::F64, 1));
    let r: Vec<_> = a.iter().map(|t| (t * -0.5).unwrap()).collect();
    let apart: Vec<_> = r.iter().map(strided).collect();
    assert!(project(&a, &r, 0.0).unwrap().conflict);
    project(&b, &apart, 0.0).unwrap();
    for ((a, b), zero) in a.iter().zip(&b).zip(&r) {
        assert_close(a, b, 1e-15);
        assert_close(a, &zero.zeros_like().unwrap(), 1e-12);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (g, r) = (parts(DType::F32, 1), parts(DType::F32, 2));
    let before = flat(&g);
    assert!(project(&g, &r[1..], 0.0).is_err());
    assert!(project(&g, &parts(DType::F64, 2), 0.0).is_err());
    assert_eq!(flat(&g), before);
}
