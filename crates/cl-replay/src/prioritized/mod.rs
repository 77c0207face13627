//! Sequences of steps, drawn by priority (Schaul et al. 2016).

mod extremes;
mod new_items;
mod weights;

use std::{ops::Range, path::Path};

use candle_core::{Device, Tensor};
use cl_core::{
    Error, Result, Rng,
    snapshot::{self, Kind},
};
use serde::{Deserialize, Serialize};

use crate::{
    Fields, Item, Priority, Schema, Sequences, Strata, SumTree, Trajectories,
    folder::{self, Foldable, Place},
    grid::Decoder,
    pow::pow_all,
    timeline::Timeline,
};

use extremes::Extremes;
pub use new_items::NewItems;
use weights::importance;
pub use weights::{Anneal, Weights};

/// How priorities become probabilities, and probabilities weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prioritized {
    /// α, from 0 (uniform over what has a priority above 0) to 1 (proportional): an item is drawn with the
    /// probability pᵅ / Σ pᵅ.
    pub alpha: f64,
    /// The priority of what was just added.
    pub new_items: NewItems,
    /// What the importance weights are divided by.
    pub weights: Weights,
    /// How the draws of a batch are spread.
    pub strata: Strata,
}

impl Default for Prioritized {
    /// α = 0.6, new items as large as the largest so far, weights at most 1 within a batch, stratified.
    fn default() -> Self {
        Self {
            alpha: 0.6,
            new_items: NewItems::default(),
            weights: Weights::default(),
            strata: Strata::default(),
        }
    }
}

/// What was drawn by priority, without the experience.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// Which they are.
    pub items: Vec<Item>,
    /// With which probability each was drawn, from the state that was drawn from: f32 (batch).
    pub probabilities: Tensor,
    /// Importance weights (N · P)^−β by the rule of [`Weights`]: f32 (batch).
    pub weights: Tensor,
    positions: Vec<u32>,
}

/// What was drawn by priority.
#[derive(Debug, Clone)]
pub struct PrioritizedSample {
    /// The sequences: every field as (batch, steps, ...).
    pub fields: Fields,
    /// Which they are; [`PrioritizedTrajectories::set_priorities`] takes them.
    pub items: Vec<Item>,
    /// With which probability each was drawn, from the state that was drawn from: f32 (batch).
    pub probabilities: Tensor,
    /// Importance weights (N · P)^−β by the rule of [`Weights`]: f32 (batch).
    pub weights: Tensor,
}

impl PrioritizedSample {
    pub(crate) fn new(drawn: Drawn, fields: Fields) -> Self {
        let Drawn { items, probabilities, weights, .. } = drawn;
        Self { fields, items, probabilities, weights }
    }

    /// The tensor of a field.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no such field.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.fields.get(name)
    }
}

/// What became of new priorities.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Updated {
    /// How many were set.
    pub set: usize,
    /// Which places of the batch came too late: their items were overwritten since they were drawn. What is in
    /// their place now keeps its own priority.
    pub late: Vec<usize>,
}

/// Sequences of a number of steps, drawn with the probability pᵅ / Σ pᵅ. (The prioritised trajectory buffer of
/// Flashbax, with importance weights, and with items that are never confused with their successors.)
///
/// The length of a row is rounded down to a multiple of the period. An item that an addition touches cannot be
/// drawn from then on, nor be revived by a late priority.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_replay::{Field, Prioritized, PrioritizedTrajectories, Schema, Sequences, TdError};
///
/// # fn main() -> cl_core::Result<()> {
/// let schema = Schema::new([Field::new("obs", DType::F32, [4])])?;
/// let sizes = Sequences { length: 1000, sample: 4, ..Default::default() };
/// let mut memory =
///     PrioritizedTrajectories::new(schema, sizes, Prioritized::default(), cl_core::rng(0, "memory"))?;
/// memory.add(&[("obs", &Tensor::zeros((1, 50, 4), DType::F32, &Device::Cpu)?)])?;
///
/// let sample = memory.sample(32, 0.4)?; // β = 0.4
/// assert_eq!(sample.get("obs")?.dims(), [32, 4, 4]);
/// // ... the loss of every sequence, times sample.weights; and its temporal-difference error ...
/// let delta = Tensor::ones(32, DType::F32, &Device::Cpu)?;
/// let updated = memory.update(&sample.items, &TdError::default(), &delta)?;
/// assert!(updated.late.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct PrioritizedTrajectories {
    /// The steps, what of them can be drawn, and the generator.
    pub(crate) sequences: Trajectories,
    config: Prioritized,
    tree: SumTree,
    /// Smallest and largest leaf, where the configuration asks for one of them.
    extremes: Option<Extremes>,
    /// The largest leaf ever set, from 1.
    largest_ever: f32,
}

impl PrioritizedTrajectories {
    /// The kind and version of its snapshots.
    pub const KIND: Kind = Kind::new("cl-replay/prioritized-trajectories", 1);

    /// An empty memory; all its randomness comes from `rng`.
    ///
    /// # Errors
    /// [`Error::Invalid`] as [`Trajectories::new`](crate::Trajectories::new), and on an α outside [0, 1], or a
    /// fixed priority of new items that is none.
    pub fn new(schema: Schema, sizes: Sequences, config: Prioritized, rng: Rng) -> Result<Self> {
        Self::placed(schema, sizes, config, rng, Place::Ram)
    }

    /// The same in a folder, which may be larger than the memory of the machine; the priorities are in RAM, and
    /// are written as a whole by every flush.
    ///
    #[doc = include_str!("../folder.md")]
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::Invalid`] where there is a memory already, or somebody has the folder
    /// open; [`Error::Io`] where it cannot be written or the disk is full: what was made is then removed.
    pub fn create(
        folder: impl AsRef<Path>,
        schema: Schema,
        sizes: Sequences,
        config: Prioritized,
        rng: Rng,
    ) -> Result<Self> {
        folder::create(|| Self::placed(schema, sizes, config, rng, Place::Folder(folder.as_ref())))
    }

    pub(crate) fn placed(
        schema: Schema,
        sizes: Sequences,
        config: Prioritized,
        rng: Rng,
        place: Place<'_>,
    ) -> Result<Self> {
        if !(0.0..=1.0).contains(&config.alpha) {
            return Err(Error::invalid("alpha", format!("{} is not between 0 and 1", config.alpha)));
        }
        config.new_items.check()?;
        if sizes.length > 0 && sizes.period > sizes.length {
            let why = format!("{} is more than the {} steps of a row", sizes.period, sizes.length);
            return Err(Error::invalid("period", why));
        }
        let length = sizes.length - sizes.length % sizes.period.max(1);
        let sizes = Sequences { length, ..sizes };
        let sequences = Trajectories::placed(schema, sizes, rng, place)?;
        let places = sequences.grid.places();
        let needs_extremes = config.weights == Weights::BufferMax || config.new_items == NewItems::LargestNow;
        Ok(Self {
            sequences,
            tree: SumTree::new(places)?,
            extremes: needs_extremes.then(|| Extremes::new(places)),
            largest_ever: 1.0,
            config,
        })
    }

    /// Adds steps: every field as (rows, steps, ...), 1 to T of them. The sequences that they complete get the
    /// priority of new items; those that they overwrite are gone.
    ///
    /// # Errors
    /// As [`Trajectories::add`](crate::Trajectories::add); the memory is then unchanged.
    pub fn add(&mut self, batch: &[(&str, &Tensor)]) -> Result<()> {
        let (tensors, steps) = self.sequences.timeline.check(batch)?;
        let before = self.sequences.timeline.held();
        self.sequences.timeline.write(&tensors, steps)?;
        self.grow(before)
    }

    /// Gives priorities to what was completed since the steps of `before` were held, and takes them from what
    /// was overwritten.
    pub(crate) fn grow(&mut self, before: Range<u64>) -> Result<()> {
        let (old, new) = (
            self.sequences.grid.held(before.clone()),
            self.sequences.grid.held(self.sequences.timeline.held()),
        );
        let gone = old.start..old.end.min(new.start);
        let come = old.end.max(new.start)..new.end;
        let priority = match self.config.new_items {
            NewItems::LargestEver => self.largest_ever,
            NewItems::LargestNow => self.extremes.as_ref().and_then(Extremes::largest).unwrap_or(1.0),
            NewItems::Fixed(priority) => self.powers(&[priority])?[0],
        };
        self.sequences.track(before)?;
        // A full memory of single items: what comes takes the places of what goes.
        let per_row = self.sequences.grid.per_row() as u64;
        let replaced = gone.start + per_row == come.start && gone.end + per_row == come.end;
        if !replaced {
            for row in 0..self.sequences.grid.rows {
                self.fill(row, gone.clone(), 0.0)?;
            }
        }
        for row in 0..self.sequences.grid.rows {
            self.fill(row, come.clone(), priority)?;
        }
        Ok(())
    }

    /// Sets the leaves of consecutive starts of a row; those across the end of an episode to zero.
    fn fill(&mut self, row: usize, starts: Range<u64>, value: f32) -> Result<()> {
        let n = starts.end.saturating_sub(starts.start) as usize;
        if n == 0 {
            return Ok(());
        }
        let (per_row, at) = (self.sequences.grid.per_row(), self.sequences.grid.place(row, starts.start));
        let first = n.min((row + 1) * per_row - at);
        for (place, n) in [(at, first), (row * per_row, n - first)] {
            let (mut one, mut many);
            let leaves = match n {
                0 => continue,
                1 => {
                    one = [value];
                    &mut one[..]
                }
                _ => {
                    many = vec![value; n];
                    &mut many
                }
            };
            if let Some(episodes) = &self.sequences.episodes {
                for (leaf, place) in leaves.iter_mut().zip(place..) {
                    *leaf = if episodes.whole.contains(place) { value } else { 0.0 };
                }
            }
            self.set_leaves(place, leaves)?;
        }
        Ok(())
    }

    fn set_leaves(&mut self, place: usize, leaves: &[f32]) -> Result<()> {
        self.tree.set_range(place, leaves)?;
        if let Some(extremes) = &mut self.extremes {
            extremes.update(place..place + leaves.len(), |at| self.tree.leaf(at));
        }
        Ok(())
    }

    /// Sequences that are complete and held; those of priority 0 are among them.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether no sequence is complete.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Steps that each row holds now.
    pub fn stored(&self) -> usize {
        self.sequences.stored()
    }

    /// Steps that each row can hold: what was asked for, rounded down to a multiple of the period.
    pub fn length(&self) -> usize {
        self.sequences.length()
    }

    /// Steps that were ever added to each row.
    pub fn written(&self) -> u64 {
        self.sequences.written()
    }

    /// Steps of each period that no sequence has, because the period is longer than a sequence.
    pub fn skipped(&self) -> usize {
        self.sequences.skipped()
    }

    /// What an item would be drawn in proportion to now, its pᵅ; none where it is not held.
    ///
    /// # Errors
    /// [`Error::Invalid`] on an item that there never was.
    pub fn priority(&self, item: Item) -> Result<Option<f32>> {
        let decoder = Decoder::new(&self.sequences.grid, self.sequences.timeline.held());
        self.place_within(item, &decoder)?.map(|place| self.tree.get(place)).transpose()
    }

    /// The sum of all pᵅ.
    pub fn total(&self) -> f64 {
        self.tree.total()
    }

    /// The largest pᵅ that was ever set, from 1.
    pub fn largest_ever(&self) -> f32 {
        self.largest_ever
    }

    /// Whether there is anything to draw: enough steps, and at least one item with a priority above 0.
    pub fn can_sample(&self) -> bool {
        self.sequences.has_enough() && self.tree.total() > 0.0
    }

    /// `n` sequences, with the importance weights of this β (0: none, 1: full correction).
    ///
    /// # Errors
    /// [`Error::Invalid`] before [`can_sample`](Self::can_sample), or on a β that is negative or not finite;
    /// nothing is changed then.
    pub fn sample(&mut self, n: usize, beta: f64) -> Result<PrioritizedSample> {
        let mut rng = self.sequences.rng.clone();
        let sample = self.sample_with(n, beta, &mut rng)?;
        self.sequences.rng = rng;
        Ok(sample)
    }

    /// The same with a generator of the caller's: for several that draw from one memory, each with its own
    /// ([`Shared`](crate::Shared)).
    ///
    /// # Errors
    /// As [`sample`](Self::sample); the generator is not moved then.
    pub fn sample_with(&self, n: usize, beta: f64, rng: &mut Rng) -> Result<PrioritizedSample> {
        let drawn = self.draw_with(n, beta, rng)?;
        let starts = drawn.items.iter().zip(&drawn.positions);
        let starts = starts.map(|(item, &position)| (item.row as usize, position as usize));
        let fields = self.sequences.timeline.sequences(starts, self.sequences.grid.sample)?;
        Ok(PrioritizedSample::new(drawn, fields))
    }

    /// The same without the experience: items, probabilities and weights.
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    pub fn draw(&mut self, n: usize, beta: f64) -> Result<Drawn> {
        let mut rng = self.sequences.rng.clone();
        let drawn = self.draw_with(n, beta, &mut rng)?;
        self.sequences.rng = rng;
        Ok(drawn)
    }

    pub(crate) fn draw_with(&self, n: usize, beta: f64, rng: &mut Rng) -> Result<Drawn> {
        if !(beta.is_finite() && beta >= 0.0) {
            return Err(Error::invalid("beta", format!("{beta} is not a number from 0 on")));
        }
        if !self.can_sample() {
            return Err(self.sequences.too_early());
        }
        let (places, leaves) = self.tree.draw(n, self.config.strata, rng)?;
        let smallest = self.extremes.as_ref().and_then(Extremes::smallest);
        let (probabilities, weights) =
            importance(&leaves, self.tree.total(), self.len(), smallest, beta, self.config.weights);
        let decoder = Decoder::new(&self.sequences.grid, self.sequences.timeline.held());
        let decode = |&place| {
            let (item, position) = decoder.at(place);
            (item, position as u32)
        };
        let (items, positions) = places.iter().map(decode).unzip();
        Ok(Drawn {
            items,
            probabilities: Tensor::from_vec(probabilities, n, &Device::Cpu)?,
            weights: Tensor::from_vec(weights, n, &Device::Cpu)?,
            positions,
        })
    }

    /// Where in the ring the items begin that were drawn.
    pub(crate) fn positions(drawn: &Drawn) -> &[u32] {
        &drawn.positions
    }

    /// The newest `depth` values of a field up to the first step of each item, as (items, depth, ...): a stack of
    /// frames, of which each is stored once. Where an episode (by [`ends`](Sequences::ends)) or the memory begins
    /// within the stack, its first frame is repeated.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a depth of 0 or of more steps than a row holds, an unknown field, or an item that is not held any more.
    pub fn stack(&self, items: &[Item], field: &str, depth: usize) -> Result<Tensor> {
        self.sequences.stack(items, field, depth)
    }

    /// Sets priorities p; the items are then drawn in proportion to pᵅ, and never where p = 0 (also with α = 0).
    /// Of several priorities of one item the last one stays.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a priority that is negative or not finite, or an item that there never was;
    /// [`Error::Mismatch`] where there are not as many priorities as items. Nothing is changed then. An item
    /// that is gone is no error: see [`Updated`].
    pub fn set_priorities(&mut self, items: &[Item], priorities: &[f32]) -> Result<Updated> {
        if items.len() != priorities.len() {
            let expected = format!("{} priorities", items.len());
            return Err(Error::mismatch("set_priorities", expected, priorities.len().to_string()));
        }
        let mut updated = Updated::default();
        let mut places = Vec::with_capacity(items.len());
        let mut leaves = self.powers(priorities)?;
        let decoder = Decoder::new(&self.sequences.grid, self.sequences.timeline.held());
        for (i, &item) in items.iter().enumerate() {
            match self.place_within(item, &decoder)? {
                Some(place) => {
                    leaves[places.len()] = leaves[i];
                    places.push(place as u32);
                }
                None => updated.late.push(i),
            }
        }
        leaves.truncate(places.len());
        self.tree.set_batch(&places, &leaves)?;
        if let Some(extremes) = &mut self.extremes {
            extremes.update(places.iter().map(|&place| place as usize), |at| self.tree.leaf(at));
        }
        self.largest_ever = leaves.iter().copied().fold(self.largest_ever, f32::max);
        updated.set = places.len();
        Ok(updated)
    }

    /// Sets the priorities that a rule makes of a signal, such as temporal-difference errors (batch).
    ///
    /// # Errors
    /// As [`set_priorities`](Self::set_priorities), and those of the rule.
    pub fn update(&mut self, items: &[Item], rule: &impl Priority, signal: &Tensor) -> Result<Updated> {
        self.set_priorities(items, &rule.priorities(signal)?)
    }

    /// pᵅ of every p.
    fn powers(&self, priorities: &[f32]) -> Result<Vec<f32>> {
        for (i, &p) in priorities.iter().enumerate() {
            if !(p >= 0.0 && p.is_finite()) {
                let why = format!("{p} at place {i} is not a finite number from 0 on");
                return Err(Error::invalid("priority", why));
            }
        }
        let mut leaves = pow_all(priorities, 1.0, self.config.alpha);
        for (leaf, &priority) in leaves.iter_mut().zip(priorities) {
            // A positive priority stays positive: with α = 1 it may be subnormal.
            *leaf = if priority > 0.0 { leaf.max(f32::MIN_POSITIVE) } else { 0.0 };
        }
        Ok(leaves)
    }

    /// Where an item is kept; none where it is gone, or was never one because an episode ends within it.
    #[inline(always)]
    fn place_within(&self, item: Item, decoder: &Decoder) -> Result<Option<usize>> {
        let place = decoder.place(item)?;
        Ok(match &self.sequences.episodes {
            Some(episodes) => place.filter(|&place| episodes.whole.contains(place)),
            None => place,
        })
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

impl Foldable for PrioritizedTrajectories {
    const HEAD: Kind = Kind::new("cl-replay/prioritized-trajectories/head", 1);

    fn timeline(&self) -> &Timeline {
        &self.sequences.timeline
    }

    fn timeline_mut(&mut self) -> &mut Timeline {
        &mut self.sequences.timeline
    }

    fn forget(&mut self, reached: u64) -> Result<()> {
        let grid = self.sequences.grid;
        let old = grid.held(self.sequences.timeline.held());
        self.sequences.forget(reached)?;
        let new = grid.held(self.sequences.timeline.held());
        let gone = old.start..old.end.min(new.start);
        (0..grid.rows).try_for_each(|row| self.fill(row, gone.clone(), 0.0))
    }
}
