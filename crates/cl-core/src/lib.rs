//! The tensor trait that Engram's crates share, and its fused operations.
mod error;
pub mod init;
mod ops;
mod params;
mod seed;
pub mod snapshot;
mod units;
pub use error::{Error, Result};
pub use ops::per_sample;
pub use ops::{Activation, AdamStep, Projection, Quadratic, SgdStep, TensorOps, project};
pub use params::{Param, Params};
pub use seed::{Rng, rng};
pub use units::Units;
