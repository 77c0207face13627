//! Averaged gradient episodic memory: Chaudhry et al. 2019, "Efficient Lifelong Learning with A-GEM".

use candle_core::{Tensor, backprop::GradStore};
use cl_core::{Error, Params, Projection, Result, project};

/// g ← g − (gᵀr / (rᵀr + ε)) r where gᵀr < 0 (equation 11), over all parameters as one vector.
///
/// The reference r is the gradient of the loss on samples of the memory. Where the two agree, gᵀr ≥ 0, the
/// gradient stays as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AGem {
    /// Keeps the quotient finite where the reference vanishes. The default is 1e-7, as in van de Ven et
    /// al. 2022; the paper has none.
    pub eps: f64,
}

impl Default for AGem {
    fn default() -> Self {
        Self { eps: 1e-7 }
    }
}

impl AGem {
    /// Projects the gradients of the trainable `params` in `grads` against `reference`, which has one
    /// tensor per trainable parameter, in their order: what [`Params::gradients`] gives for the loss on
    /// the memory. Other gradients in `grads` are left alone.
    ///
    /// The store gets new tensors; those taken from it before stay as they were.
    ///
    /// # Errors
    /// [`Error::NoGradient`] names the parameters that the loss does not reach;
    /// [`Error::Mismatch`] where the reference has another number of tensors, or one of another
    /// shape or dtype; [`Error::Invalid`] on a negative ε. `grads` is then unchanged.
    pub fn project(
        &self,
        grads: &mut GradStore,
        params: &Params,
        reference: &[Tensor],
    ) -> Result<Projection> {
        if self.eps < 0.0 || self.eps.is_nan() {
            return Err(Error::invalid("eps", format!("{} is not at least 0", self.eps)));
        }
        let gradients: Vec<Tensor> = params.gradients(grads)?.iter().map(owned).collect::<Result<_>>()?;
        let found = project(&gradients, reference, self.eps)?;
        if found.conflict {
            for (param, gradient) in params.trainable().zip(gradients) {
                grads.insert(&param.var, gradient);
            }
        }
        Ok(found)
    }
}

/// A contiguous copy. The projection works in place, and a gradient may be a view, or the same tensor as
/// another one.
fn owned(gradient: &Tensor) -> Result<Tensor> {
    Ok(gradient.detach().force_contiguous()?)
}
