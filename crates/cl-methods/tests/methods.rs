//! The methods side by side: who differs from whom and from when, who remembers, and that a seed is enough.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cl_core::Error;
use cl_data::{ClassOrder, Scenario, Stream};
use cl_methods::train::{Progress, Training};
use cl_methods::{Protocol, Registry};
use common::{Run, bits, run, stream};
use serde_json::{Value, json};

/// Coefficients under which every method has an effect within a few steps.
fn strong(name: &str) -> Value {
    match name {
        "EWC" | "Online EWC" => json!({ "lambda": 300.0 }),
        "SI" => json!({ "c": 10.0 }),
        "L2" => json!({ "lambda": 0.1 }),
        "MAS" => json!({ "lambda": 1.0 }),
        "EWC++" => json!({ "lambda": 20.0, "every": 5 }),
        "RWalk" => json!({ "every": 5 }),
        "S-GEM" => json!({ "per_class": 20 }),
        "ER" | "A-GEM" => json!({ "per_class": 20, "batch": 32 }),
        "Rehearsal" => json!({ "memory": 100 }),
        "ER-Reservoir" => json!({ "memory": 100, "batch": 32 }),
        "ER-Ring" => json!({ "per_class": 20, "batch": 32 }),
        "MER" => json!({ "memory": 100, "batch": 5, "batches": 2, "beta": 0.3 }),
        "DER" | "DER++" => json!({ "memory": 100, "batch": 32, "alpha": 1.0 }),
        "CLS" => json!({ "memory": 100, "day": 100, "cycles": 5 }),
        "CLS-ER" => json!({ "memory": 100, "batch": 32, "stable_rate": 0.5, "stable_alpha": 0.9 }),
        "GEM" => json!({ "per_task": 50 }),
        "GSS-greedy" => json!({ "memory": 64, "batch": 16, "iterations": 1 }),
        "GSS-IQP" => json!({ "memory": 64, "recent": 32, "batch": 16, "iterations": 1 }),
        "MIR" => json!({ "memory": 100, "candidates": 40, "batch": 20 }),
        "GDumb" => json!({ "memory": 60, "epochs": 7 }),
        "iCaRL" => json!({ "per_class": 10 }),
        "PackNet" => json!({ "retrain": { "epochs": 1 }, "batch": 32 }),
        "Progressive" => json!({ "hidden": [16, 8] }),
        "SRC" => common::src(300),
        _ => json!({}),
    }
}

/// Those that must be told the task of a test sample.
const TOLD: [&str; 5] = ["Independent", "Multimodal", "PackNet", "Progressive", "XdG"];

/// An EWC whose penalty is zero, an SI whose penalty is not applied, an LwF without effect: all of these
/// have been released. With equal seeds all methods are the same in the first task and differ from the
/// second on.
#[test]
fn all_differ_from_the_second_task_on() {
    for scenario in Scenario::ALL {
        let stream = stream(scenario, 3);
        let names = [
            "None",
            "L2",
            "EWC",
            "Online EWC",
            "EWC++",
            "SI",
            "MAS",
            "RWalk",
            "LwF",
            "ER",
            "Rehearsal",
            "GEM",
            "S-GEM",
            "A-GEM",
        ];
        let runs: Vec<Run> = names.iter().map(|name| run(name, strong(name), &stream, 15, 1)).collect();
        for (a, (name_a, run_a)) in names.iter().zip(&runs).enumerate() {
            assert_eq!(run_a.outcome.baseline, runs[0].outcome.baseline);
            for (name_b, run_b) in names.iter().zip(&runs).skip(a + 1) {
                let both = format!("{name_a} and {name_b}, {scenario}");
                assert_eq!(run_a.params[0], run_b.params[0], "{both}: the first task");
                // One earlier task is one penalty, kept apart or carried on.
                let same = (*name_a, *name_b) == ("EWC", "Online EWC");
                assert_eq!(run_a.params[1] == run_b.params[1], same, "{both}: the second task");
                assert_ne!(run_a.params[2], run_b.params[2], "{both}: the third task");
            }
        }
    }
}

#[test]
fn a_penalty_of_strength_zero_is_none_bit_for_bit() {
    for scenario in Scenario::ALL {
        let stream = stream(scenario, 3);
        let none = run("None", json!({}), &stream, 15, 1);
        for (name, config) in [
            ("EWC", json!({ "lambda": 0.0 })),
            ("Online EWC", json!({ "lambda": 0.0, "decay": 0.5 })),
            ("SI", json!({ "c": 0.0 })),
            ("SI", json!({ "c": 0.0, "gradient": "whole" })),
            ("L2", json!({ "lambda": 0.0 })),
            ("MAS", json!({ "lambda": 0.0 })),
            ("EWC++", json!({ "lambda": 0.0 })),
            ("RWalk", json!({ "lambda": 0.0 })),
        ] {
            assert_eq!(run(name, config.clone(), &stream, 15, 1), none, "{name} {config}, {scenario}");
        }
    }
}

/// What is configured is used.
#[test]
fn coefficients_matter() {
    let stream = stream(Scenario::Domain, 3);
    for (name, a, b) in [
        ("EWC", json!({ "fisher": "exact" }), json!({ "fisher": "empirical" })),
        ("EWC", json!({ "fisher": { "exact_on": 50 } }), json!({ "fisher": { "batched": 32 } })),
        ("Online EWC", json!({ "decay": 1.0 }), json!({ "decay": 0.3 })),
        ("SI", json!({ "c": 5.0, "gradient": "task" }), json!({ "c": 5.0, "gradient": "whole" })),
        ("SI", json!({ "c": 5.0, "xi": 0.1 }), json!({ "c": 5.0, "xi": 1.0 })),
        ("MAS", json!({ "sensitivity": "per_sample" }), json!({ "sensitivity": { "batched": 32 } })),
        ("MAS", json!({ "decay": 1.0 }), json!({ "decay": 0.0 })),
        ("SI", json!({ "c": 5.0, "positive": false }), json!({ "c": 5.0, "positive": true })),
        ("EWC++", json!({ "every": 5, "decay": 0.1 }), json!({ "every": 5, "decay": 0.5 })),
        ("EWC++", json!({ "every": 5, "normalise": true }), json!({ "every": 5, "normalise": false })),
        ("RWalk", json!({ "every": 2, "kl": 0.5 }), json!({ "every": 2, "kl": 1.0 })),
        ("RWalk", json!({ "every": 2, "growing": false }), json!({ "every": 2, "growing": true })),
        ("RWalk", json!({ "every": 2, "keep": 0.5 }), json!({ "every": 2, "keep": 1.5 })),
        ("RWalk", json!({ "every": 2, "decay": 0.1 }), json!({ "every": 5, "decay": 0.1 })),
        ("A-GEM", json!({ "keep": "random" }), json!({ "keep": "newest" })),
        ("A-GEM", json!({ "keep": "newest" }), json!({ "keep": { "reservoir": 500 } })),
        ("A-GEM", json!({ "keep": { "reservoir": 100 } }), json!({ "keep": { "reservoir": 50 } })),
        ("S-GEM", json!({ "per_class": 5 }), json!({ "per_class": 25 })),
        ("LwF", json!({ "temperature": 1.0 }), json!({ "temperature": 2.0 })),
        ("LwF", json!({ "weighting": "per_task" }), json!({ "weighting": "share" })),
        ("ER", json!({ "per_class": 10 }), json!({ "per_class": 100 })),
        ("ER", json!({ "batch": 10 }), json!({ "batch": 100 })),
        ("A-GEM", json!({ "batch": 10 }), json!({ "batch": 100 })),
        ("Rehearsal", json!({ "memory": 30 }), json!({ "memory": 100 })),
        (
            "GSS-IQP",
            json!({ "recent": 32, "memory": 40 }),
            json!({ "recent": 32, "memory": 40, "choice": "random" }),
        ),
        ("MIR", json!({ "candidates": 10 }), json!({ "candidates": 100 })),
        ("MIR", json!({ "earlier_tasks": true }), json!({ "earlier_tasks": false })),
        ("iCaRL", json!({ "per_class": 10 }), json!({ "per_class": 50 })),
        ("SRC", common::src(300), common::src(301)),
        ("SRC", common::src(300), common::changed(common::src(300), "dropout", json!(0.5))),
        ("SRC", common::src(300), common::changed(common::src(300), "more", json!(1))),
        ("SRC", common::src(300), common::changed(common::src(300), "window", json!(null))),
        ("XdG", json!({ "fraction": 0.3 }), json!({ "fraction": 0.7 })),
        ("XdG", json!({ "place": "activation" }), json!({ "place": "before_bias" })),
        ("PackNet", json!({ "ratio": 0.3 }), json!({ "ratio": 0.7 })),
        (
            "PackNet",
            json!({ "retrain": { "epochs": 1 }, "batch": 32 }),
            json!({ "retrain": { "iterations": 2 }, "batch": 32 }),
        ),
    ] {
        let runs = [&a, &b].map(|config| run(name, config.clone(), &stream, 10, 1));
        assert_ne!(runs[0].params[2], runs[1].params[2], "{name} with {a} and with {b}");
    }
}

/// Memories that are filled as the stream goes by are replayed within the first task already.
#[test]
fn what_replays_from_the_first_batches_on_differs_from_none_there() {
    let stream = stream(Scenario::Class, 2);
    let none = run("None", json!({}), &stream, 15, 1);
    let runs =
        ["ER-Reservoir", "ER-Ring", "DER", "DER++", "GSS-greedy", "GSS-IQP", "MIR", "MER", "CLS", "CLS-ER"]
            .map(|name| run(name, strong(name), &stream, 15, 1));
    for (at, found) in runs.iter().enumerate() {
        assert_ne!(found.params[0], none.params[0]);
        assert!(runs[..at].iter().all(|other| other.params[0] != found.params[0]));
    }
    // Nothing is asked of what is replayed.
    let config = json!({ "memory": 100, "batch": 32, "alpha": 0.0 });
    let found = run("DER", config, &stream, 15, 1);
    let accuracies = |run: &Run| run.outcome.r.clone();
    for (found, none) in accuracies(&found).iter().flatten().zip(accuracies(&none).iter().flatten()) {
        assert!((found - none).abs() < 0.02, "{found} {none}");
    }
}

/// Networks of their own keep what they know to the last sample; input layers of their own before a shared network do
/// not, but are another network for each task.
#[test]
fn what_a_task_has_to_itself_is_not_forgotten() {
    let stream = stream(Scenario::Domain, 3);
    for finetune in [true, false] {
        let config = json!({ "hidden": [16], "finetune": finetune });
        let r = run("Independent", config, &stream, 60, 1).outcome.r;
        for (task, learned) in (0..3).map(|task| (task, r[task][task])) {
            assert!(learned > 0.7, "{r:?}");
            assert!((task..3).all(|later| r[later][task] == learned), "{r:?}");
        }
    }
    let r = run("Multimodal", json!({ "hidden": [16, 16] }), &stream, 60, 1).outcome.r;
    assert!((0..3).all(|task| r[task][task] > 0.9), "{r:?}");
    assert!(r[2][0] != r[0][0] || r[2][1] != r[1][1], "{r:?}");
}

/// Where a task has weights that no later one changes, its test samples are answered the same for ever after, bit for
/// bit: whatever the optimizer remembers, and whether the heads are one layer or several.
#[test]
fn what_is_isolated_answers_the_same_bit_for_bit() {
    use cl_methods::train::{Heads, train};
    use cl_nn::OptimizerConfig;
    let momentum = OptimizerConfig::Sgd { lr: 0.05, momentum: 0.9, weight_decay: 1e-3 };
    for (scenario, heads, optimizer) in [
        (Scenario::Task, Heads::OneLayer, OptimizerConfig::adam(0.005)),
        (Scenario::Task, Heads::Apart, momentum),
        (Scenario::Domain, Heads::OneLayer, OptimizerConfig::adamw(0.005, 0.01)),
    ] {
        let stream = stream(scenario, 5);
        let protocol = Protocol { heads, optimizer, ..common::protocol(40) };
        for (name, config) in [
            ("PackNet", json!({ "retrain": { "epochs": 3 }, "batch": 32 })),
            ("Progressive", json!({ "hidden": [16, 8] })),
            (
                "Progressive",
                json!({ "hidden": [16], "adapters": { "lateral": "linear" }, "weights": "truncated" }),
            ),
            ("Independent", json!({ "hidden": [16], "finetune": false, "weights": "fan_in" })),
        ] {
            let inner = Registry::standard().build(name, &config, 1).unwrap();
            let mut method = common::Answers { inner, tasks: stream.tasks.clone(), after: Vec::new() };
            let r = train(&stream, &mut method, &protocol, 1, &mut |_| Ok(())).unwrap().r;
            let what = format!("{name} {config}, {scenario} {heads:?}");
            assert_eq!(method.after.len(), 5);
            for task in 0..5 {
                assert!(r[task][task] > 0.7, "{what} learns: {r:?}");
                for later in task..5 {
                    assert_eq!(r[later][task], r[task][task], "{what}: {r:?}");
                    let answers = |after: usize| &method.after[after][task];
                    assert!(answers(later) == answers(task), "{what}: task {task} after {later}");
                }
            }
            let memory = method.inner.memory_per_task().unwrap().unwrap();
            assert!(memory.len() == 5 && memory.iter().all(|&bytes| bytes > 0), "{what}: {memory:?}");
        }
    }
    assert!(Registry::standard().build("EWC", &json!({}), 0).unwrap().memory_per_task().unwrap().is_none());
}

/// In the class scenario the task would say half of the answer.
#[test]
fn what_must_be_told_the_task_is_refused_in_the_class_scenario() {
    let (stream, protocol) = (stream(Scenario::Class, 2), common::protocol(10));
    for name in Registry::standard().names() {
        let mut method = Registry::standard().build(name, &strong(name), 0).unwrap();
        let run = cl_methods::train::train(&stream, &mut *method, &protocol, 0, &mut |_| Ok(()));
        match run {
            Ok(_) => assert!(!TOLD.contains(&name), "{name}"),
            Err(error) => {
                let error = error.to_string();
                assert!(TOLD.contains(&name) && error.contains(name) && error.contains("class"), "{error}");
            }
        }
    }
}

/// Same seed, same bits, alone or beside other runs on other threads; another seed, another run.
#[test]
fn a_run_is_a_function_of_its_seed() {
    let names: Vec<String> = Registry::standard().names().map(str::to_owned).collect();
    let stream = stream(Scenario::Task, 3);
    let all = || -> BTreeMap<&String, Run> {
        names.iter().map(|name| (name, run(name, strong(name), &stream, 8, 7))).collect()
    };
    let (first, second) = std::thread::scope(|scope| {
        let (a, b) = (scope.spawn(all), scope.spawn(all));
        (a.join().unwrap(), b.join().unwrap())
    });
    assert_eq!(first, second);
    for (name, of_seed_7) in &first {
        let other = run(name, strong(name), &stream, 8, 8);
        assert_ne!(of_seed_7.params, other.params, "{name}");
        assert_ne!(of_seed_7.outcome.baseline, other.outcome.baseline);
    }
}

/// Stopped in the middle of a task, and where an evaluation comes, saved, and gone on with by another method of the same
/// coefficients: the same numbers to the last bit.
#[test]
fn every_run_goes_on_where_it_stopped() {
    let protocol = common::protocol(6);
    for scenario in Scenario::ALL {
        let stream = stream(scenario, 3);
        for name in Registry::standard().names() {
            if scenario == Scenario::Class && TOLD.contains(&name) {
                continue; // refused, as another test sees
            }
            let build = || Registry::standard().build(name, &strong(name), 5).unwrap();
            let (mut whole, mut method) = (build(), build());
            let mut in_one = Training::new(&stream, &mut *whole, &protocol, 5).unwrap();
            let expected = in_one.run(&mut |_| Ok(())).unwrap();
            let mut saved = Training::new(&stream, &mut *method, &protocol, 5).unwrap().save().unwrap();
            // Before a step, or before the next evaluation.
            for stop in [Some(0), Some(2), None, Some(6), Some(9), None, Some(14)] {
                let mut method = build();
                let mut training = Training::restore(&stream, &mut *method, &protocol, 5, &saved).unwrap();
                let stopped = training.run(&mut |progress| match (progress, stop) {
                    (Progress::Step { done, .. }, Some(stop)) if done == stop => Err(Error::Interrupted),
                    (Progress::Evaluate, None) => Err(Error::Interrupted),
                    _ => Ok(()),
                });
                // All tasks at once end earlier.
                assert!(stopped.is_err() || name == "Joint", "{name} {scenario} {stop:?}");
                saved = training.save().unwrap();
            }
            let mut method = build();
            let mut last = Training::restore(&stream, &mut *method, &protocol, 5, &saved).unwrap();
            assert_eq!(last.run(&mut |_| Ok(())).unwrap(), expected, "{name} {scenario}");
            assert_eq!(bits(last.learner()), bits(in_one.learner()), "{name} {scenario}");
            // All that the method has become: what it would save.
            assert!(last.save().unwrap() == in_one.save().unwrap(), "{name} {scenario}");
        }
    }
}

/// What is not a saved run, or one of another run, is refused.
#[test]
fn a_foreign_run_is_refused() {
    let (stream, protocol) = (stream(Scenario::Task, 2), common::protocol(6));
    let build = |name: &str| Registry::standard().build(name, &json!({}), 0).unwrap();
    let saved = Training::new(&stream, &mut *build("EWC"), &protocol, 0).unwrap().save().unwrap();
    let refused = |name: &str, stream: &Stream, protocol: &Protocol, seed, bytes: &[u8]| -> String {
        let mut method = build(name);
        Training::restore(stream, &mut *method, protocol, seed, bytes).err().unwrap().to_string()
    };
    let other = Protocol { batch: 31, ..protocol.clone() };
    assert!(refused("EWC", &stream, &other, 0, &saved).contains("batch: 31"));
    assert!(refused("EWC", &stream, &protocol, 1, &saved).contains("seed 1"));
    let longer = common::stream(Scenario::Task, 3);
    assert!(refused("EWC", &longer, &protocol, 0, &saved).contains("saved run"));
    assert!(refused("SI", &stream, &protocol, 0, &saved).contains("cl-methods/si"));
    for cut in [0, 1, 50, saved.len() / 2, saved.len() - 1] {
        refused("EWC", &stream, &protocol, 0, &saved[..cut]);
    }
    for at in [3, 20, saved.len() / 2, saved.len() - 1] {
        let mut altered = saved.clone();
        altered[at] ^= 4;
        refused("EWC", &stream, &protocol, 0, &altered);
    }
}

/// Mean accuracy at the end, one seed: what a method is for it does, by a margin that no last bit of a
/// product takes away. The published numbers are the benches' business.
#[test]
fn who_remembers() {
    let digits = cl_data::load("digits").unwrap();
    let domain = cl_data::split(&digits, 5, Scenario::Domain, ClassOrder::Shuffled(2)).unwrap();
    let class = stream(Scenario::Class, 5);
    let memory = json!({ "per_class": 50, "batch": 32 });
    for (stream, none_below, gains) in [
        (
            &domain,
            0.75,
            &[
                ("Joint", json!({}), 0.25),
                ("ER", memory.clone(), 0.2),
                ("Rehearsal", json!({ "memory": 300 }), 0.2),
                ("A-GEM", memory.clone(), 0.07),
                ("A-GEM", json!({ "per_class": 50, "keep": "newest", "batch": 32 }), 0.07),
                ("A-GEM", json!({ "keep": { "reservoir": 500 }, "batch": 32 }), 0.03),
                ("S-GEM", json!({ "per_class": 50 }), 0.05),
                ("GEM", json!({ "per_task": 60 }), 0.15),
                ("MAS", json!({ "lambda": 0.1 }), 0.03),
                ("Independent", json!({ "hidden": [32] }), 0.2),
                ("PackNet", json!({ "retrain": { "epochs": 4 }, "batch": 32 }), 0.15),
                ("Progressive", json!({ "hidden": [32] }), 0.2),
                ("XdG", json!({ "fraction": 0.8 }), 0.1),
                ("EWC", json!({ "lambda": 100.0 }), 0.07),
                ("EWC++", json!({ "lambda": 20.0 }), 0.03),
                ("RWalk", json!({ "lambda": 1.0 }), 0.03),
                ("SI", json!({ "c": 1.0 }), 0.05),
            ][..],
        ),
        (
            &class,
            0.25,
            &[
                ("Joint", json!({}), 0.7),
                ("ER", memory.clone(), 0.6),
                ("Rehearsal", json!({ "memory": 300 }), 0.5),
                ("ER-Reservoir", json!({ "memory": 300, "batch": 32 }), 0.5),
                ("ER-Ring", json!({ "per_class": 30, "batch": 32 }), 0.5),
                (
                    "MER",
                    json!({ "memory": 300, "batch": 32, "batches": 1, "beta": 1.0, "within": "at_once" }),
                    0.4,
                ),
                ("DER", json!({ "memory": 300, "batch": 32, "alpha": 0.5 }), 0.4),
                ("DER++", json!({ "memory": 300, "batch": 32, "alpha": 0.5, "beta": 0.5 }), 0.5),
                ("CLS", json!({ "memory": 300, "day": 300, "cycles": 30, "lr": 0.1 }), 0.4),
                ("CLS-ER", json!({ "memory": 300, "batch": 32, "lambda": 0.5 }), 0.5),
                ("GEM", json!({ "per_task": 60 }), 0.4),
                ("GSS-greedy", json!({ "memory": 300, "batch": 32 }), 0.4),
                ("GSS-IQP", json!({ "memory": 300, "recent": 64, "batch": 32 }), 0.4),
                ("MIR", json!({ "memory": 300, "candidates": 64, "batch": 32 }), 0.5),
                ("GDumb", json!({ "memory": 300, "epochs": 31 }), 0.6),
                ("iCaRL", json!({ "per_class": 50 }), 0.6),
                ("A-GEM", memory.clone(), 0.15),
            ],
        ),
    ] {
        let none = run("None", json!({}), stream, 80, 1);
        // It learns each task, if only in part, and forgets.
        assert!((0..5).all(|task| none.outcome.r[task][task] > 0.5), "{:?}", none.outcome.r);
        assert!(none.accuracy() < none_below, "{}", none.accuracy());
        for (name, config, gain) in gains {
            let found = run(name, config.clone(), stream, 80, 1).accuracy();
            let less = format!("{name}, {}: {found} against {}", stream.scenario, none.accuracy());
            assert!(found > none.accuracy() + gain, "{less}");
        }
    }
}

#[test]
fn joint_trains_on_everything_at_once() {
    let stream = stream(Scenario::Class, 5);
    let joint = Registry::standard().build("Joint", &json!({}), 0).unwrap();
    let curriculum = joint.curriculum(&stream).unwrap();
    let [task] = curriculum.as_slice() else { panic!("{} phases", curriculum.len()) };
    assert_eq!(task.classes, (0..10).collect::<Vec<_>>());
    assert_eq!(task.train.len(), stream.tasks.iter().map(|task| task.train.len()).sum::<usize>());
    assert_eq!(task.test.len(), stream.tasks.iter().map(|task| task.test.len()).sum::<usize>());
    let labels: std::collections::BTreeSet<u32> = task.train.labels().unwrap().into_iter().collect();
    assert_eq!(labels, (0..10).collect());

    let run = run("Joint", json!({}), &stream, 20, 0);
    assert_eq!(run.outcome.r.len(), 1);
    assert_eq!(run.outcome.samples, 5 * 20 * 32, "as many steps as five tasks");
}

/// Hsu et al. 2018: all of the memory, max(n / size, 1) times, beside the n new samples.
#[test]
fn rehearsal_mixes_the_memory_in() {
    let stream = stream(Scenario::Class, 4);
    for (size, times) in [(50usize, 5), (100, 2), (1000, 1)] {
        let mut method = Registry::standard().build("Rehearsal", &json!({ "memory": size }), 0).unwrap();
        let mut learner = common::learner(&stream);
        for (k, task) in stream.tasks.iter().enumerate() {
            let n = task.train.len();
            assert!((280..300).contains(&n));
            let data = method.data(task).unwrap();
            let held = (0..k).map(|old| (size / k.max(1)).min(stream.tasks[old].train.len())).sum::<usize>();
            assert_eq!(data.len(), n + times * held, "{size}, task {k}");
            // The new samples once; of every old class about as many as of the others.
            let labels = data.labels().unwrap();
            let count = |label: u32| labels.iter().filter(|&&l| l == label).count();
            assert_eq!(count(2 * k as u32) + count(2 * k as u32 + 1), n);
            for old in 0..k as u32 {
                let kept = (size / k).min(stream.tasks[old as usize].train.len());
                assert_eq!(count(2 * old) + count(2 * old + 1), times * kept);
            }
            method.end_task(&mut learner, task).unwrap();
        }
    }
}

/// R of a short run of every method: a change of any number anywhere shows here. Three decimals of about 71
/// test samples, so that the last bits of a product, which differ between machines, do not.
#[test]
fn short_runs_are_pinned() {
    let stream = stream(Scenario::Domain, 3);
    let mut table = String::new();
    for name in Registry::standard().names() {
        let rows = run(name, strong(name), &stream, 20, 0).outcome.r;
        let row = |row: &Vec<f64>| row.iter().map(|a| format!("{a:.3}")).collect::<Vec<_>>().join(" ");
        let rows = rows.iter().map(row).collect::<Vec<_>>().join(" | ");
        writeln!(table, "{name:10}  {rows}").unwrap();
    }
    insta::assert_snapshot!(table);
}
