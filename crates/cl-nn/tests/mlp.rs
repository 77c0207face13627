//! The multi-layer perceptron: its gradients, its heads, and what is the same in candle-nn.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::Optimizer as _;
use cl_core::{TensorOps, Units};
use cl_nn::{Activation, Linear, Mlp, Optimizer, OptimizerConfig};
use common::{assert_close, bits, elements, normal};
use proptest::prelude::*;

fn net(widths: &[usize], dtype: DType, seed: u64) -> Mlp {
    Mlp::new(widths, dtype, &Device::Cpu, &mut cl_core::rng(seed, "weights")).unwrap()
}

fn values(net: &Mlp) -> Vec<u64> {
    bits(net.params().iter().map(|p| p.var.as_tensor()))
}

fn targets(y: &[u32]) -> Tensor {
    Tensor::new(y, &Device::Cpu).unwrap()
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let net = net(&[3, 5, 4, 6], DType::F64, 1);
    let (x, y) = (normal(&[7, 3], DType::F64, 2), targets(&[0, 3, 2, 1, 3, 0, 2]));
    let weights = Tensor::new(&[0.1, 0.2, 0.3, 0.0, 0.5, 0.7, 1.1], &Device::Cpu).unwrap();
    for (units, weights) in
        [(Units::All, None), (Units::First(4), None), (Units::Block(2), None), (Units::All, Some(&weights))]
    {
        let loss = || net.forward(&x).unwrap().cross_entropy(&y, units, weights).unwrap();
        let found = elements(&net.params().flat_gradient(&loss().backward().unwrap()).unwrap());
        let flat = elements(&net.params().flat().unwrap());
        assert_eq!(found.len(), flat.len());
        for (i, found) in found.into_iter().enumerate() {
            let at = |step: f64| {
                let mut moved = flat.clone();
                moved[i] += step;
                net.params().set_flat(&Tensor::new(moved, &Device::Cpu).unwrap()).unwrap();
                loss().to_scalar::<f64>().unwrap()
            };
            let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
            at(0.0);
            assert!((found - expected).abs() < 1e-8, "{units:?}, number {i}: {found} against {expected}");
        }
    }
}

/// The same network from candle's own parts, its weights copied.
struct Candle {
    layers: Vec<candle_nn::Linear>,
    vars: Vec<Var>,
}

impl Candle {
    fn of(net: &Mlp) -> Self {
        let vars: Vec<Var> = net
            .params()
            .iter()
            .map(|p| Var::from_tensor(&p.var.as_tensor().copy().unwrap()).unwrap())
            .collect();
        let layer = |pair: &[Var]| {
            candle_nn::Linear::new(pair[0].as_tensor().clone(), Some(pair[1].as_tensor().clone()))
        };
        Self { layers: vars.chunks(2).map(layer).collect(), vars }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let (last, hidden) = self.layers.split_last().unwrap();
        let x = hidden.iter().fold(x.clone(), |x, layer| layer.forward(&x).unwrap().relu().unwrap());
        last.forward(&x).unwrap()
    }
}

#[test]
fn is_the_network_that_candle_nn_would_build() {
    for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-5)] {
        for widths in [&[6, 3][..], &[6, 9, 3], &[6, 17, 33, 3]] {
            let (x, y) = (normal(&[11, 6], dtype, 4), targets(&[0, 1, 2, 2, 1, 0, 0, 1, 2, 1, 1]));
            let ours = net(widths, dtype, 3);
            let theirs = Candle::of(&ours);
            let (a, b) = (ours.forward(&x).unwrap(), theirs.forward(&x));
            assert_close(&a, &b, tolerance);

            let (a, b) = (
                a.cross_entropy(&y, Units::All, None).unwrap(),
                candle_nn::loss::cross_entropy(&b, &y).unwrap(),
            );
            assert_close(&a, &b, tolerance);
            let (a, b) = (a.backward().unwrap(), b.backward().unwrap());
            for (ours, theirs) in ours.params().gradients(&a).unwrap().iter().zip(&theirs.vars) {
                assert_close(ours, b.get(theirs).unwrap(), tolerance);
            }
        }
    }
}

/// Network, loss and optimizer together, over thirty steps of each optimizer that candle-nn has too.
#[test]
fn trains_as_candle_nn_does() {
    let (x, y) =
        (normal(&[16, 5], DType::F64, 6), targets(&[0, 1, 2, 3, 3, 2, 1, 0, 0, 0, 1, 1, 2, 2, 3, 3]));
    fn steps(x: &Tensor, y: &Tensor, config: OptimizerConfig, mut theirs: impl FnMut(&Candle, &Tensor)) {
        let net = net(&[5, 12, 4], DType::F64, 5);
        let candle = Candle::of(&net);
        let mut optimizer = Optimizer::new(config).unwrap();
        for _ in 0..30 {
            let loss = net.forward(x).unwrap().cross_entropy(y, Units::All, None).unwrap();
            optimizer.backward_step(net.params(), &loss).unwrap();
            theirs(&candle, &candle_nn::loss::cross_entropy(&candle.forward(x), y).unwrap());
        }
        for (ours, theirs) in net.params().iter().zip(&candle.vars) {
            assert_close(&ours.var, theirs, 1e-11);
        }
    }
    let mut sgd = None;
    steps(&x, &y, OptimizerConfig::sgd(0.3), |net, loss| {
        let sgd = sgd.get_or_insert_with(|| candle_nn::SGD::new(net.vars.clone(), 0.3).unwrap());
        sgd.backward_step(loss).unwrap();
    });
    let mut adamw = None;
    steps(&x, &y, OptimizerConfig::adamw(0.02, 0.1), |net, loss| {
        let params = candle_nn::ParamsAdamW { lr: 0.02, weight_decay: 0.1, ..Default::default() };
        let adamw = adamw.get_or_insert_with(|| candle_nn::AdamW::new(net.vars.clone(), params).unwrap());
        adamw.backward_step(loss).unwrap();
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A head without a sample in the batch learns nothing, not even by rounding; one with samples does.
    #[test]
    fn other_heads_have_a_gradient_of_exactly_zero(
        y in prop::collection::vec(0u32..12, 1..8), heads in prop::sample::select(vec![2usize, 3, 4]), seed: u64,
    ) {
        let net = net(&[4, 8, 12], DType::F32, seed);
        let x = normal(&[y.len(), 4], DType::F32, seed);
        let loss = net.forward(&x).unwrap().cross_entropy(&targets(&y), Units::Block(heads), None).unwrap();
        let gradients = net.params().gradients(&loss.backward().unwrap()).unwrap();
        let [.., weight, bias] = gradients.as_slice() else { panic!("no output layer") };
        let (weight, bias) = (weight.to_vec2::<f32>().unwrap(), bias.to_vec1::<f32>().unwrap());
        for unit in 0..12 {
            let seen = y.iter().any(|&y| y as usize / heads == unit / heads);
            prop_assert_eq!(bias[unit] != 0.0, seen, "unit {}", unit);
            if !seen {
                prop_assert!(weight[unit].iter().all(|&g| g == 0.0), "unit {}", unit);
            }
        }
    }
}

#[test]
fn a_copy_has_all_and_shares_nothing() {
    let mut original = net(&[3, 4, 5, 2], DType::F32, 7);
    original.params_mut().freeze("layers.0", true).unwrap();
    original.params_mut().freeze("layers.2.bias", true).unwrap();
    original.params_mut().set_group("layers.1", "middle").unwrap();
    let copy = original.copy().unwrap();
    for (a, b) in original.params().iter().zip(copy.params().iter()) {
        assert_eq!((&a.name, a.frozen, &a.group), (&b.name, b.frozen, &b.group));
        assert_ne!(a.var.id(), b.var.id());
    }
    let x = normal(&[5, 3], DType::F32, 8);
    let before = (values(&original), bits([&original.predict(&x).unwrap()]));
    assert_eq!(before, (values(&copy), bits([&copy.predict(&x).unwrap()])));

    // Steps are taken in place: a shared storage would show.
    let step = |net: &Mlp| {
        let loss = net.forward(&x).unwrap().sqr().unwrap().sum_all().unwrap();
        Optimizer::new(OptimizerConfig::sgd(0.1)).unwrap().backward_step(net.params(), &loss).unwrap();
    };
    step(&copy);
    assert_eq!(before.0, values(&original));
    assert_ne!(before.0, values(&copy));
    step(&original);
    assert_eq!(values(&original), values(&copy));
}

/// The parameter list and the layers are the same variables: what an optimizer changes, the network uses.
#[test]
fn parameters_are_those_of_the_layers() {
    let net = net(&[3, 4, 2], DType::F32, 0);
    let names: Vec<_> = net.params().names().collect();
    assert_eq!(names, ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]);
    let layers = net.layers().flat_map(|layer| [layer.weight.id(), layer.bias.id()]);
    assert!(layers.eq(net.params().iter().map(|p| p.var.id())));
    assert_eq!(net.outputs(), 2);
}

#[test]
fn predictions_are_the_forward_pass_without_its_graph() {
    let net = net(&[3, 4, 2], DType::F32, 9);
    let x = Var::from_tensor(&normal(&[6, 3], DType::F32, 1)).unwrap();
    let predicted = net.predict(&x).unwrap();
    assert!(!predicted.track_op());
    assert_eq!(bits([&predicted]), bits([&net.forward(&x).unwrap()]));
}

/// PyTorch's default: U(−1/√inputs, 1/√inputs), for the bias too.
#[test]
fn weights_come_from_the_seed_and_lie_in_their_range() {
    assert_eq!(values(&net(&[9, 30, 4], DType::F32, 1)), values(&net(&[9, 30, 4], DType::F32, 1)));
    assert_ne!(values(&net(&[9, 30, 4], DType::F32, 1)), values(&net(&[9, 30, 4], DType::F32, 2)));
    let layer =
        Linear::new(9, 400, Activation::Relu, DType::F64, &Device::Cpu, &mut cl_core::rng(0, "w")).unwrap();
    for var in [&layer.weight, &layer.bias] {
        let largest = elements(var).into_iter().fold(0f64, |max, w| max.max(w.abs()));
        assert!((0.32..=1.0 / 3.0).contains(&largest), "{largest}");
    }
}

#[test]
fn bad_shapes_are_errors() {
    for widths in [&[][..], &[3], &[3, 0, 2], &[0, 2]] {
        let error = Mlp::new(widths, DType::F32, &Device::Cpu, &mut cl_core::rng(0, "")).unwrap_err();
        assert!(error.to_string().contains(&format!("{widths:?}")), "{error}");
    }
    let net = net(&[3, 4, 2], DType::F32, 0);
    assert!(net.forward(&normal(&[5, 4], DType::F32, 0)).is_err());
    assert!(net.predict(&normal(&[5, 4], DType::F32, 0)).is_err());
    assert!(net.forward(&normal(&[5, 3], DType::F64, 0)).is_err());
    assert_eq!(net.forward(&normal(&[0, 3], DType::F32, 0)).unwrap().dims(), [0, 2]);
}
