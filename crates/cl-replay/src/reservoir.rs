//! A uniform sample of a stream of unknown length: Vitter 1985, algorithm R.

use std::path::Path;

use candle_core::{Device, Tensor};
use cl_core::{
    Result, Rng,
    snapshot::{self, Kind},
};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::{Draw, Rows, rows::pair};

/// What became of one offered sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offer {
    /// It took this free slot.
    Kept(usize),
    /// It took this slot from an older sample.
    Replaced(usize),
    /// It was not taken.
    Rejected,
}

impl Offer {
    /// The slot it took.
    pub fn slot(self) -> Option<usize> {
        match self {
            Self::Kept(slot) | Self::Replaced(slot) => Some(slot),
            Self::Rejected => None,
        }
    }
}

/// Keeps every sample of the stream so far with equal probability: after n of them, each with
/// min(1, capacity / n), whatever its position.
///
/// The first `capacity` samples are kept. The n-th after that is drawn a position below n, itself
/// included: a position below the capacity is the slot it takes, any other rejects it. (Two well-known
/// implementations draw below n − 1 or n + 1.) One generator decides on acceptance and on draws.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reservoir {
    rows: Rows,
    seen: u64,
    rng: Rng,
}

impl Reservoir {
    /// The kind and version of its snapshots.
    pub const KIND: Kind = Kind::new("cl-replay/reservoir", 1);

    /// An empty memory of `capacity` samples; all its randomness comes from `rng`.
    ///
    /// # Errors
    /// [`cl_core::Error::Invalid`] on a capacity of zero, or of 2³² − 1 and more.
    pub fn new(capacity: usize, rng: Rng) -> Result<Self> {
        Ok(Self { rows: Rows::new(capacity)?, seen: 0, rng })
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
        self.seen
    }

    /// Offers the samples of a batch in order: `x` (n, ...) and `y` (n, ...), of any dtypes. Returns what
    /// became of each; one that was kept may be replaced by a later one of the same batch.
    ///
    /// # Errors
    /// [`cl_core::Error::Mismatch`] where n differs between the two, or a row's shape, dtype or device
    /// from those before; the memory and its generator are then unchanged.
    pub fn offer(&mut self, x: &Tensor, y: &Tensor) -> Result<Vec<Offer>> {
        let n = self.rows.check(&[x, y])?;
        // Committed only when the rows are written.
        let (mut seen, mut rng, mut free) = (self.seen, self.rng.clone(), self.len());
        let offers: Vec<Offer> = (0..n)
            .map(|_| {
                seen += 1;
                if free < self.capacity() {
                    free += 1;
                    return Offer::Kept(free - 1);
                }
                match rng.random_range(0..seen) {
                    slot if slot < self.capacity() as u64 => Offer::Replaced(slot as usize),
                    _ => Offer::Rejected,
                }
            })
            .collect();
        let places: Vec<_> =
            offers.iter().enumerate().filter_map(|(row, o)| Some((o.slot()?, row))).collect();
        self.rows.write(&places, &[x, y])?;
        (self.seen, self.rng) = (seen, rng);
        Ok(offers)
    }

    /// `n` samples, uniform over what it holds: `x` (n, ...) and `y` (n, ...), as copies.
    ///
    /// # Errors
    /// [`cl_core::Error::Invalid`] where it is empty, or holds less than `n` and the draw is without
    /// replacement; the generator is not moved then.
    pub fn sample(&mut self, n: usize, draw: Draw) -> Result<(Tensor, Tensor)> {
        let slots = draw.indices(n, self.len(), &mut self.rng)?;
        pair(self.rows.gather(&slots)?)
    }

    /// Everything it holds, in the order of the slots: `x` (len, ...) and `y` (len, ...), as copies.
    ///
    /// # Errors
    /// [`cl_core::Error::Invalid`] before the first offer, when shapes and dtypes are not known yet.
    pub fn all(&self) -> Result<(Tensor, Tensor)> {
        pair(self.rows.copy(0, self.len())?)
    }

    /// Moves the samples to `device`, from which batches must come then. A restored memory is on the CPU.
    ///
    /// # Errors
    /// candle's own.
    pub fn to_device(&mut self, device: &Device) -> Result<()> {
        self.rows.to_device(device)
    }

    /// Writes samples, counters and generator to a file; see [`snapshot::save`].
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
