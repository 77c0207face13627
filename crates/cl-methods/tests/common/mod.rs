//! What the tests of the crate share: short runs on the handwritten digits.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::OnceLock;

use candle_core::Tensor;
use cl_core::Result;
use cl_data::{ClassOrder, DataSet, LastBatch, Samples, Scenario, Stream, Task};
use cl_methods::train::{Budget, Outcome, Protocol, train};
use cl_methods::{Batch, Learner, Method, Registry};
use cl_nn::OptimizerConfig;
use serde_json::Value;

/// The first `tasks` of five tasks of two digits each.
pub fn stream(scenario: Scenario, tasks: usize) -> Stream {
    static DIGITS: OnceLock<DataSet> = OnceLock::new();
    let digits = DIGITS.get_or_init(|| cl_data::load("digits").unwrap());
    let mut stream = cl_data::split(digits, 5, scenario, ClassOrder::Fixed).unwrap();
    stream.tasks.truncate(tasks);
    stream
}

/// One hidden layer of 32, batches of 32, so many steps a task.
pub fn protocol(steps: usize) -> Protocol {
    Protocol {
        heads: cl_methods::train::Heads::OneLayer,
        hidden: vec![32],
        optimizer: OptimizerConfig::adam(0.005),
        reset_optimizer: false,
        batch: 32,
        order: cl_data::Order::Shuffled,
        last_batch: LastBatch::Drop,
        budget: Budget::Iterations(steps),
        weights: cl_methods::train::Weights::FanIn,
        precision: cl_nn::Precision::F32,
    }
}

/// SRC for the network above, with so many steps in the first sleep.
pub fn src(steps: usize) -> Value {
    serde_json::json!({
        "steps": steps,
        "more": 100,
        "window": { "image": [1, 8, 8], "side": 4 },
        "spiking": { "thresholds": [14.5, 38.0] },
    })
}

/// Coefficients of which one is another.
pub fn changed(mut config: Value, name: &str, value: Value) -> Value {
    config[name] = value;
    config
}

/// A run, and the parameters (as bits) after each of its tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub outcome: Outcome,
    pub params: Vec<Vec<u32>>,
}

impl Run {
    /// The accuracy at the end, the mean over all tasks.
    pub fn accuracy(&self) -> f64 {
        let last = self.outcome.r.last().unwrap();
        last.iter().sum::<f64>() / last.len() as f64
    }
}

/// Trains a method of the registry.
pub fn run(name: &str, config: Value, stream: &Stream, steps: usize, seed: u64) -> Run {
    let inner = Registry::standard().build(name, &config, seed).unwrap();
    let mut method = Recorder { inner, retrains: matches!(name, "PackNet" | "SRC"), params: Vec::new() };
    let outcome = train(stream, &mut method, &protocol(steps), seed, &mut |_| Ok(())).unwrap();
    Run { outcome, params: method.params }
}

pub fn bits(learner: &Learner) -> Vec<u32> {
    let flat = learner.net.params().flat().unwrap().to_vec1::<f32>().unwrap();
    flat.into_iter().map(f32::to_bits).collect()
}

/// Another method, and a look at the parameters when its tasks end.
struct Recorder {
    inner: Box<dyn Method>,
    /// Whether it changes the network when a task ends.
    retrains: bool,
    params: Vec<Vec<u32>>,
}

impl Method for Recorder {
    fn curriculum(&self, stream: &Stream) -> Result<Vec<Task>> {
        self.inner.curriculum(stream)
    }

    fn data(&self, task: &Task) -> Result<Samples> {
        self.inner.data(task)
    }

    fn begin_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        self.inner.begin_task(learner, task)
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        self.inner.observe(learner, batch)
    }

    fn predict(&self, learner: &Learner, task: &Task, x: &Tensor) -> Result<Tensor> {
        self.inner.predict(learner, task, x)
    }

    /// None of the standard methods may change the network when a task ends, but for PackNet, which prunes it then,
    /// and SRC, which sleeps, and both must.
    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        self.params.push(bits(learner));
        self.inner.end_task(learner, task)?;
        let changed = Some(&bits(learner)) != self.params.last();
        assert_eq!(changed, self.retrains, "consolidation changed the parameters, or PackNet or SRC did not");
        if changed {
            self.params.pop();
            self.params.push(bits(learner));
        }
        Ok(())
    }
}

/// Another method, and the bits of what it predicts for all tasks after each.
pub struct Answers {
    pub inner: Box<dyn Method>,
    pub tasks: Vec<Task>,
    /// `after[i][j]`: for the test samples of task j, after task i.
    pub after: Vec<Vec<Vec<u32>>>,
}

impl Method for Answers {
    fn begin_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        self.inner.begin_task(learner, task)
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        self.inner.observe(learner, batch)
    }

    fn predict(&self, learner: &Learner, task: &Task, x: &Tensor) -> Result<Tensor> {
        self.inner.predict(learner, task, x)
    }

    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        self.inner.end_task(learner, task)?;
        let answers = |task: &Task| -> Result<Vec<u32>> {
            let outputs = self.inner.predict(learner, task, &task.test.all()?.x)?;
            Ok(outputs.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
        };
        self.after.push(self.tasks[..=task.index].iter().map(answers).collect::<Result<_>>()?);
        Ok(())
    }
}

/// A learner for a stream that is not trained.
pub fn learner(stream: &Stream) -> Learner {
    let mut rng = cl_core::rng(0, "weights");
    let widths = [64, stream.outputs];
    Learner {
        net: cl_nn::Mlp::new(&widths, candle_core::DType::F32, &candle_core::Device::Cpu, &mut rng).unwrap(),
        optimizer: cl_nn::Optimizer::new(OptimizerConfig::sgd(0.1)).unwrap(),
        precision: cl_nn::Precision::F32,
        scaler: None,
        scenario: stream.scenario,
        task: 0,
        classes_per_task: stream.tasks[0].classes.len(),
    }
}
