//! The convolution as a layer.

use candle_core::{Device, Module, Tensor, Var};
use cl_core::{Error, Result, Rng};
use rand::Rng as _;

use super::{Conv2dConfig, MaxPool2d, conv2d, conv2d_relu};

/// A convolution with its parameters.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// (o, c, kh, kw)
    pub weight: Var,
    /// (o)
    pub bias: Var,
    /// How the kernel moves.
    pub config: Conv2dConfig,
}

impl Conv2d {
    /// From `channels` to `out` channels with a square kernel; f32. Weight and bias are drawn from
    /// U(−1/√fan, 1/√fan) with fan = channels · kernel², PyTorch's default.
    ///
    /// # Errors
    /// A size of zero.
    pub fn new(
        channels: usize,
        out: usize,
        kernel: usize,
        config: Conv2dConfig,
        rng: &mut Rng,
    ) -> Result<Self> {
        for (name, size) in [("channels", channels), ("out", out), ("kernel", kernel)] {
            if size == 0 {
                return Err(Error::invalid(name, "a convolution needs at least 1, got 0"));
            }
        }
        let fan = channels * kernel * kernel;
        let bound = 1.0 / (fan as f32).sqrt();
        let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-bound..bound)).collect::<Vec<f32>>();
        let (weight, bias) = (draw(out * fan), draw(out));
        Ok(Self {
            weight: Var::from_vec(weight, (out, channels, kernel, kernel), &Device::Cpu)?,
            bias: Var::from_vec(bias, out, &Device::Cpu)?,
            config,
        })
    }

    /// The layer, then ReLU, then max-pooling if asked for: [`conv2d_relu`].
    ///
    /// # Errors
    /// As [`conv2d_relu`].
    pub fn forward_relu(&self, x: &Tensor, pool: Option<MaxPool2d>) -> Result<Tensor> {
        conv2d_relu(x, &self.weight, Some(&self.bias), self.config, pool)
    }
}

impl Module for Conv2d {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        conv2d(x, &self.weight, Some(&self.bias), self.config).map_err(candle_error)
    }
}

/// For candle's traits, whose functions return candle's error.
pub(super) fn candle_error(error: Error) -> candle_core::Error {
    match error {
        Error::Candle(error) => error,
        other => candle_core::Error::wrap(other),
    }
}
