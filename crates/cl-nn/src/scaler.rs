//! The scale of the loss that training in f16 needs.

use candle_core::{DType, Device, Tensor};
use cl_core::{Error, Params, Result, ScaleUpdate, TensorOps};
use serde::{Deserialize, Serialize};

use crate::Optimizer;

/// How a [`LossScaler`] chooses its scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossScale {
    /// It stays as it is. Steps whose gradients overflow are skipped all the same.
    Static(f64),
    /// It shrinks with each step that overflows, and grows after many that do not.
    Dynamic {
        /// The first scale.
        initial: f64,
        /// What it is multiplied by after `interval` steps without an overflow; above 1.
        growth: f64,
        /// What it is multiplied by after an overflow; between 0 and 1.
        backoff: f64,
        /// Steps without an overflow before it grows; 2²⁴ at most.
        interval: u32,
    },
}

impl Default for LossScale {
    /// Begins at 2¹⁶, doubles after 2000 steps, halves at an overflow: PyTorch's `GradScaler`.
    fn default() -> Self {
        Self::Dynamic { initial: 65_536.0, growth: 2.0, backoff: 0.5, interval: 2000 }
    }
}

/// Within this range neither a scale nor its inverse is infinite or subnormal in f32.
const RANGE: std::ops::RangeInclusive<f64> = f32::MIN_POSITIVE as f64..=1.0 / f32::MIN_POSITIVE as f64;
const LONGEST: u32 = 1 << 24;

impl LossScale {
    fn initial(self) -> f64 {
        match self {
            Self::Static(scale) | Self::Dynamic { initial: scale, .. } => scale,
        }
    }

    fn update(self) -> ScaleUpdate {
        match self {
            Self::Static(_) => ScaleUpdate { growth: 1.0, backoff: 1.0, interval: LONGEST as f32 },
            Self::Dynamic { growth, backoff, interval, .. } => {
                ScaleUpdate { growth: growth as f32, backoff: backoff as f32, interval: interval as f32 }
            }
        }
    }

    fn check(self) -> Result<()> {
        let wrong = |what: &str, why: String| Err(Error::invalid(format!("{what} of the loss scale"), why));
        if !RANGE.contains(&self.initial()) {
            return wrong("value", format!("{} is not within 2^-126 and 2^126", self.initial()));
        }
        let Self::Dynamic { growth, backoff, interval, .. } = self else { return Ok(()) };
        let in_f32 = |x: f64| f64::from(x as f32);
        if !(in_f32(growth) > 1.0 && growth.is_finite() && RANGE.contains(&growth)) {
            return wrong("growth", format!("{growth} is not a number above 1"));
        }
        if !(in_f32(backoff) < 1.0 && RANGE.contains(&backoff)) {
            return wrong("backoff", format!("{backoff} is not between 0 and 1"));
        }
        if !(1..=LONGEST).contains(&interval) {
            return wrong("interval", format!("{interval} is not within 1 and 2^24 steps"));
        }
        Ok(())
    }
}

/// Multiplies the loss by a scale before the backward pass and divides the gradients by it after: f16 has nothing between 0 and
/// 2⁻²⁴, where many gradients are (Micikevicius et al. 2018, §3.2). Where an element of a gradient overflows, the step is
/// skipped and the scale shrinks.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use cl_core::{TensorOps, Units};
/// use cl_nn::{LossScale, LossScaler, Mlp, Optimizer, OptimizerConfig, Precision};
///
/// let net = Mlp::new(&[2, 32, 2], DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
/// let mut optimizer = Optimizer::new(OptimizerConfig::adam(0.01))?;
/// let scaler = LossScaler::new(LossScale::default(), &Device::Cpu)?;
/// let x = Tensor::new(&[[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]], &Device::Cpu)?;
/// let y = Tensor::new(&[0u32, 1, 1, 0], &Device::Cpu)?;
/// let x = Precision::F16.cast(&x)?;
/// for _ in 0..200 {
///     let loss = net.forward(&x)?.cross_entropy(&y, Units::All, None)?;
///     scaler.backward_step(&mut optimizer, net.params(), &loss)?;
/// }
/// assert_eq!(net.predict(&x)?.argmax(1)?.to_vec1::<u32>()?, [0, 1, 1, 0]);
/// assert_eq!(scaler.skipped()?, 0);
/// # Ok::<(), cl_core::Error>(())
/// ```
///
/// The parameters are f32, and so are gradients and state. The scale, and whether something overflowed, are where the parameters
/// are and change there: a step on a GPU reads nothing back. So the optimizer does not learn that a step was skipped, and counts it:
/// the bias correction of Adam is that of the steps that were tried, a little less than that of those that were taken, which is
/// felt only where the first few are skipped.
///
/// Where each step overflows, as with a network that has diverged, all are skipped: look at [`skipped`](Self::skipped) now and then.
///
/// Serde keeps every bit of it. A `Clone` would share the state, which steps change in place: there is [`copy`](Self::copy).
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct LossScaler {
    config: LossScale,
    /// Scale, found, good, skipped: see [`TensorOps::unscale_all`].
    #[serde(with = "cl_core::snapshot::tensor")]
    state: Tensor,
}

impl LossScaler {
    /// A scaler for parameters on this device.
    ///
    /// # Errors
    /// Constants out of their range.
    pub fn new(config: LossScale, device: &Device) -> Result<Self> {
        config.check()?;
        let state = Tensor::new(&[config.initial() as f32, 0.0, 0.0, 0.0], device)?;
        Ok(Self { config, state })
    }

    /// Its constants.
    pub fn config(&self) -> LossScale {
        self.config
    }

    /// `loss`, or weights of the samples of a loss, times the scale. f32 or f64.
    ///
    /// # Errors
    /// A loss in f16 or bf16.
    pub fn scale(&self, loss: &Tensor) -> Result<Tensor> {
        if !matches!(loss.dtype(), DType::F32 | DType::F64) {
            let why = format!("{:?} has no room for a scale: take the loss in f32", loss.dtype());
            return Err(Error::invalid("loss", why));
        }
        let scale = self.state.narrow(0, 0, 1)?.squeeze(0)?.to_dtype(loss.dtype())?;
        Ok(loss.broadcast_mul(&scale)?)
    }

    /// Makes the gradients of a scaled loss those of the loss, in place, and keeps in mind whether the step can be taken: an element
    /// that is not finite becomes 0, and the next step is skipped.
    ///
    /// # Errors
    /// Gradients in f16 or bf16, or that are not contiguous; nothing is changed then.
    pub fn unscale(&self, gradients: &[Tensor]) -> Result<()> {
        Tensor::unscale_all(&gradients.iter().collect::<Vec<_>>(), &self.state)
    }

    /// The gradients of a loss for the trainable parameters, in order, by a backward pass through the scaled loss. Between two
    /// [steps](Self::step) there may be several, as for an [`Accumulator`](crate::Accumulator).
    ///
    /// # Errors
    /// [`Error::NoGradient`]; a loss, or a parameter, in f16 or bf16.
    pub fn gradients(&self, params: &Params, loss: &Tensor) -> Result<Vec<Tensor>> {
        let gradients = params.gradients(&self.scale(loss)?.backward()?)?;
        let gradients = gradients.iter().map(Tensor::contiguous).collect::<Result<Vec<_>, _>>()?;
        self.unscale(&gradients)?;
        Ok(gradients)
    }

    /// A step of the optimizer along gradients of [`gradients`](Self::gradients), or none where one overflowed, and the scale of the
    /// next step.
    ///
    /// # Errors
    /// As [`Optimizer::step`].
    pub fn step(&self, optimizer: &mut Optimizer, params: &Params, gradients: &[Tensor]) -> Result<()> {
        let stepped = optimizer.step_unless(&self.state.narrow(0, 1, 1)?, params, gradients);
        // What was found is of these gradients, though they were refused.
        self.state.update_scale(self.config.update())?;
        stepped
    }

    /// Backward pass and step.
    ///
    /// # Errors
    /// As [`gradients`](Self::gradients) and [`step`](Self::step).
    pub fn backward_step(&self, optimizer: &mut Optimizer, params: &Params, loss: &Tensor) -> Result<()> {
        let gradients = self.gradients(params, loss)?;
        self.step(optimizer, params, &gradients)
    }

    /// The scale as it is now; reads it back.
    ///
    /// # Errors
    /// candle's own.
    pub fn current(&self) -> Result<f64> {
        Ok(f64::from(self.state.to_vec1::<f32>()?[0]))
    }

    /// How many steps were skipped, exact up to 2²⁴; reads it back.
    ///
    /// # Errors
    /// candle's own.
    pub fn skipped(&self) -> Result<u64> {
        Ok(self.state.to_vec1::<f32>()?[3] as u64)
    }

    /// One of the same state that shares nothing with this one.
    ///
    /// # Errors
    /// candle's own.
    pub fn copy(&self) -> Result<Self> {
        Ok(Self { config: self.config, state: self.state.copy()? })
    }

    /// One of the same state for parameters on `device`.
    ///
    /// # Errors
    /// candle's own.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self { config: self.config, state: self.state.to_device(device)?.copy()? })
    }
}

/// What serde reads of a [`LossScaler`].
#[derive(Deserialize)]
struct Saved {
    config: LossScale,
    #[serde(with = "cl_core::snapshot::tensor")]
    state: Tensor,
}

impl TryFrom<Saved> for LossScaler {
    type Error = Error;

    fn try_from(Saved { config, state }: Saved) -> Result<Self> {
        config.check()?;
        let wrong = |why: String| Err(Error::invalid("saved loss scaler", why));
        if state.dims() != [4] || state.dtype() != DType::F32 {
            return wrong(format!("its state is {:?} {:?}, not F32 [4]", state.dtype(), state.dims()));
        }
        let numbers: [f32; 4] = state.to_vec1::<f32>()?.try_into().expect("the shape was checked");
        let [scale, found, good, skipped] = numbers;
        let whole = |x: f32| x >= 0.0 && x <= LONGEST as f32 && x.fract() == 0.0;
        if !RANGE.contains(&f64::from(scale))
            || !(found == 0.0 || found == 1.0)
            || !(whole(good) && whole(skipped) && good <= config.update().interval)
        {
            return wrong(format!("its state {numbers:?} is none that a scaler comes to"));
        }
        Ok(Self { config, state })
    }
}
