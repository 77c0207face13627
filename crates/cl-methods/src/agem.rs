//! A-GEM (Chaudhry et al. 2019): a step may not raise the loss on a memory of the old tasks.

use cl_core::{Error, Result};
use cl_data::{Samples, Task};
use serde::{Deserialize, Serialize};

use crate::memory::Memory;
use crate::ring_memory::RingMemory;
use crate::{Batch, Learner, Method, Vitals};

/// What is kept of the past, and how the reference is drawn from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// After a task random samples of each of its classes, replayed in shuffled epochs (van de Ven et al. 2022).
    Random,
    /// The newest samples of each class of each task; those of the reference are drawn for every step over all earlier
    /// tasks, without replacement (Chaudhry et al. 2019).
    Newest,
}

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept of each class of a task.
    pub per_class: usize,
    /// Which these are.
    pub keep: Keep,
    /// Samples that the reference gradient is taken on.
    pub batch: usize,
    /// ε in gᵀr / (rᵀr + ε).
    pub eps: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { per_class: 100, keep: Keep::Random, batch: 128, eps: 1e-7 }
    }
}

#[derive(Serialize, Deserialize)]
pub struct AGem {
    memory: Kept,
    batch: usize,
    eps: f64,
}

#[derive(Serialize, Deserialize)]
enum Kept {
    Random(Memory),
    Newest(RingMemory),
}

impl Kept {
    /// What the reference of a step is taken on; nothing in the first task.
    fn draw(&mut self, learner: &Learner, batch: &Batch, n: usize) -> Result<Option<Samples>> {
        match self {
            Self::Random(memory) => memory.draw(),
            Self::Newest(memory) => {
                memory.offer(learner, batch)?;
                memory.draw(n)
            }
        }
    }

    fn end_task(&mut self, learner: &Learner, task: &Task) -> Result<()> {
        match self {
            Self::Random(memory) => memory.keep(learner, task),
            Self::Newest(memory) => memory.end_task(),
        }
    }
}

impl AGem {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        if !(config.eps >= 0.0 && config.eps.is_finite()) {
            return Err(Error::invalid(
                "eps",
                format!("{} is not a finite number of at least 0", config.eps),
            ));
        }
        let Config { per_class, batch, .. } = config;
        let memory = match config.keep {
            Keep::Random => Kept::Random(Memory::new(per_class, batch, seed)?),
            Keep::Newest if batch == 0 => return Err(Error::invalid("batch", "no gradient of 0 samples")),
            Keep::Newest => Kept::Newest(RingMemory::new(per_class, seed)?),
        };
        Ok(Self { memory, batch, eps: config.eps })
    }
}

impl Method for AGem {
    crate::saved!("cl-methods/a-gem", 2);

    fn vitals(&self, learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::of(match &self.memory {
            Kept::Random(memory) => memory.stored(learner)?,
            Kept::Newest(memory) => memory.stored(),
        }))
    }

    /// g̃ = g − (gᵀr/rᵀr) r where gᵀr < 0 (eq. 11), r the gradient on the memory.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let Some(old) = self.memory.draw(learner, batch, self.batch)? else {
            return learner.learn(batch);
        };
        step_against(learner, batch, old, self.eps)
    }

    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        self.memory.end_task(learner, task)
    }
}

/// A step along the gradient on the batch, projected against the one on `old`.
pub(crate) fn step_against(learner: &mut Learner, batch: &Batch, old: Samples, eps: f64) -> Result<()> {
    let reference = learner.gradients_of(&Batch { samples: old, units: batch.units })?;
    let gradient = learner.gradients_of(batch)?;
    cl_core::project(&gradient, &reference, eps)?;
    learner.apply(&gradient)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::assert_projected;
    use cl_data::Scenario;

    /// The step never raises the loss on the memory (to first order), is the plain gradient where there is
    /// no conflict, and both cases occur. A second memory of the same seed tells what was drawn.
    #[test]
    fn no_step_goes_against_the_memory() {
        for keep in [Keep::Random, Keep::Newest] {
            for scenario in Scenario::ALL {
                let config = Config { per_class: 10, keep, batch: 12, eps: 0.0 };
                let mut agem = AGem::new(config, 3).unwrap();
                let mut twin = AGem::new(config, 3).unwrap().memory;
                let draw = |twin: &mut Kept, learner: &Learner, batch: &Batch| {
                    let drawn = twin.draw(learner, batch, 12).unwrap();
                    assert!(drawn.iter().all(|drawn| drawn.len() == 12));
                    drawn
                };
                assert_projected(scenario, &mut agem, &mut twin, draw, |twin, learner, task| {
                    twin.end_task(learner, task).unwrap();
                });
            }
        }
    }
}
