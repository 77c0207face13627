//! The loop of `quadratic_penalty`.

use candle_core::Result;

use super::Quadratic;
use crate::ops::cpu::{Real, sum, wide, with_slice};

/// Parameters at a time: θ and its gradient stay in the first-level cache while the terms pass by.
const BLOCK: usize = 2048;

/// ½ Σₖ Σ Fₖ(θ−θ*ₖ)², and its gradient if asked for.
pub(super) fn penalty<T: Real>(
    theta: &[T],
    terms: &[Quadratic],
    with_gradient: bool,
) -> Result<(f64, Option<Vec<T>>)> {
    let mut gradient = with_gradient.then(|| vec![T::zero(); theta.len()]);
    let mut total = 0.0;
    open(terms, &[], &mut |terms| {
        for start in (0..theta.len()).step_by(BLOCK) {
            let block = start..(start + BLOCK).min(theta.len());
            let theta = &theta[block.clone()];
            for (importance, anchor) in terms {
                let (f, a) = (&importance[block.clone()], &anchor[block.clone()]);
                total += wide(|| {
                    if let Some(gradient) = &mut gradient {
                        let g = &mut gradient[block.clone()];
                        for (((g, &t), &f), &a) in g.iter_mut().zip(theta).zip(f).zip(a) {
                            *g += f * (t - a);
                        }
                    }
                    sum([theta, f, a], |[t, f, a]| f * (t - a) * (t - a))
                });
            }
        }
    })?;
    Ok((0.5 * total, gradient))
}

/// g ← g + scale·Σₖ Fₖ(θ−θ*ₖ).
pub(super) fn add_gradient<T: Real>(g: &mut [T], theta: &[T], terms: &[Quadratic], scale: T) -> Result<()> {
    open(terms, &[], &mut |terms| {
        let mut sums = vec![T::zero(); BLOCK.min(theta.len())];
        for start in (0..theta.len()).step_by(BLOCK) {
            let block = start..(start + BLOCK).min(theta.len());
            let (theta, g) = (&theta[block.clone()], &mut g[block.clone()]);
            let sums = &mut sums[..theta.len()];
            sums.fill(T::zero());
            for (importance, anchor) in terms {
                let (f, a) = (&importance[block.clone()], &anchor[block.clone()]);
                wide(|| {
                    for (((sum, &t), &f), &a) in sums.iter_mut().zip(theta).zip(f).zip(a) {
                        *sum += f * (t - a);
                    }
                });
            }
            wide(|| g.iter_mut().zip(&*sums).for_each(|(g, &sum)| *g += sum * scale));
        }
    })
}

/// Importance and anchor of a bowl.
type Slices<'a, T> = (&'a [T], &'a [T]);

/// Calls `f` with the slices of `opened` and of all `terms`: each lies behind its own lock, so they
/// are opened one inside the other.
fn open<T: Real>(
    terms: &[Quadratic],
    opened: &[Slices<'_, T>],
    f: &mut dyn FnMut(&[Slices<'_, T>]),
) -> Result<()> {
    let Some((term, rest)) = terms.split_first() else {
        f(opened);
        return Ok(());
    };
    with_slice(&term.importance, |importance| {
        with_slice(&term.anchor, |anchor| {
            let opened: Vec<_> = opened.iter().copied().chain([(importance, anchor)]).collect();
            open(rest, &opened, f)
        })
    })
}
