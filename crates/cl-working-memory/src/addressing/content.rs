//! Content-based addressing.

use candle_core::{D, Tensor};
use cl_core::{Error, Result};

use super::{dims, expect};

/// Under the roots of norms, so that what is all zero has a cosine of 0 and a gradient.
const EPSILON: f64 = 1e-6;

/// cos(k, M) = k·M / √(k² + ε)√(M² + ε), ε = 10⁻⁶, of `keys` (b, r, w) and `contents` (b, n, w): (b, r, n).
///
/// # Errors
/// [`Error::Mismatch`] for other shapes.
pub fn cosine(contents: &Tensor, keys: &Tensor) -> Result<Tensor> {
    let [b, _, w] = dims("contents", ["b", "n", "w"], contents)?;
    let [keys_of, _, wide] = dims("keys", ["b", "r", "w"], keys)?;
    if (keys_of, wide) != (b, w) {
        return Err(Error::mismatch("keys", format!("({b}, r, {w})"), format!("{:?}", keys.dims())));
    }
    let length = |t: &Tensor| ((t.sqr()?.sum_keepdim(D::Minus1)? + EPSILON)?).sqrt();
    let products = keys.matmul(&contents.transpose(1, 2)?.contiguous()?)?;
    let lengths = length(keys)?.matmul(&length(contents)?.transpose(1, 2)?.contiguous()?)?;
    Ok((products / lengths)?)
}

/// C(M, k, β) = softmax over the slots of β cos(k, M), of `contents` (b, n, w), `keys` (b, r, w) and `strengths` (b, r): (b, r, n).
///
/// # Errors
/// [`Error::Mismatch`] for other shapes.
pub fn content(contents: &Tensor, keys: &Tensor, strengths: &Tensor) -> Result<Tensor> {
    let [b, r, _] = dims("keys", ["b", "r", "w"], keys)?;
    expect("strengths", &[b, r], strengths)?;
    let scores = cosine(contents, keys)?.broadcast_mul(&strengths.unsqueeze(2)?)?;
    softmax(&scores)
}

/// Over the last dimension. candle-nn's own fused one stops the gradient.
pub(crate) fn softmax(scores: &Tensor) -> Result<Tensor> {
    let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    Ok(e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?)
}
