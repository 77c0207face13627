//! A file of records.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use candle_core::Tensor;
use cl_core::{
    Error, Result,
    snapshot::{self, Kind},
};
use serde::{Deserialize, Serialize};

use crate::Schema;

/// The steps of one append.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The time of the first.
    pub(super) first: u64,
    /// In the order of the schema, (n, ...).
    #[serde(with = "cl_core::snapshot::tensor")]
    pub(super) fields: Vec<Tensor>,
}

const RECORD: Kind = Kind::new("cl-replay/history/record", 1);
/// Of the length of the snapshot, in front of it.
const LENGTH: usize = 8;

impl Record {
    /// Its bytes in a file.
    pub(super) fn encode(first: u64, tensors: &[&Tensor]) -> Result<Vec<u8>> {
        let fields = tensors.iter().map(|&tensor| tensor.clone()).collect();
        let body = snapshot::to_bytes(RECORD, &Self { first, fields })?;
        Ok([&(body.len() as u64).to_le_bytes()[..], &body].concat())
    }

    /// The record at the front of `bytes`, and its size there; none where they end within it.
    fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>> {
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else { return Ok(None) };
        let length = u64::from_le_bytes(*length);
        let Some(body) = usize::try_from(length).ok().and_then(|length| rest.get(..length)) else {
            return Ok(None);
        };
        Ok(Some((snapshot::from_bytes(body, RECORD)?, LENGTH + body.len())))
    }

    /// The time behind its last step; none where it is not of this schema.
    pub(super) fn end(&self, schema: &Schema) -> Option<u64> {
        let n = *self.fields.first()?.dims().first()?;
        let right = schema.fields().iter().zip(&self.fields).all(|(field, tensor)| {
            tensor.dtype() == field.dtype && tensor.dims().split_first() == Some((&n, &field.shape[..]))
        });
        (right && n > 0 && self.fields.len() == schema.fields().len())
            .then(|| self.first.checked_add(n as u64))?
    }

    /// Whether a whole record from the time `from` on begins anywhere in `bytes`.
    fn any(bytes: &[u8], from: u64) -> Result<bool> {
        // All begin alike, up to what depends on the body.
        let (a, b) = (snapshot::to_bytes(RECORD, &())?, snapshot::to_bytes(RECORD, &1u8)?);
        let alike: Vec<u8> = a.iter().zip(&b).take_while(|(a, b)| a == b).map(|(&a, _)| a).collect();
        let mut places = bytes.windows(alike.len()).enumerate().filter(|(_, part)| *part == alike);
        Ok(places.any(|(at, _)| {
            let whole = at.checked_sub(LENGTH).map(|at| Self::decode(&bytes[at..]));
            matches!(whole, Some(Ok(Some((record, _)))) if record.first >= from)
        }))
    }
}

/// A file of records, and where in it they are, as far as that is known.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    first: u64,
    /// Of every record: the time behind its last step, and where in the file it ends.
    ends: Vec<(u64, u64)>,
}

impl Segment {
    pub(super) fn new(folder: &Path, first: u64) -> Self {
        Self { path: folder.join(format!("{first:020}.steps")), first, ends: Vec::new() }
    }

    /// The time of the first step of the segment of this name.
    pub(super) fn first_of(name: &str) -> Option<u64> {
        name.strip_suffix(".steps").filter(|digits| digits.len() == 20)?.parse().ok()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The time of its first step.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The time behind the last step that is known of.
    pub(super) fn end(&self) -> u64 {
        self.ends.last().map_or(self.first, |&(end, _)| end)
    }

    /// Where the last record ends that is known of.
    pub(super) fn bytes(&self) -> u64 {
        self.ends.last().map_or(0, |&(_, bytes)| bytes)
    }

    pub(super) fn push(&mut self, end: u64, bytes: u64) {
        self.ends.push((end, bytes));
    }

    /// Looks for records behind those that are known. Returns how many bytes stand behind the last whole one.
    ///
    /// # Errors
    /// [`Error::Format`] where what follows a whole record is damaged, rather than torn at the end.
    pub(super) fn scan(&mut self, schema: &Schema) -> Result<u64> {
        let bytes = self.load(self.bytes(), None)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let why = match Record::decode(rest) {
                Ok(Some((record, size))) if record.first == self.end() => match record.end(schema) {
                    Some(end) => {
                        self.push(end, self.bytes() + size as u64);
                        rest = &rest[size..];
                        continue;
                    }
                    None => return Err(self.damaged("is of another schema")),
                },
                Ok(Some((record, _))) => {
                    return Err(self.damaged(&format!("begins with step {}", record.first)));
                }
                Ok(None) => "ends too early".to_owned(),
                Err(error) => format!("is damaged ({error})"),
            };
            if Record::any(&rest[1..], self.end())? {
                return Err(self.damaged(&why));
            }
            break;
        }
        Ok(rest.len() as u64)
    }

    /// The known records that have steps from `from` to `to`.
    pub(super) fn records(&self, from: u64, to: u64) -> Result<Vec<Record>> {
        let begin = self.ends.partition_point(|&(end, _)| end <= from);
        let end = (self.ends.partition_point(|&(end, _)| end < to) + 1).min(self.ends.len());
        if begin >= end {
            return Ok(Vec::new());
        }
        let start = begin.checked_sub(1).map_or((self.first, 0), |before| self.ends[before]);
        let bytes = self.load(start.1, Some(self.ends[end - 1].1))?;
        let (mut rest, mut first, mut records) = (&bytes[..], start.0, Vec::with_capacity(end - begin));
        for &(end, _) in &self.ends[begin..end] {
            match Record::decode(rest) {
                Ok(Some((record, size))) if record.first == first => {
                    records.push(record);
                    (rest, first) = (&rest[size..], end);
                }
                Err(error) => return Err(self.damaged_at(first, &format!("is damaged ({error})"))),
                _ => return Err(self.damaged_at(first, "is not there any more")),
            }
        }
        Ok(records)
    }

    /// The bytes from one place to another, or to the end.
    fn load(&self, from: u64, to: Option<u64>) -> Result<Vec<u8>> {
        let read = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(to.map_or(u64::MAX, |to| to - from)).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(Error::io(&self.path))
    }

    pub(super) fn damaged(&self, why: &str) -> Error {
        self.damaged_at(self.end(), why)
    }

    fn damaged_at(&self, step: u64, why: &str) -> Error {
        let at = format!("the record of step {step} {why}");
        Error::format(&self.path, format!("{at}; what was before it can be read, or restore the file"))
    }
}
