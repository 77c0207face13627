//! Everything about training that is not the method.

use cl_core::init::Init;
use cl_data::{LastBatch, Order};
use cl_nn::{OptimizerConfig, Precision};
use serde::{Deserialize, Serialize};

/// How long a task is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// So many steps per task.
    Iterations(usize),
    /// So many passes over the data of the task.
    Epochs(usize),
    /// A part of so many passes: the first of their steps, for a short look at a long protocol.
    Part {
        /// Passes of the whole.
        epochs: usize,
        /// One step of so many is taken; one at least.
        of: usize,
    },
}

impl Budget {
    /// Steps of one task whose epochs have so many.
    pub(crate) fn steps(self, per_epoch: usize) -> usize {
        match self {
            Self::Iterations(n) => n,
            Self::Epochs(n) => n * per_epoch,
            Self::Part { epochs, of } => (epochs * per_epoch).div_ceil(of.max(1)),
        }
    }

    /// One step of `of`, rounded up.
    pub fn part(self, of: usize) -> Self {
        let of = of.max(1);
        match self {
            Self::Iterations(n) => Self::Iterations(n.div_ceil(of)),
            Self::Epochs(epochs) => Self::Part { epochs, of },
            Self::Part { epochs, of: other } => Self::Part { epochs, of: of.saturating_mul(other) },
        }
    }
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

/// Everything about training that is not the method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// How the output units of the task scenario are kept.
    #[serde(default, skip_serializing_if = "is_default")]
    pub heads: Heads,
    /// The optimizer.
    pub optimizer: OptimizerConfig,
    /// Whether it forgets its state at the beginning of each task.
    pub reset_optimizer: bool,
    /// Samples in a minibatch.
    pub batch: usize,
    /// The order in which the samples of a task come.
    #[serde(default, skip_serializing_if = "is_default")]
    pub order: Order,
    /// What becomes of the samples that do not fill a minibatch.
    pub last_batch: LastBatch,
    /// How long a task is trained on.
    pub budget: Budget,
    /// What the weights of the network are drawn from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weights: Weights,
    /// What training steps compute in; with f16 the loss has the default [`LossScale`](cl_nn::LossScale).
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: Precision,
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
    /// N(0, 0.1²), cut off at two deviations; biases are 0.1: TensorFlow's examples, and Chaudhry et al. 2019.
    Truncated,
    /// U(−0.01, 0.01); biases are 0: Tadros et al. 2022.
    Small,
}

impl Weights {
    /// What weights and biases of a layer of so many inputs are drawn from.
    pub(crate) fn of_layer(self, inputs: usize) -> (Init, Init) {
        match self {
            Self::FanIn => (Init::FanIn, Init::Uniform(1.0 / (inputs as f64).sqrt())),
            Self::Xavier => (Init::Xavier, Init::Zeros),
            Self::Truncated => (Init::Truncated(0.1), Init::Constant(0.1)),
            Self::Small => (Init::Uniform(0.01), Init::Zeros),
        }
    }
}

/// What is as it is by default is not written, so that what was identified before it could be otherwise keeps its name.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
            order: Order::Shuffled,
            last_batch: LastBatch::Drop,
            budget: Budget::Iterations(2000),
            weights: Weights::FanIn,
            precision: Precision::F32,
        }
    }
}
