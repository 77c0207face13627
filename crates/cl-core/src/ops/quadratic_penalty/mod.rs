//! ½ Σₖ Σᵢ Fₖᵢ (θᵢ − θ*ₖᵢ)²: the penalty of EWC (Kirkpatrick et al. 2017, eq. 3), SI, MAS and L2, for
//! any number of anchors k at once, in one pass.
//!
//! | operand | shape | |
//! |---|---|---|
//! | θ | any | f32 or f64 |
//! | Fₖ, θ*ₖ | as θ | importance and anchor, data |
//! | penalty | () | |
//!
//! ∂θ = Σₖ Fₖ (θ − θ*ₖ). Value and gradient read the same memory, and memory is the cost: the forward
//! pass computes both when a gradient will be asked for. Where the gradient of the rest of the loss is there already, it is
//! added to in place, without a graph: g ← g + scale·∂θ.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp1, InplaceOp2, Layout, Shape, Tensor};

use super::cpu::{check_lists, for_float, same_shape, slice, slice_mut};
use crate::{Error, Result};

/// A quadratic bowl: how much each parameter matters, and where it should stay.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Quadratic {
    /// F, as the parameter.
    #[serde(with = "crate::snapshot::tensor")]
    pub importance: Tensor,
    /// θ*, as the parameter.
    #[serde(with = "crate::snapshot::tensor")]
    pub anchor: Tensor,
}

pub(super) fn quadratic_penalty(theta: &Tensor, terms: &[Quadratic]) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if theta.device().is_cuda() {
        return quadratic_penalty_all(&[theta], &[terms]);
    }
    let terms = checked("quadratic_penalty", theta, terms)?;
    let op = Penalty { terms, with_gradient: theta.track_op(), gradient: Mutex::new(None) };
    Ok(theta.contiguous()?.apply_op1(op)?)
}

/// The sum of the penalties of many parameters.
pub(super) fn quadratic_penalty_all(thetas: &[&Tensor], terms: &[&[Quadratic]]) -> Result<Tensor> {
    const NAME: &str = "quadratic_penalty";
    check_terms(NAME, thetas, terms)?;
    let Some(first) = thetas.first() else {
        return Err(Error::invalid(
            NAME,
            "no parameters were given, so that the dtype of a sum is not known",
        ));
    };
    #[cfg(feature = "cuda")]
    if first.device().is_cuda() {
        let terms = thetas.iter().zip(terms).map(|(theta, terms)| checked(NAME, theta, terms));
        return cuda::penalty(thetas, terms.collect::<Result<_>>()?);
    }
    let mut sum = quadratic_penalty(first, terms[0])?;
    for (theta, terms) in thetas.iter().zip(terms).skip(1) {
        sum = (sum + quadratic_penalty(theta, terms)?)?;
    }
    Ok(sum)
}

/// g ← g + scale·Σₖ Fₖ (θ − θ*ₖ) in place.
pub(super) fn add_gradient(
    gradients: &[&Tensor],
    thetas: &[&Tensor],
    terms: &[&[Quadratic]],
    scale: f64,
) -> Result<()> {
    const NAME: &str = "add_penalty_gradient";
    check_lists(NAME, gradients, &[thetas])?;
    check_terms(NAME, thetas, terms)?;
    let terms = thetas.iter().zip(terms).map(|(theta, terms)| checked(NAME, theta, terms));
    let terms = terms.collect::<Result<Vec<_>>>()?;
    #[cfg(feature = "cuda")]
    if gradients.iter().any(|g| g.device().is_cuda()) {
        return cuda::add_gradient(gradients, thetas, &terms, scale);
    }
    for ((gradient, theta), terms) in gradients.iter().zip(thetas).zip(&terms) {
        if gradient.elem_count() > 0 {
            gradient.inplace_op2(&theta.contiguous()?, &AddGradient { terms, scale })?;
        }
    }
    Ok(())
}

fn check_terms(op: &'static str, thetas: &[&Tensor], terms: &[&[Quadratic]]) -> Result<()> {
    if terms.len() == thetas.len() {
        return Ok(());
    }
    let (expected, got) = (thetas.len(), terms.len());
    Err(Error::mismatch(op, format!("terms of {expected} tensors"), got.to_string()))
}

/// The terms, contiguous, if they fit a parameter.
fn checked(op: &'static str, theta: &Tensor, terms: &[Quadratic]) -> Result<Vec<Quadratic>> {
    for term in terms {
        same_shape(op, theta, &term.importance)?;
        same_shape(op, theta, &term.anchor)?;
        if term.importance.track_op() || term.anchor.track_op() {
            let why = "importance and anchor are data, no gradient reaches them: detach() them";
            return Err(Error::invalid(op, why));
        }
    }
    let contiguous = |t: &Quadratic| {
        Ok(Quadratic { importance: t.importance.contiguous()?, anchor: t.anchor.contiguous()? })
    };
    terms.iter().map(contiguous).collect()
}

struct AddGradient<'a> {
    terms: &'a [Quadratic],
    scale: f64,
}

impl InplaceOp2 for AddGradient<'_> {
    fn name(&self) -> &'static str {
        "add_penalty_gradient"
    }

    fn cpu_fwd(
        &self,
        gradient: &mut CpuStorage,
        lg: &Layout,
        theta: &CpuStorage,
        lt: &Layout,
    ) -> candle_core::Result<()> {
        for_float!("add_penalty_gradient", theta, T => {
            let (gradient, theta) = (slice_mut::<T>(gradient, lg)?, slice::<T>(theta, lt)?);
            cpu::add_gradient(gradient, theta, self.terms, self.scale as T)
        })
    }
}

struct Penalty {
    terms: Vec<Quadratic>,
    with_gradient: bool,
    /// Left by the forward pass for the backward pass.
    gradient: Mutex<Option<Tensor>>,
}

impl CustomOp1 for Penalty {
    fn name(&self) -> &'static str {
        "quadratic_penalty"
    }

    fn cpu_fwd(&self, theta: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let value = for_float!("quadratic_penalty", theta, T => {
            let (value, gradient) = cpu::penalty(slice::<T>(theta, layout)?, &self.terms, self.with_gradient)?;
            if let Some(gradient) = gradient {
                let gradient = Tensor::from_vec(gradient, layout.shape(), &candle_core::Device::Cpu)?;
                *self.gradient.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(gradient);
            }
            Ok(candle_core::WithDType::to_cpu_storage_owned(vec![value as T]))
        })?;
        Ok((value, Shape::from(())))
    }

    fn bwd(&self, theta: &Tensor, _penalty: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        if super::second_order() {
            return differentiable(theta, &self.terms, grad).map(Some);
        }
        let gradient = self.gradient.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(gradient) = gradient.as_ref() else {
            candle_core::bail!("quadratic_penalty: the forward pass left no gradient");
        };
        let scale = grad.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
        Ok(Some(if scale == 1.0 { gradient.clone() } else { (gradient * scale)? }))
    }
}

/// The gradient from candle's operations, so that it can be differentiated again.
fn differentiable(theta: &Tensor, terms: &[Quadratic], grad: &Tensor) -> candle_core::Result<Tensor> {
    let mut sum = theta.zeros_like()?;
    for term in terms {
        sum = (sum + ((theta - &term.anchor)? * &term.importance)?)?;
    }
    sum.broadcast_mul(grad)
}
