//! Draws in proportion to weights that change: the sum tree.

pub use cl_core::sum_tree::Strata;
use cl_core::{Error, Result, Rng, prefetch};
use rand::RngCore;
use serde::{Deserialize, Serialize};

mod block;
mod node;

use block::Block;
use node::{Node, descend_all};

use crate::wide;

/// Children of a node, leaves of a block.
const WIDE: usize = 8;

/// Non-negative leaves, each drawn with the probability leaf / total.
///
/// Leaf i owns the masses [p₀ + … + pᵢ₋₁, p₀ + … + pᵢ); a leaf of zero owns none and is never returned. The
/// order of the leaves is the order of their indices, for every capacity.
///
/// Sums are integers, in units of a power of two that follows the total: they are exact, whatever the order
/// of the updates, so that nothing drifts, and a tree of zeros has a total of exactly 0. Below them stand
/// blocks of eight leaves, whose own sums are taken anew from the leaves at every change.
///
/// | | |
/// |---|---|
/// | leaves | f32: 0, or any normal positive number, from 10⁻³⁰ to 10³⁰ in one tree |
/// | resolution | a probability is right to 2⁻²⁴ of the mean probability of a block |
/// | cost | O(log₈ capacity); batches go down and up level by level, which hides the latency of memory. Where the total has changed by a factor of some hundreds or more, the next draw takes all sums anew, O(capacity) |
/// | memory | 4 bytes a leaf, and 8/7 for the sums |
///
/// ```
/// use cl_replay::{Strata, SumTree};
///
/// # fn main() -> cl_core::Result<()> {
/// let mut tree = SumTree::new(5)?;
/// tree.set_batch(&[0, 2, 4], &[1.0, 2.0, 5.0])?;
/// assert_eq!(tree.total(), 8.0);
/// assert_eq!([0.0, 1.0, 2.9, 3.0].map(|mass| tree.find(mass).unwrap()), [0, 2, 2, 4]);
/// let drawn = tree.sample(8, Strata::Stratified, &mut cl_core::rng(0, "draws"))?;
/// assert_eq!(drawn, [0, 2, 2, 4, 4, 4, 4, 4]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct SumTree {
    capacity: usize,
    blocks: Vec<Block>,
    /// The first level has a child for every block, each further one for every node of that below; the
    /// last level is one node. Empty where one block holds all leaves.
    levels: Vec<Vec<Node>>,
    /// In units.
    total: i64,
    /// The unit is 2 to the power of minus this.
    scale: i32,
}

/// Totals above this, in units, might overflow soon.
const MOST: i64 = 1 << 62;

/// How many updates ahead memory is asked for.
const AHEAD: usize = 16;

impl SumTree {
    /// `capacity` leaves of zero.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a capacity of zero, or of 2³² − 1 and more.
    pub fn new(capacity: usize) -> Result<Self> {
        if capacity == 0 || capacity >= u32::MAX as usize {
            return Err(Error::invalid(
                "capacity",
                format!("{capacity} is not between 1 and {}", u32::MAX - 1),
            ));
        }
        let blocks = vec![Block::default(); capacity.div_ceil(WIDE)];
        let mut levels = Vec::new();
        let mut below = blocks.len();
        while below > 1 {
            below = below.div_ceil(WIDE);
            levels.push(vec![Node::default(); below]);
        }
        Ok(Self { capacity, blocks, levels, total: 0, scale: 0 })
    }

    /// The number of leaves.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The sum of all leaves.
    pub fn total(&self) -> f64 {
        self.total as f64 * unit(self.scale)
    }

    /// A leaf.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no such leaf.
    pub fn get(&self, index: usize) -> Result<f32> {
        self.check_index(index)?;
        Ok(self.leaf(index))
    }

    /// Sets a leaf.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no such leaf, or the value is negative, subnormal or not finite; the
    /// tree is then unchanged.
    pub fn set(&mut self, index: usize, value: f32) -> Result<()> {
        self.check_index(index)?;
        check_leaf(index, value)?;
        let (mut child, difference) = self.write_one(index, value, unit(-self.scale));
        for level in &mut self.levels {
            level[child / WIDE].add(child % WIDE, difference);
            child /= WIDE;
        }
        self.grow(i128::from(difference));
        Ok(())
    }

    /// Sets leaf `indices[i]` to `values[i]`, in order: the last of several values of a leaf stays.
    ///
    /// # Errors
    /// As [`set`](Self::set), naming the first that is wrong, and [`Error::Mismatch`] where there are not as
    /// many values as indices. The tree is then unchanged.
    pub fn set_batch(&mut self, indices: &[u32], values: &[f32]) -> Result<()> {
        if indices.len() != values.len() {
            let got = format!("{} values", values.len());
            return Err(Error::mismatch("set_batch", format!("{} values", indices.len()), got));
        }
        if indices.iter().any(|&index| index as usize >= self.capacity) || !values_fit(values) {
            for (&index, &value) in indices.iter().zip(values) {
                self.check_index(index as usize)?;
                check_leaf(index as usize, value)?;
            }
        }
        let scale = unit(-self.scale);
        let mut changed = Vec::with_capacity(indices.len());
        wide(
            #[inline(always)]
            || {
                for (i, (&index, &value)) in indices.iter().zip(values).enumerate() {
                    if let Some(&ahead) = indices.get(i + AHEAD) {
                        prefetch(&self.blocks, ahead as usize / WIDE);
                    }
                    changed.push(self.write_one(index as usize, value, scale));
                }
                self.carry(&mut changed, false);
            },
        );
        Ok(())
    }

    /// Sets the leaves from `start` on.
    ///
    /// # Errors
    /// As [`set`](Self::set). The tree is then unchanged.
    pub fn set_range(&mut self, start: usize, values: &[f32]) -> Result<()> {
        let last = match values {
            [] => return Ok(()),
            &[value] => return self.set(start, value),
            _ => values.len() - 1,
        };
        self.check_index(start.saturating_add(last))?;
        if !values_fit(values) {
            (start..).zip(values).try_for_each(|(index, &value)| check_leaf(index, value))?;
        }
        let scale = unit(-self.scale);
        let mut changed = Vec::with_capacity(values.len() / WIDE + 2);
        let (head, tail) = values.split_at(values.len().min(start.next_multiple_of(WIDE) - start));
        let (whole, rest) = tail.as_chunks::<WIDE>();
        wide(
            #[inline(always)]
            || {
                if !head.is_empty() {
                    changed.push(self.write(start, head, scale));
                }
                let first = (start + head.len()) / WIDE;
                for (at, block) in (first..).zip(whole) {
                    changed.push(self.rewrite(at, scale, |leaves| *leaves = *block));
                }
                if !rest.is_empty() {
                    changed.push(self.write((first + whole.len()) * WIDE, rest, scale));
                }
                self.carry(&mut changed, true);
            },
        );
        Ok(())
    }

    /// Writes leaves of one block; returns the block and by how much its sum has changed.
    #[inline(always)]
    fn write(&mut self, start: usize, values: &[f32], scale: f64) -> (usize, i64) {
        self.rewrite(start / WIDE, scale, |leaves| {
            for (leaf, &value) in leaves[start % WIDE..].iter_mut().zip(values) {
                *leaf = value;
            }
        })
    }

    /// Writes one leaf. Leaf by leaf in registers: a block that is read right behind a write to a part of it
    /// waits for that write.
    #[inline(always)]
    fn write_one(&mut self, index: usize, value: f32, scale: f64) -> (usize, i64) {
        self.rewrite(index / WIDE, scale, |leaves| {
            for (i, leaf) in leaves.iter_mut().enumerate() {
                *leaf = if i == index % WIDE { value } else { *leaf };
            }
        })
    }

    #[inline(always)]
    fn rewrite(&mut self, at: usize, scale: f64, change: impl Fn(&mut [f32; WIDE])) -> (usize, i64) {
        if let Some(level) = self.levels.first() {
            prefetch(level, at / WIDE);
        }
        let before = self.blocks[at];
        let mut after = before;
        change(&mut after.0);
        // Adding 0 turns -0 into 0.
        after.0 = after.0.map(|leaf| leaf + 0.0);
        self.blocks[at] = after;
        (at, after.units(scale) - before.units(scale))
    }

    /// Carries the differences of blocks up, level by level; blocks in ascending order are `sorted`.
    #[inline(always)]
    fn carry(&mut self, changed: &mut Vec<(usize, i64)>, sorted: bool) {
        let total: i128 = changed.iter().map(|&(_, difference)| i128::from(difference)).sum();
        let mut levels = self.levels.as_mut_slice();
        while let Some((level, above)) = levels.split_first_mut() {
            for (child, difference) in changed.iter_mut() {
                level[*child / WIDE].add(*child % WIDE, *difference);
                *child /= WIDE;
                if let Some(level) = above.first() {
                    prefetch(level, *child / WIDE);
                }
            }
            let nodes = match changed.as_slice() {
                [(first, _), .., (last, _)] if sorted => *first..last + 1,
                _ => 0..level.len(),
            };
            // Few nodes for many differences: they are added up first.
            if nodes.len() <= changed.len() / 2 {
                let mut sums = vec![0; nodes.len()];
                for &(node, difference) in changed.iter() {
                    let sum = &mut sums[node - nodes.start];
                    *sum = i64::wrapping_add(*sum, difference);
                }
                changed.clear();
                changed.extend(nodes.zip(sums));
            }
            levels = above;
        }
        self.grow(total);
    }

    /// Changes the total; takes all sums anew where its units do not suit it any more.
    fn grow(&mut self, difference: i128) {
        match i64::try_from(i128::from(self.total) + difference) {
            Ok(total) if (total == 0 || total >= self.least()) && total <= MOST => self.total = total,
            _ => self.rebuild(),
        }
    }

    /// Takes all sums anew, in units that suit the total.
    #[cold]
    fn rebuild(&mut self) {
        let sum: f64 = self.blocks.iter().map(Block::sum).sum();
        // Between the two bounds, nearer to the upper: priorities fall more often than they rise.
        let wanted = (self.least().ilog2() + MOST.ilog2()).div_ceil(2) + 2;
        let exponent = if sum > 0.0 { sum.log2().floor() as i32 } else { 0 };
        self.scale = wanted as i32 - exponent;
        let scale = unit(-self.scale);
        let mut below: Vec<i64> = self.blocks.iter().map(|block| block.units(scale)).collect();
        for level in &mut self.levels {
            for (node, children) in level.iter_mut().zip(below.chunks(WIDE)) {
                *node = Node::default();
                for (child, &sum) in children.iter().enumerate() {
                    node.add(child, sum);
                }
            }
            below = below.chunks(WIDE).map(|children| children.iter().sum()).collect();
        }
        self.total = below.iter().sum();
    }

    /// Totals below this, in units, are too coarse: a block is at most one unit off.
    fn least(&self) -> i64 {
        (self.blocks.len() as i64) << 24
    }

    /// The leaf that owns `mass`.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a mass outside [0, total); a tree of zeros has none inside.
    pub fn find(&self, mass: f64) -> Result<usize> {
        if !(mass >= 0.0 && mass < self.total()) {
            let why = format!("{mass} is not in [0, {}), the masses of this tree", self.total());
            return Err(Error::invalid("mass", why));
        }
        // The total has more digits than an f64.
        let units = (mass * unit(-self.scale)).min((self.total - 1) as f64);
        let mut draw = [((units as i64).min(self.total - 1), 0)];
        for level in self.levels.iter().rev() {
            descend_all(level, &mut draw, |_| ());
        }
        let [(rest, index)] = draw;
        // What lies between two units decides within the block.
        let rest = rest as f64 + units.fract();
        Ok(index * WIDE + self.blocks[index].find(rest * unit(self.scale)))
    }

    /// `n` leaves, drawn with replacement, each with the probability leaf / total.
    ///
    /// # Errors
    /// [`Error::Invalid`] where all leaves are zero; the generator is not moved then.
    pub fn sample(&self, n: usize, strata: Strata, rng: &mut Rng) -> Result<Vec<u32>> {
        Ok(self.draw(n, strata, rng)?.0)
    }

    /// The same, and what the leaves are.
    pub(crate) fn draw(&self, n: usize, strata: Strata, rng: &mut Rng) -> Result<(Vec<u32>, Vec<f32>)> {
        if self.total == 0 {
            return Err(Error::invalid(
                "sample",
                "all leaves of the tree are zero; there is nothing to draw",
            ));
        }
        let mut words = vec![0u8; 8 * n];
        rng.fill_bytes(&mut words);
        let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
        let words = words.as_chunks::<8>().0.iter().map(word);
        Ok(match strata {
            Strata::Stratified => {
                // What the division leaves over goes to segments at equal distances, one unit each: a border
                // is never further from its place than that, even where there are as many draws as units.
                let n = n.max(1) as i64;
                let (length, over) = (self.total / n, self.total % n);
                let (mut begin, mut owed) = (0, 0);
                self.find_all(words.map(|word| {
                    owed += over;
                    let length = length + i64::from(owed >= n);
                    owed -= if owed >= n { n } else { 0 };
                    begin += length;
                    begin - length + below(length, word)
                }))
            }
            Strata::Independent => self.find_all(words.map(|word| below(self.total, word))),
        })
    }

    /// The leaves that own these masses, in units below the total, and what they are: one level after the other
    /// for all of them, so that their reads overlap.
    fn find_all(&self, masses: impl Iterator<Item = i64>) -> (Vec<u32>, Vec<f32>) {
        let mut draws: Vec<(i64, usize)> = masses.map(|mass| (mass, 0)).collect();
        for (depth, level) in self.levels.iter().enumerate().rev() {
            let level = level.as_slice();
            match depth.checked_sub(1).map(|below| self.levels[below].as_slice()) {
                Some(below) => descend_all(level, &mut draws, |child| prefetch(below, child)),
                None => descend_all(level, &mut draws, |child| prefetch(&self.blocks, child)),
            }
        }
        block::find_all(&self.blocks, &draws, unit(self.scale))
    }

    /// A leaf, which is within the tree.
    pub(crate) fn leaf(&self, index: usize) -> f32 {
        self.blocks[index / WIDE].0[index % WIDE]
    }

    fn check_index(&self, index: usize) -> Result<()> {
        if index >= self.capacity {
            let why = format!("{index} is out of range: the tree has {} leaves", self.capacity);
            return Err(Error::invalid("index", why));
        }
        Ok(())
    }
}

/// 2^exponent, also where that is subnormal.
fn unit(scale: i32) -> f64 {
    (-f64::from(scale)).exp2()
}

/// Uniform below `n`, from 64 random bits.
#[inline(always)]
fn below(n: i64, word: u64) -> i64 {
    ((u128::from(n.unsigned_abs()) * u128::from(word)) >> 64) as i64
}

/// Whether [`check_leaf`] accepts all of them, without a branch for each.
fn values_fit(values: &[f32]) -> bool {
    let normal = f32::MIN_POSITIVE.to_bits()..f32::INFINITY.to_bits();
    values.iter().fold(true, |fit, value| fit & ((*value == 0.0) | normal.contains(&value.to_bits())))
}

/// What a leaf may be.
pub(crate) fn check_leaf(index: usize, value: f32) -> Result<()> {
    if value == 0.0 || (value.is_normal() && value > 0.0) {
        return Ok(());
    }
    let why = match value {
        v if v.is_nan() => "it is not a number",
        v if v.is_infinite() => "it is infinite",
        v if v < 0.0 => "it is negative",
        _ => "it is subnormal, too small to keep its proportion; scale all of them up, or give 0",
    };
    Err(Error::invalid("weight", format!("{value:e} for leaf {index}: {why}")))
}

/// The serde form. The scale is kept: the masses of the next draws depend on it.
#[derive(Serialize, Deserialize)]
#[serde(rename = "SumTree")]
struct Saved {
    leaves: Vec<f32>,
    scale: i32,
}

impl From<SumTree> for Saved {
    fn from(tree: SumTree) -> Self {
        let leaves = (0..tree.capacity).map(|index| tree.leaf(index)).collect();
        Self { leaves, scale: tree.scale }
    }
}

impl TryFrom<Saved> for SumTree {
    type Error = Error;
    fn try_from(saved: Saved) -> Result<Self> {
        let mut tree = Self::new(saved.leaves.len())?;
        // No tree goes that far; where one claims to, the first change takes its sums anew.
        tree.scale = saved.scale.clamp(-1000, 1000);
        tree.set_range(0, &saved.leaves)?;
        Ok(tree)
    }
}
