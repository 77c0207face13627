//! Complementary learning systems: a fast learner, a slow one, and sleep between them.
#![forbid(unsafe_code)]

mod slow;
mod spiking;

pub use slow::Ema;
pub use spiking::{SpikingConfig, SpikingInput, SpikingReport, SpikingSleep, Window};
