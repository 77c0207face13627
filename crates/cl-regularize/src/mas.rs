//! Memory aware synapses (Aljundi et al. 2018): a parameter matters as much as the outputs depend on it.

use candle_core::{Module, Tensor};
use cl_core::{Error, Params, Quadratic, Result, Units};
use cl_nn::PerSample;
use serde::{Deserialize, Serialize};

/// Samples that go through the network at a time.
const CHUNK: usize = 256;

/// How to estimate how much the outputs F(x) depend on a parameter; no labels are needed, but for the block of units of
/// a sample where each task has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensitivity {
    /// The mean over samples of |∂‖F(x)‖²/∂θ| (equations 2 and 3), of the active units.
    PerSample,
    /// The mean over minibatches of this size of |∂L/∂θ|, with L the mean of F² over the samples and active units of a
    /// minibatch (Hsu et al. 2018): smaller, since gradients of samples cancel and units are averaged.
    Batched(usize),
}

impl Sensitivity {
    /// The estimate for each trainable parameter, in order. The network is not changed. `x` (n, inputs), `y` (n)
    /// target units.
    ///
    /// # Errors
    /// No samples; minibatches of 0.
    pub fn estimate<N: PerSample + Module>(
        self,
        net: &N,
        x: &Tensor,
        y: &Tensor,
        units: Units,
    ) -> Result<Vec<Tensor>> {
        let n = x.dim(0)?;
        if n == 0 || y.dims() != [n] {
            let got = format!("{n} samples and targets {:?}", y.dims());
            return Err(Error::mismatch("sensitivity", "samples, and a target for each", got));
        }
        let size = match self {
            Self::PerSample => CHUNK,
            Self::Batched(0) => return Err(Error::invalid("sensitivity", "minibatches of 0 samples")),
            Self::Batched(size) => size,
        };
        let mut sums: Option<Vec<Tensor>> = None;
        for start in (0..n).step_by(size) {
            let len = size.min(n - start);
            let (x, y) = (x.narrow(0, start, len)?, y.narrow(0, start, len)?.to_vec1::<u32>()?);
            let found = match self {
                Self::PerSample => {
                    net.absolute_gradients(&x, &mut |z| Ok((z * (active(z, &y, units)? * 2.0)?)?))?
                }
                Self::Batched(_) => {
                    let z = net.forward(&x)?;
                    let mask = active(&z, &y, units)?;
                    let count = mask.sum_all()?.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
                    let loss = ((z * mask)?.sqr()?.sum_all()? / count)?;
                    let gradients = net.params().gradients(&loss.backward()?)?;
                    gradients.iter().map(Tensor::abs).collect::<Result<_, _>>()?
                }
            };
            sums = Some(match sums {
                None => found,
                Some(sums) => {
                    sums.iter().zip(&found).map(|(sum, new)| sum + new).collect::<Result<_, _>>()?
                }
            });
        }
        let count = if self == Self::PerSample { n } else { n.div_ceil(size) };
        sums.into_iter().flatten().map(|sum| Ok((sum / count as f64)?)).collect()
    }
}

/// 1 at the active units of each sample, 0 elsewhere: shaped as the outputs.
fn active(outputs: &Tensor, targets: &[u32], units: Units) -> Result<Tensor> {
    let (n, width) = outputs.dims2()?;
    let mut mask = vec![0f32; n * width];
    for (row, &target) in mask.chunks_exact_mut(width.max(1)).zip(targets) {
        row[units.range(target as usize, width)].fill(1.0);
    }
    Ok(Tensor::from_vec(mask, (n, width), outputs.device())?.to_dtype(outputs.dtype())?)
}

/// λ Σ Ω(θ−θ*)² (equation 4), Ω the sum of the sensitivities after each task, or one that decays.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mas {
    lambda: f64,
    decay: f64,
    bowls: Vec<Vec<Quadratic>>,
}

impl Mas {
    /// Without a penalty until the first [`consolidate`](Self::consolidate).
    ///
    /// # Errors
    /// A negative λ.
    pub fn new(lambda: f64) -> Result<Self> {
        Self::with_decay(lambda, 1.0)
    }

    /// The same with Ω ← decay·Ω + what a task adds: with 0 the last task's alone, as in the code of Chaudhry et al. 2019.
    ///
    /// # Errors
    /// A negative λ; a decay outside of [0, 1].
    pub fn with_decay(lambda: f64, decay: f64) -> Result<Self> {
        crate::check_coefficients(&[("lambda", lambda)])?;
        if !(0.0..=1.0).contains(&decay) {
            return Err(Error::invalid("decay", format!("{decay} is not within 0 and 1")));
        }
        Ok(Self { lambda, decay, bowls: Vec::new() })
    }

    /// λ, as it is configured.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// λ Σ Ω(θ−θ*)²: a scalar to add to the loss, 0 before the first task ends.
    pub fn penalty(&self, params: &Params) -> Result<Tensor> {
        crate::penalty(params, &self.bowls, 2.0 * self.lambda)
    }

    /// After a task: Ω ← decay·Ω + what was found now, θ* ← θ. The parameters are not changed.
    ///
    /// # Errors
    /// Another number of tensors, another shape or dtype; nothing is changed then.
    pub fn consolidate(&mut self, params: &Params, sensitivity: Vec<Tensor>) -> Result<()> {
        crate::check_tensors("consolidate", params, &sensitivity)?;
        let bowl = |(i, (anchor, new)): (usize, (Tensor, Tensor))| -> Result<Vec<Quadratic>> {
            let importance = match self.bowls.get(i) {
                Some(before) => ((&before[0].importance * self.decay)? + new)?,
                None => new,
            };
            Ok(vec![Quadratic { importance, anchor }])
        };
        let bowls =
            params.values()?.into_iter().zip(sensitivity).enumerate().map(bowl).collect::<Result<_>>()?;
        self.bowls = bowls;
        Ok(())
    }

    /// Ω of each trainable parameter; nothing before the first task ends.
    pub fn importance(&self) -> impl Iterator<Item = &Tensor> {
        self.bowls.iter().map(|bowls| &bowls[0].importance)
    }
}
