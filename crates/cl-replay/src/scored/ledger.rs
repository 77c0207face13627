//! What a memory knows about the samples it holds, apart from the samples.

use candle_core::{DType, Tensor};
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// One sample that was taken in: where it lies, and a number that no other sample ever has. It stays valid
/// until the sample goes, and never names the one that takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ItemId {
    slot: u32,
    generation: u64,
}

impl ItemId {
    /// Its row in [`Scored::all`](super::Scored::all).
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// How many samples were offered before it.
    pub fn generation(self) -> u64 {
        self.generation
    }
}

/// A number that every sample in memory has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Score {
    /// A score that was given with the sample, or updated since.
    Named(String),
    /// How many samples were offered since it came in.
    Age,
    /// How often it was sampled.
    Accesses,
    /// How many offered samples and calls of `sample` ago it was sampled last, or came in.
    Idle,
}

impl From<&str> for Score {
    fn from(name: &str) -> Self {
        Self::Named(name.into())
    }
}

/// The scores, ages and access counts of the samples in memory, by slot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ledger {
    names: Vec<String>,
    items: Vec<Item>,
    /// Samples offered so far.
    seen: u64,
    /// Samples offered and calls of `sample` so far.
    clock: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Item {
    /// `seen` before it was offered.
    born: u64,
    /// `clock` when it came in or was sampled last.
    touched: u64,
    accesses: u64,
    /// One a name.
    scores: Vec<f64>,
}

impl Ledger {
    pub(super) fn new(names: &[&str]) -> Result<Self> {
        for (i, name) in names.iter().enumerate() {
            if name.is_empty() || names[..i].contains(name) {
                let why = format!("names are needed that differ and are not empty, not {names:?}");
                return Err(Error::invalid("scores", why));
            }
        }
        let names = names.iter().map(|&name| name.into()).collect();
        Ok(Self { names, items: Vec::new(), seen: 0, clock: 0 })
    }

    /// The number of samples in memory.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The number of samples offered so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The names of the scores that are given with a sample.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Every sample in memory, by slot.
    pub fn ids(&self) -> Vec<ItemId> {
        (0..self.items.len()).map(|slot| self.id(slot)).collect()
    }

    /// Whether this sample is still there.
    pub fn holds(&self, id: ItemId) -> bool {
        self.items.get(id.slot()).is_some_and(|item| item.born == id.generation)
    }

    /// One number of all samples, by slot.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a name that this memory does not have.
    pub fn column(&self, score: &Score) -> Result<Vec<f64>> {
        let column =
            |number: &dyn Fn(&Item) -> u64| self.items.iter().map(|item| number(item) as f64).collect();
        Ok(match score {
            Score::Named(name) => {
                let position = position(&self.names, name)?;
                self.items.iter().map(|item| item.scores[position]).collect()
            }
            Score::Age => column(&|item| self.seen - 1 - item.born),
            Score::Accesses => column(&|item| item.accesses),
            Score::Idle => column(&|item| self.clock - item.touched),
        })
    }

    pub(super) fn id(&self, slot: usize) -> ItemId {
        ItemId { slot: slot as u32, generation: self.items[slot].born }
    }

    /// Counts an offered sample, before it is known what becomes of it.
    pub(super) fn offered(&mut self) {
        self.seen += 1;
        self.clock += 1;
    }

    /// The sample that was counted last goes to a slot; returns what was there.
    pub(super) fn put(&mut self, slot: usize, scores: Vec<f64>) -> Option<Item> {
        let item = Item { born: self.seen - 1, touched: self.clock, accesses: 0, scores };
        if slot == self.items.len() {
            self.items.push(item);
            return None;
        }
        Some(std::mem::replace(&mut self.items[slot], item))
    }

    /// Takes back puts, given last first, and offers.
    pub(super) fn undo(&mut self, puts: Vec<(usize, Option<Item>)>, offers: u64) {
        for (slot, item) in puts.into_iter().rev() {
            match item {
                Some(item) => self.items[slot] = item,
                None => self.items.truncate(slot),
            }
        }
        self.seen -= offers;
        self.clock -= offers;
    }

    /// One call of `sample` returned these.
    pub(super) fn sampled(&mut self, slots: &[u32]) {
        self.clock += 1;
        for &slot in slots {
            let item = &mut self.items[slot as usize];
            item.accesses += 1;
            item.touched = self.clock;
        }
    }

    /// Changes scores of samples that are still there; returns the others.
    pub(super) fn update(&mut self, ids: &[ItemId], given: &[(&str, &Tensor)]) -> Result<Vec<ItemId>> {
        let columns = self.columns(ids.len(), given)?;
        let mut stale = Vec::new();
        for (row, &id) in ids.iter().enumerate() {
            if !self.holds(id) {
                stale.push(id);
                continue;
            }
            for (position, values) in &columns {
                self.items[id.slot()].scores[*position] = values[row];
            }
        }
        Ok(stale)
    }

    /// The scores of n new samples, one row each: every name once.
    pub(super) fn rows(&self, n: usize, given: &[(&str, &Tensor)]) -> Result<Vec<Vec<f64>>> {
        let columns = self.columns(n, given)?;
        if columns.len() != self.names.len() {
            let missing = (0..self.names.len()).find(|i| columns.iter().all(|(position, _)| position != i));
            let name = missing.map_or("", |i| &self.names[i]);
            return Err(Error::invalid(
                format!("score \"{name}\""),
                "every sample needs it; give all scores",
            ));
        }
        let mut rows = vec![vec![0.0; columns.len()]; n];
        for (position, values) in columns {
            rows.iter_mut().zip(values).for_each(|(row, value)| row[position] = value);
        }
        Ok(rows)
    }

    fn columns(&self, n: usize, given: &[(&str, &Tensor)]) -> Result<Vec<(usize, Vec<f64>)>> {
        let mut columns: Vec<(usize, Vec<f64>)> = Vec::new();
        for &(name, values) in given {
            let position = position(&self.names, name)?;
            if columns.iter().any(|&(other, _)| other == position) {
                return Err(Error::invalid(format!("score \"{name}\""), "it is given twice"));
            }
            columns.push((position, finite(name, n, values)?));
        }
        Ok(columns)
    }
}

/// One finite number a sample, from (n) of any float dtype.
fn finite(name: &str, n: usize, scores: &Tensor) -> Result<Vec<f64>> {
    let what = || format!("score \"{name}\"");
    if scores.dims() != [n] {
        let why = format!("{n} numbers, one a sample, are needed, not {:?}", scores.dims());
        return Err(Error::invalid(what(), why));
    }
    let values = scores.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    match values.iter().position(|value| !value.is_finite()) {
        Some(i) => Err(Error::invalid(what(), format!("number {i} is {}", values[i]))),
        None => Ok(values),
    }
}

/// Where a score stands.
pub(super) fn position(names: &[String], name: &str) -> Result<usize> {
    names
        .iter()
        .position(|other| other == name)
        .ok_or_else(|| Error::invalid(format!("score \"{name}\""), format!("this memory has {names:?}")))
}

/// (v − min) / (max − min): from 0 to 1, and 0 for all where all are equal.
pub(super) fn normalise(column: &mut [f64]) {
    let min = column.iter().copied().fold(f64::INFINITY, f64::min);
    let max = column.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Halves, since the difference of two finite numbers may not be one.
    let range = 0.5 * max - 0.5 * min;
    for value in column {
        *value = if range > 0.0 { (0.5 * *value - 0.5 * min) / range } else { 0.0 };
    }
}
