//! g ← g − (gᵀr / (rᵀr + ε)) r where gᵀr < 0: A-GEM's projection (Chaudhry et al. 2019, eq. 11) over
//! all parameters at once, in place.
//!
//! | operand | shape | |
//! |---|---|---|
//! | g, r | lists of equal shapes | gradient and reference gradient; g is changed |

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};

use super::cpu::{check_in_place, for_float, slice, slice_mut, sum, wide, with_slice};
use crate::{Error, Result};

/// What the projection found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Projection {
    /// gᵀr before the projection.
    pub dot: f64,
    /// rᵀr.
    pub reference_sq: f64,
    /// Whether the two disagreed, so that g was changed.
    pub conflict: bool,
}

/// g ← g − (gᵀr / (rᵀr + ε)) r where gᵀr < 0, over all parameters as one vector, in place (Chaudhry et al.
/// 2019, eq. 11); ε keeps the quotient finite where the reference vanishes.
///
/// # Errors
/// Lists or tensors that do not match; a gradient that is not contiguous.
pub fn project(gradient: &[Tensor], reference: &[Tensor], eps: f64) -> Result<Projection> {
    if gradient.len() != reference.len() {
        return Err(Error::mismatch(
            "project",
            format!("{} reference gradients", gradient.len()),
            reference.len().to_string(),
        ));
    }
    #[cfg(feature = "cuda")]
    if gradient.iter().any(|g| g.device().is_cuda()) {
        for (g, r) in gradient.iter().zip(reference) {
            check_in_place("project", g, &[r])?;
        }
        return cuda::project(gradient, reference, eps);
    }
    let (mut dot_sum, mut reference_sq) = (0.0, 0.0);
    for (g, r) in gradient.iter().zip(reference) {
        check_in_place("project", g, &[r])?;
        dot_sum += dot(g, r)?;
        reference_sq += dot(r, r)?;
    }
    let conflict = dot_sum < 0.0 && reference_sq + eps > 0.0;
    if conflict {
        let factor = dot_sum / (reference_sq + eps);
        // candle shares the storage of empty tensors, which an operation in place refuses.
        for (g, r) in gradient.iter().zip(reference).filter(|(g, _)| g.elem_count() > 0) {
            g.inplace_op2(&r.contiguous()?, &Subtract { factor })?;
        }
    }
    Ok(Projection { dot: dot_sum, reference_sq, conflict })
}

fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(for_float!("project", a, T => {
        with_slice::<T, _>(a, |a| with_slice::<T, _>(b, |b| Ok(wide(|| sum([a, b], |[a, b]| a * b)))))
    })?)
}

struct Subtract {
    factor: f64,
}

impl InplaceOp2 for Subtract {
    fn name(&self) -> &'static str {
        "project"
    }

    fn cpu_fwd(
        &self,
        g: &mut CpuStorage,
        lg: &Layout,
        r: &CpuStorage,
        lr: &Layout,
    ) -> candle_core::Result<()> {
        for_float!("project", r, T => {
            let (g, r) = (slice_mut::<T>(g, lg)?, slice::<T>(r, lr)?);
            let factor = self.factor as T;
            wide(|| g.iter_mut().zip(r).for_each(|(g, &r)| *g -= factor * r));
            Ok(())
        })
    }
}
