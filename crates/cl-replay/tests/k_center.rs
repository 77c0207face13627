//! Greedy k-center: the procedure exactly, its bound, duplicates.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use candle_core::{Device, Tensor};
use cl_replay::k_center;
use proptest::prelude::*;

fn matrix(points: &[[f32; 2]]) -> Tensor {
    Tensor::from_vec(points.concat(), (points.len(), 2), &Device::Cpu).unwrap()
}

/// Exact for whole numbers.
fn squared(a: [f32; 2], b: [f32; 2]) -> f64 {
    f64::from((a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2))
}

/// The largest distance to the nearest center.
fn radius(points: &[[f32; 2]], centers: &[usize]) -> f64 {
    let nearest = |&point: &[f32; 2]| {
        centers.iter().map(|&center| squared(point, points[center])).fold(f64::INFINITY, f64::min)
    };
    points.iter().map(nearest).fold(0.0, f64::max).sqrt()
}

/// The procedure as it is told: minimum distances, their argmax, which is the first of several.
fn told(points: &[[f32; 2]], k: usize, first: usize) -> Vec<u32> {
    let mut minimum: Vec<f64> = points.iter().map(|&point| squared(point, points[first])).collect();
    let mut centers = vec![first as u32];
    while centers.len() < k {
        let mut next = 0;
        for i in 0..points.len() {
            if minimum[i] > minimum[next] {
                next = i;
            }
        }
        centers.push(next as u32);
        for (minimum, &point) in minimum.iter_mut().zip(points) {
            *minimum = minimum.min(squared(point, points[next]));
        }
    }
    centers
}

/// The smallest radius of any k points.
fn optimum(points: &[[f32; 2]], k: usize) -> f64 {
    let subsets = (0u32..1 << points.len()).filter(|bits| bits.count_ones() as usize == k);
    let centers = |bits: u32| (0..points.len()).filter(|i| bits & (1 << i) != 0).collect::<Vec<_>>();
    subsets.map(|bits| radius(points, &centers(bits))).fold(f64::INFINITY, f64::min)
}

fn points(limit: i32, n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<[f32; 2]>> {
    let point = (-limit..limit, -limit..limit).prop_map(|(a, b)| [a as f32, b as f32]);
    prop::collection::vec(point, n)
}

proptest! {
    /// A small grid: many equal distances, whose order counts, and many duplicates.
    #[test]
    fn is_the_procedure_with_minimum_distances(points in points(4, 1..40), k in 1..40usize, first in 0..40usize) {
        let distinct = points.iter().map(|point| point.map(f32::to_bits)).collect::<BTreeSet<_>>().len();
        let (k, first) = (k.min(points.len()), first % points.len());
        let found = k_center(&matrix(&points), k, first).unwrap();
        // Where only duplicates are left, that procedure returns row 0 again and again.
        let told = told(&points, k.min(distinct), first);
        prop_assert_eq!(&found.rows[..told.len()], &told[..]);
        prop_assert_eq!(found.rows.iter().collect::<BTreeSet<_>>().len(), k, "a row twice");
        let chosen: BTreeSet<_> =
            found.rows.iter().map(|&row| points[row as usize].map(f32::to_bits)).collect();
        prop_assert_eq!(chosen.len(), k.min(distinct), "a point twice while others were left");
        let centers: Vec<usize> = found.rows.iter().map(|&row| row as usize).collect();
        prop_assert_eq!(found.radius, radius(&points, &centers));
    }

    #[test]
    fn its_radius_is_at_most_twice_the_best(points in points(30, 1..11), k in 1..5usize, first in 0..11usize) {
        let (k, first) = (k.min(points.len()), first % points.len());
        let found = k_center(&matrix(&points), k, first).unwrap();
        prop_assert!(found.radius <= 2.0 * optimum(&points, k) + 1e-9);
    }
}

/// Not every choice keeps the bound: the first k rows do not.
#[test]
fn the_bound_is_one() {
    let points = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [50.0, 0.0], [0.0, 50.0]];
    assert!(radius(&points, &[0, 1, 2]) > 2.0 * optimum(&points, 3));
    assert!(k_center(&matrix(&points), 3, 0).unwrap().radius <= 2.0 * optimum(&points, 3));
}

#[test]
fn bad_input_is_named() {
    let points = matrix(&[[0.0, 0.0], [1.0, f32::NAN]]);
    assert!(k_center(&points, 1, 0).unwrap_err().to_string().contains("feature 1 of row 1 is NaN"));
    let points = matrix(&[[0.0, 0.0], [1.0, 1.0]]);
    for (k, first) in [(0, 0), (3, 0), (1, 2)] {
        assert!(k_center(&points, k, first).unwrap_err().to_string().contains("2 points"));
    }
    assert!(k_center(&points.flatten_all().unwrap(), 1, 0).is_err());
    assert!(k_center(&points.narrow(0, 0, 0).unwrap(), 1, 0).is_err());
}
