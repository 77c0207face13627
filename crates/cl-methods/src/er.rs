//! Experience replay: every step is taken on the new task and on a memory of the old ones.

use candle_core::{Module, Tensor};
use cl_core::{Result, TensorOps};
use cl_data::{Samples, Task};
use serde::{Deserialize, Serialize};

use crate::memory::Memory;
use crate::{Batch, Learner, Method};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept of each class.
    pub per_class: usize,
    /// Samples replayed with each batch.
    pub batch: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { per_class: 100, batch: 128 }
    }
}

pub struct Er {
    memory: Memory,
}

impl Er {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        Ok(Self { memory: Memory::new(config.per_class, config.batch, seed)? })
    }
}

impl Method for Er {
    /// L = (1/k)·L_new + (1−1/k)·L_memory with k tasks so far (van de Ven et al. 2022): both in one pass,
    /// each sample with its weight.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let Some(old) = self.memory.draw()? else {
            return learner.step(&learner.loss(batch)?);
        };
        let k = (learner.task + 1) as f64;
        let new = &batch.samples;
        let weight = |share: f64, n: usize| vec![(share / n as f64) as f32; n];
        let weights = [weight(1.0 / k, new.len()), weight(1.0 - 1.0 / k, old.len())].concat();
        let both = Samples::concat(&[new, &old])?;
        let weights = Tensor::from_vec(weights, both.len(), both.x.device())?;
        let loss = learner.net.forward(&both.x)?.cross_entropy(&both.y, batch.units, Some(&weights))?;
        learner.step(&loss)
    }

    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        self.memory.keep(learner, task)
    }
}
