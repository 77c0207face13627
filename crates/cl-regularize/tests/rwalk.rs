//! Riemannian walk: by hand, and its penalty by finite differences.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::Module;
use cl_core::{TensorOps, Units};
use cl_nn::{Optimizer, OptimizerConfig};
use cl_regularize::{RWalk, RWalkConfig};
use common::{assert_close, bits, elements, go, gradient, net, normal, params, targets, value, vector};

fn importance(walk: &RWalk) -> Vec<f64> {
    walk.importance().flat_map(elements).collect()
}

/// To [0, 1].
fn scaled(values: &[f64]) -> Vec<f64> {
    let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(l, m), &v| (l.min(v), m.max(v)));
    values.iter().map(|v| (v - least) / (most - least)).collect()
}

/// Every number of the equations written out, with windows of two steps: 0 to 1, 2 to 3, and 4 that the end of the task
/// cuts off.
#[test]
fn three_parameters_by_hand() {
    for (kl, keep, growing) in [(0.5, 0.5, false), (1.0, 1.5, true)] {
        let config = RWalkConfig { lambda: 3.0, decay: 0.25, every: 2, growing, eps: 0.1, kl, keep };
        let theta = params(&[0.0; 3]);
        let mut walk = RWalk::new(config, &theta).unwrap();
        let mut at = [0f64; 3];
        let (mut fisher, mut scores) = (None::<[f64; 3]>, None::<[f64; 3]>);
        for task in 0..3 {
            let mut of_task = [0f64; 3];
            let (mut from, mut fall, mut squares) = (at, [0f64; 3], [0f64; 3]);
            for step in 0..5 {
                let g: [f64; 3] = std::array::from_fn(|i| ((7 * i + 3 * step + 5 * task) as f64).sin());
                let way: [f64; 3] = std::array::from_fn(|i| -0.3 * ((5 * i + 4 * step + task) as f64).sin());
                for i in 0..3 {
                    at[i] += way[i];
                    fall[i] -= g[i] * way[i];
                    squares[i] += g[i] * g[i];
                }
                go(&theta, &at);
                walk.after_step(&theta, &[vector(&g)]).unwrap();
                if step % 2 == 1 {
                    for i in 0..3 {
                        let far = fisher.map_or(0.0, |f| kl * f[i] * (at[i] - from[i]).powi(2));
                        of_task[i] += fall[i].max(0.0) / (far + 0.1);
                    }
                    fisher = Some(std::array::from_fn(|i| {
                        fisher.map_or(squares[i] / 2.0, |f| 0.25 * f[i] + 0.75 * squares[i] / 2.0)
                    }));
                    (from, fall) = (at, [0.0; 3]);
                    if !growing {
                        squares = [0.0; 3];
                    }
                }
            }
            walk.consolidate(&theta).unwrap();
            scores = Some(std::array::from_fn(|i| {
                scores.map_or(of_task[i], |before| keep * before[i] + 0.5 * of_task[i])
            }));
            let (f, s) = (scaled(&fisher.unwrap()), scaled(&scores.unwrap()));
            let expected: Vec<f64> = f.iter().zip(&s).map(|(f, s)| f + s).collect();
            assert_close(&importance(&walk), &expected, 1e-12);

            let off = [0.1, -0.2, 0.3];
            go(&theta, &std::array::from_fn::<f64, 3, _>(|i| at[i] + off[i]));
            let penalty = walk.penalty(&theta).unwrap();
            let by_hand: f64 = (0..3).map(|i| 3.0 * expected[i] * off[i] * off[i]).sum();
            assert_close(&[value(&penalty)], &[by_hand], 1e-12);
            go(&theta, &at);
        }
    }
}

/// The whole chain on a network; the parameters stay as they are, to the bit.
#[test]
fn the_penalty_begins_with_the_second_task() {
    let net = net(&[4, 6, 3]);
    let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.1)).unwrap();
    let mut walk = RWalk::new(RWalkConfig { every: 2, ..Default::default() }, net.params()).unwrap();
    let mut train = |walk: &mut RWalk, seed: u64| {
        let (x, y) = (normal(&[16, 4], seed), targets(16, 3));
        let loss = net.forward(&x).unwrap().cross_entropy(&y, Units::All, None).unwrap();
        let task = net.params().gradients(&loss.backward().unwrap()).unwrap();
        let loss = (loss + walk.penalty(net.params()).unwrap()).unwrap();
        let whole = net.params().gradients(&loss.backward().unwrap()).unwrap();
        optimizer.step(net.params(), &whole).unwrap();
        walk.after_step(net.params(), &task).unwrap();
    };
    (0..5).for_each(|_| train(&mut walk, 1));
    assert_eq!(value(&walk.penalty(net.params()).unwrap()), 0.0);
    let before = bits(net.params());
    walk.consolidate(net.params()).unwrap();
    assert_eq!(bits(net.params()), before);
    assert_eq!(value(&walk.penalty(net.params()).unwrap()), 0.0);
    train(&mut walk, 2);
    let penalty = walk.penalty(net.params()).unwrap();
    assert!(value(&penalty) > 1e-6, "{}", value(&penalty));

    // 2λ (F+s)(θ − θ*), by finite differences.
    let found = gradient(net.params(), &penalty);
    let theta = elements(&net.params().flat().unwrap());
    for i in 0..theta.len() {
        let at = |step: f64| {
            let mut moved = theta.clone();
            moved[i] += step;
            go(net.params(), &moved);
            value(&walk.penalty(net.params()).unwrap())
        };
        assert_close(&[found[i]], &[(at(1e-4) - at(-1e-4)) / 2e-4], 1e-8);
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_changes_nothing() {
    let theta = params(&[0.0, 1.0]);
    let mut walk = RWalk::new(RWalkConfig { every: 1, ..Default::default() }, &theta).unwrap();
    assert!(walk.consolidate(&theta).is_err(), "there is no Fisher information yet");
    assert!(walk.after_step(&theta, &[vector(&[5.0, 5.0, 5.0])]).is_err());
    assert!(walk.after_step(&theta, &[]).is_err());
    go(&theta, &[0.5, 1.0]);
    walk.after_step(&theta, &[vector(&[-1.0, 2.0])]).unwrap();
    walk.consolidate(&theta).unwrap();
    // F is (1, 4), the scores are (0.5/ε, 0).
    assert_close(&importance(&walk), &[1.0, 1.0], 1e-14);
}

/// Parameters that all matter the same are not divided by nothing.
#[test]
fn equal_importances_are_none() {
    let theta = params(&[0.0, 1.0]);
    let mut walk = RWalk::new(RWalkConfig { every: 1, ..Default::default() }, &theta).unwrap();
    walk.after_step(&theta, &[vector(&[2.0, -2.0])]).unwrap();
    walk.consolidate(&theta).unwrap();
    assert_eq!(importance(&walk), [0.0, 0.0]);
}

#[test]
fn coefficients_out_of_range_are_named() {
    let good = RWalkConfig::default();
    for (config, name) in [
        (RWalkConfig { lambda: -1.0, ..good }, "lambda"),
        (RWalkConfig { decay: 1.0, ..good }, "decay"),
        (RWalkConfig { decay: f64::NAN, ..good }, "decay"),
        (RWalkConfig { every: 0, ..good }, "every"),
        (RWalkConfig { eps: 0.0, ..good }, "eps"),
        (RWalkConfig { kl: -0.5, ..good }, "kl"),
        (RWalkConfig { keep: f64::INFINITY, ..good }, "keep"),
    ] {
        let error = RWalk::new(config, &params(&[0.0])).unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
}
