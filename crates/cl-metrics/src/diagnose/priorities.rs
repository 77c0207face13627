//! What is wrong with the priorities that samples are drawn by.

use super::memory::LEAST_SAMPLES;
use super::statistics::{nth, percent, settled, short};
use super::{Finding, Kind, Observation, Priorities, Severity, Trace};

/// Observations before priorities are judged: they all begin as equal, and need a few rounds of updates.
const LEAST_SEEN: usize = 5;

/// Priorities that differ by less than this share of the largest are equal: f32 tells no more.
const EQUAL: f64 = 1e-6;

/// The effective share of a memory below which a few samples have everything: a draw then comes from one in
/// twenty. Proportional priorities with α = 0.6 of exponential TD errors keep 0.72.
const FEW: f64 = 0.05;

/// Priorities that choose nothing, or always the same.
pub(super) fn degenerate(trace: &Trace) -> Option<Finding> {
    let later = settled(trace);
    let judged: Vec<(&Observation, Priorities)> = later
        .values()
        .flatten()
        .filter_map(|o| o.priorities.filter(|p| p.count >= LEAST_SAMPLES).map(|p| (*o, p)))
        .collect();
    let (seen, half) = (judged.len(), judged.len() / 2);
    type Case = (fn(&Priorities) -> bool, &'static str, &'static str);
    let cases: [Case; 4] = [
        (
            |p| p.invalid > 0,
            "Some priorities are NaN, infinite or negative: what is drawn is undefined.",
            "Look at the losses or TD errors that they are made of; clip these, and add a small constant (1e-6) \
             before the power.",
        ),
        (
            |p| p.max <= 0.0,
            "All priorities are 0: nothing can be told apart, or drawn.",
            "Add a small constant to each priority (1e-6 of the largest error), and see that they are updated \
             after each step.",
        ),
        (
            |p| p.max - p.min <= EQUAL * p.max,
            "All priorities are equal: the draws are uniform, at the price of priorities.",
            "See that priorities are updated after each step and that α is not 0 (0.6 is usual); if uniform draws \
             are meant, take a memory without priorities.",
        ),
        (
            |p| p.effective < FEW * p.count as f64,
            "A few samples have nearly all priority: the same ones are drawn again and again.",
            "Halve α, clip the errors at 1, or mix in a share of uniform draws (a tenth).",
        ),
    ];
    let (is, what, remedy) = cases
        .into_iter()
        .find(|(is, ..)| seen >= LEAST_SEEN && judged.iter().filter(|(_, p)| is(p)).count() > half)?;
    let bad = judged.iter().filter(|(_, p)| is(p));
    let (o, p) = bad.clone().next_back()?;
    Some(Finding {
        kind: Kind::PrioritiesDegenerate,
        severity: Severity::Warning,
        what: what.into(),
        evidence: format!(
            "in {} of {seen} observations; at step {} of task {}, {} priorities from {} to {}, {} invalid, \
             effective share {}.",
            bad.count(),
            o.step,
            nth(o.task),
            p.count,
            short(p.min),
            short(p.max),
            p.invalid,
            percent(p.effective / p.count as f64)
        ),
        remedy: remedy.into(),
    })
}
