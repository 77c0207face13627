//! What a method is.

use candle_core::Tensor;
use cl_core::Result;
use cl_data::{Samples, Stream, Task};

use crate::{Batch, Learner};

/// A continual-learning method: what it does with a batch, and around a task. It owns its memory; network,
/// optimizer and scenario are the learner's.
pub trait Method {
    /// The tasks as this method is given them. Only the upper bound that trains on everything at once has
    /// reason to change this.
    fn curriculum(&self, stream: &Stream) -> Result<Vec<Task>> {
        Ok(stream.tasks.clone())
    }

    /// What the batches of a task are drawn from: its training samples, unless memories are mixed in.
    fn data(&mut self, task: &Task) -> Result<Samples> {
        task.train.all()
    }

    /// Before the first batch of a task.
    fn begin_task(&mut self, _learner: &mut Learner, _task: &Task) -> Result<()> {
        Ok(())
    }

    /// One step.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()>;

    /// The output units (n, units) for inputs (n, features) of a task that is evaluated: the learner's network, unless a
    /// method answers by other means.
    fn predict(&self, learner: &Learner, _task: &Task, x: &Tensor) -> Result<Tensor> {
        learner.net.predict(x)
    }

    /// After the last batch of a task.
    fn end_task(&mut self, _learner: &mut Learner, _task: &Task) -> Result<()> {
        Ok(())
    }
}
