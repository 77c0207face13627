//! Gradients are finite where those of other implementations are reported not to be.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use cl_working_memory::addressing::{allocation, content};
use cl_working_memory::{Config, Dnc, MemoryAccess, controller::Controller};

mod common;
use common::{elements, kinds, normal};

fn assert_finite(t: &Tensor) {
    assert!(elements(t).iter().all(|x| x.is_finite()), "{t}");
}

/// The step with interfaces that are all of one value, over several steps.
fn with_interfaces_of(value: f64, dtype: DType) {
    for access in kinds(4, 2) {
        let xi = Tensor::full(value, (2, access.interface()), &Device::Cpu).unwrap();
        let xi = Var::from_tensor(&xi.to_dtype(dtype).unwrap()).unwrap();
        let mut state = cl_core::MemoryState::new(&access, 5, 2, dtype, &Device::Cpu).unwrap();
        let mut sum = Tensor::zeros((), dtype, &Device::Cpu).unwrap();
        for _ in 0..20 {
            let (reads, after) = access.step(&xi, &state).unwrap();
            sum = (sum + reads.sqr().unwrap().sum_all().unwrap()).unwrap();
            state = after;
        }
        assert_finite(&sum);
        assert_finite(sum.backward().unwrap().get(&xi).unwrap());
        assert_finite(&state.contents().unwrap());
    }
}

/// A cosine of nothing: the norm has no gradient at 0.
#[test]
fn zero_keys_over_an_empty_memory() {
    for dtype in [DType::F32, DType::F64] {
        with_interfaces_of(0.0, dtype);
        let zero = |shape: &[usize]| Var::zeros(shape, dtype, &Device::Cpu).unwrap();
        let (m, k, beta) = (zero(&[2, 4, 3]), zero(&[2, 1, 3]), zero(&[2, 1]));
        let loss = content(&m, &k, &beta).unwrap().sqr().unwrap().sum_all().unwrap();
        let grads = loss.backward().unwrap();
        [&m, &k, &beta].iter().for_each(|var| assert_finite(grads.get(var).unwrap()));
    }
}

/// The cumulative product of usages that are all 0 or all 1: by logarithms it is −∞, by division 0/0.
#[test]
fn usage_of_zero_and_of_one() {
    for value in [0.0, 1.0] {
        let u = Var::from_tensor(&Tensor::full(value, (2, 6), &Device::Cpu).unwrap()).unwrap();
        assert_finite(allocation(&u).unwrap().sum_all().unwrap().backward().unwrap().get(&u).unwrap());
    }
    // Gates wide open and shut: everything is written and freed, or nothing ever is.
    for dtype in [DType::F32, DType::F64] {
        for value in [-1e3, -50.0, 50.0, 1e3] {
            with_interfaces_of(value, dtype);
        }
    }
}

/// ixaxaar/pytorch-dnc#35 and ypxie/pytorch-NeuCom#2: NaN early in training, or after tens of thousands of steps, of interfaces
/// that have grown large.
#[test]
fn interfaces_that_have_grown_large() {
    for (seed, loud) in [(1, 10.0), (2, 100.0), (3, 1e4), (4, 1e8)] {
        for access in kinds(4, 2) {
            let mut state = cl_core::MemoryState::new(&access, 6, 2, DType::F32, &Device::Cpu).unwrap();
            let mut vars = Vec::new();
            let mut sum = Tensor::zeros((), DType::F32, &Device::Cpu).unwrap();
            for t in 0..12 {
                let xi = normal(&[2, access.interface()], DType::F32, 100 * seed + t);
                let xi = Var::from_tensor(&(xi.as_tensor() * loud).unwrap()).unwrap();
                let (reads, after) = access.step(&xi, &state).unwrap();
                sum = (sum + reads.mean_all().unwrap()).unwrap();
                state = after;
                vars.push(xi);
            }
            let grads = sum.backward().unwrap();
            vars.iter().for_each(|xi| assert_finite(grads.get(xi).unwrap()));
        }
    }
}

/// Mostafa-Samir/DNC-tensorflow: "attempting to train a length-4 model directly always resulted in NaNs". Untrained networks on
/// longer sequences than there are slots, from the first step on.
#[test]
fn sequences_longer_than_the_memory() {
    for controller in [Controller::Lstm { units: 16 }, Controller::FeedForward { units: vec![16, 16] }] {
        let memory = MemoryAccess { width: 5, heads: 2, ..MemoryAccess::default() };
        let config = Config { inputs: 3, outputs: 3, slots: 4, memory, controller };
        let dnc = Dnc::new(config, DType::F32, &Device::Cpu, &mut cl_core::rng(1, "weights")).unwrap();
        let x = normal(&[50, 2, 3], DType::F32, 2).as_detached_tensor();
        let (y, _) = dnc.forward(&x, &dnc.state(2).unwrap()).unwrap();
        let grads = y.sqr().unwrap().mean_all().unwrap().backward().unwrap();
        dnc.params().unwrap().gradients(&grads).unwrap().iter().for_each(assert_finite);
    }
}

/// Gradients come a thousand steps back.
#[test]
fn a_thousand_steps() {
    for memory in kinds(6, 2) {
        let config = Config { inputs: 3, outputs: 2, slots: 8, memory, ..Config::default() };
        let dnc = Dnc::new(config, DType::F32, &Device::Cpu, &mut cl_core::rng(1, "weights")).unwrap();
        let x = normal(&[1000, 1, 3], DType::F32, 2).as_detached_tensor();
        let (y, state) = dnc.forward(&x, &dnc.state(1).unwrap()).unwrap();
        // The last output alone, so that gradients come all the way through the state, and all outputs.
        for loss in [y.get(999).unwrap(), y.clone()] {
            let grads = loss.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            dnc.params().unwrap().gradients(&grads).unwrap().iter().for_each(assert_finite);
        }
        assert_finite(&state.memory.contents().unwrap());
    }
}

/// What is no number in the input is seen in the output, and nothing panics on the way.
#[test]
fn what_is_no_number_shows() {
    for access in kinds(4, 2) {
        let xi = Var::from_tensor(&Tensor::full(f32::NAN, (1, access.interface()), &Device::Cpu).unwrap())
            .unwrap();
        let state = cl_core::MemoryState::new(&access, 5, 1, DType::F32, &Device::Cpu).unwrap();
        let (_, state) = access.step(&xi, &state).unwrap();
        let (reads, _) = access.step(&xi, &state).unwrap();
        assert!(elements(&reads).iter().all(|r| r.is_nan()));
        reads.sum_all().unwrap().backward().unwrap();
    }
}
