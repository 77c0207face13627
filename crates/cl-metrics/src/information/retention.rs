//! I(θ;D): how many bits of the labels of D a model saves.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use candle_core::{DType, Tensor};
use cl_core::{Error, Result, Units};

/// Information retention I(θ;D) = H(D) − H(D|θ), in bits per sample, of data fed in chunks.
///
/// | term | is |
/// |---|---|
/// | H(D) | −Σ_y p(y) log₂ p(y), the entropy of the labels, p(y) their frequencies in D |
/// | H(D\|θ) | −(1/n) Σᵢ log₂ p(yᵢ\|xᵢ,θ), p the softmax over the active units |
///
/// With [`Units::Block`] the task of a sample is given, so H(D) is the entropy of the label within its block:
/// H(D) = −Σ_y p(y) log₂ p(y | block of y). For the samples of one task that is the same number.
///
/// - A model that knows D has I = H(D): 1 bit for two classes, log₂ 10 = 3.32 for ten, each as frequent.
/// - A model that knows the frequencies alone has I = 0, as has the uniform softmax on balanced labels.
/// - **I can be negative, without bound**: a model that is sure and wrong is worse than one that knows nothing.
///   So is one that forgot: it gives the labels of an old task to its new classes.
///
/// The frequencies are those of D itself, so on few samples I is a little too small: H(D) is underestimated, by
/// about (classes − 1)/(2n ln 2) bits. This is the predictive information of Xu et al. 2020 ("A theory of usable
/// information under computational constraints") for this one model, not Shannon's between θ and D, which no
/// single θ has.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_core::Units;
/// use cl_metrics::Retention;
///
/// let mut known = Retention::new(Units::All);
/// for _ in 0..3 {
///     let logits = Tensor::new(&[[9f32, -9.], [-9., 9.]], &Device::Cpu)?;
///     known.add(&logits, &Tensor::new(&[0u32, 1], &Device::Cpu)?)?;
/// }
/// assert_eq!(known.samples(), 6);
/// assert!((known.bits()? - 1.0).abs() < 1e-6);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Retention {
    units: Units,
    /// Width of the output layer, once known.
    outputs: Option<usize>,
    labels: BTreeMap<u32, u64>,
    /// Σ −log₂ p(yᵢ|xᵢ,θ).
    surprise: f64,
}

impl Retention {
    /// Of nothing yet. The same `units` hold for all of D.
    pub fn new(units: Units) -> Self {
        Self { units, outputs: None, labels: BTreeMap::new(), surprise: 0.0 }
    }

    /// Adds samples: `logits` (n, outputs) of any float dtype, `targets` (n) u32, numbers of output units.
    ///
    /// Sums are in f64, the logarithm is of the softmax as a whole (log-sum-exp): no logit is too large. A
    /// logit of −∞ is a unit that the model rules out; it may not be the target.
    ///
    /// # Errors
    /// An empty chunk; other shapes or dtypes; another number of outputs than before; a target that is not an
    /// active unit; logits for which a target has no finite probability (NaN, +∞). Nothing is added then.
    pub fn add(&mut self, logits: &Tensor, targets: &Tensor) -> Result<()> {
        let (n, outputs) = logits.dims2()?;
        if targets.dims() != [n] || targets.dtype() != DType::U32 {
            return Err(Error::mismatch(
                "retention",
                format!("targets U32 [{n}]"),
                format!("{:?} {:?}", targets.dtype(), targets.dims()),
            ));
        }
        if n == 0 {
            return Err(Error::invalid("retention", "the chunk is empty; leave it out"));
        }
        if let Some(before) = self.outputs
            && before != outputs
        {
            return Err(Error::mismatch(
                "retention",
                format!("{before} outputs, as before"),
                outputs.to_string(),
            ));
        }
        let rows = logits.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        // Filled aside, so that an error in the middle of a chunk leaves nothing of it.
        let mut next = self.clone();
        next.outputs = Some(outputs);
        for (i, (row, y)) in rows.iter().zip(targets.to_vec1::<u32>()?).enumerate() {
            let active = self.units.range(y as usize, outputs);
            if !active.contains(&(y as usize)) {
                return Err(Error::invalid(
                    "retention targets",
                    format!(
                        "{y} of sample {i} is not an active unit ({:?} of {outputs} outputs)",
                        self.units
                    ),
                ));
            }
            let bits = surprise(&row[active], row[y as usize]);
            if !bits.is_finite() {
                return Err(Error::invalid(
                    "retention logits",
                    format!("the label of sample {i} has no finite probability; look for NaN or infinity"),
                ));
            }
            next.surprise += bits;
            *next.labels.entry(y).or_default() += 1;
        }
        *self = next;
        Ok(())
    }

    /// n, the samples so far.
    pub fn samples(&self) -> u64 {
        self.labels.values().sum()
    }

    /// H(D), in bits: what there is to know of a label.
    ///
    /// # Errors
    /// No samples.
    pub fn label_entropy(&self) -> Result<f64> {
        let n = self.some()?;
        let block = |y: u32| self.units.range(y as usize, self.outputs.unwrap_or(0)).start;
        let mut blocks = BTreeMap::<usize, u64>::new();
        for (&y, &count) in &self.labels {
            *blocks.entry(block(y)).or_default() += count;
        }
        // log₂(block / count) ≥ 0, so that a single class gives 0 and not −0.
        let terms = self.labels.iter().map(|(&y, &count)| {
            let count = count as f64;
            count / n * (blocks[&block(y)] as f64 / count).log2()
        });
        Ok(terms.sum())
    }

    /// H(D|θ), in bits: what of it the model does not know. At least 0, without an upper bound.
    ///
    /// # Errors
    /// No samples.
    pub fn model_entropy(&self) -> Result<f64> {
        Ok(self.surprise / self.some()?)
    }

    /// I(θ;D) = H(D) − H(D|θ), in bits per sample: at most H(D), negative where the model is worse than the
    /// frequencies of the labels.
    ///
    /// # Errors
    /// No samples.
    pub fn bits(&self) -> Result<f64> {
        Ok(self.label_entropy()? - self.model_entropy()?)
    }

    fn some(&self) -> Result<f64> {
        match self.samples() {
            0 => Err(Error::invalid("retention", "there are no samples to know anything of; add some")),
            n => Ok(n as f64),
        }
    }
}

/// I(θ;D) in bits per sample, of data in one piece: `logits` (n, outputs), `targets` (n) u32. See [`Retention`].
///
/// # Errors
/// As [`Retention::add`].
pub fn retention(logits: &Tensor, targets: &Tensor, units: Units) -> Result<f64> {
    let mut all = Retention::new(units);
    all.add(logits, targets)?;
    all.bits()
}

/// −log₂ softmax(active)[target].
fn surprise(active: &[f64], target: f64) -> f64 {
    let max = active.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = active.iter().map(|z| (z - max).exp()).sum();
    ((max - target) + sum.ln()) / LN_2
}
