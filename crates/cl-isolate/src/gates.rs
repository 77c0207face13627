//! Context-dependent gating, XdG: Masse, Grant & Freedman 2018, "Alleviating catastrophic forgetting using
//! context-dependent gating and synaptic stabilization".

use candle_core::Tensor;
use cl_core::{Error, Result};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

/// For every task another random part of each hidden layer's units is silent: always zero, in training and
/// in evaluation, so that tasks share few units and their gradients few weights.
///
/// Of n units, ⌊fraction·n⌋ are silent, drawn without replacement: the number that the code of van de Ven et
/// al. 2022 takes (`int(gating_prop * n_units)` of `np.random.choice(.., replace=False)`), f64 rounding
/// included. The units follow from seed, task and layer alone: there is no state to save but this struct, and
/// no task must be announced.
///
/// Masse et al. gate the activations, after the nonlinearity; so does [`gate`](Self::gate) where it stands
/// behind it. Van de Ven et al. multiply Wx by the mask *before* the bias is added, so that a silent unit
/// still gives f(b): for that, gate Wx and then add the bias. Their gates cover the hidden layers, never the
/// output layer.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_isolate::Gates;
///
/// let gates = Gates::new(0.8, 7)?;
/// let h = Tensor::ones((5, 100), DType::F32, &Device::Cpu)?; // (n, units) of the first hidden layer
/// let of_task_3 = gates.gate(&h, 3, 0)?;
/// assert_eq!(of_task_3.sum_all()?.to_scalar::<f32>()?, 5.0 * 20.0);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct Gates {
    fraction: f64,
    seed: u64,
}

#[derive(Deserialize)]
struct Saved {
    fraction: f64,
    seed: u64,
}

impl TryFrom<Saved> for Gates {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        Self::new(saved.fraction, saved.seed)
    }
}

impl Gates {
    /// Silences this fraction of every layer. Masse et al. take 0.8 on permuted MNIST.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a fraction outside [0, 1): with 1 nothing would pass.
    pub fn new(fraction: f64, seed: u64) -> Result<Self> {
        if !(0.0..1.0).contains(&fraction) {
            let why = format!("{fraction} is not in [0, 1)");
            return Err(Error::invalid("fraction of silent units", why));
        }
        Ok(Self { fraction, seed })
    }

    /// How many of a layer's units are silent: ⌊fraction·units⌋.
    pub fn silent(&self, units: usize) -> usize {
        (self.fraction * units as f64) as usize
    }

    /// Which units of a layer are open for a task.
    pub fn open(&self, task: usize, layer: usize, units: usize) -> Vec<bool> {
        let mut rng = cl_core::rng(self.seed, &format!("xdg/{task}/{layer}"));
        let mut order: Vec<usize> = (0..units).collect();
        let mut open = vec![true; units];
        // The first draws of a Fisher-Yates shuffle. The bounds are u64: the same on every machine.
        for i in 0..self.silent(units) {
            let j = rng.random_range(i as u64..units as u64) as usize;
            order.swap(i, j);
            open[order[i]] = false;
        }
        open
    }

    /// `h` (n, units), or feature maps (n, channels, ..), with the silent units of this task and layer times
    /// zero and the others times one. Floating point of any kind; differentiable: nothing flows back
    /// into silent units.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where `h` has less than two dimensions; candle's on a dtype that is no floating
    /// point.
    pub fn gate(&self, h: &Tensor, task: usize, layer: usize) -> Result<Tensor> {
        let [_, units, rest @ ..] = h.dims() else {
            return Err(Error::mismatch("gate", "h of (n, units, ..)", format!("{:?}", h.dims())));
        };
        let open: Vec<f64> = self.open(task, layer, *units).into_iter().map(f64::from).collect();
        let shape = [&[1, *units], vec![1; rest.len()].as_slice()].concat();
        let mask = Tensor::from_vec(open, shape, h.device())?.to_dtype(h.dtype())?;
        Ok(h.broadcast_mul(&mask)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pins the draws: the gates of a network trained last year must open the same units next year.
    #[test]
    fn draws_are_pinned() -> Result<()> {
        let gates = Gates::new(0.5, 0)?;
        let text = |task, layer| -> String {
            gates.open(task, layer, 16).into_iter().map(|open| if open { '1' } else { '0' }).collect()
        };
        assert_eq!(
            [text(0, 0), text(1, 0), text(0, 1)],
            ["0100100110101011", "1100100101110010", "1010010100101101"]
        );
        Ok(())
    }
}
