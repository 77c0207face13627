//! What was observed of a run: plain data, every part optional.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::number;

/// What was observed of a run. A method reports what it has; what is missing is not judged.
///
/// Steps and tasks count from 0, classes are output units, accuracies fractions in 0..1. The texts of findings
/// count tasks from 1, as papers do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trace {
    /// `classes[k]`: the target units that occur in task k, those of all tasks of the stream.
    pub classes: Vec<Vec<u32>>,
    /// The weight of the penalty as configured, where there is one: read for the remedies only.
    pub lambda: Option<f64>,
    /// Whether something works against forgetting that no number here shows, such as the outputs of an old network.
    pub protects: bool,
    /// In the order of steps, at intervals; 20 and more for each task are a good number.
    pub observations: Vec<Observation>,
    /// How tasks were learned, at most one for each task and measure.
    pub curves: Vec<Curve>,
    /// Accuracy of the untrained network on every task.
    pub baseline: Vec<f64>,
    /// `rows[t][j]`: accuracy on task j after task t, as far as the run has come.
    pub rows: Vec<Vec<f64>>,
}

/// What was seen at one step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observation {
    /// Steps taken in the whole run before this one.
    pub step: u64,
    /// The task being learned.
    pub task: usize,
    /// The loss on the current batch, without the penalty. May be NaN: that is a finding.
    #[serde(with = "number")]
    pub loss: Option<f64>,
    /// The penalty, as it is added to the loss: λ is in it.
    #[serde(with = "number")]
    pub penalty: Option<f64>,
    /// ‖∇‖₂ of `loss`, over all trainable parameters.
    #[serde(with = "number")]
    pub gradient_norm: Option<f64>,
    /// ‖∇‖₂ of `penalty`.
    #[serde(with = "number")]
    pub penalty_gradient_norm: Option<f64>,
    /// The cosine between ∇ of `loss` and the gradient on samples of past tasks. `None` in the first task.
    #[serde(with = "number")]
    pub cosine: Option<f64>,
    /// The memory of samples.
    pub memory: Option<Memory>,
    /// The priorities that samples are drawn by.
    pub priorities: Option<Priorities>,
    /// The importance of the parameters (Fisher information, Ω). `None` before the first consolidation.
    pub importance: Option<Importance>,
}

/// A memory of samples.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Stored samples of each class.
    pub by_class: BTreeMap<u32, u64>,
    /// Stored samples of each task, where the memory knows the task.
    pub by_task: BTreeMap<usize, u64>,
    /// How many samples it may hold.
    pub capacity: Option<u64>,
    /// Bytes it takes.
    pub bytes: Option<u64>,
    /// Bytes it may take.
    pub budget: Option<u64>,
    /// The cross-entropy in nats of each stored sample under the present network, or of some drawn uniformly.
    /// Finite; empty where not measured.
    pub losses: Vec<f64>,
    /// How many samples of each task were drawn since the last observation: an empty map where none was,
    /// `None` where draws are not counted.
    pub drawn: Option<BTreeMap<usize, u64>>,
}

impl Memory {
    /// Samples stored.
    pub fn len(&self) -> u64 {
        total(&self.by_class).max(total(&self.by_task))
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The sum of counts; at the most u64's maximum.
pub(super) fn total<K>(counts: &BTreeMap<K, u64>) -> u64 {
    counts.values().fold(0, |sum, n| sum.saturating_add(*n))
}

/// A sketch of all priorities of a memory; [`Priorities::of`] makes it. All but the first two
/// over the valid ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Priorities {
    /// How many there are.
    pub count: u64,
    /// How many of them are NaN, infinite or negative.
    pub invalid: u64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their mean.
    pub mean: f64,
    /// The effective sample size (Σp)²/Σp²: of how many samples a draw takes. `count` where all are equal, 1
    /// where one has everything; 0 where all are 0.
    pub effective: f64,
}

/// A sketch of the importance of all parameters; [`Importance::of`] makes it. Numbers but shares are over the
/// finite ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Importance {
    /// How many numbers there are.
    pub count: u64,
    /// The share of them that is NaN or infinite.
    pub not_finite: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their mean.
    pub mean: f64,
    /// Their sum.
    pub total: f64,
    /// The share below [`NEAR_ZERO`](super::NEAR_ZERO) in size.
    pub near_zero: f64,
    /// The share at the top: at least [`SATURATED_FROM`](super::SATURATED_FROM) of the largest.
    pub saturated: f64,
    /// Σ|Ω − Ω′| / Σ|Ω′| since the consolidation before. `None` where there was none, or that was all 0.
    pub change: Option<f64>,
}

/// How a task was learned: the course of one measure within it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The task.
    pub task: usize,
    /// What `points` are.
    pub measure: Measure,
    /// Steps taken in this task, and the value then: finite, by step. From step 0, 8 and more, evenly spread.
    pub points: Vec<(u64, f64)>,
}

/// What a [`Curve`] shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The accuracy on samples of the task, 0..1.
    Accuracy,
    /// The loss on samples of the task, in any unit.
    Loss,
}
