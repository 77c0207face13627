//! Experience replay: every step is taken on the new task and on a memory of the old ones.

use candle_core::{Module, Tensor};
use cl_core::{Result, TensorOps};
use cl_data::{Samples, Task};
use serde::{Deserialize, Serialize};

use crate::memory::Memory;
use crate::{Batch, Learner, Method, Vitals};

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

#[derive(Serialize, Deserialize)]
pub struct Er {
    memory: Memory,
}

impl Er {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        Ok(Self { memory: Memory::new(config.per_class, config.batch, seed)? })
    }
}

impl Method for Er {
    crate::saved!("cl-methods/er", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn can_train_in_half(&self) -> bool {
        true
    }

    fn vitals(&self, learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::of(self.memory.stored(learner)?))
    }

    /// L = (1/k)·L_new + (1−1/k)·L_memory with k tasks so far (van de Ven et al. 2022): both in one pass,
    /// each sample with its weight.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let Some(old) = self.memory.draw()? else {
            return learner.learn(batch);
        };
        let k = (learner.task + 1) as f64;
        let new = &batch.samples;
        let weight = |share: f64, n: usize| vec![(share / n as f64) as f32; n];
        let weights = [weight(1.0 / k, new.len()), weight(1.0 - 1.0 / k, old.len())].concat();
        let both = Samples::concat(&[new, &old])?;
        let weights = Tensor::from_vec(weights, both.len(), both.x.device())?;
        let loss = learner.forward(&both.x)?.cross_entropy(&both.y, batch.units, Some(&weights))?;
        learner.step(&loss)
    }

    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        self.memory.keep(learner, task)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, gradient, learner, moved, tasks};
    use cl_data::Scenario;

    /// One pass with a weight for each sample is (1/k)·L_new + (1−1/k)·L_memory, both computed apart; a
    /// second memory of the same seed tells what was drawn.
    #[test]
    fn the_two_losses_have_their_weights() {
        for scenario in Scenario::ALL {
            let (tasks, mut learner) = (tasks(scenario, 4, 20), learner(scenario, 4));
            let config = Config { per_class: 10, batch: 12 };
            let (mut er, mut memory) = (Er::new(config, 3).unwrap(), Memory::new(10, 12, 3).unwrap());
            for (k, task) in tasks.iter().enumerate() {
                learner.task = k;
                let batch = batch(task, 0, 7);
                let new = learner.loss(&batch).unwrap();
                let k = (k + 1) as f64;
                let loss = match memory.draw().unwrap() {
                    None => new,
                    Some(samples) => {
                        let old = learner.loss(&Batch { samples, units: task.units }).unwrap();
                        ((new / k).unwrap() + (old * (1.0 - 1.0 / k)).unwrap()).unwrap()
                    }
                };
                let expected = gradient(&learner, &loss);
                let found = moved(&mut learner, |learner| er.observe(learner, &batch).unwrap());
                assert_close(&found, &expected, 1e-5);
                er.end_task(&mut learner, task).unwrap();
                memory.keep(&learner, task).unwrap();
            }
        }
    }
}
