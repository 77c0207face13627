//! Priorities on a device, and draws in proportion to them: a sum tree of 32 children a node, so that a warp reads all of them
//! at once.
//!
//! | | |
//! |---|---|
//! | leaves | f32: 0, or a positive normal number |
//! | sums | f64, each taken anew from its 32 children whenever one of them changes, in one order of addition: nothing drifts, and a sum is a function of the leaves alone, whatever the order of the updates |
//! | a draw | mass = u · total goes down from the root: in each node to the child that owns it, `end₍ⱼ₋₁₎ ≤ mass < endⱼ`, less what lies before it |
//! | numbers | Philox ([`Philox`]), 53 bits each |
//! | result | the same indices, probabilities and weights, to the last bit, on the CPU and on a GPU |
//!
//! The sums are f64 because with f32 a tree of 2²⁴ leaves never draws half of them. The ends of the children are those of a scan
//! over a warp (Kogge and Stone 1973), of which rounding can make a sliver of mass for a child of zero: such a mass belongs to the
//! nearest child before it that is not zero, else to the nearest behind it. So a leaf of zero is never drawn.
//!
//! No operation waits for the device, so that no priority can be an error. What cannot be is left out and counted
//! ([`Counts`]): a priority that is negative, infinite or not a number, an index that there is not, an item that was overwritten.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod layout;
mod philox;
mod power;
#[cfg(test)]
mod tests;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

pub use philox::Philox;
pub use power::power;

use crate::{Error, Result};

/// What a draw from a tree without any mass gives: no index, and no row ([`gather_rows`](crate::ring::gather_rows)).
pub const NOTHING: u32 = u32::MAX;

/// How the masses of several draws lie in [0, total).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Strata {
    /// One in each of n equal segments, in ascending order (Schaul et al. 2016, appendix B.2.1). The counts
    /// of a whole batch have the expectation that independent draws have, with less variance; a single
    /// position of it has not.
    #[default]
    Stratified,
    /// Each anywhere, independently of the others.
    Independent,
}

/// What the importance weights (N · P)^−β are divided by; N is the number of items, P the probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Weights {
    /// The largest of the batch: the largest weight is 1, the scale differs from batch to batch.
    #[default]
    BatchMax,
    /// The largest that any item of the memory could have, that of the smallest priority above 0. A memory on the host keeps half
    /// a byte an item for it, and looks at sixteen leaves for each that changes.
    BufferMax,
    /// Nothing: with β = 1 a weighted mean over draws is an unbiased estimate of the mean over the memory.
    None,
}

/// What leaves are set to that no priority has come for yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// This.
    Leaf(f32),
    /// The largest leaf that there is; 1 where all are 0.
    LargestNow,
    /// The largest leaf that [`update`](PriorityTree::update) ever set, from 1.
    LargestEver,
}

/// Which indices stand for something else than when they were drawn, since their places in a ring were overwritten: `count` of
/// them from `first` on, round the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overwritten {
    /// The first of them.
    pub first: usize,
    /// How many there are.
    pub count: usize,
}

/// What was left out, in all updates and draws since the tree was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Priorities that were negative, infinite or not a number: their leaves are what they were.
    pub refused: u64,
    /// Indices beyond the last leaf.
    pub outside: u64,
    /// Indices whose places were overwritten since they were drawn: what is there now keeps its own priority.
    pub late: u64,
    /// Draws from a tree whose leaves were all 0.
    pub undrawn: u64,
}

/// What was drawn, on the device of the tree.
#[derive(Debug, Clone)]
pub struct Draws {
    /// Of the leaves: u32 (n). [`NOTHING`] where all leaves were 0.
    pub indices: Tensor,
    /// What the leaves were: f32 (n).
    pub leaves: Tensor,
    /// leaf / total: f32 (n).
    pub probabilities: Tensor,
}

/// Leaves on the CPU or on a GPU, each drawn with the probability leaf / total.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_core::sum_tree::{Overwritten, Philox, PriorityTree, Strata, Weights};
///
/// # fn main() -> cl_core::Result<()> {
/// let device = cl_core::device("cpu")?; // or "cuda"
/// let mut tree = PriorityTree::new(5, &device)?;
/// let (indices, priorities) =
///     (Tensor::new(&[0u32, 2, 4], &device)?, Tensor::new(&[1f32, 4.0, 25.0], &device)?);
/// tree.update(&indices, &priorities, 0.5, Overwritten::default())?; // leaves are √priority
///
/// let drawn = tree.draw(8, Strata::Stratified, &mut Philox::new(0))?;
/// assert_eq!(drawn.indices.to_vec1::<u32>()?, [0, 2, 2, 4, 4, 4, 4, 4]);
/// assert_eq!(drawn.probabilities.to_vec1::<f32>()?[..2], [0.125, 0.25]);
/// let weights = tree.weights(&drawn, 3, 1.0, Weights::BatchMax)?;
/// assert_eq!(weights.to_vec1::<f32>()?[..3], [1.0, 0.5, 0.5]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Deserialize)]
#[serde(try_from = "Saved")]
pub struct PriorityTree {
    capacity: usize,
    device: Device,
    nodes: Nodes,
}

/// The leaves and the sums, where they are.
#[derive(Debug)]
enum Nodes {
    Cpu(Box<cpu::Tree>),
    #[cfg(feature = "cuda")]
    Cuda(Box<cuda::Tree>),
}

/// Runs `$body` with `$tree` standing for the nodes, wherever they are.
macro_rules! at {
    ($nodes:expr, $tree:ident => $body:expr) => {
        match $nodes {
            Nodes::Cpu($tree) => $body,
            #[cfg(feature = "cuda")]
            Nodes::Cuda($tree) => $body,
        }
    };
}
#[cfg(test)]
use at;

impl PriorityTree {
    /// `capacity` leaves of 0.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a capacity of 0, or of 2³² − 1 and more, and on a device that is neither the CPU nor a GPU of CUDA;
    /// candle's own, where the device has no room for [`bytes`](Self::bytes).
    pub fn new(capacity: usize, device: &Device) -> Result<Self> {
        // One below the largest, which stands for no index.
        if capacity == 0 || capacity >= u32::MAX as usize {
            return Err(Error::invalid(
                "capacity",
                format!("{capacity} is not between 1 and {}", u32::MAX - 1),
            ));
        }
        let nodes = match device {
            Device::Cpu => Nodes::Cpu(Box::new(cpu::Tree::new(capacity))),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => Nodes::Cuda(Box::new(cuda::Tree::new(capacity, cuda)?)),
            other => {
                let why = format!("there is no sum tree for {:?}: use the CPU or CUDA", other.location());
                return Err(Error::invalid("device", why));
            }
        };
        Ok(Self { capacity, device: device.clone(), nodes })
    }

    /// The number of leaves.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Where they are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes that a tree of this capacity takes on a GPU: about 8½ a leaf.
    pub fn bytes(capacity: usize) -> usize {
        let levels = layout::Levels::new(capacity);
        // A leaf and its claim; a sum, the smallest and the largest below it.
        levels.leaves() * 8 + levels.all() * 16
    }

    /// Sets leaf `indices[i]` to `priorities[i]`^α, to 0 where the priority is 0 (also with α = 0): u32 (n) and f32 or f64 (n),
    /// on the device of the tree. A positive priority stays positive, as f32: that is what
    /// f64 are rounded to first. Of several priorities for one leaf the last one stays, and
    /// the largest ever has seen all of them. What cannot be is left out and counted: see [`Counts`].
    ///
    /// # Errors
    /// [`Error::Mismatch`] on other shapes, dtypes or devices, [`Error::Invalid`] on an α outside [0, 1]. Nothing is changed then.
    pub fn update(
        &mut self,
        indices: &Tensor,
        priorities: &Tensor,
        alpha: f64,
        overwritten: Overwritten,
    ) -> Result<()> {
        if !(0.0..=1.0).contains(&alpha) {
            return Err(Error::invalid("alpha", format!("{alpha} is not between 0 and 1")));
        }
        let n = indices.elem_count();
        self.check("indices", indices, &[DType::U32], n)?;
        self.check("priorities", priorities, &[DType::F32, DType::F64], n)?;
        if n == 0 {
            return Ok(());
        }
        let indices = indices.contiguous()?;
        let priorities = priorities.to_dtype(DType::F32)?.contiguous()?;
        at!(&mut self.nodes, tree => tree.update(&indices, &priorities, alpha, overwritten))
    }

    /// Sets the `n` leaves from `start` on.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there are not so many, or on a leaf that is neither 0 nor a positive normal number; nothing is
    /// changed then.
    pub fn fill(&mut self, start: usize, n: usize, with: Fill) -> Result<()> {
        if start.checked_add(n).is_none_or(|end| end > self.capacity) {
            let why = format!("{n} leaves from {start} on: the tree has {}", self.capacity);
            return Err(Error::invalid("leaves", why));
        }
        if let Fill::Leaf(leaf) = with
            && !is_leaf(leaf)
        {
            return Err(Error::invalid(
                "leaf",
                format!("{leaf:e} is neither 0 nor a positive normal number"),
            ));
        }
        if n == 0 {
            return Ok(());
        }
        at!(&mut self.nodes, tree => tree.fill(start, n, with))
    }

    /// `n` leaves, drawn with replacement. The numbers are those of the next draw of `philox`.
    ///
    /// # Errors
    /// [`Error::Invalid`] on an n of 2³² and more; candle's own. The generator is not moved then.
    pub fn draw(&mut self, n: usize, strata: Strata, philox: &mut Philox) -> Result<Draws> {
        if n > u32::MAX as usize {
            return Err(Error::invalid("draw", format!("{n} are more than 2³² − 1")));
        }
        let mut next = *philox;
        let draws = at!(&mut self.nodes, tree => tree.draw(n, strata, next.advance()))?;
        *philox = next;
        Ok(draws)
    }

    /// The importance weights (N · P)^−β of what was drawn, N the number of `items`, over what `rule` says: f32 (n). 0 where
    /// nothing was drawn.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a β that is negative or not finite; [`Error::Mismatch`] on draws of another device.
    pub fn weights(&self, drawn: &Draws, items: usize, beta: f64, rule: Weights) -> Result<Tensor> {
        if !(beta.is_finite() && beta >= 0.0) {
            return Err(Error::invalid("beta", format!("{beta} is not a number from 0 on")));
        }
        let n = drawn.leaves.elem_count();
        self.check("drawn leaves", &drawn.leaves, &[DType::F32], n)?;
        at!(&self.nodes, tree => tree.weights(&drawn.leaves.contiguous()?, items, beta, rule))
    }

    /// A copy of all leaves: f32 (capacity), where the tree is.
    ///
    /// # Errors
    /// candle's own.
    pub fn leaves(&self) -> Result<Tensor> {
        at!(&self.nodes, tree => tree.leaves(self.capacity))
    }

    /// The sum of all leaves. Waits for the device.
    ///
    /// # Errors
    /// candle's own.
    pub fn total(&self) -> Result<f64> {
        at!(&self.nodes, tree => tree.total())
    }

    /// The largest leaf that an update ever set, from 1. Waits for the device.
    ///
    /// # Errors
    /// candle's own.
    pub fn largest_ever(&self) -> Result<f32> {
        at!(&self.nodes, tree => tree.largest_ever())
    }

    /// What was left out so far. Waits for the device.
    ///
    /// # Errors
    /// candle's own.
    pub fn counts(&self) -> Result<Counts> {
        at!(&self.nodes, tree => tree.counts())
    }

    /// Refuses what is not a vector of n numbers of one of these dtypes, where the tree is.
    fn check(&self, what: &'static str, tensor: &Tensor, dtypes: &[DType], n: usize) -> Result<()> {
        let here = tensor.device().same_device(&self.device);
        if tensor.dims() != [n] || !dtypes.contains(&tensor.dtype()) || !here {
            let names: Vec<&str> = dtypes.iter().map(DType::as_str).collect();
            let expected = format!("{} [{n}] on {:?}", names.join(" or "), self.device.location());
            let got = format!(
                "{} {:?} on {:?}",
                tensor.dtype().as_str(),
                tensor.dims(),
                tensor.device().location()
            );
            return Err(Error::mismatch(what, expected, got));
        }
        Ok(())
    }
}

fn is_leaf(leaf: f32) -> bool {
    leaf == 0.0 || (leaf.is_normal() && leaf > 0.0)
}

/// The leaf of a priority p ≥ 0: pᵅ. As in `kernel.cu`.
pub fn leaf(priority: f32, alpha: f64) -> f32 {
    let power = if alpha == 1.0 { priority } else { power(f64::from(priority), alpha) as f32 };
    if priority > 0.0 { power.max(f32::MIN_POSITIVE) } else { 0.0 }
}

/// The serde form: the sums are taken anew, to the same bits.
#[derive(Serialize, Deserialize)]
#[serde(rename = "PriorityTree")]
struct Saved {
    #[serde(with = "crate::snapshot::tensor")]
    leaves: Tensor,
    largest_ever: f32,
    counts: Counts,
}

impl Serialize for PriorityTree {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let saved = || -> Result<Saved> {
            Ok(Saved { leaves: self.leaves()?, largest_ever: self.largest_ever()?, counts: self.counts()? })
        };
        saved().map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl TryFrom<Saved> for PriorityTree {
    type Error = Error;

    /// On the device that [`on`](crate::snapshot::tensor::on) says.
    fn try_from(Saved { leaves, largest_ever, counts }: Saved) -> Result<Self> {
        if leaves.rank() != 1 || leaves.dtype() != DType::F32 {
            let got = format!("{} {:?}", leaves.dtype().as_str(), leaves.dims());
            return Err(Error::mismatch("saved leaves", "f32 (capacity)", got));
        }
        let values: Vec<f32> = leaves.to_vec1()?;
        if let Some(&odd) = values.iter().chain([&largest_ever]).find(|&&leaf| !is_leaf(leaf)) {
            return Err(Error::invalid("saved leaves", format!("{odd:e} is none")));
        }
        if largest_ever < 1.0 {
            let why = format!("the largest ever is {largest_ever:e}, and begins at 1");
            return Err(Error::invalid("saved leaves", why));
        }
        let mut tree = Self::new(values.len(), leaves.device())?;
        at!(&mut tree.nodes, tree => tree.restore(&values, largest_ever, counts))?;
        Ok(tree)
    }
}
