//! PackNet (Mallya & Lazebnik 2018): each task keeps the largest of the weights that were free, and leaves the others,
//! at zero, to the next.
//!
//! The task of a sample must be known when it is tested. In the task scenario it is given; in the domain scenario it is
//! more than the other methods know; in the class scenario this method does not begin.

use candle_core::Tensor;
use cl_core::{Error, Params, Result};
use cl_data::{Batches, LastBatch, Task};
use serde::{Deserialize, Serialize};

use crate::train::Budget;
use crate::{Batch, Learner, Method, Vitals};

/// Its coefficients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The part of its weights that a task releases when it ends: 0.5 and 0.75 in the paper.
    pub ratio: f64,
    /// How long it is trained on after that, on its own data: `{"epochs": n}` or `{"iterations": n}`. 10 epochs in
    /// the paper, where the task itself has 20. These steps come on top of the protocol's budget, and are not
    /// in a run's count of samples.
    pub retrain: Budget,
    /// Samples in a minibatch of that; the last one of an epoch may have less.
    pub batch: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { ratio: 0.5, retrain: Budget::Epochs(10), batch: 128 }
    }
}

#[derive(Serialize, Deserialize)]
pub struct PackNet {
    config: Config,
    seed: u64,
    /// Who owns which weight of the learner's network; made with the first task.
    packed: Option<cl_isolate::PackNet>,
    /// The output layer of each finished task: it is not packed, and goes on from task to task.
    heads: Vec<Head>,
}

/// The output layer as a task has left it.
#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(with = "cl_core::snapshot::tensor")]
    values: Vec<Tensor>,
}

impl PackNet {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        if !(0.0..1.0).contains(&config.ratio) {
            return Err(Error::invalid("ratio", format!("{} is not in [0, 1)", config.ratio)));
        }
        if config.batch == 0 {
            return Err(Error::invalid("batch", "a batch of 0 samples: at least 1"));
        }
        Ok(Self { config, seed, packed: None, heads: Vec::new() })
    }

    fn packed(&self) -> &cl_isolate::PackNet {
        self.packed.as_ref().expect("begin_task made it")
    }

    /// A step in which only the task's own weights move, whatever the optimizer remembers of the others.
    fn step(&self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        let mut grads = learner.loss(batch)?.backward()?;
        self.packed().mask_gradients(&mut grads, learner.net.params())?;
        let gradients = learner.net.params().gradients(&grads)?;
        learner.apply(&gradients)?;
        self.packed().hold(learner.net.params())
    }
}

/// The name that the parameters of the output layer begin with.
fn output_layer(params: &Params) -> &str {
    let last = params.names().last().unwrap_or_default();
    match last.split_once('.') {
        Some(("heads", _)) => "heads",
        _ => last.rsplit_once('.').map_or(last, |(layer, _)| layer),
    }
}

/// The places of its parameters among all.
fn head(params: &Params) -> impl Iterator<Item = usize> {
    let layer = output_layer(params);
    let is_of = move |name: &str| name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.'));
    params.names().enumerate().filter(move |(_, name)| is_of(name)).map(|(i, _)| i)
}

impl Method for PackNet {
    crate::saved!("cl-methods/packnet", 1);

    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::apart())
    }

    /// All free weights are the task's.
    fn begin_task(&mut self, learner: &mut Learner, _task: &Task) -> Result<()> {
        learner.give_task("PackNet")?;
        let params = learner.net.params();
        let packed = match &mut self.packed {
            Some(packed) => packed,
            none => none.insert(cl_isolate::PackNet::new(params, &[output_layer(params)])?),
        };
        packed.begin(params)?;
        Ok(())
    }

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        self.step(learner, batch)
    }

    /// Prune, train on what is kept, and hold it for good.
    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        let packed = self.packed.as_mut().expect("begin_task made it");
        packed.prune(learner.net.params(), self.config.ratio)?;
        let samples = task.train.all()?;
        let rng = cl_core::rng(self.seed, &format!("retraining of task {}", task.index));
        let mut batches = Batches::new(samples.len(), self.config.batch, rng, LastBatch::Keep)?;
        for _ in 0..self.config.retrain.steps(batches.per_epoch()) {
            let batch = Batch { samples: samples.gather(batches.next_batch())?, units: task.units };
            self.step(learner, &batch)?;
        }
        let params = learner.net.params();
        self.packed.as_mut().expect("begin_task made it").finish(params)?;
        let values = params.values()?;
        let values = head(params).map(|i| Ok(values[i].copy()?)).collect::<Result<_>>()?;
        self.heads.push(Head { values });
        Ok(())
    }

    /// With the weights that the task had when it ended, and its output layer. A task that has not ended is answered
    /// by the network as it stands.
    fn predict(&self, learner: &Learner, task: &Task, x: &Tensor) -> Result<Tensor> {
        let (Some(packed), Some(own)) = (&self.packed, self.heads.get(task.index)) else {
            return learner.net.predict(x);
        };
        let net = learner.net.copy()?;
        let mut values = packed.values(net.params(), task.index)?;
        for (i, value) in head(net.params()).zip(&own.values) {
            values[i] = value.clone();
        }
        for (param, value) in net.params().iter().zip(values) {
            param.var.set(&value)?;
        }
        net.predict(x)
    }

    /// Those in the network and those of the output layer.
    fn memory_per_task(&self) -> Result<Option<Vec<usize>>> {
        let bytes = |t: &Tensor| t.elem_count() * t.dtype().size_in_bytes();
        let head = |head: &Head| head.values.iter().map(bytes).sum::<usize>();
        let heads = self.heads.iter().map(head).chain(std::iter::repeat(0));
        let tasks = self.packed.as_ref().map(|packed| packed.memory().tasks).unwrap_or_default();
        Ok(Some(tasks.iter().zip(heads).map(|(task, head)| task.bytes + head).collect()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{batch, learner, tasks};
    use cl_core::TensorOps;
    use cl_data::Scenario;
    use cl_nn::{Mlp, Optimizer, OptimizerConfig};

    fn bits(t: &Tensor) -> Vec<u32> {
        t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    }

    /// The block, used by hand with an optimizer that moves weights without a gradient.
    #[test]
    fn it_is_the_block_around_a_task() {
        let (tasks, mut learner) = (tasks(Scenario::Task, 3, 20), learner(Scenario::Task, 3));
        let optimizer = || Optimizer::new(OptimizerConfig::adam(0.05)).unwrap();
        learner.optimizer = optimizer();
        let (net, mut optimizer) = (learner.net.copy().unwrap(), optimizer());
        let mut packed = cl_isolate::PackNet::new(net.params(), &["layers.1"]).unwrap();
        let config = Config { ratio: 0.5, retrain: Budget::Epochs(2), batch: 15 };
        let mut method = PackNet::new(config, 3).unwrap();
        let mut learned: Vec<Vec<u32>> = Vec::new();
        for (k, task) in tasks.iter().enumerate() {
            learner.task = k;
            method.begin_task(&mut learner, task).unwrap();
            packed.begin(net.params()).unwrap();
            let mut step = |packed: &cl_isolate::PackNet, batch: &Batch| {
                let outputs = candle_core::Module::forward(&net, &batch.samples.x).unwrap();
                let loss = outputs.cross_entropy(&batch.samples.y, batch.units, None).unwrap();
                let mut grads = loss.backward().unwrap();
                packed.mask_gradients(&mut grads, net.params()).unwrap();
                let gradients = net.params().gradients(&grads).unwrap();
                optimizer.step(net.params(), &gradients).unwrap();
                packed.hold(net.params()).unwrap();
            };
            for from in [0, 8, 16] {
                method.observe(&mut learner, &batch(task, from, from + 8)).unwrap();
                step(&packed, &batch(task, from, from + 8));
            }
            method.end_task(&mut learner, task).unwrap();
            packed.prune(net.params(), 0.5).unwrap();
            let rng = cl_core::rng(3, &format!("retraining of task {k}"));
            let mut batches = Batches::new(40, 15, rng, LastBatch::Keep).unwrap();
            let samples = task.train.all().unwrap();
            for _ in 0..6 {
                let samples = samples.gather(batches.next_batch()).unwrap();
                step(&packed, &Batch { samples, units: task.units });
            }
            packed.finish(net.params()).unwrap();

            let flat = |net: &Mlp| bits(&net.params().flat().unwrap());
            assert_eq!(flat(&learner.net), flat(&net), "task {k}");
            let x = &task.test.all().unwrap().x;
            let outputs = packed.as_task(net.params(), k, || net.predict(x)).unwrap();
            learned.push(bits(&outputs));
            for (old, learned) in tasks.iter().zip(&learned) {
                let x = &old.test.all().unwrap().x;
                let before = flat(&learner.net);
                assert_eq!(&bits(&method.predict(&learner, old, x).unwrap()), learned, "task {k}");
                assert_eq!(flat(&learner.net), before);
            }
        }
    }

    /// Of 3·8 weights 12, 6 and 3 are kept, with the 8 biases of the first task and 8·6 + 6 of an output layer each.
    #[test]
    fn memory_is_that_of_the_weights_kept() {
        let (tasks, mut learner) = (tasks(Scenario::Task, 3, 20), learner(Scenario::Task, 3));
        let config = Config { retrain: Budget::Iterations(0), ..Config::default() };
        let mut method = PackNet::new(config, 3).unwrap();
        for task in &tasks {
            method.begin_task(&mut learner, task).unwrap();
            method.end_task(&mut learner, task).unwrap();
        }
        assert_eq!(method.memory_per_task().unwrap().unwrap(), [12 + 8 + 54, 6 + 54, 3 + 54].map(|n| 4 * n));
        // Heads that are layers of their own are left out, too.
        let mut net = learner;
        let rng = &mut cl_core::rng(0, "weights");
        net.net =
            Mlp::with_heads(&[3, 8, 6], 3, candle_core::DType::F32, &candle_core::Device::Cpu, rng).unwrap();
        let mut method = PackNet::new(config, 3).unwrap();
        method.begin_task(&mut net, &tasks[0]).unwrap();
        method.end_task(&mut net, &tasks[0]).unwrap();
        assert_eq!(method.memory_per_task().unwrap().unwrap(), [4 * (12 + 8 + 54)]);
        // Nothing is left where everything is kept.
        let mut method = PackNet::new(Config { ratio: 0.0, ..config }, 3).unwrap();
        method.begin_task(&mut net, &tasks[0]).unwrap();
        method.end_task(&mut net, &tasks[0]).unwrap();
        let error = method.begin_task(&mut net, &tasks[1]).unwrap_err().to_string();
        assert!(error.contains("free weights"), "{error}");
    }
}
