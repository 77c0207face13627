//! Naive rehearsal (Hsu et al. 2018): the memory is mixed into the training data of each new task, as often
//! as makes the two about equal, and shuffled with it.

use cl_core::Result;
use cl_data::{Samples, Task};
use cl_replay::{Budget, ClassBalanced};
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method, Stored, Vitals};

/// Its coefficient.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept in all, shared equally among the tasks so far.
    pub memory: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { memory: 1100 }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Rehearsal {
    memory: ClassBalanced,
    size: usize,
}

impl Rehearsal {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        let memory = ClassBalanced::new(Budget::Total(config.memory), cl_core::rng(seed, "memory"))?;
        Ok(Self { memory, size: config.memory })
    }
}

impl Method for Rehearsal {
    crate::saved!("cl-methods/rehearsal", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        if self.memory.is_empty() {
            return Ok(Vitals::of(Stored::default()));
        }
        let (x, y) = self.memory.all()?;
        let tasks = self.memory.counts().flat_map(|(task, n)| std::iter::repeat_n(task as usize, n));
        // It is a part of the training data: no draw leaves it out.
        Ok(Vitals::of(Stored {
            samples: Some(Samples::new(x, y)?),
            tasks: Some(tasks.collect()),
            capacity: Some(self.size),
            drawn: None,
        }))
    }

    fn data(&self, task: &Task) -> Result<Samples> {
        if self.memory.is_empty() {
            return task.train.all();
        }
        let (x, y) = self.memory.all()?;
        let old = Samples::new(x, y)?;
        let times = (task.train.len() / self.size).max(1);
        let new = task.train.all()?.to_device(old.x.device())?;
        Samples::concat(&std::iter::once(&new).chain(std::iter::repeat_n(&old, times)).collect::<Vec<_>>())
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        learner.learn(batch)
    }

    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        let Samples { x, y } = task.train.all()?.to_device(&learner.device())?;
        self.memory.fill(task.index as u32, &x, &y)?;
        Ok(())
    }
}
