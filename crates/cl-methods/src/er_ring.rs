//! Experience replay with rings (Chaudhry et al. 2019b): as [`ER-Reservoir`](crate::er_reservoir), but the memory keeps
//! the newest samples of every class of every task.

use cl_core::{Error, Result};
use cl_data::Samples;
use cl_replay::{Draw, Rings};
use serde::{Deserialize, Serialize};

use crate::vitals::Tally;
use crate::{Batch, Learner, Method, Stored, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept of each class of each task.
    pub per_class: usize,
    /// Rings there is room for: at least the classes of all tasks together.
    pub rings: usize,
    /// Samples replayed with each batch.
    pub batch: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { per_class: 1, rings: 1000, batch: 10 }
    }
}

#[derive(Serialize, Deserialize)]
pub struct ErRing {
    memory: Rings,
    batch: usize,
    /// What was drawn.
    #[serde(skip)]
    drawn: Tally,
}

impl ErRing {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        if config.batch == 0 {
            return Err(Error::invalid("replay batch", "a batch has at least one sample"));
        }
        let memory = Rings::new(config.per_class, config.rings, cl_core::rng(seed, "memory"))?;
        Ok(Self { memory, batch: config.batch, drawn: Tally::default() })
    }
}

impl Method for ErRing {
    crate::saved!("cl-methods/er-ring", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn vitals(&self, learner: &Learner) -> Result<Vitals> {
        let drawn = self.drawn.by_class();
        if self.memory.is_empty() {
            return Ok(Vitals::of(Stored { drawn, ..Stored::default() }));
        }
        let rings = self.memory.counts().map(|(key, _)| -> Result<Samples> {
            let (x, y) = self.memory.group(key)?;
            Samples::new(x, y)
        });
        let rings = rings.collect::<Result<Vec<_>>>()?;
        let per_task = learner.classes_per_task.max(1);
        let task = |(key, n): (u32, usize)| std::iter::repeat_n(key as usize / per_task, n);
        Ok(Vitals::of(Stored {
            samples: Some(Samples::concat(&rings.iter().collect::<Vec<_>>())?),
            tasks: Some(self.memory.counts().flat_map(task).collect()),
            capacity: None,
            drawn,
        }))
    }

    /// Algorithm 1: a step on the mean over the new batch and one of all that is kept, samples of this task too; then the
    /// new batch goes into the rings.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let new = &batch.samples;
        if self.memory.is_empty() {
            learner.step(&learner.loss(batch)?)?;
        } else {
            let n = self.batch.min(self.memory.len());
            let (x, y) = self.memory.sample(n, Draw::WithoutReplacement)?;
            self.drawn.labels(&y)?;
            let samples = Samples::concat(&[new, &Samples::new(x, y)?])?;
            learner.step(&learner.loss(&Batch { samples, units: batch.units })?)?;
        }
        // Where each task has units of its own, they tell its classes from those of others; where it has not, the task does.
        let per_task = learner.classes_per_task as u32;
        let key = |y: u32| learner.task as u32 * per_task + y % per_task;
        let keys: Vec<u32> = new.labels()?.into_iter().map(key).collect();
        self.memory.offer(&keys, &new.x, &new.y)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, gradient, learner, moved, tasks};
    use cl_data::Scenario;

    /// One mean over both batches; of every class of every task the newest, and a sample is replayed only after its own
    /// step.
    #[test]
    fn replays_the_newest_of_every_class_of_every_task() {
        for scenario in Scenario::ALL {
            let (tasks, mut learner) = (tasks(scenario, 3, 20), learner(scenario, 3));
            let mut er = ErRing::new(Config { per_class: 2, rings: 6, batch: 5 }, 3).unwrap();
            let mut memory = Rings::new(2, 6, cl_core::rng(3, "memory")).unwrap();
            for task in &tasks {
                learner.task = task.index;
                for step in 0..4 {
                    let new = batch(task, 3 * step, 3 * step + 3);
                    let mut samples = new.samples.clone();
                    if !memory.is_empty() {
                        let n = memory.len().min(5);
                        let (x, y) = memory.sample(n, Draw::WithoutReplacement).unwrap();
                        samples = Samples::concat(&[&samples, &Samples::new(x, y).unwrap()]).unwrap();
                    }
                    let loss = learner.loss(&Batch { samples, units: new.units }).unwrap();
                    let expected = gradient(&learner, &loss);
                    let found = moved(&mut learner, |learner| er.observe(learner, &new).unwrap());
                    assert_close(&found, &expected, 1e-5);
                    // Inputs are (task, class, number).
                    let x = new.samples.x.to_vec2::<f32>().unwrap();
                    let keys: Vec<u32> = x.iter().map(|x| (2.0 * x[0] + x[1]) as u32).collect();
                    memory.offer(&keys, &new.samples.x, &new.samples.y).unwrap();
                }
                let counts: Vec<_> = er.memory.counts().collect();
                assert_eq!(
                    counts,
                    (0..2 * (task.index as u32 + 1)).map(|ring| (ring, 2)).collect::<Vec<_>>()
                );
            }
        }
    }

    #[test]
    fn sizes_that_are_none_are_refused() {
        let config = Config::default();
        for bad in
            [Config { batch: 0, ..config }, Config { per_class: 0, ..config }, Config { rings: 0, ..config }]
        {
            assert!(ErRing::new(bad, 0).is_err());
        }
    }
}
