//! Samples: rows are picked, joined and cut without changing a value.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use cl_core::Error;
use cl_data::Samples;
use proptest::prelude::*;

fn samples(n: usize, features: usize) -> Samples {
    let x: Vec<f32> = (0..n * features).map(|i| i as f32 * 0.5).collect();
    let y: Vec<u32> = (0..n as u32).map(|i| i % 7).collect();
    Samples::new(
        Tensor::from_vec(x, (n, features), &Device::Cpu).unwrap(),
        Tensor::from_vec(y, n, &Device::Cpu).unwrap(),
    )
    .unwrap()
}

fn rows(samples: &Samples) -> (Vec<Vec<f32>>, Vec<u32>) {
    (samples.x.to_vec2().unwrap(), samples.y.to_vec1().unwrap())
}

#[test]
fn new_checks_shapes_and_dtypes() {
    let cpu = &Device::Cpu;
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, cpu).unwrap();
    let (x, y) = (zeros(&[4, 3], DType::F32), zeros(&[4], DType::U32));
    assert!(Samples::new(x.clone(), y.clone()).is_ok());
    for (x, y) in [
        (zeros(&[4, 3], DType::F64), y.clone()),
        (zeros(&[4, 3, 1], DType::F32), y.clone()),
        (zeros(&[5, 3], DType::F32), y),
        (x.clone(), zeros(&[4], DType::I64)),
        (x, zeros(&[4, 1], DType::U32)),
    ] {
        assert!(matches!(Samples::new(x, y), Err(Error::Mismatch { .. })));
    }
}

#[test]
fn new_straightens_strided_inputs() {
    let x = Tensor::arange(0_f32, 6., &Device::Cpu).unwrap().reshape((2, 3)).unwrap().t().unwrap();
    let y = Tensor::arange(0_u32, 3, &Device::Cpu).unwrap();
    let samples = Samples::new(x, y).unwrap();
    assert!(samples.x.is_contiguous());
    assert_eq!(rows(&samples.gather(&[2, 0]).unwrap()), (vec![vec![2., 5.], vec![0., 3.]], vec![2, 0]));
}

#[test]
fn rows_out_of_range_are_errors() {
    let all = samples(5, 2);
    let error = all.gather(&[0, 5]).unwrap_err().to_string();
    assert!(error.contains("5 is out of range: there are 5 samples"), "{error}");
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
    for range in [3..6, 6..6, 4..3] {
        assert!(matches!(all.slice(range), Err(Error::Invalid { .. })));
    }
    assert!(matches!(all.chunks(0).map(|_| ()), Err(Error::Invalid { .. })));
}

/// The fields are public: what does not fit together is an error when it is used, not a panic.
#[test]
fn samples_put_together_by_hand_are_checked() {
    let odd = Samples { x: samples(5, 2).x, y: samples(3, 2).y };
    assert!(matches!(odd.gather(&[4]), Err(Error::Mismatch { .. })));
    assert!(matches!(odd.slice(0..1), Err(Error::Mismatch { .. })));
    assert!(matches!(Samples::concat(&[&samples(1, 2), &odd]), Err(Error::Mismatch { .. })));
}

#[test]
fn concat_wants_equal_widths() {
    assert!(matches!(Samples::concat(&[]), Err(Error::Invalid { .. })));
    assert!(matches!(Samples::concat(&[&samples(2, 3), &samples(2, 4)]), Err(Error::Mismatch { .. })));
}

#[test]
fn empty_samples_are_samples() {
    let none = samples(4, 3).gather(&[]).unwrap();
    assert!(none.is_empty());
    assert_eq!((none.len(), none.features()), (0, 3));
    assert_eq!(Samples::concat(&[&none, &samples(2, 3), &none]).unwrap().len(), 2);
    assert_eq!(none.chunks(8).unwrap().count(), 0);
    assert_eq!(none.slice(0..0).unwrap().labels().unwrap(), [0_u32; 0]);
}

#[test]
fn chunks_cover_all_once() {
    let all = samples(10, 2);
    let parts: Vec<Samples> = all.chunks(4).unwrap().map(Result::unwrap).collect();
    assert_eq!(parts.iter().map(Samples::len).collect::<Vec<_>>(), [4, 4, 2]);
    let joined = Samples::concat(&parts.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(rows(&joined), rows(&all));
    assert_eq!(all.chunks(usize::MAX).unwrap().count(), 1);
}

#[test]
fn relabel_keeps_the_inputs() {
    let all = samples(6, 2);
    let other = all.relabel(|class| 10 + class).unwrap();
    assert_eq!(rows(&other), (rows(&all).0, (10..16).collect()));
}

proptest! {
    /// The naive way is candle's own.
    #[test]
    fn gather_is_index_select(
        (n, picked) in (1_usize..40).prop_flat_map(|n| (Just(n), proptest::collection::vec(0..n as u32, 1..60))),
        features in 1_usize..20,
        from in 0_usize..5,
    ) {
        // A view that does not start at the first row of its storage.
        let all = samples(n + from, features).slice(from..n + from).unwrap();
        let index = Tensor::new(&picked[..], &Device::Cpu).unwrap();
        let (x, y) = (all.x.index_select(&index, 0).unwrap(), all.y.index_select(&index, 0).unwrap());
        prop_assert_eq!(rows(&all.gather(&picked).unwrap()), rows(&Samples { x, y }));
    }

    #[test]
    fn slices_joined_are_the_whole(n in 0_usize..50, cut in 0_usize..50, features in 1_usize..9) {
        let (all, cut) = (samples(n, features), cut.min(n));
        let parts = [all.slice(0..cut).unwrap(), all.slice(cut..n).unwrap()];
        prop_assert_eq!(rows(&Samples::concat(&[&parts[0], &parts[1]]).unwrap()), rows(&all));
    }
}
