//! The storage, apart from any policy.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use cl_core::{
    Error,
    snapshot::{self, Kind},
};
use cl_replay::Rows;
use proptest::prelude::*;

const KIND: Kind = Kind::new("test/rows", 1);

fn batch(first: u32, n: usize) -> Tensor {
    Tensor::arange(first, first + 2 * n as u32, &Device::Cpu).unwrap().reshape((n, 2)).unwrap()
}

proptest! {
    /// Against a list of rows, for any order of writes, neighbouring or not, repeated or not.
    #[test]
    fn writes_like_a_list(
        capacity in 1..10usize,
        writes in prop::collection::vec(prop::collection::vec((any::<prop::sample::Index>(), 0..6usize, 1..4usize), 0..8), 1..6),
    ) {
        let (mut rows, mut list) = (Rows::new(capacity).unwrap(), Vec::<[u32; 2]>::new());
        for (number, write) in writes.into_iter().enumerate() {
            let new = batch(100 * number as u32, 6);
            let values = new.to_vec2::<u32>().unwrap();
            let mut places = Vec::new();
            for (slot, row, run) in write {
                let slot = slot.index((list.len() + 1).min(capacity));
                // Runs of neighbours, as an append makes them.
                for step in 0..run.min(6 - row).min(capacity - slot) {
                    let (slot, row) = (slot + step, row + step);
                    places.push((slot, row));
                    let value = [values[row][0], values[row][1]];
                    if slot == list.len() { list.push(value) } else { list[slot] = value }
                }
            }
            rows.write(&places, &[&new]).unwrap();
            prop_assert_eq!(rows.len(), list.len());
        }
        prop_assert_eq!(&rows.copy(0, list.len()).unwrap()[0].to_vec2::<u32>().unwrap(), &list);
        let back: Rows = snapshot::from_bytes(&snapshot::to_bytes(KIND, &rows).unwrap(), KIND).unwrap();
        prop_assert_eq!((back.len(), back.capacity()), (rows.len(), capacity));
        prop_assert_eq!(&back.copy(0, list.len()).unwrap()[0].to_vec2::<u32>().unwrap(), &list);
    }
}

#[test]
fn a_write_that_cannot_be_writes_nothing() {
    let mut rows = Rows::new(3).unwrap();
    rows.write(&[(0, 0), (1, 1)], &[&batch(0, 2)]).unwrap();
    let new = batch(50, 2);
    for places in [vec![(0, 0), (3, 1)], vec![(0, 0), (1, 2)], vec![(0, 0), (usize::MAX, 0)]] {
        let error = rows.write(&places, &[&new]).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    let mut gap = Rows::new(3).unwrap();
    assert!(gap.write(&[(1, 0)], &[&new]).unwrap_err().to_string().contains("slot 1"));
    assert!(rows.write(&[(0, 0)], &[&new, &new]).unwrap_err().to_string().contains("1 columns"));
    assert!(rows.write(&[(0, 0)], &[]).is_err());
    assert_eq!(rows.copy(0, 2).unwrap()[0].to_vec2::<u32>().unwrap(), [[0, 1], [2, 3]]);
}

#[test]
fn reading_what_is_not_there_is_an_error() {
    let mut rows = Rows::new(3).unwrap();
    assert!(rows.gather(&[0]).is_err());
    assert!(rows.copy(0, 1).is_err());
    rows.write(&[(0, 0)], &[&batch(0, 1)]).unwrap();
    assert!(rows.gather(&[0, 1]).unwrap_err().to_string().contains("slot 1"));
    assert!(rows.gather(&[u32::MAX]).is_err());
    assert!(rows.copy(0, 2).is_err());
    assert!(rows.copy(usize::MAX, 2).is_err());
    assert_eq!(rows.gather(&[]).unwrap()[0].dims(), [0, 2]);
    assert!(Rows::new(0).is_err() && Rows::new(u32::MAX as usize).is_err());
}

#[test]
fn a_saved_form_that_contradicts_itself_is_refused() {
    #[derive(serde::Serialize)]
    struct Forged {
        capacity: usize,
        len: usize,
        #[serde(with = "cl_core::snapshot::tensor")]
        columns: Vec<Tensor>,
    }
    let column = |n| Tensor::zeros((n, 2), DType::F32, &Device::Cpu).unwrap();
    for forged in [
        Forged { capacity: 0, len: 0, columns: vec![] },
        Forged { capacity: 2, len: 1, columns: vec![] },
        Forged { capacity: 2, len: 3, columns: vec![column(3)] },
        Forged { capacity: 3, len: 2, columns: vec![column(3)] },
        Forged { capacity: 3, len: 3, columns: vec![column(3), column(2)] },
        Forged { capacity: 3, len: 1, columns: vec![Tensor::new(1f32, &Device::Cpu).unwrap()] },
    ] {
        let bytes = snapshot::to_bytes(KIND, &forged).unwrap();
        assert!(matches!(snapshot::from_bytes::<Rows>(&bytes, KIND), Err(Error::Format { .. })));
    }
}
