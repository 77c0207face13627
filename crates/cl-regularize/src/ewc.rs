//! Elastic weight consolidation (Kirkpatrick et al. 2017).

use candle_core::Tensor;
use cl_core::{Params, Quadratic, Result};
use serde::{Deserialize, Serialize};

/// What becomes of the penalties of earlier tasks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carry {
    /// Each task keeps its own anchor and Fisher: (λ/2) Σₖ Σ Fₖ(θ−θ*ₖ)² (Kirkpatrick et al. 2017, eq. 3).
    /// Memory and time grow with the number of tasks.
    PerTask,
    /// One anchor, the latest, and one running Fisher F ← γF + Fₖ: online EWC (Schwarz et al. 2018,
    /// eq. 9); γ = 1 adds them up (Hsu et al. 2018).
    Online {
        /// γ.
        decay: f64,
    },
}

/// The coefficients of [`Ewc`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EwcConfig {
    /// λ in (λ/2) Σ F(θ−θ*)².
    pub lambda: f64,
    /// What becomes of the penalties of earlier tasks.
    pub carry: Carry,
}

impl Default for EwcConfig {
    fn default() -> Self {
        Self { lambda: 1.0, carry: Carry::PerTask }
    }
}

/// A quadratic penalty that holds each parameter where it was after earlier tasks, by how much it mattered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ewc {
    config: EwcConfig,
    /// For each trainable parameter its bowls, oldest first.
    bowls: Vec<Vec<Quadratic>>,
}

impl Ewc {
    /// Without a penalty until the first [`consolidate`](Self::consolidate).
    ///
    /// # Errors
    /// A negative λ; a decay outside of [0, 1].
    pub fn new(config: EwcConfig) -> Result<Self> {
        crate::check_coefficients(&[("lambda", config.lambda)])?;
        if let Carry::Online { decay } = config.carry
            && !(0.0..=1.0).contains(&decay)
        {
            return Err(cl_core::Error::invalid("decay", format!("{decay} is not within 0 and 1")));
        }
        Ok(Self { config, bowls: Vec::new() })
    }

    /// (λ/2) Σₖ Σ Fₖ(θ−θ*ₖ)²: a scalar to add to the loss, 0 before the first task ends.
    pub fn penalty(&self, params: &Params) -> Result<Tensor> {
        crate::penalty(params, &self.bowls, self.config.lambda)
    }

    /// Adds the gradient of [`penalty`](Self::penalty) to gradients of the trainable parameters, in order, in place: what a
    /// training loop that has the gradients of its loss needs, without a graph.
    ///
    /// # Errors
    /// Another number of gradients, another shape or dtype, gradients that are not contiguous; nothing is changed then.
    pub fn add_gradient(&self, params: &Params, gradients: &[Tensor]) -> Result<()> {
        crate::add_gradient(params, &self.bowls, self.config.lambda, gradients)
    }

    /// After a task: holds the parameters where they are, by `fisher`, one tensor for each trainable
    /// parameter, in order. The parameters are not changed.
    ///
    /// # Errors
    /// Another number of tensors, another shape or dtype; the penalty stays as it was then.
    pub fn consolidate(&mut self, params: &Params, fisher: Vec<Tensor>) -> Result<()> {
        crate::check_tensors("consolidate", params, &fisher)?;
        let new: Vec<Quadratic> = params
            .values()?
            .into_iter()
            .zip(fisher)
            .map(|(anchor, importance)| Quadratic { importance: importance.detach(), anchor })
            .collect();
        if self.bowls.is_empty() {
            self.bowls = new.into_iter().map(|bowl| vec![bowl]).collect();
            return Ok(());
        }
        let anchors: Vec<Tensor> = self.bowls.iter().map(|bowls| bowls[0].anchor.clone()).collect();
        crate::check_tensors("consolidate", params, &anchors)?;
        for (bowls, mut new) in self.bowls.iter_mut().zip(new) {
            if let Carry::Online { decay } = self.config.carry {
                new.importance = ((&bowls[0].importance * decay)? + &new.importance)?;
                bowls.clear();
            }
            bowls.push(new);
        }
        Ok(())
    }

    /// λ, as it is configured.
    pub fn lambda(&self) -> f64 {
        self.config.lambda
    }

    /// Σₖ Fₖ of each trainable parameter; nothing before the first task ends.
    ///
    /// # Errors
    /// Those of candle.
    pub fn importance(&self) -> Result<Vec<Tensor>> {
        let sum = |bowls: &Vec<Quadratic>| -> Result<Tensor> {
            let first = bowls[0].importance.clone();
            bowls[1..].iter().try_fold(first, |sum, bowl| Ok((sum + &bowl.importance)?))
        };
        self.bowls.iter().map(sum).collect()
    }

    /// How many tasks the penalty keeps apart.
    pub fn anchors(&self) -> usize {
        self.bowls.first().map_or(0, Vec::len)
    }
}
