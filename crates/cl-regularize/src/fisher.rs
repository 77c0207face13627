//! The diagonal of the Fisher information.

use candle_core::{DType, Module, Tensor};
use cl_core::{Error, Params, Result, Rng, TensorOps, Units};
use cl_nn::PerSample;
use rand::Rng as _;
use rand::seq::index;
use serde::{Deserialize, Serialize};

/// Samples that go through the network at a time.
const CHUNK: usize = 256;

/// How to estimate Fᵢ = 𝔼ₓ 𝔼_{y∼p(y|x)} (∂ log p(y|x)/∂θᵢ)². The estimators differ, and the difference
/// decides whether EWC works (van den Broek & van de Ven 2025): published λ belong to one of them.
///
/// All are means over samples, so that a data set listed twice has the Fisher information of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fisher {
    /// The expectation over the active classes, under the network's own probabilities (van de Ven et al.).
    Exact,
    /// The same on this many samples, drawn without replacement.
    ExactOn(usize),
    /// One class per sample, drawn from the network's probabilities.
    Sampled,
    /// The true class: the "empirical Fisher", which is no Fisher information.
    Empirical,
    /// The true class, weighted by the network's probability of it: one term of the sum of [`Exact`](Self::Exact)
    /// (Mammoth).
    Weighted,
    /// The most probable class (Hsu et al. 2018).
    Predicted,
    /// The square of the mean gradient of a minibatch of this size with true classes (Avalanche,
    /// SequeL): smaller than [`Empirical`](Self::Empirical) by about the size of the minibatch.
    Batched(usize),
}

impl Fisher {
    /// The estimate for each trainable parameter, in order, without a loop over samples. The network is
    /// not changed. `x` (n, inputs), `y` (n) target units: they are read for the true class, and for the
    /// block of units where those are active.
    ///
    /// # Errors
    /// No samples, or an estimator that asks for 0 of them; a target that is not an active unit.
    pub fn estimate<N: PerSample + Module>(
        self,
        net: &N,
        x: &Tensor,
        y: &Tensor,
        units: Units,
        rng: &mut Rng,
    ) -> Result<Vec<Tensor>> {
        let (x, y) = self.subset(x, y, rng)?;
        let n = x.dim(0)?;
        let params = net.params();
        let sums =
            params.trainable().map(|p| p.var.as_tensor().zeros_like()).collect::<Result<Vec<_>, _>>()?;
        if let Self::Batched(batch) = self {
            return batched(params, |x| Ok(net.forward(x)?), &x, &y, units, batch);
        }
        for start in (0..n).step_by(CHUNK) {
            let len = CHUNK.min(n - start);
            let (x, y) = (x.narrow(0, start, len)?, y.narrow(0, start, len)?.to_vec1::<u32>()?);
            net.add_squared_gradients(&x, &mut |logits| self.losses(logits, &y, units, rng), &sums)?;
        }
        sums.iter().map(|sum| Ok((sum / n as f64)?)).collect()
    }

    /// The same for any network that candle can differentiate, by one backward pass for each sample
    /// (and class): slow, and the reference for [`estimate`](Self::estimate).
    pub fn estimate_by_loop(
        self,
        params: &Params,
        forward: impl Fn(&Tensor) -> Result<Tensor>,
        x: &Tensor,
        y: &Tensor,
        units: Units,
        rng: &mut Rng,
    ) -> Result<Vec<Tensor>> {
        let (x, y) = self.subset(x, y, rng)?;
        if let Self::Batched(batch) = self {
            return batched(params, forward, &x, &y, units, batch);
        }
        let n = x.dim(0)?;
        let sums =
            params.trainable().map(|p| p.var.as_tensor().zeros_like()).collect::<Result<Vec<_>, _>>()?;
        let targets = y.to_vec1::<u32>()?;
        for (i, &target) in targets.iter().enumerate() {
            let logits = forward(&x.narrow(0, i, 1)?)?;
            for (class, weight) in self.classes(&logits.detach(), target, units, rng)? {
                let class = Tensor::new(&[class as u32], x.device())?;
                let gradients = params.gradients(&logits.cross_entropy(&class, units, None)?.backward()?)?;
                let scale = weight / n as f64;
                Tensor::accumulate_sq_all(&crate::refs(&sums), &crate::refs(&gradients), 1.0, scale)?;
            }
        }
        Ok(sums)
    }

    /// The samples that this estimator looks at.
    fn subset(self, x: &Tensor, y: &Tensor, rng: &mut Rng) -> Result<(Tensor, Tensor)> {
        let n = x.dim(0)?;
        if n == 0 || y.dims() != [n] || y.dtype() != DType::U32 {
            return Err(Error::mismatch(
                "fisher",
                "samples, and a u32 target for each",
                format!("{n} samples and targets {:?} {:?}", y.dtype(), y.dims()),
            ));
        }
        match self {
            Self::ExactOn(0) | Self::Batched(0) => {
                Err(Error::invalid("fisher", "no mean can be taken over 0 samples"))
            }
            Self::ExactOn(m) if m < n => {
                let rows: Vec<u32> = index::sample(rng, n, m).into_iter().map(|row| row as u32).collect();
                let rows = Tensor::from_vec(rows, m, x.device())?;
                Ok((x.index_select(&rows, 0)?, y.index_select(&rows, 0)?))
            }
            _ => Ok((x.clone(), y.clone())),
        }
    }

    /// The classes whose gradients are squared for one sample, and their weights.
    fn classes(self, logits: &Tensor, target: u32, units: Units, rng: &mut Rng) -> Result<Vec<(usize, f64)>> {
        let logits = logits.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        self.choose(&logits, target, units, rng)
    }

    fn choose(self, logits: &[f64], target: u32, units: Units, rng: &mut Rng) -> Result<Vec<(usize, f64)>> {
        let range = units.range(target as usize, logits.len());
        if !range.contains(&(target as usize)) {
            return Err(Error::invalid(
                "fisher targets",
                format!("{target} is not an active unit ({units:?})"),
            ));
        }
        let p = softmax(&logits[range.clone()]);
        Ok(match self {
            Self::Exact | Self::ExactOn(_) => range.zip(p).collect(),
            Self::Empirical | Self::Batched(_) => vec![(target as usize, 1.0)],
            Self::Weighted => {
                let target = target as usize;
                vec![(target, p[target - range.start])]
            }
            Self::Predicted => {
                let best = p.iter().enumerate().fold(0, |best, (i, &q)| if q > p[best] { i } else { best });
                vec![(range.start + best, 1.0)]
            }
            Self::Sampled => {
                let mut left = rng.random::<f64>();
                let drawn = p.iter().position(|&q| {
                    left -= q;
                    left < 0.0
                });
                vec![(range.start + drawn.unwrap_or(p.len() - 1), 1.0)]
            }
        })
    }

    /// √weight · ∂(−log p(class))/∂logits of every sample and class: (n, c, outputs).
    fn losses(self, logits: &Tensor, targets: &[u32], units: Units, rng: &mut Rng) -> Result<Tensor> {
        let (n, outputs) = logits.dims2()?;
        let rows = logits.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        let mut chosen = Vec::with_capacity(n);
        for (row, &target) in rows.iter().zip(targets) {
            chosen.push(self.choose(row, target, units, rng)?);
        }
        let most = chosen.iter().map(Vec::len).max().unwrap_or(0);
        let mut losses = vec![0f64; n * most * outputs];
        for (i, (row, classes)) in rows.iter().zip(&chosen).enumerate() {
            let range = units.range(targets[i] as usize, outputs);
            let p = softmax(&row[range.clone()]);
            for (c, &(class, weight)) in classes.iter().enumerate() {
                let start = (i * most + c) * outputs;
                let loss = &mut losses[start..start + outputs];
                let root = weight.sqrt();
                for (unit, p) in range.clone().zip(&p) {
                    loss[unit] = root * (p - f64::from(u8::from(unit == class)));
                }
            }
        }
        Ok(Tensor::from_vec(losses, (n, most, outputs), logits.device())?.to_dtype(logits.dtype())?)
    }
}

fn batched(
    params: &Params,
    forward: impl Fn(&Tensor) -> Result<Tensor>,
    x: &Tensor,
    y: &Tensor,
    units: Units,
    batch: usize,
) -> Result<Vec<Tensor>> {
    let n = x.dim(0)?;
    let sums = params.trainable().map(|p| p.var.as_tensor().zeros_like()).collect::<Result<Vec<_>, _>>()?;
    for start in (0..n).step_by(batch) {
        let len = batch.min(n - start);
        let loss =
            forward(&x.narrow(0, start, len)?)?.cross_entropy(&y.narrow(0, start, len)?, units, None)?;
        // Weighted by its samples, so that a short last minibatch counts for what it is.
        let gradients = params.gradients(&loss.backward()?)?;
        let scale = len as f64 / n as f64;
        Tensor::accumulate_sq_all(&crate::refs(&sums), &crate::refs(&gradients), 1.0, scale)?;
    }
    Ok(sums)
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exp: Vec<f64> = logits.iter().map(|z| (z - max).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.into_iter().map(|e| e / sum).collect()
}
