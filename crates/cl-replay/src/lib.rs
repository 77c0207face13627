//! Experience memories on candle tensors: what to keep of a stream, and what to draw from it.
//!
//! A memory holds samples, each a row of `x` with its row of `y`, whatever their shapes and dtypes; both
//! are fixed by the first batch that comes in. What it gives back are copies, ready to be concatenated
//! with the current batch in any training loop:
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use cl_replay::{Draw, Reservoir};
//!
//! # fn main() -> cl_core::Result<()> {
//! let mut memory = Reservoir::new(200, cl_core::rng(0, "memory"))?;
//! for step in 0..50 {
//!     let x = Tensor::full(step as f32, (10, 4), &Device::Cpu)?;
//!     let y = Tensor::full(step, 10, &Device::Cpu)?;
//!     if !memory.is_empty() {
//!         let (old_x, old_y) = memory.sample(10, Draw::WithoutReplacement)?;
//!         let (_x, _y) = (Tensor::cat(&[&x, &old_x], 0)?, Tensor::cat(&[&y, &old_y], 0)?);
//!         // ... train on both ...
//!     }
//!     memory.offer(&x, &y)?;
//! }
//! assert_eq!((memory.len(), memory.seen()), (200, 500));
//! # Ok(())
//! # }
//! ```
//!
//! | memory | keeps |
//! |---|---|
//! | [`Reservoir`] | every sample of the stream so far with equal probability, without knowing its length |
//! | [`ClassBalanced`] | as many samples of every group (class, task), chosen when the group is complete |
//!
//! [`Rows`] is the storage below, apart from any policy. Equal seeds give equal memories and equal draws;
//! a memory can be saved and restored exactly, its generator included ([`Reservoir::save`]). One that is in a folder
//! may be larger than RAM, and outlives its process ([`Items::create`]); [`Shared`] gives it to several threads, and a
//! [`History`] keeps all that ever came.
#![deny(unsafe_code)]

mod class_balanced;
mod column;
mod draw;
mod flat;
mod folder;
mod grid;
mod history;
mod item;
mod mixer;
mod n_step;
mod pow;
mod prioritized;
mod priority;
mod queue;
mod rank;
mod reservoir;
mod ring;
mod rows;
mod schema;
mod shared;
mod sum_tree;
mod timeline;
mod trajectory;

pub use class_balanced::{Budget, ClassBalanced};
pub use draw::Draw;
pub use flat::{Flat, Leading, PrioritizedFlat, PrioritizedTransition, Transition, Transitions};
pub use grid::Item;
pub use history::{History, HistoryReader};
pub use item::{Items, PrioritizedItems};
pub use mixer::{Mixed, Source, WithBeta, mix};
pub use n_step::{NStep, Next, Returns};
pub use prioritized::{
    Anneal, Drawn, NewItems, Prioritized, PrioritizedSample, PrioritizedTrajectories, Updated, Weights,
};
pub use priority::{GradientNorm, PredictiveEntropy, Priority, TdError};
pub use queue::Queue;
pub use rank::Ranking;
pub use reservoir::{Acceptance, Offer, Reservoir};
pub use ring::Rings;
pub use rows::Rows;
pub use schema::{Field, Fields, Schema};
pub use shared::Shared;
pub use sum_tree::{Strata, SumTree};
pub use trajectory::{Sample, Sequences, Trajectories};

/// Runs a loop compiled for the widest instructions that the processor has; the numbers are the same with any.
#[inline(always)]
fn wide<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}
