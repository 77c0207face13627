//! L2: the parameters are held where the last task left them, each as much as the other.

use cl_core::Result;
use cl_data::Task;
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method, Vitals};

/// Its coefficient.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// λ in λ Σ (θ−θ*)².
    pub lambda: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { lambda: 0.5 }
    }
}

#[derive(Serialize, Deserialize)]
pub struct L2 {
    l2: cl_regularize::L2,
}

impl L2 {
    pub fn new(config: Config) -> Result<Self> {
        Ok(Self { l2: cl_regularize::L2::new(config.lambda)? })
    }
}

impl Method for L2 {
    crate::saved!("cl-methods/l2", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn can_train_in_half(&self) -> bool {
        true
    }

    fn vitals(&self, learner: &Learner) -> Result<Vitals> {
        let penalty = Some(self.l2.penalty(learner.net.params())?);
        Ok(Vitals { penalty, lambda: Some(self.l2.lambda()), ..Vitals::default() })
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let loss = (learner.loss(batch)? + self.l2.penalty(learner.net.params())?)?;
        learner.step(&loss)
    }

    fn end_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        self.l2.consolidate(learner.net.params())
    }
}
