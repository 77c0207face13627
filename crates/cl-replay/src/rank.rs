//! Draws by rank: the rank-based variant of prioritized replay.

use cl_core::{Error, Result, Rng};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::Strata;

/// Keys of a block when it is made. One that has grown to twice as many is divided.
const BLOCK: usize = 256;

/// The stored priority of an item that is absent: none that an item could have.
const ABSENT: f32 = -1.0;

/// Items with priorities, each drawn by its place among all: P(i) ∝ (1 / rank(i))^α, where rank 1 has the
/// largest priority (Schaul et al. 2016, equation 1 with pᵢ = 1 / rank(i)).
///
/// How large a priority is does not matter, only which is larger: an outlier takes no more than the first
/// place. α = 0 is uniform.
///
/// | | |
/// |---|---|
/// | ranks | always exact: there is no heap that is sorted now and then, as in the paper's appendix B.2.1 |
/// | ties | the smaller index first |
/// | priority 0 | a priority like any other: the item has a rank, behind the positive ones, and is drawn |
/// | absent items | those that were not set, or were removed; they have no rank and are never drawn |
/// | draws | by the cumulative sum of rank^−α and a binary search in it, so that every item has exactly its P(i); the paper draws uniformly within segments of equal mass |
/// | cost | a draw: O(log capacity); an update: O(log capacity) and the move of at most 4 KiB, and once in 256 updates or more O(capacity / 256) |
/// | memory | about 24 bytes an item |
///
/// ```
/// use cl_replay::{Ranking, Strata};
///
/// # fn main() -> cl_core::Result<()> {
/// let mut ranking = Ranking::new(4, 1.0)?;
/// ranking.set_batch(&[0, 1, 3], &[0.5, 1e9, 0.0])?;
/// assert_eq!([0, 1, 2, 3].map(|item| ranking.rank(item).unwrap()), [Some(2), Some(1), None, Some(3)]);
/// // 1 : 1/2 : 1/3.
/// assert!((ranking.probability(1)? - 6.0 / 11.0).abs() < 1e-12);
/// let drawn = ranking.sample(11, Strata::Stratified, &mut cl_core::rng(0, "draws"))?;
/// assert_eq!(drawn, [1, 1, 1, 1, 1, 1, 0, 0, 0, 3, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Ranking {
    alpha: f64,
    /// Of every item, or [`ABSENT`].
    priorities: Vec<f32>,
    /// The first r of them: Σ k^−α over the ranks k = 1..=r. What a rank weighs does not depend on how many
    /// there are, so this serves every number of items.
    cumulative: Vec<f64>,
    sorted: Sorted,
}

/// What a ranking follows from, whatever the order in which it came about.
#[derive(Serialize, Deserialize)]
struct Saved {
    alpha: f64,
    priorities: Vec<f32>,
}

impl From<Ranking> for Saved {
    fn from(Ranking { alpha, priorities, .. }: Ranking) -> Self {
        Self { alpha, priorities }
    }
}

impl TryFrom<Saved> for Ranking {
    type Error = Error;

    fn try_from(Saved { alpha, priorities }: Saved) -> Result<Self> {
        let mut ranking = Self::new(priorities.len(), alpha)?;
        let priorities: Vec<f32> = priorities.into_iter().map(|priority| priority + 0.0).collect();
        let present = || (0u32..).zip(&priorities).filter(|(_, priority)| **priority != ABSENT);
        for (item, &priority) in present() {
            check_priority(item as usize, priority)?;
        }
        let mut keys: Vec<u64> = present().map(|(item, &priority)| key(item, priority)).collect();
        keys.sort_unstable();
        ranking.sorted = Sorted::new(&keys);
        ranking.priorities = priorities;
        Ok(ranking)
    }
}

impl Ranking {
    /// `capacity` absent items, to be drawn with the exponent `alpha`.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a capacity of zero, or of 2³² − 1 and more, and on an α outside [0, 1].
    pub fn new(capacity: usize, alpha: f64) -> Result<Self> {
        if capacity == 0 || capacity >= u32::MAX as usize {
            let why = format!("{capacity} is not between 1 and {}", u32::MAX - 1);
            return Err(Error::invalid("capacity", why));
        }
        if !(0.0..=1.0).contains(&alpha) {
            return Err(Error::invalid("alpha", format!("{alpha} is not between 0 (uniform) and 1")));
        }
        let mut sum = 0.0;
        let masses = (1..=capacity).map(|rank| {
            sum += (rank as f64).powf(-alpha);
            sum
        });
        let cumulative = std::iter::once(0.0).chain(masses).collect();
        Ok(Self { alpha, priorities: vec![ABSENT; capacity], cumulative, sorted: Sorted::new(&[]) })
    }

    /// The exponent.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// The number of items there can be.
    pub fn capacity(&self) -> usize {
        self.priorities.len()
    }

    /// The number of items that are present.
    pub fn len(&self) -> usize {
        self.sorted.len
    }

    /// Whether all items are absent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The priority of an item; None where it is absent.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the index is not below the capacity.
    pub fn get(&self, item: usize) -> Result<Option<f32>> {
        self.check_item(item)?;
        let priority = self.priorities[item];
        Ok((priority != ABSENT).then_some(priority))
    }

    /// Gives an item its priority, any finite number from 0 on. An absent item is present then.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the index is not below the capacity, or the priority is negative or not
    /// finite. The ranking is then unchanged.
    pub fn set(&mut self, item: usize, priority: f32) -> Result<()> {
        self.set_batch(&[index(item)], &[priority])
    }

    /// Gives `items[i]` the priority `priorities[i]`, in order: the last of several priorities of an item
    /// stays.
    ///
    /// # Errors
    /// As [`set`](Self::set), naming the first that is wrong, and [`Error::Mismatch`] where there are not as
    /// many priorities as items. The ranking is then unchanged.
    pub fn set_batch(&mut self, items: &[u32], priorities: &[f32]) -> Result<()> {
        if items.len() != priorities.len() {
            let [expected, got] = [items.len(), priorities.len()].map(|n| format!("{n} priorities"));
            return Err(Error::mismatch("set_batch", expected, got));
        }
        for (&item, &priority) in items.iter().zip(priorities) {
            self.check_item(item as usize)?;
            check_priority(item as usize, priority)?;
        }
        for (&item, &priority) in items.iter().zip(priorities) {
            self.replace(item, priority + 0.0); // −0 is 0
        }
        Ok(())
    }

    /// Makes an item absent and returns the priority that it had.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the index is not below the capacity.
    pub fn remove(&mut self, item: usize) -> Result<Option<f32>> {
        let before = self.get(item)?;
        self.replace(index(item), ABSENT);
        Ok(before)
    }

    fn replace(&mut self, item: u32, priority: f32) {
        let before = std::mem::replace(&mut self.priorities[item as usize], priority);
        if before == priority {
            return;
        }
        if before != ABSENT {
            self.sorted.remove(key(item, before));
        }
        if priority != ABSENT {
            self.sorted.insert(key(item, priority));
        }
    }

    /// The rank of an item, from 1 for the largest priority; None where it is absent.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the index is not below the capacity.
    pub fn rank(&self, item: usize) -> Result<Option<usize>> {
        Ok(self.get(item)?.map(|priority| self.sorted.before(key(index(item), priority)) + 1))
    }

    /// The item of a rank.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a rank that is not between 1 and the number of items present.
    pub fn at(&self, rank: usize) -> Result<usize> {
        self.check_rank(rank)?;
        Ok(item_of(self.sorted.nth(rank - 1)) as usize)
    }

    /// The probability that a draw returns this item; 0 where it is absent.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the index is not below the capacity.
    pub fn probability(&self, item: usize) -> Result<f64> {
        self.rank(item)?.map_or(Ok(0.0), |rank| self.probability_of_rank(rank))
    }

    /// The probability that a draw returns the item of this rank. It falls with the rank: that of the last
    /// one, [`len`](Self::len), is the smallest there is.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a rank that is not between 1 and the number of items present.
    pub fn probability_of_rank(&self, rank: usize) -> Result<f64> {
        self.check_rank(rank)?;
        Ok((rank as f64).powf(-self.alpha) / self.cumulative[self.len()])
    }

    /// `n` items, drawn with replacement, each with its [`probability`](Self::probability). Stratified draws
    /// are one from each of n segments of equal probability, in the order of their ranks.
    ///
    /// # Errors
    /// [`Error::Invalid`] where all items are absent; the generator is not moved then.
    pub fn sample(&self, n: usize, strata: Strata, rng: &mut Rng) -> Result<Vec<u32>> {
        if self.is_empty() {
            return Err(Error::invalid("sample", "all items are absent; there is nothing to draw"));
        }
        let upper = &self.cumulative[1..=self.len()];
        let total = self.cumulative[self.len()];
        let draw = |i: usize| {
            let unit: f64 = rng.random();
            let mass = match strata {
                Strata::Stratified => (i as f64 + unit) / n as f64 * total,
                Strata::Independent => unit * total,
            };
            // Rounding may take the mass to the total, which belongs to the last rank.
            let place = upper.partition_point(|&sum| sum <= mass).min(upper.len() - 1);
            item_of(self.sorted.nth(place))
        };
        Ok((0..n).map(draw).collect())
    }

    fn check_item(&self, item: usize) -> Result<()> {
        if item < self.capacity() {
            return Ok(());
        }
        let why = format!("{item} is out of range; there are {} items, from 0", self.capacity());
        Err(Error::invalid("item", why))
    }

    fn check_rank(&self, rank: usize) -> Result<()> {
        if (1..=self.len()).contains(&rank) {
            return Ok(());
        }
        let why = format!("{rank} is out of range; {} items are present, their ranks begin at 1", self.len());
        Err(Error::invalid("rank", why))
    }
}

fn check_priority(item: usize, priority: f32) -> Result<()> {
    if priority.is_finite() && priority >= 0.0 {
        return Ok(());
    }
    let why = format!("{priority} for item {item}; a priority is finite and not negative");
    Err(Error::invalid("priority", why))
}

/// An index in the type of a batch; one that does not fit stays out of range.
fn index(item: usize) -> u32 {
    u32::try_from(item).unwrap_or(u32::MAX)
}

/// Keys in ascending order are items in the order of their ranks: the bits of a number that is not negative
/// ascend with it.
fn key(item: u32, priority: f32) -> u64 {
    u64::from(!priority.to_bits()) << 32 | u64::from(item)
}

fn item_of(key: u64) -> u32 {
    key as u32
}

/// Distinct keys in ascending order, in blocks that are short enough to insert into.
#[derive(Debug, Clone)]
struct Sorted {
    len: usize,
    /// At least one. Any of them may have become empty; none is when they are made, but a first one.
    blocks: Vec<Vec<u64>>,
    /// Block b has the keys from `lows[b]` on, below `lows[b + 1]`.
    lows: Vec<u64>,
    /// The lengths of blocks as a Fenwick tree: entry b is the sum over as many blocks up to and with b as
    /// the lowest set bit of b + 1 says.
    lengths: Vec<usize>,
}

impl Sorted {
    /// From keys that are in order.
    fn new(keys: &[u64]) -> Self {
        let mut sorted = Self { len: keys.len(), blocks: Vec::new(), lows: Vec::new(), lengths: Vec::new() };
        sorted.blocks.extend(keys.chunks(BLOCK).map(<[u64]>::to_vec));
        if sorted.blocks.is_empty() {
            sorted.blocks.push(Vec::new());
        }
        sorted.index();
        sorted
    }

    /// Makes `lows` and `lengths` anew.
    fn index(&mut self) {
        let firsts = self.blocks.iter().map(|block| block.first().copied().unwrap_or(0));
        self.lows = firsts.collect();
        self.lows[0] = 0;
        self.lengths = self.blocks.iter().map(Vec::len).collect();
        for b in 0..self.lengths.len() {
            let parent = b | (b + 1);
            if parent < self.lengths.len() {
                self.lengths[parent] += self.lengths[b];
            }
        }
    }

    /// The block for a key, and its place there.
    fn place(&self, key: u64) -> (usize, usize) {
        let b = self.lows.partition_point(|&low| low <= key) - 1;
        (b, self.blocks[b].partition_point(|&other| other < key))
    }

    /// Puts in a key that is not there.
    fn insert(&mut self, key: u64) {
        let (b, at) = self.place(key);
        self.blocks[b].insert(at, key);
        self.len += 1;
        self.grow(b, 1);
        if self.blocks[b].len() >= 2 * BLOCK {
            self.divide(b);
        }
    }

    /// Takes out a key that is there.
    fn remove(&mut self, key: u64) {
        let (b, at) = self.place(key);
        self.blocks[b].remove(at);
        self.len -= 1;
        self.grow(b, -1);
    }

    fn grow(&mut self, mut b: usize, by: isize) {
        while let Some(sum) = self.lengths.get_mut(b) {
            *sum = sum.wrapping_add_signed(by);
            b |= b + 1;
        }
    }

    /// Divides a block in two, and joins neighbours that have become short. All blocks that are made have
    /// at most [`BLOCK`] keys, so that it takes as many insertions into one of them before it is divided.
    fn divide(&mut self, b: usize) {
        let upper = self.blocks[b].split_off(BLOCK);
        self.blocks.insert(b + 1, upper);
        let joined = Vec::with_capacity(self.blocks.len());
        let blocks = std::mem::replace(&mut self.blocks, joined);
        for mut block in blocks {
            match self.blocks.last_mut() {
                _ if block.is_empty() => {}
                Some(last) if last.len() + block.len() <= BLOCK => last.append(&mut block),
                _ => self.blocks.push(block),
            }
        }
        self.index();
    }

    /// How many keys are smaller.
    fn before(&self, key: u64) -> usize {
        let (mut b, at) = self.place(key);
        let mut sum = at;
        while b > 0 {
            sum += self.lengths[b - 1];
            b &= b - 1;
        }
        sum
    }

    /// The key with so many smaller ones; there is one.
    fn nth(&self, mut n: usize) -> u64 {
        let mut b = 0;
        let mut step = self.lengths.len().next_power_of_two();
        while step > 0 {
            match self.lengths.get(b + step - 1) {
                Some(&sum) if sum <= n => {
                    n -= sum;
                    b += step;
                }
                _ => {}
            }
            step /= 2;
        }
        self.blocks[b][n]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sorted: &Sorted) {
        let keys: Vec<u64> = sorted.blocks.concat();
        assert!(keys.is_sorted() && keys.len() == sorted.len);
        for (n, &key) in keys.iter().enumerate() {
            assert_eq!((sorted.before(key), sorted.nth(n)), (n, key));
        }
        assert!(sorted.blocks.iter().all(|block| block.len() < 2 * BLOCK));
    }

    /// Priorities that fall for ever empty the blocks at one end and fill those at the other.
    #[test]
    fn blocks_that_are_left_behind_go() {
        let n = 4096u64;
        let mut sorted = Sorted::new(&(0..n).collect::<Vec<_>>());
        for key in 0..50 * n {
            sorted.remove(key);
            sorted.insert(key + n);
            assert!(sorted.blocks.len() <= 2 * n as usize / BLOCK + 3, "{}", sorted.blocks.len());
        }
        check(&sorted);
    }

    /// A few keys are left of each of many clusters.
    #[test]
    fn short_blocks_are_joined() {
        let mut sorted = Sorted::new(&[]);
        for cluster in (0..300).map(|k| k << 32) {
            (0..600).for_each(|key| sorted.insert(cluster + key));
            assert!(sorted.blocks.len() <= 2 * sorted.len / BLOCK + 3, "{}", sorted.blocks.len());
            (1..600).for_each(|key| sorted.remove(cluster + key));
        }
        check(&sorted);
    }

    /// An empty block between two that are too long for it to be joined to either.
    #[test]
    fn an_empty_block_does_no_harm() {
        let far = |k: usize| (k as u64) << 32;
        let mut sorted = Sorted::new(&(0..4 * BLOCK).map(far).collect::<Vec<_>>());
        for longer in [0, 2 * BLOCK] {
            (1..100).for_each(|key| sorted.insert(far(longer) + key));
        }
        (BLOCK..2 * BLOCK).for_each(|k| sorted.remove(far(k)));
        check(&sorted);
        // Divides the last one.
        (1..300).for_each(|key| sorted.insert(far(3 * BLOCK) + key));
        check(&sorted);
        (BLOCK..2 * BLOCK).for_each(|k| sorted.insert(far(k)));
        check(&sorted);
    }
}
