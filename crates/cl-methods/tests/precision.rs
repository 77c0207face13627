//! Whole runs in half precision.
#![allow(clippy::unwrap_used)]

use cl_core::Result;
use cl_data::{ClassOrder, Samples, Scenario, Stream, Task};
use cl_methods::train::{Budget, Outcome, Precision, Progress, Training, train};
use cl_methods::{Batch, Learner, Method, Protocol, Registry};
use cl_nn::{LossScale, LossScaler, OptimizerConfig};
use serde_json::{Value, json};

/// Name and coefficients.
type Named = (&'static str, fn() -> Value);

const METHODS: [Named; 7] = [
    ("None", || json!({})),
    ("Joint", || json!({})),
    ("L2", || json!({ "lambda": 0.1 })),
    ("EWC", || json!({ "lambda": 100.0 })),
    ("Online EWC", || json!({ "lambda": 100.0 })),
    ("SI", || json!({ "c": 1.0 })),
    ("ER", || json!({ "per_class": 20, "batch": 32 })),
];

fn stream() -> Stream {
    cl_data::split(&cl_data::load("digits").unwrap(), 5, Scenario::Task, ClassOrder::Fixed).unwrap()
}

fn protocol(precision: Precision) -> Protocol {
    Protocol { hidden: vec![50, 50], budget: Budget::Iterations(60), precision, ..Protocol::default() }
}

fn run(stream: &Stream, name: &str, config: &Value, protocol: &Protocol) -> Outcome {
    let mut method = Registry::standard().build(name, config, 3).unwrap();
    train(stream, &mut *method, protocol, 3, &mut |_| Ok(())).unwrap()
}

fn mean(row: &[f64]) -> f64 {
    row.iter().sum::<f64>() / row.len() as f64
}

/// What is learnt in half precision is what is learnt in f32: the mean accuracy after the last task is within 3 points. Of 360 test
/// samples three points are eleven; the roundings change which way a few samples near a border go.
#[test]
fn learns_as_in_f32() {
    let stream = stream();
    for (name, config) in METHODS {
        for optimizer in [OptimizerConfig::adam(1e-3), OptimizerConfig::sgd(0.05)] {
            let [full, bf16, f16] = [Precision::F32, Precision::Bf16, Precision::F16].map(|precision| {
                let outcome = run(&stream, name, &config(), &Protocol { optimizer, ..protocol(precision) });
                mean(outcome.r.last().unwrap())
            });
            assert!(full > 0.75, "{name} learns: {full}");
            for half in [bf16, f16] {
                assert!(
                    (half - full).abs() <= 0.03,
                    "{name} {optimizer:?}: {half} in half precision, {full} in f32"
                );
            }
        }
    }
}

/// The steps are in half precision indeed, and the same every time.
#[test]
fn is_another_run_than_in_f32() {
    let stream = stream();
    let bits = |precision| run(&stream, "None", &json!({}), &protocol(precision)).bits.unwrap();
    let all = [Precision::F32, Precision::Bf16, Precision::F16].map(bits);
    assert_ne!(all[0], all[1]);
    assert_ne!(all[0], all[2]);
    assert_eq!(all[1], bits(Precision::Bf16));
    assert_eq!(all[2], bits(Precision::F16));
}

/// A method with a scale of the loss that every gradient overflows with.
struct FarTooLarge(Box<dyn Method>);

impl Method for FarTooLarge {
    fn can_train_in_half(&self) -> bool {
        self.0.can_train_in_half()
    }

    fn curriculum(&self, stream: &Stream) -> Result<Vec<Task>> {
        self.0.curriculum(stream)
    }

    fn data(&self, task: &Task) -> Result<Samples> {
        self.0.data(task)
    }

    fn begin_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        if learner.task == 0 {
            let initial = 2f64.powi(40);
            let scale = LossScale::Dynamic { initial, growth: 2.0, backoff: 0.125, interval: 2000 };
            learner.scaler = Some(LossScaler::new(scale, &learner.device())?);
        }
        self.0.begin_task(learner, task)
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        self.0.observe(learner, batch)
    }

    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        self.0.end_task(learner, task)
    }
}

/// A run in f16 whose first scales are far too large skips steps until they fit, and learns as the others do: SI too, whose path
/// would be NaN where a gradient that overflowed met a step that was not taken.
#[test]
fn f16_recovers_from_overflows() {
    let stream = stream();
    let protocol = protocol(Precision::F16);
    for (name, config) in METHODS {
        let config = config();
        let mut method = FarTooLarge(Registry::standard().build(name, &config, 3).unwrap());
        let mut training = Training::new(&stream, &mut method, &protocol, 3).unwrap();
        let forced = training.run(&mut |_| Ok(())).unwrap();
        let skipped = training.learner().scaler.as_ref().unwrap().skipped().unwrap();
        assert!((4..20).contains(&skipped), "{name}: {skipped} steps were skipped");
        let plain = run(&stream, name, &config, &protocol);
        let [forced, plain] = [&forced, &plain].map(|outcome| mean(outcome.r.last().unwrap()));
        assert!((forced - plain).abs() <= 0.04, "{name}: {forced} after overflows, {plain} without");
    }
}

/// Stopped, saved and gone on with: the scale too.
#[test]
fn goes_on_where_it_stopped() {
    let stream = stream();
    let protocol = Protocol { budget: Budget::Iterations(10), ..protocol(Precision::F16) };
    for (name, config) in METHODS {
        let build = || Registry::standard().build(name, &config(), 0).unwrap();
        let mut method = build();
        let mut training = Training::new(&stream, &mut *method, &protocol, 0).unwrap();
        // All tasks of `Joint` are one phase, of as many steps.
        let stopped = training.run(&mut |progress| match progress {
            Progress::Step { done: 25, .. } => Err(cl_core::Error::Interrupted),
            _ => Ok(()),
        });
        assert!(stopped.is_err());
        let saved = training.save().unwrap();
        let mut method = build();
        let mut training = Training::restore(&stream, &mut *method, &protocol, 0, &saved).unwrap();
        let outcome = training.run(&mut |_| Ok(())).unwrap();
        let mut method = build();
        let in_one = train(&stream, &mut *method, &protocol, 0, &mut |_| Ok(())).unwrap();
        assert_eq!(outcome, in_one, "{name}");
        let mut method = build();
        let full = Protocol { precision: Precision::F32, ..protocol.clone() };
        let error = Training::restore(&stream, &mut *method, &full, 0, &saved).err().unwrap().to_string();
        assert!(error.contains("F16"), "{error}");
    }
}

/// What does not train through the learner alone says so, before it does.
#[test]
fn other_methods_refuse() {
    let stream = stream();
    let registry = Registry::standard();
    for name in registry.names().filter(|name| METHODS.iter().all(|(other, _)| name != other)) {
        let mut method = registry.build(name, &json!({}), 0).unwrap();
        let protocol = protocol(Precision::Bf16);
        let error = Training::new(&stream, &mut *method, &protocol, 0).err().unwrap().to_string();
        assert!(error.contains("trains in f32 only, not in bf16"), "{name}: {error}");
    }
}
