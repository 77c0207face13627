//! EWC whose Fisher information is a running mean over training steps.

use candle_core::Tensor;
use cl_core::{Params, Quadratic, Result};
use serde::{Deserialize, Serialize};

use crate::running::{Running, unit_range};

/// The coefficients of [`AdaptiveEwc`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveEwcConfig {
    /// λ in (λ/2) Σ F(θ−θ*)².
    pub lambda: f64,
    /// The weight of the past in F ← decay·F + (1−decay)·g².
    pub decay: f64,
    /// g² is the mean over this many steps, after which F is updated.
    pub every: usize,
    /// Whether F is scaled to [0, 1] in the penalty, by its least and largest value over all parameters (Chaudhry et al.
    /// 2018).
    pub normalise: bool,
    /// Values of F below this are taken as 0: the parameters they belong to are free.
    pub threshold: f64,
}

impl Default for AdaptiveEwcConfig {
    fn default() -> Self {
        Self { lambda: 1.0, decay: 0.95, every: 1, normalise: false, threshold: 1e-8 }
    }
}

/// EWC without a pass over the data at the end of a task: the Fisher information is the running mean of
/// squared minibatch gradients (EWC++ in Chaudhry et al. 2018, Riemannian Walk, §4.1), adapts as training goes
/// on, and is cut off where it is small.
#[derive(Debug, Serialize, Deserialize)]
pub struct AdaptiveEwc {
    config: AdaptiveEwcConfig,
    running: Running,
    bowls: Vec<Vec<Quadratic>>,
}

impl AdaptiveEwc {
    /// Without a Fisher information or a penalty.
    ///
    /// # Errors
    /// A negative coefficient; a decay of 1 or more; a mean over 0 steps.
    pub fn new(config: AdaptiveEwcConfig) -> Result<Self> {
        let AdaptiveEwcConfig { lambda, decay, every, threshold, .. } = config;
        crate::check_coefficients(&[("lambda", lambda), ("threshold", threshold)])?;
        Ok(Self { config, running: Running::new(decay, every, false)?, bowls: Vec::new() })
    }

    /// After each step: F ← decay·F + (1−decay)·g². `gradients` are those of the task's loss, one for each
    /// trainable parameter, in order. The first is taken whole, not mixed with zeros.
    ///
    /// # Errors
    /// Another number of gradients, another shape or dtype; nothing is changed then.
    pub fn observe(&mut self, params: &Params, gradients: &[Tensor]) -> Result<()> {
        if self.running.observe(params, gradients)? {
            self.running.close()?;
        }
        Ok(())
    }

    /// λ, as it is configured.
    pub fn lambda(&self) -> f64 {
        self.config.lambda
    }

    /// F of each trainable parameter, as the penalty has it; nothing before the first task ends.
    pub fn importance(&self) -> impl Iterator<Item = &Tensor> {
        self.bowls.iter().map(|bowls| &bowls[0].importance)
    }

    /// The running Fisher information, small values set to zero.
    pub fn fisher(&self) -> Result<Vec<Tensor>> {
        self.running
            .fisher()
            .iter()
            .map(|f| Ok((f * f.ge(self.config.threshold)?.to_dtype(f.dtype())?)?))
            .collect()
    }

    /// (λ/2) Σ F(θ−θ*)²: a scalar to add to the loss, 0 before the first task ends.
    pub fn penalty(&self, params: &Params) -> Result<Tensor> {
        crate::penalty(params, &self.bowls, self.config.lambda)
    }

    /// After a task: holds the parameters where they are, by the running Fisher information.
    ///
    /// # Errors
    /// Too few steps were observed for a Fisher information.
    pub fn consolidate(&mut self, params: &Params) -> Result<()> {
        self.running.known()?;
        let fisher = self.fisher()?;
        crate::check_tensors("consolidate", params, &fisher)?;
        let fisher = if self.config.normalise { unit_range(&fisher)? } else { fisher };
        self.bowls = params
            .values()?
            .into_iter()
            .zip(fisher)
            .map(|(anchor, importance)| vec![Quadratic { importance, anchor }])
            .collect();
        Ok(())
    }
}
