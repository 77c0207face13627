//! GEM (Lopez-Paz & Ranzato 2017): a step may not raise the loss on the memory of any earlier task.

use candle_core::Tensor;
use cl_core::Result;
use cl_data::{Samples, Task};
use cl_project::Gem as Projector;
use cl_replay::Rings;
use serde::{Deserialize, Serialize};

use crate::vitals::Tally;
use crate::{Batch, Learner, Method, Stored, Vitals};

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

#[derive(Serialize, Deserialize)]
pub struct Gem {
    config: Config,
    /// Of the present task.
    memory: Rings,
    /// Of the earlier ones.
    past: Vec<Samples>,
    /// What gradients were taken on, of each of them.
    #[serde(skip)]
    drawn: Tally,
}

impl Gem {
    pub fn new(config: Config, _seed: u64) -> Result<Self> {
        let gem = Self { config, memory: ring(config.per_task)?, past: Vec::new(), drawn: Tally::default() };
        gem.projector().check()?;
        Ok(gem)
    }

    fn projector(&self) -> Projector {
        Projector { margin: self.config.margin, eps: self.config.eps }
    }
}

/// The newest samples of one task. Nothing is drawn from it: it is used whole.
fn ring(per_task: usize) -> Result<Rings> {
    Rings::new(per_task, 1, cl_core::rng(0, "memory"))
}

impl Method for Gem {
    crate::saved!("cl-methods/gem", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        let tasks = self.past.iter().enumerate().flat_map(|(k, old)| std::iter::repeat_n(k, old.len()));
        Ok(Vitals::of(Stored {
            samples: match self.past.is_empty() {
                true => None,
                false => Some(Samples::concat(&self.past.iter().collect::<Vec<_>>())?),
            },
            tasks: Some(tasks.collect()),
            capacity: Some(self.config.per_task * self.past.len()),
            drawn: self.drawn.by_task(1),
        }))
    }

    /// Algorithm 1: g̃ is the projection of g on what agrees with the gradients gₖ on all memories k < t.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let Samples { x, y } = &batch.samples;
        self.memory.offer(&vec![0; batch.samples.len()], x, y)?;
        let on_memory =
            |old: &Samples| learner.gradients_of(&Batch { samples: old.clone(), units: batch.units });
        self.drawn.add((0..).zip(self.past.iter().map(|old| old.len() as u64)));
        let memories: Vec<Vec<Tensor>> = self.past.iter().map(on_memory).collect::<Result<_>>()?;
        let mut gradient = learner.loss(batch)?.backward()?;
        self.projector().project(&mut gradient, learner.net.params(), &memories)?;
        learner.apply(&learner.net.params().gradients(&gradient)?)
    }

    fn end_task(&mut self, _learner: &mut Learner, _task: &Task) -> Result<()> {
        let (x, y) = self.memory.group(0)?;
        self.past.push(Samples::new(x, y)?);
        self.memory = ring(self.config.per_task)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, dot, gradient, learner, moved, tasks};
    use cl_data::Scenario;

    /// With no margin: what is applied agrees with the gradient on every memory, and is the plain gradient where that
    /// agrees already. The memories are the last samples of the earlier tasks.
    #[test]
    fn no_step_goes_against_any_memory() {
        for scenario in Scenario::ALL {
            let (tasks, mut learner) = (tasks(scenario, 4, 20), learner(scenario, 4));
            learner.optimizer.set_lr(0.05).unwrap();
            let mut gem = Gem::new(Config { per_task: 8, margin: 0.0, eps: 1e-9 }, 0).unwrap();
            let (mut conflicts, mut agreements) = (0, 0);
            for (k, task) in tasks.iter().enumerate() {
                learner.task = k;
                for step in 0..20 {
                    let now = batch(task, step, step + 7);
                    let plain = gradient(&learner, &learner.loss(&now).unwrap());
                    // The last that the batch before the last one ends with, and the last batch.
                    let newest = |task: &Task| {
                        let parts = [(24, 25), (19, 26)].map(|(from, to)| batch(task, from, to).samples);
                        let samples = Samples::concat(&parts.each_ref()).unwrap();
                        Batch { samples, units: task.units }
                    };
                    let memories: Vec<Vec<f32>> = tasks[..k]
                        .iter()
                        .map(|old| gradient(&learner, &learner.loss(&newest(old)).unwrap()))
                        .collect();
                    let found = moved(&mut learner, |learner| gem.observe(learner, &now).unwrap());
                    let found: Vec<f32> = found.iter().map(|step| step / 0.05).collect();
                    if memories.iter().all(|memory| dot(&plain, memory) >= 0.0) {
                        agreements += usize::from(k > 0);
                        assert_close(&found, &plain, 1e-4);
                        continue;
                    }
                    conflicts += 1;
                    for memory in &memories {
                        let scale = (dot(memory, memory) * dot(&plain, &plain)).sqrt();
                        assert!(dot(&found, memory) >= -1e-3 * scale, "{scenario}, task {k}, step {step}");
                    }
                }
                gem.end_task(&mut learner, task).unwrap();
            }
            assert!(conflicts > 0 && agreements > 0, "{scenario}: {conflicts} and {agreements}");
        }
    }

    /// A task of fewer samples than are kept leaves no room that samples of another task could stay in.
    #[test]
    fn each_memory_is_of_one_task() {
        let (tasks, mut learner) = (tasks(Scenario::Domain, 2, 20), learner(Scenario::Domain, 2));
        let mut gem = Gem::new(Config { per_task: 8, ..Config::default() }, 0).unwrap();
        for (task, n) in tasks.iter().zip([8, 3]) {
            gem.observe(&mut learner, &batch(task, 0, n)).unwrap();
            gem.end_task(&mut learner, task).unwrap();
        }
        let kept: Vec<Vec<Vec<f32>>> = gem.past.iter().map(|past| past.x.to_vec2().unwrap()).collect();
        assert_eq!(kept.iter().map(Vec::len).collect::<Vec<_>>(), [8, 3]);
        // An input begins with the number of its task.
        assert!(kept.iter().enumerate().all(|(task, x)| x.iter().all(|x| x[0] == task as f32)));
    }

    #[test]
    fn coefficients_that_are_none_are_refused() {
        let good = Config::default();
        for bad in
            [Config { per_task: 0, ..good }, Config { margin: -0.1, ..good }, Config { eps: 0.0, ..good }]
        {
            assert!(Gem::new(bad, 0).is_err(), "{bad:?}");
        }
    }
}
