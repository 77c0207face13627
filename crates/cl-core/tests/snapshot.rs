//! A snapshot comes back bit for bit, or as an error: never as another value, never as a panic.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use cl_core::{
    Error,
    snapshot::{self, Kind, tensor::TensorData},
};
use proptest::prelude::*;
use rand::RngCore;
use serde::{Deserialize, Serialize};

const KIND: Kind = Kind::new("test/thing", 3);

/// Something of everything that state is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Thing {
    step: u64,
    signed: i64,
    wide: Vec<u128>,
    name: String,
    bits: Vec<u32>,
    choice: Choice,
    map: BTreeMap<String, Option<bool>>,
    rng: cl_core::Rng,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Choice {
    Nothing,
    Pair(u8, i32),
    Named { x: char },
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        Just(Choice::Nothing),
        any::<(u8, i32)>().prop_map(|(a, b)| Choice::Pair(a, b)),
        any::<char>().prop_map(|x| Choice::Named { x }),
    ]
}

prop_compose! {
    fn thing()(
        step: u64,
        signed: i64,
        wide in prop::collection::vec(any::<u128>(), 0..4),
        name: String,
        bits in prop::collection::vec(any::<u32>(), 0..40),
        choice in choice(),
        map in prop::collection::btree_map(any::<String>(), any::<Option<bool>>(), 0..4),
        seed: u64,
        drawn in 0..100usize,
    ) -> Thing {
        let mut rng = cl_core::rng(seed, "test");
        (0..drawn).for_each(|_| { rng.next_u32(); });
        Thing { step, signed, wide, name, bits, choice, map, rng }
    }
}

fn small() -> Thing {
    Thing {
        step: 300,
        signed: -1,
        wide: vec![u128::MAX],
        name: "ä name".to_owned(),
        bits: vec![0x7fc0_1234, 0],
        choice: Choice::Pair(1, -2),
        map: [("k".to_owned(), Some(true))].into(),
        rng: cl_core::rng(1, "test"),
    }
}

fn format_error(result: cl_core::Result<Thing>) -> String {
    match result {
        Err(Error::Format { why, .. }) => why,
        other => panic!("expected a format error, got {other:?}"),
    }
}

proptest! {
    #[test]
    fn comes_back_equal(thing in thing()) {
        let bytes = snapshot::to_bytes(KIND, &thing).unwrap();
        prop_assert_eq!(snapshot::from_bytes::<Thing>(&bytes, KIND).unwrap(), thing);
    }

    /// Whatever the bytes are, reading them ends, and in an error.
    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..400), keep in 0..120usize) {
        let mut bytes = snapshot::to_bytes(KIND, &small()).unwrap();
        bytes.truncate(keep);
        bytes.extend(noise);
        format_error(snapshot::from_bytes(&bytes, KIND));
    }

    #[test]
    fn tensors_keep_every_bit(
        words in prop::collection::vec(any::<u64>(), 24),
        shape in prop::sample::select(vec![vec![24], vec![2, 3, 4], vec![1, 24, 1], vec![4, 6]]),
        transpose: bool,
    ) {
        let device = Device::Cpu;
        let shape = shape.as_slice();
        for tensor in [
            Tensor::from_vec(words.iter().map(|&w| f64::from_bits(w)).collect(), shape, &device).unwrap(),
            Tensor::from_vec(words.iter().map(|&w| f32::from_bits(w as u32)).collect(), shape, &device).unwrap(),
            Tensor::from_vec(words.iter().map(|&w| w as i64).collect(), shape, &device).unwrap(),
            Tensor::from_vec(words.iter().map(|&w| w as i32).collect(), shape, &device).unwrap(),
            Tensor::from_vec(words.iter().map(|&w| w as i16).collect(), shape, &device).unwrap(),
            Tensor::from_vec(words.iter().map(|&w| w as u32).collect(), shape, &device).unwrap(),
            Tensor::from_vec(words.iter().map(|&w| w as u8).collect(), shape, &device).unwrap(),
        ] {
            let tensor = if transpose && tensor.rank() > 1 { tensor.t().unwrap() } else { tensor };
            let back = through(&tensor);
            prop_assert_eq!(back.dims(), tensor.dims());
            prop_assert_eq!(back.dtype(), tensor.dtype());
            prop_assert!(back.is_contiguous());
            prop_assert_eq!(bits(&back), bits(&tensor));
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Holder {
    #[serde(with = "cl_core::snapshot::tensor")]
    tensor: Tensor,
}

fn through(tensor: &Tensor) -> Tensor {
    let bytes = snapshot::to_bytes(KIND, &Holder { tensor: tensor.clone() }).unwrap();
    snapshot::from_bytes::<Holder>(&bytes, KIND).unwrap().tensor
}

/// The values as bits, read without the code under test.
fn bits(tensor: &Tensor) -> Vec<u64> {
    let t = tensor.flatten_all().unwrap();
    match t.dtype() {
        DType::F64 => t.to_vec1::<f64>().unwrap().iter().map(|v| v.to_bits()).collect(),
        DType::F32 => t.to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits().into()).collect(),
        DType::I64 => t.to_vec1::<i64>().unwrap().iter().map(|&v| v as u64).collect(),
        DType::I32 => t.to_vec1::<i32>().unwrap().iter().map(|&v| v as u64).collect(),
        DType::I16 => t.to_vec1::<i16>().unwrap().iter().map(|&v| v as u64).collect(),
        DType::U32 => t.to_vec1::<u32>().unwrap().iter().map(|&v| v.into()).collect(),
        _ => t.to_vec1::<u8>().unwrap().iter().map(|&v| v.into()).collect(),
    }
}

#[test]
fn every_truncation_and_every_flipped_bit_is_an_error() {
    let bytes = snapshot::to_bytes(KIND, &small()).unwrap();
    assert_eq!(snapshot::from_bytes::<Thing>(&bytes, KIND).unwrap(), small());
    for length in 0..bytes.len() {
        let why = format_error(snapshot::from_bytes(&bytes[..length], KIND));
        assert!(why.contains("truncated"), "{length}: {why}");
    }
    for bit in 0..8 * bytes.len() {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        format_error(snapshot::from_bytes(&altered, KIND));
    }
}

#[test]
fn each_damage_is_named() {
    let bytes = snapshot::to_bytes(KIND, &small()).unwrap();
    let why = |bytes: &[u8], kind| format_error(snapshot::from_bytes(bytes, kind));

    assert!(why(b"{\"step\": 1}", KIND).contains("not a snapshot"));

    let mut longer = bytes.clone();
    longer.extend([0; 5]);
    assert!(why(&longer, KIND).contains("5 bytes follow its end"));

    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(why(&damaged, KIND).contains("checksum"));

    let other = why(&bytes, Kind::new("test/other", 3));
    assert!(other.contains("`test/thing`") && other.contains("`test/other`"), "{other}");

    let newer = why(&bytes, Kind::new("test/thing", 2));
    assert!(newer.contains("version 3") && newer.contains("newer than version 2"), "{newer}");
    let older = why(&bytes, Kind::new("test/thing", 4));
    assert!(older.contains("version 3") && older.contains("older than version 4"), "{older}");

    let mut format = bytes.clone();
    format[8] = 9;
    assert!(why(&format, KIND).contains("format 9, newer than format 1"));
}

/// The first bytes of a file of today: a change of the layout is a change of `FORMAT`.
#[test]
fn the_layout_is_pinned() {
    let bytes = snapshot::to_bytes(Kind::new("k", 2), &7u8).unwrap();
    let (header, sum_and_body) = bytes.split_at(8 + 2 + 4 + 2 + 8);
    assert_eq!(header, b"\x93engram\n\x01\0\x02\0\0\0\x01k\x01\0\0\0\0\0\0\0");
    assert_eq!(sum_and_body.len(), 32 + 1);
    assert_eq!(sum_and_body[32], 7);
}

/// A file that is intact but was written by a type with other fields.
#[test]
fn a_changed_type_is_an_error() {
    let bytes = snapshot::to_bytes(KIND, &(1u8, 2u8)).unwrap();
    let error = snapshot::from_bytes::<u8>(&bytes, KIND).unwrap_err().to_string();
    assert!(error.contains("1 bytes of its body are left over"), "{error}");
    let error = snapshot::from_bytes::<(u8, u8, u8)>(&bytes, KIND).unwrap_err().to_string();
    assert!(error.contains("the type changed"), "{error}");
}

/// Lengths of 2^62 in an intact file: bincode alone would ask the system for so much and abort.
#[test]
fn a_lying_length_allocates_nothing() {
    let bytes = snapshot::to_bytes(KIND, &(1u64 << 62)).unwrap();
    assert!(snapshot::from_bytes::<String>(&bytes, KIND).is_err());
    assert!(snapshot::from_bytes::<Vec<u8>>(&bytes, KIND).is_err());
    assert!(snapshot::from_bytes::<Vec<f32>>(&bytes, KIND).is_err());
    assert!(snapshot::from_bytes::<BTreeMap<u64, u64>>(&bytes, KIND).is_err());
    // And one that lies below any limit of this machine's memory.
    let bytes = snapshot::to_bytes(KIND, &(20u64 << 20)).unwrap();
    assert!(snapshot::from_bytes::<String>(&bytes, KIND).is_err());
}

/// The limit leaves room for what expands most: small integers in wide types.
#[test]
fn the_limit_refuses_nothing_honest() {
    let wide = vec![0u128; (1 << 20) - 5];
    let bytes = snapshot::to_bytes(KIND, &wide).unwrap();
    assert_eq!(snapshot::from_bytes::<Vec<u128>>(&bytes, KIND).unwrap(), wide);
}

#[test]
fn a_generator_goes_on_where_it_was() {
    let mut rng = cl_core::rng(5, "test");
    (0..7).for_each(|_| {
        rng.next_u32();
    });
    let bytes = snapshot::to_bytes(KIND, &rng).unwrap();
    let mut restored: cl_core::Rng = snapshot::from_bytes(&bytes, KIND).unwrap();
    for _ in 0..100 {
        assert_eq!(rng.next_u64(), restored.next_u64());
    }
}

#[test]
fn a_file_is_replaced_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("thing.snap");
    snapshot::save(&path, KIND, &small()).unwrap();
    let second = Thing { step: 2, ..small() };
    snapshot::save(&path, KIND, &second).unwrap();
    assert_eq!(snapshot::load::<Thing>(&path, KIND).unwrap(), second);
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["thing.snap"], "no temporary file stays");

    // Killed in the middle of a third save: half a temporary file lies about.
    let bytes = snapshot::to_bytes(KIND, &small()).unwrap();
    std::fs::write(dir.path().join(".thing.snap.Ab12Cd.tmp"), &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(snapshot::load::<Thing>(&path, KIND).unwrap(), second);
    snapshot::save(&path, KIND, &small()).unwrap();
    assert_eq!(snapshot::load::<Thing>(&path, KIND).unwrap(), small());
}

/// A value that fails after half of it was encoded leaves the former file.
#[test]
fn a_failed_save_leaves_the_former_file() {
    #[derive(Serialize)]
    struct Half(u64, #[serde(serialize_with = "fail")] u64);
    fn fail<S: serde::Serializer>(_: &u64, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("out of luck"))
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("thing.snap");
    snapshot::save(&path, KIND, &small()).unwrap();
    let error = snapshot::save(&path, KIND, &Half(1, 2)).unwrap_err().to_string();
    assert!(error.contains("test/thing") && error.contains("out of luck"), "{error}");
    assert_eq!(snapshot::load::<Thing>(&path, KIND).unwrap(), small());
}

#[test]
fn paths_that_cannot_be_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("no such folder").join("thing.snap");
    for error in [
        snapshot::save(&missing, KIND, &1u8).unwrap_err(),
        snapshot::load::<u8>(&missing, KIND).unwrap_err(),
        snapshot::save(dir.path(), KIND, &1u8).unwrap_err(),
        snapshot::load::<u8>(dir.path(), KIND).unwrap_err(),
    ] {
        assert!(matches!(&error, Error::Io { .. }), "{error:?}");
        assert!(error.to_string().starts_with(dir.path().to_str().unwrap()), "{error}");
    }
    assert!(matches!(snapshot::save("..", KIND, &1u8), Err(Error::Invalid { .. })));
    // A folder in which nobody may create a file, not even root.
    #[cfg(target_os = "linux")]
    assert!(matches!(snapshot::save("/proc/thing.snap", KIND, &1u8), Err(Error::Io { .. })));
}

#[cfg(unix)]
#[test]
fn an_unwritable_folder_keeps_the_former_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("thing.snap");
    snapshot::save(&path, KIND, &1u8).unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o500)).unwrap();
    let result = snapshot::save(&path, KIND, &2u8);
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let found: u8 = snapshot::load(&path, KIND).unwrap();
    // Root may write anywhere; then the save has to be whole.
    match result {
        Err(error) => assert!(matches!(error, Error::Io { .. }) && found == 1),
        Ok(()) => assert_eq!(found, 2),
    }
}

#[test]
fn sixteen_megabytes_load_at_once() {
    let values: Vec<f32> = (0..4 << 20).map(|i| i as f32 * 0.5).collect();
    let tensor = Tensor::from_vec(values, (4 << 10, 1 << 10), &Device::Cpu).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tensor.snap");
    let start = std::time::Instant::now();
    snapshot::save(&path, KIND, &Holder { tensor: tensor.clone() }).unwrap();
    let restored = snapshot::load::<Holder>(&path, KIND).unwrap().tensor;
    let took = start.elapsed();
    assert_eq!(bits(&restored), bits(&tensor));
    // Milliseconds when optimised; the bound holds for a debug build on a busy machine.
    assert!(took.as_secs_f64() < 5.0, "{took:?}");
}

#[test]
fn every_collection_of_tensors() {
    #[derive(Serialize, Deserialize)]
    struct Many {
        #[serde(with = "cl_core::snapshot::tensor")]
        vars: Vec<Var>,
        #[serde(with = "cl_core::snapshot::tensor")]
        none: Option<Tensor>,
        #[serde(with = "cl_core::snapshot::tensor")]
        named: BTreeMap<String, Tensor>,
    }
    let device = Device::Cpu;
    let scalar = Tensor::new(f64::from_bits(0x7ff8_0000_dead_beef), &device).unwrap();
    let empty = Tensor::zeros((0, 7), DType::U8, &device).unwrap();
    let many = Many {
        vars: vec![Var::new(&[[1f32, -0.0]], &device).unwrap()],
        none: None,
        named: [("scalar".to_owned(), scalar.clone()), ("empty".to_owned(), empty)].into(),
    };
    let back: Many = snapshot::from_bytes(&snapshot::to_bytes(KIND, &many).unwrap(), KIND).unwrap();
    assert_eq!(bits(back.vars[0].as_tensor()), bits(many.vars[0].as_tensor()));
    assert!(back.vars[0].is_variable());
    assert!(back.none.is_none());
    assert_eq!(back.named["empty"].dims(), [0, 7]);
    assert_eq!(back.named["scalar"].dims(), [0usize; 0]);
    assert_eq!(bits(&back.named["scalar"]), bits(&scalar));
}

#[test]
fn tensor_data_that_does_not_fit_is_refused() {
    let good = TensorData::new(&Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap()).unwrap();
    for bad in [
        TensorData { shape: vec![3], ..good.clone() },
        TensorData { shape: vec![usize::MAX, 2], ..good.clone() },
        TensorData { shape: vec![0, 1 << 63, 4], bytes: vec![], ..good.clone() },
        TensorData { shape: vec![1 << 63, 4, 0], bytes: vec![], ..good.clone() },
        TensorData { dtype: "f64".to_owned(), ..good.clone() },
        TensorData { dtype: "f8e4m3".to_owned(), ..good.clone() },
        TensorData { dtype: "float".to_owned(), ..good.clone() },
        TensorData { bytes: vec![0; 7], ..good.clone() },
    ] {
        assert!(matches!(bad.to_tensor(), Err(Error::Invalid { .. })), "{bad:?}");
    }
    let eight = Tensor::new(&[1f32], &Device::Cpu).unwrap().to_dtype(DType::F8E4M3).unwrap();
    let error = snapshot::to_bytes(KIND, &Holder { tensor: eight }).unwrap_err().to_string();
    assert!(error.contains("f8e4m3") && error.contains("convert"), "{error}");
}
