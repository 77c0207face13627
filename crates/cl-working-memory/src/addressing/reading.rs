//! Where to read, and reading.

use candle_core::Tensor;
use cl_core::Result;

use super::{dims, expect};

/// wʳ = π₁ b + π₂ c + π₃ f, of the modes (b, r, 3), in this order, and backward, content and forward weightings (b, r, n): (b, r, n).
///
/// # Errors
/// [`Error::Mismatch`](cl_core::Error::Mismatch) for other shapes.
pub fn read_weights(modes: &Tensor, backward: &Tensor, content: &Tensor, forward: &Tensor) -> Result<Tensor> {
    let [b, r, n] = dims("content weighting", ["b", "r", "n"], content)?;
    expect("read modes", &[b, r, 3], modes)?;
    expect("backward weighting", &[b, r, n], backward)?;
    expect("forward weighting", &[b, r, n], forward)?;
    let of = |mode: usize, way: &Tensor| way.broadcast_mul(&modes.narrow(2, mode, 1)?);
    Ok(((of(0, backward)? + of(1, content)?)? + of(2, forward)?)?)
}

/// r = Mᵀwʳ, of contents (b, n, w) and read weights (b, r, n): (b, r, w).
///
/// # Errors
/// [`Error::Mismatch`](cl_core::Error::Mismatch) for other shapes.
pub fn read(contents: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let [b, n, _] = dims("contents", ["b", "n", "w"], contents)?;
    let [_, r, _] = dims("read weights", ["b", "r", "n"], weights)?;
    expect("read weights", &[b, r, n], weights)?;
    Ok(weights.contiguous()?.matmul(contents)?)
}
