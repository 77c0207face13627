//! The loop: task by task, batch by batch, and the accuracy on every task after each.

use candle_core::{DType, Device, Tensor};
use cl_core::init::Init;
use cl_core::{Error, Result, Units};
use cl_data::{Batches, LastBatch, Scenario, Stream, TaskSamples};
use cl_nn::{Mlp, Optimizer, OptimizerConfig};
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method};

/// How long a task is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// So many steps per task.
    Iterations(usize),
    /// So many passes over the data of the task.
    Epochs(usize),
}

/// How the output units of the task scenario are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heads {
    /// As blocks of one layer (van de Ven et al. 2022): the optimizer counts its steps for all at once.
    #[default]
    OneLayer,
    /// As layers of their own (Hsu et al. 2018): each begins with its task.
    Apart,
}

impl Heads {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Everything about training that is not the method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// How the output units of the task scenario are kept.
    #[serde(default, skip_serializing_if = "Heads::is_default")]
    pub heads: Heads,
    /// The optimizer.
    pub optimizer: OptimizerConfig,
    /// Whether it forgets its state at the beginning of each task.
    pub reset_optimizer: bool,
    /// Samples in a minibatch.
    pub batch: usize,
    /// What becomes of the samples that do not fill a minibatch.
    pub last_batch: LastBatch,
    /// How long a task is trained on.
    pub budget: Budget,
    /// What the weights of the network are drawn from.
    #[serde(default, skip_serializing_if = "Weights::is_default")]
    pub weights: Weights,
}

/// What the weights of a network are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// U(−1/√inputs, 1/√inputs), biases too: PyTorch's default.
    #[default]
    FanIn,
    /// Glorot & Bengio 2010, uniform; biases are 0.
    Xavier,
}

impl Weights {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Protocol {
    /// Two layers of 400, Adam at 0.001, minibatches of 128, 2000 steps a task: van de Ven et al. 2022.
    fn default() -> Self {
        Self {
            hidden: vec![400, 400],
            heads: Heads::OneLayer,
            optimizer: OptimizerConfig::adam(0.001),
            reset_optimizer: false,
            batch: 128,
            last_batch: LastBatch::Drop,
            budget: Budget::Iterations(2000),
            weights: Weights::FanIn,
        }
    }
}

/// What a run gives: fractions, not percent.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Accuracy of the untrained network on every task.
    pub baseline: Vec<f64>,
    /// `r[i][j]`: accuracy on the test samples of task j after training phase i. A method that trains on
    /// everything at once has one phase.
    pub r: Vec<Vec<f64>>,
    /// Samples of the stream that were trained on, replayed ones not counted.
    pub samples: u64,
}

/// Where a run is; given to the caller's callback before every step and around every evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Before a step: `done` of `total` steps of the whole run are taken.
    Step {
        /// Steps taken.
        done: usize,
        /// Steps in all.
        total: usize,
    },
    /// Training pauses for an evaluation.
    Evaluate,
    /// The evaluation is over.
    Resume,
}

/// Trains one network on a stream. All randomness comes from `seed`. `progress` is called as the run goes
/// on; an error from it, such as [`cl_core::Error::Interrupted`], ends the run.
pub fn train(
    stream: &Stream,
    method: &mut dyn Method,
    protocol: &Protocol,
    seed: u64,
    progress: &mut dyn FnMut(Progress) -> Result<()>,
) -> Result<Outcome> {
    let curriculum = method.curriculum(stream)?;
    let phases = curriculum.len().max(1);
    let inputs: usize = stream.image.iter().product();
    let widths: Vec<usize> =
        std::iter::once(inputs).chain(protocol.hidden.iter().copied()).chain([stream.outputs]).collect();
    let heads = match (protocol.heads, stream.scenario) {
        (Heads::Apart, Scenario::Task) => stream.tasks.len(),
        _ => 1,
    };
    let net = Mlp::with_heads(&widths, heads, DType::F32, &Device::Cpu, &mut cl_core::rng(seed, "weights"))?;
    if protocol.weights == Weights::Xavier {
        net.draw(Init::Xavier, Init::Zeros, &mut cl_core::rng(seed, "weights"))?;
    }
    let mut learner = Learner {
        net,
        optimizer: Optimizer::new(protocol.optimizer)?,
        scenario: stream.scenario,
        task: 0,
        classes_per_task: stream.tasks.first().map_or(1, |task| task.classes.len()),
    };
    progress(Progress::Evaluate)?;
    let mut outcome =
        Outcome { baseline: accuracies(&*method, &learner, stream)?, r: Vec::new(), samples: 0 };
    progress(Progress::Resume)?;
    let mut done = 0;
    for (phase, task) in curriculum.iter().enumerate() {
        learner.task = phase;
        if protocol.reset_optimizer {
            learner.optimizer.reset();
        }
        let data = method.data(task)?;
        let rng = cl_core::rng(seed, &format!("batches of phase {phase}"));
        let mut batches = Batches::new(data.len(), protocol.batch, rng, protocol.last_batch)?;
        let steps = match protocol.budget {
            Budget::Iterations(n) => n * stream.tasks.len() / phases,
            Budget::Epochs(n) => n * batches.per_epoch(),
        };
        method.begin_task(&mut learner, task)?;
        for step in 0..steps {
            progress(Progress::Step { done: done + step, total: done + steps * (phases - phase) })?;
            let batch = Batch { samples: data.gather(batches.next_batch())?, units: task.units };
            outcome.samples += batch.samples.len() as u64;
            method.observe(&mut learner, &batch)?;
        }
        done += steps;
        method.end_task(&mut learner, task)?;
        progress(Progress::Evaluate)?;
        outcome.r.push(accuracies(&*method, &learner, stream)?);
        progress(Progress::Resume)?;
    }
    Ok(outcome)
}

/// Accuracy on the test samples of every task. Where the task is given, the decision is among its units;
/// otherwise among all, those of classes not yet seen included.
fn accuracies(method: &dyn Method, learner: &Learner, stream: &Stream) -> Result<Vec<f64>> {
    stream
        .tasks
        .iter()
        .map(|task| {
            let units = match task.units {
                Units::Block(n) => Units::Block(n),
                Units::All | Units::First(_) => Units::All,
            };
            accuracy(|x| method.predict(learner, task, x), &task.test, units)
        })
        .collect()
}

/// So few that they stay in the caches.
const EVALUATED_AT_A_TIME: usize = 1000;

/// The fraction of samples whose most active unit of what is predicted, among `units`, is the target. Every sample counts.
///
/// # Errors
/// No samples.
pub fn accuracy(
    predict: impl Fn(&Tensor) -> Result<Tensor>,
    samples: &TaskSamples,
    units: Units,
) -> Result<f64> {
    if samples.is_empty() {
        return Err(Error::invalid("test samples", "there are none to be right about"));
    }
    let mut right = 0usize;
    for from in (0..samples.len()).step_by(EVALUATED_AT_A_TIME) {
        let chunk = samples.slice(from..samples.len().min(from + EVALUATED_AT_A_TIME))?;
        let logits = predict(&chunk.x)?.to_vec2::<f32>()?;
        for (logits, y) in logits.iter().zip(chunk.labels()?) {
            let range = units.range(y as usize, logits.len());
            let best =
                range.clone().fold(range.start, |best, i| if logits[i] > logits[best] { i } else { best });
            right += usize::from(best == y as usize);
        }
    }
    Ok(right as f64 / samples.len() as f64)
}
