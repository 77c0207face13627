//! The tree on a GPU: its memory there, and what launches its kernels.

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Storage, Tensor};

use super::layout::{LEVELS, Levels, WIDE};
use super::philox::Stream;
use super::{Counts, Draws, Fill, Overwritten, Strata, Weights};
use crate::Result;
use crate::kernels::SUM_TREE;
use crate::ops::cuda::{THREADS, blocks, grid, launch_plain, scratch_pointer, tensor_pointer};

/// Warps of a block.
const WARPS: usize = THREADS / WIDE;
/// Levels of so many nodes, and those above, are taken anew by one block: a launch costs more than its few turns.
const TOP: u32 = 32;

#[derive(Debug)]
pub(super) struct Tree {
    device: CudaDevice,
    levels: Levels,
    leaves: CudaSlice<f32>,
    claims: CudaSlice<u32>,
    sums: CudaSlice<f64>,
    least: CudaSlice<f32>,
    most: CudaSlice<f32>,
    largest_ever: CudaSlice<f32>,
    counts: CudaSlice<u64>,
}

/// As the kernels have it: `Tree` there.
#[derive(Clone, Copy)]
#[repr(C)]
struct Pointers {
    leaves: u64,
    claims: u64,
    sums: u64,
    least: u64,
    most: u64,
    largest_ever: u64,
    counts: u64,
    begin: [u64; LEVELS],
    nodes: [u32; LEVELS],
    count: u32,
    capacity: u32,
}

// SAFETY: plain numbers, laid out as in C.
unsafe impl DeviceRepr for Pointers {}

impl Tree {
    pub(super) fn new(capacity: usize, device: &CudaDevice) -> Result<Self> {
        let levels = Levels::new(capacity);
        let (leaves, all) = (levels.leaves(), levels.all());
        Ok(Self {
            device: device.clone(),
            levels,
            leaves: device.alloc_zeros(leaves)?,
            claims: device.alloc_zeros(leaves)?,
            sums: device.alloc_zeros(all)?,
            least: device.alloc_zeros(all)?,
            most: device.alloc_zeros(all)?,
            largest_ever: device.clone_htod(&[1f32])?,
            counts: device.alloc_zeros(4)?,
        })
    }

    fn pointers(&self) -> Pointers {
        let device = &self.device;
        Pointers {
            leaves: scratch_pointer(device, &self.leaves),
            claims: scratch_pointer(device, &self.claims),
            sums: scratch_pointer(device, &self.sums),
            least: scratch_pointer(device, &self.least),
            most: scratch_pointer(device, &self.most),
            largest_ever: scratch_pointer(device, &self.largest_ever),
            counts: scratch_pointer(device, &self.counts),
            begin: self.levels.begin,
            nodes: self.levels.nodes,
            count: self.levels.count,
            capacity: self.levels.capacity,
        }
    }

    pub(super) fn update(
        &mut self,
        indices: &Tensor,
        priorities: &Tensor,
        alpha: f64,
        overwritten: Overwritten,
    ) -> Result<()> {
        let n = indices.elem_count();
        if n >= u32::MAX as usize {
            return Err(crate::Error::invalid("update", format!("{n} priorities at once are too many")));
        }
        let capacity = self.levels.capacity as usize;
        let first = (overwritten.first % capacity) as u32;
        let overwritten = overwritten.count.min(capacity) as u32;
        let (indices, priorities) = (tensor_pointer::<u32>(indices)?, tensor_pointer::<f32>(priorities)?);
        let (tree, each) = (self.pointers(), grid(blocks(n, THREADS), 1));
        launch_plain!(
            &self.device,
            SUM_TREE,
            "sum_tree_claim",
            each,
            tree,
            indices,
            priorities,
            n as u32,
            first,
            overwritten,
        )?;
        launch_plain!(
            &self.device,
            SUM_TREE,
            "sum_tree_write",
            each,
            tree,
            indices,
            priorities,
            n as u32,
            first,
            overwritten,
            alpha,
        )?;
        self.repair(0, |_, nodes| if nodes <= n { (0, 0, nodes) } else { (indices, 0, n) })
    }

    pub(super) fn fill(&mut self, start: usize, n: usize, with: Fill) -> Result<()> {
        let leaf = match with {
            Fill::Leaf(leaf) => leaf + 0.0, // -0 becomes 0
            Fill::LargestNow => -1.0,
            Fill::LargestEver => -2.0,
        };
        let (first, last) = (start / WIDE, (start + n - 1) / WIDE);
        launch_plain!(
            &self.device,
            SUM_TREE,
            "sum_tree_fill",
            grid(blocks(last - first + 1, WARPS), 1),
            self.pointers(),
            start as u32,
            n as u32,
            leaf,
        )?;
        self.repair(1, |level, _| {
            let at = |leaf: usize| leaf >> (5 * (level + 1));
            (0, at(start), at(start + n - 1) - at(start) + 1)
        })
    }

    /// Takes the sums from a level on anew: of each, the nodes that `changed` says of (level, its nodes), those above the indices
    /// at a pointer, or where that is 0, those from the second number on; the third is how many.
    fn repair(&self, from: usize, changed: impl Fn(usize, usize) -> (u64, usize, usize)) -> Result<()> {
        let tree = self.pointers();
        for level in from..LEVELS.min(self.levels.count as usize) {
            if self.levels.nodes[level] <= TOP {
                return launch_plain!(&self.device, SUM_TREE, "sum_tree_top", grid(1, 1), tree, level as u32)
                    .map_err(Into::into);
            }
            let (indices, first, count) = changed(level, self.levels.nodes[level] as usize);
            launch_plain!(
                &self.device,
                SUM_TREE,
                "sum_tree_repair",
                grid(blocks(count, WARPS), 1),
                tree,
                level as u32,
                indices,
                first as u32,
                count as u32,
            )?;
        }
        Ok(())
    }

    pub(super) fn draw(&mut self, n: usize, strata: Strata, stream: Stream) -> Result<Draws> {
        // SAFETY: the kernel writes all of them.
        let (indices, leaves, probabilities) = unsafe {
            (self.device.alloc::<u32>(n)?, self.device.alloc::<f32>(n)?, self.device.alloc::<f32>(n)?)
        };
        if n > 0 {
            launch_plain!(
                &self.device,
                SUM_TREE,
                "sum_tree_draw",
                grid(blocks(n, WARPS), 1),
                self.pointers(),
                n as u32,
                u32::from(strata == Strata::Stratified),
                stream.key,
                stream.draw,
                scratch_pointer(&self.device, &indices),
                scratch_pointer(&self.device, &leaves),
                scratch_pointer(&self.device, &probabilities),
            )?;
        }
        let indices = CudaStorage::wrap_cuda_slice(indices, self.device.clone());
        Ok(Draws {
            indices: Tensor::from_storage(Storage::Cuda(indices), n, BackpropOp::none(), false),
            leaves: self.vector(leaves, n),
            probabilities: self.vector(probabilities, n),
        })
    }

    pub(super) fn weights(&self, leaves: &Tensor, items: usize, beta: f64, rule: Weights) -> Result<Tensor> {
        let n = leaves.elem_count();
        // SAFETY: the kernel writes all of it.
        let weights = unsafe { self.device.alloc::<f32>(n)? };
        if n > 0 {
            launch_plain!(
                &self.device,
                SUM_TREE,
                "sum_tree_weights",
                grid(blocks(n, THREADS).min(64), 1),
                self.pointers(),
                tensor_pointer::<f32>(leaves)?,
                n as u32,
                items as f64,
                beta,
                match rule {
                    Weights::BatchMax => 0u32,
                    Weights::BufferMax => 1,
                    Weights::None => 2,
                },
                scratch_pointer(&self.device, &weights),
            )?;
        }
        Ok(self.vector(weights, n))
    }

    fn vector(&self, slice: CudaSlice<f32>, n: usize) -> Tensor {
        let storage = CudaStorage::wrap_cuda_slice(slice, self.device.clone());
        Tensor::from_storage(Storage::Cuda(storage), n, BackpropOp::none(), false)
    }

    pub(super) fn leaves(&self, capacity: usize) -> Result<Tensor> {
        // SAFETY: all of it is written by the copy.
        let mut copy = unsafe { self.device.alloc::<f32>(capacity)? };
        self.device.memcpy_dtod(&self.leaves.slice(..capacity), &mut copy)?;
        Ok(self.vector(copy, capacity))
    }

    pub(super) fn total(&self) -> Result<f64> {
        let root = self.levels.root();
        Ok(self.device.clone_dtoh(&self.sums.slice(root..root + 1))?[0])
    }

    pub(super) fn largest_ever(&self) -> Result<f32> {
        Ok(self.device.clone_dtoh(&self.largest_ever)?[0])
    }

    pub(super) fn counts(&self) -> Result<Counts> {
        let counts = self.device.clone_dtoh(&self.counts)?;
        Ok(Counts { refused: counts[0], outside: counts[1], late: counts[2], undrawn: counts[3] })
    }

    pub(super) fn restore(&mut self, leaves: &[f32], largest_ever: f32, counts: Counts) -> Result<()> {
        let Counts { refused, outside, late, undrawn } = counts;
        let capacity = leaves.len();
        self.device.memcpy_htod(leaves, &mut self.leaves.slice_mut(..capacity))?;
        self.device.memcpy_htod(&[largest_ever], &mut self.largest_ever)?;
        self.device.memcpy_htod(&[refused, outside, late, undrawn], &mut self.counts)?;
        self.repair(0, |_, nodes| (0, 0, nodes))
    }
}
