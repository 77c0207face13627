//! Experience memories on candle tensors: what to keep of a stream, and what to draw from it.
//!
//! Two families, by what an experience is.
//!
//! **Samples** (x, y) of a stream, for continual learning. What a memory gives back are copies, ready to be
//! concatenated with the current batch in any training loop:
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
//! | [`GreedyBalanced`] | as many samples of every group, while the stream goes by |
//! | [`ClassBalanced`] | as many samples of every group (class, task), chosen when the group is complete |
//! | [`Scored`] | what scores say: gradient, uncertainty, novelty, age, use; see [`scored`], [`scores`], [`gss`] |
//! | [`Rings`] | the newest samples of every group |
//!
//! **Steps** of named fields ([`Schema`]), in the order of time, for reinforcement learning:
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use cl_replay::{Field, Prioritized, PrioritizedItems, Schema, TdError};
//!
//! # fn main() -> cl_core::Result<()> {
//! let schema = Schema::new([Field::new("obs", DType::F32, [4]), Field::new("reward", DType::F32, [])])?;
//! let mut memory =
//!     PrioritizedItems::new(schema, 100_000, Prioritized::default(), cl_core::rng(0, "memory"))?;
//! let (obs, reward) =
//!     (Tensor::zeros((32, 4), DType::F32, &Device::Cpu)?, Tensor::ones(32, DType::F32, &Device::Cpu)?);
//! memory.add(&[("obs", &obs), ("reward", &reward)])?;
//!
//! let sample = memory.sample(8, 0.4)?; // β = 0.4
//! assert_eq!((sample.get("obs")?.dims(), sample.weights.dims()), (&[8, 4][..], &[8][..]));
//! let delta = Tensor::ones(8, DType::F32, &Device::Cpu)?; // of the learner
//! memory.update(&sample.items, &TdError::default(), &delta)?;
//! # Ok(())
//! # }
//! ```
//!
//! | memory | gives out |
//! |---|---|
//! | [`Items`], [`PrioritizedItems`] | single items |
//! | [`Flat`], [`PrioritizedFlat`] | pairs of neighbouring steps |
//! | [`Trajectories`], [`PrioritizedTrajectories`] | sequences of a number of steps |
//! | [`Queue`] | every step once, in order |
//! | [`DeviceReplay`] | single items by priority, all of it on a GPU: no batch visits the host |
//!
//! [`NStep`] makes returns over several steps of sequences, [`Trajectories::stack`] makes stacks of frames that
//! are stored once, [`mix`] makes one batch from several memories. Below stand [`SumTree`] and [`Ranking`], the two
//! ways to draw by priority, and [`Rows`], the storage apart from any policy.
//!
//! Equal seeds give equal memories and equal draws; a memory can be saved and restored exactly, its generator
//! included ([`Reservoir::save`]). One that is in a folder may be larger than RAM, and outlives its process
//! ([`Items::create`]). Every memory is changed through `&mut`, so that nothing is read while it is written; [`Shared`]
//! gives one to several threads. A [`History`] keeps all that ever came.
#![deny(unsafe_code)]

mod class_balanced;
mod column;
mod device;
mod draw;
mod flat;
mod folder;
mod greedy_balanced;
mod grid;
pub mod gss;
mod herding;
mod history;
mod item;
mod k_center;
mod mixer;
mod n_step;
pub mod neighbours;
mod points;
mod pow;
mod prioritized;
mod priority;
mod queue;
mod rank;
mod reservoir;
mod ring;
mod rows;
mod schema;
pub mod scored;
pub mod scores;
mod shared;
mod stream;
mod sum_tree;
mod timeline;
mod trajectory;

pub use class_balanced::{Budget, ClassBalanced};
pub use device::{DeviceItems, DeviceReplay, DeviceReplayBuilder, DeviceSample};
pub use draw::Draw;
pub use flat::{Flat, Leading, PrioritizedFlat, PrioritizedTransition, Transition, Transitions};
pub use greedy_balanced::GreedyBalanced;
pub use grid::Item;
pub use herding::herding;
pub use history::{History, HistoryReader};
pub use item::{Items, PrioritizedItems};
pub use k_center::{Centers, k_center};
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
pub use scored::Scored;
pub use shared::Shared;
pub use sum_tree::{Strata, SumTree};
pub use trajectory::{Sample, Sequences, Trajectories};

/// Runs a loop compiled for the widest instructions that the processor has; the numbers are the same with any.
#[inline(always)]
fn wide<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}
