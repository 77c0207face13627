//! Complementary learning systems: a fast learner, a slow one, and sleep between them.
#![forbid(unsafe_code)]

mod slow;

pub use slow::Ema;
