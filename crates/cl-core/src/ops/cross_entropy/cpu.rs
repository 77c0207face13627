//! The loops of `cross_entropy`.

use crate::Units;
use crate::ops::cpu::Real;

pub(super) fn loss<T: Real>(z: &[T], y: &[u32], w: Option<&[T]>, outputs: usize, units: Units) -> T {
    let mut total = T::zero();
    for (i, (z, &y)) in z.chunks_exact(outputs).zip(y).enumerate() {
        let active = &z[units.range(y as usize, outputs)];
        let max = largest(active);
        let sum = active.iter().fold(T::zero(), |sum, &z| sum + (z - max).exp());
        let nll = sum.ln() + max - z[y as usize];
        total += w.map_or(nll, |w| w[i] * nll);
    }
    if w.is_some() { total } else { total / T::from_f64(y.len() as f64) }
}

pub(super) fn gradient<T: Real>(
    z: &[T],
    y: &[u32],
    w: Option<&[T]>,
    outputs: usize,
    units: Units,
    scale: T,
) -> Vec<T> {
    let mut gradient = vec![T::zero(); z.len()];
    let mean = scale / T::from_f64(y.len() as f64);
    for (i, (g, z)) in gradient.chunks_exact_mut(outputs).zip(z.chunks_exact(outputs)).enumerate() {
        let y = y[i] as usize;
        let range = units.range(y, outputs);
        let weight = w.map_or(mean, |w| w[i] * scale);
        let max = largest(&z[range.clone()]);
        let mut sum = T::zero();
        for (g, &z) in g[range.clone()].iter_mut().zip(&z[range.clone()]) {
            *g = (z - max).exp();
            sum += *g;
        }
        let factor = weight / sum;
        g[range].iter_mut().for_each(|g| *g *= factor);
        g[y] -= weight;
    }
    gradient
}

fn largest<T: Real>(z: &[T]) -> T {
    z.iter().fold(T::from_f64(f64::NEG_INFINITY), |max, &z| if z > max { z } else { max })
}
