//! In which order slots were written. The links are n² numbers for each sequence: the costly part of a DNC.

use candle_core::Tensor;
use cl_core::{Result, TensorOps};

use super::{dims, expect};

/// p = (1 − Σw) p⁻ + w, of the precedence before and the write weights (b, n): (b, n).
///
/// # Errors
/// [`Error::Mismatch`](cl_core::Error::Mismatch) for other shapes.
pub fn precedence(precedence: &Tensor, write: &Tensor) -> Result<Tensor> {
    let [b, n] = dims("precedence", ["b", "n"], precedence)?;
    expect("write weights", &[b, n], write)?;
    let kept = (1.0 - write.sum_keepdim(1)?)?;
    Ok((precedence.broadcast_mul(&kept)? + write)?)
}

/// L′ᵢⱼ = (1 − wᵢ − wⱼ) Lᵢⱼ + wᵢ p⁻ⱼ, L′ᵢᵢ = 0, of the links before (b, n, n), the write weights and the precedence **before**
/// (b, n): (b, n, n). See [`TensorOps::link`].
///
/// # Errors
/// [`Error::Mismatch`](cl_core::Error::Mismatch) for other shapes.
pub fn links(links: &Tensor, write: &Tensor, precedence: &Tensor) -> Result<Tensor> {
    links.link(write, precedence)
}

/// f = L w⁻ʳ: what was written right after what was read, of links (b, n, n) and the read weights before (b, r, n): (b, r, n).
///
/// # Errors
/// [`Error::Mismatch`](cl_core::Error::Mismatch) for other shapes.
pub fn forward(links: &Tensor, read: &Tensor) -> Result<Tensor> {
    check(links, read)?;
    Ok(read.matmul(&links.transpose(1, 2)?.contiguous()?)?)
}

/// b = Lᵀ w⁻ʳ: what was written right before what was read, of links (b, n, n) and the read weights before (b, r, n): (b, r, n).
///
/// # Errors
/// [`Error::Mismatch`](cl_core::Error::Mismatch) for other shapes.
pub fn backward(links: &Tensor, read: &Tensor) -> Result<Tensor> {
    check(links, read)?;
    Ok(read.matmul(links)?)
}

fn check(links: &Tensor, read: &Tensor) -> Result<()> {
    let [b, _, n] = dims("read weights", ["b", "r", "n"], read)?;
    expect("links", &[b, n, n], links)
}
