//! The greedily balanced memory: balanced at every moment, exact restoring, and what it refuses.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use candle_core::Tensor;
use cl_replay::{GreedyBalanced, Offer};
use common::{chi_square, critical, samples};
use proptest::prelude::*;

fn memory(capacity: usize, seed: u64) -> GreedyBalanced {
    GreedyBalanced::new(capacity, cl_core::rng(seed, "memory")).unwrap()
}

/// The numbers of the samples that are held.
fn numbers(memory: &GreedyBalanced) -> Vec<u32> {
    if memory.is_empty() { Vec::new() } else { common::numbers(&memory.all().unwrap()) }
}

proptest! {
    /// Whatever comes, at each moment: a group has its share, or all that came of it; no sample twice, each under its own
    /// group; and batches of any size are the same as one sample at a time.
    #[test]
    fn is_balanced_at_every_prefix(
        keys in prop::collection::vec(0u32..6, 1..120),
        capacity in 1..25usize,
        batch in 1..9usize,
        seed: u64,
    ) {
        let (mut single, mut came) = (memory(capacity, seed), BTreeMap::<u32, usize>::new());
        let mut batched = memory(capacity, seed);
        for (first, part) in (0..).step_by(batch).zip(keys.chunks(batch)) {
            let (x, y) = samples(first..first + part.len() as u32);
            batched.offer(part, &x, &y).unwrap();
            for (number, &key) in (first..).zip(part) {
                let (x, y) = samples(number..number + 1);
                single.offer(&[key], &x, &y).unwrap();
                *came.entry(key).or_default() += 1;
                let counts = single.counts();
                let share = capacity / came.len();
                let held: Vec<u32> = numbers(&single).into_iter().map(|number| keys[number as usize]).collect();
                prop_assert!(held.len() <= capacity);
                for (key, count) in counts {
                    prop_assert!(count >= came[&key].min(share));
                    prop_assert_eq!(held.iter().filter(|&&k| k == key).count(), count);
                }
            }
            prop_assert_eq!(numbers(&batched), numbers(&single));
        }
        let mut kept = numbers(&single);
        let len = kept.len();
        kept.sort_unstable();
        kept.dedup();
        prop_assert_eq!(kept.len(), len);
    }
}

/// 60 of one group fill a memory of 30; of two groups more each gets a third, from the first.
#[test]
fn a_new_group_takes_from_the_largest() {
    let mut memory = memory(30, 0);
    for (group, counts) in
        [(4u32, vec![(4, 30)]), (2, vec![(2, 15), (4, 15)]), (7, vec![(2, 10), (4, 10), (7, 10)])]
    {
        let (x, y) = samples(100 * group..100 * group + 60);
        let offers = memory.offer(&[group; 60], &x, &y).unwrap();
        assert_eq!(memory.counts(), counts);
        let taken = offers.iter().filter(|offer| **offer != Offer::Rejected).count();
        assert_eq!(taken, counts.iter().find(|&&(key, _)| key == group).unwrap().1);
    }
}

/// Which of ten is given up is drawn uniformly.
#[test]
fn what_is_given_up_is_random() {
    let mut gone = [0u64; 10];
    for seed in 0..4000 {
        let mut memory = memory(10, seed);
        let (x, y) = samples(0..11);
        memory.offer(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], &x, &y).unwrap();
        let held = numbers(&memory);
        (0..10).filter(|number| !held.contains(number)).for_each(|number| gone[number as usize] += 1);
    }
    assert_eq!(gone.iter().sum::<u64>(), 4000);
    // One seed in 10⁴ would miss.
    let statistic = chi_square(&gone, 4000);
    assert!(statistic < critical(9), "{gone:?}");
}

#[test]
fn goes_on_after_a_save_and_refuses_what_does_not_fit() {
    let mut first = memory(5, 3);
    let (x, y) = samples(0..12);
    first.offer(&[0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 1, 0], &x, &y).unwrap();
    let mut second: GreedyBalanced = serde_json::from_str(&serde_json::to_string(&first).unwrap()).unwrap();
    let state = |memory: &GreedyBalanced| serde_json::to_string(memory).unwrap();
    let (x, y) = samples(12..16);
    for memory in [&mut first, &mut second] {
        let before = state(memory);
        assert!(memory.offer(&[3; 3], &x, &y).is_err());
        assert!(memory.offer(&[3; 4], &Tensor::cat(&[&x, &x], 1).unwrap(), &y).is_err());
        assert_eq!(state(memory), before);
        memory.offer(&[3, 3, 0, 2], &x, &y).unwrap();
    }
    assert_eq!(state(&first), state(&second));
    assert!(GreedyBalanced::new(0, cl_core::rng(0, "")).is_err());
}
