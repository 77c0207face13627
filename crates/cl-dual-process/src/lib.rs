//! Two systems: a fast one answers everything, a slow one what it should, and an arbiter decides.
//!
//! | module | holds |
//! |---|---|
//! | `system` | [`System`]: any candle [`Module`](candle_core::Module) or closure; [`First`], what System 1 says of a batch |
//! | `confidence` | [`Score`]; [`Confidence`]: maximum softmax, margin, entropy |
//! | [`deferral`] | [`LearnedRule`]: what System 2 is expected to add, learned from held-out rows |
//! | `arbiter` | [`Arbiter`]; [`Threshold`], [`TopShare`], [`Deadline`], [`Never`], [`Always`] |
//! | `budget` | [`Budget`]: a mean of multiply-adds over a stream; [`Costs`] |
//! | `cascade` | [`Cascade`]: System 1 on all rows, System 2 on those that are deferred |
//! | `integrate` | [`Integrate`]: one answer of two |
//! | `anytime` | [`Anytime`]: the best answer at a deadline, whatever System 2 does |
//! | [`calibrate`] | [`Temperature`]; thresholds for an accuracy, a share, a cost |
//! | [`curve`] | [`DeferralCurve`] and its normalised area, AUROC, [`RiskCoverage`] |
//! | `ensemble`, `halting`, [`search`] | System 2s: an [`Ensemble`], several passes with [`Halting`], search over a symbolic model |
//! | [`sofai`] | a metacognitive loop, in which experience decides |
//!
//! A System 2 that retrieves from a memory is a closure over that memory: `examples/retrieval_as_system_2.rs`.
//!
//! Two rules that look at a number, of which the first is sure of the sign of what it sees, and the second is right:
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use cl_dual_process::{Cascade, Confidence, Threshold, calibrate};
//!
//! // Any network would do in the place of these: `cl_nn::Mlp`, or candle's own layers.
//! let fast = |x: &Tensor| Tensor::cat(&[x, &x.neg()?], 1);
//! let slow = |x: &Tensor| Tensor::cat(&[&(x - 0.5)?, &(0.5 - x)?], 1);
//! let x = Tensor::new(&[[3f32], [0.2], [-0.1], [-2.], [0.4], [1.]], &Device::Cpu)?;
//!
//! // On rows that are held out: the threshold that sends on half of them.
//! let doubt = Confidence::MaxSoftmax.doubt(&fast(&x)?)?;
//! let above = calibrate::threshold_for_share(&doubt, 0.5)?;
//!
//! let mut cascade = Cascade::new(fast, slow, Threshold { score: Confidence::MaxSoftmax, above });
//! let answered = cascade.answer(&x)?;
//! assert_eq!(answered.deferred, [1, 2, 4]); // System 2 saw these rows, and no others
//! assert_eq!(answered.logits.argmax(1)?.to_vec1::<u32>()?, [0, 1, 1, 1, 1, 0]);
//! # Ok::<(), cl_core::Error>(())
//! ```
//!
//! Which arbiter is better is seen from their [deferral curves](curve) on held-out rows. `cargo xtask bench dual-mnist` compares them with
//! clean and noisy labels and under rotation.
#![forbid(unsafe_code)]

mod anytime;
mod arbiter;
mod budget;
pub mod calibrate;
mod cascade;
mod confidence;
pub mod curve;
pub mod deferral;
mod ensemble;
mod halting;
mod integrate;
mod rows;
pub mod search;
pub mod sofai;
mod system;

pub use anytime::{Anytime, Counts, Timed, Why};
pub use arbiter::{Always, Arbiter, Deadline, Never, Threshold, TopShare};
pub use budget::{Budget, Costs};
pub use calibrate::Temperature;
pub use cascade::{Answered, Cascade};
pub use confidence::{Confidence, Score};
pub use curve::{DeferralCurve, RiskCoverage};
pub use deferral::{LearnedRule, LearnedRuleConfig};
pub use ensemble::Ensemble;
pub use halting::{Halt, Halted, Halting, Pass};
pub use integrate::Integrate;
pub use rows::right;
pub use system::{BodyAndHead, ByRef, First, FromFn, System, from_fn};
