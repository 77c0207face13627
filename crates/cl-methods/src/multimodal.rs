//! An input layer for each task before a network that all share (Lopez-Paz & Ranzato 2017, "multimodal").

use candle_core::{DType, Device, Module, Tensor};
use cl_core::init::Init;
use cl_core::{Activation, Error, Params, Result, TensorOps};
use cl_data::Task;
use cl_nn::{Linear, Mlp};
use serde::{Deserialize, Serialize};

use crate::{Batch, Learner, Method, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Widths of the hidden layers; the first is that of each task's own.
    pub hidden: Vec<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self { hidden: vec![100, 100] }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Multimodal {
    hidden: Vec<usize>,
    seed: u64,
    /// Of the tasks so far.
    inputs: Vec<Linear>,
    /// What they share; none before the first task.
    shared: Option<Mlp>,
}

impl Multimodal {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        if config.hidden.is_empty() || config.hidden.contains(&0) {
            let why =
                format!("{:?}: the tasks' own layers are the first, of one unit at least", config.hidden);
            return Err(Error::invalid("hidden", why));
        }
        Ok(Self { hidden: config.hidden, seed, inputs: Vec::new(), shared: None })
    }

    /// The input layer of a task before it is trained.
    fn input(&self, task: usize, features: usize) -> Result<Linear> {
        let rng = &mut cl_core::rng(self.seed, &format!("input layer of task {task}"));
        let weight = Init::FanIn.var((self.hidden[0], features), DType::F32, &Device::Cpu, rng)?;
        let bias = Init::Zeros.var(self.hidden[0], DType::F32, &Device::Cpu, rng)?;
        Ok(Linear { weight, bias, activation: Activation::Relu })
    }
}

impl Method for Multimodal {
    crate::saved!("cl-methods/multimodal", 1);

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        // The shared layers are not protected.
        Ok(Vitals { protects: false, ..Vitals::apart() })
    }

    fn begin_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        learner.give_task("Multimodal")?;
        if self.shared.is_none() {
            let rng = &mut cl_core::rng(self.seed, "shared layers");
            let widths = [&self.hidden[..], &[learner.net.outputs()]].concat();
            let shared = Mlp::new(&widths, DType::F32, &Device::Cpu, rng)?;
            shared.draw(Init::FanIn, Init::Zeros, rng)?;
            self.shared = Some(shared);
        }
        self.inputs.push(self.input(task.index, task.train.features())?);
        Ok(())
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let (input, shared) = self.inputs.last().zip(self.shared.as_ref()).expect("begin_task made them");
        let outputs = shared.forward(&input.forward(&batch.samples.x)?)?;
        let loss = outputs.cross_entropy(&batch.samples.y, batch.units, None)?;
        let mut params = Params::new();
        params.extend(&format!("inputs.{}", learner.task), input.params()?)?;
        params.extend("shared", shared.params().clone())?;
        learner.optimizer.backward_step(&params, &loss)
    }

    fn predict(&self, learner: &Learner, task: &Task, x: &Tensor) -> Result<Tensor> {
        let Some(shared) = &self.shared else { return learner.net.predict(x) };
        match self.inputs.get(task.index) {
            Some(input) => shared.predict(&input.forward(x)?.detach()),
            None => shared.predict(&self.input(task.index, x.dim(1)?)?.forward(x)?.detach()),
        }
    }
}
