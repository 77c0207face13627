//! The accuracy matrix of a continual-learning run, and every metric by its exact variant.
//!
//! "Forgetting", "backward transfer" and "forward transfer" are each computed in several ways by the
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
//! All values are fractions in 0..1, not percent. The crate knows nothing of networks or tensors.
//!
//! - `matrix`: [`RMatrix`], the checked accuracies.
//! - `metrics`: [`METRICS`], [`all`], [`metric`], [`intransigence`].
//! - `summary`: [`Summary`], mean, standard deviation and standard error over seeds.

mod information;
mod matrix;
mod metrics;
mod summary;

pub use information::{Gaussian, InformationMatrix, Laplace, Retention, gaussian_kl, retention, stability};
pub use matrix::RMatrix;
pub use metrics::{Family, METRICS, Metric, all, intransigence, metric};
pub use summary::Summary;
