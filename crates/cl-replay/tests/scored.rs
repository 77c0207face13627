//! The scored memory: eviction and draws against brute force, ids, counters, exact restoring, refusals.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use cl_core::{Result, Rng};
use cl_replay::scored::{Evict, Eviction, ItemId, Ledger, Score, Scored, Strategy, Value, Worth};
use cl_replay::{Draw, Offer, Reservoir};
use common::{chi_square, chi_square_of_subsets, critical, numbers, samples, state};
use proptest::prelude::*;
use rand::Rng as _;

fn column(values: &[f64]) -> Tensor {
    Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap()
}

fn rng(seed: u64) -> Rng {
    cl_core::rng(seed, "memory")
}

/// A memory with the scores "a" and "b".
fn memory<P: Eviction>(capacity: usize, policy: P, seed: u64) -> Scored<P> {
    Scored::new(capacity, &["a", "b"], policy, rng(seed)).unwrap()
}

/// Offers samples first, first + 1, … with these scores, "b" = −"a".
fn offer<P: Eviction>(memory: &mut Scored<P>, first: u32, a: &[f64]) -> Vec<Option<ItemId>> {
    let (x, y) = samples(first..first + a.len() as u32);
    let b: Vec<f64> = a.iter().map(|a| -a).collect();
    memory.offer(&x, &y, &[("b", &column(&b)), ("a", &column(a))]).unwrap()
}

/// A full memory: sample i has a = `a[i]`.
fn full(a: &[f64]) -> Scored {
    let mut memory = memory(a.len(), Evict::Oldest, 0);
    offer(&mut memory, 0, a);
    memory
}

fn drawn<P: Eviction>(memory: &mut Scored<P>, n: usize, strategy: &Strategy) -> Vec<u32> {
    let sample = memory.sample(n, strategy).unwrap();
    numbers(&(sample.x, sample.y))
}

fn held<P: Eviction>(memory: &Scored<P>) -> Vec<u32> {
    numbers(&memory.all().unwrap())
}

// --- Eviction ---------------------------------------------------------------------------------------

/// What a model of the memory knows of an item.
#[derive(Debug, Clone)]
struct Model {
    number: u32,
    born: u64,
    touched: u64,
    accesses: u64,
    a: f64,
}

/// (v − min) / (max − min), 0 where constant.
fn normalised(values: &[f64]) -> Vec<f64> {
    let (min, max) = values.iter().fold((f64::MAX, f64::MIN), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    values.iter().map(|v| if max > min { (v - min) / (max - min) } else { 0.0 }).collect()
}

/// The first slot of the smallest key.
fn argmin(keys: &[f64]) -> usize {
    let mut best = 0;
    for i in 0..keys.len() {
        if keys[i] < keys[best] {
            best = i;
        }
    }
    best
}

const WORTH: fn() -> Worth =
    || Worth { age: 0.7, tau: 8.0, access: 0.4, scores: vec![("a".into(), 0.5), ("b".into(), -0.25)] };

proptest! {
    /// Age, last access, score, and what weighs them: the victim is the argmin over all items, ties by slot.
    /// Scores are few, so that there are many ties.
    #[test]
    fn the_victim_is_the_argmin(
        which in 0..4usize,
        capacity in 1..9usize,
        steps in prop::collection::vec((prop::collection::vec(0..4i32, 0..7), 0..4usize, any::<bool>()), 1..14),
    ) {
        let policy = [
            Evict::Oldest, Evict::LeastRecentlyAccessed, Evict::LowestScore("a".into()), Evict::LeastWorth(WORTH()),
        ][which].clone();
        let mut memory = memory(capacity, policy, 0);
        let (mut model, mut seen, mut clock) = (Vec::<Model>::new(), 0u64, 0u64);
        for (batch, access, update) in steps {
            let a: Vec<f64> = batch.iter().map(|&a| f64::from(a)).collect();
            let taken = offer(&mut memory, seen as u32, &a);
            for (&a, taken) in a.iter().zip(taken) {
                seen += 1;
                clock += 1;
                let new = Model { number: seen as u32 - 1, born: seen - 1, touched: clock, accesses: 0, a };
                if model.len() < capacity {
                    prop_assert_eq!(taken.unwrap().slot(), model.len());
                    model.push(new);
                    continue;
                }
                let keys: Vec<f64> = match which {
                    0 => model.iter().map(|item| item.born as f64).collect(),
                    1 => model.iter().map(|item| item.touched as f64).collect(),
                    2 => model.iter().map(|item| item.a).collect(),
                    _ => {
                        let scores: Vec<f64> = model.iter().map(|item| item.a).collect();
                        let minus: Vec<f64> = scores.iter().map(|a| -a).collect();
                        let of_scores = normalised(&scores).into_iter().zip(normalised(&minus));
                        model.iter().zip(of_scores).map(|(item, (a, b))| {
                            let age = (seen - 1 - item.born) as f64;
                            0.4 * (item.accesses as f64).ln_1p() - 0.7 * -(-age / 8.0).exp_m1() + 0.5 * a - 0.25 * b
                        }).collect()
                    }
                };
                let victim = argmin(&keys);
                if which == 2 && a <= keys[victim] {
                    prop_assert_eq!(taken, None, "it is not better than the worst");
                    continue;
                }
                prop_assert_eq!(taken.unwrap().slot(), victim);
                model[victim] = new;
            }
            if !model.is_empty() {
                let n = access.min(model.len());
                for number in drawn(&mut memory, n, &Strategy::Uniform(Draw::WithoutReplacement)) {
                    let item = model.iter_mut().find(|item| item.number == number).unwrap();
                    item.accesses += 1;
                    item.touched = clock + 1;
                }
                clock += 1;
                if update {
                    let ids = memory.ledger().ids();
                    memory.update(&ids[..1], &[("a", &column(&[1.5])), ("b", &column(&[-1.5]))]).unwrap();
                    model[0].a = 1.5;
                }
            }
            prop_assert_eq!(held_or_none(&memory), model.iter().map(|item| item.number).collect::<Vec<_>>());
            let ledger = memory.ledger();
            let accesses = ledger.column(&Score::Accesses).unwrap();
            prop_assert_eq!(accesses, model.iter().map(|item| item.accesses as f64).collect::<Vec<_>>());
            let ages: Vec<f64> = model.iter().map(|item| (seen - 1 - item.born) as f64).collect();
            prop_assert_eq!(ledger.column(&Score::Age).unwrap(), ages);
            let idle: Vec<f64> = model.iter().map(|item| (clock - item.touched) as f64).collect();
            prop_assert_eq!(ledger.column(&Score::Idle).unwrap(), idle);
        }
    }
}

fn held_or_none(memory: &Scored) -> Vec<u32> {
    if memory.is_empty() { Vec::new() } else { held(memory) }
}

#[test]
fn worth_is_its_equation() {
    let mut memory = memory(3, Evict::LeastWorth(WORTH()), 0);
    offer(&mut memory, 0, &[3.0, 1.0, 2.0]);
    memory.sample(2, &Strategy::Top("a".into())).unwrap(); // samples 0 and 2
    let worth = WORTH().of(memory.ledger()).unwrap();
    // Ages 2, 1, 0; one access to the first and the last; a normalised to 1, 0, ½ and b to 0, 1, ½.
    let aged = |age: f64| 0.7 * (1.0 - (-age / 8.0).exp());
    let expected =
        [0.4 * 2f64.ln() - aged(2.0) + 0.5, -aged(1.0) - 0.25, 0.4 * 2f64.ln() + 0.5 * 0.5 - 0.25 * 0.5];
    for (worth, expected) in worth.iter().zip(expected) {
        assert!((worth - expected).abs() < 1e-12, "{worth} {expected}");
    }
}

/// The policy draws as the plain reservoir does: equal seeds, equal memories.
#[test]
fn the_reservoir_policy_is_the_reservoir() {
    for seed in 0..20 {
        let (mut memory, mut plain) =
            (memory(5, Evict::Reservoir, seed), Reservoir::new(5, rng(seed)).unwrap());
        let (x, y) = samples(0..60);
        let offers: Vec<_> = plain.offer(&x, &y).unwrap().into_iter().map(Offer::slot).collect();
        let taken: Vec<_> =
            offer(&mut memory, 0, &[0.0; 60]).into_iter().map(|id| id.map(ItemId::slot)).collect();
        assert_eq!(taken, offers);
        assert_eq!(held(&memory), numbers(&plain.all().unwrap()));
    }
}

/// After 1 + n replacements an item is left with probability (1 − 1/k)ⁿ⁺¹: every slot is hit equally often.
#[test]
fn random_eviction_is_uniform() {
    const RUNS: u64 = 8000;
    let mut memory = memory(8, Evict::Random, 0);
    offer(&mut memory, 0, &[0.0; 8]);
    let mut counts = [0u64; 8];
    for id in offer(&mut memory, 8, &[0.0; RUNS as usize]) {
        counts[id.unwrap().slot()] += 1;
    }
    assert!(chi_square(&counts, RUNS) < critical(7), "{counts:?}");
}

/// Somebody else's policy, with a state of its own, is used, checked and saved like ours.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Fixed {
    slot: usize,
    fails_at: u64,
}

impl Eviction for Fixed {
    fn victim(&self, held: &Ledger, new: &[f64], rng: &mut Rng) -> Result<Option<usize>> {
        assert_eq!((new[0], held.names()[1].as_str()), (-new[1], "b"));
        let _ = rng.random::<u64>();
        match held.seen() == self.fails_at {
            true => Err(cl_core::Error::invalid("policy", "it failed")),
            false => Ok(Some(self.slot)),
        }
    }
}

#[test]
fn a_policy_of_ones_own_and_its_errors() {
    let mut memory = memory(3, Fixed { slot: 1, fails_at: 7 }, 0);
    offer(&mut memory, 0, &[0.0; 5]);
    assert_eq!(held(&memory), [0, 4, 2]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory.snap");
    memory.save(&path).unwrap();
    assert_eq!(state(&Scored::<Fixed>::load(&path).unwrap()), state(&memory));

    let before = state(&memory);
    let (x, y) = samples(5..8);
    let scores = column(&[0.0; 3]);
    let error = memory.offer(&x, &y, &[("a", &scores), ("b", &scores)]).unwrap_err();
    assert!(error.to_string().contains("it failed"));
    assert_eq!(state(&memory), before, "the batch is undone, the generator, too");

    let mut memory = self::memory(2, Fixed { slot: 2, fails_at: 0 }, 0);
    // The first two find room; the third meets the policy's answer.
    let before = state(&memory);
    let error = memory.offer(&x, &y, &[("a", &scores), ("b", &scores)]).unwrap_err();
    assert!(error.to_string().contains("slot 2"), "{error}");
    assert_eq!(state(&memory), before);
    assert!(memory.is_empty() && memory.seen() == 0);
}

// --- Draws ------------------------------------------------------------------------------------------

const RUNS: u64 = 20_000;

/// Σ (observed − expected)² / expected over cells that are possible; fails where an impossible one occurred.
fn fits(counts: &[u64], expected: &[f64]) -> bool {
    let draws: u64 = counts.iter().sum();
    let mut statistic = 0.0;
    let mut cells = 0;
    for (&count, &p) in counts.iter().zip(expected) {
        if p == 0.0 {
            assert_eq!(count, 0, "{counts:?}");
            continue;
        }
        let expected = p * draws as f64;
        statistic += (count as f64 - expected).powi(2) / expected;
        cells += 1;
    }
    statistic < critical(cells - 1)
}

/// Draws one by one with replacement, and pairs without: the law of the weights, and that of successive draws.
fn follows(strategy: impl Fn(Draw) -> Strategy, a: &[f64], weights: &[f64]) {
    let mut memory = full(a);
    let total: f64 = weights.iter().sum();
    let p: Vec<f64> = weights.iter().map(|w| w / total).collect();

    let mut counts = vec![0; a.len()];
    for number in drawn(&mut memory, RUNS as usize, &strategy(Draw::WithReplacement)) {
        counts[number as usize] += 1;
    }
    assert!(fits(&counts, &p), "{counts:?} {p:?}");

    let n = a.len();
    let (mut counts, mut expected) = (vec![0; n * n], vec![0.0; n * n]);
    for _ in 0..RUNS {
        let pair = drawn(&mut memory, 2, &strategy(Draw::WithoutReplacement));
        counts[pair[0] as usize * n + pair[1] as usize] += 1;
    }
    for i in 0..n {
        for j in (0..n).filter(|&j| j != i && p[i] < 1.0) {
            expected[i * n + j] = p[i] * p[j] / (1.0 - p[i]);
        }
    }
    assert!(fits(&counts, &expected), "{counts:?} {expected:?}");
}

#[test]
fn uniform_draws() {
    follows(Strategy::Uniform, &[5.0, 1.0, 0.0, 2.0], &[1.0; 4]);
}

#[test]
fn proportional_draws() {
    // The first and the last are zero, where an interval that is not half-open would be hit.
    let a = [0.0, 1.0, 3.0, 0.0, 6.0, 0.0];
    follows(|draw| Strategy::Proportional("a".into(), draw), &a, &a);
    // All zero: all equally likely.
    follows(|draw| Strategy::Proportional("a".into(), draw), &[0.0; 3], &[1.0; 3]);
    // Scores over sixty orders of magnitude, and near the largest number there is.
    follows(|draw| Strategy::Proportional("a".into(), draw), &[1e-30, 1e30, 1e30], &[0.0, 1.0, 1.0]);
    follows(|draw| Strategy::Proportional("a".into(), draw), &[1e308, 1e308, 1e308], &[1.0; 3]);
}

#[test]
fn softmax_draws() {
    let a = [-1.0, 0.5, 2.0, 0.0];
    for temperature in [0.5, 2.0] {
        let weights = a.map(|a: f64| (a / temperature).exp());
        follows(|draw| Strategy::Softmax { value: "a".into(), temperature, draw }, &a, &weights);
    }
    // Differences of hundreds of temperatures: without replacement the second is still drawn second.
    let mut memory = full(&[0.0, 5000.0, -5000.0]);
    let cold = |draw| Strategy::Softmax { value: "a".into(), temperature: 1.0, draw };
    assert_eq!(drawn(&mut memory, 3, &cold(Draw::WithoutReplacement)), [1, 0, 2]);
    assert_eq!(drawn(&mut memory, 3, &cold(Draw::WithReplacement)), [1, 1, 1]);
    // A value over a temperature may be more than there is a number for.
    let frozen =
        Strategy::Softmax { value: "a".into(), temperature: f64::MIN_POSITIVE, draw: Draw::WithReplacement };
    assert_eq!(drawn(&mut memory, 3, &frozen), [1, 1, 1]);
}

/// Each score from 0 to 1, whatever its scale; a constant one says nothing.
#[test]
fn mixed_draws_normalise_each_score() {
    let mut memory = Scored::new(4, &["a", "b", "c"], Evict::Oldest, rng(0)).unwrap();
    let (x, y) = samples(0..4);
    let (a, b, c) = (column(&[1e6, 2e6, 3e6, 1e6]), column(&[-0.1, -0.1, -0.2, 0.0]), column(&[7.0; 4]));
    memory.offer(&x, &y, &[("a", &a), ("b", &b), ("c", &c)]).unwrap();
    let value = Value::Mixed(vec![("a".into(), 0.75), ("b".into(), 0.25), ("c".into(), 100.0)]);
    let expected = [0.125, 0.375 + 0.125, 0.75, 0.25];
    for (value, expected) in value.of(memory.ledger()).unwrap().into_iter().zip(expected) {
        assert!((value - expected).abs() < 1e-12);
    }
    let mut counts = [0u64; 4];
    for number in drawn(&mut memory, 20_000, &Strategy::Proportional(value.clone(), Draw::WithReplacement)) {
        counts[number as usize] += 1;
    }
    assert!(fits(&counts, &expected.map(|p| p / 1.625)), "{counts:?}");
    assert_eq!(drawn(&mut memory, 4, &Strategy::Top(value)), [2, 1, 3, 0]);
    // Nothing but a constant: no difference to draw by.
    let constant = Value::Mixed(vec![("c".into(), 1.0)]);
    assert_eq!(constant.of(memory.ledger()).unwrap(), [0.0; 4]);
    assert_eq!(drawn(&mut memory, 4, &Strategy::Top(constant)), [0, 1, 2, 3]);
    // The largest range there is does not overflow.
    let extreme = full(&[-f64::MAX, 0.0, f64::MAX]);
    assert_eq!(Value::Mixed(vec![("a".into(), 1.0)]).of(extreme.ledger()).unwrap(), [0.0, 0.5, 1.0]);
}

proptest! {
    /// Sorted by value, ties by slot: by a stable sort of the whole memory.
    #[test]
    fn ranking_is_deterministic(a in prop::collection::vec(0..5i32, 1..20), n in 0..20usize) {
        let a: Vec<f64> = a.into_iter().map(f64::from).collect();
        let mut memory = full(&a);
        let mut expected: Vec<u32> = (0..a.len() as u32).collect();
        expected.sort_by(|&i, &j| a[j as usize].total_cmp(&a[i as usize]).then(i.cmp(&j)));
        expected.truncate(n);
        let before = memory.ledger().column(&Score::Accesses).unwrap();
        prop_assert_eq!(before, vec![0.0; a.len()]);
        prop_assert_eq!(drawn(&mut memory, n.min(a.len()), &Strategy::Top("a".into())), expected);
    }

    /// The coreset draw is the procedure on the features, row by slot.
    #[test]
    fn a_k_center_draw_is_k_center(points in prop::collection::vec(-3..4i32, 1..15), n in 0..15usize, first in 0..15usize) {
        let n = n.min(points.len());
        let first = first % points.len();
        let features: Vec<f32> = points.iter().map(|&x| x as f32).collect();
        let features = Tensor::from_vec(features, (points.len(), 1), &Device::Cpu).unwrap();
        let mut memory = full(&vec![0.0; points.len()]);
        let strategy = Strategy::KCenter { features: features.clone(), first };
        let expected = if n == 0 { vec![] } else { cl_replay::k_center(&features, n, first).unwrap().rows };
        prop_assert_eq!(drawn(&mut memory, n, &strategy), expected);
    }
}

/// Every set of the same size is as likely: the uniform draw beside the reservoir's own test.
#[test]
fn uniform_sets_without_replacement() {
    let mut memory = full(&[0.0; 10]);
    let mut counts = [0u64; 10];
    for _ in 0..5000 {
        for number in drawn(&mut memory, 3, &Strategy::Uniform(Draw::WithoutReplacement)) {
            counts[number as usize] += 1;
        }
    }
    assert!(chi_square_of_subsets(&counts, 3, 5000) < critical(9), "{counts:?}");
}

// --- Counters, ids, updates ---------------------------------------------------------------------------

#[test]
fn accesses_move_on_sample_and_never_on_peek() {
    let mut memory = full(&[1.0, 2.0, 3.0]);
    let before = state(&memory);
    let mut own = rng(9);
    for strategy in [Strategy::Uniform(Draw::WithReplacement), Strategy::Top("a".into())] {
        memory.peek(3, &strategy, &mut own).unwrap();
    }
    memory.all().unwrap();
    assert_eq!(state(&memory), before, "nothing of the memory has moved, its generator neither");
    assert_ne!(own, rng(9), "the draw was made with the caller's");

    memory.sample(2, &Strategy::Top("a".into())).unwrap();
    let accesses = |memory: &Scored| memory.ledger().column(&Score::Accesses).unwrap();
    assert_eq!(accesses(&memory), [0.0, 1.0, 1.0]);
    let drawn = drawn(&mut memory, 50, &Strategy::Uniform(Draw::WithReplacement));
    let mut expected = [0.0, 1.0, 1.0];
    drawn.iter().for_each(|&number| expected[number as usize] += 1.0);
    assert_eq!(accesses(&memory), expected);
    // Whoever takes the place starts anew.
    let id = offer(&mut memory, 3, &[0.0])[0].unwrap();
    assert_eq!(accesses(&memory)[id.slot()], 0.0);
    // Equal seeds: a peek with the memory's generator is what sample draws.
    let (mut a, b) = (full(&[1.0, 2.0, 3.0]), full(&[1.0, 2.0, 3.0]));
    let strategy = Strategy::Proportional("a".into(), Draw::WithReplacement);
    let (sampled, peeked) = (a.sample(20, &strategy).unwrap(), b.peek(20, &strategy, &mut rng(0)).unwrap());
    assert_eq!(sampled.ids, peeked.ids);
}

proptest! {
    /// A late update never lands on a successor: whatever happens in between, only what is still there
    /// changes, and the rest is reported.
    #[test]
    fn late_updates_are_reported(
        capacity in 1..6usize,
        batches in prop::collection::vec(1..5u32, 1..10),
        late in prop::collection::vec(0..40usize, 0..12),
        seed: u64,
    ) {
        let mut memory = memory(capacity, Evict::Random, seed);
        let (mut ids, mut next) = (Vec::new(), 0);
        for n in batches {
            let scores: Vec<f64> = (next..next + n).map(f64::from).collect();
            ids.extend(offer(&mut memory, next, &scores).into_iter().map(Option::unwrap));
            next += n;
        }
        prop_assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len(), "an id twice");
        let late: Vec<usize> = late.into_iter().map(|i| i % ids.len()).collect();
        let there = held(&memory);
        let given: Vec<ItemId> = late.iter().map(|&i| ids[i]).collect();
        let values: Vec<f64> = (0..late.len()).map(|i| 1000.0 + i as f64).collect();
        let stale = memory.update(&given, &[("a", &column(&values))]).unwrap();
        let expected: Vec<ItemId> =
            late.iter().filter(|&&i| !there.contains(&(i as u32))).map(|&i| ids[i]).collect();
        prop_assert_eq!(stale, expected);
        let mut last = BTreeMap::new(); // of several updates the last one counts
        late.iter().zip(&values).for_each(|(&i, &value)| { last.insert(i as u32, value); });
        let a: Vec<f64> = there.iter().map(|number| *last.get(number).unwrap_or(&f64::from(*number))).collect();
        prop_assert_eq!(memory.ledger().column(&"a".into()).unwrap(), a);
        let b: Vec<f64> = there.iter().map(|&number| -f64::from(number)).collect();
        prop_assert_eq!(memory.ledger().column(&"b".into()).unwrap(), b, "the other score stays");
        prop_assert_eq!(held(&memory), there);
    }

    /// How a stream is cut into batches does not matter.
    #[test]
    fn batches_are_only_a_convenience(capacity in 1..6usize, n in 1..30u32, which in 0..6usize, seed: u64) {
        let policy = [
            Evict::Oldest, Evict::LeastRecentlyAccessed, Evict::LowestScore("a".into()), Evict::Random,
            Evict::Reservoir, Evict::LeastWorth(WORTH()),
        ][which].clone();
        let scores: Vec<f64> = (0..n).map(|i| f64::from(i * 7 % 5)).collect();
        let (mut whole, mut parts) = (memory(capacity, policy.clone(), seed), memory(capacity, policy, seed));
        let mut taken = Vec::new();
        for (first, scores) in (0..).step_by(4).zip(scores.chunks(4)) {
            taken.extend(offer(&mut parts, first, scores));
        }
        prop_assert_eq!(offer(&mut whole, 0, &scores), taken);
        prop_assert_eq!(state(&whole), state(&parts));
    }

    /// Saved anywhere and restored, it ends bit for bit where the other one ends.
    #[test]
    fn goes_on_after_a_restore(capacity in 1..6usize, before in 0..20u32, after in 1..20u32, which in 0..3usize, seed: u64) {
        let policy =
            [Evict::Random, Evict::LeastWorth(WORTH()), Evict::GssGreedy("a".into())][which].clone();
        let scores = |n: u32| (0..n).map(|i| f64::from(i * 7 % 5) / 4.0).collect::<Vec<_>>();
        let mut memory = memory(capacity, policy, seed);
        offer(&mut memory, 0, &scores(before));
        let proportional = Strategy::Proportional("a".into(), Draw::WithReplacement);
        if before > 0 {
            memory.sample(3, &proportional).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.snap");
        memory.save(&path).unwrap();
        let mut restored: Scored = Scored::load(&path).unwrap();
        prop_assert_eq!(state(&memory), state(&restored));
        for memory in [&mut memory, &mut restored] {
            offer(memory, before, &scores(after));
            memory.sample(7, &proportional).unwrap();
            offer(memory, before + after, &scores(after));
        }
        prop_assert_eq!(held(&memory), held(&restored));
        prop_assert_eq!(state(&memory), state(&restored));
    }
}

#[test]
fn a_torn_or_flipped_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory.snap");
    full(&[1.0, 2.0]).save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(Scored::<Evict>::load(&path).is_ok());
    assert!(Reservoir::load(&path).is_err(), "another kind of memory");
    for at in 0..bytes.len() {
        std::fs::write(&path, &bytes[..at]).unwrap();
        assert!(Scored::<Evict>::load(&path).is_err(), "cut at {at}");
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, flipped).unwrap();
        assert!(Scored::<Evict>::load(&path).is_err(), "flipped at {at}");
    }
}

#[test]
fn replace_takes_the_named_places() {
    let mut memory = full(&[0.0, 1.0, 2.0]);
    let ids = memory.ledger().ids();
    let (x, y) = samples(3..5);
    let scores = column(&[5.0, 6.0]);
    let given = [("a", &scores), ("b", &scores)];
    let new = memory.replace(&[ids[2], ids[0]], &x, &y, &given).unwrap();
    assert_eq!(held(&memory), [4, 1, 3]);
    assert_eq!(memory.ledger().column(&"a".into()).unwrap(), [6.0, 1.0, 5.0]);
    assert_eq!((new[0].slot(), new[1].slot(), memory.seen()), (2, 0, 5));
    let before = state(&memory);
    for (wrong, said) in
        [(vec![ids[1], ids[2]], "not there"), (vec![ids[1]; 2], "twice"), (vec![ids[1]], "2 ids")]
    {
        let error = memory.replace(&wrong, &x, &y, &given).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(state(&memory), before);
}

// --- Refusals -----------------------------------------------------------------------------------------

#[test]
fn bad_input_is_named_and_changes_nothing() {
    let new = |capacity, names: &[&str], policy| Scored::new(capacity, names, policy, rng(0)).map(drop);
    assert!(new(0, &["a"], Evict::Oldest).is_err());
    assert!(new(1, &["a", "a"], Evict::Oldest).is_err() && new(1, &[""], Evict::Oldest).is_err());
    assert!(new(1, &["a"], Evict::LowestScore("b".into())).unwrap_err().to_string().contains("\"b\""));
    assert!(new(1, &["a"], Evict::GssGreedy("b".into())).is_err());
    for worth in [
        Worth { tau: 0.0, ..WORTH() },
        Worth { tau: f64::NAN, ..WORTH() },
        Worth { access: f64::INFINITY, ..WORTH() },
        Worth { scores: vec![("a".into(), f64::NAN)], ..WORTH() },
        Worth { scores: vec![("c".into(), 1.0)], ..WORTH() },
    ] {
        assert!(new(1, &["a", "b"], Evict::LeastWorth(worth.clone())).is_err(), "{worth:?}");
    }

    let mut memory = memory(3, Evict::Reservoir, 0);
    let uniform = Strategy::Uniform(Draw::WithReplacement);
    assert!(memory.sample(1, &uniform).unwrap_err().to_string().contains("empty"));
    assert!(memory.all().unwrap_err().to_string().contains("empty"));
    offer(&mut memory, 0, &[1.0, -1.0, 0.0, 2.0]);
    let before = state(&memory);

    let (x, y) = samples(9..11);
    let (good, wide) = (column(&[0.0, 1.0]), Tensor::zeros((2, 1), DType::F32, &Device::Cpu).unwrap());
    let wrong: [(&[(&str, &Tensor)], &str); 8] = [
        (&[("a", &good)], "\"b\""),
        (&[("a", &good), ("b", &good), ("c", &good)], "\"c\""),
        (&[("a", &good), ("b", &good), ("a", &good)], "\"a\": it is given twice"),
        (&[("a", &good), ("b", &column(&[0.0]))], "\"b\": 2 numbers"),
        (&[("a", &good), ("b", &wide)], "\"b\": 2 numbers"),
        (&[("a", &column(&[0.0, f64::NAN])), ("b", &good)], "\"a\": number 1 is NaN"),
        (&[("a", &good), ("b", &column(&[f64::INFINITY, 0.0]))], "\"b\": number 0 is inf"),
        (&[], "\"a\""),
    ];
    for (scores, said) in wrong {
        let error = memory.offer(&x, &y, scores).unwrap_err().to_string();
        assert!(error.contains(said), "{error} does not say {said}");
    }
    assert!(memory.offer(&x, &y.narrow(0, 0, 1).unwrap(), &[("a", &good), ("b", &good)]).is_err());
    assert!(memory.offer(&wide, &y, &[("a", &good), ("b", &good)]).is_err());

    let ids = memory.ledger().ids();
    let nan = column(&[0.0, f64::NAN]);
    for scores in [&[("a", &good), ("b", &nan)][..], &[("c", &good)], &[("a", &column(&[1.0]))]] {
        assert!(memory.update(&ids[..2], scores).is_err());
    }

    let features = Tensor::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
    let softmax =
        |temperature| Strategy::Softmax { value: "a".into(), temperature, draw: Draw::WithReplacement };
    let mixed = |scores| Strategy::Proportional(Value::Mixed(scores), Draw::WithReplacement);
    let wrong = [
        (Strategy::Uniform(Draw::WithoutReplacement), "4 distinct"),
        (Strategy::Proportional("a".into(), Draw::WithReplacement), "no weight"),
        (Strategy::Proportional(Score::Accesses.into(), Draw::WithoutReplacement), "4 distinct"),
        (Strategy::Proportional("c".into(), Draw::WithReplacement), "\"c\""),
        (softmax(0.0), "temperature"),
        (softmax(-1.0), "temperature"),
        (softmax(f64::NAN), "temperature"),
        (mixed(vec![]), "one score or more"),
        (mixed(vec![("a".into(), f64::NAN)]), "finite"),
        (mixed(vec![("a".into(), -1.0)]), "no weight"),
        (Strategy::Top("a".into()), "4 distinct"),
        (Strategy::KCenter { features: features.clone(), first: 0 }, "3 rows of features"),
        (
            Strategy::KCenter { features: Tensor::cat(&[&features, &features], 0).unwrap(), first: 0 },
            "3 rows",
        ),
    ];
    for (strategy, said) in wrong {
        let error = memory.sample(4, &strategy).unwrap_err().to_string();
        assert!(error.contains(said), "{error} does not say {said}");
    }
    assert_eq!(state(&memory), before);

    // A weight above zero is needed to be drawn beside others that have one.
    let mut memory = full(&[0.0, 1.0]);
    let error = memory.sample(2, &Strategy::Proportional("a".into(), Draw::WithoutReplacement)).unwrap_err();
    assert!(error.to_string().contains("1 samples have a weight"), "{error}");
}

/// A memory without scores is a memory, too; images stay bytes; scores may be f32.
#[test]
fn any_rows_and_no_scores() {
    let mut memory = Scored::new(2, &[], Evict::Oldest, rng(0)).unwrap();
    let x = Tensor::arange(0u8, 48, &Device::Cpu).unwrap().reshape((3, 4, 4)).unwrap();
    let y = Tensor::new(&[[0.5f64, -1.0], [2.0, 3.0], [4.0, 5.0]], &Device::Cpu).unwrap();
    memory.offer(&x, &y, &[]).unwrap();
    let sample = memory.sample(5, &Strategy::Uniform(Draw::WithReplacement)).unwrap();
    assert_eq!((sample.x.dtype(), sample.x.dims()), (DType::U8, &[5, 4, 4][..]));
    assert_eq!((sample.y.dtype(), sample.y.dims()), (DType::F64, &[5, 2][..]));
    let mut memory = Scored::new(2, &["s"], Evict::Oldest, rng(0)).unwrap();
    let scores = Tensor::new(&[0.5f32, 0.25, 1.0], &Device::Cpu).unwrap();
    memory.offer(&x, &y, &[("s", &scores)]).unwrap();
    assert_eq!(memory.ledger().column(&"s".into()).unwrap(), [1.0, 0.25]);
    memory.sample(0, &Strategy::Uniform(Draw::WithoutReplacement)).unwrap();
}
