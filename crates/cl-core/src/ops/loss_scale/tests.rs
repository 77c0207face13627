#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use crate::ops::testing::{assert_close, elements, normal, strided};
use crate::{AdamStep, ScaleUpdate, SgdStep, TensorOps};

const SCALE: f32 = 65_536.0;

fn state(numbers: [f32; 4]) -> Tensor {
    Tensor::new(&numbers, &Device::Cpu).unwrap()
}

fn found(state: &Tensor) -> Tensor {
    state.narrow(0, 1, 1).unwrap()
}

/// A scale that is a power of two loses nothing, down to where f32 itself ends.
#[test]
fn unscaled_is_what_was_scaled() {
    for dtype in [DType::F32, DType::F64] {
        let plain: Vec<Tensor> = [vec![], vec![0], vec![1], vec![33, 7], vec![10_007]]
            .iter()
            .map(|shape: &Vec<usize>| (normal(shape, dtype, 1).as_detached_tensor() * 1e-20).unwrap())
            .collect();
        let scaled: Vec<Tensor> = plain.iter().map(|g| (g * f64::from(SCALE)).unwrap()).collect();
        let state = state([SCALE, 0.0, 5.0, 2.0]);
        Tensor::unscale_all(&scaled.iter().collect::<Vec<_>>(), &state).unwrap();
        for (found, expected) in scaled.iter().zip(&plain) {
            assert_eq!(elements(found), elements(expected));
        }
        assert_eq!(elements(&state), [f64::from(SCALE), 0.0, 5.0, 2.0]);
    }
}

/// Wherever it is, of whichever kind; the others are unscaled all the same, and a later finite gradient does not take it back.
#[test]
fn one_element_that_is_not_finite_is_found() {
    for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        for at in [0, 1, 15, 16, 500, 999] {
            let mut numbers = vec![SCALE; 1000];
            numbers[at] = bad;
            let gradients =
                [Tensor::new(&[3f32], &Device::Cpu).unwrap(), Tensor::new(numbers, &Device::Cpu).unwrap()];
            let state = state([SCALE, 0.0, 0.0, 0.0]);
            Tensor::unscale_all(&[&gradients[0], &gradients[1]], &state).unwrap();
            Tensor::unscale_all(&[&gradients[0]], &state).unwrap();
            assert_eq!(elements(&state), [f64::from(SCALE), 1.0, 0.0, 0.0]);
            let expected: Vec<f64> = (0..1000).map(|i| f64::from(u8::from(i != at))).collect();
            assert_eq!(elements(&gradients[1]), expected);
        }
    }
}

/// A finite gradient that a scale below 1 makes infinite is found too.
#[test]
fn what_becomes_infinite_is_found() {
    let gradient = Tensor::new(&[1e38f32], &Device::Cpu).unwrap();
    let state = state([1e-3, 0.0, 0.0, 0.0]);
    Tensor::unscale_all(&[&gradient], &state).unwrap();
    assert_eq!((elements(&gradient)[0], elements(&state)[1]), (0.0, 1.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Against the rules, step by step in f64: powers of two stay exact.
    #[test]
    fn the_scale_follows_the_rules(
        exponent in -120i32..120,
        interval in 1u32..6,
        growth in 1i32..4,
        backoff in 1i32..4,
        steps in proptest::collection::vec(any::<bool>(), 0..400),
    ) {
        let update = ScaleUpdate {
            growth: 2f32.powi(growth),
            backoff: 2f32.powi(-backoff),
            interval: interval as f32,
        };
        let state = state([2f32.powi(exponent), 0.0, 0.0, 0.0]);
        let (mut expected, mut good, mut skipped) = (exponent, 0, 0);
        for overflows in steps {
            let g = Tensor::new(&[if overflows { f32::INFINITY } else { 0.0 }], &Device::Cpu).unwrap();
            Tensor::unscale_all(&[&g], &state).unwrap();
            state.update_scale(update).unwrap();
            if overflows {
                (expected, good, skipped) = ((expected - backoff).max(-126), 0, skipped + 1);
            } else {
                good += 1;
                if good == interval {
                    (expected, good) = ((expected + growth).min(126), 0);
                }
            }
            prop_assert_eq!(
                elements(&state),
                vec![2f64.powi(expected), 0.0, f64::from(good), f64::from(skipped)]
            );
        }
    }
}

/// Nothing at all changes in a step that is skipped; one that is not is the plain one to the last bit.
#[test]
fn a_step_is_skipped_where_something_was_found() {
    let step = SgdStep { lr: 0.1, momentum: 0.9, weight_decay: 0.1 };
    let adam =
        AdamStep { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, decoupled: true, t: 3 };
    let g = normal(&[4, 6], DType::F32, 2).as_detached_tensor();
    for skip in [false, true] {
        let state = state([SCALE, f32::from(u8::from(skip)), 0.0, 0.0]);
        let both = || normal(&[4, 6], DType::F32, 1).as_detached_tensor();
        let (plain, theta) = (both(), both());
        let velocities = [both(), both()];
        let moments = [0, 1].map(|_| normal(&[2, 4, 6], DType::F32, 3).as_tensor().sqr().unwrap());
        let before = [&theta, &velocities[1], &moments[1]].map(elements);
        if !skip {
            Tensor::sgd_step_all(&[&plain], &[&g], None, step).unwrap();
            Tensor::sgd_step_all(&[&plain], &[&g], Some(&[&velocities[0]]), step).unwrap();
            Tensor::adam_step_all(&[&plain], &[&g], &[&moments[0]], adam).unwrap();
        }
        let found = found(&state);
        Tensor::sgd_step_unless(Some(&found), &[&theta], &[&g], None, step).unwrap();
        Tensor::sgd_step_unless(Some(&found), &[&theta], &[&g], Some(&[&velocities[1]]), step).unwrap();
        Tensor::adam_step_unless(Some(&found), &[&theta], &[&g], &[&moments[1]], adam).unwrap();
        for (found, expected) in
            [(&theta, &plain), (&velocities[1], &velocities[0]), (&moments[1], &moments[0])]
        {
            assert_close(found, expected, 0.0);
        }
        assert_eq!([&theta, &velocities[1], &moments[1]].map(elements) == before, skip);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let g = normal(&[4], DType::F32, 1).as_detached_tensor();
    let right = state([SCALE, 0.0, 0.0, 0.0]);
    let error = |gradients: &[&Tensor], state: &Tensor| {
        Tensor::unscale_all(gradients, state).unwrap_err().to_string()
    };
    let half = g.to_dtype(DType::F16).unwrap();
    assert!(error(&[&g, &half], &right).contains("keep the parameters in f32"));
    assert!(error(&[&strided(&g)], &right).contains("contiguous"));
    assert!(
        error(&[&g], &Tensor::new(&[1f32], &Device::Cpu).unwrap()).contains("a state F32 [4], got F32 [1]")
    );
    assert!(error(&[&g], &right.to_dtype(DType::F64).unwrap()).contains("F64 [4]"));
    assert_eq!(elements(&g), elements(&normal(&[4], DType::F32, 1)));
    let step = SgdStep { lr: 0.1, momentum: 0.0, weight_decay: 0.0 };
    let skip = Tensor::sgd_step_unless(Some(&right), &[&g], &[&half], None, step).unwrap_err().to_string();
    assert!(skip.contains("F32 [1]") || skip.contains("F16"), "{skip}");
    assert!(
        Tensor::sgd_step_unless(Some(&right), &[&g], &[&g.copy().unwrap()], None, step)
            .unwrap_err()
            .to_string()
            .contains("F32 [1]")
    );
}
