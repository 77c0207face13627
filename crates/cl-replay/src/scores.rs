//! What a sample is worth: scores of the samples of a batch, as functions on plain tensors.
//!
//! | score | is high where |
//! |---|---|
//! | [`gradient_norm`] | the loss of the sample would move the parameters far |
//! | [`entropy`], [`mc_entropy`] | the network is undecided about the sample |
//! | [`novelty`], [`spread`] | no other sample has similar features |
//!
//! Each gives one number a sample, (n); [`Scored`](crate::Scored) takes them with the batch.
//!
//! Gradients of a sample are never formed: for a linear layer they are the outer product of its output
//! gradient and its input, and everything here follows from the two, [`LayerGradients`].
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use cl_replay::scores::{self, LayerGradients};
//!
//! // One layer, no hidden ones: logits z = xWᵀ + b, and the cross-entropy's ∂ℓ/∂z = softmax(z) − onehot.
//! let x = Tensor::new(&[[3f32, 4.0], [0.0, 0.0]], &Device::Cpu)?;
//! let deltas = Tensor::new(&[[0.5f32, -0.5], [0.5, -0.5]], &Device::Cpu)?;
//! let layer = LayerGradients { inputs: x, deltas, bias: true };
//! let norms = scores::gradient_norm(&[layer])?.to_vec1::<f32>()?;
//! assert!((norms[0] - 13f32.sqrt()).abs() < 1e-6 && (norms[1] - 0.5f32.sqrt()).abs() < 1e-6);
//!
//! let logits = Tensor::new(&[[0f32, 0.0], [9.0, -9.0]], &Device::Cpu)?;
//! let entropy = scores::entropy(&logits)?.to_vec1::<f32>()?; // in nats
//! assert!((entropy[0] - 2f32.ln()).abs() < 1e-6 && entropy[1] < 1e-6);
//! # Ok::<(), cl_core::Error>(())
//! ```

use candle_core::{DType, Device, Tensor};
use cl_core::{Error, Result, TensorOps};

use crate::neighbours::{BruteForce, Neighbours as _};

/// What the gradients of the samples of a batch are made of, in one linear layer: sample n's gradient for
/// the weight is the outer product δₙ aₙᵀ, for the bias δₙ.
#[derive(Debug, Clone)]
pub struct LayerGradients {
    /// a (n, in), what came into the layer.
    pub inputs: Tensor,
    /// δ (n, out), the gradient of each sample's own loss for what came out, before any activation.
    pub deltas: Tensor,
    /// Whether the layer has a bias.
    pub bias: bool,
}

/// ‖∇θ ℓₙ‖ of each sample over all `layers`: (n).
///
/// # Errors
/// No layers; layers that differ in n; candle's own.
pub fn gradient_norm(layers: &[LayerGradients]) -> Result<Tensor> {
    Ok(squared_norm(layers)?.sqrt()?)
}

/// The products ⟨∇ℓₙ, ∇ℓₘ⟩ of the gradients of every sample of `a` and every one of `b`, over the same layers: (n of a, n of b).
/// What the gradient of a mean loss has with another follows from them: sums over the samples of both.
///
/// ⟨δₙ aₙᵀ, δₘ aₘᵀ⟩ = ⟨δₙ, δₘ⟩ ⟨aₙ, aₘ⟩, so that each layer is two small matrix products.
///
/// # Errors
/// [`Error::Mismatch`] on another number of layers, or where one of them has another bias; candle's own.
pub fn gradient_products(a: &[LayerGradients], b: &[LayerGradients]) -> Result<Tensor> {
    let biases = |layers: &[LayerGradients]| layers.iter().map(|layer| layer.bias).collect::<Vec<_>>();
    if biases(a) != biases(b) {
        return Err(Error::mismatch(
            "gradient_products",
            format!("layers with biases {:?}", biases(a)),
            format!("{:?}", biases(b)),
        ));
    }
    let mut products: Option<Tensor> = None;
    for (a, b) in a.iter().zip(b) {
        let inputs = a.inputs.matmul(&b.inputs.t()?)?;
        let inputs = if a.bias { (inputs + 1.0)? } else { inputs };
        let product = (a.deltas.matmul(&b.deltas.t()?)? * inputs)?;
        products = Some(products.map_or(Ok(product.clone()), |sum| sum + product)?);
    }
    products.ok_or_else(no_layers)
}

/// The cosine of the angle between the gradients of every sample of `a` and every one of `b`, over the same
/// layers: (n of a, n of b). Where a gradient is zero, the cosine is 0.
///
/// # Errors
/// As [`gradient_products`].
pub fn gradient_cosine(a: &[LayerGradients], b: &[LayerGradients]) -> Result<Tensor> {
    let products = gradient_products(a, b)?;
    angles(&products, (squared_norm(a)?.sqrt()?, squared_norm(b)?.sqrt()?))
}

/// The same for gradients of any network, one row each: `a` (n, parameters), `b` (m, parameters) → (n, m).
///
/// # Errors
/// candle's own, on other shapes.
pub fn cosine(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let norm = |t: &Tensor| t.sqr()?.sum(1)?.sqrt();
    angles(&a.matmul(&b.t()?)?, (norm(a)?, norm(b)?))
}

/// products / (norms ⊗ norms), 0 where a norm is 0.
fn angles(products: &Tensor, (a, b): (Tensor, Tensor)) -> Result<Tensor> {
    let inverse = |norm: Tensor| norm.eq(0.0)?.where_cond(&norm.zeros_like()?, &norm.recip()?);
    let scaled = products.broadcast_mul(&inverse(a)?.unsqueeze(1)?)?;
    Ok(scaled.broadcast_mul(&inverse(b)?.unsqueeze(0)?)?.clamp(-1.0, 1.0)?)
}

/// ‖∇θ ℓₙ‖² of each sample over all `layers`: (n).
///
/// # Errors
/// As [`gradient_norm`].
pub fn squared_norm(layers: &[LayerGradients]) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for layer in layers {
        let norm = layer.inputs.per_sample_norm_sq(&layer.deltas, layer.bias)?;
        sum = Some(sum.map_or(Ok(norm.clone()), |sum| sum + norm)?);
    }
    sum.ok_or_else(no_layers)
}

fn no_layers() -> Error {
    Error::invalid("layers", "a gradient has at least one layer")
}

/// The entropy −Σ p ln p of softmax(`logits`), in nats: (n, classes) → (n). A logit of −∞ is a class that
/// takes no part.
///
/// # Errors
/// [`Error::Mismatch`] where the logits are not a matrix, [`Error::Invalid`] on a NaN, on +∞, and on a row
/// of −∞ only, all of which come out of a network that has diverged.
pub fn entropy(logits: &Tensor) -> Result<Tensor> {
    mc_entropy(std::slice::from_ref(logits))
}

/// The entropy of the mean of several passes over the same samples, with dropout left on (Gal and Ghahramani
/// 2016): passes of logits, (n, classes) each → (n), in nats. The probabilities are averaged, not the
/// logits.
///
/// # Errors
/// As [`entropy`]; no passes, or passes of different shapes.
pub fn mc_entropy(passes: &[Tensor]) -> Result<Tensor> {
    let Some(first) = passes.first() else {
        return Err(Error::invalid("mc_entropy", "at least one pass is needed"));
    };
    let mut mean = Rows::new("logits", first)?.softmax()?;
    for pass in &passes[1..] {
        if pass.dims() != first.dims() {
            let (expected, got) = (format!("passes of {:?}", first.dims()), format!("{:?}", pass.dims()));
            return Err(Error::mismatch("mc_entropy", expected, got));
        }
        let probabilities = Rows::new("logits", pass)?.softmax()?;
        mean.values.iter_mut().zip(probabilities.values).for_each(|(mean, p)| *mean += p);
    }
    mean.values.iter_mut().for_each(|p| *p /= passes.len() as f64);
    mean.entropy(first)
}

/// The entropy of `probabilities` (n, classes) → (n), in nats. For several passes, give their mean.
///
/// # Errors
/// [`Error::Mismatch`] where they are not a matrix, [`Error::Invalid`] on a row that has a negative value or
/// does not add up to 1 within 1e-3: then they are logits.
pub fn entropy_of_probabilities(probabilities: &Tensor) -> Result<Tensor> {
    let rows = Rows::new("probabilities", probabilities)?;
    for (i, row) in rows.each().enumerate() {
        let sum: f64 = row.iter().sum();
        // Also false where there is a NaN.
        if !(row.iter().all(|&p| p >= 0.0) && (sum - 1.0).abs() < 1e-3) {
            return Err(Error::invalid(
                "probabilities",
                format!("row {i} is {row:?}, which is no distribution; give logits to `entropy`"),
            ));
        }
    }
    rows.entropy(probabilities)
}

/// The distance of each of `features` (n, d) to the nearest of `memory` (m, d): (n). To ask the same memory
/// again and again, keep an index: [`neighbours`](crate::neighbours::neighbours).
///
/// # Errors
/// [`Error::Mismatch`] where the two differ in d, [`Error::Invalid`] on an empty memory and on a feature that
/// is not finite.
pub fn novelty(features: &Tensor, memory: &Tensor) -> Result<Tensor> {
    let nearest = index(memory)?.nearest(features)?;
    let distances: Vec<f32> = nearest.iter().map(|found| found.distance as f32).collect();
    Ok(Tensor::from_vec(distances, nearest.len(), &Device::Cpu)?)
}

/// The distance of each of `features` (n, d) to the nearest other one of them: (n). The novelty of what a
/// memory holds already.
///
/// # Errors
/// As [`novelty`], and on a single row.
pub fn spread(features: &Tensor) -> Result<Tensor> {
    let mut distances = Vec::new();
    for (own, nearest) in (0..).zip(index(features)?.k_nearest(features, 2)?) {
        let other = nearest.iter().find(|found| found.id != own);
        let other = other.ok_or_else(|| Error::invalid("spread", "one sample alone has no nearest other"))?;
        distances.push(other.distance as f32);
    }
    let n = distances.len();
    Ok(Tensor::from_vec(distances, n, &Device::Cpu)?)
}

fn index(features: &Tensor) -> Result<BruteForce> {
    let (n, d) = features.dims2().map_err(|_| {
        Error::mismatch("features", "one row a sample, (n, d)", format!("{:?}", features.dims()))
    })?;
    let mut index = BruteForce::new(d)?;
    index.insert(&(0..n as u64).collect::<Vec<_>>(), features)?;
    Ok(index)
}

/// A matrix on the host, in f64.
struct Rows {
    what: &'static str,
    classes: usize,
    values: Vec<f64>,
}

impl Rows {
    fn new(what: &'static str, matrix: &Tensor) -> Result<Self> {
        let classes = match matrix.dims() {
            &[_, classes] if classes > 0 => classes,
            dims => return Err(Error::mismatch(what, "(n, classes)", format!("{dims:?}"))),
        };
        Ok(Self { what, classes, values: matrix.to_dtype(DType::F64)?.flatten_all()?.to_vec1()? })
    }

    fn each(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.classes)
    }

    fn softmax(mut self) -> Result<Self> {
        for (i, row) in self.values.chunks_exact_mut(self.classes).enumerate() {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if !largest.is_finite() || row.iter().any(|z| z.is_nan()) {
                return Err(Error::invalid(self.what, format!("row {i} is {row:?}")));
            }
            row.iter_mut().for_each(|z| *z = (*z - largest).exp());
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= sum);
        }
        Ok(self)
    }

    /// In the dtype and on the device of what they came from.
    fn entropy(&self, like: &Tensor) -> Result<Tensor> {
        let term = |&p: &f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
        let entropy: Vec<f64> = self.each().map(|row| row.iter().map(term).sum()).collect();
        let n = entropy.len();
        Ok(Tensor::from_vec(entropy, n, like.device())?.to_dtype(like.dtype())?)
    }
}
