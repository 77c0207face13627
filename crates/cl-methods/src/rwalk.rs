//! RWalk (Chaudhry et al. 2018): the Fisher information, and a score from the path that training took.

use cl_core::Result;
use cl_data::Task;
use cl_regularize::RWalkConfig;
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// λ in λ Σ (F+s)(θ−θ*)².
    pub lambda: f64,
    /// The weight of the past in F ← decay·F + (1−decay)·g²: 1−α in the paper.
    pub decay: f64,
    /// Steps between two updates of F and of the scores.
    pub every: usize,
    /// Whether g² is summed up over all steps of the task so far, as in the authors' code, not over the last `every` alone.
    pub growing: bool,
    /// ε in s = ΔL / (½ F Δθ² + ε).
    pub eps: f64,
    /// The ½ in that: 1 in the authors' code.
    pub kl: f64,
    /// How much stays in s ← keep·s + ½·s_task after a task: ½ in the paper, 1½ in the authors' code.
    pub keep: f64,
}

impl Default for Config {
    fn default() -> Self {
        let RWalkConfig { lambda, decay, every, growing, eps, kl, keep } = RWalkConfig::default();
        Self { lambda, decay, every, growing, eps, kl, keep }
    }
}

#[derive(Serialize, Deserialize)]
pub struct RWalk {
    config: Config,
    /// None before the first task: the path begins where the parameters are then.
    walk: Option<cl_regularize::RWalk>,
}

impl RWalk {
    pub fn new(config: Config) -> Result<Self> {
        // Bad coefficients are refused here, not when the first task begins.
        cl_regularize::RWalk::new(Self::inner(config), &cl_core::Params::new())?;
        Ok(Self { config, walk: None })
    }

    fn inner(config: Config) -> RWalkConfig {
        let Config { lambda, decay, every, growing, eps, kl, keep } = config;
        RWalkConfig { lambda, decay, every, growing, eps, kl, keep }
    }
}

impl Method for RWalk {
    crate::saved!("cl-methods/rwalk", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn vitals(&self, learner: &Learner) -> Result<Vitals> {
        let Some(walk) = &self.walk else { return Ok(Vitals::default()) };
        Ok(Vitals {
            penalty: Some(walk.penalty(learner.net.params())?),
            lambda: Some(self.config.lambda),
            importance: walk.importance().cloned().collect(),
            ..Vitals::default()
        })
    }

    fn begin_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        if self.walk.is_none() {
            self.walk = Some(cl_regularize::RWalk::new(Self::inner(self.config), learner.net.params())?);
        }
        Ok(())
    }

    /// L = L_task + λ Σ (F+s)(θ−θ*)² (eq. 9); F and s follow the gradient of L_task (eqs. 6, 8 and 10).
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let walk = self.walk.as_mut().expect("begin_task made it");
        let penalty = walk.penalty(learner.net.params())?;
        let (step, task) = learner.gradients_apart(&learner.loss(batch)?, &penalty)?;
        learner.apply(&step)?;
        walk.after_step(learner.net.params(), &task)
    }

    fn end_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        self.walk.as_mut().expect("begin_task made it").consolidate(learner.net.params())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, gradient, learner, moved, tasks};
    use cl_data::Scenario;

    /// Each step is g + 2λ (F+s)(θ−θ*), with F and s from another walk that is led along the gradients of the task's loss
    /// alone. What the walk makes of them is tested where it is.
    #[test]
    fn the_steps_follow_the_equations() {
        for scenario in Scenario::ALL {
            let (tasks, mut learner) = (tasks(scenario, 3, 20), learner(scenario, 3));
            learner.optimizer.set_lr(0.05).unwrap();
            let config = Config { lambda: 0.5, every: 3, ..Config::default() };
            let mut method = RWalk::new(config).unwrap();
            let mut walk = cl_regularize::RWalk::new(RWalk::inner(config), learner.net.params()).unwrap();
            let flat =
                |learner: &Learner| -> Vec<f32> { learner.net.params().flat().unwrap().to_vec1().unwrap() };
            let (mut anchor, mut held) = (flat(&learner), vec![0f32; flat(&learner).len()]);
            for (k, task) in tasks.iter().enumerate() {
                learner.task = k;
                method.begin_task(&mut learner, task).unwrap();
                for step in 0..9 {
                    let now = batch(task, step, step + 7);
                    let loss = learner.loss(&now).unwrap();
                    let (g, gradients) = (gradient(&learner, &loss), learner.gradients(&loss).unwrap());
                    let theta = flat(&learner);
                    let expected: Vec<f32> =
                        (0..g.len()).map(|i| g[i] + held[i] * (theta[i] - anchor[i])).collect();
                    let found = moved(&mut learner, |learner| method.observe(learner, &now).unwrap());
                    let found: Vec<f32> = found.iter().map(|step| step / 0.05).collect();
                    assert_close(&found, &expected, 1e-4);
                    walk.after_step(learner.net.params(), &gradients).unwrap();
                }
                method.end_task(&mut learner, task).unwrap();
                walk.consolidate(learner.net.params()).unwrap();
                anchor = flat(&learner);
                held = walk
                    .importance()
                    .flat_map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap())
                    .collect();
                assert!(held.iter().any(|&h| h > 0.5));
            }
        }
    }
}
