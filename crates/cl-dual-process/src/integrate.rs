//! What becomes of two answers to one row.

use candle_core::{D, Tensor};
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::rows::log_probabilities;

/// How System 1's and System 2's answers to a deferred row become one. All but [`Replace`](Self::Replace) give log-probabilities,
/// and take both answers to be calibrated: see [`Temperature`](crate::Temperature).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Integrate {
    /// System 2's, bit for bit.
    #[default]
    Replace,
    /// ln((1 − w) p₁ + w p₂): a mixture.
    Mixture {
        /// System 2's weight, between 0 and 1.
        weight: f64,
    },
    /// ln softmax((1 − w) ln p₁ + w ln p₂): a product of experts.
    Product {
        /// System 2's weight, between 0 and 1.
        weight: f64,
    },
    /// A mixture in which each answer weighs as much as its largest probability.
    ByConfidence,
}

impl Integrate {
    /// One answer (n, classes) of two.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a weight that is not between 0 and 1, [`Error::Mismatch`] for other shapes.
    pub fn of(self, first: &Tensor, second: &Tensor) -> Result<Tensor> {
        if first.dims() != second.dims() || first.rank() != 2 {
            let [a, b] = [first, second].map(|logits| format!("{:?}", logits.dims()));
            return Err(Error::mismatch("integrate", format!("two answers (n, classes), as {a}"), b));
        }
        if let Self::Mixture { weight } | Self::Product { weight } = self
            && !(0.0..=1.0).contains(&weight)
        {
            return Err(Error::invalid("weight", format!("{weight} is not between 0 and 1")));
        }
        let logs = || -> Result<_> { Ok((log_probabilities(first)?, log_probabilities(second)?)) };
        match self {
            Self::Replace => Ok(second.clone()),
            Self::Mixture { weight } => {
                let (a, b) = logs()?;
                // Where both round to 0, the logarithm stays finite.
                let mixed = ((a.exp()? * (1.0 - weight))? + (b.exp()? * weight)?)?;
                Ok(mixed.clamp(f32::MIN_POSITIVE, 1f32)?.log()?)
            }
            Self::Product { weight } => {
                let (a, b) = logs()?;
                log_probabilities(&((a * (1.0 - weight))? + (b * weight)?)?)
            }
            Self::ByConfidence => {
                let (a, b) = logs()?;
                let (a, b) = (a.exp()?, b.exp()?);
                let (u, v) = (a.max_keepdim(D::Minus1)?, b.max_keepdim(D::Minus1)?);
                let mixed = (a.broadcast_mul(&u)? + b.broadcast_mul(&v)?)?.broadcast_div(&(u + v)?)?;
                Ok(mixed.clamp(f32::MIN_POSITIVE, 1f32)?.log()?)
            }
        }
    }
}
