//! The sum tree: against plain sums, what is reached and what is not, bad input, and exact restoring.
#![allow(clippy::unwrap_used)]

mod common;

use cl_core::{Error, snapshot, snapshot::Kind};
use cl_replay::{Strata, SumTree};
use common::{critical, state};
use proptest::prelude::*;
use rand::Rng as _;

const KIND: Kind = Kind::new("test/sum-tree", 1);
const BOTH: [Strata; 2] = [Strata::Stratified, Strata::Independent];

fn tree(leaves: &[f32]) -> SumTree {
    let mut tree = SumTree::new(leaves.len()).unwrap();
    tree.set_range(0, leaves).unwrap();
    tree
}

fn leaves(tree: &SumTree) -> Vec<f32> {
    (0..tree.capacity()).map(|i| tree.get(i).unwrap()).collect()
}

fn restored(tree: &SumTree) -> SumTree {
    snapshot::from_bytes(&snapshot::to_bytes(KIND, tree).unwrap(), KIND).unwrap()
}

/// Where each leaf ends: exact for integers.
fn ends(leaves: &[f32]) -> Vec<f64> {
    let mut end = 0.0;
    leaves
        .iter()
        .map(|&leaf| {
            end += f64::from(leaf);
            end
        })
        .collect()
}

/// Of the integers that a tree has as leaves, every border of an interval and every middle; and nothing
/// outside of [0, total).
fn assert_finds(tree: &SumTree) {
    let leaves = leaves(tree);
    let ends = ends(&leaves);
    let total = *ends.last().unwrap();
    assert_eq!(tree.total(), total);
    for (i, &end) in ends.iter().enumerate().filter(|&(i, _)| leaves[i] > 0.0) {
        let begin = end - f64::from(leaves[i]);
        for mass in [begin, begin.next_up(), begin + f64::from(leaves[i]) / 2.0, end.next_down()] {
            assert_eq!(tree.find(mass).unwrap(), i, "{mass} of {leaves:?}");
        }
    }
    for outside in
        [total, total.next_up(), -f64::MIN_POSITIVE, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]
    {
        let error = tree.find(outside).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
}

/// Where the leaves begin, by bisection, to 10⁻⁹ of the total.
fn borders(tree: &SumTree) -> Vec<f64> {
    let border = |leaf: usize| {
        let (mut below, mut above) = (0.0, tree.total());
        for _ in 0..30 {
            let middle = 0.5 * (below + above);
            *(if tree.find(middle).unwrap() < leaf { &mut below } else { &mut above }) = middle;
        }
        above
    };
    (0..tree.capacity()).map(border).collect()
}

/// An operation on leaves, with what is to become of a plain list.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, u32),
    Batch(Vec<(usize, u32)>),
    Range(usize, Vec<u32>),
}

/// Zeros, ones, and any integer of which sums of a few hundred are exact.
fn integer() -> impl Strategy<Value = u32> {
    prop_oneof![2 => Just(0), 1 => Just(1), 2 => 0..10u32, 1 => 0..100_000u32]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<usize>(), integer()).prop_map(|(i, v)| Change::Set(i, v)),
        prop::collection::vec((any::<usize>(), integer()), 0..40).prop_map(Change::Batch),
        (any::<usize>(), prop::collection::vec(integer(), 0..40)).prop_map(|(i, v)| Change::Range(i, v)),
    ]
}

fn apply(tree: &mut SumTree, plain: &mut [f32], change: Change) {
    let capacity = plain.len();
    match change {
        Change::Set(i, value) => {
            plain[i % capacity] = value as f32;
            tree.set(i % capacity, value as f32).unwrap();
        }
        Change::Batch(pairs) => {
            let indices: Vec<u32> = pairs.iter().map(|&(i, _)| (i % capacity) as u32).collect();
            let values: Vec<f32> = pairs.iter().map(|&(_, value)| value as f32).collect();
            indices.iter().zip(&values).for_each(|(&i, &value)| plain[i as usize] = value);
            tree.set_batch(&indices, &values).unwrap();
        }
        Change::Range(start, values) => {
            let start = start % capacity;
            let values: Vec<f32> = values.iter().map(|&v| v as f32).take(capacity - start).collect();
            plain[start..start + values.len()].copy_from_slice(&values);
            tree.set_range(start, &values).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any capacity, any order of changes, duplicates among them (T1, T3, T4, T11, T15): leaves, total and the
    /// owner of every mass are those of the plain list; and a restored tree goes on bit for bit (T17).
    #[test]
    fn a_tree_is_its_list_of_leaves(
        capacity in 1..600usize,
        changes in prop::collection::vec(change(), 1..12),
        seed: u64,
    ) {
        let (mut tree, mut plain) = (SumTree::new(capacity).unwrap(), vec![0.0; capacity]);
        for change in changes {
            let mut twin = restored(&tree);
            apply(&mut tree, &mut plain.clone(), change.clone());
            apply(&mut twin, &mut plain, change);
            prop_assert_eq!(&leaves(&tree), &plain);
            prop_assert_eq!(state(&tree), state(&twin));
            assert_finds(&tree);
            for strata in BOTH {
                let (mut one, mut other) = (cl_core::rng(seed, "draws"), cl_core::rng(seed, "draws"));
                let drawn = tree.sample(9, strata, &mut one).ok();
                prop_assert_eq!(&drawn, &twin.sample(9, strata, &mut other).ok());
                prop_assert_eq!(drawn.is_some(), plain.iter().any(|&leaf| leaf > 0.0));
            }
        }
    }

    /// The n-th of n stratified draws lies in the n-th segment of the total (T14), and no draw of either
    /// kind is a leaf of zero (T3).
    #[test]
    fn each_segment_gets_its_draw(
        values in prop::collection::vec(integer(), 1..200),
        n in 1..100usize,
        seed: u64,
    ) {
        prop_assume!(values.iter().any(|&value| value > 0));
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        let (tree, ends) = (tree(&values), ends(&values));
        let mut rng = cl_core::rng(seed, "draws");
        let segment = tree.total() / n as f64;
        for (i, leaf) in tree.sample(n, Strata::Stratified, &mut rng).unwrap().into_iter().enumerate() {
            // Segments are whole units, of which a total has 2²⁴ and more.
            let slack = tree.total() / f64::from(1 << 24);
            let (from, to) = (i as f64 * segment - slack, (i + 1) as f64 * segment + slack);
            let (begin, end) = (ends[leaf as usize] - f64::from(values[leaf as usize]), ends[leaf as usize]);
            prop_assert!(begin < to && from < end && begin < end, "{leaf} of {values:?} at place {i} of {n}");
        }
        for leaf in tree.sample(n, Strata::Independent, &mut rng).unwrap() {
            prop_assert!(values[leaf as usize] > 0.0);
        }
    }

    /// A batch is its updates one by one, duplicates and sums included (T11), whatever the sizes of the values.
    #[test]
    fn a_batch_is_its_updates_one_by_one(
        capacity in 1..100usize,
        before in prop::collection::vec(any_leaf(), 100),
        updates in prop::collection::vec((any::<usize>(), any_leaf()), 0..200),
    ) {
        let start = tree(&before[..capacity]);
        let indices: Vec<u32> = updates.iter().map(|&(i, _)| (i % capacity) as u32).collect();
        let values: Vec<f32> = updates.iter().map(|&(_, value)| value).collect();
        let (mut batch, mut one_by_one) = (start.clone(), start);
        batch.set_batch(&indices, &values).unwrap();
        for (&i, &value) in indices.iter().zip(&values) {
            one_by_one.set(i as usize, value).unwrap();
        }
        prop_assert_eq!(leaves(&batch), leaves(&one_by_one));
        let off = (batch.total() - one_by_one.total()).abs();
        prop_assert!(off <= 1e-7 * batch.total(), "{} or {}", batch.total(), one_by_one.total());
        let sum: f64 = leaves(&batch).into_iter().map(f64::from).sum();
        prop_assert!((batch.total() - sum).abs() <= 1e-7 * sum, "{} of {sum}", batch.total());
        prop_assert_eq!(batch.total() == 0.0, sum == 0.0);
    }

    /// Proportions are right to 10⁻⁶ of the total for leaves from 10⁻³⁸ to 10³⁸ in one tree, when they come and
    /// when the largest go again (T2, dynamic range).
    #[test]
    fn proportions_hold_over_the_range_of_f32(capacity in 1..60usize, seed: u64) {
        let mut rng = cl_core::rng(seed, "leaves");
        let values: Vec<f32> = (0..capacity).map(|_| 10f32.powf(rng.random_range(-37.5..38.0))).collect();
        let mut tree = SumTree::new(capacity).unwrap();
        let mut order: Vec<usize> = (0..capacity).collect();
        order.sort_by_key(|&i| values[(i * 7 + 3) % capacity].to_bits());
        for i in order {
            tree.set(i, values[i]).unwrap();
        }
        let mut order: Vec<usize> = (0..capacity).collect();
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        for largest in order {
            let ends = ends(&leaves(&tree));
            let total = *ends.last().unwrap();
            prop_assert!((tree.total() - total).abs() <= 1e-6 * total, "{} of {total}", tree.total());
            for (leaf, border) in borders(&tree).into_iter().enumerate() {
                let exact = if leaf == 0 { 0.0 } else { ends[leaf - 1] };
                prop_assert!((border - exact).abs() <= 1e-6 * total, "{leaf}: {border}, not {exact} of {total}");
            }
            tree.set(largest, 0.0).unwrap();
        }
        prop_assert_eq!(tree.total(), 0.0);
    }
}

/// Zeros, and positive numbers of all sizes.
fn any_leaf() -> impl Strategy<Value = f32> {
    prop_oneof![
        Just(0.0),
        Just(-0.0),
        Just(f32::MIN_POSITIVE),
        Just(f32::MAX),
        0.5..2.0f32,
        (-37.0..38.0f32).prop_map(|exponent| 10f32.powf(exponent)),
    ]
}

/// T1: 10⁷ operations of every kind, with values over six orders of magnitude, that rise and fall.
#[test]
fn nothing_drifts() {
    let n = 10_000;
    let mut tree = SumTree::new(n).unwrap();
    let mut rng = cl_core::rng(1, "operations");
    let mut operations = 0;
    let mut round = 0u32;
    while operations < 10_000_000 {
        let scale = f64::from(round % 400 / 20).exp();
        let value = |rng: &mut cl_core::Rng| {
            let u: f64 = rng.random();
            if u < 0.3 { 0.0 } else { (scale * 1e-3 * (14.0 * u).exp()) as f32 }
        };
        match round % 4 {
            0 => {
                let indices: Vec<u32> = (0..4096).map(|_| rng.random_range(0..n as u32)).collect();
                let values: Vec<f32> = (0..4096).map(|_| value(&mut rng)).collect();
                tree.set_batch(&indices, &values).unwrap();
                operations += 4096;
            }
            1 => {
                let start = rng.random_range(0..n - 1000);
                let values: Vec<f32> = (0..1000).map(|_| value(&mut rng)).collect();
                tree.set_range(start, &values).unwrap();
                operations += 1000;
            }
            2 => {
                for _ in 0..2000 {
                    tree.set(rng.random_range(0..n), value(&mut rng)).unwrap();
                }
                operations += 2000;
            }
            _ => {
                let drawn = tree.sample(256, BOTH[round as usize / 4 % 2], &mut rng).unwrap();
                let zeros = vec![0.0; drawn.len()];
                tree.set_batch(&drawn, &zeros).unwrap();
                operations += 512;
            }
        }
        round += 1;
    }
    let sum: f64 = leaves(&tree).into_iter().map(f64::from).sum();
    assert!((tree.total() - sum).abs() <= 1e-7 * sum, "{} of {sum}", tree.total());
    let mut twin = restored(&tree);
    assert_eq!(tree.total(), twin.total());
    let drawn = tree.sample(100_000, Strata::Independent, &mut rng.clone()).unwrap();
    assert_eq!(drawn, twin.sample(100_000, Strata::Independent, &mut rng).unwrap());
    assert!(drawn.iter().all(|&leaf| tree.get(leaf as usize).unwrap() > 0.0));

    // All but one.
    let last = drawn[0];
    let others: Vec<u32> = (0..n as u32).filter(|&i| i != last).collect();
    for tree in [&mut tree, &mut twin] {
        tree.set_batch(&others, &vec![0.0; n - 1]).unwrap();
        let left = f64::from(tree.get(last as usize).unwrap());
        assert!((tree.total() - left).abs() <= 1e-7 * left);
        assert!(tree.sample(6400, Strata::Independent, &mut rng).unwrap().iter().all(|&leaf| leaf == last));
        tree.set(last as usize, 0.0).unwrap();
        assert_eq!(tree.total(), 0.0);
        assert!(tree.find(0.0).is_err());
    }
}

/// T2: batch-summed counts (T14) at 2²⁰ leaves, four draws a leaf.
#[test]
fn a_million_leaves_are_drawn_in_proportion() {
    let n = 1 << 20;
    let mut rng = cl_core::rng(2, "leaves");
    let values: Vec<f32> = (0..n).map(|_| rng.random_range(0.5..1.5)).collect();
    let tree = tree(&values);
    for strata in BOTH {
        let mut counts = vec![0u32; n];
        for _ in 0..64 {
            for leaf in tree.sample(n / 16, strata, &mut rng).unwrap() {
                counts[leaf as usize] += 1;
            }
        }
        let draws_per_mass = 4.0 * n as f64 / tree.total();
        let statistic: f64 = values
            .iter()
            .zip(&counts)
            .map(|(&leaf, &count)| {
                let expected = f64::from(leaf) * draws_per_mass;
                (f64::from(count) - expected).powi(2) / expected
            })
            .sum();
        // Independent draws also do not fall below what chance allows; stratified ones do.
        assert!(statistic < critical(n - 1), "{strata:?}: {statistic}");
        assert_eq!(strata == Strata::Independent, statistic > 0.98 * n as f64, "{strata:?}: {statistic}");
    }
}

/// T2: with f32 sums, half of 2²⁴ leaves are never drawn.
#[test]
fn every_one_of_sixteen_million_leaves_is_reached() {
    let n = 1 << 24;
    let mut rng = cl_core::rng(3, "leaves");
    let values: Vec<f32> = (0..n).map(|_| rng.random_range(0.01..1.0)).collect();
    let mut tree = tree(&values);
    let mut begin = 0.0;
    for (i, &value) in values.iter().enumerate() {
        // Not all of them: it takes seconds.
        if i % 5 == 0 {
            assert_eq!(tree.find(begin + 0.5 * f64::from(value)).unwrap(), i);
        }
        begin += f64::from(value);
    }
    assert!((tree.total() - begin).abs() < 1e-7 * begin);
    // Equal leaves, one stratum each: all of them.
    tree.set_range(0, &vec![0.7; n]).unwrap();
    let drawn = tree.sample(n, Strata::Stratified, &mut rng).unwrap();
    let off = drawn.iter().enumerate().filter(|&(i, &leaf)| leaf as usize != i).count();
    // A stratum begins at most one unit from its leaf.
    assert!(off < 10, "{off}");
}

/// T3, T4: with a third of zeros, the first and the last leaf among them.
#[test]
fn zeros_are_never_found() {
    for capacity in [3, 7, 8, 9, 64, 65, 513, 4100] {
        let values: Vec<f32> = (0..capacity)
            .map(|i| if i % 3 == 0 || i + 1 == capacity { 0.0 } else { (i % 11 + 1) as f32 })
            .collect();
        let tree = tree(&values);
        assert_finds(&tree);
        assert_eq!(tree.find(0.0).unwrap(), 1);
        let last = values.iter().rposition(|&leaf| leaf > 0.0).unwrap();
        assert_eq!(tree.find(tree.total().next_down()).unwrap(), last);
    }
}

/// T3: fractions, whose sums are rounded.
#[test]
fn zeros_are_never_found_among_fractions() {
    let mut rng = cl_core::rng(4, "leaves");
    for capacity in [2, 8, 9, 100, 1000] {
        let values: Vec<f32> =
            (0..capacity).map(|i| if i % 3 == 1 { rng.random_range(1e-3..1e3) } else { 0.0 }).collect();
        let tree = tree(&values);
        for end in ends(&values).into_iter().chain([tree.total()]) {
            for mass in [end.next_down(), end, end.next_up()] {
                if let Ok(leaf) = tree.find(mass) {
                    assert!(values[leaf] > 0.0, "{mass} is owned by a zero");
                }
            }
        }
        for strata in BOTH {
            assert!(
                tree.sample(5000, strata, &mut rng).unwrap().iter().all(|&leaf| values[leaf as usize] > 0.0)
            );
        }
    }
}

/// T4: at every fill, from the first on and from the last back.
#[test]
fn the_first_and_the_last_are_reached_at_every_fill() {
    let mut rng = cl_core::rng(5, "draws");
    for capacity in [1, 2, 8, 9, 70] {
        let (mut forward, mut backward) = (SumTree::new(capacity).unwrap(), SumTree::new(capacity).unwrap());
        for fill in 1..=capacity {
            forward.set(fill - 1, 1.0).unwrap();
            backward.set(capacity - fill, 1.0).unwrap();
            for (tree, first) in [(&forward, 0), (&backward, capacity - fill)] {
                assert_eq!(tree.find(0.0).unwrap(), first);
                assert_eq!(tree.find(tree.total().next_down()).unwrap(), first + fill - 1);
                let drawn = tree.sample(fill, Strata::Stratified, &mut rng).unwrap();
                assert!(drawn.iter().map(|&leaf| leaf as usize).eq(first..first + fill));
                // One of them is missed with probability (1 − 1/fill)^(30 · fill) < 1e-13.
                let drawn = tree.sample(30 * fill, Strata::Independent, &mut rng).unwrap();
                assert!(drawn.iter().min() == Some(&(first as u32)));
                assert!(drawn.iter().max() == Some(&((first + fill - 1) as u32)));
            }
        }
    }
}

/// T15: no rotation, whatever the capacity.
#[test]
fn find_is_monotone_for_every_capacity() {
    for capacity in 1..=70 {
        let tree = tree(&vec![1.0; capacity]);
        let found: Vec<usize> = (0..4 * capacity).map(|i| tree.find(i as f64 / 4.0).unwrap()).collect();
        assert!(found.iter().enumerate().all(|(i, &leaf)| leaf == i / 4), "{capacity}: {found:?}");
    }
}

/// T12: nothing of a batch is written, and the message names the leaf and the value.
#[test]
fn a_bad_value_changes_nothing() {
    let mut tree = tree(&[1.0, 2.0, 0.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
    let before = state(&tree);
    for (value, word) in [
        (f32::NAN, "NaN"),
        (-f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
        (-1.5, "-1.5"),
        (-f32::MIN_POSITIVE, "negative"),
        (1e-40, "1e-40"),
        (f32::from_bits(1), "subnormal"),
        (-1e-40, "negative"),
    ] {
        let errors = [
            tree.set(9, value).unwrap_err(),
            tree.set_batch(&[1, 9, 2], &[3.0, value, 3.0]).unwrap_err(),
            tree.set_range(1, &[3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, value]).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::Invalid { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(word) && text.contains("leaf 9"), "{text}");
        }
        assert_eq!(state(&tree), before);
    }
    assert_finds(&tree);
    // The smallest and the largest that are allowed, and both zeros.
    for value in [f32::MIN_POSITIVE, f32::MAX, 0.0, -0.0] {
        tree.set(9, value).unwrap();
        assert_eq!(tree.get(9).unwrap(), value);
    }
    assert!(tree.get(9).unwrap().is_sign_positive());
}

/// T20: no other leaf changes, whether the index is within the padding or far away.
#[test]
fn an_index_out_of_range_changes_nothing() {
    for capacity in [1, 5, 8, 9, 64, 70] {
        let mut tree = tree(&vec![1.0; capacity]);
        let before = state(&tree);
        for index in [capacity, capacity + 1, 2 * capacity - 1, 2 * capacity, 1 << 20, u32::MAX as usize] {
            if index < capacity {
                continue;
            }
            let errors = [
                tree.set(index, 50.0).unwrap_err(),
                tree.set_batch(&[0, index as u32], &[50.0, 50.0]).unwrap_err(),
                tree.set_range(index, &[50.0]).unwrap_err(),
                tree.get(index).unwrap_err(),
            ];
            for error in errors {
                assert!(matches!(error, Error::Invalid { .. }), "{error}");
                assert!(error.to_string().contains(&index.to_string()), "{error}");
            }
            assert_eq!(state(&tree), before);
        }
        assert!(tree.set_range(0, &vec![2.0; capacity + 1]).is_err());
        assert!(tree.set_range(usize::MAX, &[2.0, 2.0]).is_err());
        assert!(tree.set(usize::MAX, 2.0).is_err());
        assert_eq!(state(&tree), before);
    }
}

#[test]
fn as_many_values_as_indices_are_needed() {
    let mut tree = tree(&[1.0, 2.0]);
    let before = state(&tree);
    for (indices, values) in [(&[0u32, 1][..], &[3.0f32][..]), (&[0], &[3.0, 3.0]), (&[], &[3.0])] {
        assert!(matches!(tree.set_batch(indices, values), Err(Error::Mismatch { .. })));
    }
    tree.set_batch(&[], &[]).unwrap();
    tree.set_range(1, &[]).unwrap();
    assert_eq!(state(&tree), before);
}

#[test]
fn a_capacity_is_from_one_to_what_u32_can_name() {
    for capacity in [0, u32::MAX as usize, usize::MAX] {
        assert!(matches!(SumTree::new(capacity), Err(Error::Invalid { .. })));
    }
    assert_eq!(SumTree::new(1).unwrap().capacity(), 1);
}

/// T13: nothing is taken from the generator either.
#[test]
fn nothing_is_drawn_from_zeros() {
    let mut rng = cl_core::rng(6, "draws");
    let before = state(&rng);
    for tree in [SumTree::new(20).unwrap(), tree(&[0.0; 5])] {
        for strata in BOTH {
            assert!(matches!(tree.sample(3, strata, &mut rng), Err(Error::Invalid { .. })));
        }
    }
    assert_eq!(state(&rng), before);
    assert!(tree(&[1.0]).sample(0, Strata::Stratified, &mut rng).unwrap().is_empty());
}

/// T13: equal generators, equal draws; and the generator moves on.
#[test]
fn draws_follow_the_generator() {
    let tree = tree(&[1.0; 1000]);
    for strata in BOTH {
        let mut rng = cl_core::rng(7, "draws");
        let first = tree.sample(64, strata, &mut rng).unwrap();
        assert_eq!(first, tree.sample(64, strata, &mut cl_core::rng(7, "draws")).unwrap());
        assert_ne!(first, tree.sample(64, strata, &mut rng).unwrap());
        assert_ne!(first, tree.sample(64, strata, &mut cl_core::rng(8, "draws")).unwrap());
    }
}

/// Two leaves, and the total has sunk as far as it may before the sums are taken anew: to 2²⁴ units and
/// little more.
fn sunk(leaves: [f32; 2]) -> SumTree {
    let mut tree = SumTree::new(2).unwrap();
    tree.set(0, 1.0).unwrap();
    tree.set_range(0, &leaves.map(|leaf| leaf * 2f32.powi(-21))).unwrap();
    tree
}

/// Strata of about a unit, and of less.
#[test]
fn as_many_draws_as_units_are_still_in_proportion() {
    let tree = sunk([0.5, 0.5]);
    for n in [(1 << 24) - (1 << 20), (1 << 24) + (1 << 22)] {
        let drawn = tree.sample(n, Strata::Stratified, &mut cl_core::rng(9, "draws")).unwrap();
        let first = drawn.iter().filter(|&&leaf| leaf == 0).count();
        assert!(first.abs_diff(n / 2) <= 1 && drawn.is_sorted(), "{first} of {n}");
    }
}

/// T3: a border need not lie between two units.
#[test]
fn find_is_finer_than_the_units_of_the_sums() {
    let tree = sunk([0.1, 0.9123]);
    let border = f64::from(tree.get(0).unwrap());
    assert_eq!([border.next_down(), border].map(|mass| tree.find(mass).unwrap()), [0, 1]);
}

/// A saved form that no tree wrote is refused, or is a tree: never a panic.
#[test]
fn a_forged_scale_does_no_harm() {
    #[derive(serde::Serialize)]
    struct Forged {
        leaves: Vec<f32>,
        scale: i32,
    }
    let read = |leaves: &[f32], scale| {
        let forged = Forged { leaves: leaves.to_vec(), scale };
        snapshot::from_bytes::<SumTree>(&snapshot::to_bytes(KIND, &forged).unwrap(), KIND)
    };
    for scale in [i32::MIN, i32::MIN + 1, -2000, -1, 0, 1, 2000, i32::MAX] {
        if let Ok(tree) = read(&[1.0, 0.0, 3.0], scale) {
            assert_finds(&tree);
        }
    }
    assert!(matches!(read(&[], 0), Err(Error::Format { .. })));
    for bad in [f32::NAN, -1.0, f32::INFINITY, 1e-40] {
        assert!(matches!(read(&[1.0, bad], 45), Err(Error::Format { .. })));
    }
}
