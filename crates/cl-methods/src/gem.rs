//! GEM (Lopez-Paz & Ranzato 2017): a step may not raise the loss on the memory of any earlier task.

use candle_core::{Module, Tensor};
use cl_core::{Result, TensorOps};
use cl_data::{Samples, Task};
use cl_project::Gem as Projector;
use cl_replay::Rings;
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept of each task: its newest.
    pub per_task: usize,
    /// γ: how much more than needed the gradients of the memories are followed.
    pub margin: f64,
    /// What is added to the diagonal of their products.
    pub eps: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { per_task: 256, margin: 0.5, eps: 1e-3 }
    }
}

pub struct Gem {
    projector: Projector,
    per_task: usize,
    /// Of the present task.
    memory: Rings,
    /// Of the earlier ones.
    past: Vec<Samples>,
}

impl Gem {
    pub fn new(config: Config, _seed: u64) -> Result<Self> {
        let projector = Projector { margin: config.margin, eps: config.eps };
        projector.check()?;
        Ok(Self { projector, per_task: config.per_task, memory: ring(config.per_task)?, past: Vec::new() })
    }
}

/// The newest samples of one task. Nothing is drawn from it: it is used whole.
fn ring(per_task: usize) -> Result<Rings> {
    Rings::new(per_task, 1, cl_core::rng(0, "memory"))
}

impl Method for Gem {
    /// Algorithm 1: g̃ is the projection of g on what agrees with the gradients gₖ on all memories k < t.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let Samples { x, y } = &batch.samples;
        self.memory.offer(&vec![0; batch.samples.len()], x, y)?;
        let on_memory = |old: &Samples| -> Result<Vec<Tensor>> {
            learner.gradients(&learner.net.forward(&old.x)?.cross_entropy(&old.y, batch.units, None)?)
        };
        let memories: Vec<Vec<Tensor>> = self.past.iter().map(on_memory).collect::<Result<_>>()?;
        let mut gradient = learner.loss(batch)?.backward()?;
        self.projector.project(&mut gradient, learner.net.params(), &memories)?;
        learner.apply(&learner.net.params().gradients(&gradient)?)
    }

    fn end_task(&mut self, _learner: &mut Learner, _task: &Task) -> Result<()> {
        let (x, y) = self.memory.group(0)?;
        self.past.push(Samples::new(x, y)?);
        self.memory = ring(self.per_task)?;
        Ok(())
    }
}
