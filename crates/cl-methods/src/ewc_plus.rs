//! EWC++ (Chaudhry et al. 2018, §4.1): EWC whose Fisher information is a running mean over the training steps.

use cl_core::Result;
use cl_data::Task;
use cl_regularize::{AdaptiveEwc, AdaptiveEwcConfig};
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// λ in (λ/2) Σ F(θ−θ*)². The authors' code has no ½: its λ is half of ours.
    pub lambda: f64,
    /// The weight of the past in F ← decay·F + (1−decay)·g²: 1−α in the paper.
    pub decay: f64,
    /// g² is the mean over this many steps, after which F is updated.
    pub every: usize,
    /// Whether F is scaled to [0, 1] over all parameters, as in the authors' code.
    pub normalise: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { lambda: 20.0, decay: 0.1, every: 10, normalise: true }
    }
}

#[derive(Serialize, Deserialize)]
pub struct EwcPlus {
    ewc: AdaptiveEwc,
}

impl EwcPlus {
    pub fn new(config: Config) -> Result<Self> {
        let Config { lambda, decay, every, normalise } = config;
        let config = AdaptiveEwcConfig { lambda, decay, every, normalise, threshold: 0.0 };
        Ok(Self { ewc: AdaptiveEwc::new(config)? })
    }
}

impl Method for EwcPlus {
    crate::saved!("cl-methods/ewc++", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn vitals(&self, learner: &Learner) -> Result<Vitals> {
        Ok(Vitals {
            penalty: Some(self.ewc.penalty(learner.net.params())?),
            lambda: Some(self.ewc.lambda()),
            importance: self.ewc.importance().cloned().collect(),
            ..Vitals::default()
        })
    }

    /// L = L_task + (λ/2) Σ F(θ−θ*)², F after the last task, and F ← decay·F + (1−decay)·g² (eq. 10) with g that of
    /// L_task.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let penalty = self.ewc.penalty(learner.net.params())?;
        let (step, task) = learner.gradients_apart(&learner.loss(batch)?, &penalty)?;
        learner.apply(&step)?;
        self.ewc.observe(learner.net.params(), &task)
    }

    fn end_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        self.ewc.consolidate(learner.net.params())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, gradient, learner, moved, tasks};
    use cl_data::Scenario;

    /// Each step is g + λ F (θ−θ*), with F kept by hand from the gradients of the task's loss alone.
    #[test]
    fn the_steps_follow_the_equations() {
        for (scenario, normalise) in [(Scenario::Domain, true), (Scenario::Class, false)] {
            let (tasks, mut learner) = (tasks(scenario, 3, 20), learner(scenario, 3));
            learner.optimizer.set_lr(0.05).unwrap();
            let config = Config { lambda: 5.0, decay: 0.4, every: 3, normalise };
            let mut ewc = EwcPlus::new(config).unwrap();
            let flat =
                |learner: &Learner| -> Vec<f32> { learner.net.params().flat().unwrap().to_vec1().unwrap() };
            let n = flat(&learner).len();
            let (mut fisher, mut window, mut full) = (vec![0f32; n], vec![0f32; n], false);
            let (mut held, mut anchor) = (vec![0f32; n], vec![0f32; n]);
            for (k, task) in tasks.iter().enumerate() {
                learner.task = k;
                for step in 0..9 {
                    let now = batch(task, step, step + 7);
                    let g = gradient(&learner, &learner.loss(&now).unwrap());
                    let theta = flat(&learner);
                    let expected: Vec<f32> =
                        (0..n).map(|i| g[i] + 5.0 * held[i] * (theta[i] - anchor[i])).collect();
                    let found = moved(&mut learner, |learner| ewc.observe(learner, &now).unwrap());
                    let found: Vec<f32> = found.iter().map(|step| step / 0.05).collect();
                    assert_close(&found, &expected, 1e-4);
                    (0..n).for_each(|i| window[i] += g[i] * g[i] / 3.0);
                    if step % 3 == 2 {
                        for (f, w) in fisher.iter_mut().zip(&mut window) {
                            *f = if full { 0.4 * *f + 0.6 * *w } else { *w };
                            *w = 0.0;
                        }
                        full = true;
                    }
                }
                ewc.end_task(&mut learner, task).unwrap();
                anchor = flat(&learner);
                held.clone_from(&fisher);
                if normalise {
                    let least = fisher.iter().copied().fold(f32::INFINITY, f32::min);
                    let most = fisher.iter().copied().fold(0f32, f32::max);
                    held.iter_mut().for_each(|f| *f = (*f - least) / (most - least));
                }
            }
        }
    }
}
