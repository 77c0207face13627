//! Where everything lies: within ξ, within the state of a sequence, and within what the backward pass needs again.

use std::ops::Range;

use super::MemoryAccess;

/// How large everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) slots: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) allocation: bool,
    pub(super) link: bool,
}

/// The parts of ξ.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) read_keys: Range<usize>,
    pub(super) read_strengths: Range<usize>,
    pub(super) write_key: Range<usize>,
    pub(super) write_strength: usize,
    pub(super) erase: Range<usize>,
    pub(super) write: Range<usize>,
    /// Empty without allocation.
    pub(super) free: Range<usize>,
    /// Of no meaning without allocation.
    pub(super) allocation_gate: usize,
    pub(super) write_gate: usize,
    /// Empty without links.
    pub(super) modes: Range<usize>,
    pub(super) end: usize,
}

impl Parts {
    pub(super) fn of(access: &MemoryAccess) -> Self {
        let MemoryAccess { width, heads, allocation, link, .. } = *access;
        let mut end = 0;
        let mut next = |size: usize| {
            end += size;
            end - size..end
        };
        let (read_keys, read_strengths) = (next(heads * width), next(heads));
        let (write_key, write_strength) = (next(width), next(1).start);
        let (erase, write) = (next(width), next(width));
        let free = next(if allocation { heads } else { 0 });
        let allocation_gate = next(usize::from(allocation)).start;
        let write_gate = next(1).start;
        let modes = next(if link { 3 * heads } else { 0 });
        Self {
            read_keys,
            read_strengths,
            write_key,
            write_strength,
            erase,
            write,
            free,
            allocation_gate,
            write_gate,
            modes,
            end,
        }
    }
}

/// The parts of the state of one sequence, each row-major.
#[derive(Debug, Clone)]
pub(super) struct Cells {
    /// (slots, width)
    pub(super) contents: Range<usize>,
    /// (slots)
    pub(super) write: Range<usize>,
    /// (heads, slots)
    pub(super) reads: Range<usize>,
    /// (slots), empty without allocation.
    pub(super) usage: Range<usize>,
    /// (slots), empty without links.
    pub(super) precedence: Range<usize>,
    /// (slots, slots), empty without links.
    pub(super) links: Range<usize>,
}

/// The parts of what the backward pass needs again of one sequence.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    /// The allocation weighting (slots).
    pub(super) allocation: Range<usize>,
    /// Weights, cosines and norms of the write key (slots each).
    pub(super) write: [Range<usize>; 3],
    /// Weights and cosines of the read keys (heads, slots each), norms (slots).
    pub(super) read: [Range<usize>; 3],
    /// Backward and forward weightings (heads, slots each), empty without links.
    pub(super) ways: [Range<usize>; 2],
}

/// Ranges of these lengths, one behind the other.
fn ranges<const N: usize>(lengths: [usize; N]) -> [Range<usize>; N] {
    let mut end = 0;
    lengths.map(|length| {
        end += length;
        end - length..end
    })
}

impl Sizes {
    pub(super) fn cells(&self) -> Cells {
        let Self { slots: n, width, heads, allocation, link, .. } = *self;
        let if_so = |so: bool, size: usize| if so { size } else { 0 };
        let [contents, write, reads, usage, precedence, links] =
            ranges([n * width, n, heads * n, if_so(allocation, n), if_so(link, n), if_so(link, n * n)]);
        Cells { contents, write, reads, usage, precedence, links }
    }

    /// How many numbers the state of a sequence has.
    pub(super) fn state(&self) -> usize {
        self.cells().links.end
    }

    pub(super) fn traced(&self) -> Trace {
        let Self { slots: n, heads, allocation, link, .. } = *self;
        let (a, ways) = (if allocation { n } else { 0 }, if link { heads * n } else { 0 });
        let [allocation, w0, w1, w2, r0, r1, r2, backward, forward] =
            ranges([a, n, n, n, heads * n, heads * n, n, ways, ways]);
        Trace { allocation, write: [w0, w1, w2], read: [r0, r1, r2], ways: [backward, forward] }
    }

    /// How many numbers of a sequence the backward pass needs again.
    pub(super) fn trace(&self) -> usize {
        self.traced().ways[1].end
    }
}
