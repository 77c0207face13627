//! S-GEM (Chaudhry et al. 2019, §5): GEM with one constraint, the memory of an earlier task that is drawn for each step.

use cl_core::Result;
use cl_data::Task;
use serde::{Deserialize, Serialize};

use crate::agem::step_against;
use crate::ring_memory::RingMemory;
use crate::{Batch, Learner, Method, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept of each class of a task: its newest.
    pub per_class: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { per_class: 25 }
    }
}

#[derive(Serialize, Deserialize)]
pub struct SGem {
    memory: RingMemory,
}

impl SGem {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        Ok(Self { memory: RingMemory::new(config.per_class, seed)? })
    }
}

impl Method for SGem {
    crate::saved!("cl-methods/s-gem", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::of(self.memory.stored()))
    }

    /// g̃ = g − (gᵀr/rᵀr) r where gᵀr < 0, r the gradient on the memory of one k < t, drawn uniformly.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        self.memory.offer(learner, batch)?;
        match self.memory.draw_task()? {
            Some(old) => step_against(learner, batch, old, 0.0),
            None => learner.learn(batch),
        }
    }

    fn end_task(&mut self, _learner: &mut Learner, _task: &Task) -> Result<()> {
        self.memory.end_task()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::assert_projected;
    use cl_data::Scenario;

    /// Against the memory of the one task that a second memory of the same seed draws.
    #[test]
    fn no_step_goes_against_the_task_that_was_drawn() {
        for scenario in Scenario::ALL {
            let mut method = SGem::new(Config { per_class: 10 }, 3).unwrap();
            let mut twin = RingMemory::new(10, 3).unwrap();
            let draw = |twin: &mut RingMemory, learner: &Learner, batch: &Batch| {
                twin.offer(learner, batch).unwrap();
                twin.draw_task().unwrap()
            };
            assert_projected(scenario, &mut method, &mut twin, draw, |twin, _, _| twin.end_task().unwrap());
        }
    }
}
