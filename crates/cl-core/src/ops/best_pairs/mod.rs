//! The best pairs of two lists of scores: what a product-key memory (Lample et al. 2019) looks up.
//!
//! | operand | shape | |
//! |---|---|---|
//! | s | (.., 2, k) | scores of first and of second halves; f32 or f64, any strides |
//! | result | (3, .., top) | u32: the pair i·k + j, its first half i, its second half j; the best first |
//!
//! The score of a pair is s₀ᵢ + s₁ⱼ. The `top` best of all k² pairs lie among the `top` best first halves with the `top` best second
//! halves. Of equal ones, those come first whose first half does, then whose second half does. A score that is no number counts as
//! the largest, so that it is seen in what is looked up. No gradient goes through a choice.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use super::cpu::{for_float, slice};
use crate::{Error, Result};

pub(super) fn best_pairs(scores: &Tensor, top: usize) -> Result<Tensor> {
    let keys = match *scores.dims() {
        [.., 2, keys] => keys,
        ref other => return Err(Error::mismatch("best_pairs", "scores (.., 2, k)", format!("{other:?}"))),
    };
    if top > keys {
        return Err(Error::invalid("top", format!("{top} of {keys} halves: take at most as many")));
    }
    if keys > 1 << 16 {
        let why = format!("{keys}² pairs are more than can be numbered: take at most 2¹⁶ halves");
        return Err(Error::invalid("best_pairs", why));
    }
    Ok(scores.detach().contiguous()?.apply_op1_no_bwd(&BestPairs { top })?)
}

struct BestPairs {
    top: usize,
}

impl BestPairs {
    /// How many rows of how many halves there are, and the shape of the result.
    fn sizes(&self, layout: &Layout) -> (usize, usize, Shape) {
        let (before, halves) = layout.dims().split_at(layout.dims().len() - 2);
        let shape = [&[3], before, &[self.top]].concat();
        (before.iter().product(), halves[1], Shape::from(shape))
    }
}

impl CustomOp1 for BestPairs {
    fn name(&self) -> &'static str {
        "best_pairs"
    }

    fn cpu_fwd(&self, scores: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (_, keys, shape) = self.sizes(layout);
        let found = for_float!("best_pairs", scores, T => {
            Ok(cpu::best_pairs(slice::<T>(scores, layout)?, keys, self.top))
        })?;
        Ok((CpuStorage::U32(found), shape))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        scores: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        let (rows, keys, shape) = self.sizes(layout);
        for_float!("best_pairs", scores, T => {
            Ok((cuda::best_pairs::<T>((scores, layout), rows, keys, self.top)?, shape))
        })
    }
}
