//! What was saved in the middle of a stream and restored goes on to the same bits.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Module, Tensor};
use cl_core::snapshot::{self, Kind};
use cl_core::{TensorOps, Units};
use cl_nn::{Mlp, Optimizer, OptimizerConfig};
use cl_regularize::{
    AdaptiveEwc, AdaptiveEwcConfig, Carry, Ewc, EwcConfig, Fisher, L2, RWalk, RWalkConfig, Si, SiConfig,
};
use common::{bits, net, normal, targets};
use serde::Serialize;
use serde::de::DeserializeOwned;

const KIND: Kind = Kind::new("test/regularizer", 1);

/// What the regularizers have in common, in a training loop.
trait Regularizer: Serialize + DeserializeOwned {
    fn penalty(&self, net: &Mlp) -> Tensor;
    fn after_step(&mut self, _net: &Mlp, _gradients: &[Tensor]) {}
    fn consolidate(&mut self, net: &Mlp, task: u64);
}

impl Regularizer for Ewc {
    fn penalty(&self, net: &Mlp) -> Tensor {
        self.penalty(net.params()).unwrap()
    }
    fn consolidate(&mut self, net: &Mlp, task: u64) {
        let (x, y) = (normal(&[16, 4], task), targets(16, 3));
        let fisher = Fisher::Exact.estimate(net, &x, &y, Units::All, &mut cl_core::rng(0, "")).unwrap();
        self.consolidate(net.params(), fisher).unwrap();
    }
}

impl Regularizer for AdaptiveEwc {
    fn penalty(&self, net: &Mlp) -> Tensor {
        self.penalty(net.params()).unwrap()
    }
    fn after_step(&mut self, net: &Mlp, gradients: &[Tensor]) {
        self.observe(net.params(), gradients).unwrap();
    }
    fn consolidate(&mut self, net: &Mlp, _task: u64) {
        self.consolidate(net.params()).unwrap();
    }
}

impl Regularizer for Si {
    fn penalty(&self, net: &Mlp) -> Tensor {
        self.penalty(net.params()).unwrap()
    }
    fn after_step(&mut self, net: &Mlp, gradients: &[Tensor]) {
        self.after_step(net.params(), gradients).unwrap();
    }
    fn consolidate(&mut self, net: &Mlp, _task: u64) {
        self.consolidate(net.params()).unwrap();
    }
}

impl Regularizer for RWalk {
    fn penalty(&self, net: &Mlp) -> Tensor {
        self.penalty(net.params()).unwrap()
    }
    fn after_step(&mut self, net: &Mlp, gradients: &[Tensor]) {
        self.after_step(net.params(), gradients).unwrap();
    }
    fn consolidate(&mut self, net: &Mlp, _task: u64) {
        self.consolidate(net.params()).unwrap();
    }
}

impl Regularizer for L2 {
    fn penalty(&self, net: &Mlp) -> Tensor {
        self.penalty(net.params()).unwrap()
    }
    fn consolidate(&mut self, net: &Mlp, _task: u64) {
        self.consolidate(net.params()).unwrap();
    }
}

fn train(net: &Mlp, regularizer: &mut impl Regularizer, task: u64, steps: usize) {
    let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.1)).unwrap();
    let (x, y) = (normal(&[16, 4], task), targets(16, 3));
    for _ in 0..steps {
        let loss = net.forward(&x).unwrap().cross_entropy(&y, Units::All, None).unwrap();
        let loss = (loss + regularizer.penalty(net)).unwrap();
        let gradients = net.params().gradients(&loss.backward().unwrap()).unwrap();
        optimizer.step(net.params(), &gradients).unwrap();
        regularizer.after_step(net, &gradients);
    }
}

/// Saved in the middle of the second task; goes on to the end of the third.
fn check<R: Regularizer>(make: impl Fn(&Mlp) -> R) {
    let net = net(&[4, 6, 3]);
    let mut regularizer = make(&net);
    train(&net, &mut regularizer, 0, 5);
    regularizer.consolidate(&net, 0);
    train(&net, &mut regularizer, 1, 3);
    let (saved, second) = (snapshot::to_bytes(KIND, &regularizer).unwrap(), net.copy().unwrap());

    let rest = |net: &Mlp, regularizer: &mut R| {
        train(net, regularizer, 1, 2);
        regularizer.consolidate(net, 1);
        train(net, regularizer, 2, 5);
        (bits(net.params()), snapshot::to_bytes(KIND, regularizer).unwrap())
    };
    let went_on = rest(&net, &mut regularizer);
    let mut restored: R = snapshot::from_bytes(&saved, KIND).unwrap();
    let third = second.copy().unwrap();
    assert_eq!(rest(&second, &mut restored), went_on);
    let mut forgetful = make(&third);
    assert_ne!(rest(&third, &mut forgetful).0, went_on.0, "the state must matter");
}

#[test]
fn ewc_goes_on() {
    for carry in [Carry::PerTask, Carry::Online { decay: 0.7 }] {
        check(|_| Ewc::new(EwcConfig { lambda: 5.0, carry }).unwrap());
    }
}

#[test]
fn adaptive_ewc_goes_on() {
    check(|_| AdaptiveEwc::new(AdaptiveEwcConfig { lambda: 5.0, ..Default::default() }).unwrap());
}

/// Saved within a window of steps.
#[test]
fn a_window_of_steps_goes_on() {
    let config = AdaptiveEwcConfig { lambda: 5.0, every: 2, normalise: true, ..Default::default() };
    check(|_| AdaptiveEwc::new(config).unwrap());
    check(|net| {
        RWalk::new(RWalkConfig { lambda: 2.0, every: 2, ..Default::default() }, net.params()).unwrap()
    });
}

#[test]
fn si_goes_on() {
    check(|net| Si::new(SiConfig { c: 1.0, xi: 0.1, positive: false }, net.params()).unwrap());
}

#[test]
fn l2_goes_on() {
    check(|_| L2::new(0.5).unwrap());
}
