//! Data sets, and the streams of tasks that are made of them.
//!
//! A [`DataSet`] is two [`Samples`], training and test, whole in memory. A [`Stream`] is a list of
//! [`Task`]s, each with its own two. A mini-batch is a list of row numbers from [`Batches`] and one
//! [`Samples::gather`]: there is no loader.
//!
//! ```
//! use cl_data::{Batches, ClassOrder, LastBatch, Scenario};
//!
//! let digits = cl_data::load("digits")?;
//! let stream = cl_data::split(&digits, 5, Scenario::Class, ClassOrder::Shuffled(0))?;
//! for task in &stream.tasks {
//!     let rng = cl_core::rng(0, &format!("batches of task {}", task.index));
//!     let mut batches = Batches::new(task.train.len(), 32, rng, LastBatch::Drop)?;
//!     for _step in 0..3 {
//!         let batch = task.train.gather(batches.next_batch())?;
//!         assert_eq!(batch.x.dims(), [32, 64]); // f32, in [0, 1]
//!         assert_eq!(batch.y.dims(), [32]); // u32, numbers of output units below stream.outputs
//!     }
//! }
//! # Ok::<(), cl_core::Error>(())
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `samples` | [`Samples`]: inputs and labels, picking and joining rows |
//! | `dataset` | [`DataSet`], [`load`], [`names`] |
//! | `stream` | [`split`], [`permuted`], [`rotated`], [`transformed`] in the three [`Scenario`]s; [`three_sixty`], without borders |
//! | `batches` | [`Batches`]: mini-batches, shuffled or in order, for ever; can be saved |
//! | [`idx`] | the format of MNIST's files |
//! | [`babi`] | stories with questions |
//! | `manifest` | [`Manifest`]: what a data set consists of and where it can be had |
//! | `store` | [`Locations`]; [`locate`], [`verify`] and [`fetch`] files, with a [`Report`] |
//! | `digits` | the UCI handwritten digits, part of the program |
//!
//! Every random choice is drawn from a seed by [`cl_core::rng`]; nothing depends on threads.

pub mod babi;
mod batches;
mod dataset;
mod digits;
mod download;
pub mod idx;
mod manifest;
mod report;
mod samples;
mod store;
mod stream;

pub use batches::{Batches, LastBatch, Order};
pub use dataset::{DataSet, load, names};
pub use manifest::{DataFile, Manifest, Part, manifest, manifests};
pub use report::{FileReport, Report, Status};
pub use samples::Samples;
pub use store::{Locations, fetch, locate, verify};
pub use stream::{
    ClassOrder, Pixels, Scenario, Stream, Task, TaskSamples, TrainSamples, Transform, permutations, permuted,
    rising_angles, rotated, rotation_angles, split, three_sixty, transformed,
};
