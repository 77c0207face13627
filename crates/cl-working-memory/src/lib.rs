//! Memories that a network writes and reads as it goes on: the differentiable neural computer (DNC) of Graves et al. 2016
//! ("Hybrid computing using a neural network with dynamic external memory", Nature 538), whole and in parts.
//!
//! | module | what |
//! |---|---|
//! | [`Dnc`] | controller, memory and output: sequences in, sequences out |
//! | [`controller`] | what asks the memory: an LSTM, a feed-forward network |
//! | [`MemoryAccess`], [`MemoryState`] | a step of the memory in one node of the graph, and what it holds between steps |
//! | [`addressing`] | each equation as a function over plain tensors: content, usage, allocation, writing, links, reading |
//! | [`interface`] | what a controller's output means |
//! | [`slots`] | a few slots that keep what was attended to, for a model of your own |
//! | [`product_key`] | a large trained table of which an input uses a few rows |
//! | [`composed`] | the same step from these functions, with its state in the graph |
//!
//! What implementations differ in is an option of [`MemoryAccess`], whose default is the paper's. Without allocation and
//! links it is a memory addressed by content alone, as that of a neural Turing machine without its shifts
//! ([`content_only`]).
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use cl_nn::{Optimizer, OptimizerConfig};
//! use cl_working_memory::{Config, Dnc, MemoryAccess};
//!
//! let memory = MemoryAccess { width: 8, heads: 2, ..MemoryAccess::default() };
//! let config = Config { inputs: 3, outputs: 2, slots: 10, memory, ..Config::default() };
//! let dnc = Dnc::new(config, DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
//! let mut optimizer = Optimizer::new(OptimizerConfig::adam(1e-3))?;
//!
//! let sequence = Tensor::ones((7, 4, 3), DType::F32, &Device::Cpu)?; // seven steps, a batch of four
//! let (outputs, state) = dnc.forward(&sequence, &dnc.state(4)?)?;
//! assert_eq!(outputs.dims(), [7, 4, 2]);
//! optimizer.backward_step(&dnc.params()?, &outputs.sqr()?.mean_all()?)?;
//!
//! // The state is yours: look at it, save it, go on from it, or begin the next episode with a new one.
//! assert_eq!(state.memory.read_weights()?.dims(), [4, 2, 10]);
//! let (_more, _state) = dnc.forward(&sequence, &state.detach())?;
//! # Ok::<(), cl_core::Error>(())
//! ```
//!
//! # Limitations
//!
//! **The links are slots² numbers, and as much work, for each sequence and step:** leave them out
//! ([`MemoryAccess::link`]) where there are many slots. The graph of a sequence is as deep as it is long, and candle walks it by
//! recursion: with candle optimised, 8000 steps of an LSTM went through in the 2 MB of stack that a thread has; for much longer
//! ones detach the state now and then. The gradients of [`MemoryAccess`] and [`cl_nn::Unrolled`] cannot be differentiated again;
//! those of [`composed`] can.
#![forbid(unsafe_code)]

pub mod addressing;
pub mod composed;
pub mod controller;
mod dnc;
pub mod interface;
pub mod product_key;
pub mod slots;

pub use cl_core::{MemoryAccess, MemoryState, ModeOrder, Strength};
pub use dnc::{Config, Dnc, State, Unrolled, content_only};
