//! The suite `src-sleep`: sleep replay consolidation (Tadros et al. 2022) on MNIST in five class-incremental tasks, as the authors'
//! `run_class_task_summary.m` has it, with the accuracy on every task before and after every sleep.
//!
//! Beside it stand the same training without sleep, and training on all images at once. As in the authors' code the scales of the
//! layers are of the largest activations on all training images of the classes seen so far, which a learner that keeps nothing does
//! not have: `SRC` as such looks at the task just learned. What drives sleep is the mean of the images that were trained on, where
//! the authors take that of all training images of the classes.

mod findings;
#[cfg(test)]
mod tests;

use std::fmt;

use candle_core::Tensor;
use cl_core::{Result, Units};
use cl_data::{ClassOrder, LastBatch, Order, Samples, Scenario, Stream, Task};
use cl_methods::train::{Budget, Heads, Training, Weights, accuracy};
use cl_methods::{Batch, Learner, Method, Registry};
use cl_nn::OptimizerConfig;
use cl_sleep::{SpikingConfig, Window};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::experiment::{Experiment, Measured, Run};
use crate::images::images;
use crate::report::study::Study;

/// What is held fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// The data set.
    pub data: String,
    /// Tasks that share its classes.
    pub tasks: usize,
    /// The first so many images of each task are trained on; all of them at once by the upper bound.
    pub images: usize,
    /// How the network is trained.
    pub training: cl_methods::Protocol,
    /// The coefficients of `SRC`.
    pub method: Value,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            data: "mnist".into(),
            tasks: 5,
            images: 5000,
            training: cl_methods::Protocol {
                hidden: vec![1200, 1200],
                heads: Heads::OneLayer,
                optimizer: OptimizerConfig::Sgd { lr: 0.1, momentum: 0.5, weight_decay: 0.0 },
                reset_optimizer: false,
                batch: 100,
                order: Order::Shuffled,
                last_batch: LastBatch::Drop,
                budget: Budget::Epochs(2),
                weights: Weights::Small,
                precision: cl_nn::Precision::F32,
            },
            method: json!({
                "steps": 15_000,
                "more": 5_000,
                "window": Window::MNIST,
                "dropout": 0.25,
                "spiking": SpikingConfig::default(),
            }),
        }
    }
}

/// What one run measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// All images of all classes at once, never asleep.
    Joint,
    /// Task after task, never asleep.
    Control,
    /// Task after task, and a sleep after each.
    Sleep,
    /// The same, where the first sleep, which has nothing to bring back, may cost half a point on the first task's training images.
    HeldBack,
}

impl Part {
    fn sleeps(self) -> bool {
        matches!(self, Self::Sleep | Self::HeldBack)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Joint => "joint",
            Self::Control => "no sleep",
            Self::Sleep => "SRC",
            Self::HeldBack => "SRC, first sleep held back",
        })
    }
}

impl Protocol {
    /// The tasks of a part.
    fn stream(&self, part: Part) -> Result<Stream> {
        let tasks = if part == Part::Joint { 1 } else { self.tasks };
        let mut stream = cl_data::split(&*images(&self.data)?, tasks, Scenario::Class, ClassOrder::Fixed)?;
        if part != Part::Joint {
            for task in &mut stream.tasks {
                task.train = task.train.first(self.images)?;
            }
        }
        Ok(stream)
    }
}

impl Experiment for Protocol {
    const NAME: &'static str = "src-sleep";
    const SEEDS: u64 = 10;
    type Part = Part;

    fn parts(&self) -> Vec<Part> {
        vec![Part::Joint, Part::Control, Part::Sleep, Part::HeldBack]
    }

    fn measure(&self, part: &Part, seed: u64) -> Result<Measured> {
        let stream = self.stream(*part)?;
        let mut config = self.method.clone();
        if *part == Part::HeldBack {
            config["first_cost"] = json!(0.005);
        }
        if !part.sleeps() {
            (config["steps"], config["more"]) = (json!(0), json!(0));
        }
        let inner = Registry::standard().build("SRC", &config, seed)?;
        let mut all = Vec::new();
        if part.sleeps() {
            all =
                cl_data::split(&*images(&self.data)?, self.tasks, Scenario::Class, ClassOrder::Fixed)?.tasks;
        }
        let mut method = Watched { inner, tasks: &stream.tasks, all, before: Vec::new() };
        let outcome = Training::new(&stream, &mut method, &self.training, seed)?.run(&mut |_| Ok(()))?;
        let images = stream.tasks.iter().map(|task| task.test.len() as f64).collect();
        let mut measured = Measured::of("after", outcome.r.concat());
        measured.values.insert("test images".into(), images);
        if part.sleeps() {
            measured.values.insert("before".into(), method.before);
        }
        Ok(measured)
    }

    fn study(&self, runs: &[&Run<Part>]) -> Result<Study> {
        findings::study(self, runs)
    }
}

/// A method, and the accuracies on all tasks when one has been trained on, before the network sleeps.
struct Watched<'a> {
    inner: Box<dyn Method>,
    tasks: &'a [Task],
    /// The tasks with all their training images, where it sleeps.
    all: Vec<Task>,
    /// Task by task, for each task that was learned.
    before: Vec<f64>,
}

impl Method for Watched<'_> {
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
        for of in self.tasks {
            let predict = |x: &Tensor| self.inner.predict(learner, of, x);
            self.before.push(accuracy(predict, &of.test, Units::All)?);
        }
        if self.all.is_empty() {
            return self.inner.end_task(learner, task);
        }
        let seen =
            self.all.iter().take(task.index + 1).map(|of| of.train.all()).collect::<Result<Vec<_>>>()?;
        let train = Samples::concat(&seen.iter().collect::<Vec<_>>())?.into();
        self.inner.end_task(learner, &Task { train, ..task.clone() })
    }
}
