//! CLS-ER (Arani, Sarfraz & Zonooz 2022): two slow copies of the network, one plastic and one stable, tell it what it once
//! answered to the samples that are replayed.

use candle_core::{Module, Tensor};
use cl_core::{Error, Result, Rng, TensorOps};
use cl_data::{Samples, Task};
use cl_nn::Mlp;
use cl_replay::{Draw, Reservoir};
use cl_sleep::Ema;
use rand::Rng as _;
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
    /// Samples of each replayed batch.
    pub batch: usize,
    /// λ of the squared error to what the slow copies answer.
    pub lambda: f64,
    /// r_S: with what probability the stable copy moves after a step.
    pub stable_rate: f64,
    /// α_S: the decay of the stable copy.
    pub stable_alpha: f64,
    /// r_P: with what probability the plastic copy moves after a step.
    pub plastic_rate: f64,
    /// α_P: the decay of the plastic copy.
    pub plastic_alpha: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory: 200,
            batch: 128,
            lambda: 2.0,
            stable_rate: 0.9,
            stable_alpha: 0.99,
            plastic_rate: 1.0,
            plastic_alpha: 0.99,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub struct ClsEr {
    memory: Reservoir,
    config: Config,
    plastic: Slow,
    stable: Slow,
    /// Steps taken.
    t: u64,
    /// Decides whether a copy moves.
    rng: Rng,
    /// What was drawn.
    #[serde(skip)]
    drawn: Tally,
}

/// A slow copy, which moves with a probability of its own.
#[derive(Serialize, Deserialize)]
struct Slow {
    net: Option<Mlp>,
    rate: f64,
    ema: Ema,
}

impl Slow {
    fn new(rate: f64, alpha: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&rate) {
            return Err(Error::invalid("rate of a slow copy", format!("{rate} is not a probability")));
        }
        Ok(Self { net: None, rate, ema: Ema::new(alpha)? })
    }

    fn answer(&self, learner: &Learner, x: &Tensor) -> Result<Tensor> {
        self.net.as_ref().unwrap_or(&learner.net).predict(x)
    }

    /// The random number is drawn whatever the rate is.
    fn follow(&mut self, learner: &Learner, t: u64, rng: &mut Rng) -> Result<()> {
        let moves = rng.random::<f64>() < self.rate;
        match &self.net {
            Some(net) if moves => self.ema.step(net.params(), learner.net.params(), t),
            _ => Ok(()),
        }
    }
}

impl ClsEr {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        if !(config.lambda >= 0.0 && config.lambda.is_finite()) {
            let why = format!("{} is not a finite number of at least 0", config.lambda);
            return Err(Error::invalid("lambda", why));
        }
        if config.batch == 0 {
            return Err(Error::invalid("replay batch", "a batch has at least one sample"));
        }
        Ok(Self {
            memory: Reservoir::new(config.memory, cl_core::rng(seed, "memory"))?,
            config,
            plastic: Slow::new(config.plastic_rate, config.plastic_alpha)?,
            stable: Slow::new(config.stable_rate, config.stable_alpha)?,
            t: 0,
            rng: cl_core::rng(seed, "slow copies"),
            drawn: Tally::default(),
        })
    }

    /// For each sample the answer of the copy that gives its class the higher probability (algorithm 1, line 6).
    fn best_answer(&self, learner: &Learner, batch: &Batch) -> Result<Tensor> {
        let Samples { x, y } = &batch.samples;
        let (stable, plastic) = (self.stable.answer(learner, x)?, self.plastic.answer(learner, x)?);
        let of = |answer: &Tensor| losses(answer, y, batch.units);
        let stable_is_better: Vec<u8> = of(&stable)?
            .iter()
            .zip(of(&plastic)?)
            .map(|(stable, plastic)| u8::from(*stable < plastic))
            .collect();
        let rows =
            Tensor::from_vec(stable_is_better, (y.dim(0)?, 1), x.device())?.broadcast_as(stable.shape())?;
        Ok(rows.where_cond(&stable, &plastic)?)
    }
}

impl Method for ClsEr {
    crate::saved!("cl-methods/cls-er", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::of(Stored::reservoir(&self.memory, &self.drawn)?))
    }

    fn begin_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        for slow in [&mut self.plastic, &mut self.stable] {
            if slow.net.is_none() {
                slow.net = Some(learner.net.copy()?);
            }
        }
        Ok(())
    }

    /// L = CE of both batches together + λ·MSE(z', best answer) (algorithm 1), in one pass; then the copies follow.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let new = &batch.samples;
        if self.memory.is_empty() {
            learner.learn(batch)?;
        } else {
            let n = self.config.batch.min(self.memory.len());
            let (x, y) = self.memory.sample(n, Draw::WithoutReplacement)?;
            self.drawn.labels(&y)?;
            let old = Batch { samples: Samples::new(x, y)?, units: batch.units };
            let both = Samples::concat(&[new, &old.samples])?;
            let outputs = learner.net.forward(&both.x)?;
            let loss = outputs.cross_entropy(&both.y, batch.units, None)?;
            let error =
                (outputs.narrow(0, new.len(), n)? - self.best_answer(learner, &old)?)?.sqr()?.mean_all()?;
            learner.step(&(loss + (error * self.config.lambda)?)?)?;
        }
        self.memory.offer(&new.x, &new.y)?;
        self.t += 1;
        for slow in [&mut self.plastic, &mut self.stable] {
            slow.follow(learner, self.t, &mut self.rng)?;
        }
        Ok(())
    }

    /// The stable copy answers.
    fn predict(&self, learner: &Learner, _task: &Task, x: &Tensor) -> Result<Tensor> {
        self.stable.answer(learner, x)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, gradient, learner, moved, tasks};
    use cl_data::Scenario;

    /// One pass is the two losses computed apart, with teachers that are kept by hand beside; a second memory of the same
    /// seed tells what was drawn.
    #[test]
    fn the_better_copy_teaches_each_sample() {
        for scenario in Scenario::ALL {
            let (tasks, mut learner) = (tasks(scenario, 3, 20), learner(scenario, 3));
            learner.optimizer.set_lr(0.1).unwrap();
            let config = Config {
                memory: 30,
                batch: 12,
                lambda: 0.7,
                stable_rate: 1.0,
                stable_alpha: 0.8,
                plastic_alpha: 0.3,
                ..Config::default()
            };
            let mut method = ClsEr::new(config, 5).unwrap();
            let mut memory = Reservoir::new(30, cl_core::rng(5, "memory")).unwrap();
            let (stable, plastic) = (learner.net.copy().unwrap(), learner.net.copy().unwrap());
            let (mut t, mut taught) = (0.0, [0, 0]);
            for (k, task) in tasks.iter().enumerate() {
                learner.task = k;
                method.begin_task(&mut learner, task).unwrap();
                for step in 0..6 {
                    let batch = batch(task, step, step + 7);
                    let mut loss = learner.loss(&batch).unwrap();
                    if !memory.is_empty() {
                        let n = memory.len().min(12);
                        let (x, y) = memory.sample(n, Draw::WithoutReplacement).unwrap();
                        let old = Samples::new(x, y).unwrap();
                        let both = Samples::concat(&[&batch.samples, &old]).unwrap();
                        loss = learner.loss(&Batch { samples: both, units: batch.units }).unwrap();
                        // Sample by sample, each with the answer of the copy whose own loss is lower.
                        let mut errors = Vec::new();
                        for row in 0..n {
                            let one =
                                Batch { samples: old.gather(&[row as u32]).unwrap(), units: batch.units };
                            let of = |net: &Mlp| {
                                let twin = Learner { net: net.copy().unwrap(), ..self::learner(scenario, 3) };
                                twin.loss(&one).unwrap().to_scalar::<f32>().unwrap()
                            };
                            let teacher = if of(&stable) < of(&plastic) { &stable } else { &plastic };
                            taught[usize::from(std::ptr::eq(teacher, &plastic))] += 1;
                            let answer = teacher.predict(&one.samples.x).unwrap();
                            let error = (learner.net.forward(&one.samples.x).unwrap() - answer).unwrap();
                            errors.push(error.sqr().unwrap().mean_all().unwrap());
                        }
                        let error = Tensor::stack(&errors, 0).unwrap().mean_all().unwrap();
                        loss = (loss + (error * 0.7).unwrap()).unwrap();
                    }
                    let expected = gradient(&learner, &loss);
                    let found = moved(&mut learner, |learner| method.observe(learner, &batch).unwrap());
                    let found: Vec<f32> = found.iter().map(|step| step / 0.1).collect();
                    assert_close(&found, &expected, 1e-4);
                    memory.offer(&batch.samples.x, &batch.samples.y).unwrap();
                    t += 1.0;
                    for (slow, alpha) in [(&stable, 0.8f64), (&plastic, 0.3)] {
                        let alpha = alpha.min(1.0 - 1.0 / (t + 1.0)) as f32;
                        for (slow, fast) in slow.params().iter().zip(learner.net.params().iter()) {
                            let of =
                                |p: &cl_core::Param| p.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                            let new = of(slow)
                                .into_iter()
                                .zip(of(fast))
                                .map(|(s, f)| alpha * s + (1.0 - alpha) * f);
                            let new = Tensor::from_iter(new, &candle_core::Device::Cpu).unwrap();
                            slow.var.set(&new.reshape(slow.var.shape()).unwrap()).unwrap();
                        }
                    }
                    let flat = |net: &Mlp| net.params().flat().unwrap().to_vec1::<f32>().unwrap();
                    assert_close(&flat(method.stable.net.as_ref().unwrap()), &flat(&stable), 1e-5);
                    assert_close(&flat(method.plastic.net.as_ref().unwrap()), &flat(&plastic), 1e-5);
                }
                // What is asked is the stable copy.
                let x = batch(task, 0, 5).samples.x;
                let found = method.predict(&learner, task, &x).unwrap().flatten_all().unwrap();
                let expected = stable.predict(&x).unwrap().flatten_all().unwrap();
                assert_close(&found.to_vec1::<f32>().unwrap(), &expected.to_vec1::<f32>().unwrap(), 1e-5);
            }
            assert!(taught.iter().all(|n| *n > 10), "both teach: {taught:?}");
        }
    }

    /// A copy moves with its own probability.
    #[test]
    fn a_copy_of_rate_zero_stays_where_it_began() {
        let (tasks, mut learner) = (tasks(Scenario::Class, 1, 20), learner(Scenario::Class, 1));
        let mut method = ClsEr::new(Config { stable_rate: 0.0, ..Config::default() }, 0).unwrap();
        method.begin_task(&mut learner, &tasks[0]).unwrap();
        let flat = |net: &Mlp| net.params().flat().unwrap().to_vec1::<f32>().unwrap();
        let before = flat(&learner.net);
        for step in 0..5 {
            method.observe(&mut learner, &batch(&tasks[0], step, step + 5)).unwrap();
        }
        assert_eq!(flat(method.stable.net.as_ref().unwrap()), before);
        assert_ne!(flat(method.plastic.net.as_ref().unwrap()), before);
    }

    #[test]
    fn coefficients_that_are_none_are_refused() {
        let bad = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            ClsEr::new(config, 0).err().unwrap().to_string()
        };
        assert!(bad(|c| c.lambda = -1.0).contains("lambda"));
        assert!(bad(|c| c.batch = 0).contains("batch"));
        assert!(bad(|c| c.stable_rate = 1.5).contains("probability"));
        assert!(bad(|c| c.plastic_rate = f64::NAN).contains("probability"));
        assert!(bad(|c| c.stable_alpha = 1.0).contains("alpha"));
        assert!(bad(|c| c.memory = 0).contains("capacity"));
    }
}
