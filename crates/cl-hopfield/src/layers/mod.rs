//! Trainable layers around the continuous network (Ramsauer et al. 2021, §3): states and stored patterns are projected into
//! an association space of several heads, where states are updated, and what they find is projected out.
//!
//! | | states | stored patterns |
//! |---|---|---|
//! | [`Hopfield`] | given | given |
//! | [`Pooling`] | parameters: fixed questions to a set of any size | given |
//! | [`Lookup`] | given | parameters: a memory that is learned |

mod lookup;
mod norm;
mod pooling;

use candle_core::{DType, Device, Module, Tensor, Var};
use cl_core::{Activation, Error, Params, Result, Rng, TensorOps};
use cl_nn::Linear;
use serde::{Deserialize, Serialize};

pub use lookup::Lookup;
pub use pooling::Pooling;

use norm::Norm;

/// β, by which the association is sharp or soft.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beta {
    /// 1/√width, as attention has it.
    InverseRoot,
    /// This one, in all heads.
    Fixed(f64),
    /// One for each head, which is learned, from this on. It stays positive: its logarithm is the parameter.
    Learned(f64),
}

/// What a layer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Numbers in a state.
    pub state: usize,
    /// Numbers in a stored pattern.
    pub stored: usize,
    /// Numbers in what comes out for each state.
    pub outputs: usize,
    /// Heads: associations side by side.
    pub heads: usize,
    /// Numbers in the association space of each head.
    pub width: usize,
    /// β.
    pub beta: Beta,
    /// Updates of a state, the last of which takes the values: 1 is attention.
    pub steps: usize,
    /// Whether states and stored patterns are normalised first (layer norm, gain and shift learned). Without it, their lengths
    /// decide with β how sharp the association is.
    pub normalise: bool,
}

impl Default for Config {
    /// One update in four heads of 16, β = 1/4; 64 numbers in all patterns.
    fn default() -> Self {
        Self {
            state: 64,
            stored: 64,
            outputs: 64,
            heads: 4,
            width: 16,
            beta: Beta::InverseRoot,
            steps: 1,
            normalise: true,
        }
    }
}

/// Z = softmax(β R W_Q W_Kᵀ Yᵀ) Y W_V, in several heads, and out (eq. 10), for states R and stored patterns Y that are given.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_hopfield::layers::{Config, Hopfield};
///
/// let config = Config { state: 8, stored: 5, outputs: 3, ..Config::default() };
/// let layer = Hopfield::new(config, DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
/// let states = Tensor::zeros((2, 7, 8), DType::F32, &Device::Cpu)?; // two sets, seven states each
/// let stored = Tensor::zeros((2, 100, 5), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&states, &stored, None)?.dims(), [2, 7, 3]);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Hopfield {
    config: Config,
    norms: Option<[Norm; 2]>,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    /// ln β of each head (heads, 1, 1), where it is learned.
    log_beta: Option<Var>,
}

impl Hopfield {
    /// With weights drawn anew.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a size of 0, no steps, a β that is not positive.
    pub fn new(config: Config, dtype: DType, device: &Device, rng: &mut Rng) -> Result<Self> {
        let Config { state, stored, outputs, heads, width, beta, steps, normalise } = config;
        for (name, size) in [
            ("state", state),
            ("stored", stored),
            ("outputs", outputs),
            ("heads", heads),
            ("width", width),
            ("steps", steps),
        ] {
            if size == 0 {
                return Err(Error::invalid(name, "0: at least 1 is needed"));
            }
        }
        if let Beta::Fixed(beta) | Beta::Learned(beta) = beta
            && !(beta > 0.0 && beta.is_finite())
        {
            return Err(Error::invalid("beta", format!("{beta} is not a positive number")));
        }
        let mut linear = |from, to| Linear::new(from, to, Activation::Identity, dtype, device, rng);
        let inner = heads * width;
        let (query, key) = (linear(state, inner)?, linear(stored, inner)?);
        let (value, out) = (linear(stored, inner)?, linear(inner, outputs)?);
        let norms = match normalise {
            true => Some([Norm::new(state, dtype, device)?, Norm::new(stored, dtype, device)?]),
            false => None,
        };
        let log_beta = match beta {
            Beta::Learned(beta) => {
                let logs = Tensor::full(beta.ln(), (heads, 1, 1), device)?.to_dtype(dtype)?;
                Some(Var::from_tensor(&logs)?)
            }
            _ => None,
        };
        Ok(Self { config, norms, query, key, value, out, log_beta })
    }

    /// What it is made of.
    pub fn config(&self) -> Config {
        self.config
    }

    /// `query`, `key`, `value`, `out`, each with weight and bias; `state_norm` and `stored_norm`; `log_beta`.
    ///
    /// # Errors
    /// None of its own.
    pub fn params(&self) -> Result<Params> {
        let mut params = Params::new();
        for (name, layer) in
            [("query", &self.query), ("key", &self.key), ("value", &self.value), ("out", &self.out)]
        {
            params.extend(name, layer.params()?)?;
        }
        if let Some([state, stored]) = &self.norms {
            params.extend("state_norm", state.params()?)?;
            params.extend("stored_norm", stored.params()?)?;
        }
        if let Some(log_beta) = &self.log_beta {
            params.push("log_beta", log_beta.clone())?;
        }
        Ok(params)
    }

    /// What the states (b, n, state) find among the stored patterns (b, m, stored) of their own set: (b, n, outputs).
    ///
    /// `mask` is added to the scores: (b, 1, m) or (b, n, m), 1 for b where all sets have it. −∞ hides a pattern, such as what
    /// fills up a short set.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for other shapes.
    pub fn forward(&self, states: &Tensor, stored: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (b, n) = self.check("states", states, self.config.state)?;
        let (sets, m) = self.check("stored patterns", stored, self.config.stored)?;
        if sets != b {
            return Err(Error::mismatch(
                "hopfield",
                format!("{b} sets of stored patterns"),
                sets.to_string(),
            ));
        }
        let heads = |x: Tensor, rows| -> Result<Tensor> {
            let Config { heads, width, .. } = self.config;
            Ok(x.reshape((b, rows, heads, width))?.transpose(1, 2)?.contiguous()?)
        };
        let (q, [k, v]) = (self.queries(states)?, self.keys_and_values(stored)?);
        let mask = mask.map(|mask| mask.unsqueeze(1)).transpose()?;
        let found = self.associate(heads(q, n)?, &heads(k, m)?, &heads(v, m)?, mask.as_ref())?;
        Ok(self.out.forward(&found.transpose(1, 2)?.flatten_from(2)?)?)
    }

    /// The same among stored patterns (m, stored) that all sets share, which are projected once. `mask` (m) or (n, m).
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_shared(&self, states: &Tensor, stored: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (b, n) = self.check("states", states, self.config.state)?;
        let (_, m) = self.check("stored patterns", &stored.unsqueeze(0)?, self.config.stored)?;
        let Config { heads, width, .. } = self.config;
        // The sets are more states: (heads, sets · states, width) over (heads, patterns, width).
        let q = self.queries(states)?.reshape((b * n, heads, width))?.transpose(0, 1)?.contiguous()?;
        let head = |x: Tensor| -> Result<Tensor> {
            Ok(x.reshape((m, heads, width))?.transpose(0, 1)?.contiguous()?)
        };
        let [k, v] = self.keys_and_values(stored)?;
        let mask = match mask {
            Some(mask) if mask.rank() == 2 => Some(mask.repeat((b, 1))?),
            mask => mask.cloned(),
        };
        let found = self.associate(q, &head(k)?, &head(v)?, mask.as_ref())?;
        let found = found.transpose(0, 1)?.reshape((b, n, heads * width))?;
        Ok(self.out.forward(&found)?)
    }

    fn check(&self, what: &'static str, patterns: &Tensor, width: usize) -> Result<(usize, usize)> {
        match *patterns.dims() {
            [b, n, w] if w == width => Ok((b, n)),
            ref other => {
                Err(Error::mismatch(what, format!("(sets, patterns, {width})"), format!("{other:?}")))
            }
        }
    }

    fn queries(&self, states: &Tensor) -> Result<Tensor> {
        let states = match &self.norms {
            Some([norm, _]) => norm.forward(states)?,
            None => states.clone(),
        };
        Ok(self.query.forward(&states)?)
    }

    fn keys_and_values(&self, stored: &Tensor) -> Result<[Tensor; 2]> {
        let stored = match &self.norms {
            Some([_, norm]) => norm.forward(stored)?,
            None => stored.clone(),
        };
        Ok([self.key.forward(&stored)?, self.value.forward(&stored)?])
    }

    /// Within each head, of (.., heads, rows, width).
    fn associate(&self, q: Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let beta = match (&self.log_beta, self.config.beta) {
            (Some(_), _) => 1.0,
            (None, Beta::Fixed(beta) | Beta::Learned(beta)) => beta,
            (None, Beta::InverseRoot) => 1.0 / (self.config.width as f64).sqrt(),
        };
        // What is learned multiplies the state of each head, anew for each update.
        let sharpened = |q: &Tensor| -> Result<Tensor> {
            match &self.log_beta {
                Some(log_beta) => Ok(q.broadcast_mul(&log_beta.exp()?)?),
                None => Ok(q.clone()),
            }
        };
        let mut q = q;
        for _ in 1..self.config.steps {
            q = sharpened(&q)?.retrieve(k, k, beta, mask)?;
        }
        sharpened(&q)?.retrieve(k, v, beta, mask)
    }
}
