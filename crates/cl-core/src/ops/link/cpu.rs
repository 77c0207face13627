//! The loops of `link`.

use crate::ops::cpu::{Real, wide};

pub(super) fn forward<T: Real>(l: &[T], w: &[T], p: &[T], n: usize) -> Vec<T> {
    let mut new = vec![T::zero(); l.len()];
    if n == 0 {
        return new;
    }
    wide(|| {
        let batches = l.chunks_exact(n * n).zip(w.chunks_exact(n)).zip(p.chunks_exact(n));
        for (((l, w), p), new) in batches.zip(new.chunks_exact_mut(n * n)) {
            for (i, (l, new)) in l.chunks_exact(n).zip(new.chunks_exact_mut(n)).enumerate() {
                let keep = T::one() - w[i];
                for (((new, &l), &wj), &pj) in new.iter_mut().zip(l).zip(w).zip(p) {
                    *new = (keep - wj) * l + w[i] * pj;
                }
                new[i] = T::zero();
            }
        }
    });
    new
}

/// The gradients of L, w and p.
pub(super) fn backward<T: Real>(l: &[T], w: &[T], p: &[T], g: &[T], n: usize) -> [Vec<T>; 3] {
    let (mut gl, mut gw, mut gp) = (g.to_vec(), vec![T::zero(); w.len()], vec![T::zero(); p.len()]);
    if n == 0 {
        return [gl, gw, gp];
    }
    wide(|| {
        for b in 0..w.len() / n {
            let (l, gl) = (&l[b * n * n..][..n * n], &mut gl[b * n * n..][..n * n]);
            let (w, p) = (&w[b * n..][..n], &p[b * n..][..n]);
            let (gw, gp) = (&mut gw[b * n..][..n], &mut gp[b * n..][..n]);
            for (i, (l, g)) in l.chunks_exact(n).zip(gl.chunks_exact_mut(n)).enumerate() {
                g[i] = T::zero();
                let mut of_row = T::zero();
                for j in 0..n {
                    let lost = g[j] * l[j];
                    of_row += g[j] * p[j] - lost;
                    gw[j] -= lost;
                    gp[j] += w[i] * g[j];
                    g[j] *= T::one() - w[i] - w[j];
                }
                gw[i] += of_row;
            }
        }
    });
    [gl, gw, gp]
}
