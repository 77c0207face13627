//! Product-key memory (Lample, Sablayrolles, Ranzato, Denoyer & Jégou 2019, "Large Memory Layers with Product Keys"): a table of
//! K² values that is trained, of which a query uses a few.
//!
//! A key is a pair: cᵢ of K first halves and c'ⱼ of K second halves. Its score is that of the halves, q₁ᵀcᵢ + q₂ᵀc'ⱼ, so that the
//! k best of all K² keys lie among the k best first halves with the k best second halves: 2K products and k² sums in
//! place of K² products. The result is Σ softmax(scores) v over those k, summed over heads, which have keys of their own and
//! share the values. The paper's batch norm of queries is left to the caller.
//!
//! **Gradients of the values.** In candle's [`GradStore`] a gradient is as large as its variable: with
//! [`forward`](ProductKeys::forward) every step makes K² rows of mostly zeros. [`forward_sparse`](ProductKeys::forward_sparse)
//! takes the used rows out as a variable of their own, and [`descend`](ProductKeys::descend) changes those alone. How many there are
//! must be known for that: on a GPU their numbers are read back, where `forward` reads nothing.

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, Module, Tensor, Var};
use cl_core::init::Init;
use cl_core::{Activation, Error, Params, Result, Rng, TensorOps as _};
use cl_nn::Linear;
use serde::{Deserialize, Serialize};

/// Sizes of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProductKeyConfig {
    /// Numbers in an input.
    pub inputs: usize,
    /// Numbers in a value, and in what comes out.
    pub outputs: usize,
    /// Heads.
    pub heads: usize,
    /// K: there are K² values.
    pub keys: usize,
    /// Numbers in half a key.
    pub half: usize,
    /// k: values that a head uses for an input.
    pub top: usize,
}

impl Default for ProductKeyConfig {
    /// The paper's: 4 heads, 512² values, halves of 256 numbers, 32 used; inputs and outputs of 512.
    fn default() -> Self {
        Self { inputs: 512, outputs: 512, heads: 4, keys: 512, half: 256, top: 32 }
    }
}

/// A large trained table, looked up by inputs.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_working_memory::product_key::{ProductKeyConfig, ProductKeys};
///
/// let config = ProductKeyConfig { inputs: 8, outputs: 4, heads: 2, keys: 100, half: 6, top: 5 };
/// let memory = ProductKeys::new(config, DType::F32, &Device::Cpu, &mut cl_core::rng(0, "weights"))?;
/// let x = Tensor::ones((3, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(memory.forward(&x)?.dims(), [3, 4]);
///
/// // A step that touches at most 3 · 2 · 5 of the 10 000 values.
/// let found = memory.forward_sparse(&x)?;
/// let grads = found.output.sqr()?.mean_all()?.backward()?;
/// memory.descend(&found, &grads, 0.1)?;
/// assert!(found.rows().len() <= 30);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ProductKeys {
    config: ProductKeyConfig,
    /// Inputs to heads · 2 · half.
    query: Linear,
    /// (heads, 2, keys, half)
    halves: Var,
    /// (keys², outputs)
    values: Var,
}

/// Which values inputs use, and with which weights.
#[derive(Debug, Clone)]
pub struct Selected {
    /// Rows of the table (n, heads, top), u32: i · K + j for the pair of halves i and j; the best first.
    pub rows: Tensor,
    /// softmax of their scores (n, heads, top), in the graph.
    pub weights: Tensor,
}

/// An output whose gradient for the values is that of the used rows alone.
#[derive(Debug)]
pub struct Sparse {
    /// (n, outputs)
    pub output: Tensor,
    rows: Vec<u32>,
    used: Var,
}

impl Sparse {
    /// The rows of the table that were used, ascending.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// A copy of those rows (used, outputs), in whose name the gradient is.
    pub fn used(&self) -> &Var {
        &self.used
    }
}

impl ProductKeys {
    /// With parameters drawn anew: half keys from U(−1/√half, 1/√half), values from N(0, 1/outputs).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a size of 0, more values used than half keys, more than 2³² values.
    pub fn new(config: ProductKeyConfig, dtype: DType, device: &Device, rng: &mut Rng) -> Result<Self> {
        let ProductKeyConfig { inputs, outputs, heads, keys, half, top } = config;
        for (name, size) in [
            ("inputs", inputs),
            ("outputs", outputs),
            ("heads", heads),
            ("keys", keys),
            ("half", half),
            ("top", top),
        ] {
            if size == 0 {
                return Err(Error::invalid(name, "0: at least 1 is needed"));
            }
        }
        if top > keys {
            return Err(Error::invalid("top", format!("{top} of {keys} half keys: take at most as many")));
        }
        if keys > 1 << 16 {
            return Err(Error::invalid("keys", format!("{keys}² values are more than rows can be numbered")));
        }
        let query = Linear::new(inputs, heads * 2 * half, Activation::Identity, dtype, device, rng)?;
        let halves =
            Init::Uniform(1.0 / (half as f64).sqrt()).var((heads, 2, keys, half), dtype, device, rng)?;
        let values =
            Init::Normal(1.0 / (outputs as f64).sqrt()).var((keys * keys, outputs), dtype, device, rng)?;
        Ok(Self { config, query, halves, values })
    }

    /// Its sizes.
    pub fn config(&self) -> ProductKeyConfig {
        self.config
    }

    /// The table (keys², outputs).
    pub fn values(&self) -> &Var {
        &self.values
    }

    /// `query.weight`, `query.bias`, `halves`, `values`: the last in the group `values`, which the paper gives a larger step. With
    /// [`forward_sparse`](Self::forward_sparse) no gradient reaches them: freeze them for the optimizer.
    ///
    /// # Errors
    /// None of its own.
    pub fn params(&self) -> Result<Params> {
        let mut params = Params::new();
        params.extend("query", self.query.params()?)?;
        params.push("halves", self.halves.clone())?;
        params.push("values", self.values.clone())?;
        params.set_group("values", "values")?;
        Ok(params)
    }

    /// What inputs (n, inputs) find: (n, outputs).
    ///
    /// # Errors
    /// [`Error::Mismatch`] for other shapes.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let selected = self.select(x)?;
        let used = self.values.index_select(&selected.rows.flatten_all()?, 0)?;
        self.weighted(&selected, &used)
    }

    /// The same, with the gradient of the values for the used rows alone: see [`descend`](Self::descend).
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_sparse(&self, x: &Tensor) -> Result<Sparse> {
        let selected = self.select(x)?;
        let all = selected.rows.flatten_all()?.to_vec1::<u32>()?;
        let mut rows = all.clone();
        rows.sort_unstable();
        rows.dedup();
        let device = self.values.device();
        let used = self.values.detach().index_select(&Tensor::from_slice(&rows, rows.len(), device)?, 0)?;
        let used = Var::from_tensor(&used)?;
        let among = |row: &u32| rows.binary_search(row).expect("every row is among them") as u32;
        let among: Vec<u32> = all.iter().map(among).collect();
        let found = used.index_select(&Tensor::from_vec(among, all.len(), device)?, 0)?;
        Ok(Sparse { output: self.weighted(&selected, &found)?, rows, used })
    }

    /// A step of gradient descent on the values that `found` used: v ← v − lr · g, in place, all other rows untouched.
    ///
    /// # Errors
    /// [`Error::NoGradient`] where the loss did not use the output.
    pub fn descend(&self, found: &Sparse, grads: &GradStore, lr: f64) -> Result<()> {
        let none = || Error::NoGradient { parameters: vec!["values".into()] };
        let grad = grads.get(&found.used).ok_or_else(none)?;
        // From the table as it is now: another step may have changed it.
        let rows = Tensor::from_slice(&found.rows, found.rows.len(), self.values.device())?;
        let stepped = (self.values.detach().index_select(&rows, 0)? - (grad * lr)?)?;
        for (at, &row) in found.rows.iter().enumerate() {
            self.values.slice_set(&stepped.narrow(0, at, 1)?, 0, row as usize)?;
        }
        Ok(())
    }

    /// Which values inputs (n, inputs) use.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn select(&self, x: &Tensor) -> Result<Selected> {
        let ProductKeyConfig { inputs, heads, keys, half, top, .. } = self.config;
        let n = match *x.dims() {
            [n, width] if width == inputs => n,
            ref other => {
                return Err(Error::mismatch("inputs", format!("(n, {inputs})"), format!("{other:?}")));
            }
        };
        // Scores of half keys (n, heads · 2, keys).
        let queries = self.query.forward(x)?.reshape((n, heads * 2, half))?.transpose(0, 1)?.contiguous()?;
        let halves = self.halves.reshape((heads * 2, keys, half))?;
        let scores = queries.matmul(&halves.transpose(1, 2)?.contiguous()?)?.transpose(0, 1)?.contiguous()?;

        let scores = scores.reshape((n, heads, 2, keys))?;
        let chosen = scores.best_pairs(top)?;
        // The scores of what was chosen, again from the graph: of each half, (n, heads, top).
        let half_scores = |which: usize| -> Result<Tensor> {
            let at = chosen.get(1 + which)?;
            Ok(scores.narrow(2, which, 1)?.squeeze(2)?.contiguous()?.gather(&at, D::Minus1)?)
        };
        let sums = (half_scores(0)? + half_scores(1)?)?;
        let shares = sums.broadcast_sub(&sums.detach().max_keepdim(D::Minus1)?)?.exp()?;
        let weights = shares.broadcast_div(&shares.sum_keepdim(D::Minus1)?)?;
        Ok(Selected { rows: chosen.get(0)?, weights })
    }

    /// Σ over heads and used values of weights · values, of those used (n · heads · top, outputs).
    fn weighted(&self, selected: &Selected, used: &Tensor) -> Result<Tensor> {
        let ProductKeyConfig { outputs, heads, top, .. } = self.config;
        let n = selected.weights.dim(0)?;
        let weights = selected.weights.reshape((n, 1, heads * top))?;
        Ok(weights.matmul(&used.reshape((n, heads * top, outputs))?)?.squeeze(1)?)
    }
}
