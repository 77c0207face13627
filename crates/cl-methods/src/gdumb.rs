//! GDumb (Prabhu et al. 2020): nothing is learned from the stream but a balanced memory; the network that answers is
//! trained from scratch on the memory alone. A measure of what a memory by itself is worth.

use std::f64::consts::PI;

use candle_core::{DType, Device, Module, Tensor};
use cl_core::{Error, Result, TensorOps};
use cl_data::{Batches, LastBatch, Samples, Scenario, Task};
use cl_nn::{Activation, Mlp, Optimizer, OptimizerConfig, clip_norm};
use cl_replay::GreedyBalanced;
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method, Stored, Vitals};

/// Its coefficients; the defaults are the authors'.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Samples kept, as many of each class.
    pub memory: usize,
    /// Passes over the memory, all of them taken: nothing is stopped early.
    pub epochs: usize,
    /// Samples in a minibatch.
    pub batch: usize,
    /// Learning rate at the beginning of each cycle of the schedule; a tenth of it in the first pass.
    pub lr: f64,
    /// Learning rate that a cycle falls to.
    pub min_lr: f64,
    /// Momentum of the steps.
    pub momentum: f64,
    /// Weight decay of the steps.
    pub weight_decay: f64,
    /// What the norm of the gradient is cut to.
    pub clip: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory: 500,
            epochs: 128,
            batch: 16,
            lr: 0.05,
            min_lr: 0.0005,
            momentum: 0.9,
            weight_decay: 1e-6,
            clip: 10.0,
        }
    }
}

impl Config {
    /// The learning rate of a pass: a warm start, then cosine cycles of 1, 2, 4, 8, ... passes (SGDR).
    fn lr(&self, epoch: usize) -> f64 {
        let Some(cycle) = epoch.checked_ilog2().map(|log| 1usize << log) else { return 0.1 * self.lr };
        let part = (epoch - cycle) as f64 / cycle as f64;
        self.min_lr + 0.5 * (self.lr - self.min_lr) * (1.0 + (PI * part).cos())
    }
}

#[derive(Serialize, Deserialize)]
pub struct GDumb {
    config: Config,
    seed: u64,
    memory: GreedyBalanced,
    /// Trained when the last task ended.
    net: Option<Mlp>,
}

impl GDumb {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        let Config { epochs, batch, lr, min_lr, clip, .. } = config;
        if let Some((name, _)) = [("epochs", epochs), ("batch", batch)].into_iter().find(|&(_, n)| n == 0) {
            return Err(Error::invalid(name, "0: at least 1 is needed"));
        }
        let fits = |lr: f64| lr.is_finite() && lr >= 0.0;
        if !(fits(lr) && fits(min_lr) && min_lr <= lr) {
            return Err(Error::invalid("lr", format!("it cannot fall from {lr} to {min_lr}")));
        }
        if clip.is_nan() || clip <= 0.0 {
            return Err(Error::invalid("clip", format!("{clip} is not a positive number")));
        }
        optimizer(&config)?;
        let memory = GreedyBalanced::new(config.memory, cl_core::rng(seed, "memory"))?;
        Ok(Self { config, seed, memory, net: None })
    }

    /// The dumb learner: a new network of the learner's shape, trained on the memory.
    fn train(&self, learner: &Learner, units: cl_core::Units) -> Result<Mlp> {
        let (x, y) = self.memory.all()?;
        let memory = Samples::new(x, y)?;
        let stream = |what: &str| cl_core::rng(self.seed, &format!("{what} after task {}", learner.task));
        let (heads, hidden): (Vec<_>, Vec<_>) =
            learner.net.layers().partition(|layer| layer.activation == Activation::Identity);
        let mut widths = vec![memory.features()];
        widths.extend(hidden.iter().map(|layer| layer.bias.elem_count()));
        widths.push(learner.net.outputs());
        let net = Mlp::with_heads(&widths, heads.len(), DType::F32, &Device::Cpu, &mut stream("weights"))?;
        let mut optimizer = optimizer(&self.config)?;
        let mut batches = Batches::new(memory.len(), self.config.batch, stream("batches"), LastBatch::Keep)?;
        for epoch in 0..self.config.epochs {
            optimizer.set_lr(self.config.lr(epoch))?;
            for _ in 0..batches.per_epoch() {
                let batch = memory.gather(batches.next_batch())?;
                let loss = net.forward(&batch.x)?.cross_entropy(&batch.y, units, None)?;
                let mut gradients = net.params().gradients(&loss.backward()?)?;
                clip_norm(&mut gradients, self.config.clip)?;
                optimizer.step(net.params(), &gradients)?;
            }
        }
        Ok(net)
    }
}

fn optimizer(config: &Config) -> Result<Optimizer> {
    let Config { lr, momentum, weight_decay, .. } = *config;
    Optimizer::new(OptimizerConfig::Sgd { lr, momentum, weight_decay })
}

impl Method for GDumb {
    crate::saved!("cl-methods/gdumb", 1);

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        let samples = match self.memory.is_empty() {
            true => None,
            false => self.memory.all().and_then(|(x, y)| Samples::new(x, y)).map(Some)?,
        };
        let memory = Stored { samples, capacity: Some(self.config.memory), ..Stored::default() };
        Ok(Vitals { memory: Some(memory), ..Vitals::apart() })
    }

    /// The greedy sampler (algorithm 1). No step is taken.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let labels = batch.samples.labels()?;
        // The classes of domains share their units.
        let first = match learner.scenario {
            Scenario::Domain => learner.task * learner.classes_per_task,
            _ => 0,
        };
        let keys: Vec<u32> = labels.iter().map(|label| first as u32 + label).collect();
        self.memory.offer(&keys, &batch.samples.x, &batch.samples.y)?;
        Ok(())
    }

    fn predict(&self, learner: &Learner, _task: &Task, x: &Tensor) -> Result<Tensor> {
        self.net.as_ref().unwrap_or(&learner.net).predict(x)
    }

    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        self.net = Some(self.train(learner, task.units)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{batch, learner, tasks};

    /// PyTorch's CosineAnnealingWarmRestarts with T_0 = 1 and T_mult = 2, first stepped before the third pass, as the authors' loop does.
    #[test]
    fn the_learning_rate_falls_in_cycles() {
        let config = Config::default();
        let (mut now, mut length) = (0, 1); // T_cur and T_i
        for epoch in 0..130 {
            let expected = match epoch {
                0 => 0.005,
                1 => 0.05,
                _ => {
                    now += 1;
                    if now >= length {
                        (now, length) = (now - length, length * 2);
                    }
                    0.0005 + (0.05 - 0.0005) * (1.0 + (PI * f64::from(now) / f64::from(length)).cos()) / 2.0
                }
            };
            assert!((config.lr(epoch) - expected).abs() < 1e-12, "{epoch}");
        }
    }

    /// The stream fills the memory, balanced, and moves nothing; what answers is another network, that knows the memory, and comes
    /// from the seed and the memory alone.
    #[test]
    fn the_network_is_trained_on_the_memory_alone() {
        for scenario in Scenario::ALL {
            let (tasks, mut learner) = (tasks(scenario, 3, 20), learner(scenario, 3));
            let config = Config { memory: 24, epochs: 63, batch: 4, ..Config::default() };
            let mut gdumb = GDumb::new(config, 1).unwrap();
            let before = learner.net.params().flat().unwrap().to_vec1::<f32>().unwrap();
            for (k, task) in tasks.iter().enumerate() {
                learner.task = k;
                for step in 0..4 {
                    gdumb.observe(&mut learner, &batch(task, 10 * step, 10 * step + 10)).unwrap();
                }
                let counts: Vec<usize> = gdumb.memory.counts().into_iter().map(|(_, count)| count).collect();
                assert_eq!(counts, vec![24 / (2 * k + 2); 2 * k + 2], "{scenario}");
                gdumb.end_task(&mut learner, task).unwrap();
            }
            assert_eq!(learner.net.params().flat().unwrap().to_vec1::<f32>().unwrap(), before);
            let again = gdumb.train(&learner, tasks[0].units).unwrap();
            let flat = |net: &Mlp| net.params().flat().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(flat(&again), flat(gdumb.net.as_ref().unwrap()));
            assert_ne!(flat(&again), before);
            let (x, y) = gdumb.memory.all().unwrap();
            let loss = |logits: Tensor| {
                let loss = logits.cross_entropy(&y, tasks[0].units, None).unwrap();
                loss.to_scalar::<f32>().unwrap()
            };
            let trained = loss(gdumb.predict(&learner, &tasks[0], &x).unwrap());
            assert!(trained < 0.5 * loss(learner.net.predict(&x).unwrap()), "{scenario}: {trained}");
        }
    }

    #[test]
    fn bad_coefficients_are_refused() {
        let config = Config::default();
        for bad in [
            Config { memory: 0, ..config },
            Config { epochs: 0, ..config },
            Config { batch: 0, ..config },
            Config { lr: -1.0, ..config },
            Config { min_lr: 0.1, ..config },
            Config { momentum: 1.0, ..config },
            Config { weight_decay: -1.0, ..config },
            Config { clip: 0.0, ..config },
        ] {
            assert!(GDumb::new(bad, 0).is_err(), "{bad:?}");
        }
    }
}
