#![allow(clippy::unwrap_used)]

use candle_core::Device;
use proptest::prelude::*;

use super::*;

const DTYPES: [DType; 9] = [
    DType::U8,
    DType::U32,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::F16,
    DType::BF16,
    DType::F32,
    DType::F64,
];

/// Numbers from `from` on, below 100, as rows of this shape.
fn rows(from: usize, n: usize, row: &[usize], dtype: DType) -> Tensor {
    let width: usize = row.iter().product();
    let values: Vec<f64> = (0..n * width).map(|i| ((from * width + i) % 100) as f64).collect();
    let shape = [&[n], row].concat();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Against a list of rows, of every dtype: round the end, all rows at once, and none; indices that there are not.
    #[test]
    fn a_ring_is_a_list_of_rows(
        capacity in 1..9usize,
        writes in prop::collection::vec((any::<usize>(), any::<usize>()), 1..5),
        indices in prop::collection::vec(prop_oneof![0..10u32, Just(u32::MAX)], 0..20),
        row in prop_oneof![Just(vec![]), Just(vec![3]), Just(vec![2, 2]), Just(vec![0])],
    ) {
        let stores: Vec<Tensor> = DTYPES.iter().map(|&dtype| {
            rows(0, capacity, &row, dtype).zeros_like().unwrap()
        }).collect();
        let stores: Vec<&Tensor> = stores.iter().collect();
        let width: usize = row.iter().product();
        let mut list = vec![vec![0.0; width]; capacity];
        for (number, (start, n)) in writes.into_iter().enumerate() {
            let (start, n) = (start % capacity, n % (capacity + 1));
            let batch: Vec<Tensor> = DTYPES.iter().map(|&dtype| rows(10 * number, n, &row, dtype)).collect();
            write_rows(&stores, start, &batch.iter().collect::<Vec<_>>()).unwrap();
            for (i, values) in values(&batch[0]).chunks(width.max(1)).enumerate().take(n) {
                list[(start + i) % capacity] = values.to_vec();
            }
        }
        let at = Tensor::from_slice(&indices, indices.len(), &Device::Cpu).unwrap();
        let gathered = gather_rows(&stores, &at).unwrap();
        let zeros = vec![0.0; width];
        let expected: Vec<f64> =
            indices.iter().flat_map(|&i| list.get(i as usize).unwrap_or(&zeros).clone()).collect();
        for (gathered, dtype) in gathered.iter().zip(DTYPES) {
            prop_assert_eq!(gathered.dtype(), dtype);
            prop_assert_eq!(gathered.dims(), &[&[indices.len()], &row[..]].concat());
            prop_assert_eq!(values(gathered), expected.clone());
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let stores = [rows(0, 4, &[2], DType::F32), rows(0, 4, &[], DType::U8)];
    let before = stores.each_ref().map(values);
    let stores = stores.each_ref();
    let (x, y) = (rows(50, 3, &[2], DType::F32), rows(50, 3, &[], DType::U8));
    let mismatches: [&[Tensor]; 5] = [
        std::slice::from_ref(&x),
        &[x.clone(), rows(50, 2, &[], DType::U8)],
        &[x.clone(), rows(50, 3, &[1], DType::U8)],
        &[x.clone(), rows(50, 3, &[], DType::U32)],
        &[x.clone(), Tensor::new(1u8, &Device::Cpu).unwrap()],
    ];
    for batch in mismatches {
        let error = write_rows(&stores, 0, &batch.iter().collect::<Vec<_>>()).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    }
    let error = write_rows(&stores, 0, &[&x, &rows(50, 3, &[1], DType::U8)]).unwrap_err().to_string();
    assert!(error.contains("expected u8 [3] on Cpu, got u8 [3, 1] on Cpu"), "{error}");
    let (long_x, long_y) = (rows(0, 5, &[2], DType::F32), rows(0, 5, &[], DType::U8));
    for (start, batch) in [(4, [&x, &y]), (0, [&long_x, &long_y])] {
        let error = write_rows(&stores, start, &batch).unwrap_err().to_string();
        assert!(error.contains("do not go into 4 rows"), "{error}");
    }
    assert!(write_rows(&[], 0, &[]).unwrap_err().to_string().contains("no store"));
    let other = rows(0, 5, &[], DType::U8);
    assert!(matches!(write_rows(&[stores[0], &other], 0, &[&x, &y]), Err(Error::Mismatch { .. })));
    let turned = rows(0, 2, &[4], DType::F32).t().unwrap();
    assert!(write_rows(&[&turned], 0, &[&x]).unwrap_err().to_string().contains("contiguous"));
    assert_eq!(stores.map(values), before);

    let at = Tensor::new(&[0u32], &Device::Cpu).unwrap();
    assert!(gather_rows(&[&turned], &at).unwrap_err().to_string().contains("contiguous"));
    for at in [Tensor::new(&[0i64], &Device::Cpu).unwrap(), Tensor::new(&[[0u32]], &Device::Cpu).unwrap()] {
        assert!(matches!(gather_rows(&stores, &at), Err(Error::Mismatch { .. })));
    }
    // A batch of any strides is taken.
    let wide = rows(1, 2, &[3], DType::F32);
    write_rows(&[stores[0]], 0, &[&wide.t().unwrap()]).unwrap();
    assert_eq!(values(stores[0])[..6], [3.0, 6.0, 4.0, 7.0, 5.0, 8.0]);
}

/// What is gathered is data: no gradient goes through it.
#[test]
fn rows_come_without_a_graph() {
    let store = candle_core::Var::zeros((3, 2), DType::F32, &Device::Cpu).unwrap();
    let at = Tensor::new(&[1u32, 1], &Device::Cpu).unwrap();
    let rows = gather_rows(&[&store], &at).unwrap().remove(0);
    assert!(!rows.track_op());
}

/// Of several rows for one slot the last stays; what is not there is refused before anything is written.
#[test]
fn rows_are_placed_one_by_one() {
    let store = Tensor::zeros((4, 2), DType::F32, &Device::Cpu).unwrap();
    let other = Tensor::zeros(4, DType::U32, &Device::Cpu).unwrap();
    let batch = Tensor::new(&[[1f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu).unwrap();
    let labels = Tensor::new(&[7u32, 8, 9], &Device::Cpu).unwrap();
    let place = |places: &[(u32, u32)]| place_rows(&[&store, &other], places, &[&batch, &labels]);
    place(&[(3, 0), (1, 1), (3, 2)]).unwrap();
    place(&[]).unwrap();
    let rows = || (store.to_vec2::<f32>().unwrap(), other.to_vec1::<u32>().unwrap());
    let expected = (vec![vec![0f32, 0.0], vec![3.0, 4.0], vec![0.0, 0.0], vec![5.0, 6.0]], vec![0, 8, 0, 9]);
    assert_eq!(rows(), expected);
    for bad in [[(0, 0), (4, 0)], [(0, 0), (1, 3)]] {
        let error = place(&bad).unwrap_err().to_string();
        assert!(error.contains("cannot go to slot"), "{error}");
    }
    assert!(place_rows(&[&store], &[(0, 0)], &[&labels]).is_err());
    assert_eq!(rows(), expected);
}
