//! EWC++ (Chaudhry et al. 2018, §4.1): EWC whose Fisher information is a running mean over the training steps.

use cl_core::Result;
use cl_data::Task;
use cl_regularize::{AdaptiveEwc, AdaptiveEwcConfig};
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// λ in (λ/2) Σ F(θ−θ*)². The authors' code has no ½: its λ is half of ours.
    pub lambda: f64,
    /// The weight of the past in F ← decay·F + (1−decay)·g²: 1−α in the paper.
    pub decay: f64,
    /// g² is the mean over this many steps, after which F is updated.
    pub every: usize,
    /// Whether F is scaled to [0, 1] over all parameters, as in the authors' code.
    pub normalise: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { lambda: 20.0, decay: 0.1, every: 10, normalise: true }
    }
}

#[derive(Serialize, Deserialize)]
pub struct EwcPlus {
    ewc: AdaptiveEwc,
}

impl EwcPlus {
    pub fn new(config: Config) -> Result<Self> {
        let Config { lambda, decay, every, normalise } = config;
        let config = AdaptiveEwcConfig { lambda, decay, every, normalise, threshold: 0.0 };
        Ok(Self { ewc: AdaptiveEwc::new(config)? })
    }
}

impl Method for EwcPlus {
    crate::saved!("cl-methods/ewc++", 1);

    /// L = L_task + (λ/2) Σ F(θ−θ*)², F after the last task, and F ← decay·F + (1−decay)·g² (eq. 10) with g that of
    /// L_task.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let penalty = self.ewc.penalty(learner.net.params())?;
        let (step, task) = learner.gradients_apart(&learner.loss(batch)?, &penalty)?;
        learner.apply(&step)?;
        self.ewc.observe(learner.net.params(), &task)
    }

    fn end_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        self.ewc.consolidate(learner.net.params())
    }
}
