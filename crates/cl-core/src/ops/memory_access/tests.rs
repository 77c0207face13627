//! Gradients, invariants and errors of the whole step. That it is the composition of the equations is tested in
//! `cl-working-memory`, which has them one by one.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;

use super::{MemoryAccess, MemoryState, ModeOrder, Strength};
use crate::ops::testing::{assert_close, assert_gradients, elements, normal};

/// Every option, each at least once both ways.
fn kinds() -> Vec<MemoryAccess> {
    let paper = MemoryAccess { width: 3, heads: 2, ..MemoryAccess::default() };
    let deepmind = MemoryAccess {
        strength: Strength::Softplus,
        modes: ModeOrder::BackwardForwardContent,
        stop_usage_gradient: false,
        tanh: true,
        ..paper
    };
    vec![
        paper,
        deepmind,
        MemoryAccess { link: false, ..paper },
        MemoryAccess { allocation: false, ..paper },
        MemoryAccess { allocation: false, link: false, tanh: true, heads: 1, ..paper },
    ]
}

/// Contents that differ, without which a memory without allocation has but one slot.
fn state(access: &MemoryAccess, slots: usize, batch: usize, dtype: DType) -> MemoryState {
    let state = MemoryState::new(access, slots, batch, dtype, &Device::Cpu).unwrap();
    match access.allocation {
        true => state,
        false => {
            let contents = normal(&[batch, slots, access.width], dtype, 9);
            state.with_contents(contents.as_tensor()).unwrap()
        }
    }
}

/// Steps whose interfaces are variables.
fn interfaces(access: &MemoryAccess, steps: usize, batch: usize, dtype: DType) -> Vec<Var> {
    (0..steps as u64).map(|t| normal(&[batch, access.interface()], dtype, 20 + t)).collect()
}

/// A weighted sum of all that is read.
fn loss(access: &MemoryAccess, mut state: MemoryState, interfaces: &[Var]) -> Tensor {
    let mut sum = Tensor::zeros((), state.reads().dtype(), &Device::Cpu).unwrap();
    for (t, interface) in interfaces.iter().enumerate() {
        let (reads, after) = access.step(interface, &state).unwrap();
        let weigh = normal(reads.dims(), reads.dtype(), 40 + t as u64).as_detached_tensor();
        sum = (sum + (reads * weigh).unwrap().sum_all().unwrap()).unwrap();
        state = after;
    }
    sum
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for access in kinds() {
        for slots in [1, 2, 5] {
            let vars = interfaces(&access, 4, 2, DType::F64);
            let all: Vec<&Var> = vars.iter().collect();
            assert_gradients(&all, || loss(&access, state(&access, slots, 2, DType::F64), &vars));
        }
    }
}

/// Reads alone depend on usage little; here only the last read counts, so that all gradients come through the state.
#[test]
fn gradients_through_the_state_alone() {
    for access in kinds() {
        let vars = interfaces(&access, 5, 1, DType::F64);
        let all: Vec<&Var> = vars.iter().collect();
        assert_gradients(&all, || {
            let mut state = state(&access, 4, 1, DType::F64);
            for interface in &vars {
                state = access.step(interface, &state).unwrap().1;
            }
            state.reads().sqr().unwrap().sum_all().unwrap()
        });
    }
}

/// A state that goes on in two ways gets the gradients of both; and a graph gives the same twice.
#[test]
fn a_state_may_go_on_in_two_ways() {
    let access = kinds()[0];
    let vars = interfaces(&access, 4, 2, DType::F64);
    let all: Vec<&Var> = vars.iter().collect();
    let forked = || {
        let begin = state(&access, 4, 2, DType::F64);
        let middle = access.step(&vars[1], &access.step(&vars[0], &begin).unwrap().1).unwrap().1;
        let ways = [&vars[2], &vars[3]].map(|way| access.step(way, &middle).unwrap().0.sqr().unwrap());
        (&ways[0] + &ways[1]).unwrap().sum_all().unwrap()
    };
    assert_gradients(&all, forked);
    let loss = forked();
    let (first, second) = (loss.backward().unwrap(), loss.backward().unwrap());
    for var in all {
        assert_eq!(elements(first.get(var).unwrap()), elements(second.get(var).unwrap()));
    }
}

/// DeepMind's stop: nothing goes from usage into the write weights before; forward it is the same.
#[test]
fn the_gradient_of_usage_can_be_stopped() {
    let access = kinds()[0];
    let stopped = MemoryAccess { stop_usage_gradient: true, ..access };
    let vars = interfaces(&access, 3, 1, DType::F64);
    let of = |access: &MemoryAccess| {
        let loss = loss(access, state(access, 4, 1, DType::F64), &vars);
        (loss.to_scalar::<f64>().unwrap(), loss.backward().unwrap())
    };
    let ((a, with), (b, without)) = (of(&access), of(&stopped));
    assert_eq!(a, b);
    assert_ne!(elements(with.get(&vars[0]).unwrap()), elements(without.get(&vars[0]).unwrap()));
    // The last step writes after its usage is known: there it changes nothing.
    assert_eq!(elements(with.get(&vars[2]).unwrap()), elements(without.get(&vars[2]).unwrap()));
}

#[test]
fn detached_states_end_the_gradient() {
    let access = kinds()[0];
    let vars = interfaces(&access, 2, 1, DType::F64);
    let first = access.step(&vars[0], &state(&access, 4, 1, DType::F64)).unwrap().1.detach();
    let grads = access.step(&vars[1], &first).unwrap().0.sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&vars[0]).is_none() && grads.get(&vars[1]).is_some());
}

#[test]
fn single_precision_follows_double() {
    for access in kinds() {
        let run = |dtype| {
            let vars = interfaces(&access, 6, 3, dtype);
            let loss = loss(&access, state(&access, 17, 3, dtype), &vars);
            let grads = loss.backward().unwrap();
            let grads: Vec<Tensor> = vars.iter().map(|v| grads.get(v).unwrap().clone()).collect();
            Tensor::stack(&grads, 0).unwrap().to_dtype(DType::F64).unwrap()
        };
        assert_close(&run(DType::F32), &run(DType::F64), 2e-4);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever is asked for, however loudly: weightings and links sum to at most 1, usage lies in [0, 1].
    #[test]
    fn weightings_usage_and_links_keep_their_bounds(
        seed: u64, slots in 1usize..9, loud in prop::sample::select(vec![0.1, 1.0, 30.0]), steps in 1usize..8,
    ) {
        const LITTLE: f64 = 1e-9;
        for access in kinds() {
            let mut state = state(&access, slots, 2, DType::F64);
            for t in 0..steps as u64 {
                let interface = normal(&[2, access.interface()], DType::F64, seed.wrapping_add(t));
                state = access.step(&(interface.as_tensor() * loud).unwrap(), &state).unwrap().1;
                let within = |t: &Tensor, most: f64| {
                    elements(t).iter().all(|x| (-LITTLE..=most + LITTLE).contains(x))
                };
                for weights in [state.write_weights().unwrap(), state.read_weights().unwrap()] {
                    prop_assert!(within(&weights, 1.0));
                    prop_assert!(within(&weights.sum(weights.rank() - 1).unwrap(), 1.0));
                }
                if let Some(usage) = state.usage().unwrap() {
                    prop_assert!(within(&usage, 1.0));
                }
                if let Some(precedence) = state.precedence().unwrap() {
                    prop_assert!(within(&precedence.sum(1).unwrap(), 1.0));
                }
                if let Some(links) = state.links().unwrap() {
                    prop_assert!(within(&links, 1.0));
                    prop_assert!(within(&links.sum(1).unwrap(), 1.0) && within(&links.sum(2).unwrap(), 1.0));
                    let all = elements(&links);
                    let each = slots * slots;
                    prop_assert!((0..2 * each).all(|i| i % each % (slots + 1) != 0 || all[i] == 0.0));
                }
            }
        }
    }
}

#[test]
fn a_state_is_saved_and_goes_on_bit_for_bit() {
    for access in kinds() {
        let vars = interfaces(&access, 4, 2, DType::F32);
        let mut state = state(&access, 5, 2, DType::F32);
        for interface in &vars[..2] {
            state = access.step(interface, &state).unwrap().1;
        }
        let kind = crate::snapshot::Kind::new("test/memory", 1);
        let bytes = crate::snapshot::to_bytes(kind, &state).unwrap();
        let mut restored: MemoryState = crate::snapshot::from_bytes(&bytes, kind).unwrap();
        for interface in &vars[2..] {
            state = access.step(interface, &state).unwrap().1;
            restored = access.step(interface, &restored).unwrap().1;
            assert_eq!(elements(state.reads()), elements(restored.reads()));
            assert_eq!(elements(&state.cells), elements(&restored.cells));
        }
    }
}

/// What is read is a state, or an error: sizes that do not fit, or that overflow, are never believed.
#[test]
fn a_saved_state_that_is_none_is_refused() {
    #[derive(serde::Serialize)]
    struct Saved {
        slots: usize,
        width: usize,
        heads: usize,
        allocation: bool,
        link: bool,
        #[serde(with = "crate::snapshot::tensor")]
        cells: Tensor,
        #[serde(with = "crate::snapshot::tensor")]
        reads: Tensor,
    }
    let kind = crate::snapshot::Kind::new("test/memory", 1);
    let zeros = |a: usize, b: usize, dtype| Tensor::zeros((a, b), dtype, &Device::Cpu).unwrap();
    let read = |slots, width, heads, cells: Tensor, reads: Tensor| {
        let saved = Saved { slots, width, heads, allocation: false, link: false, cells, reads };
        let bytes = crate::snapshot::to_bytes(kind, &saved).unwrap();
        crate::snapshot::from_bytes::<MemoryState>(&bytes, kind).map_err(|error| error.to_string())
    };
    let f32 = DType::F32;
    // 3 slots of 2, one head: contents, write and read weights.
    assert!(read(3, 2, 1, zeros(2, 12, f32), zeros(2, 2, f32)).is_ok());
    for (slots, width, heads, cells, reads) in [
        (4, 2, 1, zeros(2, 12, f32), zeros(2, 2, f32)),
        (3, 2, 1, zeros(2, 12, f32), zeros(2, 3, f32)),
        (3, 2, 1, zeros(2, 12, f32), zeros(1, 2, f32)),
        (3, 2, 1, zeros(2, 12, f32), zeros(2, 2, DType::F64)),
        (3, 2, 1, zeros(2, 12, DType::U32), zeros(2, 2, DType::U32)),
        (usize::MAX, 2, 1, zeros(2, 12, f32), zeros(2, 2, f32)),
        (usize::MAX / 2, 2, usize::MAX, zeros(2, 12, f32), zeros(2, 2, f32)),
        (0, 2, 1, zeros(2, 0, f32), zeros(2, 2, f32)),
        (3, 0, 1, zeros(2, 6, f32), zeros(2, 0, f32)),
    ] {
        assert!(read(slots, width, heads, cells, reads).is_err(), "{slots} {width} {heads}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let access = MemoryAccess { width: 3, heads: 2, ..MemoryAccess::default() };
    let new = |access: &MemoryAccess, slots, batch, dtype| {
        MemoryState::new(access, slots, batch, dtype, &Device::Cpu).map_err(|error| error.to_string())
    };
    assert!(new(&MemoryAccess { width: 0, ..access }, 4, 2, DType::F32).unwrap_err().starts_with("width: 0"));
    assert!(new(&MemoryAccess { heads: 0, ..access }, 4, 2, DType::F32).unwrap_err().starts_with("heads: 0"));
    assert!(new(&access, 0, 2, DType::F32).unwrap_err().starts_with("slots: 0"));
    assert!(new(&access, 4, 0, DType::F32).unwrap_err().starts_with("batch: 0"));
    assert!(new(&access, 4, 2, DType::U32).unwrap_err().contains("f32 or f64"));

    let state = new(&access, 4, 2, DType::F32).unwrap();
    let interface = |batch, size, dtype| Tensor::zeros((batch, size), dtype, &Device::Cpu).unwrap();
    let (size, says) = (access.interface(), |i: Tensor| access.step(&i, &state).unwrap_err().to_string());
    assert_eq!(size, 2 * 3 + 3 * 3 + 5 * 2 + 3);
    assert!(says(interface(2, size + 1, DType::F32)).contains("an interface F32 [2, 28]"));
    assert!(says(interface(3, size, DType::F32)).contains("got F32 [3, 28]"));
    assert!(says(interface(2, size, DType::F64)).contains("got F64"));
    let other = MemoryAccess { link: false, ..access };
    let error = other.step(&interface(2, other.interface(), DType::F32), &state).unwrap_err().to_string();
    assert!(error.contains("link false") && error.contains("link true"), "{error}");
    let contents = Tensor::zeros((2, 4, 2), DType::F32, &Device::Cpu).unwrap();
    assert!(state.with_contents(&contents).unwrap_err().to_string().contains("[2, 4, 3]"));
}
