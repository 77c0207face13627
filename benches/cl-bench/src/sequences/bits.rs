//! Sequences of bits: drawn, learned, counted.

use candle_core::{Device, Tensor};
use cl_core::{Result, Rng};
use rand::Rng as _;

/// Fair bits (steps, batch, bits).
pub fn drawn(steps: usize, batch: usize, bits: usize, rng: &mut Rng) -> Result<Tensor> {
    let all: Vec<f32> =
        (0..steps * batch * bits).map(|_| f32::from(u8::from(rng.random::<bool>()))).collect();
    Ok(Tensor::from_vec(all, (steps, batch, bits), &Device::Cpu)?)
}

/// The mean of −ln of the probability of each bit, of logits z and bits y of one shape: ln(1 + eᶻ) − yz.
pub fn loss(logits: &Tensor, bits: &Tensor) -> Result<Tensor> {
    let top = logits.detach().relu()?;
    let log = ((top.neg()?.exp()? + (logits - &top)?.exp()?)?.log()? + top)?;
    Ok((log - (logits * bits)?)?.mean_all()?)
}

/// The fraction of bits that are wrong.
pub fn wrong(logits: &Tensor, bits: &Tensor) -> Result<f64> {
    let said = logits.gt(0f32)?.to_dtype(bits.dtype())?;
    Ok(f64::from(said.ne(bits)?.to_dtype(bits.dtype())?.mean_all()?.to_scalar::<f32>()?))
}
