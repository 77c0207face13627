//! Watches a run and says in plain words what is wrong with it, with the evidence and what to do.
//!
//! A [`Trace`] is what was observed: plain data that a training loop fills at intervals. [`diagnose`] reads it:
//!
//! ```
//! use cl_metrics::diagnose::{Kind, Memory, Observation, Trace, diagnose};
//!
//! // Two tasks and a penalty that has hardly any gradient; the first task is forgotten.
//! let mut trace = Trace { lambda: Some(100.0), baseline: vec![0.5; 2], ..Trace::default() };
//! for step in 0..40 {
//!     trace.observations.push(Observation {
//!         step: 50 * step,
//!         task: if step < 20 { 0 } else { 1 },
//!         gradient_norm: Some(0.8),
//!         penalty_gradient_norm: (step >= 20).then_some(0.002),
//!         ..Observation::default()
//!     });
//! }
//! trace.rows = vec![vec![0.98, 0.51], vec![0.61, 0.97]];
//!
//! let findings = diagnose(&trace);
//! assert_eq!(findings[0].kind, Kind::LambdaTooSmall);
//! println!("{}", findings[0]);
//! ```
//!
//! | finding | is made where |
//! |---|---|
//! | [`LossNotFinite`](Kind::LossNotFinite) | a loss is NaN or infinite, once |
//! | [`MemoryOverBudget`](Kind::MemoryOverBudget) | bytes or samples are more than allowed, once: they are counted, not estimated |
//! | [`MemoryUnbalanced`](Kind::MemoryUnbalanced) | the entropy of classes (or tasks) in the memory is low for all seen so far |
//! | [`MemoryTooEasy`](Kind::MemoryTooEasy) | nearly all stored samples have next to no loss, and old tasks are forgotten |
//! | [`OldDataNeverDrawn`](Kind::OldDataNeverDrawn) | of a stored old task nothing, or next to nothing, is drawn |
//! | [`PrioritiesDegenerate`](Kind::PrioritiesDegenerate) | priorities are all equal, all 0, not finite, or few have everything |
//! | [`GradientConflict`](Kind::GradientConflict) | the cosine with the gradient of past tasks stays negative, unless nothing is forgotten or samples are replayed |
//! | [`FisherNearZero`](Kind::FisherNearZero) | nearly all importance is too small for any λ |
//! | [`FisherSaturated`](Kind::FisherSaturated) | a large share of the importance is the largest |
//! | [`ImportanceNotMoving`](Kind::ImportanceNotMoving) | consolidations leave the importance as it was |
//! | [`LambdaTooSmall`](Kind::LambdaTooSmall) | old tasks are forgotten, and the penalty's gradient is small beside the task's |
//! | [`LambdaTooLarge`](Kind::LambdaTooLarge) | new tasks are not learned, and the penalty's gradient is not small |
//! | [`AdaptationTooSlow`](Kind::AdaptationTooSlow) | a task is still being learned when it ends, or never begins to be |
//! | [`ForgettingUnprotected`](Kind::ForgettingUnprotected) | old tasks are forgotten, and neither a memory nor a penalty was seen |
//! | [`ForgettingInSpiteOfProtection`](Kind::ForgettingInSpiteOfProtection) | the same with one, and nothing else was found |
//!
//! No finding comes from one noisy point: each needs a number of observations, and goes by medians over them, in
//! the later half of a task where things need time. The thresholds are named constants beside each check, with
//! their reasons. They are judgements, not theorems: a finding is a place to look at, and no finding is no proof of health.
//!
//! An observer makes the numbers from its tensors with [`norm`], [`cosine`](fn@cosine), [`counts`],
//! [`Priorities::of`] and [`Importance::of`].

mod finding;
mod importance;
mod learning;
mod measure;
mod memory;
mod number;
mod priorities;
mod statistics;
mod trace;

pub use finding::{Finding, Kind, Severity};
pub use importance::{NEAR_ZERO, SATURATED_FROM};
pub use measure::{cosine, counts, norm};
pub use trace::{Curve, Importance, Measure, Memory, Observation, Priorities, Trace};

/// The accuracy that old tasks lose, on average since their best, from which it is called forgetting. On permuted
/// MNIST (Chaudhry et al. 2019, A-GEM) it lies between the methods that hold, 0 to 0.08, and EWC and no method at
/// all, 0.29 and 0.51.
pub const FORGOTTEN: f64 = 0.1;

/// All that is wrong with a run as far as the trace shows it, the worst first. Empty for a healthy run, and for
/// an empty trace.
///
/// What follows from another finding is left out: forgetting because of a Fisher information of 0 is no λ too
/// small, and once the loss is NaN to the end only that is said. Never panics, whatever is in the trace: numbers
/// that are not finite, or of tasks that do not exist, are passed over.
pub fn diagnose(trace: &Trace) -> Vec<Finding> {
    if let Some(finding) = learning::loss_not_finite(trace)
        && !learning::recovered(trace)
    {
        return vec![finding];
    }
    let checks = [
        learning::loss_not_finite,
        memory::over_budget,
        memory::unbalanced,
        memory::too_easy,
        memory::never_drawn,
        priorities::degenerate,
        importance::near_zero,
        importance::saturated,
        importance::not_moving,
        importance::lambda_too_small,
        importance::lambda_too_large,
        learning::conflict,
        learning::too_slow,
        learning::unprotected,
    ];
    let mut findings: Vec<Finding> = checks.iter().filter_map(|check| check(trace)).collect();
    let found: Vec<Kind> = findings.iter().map(|finding| finding.kind).collect();
    findings.retain(|finding| !causes(finding.kind).iter().any(|cause| found.contains(cause)));
    if !found.iter().any(|kind| FORGETS.contains(kind)) {
        findings.extend(learning::in_spite_of_protection(trace));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// What explains a finding so far that it says nothing new.
fn causes(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::LambdaTooSmall | Kind::ImportanceNotMoving => &[Kind::FisherNearZero],
        Kind::AdaptationTooSlow => &[Kind::LambdaTooLarge],
        _ => &[],
    }
}

/// What makes a network forget.
const FORGETS: [Kind; 9] = [
    Kind::MemoryUnbalanced,
    Kind::MemoryTooEasy,
    Kind::OldDataNeverDrawn,
    Kind::GradientConflict,
    Kind::FisherNearZero,
    Kind::FisherSaturated,
    Kind::ImportanceNotMoving,
    Kind::LambdaTooSmall,
    Kind::ForgettingUnprotected,
];
