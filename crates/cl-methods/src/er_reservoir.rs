//! Experience replay with a reservoir of the stream, as Chaudhry et al. 2019b and Buzzega et al. 2020 run it: it needs
//! no task boundaries.

use cl_core::{Error, Result};
use cl_data::Samples;
use cl_replay::{Draw, Reservoir};
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept.
    pub memory: usize,
    /// Samples replayed with each batch.
    pub batch: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { memory: 200, batch: 10 }
    }
}

pub struct ErReservoir {
    memory: Reservoir,
    batch: usize,
}

impl ErReservoir {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        if config.batch == 0 {
            return Err(Error::invalid("replay batch", "a batch has at least one sample"));
        }
        let memory = Reservoir::new(config.memory, cl_core::rng(seed, "memory"))?;
        Ok(Self { memory, batch: config.batch })
    }
}

impl Method for ErReservoir {
    /// The mean cross-entropy over the new batch and a replayed one together; what is new can be kept after it.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let new = &batch.samples;
        if self.memory.is_empty() {
            learner.step(&learner.loss(batch)?)?;
        } else {
            let n = self.batch.min(self.memory.len());
            let (x, y) = self.memory.sample(n, Draw::WithoutReplacement)?;
            let samples = Samples::concat(&[new, &Samples::new(x, y)?])?;
            learner.step(&learner.loss(&Batch { samples, units: batch.units })?)?;
        }
        self.memory.offer(&new.x, &new.y)?;
        Ok(())
    }
}
