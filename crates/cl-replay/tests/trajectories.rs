//! Sequences: which there are, what they contain, how they are drawn, and what is refused.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use cl_core::Error;
use cl_replay::{
    Draw, Field, Item, Prioritized, PrioritizedTrajectories, Schema, Sequences, Strata, Trajectories,
};
use common::{
    chi_square, chi_square_of_subsets, critical, state,
    steps::{Steps, all_items, assert_contiguous, schema, sorted, starts},
};
use proptest::prelude::*;

fn uniform(sizes: &Sequences) -> Trajectories {
    Trajectories::new(schema(), sizes.clone(), cl_core::rng(1, "memory")).unwrap()
}

fn prioritized(sizes: &Sequences) -> PrioritizedTrajectories {
    PrioritizedTrajectories::new(schema(), sizes.clone(), Prioritized::default(), cl_core::rng(1, "memory"))
        .unwrap()
}

fn never(_: usize, _: u64) -> bool {
    false
}

/// Everything that a memory would draw, each sequence once.
fn drawable(memory: &mut Trajectories, sizes: &Sequences) -> Vec<Item> {
    let sample = memory.sample(memory.len(), Draw::WithoutReplacement).unwrap();
    assert_contiguous(&sample.fields, &sample.items, sizes.sample);
    sorted(sample.items)
}

/// The same; new items have equal priorities, so that strata of half an item's width meet all of them.
fn drawable_by_priority(memory: &mut PrioritizedTrajectories, sizes: &Sequences) -> Vec<Item> {
    let sample = memory.sample(2 * memory.len(), 1.0).unwrap();
    assert_contiguous(&sample.fields, &sample.items, sizes.sample);
    assert!(sample.weights.to_vec1::<f32>().unwrap().iter().all(|&weight| weight == 1.0));
    let mut items = sorted(sample.items);
    items.dedup();
    items
}

/// Rows, T, L, P, least and a list of lengths of additions, each at most T.
fn geometry() -> impl Strategy<Value = (Sequences, Vec<usize>)> {
    (1..4usize, 1..15usize, any::<usize>(), 1..7usize, any::<usize>()).prop_flat_map(
        |(rows, length, sample, period, least)| {
            let sizes = Sequences {
                rows,
                length,
                sample: 1 + sample % length,
                period,
                min_length: least % (length + 1),
                ends: Vec::new(),
            };
            (Just(sizes), prop::collection::vec(1..=length, 1..12))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// T6, T7, T16: after any additions (one of the whole length among them), what can be drawn is what the
    /// formula says, sequences are contiguous, and before that a draw is an error that changes nothing.
    #[test]
    fn what_can_be_drawn_is_what_the_formula_says((sizes, additions) in geometry()) {
        let mut memory = uniform(&sizes);
        let mut written = 0;
        for steps in additions {
            memory.add(&Steps::new(sizes.rows, written..written + steps as u64, never).batch()).unwrap();
            written += steps as u64;

            let (n, t, l, p) = (written as i64, sizes.length as i64, sizes.sample as i64, sizes.period as i64);
            let first = p * ((n - t).max(0) + p - 1).div_euclid(p);
            let m = ((n - first - l).div_euclid(p) + 1).max(0);
            let formula: Vec<u64> = (0..m).map(|j| (first + j * p) as u64).collect();
            prop_assert_eq!(&formula, &starts(&sizes, written));

            prop_assert_eq!(memory.written(), written);
            prop_assert_eq!(memory.stored() as u64, written.min(sizes.length as u64));
            prop_assert_eq!(memory.len(), sizes.rows * formula.len());
            prop_assert_eq!(memory.is_empty(), formula.is_empty());
            prop_assert_eq!(memory.can_sample(), m > 0 && memory.stored() >= sizes.min_length);
            if memory.can_sample() {
                prop_assert_eq!(drawable(&mut memory, &sizes), all_items(&sizes, written));
            } else {
                let before = state(&memory);
                for draw in [Draw::WithReplacement, Draw::WithoutReplacement] {
                    let error = memory.sample(1, draw).unwrap_err();
                    prop_assert!(matches!(error, Error::Invalid { .. }), "{}", error);
                }
                prop_assert_eq!(state(&memory), before);
            }
        }
    }

    /// The two memories agree wherever the length is a multiple of the period, to which the prioritized one
    /// rounds it down.
    #[test]
    fn uniform_and_prioritized_agree((mut sizes, additions) in geometry()) {
        prop_assume!(sizes.length >= sizes.period);
        sizes.min_length = 0;
        let rounded = sizes.length / sizes.period * sizes.period;
        prop_assume!(sizes.sample <= rounded);
        let mut by_priority = prioritized(&sizes);
        prop_assert_eq!(by_priority.length(), rounded);
        sizes.length = rounded;
        let mut memory = uniform(&sizes);
        let mut written = 0;
        for steps in additions {
            let times = written..written + steps.min(rounded) as u64;
            written = times.end;
            let steps = Steps::new(sizes.rows, times, never);
            memory.add(&steps.batch()).unwrap();
            by_priority.add(&steps.batch()).unwrap();
            prop_assert_eq!(memory.can_sample(), by_priority.can_sample());
            prop_assert_eq!(memory.len(), by_priority.len());
            prop_assert_eq!(by_priority.total(), memory.len() as f64);
            if memory.can_sample() {
                let all = drawable(&mut memory, &sizes);
                prop_assert_eq!(&drawable_by_priority(&mut by_priority, &sizes), &all);
            }
        }
    }

    /// With `ends`, what can be drawn are the sequences that have no end before their last step, as all
    /// flags that were ever given tell.
    #[test]
    fn a_sequence_stays_within_its_episode(
        (mut sizes, additions) in geometry(),
        seed: u64,
        often in 1..8u64,
    ) {
        sizes.ends = vec!["done".into()];
        sizes.length = (sizes.length / sizes.period).max(1) * sizes.period;
        sizes.sample = sizes.sample.min(sizes.length);
        sizes.min_length = 0;
        let done = |row: usize, time: u64| {
            (seed ^ (row as u64) << 40 ^ time).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40 & 7 < often - 1
        };
        let (mut memory, mut by_priority) = (uniform(&sizes), prioritized(&sizes));
        let mut written = 0;
        for steps in additions {
            let times = written..written + steps.min(sizes.length) as u64;
            let steps = Steps::new(sizes.rows, times, done);
            memory.add(&steps.batch()).unwrap();
            by_priority.add(&steps.batch()).unwrap();
            written = memory.written();
            let whole = |item: &Item| {
                (item.time..item.time + sizes.sample as u64 - 1).all(|time| !done(item.row as usize, time))
            };
            let (expected, across): (Vec<Item>, Vec<Item>) =
                all_items(&sizes, written).into_iter().partition(whole);
            prop_assert_eq!((memory.len(), by_priority.len()), (expected.len(), expected.len()));
            prop_assert_eq!(by_priority.total(), expected.len() as f64);
            prop_assert_eq!(memory.can_sample(), !expected.is_empty());
            prop_assert_eq!(by_priority.can_sample(), !expected.is_empty());
            if !expected.is_empty() {
                prop_assert_eq!(&drawable(&mut memory, &sizes), &expected);
                prop_assert_eq!(&drawable_by_priority(&mut by_priority, &sizes), &expected);
            }
            // Nor does a priority bring one across an end to life.
            let updated = by_priority.set_priorities(&across, &vec![5.0; across.len()]).unwrap();
            prop_assert_eq!((updated.set, updated.late), (0, (0..across.len()).collect()));
            prop_assert_eq!(by_priority.total(), expected.len() as f64);
        }
        // The index of episodes is saved as well (T17).
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory");
        memory.save(&path).unwrap();
        let mut twin = Trajectories::load(&path).unwrap();
        let steps = Steps::new(sizes.rows, written..written + sizes.length as u64, done);
        for memory in [&mut memory, &mut twin] {
            memory.add(&steps.batch()).unwrap();
            let _ = memory.sample(7, Draw::WithReplacement);
        }
        prop_assert_eq!(state(&memory), state(&twin));
    }
}

/// T6, as measured elsewhere: a full memory that has no sequence cannot be drawn from.
#[test]
fn full_is_not_enough() {
    for (length, sample, period, steps, full_without_any) in [(10, 9, 5, 3, 22), (20, 20, 5, 4, 28)] {
        let sizes = Sequences { length, sample, period, ..Default::default() };
        let (mut memory, mut by_priority) = (uniform(&sizes), prioritized(&sizes));
        let mut without_any = 0;
        for turn in 0..40 {
            let new = Steps::new(1, turn * steps..(turn + 1) * steps, never);
            memory.add(&new.batch()).unwrap();
            by_priority.add(&new.batch()).unwrap();
            let any = !starts(&sizes, memory.written()).is_empty();
            without_any += usize::from(memory.stored() == length && !any);
            assert_eq!((memory.can_sample(), by_priority.can_sample()), (any, any));
            assert_eq!(memory.sample(1, Draw::WithReplacement).is_ok(), any);
            assert_eq!(by_priority.sample(1, 0.5).is_ok(), any);
        }
        assert_eq!(without_any, full_without_any);
    }
}

/// T16: the sequences begin at fixed multiples of the period.
#[test]
fn the_grid_does_not_move_with_the_head() {
    let sizes = Sequences { length: 12, sample: 3, period: 3, ..Default::default() };
    let (mut memory, mut by_priority) = (uniform(&sizes), prioritized(&sizes));
    for (times, expected) in [(0..12, &[0, 3, 6, 9][..]), (12..13, &[3, 6, 9]), (13..15, &[3, 6, 9, 12])] {
        let steps = Steps::new(1, times, never);
        memory.add(&steps.batch()).unwrap();
        by_priority.add(&steps.batch()).unwrap();
        for items in [drawable(&mut memory, &sizes), drawable_by_priority(&mut by_priority, &sizes)] {
            assert!(items.iter().map(|item| item.time).eq(expected.iter().copied()), "{items:?}");
        }
    }
}

/// T4, T7: S = T, again and again.
#[test]
fn the_whole_length_can_be_added_at_once() {
    for (sample, period) in [(1, 1), (4, 1), (8, 1), (3, 2), (8, 8)] {
        let sizes = Sequences { rows: 2, length: 8, sample, period, ..Default::default() };
        let (mut memory, mut by_priority) = (uniform(&sizes), prioritized(&sizes));
        for round in 0..3 {
            // One step between, so that the whole length goes round the end.
            for times in [9 * round..9 * round + 8, 9 * round + 8..9 * round + 9] {
                let end = times.end;
                let steps = Steps::new(2, times, never);
                memory.add(&steps.batch()).unwrap();
                by_priority.add(&steps.batch()).unwrap();
                if memory.can_sample() {
                    assert_eq!(drawable(&mut memory, &sizes), all_items(&sizes, end));
                    assert_eq!(drawable_by_priority(&mut by_priority, &sizes), all_items(&sizes, end));
                }
            }
        }
    }
}

/// With replacement every sequence of every row is as likely, full or not, and each draw for itself.
#[test]
fn draws_with_replacement_are_uniform_and_independent() {
    let sizes = Sequences { rows: 3, length: 20, sample: 4, period: 2, ..Default::default() };
    let mut memory = uniform(&sizes);
    for (times, cells) in [(0..7, 6), (7..33, 24)] {
        let mut written = memory.written();
        for step in times.clone() {
            memory.add(&Steps::new(3, step..step + 1, never).batch()).unwrap();
            written += 1;
        }
        let index: BTreeMap<Item, usize> =
            all_items(&sizes, written).into_iter().enumerate().map(|(i, item)| (item, i)).collect();
        assert_eq!(index.len(), cells);
        let draws = 2000 * cells;
        let (mut counts, mut pairs) = (vec![0; cells], vec![0; cells * cells]);
        for _ in 0..draws / 2 {
            let items = memory.sample(2, Draw::WithReplacement).unwrap().items;
            let [one, two] = [index[&items[0]], index[&items[1]]];
            counts[one] += 1;
            counts[two] += 1;
            pairs[one * cells + two] += 1;
        }
        assert!(chi_square(&counts, draws as u64) < critical(cells - 1), "{counts:?}");
        assert!(chi_square(&pairs, draws as u64 / 2) < critical(cells * cells - 1));
    }
}

#[test]
fn draws_without_replacement_are_uniform_subsets() {
    let sizes = Sequences { rows: 2, length: 8, sample: 3, ..Default::default() };
    let mut memory = uniform(&sizes);
    memory.add(&Steps::new(2, 0..8, never).batch()).unwrap();
    memory.add(&Steps::new(2, 8..11, never).batch()).unwrap();
    let all = all_items(&sizes, 11);
    let mut counts = vec![0; all.len()];
    for _ in 0..4000 {
        let items = sorted(memory.sample(5, Draw::WithoutReplacement).unwrap().items);
        assert!(items.windows(2).all(|pair| pair[0] != pair[1]));
        for item in items {
            counts[all.binary_search(&item).unwrap()] += 1;
        }
    }
    assert!(chi_square_of_subsets(&counts, 5, 4000) < critical(all.len() - 1), "{counts:?}");
    let before = state(&memory);
    assert!(matches!(memory.sample(all.len() + 1, Draw::WithoutReplacement), Err(Error::Invalid { .. })));
    assert_eq!(state(&memory), before);
}

#[test]
fn an_empty_sample_has_its_shape() {
    let sizes = Sequences { length: 5, sample: 3, ..Default::default() };
    let (mut memory, mut by_priority) = (uniform(&sizes), prioritized(&sizes));
    memory.add(&Steps::new(1, 0..4, never).batch()).unwrap();
    by_priority.add(&Steps::new(1, 0..4, never).batch()).unwrap();
    let sample = memory.sample(0, Draw::WithReplacement).unwrap();
    assert_eq!((sample.get("at").unwrap().dims(), sample.items.len()), (&[0, 3, 2][..], 0));
    let sample = by_priority.sample(0, 1.0).unwrap();
    assert_eq!((sample.get("half").unwrap().dims(), sample.weights.dims()), (&[0, 3][..], &[0][..]));
}

/// A step is the last of its episode where any of several fields says so, whatever its dtype.
#[test]
fn any_of_several_fields_ends_an_episode() {
    let fields = [
        Field::new("terminated", DType::F64, []),
        Field::new("x", DType::U8, []),
        Field::new("truncated", DType::I64, []),
    ];
    let sizes = Sequences {
        length: 8,
        sample: 2,
        ends: vec!["truncated".into(), "terminated".into()],
        ..Default::default()
    };
    let rng = cl_core::rng(1, "memory");
    let mut memory = Trajectories::new(Schema::new(fields).unwrap(), sizes.clone(), rng).unwrap();
    let terminated = Tensor::new(&[[0f64, 0.25, 0.0, 0.0, 0.0, -0.0, -1.0]], &Device::Cpu).unwrap();
    let truncated = Tensor::new(&[[0i64, 0, 0, -7, 0, 0, 0]], &Device::Cpu).unwrap();
    let x = Tensor::ones((1, 7), DType::U8, &Device::Cpu).unwrap();
    memory.add(&[("x", &x), ("truncated", &truncated), ("terminated", &terminated)]).unwrap();
    let items = memory.sample(memory.len(), Draw::WithoutReplacement).unwrap().items;
    assert!(sorted(items).iter().map(|item| item.time).eq([0, 2, 4, 5]));
}

#[test]
fn steps_between_two_sequences_are_reported() {
    for (sample, period, skipped) in [(2, 5, 3), (2, 2, 0), (5, 2, 0), (1, 4, 3)] {
        let sizes = Sequences { length: 20, sample, period, ..Default::default() };
        assert_eq!((uniform(&sizes).skipped(), prioritized(&sizes).skipped()), (skipped, skipped));
    }
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let sizes = Sequences { rows: 2, length: 8, sample: 3, period: 1, min_length: 3, ends: Vec::new() };
    let check = |sizes: Sequences, ok: bool| {
        let rng = || cl_core::rng(1, "memory");
        let memory = Trajectories::new(schema(), sizes.clone(), rng());
        let by_priority =
            PrioritizedTrajectories::new(schema(), sizes.clone(), Prioritized::default(), rng());
        assert_eq!((memory.is_ok(), by_priority.is_ok()), (ok, ok), "{sizes:?}");
        for error in [memory.err(), by_priority.err()].into_iter().flatten() {
            assert!(matches!(error, Error::Invalid { .. }), "{error}");
        }
    };
    check(sizes.clone(), true);
    check(Sequences { sample: 8, min_length: 8, ..sizes.clone() }, true);
    check(Sequences { min_length: 0, ..sizes.clone() }, true);
    check(Sequences { ends: vec!["done".into()], ..sizes.clone() }, true);
    for wrong in [
        Sequences { rows: 0, ..sizes.clone() },
        Sequences { length: 0, ..sizes.clone() },
        Sequences { sample: 0, ..sizes.clone() },
        Sequences { period: 0, ..sizes.clone() },
        Sequences { sample: 9, ..sizes.clone() },
        Sequences { min_length: 9, ..sizes.clone() },
        Sequences { ends: vec!["end".into()], ..sizes.clone() },
        Sequences { ends: vec!["at".into()], ..sizes.clone() },
        // More than can be addressed, with and without an index of episodes.
        Sequences { rows: usize::MAX, ..sizes.clone() },
        Sequences { rows: 1 << 33, length: 1 << 33, ..sizes.clone() },
        Sequences { rows: usize::MAX, ends: vec!["done".into()], ..sizes.clone() },
        Sequences { rows: 1 << 33, length: 1 << 33, ends: vec!["done".into()], ..sizes.clone() },
        Sequences { length: usize::MAX, ends: vec!["done".into()], ..sizes.clone() },
        Sequences { length: u32::MAX as usize, rows: 1, ends: vec!["done".into()], ..sizes },
    ] {
        check(wrong, false);
    }
}

/// A prioritized memory of which a period is longer than a row would be none.
#[test]
fn a_period_longer_than_a_row_is_named() {
    let sizes = Sequences { length: 5, period: 7, ..Default::default() };
    let made =
        PrioritizedTrajectories::new(schema(), sizes, Prioritized::default(), cl_core::rng(1, "memory"));
    let text = made.unwrap_err().to_string();
    assert!(text.contains("period") && text.contains('7') && text.contains('5'), "{text}");
}

/// T21: every axis of every field, and every dtype; the message names field, expected and given.
#[test]
fn what_does_not_fit_changes_nothing() {
    let sizes = Sequences { rows: 2, length: 5, sample: 2, ..Default::default() };
    let (mut memory, mut by_priority) = (uniform(&sizes), prioritized(&sizes));
    memory.add(&Steps::new(2, 0..3, never).batch()).unwrap();
    by_priority.add(&Steps::new(2, 0..3, never).batch()).unwrap();
    let before = (state(&memory), state(&by_priority));
    let cpu = |dtype, dims: &[usize]| Tensor::zeros(dims, dtype, &Device::Cpu).unwrap();
    let mut refused = |batch: &[(&str, &Tensor)], words: &[&str]| {
        for error in [memory.add(batch).unwrap_err(), by_priority.add(batch).unwrap_err()] {
            assert!(matches!(error, Error::Invalid { .. } | Error::Mismatch { .. }), "{error}");
            let text = error.to_string();
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
        assert_eq!((state(&memory), state(&by_priority)), before);
    };
    let (at, half, done) = (cpu(DType::I64, &[2, 3, 2]), cpu(DType::F32, &[2, 3]), cpu(DType::U8, &[2, 3]));
    for dims in [&[2, 3, 1][..], &[2, 3, 3], &[2, 3], &[2, 3, 2, 1], &[3], &[]] {
        let got = format!("{dims:?}");
        refused(&[("at", &cpu(DType::I64, dims)), ("half", &half), ("done", &done)], &["\"at\"", "2]", &got]);
    }
    // One field has other rows or steps than the rest: in the first or the last.
    for dims in [&[2, 2][..], &[1, 3], &[3, 3], &[2, 3, 1], &[6], &[1, 1]] {
        let (got, odd) = (format!("{dims:?}"), cpu(DType::U8, dims));
        refused(&[("at", &at), ("half", &half), ("done", &odd)], &["\"done\"", "[2, 3]", &got]);
    }
    refused(&[("at", &cpu(DType::I64, &[2, 1, 2])), ("half", &half), ("done", &done)], &["\"half\""]);
    for dtype in [DType::F64, DType::U32, DType::I32] {
        let odd = cpu(dtype, &[2, 3]);
        refused(&[("at", &at), ("half", &odd), ("done", &done)], &["\"half\"", "f32", dtype.as_str()]);
    }
    refused(&[("at", &at), ("done", &done)], &["\"half\"", "missing"]);
    refused(&[("at", &at), ("half", &half), ("done", &done), ("more", &done)], &["\"more\""]);
    refused(&[("at", &at), ("half", &half), ("done", &done), ("half", &half)], &["twice"]);
    refused(&[], &["\"at\"", "missing"]);
    // All fields agree, but not with the memory.
    for (rows, steps, words) in [(1, 3, "2 rows"), (3, 3, "2 rows"), (2, 0, "1 to 5"), (2, 6, "1 to 5")] {
        let steps = Steps::new(rows, 0..steps, never);
        refused(&steps.batch(), &[words]);
    }
}

/// Fields come in any order, and tensors in any layout.
#[test]
fn the_layout_of_a_batch_does_not_matter() {
    let sizes = Sequences { rows: 2, length: 7, sample: 3, ..Default::default() };
    let mut memory = uniform(&sizes);
    let mut written = 0;
    for steps in [4, 1, 6, 7] {
        let plain = Steps::new(2, written..written + steps, never);
        written += steps;
        let turned: Vec<(&str, Tensor)> = plain
            .batch()
            .into_iter()
            .rev()
            .map(|(name, tensor)| {
                // A view behind other data, with its steps before its rows in memory.
                let last = tensor.rank() - 1;
                let turned = tensor.transpose(0, last).unwrap().contiguous().unwrap();
                let padded = Tensor::cat(&[&turned, &turned], 1).unwrap();
                let n = turned.dims()[1];
                (name, padded.narrow(1, n, n).unwrap().transpose(0, last).unwrap())
            })
            .collect();
        assert!(steps == 1 || turned.iter().all(|(_, tensor)| !tensor.is_contiguous()));
        memory.add(&turned.iter().map(|(name, tensor)| (*name, tensor)).collect::<Vec<_>>()).unwrap();
        assert_eq!(drawable(&mut memory, &sizes), all_items(&sizes, written));
    }
    // A view of a middle part.
    let long = Steps::new(2, written - 2..written + 3, never);
    let middle: Vec<(&str, Tensor)> =
        long.batch().into_iter().map(|(name, tensor)| (name, tensor.narrow(1, 2, 3).unwrap())).collect();
    memory.add(&middle.iter().map(|(name, tensor)| (*name, tensor)).collect::<Vec<_>>()).unwrap();
    assert_eq!(drawable(&mut memory, &sizes), all_items(&sizes, written + 3));
}

/// T13: the seed decides, and nothing else.
#[test]
fn equal_seeds_give_equal_draws() {
    let sizes = Sequences { rows: 2, length: 50, sample: 3, ..Default::default() };
    let draws = |seed, draw| {
        let mut memory = Trajectories::new(schema(), sizes.clone(), cl_core::rng(seed, "memory")).unwrap();
        memory.add(&Steps::new(2, 0..50, never).batch()).unwrap();
        [16, 16].map(|n| memory.sample(n, draw).unwrap().items)
    };
    for draw in [Draw::WithReplacement, Draw::WithoutReplacement] {
        let drawn = draws(1, draw);
        assert_eq!(drawn, draws(1, draw));
        assert_ne!(drawn, draws(2, draw));
        assert_ne!(drawn[0], drawn[1]);
    }
}

/// T17: at every moment, before the first step and after the ring is full.
#[test]
fn a_restored_memory_goes_on_as_the_saved_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory");
    for ends in [vec![], vec!["done".to_owned()]] {
        let sizes = Sequences { rows: 2, length: 9, sample: 3, period: 2, min_length: 4, ends };
        let mut memory = uniform(&sizes);
        let mut written = 0;
        for steps in [1, 1, 3, 9, 2, 4, 9] {
            memory.save(&path).unwrap();
            let mut twin = Trajectories::load(&path).unwrap();
            assert_eq!(state(&memory), state(&twin));
            let new = Steps::new(2, written..written + steps, |row, time| (time + row as u64) % 5 == 4);
            let sampled = [&mut memory, &mut twin].map(|memory| {
                memory.add(&new.batch()).unwrap();
                let sample = memory.sample(5, Draw::WithReplacement).ok();
                sample
                    .map(|sample| (sample.items, sample.fields.get("at").unwrap().to_vec3::<i64>().unwrap()))
            });
            assert_eq!(sampled[0], sampled[1]);
            assert_eq!(state(&memory), state(&twin));
            written += steps;
        }
    }
}

/// T17.
#[test]
fn a_damaged_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory");
    let mut memory = uniform(&Sequences { length: 3, sample: 2, ..Default::default() });
    memory.add(&Steps::new(1, 0..2, never).batch()).unwrap();
    memory.save(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for n in 0..whole.len() {
        std::fs::write(&path, &whole[..n]).unwrap();
        assert!(matches!(Trajectories::load(&path), Err(Error::Format { .. })), "{n} bytes");
        let mut flipped = whole.clone();
        flipped[n] ^= 1 << (n % 8);
        std::fs::write(&path, &flipped).unwrap();
        assert!(matches!(Trajectories::load(&path), Err(Error::Format { .. })), "byte {n}");
    }
    std::fs::write(&path, &whole).unwrap();
    Trajectories::load(&path).unwrap();
    assert!(matches!(PrioritizedTrajectories::load(&path), Err(Error::Format { .. })));
    assert!(matches!(Trajectories::load(folder.path().join("none")), Err(Error::Io { .. })));
}

/// Bytes stay bytes, every bit of them, through the ring and through a file.
#[test]
fn every_dtype_is_kept_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory");
    let cpu = &Device::Cpu;
    let columns = [
        ("u8", Tensor::new(&[[0u8, 255, 7]], cpu).unwrap()),
        ("u32", Tensor::new(&[[0u32, u32::MAX, 7]], cpu).unwrap()),
        ("i16", Tensor::new(&[[i16::MIN, i16::MAX, -7]], cpu).unwrap()),
        ("i32", Tensor::new(&[[i32::MIN, i32::MAX, -7]], cpu).unwrap()),
        ("i64", Tensor::new(&[[i64::MIN, i64::MAX, -7]], cpu).unwrap()),
        ("f32", Tensor::new(&[[f32::MIN_POSITIVE, f32::MAX, -0.0]], cpu).unwrap()),
        ("f64", Tensor::new(&[[f64::MIN_POSITIVE, f64::MAX, 5e-324]], cpu).unwrap()),
        ("empty", Tensor::zeros((1, 3, 0), DType::F32, cpu).unwrap()),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, t)| Field::new(*name, t.dtype(), &t.dims()[2..])).collect();
    let sizes = Sequences { length: 5, sample: 3, ..Default::default() };
    let mut memory =
        Trajectories::new(Schema::new(fields).unwrap(), sizes, cl_core::rng(1, "memory")).unwrap();
    let batch: Vec<(&str, &Tensor)> = columns.iter().map(|(name, tensor)| (*name, tensor)).collect();
    memory.add(&batch).unwrap();
    memory.add(&batch).unwrap();
    memory.save(&path).unwrap();
    for mut memory in [memory, Trajectories::load(&path).unwrap()] {
        let sample = memory.sample(memory.len(), Draw::WithoutReplacement).unwrap();
        let last = sample.items.iter().position(|item| item.time == 3).unwrap();
        for ((name, got), (_, put)) in sample.fields.iter().zip(&columns) {
            let got = got.narrow(0, last, 1).unwrap();
            assert_eq!((got.dtype(), got.dims()), (put.dtype(), put.dims()), "{name}");
            assert_eq!(format!("{got:?}"), format!("{:?}", put.copy().unwrap()));
            assert_eq!(
                state(&Plain { tensor: got.contiguous().unwrap() }),
                state(&Plain { tensor: put.clone() })
            );
        }
    }
}

#[derive(serde::Serialize)]
struct Plain {
    #[serde(with = "cl_core::snapshot::tensor")]
    tensor: Tensor,
}

/// Stratified and independent draws by priority have the same law over whole batches (T14).
#[test]
fn new_items_are_drawn_uniformly_by_both_kinds_of_strata() {
    let sizes = Sequences { rows: 2, length: 12, sample: 3, period: 2, ..Default::default() };
    for strata in [Strata::Stratified, Strata::Independent] {
        let config = Prioritized { strata, ..Default::default() };
        let mut memory =
            PrioritizedTrajectories::new(schema(), sizes.clone(), config, cl_core::rng(3, "memory")).unwrap();
        memory.add(&Steps::new(2, 0..12, never).batch()).unwrap();
        memory.add(&Steps::new(2, 12..17, never).batch()).unwrap();
        let all = all_items(&sizes, 17);
        let mut counts = vec![0; all.len()];
        for _ in 0..2000 {
            for item in memory.draw(16, 0.0).unwrap().items {
                counts[all.binary_search(&item).unwrap()] += 1;
            }
        }
        assert!(chi_square(&counts, 32_000) < critical(all.len() - 1), "{strata:?}: {counts:?}");
    }
}
