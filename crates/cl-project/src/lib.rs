//! Gradients that do not undo what was learnt before: projection against those of a memory.
//!
//! A step for the current batch may raise the loss on samples of the past. Projection changes the gradient
//! so that, to first order, it does not. It stands between `backward` and the optimizer of any candle
//! loop:
//!
//! ```
//! use candle_core::{Device, Tensor, Var};
//! use cl_core::Params;
//! use cl_project::AGem;
//!
//! # fn main() -> cl_core::Result<()> {
//! let w = Var::new(&[1f32, 1.0], &Device::Cpu)?;
//! let mut params = Params::new();
//! params.push("w", w.clone())?;
//!
//! let memory_loss = w.get(0)?; // its gradient is (1, 0)
//! let loss = (w.get(1)? - w.get(0)?)?; // its gradient is (-1, 1): the memory's loss would rise
//! let reference = params.gradients(&memory_loss.backward()?)?;
//! let mut grads = loss.backward()?;
//! let found = AGem::default().project(&mut grads, &params, &reference)?;
//!
//! assert!(found.conflict);
//! let projected: Vec<f32> = grads.get(&w).expect("it was just projected").to_vec1()?;
//! assert!(projected[0].abs() < 1e-6 && projected[1] == 1.0);
//! # Ok(())
//! # }
//! ```
//!
//! | | projects against | costs a step |
//! |---|---|---|
//! | [`AGem`] | one reference, the gradient of a sample of the whole memory | one more gradient |
//! | [`Gem`] | the gradients of every earlier task, none of which may be gone against | a gradient a task, and a small quadratic program |
#![forbid(unsafe_code)]

mod agem;
mod dual;
mod gem;

pub use agem::AGem;
pub use cl_core::Projection;
pub use gem::{Agreement, Gem};
