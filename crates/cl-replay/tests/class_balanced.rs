//! The class-balanced memory: its two budgets, its invariants, exact restoring, and what it refuses.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};
use cl_core::Error;
use cl_replay::{Budget, ClassBalanced, Draw};
use common::{chi_square, chi_square_of_subsets, critical, numbers, samples, state};
use proptest::prelude::*;

fn memory(budget: Budget, seed: u64) -> ClassBalanced {
    ClassBalanced::new(budget, cl_core::rng(seed, "memory")).unwrap()
}

/// Fills groups 0, 1, ... with so many samples each; the samples of group g are numbered from 1000 g.
fn filled(budget: Budget, sizes: &[u32], seed: u64) -> ClassBalanced {
    let mut memory = memory(budget, seed);
    for (group, &n) in (0..).zip(sizes) {
        let (x, y) = samples(1000 * group..1000 * group + n);
        memory.fill(group, &x, &y).unwrap();
    }
    memory
}

fn counts(memory: &ClassBalanced) -> Vec<usize> {
    memory.counts().map(|(_, len)| len).collect()
}

/// van de Ven et al. 2022: 100 per class; a class with less gives all it has.
#[test]
fn a_budget_per_group() {
    let memory = filled(Budget::PerGroup(100), &[500, 100, 40], 0);
    assert_eq!(counts(&memory), [100, 100, 40]);
    assert_eq!(memory.len(), 240);
}

/// Hsu et al. 2018: 1100 samples over five tasks; older tasks keep the first of their random order.
#[test]
fn a_total_budget_is_shared_anew_after_every_task() {
    let mut memory = memory(Budget::Total(1100), 0);
    let mut first: Vec<u32> = Vec::new();
    for (task, share) in [(0u32, 1100), (1, 550), (2, 366), (3, 275), (4, 220)] {
        let (x, y) = samples(2000 * task..2000 * task + 1500);
        memory.fill(task, &x, &y).unwrap();
        assert_eq!(counts(&memory), vec![share; task as usize + 1]);
        let now = numbers(&memory.group(0).unwrap());
        if task > 0 {
            assert_eq!(now, first[..share], "what is left is the beginning of what was there");
        }
        first = now;
    }
    // Room that a small group leaves is not given to others.
    assert_eq!(counts(&filled(Budget::Total(30), &[5, 20, 20], 0)), [5, 10, 10]);
}

#[test]
fn the_choice_is_uniform_without_replacement() {
    const RUNS: u64 = 3000;
    for (budget, others, k) in
        [(Budget::PerGroup(6), 0, 6), (Budget::Total(12), 1, 6), (Budget::Total(18), 2, 6)]
    {
        let mut kept = vec![0; 20];
        for seed in 0..RUNS {
            let sizes: Vec<u32> = std::iter::once(20).chain((0..others).map(|_| 20)).collect();
            for i in numbers(&filled(budget, &sizes, seed).group(0).unwrap()) {
                kept[i as usize] += 1;
            }
        }
        let statistic = chi_square_of_subsets(&kept, k, RUNS);
        assert!(statistic < critical(19), "{budget:?}: {statistic}");
    }
}

#[test]
fn draws_are_uniform_over_all_or_over_one_group() {
    const RUNS: u64 = 4000;
    let mut memory = filled(Budget::PerGroup(4), &[4, 4, 4], 0);
    let (mut of_all, mut of_one) = (vec![0; 12], vec![0; 4]);
    for _ in 0..RUNS {
        let i = numbers(&memory.sample(1, Draw::WithReplacement).unwrap())[0];
        of_all[(4 * (i / 1000) + i % 1000) as usize] += 1;
        let two = numbers(&memory.sample_group(1, 2, Draw::WithoutReplacement).unwrap());
        assert!(two[0] != two[1] && two.iter().all(|i| i / 1000 == 1));
        of_one[(two[0] % 1000) as usize] += 1;
    }
    assert!(chi_square(&of_all, RUNS) < critical(11), "{of_all:?}");
    assert!(chi_square(&of_one, RUNS) < critical(3), "{of_one:?}");
}

fn budget() -> impl Strategy<Value = Budget> {
    prop_oneof![(1..9usize).prop_map(Budget::PerGroup), (6..40usize).prop_map(Budget::Total)]
}

proptest! {
    #[test]
    fn every_group_has_its_share_of_its_own_samples(
        budget in budget(),
        sizes in prop::collection::vec(1..30u32, 1..6),
        seed: u64,
    ) {
        let memory = filled(budget, &sizes, seed);
        // A group's share was smallest at the end; it could only lose.
        let share = match budget {
            Budget::PerGroup(n) => n,
            Budget::Total(n) => {
                prop_assert!(memory.len() <= n);
                n / sizes.len()
            }
        };
        let mut all = Vec::new();
        for (group, &n) in (0..).zip(&sizes) {
            let held = numbers(&memory.group(group).unwrap());
            prop_assert_eq!(held.len(), share.min(n as usize));
            prop_assert!(held.iter().all(|i| i / 1000 == group && i % 1000 < n));
            prop_assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), held.len(), "a sample twice");
            all.extend(held);
        }
        prop_assert_eq!(all.len(), memory.len());
        prop_assert_eq!(all, numbers(&memory.all().unwrap()));
    }

    /// Two classes at once are what the two are one after the other, where the shares do not meet.
    #[test]
    fn groups_at_once_or_one_by_one(keys in prop::collection::vec(0..4u32, 1..40), quota in 1..6usize, seed: u64) {
        let (x, y) = samples(0..keys.len() as u32);
        let (mut at_once, mut singly) = (memory(Budget::PerGroup(quota), seed), memory(Budget::PerGroup(quota), seed));
        let chosen = at_once.fill_groups(&keys, &x, &y).unwrap();
        prop_assert_eq!(&chosen, &numbers(&at_once.all().unwrap()));
        for key in 0..4u32 {
            let members: Vec<u32> = (0..keys.len() as u32).filter(|&i| keys[i as usize] == key).collect();
            if !members.is_empty() {
                let picks = Tensor::new(members, &Device::Cpu).unwrap();
                let chosen = singly
                    .fill(key, &x.index_select(&picks, 0).unwrap(), &y.index_select(&picks, 0).unwrap())
                    .unwrap();
                prop_assert!(chosen.len() <= quota);
            }
        }
        prop_assert_eq!(state(&at_once), state(&singly));
        for (key, _) in at_once.counts() {
            prop_assert!(numbers(&at_once.group(key).unwrap()).iter().all(|&i| keys[i as usize] == key));
        }
    }

    #[test]
    fn goes_on_after_a_restore(budget in budget(), sizes in prop::collection::vec(1..30u32, 0..4), seed: u64) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.snap");
        let mut memory = filled(budget, &sizes, seed);
        memory.save(&path).unwrap();
        let mut restored = ClassBalanced::load(&path).unwrap();
        prop_assert_eq!(state(&memory), state(&restored));
        let (x, y) = samples(7000..7020);
        prop_assert_eq!(memory.fill(7, &x, &y).unwrap(), restored.fill(7, &x, &y).unwrap());
        let (a, b) = (memory.sample(9, Draw::WithReplacement), restored.sample(9, Draw::WithReplacement));
        prop_assert_eq!(numbers(&a.unwrap()), numbers(&b.unwrap()));
        prop_assert_eq!(state(&memory), state(&restored));
    }
}

#[test]
fn a_small_run_is_pinned() {
    let mut memory = filled(Budget::Total(6), &[5, 5, 5], 42);
    let held = numbers(&memory.all().unwrap());
    let drawn = numbers(&memory.sample(4, Draw::WithoutReplacement).unwrap());
    let of_group = numbers(&memory.sample_group(2, 3, Draw::WithReplacement).unwrap());
    insta::assert_debug_snapshot!((held, drawn, of_group));
}

#[test]
fn bad_input_is_named_and_changes_nothing() {
    for budget in [Budget::PerGroup(0), Budget::Total(0)] {
        let error = ClassBalanced::new(budget, cl_core::rng(0, "memory")).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    let mut memory = memory(Budget::Total(2), 0);
    let before = state(&memory);
    for error in [memory.sample(1, Draw::WithReplacement).unwrap_err(), memory.all().unwrap_err()] {
        assert!(error.to_string().contains("empty"), "{error}");
    }
    assert!(memory.group(3).unwrap_err().to_string().contains("there is no 3"));
    let (x, y) = samples(0..4);
    assert!(memory.fill_groups(&[0, 1, 2, 3], &x, &y).unwrap_err().to_string().contains("4 groups"));
    assert!(memory.fill_groups(&[0, 1], &x, &y).unwrap_err().to_string().contains("4 keys"));
    let none = (x.narrow(0, 0, 0).unwrap(), y.narrow(0, 0, 0).unwrap());
    assert!(memory.fill(0, &none.0, &none.1).unwrap_err().to_string().contains("no samples"));
    assert_eq!(state(&memory), before);

    memory.fill(5, &x, &y).unwrap();
    let before = state(&memory);
    let wider = Tensor::zeros((4, 4), DType::F32, &Device::Cpu).unwrap();
    let wrong = [
        (5, x.clone(), y.clone(), "5 is filled already"),
        (6, wider, y.clone(), "[4]"),
        (6, x.to_dtype(DType::F64).unwrap(), y.clone(), "f64"),
        (6, x.clone(), y.narrow(0, 0, 3).unwrap(), "4 rows"),
    ];
    for (group, x, y, said) in wrong {
        let error = memory.fill(group, &x, &y).unwrap_err().to_string();
        assert!(error.contains(said), "{error} does not say {said}");
    }
    assert!(
        memory.sample_group(6, 1, Draw::WithReplacement).unwrap_err().to_string().contains("there is no 6")
    );
    assert!(memory.sample(3, Draw::WithoutReplacement).unwrap_err().to_string().contains("holds 2"));
    assert_eq!(state(&memory), before);
}
