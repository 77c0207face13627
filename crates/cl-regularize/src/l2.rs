//! L2: every parameter is held where the last task left it, each as much as the other.

use candle_core::Tensor;
use cl_core::{Params, Quadratic, Result};
use serde::{Deserialize, Serialize};

/// λ Σ (θ−θ*)² with θ* the parameters after the last task: the baseline that tells what EWC's and SI's
/// importance is worth (Kirkpatrick et al. 2017, fig. 2; Hsu et al. 2018).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct L2 {
    lambda: f64,
    bowls: Vec<Vec<Quadratic>>,
}

impl L2 {
    /// Without a penalty until the first [`consolidate`](Self::consolidate).
    ///
    /// # Errors
    /// A negative λ.
    pub fn new(lambda: f64) -> Result<Self> {
        crate::check_coefficients(&[("lambda", lambda)])?;
        Ok(Self { lambda, bowls: Vec::new() })
    }

    /// λ, as it is configured.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// λ Σ (θ−θ*)²: a scalar to add to the loss, 0 before the first task ends.
    pub fn penalty(&self, params: &Params) -> Result<Tensor> {
        crate::penalty(params, &self.bowls, 2.0 * self.lambda)
    }

    /// After a task: holds the parameters where they are. They are not changed.
    pub fn consolidate(&mut self, params: &Params) -> Result<()> {
        self.bowls = params
            .values()?
            .into_iter()
            .map(|anchor| Ok(vec![Quadratic { importance: anchor.ones_like()?, anchor }]))
            .collect::<Result<_>>()?;
        Ok(())
    }
}
