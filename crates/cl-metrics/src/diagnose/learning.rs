//! What is wrong with the learning itself: losses, gradients, curves, accuracies.

use std::fmt;

use super::statistics::{by_task, mean, median, nth, percent, settled, short};
use super::{Curve, FORGOTTEN, Finding, Kind, Measure, Observation, Severity, Trace};

/// Cosines in one task before they are judged: those of minibatches are noisy.
const LEAST_COSINES: usize = 10;

/// A median cosine that is a conflict: a step along the one gradient undoes a fifth of as long a step along the
/// other. Of unrelated gradients of many parameters it is near 0.
const AGAINST: f64 = -0.2;

/// The share of negative cosines that makes it lasting. Of 10 cosines without a direction 8 or more are negative
/// by chance in 5 of 100 runs; their median is then not at −0.2 as well.
const LASTING: f64 = 0.75;

/// Points of a curve before it is judged: two for each quarter.
const LEAST_POINTS: usize = 8;

/// What a curve must gain to be read, in accuracy or as a share of its first loss: less is in the noise.
const GAINED: f64 = 0.2;

/// The share of the gain between the medians of the last two quarters, of a curve that has not levelled off. A
/// straight line gives 0.29; an exponential that has come within 1 % of its end gives 0.04.
const STILL_RISING: f64 = 0.15;

/// What that must be at least, in accuracy: 250 test samples have a standard error of half as much.
const RISE: f64 = 0.05;

/// How far above chance an accuracy must be to be no chance.
const ABOVE_CHANCE: f64 = 0.05;

/// A loss of so many times the first one is none of a step too short: a network that knows nothing has the first.
const RISEN: f64 = 10.0;

/// Observations that a trace must have for "nothing was seen" to mean something.
const LEAST_SEEN: usize = 5;

/// The loss, or the penalty, is no number.
pub(super) fn loss_not_finite(trace: &Trace) -> Option<Finding> {
    let bad: Vec<&Observation> = trace.observations.iter().filter(|o| !finite(o)).collect();
    let first = bad.first()?;
    let before = trace.observations.iter().take_while(|o| finite(o)).filter_map(|o| o.loss).last();
    let culprit = if first.loss.is_some_and(f64::is_finite) { "penalty" } else { "loss" };
    let norms = first.penalty_gradient_norm.is_some() || first.penalty.is_some();
    let lambda =
        if norms { ", and λ with it: their product decides whether the penalty diverges" } else { "" };
    Some(Finding {
        kind: Kind::LossNotFinite,
        severity: Severity::Fault,
        what: format!("The {culprit} is not a finite number; what comes after it means nothing."),
        evidence: format!(
            "first at step {} of task {}, in {} of {} observations; the loss before was {}.",
            first.step,
            nth(first.task),
            bad.len(),
            trace.observations.len(),
            before.map_or("not seen".into(), short)
        ),
        remedy: format!(
            "Lower the learning rate (a tenth){lambda}; clip gradients; look for NaN in the inputs."
        ),
    })
}

fn finite(o: &Observation) -> bool {
    [o.loss, o.penalty].iter().flatten().all(|x| x.is_finite())
}

/// Whether the last loss seen is a number.
pub(super) fn recovered(trace: &Trace) -> bool {
    trace.observations.iter().rev().find(|o| o.loss.is_some() || o.penalty.is_some()).is_none_or(finite)
}

/// The gradients of the present and of the past point apart, for long.
pub(super) fn conflict(trace: &Trace) -> Option<Finding> {
    // Where both losses share one optimum nearly reached, their gradients are opposed and small: no fault.
    let lost = forgetting(trace);
    if lost.as_ref().is_some_and(|lost| lost.mean < FORGOTTEN) {
        return None;
    }
    let opposed = |(task, observations): (usize, Vec<&Observation>)| {
        // Near the optimum of new and replayed samples together their two gradients are equal and opposite: a
        // negative cosine is then what replay is for, and says nothing.
        let alone = observations.iter().filter(|o| !replays(o));
        let cosines: Vec<f64> = alone.filter_map(|o| o.cosine).filter(|c| c.is_finite()).collect();
        let negative = cosines.iter().filter(|c| **c < 0.0).count() as f64 / cosines.len() as f64;
        let (median, n) = median(cosines, LEAST_COSINES)?;
        (median <= AGAINST && negative >= LASTING).then_some((task, median, negative, n))
    };
    let later = by_task(trace).into_iter().filter(|(task, _)| *task > 0);
    let tasks: Vec<_> = later.filter_map(opposed).collect();
    let (task, median, negative, n) = tasks.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let harm = lost.as_ref().map_or(String::new(), |lost| format!("; {lost}"));
    Some(Finding {
        kind: Kind::GradientConflict,
        severity: if lost.is_some() { Severity::Warning } else { Severity::Hint },
        what: "What the current task asks of the parameters is against what past tasks ask: learning the one undoes \
               the other."
            .into(),
        evidence: format!(
            "in task {} the cosine of the two gradients is {} (median of {n} observations), negative in {} of them; so \
             in {} {}{harm}.",
            nth(*task),
            short(*median),
            percent(*negative),
            tasks.len(),
            if tasks.len() == 1 { "task" } else { "tasks" }
        ),
        remedy: "Project the gradient (A-GEM, GEM), replay more of the past with each batch (as many samples as are \
                 new), or give tasks outputs of their own."
            .into(),
    })
}

/// Whether samples of a memory were trained on; where draws are not counted, all that is stored is taken to be.
fn replays(o: &Observation) -> bool {
    let drawn = |m: &super::Memory| m.drawn.as_ref().is_none_or(|drawn| drawn.values().any(|n| *n > 0));
    o.memory.as_ref().is_some_and(|m| !m.is_empty() && drawn(m))
}

/// A task ends while it is still being learned, or never begins to be.
pub(super) fn too_slow(trace: &Trace) -> Option<Finding> {
    let read: Vec<(usize, Pace)> =
        trace.curves.iter().filter_map(|c| Some((c.task, pace(c, &trace.classes)?))).collect();
    let slow: Vec<_> = read.iter().filter(|(_, pace)| pace.slow).collect();
    // One task of several may be a hard one.
    if slow.is_empty() || (slow.len() == 1 && read.len() > 1) {
        return None;
    }
    let (task, pace) = slow.iter().max_by(|a, b| a.1.rest.total_cmp(&b.1.rest))?;
    let course = if pace.gain < GAINED {
        format!("it ends at an accuracy of {}, which is chance", percent(pace.end))
    } else {
        format!("{} of what it gains in {} steps come in the last quarter", percent(pace.rest), pace.steps)
    };
    let slower = "Lower the learning rate (a tenth), and clip gradients: larger steps do not learn faster.";
    let faster = format!(
        "Raise the learning rate (three times, then ten), or train {} steps a task; let fewer parameters be \
         frozen or penalised.",
        pace.steps.saturating_mul(2)
    );
    let (course, remedy) = match risen(trace, *task) {
        Some(loss) => (format!("{course}, with a loss of {}", short(loss)), slower.into()),
        None => (course, faster),
    };
    Some(Finding {
        kind: Kind::AdaptationTooSlow,
        severity: Severity::Warning,
        what: "Tasks end before they are learned.".into(),
        evidence: format!(
            "{} of {} learning curves; in task {}, {course}.",
            slow.len(),
            read.len(),
            nth(*task)
        ),
        remedy,
    })
}

/// The loss of the later half of a task, where it is far above that of the untrained network: steps were too large.
fn risen(trace: &Trace, task: usize) -> Option<f64> {
    let first = trace.observations.iter().find_map(|o| o.loss)?;
    let later = settled(trace).remove(&task)?;
    let (loss, _) = median(later.iter().filter_map(|o| o.loss), LEAST_SEEN)?;
    (loss > RISEN * first).then_some(loss)
}

/// What a learning curve says.
struct Pace {
    slow: bool,
    /// Accuracy, or share of the first loss, between the beginning and the last quarter.
    gain: f64,
    /// The share of it that comes after the third quarter.
    rest: f64,
    /// The level of the last quarter.
    end: f64,
    steps: u64,
}

fn pace(curve: &Curve, classes: &[Vec<u32>]) -> Option<Pace> {
    let points: Vec<(u64, f64)> =
        curve.points.iter().copied().filter(|(_, value)| value.is_finite()).collect();
    let (start, steps) = (points.first()?.1, points.iter().map(|(step, _)| *step).max()?);
    let level = |value: f64| match curve.measure {
        Measure::Accuracy => value,
        Measure::Loss => 1.0 - value / start,
    };
    // The medians of the third and of the last quarter: one bad evaluation moves neither far.
    let quarter = |from: f64, to: f64| {
        let within = |step: u64| (from..=to).contains(&(step as f64 / steps as f64));
        let values = points.iter().filter(|(step, _)| within(*step)).map(|(_, value)| level(*value));
        median(values, 2).map(|(level, _)| level)
    };
    let (third, end) = (quarter(0.5, 0.749)?, quarter(0.75, 1.0)?);
    let gain = end - level(start);
    let rest = if gain >= GAINED && end - third >= RISE { (end - third) / gain } else { 0.0 };
    let chance = classes.get(curve.task).filter(|c| c.len() > 1).map(|c| 1.0 / c.len() as f64);
    let never = curve.measure == Measure::Accuracy
        && gain < GAINED
        && chance.is_some_and(|chance| end < chance + ABOVE_CHANCE);
    (points.len() >= LEAST_POINTS).then_some(Pace {
        slow: rest >= STILL_RISING || never,
        gain,
        rest,
        end,
        steps,
    })
}

/// What was lost of the old tasks at the end.
pub(super) struct Lost {
    /// Mean accuracy lost, since the best after it was learned.
    pub(super) mean: f64,
    worst: usize,
    best: f64,
    now: f64,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "old tasks lost {} points of accuracy on average, most of all task {}, from {} to {}",
            short(100.0 * self.mean),
            nth(self.worst),
            percent(self.best),
            percent(self.now)
        )
    }
}

/// What the last row of accuracies has lost. `None` before a second task has ended.
pub(super) fn forgetting(trace: &Trace) -> Option<Lost> {
    let last = trace.rows.len().checked_sub(1)?;
    let tasks: Vec<(usize, f64, f64)> = (0..last)
        .filter_map(|task| {
            let best = (task..=last).filter_map(|row| accuracy(trace, row, task)).reduce(f64::max)?;
            Some((task, best, accuracy(trace, last, task)?))
        })
        .collect();
    let lost: Vec<f64> = tasks.iter().map(|(_, best, now)| best - now).collect();
    // Of equals the oldest.
    let (worst, best, now) = tasks.into_iter().rev().max_by(|a, b| (a.1 - a.2).total_cmp(&(b.1 - b.2)))?;
    Some(Lost { mean: mean(&lost)?, worst, best, now })
}

/// Accuracy over that of the untrained network, after the task's own training: of the first task, and the mean of
/// those after it.
pub(super) struct Gains {
    pub(super) first: f64,
    pub(super) later: f64,
}

pub(super) fn gains(trace: &Trace) -> Option<Gains> {
    let gain = |task: usize| {
        let before = trace.baseline.get(task).filter(|b| (0.0..=1.0).contains(*b))?;
        Some(accuracy(trace, task, task)? - before)
    };
    let later: Vec<f64> = (1..trace.rows.len()).filter_map(gain).collect();
    Some(Gains { first: gain(0)?, later: mean(&later)? })
}

/// R\[row, task\] from 0, where it is one.
fn accuracy(trace: &Trace, row: usize, task: usize) -> Option<f64> {
    trace.rows.get(row)?.get(task).copied().filter(|a| (0.0..=1.0).contains(a))
}

/// Whether a memory, a penalty or an importance was seen.
fn protected(o: &Observation) -> bool {
    o.memory.as_ref().is_some_and(|m| !m.is_empty())
        || o.importance.is_some()
        || [o.penalty, o.penalty_gradient_norm].iter().flatten().any(|x| *x > 0.0)
}

/// Forgetting, and nothing that could hold it.
pub(super) fn unprotected(trace: &Trace) -> Option<Finding> {
    let lost = forgetting(trace).filter(|lost| lost.mean >= FORGOTTEN)?;
    let n = trace.observations.len();
    // A penalty that was looked at and has no gradient is another finding.
    let looked_at = trace.observations.iter().any(|o| o.penalty_gradient_norm.is_some());
    (n >= LEAST_SEEN && !trace.protects && !looked_at && !trace.observations.iter().any(protected)).then(
        || {
            Finding {
        kind: Kind::ForgettingUnprotected,
        severity: Severity::Fault,
        what: "Old tasks are forgotten, and nothing was seen that works against it.".into(),
        evidence: format!("{lost}; neither a memory nor a penalty in {n} observations."),
        remedy:
            "Replay samples of old tasks (a reservoir of 200 is a beginning), or penalise the change of what \
                 mattered (EWC, SI) where the task is given at test time."
                .into(),
    }
        },
    )
}

/// Forgetting that no other finding explains.
pub(super) fn in_spite_of_protection(trace: &Trace) -> Option<Finding> {
    let lost = forgetting(trace).filter(|lost| lost.mean >= FORGOTTEN)?;
    let n = trace.observations.iter().filter(|o| trace.protects || protected(o)).count();
    let memory = trace.observations.iter().any(|o| o.memory.as_ref().is_some_and(|m| !m.is_empty()));
    (n >= LEAST_SEEN).then(|| Finding {
        kind: Kind::ForgettingInSpiteOfProtection,
        severity: Severity::Hint,
        what: "Old tasks are forgotten although something works against it, and nothing seen says why.".into(),
        evidence: format!("{lost}; protection was seen in {n} observations."),
        remedy: if memory {
            "Store more samples (five times), replay as many as are new with each batch, or replay outputs too (DER)."
        } else {
            "A penalty alone does not tell classes apart that were never seen together: where the task is not given \
             at test time, add replay. Where it is, raise λ by powers of ten while new tasks are still learned."
        }
        .into(),
    })
}
