//! Transitions, mixtures, and rings by group.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeSet, VecDeque};

use candle_core::{DType, Device, Tensor};
use cl_core::snapshot;
use cl_replay::{
    Draw, Field, Flat, Item, Items, Leading, Prioritized, PrioritizedFlat, PrioritizedItems, Rings, Schema,
    Transitions, WithBeta, mix,
};
use common::{chi_square, critical};
use proptest::prelude::*;

fn schema() -> Schema {
    Schema::new([Field::new("t", DType::U32, []), Field::new("done", DType::U8, [])]).unwrap()
}

/// Steps first.. of every row, row · 1000 + time; an episode ends where `ends` says.
fn steps(rows: u32, first: u32, n: u32, ends: impl Fn(u32, u32) -> bool) -> (Tensor, Tensor) {
    let each = || (0..rows).flat_map(|row| (first..first + n).map(move |t| (row, t)));
    let shape = (rows as usize, n as usize);
    let times =
        Tensor::from_vec(each().map(|(row, t)| 1000 * row + t).collect(), shape, &Device::Cpu).unwrap();
    let done = each().map(|(row, t)| u8::from(ends(row, t))).collect::<Vec<_>>();
    (times, Tensor::from_vec(done, shape, &Device::Cpu).unwrap())
}

fn column(fields: &cl_replay::Fields) -> Vec<u32> {
    fields.get("t").unwrap().to_vec1().unwrap()
}

proptest! {
    /// Both kinds, after any additions: exactly the neighbours that are held, within an episode if that is asked for.
    #[test]
    fn transitions_are_neighbours(
        rows in 1..4u32,
        length in 2..8usize,
        adds in prop::collection::vec(1..9u32, 1..8),
        every in 2..5u32,
        episodes: bool,
    ) {
        let ends: Vec<String> = if episodes { vec!["done".into()] } else { vec![] };
        let sizes = Transitions { capacity: length * rows as usize, rows: rows as usize, min_len: 1, ends };
        let mut flat = Flat::new(schema(), sizes.clone(), cl_core::rng(1, "memory")).unwrap();
        let mut prioritized =
            PrioritizedFlat::new(schema(), sizes, Prioritized::default(), cl_core::rng(1, "memory")).unwrap();
        let ends_at = |row: u32, t: u32| (t + row).is_multiple_of(every);
        let mut written = 0;
        for n in adds.into_iter().map(|n| n.min(length as u32)) {
            let (t, done) = steps(rows, written, n, ends_at);
            flat.add(Leading::RowsSteps, &[("t", &t), ("done", &done)]).unwrap();
            prioritized.add(Leading::RowsSteps, &[("t", &t), ("done", &done)]).unwrap();
            written += n;
            let oldest = written.saturating_sub(length as u32);
            let expected: BTreeSet<u32> = (0..rows)
                .flat_map(|row| (oldest..written - 1).map(move |t| (row, t)))
                .filter(|&(row, t)| !episodes || !ends_at(row, t))
                .map(|(row, t)| 1000 * row + t)
                .collect();
            prop_assert_eq!((flat.len(), prioritized.len()), (expected.len(), expected.len()));
            prop_assert_eq!((flat.is_empty(), prioritized.is_empty()), (expected.is_empty(), expected.is_empty()));
            prop_assert_eq!((flat.can_sample(), prioritized.can_sample()), (!expected.is_empty(), !expected.is_empty()));
            if expected.is_empty() {
                prop_assert!(flat.sample(1, Draw::WithReplacement).is_err() && prioritized.sample(1, 0.0).is_err());
                continue;
            }
            let all = flat.sample(expected.len(), Draw::WithoutReplacement).unwrap();
            let (first, second) = (column(&all.first), column(&all.second));
            prop_assert_eq!(first.iter().copied().collect::<BTreeSet<_>>(), expected.clone());
            prop_assert!(first.iter().zip(&second).all(|(a, b)| a + 1 == *b));
            let drawn = prioritized.sample(64, 0.5).unwrap();
            let (first, second) = (column(&drawn.first), column(&drawn.second));
            prop_assert!(first.iter().all(|t| expected.contains(t)));
            prop_assert!(first.iter().zip(&second).all(|(a, b)| a + 1 == *b));
        }
    }
}

/// The pair of newest and oldest is never drawn; the others equally often.
#[test]
fn transitions_of_a_full_memory_are_equally_likely() {
    let sizes = Transitions { capacity: 10, rows: 2, ..Default::default() };
    let mut memory = Flat::new(schema(), sizes, cl_core::rng(3, "memory")).unwrap();
    for t in 0..8 {
        let (t, done) = steps(2, t, 1, |_, _| false);
        let one = |tensor: &Tensor| tensor.squeeze(1).unwrap();
        memory.add(Leading::Rows, &[("t", &one(&t)), ("done", &one(&done))]).unwrap();
    }
    assert_eq!((memory.length(), memory.len()), (5, 8));
    let mut counts = std::collections::BTreeMap::<u32, u64>::new();
    let drawn = memory.sample(20_000, Draw::WithReplacement).unwrap();
    column(&drawn.first).into_iter().for_each(|t| *counts.entry(t).or_default() += 1);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [3, 4, 5, 6, 1003, 1004, 1005, 1006]);
    assert!(chi_square(&counts.into_values().collect::<Vec<_>>(), 20_000) < critical(7));
}

/// One stratum in five is that of the first transition.
#[test]
fn transitions_by_priority_have_their_probabilities_and_weights() {
    let sizes = Transitions { capacity: 3, ..Default::default() };
    let config = Prioritized { alpha: 1.0, ..Default::default() };
    let mut memory = PrioritizedFlat::new(schema(), sizes, config, cl_core::rng(3, "memory")).unwrap();
    let (t, done) = steps(1, 0, 3, |_, _| false);
    memory.add(Leading::RowsSteps, &[("t", &t), ("done", &done)]).unwrap();
    let items = [0, 1].map(|time| Item { row: 0, time });
    memory.set_priorities(&items, &[1.0, 4.0]).unwrap();
    let drawn = memory.sample(5, 0.5).unwrap();
    assert_eq!(column(&drawn.first), [0, 1, 1, 1, 1]);
    assert_eq!(drawn.probabilities.to_vec1::<f32>().unwrap(), [0.2, 0.8, 0.8, 0.8, 0.8]);
    assert_eq!(drawn.weights.to_vec1::<f32>().unwrap(), [1.0, 0.5, 0.5, 0.5, 0.5]);
}

#[test]
fn a_generator_of_the_caller_draws_as_its_own_would() {
    let sizes = Transitions { capacity: 20, ..Default::default() };
    let rng = || cl_core::rng(5, "memory");
    let config = Prioritized { alpha: 1.0, ..Default::default() };
    let mut flat = Flat::new(schema(), sizes.clone(), rng()).unwrap();
    let mut prioritized = PrioritizedFlat::new(schema(), sizes, config, rng()).unwrap();
    let (t, done) = steps(1, 0, 20, |_, _| false);
    flat.add(Leading::RowsSteps, &[("t", &t), ("done", &done)]).unwrap();
    prioritized.add(Leading::RowsSteps, &[("t", &t), ("done", &done)]).unwrap();
    prioritized.set_priorities(&[Item { row: 0, time: 3 }], &[30.0]).unwrap();
    let (mut one, mut other) = (rng(), rng());
    for _ in 0..3 {
        let draw = Draw::WithReplacement;
        let (theirs, own) = (flat.sample_with(8, draw, &mut one).unwrap(), flat.sample(8, draw).unwrap());
        assert_eq!(theirs.items, own.items);
        let theirs = prioritized.sample_with(8, 0.5, &mut other).unwrap();
        let own = prioritized.sample(8, 0.5).unwrap();
        assert_eq!(theirs.items, own.items);
        assert_eq!(theirs.weights.to_vec1::<f32>().unwrap(), own.weights.to_vec1::<f32>().unwrap());
    }
}

#[test]
fn all_four_shapes_are_one_memory() {
    let add = |leading, t: &Tensor, done: &Tensor| {
        let mut memory =
            Flat::new(schema(), Transitions { capacity: 4, ..Default::default() }, cl_core::rng(0, "m"))
                .unwrap();
        memory.add(leading, &[("t", t), ("done", done)]).map(|()| memory.length())
    };
    let (t, done) = steps(1, 0, 1, |_, _| false);
    let squeezed = |n: usize| {
        let squeeze = |tensor: &Tensor| (0..n).fold(tensor.clone(), |tensor, _| tensor.squeeze(0).unwrap());
        (squeeze(&t), squeeze(&done))
    };
    for (leading, n) in [(Leading::RowsSteps, 0), (Leading::Rows, 1), (Leading::Steps, 1), (Leading::None, 2)]
    {
        let (t, done) = squeezed(n);
        assert_eq!(add(leading, &t, &done).unwrap(), 4);
        let wrong = if n == 2 { Leading::Steps } else { Leading::None };
        assert!(add(wrong, &t, &done).is_err());
    }
    let sizes = |capacity, rows, min_len| Transitions { capacity, rows, min_len, ends: vec![] };
    for (sizes, part) in [
        (sizes(3, 2, 1), "each needs two"),
        (sizes(10, 2, 10), "will never be there"),
        (sizes(10, 0, 1), "at least 1"),
    ] {
        let error = Flat::new(schema(), sizes, cl_core::rng(0, "m")).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_mixture_says_from_where_each_sample_is() {
    let items = |first: u32| {
        let (t, done) = steps(1, first, 20, |_, _| false);
        (t.flatten_all().unwrap(), done.flatten_all().unwrap())
    };
    let mut uniform = Items::new(schema(), 20, cl_core::rng(0, "a")).unwrap();
    let config = Prioritized { alpha: 1.0, ..Default::default() };
    let mut prioritized = PrioritizedItems::new(schema(), 20, config, cl_core::rng(0, "b")).unwrap();
    let empty_mix = mix(&mut [&mut uniform, &mut WithBeta(&mut prioritized, 1.0)], &[1.0, 1.0], 4)
        .unwrap_err()
        .to_string();
    assert!(empty_mix.contains("memory 0 has nothing"), "{empty_mix}");
    let (t, done) = items(0);
    uniform.add(&[("t", &t), ("done", &done)]).unwrap();
    let (t, done) = items(500);
    prioritized.add(&[("t", &t), ("done", &done)]).unwrap();
    let all: Vec<_> = prioritized.sample(20, 0.0).unwrap().items;
    prioritized.set_priorities(&all, &(1..=20).map(|p| p as f32).collect::<Vec<_>>()).unwrap();

    let batch = mix(&mut [&mut uniform, &mut WithBeta(&mut prioritized, 1.0)], &[1.0, 3.0], 10).unwrap();
    assert_eq!(batch.source, [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]);
    let (t, weights) = (column(&batch.fields), batch.weights.to_vec1::<f32>().unwrap());
    for ((t, source), item) in t.iter().zip(&batch.source).zip(&batch.items) {
        assert_eq!(*t >= 500, *source == 1);
        assert_eq!(u64::from(t % 500), item.time);
    }
    assert!(weights[..3].iter().all(|&w| w == 1.0) && weights[3..].iter().any(|&w| w < 1.0));
    let other = Schema::new([Field::new("x", DType::F32, [])]).unwrap();
    let mut other = Items::new(other, 5, cl_core::rng(0, "c")).unwrap();
    other.add(&[("x", &Tensor::zeros(5, DType::F32, &Device::Cpu).unwrap())]).unwrap();
    assert!(mix(&mut [&mut uniform, &mut other], &[1.0, 1.0], 4).is_err());
    assert!(mix(&mut [&mut uniform], &[1.0, 1.0], 4).is_err());
}

proptest! {
    /// Against a list for every group.
    #[test]
    fn rings_keep_the_newest_of_every_group(
        per_group in 1..5usize,
        batches in prop::collection::vec(prop::collection::vec(0..3u32, 0..8), 1..6),
    ) {
        let mut rings = Rings::new(per_group, 3, cl_core::rng(0, "memory")).unwrap();
        let (mut lists, mut came) = (vec![VecDeque::new(); 3], Vec::new());
        let mut next = 0;
        for keys in batches {
            let (x, y) = common::samples(next..next + keys.len() as u32);
            rings.offer(&keys, &x, &y).unwrap();
            for (number, &key) in (next..).zip(&keys) {
                if !came.contains(&key) {
                    came.push(key);
                }
                lists[key as usize].push_back(number);
                if lists[key as usize].len() > per_group {
                    lists[key as usize].pop_front();
                }
            }
            next += keys.len() as u32;
            for (key, list) in (0..).zip(&lists) {
                match rings.group(key) {
                    Ok(group) => prop_assert!(common::numbers(&group).iter().eq(list.iter())),
                    Err(_) => prop_assert!(list.is_empty()),
                }
            }
            let counts = came.iter().map(|&key| (key, lists[key as usize].len()));
            prop_assert!(rings.counts().eq(counts));
            rings = snapshot::from_bytes(&snapshot::to_bytes(Rings::KIND, &rings).unwrap(), Rings::KIND).unwrap();
            prop_assert_eq!(rings.len(), lists.iter().map(VecDeque::len).sum::<usize>());
        }
    }
}

#[test]
fn rings_have_room_for_so_many_groups() {
    let mut rings = Rings::new(2, 2, cl_core::rng(0, "memory")).unwrap();
    let (x, y) = common::samples(0..3);
    let error = rings.offer(&[0, 1, 2], &x, &y).unwrap_err().to_string();
    assert!(error.contains("2 is one more than the 2"), "{error}");
    assert!(rings.is_empty() && rings.counts().next().is_none());
    assert!(rings.offer(&[0, 1], &x, &y).is_err());
    assert!(rings.sample(1, Draw::WithReplacement).is_err());
}

/// Over all samples, whatever their group.
#[test]
fn rings_are_drawn_uniformly() {
    let mut rings = Rings::new(3, 2, cl_core::rng(4, "memory")).unwrap();
    let (x, y) = common::samples(0..8);
    rings.offer(&[0, 0, 0, 0, 0, 1, 0, 1], &x, &y).unwrap();
    let mut all = common::numbers(&rings.sample(5, Draw::WithoutReplacement).unwrap());
    all.sort_unstable();
    assert_eq!(all, [3, 4, 5, 6, 7]);
    let mut counts = vec![0; 5];
    for _ in 0..1000 {
        for number in common::numbers(&rings.sample(10, Draw::WithReplacement).unwrap()) {
            counts[number as usize - 3] += 1;
        }
    }
    assert!(chi_square(&counts, 10_000) < critical(4), "{counts:?}");
}

#[test]
fn more_transitions_than_there_can_be_are_refused() {
    let sizes = Transitions { capacity: usize::MAX, min_len: usize::MAX, ..Transitions::default() };
    let schema = Schema::new([Field::new("x", DType::U8, [])]).unwrap();
    assert!(
        Flat::new(schema, sizes, cl_core::rng(0, "memory")).unwrap_err().to_string().contains("too many")
    );
}
