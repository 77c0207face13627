//! Where the nodes of a tree stand: level after level from the leaves up, each filled up to whole nodes with zeros.

/// Children of a node: lanes of a warp.
pub(super) const WIDE: usize = 32;
/// Levels above 2³² leaves.
pub(super) const LEVELS: usize = 7;

/// The levels above the leaves; the last one is the root.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Levels {
    /// Where each begins.
    pub(super) begin: [u64; LEVELS],
    /// Its nodes.
    pub(super) nodes: [u32; LEVELS],
    /// How many there are, one at least.
    pub(super) count: u32,
    /// Leaves that may be drawn.
    pub(super) capacity: u32,
}

impl Levels {
    /// Above so many leaves.
    pub(super) fn new(capacity: usize) -> Self {
        let mut levels = Self { begin: [0; LEVELS], nodes: [0; LEVELS], count: 0, capacity: capacity as u32 };
        let (mut below, mut end) = (capacity, 0);
        while levels.count == 0 || below > 1 {
            below = below.div_ceil(WIDE);
            let level = levels.count as usize;
            (levels.begin[level], levels.nodes[level]) = (end as u64, below as u32);
            end += below.next_multiple_of(WIDE);
            levels.count += 1;
        }
        levels
    }

    /// Leaves, filled up.
    pub(super) fn leaves(&self) -> usize {
        (self.capacity as usize).next_multiple_of(WIDE)
    }

    /// Nodes of all levels, filled up.
    pub(super) fn all(&self) -> usize {
        let last = self.count as usize - 1;
        self.begin[last] as usize + (self.nodes[last] as usize).next_multiple_of(WIDE)
    }

    /// Where the root is.
    pub(super) fn root(&self) -> usize {
        self.begin[self.count as usize - 1] as usize
    }
}
