//! The whole machine.

use candle_core::{DType, Device, Module, Tensor};
use cl_core::init::Init;
use cl_core::{Activation, Error, Params, Result, Rng};
use cl_nn::Linear;
use serde::{Deserialize, Serialize};

use crate::controller::{Controller, FeedForward, Lstm, LstmState, UnrolledFeedForward, UnrolledLstm};
use crate::{MemoryAccess, MemoryState};

/// What a [`Dnc`] is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many numbers a step of the input has.
    pub inputs: usize,
    /// How many numbers a step of the output has.
    pub outputs: usize,
    /// How many slots the memory has; a trained network can have more, see [`Dnc::state_with`].
    pub slots: usize,
    /// The memory, and its conventions.
    pub memory: MemoryAccess,
    /// What asks it.
    pub controller: Controller,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            inputs: 1,
            outputs: 1,
            slots: 16,
            memory: MemoryAccess::default(),
            controller: Controller::Lstm { units: 64 },
        }
    }
}

/// A memory that is addressed by content alone, to read and to write: what a neural Turing machine (Graves et al. 2014) has
/// without interpolation, shift and sharpening. Its slots begin with contents that differ, or all would stay alike.
pub fn content_only(width: usize, heads: usize) -> MemoryAccess {
    MemoryAccess { width, heads, allocation: false, link: false, ..MemoryAccess::default() }
}

/// A differentiable neural computer: in each step the controller sees the input and what was read before, asks the memory by
/// ξ = W_ξ h, and the output is y = W_y [h; r] of its own output h and what is read r, each with a bias.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dnc {
    config: Config,
    core: Core,
    interface: Linear,
    output: Linear,
    #[serde(with = "cl_core::snapshot::tensor")]
    like: Tensor,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Core {
    Lstm(Lstm),
    FeedForward(FeedForward),
}

/// What a [`Dnc`] takes from step to step, for each sequence of a batch: saved and restored with serde, begun anew for an episode.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// What the memory holds; its `reads` are those of the step before.
    pub memory: MemoryState,
    /// What the controller remembers; None where it is feed-forward.
    pub controller: Option<LstmState>,
}

impl State {
    /// The same, cut off from the graph: what comes after sends no gradient beyond it.
    pub fn detach(&self) -> Self {
        Self { memory: self.memory.detach(), controller: self.controller.as_ref().map(LstmState::detach) }
    }
}

impl Dnc {
    /// With weights drawn anew, each layer as [`Linear::new`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a size of 0.
    pub fn new(config: Config, dtype: DType, device: &Device, rng: &mut Rng) -> Result<Self> {
        for (name, size) in [("inputs", config.inputs), ("outputs", config.outputs), ("slots", config.slots)]
        {
            if size == 0 {
                return Err(Error::invalid(name, "0: at least 1 is needed"));
            }
        }
        config.controller.check()?;
        // Refuses a memory that cannot be.
        MemoryState::new(&config.memory, 1, 1, dtype, device)?;
        let read = config.memory.heads * config.memory.width;
        let core = match &config.controller {
            Controller::Lstm { units } => {
                Core::Lstm(Lstm::new(config.inputs + read, *units, dtype, device, rng)?)
            }
            Controller::FeedForward { units } => {
                Core::FeedForward(FeedForward::new(config.inputs + read, units, dtype, device, rng)?)
            }
        };
        let hidden = config.controller.outputs();
        let mut linear = |from, to| Linear::new(from, to, Activation::Identity, dtype, device, rng);
        let interface = linear(hidden, config.memory.interface())?;
        let output = linear(hidden + read, config.outputs)?;
        let like = Tensor::zeros((), dtype, device)?;
        Ok(Self { config, core, interface, output, like })
    }

    /// What it is made of.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// `controller`, `interface`, `output`, each with weights and biases. None depends on the number of slots.
    ///
    /// # Errors
    /// None of its own.
    pub fn params(&self) -> Result<Params> {
        let mut params = Params::new();
        let core = match &self.core {
            Core::Lstm(lstm) => lstm.params()?,
            Core::FeedForward(network) => network.params()?,
        };
        params.extend("controller", core)?;
        params.extend("interface", self.interface.params()?)?;
        params.extend("output", self.output.params()?)?;
        Ok(params)
    }

    /// What an episode begins with, for so many sequences.
    ///
    /// # Errors
    /// A batch of 0.
    pub fn state(&self, batch: usize) -> Result<State> {
        self.state_with(self.config.slots, batch)
    }

    /// The same with another number of slots than was trained with.
    ///
    /// # Errors
    /// A size of 0.
    pub fn state_with(&self, slots: usize, batch: usize) -> Result<State> {
        let (dtype, device) = (self.like.dtype(), self.like.device());
        let memory = &self.config.memory;
        let mut state = MemoryState::new(memory, slots, batch, dtype, device)?;
        if !memory.allocation {
            // The same for every network and episode, so that it need not be saved.
            let rng = &mut cl_core::rng(0, "contents of a memory by content");
            let contents = Init::Normal(1.0).var((1, slots, memory.width), dtype, device, rng)?;
            let contents = contents.as_detached_tensor().broadcast_as((batch, slots, memory.width))?;
            state = state.with_contents(&contents.contiguous()?)?;
        }
        let controller = match &self.config.controller {
            Controller::Lstm { units } => Some(LstmState::zeros(*units, batch, dtype, device)?),
            Controller::FeedForward { .. } => None,
        };
        Ok(State { memory: state, controller })
    }

    /// The network for a sequence, to be gone through step by step. In a loop of training it is begun anew with each step of the
    /// optimizer.
    ///
    /// # Errors
    /// candle's own.
    pub fn unrolled(&self) -> Result<Unrolled> {
        let core = match &self.core {
            Core::Lstm(lstm) => UnrolledCore::Lstm(lstm.unrolled()?),
            Core::FeedForward(network) => UnrolledCore::FeedForward(network.unrolled()?),
        };
        Ok(Unrolled {
            memory: self.config.memory,
            core,
            interface: self.interface.unrolled()?,
            output: self.output.unrolled()?,
            blind: false,
        })
    }

    /// A whole sequence (t, b, inputs): the outputs (t, b, outputs), and the state after it.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another shape or a state of another network; an empty sequence.
    pub fn forward(&self, sequence: &Tensor, state: &State) -> Result<(Tensor, State)> {
        self.through(&self.unrolled()?, sequence, state)
    }

    /// The same with zeros in place of all that is read: how much of what it does comes from its memory?
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_blind(&self, sequence: &Tensor, state: &State) -> Result<(Tensor, State)> {
        self.through(&self.unrolled()?.blind(), sequence, state)
    }

    fn through(&self, unrolled: &Unrolled, sequence: &Tensor, state: &State) -> Result<(Tensor, State)> {
        let (t, b) = match *sequence.dims() {
            [t, b, inputs] if inputs == self.config.inputs && t > 0 => (t, b),
            ref other => {
                let expected = format!("(t, b, {}), t at least 1", self.config.inputs);
                return Err(Error::mismatch("sequence", expected, format!("{other:?}")));
            }
        };
        let (mut seen, mut state) = (Vec::with_capacity(2 * t), state.clone());
        for step in 0..t {
            let hidden;
            (hidden, state) = unrolled.hidden(&sequence.get(step)?, &state)?;
            let reads = unrolled.seen(&state)?;
            seen.push(Tensor::cat(&[&hidden, &reads], 1)?);
        }
        // The outputs of all steps at once.
        let outputs = self.output.forward(&Tensor::cat(&seen, 0)?)?;
        Ok((outputs.reshape((t, b, self.config.outputs))?, state))
    }
}

/// A [`Dnc`] within a sequence: [`Dnc::unrolled`] begins it.
#[derive(Debug, Clone)]
pub struct Unrolled {
    memory: MemoryAccess,
    core: UnrolledCore,
    interface: cl_nn::Unrolled,
    output: cl_nn::Unrolled,
    blind: bool,
}

#[derive(Debug, Clone)]
enum UnrolledCore {
    Lstm(UnrolledLstm),
    FeedForward(UnrolledFeedForward),
}

impl Unrolled {
    /// With zeros in place of all that is read.
    #[must_use]
    pub fn blind(self) -> Self {
        Self { blind: true, ..self }
    }

    /// One step of the input (b, inputs): the output (b, outputs), and the state after it.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another shape or a state of another network.
    pub fn step(&self, input: &Tensor, state: &State) -> Result<(Tensor, State)> {
        let (hidden, state) = self.hidden(input, state)?;
        let seen = Tensor::cat(&[&hidden, &self.seen(&state)?], 1)?;
        Ok((self.output.forward(&seen)?, state))
    }

    /// The controller's output and the state after.
    fn hidden(&self, input: &Tensor, state: &State) -> Result<(Tensor, State)> {
        let reads = self.seen(state)?;
        let inputs = [input, &reads];
        let (hidden, controller) = match (&self.core, &state.controller) {
            (UnrolledCore::Lstm(lstm), Some(before)) => {
                let after = lstm.step(&inputs, before)?;
                (after.hidden.clone(), Some(after))
            }
            (UnrolledCore::FeedForward(network), None) => (network.step(&inputs)?, None),
            (UnrolledCore::Lstm(_), None) => {
                return Err(Error::mismatch("state", "that of an LSTM controller", "none"));
            }
            (UnrolledCore::FeedForward(_), Some(_)) => {
                return Err(Error::mismatch("state", "none of the controller", "that of an LSTM"));
            }
        };
        let (_, memory) = self.memory.step(&self.interface.forward(&hidden)?, &state.memory)?;
        Ok((hidden, State { memory, controller }))
    }

    /// What the controller and the output see of what was read last.
    fn seen(&self, state: &State) -> Result<Tensor> {
        let reads = state.memory.reads();
        Ok(if self.blind { reads.zeros_like()? } else { reads.clone() })
    }
}
