//! The loop of `best_pairs`.

use std::cmp::Ordering;

use crate::ops::cpu::Real;

/// Pairs, first halves and second halves of each row (3, rows, top), of scores (rows, 2, keys).
pub(super) fn best_pairs<T: Real>(scores: &[T], keys: usize, top: usize) -> Vec<u32> {
    let mut found: [Vec<u32>; 3] = Default::default();
    // Without keys there is nothing to find.
    for row in scores.chunks_exact(2 * keys.max(1)) {
        let (first, second) = row.split_at(keys);
        for (i, j) in of_row(first, second, top) {
            found[0].push((i * keys + j) as u32);
            found[1].push(i as u32);
            found[2].push(j as u32);
        }
    }
    found.concat()
}

fn of_row<T: Real>(first: &[T], second: &[T], top: usize) -> Vec<(usize, usize)> {
    let best = |scores: &[T]| {
        let order = |a: &usize, b: &usize| descending(scores[*a], scores[*b]).then(a.cmp(b));
        let mut all: Vec<usize> = (0..scores.len()).collect();
        if top < all.len() {
            all.select_nth_unstable_by(top, order);
            all.truncate(top);
        }
        all.sort_unstable_by(order);
        all
    };
    let (firsts, seconds) = (best(first), best(second));
    let mut pairs: Vec<(usize, usize)> =
        firsts.iter().flat_map(|&i| seconds.iter().map(move |&j| (i, j))).collect();
    let sum = |pair: &(usize, usize)| first[pair.0] + second[pair.1];
    pairs.sort_unstable_by(|a, b| descending(sum(a), sum(b)).then(a.cmp(b)));
    pairs.truncate(top);
    pairs
}

fn descending<T: Real>(a: T, b: T) -> Ordering {
    let (a, b) = (a.to_f64(), b.to_f64());
    b.is_nan().cmp(&a.is_nan()).then(if a.is_nan() { Ordering::Equal } else { b.total_cmp(&a) })
}
