//! As many samples of every group, chosen when all data of the group is at hand.

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Tensor};
use cl_core::{
    Error, Result, Rng,
    snapshot::{self, Kind},
};
use serde::{Deserialize, Serialize};

use crate::{Draw, Rows, rows::pair};

/// How many samples a group may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Budget {
    /// So many for every group: the memory grows with their number (100 per class in van de Ven et al.
    /// 2022).
    PerGroup(usize),
    /// So many for all groups together, shared equally among those seen so far, rounded down: each new
    /// group takes room from the older ones (the naive rehearsal of Hsu et al. 2018).
    Total(usize),
}

impl Budget {
    /// The share of one of `groups` groups.
    fn share(self, groups: usize) -> usize {
        match self {
            Self::PerGroup(n) => n,
            Self::Total(n) => n / groups.max(1),
        }
    }
}

/// Keeps a random choice, without replacement, from every group of samples. A group has a number of its
/// own: the class, the task, or whatever the samples should be balanced by.
///
/// The rows of a group lie in the random order in which they were chosen, and a group that has to make
/// room keeps the first of them: what is left is again a random choice.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_replay::{Budget, ClassBalanced, Draw};
///
/// # fn main() -> cl_core::Result<()> {
/// let mut memory = ClassBalanced::new(Budget::Total(60), cl_core::rng(0, "memory"))?;
/// for task in 0..3 {
///     let x = Tensor::full(task as f32, (500, 4), &Device::Cpu)?;
///     let y = Tensor::full(task, 500, &Device::Cpu)?;
///     memory.fill(task, &x, &y)?;
/// }
/// assert_eq!(memory.counts().collect::<Vec<_>>(), [(0, 20), (1, 20), (2, 20)]);
/// let (x, _y) = memory.sample(8, Draw::WithReplacement)?;
/// assert_eq!(x.dims(), [8, 4]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct ClassBalanced {
    budget: Budget,
    /// In the order in which they came: their rows lie one group behind the other.
    groups: Vec<Group>,
    /// None before the first group.
    rows: Option<Rows>,
    rng: Rng,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Group {
    key: u32,
    len: usize,
}

impl ClassBalanced {
    /// The kind and version of its snapshots.
    pub const KIND: Kind = Kind::new("cl-replay/class-balanced", 1);

    /// An empty memory; all its randomness comes from `rng`.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a budget of zero.
    pub fn new(budget: Budget, rng: Rng) -> Result<Self> {
        if budget.share(1) == 0 {
            return Err(Error::invalid("budget", "a memory needs room for at least one sample"));
        }
        Ok(Self { budget, groups: Vec::new(), rows: None, rng })
    }

    /// Chooses from all samples of one new group: `x` (n, ...) and `y` (n, ...), of any dtypes. Returns
    /// which rows were chosen, in the order in which they are kept.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the group is there already or has no samples, or the budget is less than
    /// one sample per group; [`Error::Mismatch`] where `x` and `y` differ in n, or a row in shape, dtype or
    /// device from those before. The memory and its generator are then unchanged.
    pub fn fill(&mut self, group: u32, x: &Tensor, y: &Tensor) -> Result<Vec<u32>> {
        self.add(BTreeMap::from([(group, (0..count(x, y)?).collect())]), x, y)
    }

    /// Chooses from all samples of several new groups at once: row i belongs to the group `keys[i]`. The
    /// groups are taken in the order of their numbers. Returns which rows were chosen, group after group.
    ///
    /// # Errors
    /// As [`fill`](Self::fill), and where there is not one key per row.
    pub fn fill_groups(&mut self, keys: &[u32], x: &Tensor, y: &Tensor) -> Result<Vec<u32>> {
        let n = count(x, y)?;
        if keys.len() != n as usize {
            return Err(Error::mismatch("fill_groups", format!("{n} keys"), keys.len().to_string()));
        }
        let mut members = BTreeMap::<u32, Vec<u32>>::new();
        for (row, &key) in (0..n).zip(keys) {
            members.entry(key).or_default().push(row);
        }
        self.add(members, x, y)
    }

    /// Everything changes at the end, when nothing can fail any more.
    fn add(&mut self, members: BTreeMap<u32, Vec<u32>>, x: &Tensor, y: &Tensor) -> Result<Vec<u32>> {
        let share = self.budget.share(self.groups.len() + members.len());
        if share == 0 {
            return Err(Error::invalid(
                "budget",
                format!(
                    "{:?} leaves no sample for each of {} groups",
                    self.budget,
                    self.groups.len() + members.len()
                ),
            ));
        }
        if let Some(rows) = &self.rows {
            rows.check(&[x, y])?;
        }
        let (mut rng, mut groups, mut chosen) = (self.rng.clone(), self.groups.clone(), Vec::new());
        for group in &mut groups {
            group.len = group.len.min(share);
        }
        for (key, rows) in members {
            if groups.iter().any(|group| group.key == key) {
                return Err(Error::invalid(
                    "group",
                    format!("{key} is filled already; fill a group once, from all its data"),
                ));
            }
            if rows.is_empty() {
                return Err(Error::invalid("group", format!("{key} has no samples to choose from")));
            }
            let len = share.min(rows.len());
            let picks = Draw::WithoutReplacement.indices(len, rows.len(), &mut rng)?;
            chosen.extend(picks.into_iter().map(|i| rows[i as usize]));
            groups.push(Group { key, len });
        }

        let mut rows = Rows::new(groups.iter().map(|group| group.len).sum())?;
        if let Some(old) = &self.rows {
            let mut start = 0;
            for (before, after) in self.groups.iter().zip(&groups) {
                append(&mut rows, &old.copy(start, after.len)?)?;
                start += before.len;
            }
        }
        let picks = Tensor::from_slice(&chosen, chosen.len(), x.device())?;
        append(
            &mut rows,
            &[x.contiguous()?.index_select(&picks, 0)?, y.contiguous()?.index_select(&picks, 0)?],
        )?;
        (self.groups, self.rows, self.rng) = (groups, Some(rows), rng);
        Ok(chosen)
    }

    /// The number of samples it holds.
    pub fn len(&self) -> usize {
        self.rows.as_ref().map_or(0, Rows::len)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many samples a group may have.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Every group's number and how many samples it has, in the order in which the groups came.
    pub fn counts(&self) -> impl Iterator<Item = (u32, usize)> {
        self.groups.iter().map(|group| (group.key, group.len))
    }

    /// Everything it holds, group after group: `x` (len, ...) and `y` (len, ...), as copies.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is empty.
    pub fn all(&self) -> Result<(Tensor, Tensor)> {
        pair(self.rows()?.copy(0, self.len())?)
    }

    /// The samples of one group, in the random order in which they were chosen, as copies.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no such group.
    pub fn group(&self, key: u32) -> Result<(Tensor, Tensor)> {
        let (start, len) = self.range(key)?;
        pair(self.rows()?.copy(start, len)?)
    }

    /// `n` samples, uniform over what it holds: `x` (n, ...) and `y` (n, ...), as copies.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is empty, or holds less than `n` and the draw is without replacement;
    /// the generator is not moved then.
    pub fn sample(&mut self, n: usize, draw: Draw) -> Result<(Tensor, Tensor)> {
        let slots = draw.indices(n, self.len(), &mut self.rng)?;
        pair(self.rows()?.gather(&slots)?)
    }

    /// `n` samples, uniform over one group, as copies.
    ///
    /// # Errors
    /// As [`sample`](Self::sample), and where there is no such group.
    pub fn sample_group(&mut self, key: u32, n: usize, draw: Draw) -> Result<(Tensor, Tensor)> {
        let (start, len) = self.range(key)?;
        let mut slots = draw.indices(n, len, &mut self.rng)?;
        slots.iter_mut().for_each(|slot| *slot += start as u32);
        pair(self.rows()?.gather(&slots)?)
    }

    /// Moves the samples to `device`, from which new groups must come then. A restored memory is on the
    /// CPU.
    ///
    /// # Errors
    /// candle's own.
    pub fn to_device(&mut self, device: &Device) -> Result<()> {
        self.rows.as_mut().map_or(Ok(()), |rows| rows.to_device(device))
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

    fn rows(&self) -> Result<&Rows> {
        self.rows.as_ref().ok_or_else(|| Error::invalid("memory", "it is empty; fill a group first"))
    }

    /// First slot and number of rows of a group.
    fn range(&self, key: u32) -> Result<(usize, usize)> {
        let mut start = 0;
        for group in &self.groups {
            if group.key == key {
                return Ok((start, group.len));
            }
            start += group.len;
        }
        let keys: Vec<u32> = self.groups.iter().map(|group| group.key).collect();
        Err(Error::invalid("group", format!("there is no {key}; there are {keys:?}")))
    }
}

/// The number of samples of a batch.
fn count(x: &Tensor, y: &Tensor) -> Result<u32> {
    let n = Rows::new(1)?.check(&[x, y])?;
    u32::try_from(n)
        .map_err(|_| Error::invalid("batch", format!("{n} rows are more than can be chosen from")))
}

/// Writes all rows of a batch behind those that are there.
fn append(rows: &mut Rows, batch: &[Tensor]) -> Result<()> {
    let batch: Vec<&Tensor> = batch.iter().collect();
    let start = rows.len();
    let places: Vec<_> = (0..rows.check(&batch)?).map(|row| (start + row, row)).collect();
    rows.write(&places, &batch)
}
