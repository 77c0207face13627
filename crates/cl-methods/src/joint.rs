//! The upper bound: one network, all tasks at once, as many steps as all tasks together.

use cl_core::Result;
use cl_data::{Samples, Stream, Task, TaskSamples};
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method};

/// No coefficients.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// Batches are drawn at random over all tasks. (van de Ven et al. draw as many from each task in the task
/// scenario, which is the same in the mean.)
#[derive(Serialize, Deserialize)]
pub struct Joint;

impl Method for Joint {
    crate::saved!("cl-methods/joint", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn can_train_in_half(&self) -> bool {
        true
    }

    fn curriculum(&self, stream: &Stream) -> Result<Vec<Task>> {
        let Some(last) = stream.tasks.last() else { return Ok(Vec::new()) };
        let all = |part: fn(&Task) -> &TaskSamples| -> Result<TaskSamples> {
            let parts: Vec<Samples> =
                stream.tasks.iter().map(|task| part(task).all()).collect::<Result<_>>()?;
            Ok(Samples::concat(&parts.iter().collect::<Vec<_>>())?.into())
        };
        Ok(vec![Task {
            index: 0,
            classes: stream.class_order.clone(),
            train: all(|task| &task.train)?,
            test: all(|task| &task.test)?,
            ..last.clone()
        }])
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        learner.learn(batch)
    }
}
