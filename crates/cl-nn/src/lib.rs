//! What small-batch training needs and candle-nn lacks: layers in one node of the graph, optimizers in
//! place whose state can be saved, gradients per sample without a loop, convolutions whose gradients are
//! right, activations that are computed again instead of kept, half precision with parameters in f32.
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use cl_core::{TensorOps, Units};
//! use cl_nn::{Mlp, Optimizer, OptimizerConfig};
//!
//! let net = Mlp::new(&[2, 32, 2], DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
//! let mut optimizer = Optimizer::new(OptimizerConfig::adam(0.01))?;
//! let x = Tensor::new(&[[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]], &Device::Cpu)?;
//! let y = Tensor::new(&[0u32, 1, 1, 0], &Device::Cpu)?;
//! for _ in 0..200 {
//!     let loss = net.forward(&x)?.cross_entropy(&y, Units::All, None)?;
//!     optimizer.backward_step(net.params(), &loss)?;
//! }
//! assert_eq!(net.predict(&x)?.argmax(1)?.to_vec1::<u32>()?, [0, 1, 1, 0]);
//! # Ok::<(), cl_core::Error>(())
//! ```

mod checkpoint;
mod conv;
mod factored;
mod linear;
mod mlp;
mod one_by_one;
mod optim;
mod per_sample;
mod precision;
mod scaler;
mod unrolled;

pub use checkpoint::checkpoint;
pub use conv::{Conv2d, Conv2dConfig, MaxPool2d, conv2d, conv2d_relu, max_pool2d};
pub use factored::Factored;
pub use linear::Linear;
pub use mlp::Mlp;
pub use one_by_one::OneByOne;
pub use optim::{Accumulator, Optimizer, OptimizerConfig, clip_norm};
pub use per_sample::PerSample;
pub use precision::Precision;
pub use scaler::{LossScale, LossScaler};
pub use unrolled::Unrolled;

pub use cl_core::Activation;
