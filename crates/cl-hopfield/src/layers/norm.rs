//! Layer norm whose gradient goes through: candle's own stops it.

use candle_core::{D, DType, Device, Tensor, Var};
use cl_core::{Params, Result};

/// (x − mean)/√(var + 10⁻⁵)·gain + shift over the last dimension (Ba, Kiros & Hinton 2016).
#[derive(Debug, Clone)]
pub(super) struct Norm {
    gain: Var,
    shift: Var,
}

impl Norm {
    pub(super) fn new(width: usize, dtype: DType, device: &Device) -> Result<Self> {
        Ok(Self { gain: Var::ones(width, dtype, device)?, shift: Var::zeros(width, dtype, device)? })
    }

    pub(super) fn params(&self) -> Result<Params> {
        let mut params = Params::new();
        params.push("gain", self.gain.clone())?;
        params.push("shift", self.shift.clone())?;
        Ok(params)
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?;
        Ok(centred.broadcast_div(&deviation)?.broadcast_mul(&self.gain)?.broadcast_add(&self.shift)?)
    }
}
