//! Independent items: first in, first out, drawn uniformly; and the same by priority.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::VecDeque;

use candle_core::{DType, Device, Tensor};
use cl_core::Error;
use cl_replay::{Draw, Field, Item, Items, Prioritized, PrioritizedItems, Schema};
use common::{
    chi_square, chi_square_of_subsets, critical, state,
    steps::{Steps, assert_items, schema, sorted},
};
use proptest::prelude::*;

const PROPORTIONAL: Prioritized = Prioritized {
    alpha: 1.0,
    new_items: cl_replay::NewItems::LargestEver,
    weights: cl_replay::Weights::None,
    strata: cl_replay::Strata::Stratified,
};

fn uniform(capacity: usize) -> Items {
    Items::new(schema(), capacity, cl_core::rng(1, "memory")).unwrap()
}

fn prioritized(capacity: usize) -> PrioritizedItems {
    PrioritizedItems::new(schema(), capacity, PROPORTIONAL, cl_core::rng(1, "memory")).unwrap()
}

fn item(time: u64) -> Item {
    Item { row: 0, time }
}

/// Everything that a memory would draw.
fn drawable(memory: &mut Items) -> Vec<Item> {
    let sample = memory.sample(memory.len(), Draw::WithoutReplacement).unwrap();
    assert_items(&sample.fields, &sample.items);
    sorted(sample.items)
}

proptest! {
    /// A queue of the newest `capacity`: what is held, what had to go, that a new item in a place has the
    /// priority of a new item, and (T4) that each is drawn at every fill.
    #[test]
    fn the_oldest_go_first(capacity in 1..20usize, additions in prop::collection::vec(1..20usize, 1..20)) {
        let (mut memory, mut by_priority) = (uniform(capacity), prioritized(capacity));
        let (mut queue, mut next) = (VecDeque::new(), 0);
        for n in additions {
            let n = n.min(capacity) as u64;
            let batch = Steps::items(next..next + n);
            let gone = memory.add(&batch.batch()).unwrap();
            by_priority.add(&batch.batch()).unwrap();
            queue.extend((next..next + n).map(item));
            next += n;
            let expected: Vec<Item> = queue.drain(..queue.len().saturating_sub(capacity)).collect();
            prop_assert_eq!(gone, expected);

            prop_assert_eq!((memory.len(), by_priority.len()), (queue.len(), queue.len()));
            prop_assert!(memory.can_sample() && by_priority.can_sample() && !memory.is_empty());
            prop_assert_eq!(VecDeque::from(drawable(&mut memory)), queue.clone());
            prop_assert_eq!(by_priority.total(), queue.len() as f64);
            let sample = by_priority.sample(queue.len(), 0.0).unwrap();
            assert_items(&sample.fields, &sample.items);
            prop_assert_eq!(VecDeque::from(sorted(sample.items)), queue.clone());

            // The oldest loses its priority with its place.
            by_priority.set_priorities(&[queue[0]], &[0.5]).unwrap();
            prop_assert_eq!(by_priority.total(), queue.len() as f64 - 0.5);
            by_priority.set_priorities(&[queue[0]], &[1.0]).unwrap();
        }
    }

    /// A batch (rows, steps) goes in row after row, and in any layout.
    #[test]
    fn sequences_go_in_row_after_row(rows in 1..5usize, steps in 1..5usize, before in 0..9u64) {
        let (mut memory, mut by_priority) = (uniform(20), prioritized(20));
        if before > 0 {
            memory.add(&Steps::items(0..before).batch()).unwrap();
            by_priority.add(&Steps::items(0..before).batch()).unwrap();
        }
        let n = (rows * steps) as u64;
        let flat = Steps::items(before..before + n);
        let shaped = flat.batch().map(|(name, tensor)| {
            let mut dims = vec![rows, steps];
            dims.extend(&tensor.dims()[1..]);
            let tensor = tensor.reshape(dims).unwrap();
            (name, tensor.transpose(0, 1).unwrap().contiguous().unwrap().transpose(0, 1).unwrap())
        });
        let shaped = shaped.each_ref().map(|(name, tensor)| (*name, tensor));
        memory.add_sequences(&shaped).unwrap();
        by_priority.add_sequences(&shaped).unwrap();
        let expected: Vec<Item> = (0..before + n).skip((before + n).saturating_sub(20) as usize).map(item).collect();
        prop_assert_eq!(drawable(&mut memory), expected);
        let sample = by_priority.sample(20, 0.0).unwrap();
        assert_items(&sample.fields, &sample.items);
    }
}

#[test]
fn nothing_is_drawn_before_the_least() {
    for least in 0..5 {
        let rng = || cl_core::rng(1, "memory");
        let mut memory = Items::with_min_len(schema(), 5, least, rng()).unwrap();
        let mut by_priority =
            PrioritizedItems::with_min_len(schema(), 5, least, PROPORTIONAL, rng()).unwrap();
        for n in 0..6 {
            let ready = n >= least.max(1) as u64;
            assert_eq!((memory.can_sample(), by_priority.can_sample()), (ready, ready), "{n} of {least}");
            let before = (state(&memory), state(&by_priority));
            assert_eq!(memory.sample(2, Draw::WithReplacement).is_ok(), ready);
            assert_eq!(by_priority.sample(2, 0.5).is_ok(), ready);
            if !ready {
                assert_eq!((state(&memory), state(&by_priority)), before);
            }
            memory.add(&Steps::items(n..n + 1).batch()).unwrap();
            by_priority.add(&Steps::items(n..n + 1).batch()).unwrap();
        }
    }
}

#[test]
fn items_are_drawn_uniformly() {
    let mut memory = uniform(12);
    memory.add(&Steps::items(0..12).batch()).unwrap();
    memory.add(&Steps::items(12..17).batch()).unwrap();
    let (mut with, mut without) = (vec![0; 12], vec![0; 12]);
    for _ in 0..4000 {
        for item in memory.sample(5, Draw::WithReplacement).unwrap().items {
            with[item.time as usize - 5] += 1;
        }
        let sample = memory.sample(5, Draw::WithoutReplacement).unwrap();
        assert_items(&sample.fields, &sample.items);
        let items = sorted(sample.items);
        assert!(items.windows(2).all(|pair| pair[0] < pair[1]));
        items.iter().for_each(|item| without[item.time as usize - 5] += 1);
    }
    assert!(chi_square(&with, 20_000) < critical(11), "{with:?}");
    assert!(chi_square_of_subsets(&without, 5, 4000) < critical(11), "{without:?}");
    let before = state(&memory);
    assert!(matches!(memory.sample(13, Draw::WithoutReplacement), Err(Error::Invalid { .. })));
    assert_eq!(state(&memory), before);
    // With replacement a batch may be larger than the memory.
    assert_eq!(memory.sample(100, Draw::WithReplacement).unwrap().items.len(), 100);
}

/// T5: an item that went keeps no hold on its place.
#[test]
fn a_late_priority_does_not_reach_the_successor() {
    let mut memory = prioritized(3);
    memory.add(&Steps::items(0..3).batch()).unwrap();
    memory.set_priorities(&[item(2)], &[4.0]).unwrap();
    memory.add(&Steps::items(3..4).batch()).unwrap();
    // The largest so far.
    assert_eq!(memory.priority(item(3)).unwrap(), Some(4.0));
    let updated = memory.set_priorities(&[item(0), item(1)], &[50.0, 2.0]).unwrap();
    assert_eq!((updated.set, updated.late), (1, vec![0]));
    assert_eq!(
        [0, 1, 2, 3].map(|t| memory.priority(item(t)).unwrap()),
        [None, Some(2.0), Some(4.0), Some(4.0)]
    );
    assert_eq!((memory.total(), memory.largest_ever()), (10.0, 4.0));
    assert!(memory.set_priorities(&[item(4)], &[1.0]).is_err());
    assert!(memory.set_priorities(&[Item { row: 1, time: 3 }], &[1.0]).is_err());
}

#[test]
fn what_cannot_be_is_refused() {
    let rng = || cl_core::rng(1, "memory");
    for (capacity, least) in [(0, 0), (0, 1), (5, 6), (usize::MAX, 1), (u32::MAX as usize, 1)] {
        let errors = [
            Items::with_min_len(schema(), capacity, least, rng()).unwrap_err(),
            PrioritizedItems::with_min_len(schema(), capacity, least, PROPORTIONAL, rng()).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::Invalid { .. }), "{capacity}, {least}: {error}");
            assert!(!error.to_string().contains("period"), "{error}");
        }
    }
    Items::with_min_len(schema(), 5, 5, rng()).unwrap();
}

/// T21: every field, every axis.
#[test]
fn what_does_not_fit_changes_nothing() {
    let (mut memory, mut by_priority) = (uniform(4), prioritized(4));
    memory.add(&Steps::items(0..2).batch()).unwrap();
    by_priority.add(&Steps::items(0..2).batch()).unwrap();
    let before = (state(&memory), state(&by_priority));
    let cpu = |dtype, dims: &[usize]| Tensor::zeros(dims, dtype, &Device::Cpu).unwrap();
    let good = [cpu(DType::I64, &[2, 2]), cpu(DType::F32, &[2]), cpu(DType::U8, &[2])];
    let names = ["at", "half", "done"];
    let mut refused = |tensors: &[Tensor], word: &str| {
        let batch: Vec<(&str, &Tensor)> = names.into_iter().zip(tensors).collect();
        for error in [memory.add(&batch).unwrap_err(), by_priority.add(&batch).unwrap_err()] {
            assert!(matches!(error, Error::Invalid { .. } | Error::Mismatch { .. }), "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
        for error in
            [memory.add_sequences(&batch).unwrap_err(), by_priority.add_sequences(&batch).unwrap_err()]
        {
            assert!(matches!(error, Error::Invalid { .. } | Error::Mismatch { .. }), "{error}");
        }
        assert_eq!((state(&memory), state(&by_priority)), before);
    };
    for (field, dtype, dims) in [
        (0, DType::I64, &[2, 1][..]),
        (0, DType::I64, &[2]),
        (0, DType::I64, &[1, 2, 2]),
        (0, DType::F32, &[2, 2]),
        (1, DType::F32, &[3]),
        (1, DType::F32, &[1]),
        (1, DType::F32, &[]),
        (2, DType::U8, &[2, 1]),
        (2, DType::U32, &[2]),
    ] {
        let mut wrong = good.clone();
        wrong[field] = cpu(dtype, dims);
        refused(&wrong, names[if dims == [1, 2, 2] { 0 } else { field }]);
    }
    refused(&good[..2], "done");
    for n in [0, 5] {
        refused(&[cpu(DType::I64, &[n, 2]), cpu(DType::F32, &[n]), cpu(DType::U8, &[n])], "1 to 4");
    }
}

/// T17: at every moment.
#[test]
fn a_restored_memory_goes_on_as_the_saved_one() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("items"), folder.path().join("by-priority"));
    let (mut memory, mut by_priority) = (uniform(7), prioritized(7));
    let mut next = 0;
    for n in [3, 2, 7, 1, 5] {
        memory.save(&path).unwrap();
        by_priority.save(&other).unwrap();
        let batch = Steps::items(next..next + n);
        next += n;
        let mut twin = Items::load(&path).unwrap();
        let drawn = [&mut memory, &mut twin].map(|memory| {
            memory.add(&batch.batch()).unwrap();
            memory.sample(4, Draw::WithReplacement).unwrap().items
        });
        assert_eq!(drawn[0], drawn[1]);
        let mut twin_by_priority = PrioritizedItems::load(&other).unwrap();
        let drawn = [&mut by_priority, &mut twin_by_priority].map(|memory| {
            memory.add(&batch.batch()).unwrap();
            let items = memory.sample(4, 1.0).unwrap().items;
            memory.set_priorities(&items, &[0.5, 0.0, 3.0, n as f32]).unwrap();
            items
        });
        assert_eq!(drawn[0], drawn[1]);
        assert_eq!(state(&memory), state(&twin));
        assert_eq!(state(&by_priority), state(&twin_by_priority));
    }
    // They are of different kinds.
    assert!(matches!(Items::load(&other), Err(Error::Format { .. })));
    assert!(matches!(PrioritizedItems::load(&path), Err(Error::Format { .. })));
}

/// A view that does not begin where its data does.
#[test]
fn a_part_of_a_tensor_can_be_added() {
    let mut memory = uniform(5);
    memory.add(&Steps::items(0..2).batch()).unwrap();
    let long = Steps::items(0..8);
    let part = long.batch().map(|(name, tensor)| (name, tensor.narrow(0, 2, 3).unwrap()));
    memory.add(&part.each_ref().map(|(name, tensor)| (*name, tensor))).unwrap();
    assert_eq!(drawable(&mut memory), (0..5).map(item).collect::<Vec<_>>());
}

/// The chunks of memory are copies: what is added may change afterwards.
#[test]
fn a_memory_shares_nothing_with_what_was_added() {
    let var = candle_core::Var::zeros(2, DType::F32, &Device::Cpu).unwrap();
    let schema = Schema::new([Field::new("x", DType::F32, [])]).unwrap();
    let mut memory = Items::new(schema, 2, cl_core::rng(1, "memory")).unwrap();
    memory.add(&[("x", var.as_tensor())]).unwrap();
    let sample = memory.sample(2, Draw::WithReplacement).unwrap();
    var.set(&Tensor::ones(2, DType::F32, &Device::Cpu).unwrap()).unwrap();
    for sample in [sample, memory.sample(2, Draw::WithReplacement).unwrap()] {
        assert_eq!(sample.get("x").unwrap().to_vec1::<f32>().unwrap(), [0.0, 0.0]);
    }
}
