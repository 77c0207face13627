//! Memories of ±1 patterns, drawn at random.

use std::collections::BTreeMap;

use cl_core::{Result, rng};
use cl_hopfield::{Classical, Dense, Interaction, Order, State, States};

use super::{Allowed, Cue, theory};
use crate::experiment::Measured;

/// Sweeps after which a recall is taken as it is.
const SWEEPS: usize = 200;

/// The overlap of what each of some stored patterns becomes with the pattern.
pub fn overlaps(units: usize, load: f64, recalled: usize, seed: u64) -> Result<Vec<f64>> {
    let rng = &mut rng(seed, &format!("overlap {units} {load}"));
    let patterns = States::random(units, (load * units as f64).round() as usize, rng);
    let memory = Classical::hebbian(&patterns)?;
    let overlap = |pattern| -> Result<f64> {
        Ok(memory.recall(pattern, Order::Shuffled, SWEEPS, rng)?.state.overlap(pattern))
    };
    patterns.iter().take(recalled).map(overlap).collect()
}

/// The number of patterns up to which no more bits are turned than are allowed by one update, of all units at once, from a
/// stored pattern: within a thirtieth.
pub fn capacity(degree: u32, units: usize, allowed: Allowed, updated: usize, seed: u64) -> Result<f64> {
    let most = match allowed {
        Allowed::Hundredth => units as f64 / 100.0,
        Allowed::None => 0.1,
    };
    let held = |patterns: f64| -> Result<bool> {
        Ok(turned(degree, units, patterns.round() as usize, updated, seed)? <= most)
    };
    let (mut low, mut high) = (1.0, 2.0);
    while held(high)? {
        (low, high) = (high, 2.0 * high);
    }
    while high / low > 1.0 + 1.0 / 30.0 {
        let middle = f64::sqrt(low * high);
        *(if held(middle)? { &mut low } else { &mut high }) = middle;
    }
    Ok(f64::sqrt(low * high))
}

/// The mean number of bits that one update turns, over `updated` stored patterns: of one memory, or of as many as it takes.
fn turned(degree: u32, units: usize, patterns: usize, updated: usize, seed: u64) -> Result<f64> {
    let rng = &mut rng(seed, &format!("turned {degree} {units} {patterns}"));
    let (mut bits, mut done) = (0, 0);
    while done < updated {
        let patterns = States::random(units, patterns, rng);
        let memory = Dense::new(patterns.clone(), Interaction::Polynomial(degree))?;
        for pattern in patterns.iter().take(updated - done) {
            let state = memory.recall(pattern, Order::AtOnce, 1, rng)?.state;
            bits += (units as i64 - state.product(pattern)) / 2;
            done += 1;
        }
    }
    Ok(bits as f64 / done as f64)
}

/// Of some of the stored patterns the bits that are wrong after one sweep, one unit after the other, and the number of bits in
/// which the nearest other pattern differs.
pub fn exponential(units: usize, cue: Cue, updated: usize, seed: u64) -> Result<Measured> {
    let rng = &mut rng(seed, &format!("exponential {units} {cue:?}"));
    let patterns = States::random(units, theory::exponential_patterns(units, cue), rng);
    let memory = Dense::new(patterns.clone(), Interaction::Exponential)?;
    let differ = |a: &State, b: &State| (units as i64 - a.product(b)) as f64 / 2.0;
    let (mut wrong, mut nearest) = (Vec::new(), Vec::new());
    for (row, pattern) in patterns.iter().enumerate().take(updated) {
        let cue = pattern.corrupted(theory::flips(units, cue), rng)?;
        wrong.push(differ(&memory.recall(&cue, Order::InTurn, 1, rng)?.state, pattern));
        let others = patterns.iter().enumerate().filter(|(other, _)| *other != row);
        nearest.push(others.map(|(_, other)| differ(other, pattern)).fold(units as f64, f64::min));
    }
    let values = [("wrong", wrong), ("nearest", nearest)].map(|(name, values)| (name.to_owned(), values));
    Ok(Measured { values: BTreeMap::from(values), ..Measured::default() })
}
