//! The fully connected layer.

use candle_core::{DType, Device, Module, Tensor, Var};
use cl_core::init::Init;
use cl_core::{Activation, Params, Result, Rng, TensorOps};
use serde::{Deserialize, Serialize};

use crate::precision::beside;

/// y = act(xWᵀ + b) in one node of the graph: see [`TensorOps::linear`]. With parameters in f32 it computes in f16 or bf16 where its
/// input is in it: see [`Precision`](crate::Precision).
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use cl_nn::{Activation, Linear};
///
/// let layer = Linear::new(3, 2, Activation::Relu, DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
/// let y = layer.forward(&Tensor::zeros((5, 3), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [5, 2]);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Linear {
    /// W (outputs, inputs).
    #[serde(with = "cl_core::snapshot::tensor")]
    pub weight: Var,
    /// b (outputs).
    #[serde(with = "cl_core::snapshot::tensor")]
    pub bias: Var,
    /// What follows the affine map.
    pub activation: Activation,
}

impl Linear {
    /// Weights and bias from U(−1/√inputs, 1/√inputs), weights first: PyTorch's default.
    pub fn new(
        inputs: usize,
        outputs: usize,
        activation: Activation,
        dtype: DType,
        device: &Device,
        rng: &mut Rng,
    ) -> Result<Self> {
        let weight = Init::FanIn.var((outputs, inputs), dtype, device, rng)?;
        let bias = Init::Uniform(1.0 / (inputs as f64).sqrt()).var(outputs, dtype, device, rng)?;
        Ok(Self { weight, bias, activation })
    }

    /// `weight`, `bias`.
    pub fn params(&self) -> Result<Params> {
        let mut params = Params::new();
        params.push("weight", self.weight.clone())?;
        params.push("bias", self.bias.clone())?;
        Ok(params)
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (weight, bias) = (beside(x, &self.weight)?, beside(x, &self.bias)?);
        x.linear(&weight, Some(&bias), self.activation).map_err(candle_core::Error::wrap)
    }
}
