//! EWC whose Fisher information is a running mean over training steps.

use candle_core::Tensor;
use cl_core::{Params, Quadratic, Result, TensorOps};
use serde::{Deserialize, Serialize};

/// The coefficients of [`AdaptiveEwc`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveEwcConfig {
    /// λ in (λ/2) Σ F(θ−θ*)².
    pub lambda: f64,
    /// The weight of the past in F ← decay·F + (1−decay)·g².
    pub decay: f64,
    /// Values of F below this are taken as 0: the parameters they belong to are free.
    pub threshold: f64,
}

impl Default for AdaptiveEwcConfig {
    fn default() -> Self {
        Self { lambda: 1.0, decay: 0.95, threshold: 1e-8 }
    }
}

/// EWC without a pass over the data at the end of a task: the Fisher information is the running mean of
/// squared minibatch gradients (as in Chaudhry et al. 2018, Riemannian Walk, §4.1), adapts as training goes
/// on, and is cut off where it is small.
// No Clone: it would share the Fisher information, which is changed in place.
#[derive(Debug, Serialize, Deserialize)]
pub struct AdaptiveEwc {
    config: AdaptiveEwcConfig,
    #[serde(with = "cl_core::snapshot::tensor")]
    fisher: Vec<Tensor>,
    bowls: Vec<Vec<Quadratic>>,
}

impl AdaptiveEwc {
    /// Without a Fisher information or a penalty.
    ///
    /// # Errors
    /// A negative coefficient; a decay of 1 or more.
    pub fn new(config: AdaptiveEwcConfig) -> Result<Self> {
        let AdaptiveEwcConfig { lambda, decay, threshold } = config;
        crate::check_coefficients(&[("lambda", lambda), ("decay", decay), ("threshold", threshold)])?;
        if decay >= 1.0 {
            return Err(cl_core::Error::invalid("decay", format!("with {decay} nothing is ever learnt")));
        }
        Ok(Self { config, fisher: Vec::new(), bowls: Vec::new() })
    }

    /// After each step: F ← decay·F + (1−decay)·g². `gradients` are those of the task's loss, one for each
    /// trainable parameter, in order. The first gradient is taken whole, not mixed with zeros.
    ///
    /// # Errors
    /// Another number of gradients, another shape or dtype; nothing is changed then.
    pub fn observe(&mut self, params: &Params, gradients: &[Tensor]) -> Result<()> {
        crate::check_tensors("observe", params, gradients)?;
        if self.fisher.is_empty() {
            self.fisher = gradients.iter().map(Tensor::sqr).collect::<Result<_, _>>()?;
            return Ok(());
        }
        crate::check_tensors("observe", params, &self.fisher)?;
        for (fisher, gradient) in self.fisher.iter().zip(gradients) {
            fisher.accumulate_sq(gradient, self.config.decay, 1.0 - self.config.decay)?;
        }
        Ok(())
    }

    /// The running Fisher information, small values set to zero.
    pub fn fisher(&self) -> Result<Vec<Tensor>> {
        self.fisher.iter().map(|f| Ok((f * f.ge(self.config.threshold)?.to_dtype(f.dtype())?)?)).collect()
    }

    /// (λ/2) Σ F(θ−θ*)²: a scalar to add to the loss, 0 before the first task ends.
    pub fn penalty(&self, params: &Params) -> Result<Tensor> {
        crate::penalty(params, &self.bowls, self.config.lambda)
    }

    /// After a task: holds the parameters where they are, by the running Fisher information.
    ///
    /// # Errors
    /// Nothing was observed.
    pub fn consolidate(&mut self, params: &Params) -> Result<()> {
        let fisher = self.fisher()?;
        crate::check_tensors("consolidate", params, &fisher)?;
        self.bowls = params
            .values()?
            .into_iter()
            .zip(fisher)
            .map(|(anchor, importance)| vec![Quadratic { importance, anchor }])
            .collect();
        Ok(())
    }
}
