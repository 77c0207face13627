//! The slow learner as a moving average of the fast one.

use cl_core::{Error, Params, Result};
use serde::{Deserialize, Serialize};

/// A slow copy of parameters: θ̄ ← αθ̄ + (1−α)θ, with α = min(1 − 1/(t+1), α) so that the first steps do not hold on to
/// where the copy began (Tarvainen & Valpola 2017; with t counted in steps, Arani et al. 2022).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
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

impl TryFrom<f64> for Ema {
    type Error = Error;

    fn try_from(alpha: f64) -> Result<Self> {
        Self::new(alpha)
    }
}

impl From<Ema> for f64 {
    fn from(ema: Ema) -> f64 {
        ema.alpha
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{Device, Tensor, Var};

    use super::*;

    fn params(values: &[f32]) -> Params {
        let var = Var::from_tensor(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap();
        Params::sorted([("w".to_owned(), var)]).unwrap()
    }

    /// By hand: t = 0 copies, t = 1 is the mean of both, later α rules.
    #[test]
    fn moves_as_the_equation_says() {
        let ema = Ema::new(0.75).unwrap();
        let (slow, fast) = (params(&[8.0, 0.0]), params(&[4.0, 2.0]));
        let after = |t| {
            let slow = params(&slow.flat().unwrap().to_vec1::<f32>().unwrap());
            ema.step(&slow, &fast, t).unwrap();
            slow.flat().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(after(0), [4.0, 2.0]);
        assert_eq!(after(1), [6.0, 1.0]);
        assert_eq!(after(3), [7.0, 0.5]);
        assert_eq!(after(1000), [7.0, 0.5]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Ema::new(1.0).is_err() && Ema::new(-0.1).is_err() && Ema::new(f64::NAN).is_err());
        let slow = params(&[1.0, 2.0]);
        let error = Ema::new(0.5).unwrap().step(&slow, &params(&[1.0]), 5).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }));
        assert_eq!(slow.flat().unwrap().to_vec1::<f32>().unwrap(), [1.0, 2.0]);
    }
}
