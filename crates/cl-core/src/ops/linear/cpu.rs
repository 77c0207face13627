//! The loops of `linear`.

use super::Activation;
use crate::ops::cpu::{Matrix, Real, matmul, wide};

/// Rows, inputs, outputs.
type Size = (usize, usize, usize);

pub(super) fn forward<T: Real>(x: &[T], w: &[T], b: Option<&[T]>, size: Size, act: Activation) -> Vec<T> {
    let (rows, inputs, outputs) = size;
    let mut y = matmul(Matrix::new(x, rows, inputs), Matrix::new(w, outputs, inputs).t());
    if outputs == 0 {
        return y;
    }
    match (b, act) {
        (None, Activation::Identity) => {}
        (None, Activation::Relu) => wide(|| y.iter_mut().for_each(|y| *y = relu(*y))),
        (Some(b), Activation::Identity) => wide(|| {
            for y in y.chunks_exact_mut(outputs) {
                y.iter_mut().zip(b).for_each(|(y, &b)| *y += b);
            }
        }),
        (Some(b), Activation::Relu) => wide(|| {
            for y in y.chunks_exact_mut(outputs) {
                y.iter_mut().zip(b).for_each(|(y, &b)| *y = relu(*y + b));
            }
        }),
    }
    y
}

/// Keeps NaN, unlike `max`: a diverged network must not look like a dead one.
#[inline(always)]
fn relu<T: Real>(x: T) -> T {
    if x < T::zero() { T::zero() } else { x }
}

/// The gradients of x (where `needs_gx`), W and b.
pub(super) fn backward<T: Real>(
    x: &[T],
    w: &[T],
    y: &[T],
    g: &[T],
    (rows, inputs, outputs): Size,
    act: Activation,
    needs_gx: bool,
) -> (Option<Vec<T>>, Vec<T>, Vec<T>) {
    let mut gb = vec![T::zero(); outputs];
    let masked;
    let g = match act {
        Activation::Identity => {
            wide(|| {
                for g in g.chunks_exact(outputs.max(1)) {
                    gb.iter_mut().zip(g).for_each(|(gb, &g)| *gb += g);
                }
            });
            g
        }
        Activation::Relu => {
            masked = wide(|| {
                let mut masked = g.to_vec();
                for (g, y) in masked.chunks_exact_mut(outputs.max(1)).zip(y.chunks_exact(outputs.max(1))) {
                    for ((g, &y), gb) in g.iter_mut().zip(y).zip(&mut gb) {
                        *g = if y > T::zero() { *g } else { T::zero() };
                        *gb += *g;
                    }
                }
                masked
            });
            &masked
        }
    };
    let g = Matrix::new(g, rows, outputs);
    let gw = matmul(g.t(), Matrix::new(x, rows, inputs));
    let gx = needs_gx.then(|| matmul(g, Matrix::new(w, outputs, inputs)));
    (gx, gw, gb)
}
