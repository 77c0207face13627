//! Sequences by priority: the law of the draws, weights, late and impossible updates, new items, restoring.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use cl_core::Error;
use cl_replay::{
    Anneal, Draw, Item, NewItems, Prioritized, PrioritizedItems, PrioritizedTrajectories, Sequences, Strata,
    TdError, Trajectories, Weights,
};
use common::{
    critical, state,
    steps::{Steps, all_items, assert_contiguous, schema, starts},
};
use proptest::prelude::*;

const PROPORTIONAL: Prioritized = Prioritized {
    alpha: 1.0,
    new_items: NewItems::LargestEver,
    weights: Weights::None,
    strata: Strata::Stratified,
};

fn memory(sizes: &Sequences, config: Prioritized) -> PrioritizedTrajectories {
    PrioritizedTrajectories::new(schema(), sizes.clone(), config, cl_core::rng(1, "memory")).unwrap()
}

/// `n` items of one row and one step each.
fn items(n: usize, config: Prioritized) -> PrioritizedItems {
    let mut memory = PrioritizedItems::new(schema(), n, config, cl_core::rng(1, "memory")).unwrap();
    memory.add(&Steps::items(0..n as u64).batch()).unwrap();
    memory
}

fn all(n: usize) -> Vec<Item> {
    (0..n as u64).map(|time| Item { row: 0, time }).collect()
}

fn never(_: usize, _: u64) -> bool {
    false
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec1().unwrap()
}

fn add(memory: &mut PrioritizedTrajectories, rows: usize, steps: u64) {
    let from = memory.written();
    memory.add(&Steps::new(rows, from..from + steps, never).batch()).unwrap();
}

/// The plain memory: the pᵅ of every item there is, and the largest ever.
struct Plain {
    sizes: Sequences,
    config: Prioritized,
    written: u64,
    leaves: BTreeMap<Item, f32>,
    largest_ever: f32,
}

impl Plain {
    fn power(&self, priority: f32) -> f32 {
        if priority == 0.0 { 0.0 } else { f64::from(priority).powf(self.config.alpha) as f32 }
    }

    fn add(&mut self, steps: u64) {
        let now = self.leaves.values().copied().fold(0.0, f32::max);
        let priority = match self.config.new_items {
            NewItems::LargestEver => self.largest_ever,
            NewItems::LargestNow => {
                if now > 0.0 {
                    now
                } else {
                    1.0
                }
            }
            NewItems::Fixed(priority) => self.power(priority),
        };
        self.written += steps;
        let held = all_items(&self.sizes, self.written);
        self.leaves =
            held.iter().map(|item| (*item, self.leaves.get(item).copied().unwrap_or(priority))).collect();
    }

    /// Which places came too late.
    fn set(&mut self, items: &[Item], priorities: &[f32]) -> Vec<usize> {
        let mut late = Vec::new();
        for (i, (item, &priority)) in items.iter().zip(priorities).enumerate() {
            let power = self.power(priority);
            match self.leaves.get_mut(item) {
                Some(leaf) => {
                    *leaf = power;
                    self.largest_ever = self.largest_ever.max(power);
                }
                None => late.push(i),
            }
        }
        late
    }
}

fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-6 * b
}

/// An addition of so many steps, or priorities for items of so many steps ago.
#[derive(Debug, Clone)]
enum Operation {
    Add(usize),
    Set(Vec<(usize, usize, f32)>),
}

fn operation() -> impl Strategy<Value = Operation> {
    let priority = prop_oneof![1 => Just(0.0f32), 3 => 0.01..10.0f32, 1 => Just(1e6f32)];
    prop_oneof![
        (1..20usize).prop_map(Operation::Add),
        prop::collection::vec((0..3usize, 0..25usize, priority), 0..12).prop_map(Operation::Set),
    ]
}

fn new_items() -> impl Strategy<Value = NewItems> {
    prop_oneof![
        Just(NewItems::LargestEver),
        Just(NewItems::LargestNow),
        prop_oneof![Just(0.0f32), 0.1..5.0f32].prop_map(NewItems::Fixed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Against the plain memory, over sizes, exponents and rules (T5, T6, T10, T11): every pᵅ, what came too
    /// late, the total, the largest; weights by each convention (T9); contiguous sequences (T7).
    #[test]
    fn a_memory_is_its_items_and_their_priorities(
        (rows, length, sample, period) in (1..4usize, 1..15usize, any::<usize>(), 1..5usize),
        (alpha, new_items) in (prop_oneof![Just(0.0), Just(1.0), 0.1..0.9f64], new_items()),
        weights in prop_oneof![Just(Weights::BatchMax), Just(Weights::BufferMax), Just(Weights::None)],
        strata in prop_oneof![Just(Strata::Stratified), Just(Strata::Independent)],
        operations in prop::collection::vec(operation(), 1..25),
        beta in 0.0..1.0f64,
    ) {
        let length = length.div_ceil(period) * period;
        let sizes = Sequences { rows, length, sample: 1 + sample % length, period, ..Default::default() };
        let config = Prioritized { alpha, new_items, weights, strata };
        let mut memory = memory(&sizes, config);
        let mut plain =
            Plain { sizes: sizes.clone(), config, written: 0, leaves: BTreeMap::new(), largest_ever: 1.0 };
        for operation in operations {
            match operation {
                Operation::Add(steps) => {
                    let steps = steps.min(length) as u64;
                    add(&mut memory, rows, steps);
                    plain.add(steps);
                }
                Operation::Set(changes) => {
                    // Those that there never was are refused: see below.
                    let newest = plain.written.checked_sub(sizes.sample as u64);
                    let newest = newest.map(|time| time / period as u64);
                    let changes = changes.iter().filter_map(|&(row, back, priority)| {
                        let start = newest?.checked_sub(back as u64)?;
                        let item = Item { row: (row % rows) as u32, time: start * period as u64 };
                        Some((item, priority))
                    });
                    let (items, priorities): (Vec<Item>, Vec<f32>) = changes.unzip();
                    let updated = memory.set_priorities(&items, &priorities).unwrap();
                    let late = plain.set(&items, &priorities);
                    prop_assert_eq!(updated.set + late.len(), items.len());
                    prop_assert_eq!(updated.late, late);
                }
            }
            prop_assert_eq!(memory.len(), plain.leaves.len());
            for (&item, &leaf) in &plain.leaves {
                let got = memory.priority(item).unwrap().unwrap();
                prop_assert!(close(got, leaf), "{:?}: {}, not {}", item, got, leaf);
            }
            prop_assert!(close(memory.largest_ever(), plain.largest_ever));
            let total: f64 = plain.leaves.values().map(|&leaf| f64::from(leaf)).sum();
            prop_assert!((memory.total() - total).abs() <= 1e-6 * total);
            prop_assert_eq!(memory.can_sample(), total > 0.0);
            if total == 0.0 {
                let before = state(&memory);
                prop_assert!(memory.sample(1, beta).is_err());
                prop_assert_eq!(state(&memory), before);
                continue;
            }
            let sample = memory.sample(6, beta).unwrap();
            assert_contiguous(&sample.fields, &sample.items, sizes.sample);
            let leaves: Vec<f64> = sample.items.iter().map(|item| f64::from(plain.leaves[item])).collect();
            prop_assert!(leaves.iter().all(|&leaf| leaf > 0.0));
            let weight = |leaf: f64| (plain.leaves.len() as f64 * leaf / total).powf(-beta);
            let positive = plain.leaves.values().filter(|&&leaf| leaf > 0.0);
            let divisor = match weights {
                Weights::BatchMax => leaves.iter().map(|&leaf| weight(leaf)).fold(0.0, f64::max),
                Weights::BufferMax => positive.map(|&leaf| weight(leaf.into())).fold(0.0, f64::max),
                Weights::None => 1.0,
            };
            let (probabilities, weights) = (floats(&sample.probabilities), floats(&sample.weights));
            for ((leaf, p), w) in leaves.into_iter().zip(probabilities).zip(weights) {
                prop_assert!((f64::from(p) - leaf / total).abs() <= 1e-6, "{} of {}", leaf, total);
                let expected = weight(leaf) / divisor;
                prop_assert!((f64::from(w) / expected - 1.0).abs() <= 1e-5, "{}, not {}", w, expected);
            }
        }
    }
}

/// T5: an addition has just broken the item; its old error is reported, and neither the item nor its successor
/// has it.
#[test]
fn a_late_priority_revives_nothing() {
    let sizes = Sequences { rows: 2, length: 8, sample: 4, period: 2, ..Default::default() };
    let mut memory = memory(&sizes, PROPORTIONAL);
    add(&mut memory, 2, 8);
    let drawn = memory.sample(6, 0.0).unwrap().items;
    assert_eq!(drawn.len(), 6);
    // One step: the sequence at 0 has lost it.
    add(&mut memory, 2, 1);
    let broken: Vec<Item> = (0..2).map(|row| Item { row, time: 0 }).collect();
    let updated = memory.set_priorities(&broken, &[50.0, 60.0]).unwrap();
    assert_eq!((updated.set, updated.late), (0, vec![0, 1]));
    assert_eq!((memory.total(), memory.largest_ever()), (4.0, 1.0));
    assert_eq!(memory.priority(broken[0]).unwrap(), None);
    for _ in 0..200 {
        let sample = memory.sample(16, 0.5).unwrap();
        assert_contiguous(&sample.fields, &sample.items, 4);
        assert!(sample.items.iter().all(|item| item.time > 0));
    }
    // The place of time 0 is taken by time 8: it keeps the priority of a new item.
    add(&mut memory, 2, 3);
    let successor = Item { row: 0, time: 8 };
    let updated = memory.set_priorities(&[broken[0], successor, broken[1]], &[50.0, 3.0, 60.0]).unwrap();
    assert_eq!((updated.set, updated.late), (1, vec![0, 2]));
    assert_eq!(memory.priority(successor).unwrap(), Some(3.0));
    assert_eq!(memory.priority(Item { row: 1, time: 8 }).unwrap(), Some(1.0));
    assert_eq!(memory.largest_ever(), 3.0);
}

/// T20: an item that there never was is an error that changes nothing, whatever else the batch has.
#[test]
fn an_item_that_never_was_is_refused() {
    let sizes = Sequences { rows: 2, length: 8, sample: 3, period: 2, ..Default::default() };
    let mut memory = memory(&sizes, PROPORTIONAL);
    add(&mut memory, 2, 5);
    add(&mut memory, 2, 6);
    let good = Item { row: 1, time: 6 };
    assert_eq!(memory.priority(good).unwrap(), Some(1.0));
    let before = state(&memory);
    let never = [
        (2, 6),
        (u32::MAX, 6),
        // Between two starts; not complete yet; in the future.
        (0, 7),
        (0, 10),
        (0, 12),
        (0, 1 << 40),
        (1, u64::MAX - 1),
        (1, u64::MAX),
    ];
    for item in never.map(|(row, time)| Item { row, time }) {
        for batch in [[good, item], [item, good]] {
            let error = memory.set_priorities(&batch, &[5.0, 5.0]).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{error}");
            assert!(error.to_string().contains(&item.time.to_string()), "{error}");
        }
        assert!(memory.priority(item).is_err());
        assert_eq!(state(&memory), before, "{item:?}");
    }
    for (items, priorities) in [(&[good][..], &[][..]), (&[], &[1.0]), (&[good, good], &[1.0])] {
        assert!(matches!(memory.set_priorities(items, priorities), Err(Error::Mismatch { .. })));
    }
    assert_eq!(state(&memory), before);
}

/// T12: the message names place and value; a late item does not excuse its priority.
#[test]
fn a_bad_priority_changes_nothing() {
    let mut memory = items(4, PROPORTIONAL);
    memory.add(&Steps::items(4..5).batch()).unwrap();
    let before = state(&memory);
    let (held, late) = (Item { row: 0, time: 3 }, Item { row: 0, time: 0 });
    for (bad, word) in
        [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf"), (-0.5, "-0.5")]
    {
        for second in [held, late] {
            let error = memory.set_priorities(&[held, second], &[2.0, bad]).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(word) && text.contains("place 1"), "{text}");
        }
        assert_eq!(state(&memory), before);
    }
    // As an error of a learner that diverged.
    let delta = Tensor::new(&[1f32, f32::NAN], &Device::Cpu).unwrap();
    assert!(memory.update(&[held, held], &TdError::default(), &delta).is_err());
    assert_eq!(state(&memory), before);
}

/// The smallest positive numbers stay positive, and drawable; the largest do not overflow.
#[test]
fn extreme_priorities_stay_in_range() {
    for alpha in [0.0, 0.6, 1.0] {
        let mut memory = items(3, Prioritized { alpha, ..PROPORTIONAL });
        memory.set_priorities(&all(3), &[f32::from_bits(1), 0.0, -0.0]).unwrap();
        assert!(memory.total() > 0.0);
        assert!(memory.sample(8, 1.0).unwrap().items.iter().all(|item| item.time == 0));
        memory.set_priorities(&all(3), &[f32::MAX; 3]).unwrap();
        assert!(memory.total().is_finite() && memory.largest_ever().is_finite());
        let drawn = memory.sample(3, 1.0).unwrap();
        assert!(drawn.items.iter().map(|item| item.time).eq(0..3));
        assert!(floats(&drawn.weights).iter().all(|&weight| (weight - 1.0).abs() < 1e-6));
    }
    // Both in one memory, under full correction.
    for weights in [Weights::BatchMax, Weights::BufferMax, Weights::None] {
        let mut memory = items(2, Prioritized { weights, ..PROPORTIONAL });
        memory.set_priorities(&all(2), &[1e-30, 1e30]).unwrap();
        let sample = memory.sample(4, 1.0).unwrap();
        assert!(floats(&sample.weights).iter().all(|weight| weight.is_finite()), "{weights:?}");
    }
}

/// T19: α = 0 is uniform over what has a priority, and never meets what has none.
#[test]
fn without_an_exponent_draws_are_uniform_but_for_zeros() {
    let priorities = [3.0, 0.0, 1e-6, 1e6, 0.0, 0.5];
    for strata in [Strata::Stratified, Strata::Independent] {
        let mut memory = items(6, Prioritized { alpha: 0.0, strata, ..PROPORTIONAL });
        memory.set_priorities(&all(6), &priorities).unwrap();
        let counts = counts(&mut memory, 6, 2000, 16);
        assert_eq!((counts[1], counts[4], memory.total()), (0, 0, 4.0));
        assert!(chi_square(&counts, &[0.25, 0.0, 0.25, 0.25, 0.0, 0.25]) < critical(3), "{counts:?}");
    }
}

/// T14: batch-summed counts against P(i) = pᵅ / Σ pᵅ.
#[test]
fn items_are_drawn_in_proportion_to_the_power_of_their_priority() {
    let n = 40;
    let priorities: Vec<f32> = (0..n).map(|i| if i % 5 == 3 { 0.0 } else { 0.1 * 1.15f32.powi(i) }).collect();
    for alpha in [0.4, 0.6, 1.0] {
        let law = |alpha: f64| {
            let power = |&p: &f32| if p > 0.0 { f64::from(p).powf(alpha) } else { 0.0 };
            let total: f64 = priorities.iter().map(power).sum();
            priorities.iter().map(|p| power(p) / total).collect::<Vec<f64>>()
        };
        for strata in [Strata::Stratified, Strata::Independent] {
            let mut memory = items(n as usize, Prioritized { alpha, strata, ..PROPORTIONAL });
            memory.set_priorities(&all(n as usize), &priorities).unwrap();
            let counts = counts(&mut memory, n as usize, 4000, 32);
            let statistic = chi_square(&counts, &law(alpha));
            assert!(statistic < critical(31), "{alpha}, {strata:?}: {statistic}");
            // The same counts tell an exponent that is a little off.
            assert!(chi_square(&counts, &law(alpha + 0.05)) > critical(31), "{alpha}, {strata:?}");
        }
    }
}

fn counts(memory: &mut PrioritizedItems, n: usize, batches: usize, size: usize) -> Vec<u64> {
    let mut counts = vec![0; n];
    for _ in 0..batches {
        memory.draw(size, 0.0).unwrap().items.iter().for_each(|item| counts[item.time as usize] += 1);
    }
    counts
}

fn chi_square(counts: &[u64], law: &[f64]) -> f64 {
    let draws = counts.iter().sum::<u64>() as f64;
    let drawn = counts.iter().zip(law).filter(|(_, p)| **p > 0.0);
    drawn.map(|(&count, p)| (count as f64 - draws * p).powi(2) / (draws * p)).sum()
}

/// T9: golden values; p = .01, .04, .09, .16, α = ½, so that pᵅ = .1, .2, .3, .4 and N · P = .4, .8, 1.2, 1.6.
#[test]
fn weights_are_those_of_the_convention() {
    let of = |weights, beta, priorities: &[f32]| {
        let n = priorities.len();
        let mut memory = items(n, Prioritized { alpha: 0.5, weights, ..PROPORTIONAL });
        memory.set_priorities(&all(n), priorities).unwrap();
        let sample = memory.sample(64, beta).unwrap();
        let mut of = vec![f32::NAN; n];
        for (item, weight) in sample.items.iter().zip(floats(&sample.weights)) {
            of[item.time as usize] = weight;
        }
        of
    };
    let is = |got: Vec<f32>, expected: &[f32]| {
        let same = got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-5 || (g.is_nan() && e.is_nan()));
        assert!(same && got.len() == expected.len(), "{got:?}, not {expected:?}");
    };
    let golden = [0.01, 0.04, 0.09, 0.16];
    is(of(Weights::BufferMax, 1.0, &golden), &[1.0, 0.5, 1.0 / 3.0, 0.25]);
    is(of(Weights::BatchMax, 1.0, &golden), &[1.0, 0.5, 1.0 / 3.0, 0.25]);
    is(of(Weights::None, 1.0, &golden), &[2.5, 1.25, 1.0 / 1.2, 0.625]);
    is(of(Weights::BufferMax, 0.5, &golden), &[1.0, 0.5f32.sqrt(), (1.0f32 / 3.0).sqrt(), 0.5]);
    is(of(Weights::None, 0.5, &golden), &[1.581_139, 1.118_034, 0.912_871, 0.790_569]);
    for weights in [Weights::BatchMax, Weights::BufferMax, Weights::None] {
        is(of(weights, 0.0, &golden), &[1.0; 4]);
    }
    // A zero is none of the smallest, and one of N. (Elsewhere it makes all weights zero, or stops all draws.)
    let zero = [0.0, 0.04, 0.09, 0.16];
    is(of(Weights::BufferMax, 1.0, &zero), &[f32::NAN, 1.0, 2.0 / 3.0, 0.5]);
    is(of(Weights::None, 1.0, &zero), &[f32::NAN, 1.125, 0.75, 0.5625]);

    // The smallest of the memory is not in the batch: the two conventions differ.
    for (weights, expected) in [(Weights::BatchMax, 1.0), (Weights::BufferMax, 1e-6)] {
        let mut memory = items(3, Prioritized { weights, ..PROPORTIONAL });
        memory.set_priorities(&all(3), &[1e-6, 1.0, 1.0]).unwrap();
        let got = floats(&memory.sample(2, 1.0).unwrap().weights);
        assert!(got.iter().all(|&weight| close(weight, expected)), "{weights:?}: {got:?}");
    }
}

/// T9: what was smallest once is forgotten when it is gone, or has another priority.
#[test]
fn the_smallest_priority_is_that_of_now() {
    let mut memory = items(3, Prioritized { weights: Weights::BufferMax, ..PROPORTIONAL });
    memory.set_priorities(&all(3), &[1e-6, 2.0, 4.0]).unwrap();
    let weight = |memory: &mut PrioritizedItems| {
        let drawn = memory.draw(16, 1.0).unwrap();
        let of = |item: &Item| memory.priority(*item).unwrap().unwrap();
        let four = drawn.items.iter().position(|item| of(item) == 4.0).unwrap();
        floats(&drawn.weights)[four]
    };
    assert!(close(weight(&mut memory), 2.5e-7));
    memory.set_priorities(&all(1), &[1.0]).unwrap();
    assert_eq!(weight(&mut memory), 0.25);
    // Items of 4, the largest so far, replace 1 and then 2.
    memory.add(&Steps::items(3..4).batch()).unwrap();
    assert_eq!(weight(&mut memory), 0.5);
    memory.add(&Steps::items(4..5).batch()).unwrap();
    assert_eq!(weight(&mut memory), 1.0);
}

/// T9: with β = 1 and nothing to divide by, weighted means over draws are unbiased, for both kinds of strata.
#[test]
fn unnormalized_weights_make_draws_unbiased() {
    let n = 50;
    let priorities: Vec<f32> = (0..n).map(|i| 0.2 + (i * i % 17) as f32).collect();
    // Large where the priority is.
    let f = |item: &Item| (item.time * item.time % 17) as f64 / 17.0 + (item.time as f64).sin();
    let exact = all(n).iter().map(f).sum::<f64>() / n as f64;
    for strata in [Strata::Stratified, Strata::Independent] {
        let mut memory = items(n, Prioritized { alpha: 0.7, strata, ..PROPORTIONAL });
        memory.set_priorities(&all(n), &priorities).unwrap();
        let means: Vec<f64> = (0..4000)
            .map(|_| {
                let drawn = memory.draw(32, 1.0).unwrap();
                let weighted = drawn.items.iter().zip(floats(&drawn.weights));
                weighted.map(|(item, weight)| f64::from(weight) * f(item)).sum::<f64>() / 32.0
            })
            .collect();
        let mean = means.iter().sum::<f64>() / 4000.0;
        let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / 3999.0;
        // Exceeded with probability 1e-4.
        let limit = 3.89 * (variance / 4000.0).sqrt();
        assert!((mean - exact).abs() < limit, "{strata:?}: {mean}, not {exact} ± {limit}");
        // Without the weights the bias is far larger than that.
        let biased: f64 = (0..4000)
            .map(|_| memory.draw(32, 1.0).unwrap().items.iter().map(f).sum::<f64>() / 32.0)
            .sum::<f64>()
            / 4000.0;
        assert!((biased - exact).abs() > 2.0 * limit, "{biased}, {exact}");
    }
}

/// T9, T18: probabilities and weights are of the state that was drawn from.
#[test]
fn later_changes_do_not_reach_into_a_sample() {
    let mut memory = items(4, PROPORTIONAL);
    memory.set_priorities(&all(4), &[1.0, 2.0, 3.0, 4.0]).unwrap();
    let sample = memory.sample(10, 1.0).unwrap();
    let before = (floats(&sample.probabilities), floats(&sample.weights));
    let at = sample.get("at").unwrap().to_vec2::<i64>().unwrap();
    memory.set_priorities(&all(4), &[9.0; 4]).unwrap();
    memory.add(&Steps::items(4..8).batch()).unwrap();
    assert_eq!((floats(&sample.probabilities), floats(&sample.weights)), before);
    assert_eq!(sample.get("at").unwrap().to_vec2::<i64>().unwrap(), at);
    assert!(before.0.iter().zip(&sample.items).all(|(p, item)| close(*p, (item.time + 1) as f32 / 10.0)));
}

/// T10: an outlier that is reset at once.
#[test]
fn new_items_get_what_the_rule_says() {
    let next = |new_items, alpha, priorities: &[f32]| {
        let mut memory = PrioritizedItems::new(
            schema(),
            8,
            Prioritized { alpha, new_items, ..PROPORTIONAL },
            cl_core::rng(1, "memory"),
        )
        .unwrap();
        memory.add(&Steps::items(0..1).batch()).unwrap();
        for &priority in priorities {
            memory.set_priorities(&all(1), &[priority]).unwrap();
        }
        memory.add(&Steps::items(1..2).batch()).unwrap();
        memory.priority(Item { row: 0, time: 1 }).unwrap().unwrap()
    };
    let outlier = [1e6, 0.01];
    assert!(close(next(NewItems::LargestEver, 0.6, &outlier), 3981.0717));
    assert_eq!(next(NewItems::LargestEver, 1.0, &outlier), 1e6);
    assert!(close(next(NewItems::LargestNow, 1.0, &outlier), 0.01));
    assert!(close(next(NewItems::LargestNow, 0.5, &outlier), 0.1));
    assert!(close(next(NewItems::Fixed(9.0), 0.5, &outlier), 3.0));
    assert_eq!(next(NewItems::Fixed(0.0), 0.0, &outlier), 0.0);
    // At the start it is 1, and the largest that was ever set is at least that.
    assert_eq!(next(NewItems::LargestEver, 0.6, &[0.01]), 1.0);
    assert_eq!(next(NewItems::LargestEver, 0.6, &[]), 1.0);
    assert_eq!(next(NewItems::LargestNow, 0.6, &[]), 1.0);
    // Nothing has a priority.
    assert_eq!(next(NewItems::LargestNow, 0.6, &[5.0, 0.0]), 1.0);
    // No fraction is cut off.
    assert_eq!(next(NewItems::LargestEver, 1.0, &[2.75]), 2.75);
}

/// T10: with the rule of now, an outlier that was overwritten has no descendants but those that met it.
#[test]
fn an_overwritten_outlier_is_forgotten() {
    let mut memory = items(4, Prioritized { new_items: NewItems::LargestNow, ..PROPORTIONAL });
    memory.set_priorities(&all(4), &[1e6, 0.5, 0.25, 2.0]).unwrap();
    memory.add(&Steps::items(4..5).batch()).unwrap();
    let newest = Item { row: 0, time: 4 };
    assert_eq!(memory.priority(newest).unwrap(), Some(1e6));
    memory.set_priorities(&[newest], &[0.125]).unwrap();
    memory.add(&Steps::items(5..7).batch()).unwrap();
    for time in 5..7 {
        assert_eq!(memory.priority(Item { row: 0, time }).unwrap(), Some(2.0));
    }
}

/// T11: the last of several priorities stays, and everything is as if they came one by one; the largest
/// that was ever set is the largest of them.
#[test]
fn a_batch_with_duplicates_is_its_updates_one_by_one() {
    for weights in [Weights::BufferMax, Weights::None] {
        let (mut batch, mut one_by_one) =
            [(); 2].map(|()| items(5, Prioritized { weights, ..PROPORTIONAL })).into();
        let chosen = [1, 3, 1, 0, 3, 3].map(|time| Item { row: 0, time });
        let priorities = [9.0, 2.0, 5.0, 0.0, 7.0, 0.5];
        let updated = batch.set_priorities(&chosen, &priorities).unwrap();
        assert_eq!((updated.set, updated.late.len()), (6, 0));
        for (item, priority) in chosen.iter().zip(priorities) {
            one_by_one.set_priorities(&[*item], &[priority]).unwrap();
        }
        let leaves: Vec<f32> = all(5).iter().map(|&item| batch.priority(item).unwrap().unwrap()).collect();
        assert_eq!(leaves, [0.0, 5.0, 1.0, 0.5, 1.0]);
        assert_eq!((batch.total(), batch.largest_ever()), (7.5, 9.0));
        assert_eq!(state(&batch), state(&one_by_one));
    }
}

#[test]
fn a_draw_that_cannot_be_changes_nothing() {
    let sizes = Sequences { length: 6, sample: 2, min_length: 4, ..Default::default() };
    let mut memory = memory(&sizes, PROPORTIONAL);
    for steps in [0, 1, 2] {
        if steps > 0 {
            add(&mut memory, 1, steps);
        }
        // Empty; no sequence; a sequence, but not as many steps as were asked for.
        assert!(!memory.can_sample());
        let before = state(&memory);
        assert!(matches!(memory.sample(4, 0.5), Err(Error::Invalid { .. })));
        assert!(matches!(memory.draw(4, 0.5), Err(Error::Invalid { .. })));
        assert_eq!(state(&memory), before);
    }
    add(&mut memory, 1, 1);
    assert!(memory.can_sample());
    let before = state(&memory);
    for beta in [f64::NAN, f64::INFINITY, -0.1, f64::NEG_INFINITY] {
        let error = memory.sample(4, beta).unwrap_err();
        assert!(error.to_string().contains("beta"), "{error}");
    }
    assert_eq!(state(&memory), before);
    // Everything has a priority of 0.
    let items = memory.sample(32, 0.0).unwrap().items;
    memory.set_priorities(&items, &[0.0; 32]).unwrap();
    assert_eq!((memory.total(), memory.can_sample(), memory.len()), (0.0, false, 3));
    let before = state(&memory);
    assert!(memory.sample(1, 0.0).is_err());
    assert_eq!(state(&memory), before);
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    let make = |config| PrioritizedItems::new(schema(), 4, config, cl_core::rng(1, "memory"));
    for alpha in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let error = make(Prioritized { alpha, ..PROPORTIONAL }).unwrap_err();
        assert!(error.to_string().contains("alpha"), "{error}");
    }
    for fixed in [-1.0, f32::NAN, f32::INFINITY] {
        let error = make(Prioritized { new_items: NewItems::Fixed(fixed), ..PROPORTIONAL }).unwrap_err();
        assert!(error.to_string().contains("new_items"), "{error}");
    }
    for alpha in [0.0, 1.0] {
        make(Prioritized { alpha, ..PROPORTIONAL }).unwrap();
    }
}

/// The length is a multiple of the period, and says so.
#[test]
fn the_length_is_rounded_down_to_a_multiple_of_the_period() {
    for (length, period, rounded) in [(10, 3, 9), (13, 4, 12), (8, 2, 8), (7, 1, 7), (5, 5, 5)] {
        let mut memory = memory(&Sequences { length, period, ..Default::default() }, PROPORTIONAL);
        assert_eq!(memory.length(), rounded);
        let before = state(&memory);
        let steps = Steps::new(1, 0..rounded as u64 + 1, never);
        assert!(memory.add(&steps.batch()).is_err());
        assert_eq!(state(&memory), before);
        add(&mut memory, 1, rounded as u64);
        assert_eq!(memory.stored(), rounded);
    }
}

/// T4: at every fill, each item has its turn.
#[test]
fn the_first_and_the_last_item_are_drawn_at_every_fill() {
    let sizes = Sequences { length: 9, sample: 2, ..Default::default() };
    let mut memory = memory(&sizes, PROPORTIONAL);
    for written in 1..30 {
        add(&mut memory, 1, 1);
        let expected = starts(&sizes, written);
        if expected.is_empty() {
            continue;
        }
        let mut drawn: Vec<u64> =
            memory.draw(2 * expected.len(), 0.0).unwrap().items.iter().map(|item| item.time).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, expected);
    }
}

/// T13: the seed decides, and nothing else.
#[test]
fn equal_seeds_give_equal_draws() {
    let draws = |seed, strata| {
        let config = Prioritized { strata, ..PROPORTIONAL };
        let mut memory = PrioritizedItems::new(schema(), 500, config, cl_core::rng(seed, "memory")).unwrap();
        memory.add(&Steps::items(0..500).batch()).unwrap();
        [16, 16].map(|n| memory.draw(n, 1.0).unwrap().items)
    };
    for strata in [Strata::Stratified, Strata::Independent] {
        let drawn = draws(1, strata);
        assert_eq!(drawn, draws(1, strata));
        assert_ne!(drawn, draws(2, strata));
        assert_ne!(drawn[0], drawn[1]);
    }
}

/// `draw` is `sample` without the experience: the same generator, the same items.
#[test]
fn a_draw_is_a_sample_without_the_experience() {
    let [mut one, mut other] = [(); 2].map(|()| items(30, PROPORTIONAL));
    let (drawn, sample) = (one.draw(8, 0.7).unwrap(), other.sample(8, 0.7).unwrap());
    assert_eq!(drawn.items, sample.items);
    assert_eq!(floats(&drawn.weights), floats(&sample.weights));
    assert_eq!(floats(&drawn.probabilities), floats(&sample.probabilities));
    assert_eq!(state(&one), state(&other));
}

/// T17: priorities, heads, the largest ever, episodes and the generator; at every moment, for every rule.
#[test]
fn a_restored_memory_goes_on_as_the_saved_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory");
    for (new_items, weights, ends) in [
        (NewItems::LargestEver, Weights::BatchMax, vec![]),
        (NewItems::LargestNow, Weights::BufferMax, vec!["done".to_owned()]),
        (NewItems::Fixed(0.3), Weights::None, vec![]),
    ] {
        let sizes = Sequences { rows: 2, length: 11, sample: 3, period: 2, min_length: 4, ends };
        let mut memory = memory(&sizes, Prioritized { alpha: 0.6, new_items, weights, ..PROPORTIONAL });
        for (turn, steps) in [1, 1, 3, 10, 2, 4, 9, 1, 7].into_iter().enumerate() {
            memory.save(&path).unwrap();
            let mut twin = PrioritizedTrajectories::load(&path).unwrap();
            assert_eq!(state(&memory), state(&twin));
            let written = memory.written();
            let new = Steps::new(2, written..written + steps, |row, time| (time + row as u64) % 6 == 4);
            let drawn = [&mut memory, &mut twin].map(|memory| {
                memory.add(&new.batch()).unwrap();
                let sample = memory.sample(5, 0.4).ok()?;
                let priorities = [0.3, 0.0, 17.0, 2.0, 1e-3].map(|p| p * turn as f32);
                memory.set_priorities(&sample.items, &priorities).unwrap();
                let at = sample.get("at").unwrap().to_vec3::<i64>().unwrap();
                Some((sample.items, floats(&sample.weights), floats(&sample.probabilities), at))
            });
            assert_eq!(drawn[0], drawn[1]);
            assert_eq!((memory.total(), memory.largest_ever()), (twin.total(), twin.largest_ever()));
            assert_eq!(state(&memory), state(&twin));
        }
    }
}

/// T17.
#[test]
fn a_damaged_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory");
    let mut memory = items(3, Prioritized { weights: Weights::BufferMax, ..PROPORTIONAL });
    memory.set_priorities(&all(3), &[1.0, 0.0, 3.5]).unwrap();
    memory.save(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for n in 0..whole.len() {
        std::fs::write(&path, &whole[..n]).unwrap();
        assert!(matches!(PrioritizedItems::load(&path), Err(Error::Format { .. })), "{n} bytes");
        let mut flipped = whole.clone();
        flipped[n] ^= 1 << (n % 8);
        std::fs::write(&path, &flipped).unwrap();
        assert!(matches!(PrioritizedItems::load(&path), Err(Error::Format { .. })), "byte {n}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(PrioritizedItems::load(&path).unwrap().total(), 4.5);
    // Of another kind.
    assert!(matches!(PrioritizedTrajectories::load(&path), Err(Error::Format { .. })));
    assert!(matches!(Trajectories::load(&path), Err(Error::Format { .. })));
}

/// An item of one memory is an item of another that was filled alike.
#[test]
fn uniform_and_prioritized_items_have_the_same_names() {
    let sizes = Sequences { rows: 3, length: 10, sample: 4, period: 2, ..Default::default() };
    let mut by_priority = memory(&sizes, PROPORTIONAL);
    let mut uniform = Trajectories::new(schema(), sizes, cl_core::rng(2, "memory")).unwrap();
    for times in [0..7, 7..17, 17..18] {
        let steps = Steps::new(3, times, never);
        uniform.add(&steps.batch()).unwrap();
        by_priority.add(&steps.batch()).unwrap();
    }
    let items = uniform.sample(uniform.len(), Draw::WithoutReplacement).unwrap().items;
    let updated = by_priority.set_priorities(&items, &vec![2.0; items.len()]).unwrap();
    assert_eq!((updated.set, updated.late.len()), (items.len(), 0));
    assert_eq!(by_priority.total(), 2.0 * by_priority.len() as f64);
}

#[test]
fn an_anneal_goes_in_a_straight_line() {
    let beta = Anneal { from: 0.4, to: 1.0, steps: 4 };
    let line: Vec<f64> = (0..6).map(|step| beta.at(step)).collect();
    let expected = [0.4, 0.55, 0.7, 0.85, 1.0, 1.0];
    assert!(line.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{line:?}");
    assert_eq!((beta.at(4), beta.at(u64::MAX)), (1.0, 1.0));
    assert_eq!(Anneal { from: 0.4, to: 1.0, steps: 0 }.at(0), 1.0);
    // Downwards too.
    assert_eq!(Anneal { from: 1.0, to: 0.0, steps: 2 }.at(1), 0.5);
}
