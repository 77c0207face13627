//! Gradient-based sample selection: the greedy law, and the exact subset against brute force.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Device, Tensor};
use cl_replay::scored::{Evict, ItemId, Scored};
use cl_replay::{gss, scores};
use common::{chi_square, critical, samples, state};
use proptest::prelude::*;
use rand::Rng;

fn gradients(n: usize, d: usize, seed: u64) -> Tensor {
    let mut rng = cl_core::rng(seed, "gradients");
    let values: Vec<f64> = (0..n * d).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, (n, d), &Device::Cpu).unwrap()
}

fn cost(cosines: &[Vec<f64>], rows: &[usize]) -> f64 {
    rows.iter().map(|&i| rows.iter().map(|&j| cosines[i][j]).sum::<f64>()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// All subsets are tried: the search finds the cheapest, and says so.
    #[test]
    fn select_equals_brute_force(n in 1..13usize, k in 0..13usize, d in 1..5usize, twice: bool, seed: u64) {
        // The second half may repeat the first.
        let own = gradients(if twice { n.div_ceil(2) } else { n }, d, seed);
        let gradients = Tensor::cat(&[&own, &own], 0).unwrap().narrow(0, 0, n).unwrap();
        let k = k.min(n);
        let matrix = scores::cosine(&gradients, &gradients).unwrap();
        let cosines = matrix.to_vec2::<f64>().unwrap();
        let subsets = (0u32..1 << n).filter(|bits| bits.count_ones() as usize == k);
        let best = subsets
            .map(|bits| cost(&cosines, &(0..n).filter(|i| bits & (1 << i) != 0).collect::<Vec<_>>()))
            .fold(f64::INFINITY, f64::min);
        let found = gss::select(&matrix, k, 1_000_000).unwrap();
        let rows: Vec<usize> = found.rows.iter().map(|&row| row as usize).collect();
        prop_assert!(found.optimal);
        prop_assert_eq!(rows.len(), k);
        prop_assert!(rows.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!((found.cost - cost(&cosines, &rows)).abs() < 1e-9);
        prop_assert!((found.cost - best).abs() < 1e-9, "{} is not {}", found.cost, best);
    }
}

/// What the exchanges alone reach, without a search, over 200 problems of 12 samples in 3 dimensions: the
/// best subset 180 times, and a cost of 0.07 more at worst, where a random subset costs about 5. From one
/// greedy choice it is 81 times and 0.87.
#[test]
fn exchanges_come_near() {
    let (mut best, mut worst) = (0, 0f64);
    for seed in 0..200 {
        let gradients = gradients(12, 3, seed);
        let cosines = scores::cosine(&gradients, &gradients).unwrap();
        let exact = gss::select(&cosines, 5, 1_000_000).unwrap();
        let quick = gss::select(&cosines, 5, 0).unwrap();
        assert!(exact.optimal);
        assert!(quick.cost >= exact.cost - 1e-9);
        best += u32::from(quick.cost < exact.cost + 1e-9);
        worst = worst.max(quick.cost - exact.cost);
    }
    assert!(best >= 160 && worst < 0.2, "{best} {worst}");
}

/// 310 samples of which 300 stay, as with the published memory: nothing is proven, and that is said.
#[test]
fn a_search_that_is_cut_off_says_so() {
    for (n, k) in [(120, 60), (310, 300)] {
        let gradients = gradients(n, 4, 0);
        let cosines = scores::cosine(&gradients, &gradients).unwrap();
        let start = std::time::Instant::now();
        let found = gss::select(&cosines, k, 20).unwrap();
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
        assert!(!found.optimal && found.rows.len() == k);
        assert_eq!(found, gss::select(&cosines, k, 20).unwrap());
        let first = cost(&cosines.to_vec2::<f64>().unwrap(), &(0..k).collect::<Vec<_>>());
        assert!(found.cost < 0.9 * first, "{} {first}", found.cost);
    }
}

#[test]
fn similarity_is_the_largest_cosine_plus_one() {
    let cosines = Tensor::new(&[[-1f32, -0.5], [0.25, -0.25]], &Device::Cpu).unwrap();
    assert_eq!(gss::similarity(&cosines).unwrap().to_vec1::<f32>().unwrap(), [0.5, 1.25]);
    assert!(gss::similarity(&cosines.narrow(1, 0, 0).unwrap()).is_err());
    assert!(gss::similarity(&cosines.flatten_all().unwrap()).is_err());
}

const C: [f32; 4] = [0.2, 0.0, 1.6, 1.0];

fn memory(seed: u64) -> Scored {
    let policy = Evict::GssGreedy("similarity".into());
    let mut memory = Scored::new(4, &["similarity"], policy, cl_core::rng(seed, "memory")).unwrap();
    offer(&mut memory, 0, &C);
    memory
}

fn offer(memory: &mut Scored, first: u32, similarity: &[f32]) -> Vec<Option<ItemId>> {
    let (x, y) = samples(first..first + similarity.len() as u32);
    let similarity = Tensor::from_slice(similarity, similarity.len(), &Device::Cpu).unwrap();
    memory.offer(&x, &y, &[("similarity", &similarity)]).unwrap()
}

/// Algorithm 2, lines 8 to 15: P(replace i) = Cᵢ / ΣC · Cᵢ / (Cᵢ + c), and nothing at c ≥ 1.
#[test]
fn greedy_replaces_by_the_published_law() {
    const RUNS: u64 = 20_000;
    let own = 0.6f64;
    let mut counts = [0u64; 5];
    for seed in 0..RUNS {
        let taken = offer(&mut memory(seed), 4, &[own as f32])[0];
        counts[taken.map_or(4, ItemId::slot)] += 1;
    }
    let total: f64 = C.iter().map(|&c| f64::from(c)).sum();
    let mut expected: Vec<f64> = C.map(|c| f64::from(c).powi(2) / total / (f64::from(c) + own)).to_vec();
    expected.push(1.0 - expected.iter().sum::<f64>());
    assert_eq!(counts[1], 0, "a sample that is opposed to all others stays");
    let cells: Vec<(f64, f64)> = counts
        .iter()
        .zip(&expected)
        .filter(|&(_, &p)| p > 0.0)
        .map(|(&count, &p)| (count as f64, p * RUNS as f64))
        .collect();
    let statistic: f64 = cells.iter().map(|&(count, expected)| (count - expected).powi(2) / expected).sum();
    assert!(statistic < critical(cells.len() - 1), "{counts:?} {expected:?}");
    // The test can see a uniform choice of the candidate.
    assert!(chi_square(&[counts[0], counts[2], counts[3]], counts[0] + counts[2] + counts[3]) > critical(2));
}

#[test]
fn greedy_turns_away_what_points_where_the_memory_points() {
    let mut memory = memory(0);
    let before = memory.ledger().ids();
    let similar = [[1.0, 1.3, 2.0]; 20].concat();
    assert!(offer(&mut memory, 4, &similar).iter().all(Option::is_none));
    assert_eq!(memory.ledger().ids(), before);
    assert_eq!(memory.seen(), 64);
    // The score of the new one replaces that of the old one.
    let taken = (0..50).find_map(|_| offer(&mut memory, 9, &[0.0])[0]).unwrap();
    assert_eq!(memory.ledger().column(&"similarity".into()).unwrap()[taken.slot()], 0.0);
}

#[test]
fn bad_input_is_named_and_changes_nothing() {
    let mut memory = memory(0);
    let before = state(&memory);
    let (x, y) = samples(4..6);
    let wrong = Tensor::new(&[0.5f32, -0.5], &Device::Cpu).unwrap();
    let error = memory.offer(&x, &y, &[("similarity", &wrong)]).unwrap_err().to_string();
    assert!(error.contains("-0.5"), "{error}");
    assert_eq!(state(&memory), before, "the first sample of the batch is undone, the generator, too");

    let select = |values: &[[f64; 2]; 2], k| gss::select(&Tensor::new(values, &Device::Cpu).unwrap(), k, 10);
    assert!(select(&[[1.0, 0.5], [0.5, 1.0]], 3).is_err());
    for wrong in
        [[[1.0, 0.5], [0.2, 1.0]], [[1.0, f64::NAN], [f64::NAN, 1.0]], [[f64::INFINITY, 0.0], [0.0, 1.0]]]
    {
        assert!(select(&wrong, 1).is_err(), "{wrong:?}");
    }
    assert!(
        gss::select(&Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap(), 1, 10).is_err()
    );
}
