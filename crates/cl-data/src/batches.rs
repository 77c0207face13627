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

/// Mini-batches of row numbers: shuffled, reshuffled each epoch, for ever.
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
    rng: Rng,
}

impl Batches {
    /// Batches of `batch` of the rows `0..n`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no rows, more than `u32::MAX` rows, a batch of 0, or a batch of more
    /// than `n` that would be dropped for ever.
    pub fn new(n: usize, batch: usize, rng: Rng, last: LastBatch) -> Result<Self> {
        let rows =
            u32::try_from(n).map_err(|_| Error::invalid("n", format!("{n} rows: row numbers are u32")))?;
        match (n, batch) {
            (0, _) => Err(Error::invalid("n", "0 rows: nothing to draw batches from")),
            (_, 0) => Err(Error::invalid("batch", "a batch of 0 rows: at least 1")),
            _ if batch > n && last == LastBatch::Drop => Err(Error::invalid(
                "batch",
                format!("{batch} is more than the {n} rows: take a smaller batch, or LastBatch::Keep"),
            )),
            // Used up, so that the first batch shuffles.
            _ => Ok(Self { order: (0..rows).collect(), used: n, batch, last, rng }),
        }
    }

    /// The rows of the next batch, each row at most once an epoch.
    pub fn next_batch(&mut self) -> &[u32] {
        let left = self.order.len().saturating_sub(self.used);
        if left == 0 || (left < self.batch && self.last == LastBatch::Drop) {
            self.order.shuffle(&mut self.rng);
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
