//! DER and DER++ (Buzzega et al. 2020): replayed samples are held to the answers that the network once gave.

use candle_core::{Module, Tensor};
use cl_core::{Error, Result, TensorOps};
use cl_replay::{Draw, Reservoir};
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method};

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

pub struct Der {
    memory: Reservoir,
    config: Config,
    /// None without the second batch.
    beta: Option<f64>,
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
        Ok(Self { memory: Reservoir::new(config.memory, cl_core::rng(seed, "memory"))?, config, beta })
    }

    /// Inputs, targets and stored outputs of as many distinct samples as there are, up to a batch.
    fn draw(&mut self) -> Result<[Tensor; 3]> {
        let n = self.config.batch.min(self.memory.len());
        let columns = self.memory.sample_columns(n, Draw::WithoutReplacement)?;
        columns.try_into().map_err(|_| Error::invalid("memory", "it holds other columns than it was offered"))
    }
}

impl Method for Der {
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
