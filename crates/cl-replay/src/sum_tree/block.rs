//! What stands below the nodes of a sum tree: the leaves, eight to a block.

use super::WIDE;

/// Neighbouring leaves.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
pub(super) struct Block(pub(super) [f32; WIDE]);

impl Block {
    /// In an order that vectorizes.
    #[inline(always)]
    pub(super) fn sum(&self) -> f64 {
        let leaf = self.0.map(f64::from);
        let four: [f64; 4] = std::array::from_fn(|i| leaf[i] + leaf[i + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }

    /// The sum in units; at least one where there is anything, or it could not be reached.
    #[inline(always)]
    pub(super) fn units(&self, scale: f64) -> i64 {
        let sum = self.sum();
        ((sum * scale) as i64).max(i64::from(sum > 0.0))
    }

    /// The leaf that owns `mass`.
    pub(super) fn find(&self, mass: f64) -> usize {
        self.owner(mass, ended)
    }

    /// As many as end at or below the mass lie before its owner.
    #[inline(always)]
    fn owner(&self, mass: f64, ended: impl Fn(&[f32; WIDE], f64) -> usize) -> usize {
        let before = ended(&self.0, mass);
        if self.0.get(before).is_some_and(|&leaf| leaf > 0.0) { before } else { self.nearest(before) }
    }

    /// The positive leaf, where rounding has put a mass into a leaf of zero or behind the last one.
    #[cold]
    fn nearest(&self, before: usize) -> usize {
        let positive = |leaf: &f32| *leaf > 0.0;
        let (left, right) = self.0.split_at(before);
        let left = left.iter().rposition(positive);
        left.or_else(|| Some(before + right.iter().position(positive)?)).unwrap_or(0)
    }
}

/// How many leaves end at or below a mass. They end at sums of two, of four, of eight: equal in every form.
fn ended(leaves: &[f32; WIDE], mass: f64) -> usize {
    let mut ends = leaves.map(f64::from);
    for step in [1, 2, 4] {
        ends = std::array::from_fn(|i| if i < step { ends[i] } else { ends[i - step] + ends[i] });
    }
    ends.iter().map(|&end| usize::from(end <= mass)).sum()
}

/// The leaves that own (mass in units, block), and what they are.
pub(super) fn find_all(blocks: &[Block], draws: &[(i64, usize)], unit: f64) -> (Vec<u32>, Vec<f32>) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if let Some(simd) = pulp::x86::V4::try_new() {
        let avx = simd.avx512f;
        let ended = |leaves: &[f32; WIDE], mass: f64| {
            let behind = |ends, step: i64, mask| {
                let from: [i64; WIDE] = std::array::from_fn(|i| i as i64 - step);
                avx._mm512_add_pd(avx._mm512_maskz_permutexvar_pd(mask, pulp::cast(from), ends), ends)
            };
            let leaves = avx._mm512_cvtps_pd(pulp::cast(*leaves));
            let ends = behind(behind(behind(leaves, 1, 0b1111_1110), 2, 0b1111_1100), 4, 0b1111_0000);
            let mask =
                avx._mm512_cmp_pd_mask::<{ std::arch::x86_64::_CMP_LE_OQ }>(ends, avx._mm512_set1_pd(mass));
            mask.count_ones() as usize
        };
        return pulp::Simd::vectorize(
            simd,
            #[inline(always)]
            || each(blocks, draws, unit, ended),
        );
    }
    each(blocks, draws, unit, ended)
}

#[inline(always)]
fn each(
    blocks: &[Block],
    draws: &[(i64, usize)],
    unit: f64,
    ended: impl Fn(&[f32; WIDE], f64) -> usize,
) -> (Vec<u32>, Vec<f32>) {
    let (mut found, mut leaves) = (vec![0; draws.len()], vec![0.0; draws.len()]);
    for ((found, leaf), &(rest, at)) in found.iter_mut().zip(&mut leaves).zip(draws) {
        if let Some(block) = blocks.get(at) {
            let owner = block.owner(rest as f64 * unit, &ended);
            (*found, *leaf) = ((at * WIDE + owner) as u32, block.0[owner]);
        }
    }
    (found, leaves)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;

    /// Blocks of very unequal leaves, a third of them zeros.
    fn blocks(n: usize, rng: &mut cl_core::Rng) -> Vec<Block> {
        let mut leaf =
            |_| if rng.random_bool(0.33) { 0.0 } else { 10f32.powf(rng.random_range(-20.0..20.0)) };
        let mut block = |_| Block(std::array::from_fn(&mut leaf));
        (0..n).map(&mut block).filter(|block| block.sum() > 0.0).collect()
    }

    #[test]
    fn wide_instructions_find_the_same_leaves() {
        let mut rng = cl_core::rng(0, "blocks");
        let blocks = blocks(20_000, &mut rng);
        let units = |(at, block): (usize, &Block)| ((rng.random::<f64>() * block.sum() * 1e-3) as i64, at);
        let draws: Vec<(i64, usize)> = blocks.iter().enumerate().map(units).collect();
        let (found, leaves) = find_all(&blocks, &draws, 1e3);
        for ((&found, &leaf), &(rest, at)) in found.iter().zip(&leaves).zip(&draws) {
            let expected = blocks[at].find(rest as f64 * 1e3);
            assert_eq!(found as usize, at * WIDE + expected, "{:?}", blocks[at]);
            assert!(leaf == blocks[at].0[expected] && leaf > 0.0, "{:?}", blocks[at]);
        }
    }

    /// At the borders of leaves, and a little around them, where sums in another order are not the same.
    #[test]
    fn no_mass_belongs_to_a_leaf_of_zero() {
        let mut rng = cl_core::rng(1, "blocks");
        let mut nearest = 0;
        for block in blocks(20_000, &mut rng) {
            let mut end = 0.0;
            for leaf in block.0 {
                end += f64::from(leaf);
                for mass in [end.next_down().max(0.0), end, end.next_up()] {
                    let before = ended(&block.0, mass);
                    let owner = (0..=before)
                        .rev()
                        .chain(before..WIDE)
                        .find(|&i| block.0.get(i).is_some_and(|&leaf| leaf > 0.0));
                    assert_eq!(Some(block.find(mass)), owner, "{mass} of {block:?}");
                    nearest += usize::from(before < WIDE && block.0[before] == 0.0);
                }
            }
        }
        assert!(nearest > 0, "the rounding that this is about never came up");
    }
}
