#![allow(clippy::unwrap_used)]

use candle_core::DType;

use crate::TensorOps;
use crate::ops::testing::{assert_close, elements, normal, strided};

#[test]
fn equals_the_composition() {
    for shape in [vec![], vec![0], vec![1], vec![7, 5], vec![3, 1, 33]] {
        for dtype in [DType::F32, DType::F64] {
            let new = |seed| normal(&shape, dtype, seed).as_detached_tensor().copy().unwrap();
            let (omega, g, theta, before) = (new(1), new(2), new(3), new(4));
            let expected = (&omega - (&g * (&theta - &before).unwrap()).unwrap()).unwrap();
            let again = (omega.copy().unwrap(), before.copy().unwrap());
            omega.path_integral(&g, &theta, &before).unwrap();
            assert_close(&omega, &expected, if dtype == DType::F32 { 1e-6 } else { 1e-14 });
            assert_eq!(elements(&before), elements(&theta));
            if !shape.is_empty() {
                again.0.path_integral(&strided(&g), &strided(&theta), &again.1).unwrap();
                assert_eq!(elements(&again.0), elements(&omega));
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let new = |shape: &[usize], seed| normal(shape, DType::F32, seed).as_detached_tensor().copy().unwrap();
    let (omega, g, theta, before) = (new(&[4, 6], 1), new(&[4, 6], 2), new(&[4, 6], 3), new(&[4, 6], 4));
    let start = elements(&omega);
    assert!(omega.path_integral(&new(&[6, 4], 2), &theta, &before).is_err());
    assert!(omega.path_integral(&g, &new(&[4], 3), &before).is_err());
    assert!(omega.path_integral(&g, &theta, &new(&[4], 4)).is_err());
    assert!(omega.path_integral(&g, &theta, &strided(&before)).is_err());
    assert_eq!(elements(&omega), start);
}
