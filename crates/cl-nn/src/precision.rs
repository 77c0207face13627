//! What a training step computes in.

use candle_core::{DType, Tensor};
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a training step computes in: parameters and the state of the optimizer are f32 always. The layers of this crate compute in
/// the dtype of their input, so a step is in half precision where its inputs are:
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use cl_core::{TensorOps, Units};
/// use cl_nn::{Mlp, Optimizer, OptimizerConfig, Precision};
///
/// let net = Mlp::new(&[2, 32, 2], DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
/// let mut optimizer = Optimizer::new(OptimizerConfig::adam(0.01))?;
/// let x = Tensor::new(&[[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]], &Device::Cpu)?;
/// let y = Tensor::new(&[0u32, 1, 1, 0], &Device::Cpu)?;
/// let x = Precision::Bf16.cast(&x)?; // the line that is not in a loop in f32
/// for _ in 0..200 {
///     let loss = net.forward(&x)?.cross_entropy(&y, Units::All, None)?; // f32
///     optimizer.backward_step(net.params(), &loss)?; // along gradients in f32
/// }
/// assert_eq!(net.predict(&x)?.argmax(1)?.to_vec1::<u32>()?, [0, 1, 1, 0]);
/// # Ok::<(), cl_core::Error>(())
/// ```
///
/// | | bits of the exponent, behind the point | unit roundoff | least above 0 | largest | scale of the loss |
/// |---|---|---|---|---|---|
/// | f32 | 8, 23 | 2⁻²⁴ | 2⁻¹⁴⁹ | 2¹²⁸ | |
/// | bf16 | 8, 7 | 2⁻⁸ | 2⁻¹³³ | 2¹²⁸ | not needed |
/// | f16 | 5, 10 | 2⁻¹¹ | 2⁻²⁴ | 65504 | a [`LossScaler`](crate::LossScaler) |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// All in f32.
    #[default]
    F32,
    /// Layers in bf16.
    Bf16,
    /// Layers in f16; gradients need a [`LossScaler`](crate::LossScaler).
    F16,
}

impl Precision {
    /// Of the activations.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    /// A tensor in the dtype of the activations; the same one where it is in it already.
    ///
    /// # Errors
    /// candle's own.
    pub fn cast(self, x: &Tensor) -> Result<Tensor> {
        Ok(x.to_dtype(self.dtype())?)
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

impl std::str::FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        [Self::F32, Self::Bf16, Self::F16].into_iter().find(|one| one.to_string() == name).ok_or_else(|| {
            Error::invalid("precision", format!("there is none named {name:?}; there are f32, bf16 and f16"))
        })
    }
}

/// A parameter as it is computed with beside an input: one in f32 is cast for inputs in f16 and bf16, in the graph, so that its
/// gradient is f32.
pub(crate) fn beside(x: &Tensor, param: &Tensor) -> candle_core::Result<Tensor> {
    match (x.dtype(), param.dtype()) {
        (DType::F16 | DType::BF16, DType::F32) => param.to_dtype(x.dtype()),
        _ => Ok(param.clone()),
    }
}
