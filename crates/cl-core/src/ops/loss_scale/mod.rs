//! The scale of a loss whose gradients pass through f16 (Micikevicius et al. 2018, §3.2): what lies below 2⁻²⁴ is 0 there, so the
//! loss is multiplied by S before the backward pass and the gradients of the parameters are divided by S after it. S lives where
//! the gradients are: a step reads nothing back.
//!
//! | operand | shape | |
//! |---|---|---|
//! | state | (4) f32, contiguous | S, found, good, skipped; changed |
//! | g | any, contiguous | f32 or f64, changed |
//!
//! `unscale`: g ← g/S. An element that is not finite becomes 0, so that nothing which reads the gradients spreads it, and found
//! becomes 1: the step must not be taken.
//!
//! `update`, after the step: where found is 1, S ← max(backoff·S, 2⁻¹²⁶), skipped grows by 1, good becomes 0. Otherwise good grows
//! by 1, and at the interval S ← min(growth·S, 2¹²⁶) and good becomes 0. Then found is 0.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Tensor};

use super::cpu::{check_in_place, for_float, slice_mut, wide};
use crate::{Error, Result};

/// How the scale of a loss changes: see [`TensorOps::update_scale`](crate::TensorOps::update_scale).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScaleUpdate {
    /// What S is multiplied by after `interval` good steps.
    pub growth: f32,
    /// What S is multiplied by after a step that was skipped.
    pub backoff: f32,
    /// Good steps before it grows; whole numbers are exact up to 2²⁴.
    pub interval: f32,
}

/// Numbers of the state.
const STATE: usize = 4;
const SCALE: usize = 0;
const FOUND: usize = 1;
const GOOD: usize = 2;
const SKIPPED: usize = 3;

/// Bounds of S: neither it nor 1/S is infinite or subnormal.
const LEAST: f32 = f32::MIN_POSITIVE;
const MOST: f32 = 1.0 / f32::MIN_POSITIVE;

pub(super) fn unscale(gradients: &[&Tensor], state: &Tensor) -> Result<()> {
    check_state(state)?;
    for gradient in gradients {
        check_in_place("unscale", gradient, &[])?;
        super::cpu::same_place("unscale", state, gradient)?;
        if !matches!(gradient.dtype(), DType::F32 | DType::F64) {
            let why = format!(
                "{:?} cannot hold what the division by the scale leaves: keep the parameters in f32 and cast them in the \
                 forward pass, their gradients are f32 then",
                gradient.dtype()
            );
            return Err(Error::invalid("gradient", why));
        }
    }
    #[cfg(feature = "cuda")]
    if state.device().is_cuda() || gradients.iter().any(|g| g.device().is_cuda()) {
        return cuda::unscale(gradients, state);
    }
    let of = numbers(state)?;
    let op = Unscale { scale: of[SCALE], found: AtomicBool::new(of[FOUND] != 0.0) };
    for gradient in gradients.iter().filter(|g| g.elem_count() > 0) {
        gradient.inplace_op1(&op)?;
    }
    let found = f32::from(u8::from(op.found.into_inner()));
    Ok(state.inplace_op1(&Change(|state: &mut [f32]| state[FOUND] = found))?)
}

pub(super) fn update(state: &Tensor, update: ScaleUpdate) -> Result<()> {
    check_state(state)?;
    #[cfg(feature = "cuda")]
    if state.device().is_cuda() {
        return cuda::update(state, update);
    }
    Ok(state.inplace_op1(&Change(|state: &mut [f32]| {
        if state[FOUND] == 0.0 {
            state[GOOD] += 1.0;
            if state[GOOD] >= update.interval {
                state[GOOD] = 0.0;
                state[SCALE] = (update.growth * state[SCALE]).min(MOST);
            }
        } else {
            state[FOUND] = 0.0;
            state[GOOD] = 0.0;
            state[SKIPPED] += 1.0;
            state[SCALE] = (update.backoff * state[SCALE]).max(LEAST);
        }
    }))?)
}

/// Whether the step that is about to be taken on the CPU is to be left out; on a GPU the kernel looks.
pub(super) fn skips(op: &'static str, found: Option<&Tensor>, thetas: &[&Tensor]) -> Result<bool> {
    let Some(found) = found else { return Ok(false) };
    if let Some(theta) = thetas.iter().find(|theta| !theta.device().same_device(found.device())) {
        let place = |t: &Tensor| format!("{:?}", t.device().location());
        return Err(Error::mismatch(op, format!("what was found on {}", place(theta)), place(found)));
    }
    if found.dims() != [1] || found.dtype() != DType::F32 {
        let got = format!("{:?} {:?}", found.dtype(), found.dims());
        return Err(Error::mismatch(op, "what was found as F32 [1]", got));
    }
    Ok(found.device().is_cpu() && found.to_vec1::<f32>()?[0] != 0.0)
}

fn check_state(state: &Tensor) -> Result<()> {
    check_in_place("loss scale", state, &[])?;
    if state.dims() != [STATE] || state.dtype() != DType::F32 {
        let got = format!("{:?} {:?}", state.dtype(), state.dims());
        return Err(Error::mismatch("loss scale", format!("a state F32 [{STATE}]"), got));
    }
    Ok(())
}

fn numbers(state: &Tensor) -> Result<[f32; STATE]> {
    Ok(state.to_vec1::<f32>()?.try_into().expect("the state was checked"))
}

struct Unscale {
    scale: f32,
    found: AtomicBool,
}

impl InplaceOp1 for Unscale {
    fn name(&self) -> &'static str {
        "unscale"
    }

    fn cpu_fwd(&self, gradient: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        for_float!("unscale", gradient, T => {
            let gradient = slice_mut::<T>(gradient, layout)?;
            let inverse = 1.0 / self.scale as T;
            let finite = wide(|| {
                let mut all = true;
                for g in gradient.iter_mut() {
                    let of_loss = *g * inverse;
                    let finite = of_loss.is_finite();
                    *g = if finite { of_loss } else { 0.0 };
                    all &= finite;
                }
                all
            });
            self.found.fetch_or(!finite, Ordering::Relaxed);
            Ok(())
        })
    }
}

/// A change of the state, on the CPU.
struct Change<F>(F);

impl<F: Fn(&mut [f32])> InplaceOp1 for Change<F> {
    fn name(&self) -> &'static str {
        "loss_scale"
    }

    fn cpu_fwd(&self, state: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        (self.0)(slice_mut::<f32>(state, layout)?);
        Ok(())
    }
}
