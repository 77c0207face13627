//! Memory aware synapses (Aljundi et al. 2018): parameters that the outputs depend on are held.

use cl_core::Result;
use cl_data::{Samples, Task};
use cl_regularize::Sensitivity;
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// λ in λ Σ Ω(θ−θ*)².
    pub lambda: f64,
    /// How the dependence of the outputs is estimated.
    pub sensitivity: Sensitivity,
    /// γ in Ω ← γΩ + what a task adds: 1 in the paper; 0 in the code of Chaudhry et al. 2019, so that only the last task
    /// counts.
    pub decay: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { lambda: 1.0, sensitivity: Sensitivity::PerSample, decay: 1.0 }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Mas {
    mas: cl_regularize::Mas,
    sensitivity: Sensitivity,
}

impl Mas {
    pub fn new(config: Config) -> Result<Self> {
        Ok(Self {
            mas: cl_regularize::Mas::with_decay(config.lambda, config.decay)?,
            sensitivity: config.sensitivity,
        })
    }
}

impl Method for Mas {
    crate::saved!("cl-methods/mas", 2);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn vitals(&self, learner: &Learner) -> Result<Vitals> {
        Ok(Vitals {
            penalty: Some(self.mas.penalty(learner.net.params())?),
            lambda: Some(self.mas.lambda()),
            importance: self.mas.importance().cloned().collect(),
            ..Vitals::default()
        })
    }

    /// L = L_task + λ Σ Ω(θ−θ*)² (eq. 4).
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let loss = (learner.loss(batch)? + self.mas.penalty(learner.net.params())?)?;
        learner.step(&loss)
    }

    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        let Samples { x, y } = task.train.all()?.to_device(&learner.device())?;
        let found = self.sensitivity.estimate(&learner.net, &x, &y, task.units)?;
        self.mas.consolidate(learner.net.params(), found)
    }
}
