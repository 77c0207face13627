//! What is wrong with a memory of samples.

use std::collections::{BTreeMap, BTreeSet};

use super::learning::forgetting;
use super::statistics::{evenness, median, nth, percent, settled};
use super::trace::total;
use super::{FORGOTTEN, Finding, Kind, Memory, Observation, Severity, Trace};

/// Observations of a memory in one task before it is judged: one may fall on a moment of change.
const LEAST_SEEN: usize = 3;

/// Half-way between one class and all evenly. A reservoir that has seen a new task for half its length is
/// above 0.9; one that holds two of ten classes is at 0.11.
const UNEVEN: f64 = 0.5;

/// Samples a class, were they even, before the balance is judged: of fewer, chance alone leaves classes out.
const LEAST_PER_CLASS: u64 = 4;

/// Samples before their shares are judged: 18 or more of 20 fall on one of two classes by chance in 4 of 10 000.
pub(super) const LEAST_SAMPLES: u64 = 20;

/// A loss in nats below which a sample teaches nothing: the probability of its label is over 0.99, its
/// gradient at the output below 0.01.
const EASY: f64 = 0.01;

/// The share of easy samples from which a replayed batch of ten holds one that teaches something, or none.
const MOSTLY_EASY: f64 = 0.9;

/// Draws of a task to be expected from its share before their lack is judged: that none comes has a chance of
/// e⁻²⁰ where all samples are drawn alike.
const LEAST_DRAWS: f64 = 20.0;

/// Of these, the share below which a task is as good as never drawn. Priorities may well make it a tenth.
const NEVER: f64 = 0.01;

/// Bytes or samples beyond what is allowed.
pub(super) fn over_budget(trace: &Trace) -> Option<Finding> {
    let over = |o: &Observation| {
        let memory = o.memory.as_ref()?;
        let bytes = (memory.bytes.unwrap_or(0), memory.budget, "bytes");
        let samples = (memory.len(), memory.capacity, "samples");
        let (used, allowed, unit) = [bytes, samples]
            .into_iter()
            .find(|(used, allowed, _)| allowed.is_some_and(|most| *used > most))?;
        Some((o.step, used as f64, allowed? as f64, unit))
    };
    let cases: Vec<_> = trace.observations.iter().filter_map(over).collect();
    let first = cases.first()?.0;
    let (step, used, allowed, unit) = cases.iter().max_by(|a, b| (a.1 / a.2).total_cmp(&(b.1 / b.2)))?;
    Some(Finding {
        kind: Kind::MemoryOverBudget,
        severity: Severity::Fault,
        what: "The memory takes more than it may.".into(),
        evidence: format!(
            "{used:.0} {unit} of {allowed:.0} allowed at step {step}; over in {} observations, first at step {first}.",
            cases.len()
        ),
        remedy: format!(
            "Keep at most {} of what is kept now: fewer samples, or smaller ones (u8 or f16 for f32); or raise \
             the budget.",
            percent(allowed / used)
        ),
    })
}

/// Few classes, or few tasks, have nearly all of the memory.
pub(super) fn unbalanced(trace: &Trace) -> Option<Finding> {
    let mut known = BTreeSet::new();
    let mut worst: Option<(f64, usize, &Memory, usize, bool)> = None;
    for (task, observations) in settled(trace) {
        let memories: Vec<&Memory> = observations.iter().filter_map(|o| o.memory.as_ref()).collect();
        // Of the present task a memory need not hold anything yet.
        known.extend(trace.classes.iter().take(task).flatten().copied());
        let classes = |m: &Memory| known.len() + present(&m.by_class).filter(|c| !known.contains(c)).count();
        let tasks = |m: &Memory| task.saturating_add(present(&m.by_task).filter(|k| *k >= task).count());
        for of_tasks in [false, true] {
            let kinds = |m: &Memory| if of_tasks { tasks(m) } else { classes(m) };
            let even = memories.iter().filter_map(|m| {
                if of_tasks { balance(&m.by_task, tasks(m)) } else { balance(&m.by_class, classes(m)) }
            });
            // Of equals the latest: it lacks the most.
            if let (Some((even, _)), Some(last)) = (median(even, LEAST_SEEN), memories.last())
                && even < UNEVEN
                && worst.is_none_or(|(least, ..)| even <= least)
            {
                worst = Some((even, task, last, kinds(last), of_tasks));
            }
        }
        known.extend(memories.iter().flat_map(|m| present(&m.by_class)));
    }
    let (_, task, memory, count, of_tasks) = worst?;
    let (kinds, top) = if of_tasks {
        ("tasks", top(memory.by_task.iter().map(|(task, n)| (nth(*task), *n)), "task"))
    } else {
        ("classes", top(memory.by_class.iter().map(|(class, n)| (*class as usize, *n)), "class"))
    };
    Some(Finding {
        kind: Kind::MemoryUnbalanced,
        severity: Severity::Warning,
        what: format!("Few {kinds} fill the memory; of the others there is next to nothing to replay."),
        evidence: format!(
            "in task {}, {top} of {} samples, with {count} {kinds} seen.",
            nth(task),
            memory.len()
        ),
        remedy: format!(
            "Keep at least {} samples of each of the {count} {kinds}: a memory balanced by {kinds}, or a reservoir \
             instead of the newest samples.",
            (memory.len() / (count as u64).max(1)).max(1)
        ),
    })
}

/// What there is at least one sample of.
fn present<K: Copy>(counts: &BTreeMap<K, u64>) -> impl Iterator<Item = K> {
    counts.iter().filter(|(_, n)| **n > 0).map(|(key, _)| *key)
}

/// How evenly a memory is filled; `None` where it is too small to tell.
fn balance<K>(counts: &BTreeMap<K, u64>, kinds: usize) -> Option<f64> {
    let enough = LEAST_SAMPLES.max(LEAST_PER_CLASS.saturating_mul(kinds as u64));
    (kinds > 1 && total(counts) >= enough).then(|| evenness(counts.values(), kinds))
}

/// "class 8 has 60 %, class 9 has 30 %".
fn top(counts: impl Iterator<Item = (usize, u64)>, name: &str) -> String {
    let mut counts: Vec<_> = counts.collect();
    let sum: f64 = counts.iter().map(|(_, n)| *n as f64).sum();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let shares =
        counts.iter().take(2).map(|(key, n)| format!("{name} {key} has {}", percent(*n as f64 / sum)));
    shares.collect::<Vec<_>>().join(" and ")
}

/// The memory is known by heart, the tasks it stands for are not. The one without the other is no fault, so
/// accuracies are needed.
pub(super) fn too_easy(trace: &Trace) -> Option<Finding> {
    let lost = forgetting(trace).filter(|lost| lost.mean >= FORGOTTEN)?;
    let share = |o: &&Observation| {
        let losses = &o.memory.as_ref()?.losses;
        let easy = losses.iter().filter(|loss| **loss < EASY).count();
        (losses.len() as u64 >= LEAST_SAMPLES).then(|| easy as f64 / losses.len() as f64)
    };
    let later = settled(trace).into_iter().filter(|(task, _)| *task > 0);
    let (task, easy, n) = later
        .filter_map(|(task, o)| median(o.iter().filter_map(share), LEAST_SEEN).map(|(m, n)| (task, m, n)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .filter(|(_, easy, _)| *easy >= MOSTLY_EASY)?;
    Some(Finding {
        kind: Kind::MemoryTooEasy,
        severity: Severity::Warning,
        what:
            "Nearly all stored samples are known by heart, so replaying them changes nothing; the tasks they \
               stand for are forgotten all the same."
                .into(),
        evidence: format!(
            "{} of the stored samples have a loss below {EASY} nats (median of {n} observations in task {}); {lost}.",
            percent(easy),
            nth(task)
        ),
        remedy:
            "Store harder samples (by loss, by gradient, GSS), or several times as many; draw by loss; or \
                 replay the outputs of old networks too (DER)."
                .into(),
    })
}

/// What is stored of an old task is not drawn.
pub(super) fn never_drawn(trace: &Trace) -> Option<Finding> {
    let mut tasks = BTreeMap::<usize, (f64, f64, usize)>::new();
    let (mut stored, mut draws) = (0, 0u64);
    for o in &trace.observations {
        let Some(memory) = o.memory.as_ref().filter(|m| !m.is_empty()) else { continue };
        let Some(drawn) = &memory.drawn else { continue };
        stored += usize::from(o.task > 0);
        draws = draws.saturating_add(total(drawn));
        let (held, drawn_now) = (total(&memory.by_task) as f64, total(drawn) as f64);
        for (&task, &n) in memory.by_task.iter().filter(|(task, n)| **task < o.task && **n > 0) {
            let (share, new) = (drawn_now * n as f64 / held, drawn.get(&task).copied().unwrap_or(0) as f64);
            let since = tasks.entry(task).or_default();
            // From the last time on that it was drawn: what was drawn long ago is forgotten as well.
            if new > 0.0 && new >= NEVER * share {
                *since = (0.0, 0.0, 0);
                continue;
            }
            *since = (since.0 + share, since.1 + new, since.2 + 1);
        }
    }
    let remedy = "Draw from the whole memory, uniformly or as many of each task; if priorities decide, mix in a \
                  share of uniform draws (a tenth) or raise the smallest priority.";
    let finding = |what: &str, evidence: String| {
        let (what, remedy) = (what.into(), remedy.into());
        Some(Finding { kind: Kind::OldDataNeverDrawn, severity: Severity::Fault, what, evidence, remedy })
    };
    if draws == 0 && stored >= LEAST_SEEN {
        let what = "Samples are stored, and none is ever drawn: the memory has no effect.";
        return finding(what, format!("0 draws in {stored} observations of a filled memory since task 2."));
    }
    let never: Vec<_> = tasks
        .iter()
        .filter(|(_, (expected, got, seen))| {
            *seen >= LEAST_SEEN && *expected >= LEAST_DRAWS && *got < NEVER * expected
        })
        .collect();
    let (task, (expected, got, seen)) = never.first()?;
    let what = format!("{} old tasks are stored and as good as never drawn.", never.len());
    let what = if never.len() == 1 { "An old task is stored and as good as never drawn." } else { &what };
    let evidence = format!(
        "of task {} {got:.0} samples were drawn in the last {seen} observations, where its share of the memory would give \
         {expected:.0}.",
        nth(**task)
    );
    finding(what, evidence)
}
