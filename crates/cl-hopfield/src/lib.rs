//! Associative memories: what was stored is found again from a part of it, or from something like it.
//!
//! | | states | stores about | by |
//! |---|---|---|---|
//! | [`Classical`] | ±1, a bit each | 0.138 N of N units | Hopfield 1982; the pseudo-inverse of Personnaz et al. 1985 |
//! | [`Dense`] | ±1, a bit each | N^(a−1) with an interaction of degree a, 2^(N/2) with an exponential one | Krotov & Hopfield 2016, Demircigil et al. 2017 |
//! | [`continuous`] | real numbers, plain tensors | exponentially many, if they are far enough apart for β | Ramsauer et al. 2021 |
//!
//! [`layers`] are the continuous network as trainable layers of a candle model; a [`Store`] keeps patterns that come and go, an
//! [`IndexedStore`] millions of them.
//!
//! A half-hidden pattern of bits:
//!
//! ```
//! use cl_hopfield::{Classical, Order, States};
//!
//! let rng = &mut cl_core::rng(0, "patterns");
//! let patterns = States::random(200, 5, rng);
//! let memory = Classical::hebbian(&patterns)?;
//!
//! let mut cue = patterns.row(3);
//! for unit in 0..60 {
//!     cue.set(unit, true); // whatever it was
//! }
//! let found = memory.recall(&cue, Order::Shuffled, 100, rng)?;
//! assert!(found.settled && found.state == patterns.row(3));
//! # Ok::<(), cl_core::Error>(())
//! ```
//!
//! And of real numbers: [`continuous::retrieve`] is one call on plain tensors.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use cl_hopfield::continuous::{Steps, retrieve};
//!
//! let patterns = Tensor::new(&[[4f32, 0., 0.], [0., 4., 0.], [0., 0., 4.]], &Device::Cpu)?;
//! let query = Tensor::new(&[[3f32, 1.5, 0.]], &Device::Cpu)?;
//! let found = retrieve(&query, &patterns, 1.0, Steps::Exactly(1))?;
//! assert!(found.state.to_vec2::<f32>()?[0][0] > 3.9);
//! # Ok::<(), cl_core::Error>(())
//! ```
#![forbid(unsafe_code)]

mod block;
mod classical;
pub mod continuous;
mod dense;
mod indexed;
pub mod layers;
mod recall;
mod states;
mod store;

pub use classical::Classical;
pub use dense::{Dense, Interaction};
pub use indexed::IndexedStore;
pub use recall::{Order, Recall};
pub use states::{State, States};
pub use store::{Id, Store};
