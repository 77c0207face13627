//! How slots are found, an equation a function, over plain tensors: b sequences, n slots of width w, r read heads.
//!
//! | function | gives | shape |
//! |---|---|---|
//! | [`content`] | what is like a key | (b, r, n) |
//! | [`retention`], [`usage`] | what is kept after reading, what is in use | (b, n) |
//! | [`allocation`] | what is free | (b, n) |
//! | [`write_weights`], [`write`](write()) | where to write, the contents after | (b, n), (b, n, w) |
//! | [`precedence`], [`links`] | what was written last, and after what | (b, n), (b, n, n) |
//! | [`forward`], [`backward`] | what was written after what was read, or before | (b, r, n) |
//! | [`read_weights`], [`read`](read()) | where to read, what is read | (b, r, n), (b, r, w) |
//!
//! All are differentiable in all operands and have finite gradients where their operands are finite. A step of them all is
//! [`composed::step`](crate::composed::step); [`MemoryAccess::step`](crate::MemoryAccess::step) is the same in one node.

mod content;
mod linkage;
mod reading;
mod usage;
mod writing;

pub(crate) use content::softmax;
pub use content::{content, cosine};
pub use linkage::{backward, forward, links, precedence};
pub use reading::{read, read_weights};
pub use usage::{allocation, retention, usage};
pub use writing::{write, write_weights};

use candle_core::Tensor;
use cl_core::{Error, Result};

/// The dimensions, if there are as many as names.
fn dims<const N: usize>(what: &'static str, names: [&str; N], t: &Tensor) -> Result<[usize; N]> {
    <[usize; N]>::try_from(t.dims())
        .map_err(|_| Error::mismatch(what, format!("({})", names.join(", ")), format!("{:?}", t.dims())))
}

/// Refuses another shape.
fn expect(what: &'static str, expected: &[usize], t: &Tensor) -> Result<()> {
    match t.dims() == expected {
        true => Ok(()),
        false => Err(Error::mismatch(what, format!("{expected:?}"), format!("{:?}", t.dims()))),
    }
}
