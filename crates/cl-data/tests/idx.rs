//! The IDX reader takes a file whole or says what is wrong with it, by name.
#![allow(clippy::unwrap_used)]

use std::io::Write;

use cl_core::Error;
use cl_data::idx::{self, Images};
use flate2::{Compression, GzBuilder, write::GzEncoder};
use proptest::prelude::*;

const NAME: &str = "some-folder/some-file";

fn images(count: u32, rows: u32, columns: u32, pixels: &[u8]) -> Vec<u8> {
    [0x803, count, rows, columns]
        .into_iter()
        .flat_map(u32::to_be_bytes)
        .chain(pixels.iter().copied())
        .collect()
}

fn labels(labels: &[u8]) -> Vec<u8> {
    [0x801, labels.len() as u32]
        .into_iter()
        .flat_map(u32::to_be_bytes)
        .chain(labels.iter().copied())
        .collect()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn three() -> Vec<u8> {
    images(3, 2, 4, &(0..24).collect::<Vec<u8>>())
}

/// The reason, after a check that the error names the file.
fn why<T: std::fmt::Debug>(result: cl_core::Result<T>) -> String {
    match result.unwrap_err() {
        Error::Format { path, why } => {
            assert_eq!(path.to_str(), Some(NAME));
            why
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_plain_and_gzipped() {
    let expected = Images { count: 3, rows: 2, columns: 4, pixels: (0..24).collect() };
    assert_eq!(idx::parse_images(&three(), NAME).unwrap(), expected);
    assert_eq!(idx::parse_images(&gzip(&three()), NAME).unwrap(), expected);
    assert_eq!(idx::parse_labels(&labels(&[7, 0, 255]), NAME).unwrap(), [7, 0, 255]);
    assert_eq!(idx::parse_labels(&gzip(&labels(&[])), NAME).unwrap(), [0_u8; 0]);
}

#[test]
fn reads_files_and_names_the_missing_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels");
    let error = idx::read_labels(&path).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    std::fs::write(&path, labels(&[1, 2])).unwrap();
    assert_eq!(idx::read_labels(&path).unwrap(), [1, 2]);
    std::fs::write(&path, gzip(&three())).unwrap();
    assert_eq!(idx::read_images(&path).unwrap().count, 3);
}

#[test]
fn header_is_big_endian() {
    let mut swapped = three();
    swapped[..4].copy_from_slice(&0x803_u32.to_le_bytes());
    assert!(why(idx::parse_images(&swapped, NAME)).contains("magic number 0x03080000"));
}

#[test]
fn images_are_not_labels() {
    assert!(why(idx::parse_labels(&three(), NAME)).contains("expected 0x00000801"));
    assert!(why(idx::parse_images(&labels(&[1; 40]), NAME)).contains("expected 0x00000803"));
}

#[test]
fn every_truncation_is_an_error() {
    for whole in [three(), gzip(&three())] {
        for length in 0..whole.len() {
            let why = why(idx::parse_images(&whole[..length], NAME));
            assert!(why.contains("truncated"), "{length} of {}: {why}", whole.len());
        }
    }
    for whole in [labels(&[1, 2, 3]), gzip(&labels(&[1, 2, 3]))] {
        for length in 0..whole.len() {
            assert!(why(idx::parse_labels(&whole[..length], NAME)).contains("truncated"));
        }
    }
}

#[test]
fn trailing_bytes_are_an_error() {
    for mut longer in [three(), gzip(&three())] {
        longer.push(0);
        assert!(why(idx::parse_images(&longer, NAME)).contains("1 trailing bytes"));
    }
    let mut inside = three();
    inside.push(0);
    assert!(why(idx::parse_images(&gzip(&inside), NAME)).contains("more values than its header says"));
    let two = [gzip(&three()), gzip(&three())].concat();
    assert!(why(idx::parse_images(&two, NAME)).contains("trailing bytes"));
}

/// The header is what a plain file can be checked by; its values are the manifest's digest's affair.
#[test]
fn every_bit_flip_in_a_plain_header_is_an_error() {
    for bit in 0..16 * 8 {
        let mut flipped = three();
        flipped[bit / 8] ^= 1 << (bit % 8);
        why(idx::parse_images(&flipped, NAME));
    }
    for bit in 0..8 * 8 {
        let mut flipped = labels(&[1, 2, 3]);
        flipped[bit / 8] ^= 1 << (bit % 8);
        why(idx::parse_labels(&flipped, NAME));
    }
}

/// gzip's own header has fields that mean nothing (time, operating system), and the compressed stream
/// is padded to a whole byte. A flip there does no harm; every other flip is an error.
#[test]
fn no_bit_flip_in_a_gzip_gives_other_values() {
    let noise: Vec<u8> = (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let whole = gzip(&images(16, 16, 16, &noise));
    let mut accepted = Vec::new();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match idx::parse_images(&flipped, NAME) {
            Ok(read) => {
                assert_eq!(read.pixels, noise, "bit {bit}");
                accepted.push(bit / 8);
            }
            Err(error) => assert!(error.to_string().starts_with(NAME), "{error}"),
        }
    }
    let padding = whole.len() - 8 - 1; // before checksum and size
    assert!(accepted.iter().all(|&byte| byte < 10 || byte == padding), "unnoticed: {accepted:?}");
}

/// Optional fields of gzip's header, as `gzip` itself writes them.
#[test]
fn reads_a_gzip_with_a_file_name() {
    let mut encoder =
        GzBuilder::new().filename("labels").comment("c").mtime(1).write(Vec::new(), Compression::best());
    encoder.write_all(&labels(&[4, 5])).unwrap();
    assert_eq!(idx::parse_labels(&encoder.finish().unwrap(), NAME).unwrap(), [4, 5]);
}

/// 2³² − 1 images of (2³² − 1)² pixels are announced; neither memory nor arithmetic must give way.
#[test]
fn a_lying_header_is_an_error() {
    let huge = images(u32::MAX, u32::MAX, u32::MAX, &[0; 100]);
    assert!(why(idx::parse_images(&huge, NAME)).contains("impossible sizes"));
    let large = images(u32::MAX, 1, 1000, &[0; 100]);
    assert!(why(idx::parse_images(&large, NAME)).contains("truncated: 100 of the 4294967295000 values"));
}

proptest! {
    #[test]
    fn round_trip(rows in 0_u32..6, columns in 0_u32..6, count in 0_u32..6, seed: u8) {
        let pixels: Vec<u8> = (0..rows * columns * count).map(|i| (i as u8).wrapping_mul(seed)).collect();
        let plain = images(count, rows, columns, &pixels);
        for content in [plain.clone(), gzip(&plain)] {
            let read = idx::parse_images(&content, NAME).unwrap();
            prop_assert_eq!((read.count, read.rows, read.columns), (count as usize, rows as usize, columns as usize));
            prop_assert_eq!(&read.pixels, &pixels);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), gz: bool) {
        let bytes = if gz { [&[0x1f, 0x8b, 8, 0], &bytes[..]].concat() } else { bytes };
        if let Err(error) = idx::parse_images(&bytes, NAME) {
            prop_assert!(error.to_string().starts_with(NAME));
        }
    }
}
