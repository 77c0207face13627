//! A-GEM (Chaudhry et al. 2019): a step may not raise the loss on a memory of the old tasks.

use cl_core::{Error, Result};
use cl_data::{Samples, Task};
use cl_replay::{Draw, Reservoir};
use serde::{Deserialize, Serialize};

use crate::memory::Memory;
use crate::ring_memory::RingMemory;
use crate::vitals::Tally;
use crate::{Batch, Learner, Method, Stored, Vitals};

/// What is kept of the past, and how the reference is drawn from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// After a task random samples of each of its classes, replayed in shuffled epochs (van de Ven et al. 2022).
    Random,
    /// The newest samples of each class of each task; those of the reference are drawn for every step over all earlier
    /// tasks, without replacement (Chaudhry et al. 2019).
    Newest,
    /// A reservoir of so many samples of the stream, those of the present task too; those of the reference are drawn for every
    /// step, without replacement. It needs no tasks (A-GEM-R of Buzzega et al. 2020).
    Reservoir(usize),
}

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept of each class of a task; a reservoir has a size of its own.
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
    Reservoir {
        memory: Reservoir,
        /// What was drawn.
        #[serde(skip)]
        drawn: Tally,
    },
}

impl Kept {
    /// What the reference of a step is taken on; nothing in the first task, or in the first step.
    fn draw(&mut self, learner: &Learner, batch: &Batch, n: usize) -> Result<Option<Samples>> {
        match self {
            Self::Random(memory) => memory.draw(),
            Self::Newest(memory) => {
                memory.offer(learner, batch)?;
                memory.draw(n)
            }
            Self::Reservoir { memory, drawn } => {
                let n = n.min(memory.len());
                let old = match n {
                    0 => None,
                    n => {
                        let (x, y) = memory.sample(n, Draw::WithoutReplacement)?;
                        drawn.labels(&y)?;
                        Some(Samples::new(x, y)?)
                    }
                };
                // What is new can be drawn after its own step.
                memory.offer(&batch.samples.x, &batch.samples.y)?;
                Ok(old)
            }
        }
    }

    fn end_task(&mut self, learner: &Learner, task: &Task) -> Result<()> {
        match self {
            Self::Random(memory) => memory.keep(learner, task),
            Self::Newest(memory) => memory.end_task(),
            Self::Reservoir { .. } => Ok(()),
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
            _ if batch == 0 => return Err(Error::invalid("batch", "no gradient of 0 samples")),
            Keep::Newest => Kept::Newest(RingMemory::new(per_class, seed)?),
            Keep::Reservoir(size) => Kept::Reservoir {
                memory: Reservoir::new(size, cl_core::rng(seed, "memory"))?,
                drawn: Tally::default(),
            },
        };
        Ok(Self { memory, batch, eps: config.eps })
    }
}

impl Method for AGem {
    crate::saved!("cl-methods/a-gem", 3);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn vitals(&self, learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::of(match &self.memory {
            Kept::Random(memory) => memory.stored(learner)?,
            Kept::Newest(memory) => memory.stored(),
            Kept::Reservoir { memory, drawn } => Stored::reservoir(memory, drawn)?,
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

/// A step along the gradient on the batch, projected against the one on `old`. That one is multiplied out only where the two
/// do not agree.
pub(crate) fn step_against(learner: &mut Learner, batch: &Batch, old: Samples, eps: f64) -> Result<()> {
    let factored = |Samples { x, y }: &Samples| learner.net.factored(x, y, batch.units, None);
    let (new, reference) = (factored(&batch.samples)?, factored(&old)?);
    let gradient = new.gradients()?;
    if new.dot(&reference)? < 0.0 {
        cl_core::project(&gradient, &reference.gradients()?, eps)?;
    }
    learner.apply(&gradient)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, assert_projected, batch, dot, gradient, learner, moved, tasks};
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

    /// A reservoir is drawn from within the first task too, and never what the step itself is on.
    #[test]
    fn a_reservoir_needs_no_tasks() {
        let (tasks, mut learner) = (tasks(Scenario::Domain, 2, 20), learner(Scenario::Domain, 2));
        learner.optimizer.set_lr(0.05).unwrap();
        let config = Config { keep: Keep::Reservoir(9), batch: 5, eps: 0.0, ..Config::default() };
        let mut agem = AGem::new(config, 3).unwrap();
        let mut reservoir = Reservoir::new(9, cl_core::rng(3, "memory")).unwrap();
        let mut projected = 0;
        for task in &tasks {
            for step in 0..12 {
                let new = batch(task, 3 * step, 3 * step + 3);
                let gradient_on = |samples: Samples| {
                    gradient(&learner, &learner.loss(&Batch { samples, units: new.units }).unwrap())
                };
                let mut expected = gradient_on(new.samples.clone());
                if !reservoir.is_empty() {
                    let (x, y) = reservoir.sample(reservoir.len().min(5), Draw::WithoutReplacement).unwrap();
                    let reference = gradient_on(Samples::new(x, y).unwrap());
                    let against = dot(&expected, &reference);
                    if against < 0.0 {
                        projected += 1;
                        let factor = (against / dot(&reference, &reference)) as f32;
                        for (g, r) in expected.iter_mut().zip(&reference) {
                            *g -= factor * r;
                        }
                    }
                }
                let found = moved(&mut learner, |learner| agem.observe(learner, &new).unwrap());
                assert_close(&found, &expected.iter().map(|g| g * 0.05).collect::<Vec<_>>(), 1e-5);
                reservoir.offer(&new.samples.x, &new.samples.y).unwrap();
            }
            agem.end_task(&mut learner, task).unwrap();
        }
        assert!(projected > 0);
    }
}
