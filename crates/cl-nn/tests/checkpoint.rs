//! Recomputed activations give the gradients of kept ones, to the last bit.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Module, Tensor, Var};
use cl_core::{Activation, Params, Result};
use cl_nn::{Linear, checkpoint};
use proptest::prelude::*;

/// Layers of a width, and all their parameters.
fn stack(layers: usize, width: usize, dtype: DType) -> (Vec<Linear>, Params) {
    let rng = &mut cl_core::rng(3, "weights");
    let mut params = Params::new();
    let layers: Vec<Linear> = (0..layers)
        .map(|at| {
            let layer = Linear::new(width, width, Activation::Relu, dtype, &Device::Cpu, rng).unwrap();
            params.extend(&format!("layer {at}"), layer.params().unwrap()).unwrap();
            layer
        })
        .collect();
    (layers, params)
}

fn through(layers: &[Linear], x: &Tensor) -> Result<Tensor> {
    Ok(layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x))?)
}

fn input(n: usize, width: usize, dtype: DType) -> Tensor {
    let x = (0..n * width).map(|i| ((i * 7919) % 31) as f32 / 10.0 - 1.0);
    Tensor::from_iter(x, &Device::Cpu).unwrap().reshape((n, width)).unwrap().to_dtype(dtype).unwrap()
}

/// The same stack in segments.
fn in_segments(layers: &[Linear], segment: usize, x: &Tensor) -> Tensor {
    let mut y = x.clone();
    for layers in layers.chunks(segment) {
        let mut params = Params::new();
        for (at, layer) in layers.iter().enumerate() {
            params.extend(&format!("layer {at}"), layer.params().unwrap()).unwrap();
        }
        let layers = layers.to_vec();
        y = checkpoint(&params, &y, move |x| through(&layers, x)).unwrap();
    }
    y
}

fn bits(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn gradients_are_those_of_the_plain_stack(
        layers in 1usize..7,
        segment in 1usize..4,
        n in 1usize..5,
        double in any::<bool>(),
        strided in any::<bool>(),
    ) {
        let dtype = if double { DType::F64 } else { DType::F32 };
        let (layers, params) = stack(layers, 6, dtype);
        let x = match strided {
            true => input(6, n, dtype).t().unwrap(),
            false => input(n, 6, dtype),
        };
        let x = Var::from_tensor(&x).unwrap();
        let loss = |y: &Tensor| y.sqr().unwrap().mean_all().unwrap();
        let (plain, segments) = (through(&layers, &x).unwrap(), in_segments(&layers, segment, &x));
        prop_assert_eq!(bits(&plain), bits(&segments));
        let (plain, segments) = (loss(&plain).backward().unwrap(), loss(&segments).backward().unwrap());
        prop_assert_eq!(bits(plain.get(&x).unwrap()), bits(segments.get(&x).unwrap()));
        let all = |grads| params.gradients(grads).unwrap();
        for (plain, segments) in all(&plain).iter().zip(all(&segments)) {
            prop_assert_eq!(bits(plain), bits(&segments));
        }
    }
}

/// What `f` gives may be a part of something larger, anywhere in it.
#[test]
fn a_part_is_the_part_that_it_is() {
    let (layers, params) = stack(1, 4, DType::F32);
    let x = Var::from_tensor(&input(5, 4, DType::F32)).unwrap();
    let cut = |y: Tensor| y.narrow(0, 2, 2).unwrap();
    let layer = layers[0].clone();
    let y = checkpoint(&params, &x, move |x| Ok(cut(layer.forward(x)?))).unwrap();
    let plain = cut(layers[0].forward(&x).unwrap());
    assert_eq!(bits(&y), bits(&plain));
    let [y, plain] = [y, plain].map(|y| y.sqr().unwrap().sum_all().unwrap().backward().unwrap());
    assert_eq!(bits(y.get(&x).unwrap()), bits(plain.get(&x).unwrap()));
}

/// Twice each, and no more; one in another too.
#[test]
fn is_computed_again_once() {
    let (layers, params) = stack(2, 4, DType::F32);
    let calls = Arc::new(AtomicUsize::new(0));
    let x = input(3, 4, DType::F32);
    let counted = Arc::clone(&calls);
    let all = layers.clone();
    let y = checkpoint(&params, &x, move |x| {
        counted.fetch_add(1, Ordering::Relaxed);
        through(&all, x)
    });
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let gradients = y.unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    let expected = through(&layers, &x).unwrap().sum_all().unwrap().backward().unwrap();
    let nested = {
        let (inner_params, inner) = (layers[1].params().unwrap(), layers.clone());
        checkpoint(&params, &x, move |x| {
            let y = inner[0].forward(x)?;
            let last = inner[1].clone();
            checkpoint(&inner_params, &y, move |y| Ok(last.forward(y)?))
        })
    };
    let nested = nested.unwrap().sum_all().unwrap().backward().unwrap();
    for (param, expected) in params.iter().zip(params.gradients(&expected).unwrap()) {
        for found in [&gradients, &nested] {
            assert_eq!(bits(found.get(&param.var).unwrap()), bits(&expected), "{}", param.name);
        }
    }
}

/// What is frozen gets none, what is not used is named, and without any parameter the input still has its gradient.
#[test]
fn parameters_are_what_they_are() {
    let (layers, mut params) = stack(2, 4, DType::F32);
    let x = Var::from_tensor(&input(3, 4, DType::F32)).unwrap();
    let both = layers.clone();
    let only_first = layers[0].clone();
    let y = checkpoint(&params, &x, move |x| Ok(only_first.forward(x)?)).unwrap();
    let error = y.sum_all().unwrap().backward().unwrap_err().to_string();
    assert!(error.contains("layer 1.weight") && !error.contains("layer 0"), "{error}");

    params.freeze("layer 1", true).unwrap();
    let f = both.clone();
    let y = checkpoint(&params, &x, move |x| through(&f, x)).unwrap();
    let gradients = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(params.gradients(&gradients).unwrap().len(), 2);

    let y = checkpoint(&Params::new(), &x, |x| Ok(x.sqr()?)).unwrap();
    let gradient = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(bits(gradient.get(&x).unwrap()), bits(&(x.as_tensor() * 2.0).unwrap()));
}

#[test]
fn another_result_is_an_error() {
    let calls = AtomicUsize::new(0);
    let x = Var::from_tensor(&input(2, 3, DType::F32)).unwrap();
    let y = checkpoint(&Params::new(), &x, move |x| {
        Ok((x * (1.0 + calls.fetch_add(1, Ordering::Relaxed) as f64))?)
    });
    let error = y.unwrap().sum_all().unwrap().backward().unwrap_err().to_string();
    assert!(error.contains("random numbers"), "{error}");
    // NaN is the same as NaN.
    let y = checkpoint(&Params::new(), &x, |x| Ok((x * f64::NAN)?)).unwrap();
    assert!(y.sum_all().unwrap().backward().is_ok());
}
