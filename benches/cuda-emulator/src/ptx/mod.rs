//! PTX as NVRTC and nvcc write it: the text, its modules, the bodies of its functions.
//!
//! Source: NVIDIA, *Parallel Thread Execution ISA*, version 9.0.

pub mod body;
pub mod module;
pub mod token;
