//! The classical network: its weights by hand, its energy, what it holds, and where it breaks down.
#![allow(clippy::unwrap_used)]

use cl_hopfield::{Classical, Order, State, States};
use proptest::prelude::*;

/// W = (1/N) Σ x xᵀ, written down from the equation; more patterns than a word has bits, and fewer.
#[test]
fn hebbian_weights_are_those_of_the_equation() {
    for (n, k) in [(5, 3), (70, 64), (33, 130), (2, 1)] {
        let patterns = States::random(n, k, &mut cl_core::rng(1, "patterns"));
        let memory = Classical::hebbian(&patterns).unwrap();
        let signs: Vec<Vec<f64>> = patterns.iter().map(State::signs).collect();
        for i in 0..n {
            for j in 0..n {
                let sum: f64 = signs.iter().map(|x| x[i] * x[j]).sum();
                let expected = if i == j { 0.0 } else { sum / n as f64 };
                let found = memory.weight(i, j);
                assert!((found - expected).abs() < 1e-15, "{n} units, {k} patterns: {found} {i} {j}");
            }
        }
    }
}

/// E = −½ sᵀWs + sᵀb by the double sum.
fn energy_by_hand(weights: &[f64], thresholds: &[f64], signs: &[f64]) -> f64 {
    let n = signs.len();
    let pairs = (0..n * n).map(|at| weights[at] * signs[at / n] * signs[at % n]).sum::<f64>();
    -0.5 * pairs + thresholds.iter().zip(signs).map(|(b, s)| b * s).sum::<f64>()
}

proptest! {
    /// One unit after the other, whatever the weights and thresholds: no sweep raises the energy, and what has settled is at
    /// a minimum among its neighbours.
    #[test]
    fn the_energy_never_rises(seed: u64, n in 2_usize..40, shuffled: bool) {
        use rand::Rng as _;
        let rng = &mut cl_core::rng(seed, "network");
        let mut weights = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..i {
                let weight = rng.random_range(-1.0..1.0);
                (weights[i * n + j], weights[j * n + i]) = (weight, weight);
            }
        }
        let thresholds: Vec<f64> = (0..n).map(|_| rng.random_range(-0.5..0.5)).collect();
        let memory = Classical::new(weights.clone(), thresholds.clone()).unwrap();
        let order = if shuffled { Order::Shuffled } else { Order::InTurn };
        let mut state = State::random(n, rng);
        let mut energy = memory.energy(&state).unwrap();
        prop_assert!((energy - energy_by_hand(&weights, &thresholds, &state.signs())).abs() < 1e-9);
        loop {
            let recall = memory.recall(&state, order, 1, rng).unwrap();
            let now = memory.energy(&recall.state).unwrap();
            prop_assert!(now <= energy + 1e-9, "{} after {}", now, energy);
            (state, energy) = (recall.state, now);
            if recall.settled {
                break;
            }
        }
        for unit in 0..n {
            let mut other = state.clone();
            other.set(unit, !state.get(unit));
            prop_assert!(memory.energy(&other).unwrap() >= energy - 1e-9);
        }
    }
}

/// The mean overlap of what is recalled from the patterns themselves with them.
fn held(n: usize, load: f64, probes: usize) -> f64 {
    let rng = &mut cl_core::rng(1, "capacity");
    let patterns = States::random(n, (load * n as f64).round() as usize, rng);
    let memory = Classical::hebbian(&patterns).unwrap();
    let overlap = |row: usize| {
        let recall = memory.recall(&patterns.row(row), Order::Shuffled, 200, rng).unwrap();
        assert!(recall.settled);
        recall.state.overlap(&patterns.row(row))
    };
    (0..probes).map(overlap).sum::<f64>() / probes as f64
}

/// Amit, Gutfreund & Sompolinsky 1985: below 0.138 patterns a unit they are held, above they are lost.
#[test]
fn the_capacity_is_that_of_the_theory() {
    let (below, above) = (held(1000, 0.10, 20), held(1000, 0.20, 20));
    assert!(below >= 0.99, "{below}");
    assert!(above <= 0.65, "{above}");
}

/// What is linearly independent stays where it is; what is not is refused by name.
#[test]
fn the_pseudo_inverse_holds_correlated_patterns() {
    let rng = &mut cl_core::rng(2, "patterns");
    let (n, k) = (100, 40);
    // All near one another: Hebb's rule would hold their mean alone.
    let centre = State::random(n, rng);
    let mut patterns = States::new(n);
    for _ in 0..k {
        patterns.push(centre.corrupted(10, rng).unwrap()).unwrap();
    }
    let (hebbian, projecting) =
        (Classical::hebbian(&patterns).unwrap(), Classical::pseudo_inverse(&patterns).unwrap());
    let stay = |memory: &Classical, rng: &mut cl_core::Rng| {
        let stays = |x: &&State| memory.recall(x, Order::InTurn, 1, rng).unwrap().settled;
        patterns.iter().filter(stays).count()
    };
    assert_eq!(stay(&projecting, rng), k);
    assert!(stay(&hebbian, rng) < k / 4);
    // W x = x: the field of a unit is what it is, less its own part on the diagonal.
    let x = patterns.row(7).signs();
    let mut diagonal = 0.0;
    for i in 0..n {
        let field: f64 = (0..n).map(|j| projecting.weight(i, j) * x[j]).sum();
        diagonal += 1.0 - field / x[i];
    }
    assert!((diagonal - k as f64).abs() < 1e-6, "the trace of a projection is its rank: {diagonal}");

    patterns.push(patterns.row(0)).unwrap();
    let error = Classical::pseudo_inverse(&patterns).unwrap_err().to_string();
    assert!(error.contains("pattern 40 is made of those before it"), "{error}");
}

/// Two units that want what the other is go round for ever when both are updated at once, and settle in turn.
#[test]
fn at_once_may_go_round() {
    let memory = Classical::new(vec![0.0, 1.0, 1.0, 0.0], vec![0.0; 2]).unwrap();
    let rng = &mut cl_core::rng(0, "order");
    let cue = State::from_bits([true, false]);
    let round = memory.recall(&cue, Order::AtOnce, 7, rng).unwrap();
    assert!(!round.settled && round.sweeps == 7 && round.state == State::from_bits([false, true]));
    let settled = memory.recall(&cue, Order::InTurn, 7, rng).unwrap();
    assert!(settled.settled && settled.sweeps == 2 && settled.state == State::from_bits([false, false]));
    // At its threshold a unit stays as it is.
    let still = Classical::new(vec![0.0; 4], vec![0.0; 2]).unwrap();
    assert_eq!(still.recall(&cue, Order::AtOnce, 3, rng).unwrap().state, cue);
}

#[test]
fn comes_from_the_seed_and_goes_through_serde() {
    let patterns = States::random(90, 12, &mut cl_core::rng(1, "patterns"));
    let memory = Classical::hebbian(&patterns).unwrap();
    let cue = State::random(90, &mut cl_core::rng(2, "cue"));
    let recall = |seed| memory.recall(&cue, Order::Shuffled, 50, &mut cl_core::rng(seed, "order")).unwrap();
    assert_eq!(recall(1), recall(1));
    let text = serde_json::to_string(&(&memory, &patterns)).unwrap();
    let (again, states): (Classical, States) = serde_json::from_str(&text).unwrap();
    assert_eq!((&again, &states), (&memory, &patterns));
    for bad in [
        r#"{"weights":[0.0,1.0,2.0,0.0],"scale":1.0,"thresholds":[0.0,0.0]}"#,
        r#"{"weights":[1.0],"scale":1.0,"thresholds":[0.0]}"#,
        r#"{"weights":[],"scale":1.0,"thresholds":[0.0]}"#,
        r#"{"weights":[0.0],"scale":-1.0,"thresholds":[0.0]}"#,
    ] {
        assert!(serde_json::from_str::<Classical>(bad).is_err(), "{bad}");
    }
    for bad in [r#"{"units":3,"words":[8]}"#, r#"{"units":65,"words":[1]}"#, r#"{"units":0,"words":[0]}"#] {
        assert!(serde_json::from_str::<State>(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let rng = &mut cl_core::rng(0, "x");
    assert!(Classical::hebbian(&States::new(3)).is_err());
    assert!(Classical::hebbian(&States::new(0)).is_err());
    let memory = Classical::hebbian(&States::random(3, 1, rng)).unwrap();
    let cue = State::new(4);
    assert!(memory.recall(&cue, Order::InTurn, 1, rng).unwrap_err().to_string().contains("a cue of 3 units"));
    assert!(memory.energy(&cue).is_err());
    assert!(States::new(3).push(cue.clone()).is_err());
    assert!(cue.corrupted(5, rng).is_err());
    assert!(Classical::new(vec![0.0, f64::NAN, f64::NAN, 0.0], vec![0.0; 2]).is_err());
}
