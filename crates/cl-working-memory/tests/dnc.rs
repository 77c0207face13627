//! The whole machine: shapes, states, what is refused.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use cl_core::snapshot;
use cl_nn::{Optimizer, OptimizerConfig};
use cl_working_memory::controller::Controller;
use cl_working_memory::{Config, Dnc, MemoryAccess, State, content_only};

mod common;
use common::{assert_close, assert_gradients, elements, normal};

const KIND: snapshot::Kind = snapshot::Kind::new("test/dnc", 1);

fn controllers() -> [Controller; 2] {
    [Controller::Lstm { units: 7 }, Controller::FeedForward { units: vec![6, 5] }]
}

fn config(controller: Controller, memory: MemoryAccess) -> Config {
    Config { inputs: 3, outputs: 2, slots: 5, memory, controller }
}

fn dnc(controller: Controller, memory: MemoryAccess, dtype: DType) -> Dnc {
    Dnc::new(config(controller, memory), dtype, &Device::Cpu, &mut cl_core::rng(5, "weights")).unwrap()
}

fn memory() -> MemoryAccess {
    MemoryAccess { width: 4, heads: 2, ..MemoryAccess::default() }
}

/// Steps one by one are the sequence at once, gradients too.
#[test]
fn step_by_step_is_the_whole_sequence() {
    for controller in controllers() {
        for memory in [memory(), content_only(4, 2)] {
            let dnc = dnc(controller.clone(), memory, DType::F64);
            let x = normal(&[6, 2, 3], DType::F64, 1).as_detached_tensor();
            let (at_once, end) = dnc.forward(&x, &dnc.state(2).unwrap()).unwrap();
            let (unrolled, mut state) = (dnc.unrolled().unwrap(), dnc.state(2).unwrap());
            let mut each = Vec::new();
            for t in 0..6 {
                let (y, after) = unrolled.step(&x.get(t).unwrap(), &state).unwrap();
                state = after;
                each.push(y);
            }
            let each = Tensor::stack(&each, 0).unwrap();
            assert_close(&each, &at_once, 1e-12);
            assert_close(&state.memory.contents().unwrap(), &end.memory.contents().unwrap(), 1e-12);
            let params = dnc.params().unwrap();
            let gradient = |y: &Tensor| {
                params.flat_gradient(&y.sqr().unwrap().sum_all().unwrap().backward().unwrap()).unwrap()
            };
            assert_close(&gradient(&each), &gradient(&at_once), 1e-12);
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for controller in controllers() {
        let dnc = dnc(controller, memory(), DType::F64);
        let x = normal(&[3, 2, 3], DType::F64, 1).as_detached_tensor();
        let params = dnc.params().unwrap();
        // Rectified units at a kink would differ; with these seeds none is near one.
        let vars: Vec<_> = params.iter().map(|p| &p.var).collect();
        assert_gradients(&vars, || dnc.forward(&x, &dnc.state(2).unwrap()).unwrap().0);
    }
}

#[test]
fn a_network_and_its_state_are_saved_and_go_on_bit_for_bit() {
    for controller in controllers() {
        let dnc = dnc(controller, memory(), DType::F32);
        let x = normal(&[8, 2, 3], DType::F32, 1).as_detached_tensor();
        let (_, state) = dnc.forward(&x.narrow(0, 0, 4).unwrap(), &dnc.state(2).unwrap()).unwrap();
        let bytes = snapshot::to_bytes(KIND, &(&dnc, &state)).unwrap();
        let (restored, of_file): (Dnc, State) = snapshot::from_bytes(&bytes, KIND).unwrap();
        let rest = x.narrow(0, 4, 4).unwrap();
        let (expected, _) = dnc.forward(&rest, &state).unwrap();
        let (found, _) = restored.forward(&rest, &of_file).unwrap();
        assert_eq!(elements(&found), elements(&expected));
        // From the beginning it would be another.
        let (fresh, _) = dnc.forward(&rest, &dnc.state(2).unwrap()).unwrap();
        assert_ne!(elements(&fresh), elements(&expected));
    }
}

/// Sequences of a batch do not see each other, and equal seeds are equal networks.
#[test]
fn sequences_are_independent_and_seeds_decide() {
    let [lstm, _] = controllers();
    let (a, b) = (dnc(lstm.clone(), memory(), DType::F32), dnc(lstm, memory(), DType::F32));
    let x = normal(&[5, 3, 3], DType::F32, 1).as_detached_tensor();
    let (all, _) = a.forward(&x, &a.state(3).unwrap()).unwrap();
    for row in 0..3 {
        let one = x.narrow(1, row, 1).unwrap();
        let (alone, _) = b.forward(&one, &b.state(1).unwrap()).unwrap();
        assert_close(&alone, &all.narrow(1, row, 1).unwrap(), 1e-6);
    }
}

/// No weight depends on the number of slots: trained with few, used with many.
#[test]
fn a_network_can_have_more_slots() {
    for memory in [memory(), content_only(4, 2)] {
        let dnc = dnc(controllers()[0].clone(), memory, DType::F32);
        let x = normal(&[5, 2, 3], DType::F32, 1).as_detached_tensor();
        let (y, state) = dnc.forward(&x, &dnc.state_with(10, 2).unwrap()).unwrap();
        assert_eq!((y.dims(), state.memory.slots()), (&[5, 2, 2][..], 10));
        assert_eq!(state.memory.contents().unwrap().dims(), [2, 10, 4]);
    }
}

/// With zeros in place of what is read, what is in memory cannot matter.
#[test]
fn blind_is_without_memory() {
    let dnc = dnc(controllers()[1].clone(), memory(), DType::F32);
    let x = normal(&[4, 2, 3], DType::F32, 1).as_detached_tensor();
    let (y, _) = dnc.forward_blind(&x, &dnc.state(2).unwrap()).unwrap();
    let mut filled = dnc.state(2).unwrap();
    filled.memory =
        filled.memory.with_contents(&normal(&[2, 5, 4], DType::F32, 3).as_detached_tensor()).unwrap();
    let (same, _) = dnc.forward_blind(&x, &filled).unwrap();
    assert_eq!(elements(&y), elements(&same));
    let (seeing, _) = dnc.forward(&x, &filled).unwrap();
    assert_ne!(elements(&y), elements(&seeing));
}

/// The slots of a memory by content begin unlike; alike they would stay so, and be one slot.
#[test]
fn slots_without_allocation_differ() {
    let dnc = dnc(controllers()[0].clone(), content_only(4, 2), DType::F32);
    let x = normal(&[4, 1, 3], DType::F32, 1).as_detached_tensor();
    let (_, state) = dnc.forward(&x, &dnc.state(1).unwrap()).unwrap();
    let weights = elements(&state.memory.write_weights().unwrap());
    assert!(weights.iter().any(|w| (w - weights[0]).abs() > 1e-3), "{weights:?}");
}

#[test]
fn a_step_of_training_changes_every_parameter() {
    for controller in controllers() {
        let dnc = dnc(controller, memory(), DType::F32);
        let params = dnc.params().unwrap();
        let before = params.values().unwrap();
        let x = normal(&[4, 2, 3], DType::F32, 1).as_detached_tensor();
        let (y, _) = dnc.forward(&x, &dnc.state(2).unwrap()).unwrap();
        let mut optimizer = Optimizer::new(OptimizerConfig::adam(1e-2)).unwrap();
        optimizer.backward_step(&params, &y.sqr().unwrap().mean_all().unwrap()).unwrap();
        for (before, after) in before.iter().zip(params.values().unwrap()) {
            assert_ne!(elements(before), elements(&after));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let [lstm, feed_forward] = controllers();
    let new = |config: Config| {
        Dnc::new(config, DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights")).map_err(|e| e.to_string())
    };
    let good = config(lstm.clone(), memory());
    assert!(new(Config { inputs: 0, ..good.clone() }).unwrap_err().starts_with("inputs: 0"));
    assert!(new(Config { outputs: 0, ..good.clone() }).unwrap_err().starts_with("outputs: 0"));
    assert!(new(Config { slots: 0, ..good.clone() }).unwrap_err().starts_with("slots: 0"));
    for units in [vec![], vec![3, 0]] {
        let controller = Controller::FeedForward { units };
        assert!(new(Config { controller, ..good.clone() }).unwrap_err().contains("controller units"));
    }
    assert!(new(Config { memory: MemoryAccess { heads: 0, ..memory() }, ..good.clone() }).is_err());

    let (a, b) = (new(good).unwrap(), new(config(feed_forward, memory())).unwrap());
    let x = Tensor::zeros((4, 2, 3), DType::F32, &Device::Cpu).unwrap();
    let says = |found: cl_core::Result<(Tensor, State)>, what: &str| {
        let error = found.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    let state = a.state(2).unwrap();
    says(a.forward(&x.narrow(2, 0, 2).unwrap(), &state), "sequence: expected (t, b, 3)");
    says(a.forward(&x.narrow(0, 0, 0).unwrap(), &state), "t at least 1");
    says(a.forward(&x, &b.state(2).unwrap()), "LSTM controller");
    says(b.forward(&x, &state), "none of the controller");
    assert!(a.forward(&x, &a.state(3).unwrap()).is_err());
    assert!(a.state(0).is_err() && a.state_with(0, 2).is_err());
    assert!(serde_json::from_str::<Config>(r#"{"slot": 3}"#).unwrap_err().to_string().contains("slot"));
}
