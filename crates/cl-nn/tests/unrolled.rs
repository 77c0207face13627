//! A layer at many steps has the gradient of a layer used many times.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Module, Tensor};
use cl_nn::{Activation, Linear};

mod common;
use common::assert_close as close;

fn layer(activation: Activation) -> Linear {
    Linear::new(4, 4, activation, DType::F64, &Device::Cpu, &mut cl_core::rng(3, "weights")).unwrap()
}

fn input() -> Tensor {
    let values: Vec<f64> = (0..12).map(|i| f64::from(i) * 0.3 - 1.5).collect();
    Tensor::from_vec(values, (3, 4), &Device::Cpu).unwrap()
}

/// Each step's output is used in the next and in the loss.
fn loss(steps: usize, step: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let (mut x, mut sum) = (input(), Tensor::zeros((), DType::F64, &Device::Cpu).unwrap());
    for _ in 0..steps {
        x = (step(&x) + 0.1).unwrap();
        sum = (sum + x.sqr().unwrap().sum_all().unwrap()).unwrap();
    }
    sum
}

#[test]
fn has_the_gradient_of_the_layer() {
    for activation in [Activation::Identity, Activation::Relu] {
        for steps in [1, 2, 7] {
            let layer = layer(activation);
            let unrolled = layer.unrolled().unwrap();
            let plain = loss(steps, |x| layer.forward(x).unwrap());
            let found = loss(steps, |x| unrolled.forward(x).unwrap());
            close(&found, &plain, 1e-12);
            let expected = plain.backward().unwrap();
            // Twice: nothing is left of the first time.
            for _ in 0..2 {
                let grads = found.backward().unwrap();
                for var in [&layer.weight, &layer.bias] {
                    close(grads.get(var).unwrap(), expected.get(var).unwrap(), 1e-12);
                }
            }
        }
    }
}

/// Two sequences over one beginning, and one that does not count.
#[test]
fn sequences_add_up_and_what_is_not_in_the_loss_does_not_count() {
    let layer = layer(Activation::Relu);
    let unrolled = layer.unrolled().unwrap();
    let step = |x: &Tensor| unrolled.forward(x).unwrap();
    let _unused = loss(5, step);
    let both = (loss(2, step) + loss(3, step)).unwrap().backward().unwrap();
    let plain = |x: &Tensor| layer.forward(x).unwrap();
    let expected = (loss(2, plain) + loss(3, plain)).unwrap().backward().unwrap();
    close(both.get(&layer.weight).unwrap(), expected.get(&layer.weight).unwrap(), 1e-12);
}

#[test]
fn what_does_not_fit_is_refused() {
    let unrolled = layer(Activation::Relu).unrolled().unwrap();
    let error = unrolled.forward(&input().t().unwrap()).unwrap_err().to_string();
    assert!(error.contains("x F64 of (n, 4)"), "{error}");
}
