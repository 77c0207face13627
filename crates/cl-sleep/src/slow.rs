//! The slow learner as a moving average of the fast one.

use cl_core::{Error, Params, Result};
use serde::{Deserialize, Serialize};

/// A slow copy of parameters: θ̄ ← αθ̄ + (1−α)θ, with α = min(1 − 1/(t+1), α) so that the first steps do not hold on to
/// where the copy began (Tarvainen & Valpola 2017; with t counted in steps, Arani et al. 2022).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ema {
    alpha: f64,
}

impl Ema {
    /// With the decay α.
    ///
    /// # Errors
    /// [`Error::Invalid`] where α is not in [0, 1).
    pub fn new(alpha: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&alpha) {
            return Err(Error::invalid("alpha", format!("{alpha} is not in [0, 1)")));
        }
        Ok(Self { alpha })
    }

    /// Moves `slow` towards `fast`, parameter by parameter in order, at step `t`. Step 0 copies.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where the two differ in number or shapes; nothing is moved then.
    pub fn step(&self, slow: &Params, fast: &Params, t: u64) -> Result<()> {
        let shapes = |params: &Params| params.iter().map(|p| p.var.dims().to_vec()).collect::<Vec<_>>();
        let (to, from) = (shapes(slow), shapes(fast));
        if to != from {
            return Err(Error::mismatch("slow copy", format!("{to:?}"), format!("{from:?}")));
        }
        let alpha = (1.0 - 1.0 / (t as f64 + 1.0)).min(self.alpha);
        for (slow, fast) in slow.iter().zip(fast.iter()) {
            let fast = fast.var.as_detached_tensor();
            let moved = ((slow.var.as_detached_tensor() * alpha)? + (fast * (1.0 - alpha))?)?;
            slow.var.set(&moved)?;
        }
        Ok(())
    }
}
