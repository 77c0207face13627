//! The newest samples of every group.

use std::path::Path;

use candle_core::Tensor;
use cl_core::{
    Error, Result, Rng,
    snapshot::{self, Kind},
};
use serde::{Deserialize, Serialize};

use crate::{Draw, Rows, rows::pair};

/// Keeps the newest samples of every group: a ring for each class or task (the ring memory of Chaudhry et al.
/// 2019, "On tiny episodic memories in continual learning").
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_replay::{Draw, Rings};
///
/// # fn main() -> cl_core::Result<()> {
/// let mut memory = Rings::new(3, 10, cl_core::rng(0, "memory"))?; // 3 of each of up to 10 classes
/// let x = Tensor::arange(0f32, 8., &Device::Cpu)?;
/// let y = Tensor::new(&[0u32, 0, 0, 0, 0, 1, 1, 0], &Device::Cpu)?;
/// memory.offer(&y.to_vec1()?, &x, &y)?;
/// let (x, _y) = memory.group(0)?;
/// assert_eq!(x.to_vec1::<f32>()?, [3.0, 4.0, 7.0]); // from the oldest to the newest
/// assert_eq!(memory.sample(4, Draw::WithReplacement)?.0.dims(), [4]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct Rings {
    per_group: usize,
    rows: Rows,
    groups: Vec<Ring>,
    rng: Rng,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ring {
    key: u32,
    /// In the order in which they were first filled.
    slots: Vec<u32>,
    /// Which of them the next sample takes, once all are filled: the oldest.
    oldest: usize,
}

impl Rings {
    /// The kind and version of its snapshots.
    pub const KIND: Kind = Kind::new("cl-replay/rings", 1);

    /// An empty memory of `per_group` samples of each of up to `groups` groups; draws come from `rng`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no room for a sample.
    pub fn new(per_group: usize, groups: usize, rng: Rng) -> Result<Self> {
        let capacity = per_group.saturating_mul(groups);
        Ok(Self { per_group, rows: Rows::new(capacity)?, groups: Vec::new(), rng })
    }

    /// Takes in the samples of a batch in order: `x` (n, ...) and `y` (n, ...), of any dtypes; row i belongs to the
    /// group `keys[i]`, whose oldest sample it replaces where the group is full.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where the numbers of rows differ, or a row differs in shape, dtype or device from those
    /// before; [`Error::Invalid`] where there would be more groups than there is room for. Nothing is changed then.
    pub fn offer(&mut self, keys: &[u32], x: &Tensor, y: &Tensor) -> Result<()> {
        let n = self.rows.check(&[x, y])?;
        if keys.len() != n {
            return Err(Error::mismatch("offer", format!("{n} keys"), keys.len().to_string()));
        }
        let (mut groups, mut free) = (self.groups.clone(), self.rows.len());
        let mut places = Vec::with_capacity(n);
        for (row, &key) in keys.iter().enumerate() {
            let at = match groups.iter().position(|group| group.key == key) {
                Some(at) => at,
                None if groups.len() * self.per_group < self.rows.capacity() => {
                    groups.push(Ring { key, slots: Vec::new(), oldest: 0 });
                    groups.len() - 1
                }
                None => {
                    let why = format!("{key} is one more than the {} there is room for", groups.len());
                    return Err(Error::invalid("group", why));
                }
            };
            let group = &mut groups[at];
            let slot = if group.slots.len() < self.per_group {
                group.slots.push(free as u32);
                free += 1;
                free - 1
            } else {
                let slot = group.slots[group.oldest] as usize;
                group.oldest = (group.oldest + 1) % self.per_group;
                slot
            };
            places.push((slot, row));
        }
        self.rows.write(&places, &[x, y])?;
        self.groups = groups;
        Ok(())
    }

    /// Samples that it holds.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Every group and how many samples it has, in the order in which the groups came.
    pub fn counts(&self) -> impl Iterator<Item = (u32, usize)> {
        self.groups.iter().map(|group| (group.key, group.slots.len()))
    }

    /// `n` samples, uniform over what it holds: `x` (n, ...) and `y` (n, ...), as copies.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is empty, or holds less than `n` and the draw is without replacement.
    pub fn sample(&mut self, n: usize, draw: Draw) -> Result<(Tensor, Tensor)> {
        let slots = draw.indices(n, self.len(), &mut self.rng)?;
        pair(self.rows.gather(&slots)?)
    }

    /// The samples of one group, from the oldest to the newest, as copies.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no such group.
    pub fn group(&self, key: u32) -> Result<(Tensor, Tensor)> {
        let group = self.groups.iter().find(|group| group.key == key).ok_or_else(|| {
            let keys: Vec<u32> = self.groups.iter().map(|group| group.key).collect();
            Error::invalid("group", format!("there is no {key}; there are {keys:?}"))
        })?;
        let (newer, older) = group.slots.split_at(group.oldest);
        pair(self.rows.gather(&[older, newer].concat())?)
    }

    /// Writes samples, groups and generator to a file; see [`snapshot::save`].
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
