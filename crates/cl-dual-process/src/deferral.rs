//! A rule of deferral that is learned after both systems are trained, from rows that neither has seen.
//!
//! The best rule sends a row on where P(System 2 right | row) − P(System 1 right | row) is above what it costs (Jitkrittum et al.
//! 2023, proposition 3.1). Max-softmax stands for the second term and takes the first to be the same everywhere, which fails with noisy
//! labels, with a System 2 that knows some classes only, and where the data shift. Their post-hoc rules fit the difference of two
//! losses, of which few are not 0 where both systems are good. Here both terms are fitted:
//!
//! - P(y | row), by a small network on System 1's log-probabilities and features, trained with the labels. P(System 1 right)
//!   is its probability of System 1's class. A label says more than whether an answer is right, so that fewer rows are needed.
//! - P(System 2 right | row), by logistic regression on that posterior and the same inputs.

use candle_core::{DType, Device, Tensor, Var};
use cl_core::init::Init;
use cl_core::{Activation, AdamStep, Error, Result, Rng, TensorOps, Units};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::confidence::Score;
use crate::rows::{Rows, argmax, check_labels, log_softmax};
use crate::system::First;

/// Added to probabilities before their logarithm is an input.
const FLOOR: f64 = 1e-6;

/// The same for the largest of the posterior.
const POSTERIOR_FLOOR: f64 = 1e-4;

/// How many of the largest of the posterior are inputs by their logarithm.
const LARGEST: usize = 3;

/// Rows below which nothing is learned.
const LEAST: usize = 64;

/// How a [`LearnedRule`] is fitted, by AdamW with a learning rate that falls along a cosine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnedRuleConfig {
    /// Hidden units of the posterior.
    pub hidden: usize,
    /// Passes over the rows.
    pub epochs: usize,
    /// Rows of a step.
    pub batch: usize,
    /// The learning rate it begins with.
    pub lr: f64,
    /// Decay of the posterior's weights; biases do not decay.
    pub weight_decay: f64,
    /// Decay of the weights that predict System 2: more, where it is seldom wrong.
    pub slow_weight_decay: f64,
}

impl Default for LearnedRuleConfig {
    fn default() -> Self {
        Self { hidden: 32, epochs: 30, batch: 128, lr: 3e-3, weight_decay: 0.1, slow_weight_decay: 1.0 }
    }
}

/// See the [module](self). Its score is the gain that is expected of deferring, between −1 and 1: a threshold on it is the price of
/// System 2's answer in units of accuracy.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_dual_process::{First, LearnedRule, LearnedRuleConfig, Score, right};
///
/// // System 1 says a or b by the sign of x; System 2 knows that beyond ±1 it is the other way round.
/// let x: Vec<f32> = (0..400).map(|i| (i as f32 - 199.5) / 100.0).collect();
/// let label = |x: &f32| u32::from((*x > 0.0) != (x.abs() > 1.0));
/// let labels: Vec<u32> = x.iter().map(label).collect();
/// let x = Tensor::from_vec(x, (400, 1), &Device::Cpu)?;
/// let first = First { logits: Tensor::cat(&[&x.neg()?, &x], 1)?, features: Some(x.clone()), x };
/// let second = vec![true; 400]; // which rows System 2 has right
/// let config = LearnedRuleConfig { weight_decay: 0.0, epochs: 100, batch: 32, ..Default::default() };
/// let rule = LearnedRule::fit(&first, &labels, &second, config, &mut cl_core::rng(0, "rule"))?;
/// let gain = rule.scores(&first)?;
/// assert!(gain[0] > 0.5 && gain[399] > 0.5, "far out, where max-softmax is most sure");
/// assert!(gain[150] < 0.5 && gain[250] < 0.5);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LearnedRule {
    classes: usize,
    features: usize,
    /// What is taken from each input, and what it is divided by.
    centre: Vec<f64>,
    scale: Vec<f64>,
    hidden: Layer,
    output: Layer,
    slow: Layer,
}

/// Weight (out, in) and bias (out).
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Layer {
    #[serde(with = "cl_core::snapshot::tensor")]
    weight: Var,
    #[serde(with = "cl_core::snapshot::tensor")]
    bias: Var,
}

impl Layer {
    fn new(inputs: usize, outputs: usize, rng: &mut Rng) -> Result<Self> {
        let weight = Init::FanIn.var((outputs, inputs), DType::F32, &Device::Cpu, rng)?;
        let bias = Init::Zeros.var(outputs, DType::F32, &Device::Cpu, rng)?;
        Ok(Self { weight, bias })
    }

    fn forward(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        x.linear(&self.weight, Some(self.bias.as_tensor()), activation)
    }

    fn multiply_adds(&self) -> u64 {
        self.weight.elem_count() as u64
    }

    fn vars(&self) -> [&Var; 2] {
        [&self.weight, &self.bias]
    }
}

impl LearnedRule {
    /// Fits it to System 1's answers and features on held-out rows, their labels (n), and which of them System 2 has
    /// [right](crate::right).
    ///
    /// Rows that System 1 was trained on make it look surer than it is. What is held out should be like what will come: under a
    /// shift, some labelled rows from behind it.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where rows, labels and answers differ in number; [`Error::Invalid`] for fewer than 64 rows, labels of
    /// one class only, numbers that are not finite, a coefficient out of its range, and weights that diverge.
    pub fn fit(
        first: &First,
        labels: &[u32],
        second: &[bool],
        config: LearnedRuleConfig,
        rng: &mut Rng,
    ) -> Result<Self> {
        config.check()?;
        let logits = Rows::logits("logits of System 1", &first.logits)?;
        let (n, classes) = (logits.len(), logits.width());
        check_labels(labels, n, classes)?;
        if second.len() != n {
            let got = second.len().to_string();
            return Err(Error::mismatch("second", format!("whether each of {n} rows is right"), got));
        }
        if n < LEAST {
            let why = format!(
                "{n}: a rule cannot be learned from fewer than {LEAST}; hold out more, or defer by Confidence"
            );
            return Err(Error::invalid("held-out rows", why));
        }
        if labels.iter().all(|label| *label == labels[0]) {
            let why = format!("all are of class {}: hold out rows of all classes", labels[0]);
            return Err(Error::invalid("labels", why));
        }
        let features = match &first.features {
            Some(features) => Rows::read("features of System 1", features)?.width(),
            None => 0,
        };
        let width = classes + features;
        let mut rule = Self {
            classes,
            features,
            centre: vec![0.0; width],
            scale: vec![1.0; width],
            hidden: Layer::new(width, config.hidden, rng)?,
            output: Layer::new(config.hidden, classes, rng)?,
            slow: Layer::new(LARGEST.min(classes) + classes + width, 2, rng)?,
        };
        rule.standardise(&rule.raw(first)?, n);
        let x = rule.inputs(first)?;

        let targets = Tensor::from_slice(labels, n, &Device::Cpu)?;
        let posterior = [rule.hidden.vars(), rule.output.vars()].concat();
        train(&x, &targets, &posterior, config, config.weight_decay, rng, |x| rule.logits(x))?;

        let x = rule.slow_inputs(&x)?;
        let targets: Vec<u32> = second.iter().map(|&right| u32::from(right)).collect();
        let targets = Tensor::from_vec(targets, n, &Device::Cpu)?;
        train(&x, &targets, &rule.slow.vars(), config, config.slow_weight_decay, rng, |x| {
            rule.slow.forward(x, Activation::Identity)
        })?;
        Ok(rule)
    }

    /// For each row P(System 1 right) and P(System 2 right).
    ///
    /// # Errors
    /// Answers of another number of classes or features than it was fitted to; numbers that are not finite.
    pub fn chances(&self, first: &First) -> Result<Vec<[f64; 2]>> {
        let x = self.inputs(first)?;
        let posterior = Rows::read("posterior", &self.logits(&x)?)?;
        let slow = Rows::read(
            "chances of System 2",
            &self.slow.forward(&self.slow_inputs(&x)?, Activation::Identity)?,
        )?;
        let answers = Rows::logits("logits of System 1", &first.logits)?;
        let rows = answers.iter().zip(posterior.iter()).zip(slow.iter());
        let chance = |row: &[f64], class: usize| log_softmax(row, 1.0).nth(class).map_or(0.0, f64::exp);
        Ok(rows.map(|((answer, p), s)| [chance(p, argmax(answer)), chance(s, 1)]).collect())
    }

    /// The multiply-adds of one row: what deciding costs.
    pub fn multiply_adds(&self) -> u64 {
        [&self.hidden, &self.output, &self.slow].map(Layer::multiply_adds).iter().sum()
    }

    /// Inputs before they are standardised, row by row.
    fn raw(&self, first: &First) -> Result<Vec<f64>> {
        let logits = Rows::logits("logits of System 1", &first.logits)?;
        let features = first.features.as_ref().map(|f| Rows::read("features of System 1", f)).transpose()?;
        let got = [logits.width(), features.as_ref().map_or(0, Rows::width)];
        if got != [self.classes, self.features] {
            return Err(Error::mismatch(
                "learned rule",
                format!("{} classes and {} features, as it was fitted to", self.classes, self.features),
                format!("{} and {}", got[0], got[1]),
            ));
        }
        if features.as_ref().is_some_and(|features| features.len() != logits.len()) {
            return Err(Error::mismatch("learned rule", "features for each row", "another number of rows"));
        }
        let mut raw = Vec::with_capacity(logits.len() * self.centre.len());
        let mut features = features.as_ref().map(Rows::iter);
        for row in logits.iter() {
            raw.extend(log_softmax(row, 1.0).map(|log| (log.exp() + FLOOR).ln()));
            raw.extend(features.as_mut().and_then(Iterator::next).unwrap_or_default());
        }
        Ok(raw)
    }

    fn standardise(&mut self, raw: &[f64], n: usize) {
        for (column, (centre, scale)) in self.centre.iter_mut().zip(&mut self.scale).enumerate() {
            let values = || raw.iter().skip(column).step_by(raw.len() / n);
            *centre = values().sum::<f64>() / n as f64;
            let variance = values().map(|v| (v - *centre).powi(2)).sum::<f64>() / n as f64;
            // A unit that never moved would otherwise be blown up by the first row where it does.
            *scale = variance.sqrt().max(1e-3);
        }
    }

    /// (n, classes + features)
    fn inputs(&self, first: &First) -> Result<Tensor> {
        let raw = self.raw(first)?;
        let columns = self.centre.iter().zip(&self.scale).cycle();
        let x: Vec<f32> = raw.iter().zip(columns).map(|(v, (c, s))| ((v - c) / s) as f32).collect();
        let width = self.centre.len();
        Ok(Tensor::from_vec(x, (raw.len() / width, width), &Device::Cpu)?)
    }

    /// Of the posterior (n, classes).
    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.output.forward(&self.hidden.forward(x, Activation::Relu)?, Activation::Identity)
    }

    /// The posterior's largest, all of it, and `x`, for the second step.
    fn slow_inputs(&self, x: &Tensor) -> Result<Tensor> {
        let posterior = Rows::read("posterior", &self.logits(x)?)?;
        let largest = LARGEST.min(self.classes);
        let mut values = Vec::with_capacity(posterior.len() * (largest + self.classes));
        for row in posterior.iter() {
            let p: Vec<f64> = log_softmax(row, 1.0).map(f64::exp).collect();
            let mut sorted = p.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            values.extend(sorted[..largest].iter().map(|p| (p + POSTERIOR_FLOOR).ln() as f32));
            values.extend(p.iter().map(|&p| p as f32));
        }
        let added = Tensor::from_vec(values, (posterior.len(), largest + self.classes), &Device::Cpu)?;
        Ok(Tensor::cat(&[&added, x], 1)?)
    }
}

impl Score for LearnedRule {
    fn scores(&self, first: &First) -> Result<Vec<f64>> {
        Ok(self.chances(first)?.into_iter().map(|[fast, slow]| slow - fast).collect())
    }
}

impl LearnedRuleConfig {
    fn check(&self) -> Result<()> {
        for (what, value) in [("hidden", self.hidden), ("epochs", self.epochs), ("batch", self.batch)] {
            if value == 0 {
                return Err(Error::invalid(what, "0: at least 1"));
            }
        }
        let positive = self.lr.is_finite() && self.lr > 0.0;
        if !positive {
            return Err(Error::invalid("learning rate", format!("{} is not a positive number", self.lr)));
        }
        for decay in [self.weight_decay, self.slow_weight_decay] {
            if !(decay.is_finite() && decay >= 0.0) {
                return Err(Error::invalid("weight decay", format!("{decay} is not a number from 0 on")));
            }
        }
        Ok(())
    }
}

/// Minimises the cross-entropy of `logits` over shuffled batches.
fn train(
    x: &Tensor,
    targets: &Tensor,
    vars: &[&Var],
    config: LearnedRuleConfig,
    weight_decay: f64,
    rng: &mut Rng,
    logits: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    let n = x.dim(0)?;
    let batch = config.batch.min(n);
    let steps = config.epochs * (n / batch);
    let moments = vars.iter().map(|var| {
        let dims = [&[2], var.dims()].concat();
        Ok(Tensor::zeros(dims, DType::F32, &Device::Cpu)?)
    });
    let moments: Vec<Tensor> = moments.collect::<Result<_>>()?;
    let moments: Vec<&Tensor> = moments.iter().collect();
    let thetas: Vec<&Tensor> = vars.iter().map(|var| var.as_tensor()).collect();
    let mut order: Vec<u32> = (0..n as u32).collect();
    for step in 0..steps {
        let within = step % (n / batch);
        if within == 0 {
            order.shuffle(rng);
        }
        let rows = Tensor::from_slice(&order[within * batch..][..batch], batch, &Device::Cpu)?;
        let loss = logits(&x.index_select(&rows, 0)?)?.cross_entropy(
            &targets.index_select(&rows, 0)?,
            Units::All,
            None,
        )?;
        let all = loss.backward()?;
        let gradient = |var: &&Var| all.get(var.as_tensor()).cloned();
        let gradients: Vec<Tensor> =
            vars.iter().map(gradient).collect::<Option<_>>().ok_or_else(|| Error::NoGradient {
                parameters: vec!["weights of the learned rule".into()],
            })?;
        let gradients: Vec<&Tensor> = gradients.iter().collect();
        let lr = 0.5 * config.lr * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos());
        let step = AdamStep {
            lr,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay,
            decoupled: true,
            t: step as u64 + 1,
        };
        // Biases come second, and are not pulled to 0: a system that is nearly always right has a large one.
        for (at, theta) in thetas.iter().enumerate() {
            let weight_decay = if at % 2 == 0 { weight_decay } else { 0.0 };
            theta.adam_step(gradients[at], moments[at], AdamStep { weight_decay, ..step })?;
        }
    }
    for theta in thetas {
        if !theta.detach().sqr()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
            return Err(Error::invalid("learning rate", format!("{}: the weights diverge", config.lr)));
        }
    }
    Ok(())
}
