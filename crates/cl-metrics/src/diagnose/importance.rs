//! What is wrong with the importance of parameters, and with the weight of its penalty.

use super::learning::{forgetting, gains};
use super::statistics::{median, percent, settled, short};
use super::{FORGOTTEN, Finding, Importance, Kind, Severity, Trace};

/// An importance that no λ makes felt. The largest λ of published tables is 10¹⁰ (van de Ven et al. 2022): with
/// it this is a curvature of 0.01.
pub const NEAR_ZERO: f64 = 1e-12;

/// The share of the largest importance from which one counts as at the top. A Fisher information has a long tail:
/// fewer than one in a thousand is there, unless something clips it.
pub const SATURATED_FROM: f64 = 0.99;

/// Nearly all parameters unprotected. Dead units and pixels that are always black make half of the importance of
/// an MNIST network exactly 0; that is no fault.
const NEARLY_ALL: f64 = 0.99;

/// The share of the parameters that matter which may be at the top: far from the thousandth that is usual.
const TOO_MANY_AT_TOP: f64 = 0.25;

/// Observations of an importance before it is judged.
const LEAST_SEEN: usize = 3;

/// Consolidations that say by how much they changed the importance, before "never" is said.
const LEAST_CONSOLIDATIONS: usize = 2;

/// A change of the importance that is none. An online sum of Fishers still changes by 1/100 at task 100.
const UNMOVED: f64 = 1e-3;

/// Observations of both gradient norms before λ is judged: the norms of minibatches are noisy.
const LEAST_NORMS: usize = 5;

/// The ratio of gradient norms, penalty to task, below which the penalty is carried along: at the optimum of
/// their sum the two gradients would be equal and opposite.
const WEAK: f64 = 0.1;

/// And from which it decides: half as strong as the task in the noise of minibatches, and always the same way.
const STRONG: f64 = 0.5;

/// New tasks that gain less than this share of what the first one gained, without a penalty, are not learned.
const HALF_LEARNED: f64 = 0.5;

/// What the first task must have gained to be a measure for the others.
const LEARNED: f64 = 0.1;

/// The importance that was seen, and how many times.
fn seen(trace: &Trace) -> Vec<(u64, Importance)> {
    let with = |o: &super::Observation| o.importance.filter(|i| i.count > 0).map(|i| (o.step, i));
    trace.observations.iter().filter_map(with).collect()
}

/// Nothing is protected.
pub(super) fn near_zero(trace: &Trace) -> Option<Finding> {
    let seen = seen(trace);
    let (share, n) = median(seen.iter().map(|(_, i)| i.near_zero), LEAST_SEEN)?;
    let (step, last) = seen.last().filter(|_| share >= NEARLY_ALL)?;
    Some(Finding {
        kind: Kind::FisherNearZero,
        severity: Severity::Fault,
        what: "The importance of nearly all parameters is 0, so the penalty holds next to nothing, whatever λ is."
            .into(),
        evidence: format!(
            "{} of {} parameters are below {NEAR_ZERO:.0e} (median of {n} observations); at step {step} the largest \
             is {}, the mean {}.",
            percent(share),
            last.count,
            short(last.max),
            short(last.mean)
        ),
        remedy: "Estimate on more samples, and per sample, not from the mean gradient of a minibatch; take the \
                 expectation over classes (exact) instead of the labels, which a network that knows its training \
                 data by heart gives no gradient for; estimate before the loss is 0; lower the threshold below \
                 which values are cut."
            .into(),
    })
}

/// All that matters matters the same.
pub(super) fn saturated(trace: &Trace) -> Option<Finding> {
    let seen = seen(trace);
    let share =
        |i: &Importance| if i.near_zero < NEARLY_ALL { i.saturated / (1.0 - i.near_zero) } else { 0.0 };
    let (at_top, n) = median(seen.iter().map(|(_, i)| share(i)), LEAST_SEEN)?;
    let (step, last) = seen.last().filter(|_| at_top >= TOO_MANY_AT_TOP)?;
    Some(Finding {
        kind: Kind::FisherSaturated,
        severity: Severity::Warning,
        what: "A large part of the importance is the largest there is: it does not tell what may move from what \
               must not."
            .into(),
        evidence: format!(
            "{} of the parameters that matter at all are within {} of the largest (median of {n} observations); at \
             step {step} that is {}, the mean {}.",
            percent(at_top),
            percent(1.0 - SATURATED_FROM),
            short(last.max),
            short(last.mean)
        ),
        remedy: "Raise or remove the ceiling that clips the importance, and lower λ by as much; where it adds up \
                 over tasks, let it decay (γ = 0.9) or divide by the number of tasks."
            .into(),
    })
}

/// Consolidations that leave everything as it was.
pub(super) fn not_moving(trace: &Trace) -> Option<Finding> {
    let changes: Vec<(u64, f64)> = seen(trace)
        .into_iter()
        .filter_map(|(step, i)| i.change.filter(|c| c.is_finite()).map(|c| (step, c)))
        .collect();
    let largest = changes.iter().map(|(_, change)| *change).fold(0.0, f64::max);
    let (first, last) = (changes.first()?.0, changes.last()?.0);
    (changes.len() >= LEAST_CONSOLIDATIONS && largest < UNMOVED).then(|| Finding {
        kind: Kind::ImportanceNotMoving,
        severity: Severity::Fault,
        what: "The importance of the parameters does not change any more: what later tasks need is not protected."
            .into(),
        evidence: format!(
            "the largest relative change of {} consolidations, from step {first} to step {last}, is {}.",
            changes.len(),
            short(largest)
        ),
        remedy: "See that the importance is estimated again at the end of every task, on that task's samples; \
                 where it is a running mean, lower its decay (0.9 for 0.999)."
            .into(),
    })
}

/// The ratio of gradient norms, penalty to task, after the first task: its median, over how many observations.
fn ratio(trace: &Trace) -> Option<(f64, usize)> {
    let later = settled(trace).into_iter().filter(|(task, _)| *task > 0).flat_map(|(_, o)| o);
    median(later.filter_map(|o| Some(o.penalty_gradient_norm? / o.gradient_norm?)), LEAST_NORMS)
}

/// Forgetting, beside a penalty that is hardly felt.
pub(super) fn lambda_too_small(trace: &Trace) -> Option<Finding> {
    let lost = forgetting(trace).filter(|lost| lost.mean >= FORGOTTEN)?;
    let (ratio, n) = ratio(trace).filter(|(ratio, _)| *ratio < WEAK)?;
    let remedy = if ratio > 0.0 {
        // To the next power of ten that lifts it over the threshold: λ is found by powers of ten.
        let factor = 10f64.powf((WEAK / ratio).log10().ceil().clamp(1.0, 6.0));
        format!(
            "Multiply λ by {}, until the ratio is between {WEAK} and 1.",
            times(factor, trace.lambda, factor)
        )
    } else {
        "The penalty has no gradient at all: see that it is added to the loss, that the importance is consolidated \
         after each task, and that λ is not 0."
            .into()
    };
    Some(Finding {
        kind: Kind::LambdaTooSmall,
        severity: if ratio > 0.0 { Severity::Warning } else { Severity::Fault },
        what: "The penalty is there, and too weak to hold the old tasks.".into(),
        evidence: format!(
            "its gradient is {} of the task's (median of {n} observations after task 1); {lost}.",
            short(ratio)
        ),
        remedy,
    })
}

/// New tasks are not learned, beside a penalty that is felt.
pub(super) fn lambda_too_large(trace: &Trace) -> Option<Finding> {
    let gains = gains(trace)?;
    let (ratio, n) = ratio(trace).filter(|(ratio, _)| *ratio >= STRONG)?;
    (gains.first >= LEARNED && gains.later < HALF_LEARNED * gains.first).then(|| {
        let factor = 10f64.powf((ratio / STRONG).log10().ceil().clamp(1.0, 6.0));
        Finding {
            kind: Kind::LambdaTooLarge,
            severity: Severity::Warning,
            what: "The penalty is so strong that new tasks are not learned.".into(),
            evidence: format!(
                "its gradient is {} times the task's (median of {n} observations after task 1); the first task gained \
                 {} points of accuracy over the untrained network, those after it {} on average.",
                short(ratio),
                short(100.0 * gains.first),
                short(100.0 * gains.later)
            ),
            remedy: format!(
                "Divide λ by {}, until new tasks are learned; if the loss jumps, lower the learning rate too.",
                times(factor, trace.lambda, 1.0 / factor)
            ),
        }
    })
}

/// "10 (λ = 1000 for 100)".
fn times(factor: f64, lambda: Option<f64>, scale: f64) -> String {
    match lambda.filter(|lambda| lambda.is_finite() && *lambda > 0.0) {
        Some(lambda) => format!("{factor} (λ = {} for {})", short(lambda * scale), short(lambda)),
        None => factor.to_string(),
    }
}
