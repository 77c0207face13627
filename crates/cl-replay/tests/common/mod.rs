//! What several tests need: numbered samples, the state of a memory as bytes, and the chi-square test.
#![allow(clippy::unwrap_used, dead_code)]

use candle_core::{Device, Tensor};
use cl_core::snapshot::{self, Kind};
use serde::Serialize;

pub mod steps;

/// Samples that say who they are: `x` (n, 3) f32 of i, i + 0.25, i + 0.5 and `y` (n) u32 of i.
pub fn samples(numbers: std::ops::Range<u32>) -> (Tensor, Tensor) {
    let n = numbers.len();
    let x: Vec<f32> = numbers.clone().flat_map(|i| [0.0, 0.25, 0.5].map(|part| i as f32 + part)).collect();
    let y: Vec<u32> = numbers.collect();
    (Tensor::from_vec(x, (n, 3), &Device::Cpu).unwrap(), Tensor::from_vec(y, n, &Device::Cpu).unwrap())
}

/// The numbers of samples; fails where a row of `x` is not that of its `y`.
pub fn numbers((x, y): &(Tensor, Tensor)) -> Vec<u32> {
    let (x, y) = (x.to_vec2::<f32>().unwrap(), y.to_vec1::<u32>().unwrap());
    assert_eq!(x.len(), y.len());
    for (x, &y) in x.iter().zip(&y) {
        assert_eq!(*x, [0.0, 0.25, 0.5].map(|part| y as f32 + part), "rows of x and y were mixed up");
    }
    y
}

/// Everything that a memory is, its generator included.
pub fn state<T: Serialize>(memory: &T) -> Vec<u8> {
    snapshot::to_bytes(Kind::new("test/state", 1), memory).unwrap()
}

/// Σ (observed − expected)² / expected, for counts that add up to `draws` over equally likely cells: chi-square
/// with one degree of freedom less than there are cells.
pub fn chi_square(counts: &[u64], draws: u64) -> f64 {
    let expected = draws as f64 / counts.len() as f64;
    counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum()
}

/// For `runs` independent choices of `k` out of `counts.len()` positions: the counts of one run are not
/// independent, and this is what makes their sum of squares a chi-square with n − 1 degrees of freedom.
pub fn chi_square_of_subsets(counts: &[u64], k: usize, runs: u64) -> f64 {
    let (n, p) = (counts.len() as f64, k as f64 / counts.len() as f64);
    let expected = runs as f64 * p;
    let squares: f64 = counts.iter().map(|&count| (count as f64 - expected).powi(2)).sum();
    squares / (expected * (1.0 - p)) * (n - 1.0) / n
}

/// What a chi-square exceeds with probability 1e-4 (Wilson and Hilferty's approximation): the error rate
/// of every statistical test here. Seeds are fixed, so that a test that passes keeps passing.
pub fn critical(degrees: usize) -> f64 {
    let d = degrees as f64;
    let spread = 2.0 / (9.0 * d);
    d * (1.0 - spread + 3.719 * spread.sqrt()).powi(3)
}
