//! Experience replay with a reservoir of the stream, as Chaudhry et al. 2019b and Buzzega et al. 2020 run it: it needs
//! no task boundaries.

use cl_core::{Error, Result};
use cl_data::Samples;
use cl_replay::{Draw, Reservoir};
use serde::{Deserialize, Serialize};

use crate::vitals::Tally;
use crate::{Batch, Learner, Method, Stored, Vitals};

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

#[derive(Serialize, Deserialize)]
pub struct ErReservoir {
    memory: Reservoir,
    batch: usize,
    /// What was drawn.
    #[serde(skip)]
    drawn: Tally,
}

impl ErReservoir {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        if config.batch == 0 {
            return Err(Error::invalid("replay batch", "a batch has at least one sample"));
        }
        let memory = Reservoir::new(config.memory, cl_core::rng(seed, "memory"))?;
        Ok(Self { memory, batch: config.batch, drawn: Tally::default() })
    }
}

impl Method for ErReservoir {
    crate::saved!("cl-methods/er-reservoir", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::of(Stored::reservoir(&self.memory, &self.drawn)?))
    }

    /// The mean cross-entropy over the new batch and a replayed one together; what is new can be kept after it.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let new = &batch.samples;
        if self.memory.is_empty() {
            learner.learn(batch)?;
        } else {
            let n = self.batch.min(self.memory.len());
            let (x, y) = self.memory.sample(n, Draw::WithoutReplacement)?;
            self.drawn.labels(&y)?;
            let samples = Samples::concat(&[new, &Samples::new(x, y)?])?;
            learner.learn(&Batch { samples, units: batch.units })?;
        }
        self.memory.offer(&new.x, &new.y)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, gradient, learner, moved, tasks};
    use cl_data::Scenario;

    /// Every sample of both batches counts the same, and a sample is replayed only after its own step.
    #[test]
    fn one_mean_over_both_batches() {
        let (tasks, mut learner) = (tasks(Scenario::Domain, 2, 20), learner(Scenario::Domain, 2));
        let mut er = ErReservoir::new(Config { memory: 9, batch: 5 }, 3).unwrap();
        let mut memory = Reservoir::new(9, cl_core::rng(3, "memory")).unwrap();
        for task in &tasks {
            for step in 0..4 {
                let new = batch(task, 3 * step, 3 * step + 3);
                let mut samples = new.samples.clone();
                if step > 0 || task.index > 0 {
                    let (x, y) = memory.sample(memory.len().min(5), Draw::WithoutReplacement).unwrap();
                    samples = Samples::concat(&[&samples, &Samples::new(x, y).unwrap()]).unwrap();
                }
                let expected =
                    gradient(&learner, &learner.loss(&Batch { samples, units: new.units }).unwrap());
                let found = moved(&mut learner, |learner| er.observe(learner, &new).unwrap());
                assert_close(&found, &expected, 1e-5);
                memory.offer(&new.samples.x, &new.samples.y).unwrap();
            }
        }
        assert!(ErReservoir::new(Config { memory: 9, batch: 0 }, 3).is_err());
    }
}
