//! What a model knows of data, in bits: three views of one question.
//!
//! - `retention`: [`Retention`] and [`retention`], how many bits of a label the model saves.
//! - `forgetting`: [`InformationMatrix`], how many of them later tasks cost.
//! - `laplace`: [`stability`] and [`gaussian_kl`], how far new data moves what is believed of the parameters.

mod forgetting;
mod laplace;
mod retention;

pub use forgetting::InformationMatrix;
pub use laplace::{Gaussian, Laplace, gaussian_kl, stability};
pub use retention::{Retention, retention};
