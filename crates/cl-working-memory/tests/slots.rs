//! The slots against a list that is kept by hand, their gradients, and their files.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Tensor, Var};
use cl_working_memory::slots::{Slots, SlotsState};
use proptest::prelude::*;

const SLOTS: Slots = Slots { capacity: 3, key: 2, value: 4, beta: 1.5 };

fn normal(shape: &[usize], seed: u64) -> Var {
    common::normal(shape, DType::F64, seed)
}

fn rows(tensor: &Tensor) -> Vec<Vec<f64>> {
    tensor.flatten_from(1).unwrap().to_vec2().unwrap()
}

/// One slot, as the module describes it.
#[derive(Debug, Clone, PartialEq)]
struct Slot {
    key: Vec<f64>,
    value: Vec<f64>,
    attention: f64,
    age: u64,
}

/// The rule by hand: an empty slot, or the least important, where what comes is no less important.
fn write(slots: &mut [Option<Slot>], new: Slot) {
    if new.attention == 0.0 {
        return;
    }
    slots.iter_mut().flatten().for_each(|slot| slot.age += 1);
    let importance = |slot: &Option<Slot>| slot.as_ref().map_or(-1.0, |s| s.attention / (s.age + 1) as f64);
    let mut least = 0;
    for at in 1..slots.len() {
        if importance(&slots[at]) < importance(&slots[least]) {
            least = at;
        }
    }
    if new.attention >= importance(&slots[least]) {
        slots[least] = Some(new);
    }
}

/// Weights and value by the equation.
fn read(slots: &[Option<Slot>], query: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let share = |slot: &Option<Slot>| {
        slot.as_ref().map_or(0.0, |s| {
            let product: f64 = s.key.iter().zip(query).map(|(k, q)| k * q).sum();
            s.attention * (SLOTS.beta * product).exp()
        })
    };
    let shares: Vec<f64> = slots.iter().map(share).collect();
    let sum: f64 = shares.iter().sum();
    let weights: Vec<f64> = shares.iter().map(|share| if sum > 0.0 { share / sum } else { 0.0 }).collect();
    let mut value = vec![0.0; SLOTS.value];
    for (slot, weight) in slots.iter().zip(&weights) {
        let Some(slot) = slot else { continue };
        value.iter_mut().zip(&slot.value).for_each(|(v, x)| *v += weight * x);
    }
    (weights, value)
}

proptest! {
    /// Whatever is written, with whatever attention, in a batch: each sequence has what a list of its own would have.
    #[test]
    fn a_batch_is_a_list_each(
        attention in proptest::collection::vec(proptest::array::uniform3(0_u8..6), 0..9),
        seed in 0_u64..1000,
    ) {
        let mut state = SLOTS.state(3, DType::F64, &Device::Cpu).unwrap();
        let mut lists = vec![vec![None; SLOTS.capacity]; 3];
        for (step, attention) in (0..).zip(&attention) {
            let (key, value) = (normal(&[3, 2], seed + 100 * step), normal(&[3, 4], seed + 100 * step + 50));
            let attention: Vec<f64> = attention.iter().map(|&a| f64::from(a) / 4.0).collect();
            for (row, list) in lists.iter_mut().enumerate() {
                let [key, value] = [&key, &value].map(|x| rows(x)[row].clone());
                write(list, Slot { key, value, attention: attention[row], age: 0 });
            }
            let attention = Tensor::new(attention, &Device::Cpu).unwrap();
            state = SLOTS.write(&state, &key, &value, &attention).unwrap();
            // Through serde and back: nothing is lost.
            let text = serde_json::to_string(&state).unwrap();
            state = serde_json::from_str(&text).unwrap();
        }
        let query = normal(&[3, 2, 2], seed + 7);
        let found = SLOTS.read(&state, &query).unwrap();
        let ages = state.age().unwrap();
        for (row, list) in lists.iter().enumerate() {
            let importance: Vec<f64> = state.importance().unwrap()[row].clone();
            for (slot, expected) in list.iter().enumerate() {
                let found = rows(&state.attention().unsqueeze(2).unwrap())[row][slot];
                prop_assert_eq!(found, expected.as_ref().map_or(0.0, |s| s.attention));
                let Some(expected) = expected else { continue };
                prop_assert_eq!(ages[row][slot], expected.age);
                prop_assert_eq!(importance[slot], expected.attention / (expected.age + 1) as f64);
                let at = |tensor: &Tensor| tensor.get(row).unwrap().get(slot).unwrap().to_vec1::<f64>().unwrap();
                prop_assert_eq!(&at(state.keys()), &expected.key);
                prop_assert_eq!(&at(state.values()), &expected.value);
            }
            for asked in 0..2 {
                let at = |tensor: &Tensor| tensor.get(row).unwrap().get(asked).unwrap().to_vec1::<f64>().unwrap();
                let (weights, value) = read(list, &at(&query));
                let pairs = at(&found.weights).into_iter().zip(weights).chain(at(&found.values).into_iter().zip(value));
                for (found, expected) in pairs {
                    prop_assert!((found - expected).abs() < 1e-12, "{} {}", found, expected);
                }
            }
        }
    }
}

/// Important things stay while unimportant ones come and go, until they are old.
#[test]
fn the_least_important_goes() {
    let mut state = SLOTS.state(1, DType::F32, &Device::Cpu).unwrap();
    let value = Tensor::zeros((1, 4), DType::F32, &Device::Cpu).unwrap();
    let mut write = |name: f32, attention: f32| {
        let key = Tensor::new(&[[name, 0.0]], &Device::Cpu).unwrap();
        let attention = Tensor::new(&[attention], &Device::Cpu).unwrap();
        state = SLOTS.write(&state, &key, &value, &attention).unwrap();
        let keys = state.keys().squeeze(0).unwrap().to_vec2::<f32>().unwrap();
        keys.iter().map(|key| key[0]).collect::<Vec<_>>()
    };
    assert_eq!(write(1.0, 10.0), [1.0, 0.0, 0.0]);
    write(2.0, 1.0);
    assert_eq!(write(3.0, 1.0), [1.0, 2.0, 3.0]);
    // 2 has 1/3, 3 has 1/2, 1 has 10/4.
    assert_eq!(write(4.0, 1.0), [1.0, 4.0, 3.0]);
    // Less important than everything: it is let go itself.
    assert_eq!(write(5.0, 0.1), [1.0, 4.0, 3.0]);
    // 1 has 10/(9 + 1) by now, and goes before what came since.
    for name in 6..10 {
        write(name as f32, 5.0);
    }
    assert!(!write(10.0, 5.0).contains(&1.0));
}

/// What is read is attended to, and stays when it would have gone.
#[test]
fn what_is_attended_to_stays() {
    let write = |state: &SlotsState, name: f64| {
        let key = Tensor::new(&[[name, 0.0]], &Device::Cpu).unwrap();
        let (value, attention) = (normal(&[1, 4], 1), Tensor::new(&[1f64], &Device::Cpu).unwrap());
        SLOTS.write(state, &key, &value, &attention).unwrap()
    };
    let mut state = SLOTS.state(1, DType::F64, &Device::Cpu).unwrap();
    for name in [3.0, 2.0, 1.0] {
        state = write(&state, name);
    }
    let query = Tensor::new(&[[[4f64, 0.0]]], &Device::Cpu).unwrap();
    let found = SLOTS.read(&state, &query).unwrap();
    let attended = state.attended(&found.weights).unwrap();
    let first = |state: &SlotsState| state.keys().flatten_all().unwrap().to_vec1::<f64>().unwrap()[0];
    assert_eq!((first(&write(&state, 9.0)), first(&write(&attended, 9.0))), (9.0, 3.0));
    assert!(state.attended(&found.weights.narrow(2, 0, 2).unwrap()).is_err());
}

/// From the read value back to keys, values, attention and query, through two writes; and none is NaN, for empty slots either.
#[test]
fn gradients_are_those_of_finite_differences() {
    let keys = [normal(&[2, 2], 1), normal(&[2, 2], 2)];
    let values = [normal(&[2, 4], 3), normal(&[2, 4], 4)];
    let attention = Var::new(&[[0.7f64, 1.2], [0.4, 2.0]], &Device::Cpu).unwrap();
    let query = normal(&[2, 3, 2], 5);
    let found = || {
        let mut state = SLOTS.state(2, DType::F64, &Device::Cpu).unwrap();
        for step in 0..2 {
            let attention = attention.get(step).unwrap();
            state = SLOTS.write(&state, &keys[step], &values[step], &attention).unwrap();
        }
        let found = SLOTS.read(&state, &query).unwrap();
        Tensor::cat(&[found.values, found.weights], 2).unwrap()
    };
    common::assert_gradients(&[&keys[0], &keys[1], &values[0], &values[1], &attention, &query], found);
    // Nothing stored, and nothing overflows.
    let state = SLOTS.state(2, DType::F64, &Device::Cpu).unwrap();
    let far = (query.as_tensor() * 1e6).unwrap();
    let far_key = far.get_on_dim(1, 0).unwrap();
    let written = SLOTS.write(&state, &far_key, &values[0], &attention.get(1).unwrap()).unwrap();
    for state in [state, written] {
        let found = SLOTS.read(&state, &far).unwrap().values.sum_all().unwrap();
        assert!(found.to_scalar::<f64>().unwrap().is_finite());
        let grads = found.backward().unwrap();
        let grad = grads.get(&query).unwrap().abs().unwrap().max_all().unwrap();
        assert!(grad.to_scalar::<f64>().unwrap().is_finite());
    }
}

/// A file that was cut off or changed is refused, and a state goes on as the one that was not saved.
#[test]
fn states_are_saved_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slots");
    let mut state = SLOTS.state(2, DType::F64, &Device::Cpu).unwrap();
    let step = |state: &SlotsState, seed| {
        let attention = normal(&[2], seed).abs().unwrap();
        SLOTS.write(state, &normal(&[2, 2], seed), &normal(&[2, 4], seed), &attention).unwrap()
    };
    for seed in 0..5 {
        state = step(&state, seed);
    }
    state.save(&path).unwrap();
    let again = SlotsState::load(&path).unwrap();
    let text = |state: &SlotsState| serde_json::to_string(state).unwrap();
    assert_eq!(text(&step(&again, 9)), text(&step(&state, 9)));

    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        std::fs::write(&path, &whole[..at]).unwrap();
        assert!(SlotsState::load(&path).is_err(), "cut off at {at}");
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, &flipped).unwrap();
        assert!(SlotsState::load(&path).is_err(), "byte {at} flipped");
    }
    // What is whole, and does not fit together.
    let mut parts: serde_json::Value = serde_json::from_str(&text(&state)).unwrap();
    parts["age"].as_array_mut().unwrap().pop();
    assert!(
        serde_json::from_value::<SlotsState>(parts)
            .unwrap_err()
            .to_string()
            .contains("does not fit together")
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let device = &Device::Cpu;
    for wrong in [
        Slots { capacity: 0, ..SLOTS },
        Slots { key: 0, ..SLOTS },
        Slots { value: 0, ..SLOTS },
        Slots { beta: 0.0, ..SLOTS },
        Slots { beta: f64::NAN, ..SLOTS },
    ] {
        assert!(wrong.state(1, DType::F32, device).is_err(), "{wrong:?}");
    }
    assert!(SLOTS.state(1, DType::U32, device).is_err());
    let state = SLOTS.state(2, DType::F64, device).unwrap();
    let (key, value) = (normal(&[2, 2], 0), normal(&[2, 4], 0));
    let given = |attention: [f64; 2]| Tensor::new(&attention, device).unwrap();
    for wrong in [[1.0, -1.0], [1.0, f64::NAN], [1.0, f64::INFINITY]] {
        let error = SLOTS.write(&state, &key, &value, &given(wrong)).unwrap_err().to_string();
        assert!(error.contains("of sequence 1"), "{error}");
    }
    assert!(SLOTS.write(&state, &value, &value, &given([1.0; 2])).is_err());
    assert!(SLOTS.write(&state, &key, &key, &given([1.0; 2])).is_err());
    assert!(SLOTS.write(&state, &key, &value, &normal(&[3], 0)).is_err());
    assert!(SLOTS.read(&state, &key).is_err());
    assert!(SLOTS.read(&state, &normal(&[1, 3, 2], 0)).is_err());
    assert!(Slots { capacity: 4, ..SLOTS }.read(&state, &normal(&[2, 3, 2], 0)).is_err());
}
