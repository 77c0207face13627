//! The smallest positive and the largest of many values that change.

use serde::{Deserialize, Serialize};

/// Values below a node.
const WIDE: usize = 16;

/// A tree of (smallest positive, largest): infinity and 0 where there is none. The first level is the values.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Extremes {
    levels: Vec<Vec<(f32, f32)>>,
}

const NOTHING: (f32, f32) = (f32::INFINITY, 0.0);

impl Extremes {
    pub(super) fn new(n: usize) -> Self {
        let mut levels = vec![vec![NOTHING; n]];
        let mut n = n;
        while n > 1 {
            n = n.div_ceil(WIDE);
            levels.push(vec![NOTHING; n]);
        }
        Self { levels }
    }

    /// Sets values, in order, and what stands above them, as far as it changes.
    pub(super) fn set(&mut self, changes: impl Iterator<Item = (usize, f32)>) {
        for (mut at, value) in changes {
            self.levels[0][at] = if value > 0.0 { (value, value) } else { NOTHING };
            for level in 1..self.levels.len() {
                let (below, above) = self.levels.split_at_mut(level);
                let (below, parent) = (&below[level - 1], at / WIDE);
                let children = &below[parent * WIDE..below.len().min((parent + 1) * WIDE)];
                let extremes =
                    children.iter().fold(NOTHING, |(min, max), &(low, high)| (min.min(low), max.max(high)));
                if above[0][parent] == extremes {
                    break;
                }
                above[0][parent] = extremes;
                at = parent;
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
