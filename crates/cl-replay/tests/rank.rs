//! Draws by rank: against a sorted list, their law, what is absent, exact restoring, and what is refused.
#![allow(clippy::unwrap_used)]

mod common;

use cl_core::{Error, snapshot, snapshot::Kind};
use cl_replay::{Ranking, Strata};
use common::{critical, state};
use proptest::prelude::*;

const KIND: Kind = Kind::new("test/ranking", 1);

/// The plain procedure: the items that are present, sorted.
#[derive(Clone)]
struct Plain(Vec<Option<f32>>);

impl Plain {
    fn order(&self) -> Vec<usize> {
        let mut items: Vec<usize> = (0..self.0.len()).filter(|&item| self.0[item].is_some()).collect();
        items.sort_by(|&a, &b| self.0[b].partial_cmp(&self.0[a]).unwrap().then(a.cmp(&b)));
        items
    }
}

fn assert_same(ranking: &Ranking, plain: &Plain) {
    let order = plain.order();
    assert_eq!((ranking.len(), ranking.is_empty()), (order.len(), order.is_empty()));
    let mut ranks = vec![None; plain.0.len()];
    for (place, &item) in order.iter().enumerate() {
        ranks[item] = Some(place + 1);
        assert_eq!(ranking.at(place + 1).unwrap(), item);
    }
    for (item, rank) in ranks.into_iter().enumerate() {
        assert_eq!(ranking.rank(item).unwrap(), rank, "item {item}");
        assert_eq!(ranking.get(item).unwrap(), plain.0[item]);
    }
}

/// Few different values, so that there are ties, and all kinds of numbers.
fn priority() -> impl Strategy<Value = f32> {
    prop_oneof![
        Just(0.0),
        Just(-0.0),
        (1..5u8).prop_map(f32::from),
        0.0..1.0f32,
        Just(f32::MAX),
        Just(f32::MIN_POSITIVE),
        Just(1e-40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Batches of updates with duplicates, and removals.
    #[test]
    fn ranks_are_those_of_a_sorted_list(
        capacity in 1..40usize,
        rounds in prop::collection::vec(
            (prop::collection::vec((0..40u32, priority()), 0..30), prop::collection::vec(0..40usize, 0..5)),
            1..8,
        ),
    ) {
        let mut ranking = Ranking::new(capacity, 0.7).unwrap();
        let mut plain = Plain(vec![None; capacity]);
        for (updates, removals) in rounds {
            let (items, priorities): (Vec<u32>, Vec<f32>) =
                updates.into_iter().map(|(item, p)| (item % capacity as u32, p)).unzip();
            ranking.set_batch(&items, &priorities).unwrap();
            for (item, p) in items.into_iter().zip(priorities) {
                plain.0[item as usize] = Some(p);
            }
            for item in removals.into_iter().map(|item| item % capacity) {
                prop_assert_eq!(ranking.remove(item).unwrap(), plain.0[item].take());
            }
            assert_same(&ranking, &plain);
        }
    }

    /// Large enough that blocks are divided and joined; priorities drift up and down.
    #[test]
    fn many_items_too(capacity in 600..3000usize, seed: u64, drift in -3.0..3.0f64) {
        use rand::Rng;
        let mut rng = cl_core::rng(seed, "updates");
        let mut ranking = Ranking::new(capacity, 0.7).unwrap();
        let mut plain = Plain(vec![None; capacity]);
        for round in 0..6 {
            let n = rng.random_range(0..2 * capacity);
            let items: Vec<u32> = (0..n).map(|_| rng.random_range(0..capacity as u32)).collect();
            let scale = (drift * f64::from(round)).exp();
            let priorities: Vec<f32> =
                (0..n).map(|_| (scale * f64::from(rng.random_range(0..500u32))) as f32).collect();
            ranking.set_batch(&items, &priorities).unwrap();
            for (&item, &p) in items.iter().zip(&priorities) {
                plain.0[item as usize] = Some(p);
            }
            for _ in 0..rng.random_range(0..capacity) {
                let item = rng.random_range(0..capacity);
                prop_assert_eq!(ranking.remove(item).unwrap(), plain.0[item].take());
            }
            assert_same(&ranking, &plain);
        }
    }

    /// A batch is its updates one by one; what came before does not matter, only what is.
    #[test]
    fn the_state_is_that_of_the_priorities(
        updates in prop::collection::vec((0..9u32, priority()), 0..30),
        alpha in 0.0..1.0f64,
    ) {
        let (items, priorities): (Vec<u32>, Vec<f32>) = updates.into_iter().unzip();
        let mut batch = Ranking::new(9, alpha).unwrap();
        batch.set_batch(&items, &priorities).unwrap();
        let mut one_by_one = Ranking::new(9, alpha).unwrap();
        for (&item, &p) in items.iter().zip(&priorities) {
            one_by_one.set(item as usize, p).unwrap();
        }
        let mut only_last = Ranking::new(9, alpha).unwrap();
        for item in (0..9).rev() {
            if let Some(p) = batch.get(item).unwrap() {
                only_last.set(item, p).unwrap();
            }
        }
        prop_assert_eq!(state(&batch), state(&one_by_one));
        prop_assert_eq!(state(&batch), state(&only_last));
        let restored: Ranking = snapshot::from_bytes(&snapshot::to_bytes(KIND, &batch).unwrap(), KIND).unwrap();
        prop_assert_eq!(state(&batch), state(&restored));
        let plain = Plain((0..9).map(|item| batch.get(item).unwrap()).collect());
        assert_same(&restored, &plain);
        let draw = |ranking: &Ranking| {
            let mut rng = cl_core::rng(1, "draws");
            [Strata::Stratified, Strata::Independent].map(|s| ranking.sample(7, s, &mut rng).ok())
        };
        prop_assert_eq!(draw(&batch), draw(&restored));
    }
}

/// 30 items of which every third is absent, with priorities from 0 on in no order and with ties.
fn mixed(alpha: f64) -> Ranking {
    let mut ranking = Ranking::new(30, alpha).unwrap();
    for item in (0..30).filter(|item| item % 3 != 1) {
        ranking.set(item, ((item * 7) % 10) as f32).unwrap();
    }
    ranking
}

/// P(i) by the formula, from the sorted list.
fn law(ranking: &Ranking, alpha: f64) -> Vec<f64> {
    let plain = Plain((0..ranking.capacity()).map(|item| ranking.get(item).unwrap()).collect());
    let mut p = vec![0.0; ranking.capacity()];
    for (place, item) in plain.order().into_iter().enumerate() {
        p[item] = (1.0 / (place + 1) as f64).powf(alpha);
    }
    let sum: f64 = p.iter().sum();
    p.iter().map(|p| p / sum).collect()
}

/// Counts of the items over whole batches: positions of a stratified batch have laws of their own.
fn counts(ranking: &Ranking, batches: usize, n: usize, strata: Strata) -> Vec<u64> {
    let mut rng = cl_core::rng(5, "draws");
    let mut counts = vec![0; ranking.capacity()];
    for _ in 0..batches {
        for item in ranking.sample(n, strata, &mut rng).unwrap() {
            counts[item as usize] += 1;
        }
    }
    counts
}

/// Over the cells that can be drawn. Stratified counts vary less, so that the limit holds for them all the
/// more.
fn chi_square(counts: &[u64], law: &[f64]) -> f64 {
    let draws = counts.iter().sum::<u64>() as f64;
    let drawn = counts.iter().zip(law).filter(|(_, p)| **p > 0.0);
    drawn.map(|(&count, p)| (count as f64 - draws * p).powi(2) / (draws * p)).sum()
}

const BATCHES: usize = 3000;

#[test]
fn items_are_drawn_by_their_ranks() {
    for alpha in [0.0, 0.5, 0.7, 1.0] {
        let ranking = mixed(alpha);
        let p = law(&ranking, alpha);
        for (item, p) in p.iter().enumerate() {
            assert!((ranking.probability(item).unwrap() - p).abs() < 1e-12, "{item}");
        }
        for strata in [Strata::Stratified, Strata::Independent] {
            let counts = counts(&ranking, BATCHES, 16, strata);
            assert!((0..30).all(|item| (counts[item] > 0) == (item % 3 != 1)), "{counts:?}");
            let statistic = chi_square(&counts, &p);
            assert!(statistic < critical(19), "{alpha}, {strata:?}: {statistic}");
            // The same counts tell an exponent that is a little off.
            let off = law(&ranking, alpha + 0.05);
            assert!(chi_square(&counts, &off) > critical(19), "{alpha}, {strata:?}");
        }
    }
}

/// A uniform draw whatever the priorities, those of 0 included.
#[test]
fn an_exponent_of_zero_is_uniform() {
    let ranking = mixed(0.0);
    for item in (0..30).filter(|item| item % 3 != 1) {
        assert!((ranking.probability(item).unwrap() - 0.05).abs() < 1e-15);
    }
    let counts = counts(&ranking, BATCHES, 16, Strata::Independent);
    let present: Vec<u64> =
        counts.into_iter().enumerate().filter(|(i, _)| i % 3 != 1).map(|(_, c)| c).collect();
    assert!(common::chi_square(&present, 16 * BATCHES as u64) < critical(19));
}

/// Of n segments each gives one item, in the order of the ranks: an item whose probability is m / n or
/// more is there at least m − 1 times in every batch, and at most m + 1 times.
#[test]
fn strata_balance_every_batch() {
    let ranking = mixed(0.7);
    let p = law(&ranking, 0.7);
    let mut rng = cl_core::rng(9, "draws");
    for _ in 0..500 {
        let drawn = ranking.sample(64, Strata::Stratified, &mut rng).unwrap();
        assert!(drawn.is_sorted_by_key(|&item| ranking.rank(item as usize).unwrap()));
        for (item, p) in p.iter().enumerate() {
            let (times, expected) = (drawn.iter().filter(|&&i| i as usize == item).count() as f64, 64.0 * p);
            assert!((times - expected).abs() < 2.0, "item {item}: {times} times for {expected}");
        }
    }
}

/// A priority of 0 is the last place, not none; an absent item has none.
#[test]
fn zero_is_drawn_and_absent_is_not() {
    let mut ranking = Ranking::new(3, 1.0).unwrap();
    ranking.set_batch(&[0, 2], &[0.0, 0.0]).unwrap();
    assert_eq!([0, 1, 2].map(|item| ranking.rank(item).unwrap()), [Some(1), None, Some(2)]);
    assert_eq!([0, 1, 2].map(|item| ranking.probability(item).unwrap()), [2.0 / 3.0, 0.0, 1.0 / 3.0]);
    let mut rng = cl_core::rng(0, "draws");
    let drawn = ranking.sample(200, Strata::Independent, &mut rng).unwrap();
    assert!(drawn.contains(&0) && drawn.contains(&2) && !drawn.contains(&1));

    assert_eq!(ranking.remove(0).unwrap(), Some(0.0));
    assert_eq!(ranking.remove(0).unwrap(), None);
    assert_eq!(ranking.sample(3, Strata::Stratified, &mut rng).unwrap(), [2, 2, 2]);
    assert_eq!(ranking.probability(2).unwrap(), 1.0);
    assert_eq!(ranking.sample(0, Strata::Stratified, &mut rng).unwrap(), [0u32; 0]);
}

/// First and last item are reached at every number of items.
#[test]
fn no_end_is_cut_off() {
    for capacity in 1..70u32 {
        let mut ranking = Ranking::new(capacity as usize, 0.7).unwrap();
        for item in 0..capacity {
            ranking.set(item as usize, 1.0).unwrap();
            let n = 64 * (item as usize + 1);
            let drawn = ranking.sample(n, Strata::Stratified, &mut cl_core::rng(0, "draws")).unwrap();
            assert_eq!((drawn[0], drawn[n - 1]), (0, item), "{item} of {capacity}");
        }
    }
}

#[test]
fn bad_input_is_named_and_changes_nothing() {
    for (capacity, alpha) in [(0, 0.5), (u32::MAX as usize, 0.5), (3, -0.1), (3, 1.1), (3, f64::NAN)] {
        assert!(matches!(Ranking::new(capacity, alpha), Err(Error::Invalid { .. })));
    }
    let empty = Ranking::new(3, 0.5).unwrap();
    let mut rng = cl_core::rng(0, "draws");
    let before = rng.clone();
    let error = empty.sample(2, Strata::Stratified, &mut rng).unwrap_err().to_string();
    assert!(error.contains("absent"), "{error}");
    assert_eq!(rng, before);

    let mut ranking = mixed(0.5);
    let before = state(&ranking);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, -1e-40] {
        let error = ranking.set_batch(&[2, 4, 5], &[1.0, bad, 1.0]).unwrap_err().to_string();
        assert!(error.contains("item 4") && error.contains(&bad.to_string()), "{error}");
        assert!(ranking.set(4, bad).is_err());
    }
    let error = ranking.set_batch(&[2, 30], &[1.0, 1.0]).unwrap_err().to_string();
    assert!(error.contains("30 is out of range"), "{error}");
    assert!(matches!(ranking.set_batch(&[2, 3], &[1.0]), Err(Error::Mismatch { .. })));
    for far in [30, usize::MAX, 1 << 32] {
        assert!(ranking.set(far, 1.0).is_err() && ranking.remove(far).is_err());
        assert!(ranking.get(far).is_err() && ranking.rank(far).is_err() && ranking.probability(far).is_err());
    }
    for rank in [0, 21, usize::MAX] {
        assert!(ranking.at(rank).is_err() && ranking.probability_of_rank(rank).is_err());
    }
    assert_eq!(state(&ranking), before);
}

/// A file that was altered gives an error, not a ranking out of order.
#[test]
fn saved_priorities_are_checked() {
    for (alpha, priorities) in [
        (0.5, vec![1.0, f32::NAN]),
        (0.5, vec![-0.5]),
        (0.5, vec![]),
        (2.0, vec![1.0]),
        (0.5, vec![f32::INFINITY]),
    ] {
        let bytes = snapshot::to_bytes(KIND, &(alpha, priorities)).unwrap();
        assert!(snapshot::from_bytes::<Ranking>(&bytes, KIND).is_err());
    }
    let bytes = snapshot::to_bytes(KIND, &(0.5f64, vec![1.0f32, -0.0, 0.0])).unwrap();
    let ranking: Ranking = snapshot::from_bytes(&bytes, KIND).unwrap();
    assert_eq!([0, 1, 2].map(|item| ranking.rank(item).unwrap()), [Some(1), Some(2), Some(3)]);
}

/// A million items and as many updates in seconds; a sorted list that is moved for each would take hours.
#[test]
fn updates_do_not_grow_with_the_number_of_items() {
    use rand::Rng;
    let n = 1 << 20;
    let mut rng = cl_core::rng(0, "updates");
    let mut ranking = Ranking::new(n, 0.7).unwrap();
    let start = std::time::Instant::now();
    let all: Vec<u32> = (0..n as u32).collect();
    for _ in 0..2 {
        let priorities: Vec<f32> = (0..n).map(|_| rng.random()).collect();
        ranking.set_batch(&all, &priorities).unwrap();
    }
    for rank in ranking.sample(n, Strata::Stratified, &mut rng).unwrap() {
        let rank = ranking.rank(rank as usize).unwrap().unwrap();
        assert_eq!(ranking.rank(ranking.at(rank).unwrap()).unwrap(), Some(rank));
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
