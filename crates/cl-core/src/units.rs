//! Which output units take part in a decision: what tells the three scenarios apart.

use std::ops::Range;

/// The output units among which the softmax, the loss and the prediction of a sample choose.
///
/// Targets are always numbers of output units, in every variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// Every unit of the output layer.
    All,
    /// The first `n` units: the classes seen so far.
    First(usize),
    /// The block of `n` neighbouring units that holds the sample's target: one head per task, the
    /// task being known. Batches may mix tasks.
    Block(usize),
}

impl Units {
    /// The units of a sample with this `target`, in an output layer of `outputs` units.
    pub fn range(self, target: usize, outputs: usize) -> Range<usize> {
        match self {
            Self::All => 0..outputs,
            Self::First(n) => 0..n.min(outputs),
            Self::Block(n) => {
                let first = target / n.max(1) * n.max(1);
                first.min(outputs)..(first + n).min(outputs)
            }
        }
    }
}
