//! Reading IDX, the format of MNIST's files, plain or gzipped.
//!
//! A big-endian header, then one byte a value: magic `0x0000_0803`, count, rows, columns for images;
//! magic `0x0000_0801`, count for labels. A file that is shorter or longer than its header says, that
//! starts otherwise or whose gzip checksum fails is [`Error::Format`], which names it.

use std::fs;
use std::io::{BufRead, Read};
use std::path::Path;

use cl_core::{Error, Result};
use flate2::bufread::GzDecoder;

const IMAGES: u32 = 0x803;
const LABELS: u32 = 0x801;

/// The images of one IDX file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// How many there are.
    pub count: usize,
    /// Height in pixels.
    pub rows: usize,
    /// Width in pixels.
    pub columns: usize,
    /// `count · rows · columns` grey values, image by image, row by row; 0 is the background.
    pub pixels: Vec<u8>,
}

/// The images in the file `path`.
pub fn read_images(path: impl AsRef<Path>) -> Result<Images> {
    let path = path.as_ref();
    parse_images(&fs::read(path).map_err(Error::io(path))?, path)
}

/// The labels in the file `path`.
pub fn read_labels(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    parse_labels(&fs::read(path).map_err(Error::io(path))?, path)
}

/// The images in the content of a file; errors name it as `path`.
pub fn parse_images(content: &[u8], path: impl AsRef<Path>) -> Result<Images> {
    let ([count, rows, columns], pixels) = parse(content, IMAGES).map_err(|why| Error::format(path, why))?;
    Ok(Images { count, rows, columns, pixels })
}

/// The labels in the content of a file; errors name it as `path`.
pub fn parse_labels(content: &[u8], path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let ([_count], labels) = parse(content, LABELS).map_err(|why| Error::format(path, why))?;
    Ok(labels)
}

/// The sizes in the header and the values behind it, or what is wrong.
fn parse<const DIMS: usize>(content: &[u8], magic: u32) -> Result<([usize; DIMS], Vec<u8>), String> {
    if !content.starts_with(&[0x1f, 0x8b]) {
        let mut rest = content;
        let parsed = decode(&mut rest, magic)?;
        return if rest.is_empty() { Ok(parsed) } else { Err(trailing(rest.len())) };
    }
    let mut gzip = GzDecoder::new(content);
    let parsed = decode(&mut gzip, magic)?;
    // Only at its end does the decoder compare the checksum, and it stops there without a word about
    // what follows.
    match gzip.read(&mut [0]) {
        Ok(0) => match gzip.into_inner().fill_buf() {
            Ok([]) => Ok(parsed),
            Ok(rest) => Err(trailing(rest.len())),
            Err(error) => Err(broken(&error)),
        },
        Ok(_) => Err("has more values than its header says: altered, or not an IDX file".into()),
        Err(error) => Err(broken(&error)),
    }
}

/// Reads the header and exactly the values that it promises.
fn decode<const DIMS: usize>(from: &mut impl Read, magic: u32) -> Result<([usize; DIMS], Vec<u8>), String> {
    let found = read_u32(from)?;
    if found != magic {
        return Err(format!("magic number {found:#010x}, expected {magic:#010x} ({})", kind(magic)));
    }
    let mut dims = [0; DIMS];
    for dim in &mut dims {
        *dim = read_u32(from)? as usize;
    }
    let size = dims.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
    let size = size.ok_or_else(|| format!("impossible sizes {dims:?} in the header: altered"))?;
    // The header may lie: memory grows with what arrives, not with what is announced.
    let mut values = Vec::new();
    from.by_ref().take(size as u64).read_to_end(&mut values).map_err(|error| broken(&error))?;
    if values.len() != size {
        return Err(format!(
            "truncated: {} of the {size} values that the header {dims:?} says",
            values.len()
        ));
    }
    Ok((dims, values))
}

fn read_u32(from: &mut impl Read) -> Result<u32, String> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes).map_err(|error| broken(&error))?;
    Ok(u32::from_be_bytes(bytes))
}

fn kind(magic: u32) -> &'static str {
    if magic == IMAGES { "images of unsigned bytes" } else { "labels of unsigned bytes" }
}

fn broken(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "truncated: it ends in the middle".into(),
        _ => format!("altered: {error}"),
    }
}

fn trailing(bytes: usize) -> String {
    format!("{bytes} trailing bytes behind the data: altered, or several files in one")
}
