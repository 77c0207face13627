//! DER and DER++ (Buzzega et al. 2020): replayed samples are held to the answers that the network once gave.

use candle_core::{Module, Tensor};
use cl_core::{Error, Result, TensorOps};
use cl_replay::{Draw, Reservoir};
use serde::{Deserialize, Serialize};

use crate::vitals::Tally;
use crate::{Batch, Learner, Method, Stored, Vitals};

/// The coefficients of DER.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept, by reservoir sampling.
    pub memory: usize,
    /// Samples of each replayed batch.
    pub batch: usize,
    /// α of the squared error to the stored outputs.
    pub alpha: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { memory: 200, batch: 128, alpha: 0.5 }
    }
}

/// The coefficients of DER++.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlusConfig {
    /// Samples kept, by reservoir sampling.
    pub memory: usize,
    /// Samples of each replayed batch.
    pub batch: usize,
    /// α of the squared error to the stored outputs.
    pub alpha: f64,
    /// β of the cross-entropy of a second batch, drawn independently of the first.
    pub beta: f64,
}

impl Default for PlusConfig {
    fn default() -> Self {
        Self { memory: 200, batch: 128, alpha: 0.5, beta: 0.5 }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Der {
    memory: Reservoir,
    config: Config,
    /// None without the second batch.
    beta: Option<f64>,
    /// What was drawn.
    #[serde(skip)]
    drawn: Tally,
}

impl Der {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        Self::with(config, None, seed)
    }

    pub fn plus(config: PlusConfig, seed: u64) -> Result<Self> {
        let PlusConfig { memory, batch, alpha, beta } = config;
        Self::with(Config { memory, batch, alpha }, Some(beta), seed)
    }

    fn with(config: Config, beta: Option<f64>, seed: u64) -> Result<Self> {
        for (name, value) in [("alpha", Some(config.alpha)), ("beta", beta)] {
            if let Some(value) = value.filter(|value| !(*value >= 0.0 && value.is_finite())) {
                return Err(Error::invalid(name, format!("{value} is not a finite number of at least 0")));
            }
        }
        if config.batch == 0 {
            return Err(Error::invalid("replay batch", "a batch has at least one sample"));
        }
        Ok(Self {
            memory: Reservoir::new(config.memory, cl_core::rng(seed, "memory"))?,
            config,
            beta,
            drawn: Tally::default(),
        })
    }

    /// Inputs, targets and stored outputs of as many distinct samples as there are, up to a batch.
    fn draw(&mut self) -> Result<[Tensor; 3]> {
        let n = self.config.batch.min(self.memory.len());
        let columns = self.memory.sample_columns(n, Draw::WithoutReplacement)?;
        if let Some(labels) = columns.get(1) {
            self.drawn.labels(labels)?;
        }
        columns.try_into().map_err(|_| Error::invalid("memory", "it holds other columns than it was offered"))
    }
}

impl Method for Der {
    crate::saved!("cl-methods/der", 1);

    fn can_leave_the_cpu(&self) -> bool {
        true
    }

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::of(Stored::reservoir(&self.memory, &self.drawn)?))
    }

    /// L = CE(z, y) + α·MSE(z′, stored z′) (eq. 5) + β·CE(z″, y″) (eq. 6), of three batches in one pass; the error
    /// is a mean over samples and units, as in the authors' code.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let (x, y) = (&batch.samples.x, &batch.samples.y);
        let (first, second) = match (self.memory.is_empty(), self.beta) {
            (true, _) => (None, None),
            (false, None) => (Some(self.draw()?), None),
            (false, Some(_)) => (Some(self.draw()?), Some(self.draw()?)),
        };
        let mut inputs = vec![x];
        inputs.extend([&first, &second].into_iter().flatten().map(|[x, ..]| x));
        let outputs = learner.net.forward(&Tensor::cat(&inputs, 0)?)?;
        let n = x.dim(0)?;
        let new = outputs.narrow(0, 0, n)?.contiguous()?;
        let mut loss = new.cross_entropy(y, batch.units, None)?;
        if let Some([x, _, stored]) = &first {
            let error = (outputs.narrow(0, n, x.dim(0)?)? - stored)?.sqr()?.mean_all()?;
            loss = (loss + (error * self.config.alpha)?)?;
        }
        if let (Some([x, y, _]), Some(beta)) = (&second, self.beta) {
            let rows = x.dim(0)?;
            let old = outputs.narrow(0, outputs.dim(0)? - rows, rows)?.contiguous()?;
            loss = (loss + (old.cross_entropy(y, batch.units, None)? * beta)?)?;
        }
        learner.step(&loss)?;
        self.memory.offer_columns(&[x, y, &new.detach()])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, gradient, learner, moved, tasks};
    use cl_data::Scenario;

    /// One pass over three batches is the sum of three losses, each computed apart; a second memory of the same seed
    /// tells what was drawn, and with which answers.
    #[test]
    fn the_losses_have_their_weights() {
        let config = PlusConfig { memory: 30, batch: 12, alpha: 0.3, beta: 0.7 };
        for (scenario, plus) in [(Scenario::Class, true), (Scenario::Task, true), (Scenario::Domain, false)] {
            let (tasks, mut learner) = (tasks(scenario, 3, 20), learner(scenario, 3));
            learner.optimizer.set_lr(0.1).unwrap();
            let mut memory = Reservoir::new(config.memory, cl_core::rng(5, "memory")).unwrap();
            let plain = Config { memory: config.memory, batch: config.batch, alpha: config.alpha };
            let mut der = if plus { Der::plus(config, 5) } else { Der::new(plain, 5) }.unwrap();
            for (k, task) in tasks.iter().enumerate() {
                learner.task = k;
                for step in 0..5 {
                    let batch = batch(task, step, step + 7);
                    let forward = |x: &Tensor| learner.net.forward(x).unwrap();
                    let answers = forward(&batch.samples.x).detach();
                    let mut loss = learner.loss(&batch).unwrap();
                    let mut drawn = Vec::new();
                    if !memory.is_empty() {
                        let n = config.batch.min(memory.len());
                        let mut draw = || memory.sample_columns(n, Draw::WithoutReplacement).unwrap();
                        let first = draw();
                        let error = (forward(&first[0]) - &first[2]).unwrap().sqr().unwrap();
                        loss = (loss + (error.mean_all().unwrap() * config.alpha).unwrap()).unwrap();
                        drawn.push(first[0].to_vec2::<f32>().unwrap());
                        if plus {
                            let second = draw();
                            let old = forward(&second[0]).cross_entropy(&second[1], batch.units, None);
                            loss = (loss + (old.unwrap() * config.beta).unwrap()).unwrap();
                            drawn.push(second[0].to_vec2::<f32>().unwrap());
                        }
                    }
                    assert!(drawn.len() < 2 || drawn[0] != drawn[1], "two draws, not one twice");
                    let expected = gradient(&learner, &loss);
                    let found = moved(&mut learner, |learner| der.observe(learner, &batch).unwrap());
                    let found: Vec<f32> = found.iter().map(|step| step / 0.1).collect();
                    assert_close(&found, &expected, 1e-4);
                    memory.offer_columns(&[&batch.samples.x, &batch.samples.y, &answers]).unwrap();
                }
            }
        }
    }

    #[test]
    fn weights_that_are_none_are_refused() {
        let plus = PlusConfig::default();
        assert!(Der::new(Config { alpha: -1.0, ..Config::default() }, 0).is_err());
        assert!(Der::new(Config { batch: 0, ..Config::default() }, 0).is_err());
        assert!(Der::new(Config { memory: 0, ..Config::default() }, 0).is_err());
        assert!(Der::plus(PlusConfig { beta: f64::NAN, ..plus }, 0).is_err());
    }
}
