//! Sequences in the order in which they came, each step once.

use std::path::Path;

use candle_core::Tensor;
use cl_core::{
    Error, Result,
    snapshot::{self, Kind},
};
use serde::{Deserialize, Serialize};

use crate::{Fields, Schema, folder::Place, grid::Grid, timeline::Timeline};

/// Steps that go in at one end and come out at the other, each once and in order, for every row: for learners
/// that use what they see and forget it. (The trajectory queue of Flashbax, which overwrites where this says
/// that it is full.)
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_replay::{Field, Queue, Schema};
///
/// # fn main() -> cl_core::Result<()> {
/// let schema = Schema::new([Field::new("t", DType::U32, [])])?;
/// let mut queue = Queue::new(schema, 1, 8, 2)?; // 1 row, 8 steps, taken out 2 at a time
/// queue.add(&[("t", &Tensor::new(&[[0u32, 1, 2]], &Device::Cpu)?)])?;
/// assert_eq!(queue.take()?.get("t")?.to_vec2::<u32>()?, [[0, 1]]);
/// assert!(!queue.can_take()); // one step is left
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct Queue {
    timeline: Timeline,
    sample: usize,
    /// Steps of each row that were taken out.
    taken: u64,
}

impl Queue {
    /// The kind and version of its snapshots.
    pub const KIND: Kind = Kind::new("cl-replay/queue", 1);

    /// An empty queue of `length` steps for each of `rows` rows, which gives out `sample` steps at a time.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a size of zero, or a `sample` longer than a row.
    pub fn new(schema: Schema, rows: usize, length: usize, sample: usize) -> Result<Self> {
        Grid::new(rows, length, sample, 1)?;
        Ok(Self { timeline: Timeline::new(schema, rows, length, Place::Ram)?, sample, taken: 0 })
    }

    /// Steps of each row that wait.
    pub fn len(&self) -> usize {
        (self.timeline.written() - self.taken) as usize
    }

    /// Whether no step waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Steps that each row has room for.
    pub fn free(&self) -> usize {
        self.timeline.length() - self.len()
    }

    /// Whether so many steps fit now.
    pub fn can_add(&self, steps: usize) -> bool {
        steps <= self.free()
    }

    /// Whether enough steps wait.
    pub fn can_take(&self) -> bool {
        self.len() >= self.sample
    }

    /// Adds steps: every field as (rows, steps, ...).
    ///
    /// # Errors
    /// [`Error::Invalid`] where they do not all fit, or a field is missing or unknown; [`Error::Mismatch`] where
    /// one differs in any axis or in dtype. The queue is then unchanged.
    pub fn add(&mut self, batch: &[(&str, &Tensor)]) -> Result<()> {
        let (tensors, steps) = self.timeline.check(batch)?;
        if !self.can_add(steps) {
            let why =
                format!("the queue is full: {steps} steps do not fit the {} that are free", self.free());
            return Err(Error::invalid("add", why));
        }
        self.timeline.write(&tensors, steps)
    }

    /// The oldest steps of every row, as (rows, steps, ...), which leave the queue.
    ///
    /// # Errors
    /// [`Error::Invalid`] where not enough of them wait; the queue is then unchanged.
    pub fn take(&mut self) -> Result<Fields> {
        if !self.can_take() {
            let why = format!("{} steps of each row are taken at a time, {} wait", self.sample, self.len());
            return Err(Error::invalid("take", why));
        }
        let position = (self.taken % self.timeline.length() as u64) as usize;
        let fields =
            self.timeline.sequences((0..self.timeline.rows()).map(|row| (row, position)), self.sample)?;
        self.taken += self.sample as u64;
        Ok(fields)
    }

    /// Writes everything to a file; see [`snapshot::save`].
    ///
    /// # Errors
    /// As there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        snapshot::save(path, Self::KIND, self)
    }

    /// Restores what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// As [`snapshot::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        snapshot::load(path, Self::KIND)
    }
}
