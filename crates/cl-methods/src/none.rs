//! The lower bound: each task is learned as if it were the only one.

use cl_core::Result;
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method};

/// No coefficients.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// Fine-tuning: nothing is done against forgetting.
#[derive(Serialize, Deserialize)]
pub struct NoMethod;

impl Method for NoMethod {
    crate::saved!("cl-methods/none", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn can_train_in_half(&self) -> bool {
        true
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        learner.learn(batch)
    }
}
