//! A healthy run gives no finding; one broken on purpose gives that finding and no other.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use cl_metrics::diagnose::{
    Curve, Finding, Importance, Kind, Measure, Memory, Observation, Priorities, Severity, Trace, cosine,
    counts, diagnose, norm,
};
use proptest::prelude::*;
use rand::Rng as _;
use rand::seq::IndexedRandom as _;

const TASKS: usize = 5;
const PER_TASK: usize = 20;

/// Five tasks of two classes with a reservoir, priorities and a penalty, each as it should be, with the noise of
/// minibatches.
fn healthy() -> Trace {
    let mut rng = cl_core::rng(0, "trace");
    let mut trace = Trace {
        classes: (0..TASKS as u32).map(|k| vec![2 * k, 2 * k + 1]).collect(),
        lambda: Some(1000.0),
        baseline: vec![0.1; TASKS],
        // Each task loses 0.01 with every one after it.
        rows: (0..TASKS)
            .map(|t| (0..TASKS).map(|j| if j > t { 0.05 } else { 0.98 - 0.01 * (t - j) as f64 }).collect())
            .collect(),
        ..Trace::default()
    };
    for (task, point) in (0..TASKS).flat_map(|task| (0..PER_TASK).map(move |point| (task, point))) {
        let mut noise = |width: f64| rng.random_range(-width..width);
        let progress = point as f64 / PER_TASK as f64;
        let later = task > 0;
        // A reservoir of 200: each task has its part of what has come so far.
        let come = task as f64 + progress;
        let by_task: BTreeMap<usize, u64> = (0..=task)
            .map(|k| (k, (200.0 * if k < task { 1.0 } else { progress } / come.max(0.05)) as u64))
            .filter(|(_, n)| *n > 0)
            .collect();
        let losses = (0..50).map(|_| 10f64.powf(-1.0 + noise(2.5))).collect();
        trace.observations.push(Observation {
            step: (100 * (PER_TASK * task + point)) as u64,
            task,
            loss: Some(0.1 + 2.0 * (-10.0 * progress).exp() + noise(0.05)),
            penalty: Some(if later { 0.05 * progress + noise(0.001).abs() } else { 0.0 }),
            gradient_norm: Some(1.0 + noise(0.5)),
            penalty_gradient_norm: later.then(|| 0.4 * progress + noise(0.1).abs()),
            cosine: later.then(|| 0.05 + noise(0.3)),
            memory: Some(Memory {
                by_class: by_task
                    .iter()
                    .flat_map(|(k, n)| [(2 * *k as u32, n / 2), (2 * *k as u32 + 1, n - n / 2)])
                    .collect(),
                drawn: Some(by_task.iter().map(|(k, n)| (*k, n * 5)).collect()),
                by_task,
                capacity: Some(200),
                bytes: Some(627_200),
                budget: Some(1 << 20),
                losses,
            }),
            priorities: Priorities::of(&(0..200).map(|_| 0.5 + noise(0.45)).collect::<Vec<_>>()),
            importance: later.then(|| Importance {
                count: 100_000,
                min: 0.0,
                max: 0.3 + noise(0.1),
                mean: 1e-4,
                total: 10.0 * task as f64,
                near_zero: 0.4 + noise(0.1),
                saturated: 1e-5,
                change: (point == 0 && task > 1).then_some(0.7),
                ..Importance::default()
            }),
        });
    }
    trace.curves = (0..TASKS)
        .map(|task| {
            let mut accuracy =
                |step: u64| 0.98 - 0.9 * (-(step as f64) / 300.0).exp() + rng.random_range(-0.01..0.01);
            Curve {
                task,
                measure: Measure::Accuracy,
                points: (0..=20).map(|p| (100 * p, accuracy(100 * p))).collect(),
            }
        })
        .collect();
    trace
}

fn kinds(trace: &Trace) -> Vec<Kind> {
    diagnose(trace).into_iter().map(|finding| finding.kind).collect()
}

/// Changes every observation from task 2 on.
fn later(trace: &mut Trace, change: impl FnMut(&mut Observation)) {
    trace.observations.iter_mut().filter(|o| o.task > 0).for_each(change);
}

fn memories(trace: &mut Trace, mut change: impl FnMut(&mut Memory)) {
    later(trace, |o| change(o.memory.as_mut().unwrap()));
}

fn importances(trace: &mut Trace, mut change: impl FnMut(&mut Importance)) {
    later(trace, |o| change(o.importance.as_mut().unwrap()));
}

/// Old tasks fall to 0.55, the newest is known.
fn forget(trace: &mut Trace) {
    for (t, row) in trace.rows.iter_mut().enumerate() {
        row[..t].fill(0.55);
    }
}

type Break = fn(&mut Trace);

/// Every kind, and the ways to it.
fn broken() -> Vec<(Kind, &'static str, Break)> {
    vec![
        (Kind::LossNotFinite, "the loss is NaN from task 3 on, and all is lost", |t| {
            forget(t);
            t.observations.iter_mut().filter(|o| o.task > 1).for_each(|o| o.loss = Some(f64::NAN));
        }),
        (Kind::LossNotFinite, "one penalty is infinite, the run goes on", |t| {
            t.observations[50].penalty = Some(f64::INFINITY);
        }),
        (Kind::MemoryOverBudget, "bytes", |t| memories(t, |m| m.bytes = Some(2 << 20))),
        (Kind::MemoryOverBudget, "samples", |t| memories(t, |m| m.capacity = Some(150))),
        (Kind::MemoryUnbalanced, "the newest samples only", |t| {
            later(t, |o| {
                let (memory, class) = (o.memory.as_mut().unwrap(), 2 * o.task as u32);
                memory.by_class = [(class, 100), (class + 1, 100)].into();
                memory.by_task = [(o.task, 200)].into();
                memory.drawn = None;
            });
        }),
        (Kind::MemoryUnbalanced, "one class of two, in every task", |t| {
            t.classes = vec![vec![0, 1]; TASKS];
            memories(t, |m| m.by_class = [(0, 190), (1, 10)].into());
            t.observations.iter_mut().filter(|o| o.task == 0).for_each(|o| o.memory = None);
        }),
        (Kind::MemoryUnbalanced, "one task of many, the classes are the same in all", |t| {
            t.classes = vec![vec![0, 1]; TASKS];
            later(t, |o| {
                let memory = o.memory.as_mut().unwrap();
                memory.by_class = [(0, 100), (1, 100)].into();
                memory.by_task = [(o.task, 190), (0, 10)].into();
                memory.drawn = None;
            });
        }),
        (Kind::MemoryTooEasy, "known by heart", |t| {
            forget(t);
            memories(t, |m| m.losses.iter_mut().skip(2).for_each(|loss| *loss = 1e-4));
        }),
        (Kind::OldDataNeverDrawn, "task 1", |t| {
            memories(t, |m| m.drawn.iter_mut().for_each(|drawn| drawn.extend([(0, 0)])));
        }),
        (Kind::OldDataNeverDrawn, "anything", |t| {
            t.observations.iter_mut().for_each(|o| o.memory.as_mut().unwrap().drawn = Some(BTreeMap::new()));
        }),
        (Kind::PrioritiesDegenerate, "all equal", |t| {
            later(t, |o| o.priorities = Priorities::of(&[0.7; 200]));
        }),
        (Kind::PrioritiesDegenerate, "all 0", |t| later(t, |o| o.priorities = Priorities::of(&[0.0; 200]))),
        (Kind::PrioritiesDegenerate, "one has everything", |t| {
            let mut priorities = vec![1e-4; 200];
            priorities[7] = 1.0;
            later(t, |o| o.priorities = Priorities::of(&priorities));
        }),
        (Kind::PrioritiesDegenerate, "NaN", |t| {
            let mut priorities: Vec<f64> = (1..200).map(f64::from).collect();
            priorities[7] = f64::NAN;
            later(t, |o| o.priorities = Priorities::of(&priorities));
        }),
        (Kind::GradientConflict, "and forgetting", |t| {
            forget(t);
            later(t, |o| (o.cosine, o.memory) = (o.cosine.map(|c| c - 0.5), None));
        }),
        (Kind::GradientConflict, "accuracies unknown", |t| {
            t.rows.clear();
            later(t, |o| (o.cosine, o.memory) = (o.cosine.map(|c| c - 0.5), None));
        }),
        (Kind::FisherNearZero, "nearly all 0; the penalty has no effect then", |t| {
            forget(t);
            importances(t, |i| (i.near_zero, i.max, i.mean) = (0.999, 1e-9, 1e-14));
            later(t, |o| o.penalty_gradient_norm = Some(1e-9));
        }),
        (Kind::FisherSaturated, "clipped at 1e-3", |t| {
            importances(t, |i| (i.max, i.mean, i.saturated) = (1e-3, 4e-4, 0.4));
        }),
        (Kind::ImportanceNotMoving, "the same after every task", |t| {
            importances(t, |i| i.change = i.change.map(|_| 0.0));
        }),
        (Kind::LambdaTooSmall, "hardly a gradient", |t| {
            forget(t);
            later(t, |o| o.penalty_gradient_norm = o.penalty_gradient_norm.map(|g| g / 100.0));
        }),
        (Kind::LambdaTooSmall, "no gradient at all", |t| {
            forget(t);
            later(t, |o| o.penalty_gradient_norm = Some(0.0));
        }),
        (Kind::LambdaTooLarge, "new tasks are not learned", |t| {
            later(t, |o| o.penalty_gradient_norm = o.penalty_gradient_norm.map(|g| g * 10.0));
            for (i, row) in t.rows.iter_mut().enumerate() {
                row[1..=i].fill(0.3);
            }
            // Seen, but a consequence.
            t.curves.iter_mut().skip(1).for_each(|c| c.points.iter_mut().for_each(|p| p.1 = 0.3));
        }),
        (Kind::AdaptationTooSlow, "accuracies rise to the end", |t| {
            for curve in &mut t.curves {
                curve.points.iter_mut().for_each(|p| p.1 = 0.1 + 0.4 * p.0 as f64 / 2000.0);
            }
        }),
        (Kind::AdaptationTooSlow, "losses fall to the end", |t| {
            for curve in &mut t.curves {
                curve.measure = Measure::Loss;
                curve.points.iter_mut().for_each(|p| p.1 = 2.3 - 1.5 * p.0 as f64 / 2000.0);
            }
        }),
        (Kind::AdaptationTooSlow, "accuracy stays at chance", |t| {
            t.curves
                .iter_mut()
                .skip(2)
                .for_each(|c| c.points.iter_mut().for_each(|p| p.1 = 0.5 + 0.01 * (p.0 % 3) as f64));
        }),
        (Kind::ForgettingUnprotected, "no method", |t| {
            forget(t);
            for o in &mut t.observations {
                *o = Observation {
                    step: o.step,
                    task: o.task,
                    loss: o.loss,
                    gradient_norm: o.gradient_norm,
                    ..Observation::default()
                };
            }
        }),
        (Kind::ForgettingInSpiteOfProtection, "with a memory", forget),
        (Kind::ForgettingInSpiteOfProtection, "with a penalty alone", |t| {
            forget(t);
            t.observations.iter_mut().for_each(|o| (o.memory, o.priorities) = (None, None));
        }),
    ]
}

#[test]
fn a_healthy_run_gives_no_finding() {
    assert_eq!(diagnose(&healthy()), []);
    // With any part of it missing.
    let without: [Break; 9] = [
        |t| t.classes.clear(),
        |t| t.curves.clear(),
        |t| t.rows.clear(),
        |t| t.baseline.clear(),
        |t| t.lambda = None,
        |t| t.observations.clear(),
        |t| t.observations.iter_mut().for_each(|o| o.memory = None),
        |t| t.observations.iter_mut().for_each(|o| o.importance = None),
        |t| t.observations.iter_mut().for_each(|o| o.penalty_gradient_norm = None),
    ];
    for (i, without) in without.into_iter().enumerate() {
        let mut trace = healthy();
        without(&mut trace);
        assert_eq!(diagnose(&trace), [], "{i}");
    }
}

#[test]
fn an_empty_trace_gives_no_finding() {
    assert_eq!(diagnose(&Trace::default()), []);
    assert_eq!(diagnose(&Trace { observations: vec![Observation::default(); 100], ..Trace::default() }), []);
}

#[test]
fn each_fault_gives_its_finding_and_no_other() {
    for (kind, name, damage) in broken() {
        let mut trace = healthy();
        damage(&mut trace);
        assert_eq!(kinds(&trace), [kind], "{kind}: {name}");
    }
}

#[test]
fn the_text_of_all_findings() {
    let texts: Vec<String> = broken()
        .into_iter()
        .map(|(kind, name, damage)| {
            let mut trace = healthy();
            damage(&mut trace);
            let finding = &diagnose(&trace)[0];
            format!("[{kind}: {name}]\n{finding}\n")
        })
        .collect();
    insta::assert_snapshot!(texts.join("\n"));
}

/// One observation that is wrong in every way but those that are counted, not estimated.
#[test]
fn one_noisy_point_is_no_finding() {
    let mut bad = healthy().observations[75].clone();
    bad.cosine = Some(-1.0);
    bad.penalty_gradient_norm = Some(1e6);
    bad.gradient_norm = Some(0.0);
    bad.priorities = Priorities::of(&[f64::NAN; 200]);
    let memory = bad.memory.as_mut().unwrap();
    memory.by_class = [(9, 200)].into();
    memory.by_task = [(4, 200)].into();
    memory.losses.fill(0.0);
    memory.drawn = Some(BTreeMap::new());
    let importance = bad.importance.as_mut().unwrap();
    (importance.near_zero, importance.max, importance.saturated) = (1.0, 0.0, 0.0);
    for i in 20..100 {
        let mut trace = healthy();
        let o = &mut trace.observations[i];
        *o = Observation { step: o.step, task: o.task, ..bad.clone() };
        trace.curves[i / PER_TASK].points[i % PER_TASK].1 = 0.0;
        assert_eq!(diagnose(&trace), [], "observation {i}");
    }
}

#[test]
fn few_observations_are_no_finding() {
    for (kind, name, damage) in broken() {
        let mut trace = healthy();
        damage(&mut trace);
        trace.observations = vec![trace.observations[99].clone(), trace.observations[99].clone()];
        trace.curves.iter_mut().for_each(|c| c.points.truncate(7));
        let counted = [Kind::LossNotFinite, Kind::MemoryOverBudget].contains(&kind);
        assert!(counted || kinds(&trace).is_empty(), "{kind}: {name}: {:?}", kinds(&trace));
    }
}

/// A reservoir in the first half of a task, priorities that are still new, a penalty at its anchor.
#[test]
fn the_beginning_of_a_task_is_not_judged() {
    let mut trace = healthy();
    forget(&mut trace);
    for (i, o) in trace.observations.iter_mut().enumerate().skip(PER_TASK) {
        let first_half = i % PER_TASK < PER_TASK / 2;
        (o.gradient_norm, o.penalty_gradient_norm) = (Some(1.0), Some(if first_half { 0.0 } else { 0.15 }));
        if first_half {
            o.memory.as_mut().unwrap().by_class = [(0, 99), (1, 99), (2, 2)].into();
            o.priorities = Priorities::of(&[1.0; 200]);
        }
    }
    assert_eq!(kinds(&trace), [Kind::ForgettingInSpiteOfProtection]);
}

#[test]
fn gradients_that_differ_are_no_conflict() {
    let mut trace = healthy();
    forget(&mut trace);
    later(&mut trace, |o| o.cosine = Some(-0.1));
    assert_eq!(kinds(&trace), [Kind::ForgettingInSpiteOfProtection]);
}

#[test]
fn one_hard_task_of_several_is_not_slow_learning() {
    let mut trace = healthy();
    trace.curves[3].points.iter_mut().for_each(|p| p.1 = 0.1 + 0.4 * p.0 as f64 / 2000.0);
    assert_eq!(diagnose(&trace), []);
    trace.curves.drain(..3).for_each(drop);
    trace.curves.truncate(1);
    assert_eq!(kinds(&trace), [Kind::AdaptationTooSlow]);
}

/// A penalty that was looked at and does nothing is said to be just that.
#[test]
fn a_penalty_that_is_not_added_is_no_missing_penalty() {
    let mut trace = healthy();
    forget(&mut trace);
    later(&mut trace, |o| {
        *o = Observation {
            gradient_norm: Some(1.0),
            penalty_gradient_norm: Some(0.0),
            task: o.task,
            ..Observation::default()
        };
    });
    trace.observations.retain(|o| o.task > 0);
    assert_eq!(kinds(&trace), [Kind::LambdaTooSmall]);
    assert_eq!(diagnose(&trace)[0].severity, Severity::Fault);
}

#[test]
fn a_memory_known_by_heart_is_no_fault_where_nothing_is_forgotten() {
    let mut trace = healthy();
    memories(&mut trace, |m| m.losses.fill(1e-6));
    later(&mut trace, |o| o.cosine = Some(-0.6));
    assert_eq!(diagnose(&trace), []);
}

/// A memory that is filled when a task ends has nothing of the present one.
#[test]
fn a_memory_of_past_tasks_alone_is_balanced() {
    let mut trace = healthy();
    for o in &mut trace.observations {
        let classes: BTreeMap<u32, u64> = (0..2 * o.task as u32).map(|class| (class, 100)).collect();
        let memory = o.memory.as_mut().unwrap();
        memory.by_task = (0..o.task).map(|k| (k, 200)).collect();
        (memory.by_class, memory.capacity, memory.drawn) = (classes, None, None);
    }
    assert_eq!(diagnose(&trace), []);
}

#[test]
fn several_faults_are_all_said_the_worst_first() {
    let mut trace = healthy();
    memories(&mut trace, |m| m.bytes = Some(2 << 20));
    importances(&mut trace, |i| (i.max, i.mean, i.saturated) = (1e-3, 4e-4, 0.4));
    later(&mut trace, |o| o.priorities = Priorities::of(&[0.7; 200]));
    assert_eq!(kinds(&trace), [Kind::MemoryOverBudget, Kind::PrioritiesDegenerate, Kind::FisherSaturated]);
    let severities: Vec<Severity> = diagnose(&trace).iter().map(|f| f.severity).collect();
    assert!(severities.is_sorted_by(|a, b| a >= b));
}

#[test]
fn the_remedy_for_lambda_is_a_value() {
    let mut trace = healthy();
    forget(&mut trace);
    later(&mut trace, |o| (o.gradient_norm, o.penalty_gradient_norm) = (Some(1.0), Some(0.002)));
    let finding = diagnose(&trace).remove(0);
    // 0.002 times 100 is over 0.1.
    assert!(finding.remedy.contains("by 100 (λ = 100000 for 1000)"), "{}", finding.remedy);
    assert!(
        finding.evidence.contains("2.0e-3") && finding.evidence.contains("task 1, from 98 % to 55 %"),
        "{finding}"
    );
}

#[test]
fn a_trace_and_its_findings_are_data() {
    for (kind, name, damage) in broken() {
        let mut trace = healthy();
        damage(&mut trace);
        let text = serde_json::to_string(&trace).unwrap();
        let back: Trace = serde_json::from_str(&text).unwrap();
        let findings = diagnose(&back);
        assert_eq!(findings, diagnose(&trace), "{kind}: {name}");
        let text = serde_json::to_string(&findings).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Finding>>(&text).unwrap(), findings);
    }
    assert_eq!(serde_json::from_str::<Trace>("{}").unwrap(), Trace::default());
    let odd =
        Observation { loss: Some(f64::NAN), penalty: Some(f64::NEG_INFINITY), ..Observation::default() };
    let back: Observation = serde_json::from_str(&serde_json::to_string(&odd).unwrap()).unwrap();
    assert!(back.loss.unwrap().is_nan());
    assert_eq!((back.penalty, back.cosine), (odd.penalty, None));
}

#[test]
fn sketches_of_known_numbers() {
    let t = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
    let (a, b) = ([t(&[3.0, 0.0]), t(&[4.0])], [t(&[0.0, 5.0]), t(&[5.0])]);
    assert_eq!(norm(&a).unwrap(), 5.0);
    // 20 / (5·√50)
    assert!((cosine(&a, &b).unwrap().unwrap() - 20.0 / (5.0 * 50f64.sqrt())).abs() < 1e-12);
    assert_eq!(cosine(&a, &[t(&[0.0, 0.0]), t(&[0.0])]).unwrap(), None);
    assert!(cosine(&a, &a[..1]).unwrap_err().to_string().contains("2 tensors"));
    assert!(cosine(&a, &[t(&[1.0]), t(&[1.0])]).is_err());
    assert_eq!(counts([3, 1, 3]), BTreeMap::from([(1, 1), (3, 2)]));

    let p = Priorities::of(&[1.0, 3.0, 0.0, f64::NAN, -9.0]).unwrap();
    assert_eq!((p.count, p.invalid, p.min, p.max), (5, 2, 0.0, 3.0));
    assert!((p.mean - 4.0 / 3.0).abs() < 1e-12 && (p.effective - 1.6).abs() < 1e-12);
    assert_eq!(Priorities::of(&[f64::MAX; 9]).unwrap().effective, 9.0);
    assert_eq!(Priorities::of(&[]), None);

    let now = [t(&[0.0, 1e-20, 2.0]), t(&[2.0])];
    let i = Importance::of(&now, Some(&[t(&[0.0, 0.0, 1.0]), t(&[2.0])])).unwrap();
    assert_eq!((i.count, i.min, i.max, i.mean, i.total), (4, 0.0, 2.0, 1.0, 4.0));
    assert_eq!((i.near_zero, i.saturated), (0.5, 0.5));
    assert!((i.change.unwrap() - 1.0 / 3.0).abs() < 1e-12);
    assert_eq!(Importance::of(&now, None).unwrap().change, None);
    assert_eq!(Importance::of(&[t(&[f32::NAN, 1.0])], None).unwrap().not_finite, 0.5);
    // Nothing is at the top of nothing, and from 0 there is no relative change.
    let zero = Importance::of(&[t(&[0.0, 0.0])], Some(&[t(&[0.0, 0.0])])).unwrap();
    assert_eq!((zero.saturated, zero.near_zero, zero.change), (0.0, 1.0, None));
    assert!(Importance::of(&[], None).unwrap_err().to_string().contains("no numbers"));
    assert!(Importance::of(&now, Some(&now[..1])).unwrap_err().to_string().contains("4 numbers"));
}

fn number(rng: &mut cl_core::Rng) -> f64 {
    match rng.random_range(0..8) {
        0 => f64::from_bits(rng.random()),
        1 => *[f64::NAN, f64::INFINITY, f64::MAX, -f64::MAX, 0.0, 1e-300].choose(rng).unwrap(),
        2 => rng.random_range(-2.0..2.0),
        _ => rng.random_range(0.0..1.0),
    }
}

fn count(rng: &mut cl_core::Rng) -> u64 {
    if rng.random_bool(0.05) { u64::MAX } else { rng.random_range(0..300) }
}

fn task(rng: &mut cl_core::Rng) -> usize {
    if rng.random_bool(0.05) { usize::MAX } else { rng.random_range(0..4) }
}

fn some<T>(rng: &mut cl_core::Rng, of: impl Fn(&mut cl_core::Rng) -> T) -> Option<T> {
    rng.random_bool(0.8).then(|| of(rng))
}

fn list<T>(rng: &mut cl_core::Rng, most: usize, of: impl Fn(&mut cl_core::Rng) -> T) -> Vec<T> {
    (0..rng.random_range(0..=most)).map(|_| of(rng)).collect()
}

/// Any trace at all: nothing in it fits together. Made from a seed: as a strategy for each field it would not fit
/// on the stack.
fn any_trace(seed: u64) -> Trace {
    let rng = &mut cl_core::rng(seed, "any trace");
    // Mostly finite losses: otherwise that is all that is ever found.
    let loss = |r: &mut cl_core::Rng| if r.random_bool(0.01) { number(r) } else { 0.5 };
    let memory = |r: &mut cl_core::Rng| Memory {
        by_class: list(r, 6, |r| (task(r) as u32, count(r))).into_iter().collect(),
        by_task: list(r, 4, |r| (task(r), count(r))).into_iter().collect(),
        capacity: some(r, count),
        bytes: some(r, count),
        budget: some(r, count),
        losses: list(r, 40, number),
        drawn: some(r, |r| list(r, 4, |r| (task(r), count(r))).into_iter().collect()),
    };
    let priorities = |r: &mut cl_core::Rng| Priorities {
        count: count(r),
        invalid: count(r),
        min: number(r),
        max: number(r),
        mean: number(r),
        effective: number(r),
    };
    let importance = |r: &mut cl_core::Rng| Importance {
        count: count(r),
        not_finite: number(r),
        min: number(r),
        max: number(r),
        mean: number(r),
        total: number(r),
        near_zero: number(r),
        saturated: number(r),
        change: some(r, number),
    };
    let observation = |r: &mut cl_core::Rng| Observation {
        step: count(r),
        task: task(r),
        loss: some(r, loss),
        penalty: some(r, loss),
        gradient_norm: some(r, number),
        penalty_gradient_norm: some(r, number),
        cosine: some(r, number),
        memory: some(r, memory),
        priorities: some(r, priorities),
        importance: some(r, importance),
    };
    let curve = |r: &mut cl_core::Rng| Curve {
        task: task(r),
        measure: if r.random() { Measure::Accuracy } else { Measure::Loss },
        points: list(r, 40, |r| (count(r), number(r))),
    };
    Trace {
        classes: list(rng, 5, |r| list(r, 4, |r| r.random_range(0..9))),
        lambda: some(rng, number),
        protects: rng.random(),
        observations: list(rng, 80, observation),
        curves: list(rng, 4, curve),
        baseline: list(rng, 5, number),
        rows: list(rng, 5, |r| list(r, 5, number)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_trace_makes_it_panic(seed: u64) {
        for finding in diagnose(&any_trace(seed)) {
            prop_assert!(!finding.what.is_empty() && !finding.evidence.is_empty() && !finding.remedy.is_empty());
        }
    }

    #[test]
    fn sketches_take_any_number(seed: u64) {
        let values = list(&mut cl_core::rng(seed, "any numbers"), 40, number);
        if let Some(p) = Priorities::of(&values) {
            prop_assert!(p.max.is_finite() && p.min.is_finite() && p.effective.is_finite());
        }
        if !values.is_empty() {
            let tensor = [Tensor::new(&values[..], &Device::Cpu).unwrap()];
            let i = Importance::of(&tensor, Some(&tensor)).unwrap();
            prop_assert!(i.not_finite + i.near_zero <= 1.0 && i.saturated <= 1.0);
            norm(&tensor).unwrap();
            cosine(&tensor, &tensor).unwrap();
        }
    }
}

/// Where samples are replayed, the gradients of new and old ones are opposed near the optimum of both.
#[test]
fn gradients_opposed_in_replay_are_no_conflict() {
    let mut trace = healthy();
    forget(&mut trace);
    later(&mut trace, |o| o.cosine = o.cosine.map(|c| c - 0.5));
    assert_eq!(kinds(&trace), [Kind::ForgettingInSpiteOfProtection]);
}

/// A task that was drawn at first, and not any more.
#[test]
fn what_was_drawn_long_ago_is_not_drawn() {
    let mut trace = healthy();
    later(&mut trace, |o| {
        let (task, memory) = (o.task, o.memory.as_mut().unwrap());
        memory.drawn.as_mut().unwrap().retain(|old, _| *old > 0 || task < 3);
    });
    assert_eq!(kinds(&trace), [Kind::OldDataNeverDrawn]);
}

/// A loss that rises is not mended by larger steps.
#[test]
fn what_is_not_learned_because_of_large_steps_wants_smaller_ones() {
    let mut trace = healthy();
    for curve in &mut trace.curves {
        curve.points.iter_mut().for_each(|point| point.1 = 0.5);
    }
    assert!(diagnose(&trace)[0].remedy.starts_with("Raise the learning rate"));
    trace.observations.iter_mut().skip(1).for_each(|o| o.loss = Some(1e9));
    let findings = diagnose(&trace);
    assert_eq!(findings[0].kind, Kind::AdaptationTooSlow);
    assert!(findings[0].remedy.starts_with("Lower the learning rate"), "{}", findings[0]);
}

/// The traces above are no empty exercise: they reach every finding.
#[test]
fn any_trace_reaches_nearly_every_finding() {
    let found: std::collections::BTreeSet<Kind> =
        (0..2000).flat_map(|seed| kinds(&any_trace(seed))).collect();
    assert!(found.len() >= 11, "{found:?}");
}
