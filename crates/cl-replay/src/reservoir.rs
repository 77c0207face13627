//! A uniform sample of a stream of unknown length: algorithms R (Vitter 1985) and L (Li 1994).

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

/// How a [`Reservoir`] decides on a sample. The law is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Acceptance {
    /// Algorithm R: the n-th sample is drawn a position below n, itself included; a position below the capacity is
    /// the slot it takes, any other rejects it. (Two well-known implementations draw below n − 1 or n + 1.) One
    /// random number a sample.
    #[default]
    R,
    /// Algorithm L: draws how many samples to pass over until the next one is taken. A few random numbers for each
    /// that is taken, none for the others: for long streams.
    L,
}

/// What algorithm L knows: the largest of `capacity` random numbers that would have been kept, and the number of
/// the next sample that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Skip {
    largest: f64,
    next: u64,
}

impl Skip {
    /// For a reservoir that is just full.
    fn begin(capacity: usize, rng: &mut Rng) -> Self {
        Self { largest: 1.0, next: capacity as u64 }.on(capacity, rng)
    }

    /// On to the next sample that is taken.
    fn on(self, capacity: usize, rng: &mut Rng) -> Self {
        // In (0, 1]: the logarithm of 0 is none.
        let mut unit = || 1.0 - rng.random::<f64>();
        let largest = self.largest * (unit().ln() / capacity as f64).exp();
        let passed = (unit().ln() / (-largest).ln_1p()).floor();
        // A float beyond the integers becomes the largest of them.
        Self { largest, next: self.next.saturating_add(passed as u64).saturating_add(1) }
    }
}

/// Keeps every sample of the stream so far with equal probability: after n of them, each with
/// min(1, capacity / n), whatever its position. The first `capacity` samples are kept. One generator decides on
/// acceptance and on draws.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reservoir {
    rows: Rows,
    seen: u64,
    acceptance: Acceptance,
    /// Algorithm L's, once the reservoir is full.
    skip: Option<Skip>,
    rng: Rng,
}

impl Reservoir {
    /// The kind and version of its snapshots.
    pub const KIND: Kind = Kind::new("cl-replay/reservoir", 2);

    /// An empty memory of `capacity` samples; all its randomness comes from `rng`.
    ///
    /// # Errors
    /// [`cl_core::Error::Invalid`] on a capacity of zero, or of 2³² − 1 and more.
    pub fn new(capacity: usize, rng: Rng) -> Result<Self> {
        Self::with_acceptance(capacity, Acceptance::R, rng)
    }

    /// The same, with the algorithm of choice.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_acceptance(capacity: usize, acceptance: Acceptance, rng: Rng) -> Result<Self> {
        Ok(Self { rows: Rows::new(capacity)?, seen: 0, acceptance, skip: None, rng })
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
        self.offer_columns(&[x, y])
    }

    /// The same with other tensors than a pair: as many as in the first offer, each (n, ...). They are read with
    /// [`sample_columns`](Self::sample_columns).
    ///
    /// # Errors
    /// As [`offer`](Self::offer).
    pub fn offer_columns(&mut self, columns: &[&Tensor]) -> Result<Vec<Offer>> {
        let n = self.rows.check(columns)?;
        // Committed only when the rows are written.
        let (mut seen, mut rng, mut free) = (self.seen, self.rng.clone(), self.len());
        let (capacity, mut skip) = (self.capacity(), self.skip);
        let offers: Vec<Offer> = (0..n)
            .map(|_| {
                seen += 1;
                if free < capacity {
                    free += 1;
                    if free == capacity && self.acceptance == Acceptance::L {
                        skip = Some(Skip::begin(capacity, &mut rng));
                    }
                    return Offer::Kept(free - 1);
                }
                match skip {
                    None => match rng.random_range(0..seen) {
                        slot if slot < capacity as u64 => Offer::Replaced(slot as usize),
                        _ => Offer::Rejected,
                    },
                    Some(now) if now.next == seen => {
                        let slot = rng.random_range(0..capacity);
                        skip = Some(now.on(capacity, &mut rng));
                        Offer::Replaced(slot)
                    }
                    Some(_) => Offer::Rejected,
                }
            })
            .collect();
        let places: Vec<_> =
            offers.iter().enumerate().filter_map(|(row, o)| Some((o.slot()?, row))).collect();
        self.rows.write(&places, columns)?;
        (self.seen, self.skip, self.rng) = (seen, skip, rng);
        Ok(offers)
    }

    /// `n` samples, uniform over what it holds: `x` (n, ...) and `y` (n, ...), as copies.
    ///
    /// # Errors
    /// [`cl_core::Error::Invalid`] where it is empty, or holds less than `n` and the draw is without
    /// replacement; the generator is not moved then.
    pub fn sample(&mut self, n: usize, draw: Draw) -> Result<(Tensor, Tensor)> {
        pair(self.sample_columns(n, draw)?)
    }

    /// The same of all tensors that were offered, in their order.
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    pub fn sample_columns(&mut self, n: usize, draw: Draw) -> Result<Vec<Tensor>> {
        let slots = draw.indices(n, self.len(), &mut self.rng)?;
        self.rows.gather(&slots)
    }

    /// Everything it holds, in the order of the slots: `x` (len, ...) and `y` (len, ...), as copies.
    ///
    /// # Errors
    /// [`cl_core::Error::Invalid`] before the first offer, when shapes and dtypes are not known yet.
    pub fn all(&self) -> Result<(Tensor, Tensor)> {
        pair(self.rows.copy(0, self.len())?)
    }

    /// The same of all tensors that were offered, in their order; none before the first offer.
    ///
    /// # Errors
    /// candle's own.
    pub fn all_columns(&self) -> Result<Vec<Tensor>> {
        self.rows.copy(0, self.len())
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
