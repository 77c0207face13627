//! Sleep replay consolidation (Tadros et al. 2022): after each task the network spikes by itself, and a local rule brings back what
//! the task has overwritten. No sample is kept: sleep is driven by the mean of the inputs seen so far.

use candle_core::{DType, Tensor, Var};
use cl_core::per_sample::backward;
use cl_core::{Activation, Error, Result, Rng, TensorOps, Units};
use cl_data::Task;
use cl_nn::Mlp;
use cl_sleep::{SpikingConfig, SpikingInput, SpikingSleep, Window};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};

use crate::train::accuracy;
use crate::{Batch, Learner, Method};

/// Its coefficients; by default those of Tadros et al. for MNIST and a network of 784-1200-1200-10.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Steps of sleep after the first task.
    pub steps: usize,
    /// As many more after each further task. With none of either the network never sleeps.
    pub more: usize,
    /// The part of the accuracy on its training samples that the first task may lose to the first sleep, which has nothing to bring back:
    /// of what the weights have changed in it, half is taken back as often as it must be. The paper takes nothing back.
    pub first_cost: Option<f64>,
    /// Where input units may spike in a step; null for everywhere.
    pub window: Option<Window>,
    /// The fraction of hidden units that a training step leaves out.
    pub dropout: f64,
    /// How it sleeps: as many thresholds as the network has layers.
    pub spiking: SpikingConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            steps: 15_000,
            more: 5_000,
            first_cost: None,
            window: Some(Window::MNIST),
            dropout: 0.25,
            spiking: SpikingConfig::default(),
        }
    }
}

/// So often half is taken back before all is.
const HALVINGS: usize = 8;

#[derive(Serialize, Deserialize)]
pub struct Src {
    steps: usize,
    more: usize,
    first_cost: Option<f64>,
    window: Option<Window>,
    dropout: f64,
    sleep: SpikingSleep,
    /// The sum of the inputs that were trained on, and how many they are.
    sum: Vec<f64>,
    seen: u64,
    /// What hidden units are left out.
    masks: Rng,
    /// What spikes are drawn from.
    spikes: Rng,
}

impl Src {
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        let Config { steps, more, first_cost, window, dropout, spiking } = config;
        if !(0.0..1.0).contains(&dropout) {
            return Err(Error::invalid("dropout", format!("{dropout} is not in [0, 1)")));
        }
        if let Some(window) = window {
            window.check()?;
        }
        if let Some(cost) = first_cost.filter(|cost| !(0.0..=1.0).contains(cost)) {
            return Err(Error::invalid(
                "first_cost",
                format!("{cost} is not a part of the accuracy, in [0, 1]"),
            ));
        }
        let (masks, spikes) = (cl_core::rng(seed, "dropout"), cl_core::rng(seed, "sleep"));
        let sleep = SpikingSleep::new(spiking)?;
        Ok(Self { steps, more, first_cost, window, dropout, sleep, sum: Vec::new(), seen: 0, masks, spikes })
    }

    /// The weights, inputs first. The network's biases take no part.
    fn weights(net: &Mlp) -> Result<Vec<&Var>> {
        let weights: Vec<&Var> = net.layers().map(|layer| &layer.weight).collect();
        if weights.last().is_none_or(|last| last.dims()[0] != net.outputs()) {
            let why = "SRC sleeps with one layer above the other: give the network one output layer, not one for each task";
            return Err(Error::invalid("heads", why));
        }
        Ok(weights)
    }

    /// What comes into each layer, and the outputs last: ReLU everywhere, and what `keep` makes of the hidden layers.
    fn activations(
        net: &Mlp,
        x: &Tensor,
        mut keep: impl FnMut(Tensor) -> Result<Tensor>,
    ) -> Result<Vec<Tensor>> {
        let weights = Self::weights(net)?;
        let mut all = vec![x.detach()];
        for (at, weight) in weights.iter().enumerate() {
            let y = all[at].linear(&weight.as_detached_tensor(), None, Activation::Relu)?;
            all.push(if at + 1 < weights.len() { keep(y)? } else { y });
        }
        Ok(all)
    }

    /// The same when nothing is left out: as much less of each unit as there is of it on average in training.
    fn at_test(&self, net: &Mlp, x: &Tensor) -> Result<Vec<Tensor>> {
        Self::activations(net, x, |h| Ok((h * (1.0 - self.dropout))?))
    }

    /// The gradients of ½‖y − onehot‖², a mean over the samples; that of ReLU at the outputs is taken to be 1, so that a unit
    /// which is silent can still learn to speak (the authors' `nnbp.m`). 0 for the biases.
    fn gradients(&mut self, net: &Mlp, batch: &Batch) -> Result<Vec<Tensor>> {
        let masks = &mut self.masks;
        // A 32-bit number is below this with the probability of dropout.
        let (dropped, none) = ((self.dropout * f64::from(u32::MAX)) as u32, self.dropout == 0.0);
        let drop = |h: Tensor| -> Result<Tensor> {
            if none {
                return Ok(h);
            }
            let mask: Vec<f32> =
                (0..h.elem_count()).map(|_| f32::from(u8::from(masks.next_u32() >= dropped))).collect();
            Ok((&h * Tensor::from_vec(mask, h.shape(), h.device())?)?)
        };
        let mut inputs = Self::activations(net, &batch.samples.x, drop)?;
        let n = batch.samples.len();
        let outputs = inputs.pop().ok_or_else(|| Error::invalid("network", "it has no layers"))?;
        let mut deltas = (error(&outputs, &batch.samples.labels()?, batch.units)? / n as f64)?;
        let mut gradients = Vec::new();
        for (layer, input) in net.layers().collect::<Vec<_>>().into_iter().zip(&inputs).rev() {
            gradients.push(layer.bias.zeros_like()?);
            gradients.push(deltas.t()?.matmul(input)?);
            if gradients.len() < 2 * inputs.len() {
                let weight = layer.weight.as_detached_tensor();
                deltas = backward(&deltas.unsqueeze(1)?, &weight, input)?.squeeze(1)?;
            }
        }
        gradients.reverse();
        Ok(gradients)
    }

    /// Adds a batch to the mean of the inputs.
    fn remember(&mut self, x: &Tensor) -> Result<()> {
        let (n, features) = x.dims2()?;
        if self.sum.is_empty() {
            self.sum = vec![0.0; features];
        } else if self.sum.len() != features {
            let (expected, got) = (format!("inputs of {} features", self.sum.len()), features.to_string());
            return Err(Error::mismatch("SRC", expected, got));
        }
        let of_batch = x.sum(0)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        self.sum.iter_mut().zip(of_batch).for_each(|(sum, x)| *sum += x);
        self.seen += n as u64;
        Ok(())
    }

    /// On the training samples of a task.
    fn accuracy(&self, learner: &Learner, task: &Task) -> Result<f64> {
        accuracy(|x| self.predict(learner, task, x), &task.train, task.units)
    }

    /// The largest activation of each layer on the samples of a task.
    fn largest(&self, net: &Mlp, task: &Task) -> Result<Vec<f64>> {
        /// So few that they stay in the caches.
        const AT_A_TIME: usize = 250;
        let mut largest = Vec::new();
        for from in (0..task.train.len()).step_by(AT_A_TIME) {
            let chunk = task.train.slice(from..task.train.len().min(from + AT_A_TIME))?;
            let layers = self.at_test(net, &chunk.x)?;
            largest.resize(layers.len() - 1, 0f64);
            for (largest, layer) in largest.iter_mut().zip(&layers[1..]) {
                *largest = largest.max(f64::from(layer.max_all()?.to_scalar::<f32>()?));
            }
        }
        Ok(largest)
    }
}

/// y − onehot(target), among the units of each sample; 0 outside of them.
fn error(outputs: &Tensor, targets: &[u32], units: Units) -> Result<Tensor> {
    let (n, width) = outputs.dims2()?;
    let mut errors = vec![0f32; n * width];
    for ((errors, y), &target) in errors.chunks_exact_mut(width).zip(outputs.to_vec2::<f32>()?).zip(targets) {
        let range = units.range(target as usize, width);
        if !range.contains(&(target as usize)) {
            return Err(Error::invalid("target", format!("{target} is not among the units {range:?}")));
        }
        errors[range.clone()].copy_from_slice(&y[range]);
        errors[target as usize] -= 1.0;
    }
    Ok(Tensor::from_vec(errors, (n, width), outputs.device())?)
}

impl Method for Src {
    crate::saved!("cl-methods/src", 2);

    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
        self.remember(&batch.samples.x)?;
        let gradients = self.gradients(&learner.net, batch)?;
        learner.apply(&gradients)
    }

    fn predict(&self, learner: &Learner, _task: &Task, x: &Tensor) -> Result<Tensor> {
        let mut all = self.at_test(&learner.net, x)?;
        all.pop().ok_or_else(|| Error::invalid("network", "it has no layers"))
    }

    fn end_task(&mut self, learner: &mut Learner, task: &Task) -> Result<()> {
        let steps = self.steps + learner.task * self.more;
        if steps == 0 || self.seen == 0 {
            return Ok(());
        }
        let largest = self.largest(&learner.net, task)?;
        let rates: Vec<f32> = self.sum.iter().map(|sum| (sum / self.seen as f64) as f32).collect();
        let input = SpikingInput { rates: &rates, window: self.window };
        let weights = Self::weights(&learner.net)?;
        let awake =
            weights.iter().map(|weight| weight.as_detached_tensor().copy()).collect::<Result<Vec<_>, _>>()?;
        let least = match self.first_cost.filter(|_| learner.task == 0) {
            Some(cost) => Some(self.accuracy(learner, task)? - cost),
            None => None,
        };
        self.sleep.run(&weights, &largest, input, steps, &mut self.spikes)?;
        let Some(least) = least else { return Ok(()) };
        for _ in 0..HALVINGS {
            if self.accuracy(learner, task)? >= least {
                return Ok(());
            }
            for (weight, awake) in weights.iter().zip(&awake) {
                weight.set(&((weight.as_detached_tensor() + awake)? * 0.5)?)?;
            }
        }
        for (weight, awake) in weights.iter().zip(&awake) {
            weight.set(awake)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{assert_close, batch, learner, moved, tasks};
    use candle_core::Device;
    use cl_data::Scenario;

    fn config() -> Config {
        let spiking = SpikingConfig { thresholds: vec![14.5, 38.0], ..SpikingConfig::default() };
        Config { steps: 400, more: 100, window: None, spiking, ..Config::default() }
    }

    /// ½‖y − onehot‖² of a batch, a mean over the samples and over the units that take part, where the outputs are linear: what
    /// has the gradient that SRC takes, where no output is cut off.
    fn loss(net: &Mlp, batch: &Batch) -> f64 {
        let layers: Vec<_> = net.layers().collect();
        let h = batch.samples.x.linear(&layers[0].weight, None, Activation::Relu).unwrap();
        let y = h.linear(&layers[1].weight, None, Activation::Identity).unwrap();
        let (y, labels) = (y.to_vec2::<f32>().unwrap(), batch.samples.labels().unwrap());
        let mut sum = 0.0;
        for (y, &label) in y.iter().zip(&labels) {
            for unit in batch.units.range(label as usize, y.len()) {
                let error = f64::from(y[unit]) - f64::from(u8::from(unit == label as usize));
                sum += 0.5 * error * error;
            }
        }
        sum / labels.len() as f64
    }

    fn set(var: &Var, at: usize, value: f32) -> f32 {
        let mut all = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let old = std::mem::replace(&mut all[at], value);
        var.set(&Tensor::from_vec(all, var.shape(), &Device::Cpu).unwrap()).unwrap();
        old
    }

    /// Against finite differences, in all scenarios; the biases stay, and take no part.
    #[test]
    fn a_step_is_the_gradient_of_the_squared_error() {
        for scenario in Scenario::ALL {
            let (tasks, mut learner) = (tasks(scenario, 2, 20), learner(scenario, 2));
            let batch = batch(&tasks[1], 0, 9);
            // All units well above 0: no step reaches a kink, and the derivative that is left out at the outputs is 1.
            let layers: Vec<_> = learner.net.layers().collect();
            for weight in [&layers[0].weight, &layers[1].weight] {
                weight.set(&(weight.abs().unwrap() + 0.1).unwrap()).unwrap();
            }
            let mut numeric = Vec::new();
            for layer in layers {
                let n = layer.weight.elem_count();
                for at in 0..n {
                    let old = set(&layer.weight, at, 0.0);
                    let of = |value: f32| {
                        set(&layer.weight, at, value);
                        loss(&learner.net, &batch)
                    };
                    let slope = (of(old + 1e-2) - of(old - 1e-2)) / 2e-2;
                    set(&layer.weight, at, old);
                    numeric.push(slope as f32);
                }
                numeric.extend(vec![0.0; layer.bias.elem_count()]);
            }
            let mut src = Src::new(Config { dropout: 0.0, ..config() }, 5).unwrap();
            let found = moved(&mut learner, |learner| src.observe(learner, &batch).unwrap());
            assert_close(&found, &numeric, 2e-3);
            assert!(numeric.iter().filter(|slope| slope.abs() > 1e-3).count() > 10);
        }
    }

    /// A silent output unit is trained as if it were not: the derivative of its ReLU is left out.
    #[test]
    fn a_silent_output_learns() {
        let (tasks, mut learner) = (tasks(Scenario::Class, 1, 20), learner(Scenario::Class, 1));
        let layers: Vec<_> = learner.net.layers().collect();
        layers[0].weight.set(&layers[0].weight.abs().unwrap()).unwrap();
        layers[1].weight.set(&(layers[1].weight.abs().unwrap() * -1.0).unwrap()).unwrap();
        let mut src = Src::new(Config { dropout: 0.0, ..config() }, 5).unwrap();
        let batch = batch(&tasks[0], 0, 8);
        let silent = src.predict(&learner, &tasks[0], &batch.samples.x).unwrap();
        assert_eq!(silent.sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.0);
        for _ in 0..20 {
            src.observe(&mut learner, &batch).unwrap();
        }
        let spoken = src.predict(&learner, &tasks[0], &batch.samples.x).unwrap();
        assert!(spoken.sum_all().unwrap().to_scalar::<f32>().unwrap() > 0.0);
    }

    /// Half of the hidden units are left out of a step, in the forward pass and in the backward pass; at test as much less of all.
    #[test]
    fn what_is_left_out_does_not_learn() {
        let (tasks, mut learner) = (tasks(Scenario::Class, 2, 20), learner(Scenario::Class, 2));
        let mut src = Src::new(Config { dropout: 0.5, ..config() }, 5).unwrap();
        let batch = batch(&tasks[1], 3, 4);
        let mut masks = cl_core::rng(5, "dropout");
        let open: Vec<bool> = (0..8).map(|_| masks.next_u32() >= u32::MAX / 2).collect();
        assert!(open.contains(&true) && open.contains(&false));
        let layers: Vec<_> = learner.net.layers().collect();
        layers[0].weight.set(&layers[0].weight.abs().unwrap()).unwrap();
        let found = moved(&mut learner, |learner| src.observe(learner, &batch).unwrap());
        for (unit, &open) in open.iter().enumerate() {
            let change = found[unit * 3..][..3].iter().any(|&g| g != 0.0);
            assert_eq!(change, open, "unit {unit}: {found:?}");
        }
        let layers: Vec<_> = learner.net.layers().collect();
        let h = (batch.samples.x.linear(&layers[0].weight, None, Activation::Relu).unwrap() * 0.5).unwrap();
        let by_hand = h.linear(&layers[1].weight, None, Activation::Relu).unwrap();
        let found = src.predict(&learner, &tasks[1], &batch.samples.x).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_close(&flat(&found), &flat(&by_hand), 1e-6);
    }

    /// What the task's end does is the block's sleep on the weights, driven by the mean input, longer with every task.
    #[test]
    fn a_task_ends_with_the_blocks_sleep() {
        let (tasks, mut learner) = (tasks(Scenario::Class, 2, 20), learner(Scenario::Class, 2));
        learner.optimizer.set_lr(0.05).unwrap();
        let mut src = Src::new(config(), 5).unwrap();
        let mut rng = cl_core::rng(5, "sleep");
        let mut seen = Vec::new();
        for (k, task) in tasks.iter().enumerate() {
            learner.task = k;
            for step in 0..6 {
                let batch = batch(task, step, step + 7);
                src.observe(&mut learner, &batch).unwrap();
                seen.extend(batch.samples.x.to_vec2::<f32>().unwrap());
            }
            let mean = |at: usize| seen.iter().map(|x| f64::from(x[at])).sum::<f64>() / seen.len() as f64;
            let rates = [0, 1, 2].map(|at| mean(at) as f32);
            let twin = learner.net.copy().unwrap();
            let layers: Vec<_> = twin.layers().collect();
            let x = task.train.all().unwrap().x;
            let h = (x.linear(&layers[0].weight, None, Activation::Relu).unwrap() * 0.75).unwrap();
            let y = h.linear(&layers[1].weight, None, Activation::Relu).unwrap();
            let largest = [h, y].map(|t| f64::from(t.max_all().unwrap().to_scalar::<f32>().unwrap()));
            let (sleep, weights) =
                (SpikingSleep::new(config().spiking).unwrap(), [&layers[0].weight, &layers[1].weight]);
            let input = SpikingInput { rates: &rates, window: None };
            let report = sleep.run(&weights, &largest, input, 400 + 100 * k, &mut rng).unwrap();
            assert!(report.rates[1] > 0.0 && report.moved[0] > 0.0, "{report:?}");
            src.end_task(&mut learner, task).unwrap();
            let flat = |net: &Mlp| net.params().flat().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(flat(&learner.net), flat(&twin));
        }
        // No steps, no sleep.
        let mut awake = Src::new(Config { steps: 0, more: 0, ..config() }, 5).unwrap();
        awake.observe(&mut learner, &batch(&tasks[0], 0, 3)).unwrap();
        let change = moved(&mut learner, |learner| awake.end_task(learner, &tasks[0]).unwrap());
        assert!(change.iter().all(|&d| d == 0.0));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for wrong in [
            Config { dropout: 1.0, ..config() },
            Config { dropout: f64::NAN, ..config() },
            Config { window: Some(Window { image: [1, 3, 1], side: 2 }), ..config() },
            Config { spiking: SpikingConfig { width: -1.0, ..config().spiking }, ..config() },
        ] {
            assert!(Src::new(wrong, 0).is_err());
        }
        let (tasks, mut learner) = (tasks(Scenario::Task, 2, 20), learner(Scenario::Task, 2));
        let mut src = Src::new(Config::default(), 0).unwrap();
        src.observe(&mut learner, &batch(&tasks[0], 0, 5)).unwrap();
        let error = src.end_task(&mut learner, &tasks[0]).unwrap_err().to_string();
        assert!(error.contains("3") && error.contains("2 layers"), "{error}");
        let rng = &mut cl_core::rng(0, "weights");
        learner.net = Mlp::with_heads(&[3, 8, 4], 2, DType::F32, &Device::Cpu, rng).unwrap();
        let error = src.observe(&mut learner, &batch(&tasks[0], 0, 5)).unwrap_err().to_string();
        assert!(error.contains("heads"), "{error}");
    }

    /// What the first sleep costs is taken back as far as it must be, on the line between the weights before and after; later sleeps
    /// are as ever.
    #[test]
    fn the_first_sleep_costs_no_more_than_it_may() {
        let after = |first_cost: Option<f64>| {
            let (tasks, mut learner) = (tasks(Scenario::Class, 2, 20), learner(Scenario::Class, 2));
            learner.optimizer.set_lr(0.05).unwrap();
            let mut method = Src::new(Config { first_cost, steps: 3000, ..config() }, 3).unwrap();
            let mut lost = Vec::new();
            for (k, task) in tasks.iter().enumerate() {
                learner.task = k;
                for step in 0..30 {
                    method.observe(&mut learner, &batch(task, step, step + 9)).unwrap();
                }
                let right = |method: &Src, learner: &Learner| {
                    accuracy(|x| method.predict(learner, task, x), &task.train, task.units).unwrap()
                };
                let before = right(&method, &learner);
                let asleep = moved(&mut learner, |learner| method.end_task(learner, task).unwrap());
                lost.push((before - right(&method, &learner), asleep));
            }
            lost
        };
        let (free, held) = (after(None), after(Some(0.01)));
        assert!(free[0].0 > 0.02, "sleep costs something here: {}", free[0].0);
        assert!(held[0].0 <= 0.01, "{}", held[0].0);
        // All of one part of the way, or nothing.
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let part = dot(&held[0].1, &free[0].1) / dot(&free[0].1, &free[0].1);
        assert!(part < 1.0 && (part == 0.0 || (part.log2() - part.log2().round()).abs() < 1e-3), "{part}");
        assert_eq!(after(Some(1.0)), free, "what may cost everything is as ever");
    }
}
