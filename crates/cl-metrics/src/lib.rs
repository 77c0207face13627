//! What a continual-learning run has learned, what it lost, and what went wrong.
//!
//! **Accuracy.** "Forgetting", "backward transfer" and "forward transfer" are each computed in several ways by the
//! papers and the libraries of the field, and the ways give different numbers. So a run keeps the whole
//! matrix of accuracies, the untrained row included ([`RMatrix`]), and a metric has a name that says its
//! variant ([`METRICS`]: name, formula, source). Several seeds give a mean and both usual errors
//! ([`Summary`]).
//!
//! ```
//! # fn main() -> cl_core::Result<()> {
//! use cl_metrics::{RMatrix, all};
//!
//! let r = RMatrix::new(
//!     vec![0.5, 0.4],                         // the untrained network, on tasks 1 and 2
//!     vec![vec![0.9, 0.6], vec![0.7, 0.8]],   // after task 1, after task 2
//! )?;
//! let metrics = all(&r);
//! assert_eq!(metrics["acc"], 0.75);
//! assert!((metrics["bwt_gem_paper"] + 0.2).abs() < 1e-12);
//! assert!((metrics["bwt_gem_code"] + 0.1).abs() < 1e-12);
//! # Ok(()) }
//! ```
//!
//! Accuracies are fractions in 0..1, not percent.
//!
//! **Information.** How much a model knows of data, in bits ([`Retention`]: negative where it is worse than
//! guessing); how many of them are forgotten ([`InformationMatrix`]); how far new data moves the parameters
//! ([`stability`]).
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use cl_core::Units;
//! use cl_metrics::{InformationMatrix, retention};
//!
//! // Sure of the first label, undecided about the second: half of what there is to know.
//! let logits = Tensor::new(&[[20f32, 0.], [0., 0.]], &Device::Cpu)?;
//! let labels = Tensor::new(&[0u32, 1], &Device::Cpu)?;
//! assert!((retention(&logits, &labels, Units::All)? - 0.5).abs() < 1e-6);
//!
//! // On tasks 1 and 2, after task 1 and after task 2.
//! let bits = InformationMatrix::new(vec![vec![0.9, -0.3], vec![0.2, 0.8]])?;
//! assert!((bits.mean_forgetting().unwrap_or_default() - 0.7).abs() < 1e-12);
//! # Ok::<(), cl_core::Error>(())
//! ```
//!
//! **Diagnosis.** What was observed of a run goes in, what is wrong with it comes out, in plain words ([`mod@diagnose`]).
//!
//! ```
//! use cl_metrics::diagnose::{Kind, Memory, Observation, Trace, counts, diagnose};
//!
//! let mut trace = Trace { classes: vec![vec![0, 1], vec![2, 3]], ..Trace::default() };
//! for step in 0..20 {
//!     // Only the newest samples are kept: those of the task before are gone.
//!     let labels = (0..100).map(|i| if step < 10 { i % 2 } else { 2 + i % 2 });
//!     let memory = Memory { by_class: counts(labels), ..Memory::default() };
//!     let task = step as usize / 10;
//!     trace.observations.push(Observation { step, task, memory: Some(memory), ..Observation::default() });
//! }
//! let findings = diagnose(&trace);
//! assert_eq!(findings[0].kind, Kind::MemoryUnbalanced);
//! println!("{}", findings[0]);
//! ```
//!
//! | module | what |
//! |---|---|
//! | `matrix` | [`RMatrix`], the checked accuracies |
//! | `metrics` | [`METRICS`], [`all`], [`metric`], [`intransigence`] |
//! | `summary` | [`Summary`], mean, standard deviation and standard error over seeds |
//! | `information` | [`Retention`], [`retention`], [`InformationMatrix`], [`stability`], [`gaussian_kl`]: in bits |
//! | [`mod@diagnose`] | [`Trace`](diagnose::Trace) in, [`Finding`](diagnose::Finding)s out |
//!
//! The crate trains nothing: it takes numbers, and candle's tensors where they are logits, gradients or parameters.

pub mod diagnose;
mod information;
mod matrix;
mod metrics;
mod summary;

pub use information::{Gaussian, InformationMatrix, Laplace, Retention, gaussian_kl, retention, stability};
pub use matrix::RMatrix;
pub use metrics::{Family, METRICS, Metric, all, intransigence, metric};
pub use summary::Summary;
