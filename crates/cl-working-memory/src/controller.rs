//! What asks the memory: a network that sees the input and what was read before.

use candle_core::{DType, Device, Tensor};
use cl_core::{Activation, Error, Params, Result, Rng, TensorOps};
use cl_nn::Linear;
use serde::{Deserialize, Serialize};

/// Which controller a [`Dnc`](crate::Dnc) has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Controller {
    /// One layer of this many LSTM units.
    Lstm {
        /// Hidden units.
        units: usize,
    },
    /// Layers of this many rectified linear units, which remember nothing: what is to be kept must be written.
    FeedForward {
        /// Hidden units, layer by layer.
        units: Vec<usize>,
    },
}

impl Controller {
    /// How many numbers it gives.
    pub(crate) fn outputs(&self) -> usize {
        match self {
            Self::Lstm { units } => *units,
            Self::FeedForward { units } => units.last().copied().unwrap_or(0),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let units = match self {
            Self::Lstm { units } => std::slice::from_ref(units),
            Self::FeedForward { units } => units,
        };
        match units.is_empty() || units.contains(&0) {
            true => Err(Error::invalid("controller units", "at least one layer of at least 1 is needed")),
            false => Ok(()),
        }
    }
}

/// An LSTM layer (Hochreiter & Schmidhuber 1997) for one step at a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lstm {
    /// (4·units, inputs + units): input gate, forget gate, candidate, output gate.
    gates: Linear,
}

/// What an LSTM remembers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LstmState {
    /// h (b, units).
    #[serde(with = "cl_core::snapshot::tensor")]
    pub hidden: Tensor,
    /// c (b, units).
    #[serde(with = "cl_core::snapshot::tensor")]
    pub cell: Tensor,
}

impl LstmState {
    /// All zero.
    ///
    /// # Errors
    /// candle's own.
    pub fn zeros(units: usize, batch: usize, dtype: DType, device: &Device) -> Result<Self> {
        let zeros = || Tensor::zeros((batch, units), dtype, device);
        Ok(Self { hidden: zeros()?, cell: zeros()? })
    }

    /// The same, cut off from the graph.
    pub fn detach(&self) -> Self {
        Self { hidden: self.hidden.detach(), cell: self.cell.detach() }
    }
}

impl Lstm {
    /// Weights and biases from U(−1/√n, 1/√n), n all that a unit sees.
    ///
    /// # Errors
    /// A dtype that is not floating point.
    pub fn new(inputs: usize, units: usize, dtype: DType, device: &Device, rng: &mut Rng) -> Result<Self> {
        let gates = Linear::new(inputs + units, 4 * units, Activation::Identity, dtype, device, rng)?;
        Ok(Self { gates })
    }

    /// `gates.weight`, `gates.bias`.
    ///
    /// # Errors
    /// None of its own.
    pub fn params(&self) -> Result<Params> {
        let mut params = Params::new();
        params.extend("gates", self.gates.params()?)?;
        Ok(params)
    }

    /// For one sequence, see [`cl_nn::Unrolled`].
    ///
    /// # Errors
    /// candle's own.
    pub fn unrolled(&self) -> Result<UnrolledLstm> {
        Ok(UnrolledLstm { gates: self.gates.unrolled()? })
    }
}

/// An [`Lstm`] within a sequence.
#[derive(Debug, Clone)]
pub struct UnrolledLstm {
    gates: cl_nn::Unrolled,
}

impl UnrolledLstm {
    /// One step on parts of the input, (b, ..) each, side by side: the state after, whose `hidden` is the output.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for other shapes.
    pub fn step(&self, inputs: &[&Tensor], state: &LstmState) -> Result<LstmState> {
        let seen = Tensor::cat(&[inputs, &[&state.hidden]].concat(), 1)?;
        let new = self.gates.forward(&seen)?.lstm_cell(&state.cell)?;
        Ok(LstmState { hidden: new.get(0)?, cell: new.get(1)? })
    }
}

/// Rectified linear layers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FeedForward {
    layers: Vec<Linear>,
}

impl FeedForward {
    /// Weights and biases from U(−1/√n, 1/√n), n what a unit sees.
    ///
    /// # Errors
    /// A dtype that is not floating point.
    pub fn new(inputs: usize, units: &[usize], dtype: DType, device: &Device, rng: &mut Rng) -> Result<Self> {
        let sizes = [&[inputs], units].concat();
        let layer = |pair: &[usize]| Linear::new(pair[0], pair[1], Activation::Relu, dtype, device, rng);
        Ok(Self { layers: sizes.windows(2).map(layer).collect::<Result<_>>()? })
    }

    /// `0.weight`, `0.bias`, `1.weight`, ..
    ///
    /// # Errors
    /// None of its own.
    pub fn params(&self) -> Result<Params> {
        let mut params = Params::new();
        for (k, layer) in self.layers.iter().enumerate() {
            params.extend(&k.to_string(), layer.params()?)?;
        }
        Ok(params)
    }

    /// For one sequence, see [`cl_nn::Unrolled`].
    ///
    /// # Errors
    /// candle's own.
    pub fn unrolled(&self) -> Result<UnrolledFeedForward> {
        Ok(UnrolledFeedForward { layers: self.layers.iter().map(Linear::unrolled).collect::<Result<_>>()? })
    }
}

/// A [`FeedForward`] within a sequence.
#[derive(Debug, Clone)]
pub struct UnrolledFeedForward {
    layers: Vec<cl_nn::Unrolled>,
}

impl UnrolledFeedForward {
    /// One step on parts of the input, (b, ..) each, side by side: (b, units of the last layer).
    ///
    /// # Errors
    /// [`Error::Mismatch`] for other shapes.
    pub fn step(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let mut x = Tensor::cat(inputs, 1)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        Ok(x)
    }
}
