//! A memory that stays balanced while the stream goes by: the greedy sampler of GDumb.

use std::collections::BTreeMap;

use candle_core::Tensor;
use cl_core::{Error, Result, Rng};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::{Offer, Rows, rows::pair};

/// Takes a sample of a group (a class) as long as the group has less than its equal share of the memory, the capacity
/// over the number of groups seen so far; a full memory gives up a random sample of its largest group for it (Prabhu et
/// al. 2020, algorithm 1). Of c samples of a group that came it holds at least min(c, ⌊capacity / groups⌋), at any time, and without
/// knowing how many groups will come.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_replay::GreedyBalanced;
///
/// let mut memory = GreedyBalanced::new(4, cl_core::rng(0, "memory"))?;
/// let x = Tensor::arange(0f32, 6.0, &Device::Cpu)?.reshape((6, 1))?;
/// memory.offer(&[7, 7, 7, 7, 7, 8], &x, &Tensor::zeros(6, candle_core::DType::U32, &Device::Cpu)?)?;
/// assert_eq!(memory.counts(), [(7, 3), (8, 1)]); // the fifth was too many, one of four made place
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct GreedyBalanced {
    rows: Rows,
    /// Of each slot.
    keys: Vec<u32>,
    /// Of every group that was seen, how many samples are held.
    counts: BTreeMap<u32, usize>,
    rng: Rng,
}

impl GreedyBalanced {
    /// An empty memory of `capacity` samples; what is given up is drawn by `rng`.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a capacity of zero, or of 2³² − 1 and more.
    pub fn new(capacity: usize, rng: Rng) -> Result<Self> {
        Ok(Self { rows: Rows::new(capacity)?, keys: Vec::new(), counts: BTreeMap::new(), rng })
    }

    /// Offers the samples of a batch in order, each with its group: `x` (n, ...) and `y` (n, ...), of any dtypes. Returns
    /// what became of each; one that was kept may be replaced by a later one of the same batch.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where the numbers of keys and rows differ, or a row's shape, dtype or device from those before;
    /// the memory and its generator are then unchanged.
    pub fn offer(&mut self, keys: &[u32], x: &Tensor, y: &Tensor) -> Result<Vec<Offer>> {
        let n = self.rows.check(&[x, y])?;
        if keys.len() != n {
            return Err(Error::mismatch("offer", format!("{n} keys"), keys.len().to_string()));
        }
        // Committed only when the rows are written.
        let (mut held, mut counts, mut rng) = (self.keys.clone(), self.counts.clone(), self.rng.clone());
        let capacity = self.rows.capacity();
        let mut offers = Vec::with_capacity(n);
        for &key in keys {
            let groups = counts.len() + usize::from(!counts.contains_key(&key));
            let count = *counts.entry(key).or_insert(0);
            // A group that is new is always below its share; count < capacity / groups, without rounding.
            if count > 0 && count * groups >= capacity {
                offers.push(Offer::Rejected);
                continue;
            }
            if held.len() < capacity {
                offers.push(Offer::Kept(held.len()));
                held.push(key);
            } else {
                let most = counts.values().copied().max().unwrap_or(0);
                // Of equally large groups the first.
                let largest = counts.iter().find(|&(_, &count)| count == most).map(|(&key, _)| key);
                let slots: Vec<usize> = (0..capacity).filter(|&slot| Some(held[slot]) == largest).collect();
                let slot = slots[rng.random_range(0..slots.len())];
                if let Some(count) = counts.get_mut(&held[slot]) {
                    *count -= 1;
                }
                held[slot] = key;
                offers.push(Offer::Replaced(slot));
            }
            *counts.entry(key).or_insert(0) += 1;
        }
        let places: Vec<_> =
            offers.iter().enumerate().filter_map(|(row, offer)| Some((offer.slot()?, row))).collect();
        self.rows.write(&places, &[x, y])?;
        (self.keys, self.counts, self.rng) = (held, counts, rng);
        Ok(offers)
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

    /// Every group that was seen and how many of its samples are held, in the order of the keys. A group has none where
    /// there are more groups than places.
    pub fn counts(&self) -> Vec<(u32, usize)> {
        self.counts.iter().map(|(&key, &count)| (key, count)).collect()
    }

    /// Everything it holds, in the order of the slots: `x` (len, ...) and `y` (len, ...), as copies.
    ///
    /// # Errors
    /// [`Error::Invalid`] before the first offer.
    pub fn all(&self) -> Result<(Tensor, Tensor)> {
        pair(self.rows.copy(0, self.len())?)
    }
}
