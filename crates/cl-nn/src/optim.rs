//! Optimizers that change the weights in place and whose state can be saved.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{DType, Tensor};
use cl_core::{AdamStep, Error, Params, Result, SgdStep, TensorOps};
use serde::{Deserialize, Serialize};

/// Which optimizer, and its coefficients. Begin with [`Optimizer::sgd`](OptimizerConfig::sgd) or
/// [`adam`](OptimizerConfig::adam) and change what you need.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerConfig {
    /// Stochastic gradient descent, with momentum as PyTorch has it.
    Sgd {
        /// Learning rate.
        lr: f64,
        /// Momentum, 0 for none.
        momentum: f64,
        /// Weight decay, added to the gradient.
        weight_decay: f64,
    },
    /// Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019) where weight decay is decoupled.
    Adam {
        /// Learning rate.
        lr: f64,
        /// Decays of the two moments.
        betas: (f64, f64),
        /// Added to the root of the second moment.
        eps: f64,
        /// Weight decay.
        weight_decay: f64,
        /// AdamW: weight decay acts on the weights, not on the gradient.
        decoupled: bool,
    },
}

impl OptimizerConfig {
    /// Plain stochastic gradient descent.
    pub fn sgd(lr: f64) -> Self {
        Self::Sgd { lr, momentum: 0.0, weight_decay: 0.0 }
    }

    /// Adam with β = (0.9, 0.999), ε = 1e-8, no weight decay.
    pub fn adam(lr: f64) -> Self {
        Self::Adam { lr, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, decoupled: false }
    }

    /// AdamW with β = (0.9, 0.999), ε = 1e-8.
    pub fn adamw(lr: f64, weight_decay: f64) -> Self {
        Self::Adam { lr, betas: (0.9, 0.999), eps: 1e-8, weight_decay, decoupled: true }
    }

    /// The learning rate.
    pub fn lr(&self) -> f64 {
        match *self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } => lr,
        }
    }

    fn check(&self) -> Result<()> {
        let named: &[(&str, f64, bool)] = match *self {
            Self::Sgd { lr, momentum, weight_decay } => &[
                ("learning rate", lr, lr >= 0.0),
                ("momentum", momentum, (0.0..1.0).contains(&momentum)),
                ("weight decay", weight_decay, weight_decay >= 0.0),
            ],
            Self::Adam { lr, betas, eps, weight_decay, .. } => &[
                ("learning rate", lr, lr >= 0.0),
                ("beta 1", betas.0, (0.0..1.0).contains(&betas.0)),
                ("beta 2", betas.1, (0.0..1.0).contains(&betas.1)),
                ("epsilon", eps, eps > 0.0),
                ("weight decay", weight_decay, weight_decay >= 0.0),
            ],
        };
        match named.iter().find(|(_, value, right)| !right || !value.is_finite()) {
            Some((name, value, _)) => Err(Error::invalid(*name, format!("{value} is out of its range"))),
            None => Ok(()),
        }
    }
}

/// What an optimizer remembers of one parameter.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// Steps that this parameter has taken.
    t: u64,
    /// The velocity (as the parameter) of SGD, or both moments (2, ..) of Adam.
    #[serde(with = "cl_core::snapshot::tensor")]
    moments: Tensor,
}

/// An optimizer over named parameters. Its state is made for a parameter with its first gradient, is
/// kept by name, and is saved and restored with serde: bit for bit, it goes on where it stopped.
///
/// ```
/// use candle_core::{DType, Device, Tensor, Var};
/// use cl_core::Params;
/// use cl_nn::{Optimizer, OptimizerConfig};
///
/// let w = Var::new(&[3f32, -4.], &Device::Cpu)?;
/// let mut params = Params::new();
/// params.push("w", w.clone())?;
/// let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.1))?;
/// for _ in 0..100 {
///     optimizer.backward_step(&params, &w.sqr()?.sum_all()?)?;
/// }
/// assert!(w.to_vec1::<f32>()?.iter().all(|w| w.abs() < 1e-6));
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct Optimizer {
    config: OptimizerConfig,
    states: BTreeMap<String, State>,
}

impl Optimizer {
    /// An optimizer without state.
    ///
    /// # Errors
    /// A coefficient out of its range.
    pub fn new(config: OptimizerConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config, states: BTreeMap::new() })
    }

    /// Its coefficients.
    pub fn config(&self) -> OptimizerConfig {
        self.config
    }

    /// For schedules: the learning rate of the steps to come.
    ///
    /// # Errors
    /// A rate out of its range; the former one stays then.
    pub fn set_lr(&mut self, new: f64) -> Result<()> {
        let mut config = self.config;
        match &mut config {
            OptimizerConfig::Sgd { lr, .. } | OptimizerConfig::Adam { lr, .. } => *lr = new,
        }
        config.check()?;
        self.config = config;
        Ok(())
    }

    /// An optimizer of the same state that shares nothing with this one. (A `Clone` would share the
    /// moments, which steps change in place.)
    pub fn copy(&self) -> Result<Self> {
        let copy = |state: &State| -> Result<_> { Ok(State { t: state.t, moments: state.moments.copy()? }) };
        let states = self.states.iter().map(|(name, state)| Ok((name.clone(), copy(state)?)));
        Ok(Self { config: self.config, states: states.collect::<Result<_>>()? })
    }

    /// Forgets velocities, moments and the number of steps. Whether an optimizer is reset between tasks
    /// is part of a protocol; nothing here does it unasked.
    pub fn reset(&mut self) {
        self.states.clear();
    }

    /// How many steps the parameter of this name has taken since the last reset. Always 0 with SGD without
    /// momentum, which keeps no state.
    pub fn steps(&self, name: &str) -> u64 {
        self.states.get(name).map_or(0, |state| state.t)
    }

    /// Backward pass and step.
    ///
    /// # Errors
    /// [`Error::NoGradient`] if the loss does not reach a trainable parameter; nothing is changed then.
    pub fn backward_step(&mut self, params: &Params, loss: &Tensor) -> Result<()> {
        let gradients = params.gradients(&loss.backward()?)?;
        self.step(params, &gradients)
    }

    /// One step along `gradients`, one for each trainable parameter, in order. With momentum or Adam, a
    /// parameter begins to step with its first gradient that is not all zero: the head of a task that is
    /// yet to come must not have used up Adam's bias correction when it is first trained. (PyTorch gives such
    /// a head no gradient, and skips it.)
    ///
    /// # Errors
    /// Another number of gradients; a gradient, or a state restored from elsewhere, of another shape or
    /// dtype than its parameter. Nothing is changed then.
    pub fn step(&mut self, params: &Params, gradients: &[Tensor]) -> Result<()> {
        self.step_where(None, params, gradients)
    }

    /// [`step`](Self::step) unless `found` (1) f32, where the parameters are, is not 0: then parameters and moments stay as they are.
    /// On a GPU it is looked at there, so the step is counted either way.
    ///
    /// # Errors
    /// The same.
    pub fn step_unless(&mut self, found: &Tensor, params: &Params, gradients: &[Tensor]) -> Result<()> {
        self.step_where(Some(found), params, gradients)
    }

    fn step_where(&mut self, found: Option<&Tensor>, params: &Params, gradients: &[Tensor]) -> Result<()> {
        self.check_step(params, gradients)?;
        if let (Some(found), Some(first)) = (found, params.trainable().next())
            && (found.dims() != [1]
                || found.dtype() != DType::F32
                || !found.device().same_device(first.var.device()))
        {
            let text = |dtype: DType, dims: &[usize], device: &candle_core::Device| {
                format!("what was found as {dtype:?} {dims:?} on {:?}", device.location())
            };
            let expected = text(DType::F32, &[1], first.var.device());
            return Err(Error::mismatch("step", expected, text(found.dtype(), found.dims(), found.device())));
        }
        let (mut stepping, mut thetas, mut grads) = (Vec::new(), Vec::new(), Vec::new());
        for (param, gradient) in params.trainable().zip(gradients) {
            if !self.is_waiting(&param.name, gradient)? {
                stepping.push(param.name.as_str());
                thetas.push(param.var.as_tensor());
                grads.push(gradient);
            }
        }
        match self.config {
            OptimizerConfig::Sgd { lr, momentum, weight_decay } => {
                let step = SgdStep { lr, momentum, weight_decay };
                if momentum == 0.0 {
                    return Tensor::sgd_step_unless(found, &thetas, &grads, None, step);
                }
                self.count(&stepping, &thetas)?;
                let velocities: Vec<&Tensor> =
                    stepping.iter().map(|name| &self.states[*name].moments).collect();
                Tensor::sgd_step_unless(found, &thetas, &grads, Some(&velocities), step)
            }
            OptimizerConfig::Adam { lr, betas, eps, weight_decay, decoupled } => {
                self.count(&stepping, &thetas)?;
                let states: Vec<&State> = stepping.iter().map(|name| &self.states[*name]).collect();
                // Those that began together step together.
                for same in runs(&states) {
                    let moments: Vec<&Tensor> =
                        states[same.clone()].iter().map(|state| &state.moments).collect();
                    let (beta1, beta2) = betas;
                    let t = states[same.start].t;
                    let step = AdamStep { lr, beta1, beta2, eps, weight_decay, decoupled, t };
                    Tensor::adam_step_unless(found, &thetas[same.clone()], &grads[same], &moments, step)?;
                }
                Ok(())
            }
        }
    }

    /// Whether a parameter has not begun to step, and does not now.
    fn is_waiting(&self, name: &str, gradient: &Tensor) -> Result<bool> {
        if matches!(self.config, OptimizerConfig::Sgd { momentum: 0.0, .. }) || self.states.contains_key(name)
        {
            return Ok(false);
        }
        let nonzero = gradient.ne(0f64)?.to_dtype(DType::F64)?.sum_all()?;
        Ok(nonzero.to_scalar::<f64>()? == 0.0)
    }

    fn check_step(&self, params: &Params, gradients: &[Tensor]) -> Result<()> {
        if gradients.len() != params.trainable().count() {
            return Err(Error::mismatch(
                "optimizer step",
                format!("{} gradients", params.trainable().count()),
                gradients.len().to_string(),
            ));
        }
        let text = |dtype: DType, dims: &[usize]| format!("{dtype:?} {dims:?}");
        for (param, gradient) in params.trainable().zip(gradients) {
            let (dtype, dims) = (param.var.dtype(), param.var.dims());
            if (gradient.dtype(), gradient.dims()) != (dtype, dims) {
                return Err(Error::mismatch(
                    "optimizer step",
                    format!("a gradient of {}, {}", param.name, text(dtype, dims)),
                    text(gradient.dtype(), gradient.dims()),
                ));
            }
            let Some(State { moments, .. }) = self.states.get(&param.name) else { continue };
            let dims = self.state_dims(dims);
            if (moments.dtype(), moments.dims()) != (dtype, &dims) {
                return Err(Error::mismatch(
                    "optimizer state",
                    format!("that of {}, {}", param.name, text(dtype, &dims)),
                    text(moments.dtype(), moments.dims()),
                ));
            }
        }
        Ok(())
    }

    /// The shape of the state of a parameter of this shape.
    fn state_dims(&self, dims: &[usize]) -> Vec<usize> {
        match self.config {
            OptimizerConfig::Sgd { .. } => dims.to_vec(),
            OptimizerConfig::Adam { .. } => [&[2], dims].concat(),
        }
    }

    /// Counts a step of these parameters, with a state for those that have none yet.
    fn count(&mut self, names: &[&str], thetas: &[&Tensor]) -> Result<()> {
        for (name, theta) in names.iter().zip(thetas) {
            match self.states.get_mut(*name) {
                Some(state) => state.t += 1,
                None => {
                    let dims = self.state_dims(theta.dims());
                    let moments = Tensor::zeros(dims, theta.dtype(), theta.device())?;
                    self.states.insert((*name).to_owned(), State { t: 1, moments });
                }
            }
        }
        Ok(())
    }
}

/// Neighbours that are at the same step.
fn runs(states: &[&State]) -> Vec<Range<usize>> {
    let mut start = 0;
    let same = states.chunk_by(|a, b| a.t == b.t);
    same.map(|run| {
        start += run.len();
        start - run.len()..start
    })
    .collect()
}

/// Scales gradients so that their joint Euclidean norm is at most `max_norm`; gives the norm before.
///
/// # Errors
/// A norm that is not finite: the step would destroy the network. A negative limit.
pub fn clip_norm(gradients: &mut [Tensor], max_norm: f64) -> Result<f64> {
    if max_norm.is_nan() || max_norm < 0.0 {
        return Err(Error::invalid("limit of the norm", format!("{max_norm} is not at least 0")));
    }
    let mut squares = 0.0;
    for g in gradients.iter() {
        squares += g.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
    }
    let norm = squares.sqrt();
    if !norm.is_finite() {
        return Err(Error::invalid("gradient", format!("its norm is {norm}: lower the learning rate")));
    }
    if norm > max_norm {
        for g in gradients.iter_mut() {
            *g = (&*g * (max_norm / norm))?;
        }
    }
    Ok(norm)
}

/// Sums the gradients of several minibatches, so that one step can be taken for all of them: with minibatches of one size the step
/// of the whole batch. Gradients in f16 and bf16 are summed in f32.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use cl_core::{TensorOps, Units};
/// use cl_nn::{Accumulator, LossScale, LossScaler, Mlp, Optimizer, OptimizerConfig, Precision};
///
/// let net = Mlp::new(&[2, 32, 2], DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
/// let mut optimizer = Optimizer::new(OptimizerConfig::adam(0.01))?;
/// let scaler = LossScaler::new(LossScale::default(), &Device::Cpu)?; // of steps in f16 only
/// let x = Tensor::new(&[[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]], &Device::Cpu)?;
/// let y = Tensor::new(&[0u32, 1, 1, 0], &Device::Cpu)?;
/// let mut accumulator = Accumulator::default();
/// for _ in 0..200 {
///     for start in [0, 2] {
///         let (x, y) = (Precision::F16.cast(&x.narrow(0, start, 2)?)?, y.narrow(0, start, 2)?);
///         let loss = net.forward(&x)?.cross_entropy(&y, Units::All, None)?;
///         accumulator.add(&scaler.gradients(net.params(), &loss)?)?;
///     }
///     scaler.step(&mut optimizer, net.params(), &accumulator.take()?)?;
/// }
/// assert_eq!(net.predict(&x)?.argmax(1)?.to_vec1::<u32>()?, [0, 1, 1, 0]);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Accumulator {
    sum: Vec<Tensor>,
    count: usize,
}

impl Accumulator {
    /// Adds the gradients of a minibatch.
    pub fn add(&mut self, gradients: &[Tensor]) -> Result<()> {
        let wide = |gradient: &Tensor| match gradient.dtype() {
            DType::F16 | DType::BF16 => gradient.to_dtype(DType::F32),
            _ => Ok(gradient.clone()),
        };
        let gradients = gradients.iter().map(wide).collect::<Result<Vec<_>, _>>()?;
        if self.sum.is_empty() {
            self.sum = gradients;
        } else if self.sum.len() != gradients.len() {
            let (expected, got) = (self.sum.len().to_string(), gradients.len().to_string());
            return Err(Error::mismatch("accumulated gradients", expected, got));
        } else {
            self.sum = self.sum.iter().zip(&gradients).map(|(a, b)| a + b).collect::<Result<_, _>>()?;
        }
        self.count += 1;
        Ok(())
    }

    /// The mean over the minibatches added since the last call.
    ///
    /// # Errors
    /// None was added.
    pub fn take(&mut self) -> Result<Vec<Tensor>> {
        if self.count == 0 {
            return Err(Error::invalid("accumulated gradients", "no minibatch was added"));
        }
        let factor = 1.0 / std::mem::take(&mut self.count) as f64;
        Ok(std::mem::take(&mut self.sum).iter().map(|g| g * factor).collect::<Result<_, _>>()?)
    }
}
