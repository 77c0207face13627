//! The loops of `retrieve`.

use super::Sizes;
use crate::ops::cpu::{Matrix, Real, WideLoop, matmul_add_scaled, matmul_into, wide_loop};

/// Queries at a time.
const QUERIES: usize = 128;
/// Keys at a time: with as many queries a block is 256 KB, and stays in the cache.
const KEYS: usize = 512;
/// Numbers that are compared and added side by side, so that it vectorizes.
const LANES: usize = 32;

/// (batches or 1, rows or 1, keys).
#[derive(Clone, Copy)]
pub(super) struct Mask<'a, T> {
    pub(super) data: &'a [T],
    pub(super) batches: usize,
    pub(super) rows: usize,
}

impl<'a, T> Mask<'a, T> {
    /// The row of a query.
    fn row(&self, batch: usize, query: usize, keys: usize) -> &'a [T] {
        let batch = if self.batches == 1 { 0 } else { batch };
        let row = if self.rows == 1 { 0 } else { query };
        &self.data[(batch * self.rows + row) * keys..][..keys]
    }
}

/// The part of a batch, or what all batches share.
fn part<T>(all: &[T], batch: usize, size: usize) -> &[T] {
    if all.len() == size { all } else { &all[batch * size..][..size] }
}

/// The same, to be changed.
fn part_mut<T>(all: &mut [T], batch: usize, size: usize) -> &mut [T] {
    if all.len() == size { all } else { &mut all[batch * size..][..size] }
}

/// Result and log-sum-exp.
pub(super) fn forward<T: Real>(
    q: &[T],
    k: &[T],
    v: &[T],
    sizes: Sizes,
    beta: f64,
    mask: Option<Mask<'_, T>>,
) -> (Vec<T>, Vec<T>) {
    let Sizes { batch, n, m, d, v: width } = sizes;
    let mut result = vec![T::zero(); batch * n * width];
    let mut log = vec![T::from_f64(f64::NEG_INFINITY); batch * n];
    let mut room = Room::new(n.min(QUERIES), m.min(KEYS), width);
    for b in 0..batch {
        let (q, k, v) = (part(q, b, n * d), part(k, b, m * d), part(v, b, m * width));
        for from in (0..n).step_by(QUERIES) {
            let rows = QUERIES.min(n - from);
            let queries = Matrix::new(&q[from * d..][..rows * d], rows, d);
            room.begin(rows, width);
            for start in (0..m).step_by(KEYS) {
                let some = KEYS.min(m - start);
                let keys = Matrix::new(&k[start * d..][..some * d], some, d);
                let scores = &mut room.scores[..rows * some];
                matmul_into(scores, T::from_f64(beta), queries, keys.t());
                if let Some(mask) = mask {
                    add_mask(scores, some, |row| &mask.row(b, from + row, m)[start..][..some]);
                }
                let (top, sum, mean) = (&mut room.top, &mut room.sum, &mut room.mean[..rows * width]);
                wide_loop(Exponentials { scores, keys: some, top, sum, mean, width });
                let values = Matrix::new(&v[start * width..][..some * width], some, width);
                matmul_add_scaled(mean, T::one(), Matrix::new(scores, rows, some), values);
            }
            for row in 0..rows {
                let sum = room.sum[row];
                if sum == T::zero() {
                    continue; // it sees no key
                }
                let at = b * n + from + row;
                for (to, &mean) in
                    result[at * width..][..width].iter_mut().zip(&room.mean[row * width..][..width])
                {
                    *to = mean / sum;
                }
                log[at] = room.top[row] + sum.ln();
            }
        }
    }
    (result, log)
}

/// What a block of queries needs.
struct Room<T> {
    /// The scores of a block of queries and keys, and then their exponentials.
    scores: Vec<T>,
    /// Of each query: the largest score so far, the sum of exponentials under it, and of the values with these weights.
    top: Vec<T>,
    sum: Vec<T>,
    mean: Vec<T>,
}

impl<T: Real> Room<T> {
    fn new(queries: usize, keys: usize, width: usize) -> Self {
        let zeros = |n| vec![T::zero(); n];
        Self {
            scores: zeros(queries * keys),
            top: zeros(queries),
            sum: zeros(queries),
            mean: zeros(queries * width),
        }
    }

    fn begin(&mut self, rows: usize, width: usize) {
        self.top.fill(T::from_f64(f64::NEG_INFINITY));
        self.sum.fill(T::zero());
        self.mean[..rows * width].fill(T::zero());
    }
}

fn add_mask<'a, T: Real + 'a>(scores: &mut [T], keys: usize, mask: impl Fn(usize) -> &'a [T]) {
    for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
        scores.iter_mut().zip(mask(row)).for_each(|(s, &m)| *s += m);
    }
}

/// Scores become exponentials under the new maximum; what was summed up before is brought down to it.
struct Exponentials<'a, T> {
    scores: &'a mut [T],
    keys: usize,
    top: &'a mut [T],
    sum: &'a mut [T],
    mean: &'a mut [T],
    width: usize,
}

impl<T: Real> WideLoop for Exponentials<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Self { scores, keys, top, sum, mean, width } = self;
        let lowest = T::from_f64(f64::NEG_INFINITY);
        for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
            let most = largest(scores);
            let new = if most > top[row] { most } else { top[row] };
            // Nothing is seen yet: exp(−∞ − −∞) would be no number. What is none in the scores must stay so.
            let under = if new == lowest { T::zero() } else { new };
            let factor = if top[row] == new { T::one() } else { (top[row] - under).fast_exp() };
            sum[row] = sum[row] * factor + exp_under(scores, under);
            if factor != T::one() {
                mean[row * width..][..width].iter_mut().for_each(|mean| *mean *= factor);
            }
            top[row] = new;
        }
    }
}

#[inline(always)]
fn largest<T: Real>(scores: &[T]) -> T {
    let lowest = T::from_f64(f64::NEG_INFINITY);
    let mut lanes = [lowest; LANES];
    let (chunks, rest) = scores.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &s) in lanes.iter_mut().zip(chunk) {
            *lane = if s > *lane { s } else { *lane };
        }
    }
    let more = |most: T, &s: &T| if s > most { s } else { most };
    let most = lanes.iter().fold(lowest, more);
    rest.iter().fold(most, more)
}

/// Each score becomes exp(score − top); their sum.
#[inline(always)]
fn exp_under<T: Real>(scores: &mut [T], top: T) -> T {
    let mut lanes = [T::zero(); LANES];
    let (chunks, rest) = scores.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (lane, s) in lanes.iter_mut().zip(chunk) {
            *s = (*s - top).fast_exp();
            *lane += *s;
        }
    }
    for (lane, s) in lanes.iter_mut().zip(rest) {
        *s = (*s - top).fast_exp();
        *lane += *s;
    }
    lanes.iter().fold(T::zero(), |sum, &lane| sum + lane)
}

/// What the backward pass is given.
#[derive(Clone, Copy)]
pub(super) struct Known<'a, T> {
    pub(super) q: &'a [T],
    pub(super) k: &'a [T],
    pub(super) v: &'a [T],
    pub(super) result: &'a [T],
    pub(super) log: &'a [T],
    /// Of the result.
    pub(super) grad: &'a [T],
    /// Of the log-sum-exp, where it is not 0.
    pub(super) log_grad: Option<&'a [T]>,
}

/// The gradients of queries, keys and values; those that are not needed stay empty.
pub(super) fn backward<T: Real>(
    Known { q, k, v, result, log, grad, log_grad }: Known<'_, T>,
    sizes: Sizes,
    beta: f64,
    mask: Option<Mask<'_, T>>,
    [needs_q, needs_k, needs_v]: [bool; 3],
) -> [Vec<T>; 3] {
    let Sizes { batch, n, m, d, v: width } = sizes;
    let zeros = |needed: bool, like: &[T]| vec![T::zero(); if needed { like.len() } else { 0 }];
    let (mut gq, mut gk, mut gv) = (zeros(needs_q, q), zeros(needs_k, k), zeros(needs_v, v));
    let (block, beta) = (n.min(QUERIES) * m.min(KEYS), T::from_f64(beta));
    let (mut weights, mut deltas) = (vec![T::zero(); block], vec![T::zero(); block]);
    let mut less = vec![T::zero(); n.min(QUERIES)];
    for b in 0..batch {
        let (q, k, v) = (part(q, b, n * d), part(k, b, m * d), part(v, b, m * width));
        for from in (0..n).step_by(QUERIES) {
            let rows = QUERIES.min(n - from);
            let before = b * n + from;
            let (log, g) = (&log[before..][..rows], &grad[before * width..][..rows * width]);
            for (row, less) in less[..rows].iter_mut().enumerate() {
                // Dᵢ − hᵢ
                let own = (before + row) * width..(before + row + 1) * width;
                let products = result[own.clone()].iter().zip(&grad[own]).map(|(&r, &g)| r * g);
                let h = log_grad.map_or(T::zero(), |h| h[before + row]);
                *less = products.fold(T::zero(), |sum, x| sum + x) - h;
            }
            let queries = Matrix::new(&q[from * d..][..rows * d], rows, d);
            let g = Matrix::new(g, rows, width);
            for start in (0..m).step_by(KEYS) {
                let some = KEYS.min(m - start);
                let keys = Matrix::new(&k[start * d..][..some * d], some, d);
                let weights = &mut weights[..rows * some];
                matmul_into(weights, beta, queries, keys.t());
                if let Some(mask) = mask {
                    add_mask(weights, some, |row| &mask.row(b, from + row, m)[start..][..some]);
                }
                wide_loop(Normalised { scores: weights, keys: some, log });
                if needs_v {
                    let gv = &mut part_mut(&mut gv, b, m * width)[start * width..][..some * width];
                    matmul_add_scaled(gv, T::one(), Matrix::new(weights, rows, some).t(), g);
                }
                if !needs_q && !needs_k {
                    continue;
                }
                let deltas = &mut deltas[..rows * some];
                match width {
                    0 => deltas.fill(T::zero()),
                    _ => {
                        let values = Matrix::new(&v[start * width..][..some * width], some, width);
                        matmul_into(deltas, T::one(), g, values.t());
                    }
                }
                wide_loop(Deltas { deltas, weights, keys: some, less: &less });
                let deltas = Matrix::new(deltas, rows, some);
                if needs_q {
                    let gq = &mut gq[(b * n + from) * d..][..rows * d];
                    matmul_add_scaled(gq, beta, deltas, keys);
                }
                if needs_k {
                    let gk = &mut part_mut(&mut gk, b, m * d)[start * d..][..some * d];
                    matmul_add_scaled(gk, beta, deltas.t(), queries);
                }
            }
        }
    }
    [gq, gk, gv]
}

/// Scores become the weights exp(score − L).
struct Normalised<'a, T> {
    scores: &'a mut [T],
    keys: usize,
    log: &'a [T],
}

impl<T: Real> WideLoop for Normalised<'_, T> {
    #[inline(always)]
    fn run(self) {
        let lowest = T::from_f64(f64::NEG_INFINITY);
        for (scores, &log) in self.scores.chunks_exact_mut(self.keys).zip(self.log) {
            match log == lowest {
                true => scores.fill(T::zero()),
                false => scores.iter_mut().for_each(|s| *s = (*s - log).fast_exp()),
            }
        }
    }
}

/// dSᵢⱼ = pᵢⱼ (gᵢ·vⱼ − (Dᵢ − hᵢ)), in the place of gᵢ·vⱼ.
struct Deltas<'a, T> {
    deltas: &'a mut [T],
    weights: &'a [T],
    keys: usize,
    less: &'a [T],
}

impl<T: Real> WideLoop for Deltas<'_, T> {
    #[inline(always)]
    fn run(self) {
        let rows = self.deltas.chunks_exact_mut(self.keys).zip(self.weights.chunks_exact(self.keys));
        for ((deltas, weights), &less) in rows.zip(self.less) {
            deltas.iter_mut().zip(weights).for_each(|(ds, &p)| *ds = p * (*ds - less));
        }
    }
}
