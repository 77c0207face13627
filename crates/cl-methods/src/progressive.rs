//! Progressive networks (Rusu et al. 2016): a column for each task, which sees those before; none is changed again.
//!
//! The task of a sample must be known when it is tested. In the task scenario it is given; in the domain scenario it is
//! more than the other methods know; in the class scenario this method does not begin. The learner's own network is not
//! used. Every step runs all columns so far: task k costs about k(k+1)/2 lateral maps a layer.

use candle_core::{DType, Device, Tensor};
use cl_core::{Error, Params, Result, TensorOps};
use cl_data::Task;
use cl_isolate::{AdapterConfig, MlpColumn};
use cl_nn::Optimizer;
use serde::{Deserialize, Serialize};

use crate::train::Weights;
use crate::{Batch, Learner, Method, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Widths of the hidden layers of each column.
    pub hidden: Vec<usize>,
    /// The lateral maps: `{"lateral": "adapter", "width": .., "alpha": 0.1}` as the paper has them, or
    /// `{"lateral": "linear"}` as Chaudhry et al. 2019 do.
    pub adapters: AdapterConfig,
    /// What the weights of columns and lateral maps are drawn from; α always is as `adapters` says.
    pub weights: Weights,
}

impl Default for Config {
    fn default() -> Self {
        Self { hidden: vec![100, 100], adapters: AdapterConfig::default(), weights: Weights::FanIn }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Progressive {
    config: Config,
    seed: u64,
    net: cl_isolate::Progressive<MlpColumn>,
    /// Of the present column.
    optimizer: Option<Optimizer>,
}

impl Progressive {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        if config.hidden.contains(&0) {
            let why = format!("a layer of no units in {:?}", config.hidden);
            return Err(Error::invalid("hidden", why));
        }
        let net = cl_isolate::Progressive::new(config.adapters)?;
        Ok(Self { config, seed, net, optimizer: None })
    }

    /// Adds the column of a task, drawn from the seed and the task alone.
    fn add(
        &self,
        net: &mut cl_isolate::Progressive<MlpColumn>,
        task: usize,
        inputs: usize,
        outputs: usize,
    ) -> Result<()> {
        let rng = &mut cl_core::rng(self.seed, &format!("column of task {task}"));
        let widths = [&[inputs], &self.config.hidden[..], &[outputs]].concat();
        net.add(MlpColumn::new(&widths, DType::F32, &Device::Cpu, rng)?, rng)?;
        match self.config.weights {
            Weights::FanIn => Ok(()), // as they come
            weights => draw(&net.params()?, weights, rng),
        }
    }
}

/// Draws matrices and biases anew, in order. α is neither.
fn draw(params: &Params, weights: Weights, rng: &mut cl_core::Rng) -> Result<()> {
    let (of_weights, of_biases) = weights.of_layer(1); // the same for all layers, but with fan-in
    for param in params.iter() {
        let init = match param.name.rsplit('.').next() {
            Some("weight" | "project" | "expand") => of_weights,
            Some("bias") => of_biases,
            _ => continue,
        };
        param.var.set(&init.var(param.var.shape(), DType::F32, &Device::Cpu, rng)?.as_detached_tensor())?;
    }
    Ok(())
}

impl Method for Progressive {
    crate::saved!("cl-methods/progressive", 1);

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::apart())
    }

    fn begin_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        learner.give_task("Progressive")?;
        // Put aside while the column is added to it.
        let empty = cl_isolate::Progressive::new(self.config.adapters)?;
        let mut net = std::mem::replace(&mut self.net, empty);
        let added = self.add(&mut net, task.index, task.train.features(), learner.net.outputs());
        self.net = net;
        added?;
        self.optimizer = Some(Optimizer::new(learner.optimizer.config())?);
        Ok(())
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let outputs = self.net.forward(&batch.samples.x, learner.task)?;
        let loss = outputs.cross_entropy(&batch.samples.y, batch.units, None)?;
        let optimizer = self.optimizer.as_mut().expect("begin_task made it");
        optimizer.backward_step(&self.net.params()?, &loss)
    }

    /// A task without a column is answered by an untrained one that stands alone.
    fn predict(&self, learner: &Learner, task: &Task, x: &Tensor) -> Result<Tensor> {
        if task.index < self.net.tasks() {
            return Ok(self.net.forward(x, task.index)?.detach());
        }
        let mut alone = cl_isolate::Progressive::new(self.config.adapters)?;
        self.add(&mut alone, task.index, x.dim(1)?, learner.net.outputs())?;
        Ok(alone.forward(x, 0)?.detach())
    }

    fn memory_per_task(&self) -> Result<Option<Vec<usize>>> {
        let columns = self.net.memory()?;
        Ok(Some(columns.iter().map(|column| column.bytes + column.adapter_bytes).collect()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, learner, tasks};
    use cl_data::Scenario;
    use cl_isolate::Lateral;

    fn flat(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The block, used by hand: columns from the same generators, plain descent on the last one alone.
    #[test]
    fn it_is_columns_trained_one_after_the_other() {
        for lateral in [Lateral::Adapter, Lateral::Linear] {
            let (tasks, mut learner) = (tasks(Scenario::Task, 3, 20), learner(Scenario::Task, 3));
            let adapters = AdapterConfig { lateral, ..Default::default() };
            let config = Config { hidden: vec![4, 5], adapters, ..Config::default() };
            let mut method = Progressive::new(config, 3).unwrap();
            let mut by_hand = cl_isolate::Progressive::new(adapters).unwrap();
            let mut before = Vec::new();
            for (k, task) in tasks.iter().enumerate() {
                learner.task = k;
                method.begin_task(&mut learner, task).unwrap();
                let rng = &mut cl_core::rng(3, &format!("column of task {k}"));
                let column = MlpColumn::new(&[3, 4, 5, 6], DType::F32, &Device::Cpu, rng).unwrap();
                by_hand.add(column, rng).unwrap();
                for from in [0, 8] {
                    let batch = batch(task, from, from + 8);
                    method.observe(&mut learner, &batch).unwrap();
                    let outputs = by_hand.forward(&batch.samples.x, k).unwrap();
                    let loss = outputs.cross_entropy(&batch.samples.y, batch.units, None).unwrap();
                    let params = by_hand.params().unwrap();
                    let gradients = params.gradients(&loss.backward().unwrap()).unwrap();
                    for (param, gradient) in params.iter().zip(gradients) {
                        param.var.set(&(param.var.as_tensor() - gradient).unwrap()).unwrap();
                    }
                }
                method.end_task(&mut learner, task).unwrap();
                let x = &batch(task, 0, 9).samples.x;
                let found = flat(&method.predict(&learner, task, x).unwrap());
                assert_close(&found, &flat(&by_hand.forward(x, k).unwrap()), 1e-5);
                before.push(found);
                for (old, before) in tasks.iter().zip(&before) {
                    let x = &batch(old, 0, 9).samples.x;
                    assert_eq!(&flat(&method.predict(&learner, old, x).unwrap()), before);
                }
            }
        }
    }

    #[test]
    fn weights_are_drawn_as_asked_and_memory_is_that_of_the_column() {
        let (tasks, mut learner) = (tasks(Scenario::Domain, 3, 20), learner(Scenario::Domain, 3));
        let adapters = AdapterConfig { lateral: Lateral::Linear, ..Default::default() };
        let config = Config { hidden: vec![4], adapters, weights: Weights::Truncated };
        let mut method = Progressive::new(config, 3).unwrap();
        for task in &tasks {
            method.begin_task(&mut learner, task).unwrap();
            for param in method.net.params().unwrap().iter() {
                let values = flat(&param.var);
                match param.name.ends_with("bias") {
                    true => assert!(values.iter().all(|&b| b == 0.1), "{}", param.name),
                    false => assert!(values.iter().all(|w| w.abs() <= 0.2), "{}", param.name),
                }
            }
        }
        // 3 inputs, 4 units, 2 outputs; task k has k lateral maps into each of both layers.
        let one = 4 * (3 * 4 + 4 + 4 * 2 + 2);
        assert_eq!(method.memory_per_task().unwrap().unwrap(), [one, 2 * one, 3 * one]);
    }
}
