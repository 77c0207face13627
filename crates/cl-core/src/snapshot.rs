//! Saving and restoring state exactly: a buffer, an optimizer, a method in the middle of a stream.
//!
//! Anything serde goes in and comes out as it was, bit for bit. What is read is either exactly what was
//! written or an error that says what is wrong with the file; and a file appears under its name only
//! when it is complete, so a crash in the middle of a save leaves the former one.
//!
//! ```
//! use cl_core::snapshot::{self, Kind};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Progress {
//!     step: u64,
//!     rng: cl_core::Rng,
//!     #[serde(with = "cl_core::snapshot::tensor")]
//!     weights: candle_core::Tensor,
//! }
//! const KIND: Kind = Kind::new("example/progress", 1);
//!
//! # fn main() -> cl_core::Result<()> {
//! # let dir = tempfile::tempdir().expect("a temporary folder");
//! # let path = dir.path().join("progress.snap");
//! let weights = candle_core::Tensor::new(&[1f32, 2.0], &candle_core::Device::Cpu)?;
//! snapshot::save(&path, KIND, &Progress { step: 7, rng: cl_core::rng(0, "batches"), weights })?;
//! let restored: Progress = snapshot::load(&path, KIND)?;
//! assert_eq!(restored.step, 7);
//! # Ok(())
//! # }
//! ```
//!
//! The file, numbers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic |
//! | 2 | version of this layout |
//! | 4 | version of the kind |
//! | 1 + n | length and name of the kind |
//! | 8 | length of the body |
//! | 32 | SHA-256 of everything above and of the body |
//! | | the body: bincode 2, standard configuration |
//!
//! Saved types must not use `skip`, `flatten`, `untagged` or `tag` of serde: the body has no field names.
//! A change of a saved type's fields is a new version of its kind.

use std::{
    io::{Read, Write},
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

pub mod tensor;

/// Not text, and damaged by every transfer that rewrites line ends.
const MAGIC: [u8; 8] = *b"\x93engram\n";
/// The version of the file's layout, above the kind's own.
const FORMAT: u16 = 1;
/// The longest header: magic, format, kind's version, a name of 255 bytes, body length, checksum.
const LONGEST_HEADER: u64 = 8 + 2 + 4 + 1 + 255 + 8 + 32;

/// What a snapshot holds: a name that no other type uses, and the version of that type's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    name: &'static str,
    version: u32,
}

impl Kind {
    /// A kind, such as `Kind::new("cl-replay/reservoir", 1)`.
    ///
    /// # Panics
    /// When the name is empty or longer than 255 bytes; in a `const` the compiler says so.
    pub const fn new(name: &'static str, version: u32) -> Self {
        assert!(!name.is_empty() && name.len() <= u8::MAX as usize, "a kind's name has 1 to 255 bytes");
        Self { name, version }
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The version of the fields.
    pub const fn version(self) -> u32 {
        self.version
    }
}

/// Writes `value` to `path`: into a temporary file in the same folder, flushed to the disk, then renamed.
///
/// A crash in between leaves the former file as it was, and perhaps a temporary file `.NAME.*.tmp`, which
/// may be deleted.
///
/// # Errors
/// [`Error::Io`] where the folder is missing, not writable or full; [`Error::Invalid`] where the value
/// cannot be encoded.
pub fn save<T: Serialize + ?Sized>(path: impl AsRef<Path>, kind: Kind, value: &T) -> Result<()> {
    let path = path.as_ref();
    let name = path.file_name().ok_or_else(|| {
        Error::invalid(
            "snapshot path",
            format!("{} names no file; give folder and file name", path.display()),
        )
    })?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let bytes = to_bytes(kind, value)?;

    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    // The permissions any new file gets, not the private ones of a temporary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(Error::io(path))?;
    file.write_all(&bytes).map_err(Error::io(path))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    file.persist(path).map_err(|e| Error::io(path)(e.error))?;
    // The rename itself lasts only when the folder is on the disk too.
    #[cfg(unix)]
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io(folder))?;
    Ok(())
}

/// Reads what [`save`] wrote to `path` under the same `kind`.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read; [`Error::Format`] where it is truncated, altered, foreign,
/// of another kind or version, or continues after its end.
pub fn load<T: DeserializeOwned>(path: impl AsRef<Path>, kind: Kind) -> Result<T> {
    let path = path.as_ref();
    let mut file = std::fs::File::open(path).map_err(Error::io(path))?;
    let mut bytes = Vec::new();
    // A foreign file, however large, is refused by its first bytes.
    Read::by_ref(&mut file).take(LONGEST_HEADER).read_to_end(&mut bytes).map_err(Error::io(path))?;
    Header::parse(&bytes).map_err(|why| Error::format(path, why))?;
    file.read_to_end(&mut bytes).map_err(Error::io(path))?;
    decode(&bytes, kind).map_err(|why| Error::format(path, why))
}

/// The bytes that [`save`] writes.
///
/// # Errors
/// [`Error::Invalid`] where the value cannot be encoded, such as a tensor of an unsupported dtype.
pub fn to_bytes<T: Serialize + ?Sized>(kind: Kind, value: &T) -> Result<Vec<u8>> {
    let refused = |why: String| Error::invalid(format!("snapshot of {}", kind.name), why);
    let body = bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|e| refused(format!("cannot be encoded: {e}")))?;
    if body.len() > LARGEST_BODY {
        return Err(refused(format!("{} bytes are more than a snapshot can hold", body.len())));
    }
    let mut bytes = Vec::with_capacity(LONGEST_HEADER as usize + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&kind.version.to_le_bytes());
    bytes.push(kind.name.len() as u8);
    bytes.extend_from_slice(kind.name.as_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let sum = checksum(&bytes, &body);
    bytes.extend_from_slice(&sum);
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Reads what [`to_bytes`] made under the same `kind`.
///
/// # Errors
/// As [`load`]; the path in the message is `<bytes>`.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8], kind: Kind) -> Result<T> {
    decode(bytes, kind).map_err(|why| Error::format("<bytes>", why))
}

/// The value in a whole file, or what is wrong with it. Nothing is decoded, and no length believed, before
/// the checksum is right.
fn decode<T: DeserializeOwned>(bytes: &[u8], kind: Kind) -> Result<T, String> {
    let header = Header::parse(bytes)?;
    let body = &bytes[header.length..];
    match (body.len() as u64).cmp(&header.body) {
        std::cmp::Ordering::Less => {
            return Err(format!("truncated: the body has {} of {} bytes; {AGAIN}", body.len(), header.body));
        }
        std::cmp::Ordering::Greater => {
            let extra = body.len() as u64 - header.body;
            return Err(format!("{extra} bytes follow its end: the file was altered; {AGAIN}"));
        }
        std::cmp::Ordering::Equal => {}
    }
    if checksum(&bytes[..header.length - 32], body) != header.sum {
        return Err(format!("its checksum is wrong: the file was altered or damaged; {AGAIN}"));
    }
    if header.name != kind.name.as_bytes() {
        let name = String::from_utf8_lossy(header.name);
        return Err(format!("holds `{name}`, but `{}` was asked for", kind.name));
    }
    if header.version != kind.version {
        let age = if header.version > kind.version { "newer" } else { "older" };
        let advice = if header.version > kind.version { "update the program" } else { AGAIN };
        return Err(format!(
            "holds version {} of `{}`, {age} than version {} that this program reads; {advice}",
            header.version, kind.name, kind.version
        ));
    }
    let (value, used) = decode_body(body).map_err(|e| {
        format!("its body is not a `{}`: {e}; the type changed and its version did not", kind.name)
    })?;
    if used != body.len() {
        return Err(format!(
            "{} bytes of its body are left over: the type `{}` changed and its version did not",
            body.len() - used,
            kind.name
        ));
    }
    Ok(value)
}

const AGAIN: &str = "make the snapshot again";

/// What stands before the body.
struct Header<'a> {
    version: u32,
    name: &'a [u8],
    body: u64,
    sum: [u8; 32],
    /// Bytes of the header itself.
    length: usize,
}

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let common = bytes.len().min(MAGIC.len());
        if bytes[..common] != MAGIC[..common] {
            return Err("not a snapshot of this library".to_owned());
        }
        let mut rest = bytes;
        take::<8>(&mut rest)?;
        let format = u16::from_le_bytes(take(&mut rest)?);
        if format > FORMAT {
            return Err(format!(
                "written in format {format}, newer than format {FORMAT} that this program reads; update the program"
            ));
        }
        if format != FORMAT {
            return Err(format!("there is no format {format}: the file was altered; {AGAIN}"));
        }
        let version = u32::from_le_bytes(take(&mut rest)?);
        let [name_length] = take(&mut rest)?;
        let (name, after) = rest.split_at_checked(name_length.into()).ok_or_else(torn)?;
        rest = after;
        let body = u64::from_le_bytes(take(&mut rest)?);
        let sum = take(&mut rest)?;
        Ok(Self { version, name, body, sum, length: bytes.len() - rest.len() })
    }
}

/// The next `N` bytes, which are taken off `rest`.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, tail) = rest.split_first_chunk().ok_or_else(torn)?;
    *rest = tail;
    Ok(*head)
}

fn torn() -> String {
    format!("truncated within its header; {AGAIN}")
}

fn checksum(header: &[u8], body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(header).chain_update(body).finalize().into()
}

/// The largest number of decoded bytes that one byte of a body can stand for: a `u128` written as one.
const EXPANSION: usize = 16;
const SMALL: usize = 1 << 20;
const MEDIUM: usize = 1 << 30;
const LARGEST_BODY: usize = 1 << 40;

/// Without a limit bincode allocates whatever length a string in the body claims. The limit is a constant
/// of its configuration: hence three, the nearest that no body of this size can need.
fn decode_body<T: DeserializeOwned>(body: &[u8]) -> Result<(T, usize), bincode::error::DecodeError> {
    fn within<T: DeserializeOwned, const LIMIT: usize>(
        body: &[u8],
    ) -> Result<(T, usize), bincode::error::DecodeError> {
        bincode::serde::decode_from_slice(body, bincode::config::standard().with_limit::<LIMIT>())
    }
    if body.len() <= SMALL {
        within::<T, { EXPANSION * SMALL }>(body)
    } else if body.len() <= MEDIUM {
        within::<T, { EXPANSION * MEDIUM }>(body)
    } else {
        within::<T, { EXPANSION * LARGEST_BODY }>(body)
    }
}
