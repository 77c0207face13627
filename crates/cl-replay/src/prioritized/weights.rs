//! Importance weights: what makes up for draws that are not uniform (Schaul et al. 2016, section 3.4).

pub use cl_core::sum_tree::Weights;
use serde::{Deserialize, Serialize};

use crate::pow::pow_all;

/// Probabilities and weights of drawn leaves.
pub(super) fn importance(
    leaves: &[f32],
    total: f64,
    items: usize,
    smallest: Option<f32>,
    beta: f64,
    rule: Weights,
) -> (Vec<f32>, Vec<f32>) {
    // Weights are powers of leaf / reference: the reference has weight 1.
    let reference = match rule {
        Weights::BatchMax => leaves.iter().copied().fold(f32::INFINITY, f32::min).into(),
        Weights::BufferMax => smallest.map_or(1.0, f64::from),
        Weights::None => total / items as f64,
    };
    let probabilities = leaves.iter().map(|&leaf| (f64::from(leaf) / total) as f32).collect();
    (probabilities, pow_all(leaves, 1.0 / reference, -beta))
}

/// A value that goes in a straight line from one to another, and stays there: β towards 1.
///
/// ```
/// let beta = cl_replay::Anneal { from: 0.4, to: 1.0, steps: 1000 };
/// assert_eq!([0, 500, 1000, 5000].map(|step| beta.at(step)), [0.4, 0.7, 1.0, 1.0]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Anneal {
    /// At step 0.
    pub from: f64,
    /// At step `steps` and after it.
    pub to: f64,
    /// How many steps it takes.
    pub steps: u64,
}

impl Anneal {
    /// The value at a step.
    pub fn at(&self, step: u64) -> f64 {
        let done = if step >= self.steps { 1.0 } else { step as f64 / self.steps as f64 };
        self.from * (1.0 - done) + self.to * done
    }
}
