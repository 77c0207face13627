//! Rules from a signal of the learner to priorities.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use cl_core::Error;
use cl_replay::{
    Field, GradientNorm, PredictiveEntropy, Prioritized, PrioritizedItems, Priority, Schema, TdError,
};

fn vector(values: &[f32]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

fn logits(rows: &[[f32; 3]]) -> Tensor {
    Tensor::from_slice(rows.as_flattened(), (rows.len(), 3), &Device::Cpu).unwrap()
}

/// T19: ε is inside the power: a memory raises |δ| + ε to α.
#[test]
fn temporal_difference_errors() {
    let delta = vector(&[-2.0, 0.0, 0.5]);
    assert_eq!(TdError { epsilon: 0.25 }.priorities(&delta).unwrap(), [2.25, 0.25, 0.75]);
    assert_eq!(TdError { epsilon: 0.0 }.priorities(&delta).unwrap(), [2.0, 0.0, 0.5]);
    assert_eq!(TdError::default().priorities(&delta).unwrap(), [2.000001, 1e-6, 0.500001]);
    let double = Tensor::new(&[-2f64, 0.5], &Device::Cpu).unwrap();
    assert_eq!(TdError { epsilon: 0.0 }.priorities(&double).unwrap(), [2.0, 0.5]);

    let schema = Schema::new([Field::new("x", DType::F32, [])]).unwrap();
    let config = Prioritized { alpha: 0.5, ..Default::default() };
    let mut memory = PrioritizedItems::new(schema, 3, config, cl_core::rng(1, "memory")).unwrap();
    memory.add(&[("x", &delta)]).unwrap();
    let items: Vec<_> = (0..3).map(|time| cl_replay::Item { row: 0, time }).collect();
    memory.update(&items, &TdError { epsilon: 0.25 }, &delta).unwrap();
    let powers: Vec<f32> = items.iter().map(|&item| memory.priority(item).unwrap().unwrap()).collect();
    assert_eq!(powers, [1.5, 0.5, 0.75f32.sqrt()]);
}

#[test]
fn norms_of_gradients() {
    let norms = vector(&[4.0, 0.0, 9.0]);
    assert_eq!(GradientNorm { beta: 0.5 }.priorities(&norms).unwrap(), [2.0, 0.0, 3.0]);
    assert_eq!(GradientNorm { beta: 1.0 }.priorities(&norms).unwrap(), [4.0, 0.0, 9.0]);
    assert_eq!(GradientNorm { beta: 2.0 }.priorities(&norms).unwrap(), [16.0, 0.0, 81.0]);
}

#[test]
fn entropies_of_predictions() {
    let certain = 60.0;
    let got = PredictiveEntropy
        .priorities(&logits(&[[1.0, 1.0, 1.0], [certain, 0.0, 0.0], [0.0, 2f32.ln(), 0.0], [1e4, 1e4, -1e4]]))
        .unwrap();
    // Of ¼, ½, ¼: 1.5 bits.
    let expected = [3f32.ln(), 0.0, 1.5 * 2f32.ln(), 2f32.ln()];
    assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-6 && *g >= 0.0), "{got:?}");
}

/// A class that cannot be, −∞, has no part in the entropy.
#[test]
fn a_class_that_is_ruled_out_has_no_part() {
    let got = PredictiveEntropy.priorities(&logits(&[[0.0, f32::NEG_INFINITY, 0.0]])).unwrap();
    assert!((got[0] - 2f32.ln()).abs() < 1e-6, "{got:?}");
}

/// A learner that diverged is noticed: a memory refuses the priority, and draws go on by the former ones.
#[test]
fn what_is_not_a_number_stays_that() {
    for bad in [[f32::NAN, 0.0, 1.0], [f32::INFINITY, 0.0, 1.0], [f32::NEG_INFINITY; 3]] {
        let error = PredictiveEntropy.priorities(&logits(&[[0.0; 3], bad])).unwrap_err().to_string();
        assert!(error.contains("row 1"), "{bad:?}: {error}");
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let got = TdError::default().priorities(&vector(&[bad])).unwrap();
        assert!(!got[0].is_finite(), "{got:?}");
    }
    assert!(GradientNorm { beta: 0.5 }.priorities(&vector(&[f32::NAN])).unwrap()[0].is_nan());
}

#[test]
fn a_signal_of_another_shape_is_refused() {
    let (matrix, scalar) = (logits(&[[0.0; 3]]), Tensor::new(1f32, &Device::Cpu).unwrap());
    for signal in [&matrix, &scalar] {
        assert!(matches!(TdError::default().priorities(signal), Err(Error::Mismatch { .. })));
        assert!(matches!(GradientNorm { beta: 1.0 }.priorities(signal), Err(Error::Mismatch { .. })));
    }
    for signal in [&vector(&[1.0]), &scalar] {
        assert!(matches!(PredictiveEntropy.priorities(signal), Err(Error::Mismatch { .. })));
    }
    // Not as many as items.
    let schema = Schema::new([Field::new("x", DType::F32, [])]).unwrap();
    let mut memory =
        PrioritizedItems::new(schema, 3, Prioritized::default(), cl_core::rng(1, "memory")).unwrap();
    memory.add(&[("x", &vector(&[1.0, 2.0]))]).unwrap();
    let items = memory.draw(2, 0.0).unwrap().items;
    assert!(memory.update(&items, &TdError::default(), &vector(&[1.0])).is_err());
    let refuses = |_: &Tensor| Err(Error::invalid("signal", "none"));
    assert!(memory.update(&items, &refuses, &vector(&[1.0, 1.0])).is_err());
    let twice = |signal: &Tensor| Ok((signal * 2.0)?.to_vec1()?);
    assert_eq!(memory.update(&items, &twice, &vector(&[1.0, 2.0])).unwrap().set, 2);
}
