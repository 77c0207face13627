//! Herding: the greedy definition exactly, its order, and what it refuses.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use cl_replay::herding;
use proptest::prelude::*;

fn matrix(points: &[[f32; 3]]) -> Tensor {
    Tensor::from_vec(points.concat(), (points.len(), 3), &Device::Cpu).unwrap()
}

/// The definition: each choice brings the mean of the chosen nearest to the target. Whole numbers: exact up to the division,
/// which is left out by comparing ‖φ + Σ chosen − m μ‖.
fn told(points: &[[f32; 3]], target: [f32; 3], k: usize) -> Vec<u32> {
    let mut chosen: Vec<usize> = Vec::new();
    for m in 1..=k {
        let distance = |row: usize| -> f64 {
            let of = |i: usize| -> f64 {
                let sum: f32 = chosen.iter().chain([&row]).map(|&row| points[row][i]).sum();
                f64::from(sum - m as f32 * target[i]).powi(2)
            };
            (0..3).map(of).sum()
        };
        let free: Vec<usize> = (0..points.len()).filter(|row| !chosen.contains(row)).collect();
        let least = free.iter().map(|&row| distance(row)).fold(f64::INFINITY, f64::min);
        let next = free.iter().copied().find(|&row| distance(row) == least).unwrap();
        chosen.push(next);
    }
    chosen.into_iter().map(|row| row as u32).collect()
}

proptest! {
    #[test]
    fn is_the_greedy_definition(
        points in prop::collection::vec(prop::array::uniform3(-5i8..6), 1..20),
        target in prop::array::uniform3(-3i8..4),
        part in 0.0..1.0f64,
    ) {
        let points: Vec<[f32; 3]> = points.into_iter().map(|point| point.map(f32::from)).collect();
        let target = target.map(f32::from);
        let k = (part * (points.len() + 1) as f64) as usize;
        let found = herding(&matrix(&points), &Tensor::new(&target, &Device::Cpu).unwrap(), k).unwrap();
        prop_assert_eq!(&found, &told(&points, target, k));
        // A smaller choice is the beginning of a larger one.
        let all = herding(&matrix(&points), &Tensor::new(&target, &Device::Cpu).unwrap(), points.len()).unwrap();
        prop_assert_eq!(&all[..k], &found[..]);
    }
}

/// The mean of a tenth of 200 samples is much nearer to that of all than that of the first ones.
#[test]
fn the_mean_is_met() {
    let features = cl_core::init::Init::Normal(1.0)
        .var((200, 3), DType::F64, &Device::Cpu, &mut cl_core::rng(0, "features"))
        .unwrap();
    let mean = features.mean(0).unwrap();
    let off = |rows: &[u32]| -> f64 {
        let rows = Tensor::from_slice(rows, rows.len(), &Device::Cpu).unwrap();
        let of = features.index_select(&rows, 0).unwrap().mean(0).unwrap();
        (of - &mean).unwrap().sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
    };
    let chosen = off(&herding(&features, &mean, 20).unwrap());
    let first = off(&(0..20).collect::<Vec<u32>>());
    assert!(chosen < 0.05 && first > 0.3, "{chosen} {first}");
}

#[test]
fn bad_input_is_named() {
    let (points, target) = (matrix(&[[0.0; 3], [1.0; 3]]), Tensor::new(&[0f32; 3], &Device::Cpu).unwrap());
    let error = |points: &Tensor, target: &Tensor, k| herding(points, target, k).unwrap_err().to_string();
    assert!(error(&points, &target, 3).contains("3 of 2"));
    assert!(error(&points, &target.narrow(0, 0, 2).unwrap(), 1).contains("3 features"));
    assert!(error(&target, &target, 1).contains("herding"));
    assert!(error(&(&points / 0.0).unwrap(), &target, 1).contains("NaN"));
    assert!(herding(&points, &target, 0).unwrap().is_empty());
}
