//! Attention slots: a memory of fixed capacity that keeps what was attended to, and lets go of what was not, or is long past.
//!
//! A slot holds a key, a value, the attention a that it was given, and its age: how many writes came after it. Its importance is
//!
//! Iᵢ = aᵢ / (ageᵢ + 1).
//!
//! What comes takes an empty slot, or else that of the least important, if it is more important itself. What is found for a
//! query q has the weights
//!
//! wᵢ = aᵢ exp(β qᵀkᵢ) / Σⱼ aⱼ exp(β qᵀkⱼ),
//!
//! a softmax in which attention is the weight of a slot before anything is asked: so a gradient reaches what gives attention.
//! Keys, values and attention stay in the graph; the choice of a slot does not, nor do ages.
//!
//! The state is a value of its own, for a batch of sequences: keep it, save it, detach it, go on from it. It stays on the device
//! that it was made on: a slot is chosen there, and nothing is read back.

use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use cl_core::snapshot::{self, Kind};
use cl_core::{Error, Result};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

/// Sizes of the slots, and how sharply they are read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slots {
    /// Slots of each sequence.
    pub capacity: usize,
    /// Numbers in a key.
    pub key: usize,
    /// Numbers in a value.
    pub value: usize,
    /// β.
    pub beta: f64,
}

impl Default for Slots {
    /// Sixteen slots with keys and values of 64, β = 1.
    fn default() -> Self {
        Self { capacity: 16, key: 64, value: 64, beta: 1.0 }
    }
}

/// What the slots of a batch hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct SlotsState {
    /// (batch, capacity, key)
    #[serde(serialize_with = "cl_core::snapshot::tensor::serialize")]
    keys: Tensor,
    /// (batch, capacity, value)
    #[serde(serialize_with = "cl_core::snapshot::tensor::serialize")]
    values: Tensor,
    /// (batch, capacity); 0 where a slot is empty.
    #[serde(serialize_with = "cl_core::snapshot::tensor::serialize")]
    attention: Tensor,
    /// Writes since each slot was written (batch, capacity): whole numbers, in f64.
    #[serde(serialize_with = "serialize_ages")]
    age: Tensor,
}

/// As whole numbers, row by row.
fn serialize_ages<S: Serializer>(age: &Tensor, serializer: S) -> Result<S::Ok, S::Error> {
    ages(age).map_err(S::Error::custom)?.concat().serialize(serializer)
}

/// What serde reads, before it is checked.
#[derive(Deserialize)]
struct Saved {
    #[serde(with = "cl_core::snapshot::tensor")]
    keys: Tensor,
    #[serde(with = "cl_core::snapshot::tensor")]
    values: Tensor,
    #[serde(with = "cl_core::snapshot::tensor")]
    attention: Tensor,
    age: Vec<u64>,
}

impl TryFrom<Saved> for SlotsState {
    type Error = Error;

    fn try_from(Saved { keys, values, attention, age }: Saved) -> Result<Self> {
        let fits = match (keys.dims(), values.dims(), attention.dims()) {
            ([b, n, _], [vb, vn, _], [ab, an]) => [(vb, vn), (ab, an)] == [(b, n); 2] && age.len() == b * n,
            _ => false,
        };
        if !fits || keys.dtype() != values.dtype() || keys.dtype() != attention.dtype() {
            return Err(Error::invalid("slots", "what was saved does not fit together"));
        }
        if numbers(&attention)?.iter().any(|a| !(*a >= 0.0 && a.is_finite())) {
            return Err(Error::invalid("slots", "an attention that was saved is negative, or no number"));
        }
        let age: Vec<f64> = age.into_iter().map(|age| age as f64).collect();
        let age = Tensor::from_vec(age, attention.dims(), attention.device())?;
        Ok(Self { keys, values, attention, age })
    }
}

/// What a query found.
#[derive(Debug, Clone)]
pub struct Read {
    /// Σ wᵢ vᵢ (batch, queries, value); zeros where nothing was stored.
    pub values: Tensor,
    /// w (batch, queries, capacity).
    pub weights: Tensor,
}

const KIND: Kind = Kind::new("cl-working-memory/slots", 1);

impl Slots {
    fn check(&self) -> Result<()> {
        for (name, size) in [("capacity", self.capacity), ("key", self.key), ("value", self.value)] {
            if size == 0 {
                return Err(Error::invalid(name, "0: at least 1 is needed"));
            }
        }
        if !(self.beta > 0.0 && self.beta.is_finite()) {
            return Err(Error::invalid("beta", format!("{} is not a positive number", self.beta)));
        }
        Ok(())
    }

    /// Empty slots for so many sequences.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a size of 0, a β that is not positive, a dtype that is not f32 or f64.
    pub fn state(&self, batch: usize, dtype: DType, device: &Device) -> Result<SlotsState> {
        self.check()?;
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Err(Error::invalid("dtype", format!("{dtype:?}: slots are F32 or F64")));
        }
        let zeros = |shape: &[usize]| Tensor::zeros(shape, dtype, device);
        Ok(SlotsState {
            keys: zeros(&[batch, self.capacity, self.key])?,
            values: zeros(&[batch, self.capacity, self.value])?,
            attention: zeros(&[batch, self.capacity])?,
            age: Tensor::zeros((batch, self.capacity), DType::F64, device)?,
        })
    }

    /// Writes a key (batch, key) and a value (batch, value) into a slot of each sequence, with this attention (batch). All slots
    /// that hold something grow older. Where the attention is 0, nothing is written and nothing grows older: so short sequences
    /// are filled up.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for shapes that do not fit the state; [`Error::Invalid`] for an attention that is negative or no
    /// number. On a GPU nothing is read back to be checked: a negative attention writes nothing there, and one that is no number
    /// makes the attention of its sequence NaN.
    pub fn write(
        &self,
        state: &SlotsState,
        key: &Tensor,
        value: &Tensor,
        attention: &Tensor,
    ) -> Result<SlotsState> {
        let batch = self.fitting(state)?;
        shaped("key", key, &[batch, self.key])?;
        shaped("value", value, &[batch, self.value])?;
        shaped("attention", attention, &[batch])?;
        if attention.device().is_cpu() {
            let given = numbers(attention)?;
            if let Some(row) = given.iter().position(|a| !(*a >= 0.0 && a.is_finite())) {
                let why = format!("{} of sequence {row} is not 0 or more", given[row]);
                return Err(Error::invalid("attention", why));
            }
        }
        let (chosen, age) = self.chosen(state, attention)?;
        let chosen = chosen.to_dtype(state.keys.dtype())?;
        let kept = chosen.affine(-1.0, 1.0)?;
        let put = |old: &Tensor, new: &Tensor| -> Result<Tensor> {
            let kept = old.broadcast_mul(&kept.unsqueeze(2)?)?;
            Ok((kept + chosen.unsqueeze(2)?.broadcast_mul(&new.unsqueeze(1)?)?)?)
        };
        let attention = (&state.attention * &kept)? + chosen.broadcast_mul(&attention.unsqueeze(1)?)?;
        Ok(SlotsState {
            keys: put(&state.keys, key)?,
            values: put(&state.values, value)?,
            attention: attention?,
            age,
        })
    }

    /// 1 where something of this attention (batch) is written, else 0, and the ages after that: (batch, capacity) each, in f64,
    /// outside of the graph.
    fn chosen(&self, state: &SlotsState, attention: &Tensor) -> Result<(Tensor, Tensor)> {
        let number = |truth: Tensor| truth.to_dtype(DType::F64);
        let held = number(state.attention.detach())?;
        let given = number(attention.detach())?.unsqueeze(1)?;
        let writes = number(given.gt(0.0)?)?;
        let age = (&state.age + number(held.gt(0.0)?)?.broadcast_mul(&writes)?)?;
        let importance = (held / (&age + 1.0)?)?;
        let least = importance.min_keepdim(1)?;
        // Of several, the first: the one that most slots stand behind.
        let behind = Tensor::arange_step(self.capacity as f64, 0.0, -1.0, age.device())?;
        let candidates = number(importance.broadcast_eq(&least)?)?.broadcast_mul(&behind)?;
        let first = number(candidates.broadcast_eq(&candidates.max_keepdim(1)?)?)?;
        let chosen = first.broadcast_mul(&(writes * number(given.ge(&least)?)?)?)?;
        let age = (age * chosen.affine(-1.0, 1.0)?)?;
        Ok((chosen, age))
    }

    /// What queries (batch, queries, key) find.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for shapes that do not fit the state.
    pub fn read(&self, state: &SlotsState, queries: &Tensor) -> Result<Read> {
        let batch = self.fitting(state)?;
        match *queries.dims() {
            [b, _, key] if (b, key) == (batch, self.key) => {}
            ref other => {
                let expected = format!("({batch}, queries, {})", self.key);
                return Err(Error::mismatch("queries", expected, format!("{other:?}")));
            }
        }
        let scores = (queries.contiguous()?.matmul(&state.keys.transpose(1, 2)?.contiguous()?)? * self.beta)?;
        let attention = state.attention.unsqueeze(1)?;
        // Relative to the largest of the slots that hold something: empty ones do not count, and nothing overflows.
        let held = attention.detach().gt(0.0)?.to_dtype(scores.dtype())?;
        let lowest = held.affine(1e30, -1e30)?; // 0, or lower than any score
        let most = scores.detach().broadcast_add(&lowest)?.max_keepdim(D::Minus1)?;
        let shares = scores.broadcast_sub(&most)?.broadcast_add(&lowest)?.exp()?.broadcast_mul(&attention)?;
        let sum = shares.sum_keepdim(D::Minus1)?;
        // Of nothing, nothing is found.
        let none = held.max_keepdim(D::Minus1)?.affine(-1.0, 1.0)?;
        let weights = shares.broadcast_div(&sum.broadcast_add(&none)?)?;
        Ok(Read { values: weights.matmul(&state.values.contiguous()?)?, weights })
    }

    /// The batch of a state that these sizes have made.
    fn fitting(&self, state: &SlotsState) -> Result<usize> {
        self.check()?;
        let batch = state.keys.dim(0)?;
        shaped("keys of the state", &state.keys, &[batch, self.capacity, self.key])?;
        shaped("values of the state", &state.values, &[batch, self.capacity, self.value])?;
        Ok(batch)
    }
}

impl SlotsState {
    /// Keys (batch, capacity, key).
    pub fn keys(&self) -> &Tensor {
        &self.keys
    }

    /// Values (batch, capacity, value).
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// Attention (batch, capacity); 0 where a slot is empty.
    pub fn attention(&self) -> &Tensor {
        &self.attention
    }

    /// How many writes came after each slot's own: for each sequence, slot by slot.
    ///
    /// # Errors
    /// candle's own.
    pub fn age(&self) -> Result<Vec<Vec<u64>>> {
        ages(&self.age)
    }

    /// a / (age + 1), likewise.
    ///
    /// # Errors
    /// candle's own.
    pub fn importance(&self) -> Result<Vec<Vec<f64>>> {
        Ok((self.attention.detach().to_dtype(DType::F64)? / (&self.age + 1.0)?)?.to_vec2()?)
    }

    /// What was found is attended to: the weights (batch, queries, capacity) of a [read](Slots::read) are added to the attention
    /// of the slots, outside of the graph, so that what is asked for stays longer.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for weights that do not fit.
    pub fn attended(&self, weights: &Tensor) -> Result<Self> {
        let sum = weights.detach().sum(1)?;
        shaped("weights", &sum, self.attention.dims())?;
        // An empty slot has no weight, so it stays empty.
        Ok(Self { attention: (&self.attention + sum)?, ..self.clone() })
    }

    /// The same, outside of the graph: what comes before gets no gradient from here on.
    pub fn detach(&self) -> Self {
        let [keys, values, attention] = [&self.keys, &self.values, &self.attention].map(Tensor::detach);
        Self { keys, values, attention, age: self.age.clone() }
    }

    /// Writes it to a file, whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        snapshot::save(path, KIND, self)
    }

    /// One that was [saved](Self::save), on the CPU.
    ///
    /// # Errors
    /// A file that cannot be read, or holds something else.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        snapshot::load(path, KIND)
    }
}

fn shaped(what: &'static str, tensor: &Tensor, expected: &[usize]) -> Result<()> {
    if tensor.dims() == expected {
        return Ok(());
    }
    Err(Error::mismatch(what, format!("{expected:?}"), format!("{:?}", tensor.dims())))
}

/// Ages as whole numbers.
fn ages(age: &Tensor) -> Result<Vec<Vec<u64>>> {
    Ok(age.to_vec2::<f64>()?.into_iter().map(|row| row.into_iter().map(|age| age as u64).collect()).collect())
}

/// All of them, outside of the graph.
fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}
