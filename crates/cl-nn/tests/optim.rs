//! Optimizers: the values of PyTorch, and a state that can be saved, restored, frozen and reset.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Module, Tensor, Var};
use cl_core::snapshot::{self, Kind};
use cl_core::{Error, Params, TensorOps, Units};
use cl_nn::{Accumulator, Mlp, Optimizer, OptimizerConfig, clip_norm};
use common::{assert_close, bits, elements, normal};
use proptest::prelude::*;
use serde::Deserialize;

type Values = BTreeMap<String, Vec<f64>>;

/// What `fixtures/optim.py` wrote.
#[derive(Deserialize)]
struct Fixture {
    torch: String,
    shapes: BTreeMap<String, Vec<usize>>,
    start: Values,
    gradients: Vec<Values>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    config: OptimizerConfig,
    /// The steps in which the bias is frozen.
    frozen: Vec<usize>,
    after: Vec<Values>,
}

#[test]
fn steps_are_those_of_pytorch() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/optim.json")).unwrap();
    assert_eq!((fixture.torch.as_str(), fixture.cases.len()), ("2.15.0", 16));
    let tensor = |values: &Values, name: &str| {
        Tensor::from_vec(values[name].clone(), fixture.shapes[name].as_slice(), &Device::Cpu).unwrap()
    };
    for case in &fixture.cases {
        let mut params = Params::new();
        for name in ["weight", "bias"] {
            params.push(name, Var::from_tensor(&tensor(&fixture.start, name)).unwrap()).unwrap();
        }
        let mut optimizer = Optimizer::new(case.config).unwrap();
        for (step, (gradients, after)) in fixture.gradients.iter().zip(&case.after).enumerate() {
            params.freeze("bias", case.frozen.contains(&step)).unwrap();
            let gradients: Vec<_> = params.trainable().map(|p| tensor(gradients, &p.name)).collect();
            optimizer.step(&params, &gradients).unwrap();
            for param in params.iter() {
                let (found, expected) = (elements(&param.var), &after[&param.name]);
                for (found, expected) in found.iter().zip(expected) {
                    let error = (found - expected).abs();
                    let (name, of) = (&case.name, &param.name);
                    assert!(
                        error < 1e-14 * expected.abs().max(1.0),
                        "{name}, {of} after step {step}: {found} against {expected}"
                    );
                }
            }
        }
    }
}

fn all() -> [OptimizerConfig; 5] {
    [
        OptimizerConfig::sgd(0.1),
        OptimizerConfig::Sgd { lr: 0.05, momentum: 0.9, weight_decay: 0.01 },
        OptimizerConfig::adam(0.01),
        OptimizerConfig::Adam { lr: 0.01, betas: (0.8, 0.9), eps: 1e-6, weight_decay: 0.1, decoupled: false },
        OptimizerConfig::adamw(0.01, 0.1),
    ]
}

/// A network, and a loss that is another one in each step.
fn net() -> Mlp {
    Mlp::new(&[4, 6, 3], DType::F32, &Device::Cpu, &mut cl_core::rng(3, "weights")).unwrap()
}

fn step(net: &Mlp, optimizer: &mut Optimizer, seed: u64) {
    let x = normal(&[5, 4], DType::F32, seed);
    let y = Tensor::new(&[0u32, 1, 2, 1, 0], &Device::Cpu).unwrap();
    let loss = net.forward(&x).unwrap().cross_entropy(&y, Units::All, None).unwrap();
    optimizer.backward_step(net.params(), &loss).unwrap();
}

fn values(net: &Mlp) -> Vec<u64> {
    bits(net.params().iter().map(|p| p.var.as_tensor()))
}

#[test]
fn a_restored_state_goes_on_bit_for_bit() {
    const KIND: Kind = Kind::new("test/optimizer", 1);
    for config in all() {
        let (net, mut optimizer) = (net(), Optimizer::new(config).unwrap());
        (0..5).for_each(|seed| step(&net, &mut optimizer, seed));
        let saved = snapshot::to_bytes(KIND, &optimizer).unwrap();
        let (second, forgetful) = (net.copy().unwrap(), net.copy().unwrap());
        (5..10).for_each(|seed| step(&net, &mut optimizer, seed));

        let mut restored: Optimizer = snapshot::from_bytes(&saved, KIND).unwrap();
        assert_eq!(restored.config(), config);
        (5..10).for_each(|seed| step(&second, &mut restored, seed));
        assert_eq!(values(&net), values(&second), "{config:?}");
        assert_eq!(
            snapshot::to_bytes(KIND, &optimizer).unwrap(),
            snapshot::to_bytes(KIND, &restored).unwrap()
        );

        // The state matters, except where there is none.
        let mut fresh = Optimizer::new(config).unwrap();
        (5..10).for_each(|seed| step(&forgetful, &mut fresh, seed));
        assert_eq!(values(&net) == values(&forgetful), config == OptimizerConfig::sgd(0.1), "{config:?}");
    }
}

#[test]
fn a_copy_shares_nothing() {
    for config in all() {
        let (net, mut optimizer) = (net(), Optimizer::new(config).unwrap());
        (0..3).for_each(|seed| step(&net, &mut optimizer, seed));
        let (other, mut copy) = (net.copy().unwrap(), optimizer.copy().unwrap());
        (3..6).for_each(|seed| step(&net, &mut optimizer, seed));
        (3..6).for_each(|seed| step(&other, &mut copy, seed));
        assert_eq!(values(&net), values(&other), "{config:?}");
    }
}

#[test]
fn a_frozen_parameter_stands_still_and_so_does_its_count() {
    let (mut net, mut optimizer) = (net(), Optimizer::new(OptimizerConfig::adam(0.1)).unwrap());
    let of = |net: &Mlp, name: &str| bits([net.params().get(name).unwrap().var.as_tensor()]);
    step(&net, &mut optimizer, 0);
    net.params_mut().freeze("layers.0.weight", true).unwrap();
    let before = of(&net, "layers.0.weight");
    (1..4).for_each(|seed| step(&net, &mut optimizer, seed));
    assert_eq!(of(&net, "layers.0.weight"), before);
    assert_eq!(optimizer.steps("layers.0.weight"), 1);
    assert_eq!(optimizer.steps("layers.0.bias"), 4);
    net.params_mut().freeze("layers.0.weight", false).unwrap();
    step(&net, &mut optimizer, 4);
    assert_ne!(of(&net, "layers.0.weight"), before);
    assert_eq!((optimizer.steps("layers.0.weight"), optimizer.steps("layers.0.bias")), (2, 5));
    assert_eq!(optimizer.steps("no such parameter"), 0);
}

#[test]
fn a_reset_optimizer_is_a_new_one() {
    for config in all() {
        let (net, mut optimizer) = (net(), Optimizer::new(config).unwrap());
        (0..3).for_each(|seed| step(&net, &mut optimizer, seed));
        let other = net.copy().unwrap();
        optimizer.reset();
        assert_eq!(optimizer.steps("layers.0.weight"), 0);
        let mut fresh = Optimizer::new(config).unwrap();
        (3..6).for_each(|seed| step(&net, &mut optimizer, seed));
        (3..6).for_each(|seed| step(&other, &mut fresh, seed));
        assert_eq!(values(&net), values(&other), "{config:?}");
    }
}

#[test]
fn the_learning_rate_can_change() {
    let w = Var::new(&[1f64], &Device::Cpu).unwrap();
    let mut params = Params::new();
    params.push("w", w.clone()).unwrap();
    let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.5)).unwrap();
    optimizer.set_lr(0.25).unwrap();
    assert!(optimizer.set_lr(-1.0).unwrap_err().to_string().contains("learning rate: -1"));
    assert!(optimizer.set_lr(f64::NAN).is_err());
    assert_eq!(optimizer.config().lr(), 0.25);
    optimizer.step(&params, &[Tensor::new(&[2f64], &Device::Cpu).unwrap()]).unwrap();
    assert_eq!(elements(&w), [0.5]);
}

#[test]
fn coefficients_out_of_range_are_named() {
    let adam = |betas, eps, weight_decay| OptimizerConfig::Adam {
        lr: 0.1,
        betas,
        eps,
        weight_decay,
        decoupled: false,
    };
    for (config, name) in [
        (OptimizerConfig::sgd(-0.1), "learning rate"),
        (OptimizerConfig::adam(f64::INFINITY), "learning rate"),
        (OptimizerConfig::Sgd { lr: 0.1, momentum: 1.0, weight_decay: 0.0 }, "momentum"),
        (OptimizerConfig::Sgd { lr: 0.1, momentum: 0.0, weight_decay: -1.0 }, "weight decay"),
        (adam((1.0, 0.9), 1e-8, 0.0), "beta 1"),
        (adam((0.9, f64::NAN), 1e-8, 0.0), "beta 2"),
        (adam((0.9, 0.9), 0.0, 0.0), "epsilon"),
        (adam((0.9, 0.9), 1e-8, f64::NAN), "weight decay"),
    ] {
        let error = Optimizer::new(config).unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
}

#[test]
fn what_fails_changes_nothing() {
    for config in all() {
        let (net, mut optimizer) = (net(), Optimizer::new(config).unwrap());
        step(&net, &mut optimizer, 0);
        let before = (values(&net), optimizer.steps("layers.0.weight"));
        let first = &net.params().get("layers.0.weight").unwrap().var;

        // A loss that reaches the first layer only.
        let error =
            optimizer.backward_step(net.params(), &first.sqr().unwrap().sum_all().unwrap()).unwrap_err();
        let Error::NoGradient { parameters } = error else { panic!("{error}") };
        assert_eq!(parameters, ["layers.0.bias", "layers.1.weight", "layers.1.bias"]);

        let mut gradients = net.params().values().unwrap();
        assert!(optimizer.step(net.params(), &gradients[1..]).is_err());
        gradients[3] = Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap();
        let error = optimizer.step(net.params(), &gradients).unwrap_err().to_string();
        assert!(error.contains("layers.1.bias, F32 [3], got F32 [4]"), "{error}");
        gradients[3] = Tensor::zeros(3, DType::F64, &Device::Cpu).unwrap();
        assert!(optimizer.step(net.params(), &gradients).is_err());

        // The state of a network whose last layer is another.
        if config != OptimizerConfig::sgd(0.1) {
            let other =
                Mlp::new(&[4, 6, 2], DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights")).unwrap();
            let was = values(&other);
            let error = optimizer.step(other.params(), &other.params().values().unwrap()).unwrap_err();
            assert!(error.to_string().contains("state: expected that of layers.1.weight"), "{error}");
            assert_eq!(values(&other), was);
        }
        assert_eq!((values(&net), optimizer.steps("layers.0.weight")), before, "{config:?}");
    }
}

fn norm(gradients: &[Tensor]) -> f64 {
    gradients.iter().flat_map(elements).map(|g| g * g).sum::<f64>().sqrt()
}

proptest! {
    #[test]
    fn a_clipped_gradient_is_short_and_points_the_same_way(
        seed: u64, size in 1e-3..1e3f64, limit in 1e-3..1e3f64,
    ) {
        let before =
            [(normal(&[3, 4], DType::F64, seed) * size).unwrap(), normal(&[5], DType::F64, seed ^ 1)];
        let mut after = before.clone();
        let found = clip_norm(&mut after, limit).unwrap();
        let expected = norm(&before);
        prop_assert!((found - expected).abs() < 1e-12 * expected);
        prop_assert!((norm(&after) - expected.min(limit)).abs() < 1e-12 * expected);
        if expected <= limit {
            prop_assert_eq!(bits(&before), bits(&after));
        }
        for (before, after) in before.iter().zip(&after) {
            assert_close(after, &(before * (limit / expected).min(1.0)).unwrap(), 1e-12);
        }
    }
}

#[test]
fn a_gradient_without_a_norm_is_an_error() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut gradients = [Tensor::new(&[1f32, bad], &Device::Cpu).unwrap()];
        let error = clip_norm(&mut gradients, 1.0).unwrap_err().to_string();
        assert!(error.contains("lower the learning rate"), "{error}");
    }
    let mut gradients = [Tensor::new(&[3f32, 4.], &Device::Cpu).unwrap()];
    for limit in [-1.0, f64::NAN] {
        assert!(clip_norm(&mut gradients, limit).is_err());
    }
    assert_eq!(clip_norm(&mut gradients, 0.0).unwrap(), 5.0);
    assert_eq!(elements(&gradients[0]), [0.0, 0.0]);
    // Large but finite f32, whose squares are not: the norm is taken in f64.
    let mut gradients = [Tensor::new(&[3e30f32, 4e30], &Device::Cpu).unwrap()];
    clip_norm(&mut gradients, 5.0).unwrap();
    assert_close(&gradients[0], &Tensor::new(&[3f32, 4.], &Device::Cpu).unwrap(), 1e-6);
}

#[test]
fn minibatches_add_up_to_the_batch() {
    let net = Mlp::new(&[4, 6, 3], DType::F64, &Device::Cpu, &mut cl_core::rng(3, "weights")).unwrap();
    let x = normal(&[12, 4], DType::F64, 1);
    let y = Tensor::new(&[0u32, 1, 2, 1, 0, 2, 2, 0, 1, 1, 0, 2], &Device::Cpu).unwrap();
    let gradients = |start: usize, n: usize| {
        let (x, y) = (x.narrow(0, start, n).unwrap(), y.narrow(0, start, n).unwrap());
        let loss = net.forward(&x).unwrap().cross_entropy(&y, Units::All, None).unwrap();
        net.params().gradients(&loss.backward().unwrap()).unwrap()
    };
    let mut accumulator = Accumulator::default();
    assert!(accumulator.take().is_err());
    for size in [12, 4, 3, 1] {
        (0..12).step_by(size).for_each(|start| accumulator.add(&gradients(start, size)).unwrap());
        for (found, expected) in accumulator.take().unwrap().iter().zip(&gradients(0, 12)) {
            assert_close(found, expected, 1e-14);
        }
    }
    assert!(accumulator.take().is_err(), "nothing is left from the last time");

    accumulator.add(&gradients(0, 4)).unwrap();
    assert!(accumulator.add(&gradients(4, 4)[1..]).is_err());
    let expected = gradients(0, 4);
    assert_eq!(bits(&accumulator.take().unwrap()), bits(&expected), "a refused minibatch is not counted");
}
