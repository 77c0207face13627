//! The Fisher information as a running mean over training steps.

use candle_core::Tensor;
use cl_core::{Error, Params, Result, TensorOps};
use serde::{Deserialize, Serialize};

/// F ← decay·F + (1−decay)·mean of g² over `every` steps (Chaudhry et al. 2018, eq. 10, with α = 1−decay). Where it is
/// `growing`, the g² of all steps since the last [`restart`](Self::restart) are in that sum, still divided by `every`.
// No Clone: it would share the tensors, which are changed in place.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    decay: f64,
    every: usize,
    growing: bool,
    /// F; empty before the first window of steps is full, whose mean is taken whole.
    #[serde(with = "cl_core::snapshot::tensor")]
    fisher: Vec<Tensor>,
    /// The mean of g² so far, of the window that is being filled.
    #[serde(with = "cl_core::snapshot::tensor")]
    window: Vec<Tensor>,
    filled: usize,
    /// Whether the next step's g² take the place of what is in the window.
    anew: bool,
}

impl Running {
    pub(crate) fn new(decay: f64, every: usize, growing: bool) -> Result<Self> {
        crate::check_coefficients(&[("decay", decay)])?;
        if decay >= 1.0 {
            return Err(Error::invalid("decay", format!("with {decay} nothing is ever learnt")));
        }
        if every == 0 {
            return Err(Error::invalid("every", "a mean is taken over at least one step"));
        }
        Ok(Self { decay, every, growing, fisher: Vec::new(), window: Vec::new(), filled: 0, anew: true })
    }

    /// A step's gradients that fit the parameters. Whether the window is full: [`close`](Self::close) comes next then.
    pub(crate) fn observe(&mut self, params: &Params, gradients: &[Tensor]) -> Result<bool> {
        crate::check_tensors("observe", params, gradients)?;
        if self.window.is_empty() {
            self.window = gradients.iter().map(Tensor::zeros_like).collect::<Result<_, _>>()?;
        }
        crate::check_tensors("observe", params, &self.window)?;
        let keep = if self.anew { 0.0 } else { 1.0 };
        let scale = 1.0 / self.every as f64;
        Tensor::accumulate_sq_all(&crate::refs(&self.window), &crate::refs(gradients), keep, scale)?;
        self.anew = false;
        self.filled += 1;
        Ok(self.filled == self.every)
    }

    /// A full window goes into F.
    pub(crate) fn close(&mut self) -> Result<()> {
        (self.filled, self.anew) = (0, !self.growing);
        self.fisher = if self.fisher.is_empty() {
            self.window.iter().map(Tensor::copy).collect::<Result<_, _>>()?
        } else {
            let mixed = |(f, new): (&Tensor, &Tensor)| (f * self.decay)? + (new * (1.0 - self.decay))?;
            self.fisher.iter().zip(&self.window).map(mixed).collect::<Result<_, _>>()?
        };
        Ok(())
    }

    /// A window begins; what is in it is forgotten.
    pub(crate) fn restart(&mut self) {
        (self.filled, self.anew) = (0, true);
    }

    /// F of each parameter; nothing before the first window is full.
    pub(crate) fn fisher(&self) -> &[Tensor] {
        &self.fisher
    }

    /// F of each parameter, to consolidate by.
    pub(crate) fn known(&self) -> Result<&[Tensor]> {
        if self.fisher.is_empty() {
            let why = format!(
                "fewer than {} steps were observed: no Fisher information is known yet; lower `every`",
                self.every
            );
            return Err(Error::invalid("consolidate", why));
        }
        Ok(&self.fisher)
    }
}

/// All values moved and scaled to [0, 1], by the least and the largest of all parameters together; 0 where they are equal.
pub(crate) fn unit_range(values: &[Tensor]) -> Result<Vec<Tensor>> {
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values {
        let (low, high) = (value.flatten_all()?.min(0)?, value.flatten_all()?.max(0)?);
        let scalar = |t: Tensor| t.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>();
        (least, most) = (least.min(scalar(low)?), most.max(scalar(high)?));
    }
    let scale = if most > least { 1.0 / (most - least) } else { 0.0 };
    values.iter().map(|value| Ok(value.affine(scale, -least * scale)?)).collect()
}
