//! Everything that was ever experienced, on disk, in order.

mod reader;
mod segment;

use std::{
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    ops::Range,
    path::Path,
};

use candle_core::Tensor;
use cl_core::{
    Error, Result,
    snapshot::{self, Kind},
};
use serde::{Deserialize, Serialize};

use crate::{
    Fields, Schema,
    folder::{Lock, lock, sync_folder},
};

pub use reader::HistoryReader;
use segment::{Record, Segment};

/// What a folder holds besides its segments.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    schema: Schema,
    segment_bytes: u64,
}

const HEAD: &str = "history";

/// Experience of which nothing is ever thrown away: appended to files, read back as tensors, also while more is
/// written. For data sets of one's own, and for memories that are filled anew.
///
/// What [`append`](Self::append) has returned for is there after the process was killed, all of it, whatever the
/// sizes of the batches; an append that the kill interrupted is not there at all. What [`sync`](Self::sync) has
/// returned for is there after the machine went down.
///
/// A folder holds segments of bounded size, each named by the time of its first step, and they records, one an
/// append: a length of 8 bytes and a snapshot, with its checksum. The oldest segments may be deleted to make room.
/// One writer has it open; [`HistoryReader`]s do not count. About 16 bytes of RAM go into a record.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_replay::{Field, History, Schema};
///
/// # fn main() -> cl_core::Result<()> {
/// # let dir = tempfile::tempdir().expect("a temporary folder");
/// # let folder = dir.path().join("history");
/// let schema = Schema::new([Field::new("obs", DType::F32, [4])])?;
/// let mut history = History::create(&folder, schema.clone())?;
/// for t in 0..10 {
///     history.append(&[("obs", &Tensor::full(t as f32, (3, 4), &Device::Cpu)?)])?; // 3 steps
/// }
/// assert_eq!(history.read(2..9)?.get("obs")?.dims(), [7, 4]);
/// drop(history); // or a kill
///
/// let mut history = History::open(&folder, &schema)?;
/// assert_eq!((history.steps(), history.torn()), (0..30, 0));
/// for batch in history.batches(0) {
///     let (_first, _fields) = batch?; // as they were appended
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct History {
    reader: HistoryReader,
    /// The last segment.
    file: File,
    segment_bytes: u64,
    torn: u64,
    _lock: Lock,
}

impl History {
    /// The kind and version of its head.
    pub const KIND: Kind = Kind::new("cl-replay/history", 1);

    /// An empty history in a folder, which is made if need be, in segments of 64 MiB.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is one already, or somebody writes it; [`Error::Io`] where the folder cannot
    /// be written.
    pub fn create(folder: impl AsRef<Path>, schema: Schema) -> Result<Self> {
        Self::with_segments(folder, schema, 64 << 20)
    }

    /// The same with segments of at most so many bytes; but a record is never divided.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn with_segments(folder: impl AsRef<Path>, schema: Schema, segment_bytes: u64) -> Result<Self> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let lock = lock(folder)?;
        if folder.join(HEAD).exists() {
            let why = format!("there is a history in {} already; open it, or take another", folder.display());
            return Err(Error::invalid("folder", why));
        }
        let head = Head { schema: schema.clone(), segment_bytes };
        snapshot::save(folder.join(HEAD), Self::KIND, &head)?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
        Self::write_to(folder, &schema, lock)
    }

    /// Opens a history to append to it. An append that was interrupted is cut off: see [`torn`](Self::torn).
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is none, or somebody writes it; [`Error::Mismatch`] where it has another
    /// schema; [`Error::Format`] where its last segment is damaged other than by an interruption, nothing is then
    /// changed; [`Error::Io`] where it cannot be read or written.
    pub fn open(folder: impl AsRef<Path>, schema: &Schema) -> Result<Self> {
        let folder = folder.as_ref();
        if !folder.join(HEAD).exists() {
            let why = format!("there is no history in {}; create one", folder.display());
            return Err(Error::invalid("folder", why));
        }
        let lock = lock(folder)?;
        Self::write_to(folder, schema, lock)
    }

    fn write_to(folder: &Path, schema: &Schema, lock: Lock) -> Result<Self> {
        let head: Head = snapshot::load(folder.join(HEAD), Self::KIND)?;
        if head.schema != *schema {
            let expected = format!("the fields {:?}, as in {}", head.schema.fields(), folder.display());
            return Err(Error::mismatch("schema", expected, format!("{:?}", schema.fields())));
        }
        let mut reader = HistoryReader::new(folder, head.schema);
        let torn = reader.find_end()?;
        if reader.segments.is_empty() {
            reader.segments.push(Segment::new(folder, 0));
        }
        let last = &reader.segments[reader.segments.len() - 1];
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(last.path());
        let file = file.map_err(Error::io(last.path()))?;
        if torn > 0 {
            file.set_len(last.bytes()).map_err(Error::io(last.path()))?;
        }
        sync_folder(folder)?;
        Ok(Self { reader, file, segment_bytes: head.segment_bytes, torn, _lock: lock })
    }

    /// Appends the steps of a batch in order: every field as (n, ...). Returns their times.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where a field differs in any axis or in dtype, [`Error::Invalid`] where one is missing
    /// or unknown, or there is no step; [`Error::Io`] where they cannot be written. Nothing is then appended.
    pub fn append(&mut self, batch: &[(&str, &Tensor)]) -> Result<Range<u64>> {
        let (tensors, [n]) = self.reader.schema.batch::<1>(batch)?;
        if n == 0 {
            return Err(Error::invalid("batch", "it has no step"));
        }
        let first = self.steps().end;
        let record = Record::encode(first, &tensors)?;
        let filled = self.last().bytes();
        if filled > 0 && filled + record.len() as u64 > self.segment_bytes {
            self.begin_segment()?;
        }
        let at = self.last().bytes();
        let written = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.write_all(&record));
        if let Err(error) = written {
            // What is left of it is no record, and the next append goes to the same place.
            let _ = self.file.set_len(at);
            return Err(Error::io(self.last().path())(error));
        }
        let times = first..first + n as u64;
        self.reader.last_mut().push(times.end, at + record.len() as u64);
        Ok(times)
    }

    /// Waits until everything that was appended is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`] where it does not get there.
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync_all().map_err(Error::io(self.last().path()))
    }

    /// What is complete is on the disk before there is a next.
    fn begin_segment(&mut self) -> Result<()> {
        self.sync()?;
        let next = Segment::new(&self.reader.folder, self.steps().end);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(next.path());
        self.file = file.map_err(Error::io(next.path()))?;
        self.reader.segments.push(next);
        sync_folder(&self.reader.folder)
    }

    fn last(&self) -> &Segment {
        &self.reader.segments[self.reader.segments.len() - 1]
    }

    /// The times of the steps that it has.
    pub fn steps(&self) -> Range<u64> {
        self.reader.steps()
    }

    /// Its fields.
    pub fn schema(&self) -> &Schema {
        self.reader.schema()
    }

    /// Bytes of an interrupted append that were cut off when it was opened; 0 where there was none. (A last record
    /// that the disk damaged looks the same.)
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// See [`HistoryReader::read`].
    ///
    /// # Errors
    /// As there.
    pub fn read(&mut self, steps: Range<u64>) -> Result<Fields> {
        self.reader.read(steps)
    }

    /// See [`HistoryReader::batches`].
    pub fn batches(&mut self, from: u64) -> impl Iterator<Item = Result<(u64, Fields)>> + '_ {
        self.reader.batches(from)
    }
}
