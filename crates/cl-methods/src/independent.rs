//! A network for each task (Lopez-Paz & Ranzato 2017, "independent"): nothing is forgotten, and nothing shared.
//!
//! "Separate networks" of van de Ven et al. 2022 are these without `finetune`. Each task is told apart when it is tested:
//! in the task scenario that is given; in the domain scenario this method alone is told; in the class scenario it does
//! not begin.

use candle_core::{DType, Device, Module, Tensor};
use cl_core::{Error, Result, TensorOps};
use cl_data::Task;
use cl_nn::{Mlp, Optimizer};
use serde::{Deserialize, Serialize};

use crate::train::Weights;
use crate::{Batch, Learner, Method, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Widths of the hidden layers of each network.
    pub hidden: Vec<usize>,
    /// Whether a network begins as the one before it has ended.
    pub finetune: bool,
    /// What the weights of a network are drawn from.
    pub weights: Weights,
}

impl Default for Config {
    fn default() -> Self {
        Self { hidden: vec![5, 5], finetune: true, weights: Weights::Xavier }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Independent {
    config: Config,
    seed: u64,
    /// Of the tasks so far.
    nets: Vec<Mlp>,
    /// Of the present one.
    optimizer: Option<Optimizer>,
}

impl Independent {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        if config.hidden.contains(&0) {
            let why = format!("a layer of no units in {:?}", config.hidden);
            return Err(Error::invalid("hidden", why));
        }
        Ok(Self { config, seed, nets: Vec::new(), optimizer: None })
    }

    /// The network of a task before it is trained.
    fn fresh(&self, task: usize, inputs: usize, outputs: usize) -> Result<Mlp> {
        let rng = &mut cl_core::rng(self.seed, &format!("weights of task {task}"));
        let widths = [&[inputs], &self.config.hidden[..], &[outputs]].concat();
        let net = Mlp::new(&widths, DType::F32, &Device::Cpu, rng)?;
        if self.config.weights != Weights::FanIn {
            // Neither depends on a layer's inputs.
            let (weights, biases) = self.config.weights.of_layer(inputs);
            net.draw(weights, biases, rng)?;
        }
        Ok(net)
    }
}

impl Method for Independent {
    crate::saved!("cl-methods/independent", 2);

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::apart())
    }

    fn begin_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        learner.give_task("Independent")?;
        let net = match self.nets.last().filter(|_| self.config.finetune) {
            Some(last) => last.copy()?,
            None => self.fresh(task.index, task.train.features(), learner.net.outputs())?,
        };
        self.nets.push(net);
        self.optimizer = Some(Optimizer::new(learner.optimizer.config())?);
        Ok(())
    }

    fn observe(&mut self, _learner: &mut Learner, batch: &Batch) -> Result<()> {
        let (net, optimizer) = self.nets.last().zip(self.optimizer.as_mut()).expect("begin_task made them");
        let loss = net.forward(&batch.samples.x)?.cross_entropy(&batch.samples.y, batch.units, None)?;
        optimizer.backward_step(net.params(), &loss)
    }

    fn memory_per_task(&self) -> Result<Option<Vec<usize>>> {
        let bytes = |net: &Mlp| net.params().numel() * DType::F32.size_in_bytes();
        Ok(Some(self.nets.iter().map(bytes).collect()))
    }

    fn predict(&self, learner: &Learner, task: &Task, x: &Tensor) -> Result<Tensor> {
        match self.nets.get(task.index) {
            Some(net) => net.predict(x),
            None => self.fresh(task.index, x.dim(1)?, learner.net.outputs())?.predict(x),
        }
    }
}
