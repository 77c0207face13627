#![allow(clippy::unwrap_used)]

use candle_core::DType;

use crate::TensorOps;
use crate::ops::testing::{assert_close, normal, strided};

#[test]
fn equals_the_composition() {
    for shape in [vec![], vec![0], vec![1], vec![7, 5], vec![3, 1, 33]] {
        for dtype in [DType::F32, DType::F64] {
            for (decay, scale) in [(1.0, 1.0), (0.95, 0.05), (0.0, 2.0)] {
                let sum = normal(&shape, dtype, 1).as_detached_tensor().copy().unwrap();
                let g = normal(&shape, dtype, 2).as_detached_tensor();
                let expected = ((&sum * decay).unwrap() + (g.sqr().unwrap() * scale).unwrap()).unwrap();
                let again = sum.copy().unwrap();
                sum.accumulate_sq(&g, decay, scale).unwrap();
                assert_close(&sum, &expected, if dtype == DType::F32 { 1e-6 } else { 1e-14 });
                if !shape.is_empty() {
                    again.accumulate_sq(&strided(&g), decay, scale).unwrap();
                    assert_close(&again, &sum, 0.0);
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (sum, g) = (normal(&[4, 6], DType::F32, 1), normal(&[6, 4], DType::F32, 1));
    assert!(sum.accumulate_sq(&g, 1.0, 1.0).is_err());
    assert!(sum.accumulate_sq(&normal(&[4, 6], DType::F64, 1), 1.0, 1.0).is_err());
    assert!(strided(&sum).accumulate_sq(&sum, 1.0, 1.0).is_err());
    assert!(sum.accumulate_sq(&sum, 1.0, 1.0).is_err(), "a source may not be the destination");
}
