//! Synaptic Intelligence: by hand, and the path integral as what it should be.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::Module;
use cl_core::{TensorOps, Units};
use cl_nn::{Optimizer, OptimizerConfig};
use cl_regularize::{Si, SiConfig};
use common::{assert_close, bits, elements, go, gradient, net, normal, params, targets, value, vector};

fn importance(si: &Si) -> Vec<f64> {
    si.importance().flat_map(elements).collect()
}

#[test]
fn two_parameters_by_hand() {
    let theta = params(&[1.0, 2.0]);
    let mut si = Si::new(SiConfig { c: 0.5, xi: 0.1, positive: false }, &theta).unwrap();
    let step = |si: &mut Si, gradient: [f64; 2], to: [f64; 2]| {
        go(&theta, &to);
        si.after_step(&theta, &[vector(&gradient)]).unwrap();
    };
    step(&mut si, [2.0, -1.0], [0.8, 2.1]); // ω = (0.4, 0.1)
    step(&mut si, [1.0, 3.0], [0.9, 1.8]); // ω = (0.3, 1.0), Δ = (−0.1, −0.2)
    assert_eq!(value(&si.penalty(&theta).unwrap()), 0.0);
    assert!(importance(&si).is_empty());
    si.consolidate(&theta).unwrap();
    assert_close(&importance(&si), &[0.3 / 0.11, 1.0 / 0.14], 1e-14);

    step(&mut si, [-1.0, 0.0], [1.4, 1.8]); // ω = (0.5, 0), Δ = (0.5, 0); the anchor is (0.9, 1.8)
    let penalty = si.penalty(&theta).unwrap();
    assert_close(&[value(&penalty)], &[0.5 * 0.3 / 0.11 * 0.25], 1e-14);
    let expected = [2.0 * 0.5 * 0.3 / 0.11 * 0.5, 0.0];
    assert_close(&gradient(&theta, &penalty), &expected, 1e-14);
    let added = vector(&[0.0, 0.0]);
    si.add_gradient(&theta, std::slice::from_ref(&added)).unwrap();
    assert_close(&elements(&added), &expected, 1e-14);
    si.consolidate(&theta).unwrap();
    let omega = [0.3 / 0.11 + 0.5 / 0.35, 1.0 / 0.14];
    assert_close(&importance(&si), &omega, 1e-14);

    go(&theta, &[1.5, 2.8]); // Δθ = (0.1, 1) from the new anchor
    let penalty = si.penalty(&theta).unwrap();
    assert_close(&[value(&penalty)], &[0.5 * (omega[0] * 0.01 + omega[1])], 1e-14);
    assert_close(&gradient(&theta, &penalty), &[omega[0] * 0.1, omega[1]], 1e-14);
}

/// A way uphill counts against a parameter, or for nothing; it takes nothing off what an earlier task gave then.
#[test]
fn what_raised_the_loss_counts_for_nothing_if_asked() {
    for positive in [false, true] {
        let theta = params(&[0.0, 0.0]);
        let mut si = Si::new(SiConfig { c: 1.0, xi: 0.1, positive }, &theta).unwrap();
        for (gradient, to) in [([-1.0, -1.0], [0.3, 0.3]), ([2.0, -1.0], [0.4, 0.4])] {
            go(&theta, &to);
            si.after_step(&theta, &[vector(&gradient)]).unwrap(); // ω = (0.3, 0.3), then (−0.2, 0.1)
            si.consolidate(&theta).unwrap();
        }
        let second = if positive { 0.0 } else { -0.2 / 0.11 };
        assert_close(&importance(&si), &[0.3 / 0.19 + second, 0.3 / 0.19 + 0.1 / 0.11], 1e-12);
    }
}

/// With small steps down a separable bowl, ω of a parameter is what it took off the loss: nothing where it
/// stands at the bottom already, nothing where the loss does not depend on it.
#[test]
fn the_path_integral_is_the_fall_of_the_loss() {
    let (slope, bottom) = ([3.0, 0.5, 1.0, 0.0], [1.0, -2.0, 0.3, 5.0]);
    let start = [0.0, 1.0, 0.3, 1.0];
    let theta = params(&start);
    let xi = 0.1;
    let mut si = Si::new(SiConfig { c: 1.0, xi, positive: false }, &theta).unwrap();
    for _ in 0..2000 {
        let at = elements(&theta.flat().unwrap());
        let gradient: Vec<f64> = (0..4).map(|i| slope[i] * (at[i] - bottom[i])).collect();
        go(&theta, &(0..4).map(|i| at[i] - 1e-3 * gradient[i]).collect::<Vec<_>>());
        si.after_step(&theta, &[vector(&gradient)]).unwrap();
    }
    si.consolidate(&theta).unwrap();
    let end = elements(&theta.flat().unwrap());
    let loss = |i: usize, at: f64| 0.5 * slope[i] * (at - bottom[i]).powi(2);
    for (i, importance) in importance(&si).into_iter().enumerate() {
        let path = importance * ((end[i] - start[i]).powi(2) + xi);
        let fall = loss(i, start[i]) - loss(i, end[i]);
        assert!((path - fall).abs() <= 2e-3 * fall, "{i}: {path} against {fall}");
    }
}

/// The whole chain on a network; the parameters stay as they are, to the bit.
#[test]
fn the_penalty_begins_with_the_second_task() {
    let net = net(&[4, 6, 3]);
    let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.1)).unwrap();
    let mut si = Si::new(SiConfig { c: 10.0, xi: 0.1, positive: false }, net.params()).unwrap();
    let mut train = |si: &mut Si, seed: u64| {
        let (x, y) = (normal(&[16, 4], seed), targets(16, 3));
        let loss = net.forward(&x).unwrap().cross_entropy(&y, Units::All, None).unwrap();
        let loss = (loss + si.penalty(net.params()).unwrap()).unwrap();
        let gradients = net.params().gradients(&loss.backward().unwrap()).unwrap();
        optimizer.step(net.params(), &gradients).unwrap();
        si.after_step(net.params(), &gradients).unwrap();
    };
    (0..5).for_each(|_| train(&mut si, 1));
    assert_eq!(value(&si.penalty(net.params()).unwrap()), 0.0);
    let before = bits(net.params());
    si.consolidate(net.params()).unwrap();
    assert_eq!(bits(net.params()), before);
    let penalty = si.penalty(net.params()).unwrap();
    assert_eq!(value(&penalty), 0.0);
    assert!(gradient(net.params(), &penalty).iter().all(|g| *g == 0.0));
    train(&mut si, 2);
    let penalty = si.penalty(net.params()).unwrap();
    assert!(value(&penalty) > 1e-6, "{}", value(&penalty));
    let found = gradient(net.params(), &penalty);
    assert!(found.iter().any(|g| g.abs() > 1e-4));

    // 2c Ω(θ − θ*), by finite differences.
    let theta = elements(&net.params().flat().unwrap());
    for i in 0..theta.len() {
        let at = |step: f64| {
            let mut moved = theta.clone();
            moved[i] += step;
            go(net.params(), &moved);
            value(&si.penalty(net.params()).unwrap())
        };
        assert_close(&[found[i]], &[(at(1e-4) - at(-1e-4)) / 2e-4], 1e-8);
    }
}

#[test]
fn frozen_parameters_have_no_path() {
    let mut net = net(&[2, 3, 2]);
    net.params_mut().freeze("layers.0", true).unwrap();
    let mut si = Si::new(SiConfig::default(), net.params()).unwrap();
    let gradients = net.params().values().unwrap();
    si.after_step(net.params(), &gradients).unwrap();
    si.consolidate(net.params()).unwrap();
    assert_eq!(si.importance().count(), 2);
    let frozen = &net.params().get("layers.0.weight").unwrap().var;
    frozen.set(&(frozen.as_tensor() + 1.0).unwrap()).unwrap();
    let penalty = si.penalty(net.params()).unwrap();
    assert_eq!(value(&penalty), 0.0);
    assert!(penalty.backward().unwrap().get(frozen).is_none());
    net.params_mut().freeze("", false).unwrap();
    assert!(si.penalty(net.params()).is_err());
}

#[test]
fn what_does_not_fit_is_an_error_and_changes_nothing() {
    let mut net = net(&[2, 3, 2]);
    let mut si = Si::new(SiConfig::default(), net.params()).unwrap();
    let start = elements(&net.params().flat().unwrap());
    let ones: Vec<_> = net.params().values().unwrap().iter().map(|v| v.ones_like().unwrap()).collect();
    go(net.params(), &start.iter().map(|t| t - 0.5).collect::<Vec<_>>());
    let mut wrong = ones.clone();
    wrong[3] = vector(&[1.0, 2.0, 3.0]);
    assert!(si.after_step(net.params(), &wrong).unwrap_err().to_string().contains("layers.1.bias"));
    assert!(si.after_step(net.params(), &ones[1..]).is_err());
    net.params_mut().freeze("layers.0", true).unwrap();
    assert!(si.after_step(net.params(), &ones[2..]).is_err(), "the path has four parameters");
    assert!(si.consolidate(net.params()).is_err());
    net.params_mut().freeze("", false).unwrap();
    si.after_step(net.params(), &ones).unwrap();
    si.consolidate(net.params()).unwrap();
    // Had a refused step been counted for the first parameters, their ω would not be 0.5.
    assert_close(&importance(&si), &vec![0.5 / 0.35; start.len()], 1e-14);
}

#[test]
fn coefficients_out_of_range_are_named() {
    for (c, xi, name) in [(-1.0, 0.1, "c: "), (f64::NAN, 0.1, "c: "), (0.1, 0.0, "xi: "), (0.1, -1.0, "xi: ")]
    {
        let error = Si::new(SiConfig { c, xi, positive: false }, &params(&[0.0])).unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
}
