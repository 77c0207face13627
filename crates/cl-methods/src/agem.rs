//! A-GEM (Chaudhry et al. 2019): a step may not raise the loss on a memory of the old tasks.

use candle_core::Module;
use cl_core::{Result, TensorOps};
use cl_data::Task;
use serde::{Deserialize, Serialize};

use crate::memory::Memory;
use crate::{Batch, Learner, Method};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept of each class.
    pub per_class: usize,
    /// Samples that the reference gradient is taken on.
    pub batch: usize,
    /// ε in gᵀr / (rᵀr + ε).
    pub eps: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { per_class: 100, batch: 128, eps: 1e-7 }
    }
}

pub struct AGem {
    memory: Memory,
    eps: f64,
}

impl AGem {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        if !(config.eps >= 0.0 && config.eps.is_finite()) {
            return Err(cl_core::Error::invalid("eps", format!("{} is not a finite number of at least 0", config.eps)));
        }
        Ok(Self { memory: Memory::new(config.per_class, config.batch, seed)?, eps: config.eps })
    }
}

impl Method for AGem {
    /// g̃ = g − (gᵀr/rᵀr) r where gᵀr < 0 (eq. 11), r the gradient on the memory.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let Some(old) = self.memory.draw()? else {
            return learner.step(&learner.loss(batch)?);
        };
        let reference = learner.net.forward(&old.x)?.cross_entropy(&old.y, batch.units, None)?;
        let reference = learner.gradients(&reference)?;
        let gradient = learner.gradients(&learner.loss(batch)?)?;
        cl_core::project(&gradient, &reference, self.eps)?;
        learner.apply(&gradient)
    }

    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        self.memory.keep(learner, task)
    }
}
