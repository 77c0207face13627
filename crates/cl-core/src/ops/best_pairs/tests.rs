#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use crate::TensorOps;
use crate::ops::testing::{normal, strided};

/// All pairs by the definition, the best first.
fn plain(first: &[f32], second: &[f32], top: usize) -> Vec<u32> {
    let keys = first.len();
    let sum = |pair: u32| first[pair as usize / keys] + second[pair as usize % keys];
    let mut all: Vec<u32> = (0..(keys * keys) as u32).collect();
    all.sort_by(|&a, &b| sum(b).partial_cmp(&sum(a)).unwrap());
    all.truncate(top);
    all
}

proptest! {
    /// Whole numbers, of which many sums are equal.
    #[test]
    fn are_the_best_of_all_pairs(
        scores in (1_usize..9).prop_flat_map(|keys| proptest::collection::vec(-3_i8..4, 6 * keys)), top in 1_usize..9,
    ) {
        let (keys, scores) = (scores.len() / 6, scores.iter().map(|&s| f32::from(s)).collect::<Vec<_>>());
        let top = top.min(keys);
        let tensor = Tensor::from_slice(&scores, (3, 2, keys), &Device::Cpu).unwrap();
        for dtype in [DType::F32, DType::F64] {
            let found = tensor.to_dtype(dtype).unwrap().best_pairs(top).unwrap();
            prop_assert_eq!(found.dims(), &[3, 3, top]);
            let [pairs, first, second] = [0, 1, 2].map(|part| found.get(part).unwrap().to_vec2::<u32>().unwrap());
            for (row, scores) in scores.chunks_exact(2 * keys).enumerate() {
                prop_assert_eq!(&pairs[row], &plain(&scores[..keys], &scores[keys..], top));
                for (k, &pair) in pairs[row].iter().enumerate() {
                    prop_assert_eq!((first[row][k], second[row][k]), (pair / keys as u32, pair % keys as u32));
                }
            }
        }
    }
}

#[test]
fn what_is_no_number_comes_first() {
    let nan = f32::NAN;
    let scores = Tensor::new(&[[1f32, nan, 3.0, -nan], [0.0, 1.0, 2.0, 3.0]], &Device::Cpu).unwrap();
    let pairs = scores.best_pairs(4).unwrap().get(0).unwrap().to_vec1::<u32>().unwrap();
    assert_eq!(pairs, [4, 5, 6, 7]);
}

#[test]
fn strided_and_empty() {
    let scores = normal(&[4, 2, 5], DType::F32, 1);
    let of = |t: &Tensor| t.best_pairs(3).unwrap().flatten_all().unwrap().to_vec1::<u32>().unwrap();
    assert_eq!(of(&strided(&scores)), of(&scores));
    for (dims, top) in [([0, 2, 4], 3), ([3, 2, 0], 0), ([3, 2, 4], 0)] {
        let none = Tensor::zeros(&dims, DType::F32, &Device::Cpu).unwrap().best_pairs(top).unwrap();
        assert_eq!(none.dims(), [3, dims[0], top]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let scores = |dims: &[usize], dtype| Tensor::zeros(dims, dtype, &Device::Cpu).unwrap();
    let says = |t: Tensor, top| t.best_pairs(top).unwrap_err().to_string();
    assert!(says(scores(&[3, 4], DType::F32), 1).contains("scores (.., 2, k)"));
    assert!(says(scores(&[4], DType::F32), 1).contains("scores (.., 2, k)"));
    assert!(says(scores(&[2, 4], DType::F32), 5).starts_with("top: 5 of 4 halves"));
    assert!(says(scores(&[2, (1 << 16) + 1], DType::F32), 1).contains("more than can be numbered"));
    assert!(scores(&[2, 4], DType::U32).best_pairs(1).is_err());
}
