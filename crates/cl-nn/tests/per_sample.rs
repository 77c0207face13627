//! Squared gradients of each sample, against a loop of backward passes.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Module, Tensor};
use cl_nn::{Mlp, PerSample};
use common::{assert_close, bits, normal};
use proptest::prelude::*;

fn net(widths: &[usize], frozen: &[&str]) -> Mlp {
    let mut net = Mlp::new(widths, DType::F64, &Device::Cpu, &mut cl_core::rng(1, "weights")).unwrap();
    frozen.iter().for_each(|name| net.params_mut().freeze(name, true).unwrap());
    net
}

/// Sums that are not zero, so that one sees whether they are added to.
fn sums(net: &Mlp) -> Vec<Tensor> {
    net.params().trainable().map(|p| p.var.as_tensor().ones_like().unwrap()).collect()
}

/// One backward pass for each sample and loss.
fn by_loop(net: &Mlp, x: &Tensor, deltas: &Tensor) -> Vec<Tensor> {
    let mut sums = sums(net);
    let (n, c, _) = deltas.dims3().unwrap();
    for (i, j) in (0..n).flat_map(|i| (0..c).map(move |j| (i, j))) {
        let logits = net.forward(&x.narrow(0, i, 1).unwrap()).unwrap().squeeze(0).unwrap();
        let delta = deltas.get(i).unwrap().get(j).unwrap();
        let grads = (logits * delta).unwrap().sum_all().unwrap().backward().unwrap();
        for (sum, gradient) in sums.iter_mut().zip(net.params().gradients(&grads).unwrap()) {
            *sum = (&*sum + gradient.sqr().unwrap()).unwrap();
        }
    }
    sums
}

#[track_caller]
fn check(net: &Mlp, n: usize, c: usize, seed: u64) {
    let widths = (net.layers().next().unwrap().weight.dims()[1], net.outputs());
    let (x, deltas) =
        (normal(&[n, widths.0], DType::F64, seed), normal(&[n, c, widths.1], DType::F64, !seed));
    let (found, mut calls) = (sums(net), 0);
    let mut losses = |logits: &Tensor| {
        calls += 1;
        assert_eq!(bits([logits]), bits([&net.logits(&x)?]));
        assert!(!logits.track_op());
        Ok(deltas.clone())
    };
    net.add_squared_gradients(&x, &mut losses, &found).unwrap();
    assert_eq!(calls, 1);
    for (found, expected) in found.iter().zip(&by_loop(net, &x, &deltas)) {
        assert_close(found, expected, 1e-12);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn are_those_of_a_loop(
        widths in prop::collection::vec(1usize..7, 2..5), n in 0usize..6, c in 1usize..5, seed: u64,
    ) {
        check(&net(&widths, &[]), n, c, seed);
    }
}

#[test]
fn of_frozen_layers_are_left_out() {
    for frozen in
        [&["layers.0"][..], &["layers.1"], &["layers.2"], &["layers.0.bias", "layers.1.weight"], &[""]]
    {
        let net = net(&[3, 5, 4, 2], frozen);
        check(&net, 6, 3, 5);
    }
}

#[test]
fn need_a_sum_for_each_parameter() {
    let net = net(&[3, 4, 2], &["layers.0"]);
    let x = normal(&[2, 3], DType::F64, 0);
    let deltas = normal(&[2, 1, 2], DType::F64, 0);
    let add = |sums: &[Tensor]| net.add_squared_gradients(&x, &mut |_| Ok(deltas.clone()), sums);
    let right = sums(&net);
    let error = add(&right[1..]).unwrap_err().to_string();
    assert!(error.contains("expected 2 sums, got 1"), "{error}");
    assert!(add(&[right[1].clone(), right[0].clone()]).is_err());
    add(&right).unwrap();

    // Output gradients of another batch, or without the dimension of losses.
    for wrong in [&[3, 1, 2][..], &[2, 2], &[2, 1, 3]] {
        let wrong = normal(wrong, DType::F64, 0);
        assert!(net.add_squared_gradients(&x, &mut |_| Ok(wrong.clone()), &right).is_err());
    }
}
