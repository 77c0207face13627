//! Reading what was appended.

use std::{
    fs::OpenOptions,
    ops::Range,
    path::{Path, PathBuf},
};

use candle_core::{DType, Tensor};
use cl_core::{Error, Result, snapshot};

use super::{
    HEAD, Head, History,
    segment::{Record, Segment},
};
use crate::{Fields, Rows, Schema};

/// Reads a [`History`], also one that is being written, by this process or another: it sees every append that had
/// returned when it was opened or last [refreshed](Self::refresh), and never a part of one.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_replay::{Field, History, HistoryReader, Schema};
///
/// # fn main() -> cl_core::Result<()> {
/// # let dir = tempfile::tempdir().expect("a temporary folder");
/// # let folder = dir.path().join("history");
/// let schema = Schema::new([Field::new("reward", DType::F32, [])])?;
/// let mut history = History::create(&folder, schema)?;
/// let mut reader = HistoryReader::open(&folder)?;
/// history.append(&[("reward", &Tensor::new(&[1f32, 2.0, 3.0], &Device::Cpu)?)])?;
/// assert_eq!(reader.steps(), 0..0);
/// assert_eq!(reader.refresh()?, 0..3);
/// assert_eq!(reader.read(1..3)?.get("reward")?.to_vec1::<f32>()?, [2.0, 3.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HistoryReader {
    pub(super) folder: PathBuf,
    pub(super) schema: Schema,
    /// In order. Only the last of them was looked through; the others are when they are read.
    pub(super) segments: Vec<Segment>,
}

impl HistoryReader {
    /// Opens a history to read it.
    ///
    /// # Errors
    /// [`Error::Io`] where there is none, or it cannot be read; [`Error::Format`] where its head or its last
    /// segment is damaged.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let head: Head = snapshot::load(folder.join(HEAD), History::KIND)?;
        let mut reader = Self::new(folder, head.schema);
        reader.find_end()?;
        Ok(reader)
    }

    pub(super) fn new(folder: &Path, schema: Schema) -> Self {
        Self { folder: folder.to_owned(), schema, segments: Vec::new() }
    }

    /// Takes in what was appended since. Returns the times of the steps that there are.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn refresh(&mut self) -> Result<Range<u64>> {
        self.find_end()?;
        Ok(self.steps())
    }

    /// Waits until everything that it sees is on the disk, whoever wrote it, and holds nobody up who writes more.
    ///
    /// # Errors
    /// [`Error::Io`] where it does not get there.
    pub fn sync(&self) -> Result<()> {
        // The segments before the last are there since the next was begun.
        let Some(last) = self.segments.last() else { return Ok(()) };
        let file = OpenOptions::new().write(true).open(last.path());
        file.and_then(|file| file.sync_all()).map_err(Error::io(last.path()))
    }

    /// Looks for new segments, and for records in the last. Returns the bytes behind the last whole one.
    pub(super) fn find_end(&mut self) -> Result<u64> {
        let mut firsts = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(Error::io(&self.folder))? {
            let name = entry.map_err(Error::io(&self.folder))?.file_name();
            firsts.extend(name.to_str().and_then(Segment::first_of));
        }
        firsts.sort_unstable();
        let known = self.segments.last().map(Segment::first);
        let new = firsts.into_iter().filter(|&first| known.is_none_or(|known| first > known));
        self.segments.extend(new.map(|first| Segment::new(&self.folder, first)));
        self.segments.last_mut().map_or(Ok(0), |last| last.scan(&self.schema))
    }

    pub(super) fn last_mut(&mut self) -> &mut Segment {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    /// The times of the steps that it has.
    pub fn steps(&self) -> Range<u64> {
        let first = self.segments.first().map_or(0, Segment::first);
        first..self.segments.last().map_or(first, Segment::end)
    }

    /// Its fields.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The steps of these times: every field as (steps, ...).
    ///
    /// # Errors
    /// [`Error::Invalid`] where not all of them are there; [`Error::Format`] where a segment is damaged or missing.
    pub fn read(&mut self, steps: Range<u64>) -> Result<Fields> {
        let there = self.steps();
        if steps.start > steps.end || steps.start < there.start || steps.end > there.end {
            let why = format!("{steps:?}: the steps {there:?} are there");
            return Err(Error::invalid("steps", why));
        }
        let types: Vec<(DType, &[usize])> =
            self.schema.fields().iter().map(|field| (field.dtype, &field.shape[..])).collect();
        let n = (steps.end - steps.start) as usize;
        let mut rows = Rows::typed(n.max(1), &types)?;
        let mut time = steps.start;
        while time < steps.end {
            let records = self.records(time, steps.end)?;
            if records.is_empty() {
                return Err(Error::invalid("history", format!("step {time} is not there any more")));
            }
            for record in records {
                let skip = (time - record.first) as usize;
                let whole = record.fields.first().map_or(0, |tensor| tensor.dims()[0]);
                let n = (whole - skip).min((steps.end - time) as usize);
                let tensors: Vec<&Tensor> = record.fields.iter().collect();
                rows.put((time - steps.start) as usize, &tensors, skip, n)?;
                time += n as u64;
            }
        }
        Ok(Fields { schema: self.schema.clone(), tensors: rows.copy(0, n)? })
    }

    /// The batches as they were appended, each with the time of its first step, from that on which has the step
    /// `from`; what is before `from` is cut off. One segment is in RAM at a time. After an error there is nothing
    /// more.
    pub fn batches(&mut self, from: u64) -> impl Iterator<Item = Result<(u64, Fields)>> + '_ {
        let steps = self.steps();
        let mut time = from.max(steps.start);
        let mut loaded = Vec::new().into_iter();
        std::iter::from_fn(move || {
            if time >= steps.end {
                return None;
            }
            let mut next = || {
                let record: Record = match loaded.next() {
                    Some(record) => record,
                    None => {
                        loaded = self.records(time, u64::MAX)?.into_iter();
                        let none = || Error::invalid("history", format!("step {time} is not there any more"));
                        loaded.next().ok_or_else(none)?
                    }
                };
                let skip = (time - record.first) as usize;
                let cut = |tensor: Tensor| {
                    let n = tensor.dims()[0] - skip;
                    if skip == 0 { Ok(tensor) } else { tensor.narrow(0, skip, n)?.contiguous() }
                };
                let tensors: Vec<Tensor> = record.fields.into_iter().map(cut).collect::<Result<_, _>>()?;
                let first = time;
                time += tensors.first().map_or(0, |tensor| tensor.dims()[0]) as u64;
                Ok((first, Fields { schema: self.schema.clone(), tensors }))
            };
            let next = next();
            if next.is_err() {
                time = steps.end;
            }
            Some(next)
        })
    }

    /// The records of the segment that has the step `from`, from there to `to`.
    fn records(&mut self, from: u64, to: u64) -> Result<Vec<Record>> {
        let at = self.segments.partition_point(|segment| segment.first() <= from).saturating_sub(1);
        let next = self.segments.get(at + 1).map(Segment::first);
        let segment = &mut self.segments[at];
        if let Some(next) = next.filter(|&next| segment.end() < next) {
            let behind = segment.scan(&self.schema)?;
            if behind > 0 || segment.end() != next {
                let why =
                    format!("is damaged, or the segment behind it is missing: the next begins at {next}");
                return Err(segment.damaged(&why));
            }
        }
        segment.records(from, to)
    }
}
