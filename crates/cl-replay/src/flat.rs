//! Transitions: two neighbouring steps.

use std::path::Path;

use candle_core::Tensor;
use cl_core::{
    Error, Result, Rng,
    snapshot::{self, Kind},
};
use serde::{Deserialize, Serialize};

use crate::{
    Draw, Fields, Item, Prioritized, PrioritizedSample, PrioritizedTrajectories, Priority, Schema, Sequences,
    Trajectories, Updated,
    folder::{self, Foldable, Place},
    timeline::Timeline,
};

/// The sizes of a memory of transitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transitions {
    /// Steps that it holds, over all rows.
    pub capacity: usize,
    /// Rows that advance together, such as environments.
    pub rows: usize,
    /// Pairs of neighbouring steps that must be there before anything is drawn, rounded down to as many in each row.
    pub min_len: usize,
    /// Fields of which a value other than 0 says that a step is the last of its episode. If there are any, a
    /// transition never leads from one episode into the next.
    pub ends: Vec<String>,
}

impl Default for Transitions {
    fn default() -> Self {
        Self { capacity: 2, rows: 1, min_len: 1, ends: Vec::new() }
    }
}

impl Transitions {
    fn sequences(self) -> Result<Sequences> {
        if self.rows == 0 {
            return Err(Error::invalid("rows", "0: at least 1 is needed"));
        }
        let (length, min_length) = (self.capacity / self.rows, (self.min_len / self.rows).saturating_add(1));
        if length < 2 {
            let why =
                format!("{} steps for {} rows: each needs two for a transition", self.capacity, self.rows);
            return Err(Error::invalid("capacity", why));
        }
        if min_length > length {
            let why = format!("{} transitions will never be there: a row holds {length} steps", self.min_len);
            return Err(Error::invalid("min_len", why));
        }
        Ok(Sequences { rows: self.rows, length, sample: 2, period: 1, min_length, ends: self.ends })
    }
}

/// Which leading dimensions the fields of a batch have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leading {
    /// None: one step of one row.
    None,
    /// One step of every row.
    Rows,
    /// Several steps of one row.
    Steps,
    /// Several steps of every row.
    RowsSteps,
}

impl Leading {
    fn full<'b>(self, batch: &[(&'b str, &Tensor)]) -> Result<Vec<(&'b str, Tensor)>> {
        let full = |tensor: &Tensor| match self {
            Self::None => tensor.unsqueeze(0)?.unsqueeze(0),
            Self::Rows => tensor.unsqueeze(1.min(tensor.rank())),
            Self::Steps => tensor.unsqueeze(0),
            Self::RowsSteps => Ok(tensor.clone()),
        };
        batch.iter().map(|&(name, tensor)| Ok((name, full(tensor)?))).collect()
    }
}

fn borrowed<'b>(batch: &'b [(&'b str, Tensor)]) -> Vec<(&'b str, &'b Tensor)> {
    batch.iter().map(|(name, tensor)| (*name, tensor)).collect()
}

/// Two neighbouring steps of each item.
#[derive(Debug, Clone)]
pub struct Transition {
    /// The steps t: every field as (batch, ...).
    pub first: Fields,
    /// The steps t + 1.
    pub second: Fields,
    /// Which they are: the time is that of the first step.
    pub items: Vec<Item>,
}

impl Transition {
    fn new(sequences: Fields, items: Vec<Item>) -> Result<Self> {
        let step = |at: usize| sequences.map(|tensor| tensor.narrow(1, at, 1)?.squeeze(1)?.contiguous());
        Ok(Self { first: step(0)?, second: step(1)?, items })
    }
}

/// Transitions (t, t + 1), each as likely as any other; the pair of newest and oldest step is never drawn. (The
/// flat buffer of Flashbax.)
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_replay::{Draw, Field, Flat, Leading, Schema, Transitions};
///
/// # fn main() -> cl_core::Result<()> {
/// let schema = Schema::new([Field::new("obs", DType::F32, [4]), Field::new("done", DType::U8, [])])?;
/// let sizes = Transitions { capacity: 1000, ends: vec!["done".into()], ..Default::default() };
/// let mut memory = Flat::new(schema, sizes, cl_core::rng(0, "memory"))?;
/// for t in 0..10u8 {
///     let obs = Tensor::full(f32::from(t), 4, &Device::Cpu)?;
///     let done = Tensor::new(u8::from(t % 5 == 4), &Device::Cpu)?;
///     memory.add(Leading::None, &[("obs", &obs), ("done", &done)])?;
/// }
/// assert_eq!(memory.len(), 8); // two episodes of five steps
/// let transition = memory.sample(32, Draw::WithReplacement)?;
/// assert_eq!(transition.first.get("obs")?.dims(), [32, 4]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct Flat(Trajectories);

impl Flat {
    /// The kind and version of its snapshots.
    pub const KIND: Kind = Kind::new("cl-replay/flat", 1);

    /// An empty memory; all its randomness comes from `rng`.
    ///
    /// # Errors
    /// [`Error::Invalid`] on fewer than two steps a row, a `min_len` that will never be reached, or an `ends`
    /// that is no field of one number.
    pub fn new(schema: Schema, sizes: Transitions, rng: Rng) -> Result<Self> {
        Ok(Self(Trajectories::new(schema, sizes.sequences()?, rng)?))
    }

    /// The same in a folder: see [`Trajectories::create`].
    ///
    /// # Errors
    /// As [`new`](Self::new), and as there.
    pub fn create(folder: impl AsRef<Path>, schema: Schema, sizes: Transitions, rng: Rng) -> Result<Self> {
        let (place, sizes) = (Place::Folder(folder.as_ref()), sizes.sequences()?);
        folder::create(|| Ok(Self(Trajectories::placed(schema, sizes, rng, place)?)))
    }

    /// Adds steps with these leading dimensions.
    ///
    /// # Errors
    /// As [`Trajectories::add`].
    pub fn add(&mut self, leading: Leading, batch: &[(&str, &Tensor)]) -> Result<()> {
        self.0.add(&borrowed(&leading.full(batch)?))
    }

    /// Transitions that could be drawn now.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no transition.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Steps that each row can hold.
    pub fn length(&self) -> usize {
        self.0.length()
    }

    /// Whether there is anything to draw, and enough of it.
    pub fn can_sample(&self) -> bool {
        self.0.can_sample()
    }

    /// `n` transitions.
    ///
    /// # Errors
    /// As [`Trajectories::sample`].
    pub fn sample(&mut self, n: usize, draw: Draw) -> Result<Transition> {
        let sample = self.0.sample(n, draw)?;
        Transition::new(sample.fields, sample.items)
    }

    /// The same with a generator of the caller's: see [`Trajectories::sample_with`].
    ///
    /// # Errors
    /// As there.
    pub fn sample_with(&self, n: usize, draw: Draw, rng: &mut Rng) -> Result<Transition> {
        let sample = self.0.sample_with(n, draw, rng)?;
        Transition::new(sample.fields, sample.items)
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

/// Transitions drawn by priority, with their importance weights.
#[derive(Debug, Clone)]
pub struct PrioritizedTransition {
    /// The steps t: every field as (batch, ...).
    pub first: Fields,
    /// The steps t + 1.
    pub second: Fields,
    /// Which they are.
    pub items: Vec<Item>,
    /// With which probability each was drawn: f32 (batch).
    pub probabilities: Tensor,
    /// Importance weights: f32 (batch).
    pub weights: Tensor,
}

impl PrioritizedTransition {
    fn new(sample: PrioritizedSample) -> Result<Self> {
        let Transition { first, second, items } = Transition::new(sample.fields, sample.items)?;
        let (probabilities, weights) = (sample.probabilities, sample.weights);
        Ok(Self { first, second, items, probabilities, weights })
    }
}

/// Transitions (t, t + 1), drawn with the probability pᵅ / Σ pᵅ. (The prioritised flat buffer of Flashbax.)
#[derive(Debug, Serialize, Deserialize)]
pub struct PrioritizedFlat(PrioritizedTrajectories);

impl PrioritizedFlat {
    /// The kind and version of its snapshots.
    pub const KIND: Kind = Kind::new("cl-replay/prioritized-flat", 1);

    /// An empty memory; all its randomness comes from `rng`.
    ///
    /// # Errors
    /// As [`Flat::new`] and [`PrioritizedTrajectories::new`].
    pub fn new(schema: Schema, sizes: Transitions, config: Prioritized, rng: Rng) -> Result<Self> {
        Ok(Self(PrioritizedTrajectories::new(schema, sizes.sequences()?, config, rng)?))
    }

    /// The same in a folder: see [`PrioritizedTrajectories::create`].
    ///
    /// # Errors
    /// As [`new`](Self::new), and as there.
    pub fn create(
        folder: impl AsRef<Path>,
        schema: Schema,
        sizes: Transitions,
        config: Prioritized,
        rng: Rng,
    ) -> Result<Self> {
        let (place, sizes) = (Place::Folder(folder.as_ref()), sizes.sequences()?);
        folder::create(|| Ok(Self(PrioritizedTrajectories::placed(schema, sizes, config, rng, place)?)))
    }

    /// Adds steps with these leading dimensions; the transitions that they complete get the priority of new
    /// items.
    ///
    /// # Errors
    /// As [`Trajectories::add`].
    pub fn add(&mut self, leading: Leading, batch: &[(&str, &Tensor)]) -> Result<()> {
        self.0.add(&borrowed(&leading.full(batch)?))
    }

    /// Transitions that are complete and held; those of priority 0 are among them.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no transition.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is anything to draw.
    pub fn can_sample(&self) -> bool {
        self.0.can_sample()
    }

    /// The sum of all pᵅ.
    pub fn total(&self) -> f64 {
        self.0.total()
    }

    /// The largest pᵅ that was ever set, from 1.
    pub fn largest_ever(&self) -> f32 {
        self.0.largest_ever()
    }

    /// What an item would be drawn in proportion to now; none where it is gone.
    ///
    /// # Errors
    /// [`Error::Invalid`] on an item that there never was.
    pub fn priority(&self, item: Item) -> Result<Option<f32>> {
        self.0.priority(item)
    }

    /// `n` transitions, with the importance weights of this β.
    ///
    /// # Errors
    /// As [`PrioritizedTrajectories::sample`].
    pub fn sample(&mut self, n: usize, beta: f64) -> Result<PrioritizedTransition> {
        PrioritizedTransition::new(self.0.sample(n, beta)?)
    }

    /// The same with a generator of the caller's: see [`PrioritizedTrajectories::sample_with`].
    ///
    /// # Errors
    /// As there.
    pub fn sample_with(&self, n: usize, beta: f64, rng: &mut Rng) -> Result<PrioritizedTransition> {
        PrioritizedTransition::new(self.0.sample_with(n, beta, rng)?)
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

folder::fold_as_inner!(Flat, "cl-replay/flat/head");
folder::fold_as_inner!(PrioritizedFlat, "cl-replay/prioritized-flat/head");
