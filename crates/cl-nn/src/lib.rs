//! What small-batch training needs and candle-nn lacks

mod conv;
mod linear;
mod mlp;
mod optim;
mod per_sample;

pub use conv::{Conv2d, Conv2dConfig, MaxPool2d, conv2d, conv2d_relu, max_pool2d};
pub use linear::Linear;
pub use mlp::Mlp;
pub use optim::{Accumulator, Optimizer, OptimizerConfig, clip_norm};
pub use per_sample::PerSample;

pub use cl_core::Activation;
