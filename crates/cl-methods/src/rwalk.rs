//! RWalk (Chaudhry et al. 2018): the Fisher information, and a score from the path that training took.

use cl_core::Result;
use cl_data::Task;
use cl_regularize::RWalkConfig;
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// λ in λ Σ (F+s)(θ−θ*)².
    pub lambda: f64,
    /// The weight of the past in F ← decay·F + (1−decay)·g²: 1−α in the paper.
    pub decay: f64,
    /// Steps between two updates of F and of the scores.
    pub every: usize,
    /// ε in s = ΔL / (½ F Δθ² + ε).
    pub eps: f64,
    /// The ½ in that: 1 in the authors' code.
    pub kl: f64,
    /// How much stays in s ← keep·s + ½·s_task after a task: ½ in the paper, 1½ in the authors' code.
    pub keep: f64,
}

impl Default for Config {
    fn default() -> Self {
        let RWalkConfig { lambda, decay, every, eps, kl, keep } = RWalkConfig::default();
        Self { lambda, decay, every, eps, kl, keep }
    }
}

#[derive(Serialize, Deserialize)]
pub struct RWalk {
    config: Config,
    /// None before the first task: the path begins where the parameters are then.
    walk: Option<cl_regularize::RWalk>,
}

impl RWalk {
    pub fn new(config: Config) -> Result<Self> {
        // Bad coefficients are refused here, not when the first task begins.
        cl_regularize::RWalk::new(Self::inner(config), &cl_core::Params::new())?;
        Ok(Self { config, walk: None })
    }

    fn inner(config: Config) -> RWalkConfig {
        let Config { lambda, decay, every, eps, kl, keep } = config;
        RWalkConfig { lambda, decay, every, eps, kl, keep }
    }
}

impl Method for RWalk {
    crate::saved!("cl-methods/rwalk", 1);

    fn begin_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        if self.walk.is_none() {
            self.walk = Some(cl_regularize::RWalk::new(Self::inner(self.config), learner.net.params())?);
        }
        Ok(())
    }

    /// L = L_task + λ Σ (F+s)(θ−θ*)² (eq. 9); F and s follow the gradient of L_task (eqs. 6, 8 and 10).
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let walk = self.walk.as_mut().expect("begin_task made it");
        let penalty = walk.penalty(learner.net.params())?;
        let (step, task) = learner.gradients_apart(&learner.loss(batch)?, &penalty)?;
        learner.apply(&step)?;
        walk.after_step(learner.net.params(), &task)
    }

    fn end_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        self.walk.as_mut().expect("begin_task made it").consolidate(learner.net.params())
    }
}
