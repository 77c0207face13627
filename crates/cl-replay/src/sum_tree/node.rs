//! The inner nodes of a sum tree: where eight children begin.

use super::WIDE;

/// The sums of the children that lie before each child: at 0 always 0. One cache line, so that a level costs
/// one read from memory, and one comparison of all eight where the processor has that.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub(super) struct Node([i64; WIDE]);

/// All bits of the places behind a child.
const BEHIND: [[i64; WIDE]; WIDE] = {
    let mut masks = [[0; WIDE]; WIDE];
    let mut at = 0;
    while at < WIDE * WIDE {
        masks[at / WIDE][at % WIDE] = if at % WIDE > at / WIDE { -1 } else { 0 };
        at += 1;
    }
    masks
};

impl Node {
    /// Adds to a child: all that lies behind it begins so much later.
    #[inline(always)]
    pub(super) fn add(&mut self, child: usize, difference: i64) {
        for (begin, behind) in self.0.iter_mut().zip(BEHIND[child & (WIDE - 1)]) {
            *begin = begin.wrapping_add(difference & behind);
        }
    }

    /// The child that owns `mass`, which becomes the mass within the child: the last that begins at or
    /// below it. (An empty child begins where its successor does, and is passed.) `begun` has a bit for each child
    /// that does; the first always does.
    #[inline(always)]
    fn descend(&self, mass: &mut i64, begun: impl Fn(&[i64; WIDE], i64) -> u8) -> usize {
        let child = (begun(&self.0, *mass) >> 1).count_ones() as usize;
        *mass -= self.0[child];
        child
    }
}

/// From a node of this level to its child, for every draw (mass, index); `announce` is told each child.
#[inline(always)]
pub(super) fn descend_all(level: &[Node], draws: &mut [(i64, usize)], announce: impl Fn(usize)) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if let Some(simd) = pulp::x86::V4::try_new() {
        use pulp::Simd as _;
        let begun = |begins: &[i64; WIDE], mass: i64| {
            let masses = simd.splat_i64s(mass);
            simd.avx512f._mm512_cmple_epi64_mask(pulp::cast(*begins), pulp::cast(masses))
        };
        return simd.vectorize(
            #[inline(always)]
            || each(level, draws, announce, begun),
        );
    }
    each(level, draws, announce, |begins, mass| {
        begins.iter().rev().fold(0, |begun, &begin| begun << 1 | u8::from(begin <= mass))
    });
}

#[inline(always)]
fn each(
    level: &[Node],
    draws: &mut [(i64, usize)],
    announce: impl Fn(usize),
    begun: impl Fn(&[i64; WIDE], i64) -> u8,
) {
    for (mass, index) in draws {
        let child = level.get(*index).map_or(0, |node| node.descend(mass, &begun));
        *index = *index * WIDE + child;
        announce(*index);
    }
}
