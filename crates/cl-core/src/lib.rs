//! What Engram's crates share: the fused operations on candle's tensors, named parameters, seeds,
//! snapshots and the error type.
//!
//! | item | what |
//! |---|---|
//! | [`TensorOps`] | the operations that candle lacks, or has only as a chain of temporaries |
//! | [`MemoryAccess`] | a step of the DNC's memory, and the state that it takes and gives |
//! | [`sum_tree`], [`ring`] | priorities that are drawn from, and rows, both on the CPU or a GPU: what a replay memory there is made of |
//! | [`Params`] | an ordered list of named variables; a gradient that does not arrive is an error |
//! | [`rng`], [`init`] | randomness from an explicit seed |
//! | [`snapshot`] | exact saving and restoring, with a checksum |
//! | [`Units`] | which output units take part: the scenarios of continual learning |
//! | [`prefetch`] | a hint to the processor, for gathers from large memories |
//! | [`device`] | the CPU or a GPU by its name, without a panic where there is none |
//! | [`Error`] | what went wrong and what to do |
//!
//! With the feature `cuda` the operations run on tensors of a GPU too. [`device`] opens one, or says why not.

mod device;
mod error;
pub mod init;
#[doc(hidden)] // for the check that all of them compile
pub mod kernels;
mod ops;
mod params;
mod prefetch;
mod seed;
pub mod snapshot;
mod units;

pub use device::{allow_tf32, device, device_name};
pub use error::{Error, Result};
pub use ops::{
    Activation, AdamStep, MemoryAccess, MemoryState, ModeOrder, Projection, Quadratic, ScaleUpdate, SgdStep,
    Strength, TensorOps, project,
};
pub use ops::{per_sample, ring, sum_tree};
pub use params::{Param, Params};
pub use prefetch::prefetch;
pub use seed::{Rng, rng};
pub use units::Units;
