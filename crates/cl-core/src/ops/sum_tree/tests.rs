#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rand::Rng as _;

use super::*;
use crate::snapshot::{self, Kind};

const KIND: Kind = Kind::new("test/priority-tree", 1);
const NONE: Overwritten = Overwritten { first: 0, count: 0 };

fn vector<T: candle_core::WithDType>(values: &[T]) -> Tensor {
    Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap()
}

fn tree(leaves: &[f32]) -> PriorityTree {
    let mut tree = PriorityTree::new(leaves.len(), &Device::Cpu).unwrap();
    let all: Vec<u32> = (0..leaves.len() as u32).collect();
    tree.update(&vector(&all), &vector(leaves), 1.0, NONE).unwrap();
    tree
}

fn leaves(tree: &PriorityTree) -> Vec<f32> {
    tree.leaves().unwrap().to_vec1().unwrap()
}

fn find(tree: &PriorityTree, mass: f64) -> usize {
    match &tree.nodes {
        Nodes::Cpu(tree) => tree.find(mass),
        #[cfg(feature = "cuda")]
        Nodes::Cuda(_) => unreachable!("the tests here are of the CPU"),
    }
}

/// Every number of all levels.
fn sums(tree: &PriorityTree) -> String {
    format!("{:?}", tree.nodes)
}

/// Very unequal leaves, a third of them zeros.
fn unequal(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = crate::rng(seed, "leaves");
    let leaf = |_| if rng.random_bool(0.33) { 0.0 } else { 10f32.powf(rng.random_range(-12.0..12.0)) };
    (0..n).map(leaf).collect()
}

#[derive(Debug, Clone)]
enum Operation {
    Update(Vec<(u32, f32)>, usize, usize),
    Fill(usize, usize, usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    let bad = prop::sample::select(vec![f32::NAN, -1.0, f32::INFINITY, f32::NEG_INFINITY, -1e-40]);
    let priority =
        prop_oneof![1 => Just(0.0f32), 1 => Just(-0.0f32), 1 => Just(1e-40f32), 6 => 0.01..10.0f32, 1 => bad];
    let one = (prop_oneof![9 => 0..80u32, 1 => any::<u32>()], priority);
    prop_oneof![
        (prop::collection::vec(one, 0..40), 0..80usize, 0..20usize)
            .prop_map(|(updates, first, count)| Operation::Update(updates, first, count)),
        (any::<usize>(), any::<usize>(), 0..3usize)
            .prop_map(|(start, n, with)| Operation::Fill(start, n, with)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Against a list, one priority at a time (T11, T12, T20): leaves, largest and counts; and the sums are those of a tree that
    /// has never seen other leaves (T1).
    #[test]
    fn a_tree_is_its_leaves(
        capacity in 1..80usize,
        alpha in prop_oneof![Just(0.0), Just(0.5), Just(1.0)],
        operations in prop::collection::vec(operation(), 1..12),
    ) {
        let mut tree = PriorityTree::new(capacity, &Device::Cpu).unwrap();
        let (mut list, mut largest, mut counts) = (vec![0f32; capacity], 1f32, Counts::default());
        for operation in operations {
            match operation {
                Operation::Update(updates, first, count) => {
                    let first = first % capacity;
                    for &(index, priority) in &updates {
                        let late = (0..count.min(capacity)).any(|i| (first + i) % capacity == index as usize);
                        match list.get_mut(index as usize) {
                            None => counts.outside += 1,
                            Some(_) if late => counts.late += 1,
                            Some(leaf) if priority >= 0.0 && priority.is_finite() => {
                                let power = f64::from(priority).powf(alpha) as f32;
                                *leaf = if priority > 0.0 { power.max(f32::MIN_POSITIVE) } else { 0.0 };
                                largest = largest.max(*leaf);
                            }
                            Some(_) => counts.refused += 1,
                        }
                    }
                    let (indices, priorities): (Vec<u32>, Vec<f32>) = updates.into_iter().unzip();
                    tree.update(&vector(&indices), &vector(&priorities), alpha, Overwritten { first, count }).unwrap();
                }
                Operation::Fill(start, n, with) => {
                    let start = start % capacity;
                    let n = n % (capacity - start + 1);
                    let now = list.iter().copied().fold(0.0, f32::max);
                    let now = if now > 0.0 { now } else { 1.0 };
                    let (with, leaf) =
                        [(Fill::Leaf(2.5), 2.5), (Fill::LargestNow, now), (Fill::LargestEver, largest)][with];
                    tree.fill(start, n, with).unwrap();
                    list[start..start + n].fill(leaf);
                }
            }
            let found = leaves(&tree);
            let off = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-6 * b;
            prop_assert!(!found.iter().zip(&list).any(off), "{found:?} against {list:?}");
            prop_assert!(found.iter().all(|leaf| leaf.is_sign_positive()));
            list = found; // of α = ½ the last bit
            largest = tree.largest_ever().unwrap();
        }
        prop_assert_eq!(tree.counts().unwrap(), counts);
        let total: f64 = list.iter().map(|&leaf| f64::from(leaf)).sum();
        prop_assert!((tree.total().unwrap() - total).abs() <= 1e-12 * total);
        let mut other = PriorityTree::new(capacity, &Device::Cpu).unwrap();
        at!(&mut other.nodes, nodes => nodes.restore(&list, largest, counts)).unwrap();
        prop_assert_eq!(sums(&tree), sums(&other));
    }
}

/// T1: a million updates, then zeros, leave a total of exactly 0, and then one leaf alone is drawn.
#[test]
fn nothing_drifts() {
    let mut rng = crate::rng(1, "updates");
    let n = 4096u32;
    let mut tree = PriorityTree::new(n as usize, &Device::Cpu).unwrap();
    for _ in 0..60 {
        let (indices, values): (Vec<u32>, Vec<f32>) =
            (0..4096).map(|_| (rng.random_range(0..n), 100.0 * rng.random::<f32>().powi(4))).unzip();
        tree.update(&vector(&indices), &vector(&values), 0.6, NONE).unwrap();
    }
    tree.fill(0, n as usize, Fill::Leaf(0.0)).unwrap();
    assert_eq!(tree.total().unwrap(), 0.0);
    tree.fill(77, 1, Fill::Leaf(1e-20)).unwrap();
    let drawn = tree.draw(1000, Strata::Independent, &mut Philox::new(1)).unwrap();
    assert_eq!(drawn.indices.to_vec1::<u32>().unwrap(), [77; 1000]);
    assert_eq!(drawn.probabilities.to_vec1::<f32>().unwrap(), [1.0; 1000]);
}

/// T3, T4, T15: a larger mass never belongs to an earlier leaf, every positive leaf is found, none of 0, for every capacity.
#[test]
fn masses_belong_to_leaves_in_their_order() {
    for capacity in (1..70).chain([1023, 1024, 1025, 33_000]) {
        let mut rng = crate::rng(capacity as u64, "leaves");
        // Small whole numbers: their sums are exact.
        let mut values: Vec<f32> = (0..capacity).map(|_| rng.random_range(0..4) as f32).collect();
        (values[0], values[capacity - 1]) = (0.0, 3.0);
        let tree = tree(&values);
        let mut begin = 0.0;
        for (leaf, &value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
            let end = begin + f64::from(value);
            for mass in [begin, begin + 0.5, end.next_down()] {
                assert_eq!(find(&tree, mass), leaf, "mass {mass} of {capacity}");
            }
            begin = end;
        }
        assert_eq!(tree.total().unwrap(), begin);
        // Beyond the end, where rounding may put a mass: the last positive one.
        assert_eq!(find(&tree, begin * 1.5), capacity - 1);
    }
}

/// T3: at every end of a leaf, and a little around it, where sums in another order are not the same.
#[test]
fn no_mass_belongs_to_a_leaf_of_zero() {
    for seed in 0..20 {
        let values = unequal(1500, seed);
        let tree = tree(&values);
        let (mut end, total) = (0.0, tree.total().unwrap());
        for &value in &values {
            end += f64::from(value);
            for mass in [end.next_down(), end, end.next_up(), end * (1.0 - 1e-15), end * (1.0 + 1e-15)] {
                assert!(values[find(&tree, mass.clamp(0.0, total))] > 0.0, "{mass}");
            }
        }
        assert!(values[find(&tree, -1.0)] > 0.0);
    }
}

/// The law of the draws: with another seed each of the six would fail once in ten thousand times.
#[test]
fn draws_are_in_proportion() {
    for (capacity, seed) in [(5, 1), (300, 2), (2000, 3)] {
        let mut rng = crate::rng(seed, "leaves");
        let values: Vec<f32> =
            (0..capacity).map(|i| if i % 3 == 0 { 0.0 } else { rng.random_range(0.2..2.0) }).collect();
        let mut tree = tree(&values);
        let total = tree.total().unwrap();
        for strata in [Strata::Independent, Strata::Stratified] {
            let (mut philox, mut observed) = (Philox::new(seed), vec![0u64; capacity]);
            let (batches, n) = (100, 2000);
            for _ in 0..batches {
                for index in tree.draw(n, strata, &mut philox).unwrap().indices.to_vec1::<u32>().unwrap() {
                    observed[index as usize] += 1;
                }
            }
            let mut chi_square = 0.0;
            for (&observed, &value) in observed.iter().zip(&values) {
                let expected = (batches * n) as f64 * f64::from(value) / total;
                if value == 0.0 {
                    assert_eq!(observed, 0);
                } else {
                    chi_square += (observed as f64 - expected).powi(2) / expected;
                }
            }
            let d = values.iter().filter(|value| **value > 0.0).count() as f64 - 1.0;
            let spread = 2.0 / (9.0 * d);
            let critical = d * (1.0 - spread + 3.719 * spread.sqrt()).powi(3);
            assert!(chi_square < critical, "{chi_square} of {d} degrees, {strata:?}");
            // Independent draws scatter as much as that, strata less.
            let least = if strata == Strata::Independent { d * (1.0 - 4.5 * (2.0 / d).sqrt()) } else { -1.0 };
            assert!(chi_square > least, "{chi_square} of {d} degrees: these are not independent");
        }
    }
}

/// T2: of as many strata as equal leaves, each gives another leaf, at both ends too.
#[test]
fn every_leaf_is_reached() {
    let n = 100_000;
    let mut tree = PriorityTree::new(n, &Device::Cpu).unwrap();
    tree.fill(0, n, Fill::LargestNow).unwrap();
    let drawn = tree.draw(n, Strata::Stratified, &mut Philox::new(0)).unwrap();
    assert!(drawn.indices.to_vec1::<u32>().unwrap().into_iter().eq(0..n as u32));
}

#[test]
fn draws_follow_the_generator() {
    let mut tree = tree(&unequal(500, 3));
    let mut philox = Philox::new(9);
    let mut draw = |philox: &mut Philox, n| -> Vec<u32> {
        tree.draw(n, Strata::Independent, philox).unwrap().indices.to_vec1().unwrap()
    };
    let (first, second) = (draw(&mut philox, 50), draw(&mut philox, 50));
    assert_eq!(philox.draws(), 2);
    assert_ne!(first, second);
    assert_ne!(first, draw(&mut Philox::new(10), 50));
    // A longer draw begins with a shorter one.
    assert_eq!(draw(&mut Philox::new(9), 70)[..50], first);
}

/// The PER golden values: p = .01, .04, .09, .16, α = ½, β = 1, by each convention (T9).
#[test]
fn importance_weights() {
    let mut tree = PriorityTree::new(6, &Device::Cpu).unwrap();
    let priorities = vector(&[0.01f32, 0.04, 0.09, 0.16, 0.0]);
    tree.update(&vector(&[0u32, 1, 2, 3, 4]), &priorities, 0.5, NONE).unwrap();
    let drawn = Draws {
        indices: vector(&[1u32, 3, 2, NOTHING]),
        leaves: vector(&[0.2f32, 0.4, 0.3, 0.0]),
        probabilities: vector(&[0.2f32, 0.4, 0.3, 0.0]),
    };
    let weights = |rule| tree.weights(&drawn, 4, 1.0, rule).unwrap().to_vec1::<f32>().unwrap();
    let close = |found: Vec<f32>, expected: [f32; 4]| {
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6), "{found:?}");
    };
    close(weights(Weights::BatchMax), [1.0, 0.5, 2.0 / 3.0, 0.0]);
    close(weights(Weights::BufferMax), [0.5, 0.25, 1.0 / 3.0, 0.0]);
    close(weights(Weights::None), [1.25, 0.625, 1.0 / 1.2, 0.0]);
    assert_eq!(
        tree.weights(&drawn, 4, 0.0, Weights::None).unwrap().to_vec1::<f32>().unwrap(),
        [1.0, 1.0, 1.0, 0.0]
    );
    for beta in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(tree.weights(&drawn, 4, beta, Weights::None).unwrap_err().to_string().contains("beta"));
    }
}

#[test]
fn nothing_is_drawn_from_zeros() {
    let mut tree = PriorityTree::new(40, &Device::Cpu).unwrap();
    let drawn = tree.draw(3, Strata::Stratified, &mut Philox::new(0)).unwrap();
    assert_eq!(drawn.indices.to_vec1::<u32>().unwrap(), [NOTHING; 3]);
    assert_eq!(drawn.probabilities.to_vec1::<f32>().unwrap(), [0.0; 3]);
    for rule in [Weights::BatchMax, Weights::BufferMax, Weights::None] {
        assert_eq!(tree.weights(&drawn, 1, 0.4, rule).unwrap().to_vec1::<f32>().unwrap(), [0.0; 3]);
    }
    assert_eq!(tree.counts().unwrap(), Counts { undrawn: 3, ..Default::default() });
    assert_eq!(tree.draw(0, Strata::Independent, &mut Philox::new(0)).unwrap().leaves.dims(), [0]);
}

/// Powers as those of the standard library, in f32; exactly the priority where α = 1.
#[test]
fn leaves_are_powers_of_priorities() {
    for i in -1400..=1400 {
        let priority = 1.37f32 * (i as f32 * 0.09).exp2();
        assert_eq!(leaf(priority, 1.0), priority.max(f32::MIN_POSITIVE));
        let (found, expected) = (leaf(priority, 0.6), f64::from(priority).powf(0.6) as f32);
        assert!((found - expected).abs() <= expected * 1.2e-7, "{priority}: {found} against {expected}");
    }
    assert_eq!([0.0, 1.0].map(|alpha| leaf(0.0, alpha)), [0.0; 2]); // T19
    assert_eq!(leaf(1e-40, 0.0), 1.0);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut tree = tree(&[1.0, 2.0, 3.0]);
    let before = sums(&tree);
    let (u, f) = (vector(&[0u32, 1]), vector(&[1f32, 2.0]));
    let refused = [
        tree.update(&f, &f, 1.0, NONE).unwrap_err(),
        tree.update(&u, &u, 1.0, NONE).unwrap_err(),
        tree.update(&u, &vector(&[1f32]), 1.0, NONE).unwrap_err(),
        tree.update(&u.unsqueeze(0).unwrap(), &f, 1.0, NONE).unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    }
    let error = tree.update(&u, &u, 1.0, NONE).unwrap_err().to_string();
    assert!(
        error.contains("priorities") && error.contains("f32 or f64 [2]") && error.contains("u32 [2]"),
        "{error}"
    );
    for error in [
        tree.update(&u, &f, 1.1, NONE).unwrap_err(),
        tree.fill(2, 2, Fill::LargestNow).unwrap_err(),
        tree.fill(usize::MAX, 2, Fill::LargestNow).unwrap_err(),
        tree.fill(0, 1, Fill::Leaf(f32::NAN)).unwrap_err(),
        tree.fill(0, 1, Fill::Leaf(-1.0)).unwrap_err(),
        PriorityTree::new(0, &Device::Cpu).unwrap_err(),
        PriorityTree::new(u32::MAX as usize, &Device::Cpu).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    assert_eq!(sums(&tree), before);
    // f64 and strided ones are taken.
    let wide = Tensor::new(&[[7f64, 0.0], [8.0, 0.0]], &Device::Cpu).unwrap();
    tree.update(&u, &wide.narrow(1, 0, 1).unwrap().squeeze(1).unwrap(), 1.0, NONE).unwrap();
    assert_eq!(leaves(&tree), [7.0, 8.0, 3.0]);
}

#[test]
fn a_restored_tree_is_the_saved_one() {
    let mut first = tree(&unequal(3000, 5));
    first.update(&vector(&[5u32, 9000]), &vector(&[f32::NAN, 1.0]), 1.0, NONE).unwrap();
    let bytes = snapshot::to_bytes(KIND, &first).unwrap();
    let mut second: PriorityTree = snapshot::from_bytes(&bytes, KIND).unwrap();
    assert_eq!(sums(&first), sums(&second));
    let draw = |tree: &mut PriorityTree| -> Vec<u32> {
        tree.draw(100, Strata::Stratified, &mut Philox::new(3)).unwrap().indices.to_vec1().unwrap()
    };
    assert_eq!(draw(&mut first), draw(&mut second));

    let saved = |leaves: Tensor| {
        snapshot::to_bytes(KIND, &Saved { leaves, largest_ever: 1.0, counts: Counts::default() })
    };
    for bad in
        [vector(&[1f32, -1.0]), vector(&[f32::NAN]), vector(&[1e-40f32]), vector(&[1f64]), vector::<f32>(&[])]
    {
        let error = snapshot::from_bytes::<PriorityTree>(&saved(bad).unwrap(), KIND).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error}");
    }
}
