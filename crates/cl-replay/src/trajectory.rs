//! Sequences of steps, drawn uniformly.

use std::{ops::Range, path::Path};

use candle_core::Tensor;
use cl_core::{
    Error, Result, Rng,
    snapshot::{self, Kind},
};
use serde::{Deserialize, Serialize};

use crate::{
    Draw, Fields, Item, Schema,
    folder::{self, Foldable, Place},
    grid::{Decoder, Episodes, Grid},
    timeline::Timeline,
};

/// The sizes of a memory of sequences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequences {
    /// Rows that advance together, such as environments: the first dimension of what is added.
    pub rows: usize,
    /// Steps that each row holds.
    pub length: usize,
    /// Steps of a sequence that is drawn.
    pub sample: usize,
    /// Sequences begin at multiples of this, counted from the first step ever added. Where it is larger than
    /// `sample`, the steps between two sequences are never drawn ([`Trajectories::skipped`]).
    pub period: usize,
    /// Steps that each row must have before anything is drawn; at least `sample`.
    pub min_length: usize,
    /// Fields of which a value other than 0 says that a step is the last of its episode (terminated,
    /// truncated). If there are any, a sequence that is drawn never goes on behind such a step.
    pub ends: Vec<String>,
}

impl Default for Sequences {
    fn default() -> Self {
        Self { rows: 1, length: 1, sample: 1, period: 1, min_length: 1, ends: Vec::new() }
    }
}

impl Sequences {
    /// The grid, and what tracks the episodes if that is wanted.
    pub(crate) fn check(&self, schema: &Schema) -> Result<(Grid, Option<Episodes>)> {
        let grid = Grid::new(self.rows, self.length, self.sample, self.period)?;
        if self.min_length > self.length {
            let why = format!("{} steps will never be there: a row holds {}", self.min_length, self.length);
            return Err(Error::invalid("min_length", why));
        }
        let fields: Vec<usize> = self.ends.iter().map(|name| schema.position(name)).collect::<Result<_>>()?;
        if let Some(field) =
            fields.iter().map(|&at| &schema.fields()[at]).find(|field| !field.shape.is_empty())
        {
            let why = format!("{:?} says where an episode ends: it must be one number a step", field.name);
            return Err(Error::invalid("ends", why));
        }
        let episodes = (!fields.is_empty()).then(|| Episodes::new(fields, &grid));
        Ok((grid, episodes))
    }
}

/// What was drawn.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The sequences: every field as (batch, steps, ...).
    pub fields: Fields,
    /// Which they are.
    pub items: Vec<Item>,
}

impl Sample {
    /// The tensor of a field.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no such field.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.fields.get(name)
    }
}

/// Sequences of a number of steps, each as likely as any other: contiguous in time, never across the write
/// head. (The trajectory buffer of Flashbax.)
///
/// Sequences begin at fixed multiples of the period, so that they do not shift when the oldest steps are
/// overwritten: of n steps written of each row, and with T held, those at s₀ + j·P, s₀ = P·⌈max(n − T, 0)/P⌉,
/// j < m = ⌊(n − s₀ − L)/P⌋ + 1.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_replay::{Draw, Field, Schema, Sequences, Trajectories};
///
/// # fn main() -> cl_core::Result<()> {
/// let schema = Schema::new([Field::new("obs", DType::F32, [4])])?;
/// let sizes = Sequences { rows: 2, length: 100, sample: 8, ..Default::default() };
/// let mut memory = Trajectories::new(schema, sizes, cl_core::rng(0, "memory"))?;
/// for t in 0..20 {
///     let obs = Tensor::full(t as f32, (2, 1, 4), &Device::Cpu)?; // 2 rows, 1 step
///     memory.add(&[("obs", &obs)])?;
/// }
/// let sample = memory.sample(16, Draw::WithReplacement)?;
/// assert_eq!(sample.get("obs")?.dims(), [16, 8, 4]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct Trajectories {
    pub(crate) timeline: Timeline,
    pub(crate) grid: Grid,
    min_length: usize,
    pub(crate) episodes: Option<Episodes>,
    pub(crate) rng: Rng,
}

impl Trajectories {
    /// The kind and version of its snapshots.
    pub const KIND: Kind = Kind::new("cl-replay/trajectories", 1);

    /// An empty memory; all its randomness comes from `rng`.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a size of zero, sequences or a `min_length` longer than a row, or an `ends` that
    /// is no field of one number.
    pub fn new(schema: Schema, sizes: Sequences, rng: Rng) -> Result<Self> {
        Self::placed(schema, sizes, rng, Place::Ram)
    }

    /// The same in a folder, which may be larger than the memory of the machine.
    ///
    #[doc = include_str!("folder.md")]
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::Invalid`] where there is a memory already, or somebody has the folder
    /// open; [`Error::Io`] where it cannot be written or the disk is full: what was made is then removed.
    pub fn create(folder: impl AsRef<Path>, schema: Schema, sizes: Sequences, rng: Rng) -> Result<Self> {
        folder::create(|| Self::placed(schema, sizes, rng, Place::Folder(folder.as_ref())))
    }

    pub(crate) fn placed(schema: Schema, sizes: Sequences, rng: Rng, place: Place<'_>) -> Result<Self> {
        let (grid, episodes) = sizes.check(&schema)?;
        let timeline = Timeline::new(schema, sizes.rows, sizes.length, place)?;
        Ok(Self { timeline, grid, min_length: sizes.min_length, episodes, rng })
    }

    /// Adds steps: every field as (rows, steps, ...), 1 to T of them, as many or as few as come.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where a field differs in any axis or in dtype, [`Error::Invalid`] where one is
    /// missing or unknown, or there are more steps than a row holds; the memory is then unchanged.
    pub fn add(&mut self, batch: &[(&str, &Tensor)]) -> Result<()> {
        let (tensors, steps) = self.timeline.check(batch)?;
        let old = self.timeline.held();
        self.timeline.write(&tensors, steps)?;
        self.track(old)
    }

    /// Lets the episodes know of the steps behind the `old` ones.
    pub(crate) fn track(&mut self, old: Range<u64>) -> Result<()> {
        if let Some(episodes) = &mut self.episodes {
            let ends = ends(&self.timeline, &episodes.fields, old.end)?;
            episodes.extend(&self.grid, old, self.timeline.held(), &ends);
        }
        Ok(())
    }

    /// Sequences that could be drawn now.
    pub fn len(&self) -> usize {
        match &self.episodes {
            Some(episodes) => episodes.whole.members().len(),
            None => {
                let held = self.grid.held(self.timeline.held());
                (held.end - held.start) as usize * self.grid.rows
            }
        }
    }

    /// Whether no sequence is complete.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Steps that each row holds now.
    pub fn stored(&self) -> usize {
        self.timeline.stored()
    }

    /// Steps that each row can hold.
    pub fn length(&self) -> usize {
        self.timeline.length()
    }

    /// Steps that were ever added to each row.
    pub fn written(&self) -> u64 {
        self.timeline.written()
    }

    /// Steps of each period that no sequence has, because the period is longer than a sequence.
    pub fn skipped(&self) -> usize {
        self.grid.period.saturating_sub(self.grid.sample)
    }

    /// Whether there is anything to draw, and enough steps for it.
    pub fn can_sample(&self) -> bool {
        self.has_enough() && !self.is_empty()
    }

    /// Whether there are as many steps as were asked for.
    pub(crate) fn has_enough(&self) -> bool {
        self.timeline.stored() >= self.min_length
    }

    /// `n` sequences: every field as (n, steps, ...).
    ///
    /// # Errors
    /// [`Error::Invalid`] before [`can_sample`](Self::can_sample), or where a draw without replacement asks for
    /// more than there are; nothing is changed then.
    pub fn sample(&mut self, n: usize, draw: Draw) -> Result<Sample> {
        let mut rng = self.rng.clone();
        let sample = self.sample_with(n, draw, &mut rng)?;
        self.rng = rng;
        Ok(sample)
    }

    /// The same with a generator of the caller's: for several that draw from one memory, each with its own
    /// ([`Shared`](crate::Shared)).
    ///
    /// # Errors
    /// As [`sample`](Self::sample); the generator is not moved then.
    pub fn sample_with(&self, n: usize, draw: Draw, rng: &mut Rng) -> Result<Sample> {
        let (items, positions) = self.draw(n, draw, rng)?;
        let starts =
            items.iter().zip(&positions).map(|(item, &position)| (item.row as usize, position as usize));
        let fields = self.timeline.sequences(starts, self.grid.sample)?;
        Ok(Sample { fields, items })
    }

    /// The newest `depth` values of a field up to the first step of each item, as (items, depth, ...): a stack of
    /// frames, of which each is stored once. Where an episode (by [`ends`](Sequences::ends)) or the memory begins
    /// within the stack, its first frame is repeated.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a depth of 0 or of more steps than a row holds, an unknown field, or an item that is not held any more.
    pub fn stack(&self, items: &[Item], field: &str, depth: usize) -> Result<Tensor> {
        let ends = self.episodes.as_ref().map_or(&[][..], |episodes| &episodes.fields);
        self.timeline.stack(items, field, depth, ends)
    }

    /// Items, and where in the ring they begin.
    pub(crate) fn draw(&self, n: usize, draw: Draw, rng: &mut Rng) -> Result<(Vec<Item>, Vec<u32>)> {
        if !self.can_sample() {
            return Err(self.too_early());
        }
        let decoder = Decoder::new(&self.grid, self.timeline.held());
        let rows = self.grid.rows as u32;
        let chosen = draw.indices(n, self.len(), rng)?;
        let (mut items, mut positions) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for i in chosen {
            let (item, position) = match &self.episodes {
                Some(episodes) => decoder.at(episodes.whole.members()[i as usize]),
                None if rows == 1 => decoder.nth(0, i as usize),
                None => decoder.nth((i % rows) as usize, (i / rows) as usize),
            };
            items.push(item);
            positions.push(position as u32);
        }
        Ok((items, positions))
    }

    #[cold]
    pub(crate) fn too_early(&self) -> Error {
        let why = format!(
            "there is nothing to draw yet: {} steps a row are stored, {} and a complete sequence of {} are needed; \
             ask can_sample() first",
            self.timeline.stored(),
            self.min_length.max(self.grid.sample),
            self.grid.sample,
        );
        Error::invalid("sample", why)
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

impl Foldable for Trajectories {
    const HEAD: Kind = Kind::new("cl-replay/trajectories/head", 1);

    fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    fn timeline_mut(&mut self) -> &mut Timeline {
        &mut self.timeline
    }

    fn forget(&mut self, reached: u64) -> Result<()> {
        let old = self.timeline.held();
        self.timeline.set_reached(reached);
        if let Some(episodes) = &mut self.episodes {
            episodes.forget(&self.grid, old, self.timeline.held());
        }
        Ok(())
    }
}

/// Whether the steps from `before` on end an episode, in the order of time, then of rows.
fn ends(timeline: &Timeline, fields: &[usize], before: u64) -> Result<Vec<bool>> {
    let rows = timeline.rows();
    let mut ends = vec![false; (timeline.written() - before) as usize * rows];
    for &field in fields {
        let slots =
            (before..timeline.written()).flat_map(|time| (0..rows).map(move |row| timeline.slot(row, time)));
        for (end, value) in ends.iter_mut().zip(timeline.storage().scalars(field, slots)?) {
            *end |= value != 0.0;
        }
    }
    Ok(ends)
}
