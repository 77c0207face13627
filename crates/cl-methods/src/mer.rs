//! MER (Riemer et al. 2019): meta-experience replay, algorithm 1, and the variant of Buzzega et al. 2020.

use candle_core::Tensor;
use cl_core::{Error, Result, Units};
use cl_data::Samples;
use cl_nn::{OneByOne, OptimizerConfig};
use cl_replay::{Draw, Reservoir};
use serde::{Deserialize, Serialize};

use crate::vitals::Tally;
use crate::{Batch, Learner, Method, Stored, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept, by reservoir sampling.
    pub memory: usize,
    /// k − 1: samples replayed in each batch, beside the new one.
    pub batch: usize,
    /// s: batches for each new sample.
    pub batches: usize,
    /// β: the share of the way of a batch that is gone.
    pub beta: f64,
    /// γ: the share of the way of all batches together that is gone.
    pub gamma: f64,
    /// What is done with a batch.
    pub within: Within,
    /// Where the new sample stands in its batch.
    pub new: Place,
}

/// Where the new sample stands in its batch: with a step on each sample, what comes last counts most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Before the replayed ones, as in the authors' code of algorithm 1.
    First,
    /// Behind them, as in that of algorithm 6.
    Last,
}

/// What is done with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Within {
    /// A step on each sample; replayed samples are drawn with replacement (Riemer et al. 2019, whose
    /// code shuffles the memory before it takes each).
    OneByOne,
    /// One step on the mean over all; replayed samples are distinct (Buzzega et al. 2020).
    AtOnce,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory: 200,
            batch: 10,
            batches: 10,
            beta: 0.03,
            gamma: 1.0,
            within: Within::OneByOne,
            new: Place::First,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Mer {
    memory: Reservoir,
    config: Config,
    /// What was drawn.
    #[serde(skip)]
    drawn: Tally,
    /// Room for the weights: nothing that lasts.
    #[serde(skip)]
    room: Option<OneByOne>,
}

impl Mer {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        for (name, value) in [("beta", config.beta), ("gamma", config.gamma)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::invalid(name, format!("{value} is not a finite number of at least 0")));
            }
        }
        for (name, size) in [("replay batch", config.batch), ("batches", config.batches)] {
            if size == 0 {
                return Err(Error::invalid(name, "0: at least 1 is needed"));
            }
        }
        Ok(Self {
            memory: Reservoir::new(config.memory, cl_core::rng(seed, "memory"))?,
            config,
            drawn: Tally::default(),
            room: None,
        })
    }

    /// A batch: as many of the memory as there are, up to k − 1, and the new sample.
    fn draw(&mut self, new: &Samples) -> Result<Samples> {
        if self.memory.is_empty() {
            return Ok(new.clone());
        }
        let draw = match self.config.within {
            Within::OneByOne => Draw::WithReplacement,
            Within::AtOnce => Draw::WithoutReplacement,
        };
        let (x, y) = self.memory.sample(self.config.batch.min(self.memory.len()), draw)?;
        self.drawn.labels(&y)?;
        let old = Samples::new(x, y)?;
        match self.config.new {
            Place::First => Samples::concat(&[new, &old]),
            Place::Last => Samples::concat(&[&old, new]),
        }
    }
}

impl Method for Mer {
    crate::saved!("cl-methods/mer", 1);

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::of(Stored::reservoir(&self.memory, &self.drawn)?))
    }

    /// Algorithm 1, for one sample of the batch after the other.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let Config { batches, beta, gamma, within, .. } = self.config;
        let mut theta = Theta::of(learner, within, self.room.take())?;
        for row in 0..batch.samples.len() {
            let new = batch.samples.slice(row..row + 1)?;
            let across = theta.before(gamma)?; // θᴬ₀
            for _ in 0..batches {
                let within = theta.before(beta)?; // θᵂ₀
                theta.descend(&self.draw(&new)?, batch.units)?; // θᵂⱼ ← SGD(xⱼ, yⱼ, θᵂⱼ₋₁, α)
                theta.interpolate(within, beta)?; // θ ← θᵂ₀ + β(θᵂₖ − θᵂ₀)
            }
            theta.interpolate(across, gamma)?; // θ ← θᴬ₀ + γ(θᴬₛ − θᴬ₀)
            self.memory.offer(&new.x, &new.y)?;
        }
        self.room = theta.done()?;
        Ok(())
    }
}

/// The weights during `observe`: unpacked where every step is plain descent on one sample, which is then many times faster.
struct Theta<'a> {
    learner: &'a mut Learner,
    within: Within,
    unpacked: Option<(OneByOne, f64)>,
}

impl<'a> Theta<'a> {
    fn of(learner: &'a mut Learner, within: Within, room: Option<OneByOne>) -> Result<Self> {
        let plain = match learner.optimizer.config() {
            OptimizerConfig::Sgd { lr, momentum: 0.0, weight_decay: 0.0 } => Some(lr),
            _ => None,
        };
        let frozen = learner.net.params().iter().any(|param| param.frozen);
        let unpacked = match (within, plain) {
            (Within::OneByOne, Some(lr)) if !frozen => {
                let mut net = room.map_or_else(|| OneByOne::of(&learner.net), Ok)?;
                net.read(&learner.net)?;
                Some((net, lr))
            }
            _ => None,
        };
        Ok(Self { learner, within, unpacked })
    }

    /// A copy of the weights, unless all of the way will be gone.
    fn before(&self, share: f64) -> Result<Option<Vec<f32>>> {
        if share == 1.0 {
            return Ok(None);
        }
        Ok(Some(match &self.unpacked {
            Some((net, _)) => net.theta().to_vec(),
            None => self.learner.net.params().flat()?.to_vec1()?,
        }))
    }

    fn descend(&mut self, samples: &Samples, units: Units) -> Result<()> {
        match (&mut self.unpacked, self.within) {
            (Some((net, lr)), _) => net.descend(&samples.x, &samples.y, units, *lr),
            (None, Within::OneByOne) => (0..samples.len()).try_for_each(|row| {
                let one = Batch { samples: samples.slice(row..row + 1)?, units };
                self.learner.step(&self.learner.loss(&one)?)
            }),
            (None, Within::AtOnce) => {
                let all = Batch { samples: samples.clone(), units };
                self.learner.step(&self.learner.loss(&all)?)
            }
        }
    }

    /// θ ← before + share·(θ − before).
    fn interpolate(&mut self, before: Option<Vec<f32>>, share: f64) -> Result<()> {
        let Some(before) = before else { return Ok(()) };
        match &mut self.unpacked {
            Some((net, _)) => net.interpolate(&before, share),
            None => {
                let params = self.learner.net.params();
                let theta = params.flat()?;
                let before = Tensor::from_vec(before, theta.elem_count(), theta.device())?;
                params.set_flat(&((theta - &before)? * share)?.add(&before)?)
            }
        }
    }

    /// Gives the network what it has become.
    fn done(self) -> Result<Option<OneByOne>> {
        self.unpacked.map(|(net, _)| net.write(&self.learner.net).map(|()| net)).transpose()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, learner, tasks};
    use cl_data::Scenario;

    const CONFIG: Config = Config {
        memory: 9,
        batch: 4,
        batches: 3,
        beta: 0.3,
        gamma: 0.7,
        within: Within::OneByOne,
        new: Place::Last,
    };

    fn flat(learner: &Learner) -> Vec<f32> {
        learner.net.params().flat().unwrap().to_vec1().unwrap()
    }

    fn set(learner: &Learner, theta: &[f32]) {
        learner.net.params().set_flat(&Tensor::new(theta, &candle_core::Device::Cpu).unwrap()).unwrap();
    }

    /// Algorithm 1 in plain steps and vectors; a second memory of the same seed tells what was drawn. Both ways of the
    /// weights, unpacked and in the graph (a weight decay too small to count takes it there), and one step for a batch.
    #[test]
    fn is_algorithm_1() {
        let towards = |from: &[f32], to: &[f32], share: f32| -> Vec<f32> {
            from.iter().zip(to).map(|(from, to)| from + share * (to - from)).collect()
        };
        let graph = OptimizerConfig::Sgd { lr: 0.05, momentum: 0.0, weight_decay: 1e-30 };
        let plain_sgd = OptimizerConfig::sgd(0.05);
        let (each, once) = (Within::OneByOne, Within::AtOnce);
        let (with, without) = (Draw::WithReplacement, Draw::WithoutReplacement);
        for (scenario, optimizer, within, new_at, draw) in [
            (Scenario::Domain, plain_sgd, each, Place::First, with),
            (Scenario::Task, plain_sgd, each, Place::Last, with),
            (Scenario::Class, graph, each, Place::First, with),
            (Scenario::Domain, graph, each, Place::Last, with),
            (Scenario::Class, plain_sgd, once, Place::Last, without),
        ] {
            let tasks = tasks(scenario, 2, 20);
            let [mut found, mut plain] = [0, 1].map(|_| {
                let mut learner = learner(scenario, 2);
                learner.optimizer = cl_nn::Optimizer::new(optimizer).unwrap();
                learner
            });
            let mut mer = Mer::new(Config { within, new: new_at, ..CONFIG }, 3).unwrap();
            let mut memory = Reservoir::new(CONFIG.memory, cl_core::rng(3, "memory")).unwrap();
            for task in &tasks {
                for at in 0..8 {
                    mer.observe(&mut found, &batch(task, 2 * at, 2 * at + 2)).unwrap();
                    for row in 2 * at..2 * at + 2 {
                        let new = batch(task, row, row + 1);
                        let across = flat(&plain);
                        for _ in 0..CONFIG.batches {
                            let mut samples = new.samples.clone();
                            if !memory.is_empty() {
                                let (x, y) = memory.sample(memory.len().min(CONFIG.batch), draw).unwrap();
                                let old = Samples::new(x, y).unwrap();
                                let both =
                                    if new_at == Place::First { [&samples, &old] } else { [&old, &samples] };
                                samples = Samples::concat(&both).unwrap();
                            }
                            let before = flat(&plain);
                            let width = if within == Within::OneByOne { 1 } else { samples.len() };
                            for from in (0..samples.len()).step_by(width) {
                                let samples = samples.slice(from..from + width).unwrap();
                                let loss = plain.loss(&Batch { samples, units: new.units }).unwrap();
                                plain.step(&loss).unwrap();
                            }
                            set(&plain, &towards(&before, &flat(&plain), CONFIG.beta as f32));
                        }
                        set(&plain, &towards(&across, &flat(&plain), CONFIG.gamma as f32));
                        memory.offer(&new.samples.x, &new.samples.y).unwrap();
                    }
                    assert_close(&flat(&found), &flat(&plain), 1e-4);
                }
            }
        }
    }

    /// With β = γ = 1 and one batch nothing is left but the steps: on the first sample of all a single one.
    #[test]
    fn all_of_the_way_is_plain_descent() {
        let tasks = tasks(Scenario::Domain, 1, 20);
        let [mut found, mut plain] = [0, 1].map(|_| learner(Scenario::Domain, 1));
        found.optimizer.set_lr(0.05).unwrap();
        plain.optimizer.set_lr(0.05).unwrap();
        let config = Config { beta: 1.0, gamma: 1.0, batches: 1, memory: 1, batch: 1, ..CONFIG };
        let mut mer = Mer::new(config, 0).unwrap();
        for row in 0..2 {
            let new = batch(&tasks[0], row, row + 1);
            mer.observe(&mut found, &new).unwrap();
            // The memory of one holds the first sample.
            for row in 0..=row {
                plain.step(&plain.loss(&batch(&tasks[0], row, row + 1)).unwrap()).unwrap();
            }
            assert_close(&flat(&found), &flat(&plain), 1e-6);
        }
    }

    #[test]
    fn none_of_the_way_leaves_the_weights() {
        let tasks = tasks(Scenario::Domain, 1, 20);
        for config in [Config { gamma: 0.0, ..CONFIG }, Config { beta: 0.0, gamma: 1.0, ..CONFIG }] {
            for within in [Within::OneByOne, Within::AtOnce] {
                let mut learner = learner(Scenario::Domain, 1);
                let before = flat(&learner);
                let mut mer = Mer::new(Config { within, ..config }, 0).unwrap();
                mer.observe(&mut learner, &batch(&tasks[0], 0, 7)).unwrap();
                assert_eq!(flat(&learner), before);
                assert_eq!((mer.memory.len(), mer.memory.seen()), (7, 7));
            }
        }
    }

    #[test]
    fn coefficients_that_are_none_are_refused() {
        for bad in [
            Config { memory: 0, ..CONFIG },
            Config { batch: 0, ..CONFIG },
            Config { batches: 0, ..CONFIG },
            Config { beta: -0.1, ..CONFIG },
            Config { gamma: f64::NAN, ..CONFIG },
        ] {
            assert!(Mer::new(bad, 0).is_err());
        }
    }
}
