//! Mini-batches, as row numbers.

use cl_core::{Error, Result, Rng};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

/// What becomes of the rows at the end of an epoch that do not fill a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastBatch {
    /// They are left out of this epoch: all batches are of the same size.
    Drop,
    /// They make a smaller batch.
    Keep,
}

/// The order in which the samples of a task come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Shuffled, anew each epoch.
    #[default]
    Shuffled,
    /// As they are: of a stream whose order is what it is about.
    AsGiven,
}

/// Mini-batches of row numbers: shuffled, reshuffled each epoch, for ever; or [in the order](Self::in_order) of the rows.
///
/// The order depends on the generator alone. Serialised in the middle of an epoch and restored, it
/// goes on with exactly the batches that would have followed.
///
/// ```
/// use cl_data::{Batches, LastBatch};
///
/// let mut batches = Batches::new(1000, 128, cl_core::rng(0, "batches"), LastBatch::Drop)?;
/// assert_eq!(batches.per_epoch(), 7);
/// for _step in 0..20 {
///     let rows: &[u32] = batches.next_batch(); // for `Samples::gather`
///     assert_eq!(rows.len(), 128);
/// }
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batches {
    /// All rows, in the order of this epoch.
    order: Vec<u32>,
    /// How many of them this epoch has used up.
    used: usize,
    batch: usize,
    last: LastBatch,
    /// What shuffles, if anything does.
    rng: Option<Rng>,
}

impl Batches {
    /// Batches of `batch` of the rows `0..n`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no rows, more than `u32::MAX` rows, a batch of 0, or a batch of more
    /// than `n` that would be dropped for ever.
    pub fn new(n: usize, batch: usize, rng: Rng, last: LastBatch) -> Result<Self> {
        Self::with(n, batch, Some(rng), last)
    }

    /// Batches of the rows `0..n` one after the other, each epoch the same.
    ///
    /// ```
    /// use cl_data::{Batches, LastBatch};
    ///
    /// let mut batches = Batches::in_order(5, 2, LastBatch::Keep)?;
    /// assert_eq!(batches.next_batch(), [0, 1]);
    /// assert_eq!(batches.next_batch(), [2, 3]);
    /// assert_eq!(batches.next_batch(), [4]);
    /// assert_eq!(batches.next_batch(), [0, 1]);
    /// # Ok::<(), cl_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn in_order(n: usize, batch: usize, last: LastBatch) -> Result<Self> {
        Self::with(n, batch, None, last)
    }

    fn with(n: usize, batch: usize, rng: Option<Rng>, last: LastBatch) -> Result<Self> {
        let rows =
            u32::try_from(n).map_err(|_| Error::invalid("n", format!("{n} rows: row numbers are u32")))?;
        match (n, batch) {
            (0, _) => Err(Error::invalid("n", "0 rows: nothing to draw batches from")),
            (_, 0) => Err(Error::invalid("batch", "a batch of 0 rows: at least 1")),
            _ if batch > n && last == LastBatch::Drop => Err(Error::invalid(
                "batch",
                format!("{batch} is more than the {n} rows: take a smaller batch, or LastBatch::Keep"),
            )),
            // Used up, so that the first batch begins an epoch.
            _ => Ok(Self { order: (0..rows).collect(), used: n, batch, last, rng }),
        }
    }

    /// The rows of the next batch, each row at most once an epoch.
    pub fn next_batch(&mut self) -> &[u32] {
        let left = self.order.len().saturating_sub(self.used);
        if left == 0 || (left < self.batch && self.last == LastBatch::Drop) {
            if let Some(rng) = &mut self.rng {
                self.order.shuffle(rng);
            }
            self.used = 0;
        }
        let from = self.used;
        self.used = from.saturating_add(self.batch).min(self.order.len());
        &self.order[from..self.used]
    }

    /// The number of batches in an epoch.
    pub fn per_epoch(&self) -> usize {
        match self.last {
            LastBatch::Drop => self.order.len() / self.batch,
            LastBatch::Keep => self.order.len().div_ceil(self.batch),
        }
    }
}
