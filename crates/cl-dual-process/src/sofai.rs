//! A metacognitive loop: experience decides whether the fast answer is good enough.
//!
//! After the architecture of Bergamaschi Ganapini et al. (npj Artificial Intelligence 2025): System 1 answers from experience; the
//! metacognitive module looks at how sure it is, at how well it has done on problems like this one, at what System 2 would take and
//! what is left, and engages System 2 where that is worth it. Both answers' outcomes become experience.

use std::collections::HashMap;
use std::hash::Hash;

use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Which system answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// System 1's answer is taken.
    Fast(Why),
    /// System 2 is asked.
    Slow(Why),
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// System 2 would take more than is left.
    NoTime,
    /// System 1 has no answer.
    NoAnswer,
    /// System 1 has too little experience with such problems to be judged by it.
    Inexperience,
    /// What System 2 would add was weighed against its price.
    Worth,
}

/// What the module is careful about.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetacognitionConfig {
    /// Outcomes of a kind of problem before System 1 is judged by them.
    pub least_experience: u64,
    /// What quality one unit of System 2's cost is worth.
    pub price: f64,
    /// The weight of an outcome against all before it, so that a world that changes is noticed; 0 for a plain mean.
    pub recency: f64,
}

impl Default for MetacognitionConfig {
    fn default() -> Self {
        Self { least_experience: 3, price: 0.0, recency: 0.0 }
    }
}

/// What happened with one system on one kind of problem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Experience {
    /// How often.
    pub times: u64,
    /// Mean quality of its answers, 0 to 1.
    pub quality: f64,
    /// Mean cost of an answer.
    pub cost: f64,
}

impl Experience {
    fn add(&mut self, quality: f64, cost: f64, recency: f64) {
        self.times += 1;
        let weight = recency.max(1.0 / self.times as f64);
        self.quality += weight * (quality - self.quality);
        self.cost += weight * (cost - self.cost);
    }
}

/// Decides between two systems by what came of their answers to problems of the same kind `K`.
///
/// ```
/// use cl_dual_process::sofai::{Choice, Metacognition, MetacognitionConfig};
///
/// let config = MetacognitionConfig { price: 0.001, ..Default::default() };
/// let mut meta = Metacognition::new(config)?;
/// for _ in 0..5 {
///     meta.learn_slow("easy", 1.0, 50.0)?;
///     meta.learn_slow("hard", 1.0, 50.0)?;
///     meta.learn_fast("easy", 0.98)?;
///     meta.learn_fast("hard", 0.4)?;
/// }
/// assert!(matches!(meta.choose(&"easy", Some(1.0), f64::INFINITY)?, Choice::Fast(_)));
/// assert!(matches!(meta.choose(&"hard", Some(1.0), f64::INFINITY)?, Choice::Slow(_)));
/// assert!(matches!(meta.choose(&"hard", Some(1.0), 10.0)?, Choice::Fast(_)), "50 is more than is left");
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Metacognition<K: Eq + Hash> {
    config: MetacognitionConfig,
    fast: HashMap<K, Experience>,
    slow: HashMap<K, Experience>,
    /// Of System 2 on all kinds: what is expected of it where it has not been asked yet.
    slow_overall: Experience,
}

impl<K: Eq + Hash> Metacognition<K> {
    /// Without any experience.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a price that is below 0 or no number, and a recency that is not between 0 and 1.
    pub fn new(config: MetacognitionConfig) -> Result<Self> {
        if !(config.price.is_finite() && config.price >= 0.0) {
            return Err(Error::invalid("price", format!("{}: it must be 0 or more", config.price)));
        }
        between_0_and_1("recency", config.recency)?;
        Ok(Self { config, fast: HashMap::new(), slow: HashMap::new(), slow_overall: Experience::default() })
    }

    /// Which system answers a problem of this kind, with System 1's confidence (0 to 1; None where it has no answer), and what may be
    /// spent yet in units of System 2's cost.
    ///
    /// The first that applies: System 2 would take more than is left: System 1, if it has an answer. It has none: System 2. It has been
    /// tried on this kind fewer than `least_experience` times: System 2. Otherwise
    /// System 2 where its expected quality is more than `price` · its expected cost above System 1's, which is taken to be its
    /// confidence times its mean quality so far.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a confidence that is not between 0 and 1, and a rest that is no number.
    pub fn choose(&self, kind: &K, confidence: Option<f64>, left: f64) -> Result<Choice> {
        if let Some(confidence) = confidence {
            between_0_and_1("confidence", confidence)?;
        }
        if left.is_nan() {
            return Err(Error::invalid("what is left", "it is no number"));
        }
        let slow = self.slow.get(kind).copied().unwrap_or(self.slow_overall);
        if slow.cost > left && confidence.is_some() {
            return Ok(Choice::Fast(Why::NoTime));
        }
        let Some(confidence) = confidence else { return Ok(Choice::Slow(Why::NoAnswer)) };
        let fast = self.fast.get(kind).copied().unwrap_or_default();
        if fast.times < self.config.least_experience {
            return Ok(Choice::Slow(Why::Inexperience));
        }
        // Nothing is known against a System 2 that was never asked.
        let expected = if slow.times == 0 { 1.0 } else { slow.quality };
        let worth = expected - confidence * fast.quality > self.config.price * slow.cost;
        Ok(if worth { Choice::Slow(Why::Worth) } else { Choice::Fast(Why::Worth) })
    }

    /// What System 1's answer to a problem of this kind was worth, 0 to 1: also where System 2 was asked, and it is known what
    /// System 1 would have been worth. Without that, System 1 is never judged, and never trusted.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a quality that is not between 0 and 1.
    pub fn learn_fast(&mut self, kind: K, quality: f64) -> Result<()> {
        between_0_and_1("quality", quality)?;
        self.fast.entry(kind).or_default().add(quality, 0.0, self.config.recency);
        Ok(())
    }

    /// What System 2's answer was worth, 0 to 1, and what it took.
    ///
    /// # Errors
    /// The same, and a cost that is below 0 or not finite.
    pub fn learn_slow(&mut self, kind: K, quality: f64, cost: f64) -> Result<()> {
        between_0_and_1("quality", quality)?;
        if !(cost.is_finite() && cost >= 0.0) {
            return Err(Error::invalid("cost", format!("{cost}: it must be 0 or more")));
        }
        self.slow.entry(kind).or_default().add(quality, cost, self.config.recency);
        self.slow_overall.add(quality, cost, self.config.recency);
        Ok(())
    }

    /// What is known of System 1 and System 2 on this kind.
    pub fn experience(&self, kind: &K) -> [Experience; 2] {
        [&self.fast, &self.slow].map(|known| known.get(kind).copied().unwrap_or_default())
    }
}

fn between_0_and_1(what: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(what, format!("{value} is not between 0 and 1")))
}
