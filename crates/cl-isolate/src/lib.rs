//! Weights of its own for every task: what was learned before is not changed by what comes after.
//!
//! Where replay and regularization make forgetting small, isolation makes it zero: the output of an old task
//! stays the same to the last bit. (Gating alone, the last of the three, only makes it less.) The price
//! is that the task must be known when the network is used, and memory or capacity that runs out.
//!
//! Each part works on the parameters and tensors of any candle model. PackNet in a loop that is already
//! there is three calls a task and two a step:
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use candle_nn::{Optimizer, SGD, VarBuilder, VarMap, linear, loss::mse};
//! use cl_core::Params;
//! use cl_isolate::PackNet;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A model of yours: a body that all tasks share.
//! let map = VarMap::new();
//! let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
//! let (hidden, output) = (linear(4, 32, vb.pp("hidden"))?, linear(32, 2, vb.pp("output"))?);
//! let forward = |x: &Tensor| output.forward(&hidden.forward(x)?.relu()?);
//! let params = Params::sorted(map.data().lock().expect("nobody panicked").clone())?;
//! let mut sgd = SGD::new(map.all_vars(), 0.05)?;
//!
//! let mut packnet = PackNet::new(&params, &[])?;
//! let x = Tensor::arange(0f32, 40.0, &Device::Cpu)?.reshape((10, 4))?.affine(0.05, -1.0)?;
//! let mut learned = Vec::new();
//! for task in 0..3 {
//!     let y = x.narrow(1, task, 2)?.sin()?;
//!     packnet.begin(&params)?;
//!     for step in 0..40 {
//!         if step == 30 {
//!             packnet.prune(&params, 0.5)?; // half of its weights are free for later tasks
//!         }
//!         let mut grads = mse(&forward(&x)?, &y)?.backward()?;
//!         packnet.mask_gradients(&mut grads, &params)?;
//!         sgd.step(&grads)?;
//!         packnet.hold(&params)?; // not needed with plain SGD; with momentum, Adam, weight decay it is
//!     }
//!     packnet.finish(&params)?;
//!     learned.push(packnet.as_task(&params, task, || Ok(forward(&x)?))?.to_vec2::<f32>()?);
//! }
//! let now = packnet.as_task(&params, 0, || Ok(forward(&x)?))?.to_vec2::<f32>()?;
//! assert_eq!(now, learned[0]); // to the last bit
//! # Ok(())
//! # }
//! ```
//!
//! | | a task has | and costs |
//! |---|---|---|
//! | [`PackNet`] | weights of a network of fixed size, chosen by magnitude | a share of the capacity, and at most a bit a weight for the masks |
//! | [`Progressive`] | a column of its own, which sees those before | a column, and adapters that grow with the number of tasks |
//! | [`Gates`] | a random part of the hidden units | nothing; but the parts overlap, so that forgetting is less, not zero |
#![forbid(unsafe_code)]

mod gates;
mod owners;
mod packnet;
mod progressive;

pub use gates::Gates;
pub use packnet::{PackNet, PackNetMemory, PackNetTask};
pub use progressive::{AdapterConfig, Column, ColumnMemory, Lateral, MlpColumn, Progressive};
