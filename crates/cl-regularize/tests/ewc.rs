//! Elastic weight consolidation in its three forms, and L2: values by hand, and what went wrong elsewhere.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Module, Tensor};
use cl_core::{Params, TensorOps, Units};
use cl_nn::{Mlp, Optimizer, OptimizerConfig};
use cl_regularize::{AdaptiveEwc, AdaptiveEwcConfig, Carry, Ewc, EwcConfig, Fisher, L2};
use common::{assert_close, bits, elements, go, gradient, net, normal, params, targets, value, vector};

fn ewc(lambda: f64, carry: Carry) -> Ewc {
    Ewc::new(EwcConfig { lambda, carry }).unwrap()
}

/// Value and gradient of a penalty.
fn both(params: &Params, penalty: &Tensor) -> (f64, Vec<f64>) {
    (value(penalty), gradient(params, penalty))
}

/// λ/2, not λ: in the same place Avalanche's and Mammoth's penalty would be 90 and their gradient 60, so
/// that their λ is half of ours. L2 has no ½.
#[test]
fn lambda_is_that_of_the_paper() {
    let theta = params(&[1.0]);
    let (mut ewc, mut l2) = (ewc(5.0, Carry::PerTask), L2::new(5.0).unwrap());
    ewc.consolidate(&theta, vec![vector(&[2.0])]).unwrap();
    l2.consolidate(&theta).unwrap();
    go(&theta, &[4.0]);
    assert_eq!(both(&theta, &ewc.penalty(&theta).unwrap()), (45.0, vec![30.0])); // 5/2 · 2 · 3², 5 · 2 · 3
    assert_eq!(both(&theta, &l2.penalty(&theta).unwrap()), (45.0, vec![30.0])); // 5 · 3², 2 · 5 · 3
    go(&theta, &[1.0]);
    assert_eq!(both(&theta, &ewc.penalty(&theta).unwrap()), (0.0, vec![0.0]));
}

#[test]
fn penalties_per_task_add_up() {
    let theta = params(&[1.0, 2.0]);
    let mut ewc = ewc(10.0, Carry::PerTask);
    ewc.consolidate(&theta, vec![vector(&[2.0, 0.5])]).unwrap();
    go(&theta, &[0.0, 4.0]);
    ewc.consolidate(&theta, vec![vector(&[1.0, 3.0])]).unwrap();
    assert_eq!(ewc.anchors(), 2);
    go(&theta, &[3.0, 1.0]);
    // 5 · (2·2² + 0.5·1² + 1·3² + 3·3²); 10 · (2·2 + 1·3), 10 · (−0.5·1 − 3·3)
    let (found, slope) = both(&theta, &ewc.penalty(&theta).unwrap());
    assert_close(&[found], &[222.5], 1e-14);
    assert_close(&slope, &[70.0, -95.0], 1e-14);
}

/// What is added to gradients in place is what a backward pass through the penalty gives.
#[test]
fn the_gradient_can_be_had_without_a_graph() {
    let net = net(&[4, 6, 3]);
    let params = net.params();
    let like = |seed| -> Vec<Tensor> {
        (seed..).zip(params.trainable()).map(|(i, p)| normal(p.var.dims(), i)).collect()
    };
    let squared =
        |tensors: Vec<Tensor>| -> Vec<Tensor> { tensors.iter().map(|t| t.sqr().unwrap()).collect() };
    let mut ewc = ewc(3.0, Carry::PerTask);
    for task in 0..3 {
        let gradients = like(50);
        let before: Vec<f64> = gradients.iter().flat_map(elements).collect();
        ewc.add_gradient(params, &gradients).unwrap();
        let added: Vec<f64> =
            gradients.iter().flat_map(elements).zip(&before).map(|(after, before)| after - before).collect();
        if task == 0 {
            assert_eq!(added, vec![0.0; added.len()]); // nothing to hold yet
        } else {
            assert_close(&added, &gradient(params, &ewc.penalty(params).unwrap()), 1e-12);
        }
        ewc.consolidate(params, squared(like(100 * task))).unwrap();
        params.set_values(&like(7 + task)).unwrap();
    }
    assert!(ewc.add_gradient(params, &like(1)[1..]).is_err());
}

#[test]
fn online_keeps_the_last_anchor_and_decays_the_fisher() {
    for (decay, second, third) in [(0.5, 236.25, 100.0), (1.0, 5.0 * (3.0 * 9.0 + 3.5 * 9.0), 140.0)] {
        let theta = params(&[1.0, 2.0]);
        let mut ewc = ewc(10.0, Carry::Online { decay });
        ewc.consolidate(&theta, vec![vector(&[2.0, 0.5])]).unwrap();
        go(&theta, &[0.0, 4.0]);
        ewc.consolidate(&theta, vec![vector(&[1.0, 3.0])]).unwrap();
        go(&theta, &[3.0, 1.0]);
        // γ = ½: F = (2, 3.25), θ* = (0, 4): 5 · (2·3² + 3.25·3²)
        assert_close(&[value(&ewc.penalty(&theta).unwrap())], &[second], 1e-14);
        go(&theta, &[1.0, 1.0]);
        ewc.consolidate(&theta, vec![vector(&[4.0, 4.0])]).unwrap();
        assert_eq!(ewc.anchors(), 1);
        go(&theta, &[3.0, 1.0]);
        // γ = ½: F = (5, ..), θ* = (1, 1): 5 · 5·2²; γ = 1: F = (7, ..)
        assert_close(&[value(&ewc.penalty(&theta).unwrap())], &[third], 1e-14);
    }
}

/// F after every second step, from the mean of the two; the third step waits for the fourth.
#[test]
fn adaptive_fisher_is_updated_every_so_many_steps() {
    let theta = params(&[1.0, 2.0, 3.0]);
    let config = AdaptiveEwcConfig { lambda: 2.0, decay: 0.25, every: 2, normalise: true, threshold: 0.0 };
    let mut ewc = AdaptiveEwc::new(config).unwrap();
    let gradients = [[1.0, 0.0, 2.0], [3.0, 0.0, 2.0], [1.0, 2.0, 0.0], [1.0, 2.0, 0.0], [9.0, 9.0, 9.0]];
    for (step, gradient) in gradients.iter().enumerate() {
        assert_eq!(ewc.consolidate(&theta).is_err(), step < 2, "no window is full yet");
        ewc.observe(&theta, &[vector(gradient)]).unwrap();
    }
    // Means 5, 0, 4 and 1, 4, 0.
    let fisher: Vec<f64> = ewc.fisher().unwrap().iter().flat_map(elements).collect();
    assert_close(&fisher, &[2.0, 3.0, 1.0], 1e-14);
    ewc.consolidate(&theta).unwrap();
    go(&theta, &[1.5, 2.1, 4.0]); // scaled: ½, 1, 0
    let penalty = ewc.penalty(&theta).unwrap();
    assert_close(&[value(&penalty)], &[0.5 * 0.25 + 0.01], 1e-14);
    assert_close(&gradient(&theta, &penalty), &[0.5, 0.2, 0.0], 1e-14);
    assert!(AdaptiveEwc::new(AdaptiveEwcConfig { every: 0, ..config }).is_err());
}

#[test]
fn adaptive_fisher_is_a_running_mean_that_is_cut_off() {
    let theta = params(&[1.0, 2.0]);
    let config = AdaptiveEwcConfig { lambda: 3.0, decay: 0.9, threshold: 0.05, ..Default::default() };
    let mut ewc = AdaptiveEwc::new(config).unwrap();
    assert_eq!(value(&ewc.penalty(&theta).unwrap()), 0.0);
    assert!(ewc.consolidate(&theta).is_err(), "nothing was observed");
    ewc.observe(&theta, &[vector(&[1.0, 0.5])]).unwrap();
    assert_close(&elements(&ewc.fisher().unwrap()[0]), &[1.0, 0.25], 1e-15);
    ewc.observe(&theta, &[vector(&[0.0, 1.0])]).unwrap();
    assert_close(&elements(&ewc.fisher().unwrap()[0]), &[0.9, 0.325], 1e-15);
    for _ in 0..20 {
        ewc.observe(&theta, &[vector(&[0.0, 0.1])]).unwrap();
    }
    // 0.9²¹ = 0.1094.., and 0.9²⁰ · 0.325 + (1 − 0.9²⁰) · 0.01 = 0.0483..: under the threshold.
    assert_close(&elements(&ewc.fisher().unwrap()[0]), &[0.9f64.powi(21), 0.0], 1e-14);
    ewc.consolidate(&theta).unwrap();
    go(&theta, &[3.0, 7.0]);
    let (found, slope) = both(&theta, &ewc.penalty(&theta).unwrap());
    assert_close(&[found], &[1.5 * 0.9f64.powi(21) * 4.0], 1e-14);
    assert_close(&slope, &[3.0 * 0.9f64.powi(21) * 2.0, 0.0], 1e-14);

    // What is small is set to zero in what is used, not in the running mean; and the penalty stays until
    // the next task ends.
    ewc.observe(&theta, &[vector(&[0.0, 0.5])]).unwrap();
    assert_eq!(value(&ewc.penalty(&theta).unwrap()), found);
    let small = 0.9f64.powi(20) * 0.325 + (1.0 - 0.9f64.powi(20)) * 0.01;
    assert_close(&elements(&ewc.fisher().unwrap()[0]), &[0.9f64.powi(22), 0.9 * small + 0.1 * 0.25], 1e-14);
}

#[test]
fn a_value_at_the_threshold_counts() {
    let theta = params(&[0.0, 0.0]);
    let mut ewc = AdaptiveEwc::new(AdaptiveEwcConfig {
        lambda: 1.0,
        decay: 0.5,
        threshold: 0.25,
        ..Default::default()
    })
    .unwrap();
    ewc.observe(&theta, &[vector(&[0.5, 0.4999])]).unwrap();
    assert_eq!(elements(&ewc.fisher().unwrap()[0]), [0.25, 0.0]);
}

/// The gradient λ Σₖ Fₖ(θ − θ*ₖ) of a whole network, against the formula and finite differences.
#[test]
fn gradients_are_those_of_the_formula() {
    let net = net(&[3, 4, 2]);
    let params = net.params();
    let n = params.numel();
    let mut ewc = ewc(7.0, Carry::PerTask);
    let mut terms = Vec::new();
    for task in 0..3 {
        go(params, &elements(&normal(&[n], task)));
        let (x, y) = (normal(&[20, 3], 10 + task), targets(20, 2));
        let fisher = Fisher::Exact.estimate(&net, &x, &y, Units::All, &mut cl_core::rng(0, "")).unwrap();
        terms.push((fisher.iter().flat_map(elements).collect::<Vec<_>>(), elements(&params.flat().unwrap())));
        ewc.consolidate(params, fisher).unwrap();
    }
    let theta = elements(&normal(&[n], 9));
    go(params, &theta);
    let found = gradient(params, &ewc.penalty(params).unwrap());
    let formula: Vec<f64> =
        (0..n).map(|i| terms.iter().map(|(f, anchor)| 7.0 * f[i] * (theta[i] - anchor[i])).sum()).collect();
    assert_close(&found, &formula, 1e-12);
    assert!(formula.iter().any(|g| g.abs() > 0.1));
    for i in 0..n {
        let at = |step: f64| {
            let mut moved = theta.clone();
            moved[i] += step;
            go(params, &moved);
            value(&ewc.penalty(params).unwrap())
        };
        let difference = (at(1e-4) - at(-1e-4)) / 2e-4;
        assert_close(&[found[i]], &[difference], 1e-8);
    }
}

fn step(net: &Mlp, optimizer: &mut Optimizer, loss: Tensor) {
    optimizer.backward_step(net.params(), &loss).unwrap();
}

fn loss(net: &Mlp, seed: u64) -> Tensor {
    let (x, y) = (normal(&[16, 4], seed), targets(16, 3));
    net.forward(&x).unwrap().cross_entropy(&y, Units::All, None).unwrap()
}

fn plus(a: &Tensor, b: &Tensor) -> Tensor {
    (a + b).unwrap()
}

/// 0 before and right after the end of the first task, more than 0 one step later, with a gradient; and the
/// parameters are the same to the bit when they are consolidated. A released EWC once had a penalty of 0.
#[test]
fn the_penalty_begins_with_the_second_task() {
    type Penalty<'a> = Box<dyn Fn(&Params) -> Tensor + 'a>;
    fn check(net: &Mlp, before: Tensor, consolidated: Vec<u64>, penalty: Penalty<'_>) {
        let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.1)).unwrap();
        assert_eq!(value(&before), 0.0);
        assert_eq!(bits(net.params()), consolidated);
        let at_anchor = penalty(net.params());
        assert_eq!(value(&at_anchor), 0.0);
        assert!(gradient(net.params(), &at_anchor).iter().all(|g| *g == 0.0));
        step(net, &mut optimizer, plus(&loss(net, 2), &at_anchor));
        let after = penalty(net.params());
        assert!(value(&after) > 1e-6, "{}", value(&after));
        assert!(gradient(net.params(), &after).iter().any(|g| g.abs() > 1e-4));
    }
    let trained = || {
        let net = net(&[4, 6, 3]);
        let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.1)).unwrap();
        (0..5).for_each(|_| step(&net, &mut optimizer, loss(&net, 1)));
        net
    };
    for carry in [Carry::PerTask, Carry::Online { decay: 0.9 }] {
        let net = trained();
        let mut ewc = ewc(100.0, carry);
        let before = (ewc.penalty(net.params()).unwrap(), bits(net.params()));
        let (x, y) = (normal(&[16, 4], 1), targets(16, 3));
        let fisher = Fisher::Exact.estimate(&net, &x, &y, Units::All, &mut cl_core::rng(0, "")).unwrap();
        ewc.consolidate(net.params(), fisher).unwrap();
        check(&net, before.0, before.1, Box::new(|params| ewc.penalty(params).unwrap()));
    }
    {
        let net = trained();
        let mut ewc = AdaptiveEwc::new(AdaptiveEwcConfig { lambda: 100.0, ..Default::default() }).unwrap();
        ewc.observe(net.params(), &net.params().gradients(&loss(&net, 1).backward().unwrap()).unwrap())
            .unwrap();
        let before = (ewc.penalty(net.params()).unwrap(), bits(net.params()));
        ewc.consolidate(net.params()).unwrap();
        check(&net, before.0, before.1, Box::new(|params| ewc.penalty(params).unwrap()));
    }
    {
        let net = trained();
        let mut l2 = L2::new(1.0).unwrap();
        let before = (l2.penalty(net.params()).unwrap(), bits(net.params()));
        l2.consolidate(net.params()).unwrap();
        check(&net, before.0, before.1, Box::new(|params| l2.penalty(params).unwrap()));
    }
}

#[test]
fn l2_forgets_all_but_the_last_anchor() {
    let theta = params(&[0.0, 0.0]);
    let mut l2 = L2::new(0.5).unwrap();
    assert_eq!(value(&l2.penalty(&theta).unwrap()), 0.0);
    l2.consolidate(&theta).unwrap();
    go(&theta, &[1.0, 1.0]);
    l2.consolidate(&theta).unwrap();
    go(&theta, &[3.0, 0.0]);
    assert_eq!(both(&theta, &l2.penalty(&theta).unwrap()), (2.5, vec![2.0, -1.0]));
}

#[test]
fn frozen_parameters_bear_no_penalty() {
    let mut net = net(&[4, 6, 3]);
    net.params_mut().freeze("layers.0", true).unwrap();
    let (x, y) = (normal(&[16, 4], 1), targets(16, 3));
    let fisher = Fisher::Exact.estimate(&net, &x, &y, Units::All, &mut cl_core::rng(0, "")).unwrap();
    assert_eq!(fisher.len(), 2);
    let (mut ewc, mut l2) = (ewc(1.0, Carry::PerTask), L2::new(1.0).unwrap());
    ewc.consolidate(net.params(), fisher).unwrap();
    l2.consolidate(net.params()).unwrap();
    let frozen = &net.params().get("layers.0.weight").unwrap().var;
    frozen.set(&(frozen.as_tensor() + 1.0).unwrap()).unwrap();
    for penalty in [ewc.penalty(net.params()).unwrap(), l2.penalty(net.params()).unwrap()] {
        assert_eq!(value(&penalty), 0.0);
        assert_eq!(gradient(net.params(), &penalty).len(), 21);
        assert!(penalty.backward().unwrap().get(frozen).is_none());
    }
    // Whoever thaws it now must hear that there is no anchor for it.
    net.params_mut().freeze("", false).unwrap();
    let error = ewc.penalty(net.params()).unwrap_err().to_string();
    assert!(error.contains("one tensor for each of 4 trainable parameters, got 2"), "{error}");
    assert!(l2.penalty(net.params()).is_err());
    // With all frozen there is nothing to hold.
    net.params_mut().freeze("", true).unwrap();
    let mut l2 = L2::new(1.0).unwrap();
    l2.consolidate(net.params()).unwrap();
    assert_eq!(value(&l2.penalty(net.params()).unwrap()), 0.0);
}

#[test]
fn what_does_not_fit_is_an_error_and_changes_nothing() {
    let net = net(&[4, 6, 3]);
    let params = net.params();
    let ones = || params.values().unwrap().iter().map(|v| v.ones_like().unwrap()).collect::<Vec<_>>();
    for carry in [Carry::PerTask, Carry::Online { decay: 0.5 }] {
        let mut ewc = ewc(1.0, carry);
        assert!(ewc.consolidate(params, ones()[1..].to_vec()).is_err());
        assert_eq!(ewc.anchors(), 0);
        ewc.consolidate(params, ones()).unwrap();
        go(params, &elements(&normal(&[params.numel()], 3)));
        let before = value(&ewc.penalty(params).unwrap());
        let mut wrong = ones();
        wrong[3] = vector(&[1.0, 2.0]);
        let error = ewc.consolidate(params, wrong).unwrap_err().to_string();
        assert!(error.contains("layers.1.bias as F64 [3], got F64 [2]"), "{error}");
        let mut wrong = ones();
        wrong[0] = wrong[0].to_dtype(candle_core::DType::F32).unwrap();
        assert!(ewc.consolidate(params, wrong).is_err());
        assert!(ewc.consolidate(params, ones()[1..].to_vec()).is_err());
        assert_eq!((ewc.anchors(), value(&ewc.penalty(params).unwrap())), (1, before), "{carry:?}");
    }
    let mut adaptive = AdaptiveEwc::new(AdaptiveEwcConfig::default()).unwrap();
    adaptive.observe(params, &ones()).unwrap();
    let mut wrong = ones();
    wrong[3] = vector(&[1.0, 2.0]);
    wrong[0] = (&wrong[0] * 5.0).unwrap();
    assert!(adaptive.observe(params, &wrong).is_err());
    assert!(adaptive.observe(params, &ones()[1..]).is_err());
    assert!(adaptive.fisher().unwrap().iter().flat_map(elements).all(|f| f == 1.0));
}

#[test]
fn coefficients_out_of_range_are_named() {
    let refused = |found: cl_core::Result<()>, name: &str| {
        let error = found.unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    };
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        refused(Ewc::new(EwcConfig { lambda: bad, carry: Carry::PerTask }).map(drop), "lambda");
        refused(Ewc::new(EwcConfig { lambda: 1.0, carry: Carry::Online { decay: bad } }).map(drop), "decay");
        refused(L2::new(bad).map(drop), "lambda");
        let default = AdaptiveEwcConfig::default();
        refused(AdaptiveEwc::new(AdaptiveEwcConfig { lambda: bad, ..default }).map(drop), "lambda");
        refused(AdaptiveEwc::new(AdaptiveEwcConfig { decay: bad, ..default }).map(drop), "decay");
        refused(AdaptiveEwc::new(AdaptiveEwcConfig { threshold: bad, ..default }).map(drop), "threshold");
    }
    refused(AdaptiveEwc::new(AdaptiveEwcConfig { decay: 1.0, ..Default::default() }).map(drop), "decay");
    refused(Ewc::new(EwcConfig { lambda: 1.0, carry: Carry::Online { decay: 1.1 } }).map(drop), "decay");
}
