//! Steps of whole methods on a stream of small batches, beside Avalanche's and bare PyTorch's.
//!
//! All on 784-100-100-10 with SGD, batches of 10 (MER: one sample at a time), in the second task, so that every memory is
//! filled. Inputs are synthetic, in [0, 1]. Only samples of the stream are counted, not replayed ones.
//!
//! | case | one step |
//! |---|---|
//! | `er` | a reservoir of 200, 10 replayed |
//! | `der++` | a reservoir of 200 with its outputs, two draws of 10 |
//! | `a-gem` | 250 samples of the first task, a reference gradient on all of them |
//! | `gss` | GSS-greedy: a memory of 300, 10 directions, one replayed batch |
//! | `mer` | algorithm 1: a reservoir of 200, 5 batches of 10 replayed samples and the new one, each its own step |

use candle_core::{DType, Device, Tensor};
use cl_core::{Result, Units};
use cl_data::{Samples, Scenario, Task, Transform};
use cl_methods::{Batch, Learner, Method, Registry};
use cl_nn::{Mlp, Optimizer, OptimizerConfig, Precision};
use rand::Rng as _;
use serde_json::{Value, json};

use super::{Case, Comparison, Contest, Entry, Environment, Heading, Peer, Unit, aim};

const PYTORCH: &str = "pytorch";
const AVALANCHE: &str = "avalanche";

const ENVIRONMENT: Environment =
    Environment { requirements: "requirements.txt", cache: "", variable: super::VENV_VARIABLE, each: false };

/// `cargo xtask bench method-speed`.
pub static METHODS: Contest = Contest {
    heading: Heading { name: "method-speed", title: "Speed of methods", unit: Unit::SamplesPerSecond },
    cases: CASES,
    comparisons: COMPARISONS,
    peers: &[
        Peer { name: PYTORCH, worker: "pytorch_methods", environment: &ENVIRONMENT, avx512_stub: false },
        Peer { name: AVALANCHE, worker: "avalanche_methods", environment: &ENVIRONMENT, avx512_stub: false },
    ],
};

const COMPARISONS: &[Comparison] = &[
    aim("er", AVALANCHE, "er", 8.0),
    aim("er", PYTORCH, "er", 2.5),
    aim("der++", AVALANCHE, "der++", 8.0),
    aim("der++", PYTORCH, "der++", 2.5),
    aim("a-gem", AVALANCHE, "a-gem", 8.0),
    aim("a-gem", PYTORCH, "a-gem", 2.5),
    aim("gss", AVALANCHE, "gss", 8.0),
    aim("gss", PYTORCH, "gss", 2.5),
    aim("mer", AVALANCHE, "mer", 8.0),
    aim("mer", PYTORCH, "mer", 2.5),
];

const CASES: &[Entry] = &[
    Entry::new("er", || OfMethod::make("ER-Reservoir", json!({ "memory": 200, "batch": 10 }), 10)),
    Entry::new("der++", || {
        OfMethod::make("DER++", json!({ "memory": 200, "batch": 10, "alpha": 0.5, "beta": 0.5 }), 10)
    }),
    Entry::new("a-gem", || OfMethod::make("A-GEM", json!({ "per_class": 25, "batch": 250 }), 10)),
    Entry::new("gss", || {
        let config = json!({ "memory": 300, "batch": 10, "directions": 10, "iterations": 1 });
        OfMethod::make("GSS-greedy", config, 10)
    }),
    Entry::new("mer", || {
        let config = json!({ "memory": 200, "batch": 10, "batches": 5, "beta": 0.01, "gamma": 1.0 });
        OfMethod::make("MER", config, 1)
    }),
];

/// Samples of a task, trained on over and over.
const SAMPLES: usize = 2_000;
const FEATURES: usize = 784;
const CLASSES: u32 = 10;
const DEVICE: Device = Device::Cpu;

/// A method of the registry in its second task.
struct OfMethod {
    method: Box<dyn Method>,
    learner: Learner,
    task: Task,
    batch: usize,
    next: usize,
}

impl OfMethod {
    fn make(name: &str, config: Value, batch: usize) -> Result<Box<dyn Case>> {
        let net = Mlp::new(
            &[FEATURES, 100, 100, CLASSES as usize],
            DType::F32,
            &DEVICE,
            &mut cl_core::rng(0, "weights"),
        )?;
        let mut learner = Learner {
            net,
            optimizer: Optimizer::new(OptimizerConfig::sgd(0.01))?,
            precision: Precision::F32,
            scaler: None,
            scenario: Scenario::Domain,
            task: 0,
            classes_per_task: CLASSES as usize,
        };
        let mut method = Registry::standard().build(name, &config, 0)?;
        let first = task(0)?;
        method.begin_task(&mut learner, &first)?;
        for at in (0..SAMPLES.min(100 * batch)).step_by(batch) {
            method.observe(&mut learner, &rows(&first, at, batch)?)?;
        }
        method.end_task(&mut learner, &first)?;
        learner.task = 1;
        let task = task(1)?;
        method.begin_task(&mut learner, &task)?;
        Ok(Box::new(Self { method, learner, task, batch, next: 0 }))
    }
}

fn task(index: usize) -> Result<Task> {
    let mut rng = cl_core::rng(index as u64, "speed");
    let x: Vec<f32> = (0..SAMPLES * FEATURES).map(|_| rng.random()).collect();
    let y: Vec<u32> = (0..SAMPLES).map(|_| rng.random_range(0..CLASSES)).collect();
    let x = Tensor::from_vec(x, (SAMPLES, FEATURES), &DEVICE)?;
    let samples = Samples::new(x, Tensor::from_vec(y, SAMPLES, &DEVICE)?)?;
    Ok(Task {
        index,
        classes: (0..CLASSES).collect(),
        units: Units::All,
        transform: std::sync::Arc::new(Transform::None),
        train: samples.clone().into(),
        test: samples.into(),
    })
}

fn rows(task: &Task, from: usize, n: usize) -> Result<Batch> {
    Ok(Batch { samples: task.train.slice(from..from + n)?, units: task.units })
}

impl Case for OfMethod {
    fn run(&mut self, steps: usize) -> Result<usize> {
        for _ in 0..steps {
            if self.next + self.batch > SAMPLES {
                self.next = 0;
            }
            let batch = rows(&self.task, self.next, self.batch)?;
            self.next += self.batch;
            self.method.observe(&mut self.learner, &batch)?;
        }
        Ok(steps * self.batch)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_case_runs_and_is_compared_with_something() {
        for entry in CASES {
            assert!((entry.make)().unwrap().run(2).unwrap() > 0);
            assert!(COMPARISONS.iter().any(|c| c.case == entry.name), "{}", entry.name);
        }
    }
}
