//! Independent items: the newest so many of a stream.

use std::{ops::Range, path::Path};

use candle_core::Tensor;
use cl_core::{
    Result, Rng,
    snapshot::{self, Kind},
};
use serde::{Deserialize, Serialize};

use crate::{
    Draw, Drawn, Item, Prioritized, PrioritizedSample, PrioritizedTrajectories, Priority, Sample, Schema,
    Sequences, Trajectories, Updated,
    folder::{self, Foldable, Place},
    timeline::Timeline,
};

/// Checks a batch (n, ...) and writes it behind the newest; returns what was held before.
fn write(timeline: &mut Timeline, batch: &[(&str, &Tensor)]) -> Result<Range<u64>> {
    let (tensors, [n]) = timeline.schema().batch::<1>(batch)?;
    timeline.check_steps(n)?;
    let before = timeline.held();
    timeline.write_in_order(&tensors, n)?;
    Ok(before)
}

/// Each item of a batch is stored for itself: a batch (rows, steps, ...) as all of its steps, row after row.
fn flattened<'b>(batch: &'b [(&str, &Tensor)]) -> Result<Vec<(&'b str, Tensor)>> {
    batch.iter().map(|&(name, tensor)| Ok((name, tensor.flatten(0, 1)?))).collect()
}

fn borrowed<'b>(batch: &'b [(&'b str, Tensor)]) -> Vec<(&'b str, &'b Tensor)> {
    batch.iter().map(|(name, tensor)| (*name, tensor)).collect()
}

fn sizes(capacity: usize, min_len: usize) -> Sequences {
    Sequences { length: capacity, min_length: min_len, ..Sequences::default() }
}

/// The newest `capacity` items, each as likely as any other; the oldest go first. (The item buffer of Flashbax.)
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_replay::{Draw, Field, Items, Schema};
///
/// # fn main() -> cl_core::Result<()> {
/// let schema = Schema::new([Field::new("x", DType::F32, [2])])?;
/// let mut memory = Items::new(schema, 100, cl_core::rng(0, "memory"))?;
/// memory.add(&[("x", &Tensor::zeros((7, 2), DType::F32, &Device::Cpu)?)])?;
/// assert_eq!(memory.sample(5, Draw::WithoutReplacement)?.get("x")?.dims(), [5, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct Items(Trajectories);

impl Items {
    /// The kind and version of its snapshots.
    pub const KIND: Kind = Kind::new("cl-replay/items", 1);

    /// An empty memory; all its randomness comes from `rng`.
    ///
    /// # Errors
    /// [`cl_core::Error::Invalid`] on a capacity of zero.
    pub fn new(schema: Schema, capacity: usize, rng: Rng) -> Result<Self> {
        Self::with_min_len(schema, capacity, 1, rng)
    }

    /// The same, from which nothing is drawn before it has `min_len` items.
    ///
    /// # Errors
    /// [`cl_core::Error::Invalid`] on a capacity of zero, or below `min_len`.
    pub fn with_min_len(schema: Schema, capacity: usize, min_len: usize, rng: Rng) -> Result<Self> {
        Ok(Self(Trajectories::new(schema, sizes(capacity, min_len), rng)?))
    }

    /// The same in a folder, which may be larger than the memory of the machine.
    ///
    #[doc = include_str!("folder.md")]
    ///
    /// # Errors
    /// [`cl_core::Error::Invalid`] on a capacity of zero, or where there is a memory already, or somebody has
    /// the folder open; [`cl_core::Error::Io`] where it cannot be written or the disk is full: what was made is
    /// then removed.
    pub fn create(folder: impl AsRef<Path>, schema: Schema, capacity: usize, rng: Rng) -> Result<Self> {
        let place = Place::Folder(folder.as_ref());
        folder::create(|| Ok(Self(Trajectories::placed(schema, sizes(capacity, 1), rng, place)?)))
    }

    /// Adds the items of a batch in order: every field as (n, ...), 1 to `capacity` of them, as many or as few
    /// as come. Returns the items that had to go.
    ///
    /// # Errors
    /// [`cl_core::Error::Mismatch`] where a field differs in any axis or in dtype, [`cl_core::Error::Invalid`]
    /// where one is missing or unknown, or there are more items than the memory holds; it is then unchanged.
    pub fn add(&mut self, batch: &[(&str, &Tensor)]) -> Result<Vec<Item>> {
        let before = write(&mut self.0.timeline, batch)?;
        Ok((before.start..self.0.timeline.oldest()).map(|time| Item { row: 0, time }).collect())
    }

    /// Adds every step of every row of a batch, fields as (rows, steps, ...): row after row.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_sequences(&mut self, batch: &[(&str, &Tensor)]) -> Result<Vec<Item>> {
        self.0.timeline.schema().batch::<2>(batch)?;
        self.add(&borrowed(&flattened(batch)?))
    }

    /// Items that it holds.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Items that it can hold.
    pub fn capacity(&self) -> usize {
        self.0.length()
    }

    /// Whether there is enough to draw from.
    pub fn can_sample(&self) -> bool {
        self.0.can_sample()
    }

    /// `n` items: every field as (n, ...).
    ///
    /// # Errors
    /// [`cl_core::Error::Invalid`] before [`can_sample`](Self::can_sample), or where a draw without replacement
    /// asks for more than there are; nothing is changed then.
    pub fn sample(&mut self, n: usize, draw: Draw) -> Result<Sample> {
        let mut rng = self.0.rng.clone();
        let sample = self.sample_with(n, draw, &mut rng)?;
        self.0.rng = rng;
        Ok(sample)
    }

    /// The same with a generator of the caller's: for several that draw from one memory, each with its own
    /// ([`Shared`](crate::Shared)).
    ///
    /// # Errors
    /// As [`sample`](Self::sample); the generator is not moved then.
    pub fn sample_with(&self, n: usize, draw: Draw, rng: &mut Rng) -> Result<Sample> {
        let (items, slots) = self.0.draw(n, draw, rng)?;
        Ok(Sample { fields: self.0.timeline.steps(&slots)?, items })
    }

    folder::in_folder!();

    /// Writes everything to a file, the generator too; see [`snapshot::save`].
    ///
    /// # Errors
    /// As there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        snapshot::save(path, Self::KIND, self)
    }

    /// Restores what [`save`](Self::save) wrote; it continues as the saved one would have.
    ///
    /// # Errors
    /// As [`snapshot::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        snapshot::load(path, Self::KIND)
    }
}

/// The newest `capacity` items, drawn with the probability pᵅ / Σ pᵅ. (The prioritised item buffer of Flashbax.)
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_replay::{Field, Prioritized, PrioritizedItems, Schema};
///
/// # fn main() -> cl_core::Result<()> {
/// let schema = Schema::new([Field::new("x", DType::F32, [2])])?;
/// let config = Prioritized { alpha: 1.0, ..Default::default() };
/// let mut memory = PrioritizedItems::new(schema, 100, config, cl_core::rng(0, "memory"))?;
/// memory.add(&[("x", &Tensor::zeros((4, 2), DType::F32, &Device::Cpu)?)])?;
/// let all = memory.sample(4, 0.0)?.items;
/// memory.set_priorities(&all, &[1.0, 2.0, 3.0, 4.0])?;
/// assert_eq!(memory.total(), 10.0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct PrioritizedItems(PrioritizedTrajectories);

impl PrioritizedItems {
    /// The kind and version of its snapshots.
    pub const KIND: Kind = Kind::new("cl-replay/prioritized-items", 1);

    /// An empty memory; all its randomness comes from `rng`.
    ///
    /// # Errors
    /// [`cl_core::Error::Invalid`] on a capacity of zero, or a configuration that cannot be: see
    /// [`PrioritizedTrajectories::new`].
    pub fn new(schema: Schema, capacity: usize, config: Prioritized, rng: Rng) -> Result<Self> {
        Self::with_min_len(schema, capacity, 1, config, rng)
    }

    /// The same, from which nothing is drawn before it has `min_len` items.
    ///
    /// # Errors
    /// As [`new`](Self::new), and on a capacity below `min_len`.
    pub fn with_min_len(
        schema: Schema,
        capacity: usize,
        min_len: usize,
        config: Prioritized,
        rng: Rng,
    ) -> Result<Self> {
        Ok(Self(PrioritizedTrajectories::new(schema, sizes(capacity, min_len), config, rng)?))
    }

    /// The same in a folder, which may be larger than the memory of the machine; the priorities are in RAM, and
    /// are written as a whole by every flush.
    ///
    #[doc = include_str!("folder.md")]
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`Items::create`].
    pub fn create(
        folder: impl AsRef<Path>,
        schema: Schema,
        capacity: usize,
        config: Prioritized,
        rng: Rng,
    ) -> Result<Self> {
        let (place, sizes) = (Place::Folder(folder.as_ref()), sizes(capacity, 1));
        folder::create(|| Ok(Self(PrioritizedTrajectories::placed(schema, sizes, config, rng, place)?)))
    }

    /// Adds the items of a batch in order, with the priority of new items; the oldest go first. As
    /// [`Items::add`].
    ///
    /// # Errors
    /// As there.
    pub fn add(&mut self, batch: &[(&str, &Tensor)]) -> Result<()> {
        let before = write(&mut self.0.sequences.timeline, batch)?;
        self.0.grow(before)
    }

    /// Adds every step of every row of a batch, fields as (rows, steps, ...): row after row.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_sequences(&mut self, batch: &[(&str, &Tensor)]) -> Result<()> {
        self.0.sequences.timeline.schema().batch::<2>(batch)?;
        self.add(&borrowed(&flattened(batch)?))
    }

    /// Items that it holds; those of priority 0 are among them.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Items that it can hold.
    pub fn capacity(&self) -> usize {
        self.0.length()
    }

    /// Whether there is anything to draw.
    pub fn can_sample(&self) -> bool {
        self.0.can_sample()
    }

    /// What an item would be drawn in proportion to now, its pᵅ; none where it is gone.
    ///
    /// # Errors
    /// [`cl_core::Error::Invalid`] on an item that there never was.
    pub fn priority(&self, item: Item) -> Result<Option<f32>> {
        self.0.priority(item)
    }

    /// The sum of all pᵅ.
    pub fn total(&self) -> f64 {
        self.0.total()
    }

    /// The largest pᵅ that was ever set, from 1.
    pub fn largest_ever(&self) -> f32 {
        self.0.largest_ever()
    }

    /// `n` items, every field as (n, ...), with the importance weights of this β.
    ///
    /// # Errors
    /// As [`PrioritizedTrajectories::sample`].
    pub fn sample(&mut self, n: usize, beta: f64) -> Result<PrioritizedSample> {
        let mut rng = self.0.sequences.rng.clone();
        let sample = self.sample_with(n, beta, &mut rng)?;
        self.0.sequences.rng = rng;
        Ok(sample)
    }

    /// The same with a generator of the caller's: for several that draw from one memory, each with its own
    /// ([`Shared`](crate::Shared)).
    ///
    /// # Errors
    /// As [`sample`](Self::sample); the generator is not moved then.
    pub fn sample_with(&self, n: usize, beta: f64, rng: &mut Rng) -> Result<PrioritizedSample> {
        let drawn = self.0.draw_with(n, beta, rng)?;
        let fields = self.0.sequences.timeline.steps(PrioritizedTrajectories::positions(&drawn))?;
        Ok(PrioritizedSample::new(drawn, fields))
    }

    /// The same without the experience: items, probabilities and weights.
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    pub fn draw(&mut self, n: usize, beta: f64) -> Result<Drawn> {
        self.0.draw(n, beta)
    }

    /// Sets priorities: see [`PrioritizedTrajectories::set_priorities`].
    ///
    /// # Errors
    /// As there.
    pub fn set_priorities(&mut self, items: &[Item], priorities: &[f32]) -> Result<Updated> {
        self.0.set_priorities(items, priorities)
    }

    /// Sets the priorities that a rule makes of a signal: see [`PrioritizedTrajectories::update`].
    ///
    /// # Errors
    /// As there.
    pub fn update(&mut self, items: &[Item], rule: &impl Priority, signal: &Tensor) -> Result<Updated> {
        self.0.update(items, rule, signal)
    }

    folder::in_folder!();

    /// Writes everything to a file, priorities and generator too; see [`snapshot::save`].
    ///
    /// # Errors
    /// As there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        snapshot::save(path, Self::KIND, self)
    }

    /// Restores what [`save`](Self::save) wrote; it continues as the saved one would have.
    ///
    /// # Errors
    /// As [`snapshot::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        snapshot::load(path, Self::KIND)
    }
}

folder::fold_as_inner!(Items, "cl-replay/items/head");
folder::fold_as_inner!(PrioritizedItems, "cl-replay/prioritized-items/head");
