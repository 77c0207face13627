//! Which slots are in use, and which is free.

use candle_core::Tensor;
use cl_core::{Result, TensorOps};

use super::{dims, expect};

/// ψ = ∏ᵣ (1 − fᵣ w⁻ʳ): what is kept, by the free gates `free` (b, r) and the read weights before, `read` (b, r, n): (b, n).
///
/// # Errors
/// [`Error::Mismatch`](cl_core::Error::Mismatch) for other shapes.
pub fn retention(free: &Tensor, read: &Tensor) -> Result<Tensor> {
    let [b, r, _] = dims("read weights", ["b", "r", "n"], read)?;
    expect("free gates", &[b, r], free)?;
    let kept = (1.0 - read.broadcast_mul(&free.unsqueeze(2)?)?)?;
    let mut product = kept.get_on_dim(1, 0)?;
    for head in 1..r {
        product = (product * kept.get_on_dim(1, head)?)?;
    }
    Ok(product)
}

/// u = (u⁻ + w⁻ − u⁻∘w⁻) ∘ ψ, of usage and write weights before and the retention, (b, n) each: (b, n).
///
/// # Errors
/// [`Error::Mismatch`](cl_core::Error::Mismatch) for other shapes.
pub fn usage(usage: &Tensor, write: &Tensor, retention: &Tensor) -> Result<Tensor> {
    let [b, n] = dims("usage", ["b", "n"], usage)?;
    expect("write weights", &[b, n], write)?;
    expect("retention", &[b, n], retention)?;
    Ok((((usage + write)? - (usage * write)?)? * retention)?)
}

/// a\[φⱼ\] = (1 − u\[φⱼ\]) ∏_{i<j} u\[φᵢ\], of the usage (b, n): (b, n). See [`TensorOps::allocation`].
///
/// # Errors
/// A scalar.
pub fn allocation(usage: &Tensor) -> Result<Tensor> {
    usage.allocation()
}
