//! Where to write, and writing.

use candle_core::Tensor;
use cl_core::Result;

use super::{dims, expect};

/// w = g_w (g_a a + (1 − g_a) c), of content and allocation weightings (b, n) and the gates of allocation and writing (b): (b, n).
/// Without an allocation, g_w c.
///
/// # Errors
/// [`Error::Mismatch`](cl_core::Error::Mismatch) for other shapes.
pub fn write_weights(
    content: &Tensor,
    allocation: Option<(&Tensor, &Tensor)>,
    write_gate: &Tensor,
) -> Result<Tensor> {
    let [b, n] = dims("content weighting", ["b", "n"], content)?;
    expect("write gate", &[b], write_gate)?;
    let mixed = match allocation {
        None => content.clone(),
        Some((free, gate)) => {
            expect("allocation weighting", &[b, n], free)?;
            expect("allocation gate", &[b], gate)?;
            let gate = gate.unsqueeze(1)?;
            (free.broadcast_mul(&gate)? + content.broadcast_mul(&(1.0 - gate)?)?)?
        }
    };
    Ok(mixed.broadcast_mul(&write_gate.unsqueeze(1)?)?)
}

/// M = M⁻∘(1 − w eᵀ) + w vᵀ, of contents (b, n, w), write weights (b, n), and what is erased and added (b, w): (b, n, w).
///
/// # Errors
/// [`Error::Mismatch`](cl_core::Error::Mismatch) for other shapes.
pub fn write(contents: &Tensor, weights: &Tensor, erase: &Tensor, add: &Tensor) -> Result<Tensor> {
    let [b, n, w] = dims("contents", ["b", "n", "w"], contents)?;
    expect("write weights", &[b, n], weights)?;
    expect("erase vector", &[b, w], erase)?;
    expect("write vector", &[b, w], add)?;
    let weights = weights.unsqueeze(2)?;
    let kept = (1.0 - weights.broadcast_mul(&erase.unsqueeze(1)?)?)?;
    Ok(((contents * kept)? + weights.broadcast_mul(&add.unsqueeze(1)?)?)?)
}
