//! Scores against their definitions: gradients by candle's own backward, one sample at a time.
#![allow(clippy::unwrap_used)]

use candle_core::{D, DType, Device, Tensor, Var};
use cl_core::TensorOps;
use cl_core::per_sample::backward;
use cl_nn::{Activation, Mlp};
use cl_replay::scores::{self, LayerGradients};
use proptest::prelude::*;
use rand::Rng;

fn random(dims: &[usize], scale: f64, seed: u64) -> Tensor {
    let mut rng = cl_core::rng(seed, "values");
    let values =
        (0..dims.iter().product()).map(|_| scale * rng.random_range(-1.0..1.0)).collect::<Vec<f64>>();
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

/// What the gradients of a two-layer network with cross-entropy are made of.
fn layers(net: &Mlp, x: &Tensor, y: &Tensor) -> Vec<LayerGradients> {
    let layers: Vec<_> = net.layers().collect();
    let weight = layers[1].weight.as_tensor();
    let hidden = candle_core::Module::forward(layers[0], x).unwrap().detach();
    let logits = hidden.linear(weight, Some(layers[1].bias.as_tensor()), Activation::Identity).unwrap();
    let (n, classes) = logits.dims2().unwrap();
    let one_hot = y.unsqueeze(1).unwrap().broadcast_as((n, classes)).unwrap();
    let one_hot = one_hot
        .eq(&Tensor::arange(0u32, classes as u32, &Device::Cpu).unwrap().broadcast_as((n, classes)).unwrap());
    let probabilities = candle_nn::ops::softmax(&logits, D::Minus1).unwrap().detach();
    let deltas = (probabilities - one_hot.unwrap().to_dtype(x.dtype()).unwrap()).unwrap();
    let below = backward(&deltas.unsqueeze(1).unwrap(), weight, &hidden).unwrap().squeeze(1).unwrap();
    vec![
        LayerGradients { inputs: x.clone(), deltas: below, bias: true },
        LayerGradients { inputs: hidden, deltas, bias: true },
    ]
}

/// The whole gradient of each sample, by a loop.
fn gradients(net: &Mlp, x: &Tensor, y: &Tensor) -> Tensor {
    let one = |i: usize| {
        let (x, y) = (x.narrow(0, i, 1).unwrap(), y.narrow(0, i, 1).unwrap());
        let logits = candle_core::Module::forward(net, &x).unwrap();
        let loss = candle_nn::loss::cross_entropy(&logits, &y).unwrap();
        let grads = loss.backward().unwrap();
        let flat = |var: &Var| grads.get(var).unwrap().flatten_all().unwrap();
        Tensor::cat(&net.params().iter().map(|param| flat(&param.var)).collect::<Vec<_>>(), 0).unwrap()
    };
    Tensor::stack(&(0..y.elem_count()).map(one).collect::<Vec<_>>(), 0).unwrap()
}

fn close(a: &Tensor, b: &Tensor, tolerance: f64) {
    assert_eq!(a.dims(), b.dims());
    let difference = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
    assert!(difference < tolerance, "{difference}: {a} {b}");
}

#[test]
fn gradient_scores_are_those_of_one_backward_a_sample() {
    let net = Mlp::new(&[5, 7, 3], DType::F64, &Device::Cpu, &mut cl_core::rng(0, "weights")).unwrap();
    let (x, y) = (random(&[6, 5], 2.0, 0), Tensor::new(&[0u32, 1, 2, 2, 1, 0], &Device::Cpu).unwrap());
    let (all, own) = (gradients(&net, &x, &y), layers(&net, &x, &y));
    let norms = all.sqr().unwrap().sum(1).unwrap().sqrt().unwrap();
    close(&scores::gradient_norm(&own).unwrap(), &norms, 1e-10);

    let (two, four) = (x.narrow(0, 0, 2).unwrap(), x.narrow(0, 2, 4).unwrap());
    let (a, b) =
        (layers(&net, &two, &y.narrow(0, 0, 2).unwrap()), layers(&net, &four, &y.narrow(0, 2, 4).unwrap()));
    let cosines = scores::gradient_cosine(&a, &b).unwrap();
    let whole = scores::cosine(&all.narrow(0, 0, 2).unwrap(), &all.narrow(0, 2, 4).unwrap()).unwrap();
    assert_eq!(cosines.dims(), [2, 4]);
    close(&cosines, &whole, 1e-10);
    // And that by its definition.
    let (all, cosines) = (all.to_vec2::<f64>().unwrap(), cosines.to_vec2::<f64>().unwrap());
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for i in 0..2 {
        for j in 0..4 {
            let (a, b) = (&all[i], &all[2 + j]);
            assert!((cosines[i][j] - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).abs() < 1e-10);
        }
    }
}

/// A sample that is learnt completely has no direction.
#[test]
fn a_zero_gradient_has_a_cosine_of_zero() {
    let a = Tensor::new(&[[0f32, 0.0], [3.0, 4.0]], &Device::Cpu).unwrap();
    assert_eq!(scores::cosine(&a, &a).unwrap().to_vec2::<f32>().unwrap(), [[0.0, 0.0], [0.0, 1.0]]);
    let layer = LayerGradients { inputs: a.ones_like().unwrap(), deltas: a, bias: false };
    let own = [layer.clone()];
    assert_eq!(
        scores::gradient_cosine(&own, &own).unwrap().to_vec2::<f32>().unwrap(),
        [[0.0, 0.0], [0.0, 1.0]]
    );
    assert!(scores::gradient_norm(&[]).is_err() && scores::gradient_cosine(&[], &[]).is_err());
    let other = [LayerGradients { bias: true, ..layer }];
    assert!(scores::gradient_cosine(&own, &other).unwrap_err().to_string().contains("bias"));
}

fn entropy(p: &[f64]) -> f64 {
    p.iter().map(|p| -p * p.ln()).sum()
}

fn softmax(z: &[f64]) -> Vec<f64> {
    let sum: f64 = z.iter().map(|z| z.exp()).sum();
    z.iter().map(|z| z.exp() / sum).collect()
}

proptest! {
    #[test]
    fn entropy_is_that_of_the_mean_of_the_passes(n in 1..5usize, classes in 1..6usize, passes in 1..5u64, seed in 0..9999u64) {
        let passes: Vec<Tensor> = (0..passes).map(|pass| random(&[n, classes], 5.0, 10 * seed + pass)).collect();
        let found = scores::mc_entropy(&passes).unwrap().to_vec1::<f64>().unwrap();
        let logits: Vec<Vec<Vec<f64>>> = passes.iter().map(|pass| pass.to_vec2().unwrap()).collect();
        for i in 0..n {
            let mut mean = vec![0.0; classes];
            for pass in &logits {
                mean.iter_mut().zip(softmax(&pass[i])).for_each(|(mean, p)| *mean += p / logits.len() as f64);
            }
            prop_assert!((found[i] - entropy(&mean)).abs() < 1e-12);
        }
        let single = scores::entropy(&passes[0]).unwrap();
        close(&single, &scores::mc_entropy(&passes[..1]).unwrap(), 1e-15);
        let probabilities = candle_nn::ops::softmax(&passes[0], D::Minus1).unwrap();
        close(&single, &scores::entropy_of_probabilities(&probabilities).unwrap(), 1e-12);
    }
}

/// Two passes that are each sure of another class: what dropout tells and a single pass does not.
#[test]
fn disagreement_counts_and_extremes_are_exact() {
    let sure = |class: usize| {
        let mut logits = [[-2000f32; 2]];
        logits[0][class] = 2000.0;
        Tensor::new(&logits, &Device::Cpu).unwrap()
    };
    let value = |t: Tensor| t.to_vec1::<f32>().unwrap()[0];
    assert_eq!(value(scores::entropy(&sure(0)).unwrap()), 0.0);
    assert_eq!(value(scores::mc_entropy(&[sure(0), sure(1)]).unwrap()), 2f32.ln());
    let masked = Tensor::new(&[[1f32, f32::NEG_INFINITY, 1.0]], &Device::Cpu).unwrap();
    assert_eq!(value(scores::entropy(&masked).unwrap()), 2f32.ln());
    let sure = Tensor::new(&[[0f32, 1.0]], &Device::Cpu).unwrap();
    assert_eq!(value(scores::entropy_of_probabilities(&sure).unwrap()), 0.0);
}

#[test]
fn bad_input_is_named() {
    let rows = |values: [f32; 2]| Tensor::new(&[[0.5, 0.5], values], &Device::Cpu).unwrap();
    for wrong in [[f32::NAN, 0.0], [f32::INFINITY, 0.0], [f32::NEG_INFINITY; 2]] {
        assert!(scores::entropy(&rows(wrong)).unwrap_err().to_string().contains("row 1"));
        assert!(scores::mc_entropy(&[rows([0.0; 2]), rows(wrong)]).is_err());
    }
    for wrong in [[f32::NAN, 0.0], [1.5, -0.5], [3.0, 4.0]] {
        assert!(scores::entropy_of_probabilities(&rows(wrong)).unwrap_err().to_string().contains("row 1"));
    }
    assert!(scores::mc_entropy(&[]).is_err());
    assert!(scores::mc_entropy(&[rows([0.0; 2]), rows([0.0; 2]).narrow(0, 0, 1).unwrap()]).is_err());
    assert!(scores::entropy(&Tensor::new(&[1f32], &Device::Cpu).unwrap()).is_err());
}

#[test]
fn novelty_is_the_distance_to_the_nearest() {
    let rows = |values: &[f32]| Tensor::from_slice(values, (values.len(), 1), &Device::Cpu).unwrap();
    let memory = rows(&[0.0, 10.0, 10.0]);
    let distances = |t: Tensor| t.to_vec1::<f32>().unwrap();
    assert_eq!(
        distances(scores::novelty(&rows(&[1.0, 10.0, -3.0, 6.0]), &memory).unwrap()),
        [1.0, 0.0, 3.0, 4.0]
    );
    // Of one's own, without oneself: two at the same place are at no distance.
    assert_eq!(distances(scores::spread(&memory).unwrap()), [10.0, 0.0, 0.0]);
    assert!(scores::novelty(&memory, &memory.narrow(0, 0, 0).unwrap()).is_err(), "nothing to be far from");
    assert!(scores::spread(&memory.narrow(0, 0, 1).unwrap()).is_err());
}
