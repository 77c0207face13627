//! The gradient of a batch as the factors that it is a product of.

use candle_core::{DType, Tensor};
use cl_core::{Error, Result, TensorOps};

/// The gradient of the loss of a batch, not yet multiplied out: in a linear layer it is δᵀa, with as many rows in both
/// factors as there are samples. [`Mlp::factored`](crate::Mlp::factored) makes it.
///
/// A [`dot`](Self::dot) product with the gradient of another batch takes the factors alone, and where one of the two batches
/// is small it costs little beside [multiplying out](Self::gradients).
#[derive(Debug, Clone)]
pub struct Factored {
    /// In the order of the parameters.
    pub(crate) layers: Vec<Layer>,
}

#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// a (n, in): what came in.
    pub inputs: Tensor,
    /// δ (n, out): the gradient of the loss for what came out.
    pub deltas: Tensor,
    /// Whether weight and bias are trained.
    pub trained: [bool; 2],
    /// Of weight and bias.
    pub dtype: DType,
}

impl Factored {
    /// The product with another gradient of the same network, over all trainable parameters.
    ///
    /// ⟨Σₙ δₙaₙᵀ, Σₘ δₘaₘᵀ⟩ = Σₙₘ ⟨δₙ, δₘ⟩ ⟨aₙ, aₘ⟩.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a gradient of another network.
    pub fn dot(&self, other: &Self) -> Result<f64> {
        let shapes = |gradient: &Self| -> Vec<_> {
            let of =
                |layer: &Layer| [layer.inputs.dims().last().copied(), layer.deltas.dims().last().copied()];
            gradient.layers.iter().map(of).collect()
        };
        if shapes(self) != shapes(other) {
            return Err(Error::mismatch(
                "dot",
                format!("a gradient of layers {:?}", shapes(self)),
                format!("{:?}", shapes(other)),
            ));
        }
        let mut sum = 0.0;
        for (one, other) in self.layers.iter().zip(&other.layers) {
            let [weight, bias] = one.trained;
            let product =
                |a: &Tensor, b: &Tensor| a.to_dtype(one.dtype)?.matmul(&b.to_dtype(one.dtype)?.t()?);
            let deltas = || product(&one.deltas, &other.deltas);
            let products = match weight {
                true => {
                    let inputs = product(&one.inputs, &other.inputs)?;
                    (deltas()? * if bias { (inputs + 1.0)? } else { inputs })?
                }
                false if bias => deltas()?,
                false => continue,
            };
            sum += products.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        }
        Ok(sum)
    }

    /// Multiplied out: a tensor for each trainable parameter, in order.
    ///
    /// # Errors
    /// candle's own.
    pub fn gradients(&self) -> Result<Vec<Tensor>> {
        let mut gradients = Vec::new();
        for Layer { inputs, deltas, trained, dtype } in &self.layers {
            if trained[0] {
                gradients.push(deltas.t()?.matmul(inputs)?.to_dtype(*dtype)?);
            }
            if trained[1] {
                gradients.push(deltas.sum_of_rows()?.to_dtype(*dtype)?);
            }
        }
        Ok(gradients)
    }
}
