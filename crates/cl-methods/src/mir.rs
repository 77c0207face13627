//! MIR (Aljundi et al. 2019): of the memory, the samples are replayed that the step on the new batch would harm most.

use cl_core::{Error, Result, Units};
use cl_data::Samples;
use cl_nn::{Mlp, Optimizer, OptimizerConfig};
use cl_replay::{Draw, Reservoir};
use serde::{Deserialize, Serialize};

use crate::learner::losses;
use crate::vitals::Tally;
use crate::{Batch, Learner, Method, Stored, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept, by reservoir sampling.
    pub memory: usize,
    /// C: samples of the memory, drawn at random, that are looked at in each step.
    pub candidates: usize,
    /// k: those of them that are replayed.
    pub batch: usize,
    /// Whether only samples of earlier tasks are looked at, as in the authors' code; otherwise any, as in the paper, which
    /// needs no task boundaries.
    pub earlier_tasks: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { memory: 500, candidates: 50, batch: 10, earlier_tasks: false }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Mir {
    config: Config,
    /// Inputs, targets and tasks.
    memory: Reservoir,
    /// What was drawn.
    #[serde(skip)]
    drawn: Tally,
}

impl Mir {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        if config.batch == 0 {
            return Err(Error::invalid("replay batch", "a batch has at least one sample"));
        }
        if config.candidates < config.batch {
            let why =
                format!("{} candidates are fewer than the batch of {}", config.candidates, config.batch);
            return Err(Error::invalid("candidates", why));
        }
        Ok(Self {
            memory: Reservoir::new(config.memory, cl_core::rng(seed, "memory"))?,
            config,
            drawn: Tally::default(),
        })
    }

    /// B_C: samples that may be replayed, if there are any.
    fn candidates(&mut self, learner: &Learner) -> Result<Option<Samples>> {
        let Config { candidates, earlier_tasks, .. } = self.config;
        if self.memory.is_empty() {
            return Ok(None);
        }
        // All of it in a random order where some may not take part.
        let n = if earlier_tasks { self.memory.len() } else { candidates.min(self.memory.len()) };
        let drawn = self.memory.sample_columns(n, Draw::WithoutReplacement)?;
        let [x, y, tasks] = drawn.as_slice() else {
            return Err(Error::invalid("memory", "it holds other columns than it was offered"));
        };
        let (samples, tasks) = (Samples::new(x.clone(), y.clone())?, tasks.to_vec1::<u32>()?);
        let may = |&row: &u32| !earlier_tasks || tasks[row as usize] != learner.task as u32;
        let rows: Vec<u32> = (0..n as u32).filter(may).take(candidates).collect();
        Ok(if rows.is_empty() { None } else { Some(samples.gather(&rows)?) })
    }
}

/// The k samples whose loss a step of plain SGD along `gradients` would raise most: s_MI-1(x) = ℓ(f_θᵛ(x), y) −
/// ℓ(f_θ(x), y) with θᵛ = θ − α ∇L (section 3.1). Of equal ones the first. Network and optimizer stay as they are.
fn most_interfered(
    learner: &Learner,
    gradients: &[candle_core::Tensor],
    samples: &Samples,
    units: Units,
    k: usize,
) -> Result<Vec<u32>> {
    let ahead = learner.net.copy()?;
    let step = OptimizerConfig::sgd(learner.optimizer.config().lr());
    Optimizer::new(step)?.step(ahead.params(), gradients)?;
    let of = |net: &Mlp| losses(&net.predict(&samples.x)?, &samples.y, units);
    let (before, after) = (of(&learner.net)?, of(&ahead)?);
    let rise: Vec<f64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    let mut rows: Vec<u32> = (0..samples.len() as u32).collect();
    rows.sort_by(|&a, &b| rise[b as usize].total_cmp(&rise[a as usize]));
    rows.truncate(k);
    Ok(rows)
}

impl Method for Mir {
    crate::saved!("cl-methods/mir", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        let stored = Stored::reservoir(&self.memory, &self.drawn)?;
        let tasks = match self.memory.all_columns()?.get(2) {
            Some(tasks) => Some(tasks.to_vec1::<u32>()?.into_iter().map(|task| task as usize).collect()),
            None => None,
        };
        Ok(Vitals::of(Stored { tasks, ..stored }))
    }

    /// Algorithm 1 (ER-MIR): one step along the gradients of both batches, each a mean, as in the authors' code; then
    /// what is new can be kept.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let (Batch { samples: new, units }, k) = (batch, self.config.batch);
        let mut gradients = learner.gradients(&learner.loss(batch)?)?;
        if let Some(candidates) = self.candidates(learner)? {
            let rows = most_interfered(learner, &gradients, &candidates, *units, k)?;
            let replayed = Batch { samples: candidates.gather(&rows)?, units: *units };
            self.drawn.labels(&replayed.samples.y)?;
            let of_replayed = learner.gradients(&learner.loss(&replayed)?)?;
            for (gradient, replayed) in gradients.iter_mut().zip(of_replayed) {
                *gradient = (&*gradient + replayed)?;
            }
        }
        learner.apply(&gradients)?;
        let task = (new.y.zeros_like()? + learner.task as f64)?;
        self.memory.offer_columns(&[&new.x, &new.y, &task])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, gradient, learner, moved, tasks};
    use cl_data::Scenario;

    /// The k candidates whose own loss rises most when θ − α g is put into the network by hand.
    fn by_hand(learner: &mut Learner, new: &Batch, candidates: &Samples, k: usize) -> Vec<u32> {
        let each = |learner: &Learner| -> Vec<f32> {
            let one = |row| Batch { samples: candidates.slice(row..row + 1).unwrap(), units: new.units };
            (0..candidates.len()).map(|row| learner.loss(&one(row)).unwrap().to_scalar().unwrap()).collect()
        };
        let gradients = learner.gradients(&learner.loss(new).unwrap()).unwrap();
        let lr = learner.optimizer.config().lr();
        let before = each(learner);
        let vars: Vec<_> = learner.net.params().trainable().map(|param| param.var.clone()).collect();
        let theta: Vec<_> = vars.iter().map(|var| var.as_tensor().copy().unwrap()).collect();
        for ((var, theta), gradient) in vars.iter().zip(&theta).zip(&gradients) {
            var.set(&(theta - (gradient * lr).unwrap()).unwrap()).unwrap();
        }
        let after = each(learner);
        vars.iter().zip(&theta).for_each(|(var, theta)| var.set(theta).unwrap());
        let mut rows: Vec<u32> = (0..candidates.len() as u32).collect();
        let rise = |row: u32| after[row as usize] - before[row as usize];
        rows.sort_by(|&a, &b| rise(b).total_cmp(&rise(a)));
        rows.truncate(k);
        rows
    }

    /// Each step is one on the new batch and on those that a virtual step, made by hand, harms most; a second memory of the
    /// same seed tells what they were chosen from.
    #[test]
    fn replays_what_a_virtual_step_would_harm_most() {
        for (scenario, earlier_tasks) in
            [(Scenario::Class, false), (Scenario::Task, false), (Scenario::Class, true)]
        {
            let (tasks, mut learner) = (tasks(scenario, 3, 20), learner(scenario, 3));
            learner.optimizer.set_lr(0.05).unwrap();
            let config = Config { memory: 30, candidates: 12, batch: 4, earlier_tasks };
            let mut mir = Mir::new(config, 3).unwrap();
            let mut memory = Mir::new(config, 3).unwrap();
            let mut chose = 0;
            for (k, task) in tasks.iter().enumerate() {
                learner.task = k;
                for step in 0..5 {
                    let new = batch(task, 7 * step, 7 * step + 7);
                    let mut loss = learner.loss(&new).unwrap();
                    if let Some(candidates) = memory.candidates(&learner).unwrap() {
                        if earlier_tasks {
                            let of = candidates.x.to_vec2::<f32>().unwrap();
                            assert!(of.iter().all(|x| (x[0] as usize) < k));
                        }
                        let rows = by_hand(&mut learner, &new, &candidates, 4);
                        chose += usize::from(rows != [0, 1, 2, 3]);
                        let replayed = Batch { samples: candidates.gather(&rows).unwrap(), units: new.units };
                        loss = (loss + learner.loss(&replayed).unwrap()).unwrap();
                    }
                    let expected = gradient(&learner, &loss);
                    let found = moved(&mut learner, |learner| mir.observe(learner, &new).unwrap());
                    assert_close(&found.iter().map(|step| step / 0.05).collect::<Vec<_>>(), &expected, 1e-4);
                    let task = (new.samples.y.zeros_like().unwrap() + k as f64).unwrap();
                    memory.memory.offer_columns(&[&new.samples.x, &new.samples.y, &task]).unwrap();
                }
            }
            assert!(chose >= 5, "{chose}");
        }
    }

    /// With Adam, too, whose moments a step that is not taken must not move.
    #[test]
    fn looking_ahead_changes_nothing() {
        let (tasks, mut learner) = (tasks(Scenario::Class, 1, 20), learner(Scenario::Class, 1));
        learner.optimizer = Optimizer::new(OptimizerConfig::adam(0.01)).unwrap();
        let new = batch(&tasks[0], 0, 6);
        learner.step(&learner.loss(&new).unwrap()).unwrap();
        let state = |learner: &Learner| {
            let theta = learner.net.params().flat().unwrap().to_vec1::<f32>().unwrap();
            (theta, serde_json::to_string(&learner.optimizer).unwrap())
        };
        let before = state(&learner);
        let gradients = learner.gradients(&learner.loss(&new).unwrap()).unwrap();
        let rows =
            most_interfered(&learner, &gradients, &tasks[0].train.all().unwrap(), new.units, 5).unwrap();
        assert_eq!(rows.len(), 5);
        assert!(state(&learner) == before);
    }

    #[test]
    fn bad_coefficients_are_refused() {
        let config = Config::default();
        for bad in [
            Config { memory: 0, ..config },
            Config { batch: 0, ..config },
            Config { candidates: 9, batch: 10, ..config },
        ] {
            assert!(Mir::new(bad, 0).is_err(), "{bad:?}");
        }
    }
}
