//! The tree on the CPU: what the kernels must give, step by step.

use candle_core::{Device, Tensor};

use super::layout::{Levels, WIDE};
use super::philox::Stream;
use super::power::power;
use super::{Counts, Draws, Fill, NOTHING, Overwritten, Strata, Weights, leaf};
use crate::Result;
use crate::ops::cpu::with_slice;

#[derive(Debug)]
pub(super) struct Tree {
    levels: Levels,
    leaves: Vec<f32>,
    /// Of all levels.
    sums: Vec<f64>,
    /// The smallest positive leaf below a node and the largest, 0 where there is none.
    least: Vec<f32>,
    most: Vec<f32>,
    largest_ever: f32,
    counts: Counts,
}

impl Tree {
    pub(super) fn new(capacity: usize) -> Self {
        let levels = Levels::new(capacity);
        let (leaves, all) = (levels.leaves(), levels.all());
        Self {
            levels,
            leaves: vec![0.0; leaves],
            sums: vec![0.0; all],
            least: vec![0.0; all],
            most: vec![0.0; all],
            largest_ever: 1.0,
            counts: Counts::default(),
        }
    }

    pub(super) fn update(
        &mut self,
        indices: &Tensor,
        priorities: &Tensor,
        alpha: f64,
        overwritten: Overwritten,
    ) -> Result<()> {
        let capacity = self.levels.capacity as usize;
        let Overwritten { first, count } = overwritten;
        let changed = with_slice::<u32, _>(indices, |indices| {
            with_slice::<f32, _>(priorities, |priorities| {
                let mut changed = Vec::with_capacity(indices.len());
                for (&index, &priority) in indices.iter().zip(priorities) {
                    let index = index as usize;
                    if index >= capacity {
                        self.counts.outside += 1;
                    } else if (index + capacity - first % capacity) % capacity < count {
                        self.counts.late += 1;
                    } else if !(priority >= 0.0 && priority.is_finite()) {
                        self.counts.refused += 1;
                    } else {
                        let leaf = leaf(priority, alpha);
                        self.leaves[index] = leaf;
                        self.largest_ever = self.largest_ever.max(leaf);
                        changed.push(index / WIDE);
                    }
                }
                Ok(changed)
            })
        })?;
        self.repair(changed);
        Ok(())
    }

    pub(super) fn fill(&mut self, start: usize, n: usize, with: Fill) -> Result<()> {
        let leaf = match with {
            Fill::Leaf(leaf) => leaf + 0.0, // -0 becomes 0
            Fill::LargestEver => self.largest_ever,
            Fill::LargestNow => match self.most[self.levels.root()] {
                largest if largest > 0.0 => largest,
                _ => 1.0,
            },
        };
        self.leaves[start..start + n].fill(leaf);
        self.repair((start / WIDE..=(start + n - 1) / WIDE).collect());
        Ok(())
    }

    /// Takes the sums above these nodes of the first level anew, and theirs.
    fn repair(&mut self, mut changed: Vec<usize>) {
        for level in 0..self.levels.count as usize {
            changed.sort_unstable();
            changed.dedup();
            for &node in &changed {
                self.take(level, node);
            }
            changed.iter_mut().for_each(|node| *node /= WIDE);
        }
    }

    /// Takes a node anew from its children.
    fn take(&mut self, level: usize, node: usize) {
        let at = self.levels.begin[level] as usize + node;
        let (sums, least, most): ([f64; WIDE], [f32; WIDE], [f32; WIDE]) = if level == 0 {
            let leaves = *children(&self.leaves[node * WIDE..]);
            (leaves.map(f64::from), leaves, leaves)
        } else {
            let from = self.levels.begin[level - 1] as usize + node * WIDE;
            (*children(&self.sums[from..]), *children(&self.least[from..]), *children(&self.most[from..]))
        };
        self.sums[at] = ends(sums)[WIDE - 1];
        let least = least.into_iter().filter(|&leaf| leaf > 0.0).fold(f32::INFINITY, f32::min);
        self.least[at] = if least.is_finite() { least } else { 0.0 };
        self.most[at] = most.into_iter().fold(0.0, f32::max);
    }

    pub(super) fn draw(&mut self, n: usize, strata: Strata, stream: Stream) -> Result<Draws> {
        let total = self.sums[self.levels.root()];
        let (mut indices, mut leaves) = (vec![NOTHING; n], vec![0f32; n]);
        if total > 0.0 {
            for (i, (index, leaf)) in indices.iter_mut().zip(&mut leaves).enumerate() {
                let uniform = stream.uniform(i as u32);
                let mass = match strata {
                    Strata::Stratified => (i as f64 + uniform) * (total / n as f64),
                    Strata::Independent => uniform * total,
                };
                let found = self.find(mass);
                (*index, *leaf) = (found as u32, self.leaves[found]);
            }
        } else {
            self.counts.undrawn += n as u64;
        }
        let probability = |&leaf: &f32| if leaf > 0.0 { (f64::from(leaf) / total) as f32 } else { 0.0 };
        let probabilities: Vec<f32> = leaves.iter().map(probability).collect();
        Ok(Draws {
            indices: Tensor::from_vec(indices, n, &Device::Cpu)?,
            leaves: Tensor::from_vec(leaves, n, &Device::Cpu)?,
            probabilities: Tensor::from_vec(probabilities, n, &Device::Cpu)?,
        })
    }

    /// The leaf that owns a mass of a tree that has any: never one of 0.
    pub(super) fn find(&self, mut mass: f64) -> usize {
        let mut at = 0;
        for level in (0..self.levels.count as usize).rev() {
            let sums: [f64; WIDE] = match level {
                0 => children(&self.leaves[at * WIDE..]).map(f64::from),
                _ => *children(&self.sums[self.levels.begin[level - 1] as usize + at * WIDE..]),
            };
            let ends = ends(sums);
            let child = owner(&sums, &ends, mass);
            mass -= if child == 0 { 0.0 } else { ends[child - 1] };
            at = at * WIDE + child;
        }
        at
    }

    pub(super) fn weights(&self, leaves: &Tensor, items: usize, beta: f64, rule: Weights) -> Result<Tensor> {
        let root = self.levels.root();
        let weights: Vec<f32> = with_slice::<f32, _>(leaves, |leaves| {
            let reference = match rule {
                Weights::BatchMax => {
                    leaves.iter().copied().filter(|&leaf| leaf > 0.0).fold(f32::INFINITY, f32::min).into()
                }
                Weights::BufferMax => f64::from(self.least[root]),
                Weights::None => self.sums[root] / items as f64,
            };
            let scale = 1.0 / reference;
            let weight =
                |&leaf: &f32| if leaf > 0.0 { power(scale * f64::from(leaf), -beta) as f32 } else { 0.0 };
            Ok(leaves.iter().map(weight).collect())
        })?;
        let n = weights.len();
        Ok(Tensor::from_vec(weights, n, &Device::Cpu)?)
    }

    pub(super) fn leaves(&self, capacity: usize) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.leaves[..capacity], capacity, &Device::Cpu)?)
    }

    pub(super) fn total(&self) -> Result<f64> {
        Ok(self.sums[self.levels.root()])
    }

    pub(super) fn largest_ever(&self) -> Result<f32> {
        Ok(self.largest_ever)
    }

    pub(super) fn counts(&self) -> Result<Counts> {
        Ok(self.counts)
    }

    pub(super) fn restore(&mut self, leaves: &[f32], largest_ever: f32, counts: Counts) -> Result<()> {
        self.leaves[..leaves.len()].copy_from_slice(leaves);
        (self.largest_ever, self.counts) = (largest_ever, counts);
        self.repair((0..self.levels.nodes[0] as usize).collect());
        Ok(())
    }
}

/// The first children of these.
fn children<T>(of: &[T]) -> &[T; WIDE] {
    of.first_chunk().expect("levels are filled up to whole nodes")
}

/// Where each child ends: inclusive sums in the order of a scan over a warp.
fn ends(sums: [f64; WIDE]) -> [f64; WIDE] {
    let mut ends = sums;
    for step in [1, 2, 4, 8, 16] {
        ends =
            std::array::from_fn(|lane| if lane < step { ends[lane] } else { ends[lane] + ends[lane - step] });
    }
    ends
}

/// The child that owns a mass: as many as end at or below it lie before. Where rounding has put the mass into a child of 0, or
/// behind the last one, it is the nearest positive one before, else behind.
fn owner(sums: &[f64; WIDE], ends: &[f64; WIDE], mass: f64) -> usize {
    let before = ends.iter().filter(|&&end| end <= mass).count();
    let positive = |child: &usize| sums[*child] > 0.0;
    let behind = (before..WIDE).find(positive);
    match behind {
        Some(child) if child == before => child,
        _ => (0..before.min(WIDE)).rev().find(positive).or(behind).unwrap_or(0),
    }
}
