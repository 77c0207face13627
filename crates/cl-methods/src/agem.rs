//! A-GEM (Chaudhry et al. 2019): a step may not raise the loss on a memory of the old tasks.

use candle_core::Module;
use cl_core::{Error, Result, TensorOps};
use cl_data::{Samples, Task};
use cl_project::AGem as Projector;
use serde::{Deserialize, Serialize};

use crate::memory::Memory;
use crate::ring_memory::RingMemory;
use crate::{Batch, Learner, Method};

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

    /// g̃ = g − (gᵀr/rᵀr) r where gᵀr < 0 (eq. 11), r the gradient on the memory.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let old = match &mut self.memory {
            Kept::Random(memory) => memory.draw()?,
            Kept::Newest(memory) => {
                memory.offer(learner, batch)?;
                memory.draw(self.batch)?
            }
        };
        let Some(old) = old else {
            return learner.step(&learner.loss(batch)?);
        };
        step_against(learner, batch, &old, self.eps)
    }

    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        match &mut self.memory {
            Kept::Random(memory) => memory.keep(learner, task),
            Kept::Newest(memory) => memory.end_task(),
        }
    }
}

/// A step along the gradient on the batch, projected against the one on `old`.
pub(crate) fn step_against(learner: &mut Learner, batch: &Batch, old: &Samples, eps: f64) -> Result<()> {
    let reference = learner.net.forward(&old.x)?.cross_entropy(&old.y, batch.units, None)?;
    let reference = learner.gradients(&reference)?;
    let mut gradient = learner.loss(batch)?.backward()?;
    Projector { eps }.project(&mut gradient, learner.net.params(), &reference)?;
    learner.apply(&learner.net.params().gradients(&gradient)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, dot, gradient, learner, moved, tasks};
    use cl_data::Scenario;

    /// The step never raises the loss on the memory (to first order), is the plain gradient where there is
    /// no conflict, and both cases occur. A second memory of the same seed tells what was drawn.
    #[test]
    fn no_step_goes_against_the_memory() {
        for scenario in Scenario::ALL {
            let (tasks, mut learner) = (tasks(scenario, 3, 20), learner(scenario, 3));
            learner.optimizer.set_lr(0.05).unwrap();
            let config = Config { per_class: 10, batch: 12, eps: 0.0, ..Config::default() };
            let (mut agem, mut memory) = (AGem::new(config, 3).unwrap(), Memory::new(10, 12, 3).unwrap());
            let (mut conflicts, mut agreements) = (0, 0);
            for (k, task) in tasks.iter().enumerate() {
                learner.task = k;
                for step in 0..20 {
                    let batch = batch(task, step, step + 7);
                    let plain = gradient(&learner, &learner.loss(&batch).unwrap());
                    let reference = memory.draw().unwrap().map(|samples| {
                        gradient(&learner, &learner.loss(&Batch { samples, units: task.units }).unwrap())
                    });
                    let found = moved(&mut learner, |learner| agem.observe(learner, &batch).unwrap());
                    let found: Vec<f32> = found.iter().map(|step| step / 0.05).collect();
                    let Some(reference) = reference else {
                        assert_close(&found, &plain, 1e-4);
                        continue;
                    };
                    let scale = (dot(&reference, &reference) * dot(&plain, &plain)).sqrt();
                    let angle = dot(&found, &reference) / scale;
                    if dot(&plain, &reference) < 0.0 {
                        conflicts += 1;
                        assert!(angle.abs() < 1e-4, "orthogonal after the projection, not {angle}");
                        let factor = (dot(&plain, &reference) / dot(&reference, &reference)) as f32;
                        let by_hand: Vec<f32> =
                            plain.iter().zip(&reference).map(|(g, r)| g - factor * r).collect();
                        assert_close(&found, &by_hand, 1e-4);
                    } else {
                        agreements += 1;
                        assert_close(&found, &plain, 1e-4);
                    }
                }
                agem.end_task(&mut learner, task).unwrap();
                memory.keep(&learner, task).unwrap();
            }
            assert!(conflicts > 0 && agreements > 0, "{scenario}: {conflicts} and {agreements}");
        }
    }
}
