//! Synaptic Intelligence (Zenke et al. 2017): importance from the path that training took.

use cl_core::Result;
use cl_data::Task;
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method};

/// Which gradient the path integral takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gradient {
    /// That of the task's loss alone, as in the paper.
    Task,
    /// That of the whole loss, penalty included (van de Ven et al. 2022).
    Whole,
}

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// c in c Σ Ω(θ−θ*)².
    pub c: f64,
    /// ξ in Ω = ω/(Δ²+ξ).
    pub xi: f64,
    /// Which gradient the path integral takes.
    pub gradient: Gradient,
    /// Whether ω below 0 counts as 0 (Chaudhry et al. 2019); it takes away from Ω otherwise.
    pub positive: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { c: 0.1, xi: 0.1, gradient: Gradient::Task, positive: false }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Si {
    config: Config,
    /// None before the first task: the path begins where the parameters are then.
    si: Option<cl_regularize::Si>,
}

impl Si {
    pub fn new(config: Config) -> Result<Self> {
        // Bad coefficients are refused here, not when the first task begins.
        cl_regularize::Si::new(Self::inner(config), &cl_core::Params::new())?;
        Ok(Self { config, si: None })
    }

    fn inner(config: Config) -> cl_regularize::SiConfig {
        cl_regularize::SiConfig { c: config.c, xi: config.xi, positive: config.positive }
    }
}

impl Method for Si {
    crate::saved!("cl-methods/si", 2);

    fn begin_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        if self.si.is_none() {
            self.si = Some(cl_regularize::Si::new(Self::inner(self.config), learner.net.params())?);
        }
        Ok(())
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let si = self.si.as_mut().expect("begin_task made it");
        let (loss, penalty) = (learner.loss(batch)?, si.penalty(learner.net.params())?);
        let (step, path) = match self.config.gradient {
            Gradient::Task => learner.gradients_apart(&loss, &penalty)?,
            Gradient::Whole => {
                let whole = learner.gradients(&(loss + penalty)?)?;
                (whole.clone(), whole)
            }
        };
        learner.apply(&step)?;
        si.after_step(learner.net.params(), &path) // ω ← ω − g·Δθ (eq. 3)
    }

    fn end_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        self.si.as_mut().expect("begin_task made it").consolidate(learner.net.params())
    }
}
