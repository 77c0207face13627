//! Elastic weight consolidation (Kirkpatrick et al. 2017): a quadratic penalty for each earlier task.

use cl_core::{Result, Rng};
use cl_data::{Samples, Task};
use cl_regularize::{Carry, Fisher};
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// λ in (λ/2) Σₖ Σ Fₖ(θ−θ*ₖ)².
    pub lambda: f64,
    /// How the Fisher information is estimated.
    pub fisher: Fisher,
}

impl Default for Config {
    fn default() -> Self {
        Self { lambda: 1000.0, fisher: Fisher::Exact }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Ewc {
    ewc: cl_regularize::Ewc,
    fisher: Fisher,
    rng: Rng,
}

impl Ewc {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        Self::with_carry(config.lambda, Carry::PerTask, config.fisher, seed)
    }

    /// What EWC and online EWC share; they differ in what becomes of earlier penalties.
    pub(crate) fn with_carry(lambda: f64, carry: Carry, fisher: Fisher, seed: u64) -> Result<Self> {
        let ewc = cl_regularize::Ewc::new(cl_regularize::EwcConfig { lambda, carry })?;
        Ok(Self { ewc, fisher, rng: cl_core::rng(seed, "fisher") })
    }
}

impl Method for Ewc {
    crate::saved!("cl-methods/ewc", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn can_train_in_half(&self) -> bool {
        true
    }

    fn vitals(&self, learner: &Learner) -> Result<Vitals> {
        Ok(Vitals {
            penalty: Some(self.ewc.penalty(learner.net.params())?),
            lambda: Some(self.ewc.lambda()),
            importance: self.ewc.importance()?,
            ..Vitals::default()
        })
    }

    /// L = L_task + (λ/2) Σₖ Σ Fₖ(θ−θ*ₖ)² (eq. 3).
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let gradients = learner.gradients_of(batch)?;
        self.ewc.add_gradient(learner.net.params(), &gradients)?;
        learner.apply(&gradients)
    }

    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        let Samples { x, y } = task.train.all()?.to_device(&learner.device())?;
        let fisher = self.fisher.estimate(&learner.net, &x, &y, task.units, &mut self.rng)?;
        self.ewc.consolidate(learner.net.params(), fisher)
    }
}
