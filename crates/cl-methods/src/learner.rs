//! The network, its optimizer, and what is known of the scenario.

use candle_core::{Device, Module, Tensor};
use cl_core::{Error, Result, TensorOps, Units};
use cl_data::{Samples, Scenario};
use cl_nn::{LossScaler, Mlp, Optimizer, OptimizerConfig, Precision};
use cl_replay::scores::LayerGradients;

/// A minibatch of the current task.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Inputs (n, features) and target units (n).
    pub samples: Samples,
    /// The output units that take part.
    pub units: Units,
}

/// What learns.
#[derive(Debug)]
pub struct Learner {
    /// The network.
    pub net: Mlp,
    /// Its optimizer, kept across tasks unless the protocol resets it.
    pub optimizer: Optimizer,
    /// What its training steps compute in; answers and statistics are in f32.
    pub precision: Precision,
    /// The scale of the loss, with f16.
    pub scaler: Option<LossScaler>,
    /// What is known about the task of a sample when its class is asked for.
    pub scenario: Scenario,
    /// The present task, from 0.
    pub task: usize,
    /// Classes in each task.
    pub classes_per_task: usize,
}

impl Learner {
    /// For a method that asks which task a sample is of, when it is trained and when it predicts.
    ///
    /// In the task scenario that is given. In the domain scenario it is more than the others know, and such a method
    /// is run there as its paper runs it. In the class scenario the task says half of the answer.
    ///
    /// # Errors
    /// [`Error::Invalid`] in the class scenario.
    pub fn give_task(&self, method: &str) -> Result<()> {
        if self.scenario != Scenario::Class {
            return Ok(());
        }
        let why = format!(
            "{method} must be told the task of a test sample, which the class scenario asks for: run it in the task \
             scenario, or in the domain scenario where you mean to tell it"
        );
        Err(Error::invalid("scenario", why))
    }

    /// Where the network is.
    pub fn device(&self) -> Device {
        self.net.params().iter().next().map_or(Device::Cpu, |param| param.var.device().clone())
    }

    /// The logits (n, outputs) of inputs (n, features), in the graph and in the precision of training.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.net.forward(&self.precision.cast(x)?)?)
    }

    /// The mean cross-entropy of a batch.
    pub fn loss(&self, batch: &Batch) -> Result<Tensor> {
        self.forward(&batch.samples.x)?.cross_entropy(&batch.samples.y, batch.units, None)
    }

    /// A step on the mean cross-entropy of a batch: what [`step`](Self::step) does with [`loss`](Self::loss), without a graph.
    pub fn learn(&mut self, batch: &Batch) -> Result<()> {
        let Samples { x, y } = &batch.samples;
        match self.optimizer.config() {
            OptimizerConfig::Sgd { lr, momentum: 0.0, weight_decay: 0.0 }
                if self.precision == Precision::F32 =>
            {
                self.net.descend(x, y, batch.units, None, lr)
            }
            _ => self.apply(&self.gradients_of(batch)?),
        }
    }

    /// The gradients of the mean cross-entropy of a batch, without a graph.
    pub fn gradients_of(&self, batch: &Batch) -> Result<Vec<Tensor>> {
        let (x, y) = (self.precision.cast(&batch.samples.x)?, &batch.samples.y);
        let Some(scaler) = &self.scaler else { return self.net.gradients(&x, y, batch.units, None) };
        // The scale goes where the weights of the samples go.
        let n = batch.samples.len();
        let mean = Tensor::full(1.0 / n as f32, n, x.device())?;
        let gradients = self.net.gradients(&x, y, batch.units, Some(&scaler.scale(&mean)?))?;
        scaler.unscale(&gradients)?;
        Ok(gradients)
    }

    /// What the gradient of each sample's own cross-entropy is made of, layer by layer, the last first.
    pub fn layer_gradients(&self, batch: &Batch) -> Result<Vec<LayerGradients>> {
        let Samples { x, y } = &batch.samples;
        // The loss is a mean over the samples.
        let of_each =
            |logits: &Tensor| Ok((logits.cross_entropy_gradient(y, batch.units, None)? * y.dim(0)? as f64)?);
        let layers = self.net.layer_gradients(x, of_each)?;
        Ok(layers.into_iter().map(|[inputs, deltas]| LayerGradients { inputs, deltas, bias: true }).collect())
    }

    /// The gradients of a loss for the trainable parameters, in order.
    pub fn gradients(&self, loss: &Tensor) -> Result<Vec<Tensor>> {
        match &self.scaler {
            Some(scaler) => scaler.gradients(self.net.params(), loss),
            None => self.net.params().gradients(&loss.backward()?),
        }
    }

    /// The gradients of `loss` + `penalty`, and of `loss` alone: the two are the same where the penalty is a constant.
    pub fn gradients_apart(&self, loss: &Tensor, penalty: &Tensor) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
        let task = self.gradients(loss)?;
        if !penalty.track_op() {
            return Ok((task.clone(), task));
        }
        let penalty = self.gradients(penalty)?;
        let whole = task.iter().zip(&penalty).map(|(t, p)| t + p).collect::<Result<_, _>>()?;
        Ok((whole, task))
    }

    /// A step along these gradients; none where one of them overflowed.
    pub fn apply(&mut self, gradients: &[Tensor]) -> Result<()> {
        match &self.scaler {
            Some(scaler) => scaler.step(&mut self.optimizer, self.net.params(), gradients),
            None => self.optimizer.step(self.net.params(), gradients),
        }
    }

    /// Backward pass and step.
    pub fn step(&mut self, loss: &Tensor) -> Result<()> {
        self.apply(&self.gradients(loss)?)
    }
}

/// The cross-entropy of each sample, of logits (n, outputs) and target units (n).
///
/// # Errors
/// Not f32 and u32; candle's own.
pub fn losses(logits: &Tensor, y: &Tensor, units: Units) -> Result<Vec<f64>> {
    let of_one = |(logits, y): (&Vec<f32>, u32)| {
        let active = &logits[units.range(y as usize, logits.len())];
        let most = active.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = active.iter().map(|z| f64::from(z - most).exp()).sum();
        sum.ln() + f64::from(most - logits[y as usize])
    };
    Ok(logits.to_vec2::<f32>()?.iter().zip(y.to_vec1::<u32>()?).map(of_one).collect())
}
