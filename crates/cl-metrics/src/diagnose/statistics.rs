//! The few robust numbers that all checks use, and how they are written.

use std::collections::BTreeMap;

use super::{Observation, Trace};

/// The median of the finite values, and how many there were. `None` for fewer than `least`.
pub(super) fn median(values: impl IntoIterator<Item = f64>, least: usize) -> Option<(f64, usize)> {
    let mut values: Vec<f64> = values.into_iter().filter(|x| x.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (n >= least.max(1)).then(|| (values[(n - 1) / 2].midpoint(values[n / 2]), n))
}

pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The observations of each task, in order.
pub(super) fn by_task(trace: &Trace) -> BTreeMap<usize, Vec<&Observation>> {
    let mut tasks = BTreeMap::<usize, Vec<&Observation>>::new();
    for observation in &trace.observations {
        tasks.entry(observation.task).or_default().push(observation);
    }
    tasks
}

/// The same, the later half of each task: a memory takes in a new task, and θ leaves its anchor, step by step.
/// What is not there yet in the first half is no fault.
pub(super) fn settled(trace: &Trace) -> BTreeMap<usize, Vec<&Observation>> {
    let mut tasks = by_task(trace);
    for observations in tasks.values_mut() {
        observations.drain(..observations.len() / 2);
    }
    tasks
}

/// How evenly `counts` fill `classes` classes: (e^H − 1)/(classes − 1), H their entropy in nats. 1 where all are as
/// frequent, 0 where one has everything.
pub(super) fn evenness<'a>(counts: impl IntoIterator<Item = &'a u64>, classes: usize) -> f64 {
    let counts: Vec<f64> = counts.into_iter().filter(|n| **n > 0).map(|n| *n as f64).collect();
    let sum: f64 = counts.iter().sum();
    let entropy: f64 = counts.iter().map(|n| n / sum * (sum / n).ln()).sum();
    (entropy.exp() - 1.0) / (classes as f64 - 1.0)
}

/// A task as it is written: counted from 1.
pub(super) fn nth(task: usize) -> usize {
    task.saturating_add(1)
}

/// "31 %"; two digits more where it is next to none or all.
pub(super) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent == 0.0 || percent == 100.0 || (1.0..=99.0).contains(&percent.abs()) {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.2} %")
    }
}

/// Three digits, and a power of ten where it is far from 1.
pub(super) fn short(x: f64) -> String {
    if (1e3..1e6).contains(&x.abs()) {
        format!("{x:.0}")
    } else if x == 0.0 || (0.01..1e3).contains(&x.abs()) {
        let text = format!("{x:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{x:.1e}")
    }
}
