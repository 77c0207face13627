//! What a controller's output ξ means to the memory.

use candle_core::{D, Tensor};
use cl_core::{Error, Result};

use crate::addressing::softmax;
use crate::{MemoryAccess, ModeOrder, Strength};

/// ξ in its parts, behind their non-linearities: b sequences, r read heads, width w.
#[derive(Debug, Clone)]
pub struct Interface {
    /// (b, r, w)
    pub read_keys: Tensor,
    /// (b, r), at least 1 by the paper's oneplus, at least 0 by softplus.
    pub read_strengths: Tensor,
    /// (b, 1, w)
    pub write_key: Tensor,
    /// (b, 1)
    pub write_strength: Tensor,
    /// (b, w) in \[0, 1\]
    pub erase: Tensor,
    /// (b, w)
    pub write: Tensor,
    /// Free gates (b, r) and allocation gate (b), in \[0, 1\]; None without allocation.
    pub allocation: Option<(Tensor, Tensor)>,
    /// (b) in \[0, 1\]
    pub write_gate: Tensor,
    /// (b, r, 3), which sum to 1: backward, content, forward, whatever their order in ξ. None without links.
    pub modes: Option<Tensor>,
}

impl Interface {
    /// The parts of ξ (b, [`MemoryAccess::interface`]), which lie in it in this order.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another shape.
    pub fn new(access: &MemoryAccess, xi: &Tensor) -> Result<Self> {
        let b = match *xi.dims() {
            [b, size] if size == access.interface() => b,
            ref other => {
                let expected = format!("(b, {})", access.interface());
                return Err(Error::mismatch("interface", expected, format!("{other:?}")));
            }
        };
        let MemoryAccess { width, heads, .. } = *access;
        let mut from = 0;
        let mut next = |size: usize| {
            from += size;
            xi.narrow(1, from - size, size)
        };
        let squashed = |t: Tensor| if access.tanh { t.tanh() } else { Ok(t) };
        let strength = |t: Tensor| match access.strength {
            Strength::Oneplus => Ok::<_, Error>((softplus(&t)? + 1.0)?),
            Strength::Softplus => softplus(&t),
        };
        let gate = |t: Tensor| Ok::<_, Error>(sigmoid(&t)?.squeeze(1)?);
        let read_keys = squashed(next(heads * width)?.contiguous()?.reshape((b, heads, width))?)?;
        let read_strengths = strength(next(heads)?)?;
        let write_key = squashed(next(width)?)?.unsqueeze(1)?;
        let write_strength = strength(next(1)?)?;
        let erase = sigmoid(&next(width)?)?;
        let write = squashed(next(width)?)?;
        let allocation = match access.allocation {
            true => Some((sigmoid(&next(heads)?)?, gate(next(1)?)?)),
            false => None,
        };
        let write_gate = gate(next(1)?)?;
        let modes = match access.link {
            true => {
                let modes = softmax(&next(3 * heads)?.contiguous()?.reshape((b, heads, 3))?)?;
                let of = |mode: usize| modes.narrow(D::Minus1, mode, 1);
                Some(match access.modes {
                    ModeOrder::BackwardContentForward => modes,
                    ModeOrder::BackwardForwardContent => Tensor::cat(&[of(0)?, of(2)?, of(1)?], 2)?,
                })
            }
            false => None,
        };
        Ok(Self {
            read_keys,
            read_strengths,
            write_key,
            write_strength,
            erase,
            write,
            allocation,
            write_gate,
            modes,
        })
    }
}

/// ln(1 + eˣ), finite however large x is, with the gradient σ(x) everywhere.
fn softplus(x: &Tensor) -> Result<Tensor> {
    let top = x.detach().relu()?;
    let sum = (top.neg()?.exp()? + (x - &top)?.exp()?)?;
    Ok((sum.log()? + top)?)
}

/// 1/(1 + e⁻ˣ) = ½ (1 + tanh(x/2)), which does not overflow.
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok(((x * 0.5)?.tanh()? * 0.5)?.affine(1.0, 0.5)?)
}
