//! Gradients of each sample, without a loop over samples.

use candle_core::Tensor;
use cl_core::{Error, Params, Result};

/// A network that can square the gradients of each sample of a batch in one pass.
///
/// For a linear layer the gradient of one sample is an outer product, so the sum over samples of its
/// square is one matrix product; no gradient of a single sample is ever stored. What is needed is how
/// the squares flow through the network, which this trait says; [`Mlp`](crate::Mlp) implements it.
pub trait PerSample {
    /// The parameters whose gradients are squared.
    fn params(&self) -> &Params;

    /// The logits (n, outputs) of a batch, outside of the graph.
    fn logits(&self, x: &Tensor) -> Result<Tensor>;

    /// Adds to `sums` Σₙ Σ꜀ (∂ℓₙ꜀/∂θ)²: one tensor for each trainable parameter, in order, in place.
    ///
    /// `losses` is called once with the logits (n, outputs) and gives ∂ℓₙ꜀/∂zₙ, the gradients of c
    /// losses of each sample, as (n, c, outputs).
    fn add_squared_gradients(
        &self,
        x: &Tensor,
        losses: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
        sums: &[Tensor],
    ) -> Result<()>;

    /// Σₙ |∂ℓₙ/∂θ|, elementwise: one tensor for each trainable parameter, in order.
    ///
    /// `loss` is called once with the logits (n, outputs) and gives ∂ℓₙ/∂zₙ, of the same shape.
    fn absolute_gradients(
        &self,
        x: &Tensor,
        loss: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Vec<Tensor>>;
}

/// The sums given for the trainable parameters, with a place for those of the frozen ones.
pub(crate) fn sums_of_all(params: &Params, sums: &[Tensor]) -> Result<Vec<Tensor>> {
    if sums.len() != params.trainable().count() {
        return Err(Error::mismatch(
            "add_squared_gradients",
            format!("{} sums", params.trainable().count()),
            sums.len().to_string(),
        ));
    }
    let mut sums = sums.iter();
    params
        .iter()
        .map(|param| match param.frozen {
            true => Ok(param.var.as_tensor().zeros_like()?),
            false => Ok(sums.next().expect("as many as trainable parameters").clone()),
        })
        .collect()
}
