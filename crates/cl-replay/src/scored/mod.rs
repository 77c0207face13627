//! A memory whose samples have scores: what to keep and what to draw go by them.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use cl_replay::Draw;
//! use cl_replay::scored::{Evict, Score, Scored, Strategy, Value, Worth};
//!
//! # fn main() -> cl_core::Result<()> {
//! // Old samples go first, unless their loss is high.
//! let evict = Evict::LeastWorth(Worth { tau: 500.0, scores: vec![("loss".into(), 0.5)], ..Worth::default() });
//! let mut memory = Scored::new(100, &["loss"], evict, cl_core::rng(0, "memory"))?;
//! // Half by the loss, half by who had the fewest turns.
//! let mixed = Value::Mixed(vec![("loss".into(), 0.5), (Score::Accesses, -0.5)]);
//! let strategy = Strategy::Softmax { value: mixed, temperature: 0.1, draw: Draw::WithoutReplacement };
//! for step in 0..50 {
//!     let x = Tensor::full(step as f32, (10, 4), &Device::Cpu)?;
//!     let y = Tensor::full(step, 10, &Device::Cpu)?;
//!     if !memory.is_empty() {
//!         let old = memory.sample(10, &strategy)?;
//!         // ... train on x and old.x, and tell the memory what the losses are now:
//!         let losses = Tensor::zeros(10, candle_core::DType::F32, &Device::Cpu)?;
//!         let gone = memory.update(&old.ids, &[("loss", &losses)])?;
//!         assert!(gone.is_empty());
//!     }
//!     let losses = Tensor::ones(10, candle_core::DType::F32, &Device::Cpu)?;
//!     memory.offer(&x, &y, &[("loss", &losses)])?;
//! }
//! assert_eq!(memory.len(), 100);
//! # Ok(())
//! # }
//! ```
//!
//! | part | is |
//! |---|---|
//! | [`Scored`] | the memory: samples, scores, generator |
//! | [`Strategy`] | what [`Scored::sample`] draws: uniform, by one score or several, a coreset |
//! | [`Eviction`], [`Evict`] | what a full memory gives up; apart from what is drawn |
//! | [`Ledger`] | scores, ages and access counts of what is held |
//!
//! The scores themselves come from [`scores`](crate::scores), or from anywhere else.

mod evict;
mod ledger;
mod strategy;

use std::path::Path;

use candle_core::{Device, Tensor};
use cl_core::{
    Error, Result, Rng,
    snapshot::{self, Kind},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use evict::{Evict, Eviction, Worth};
pub use ledger::{ItemId, Ledger, Score};
pub use strategy::{Strategy, Value};

use crate::{Rows, rows::pair};

/// A memory of samples with scores, a policy of what to give up, and strategies of what to draw: see
/// [the module](self).
#[derive(Debug, Serialize, Deserialize)]
pub struct Scored<P = Evict> {
    rows: Rows,
    ledger: Ledger,
    policy: P,
    rng: Rng,
}

/// What was drawn: copies.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Which samples these are, to update their scores.
    pub ids: Vec<ItemId>,
    /// (n, ...).
    pub x: Tensor,
    /// (n, ...).
    pub y: Tensor,
}

impl<P: Eviction> Scored<P> {
    /// The kind and version of its snapshots.
    pub const KIND: Kind = Kind::new("cl-replay/scored", 1);

    /// An empty memory of `capacity` samples with scores of these names, which may be none; all its
    /// randomness comes from `rng`.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a capacity of zero, or of 2³² − 1 and more, on names that are empty or not
    /// distinct, and on a policy that needs another score or does not work.
    pub fn new(capacity: usize, scores: &[&str], policy: P, rng: Rng) -> Result<Self> {
        let (rows, ledger) = (Rows::new(capacity)?, Ledger::new(scores)?);
        policy.check(ledger.names())?;
        Ok(Self { rows, ledger, policy, rng })
    }

    /// The number of samples it holds.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The number of samples it can hold.
    pub fn capacity(&self) -> usize {
        self.rows.capacity()
    }

    /// The number of samples it was offered.
    pub fn seen(&self) -> u64 {
        self.ledger.seen()
    }

    /// Scores, ages and access counts of what it holds.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Offers the samples of a batch in order: `x` (n, ...) and `y` (n, ...), of any dtypes, and every score,
    /// (n) of any float dtype, by name. Returns the id of each that was taken, `None` for one that was turned
    /// away; one that was taken may have had to go again for a later one of the same batch.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where n differs, or a row's shape, dtype or device from those before;
    /// [`Error::Invalid`] on a score that is missing, unknown or not finite; the policy's own. Nothing has
    /// changed then, the generator included.
    pub fn offer(
        &mut self,
        x: &Tensor,
        y: &Tensor,
        scores: &[(&str, &Tensor)],
    ) -> Result<Vec<Option<ItemId>>> {
        let n = self.rows.check(&[x, y])?;
        let scores = self.ledger.rows(n, scores)?;
        let rng = self.rng.clone();
        self.carry_out(scores, &[x, y], |memory, _, scores| {
            if memory.ledger.len() < memory.capacity() {
                return Ok(Some(memory.ledger.len()));
            }
            memory.policy.victim(&memory.ledger, scores, &mut memory.rng)
        })
        .inspect_err(|_| self.rng = rng)
    }

    /// Puts the samples of a batch in the place of chosen ones, whatever the policy says: row i in that of
    /// `ids[i]`. Returns the new ids. For policies that look at the memory as a whole, such as
    /// [`gss::select`](crate::gss::select). The samples count as offered.
    ///
    /// # Errors
    /// As [`offer`](Self::offer), and on ids that are not there any more, or not distinct.
    pub fn replace(
        &mut self,
        ids: &[ItemId],
        x: &Tensor,
        y: &Tensor,
        scores: &[(&str, &Tensor)],
    ) -> Result<Vec<ItemId>> {
        let n = self.rows.check(&[x, y])?;
        if n != ids.len() {
            return Err(Error::mismatch("replace", format!("{n} ids, one a row"), ids.len().to_string()));
        }
        for (i, id) in ids.iter().enumerate() {
            if !self.ledger.holds(*id) || ids[..i].contains(id) {
                return Err(Error::invalid(
                    "replace",
                    format!("{id:?} is not there any more, or given twice"),
                ));
            }
        }
        let scores = self.ledger.rows(n, scores)?;
        let taken = self.carry_out(scores, &[x, y], |_, row, _| Ok(Some(ids[row].slot())))?;
        Ok(taken.into_iter().flatten().collect())
    }

    /// Takes samples in one by one, each into the slot that `place` says; undoes all of it on an error.
    fn carry_out(
        &mut self,
        scores: Vec<Vec<f64>>,
        batch: &[&Tensor],
        place: impl Fn(&mut Self, usize, &[f64]) -> Result<Option<usize>>,
    ) -> Result<Vec<Option<ItemId>>> {
        let (mut puts, mut places, mut taken, mut offers) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let all = || {
            for (row, scores) in scores.into_iter().enumerate() {
                self.ledger.offered();
                offers += 1;
                let slot = place(self, row, &scores)?;
                if let Some(slot) = slot {
                    if slot > self.ledger.len() || slot >= self.capacity() {
                        let why = format!("it gave up slot {slot}, the memory has {}", self.ledger.len());
                        return Err(Error::invalid("eviction policy", why));
                    }
                    puts.push((slot, self.ledger.put(slot, scores)));
                    places.push((slot, row));
                }
                taken.push(slot.map(|slot| self.ledger.id(slot)));
            }
            self.rows.write(&places, batch)
        };
        match all() {
            Ok(()) => Ok(taken),
            Err(error) => {
                self.ledger.undo(puts, offers);
                Err(error)
            }
        }
    }

    /// `n` samples, and counts it as an access to each of them (twice where a sample is drawn twice).
    ///
    /// # Errors
    /// [`Error::Invalid`] where the memory is empty, where less than `n` samples can be drawn without
    /// replacement, and what [`Strategy`] says; nothing has changed then, the generator included.
    pub fn sample(&mut self, n: usize, strategy: &Strategy) -> Result<Sample> {
        let mut rng = self.rng.clone();
        let sample = self.peek(n, strategy, &mut rng)?;
        let slots: Vec<u32> = sample.ids.iter().map(|id| id.slot() as u32).collect();
        self.ledger.sampled(&slots);
        self.rng = rng;
        Ok(sample)
    }

    /// `n` samples that do not count as accesses, drawn with a generator of the caller's: the memory does not
    /// change.
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    pub fn peek(&self, n: usize, strategy: &Strategy, rng: &mut Rng) -> Result<Sample> {
        let slots = strategy.slots(n, &self.ledger, rng)?;
        let (x, y) = pair(self.rows.gather(&slots)?)?;
        Ok(Sample { ids: slots.iter().map(|&slot| self.ledger.id(slot as usize)).collect(), x, y })
    }

    /// Everything it holds, in the order of the slots, which is that of [`Ledger::ids`]: `x` (len, ...) and
    /// `y` (len, ...), as copies. Not an access.
    ///
    /// # Errors
    /// [`Error::Invalid`] before the first offer, when shapes and dtypes are not known yet.
    pub fn all(&self) -> Result<(Tensor, Tensor)> {
        pair(self.rows.copy(0, self.len())?)
    }

    /// Gives samples new scores, (number of ids) each, for any of the names. Where an id is given twice, the
    /// last one counts. Returns the ids whose samples are not there any more: their scores are dropped, and
    /// reach no other sample.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a score that is unknown, not finite or not one number an id; no score has
    /// changed then.
    pub fn update(&mut self, ids: &[ItemId], scores: &[(&str, &Tensor)]) -> Result<Vec<ItemId>> {
        self.ledger.update(ids, scores)
    }

    /// Moves the samples to `device`, from which batches must come then; the scores are on the host. A
    /// restored memory is on the CPU.
    ///
    /// # Errors
    /// candle's own.
    pub fn to_device(&mut self, device: &Device) -> Result<()> {
        self.rows.to_device(device)
    }

    /// Writes samples, scores, counters, policy and generator to a file; see [`snapshot::save`].
    ///
    /// # Errors
    /// As there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()>
    where
        P: Serialize,
    {
        snapshot::save(path, Self::KIND, self)
    }

    /// Restores what [`save`](Self::save) wrote; it continues as the saved one would have.
    ///
    /// # Errors
    /// As [`snapshot::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self>
    where
        P: DeserializeOwned,
    {
        snapshot::load(path, Self::KIND)
    }
}
