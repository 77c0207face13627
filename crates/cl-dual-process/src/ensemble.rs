//! Several systems as one.

use candle_core::Tensor;
use cl_core::{Error, Result};

use crate::rows::log_probabilities;
use crate::system::{System, check_answer, rows_of};

/// ln of the mean of its members' probabilities (Lakshminarayanan et al. 2017): a System 2 of networks that are there already, or a
/// System 1 whose members' disagreement is its doubt.
#[derive(Debug, Clone)]
pub struct Ensemble<S>(Vec<S>);

impl<S: System> Ensemble<S> {
    /// Of one member or more; of different kinds as `Box<dyn System>`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for none.
    pub fn new(members: Vec<S>) -> Result<Self> {
        if members.is_empty() {
            return Err(Error::invalid("ensemble", "it has no members"));
        }
        Ok(Self(members))
    }

    /// Its members.
    pub fn members(&self) -> &[S] {
        &self.0
    }
}

impl<S: System> System for Ensemble<S> {
    fn answer(&self, x: &Tensor) -> Result<Tensor> {
        let (n, mut sum) = (rows_of(x)?, None::<Tensor>);
        for member in &self.0 {
            let logits = member.answer(x)?.detach();
            let classes = sum.as_ref().map(|sum| sum.dim(1)).transpose()?;
            check_answer("ensemble", &logits, n, classes)?;
            let p = log_probabilities(&logits)?.exp()?;
            sum = Some(match sum {
                Some(sum) => (sum + p)?,
                None => p,
            });
        }
        let sum = sum.ok_or_else(|| Error::invalid("ensemble", "it has no members"))?;
        Ok((sum / self.0.len() as f64)?.clamp(f32::MIN_POSITIVE, 1f32)?.log()?)
    }
}
