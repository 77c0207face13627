//! Runs that are broken on purpose, through the real loop, and what is said of them.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use candle_core::Tensor;
use cl_core::{Error, Result, Rng};
use cl_data::{ClassOrder, Samples, Scenario, Stream, Task};
use cl_methods::train::{Progress, Training};
use cl_methods::{Batch, Drawn, Learner, Method, Observer, Protocol, Registry, Stored, Vitals};
use cl_metrics::diagnose::{Kind, Trace};
use cl_nn::OptimizerConfig;
use cl_regularize::{Ewc, EwcConfig, Fisher, Si, SiConfig};
use common::{bits, protocol, stream};
use rand::seq::index;
use serde_json::{Value, json};

fn watched(method: &mut dyn Method, stream: &Stream, protocol: &Protocol) -> Observer {
    let mut observer = Observer::new();
    Training::new(stream, method, protocol, 1).unwrap().watched(&mut observer).run(&mut |_| Ok(())).unwrap();
    observer
}

fn named(name: &str, config: Value, stream: &Stream, protocol: &Protocol) -> Observer {
    watched(&mut *Registry::standard().build(name, &config, 1).unwrap(), stream, protocol)
}

/// Five tasks in which much is forgotten that nothing holds.
fn shuffled(scenario: Scenario) -> Stream {
    cl_data::split(&cl_data::load("digits").unwrap(), 5, scenario, ClassOrder::Shuffled(2)).unwrap()
}

#[track_caller]
fn assert_found(observer: &Observer, expected: &[Kind]) {
    let findings = observer.findings();
    let found: Vec<Kind> = findings.iter().map(|finding| finding.kind).collect();
    let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{}\n{:?}", said.join("\n"), observer.trace().rows);
}

/// What is kept, drawn and told, each of which can be wrong.
struct Replay {
    kept: Vec<Samples>,
    labels: Vec<u32>,
    /// Which samples are kept.
    keeps: fn(u32) -> bool,
    /// Which of the stored tasks may be drawn, in this one.
    draws: fn(usize, usize) -> bool,
    /// Of (loss + 0.001)^α, the priorities; none without.
    alpha: Option<f64>,
    priorities: Vec<f64>,
    /// How many samples each class of a task leaves, and how many may be stored in all.
    each: usize,
    capacity: usize,
    rng: Rng,
    drawn: BTreeMap<usize, u64>,
}

impl Replay {
    fn healthy() -> Self {
        Self {
            kept: Vec::new(),
            labels: Vec::new(),
            keeps: |_| true,
            draws: |_, _| true,
            alpha: None,
            priorities: Vec::new(),
            each: 50,
            capacity: 500,
            rng: cl_core::rng(1, "replay"),
            drawn: BTreeMap::new(),
        }
    }

    fn all(&self) -> Result<Samples> {
        Samples::concat(&self.kept.iter().collect::<Vec<_>>())
    }
}

impl Method for Replay {
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let may: Vec<usize> = (0..self.labels.len())
            .filter(|row| (self.draws)(self.labels[*row] as usize / 2, learner.task))
            .collect();
        if may.is_empty() {
            return learner.learn(batch);
        }
        let weight = |row: usize| if self.alpha.is_some() { self.priorities[may[row]] } else { 1.0 };
        let rows = index::sample_weighted(&mut self.rng, may.len(), weight, may.len().min(32)).unwrap();
        let rows: Vec<u32> = rows.into_iter().map(|row| may[row] as u32).collect();
        for row in &rows {
            *self.drawn.entry(self.labels[*row as usize] as usize / 2).or_default() += 1;
        }
        let all = self.all()?;
        let samples = Samples::concat(&[&batch.samples, &all.gather(&rows)?])?;
        learner.learn(&Batch { samples, units: batch.units })?;
        if let Some(alpha) = self.alpha {
            let logits = learner.net.predict(&all.x)?.to_vec2::<f32>()?;
            for (row, logits) in logits.iter().enumerate() {
                let label = self.labels[row] as usize;
                let active = &logits[batch.units.range(label, logits.len())];
                let sum: f64 = active.iter().map(|z| f64::from(z - logits[label]).exp()).sum();
                self.priorities[row] = (sum.ln() + 0.001).powf(alpha);
            }
        }
        Ok(())
    }

    fn end_task(&mut self, _: &mut Learner, task: &Task) -> Result<()> {
        let labels = task.train.labels()?;
        for class in 2 * task.index as u32..2 * task.index as u32 + 2 {
            let of_class = (0..labels.len() as u32).filter(|row| labels[*row as usize] == class);
            let rows: Vec<u32> = of_class.filter(|_| (self.keeps)(class)).take(self.each).collect();
            if !rows.is_empty() {
                self.labels.extend(vec![class; rows.len()]);
                self.priorities.extend(vec![1.0; rows.len()]);
                self.kept.push(task.train.gather(&rows)?);
            }
        }
        Ok(())
    }

    fn vitals(&self, _: &Learner) -> Result<Vitals> {
        Ok(Vitals {
            priorities: if self.alpha.is_some() { self.priorities.clone() } else { Vec::new() },
            memory: Some(Stored {
                samples: if self.kept.is_empty() { None } else { Some(self.all()?) },
                tasks: None,
                capacity: Some(self.capacity),
                drawn: Some(Drawn::ByTask(self.drawn.clone())),
            }),
            ..Vitals::default()
        })
    }
}

/// EWC with something done to its Fisher information.
struct Spoilt {
    ewc: Ewc,
    spoil: fn(Tensor) -> Result<Tensor>,
}

impl Method for Spoilt {
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        learner.step(&(learner.loss(batch)? + self.ewc.penalty(learner.net.params())?)?)
    }

    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        let Samples { x, y } = task.train.all()?;
        let fisher = Fisher::Exact.estimate(&learner.net, &x, &y, task.units, &mut cl_core::rng(0, ""))?;
        self.ewc.consolidate(learner.net.params(), fisher.into_iter().map(self.spoil).collect::<Result<_>>()?)
    }

    fn vitals(&self, learner: &Learner) -> Result<Vitals> {
        Ok(Vitals {
            penalty: Some(self.ewc.penalty(learner.net.params())?),
            lambda: Some(self.ewc.lambda()),
            importance: self.ewc.importance()?,
            ..Vitals::default()
        })
    }
}

fn spoilt(lambda: f64, spoil: fn(Tensor) -> Result<Tensor>) -> Spoilt {
    Spoilt { ewc: Ewc::new(EwcConfig { lambda, ..EwcConfig::default() }).unwrap(), spoil }
}

/// SI that follows the path in the first task only.
struct Lost(Option<Si>);

impl Method for Lost {
    fn begin_task(&mut self, learner: &mut Learner, _: &Task) -> Result<()> {
        if self.0.is_none() {
            self.0 = Some(Si::new(SiConfig { c: 1.0, ..SiConfig::default() }, learner.net.params())?);
        }
        Ok(())
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let si = self.0.as_mut().unwrap();
        let (step, path) =
            learner.gradients_apart(&learner.loss(batch)?, &si.penalty(learner.net.params())?)?;
        learner.apply(&step)?;
        if learner.task == 0 { si.after_step(learner.net.params(), &path) } else { Ok(()) }
    }

    fn end_task(&mut self, learner: &mut Learner, _: &Task) -> Result<()> {
        self.0.as_mut().unwrap().consolidate(learner.net.params())
    }

    fn vitals(&self, learner: &Learner) -> Result<Vitals> {
        let si = self.0.as_ref().unwrap();
        let penalty = Some(si.penalty(learner.net.params())?);
        let importance = si.importance().cloned().collect();
        Ok(Vitals { penalty, lambda: Some(1.0), importance, ..Vitals::default() })
    }
}

/// What is right with a run is not found fault with.
#[test]
fn healthy_runs_have_no_findings() {
    let memory = json!({ "per_class": 50, "batch": 32 });
    let der = json!({ "memory": 300, "batch": 32 });
    let task = Scenario::Task;
    for stream in [shuffled(task), shuffled(Scenario::Domain), stream(Scenario::Class, 5)] {
        let of = |name, config: &Value| named(name, config.clone(), &stream, &protocol(100));
        assert_found(&of("Joint", &json!({})), &[]);
        assert_found(&of("ER", &memory), &[]);
        assert_found(&of("DER++", &der), &[]);
        assert_found(&of("Rehearsal", &json!({ "memory": 300 })), &[]);
        let by_loss = &mut Replay { alpha: Some(0.6), ..Replay::healthy() };
        if stream.scenario != Scenario::Domain {
            assert_found(&watched(by_loss, &stream, &protocol(100)), &[]);
        }
        if stream.scenario == task {
            assert_found(&of("EWC", &json!({ "lambda": 100.0 })), &[]);
            assert_found(&of("SI", &json!({ "c": 1.0 })), &[]);
            assert_found(&of("MAS", &json!({ "lambda": 0.1 })), &[]);
            assert_found(&of("RWalk", &json!({})), &[]);
            assert_found(&of("LwF", &json!({})), &[]);
            assert_found(&of("PackNet", &json!({ "retrain": { "epochs": 4 }, "batch": 32 })), &[]);
        }
        if stream.scenario == Scenario::Class {
            assert_found(&of("GDumb", &json!({ "memory": 300, "epochs": 31 })), &[]);
            assert_found(&of("iCaRL", &json!({ "per_class": 50 })), &[]);
        }
    }
}

/// Real methods with bad coefficients, or where they do not belong.
#[test]
fn bad_coefficients_are_named() {
    let (task, domain, class) =
        (shuffled(Scenario::Task), shuffled(Scenario::Domain), stream(Scenario::Class, 5));
    let of = |name, config, stream| named(name, config, stream, &protocol(100));
    assert_found(&of("None", json!({}), &domain), &[Kind::ForgettingUnprotected]);
    assert_found(&of("None", json!({}), &class), &[Kind::ForgettingUnprotected]);
    assert_found(&of("EWC", json!({ "lambda": 0.1 }), &domain), &[Kind::LambdaTooSmall]);
    assert_found(&of("EWC", json!({ "lambda": 0.0 }), &domain), &[Kind::LambdaTooSmall]);
    assert_found(&of("L2", json!({ "lambda": 100.0 }), &domain), &[Kind::LambdaTooLarge]);
    assert_found(&of("EWC", json!({ "lambda": 1e4 }), &domain), &[Kind::ForgettingInSpiteOfProtection]);
    // Classes that were never seen together: what one task wants is against the others, and no penalty helps.
    assert_found(&of("EWC", json!({ "lambda": 1e4 }), &class), &[Kind::GradientConflict]);
    let reservoir = json!({ "memory": 20, "batch": 10 });
    assert_found(&of("ER-Reservoir", reservoir, &class), &[Kind::ForgettingInSpiteOfProtection]);
    let iqp = json!({ "memory": 300, "recent": 64, "batch": 32 });
    assert_found(&of("GSS-IQP", iqp, &class), &[Kind::MemoryUnbalanced]);
    let few = json!({ "per_class": 3, "batch": 32 });
    assert_found(&named("ER", few, &domain, &protocol(300)), &[Kind::MemoryTooEasy]);

    let with = |optimizer| Protocol { optimizer, ..protocol(100) };
    let er = json!({ "per_class": 50, "batch": 32 });
    let slow = named("ER", er, &task, &with(OptimizerConfig::adam(1e-4)));
    assert_found(&slow, &[Kind::AdaptationTooSlow]);
    assert!(slow.findings()[0].remedy.starts_with("Raise the learning rate"));
    // Dead units and a huge loss, which is a number: the same finding, and the other way to go.
    let wild = named("None", json!({}), &task, &with(OptimizerConfig::sgd(1e9)));
    assert_found(&wild, &[Kind::AdaptationTooSlow]);
    assert!(wild.findings()[0].remedy.starts_with("Lower the learning rate"), "{}", wild.findings()[0]);
    let beyond = named("None", json!({}), &task, &with(OptimizerConfig::sgd(1e30)));
    assert_found(&beyond, &[Kind::LossNotFinite]);
}

/// Methods with one part that does not do what it is there for.
#[test]
fn broken_parts_are_named() {
    let (task, domain, class) =
        (shuffled(Scenario::Task), shuffled(Scenario::Domain), stream(Scenario::Class, 5));
    let of = |mut replay: Replay| watched(&mut replay, &class, &protocol(100));
    let healthy = Replay::healthy;
    assert_found(&of(Replay { capacity: 150, ..healthy() }), &[Kind::MemoryOverBudget]);
    assert_found(&of(Replay { keeps: |class| class == 0, ..healthy() }), &[Kind::MemoryUnbalanced]);
    assert_found(&of(Replay { alpha: Some(0.0), ..healthy() }), &[Kind::PrioritiesDegenerate]);
    assert_found(&of(Replay { alpha: Some(20.0), ..healthy() }), &[Kind::PrioritiesDegenerate]);
    // Nothing, all but the first task, and the newest old task alone.
    assert_found(&of(Replay { draws: |_, _| false, ..healthy() }), &[Kind::OldDataNeverDrawn]);
    let all_but_one = &mut Replay { draws: |of, _| of != 0, ..healthy() };
    assert_found(&watched(all_but_one, &task, &protocol(100)), &[Kind::OldDataNeverDrawn]);
    assert_found(&of(Replay { draws: |of, now| of + 1 == now, ..healthy() }), &[Kind::OldDataNeverDrawn]);

    let on = |method: &mut dyn Method, stream| watched(method, stream, &protocol(100));
    assert_found(&on(&mut spoilt(1e4, |f| Ok(f.zeros_like()?)), &domain), &[Kind::FisherNearZero]);
    assert_found(&on(&mut spoilt(1e4, |f| Ok(f.clamp(0f32, 1e-5f32)?)), &task), &[Kind::FisherSaturated]);
    assert_found(&on(&mut Lost(None), &task), &[Kind::ImportanceNotMoving]);
}

/// 300 digits of 8 × 8 pixels, four bytes each, and their labels.
#[test]
fn bytes_are_counted_against_a_budget() {
    let class = stream(Scenario::Class, 5);
    let of = |budget| {
        let config = json!({ "memory": 300, "batch": 32 });
        let mut method = Registry::standard().build("ER-Reservoir", &config, 1).unwrap();
        let mut observer = Observer::new().with_budget(budget);
        let protocol = protocol(100);
        let mut training = Training::new(&class, &mut *method, &protocol, 1).unwrap().watched(&mut observer);
        training.run(&mut |_| Ok(())).unwrap();
        observer
    };
    assert_found(&of(300 * 65 * 4), &[]);
    let over = of(300 * 65 * 4 - 1);
    assert_found(&over, &[Kind::MemoryOverBudget]);
    let said = over.findings()[0].to_string();
    assert!(said.contains("78000 bytes of 77999 allowed"), "{said}");
}

/// The numbers are rounded as they are said.
#[test]
fn a_diagnosis_in_full() {
    let domain = shuffled(Scenario::Domain);
    let observer = named("EWC", json!({ "lambda": 0.1 }), &domain, &protocol(100));
    let said: Vec<String> = observer.findings().iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(said.join("\n\n"));
}

/// Looked at or not: the same outcome, network and saved state, for all methods, stopped in the middle too.
#[test]
fn an_observer_changes_nothing() {
    let protocol = protocol(6);
    for scenario in Scenario::ALL {
        let stream = stream(scenario, 3);
        for name in Registry::standard().names() {
            let config = match name {
                "EWC++" | "RWalk" => json!({ "every": 2 }),
                "GDumb" => json!({ "memory": 60, "epochs": 2 }),
                "MER" => json!({ "batch": 5, "batches": 2 }),
                "iCaRL" => json!({ "per_class": 10 }),
                "GSS-IQP" => json!({ "memory": 32, "recent": 32 }),
                "PackNet" => json!({ "retrain": { "epochs": 1 } }),
                "SRC" => common::src(50),
                "Independent" | "Multimodal" | "Progressive" => json!({ "hidden": [16, 8] }),
                _ => json!({}),
            };
            let build = || Registry::standard().build(name, &config, 5).unwrap();
            let (mut plain, mut looked_at) = (build(), build());
            let mut alone = Training::new(&stream, &mut *plain, &protocol, 5).unwrap();
            let Ok(expected) = alone.run(&mut |_| Ok(())) else {
                assert!(scenario == Scenario::Class, "{name} {scenario}");
                continue; // it must be told the task
            };
            let mut observer = Observer::new();
            let mut training =
                Training::new(&stream, &mut *looked_at, &protocol, 5).unwrap().watched(&mut observer);
            // Every look is interrupted once, before or after it.
            let mut calls = 0;
            let outcome = loop {
                let stopped = training.run(&mut |progress| {
                    calls += 1;
                    match progress {
                        Progress::Evaluate | Progress::Resume if calls % 3 == 0 => Err(Error::Interrupted),
                        _ => Ok(()),
                    }
                });
                match stopped {
                    Ok(outcome) => break outcome,
                    Err(Error::Interrupted) => {}
                    Err(error) => panic!("{name} {scenario}: {error}"),
                }
            };
            assert_eq!(outcome, expected, "{name} {scenario}");
            assert_eq!(bits(training.learner()), bits(alone.learner()), "{name} {scenario}");
            assert!(training.save().unwrap() == alone.save().unwrap(), "{name} {scenario}");
            let steps: Vec<u64> = observer.trace().observations.iter().map(|o| o.step).collect();
            assert_eq!(steps, (0..18).collect::<Vec<_>>(), "{name}: every step of a task of few, once");
        }
    }
}

/// Twenty looks a task; what is seen adds up.
#[test]
fn what_is_seen_adds_up() {
    let class = stream(Scenario::Class, 3);
    let observer = named("ER", json!({ "per_class": 20, "batch": 30 }), &class, &protocol(100));
    let Trace { classes, observations, curves, baseline, rows, .. } = observer.trace();
    assert_eq!(*classes, [vec![0, 1], vec![2, 3], vec![4, 5]]);
    let steps: Vec<u64> = observations.iter().map(|o| o.step).collect();
    assert_eq!(steps, (0..60).map(|look| 5 * look).collect::<Vec<_>>());
    assert_eq!((baseline.len(), rows.len(), curves.len()), (3, 3, 3));
    for curve in curves {
        let steps: Vec<u64> = curve.points.iter().map(|point| point.0).collect();
        assert_eq!(steps, (0..=20).map(|look| 5 * look).collect::<Vec<_>>());
        // So few test samples that all are measured.
        assert_eq!(curve.points[20].1, rows[curve.task][curve.task]);
    }
    for o in observations {
        let memory = o.memory.as_ref().unwrap();
        assert_eq!(o.cosine.is_some(), o.task > 0);
        assert_eq!(memory.by_task, (0..o.task).map(|task| (task, 40)).collect());
        let drawn: u64 = memory.drawn.as_ref().unwrap().values().sum();
        assert_eq!(drawn, if o.step > 100 { 150 } else { 0 }, "step {}", o.step);
        assert_eq!(memory.losses.len(), (40 * o.task).min(100));
    }
    // Of each method's memory, in the domain scenario too, where classes do not tell the task.
    for scenario in [Scenario::Class, Scenario::Domain] {
        let stream = stream(scenario, 3);
        for (name, config, knows) in [
            ("ER", json!({}), true),
            ("A-GEM", json!({}), true),
            ("A-GEM", json!({ "keep": "newest", "batch": 16 }), true),
            ("S-GEM", json!({}), true),
            ("GEM", json!({ "per_task": 50 }), true),
            ("ER-Ring", json!({ "per_class": 10 }), scenario == Scenario::Class),
            ("ER-Reservoir", json!({}), scenario == Scenario::Class),
            ("DER", json!({ "batch": 16 }), scenario == Scenario::Class),
            ("DER++", json!({ "batch": 16 }), scenario == Scenario::Class),
            ("MIR", json!({}), scenario == Scenario::Class),
            ("GSS-greedy", json!({ "memory": 64 }), scenario == Scenario::Class),
        ] {
            let observer = named(name, config, &stream, &protocol(20));
            let last = observer.trace().observations.last().unwrap().memory.as_ref().unwrap();
            assert!(!last.is_empty() && last.capacity.is_none_or(|most| last.len() <= most), "{name}");
            assert_eq!(last.drawn.is_some(), knows, "{name} {scenario}");
            if let Some(drawn) = &last.drawn {
                assert!(drawn.values().sum::<u64>() > 0, "{name} {scenario}");
                assert!(drawn.keys().all(|task| last.by_task.contains_key(task)), "{name} {scenario}");
            }
        }
    }
}
