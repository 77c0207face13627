//! The store against a list of patterns, and its files.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use cl_hopfield::continuous::{Steps, retrieve};
use cl_hopfield::{Id, Store};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Change {
    Insert([i8; 3]),
    Overwrite(usize, [i8; 3]),
    Forget(usize),
    Reload,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let pattern = || proptest::array::uniform3(any::<i8>());
    let change = prop_oneof![
        4 => pattern().prop_map(Change::Insert),
        1 => (any::<usize>(), pattern()).prop_map(|(which, pattern)| Change::Overwrite(which, pattern)),
        2 => any::<usize>().prop_map(Change::Forget),
        1 => Just(Change::Reload),
    ];
    proptest::collection::vec(change, 0..60)
}

fn numbers(pattern: [i8; 3]) -> Vec<f32> {
    pattern.iter().map(|&x| f32::from(x) / 64.0).collect()
}

proptest! {
    /// Whatever comes and goes, it holds what a list would, under the same names, and answers from all of it.
    #[test]
    fn is_a_list_of_patterns(changes in changes(), query in proptest::array::uniform3(any::<i8>())) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let mut store = Store::with_room(3, 1).unwrap();
        let mut list: Vec<(Id, Vec<f32>)> = Vec::new();
        let mut gone = Vec::new();
        for change in changes {
            match change {
                Change::Insert(pattern) => {
                    let id = store.insert(&numbers(pattern)).unwrap();
                    prop_assert!(list.iter().all(|other| other.0 < id), "a name given twice");
                    list.push((id, numbers(pattern)));
                }
                Change::Overwrite(which, pattern) if !list.is_empty() => {
                    let at = which % list.len();
                    store.overwrite(list[at].0, &numbers(pattern)).unwrap();
                    list[at].1 = numbers(pattern);
                }
                Change::Forget(which) if !list.is_empty() => {
                    let (id, _) = list.remove(which % list.len());
                    store.forget(id).unwrap();
                    gone.push(id);
                }
                Change::Reload => {
                    store.save(&path).unwrap();
                    store = Store::load(&path).unwrap();
                }
                _ => {}
            }
        }
        prop_assert_eq!(store.len(), list.len());
        for (id, pattern) in &list {
            prop_assert_eq!(&store.get(*id).unwrap(), pattern);
        }
        for id in gone {
            prop_assert!(store.get(id).is_err() && store.forget(id).is_err() && store.overwrite(id, &[0.0; 3]).is_err());
        }
        let query = Tensor::from_vec(numbers(query), (1, 3), &Device::Cpu).unwrap();
        if list.is_empty() {
            prop_assert!(store.retrieve(&query, 1.0, Steps::Exactly(1)).is_err());
            prop_assert_eq!(store.nearest(&query, 3).unwrap(), [vec![]]);
            return Ok(());
        }
        let all: Vec<f32> = list.iter().flat_map(|(_, pattern)| pattern.clone()).collect();
        let all = Tensor::from_vec(all, (list.len(), 3), &Device::Cpu).unwrap();
        let found = store.retrieve(&query, 2.0, Steps::Exactly(2)).unwrap().state.to_vec2::<f32>().unwrap();
        let expected = retrieve(&query, &all, 2.0, Steps::Exactly(2)).unwrap().state.to_vec2::<f32>().unwrap();
        for (found, expected) in found[0].iter().zip(&expected[0]) {
            prop_assert!((found - expected).abs() < 1e-5);
        }
        // Products of sixty-fourths are exact: the order is that of a sort.
        let query = query.to_vec2::<f32>().unwrap().remove(0);
        let product = |pattern: &[f32]| query.iter().zip(pattern).map(|(a, b)| a * b).sum::<f32>();
        let mut sorted: Vec<(Id, f32)> = list.iter().map(|(id, pattern)| (*id, product(pattern))).collect();
        sorted.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
        sorted.truncate(4);
        let query = Tensor::from_vec(query, (1, 3), &Device::Cpu).unwrap();
        let found = store.nearest(&query, 4).unwrap().remove(0);
        prop_assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), sorted.iter().map(|s| s.0).collect::<Vec<_>>());
    }
}

/// Over the border of a block of patterns.
#[test]
fn the_nearest_of_many_are_found() {
    let mut store = Store::with_room(2, 10_000).unwrap();
    let ids: Vec<Id> = (0..9000).map(|i| store.insert(&[1.0, f32::from(i as u16 % 4500)]).unwrap()).collect();
    let query = Tensor::new(&[[0f32, 1.0], [0.0, -1.0]], &Device::Cpu).unwrap();
    let found = store.nearest(&query, 2).unwrap();
    assert_eq!(found[0], [(ids[4499], 4499.0), (ids[8999], 4499.0)]);
    assert_eq!(found[1].iter().map(|f| f.0).collect::<Vec<_>>(), [ids[0], ids[4500]]);
}

/// A file that was cut off or changed is refused, never half believed.
#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut store = Store::new(2).unwrap();
    for i in 0..5u8 {
        store.insert(&[f32::from(i), 1.0]).unwrap();
    }
    store.save(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        std::fs::write(&path, &whole[..at]).unwrap();
        assert!(Store::load(&path).is_err(), "cut off at {at}");
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, &flipped).unwrap();
        assert!(Store::load(&path).is_err(), "byte {at} flipped");
    }
    assert!(Store::load(folder.path().join("nothing")).is_err());
}

/// What is a whole snapshot of the right kind, and no store: names that come twice, that were never given, that are too few,
/// and what is no matrix of f32.
#[test]
fn parts_that_do_not_fit_together_are_refused() {
    #[derive(serde::Serialize)]
    struct Saved {
        #[serde(serialize_with = "cl_core::snapshot::tensor::serialize")]
        rows: Tensor,
        ids: Vec<u64>,
        next: u64,
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let load = |rows: &Tensor, ids: &[u64], next| {
        let saved = Saved { rows: rows.clone(), ids: ids.to_vec(), next };
        cl_core::snapshot::save(&path, cl_core::snapshot::Kind::new("cl-hopfield/store", 1), &saved).unwrap();
        Store::load(&path)
    };
    let rows = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
    assert_eq!(load(&rows, &[4, 2], 5).unwrap().len(), 2);
    let doubles = rows.to_dtype(DType::F64).unwrap();
    let flat = rows.flatten_all().unwrap();
    for (rows, ids) in
        [(&rows, &[4, 4][..]), (&rows, &[4, 5]), (&rows, &[4]), (&doubles, &[4, 2]), (&flat, &[4, 2])]
    {
        assert!(load(rows, ids, 5).unwrap_err().to_string().contains("its patterns"), "{ids:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(Store::new(0).is_err());
    let mut store = Store::new(2).unwrap();
    assert!(store.insert(&[1.0]).is_err());
    assert!(store.insert(&[1.0, f32::NAN]).unwrap_err().to_string().contains("number 1 is NaN"));
    assert!(store.is_empty());
    let query = Tensor::new(&[[0f32, 1.0, 2.0]], &Device::Cpu).unwrap();
    assert!(store.nearest(&query, 1).is_err());
    store.insert(&[1.0, 2.0]).unwrap();
    assert!(store.retrieve(&query, 1.0, Steps::Exactly(1)).is_err());
}

/// In half precision it holds what that can hold, all at once or one by one, and comes back from a file as f32.
#[test]
fn half_precision() {
    let patterns = Tensor::new(&[[0.1f32, 2.0], [-3.3, 0.7], [5.0, 1.0]], &Device::Cpu).unwrap();
    for dtype in [DType::F16, DType::BF16] {
        let (mut at_once, mut one_by_one) =
            (Store::on(&Device::Cpu, dtype, 2, 1).unwrap(), Store::on(&Device::Cpu, dtype, 2, 1).unwrap());
        let ids = at_once.insert_all(&patterns).unwrap();
        for row in patterns.to_vec2::<f32>().unwrap() {
            one_by_one.insert(&row).unwrap();
        }
        let rounded =
            patterns.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
        for (id, expected) in ids.iter().zip(&rounded) {
            assert_eq!((&at_once.get(*id).unwrap(), &one_by_one.get(*id).unwrap()), (expected, expected));
        }
        let query = Tensor::new(&[[-3f32, 0.5]], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let found = at_once.retrieve(&query, 4.0, Steps::Exactly(1)).unwrap().state;
        assert_eq!(found.dtype(), dtype);
        assert_eq!(found.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap()[0], rounded[1]);
        assert_eq!(at_once.nearest(&query, 1).unwrap()[0][0].0, ids[1]);
        let folder = tempfile::tempdir().unwrap();
        at_once.save(folder.path().join("store")).unwrap();
        assert_eq!(Store::load(folder.path().join("store")).unwrap().get(ids[0]).unwrap(), rounded[0]);
    }
    assert!(Store::on(&Device::Cpu, DType::U32, 2, 1).is_err());
    assert!(
        Store::new(2).unwrap().insert_all(&Tensor::new(&[[f32::NAN, 0.0]], &Device::Cpu).unwrap()).is_err()
    );
}

/// What is finite in f32 and not in half precision is refused, and nothing is stored then: no name is given away.
#[test]
fn what_half_precision_cannot_hold_is_refused() {
    for (dtype, large) in [(DType::F16, 1e5f32), (DType::BF16, f32::MAX)] {
        let mut store = Store::on(&Device::Cpu, dtype, 2, 1).unwrap();
        let first = store.insert(&[1.0, 2.0]).unwrap();
        let error = store.insert(&[large, 0.0]).unwrap_err().to_string();
        assert!(error.contains("too large for"), "{error}");
        assert!(store.overwrite(first, &[0.0, -large]).is_err());
        let rows = Tensor::new(&[[3f32, 4.0], [0.0, large]], &Device::Cpu).unwrap();
        assert!(store.insert_all(&rows).is_err());
        assert_eq!((store.len(), store.get(first).unwrap()), (1, vec![1.0, 2.0]));
        let next = store.insert(&[5.0, 6.0]).unwrap();
        assert_eq!((store.len(), store.get(next).unwrap()), (2, vec![5.0, 6.0]));
        store.forget(first).unwrap();
        assert_eq!(store.get(next).unwrap(), [5.0, 6.0]);
    }
}
