//! Two systems: a fast answer, a slow one, and what decides between them.
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
