//! The smallest positive and the largest of many values that change.

use serde::{Deserialize, Serialize};

/// Values below a node.
const WIDE: usize = 16;

/// A tree of (smallest positive, largest) over leaves that are kept elsewhere: infinity and 0 where there is none. Half a
/// byte a leaf.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Extremes {
    leaves: usize,
    /// The first level is of sixteen leaves each.
    levels: Vec<Vec<(f32, f32)>>,
}

const NOTHING: (f32, f32) = (f32::INFINITY, 0.0);

/// Of two parts, that of the whole.
fn both((low, high): (f32, f32), (other_low, other_high): (f32, f32)) -> (f32, f32) {
    (low.min(other_low), high.max(other_high))
}

impl Extremes {
    /// Over so many leaves of zero.
    pub(super) fn new(leaves: usize) -> Self {
        let (mut levels, mut n) = (Vec::new(), leaves);
        while n > 1 || levels.is_empty() {
            n = n.div_ceil(WIDE);
            levels.push(vec![NOTHING; n]);
        }
        Self { leaves, levels }
    }

    /// To be told which leaves have changed, and what leaves are now.
    pub(super) fn update(&mut self, changed: impl Iterator<Item = usize>, leaf: impl Fn(usize) -> f32) {
        let of_leaf = |at: usize| match leaf(at) {
            value if value > 0.0 => (value, value),
            _ => NOTHING,
        };
        for at in changed {
            let mut at = at / WIDE;
            let block = at * WIDE..self.leaves.min((at + 1) * WIDE);
            let mut extremes = block.map(of_leaf).fold(NOTHING, both);
            for level in 0..self.levels.len() {
                if self.levels[level][at] == extremes {
                    break;
                }
                self.levels[level][at] = extremes;
                at /= WIDE;
                let children = &self.levels[level];
                let of_parent = &children[at * WIDE..children.len().min((at + 1) * WIDE)];
                extremes = of_parent.iter().copied().fold(NOTHING, both);
            }
        }
    }

    pub(super) fn smallest(&self) -> Option<f32> {
        self.root().map(|(min, _)| min)
    }

    pub(super) fn largest(&self) -> Option<f32> {
        self.root().map(|(_, max)| max)
    }

    fn root(&self) -> Option<(f32, f32)> {
        self.levels.last().and_then(|level| level.first()).copied().filter(|&(_, max)| max > 0.0)
    }
}
