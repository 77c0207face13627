//! Returns over several steps, which stop where an episode stops.

use candle_core::{D, DType, Device, Tensor};
use cl_core::{Error, Result};

use crate::Fields;

/// Where the observation stands from which a return goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// In this field of the same step: what the step led to, stored with it. Right in every case, at the price of
    /// a second observation a step.
    Stored(String),
    /// In the following step. Where an episode was truncated, the observation it led to was never stored, and the
    /// following step belongs to another episode: the return then ends one step earlier and goes on from the last
    /// observation of the episode. (For the truncated step itself that is a return of nothing after zero steps:
    /// it teaches nothing, and nothing wrong.)
    Following,
}

/// Turns sequences into transitions over up to n steps (Sutton 1988; as in Rainbow, Hessel et al. 2018):
/// R = Σᵢ γⁱ rᵢ for i < k, to go on with γᵏ times the value of what comes then; k = n, or less where the episode
/// terminates or is truncated before.
///
/// Draw sequences of n + 1 steps with [`Next::Following`], of n with [`Next::Stored`], without
/// [`ends`](crate::Sequences::ends): a sequence may run past the end of an episode, the return does not.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_replay::{Draw, Field, NStep, Next, Schema, Sequences, Trajectories};
///
/// # fn main() -> cl_core::Result<()> {
/// let schema = Schema::new([
///     Field::new("obs", DType::F32, [2]),
///     Field::new("reward", DType::F32, []),
///     Field::new("terminated", DType::U8, []),
/// ])?;
/// let sizes = Sequences { length: 100, sample: 4, ..Default::default() };
/// let mut memory = Trajectories::new(schema, sizes, cl_core::rng(0, "memory"))?;
/// memory.add(&[
///     ("obs", &Tensor::zeros((1, 10, 2), DType::F32, &Device::Cpu)?),
///     ("reward", &Tensor::ones((1, 10), DType::F32, &Device::Cpu)?),
///     ("terminated", &Tensor::zeros((1, 10), DType::U8, &Device::Cpu)?),
/// ])?;
/// let three = NStep { n: 3, gamma: 0.5, ..Default::default() };
/// let returns = three.of(&memory.sample(8, Draw::WithReplacement)?.fields)?;
/// assert_eq!(returns.returns.to_vec1::<f32>()?, [1.75; 8]); // 1 + 0.5 + 0.25
/// assert_eq!(returns.discounts.to_vec1::<f32>()?, [0.125; 8]);
/// assert_eq!(returns.next.get("obs")?.dims(), [8, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NStep {
    /// Steps at most.
    pub n: usize,
    /// The discount γ of one step.
    pub gamma: f64,
    /// The field of the rewards.
    pub reward: String,
    /// The field that says, by a value other than 0, that a step led into a terminal state: nothing comes then.
    pub terminated: String,
    /// The field that says that an episode was cut off behind a step: its value goes on.
    pub truncated: Option<String>,
    /// Where to find the observation from which the return goes on.
    pub next: Next,
}

impl Default for NStep {
    /// One step, γ = 0.99, fields named `reward` and `terminated`, no truncation, the following step.
    fn default() -> Self {
        Self {
            n: 1,
            gamma: 0.99,
            reward: "reward".into(),
            terminated: "terminated".into(),
            truncated: None,
            next: Next::Following,
        }
    }
}

/// Transitions over up to n steps.
#[derive(Debug, Clone)]
pub struct Returns {
    /// The first steps: every field as (batch, ...).
    pub first: Fields,
    /// R = Σ γⁱ rᵢ: f32 (batch).
    pub returns: Tensor,
    /// What the value of `next` is multiplied by, γᵏ, or 0 behind a terminal state: f32 (batch).
    pub discounts: Tensor,
    /// k, the number of rewards in each return.
    pub steps: Vec<usize>,
    /// The steps in which the observation stands from which a return goes on: every field as (batch, ...). With
    /// [`Next::Stored`] read the field of that name, with [`Next::Following`] the observation itself.
    pub next: Fields,
}

impl NStep {
    /// The returns of sequences: every field as (batch, steps, ...).
    ///
    /// # Errors
    /// [`Error::Invalid`] on n = 0, a γ outside [0, 1], a field that is missing, or sequences that are too short;
    /// [`Error::Mismatch`] on a field that is not one number a step.
    pub fn of(&self, sequences: &Fields) -> Result<Returns> {
        if self.n == 0 || !(0.0..=1.0).contains(&self.gamma) {
            let why = format!("{} steps with γ = {}: at least 1, and γ from 0 to 1", self.n, self.gamma);
            return Err(Error::invalid("n-step return", why));
        }
        let needed = self.n.saturating_add(usize::from(self.next == Next::Following));
        let rewards = self.numbers(sequences, &self.reward)?;
        let terminated = self.numbers(sequences, &self.terminated)?;
        let truncated = match &self.truncated {
            Some(name) => self.numbers(sequences, name)?,
            None => vec![vec![0.0; rewards.first().map_or(0, Vec::len)]; rewards.len()],
        };
        if let Next::Stored(name) = &self.next {
            sequences.get(name)?;
        }
        let length = sequences.tensors.first().map_or(Ok(0), |tensor| tensor.dim(1))?;
        if length < needed {
            let why = format!("{length} steps: {needed} are needed for returns over {}", self.n);
            return Err(Error::invalid("sequences", why));
        }
        let (mut returns, mut discounts, mut steps, mut next) = (vec![], vec![], vec![], vec![]);
        for (sample, rewards) in rewards.iter().enumerate() {
            let ends_at = |flags: &[Vec<f64>]| flags[sample][..self.n].iter().position(|&flag| flag != 0.0);
            let (terminal, cut) = (ends_at(&terminated), ends_at(&truncated));
            let last = terminal.unwrap_or(self.n - 1).min(cut.unwrap_or(self.n - 1));
            let is_terminal = terminal == Some(last);
            let is_cut = cut == Some(last) && !is_terminal;
            let k = if is_cut && self.next == Next::Following { last } else { last + 1 };
            let power = |i: usize| self.gamma.powi(i as i32);
            returns.push((0..k).map(|i| power(i) * rewards[i]).sum::<f64>() as f32);
            discounts.push(if is_terminal { 0.0 } else { power(k) as f32 });
            steps.push(k);
            let at = match self.next {
                Next::Following => k,
                Next::Stored(_) => last,
            };
            next.push((sample * length + at) as u32);
        }
        let n = steps.len();
        let next = Tensor::from_vec(next, n, &Device::Cpu)?;
        Ok(Returns {
            first: sequences.map(|tensor| tensor.narrow(1, 0, 1)?.squeeze(1)?.contiguous())?,
            returns: Tensor::from_vec(returns, n, &Device::Cpu)?,
            discounts: Tensor::from_vec(discounts, n, &Device::Cpu)?,
            steps,
            next: sequences.map(|tensor| tensor.flatten(0, 1)?.index_select(&next, 0))?,
        })
    }

    fn numbers(&self, sequences: &Fields, name: &str) -> Result<Vec<Vec<f64>>> {
        let tensor = sequences.get(name)?;
        if tensor.rank() != 2 {
            let got = format!("{name:?} as {:?}", tensor.dims());
            return Err(Error::mismatch("n-step return", "one number a step, (batch, steps)", got));
        }
        if tensor.dim(D::Minus1)? == 0 {
            return Ok(vec![vec![]; tensor.dim(0)?]);
        }
        Ok(tensor.to_dtype(DType::F64)?.to_vec2()?)
    }
}
