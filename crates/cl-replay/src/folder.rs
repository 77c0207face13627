//! A memory in a folder: its rows in files that are mapped into memory, everything else in a small head.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | nothing: whoever has the memory open holds a lock on it |
//! | `0.rows`, `1.rows`, ... | the rows of a field, as they are in memory |
//! | `reach` | how far the ring was written; see [`Reach`] |
//! | `head` | a snapshot of the memory without its rows; replaced by a flush, as the last thing |
//!
//! The ring goes on over rows that the head still counts as held. How far it went stands in `reach` before a
//! row is touched, so that a memory that is opened again knows which of its rows are not what they were.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{Ordering, compiler_fence},
};

use cl_core::{
    Error, Result,
    snapshot::{self, Kind},
};
use memmap2::{MmapMut, MmapOptions};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Rows, Schema, column::row_bytes, timeline::Timeline};

/// Where the rows of a memory are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'p> {
    Ram,
    /// In files that are made there.
    Folder(&'p Path),
}

/// A memory that can be in a folder.
pub(crate) trait Foldable: Serialize + DeserializeOwned {
    /// The kind of its head: another than that of its snapshots, which hold the rows too.
    const HEAD: Kind;

    fn timeline(&self) -> &Timeline;

    fn timeline_mut(&mut self) -> &mut Timeline;

    /// Tells the timeline that steps were overwritten, and forgets everything of which they were a part.
    fn forget(&mut self, reached: u64) -> Result<()>;
}

/// The functions of a memory that can be in a folder, apart from that which makes one.
macro_rules! in_folder {
    () => {
        /// Opens a memory that is in a folder, as its last [`flush`](Self::flush) left it, less the steps that
        /// were overwritten after that ([`lost`](Self::lost)). It goes on as it would have from there.
        ///
        /// # Errors
        /// [`cl_core::Error::Invalid`] where there is none, or somebody has it open;
        /// [`cl_core::Error::Mismatch`] where it has another schema; [`cl_core::Error::Format`] where a file is
        /// truncated, altered, or of another memory; [`cl_core::Error::Io`] where one cannot be read or written.
        pub fn open(folder: impl AsRef<Path>, schema: &Schema) -> Result<Self> {
            $crate::folder::open(folder.as_ref(), schema)
        }

        /// Writes everything to the disk. Whatever happens in between, the folder then holds either this state or
        /// that of the flush before.
        ///
        /// # Errors
        /// [`cl_core::Error::Invalid`] where the memory is in RAM, [`cl_core::Error::Io`] where it cannot be
        /// written; the memory itself is unchanged.
        pub fn flush(&mut self) -> Result<()> {
            $crate::folder::flush(self)
        }

        /// Steps of each row that the last flush had and that are gone, because others were written in their
        /// place before the process ended and were lost with it. New steps come in their place.
        pub fn lost(&self) -> usize {
            Foldable::timeline(self).lost()
        }
    };
}

/// For a memory around another.
macro_rules! fold_as_inner {
    ($memory:ty, $head:literal) => {
        impl $memory {
            /// Steps that were ever added to each row: the time of the next one.
            pub fn written(&self) -> u64 {
                self.0.written()
            }
        }

        impl Foldable for $memory {
            const HEAD: Kind = Kind::new($head, 1);

            fn timeline(&self) -> &Timeline {
                self.0.timeline()
            }

            fn timeline_mut(&mut self) -> &mut Timeline {
                self.0.timeline_mut()
            }

            fn forget(&mut self, reached: u64) -> Result<()> {
                self.0.forget(reached)
            }
        }
    };
}
pub(crate) use {fold_as_inner, in_folder};

/// Makes a memory in a folder; it is there with its first flush.
pub(crate) fn create<M: Foldable>(make: impl FnOnce() -> Result<M>) -> Result<M> {
    let mut memory = make()?;
    flush(&mut memory)?;
    Ok(memory)
}

/// Opens the memory in a folder as its last flush left it, less what was overwritten since.
pub(crate) fn open<M: Foldable>(path: &Path, schema: &Schema) -> Result<M> {
    let head = path.join(HEAD);
    if !head.exists() {
        let why = format!("there is no memory in {}, or it was never completed; create one", path.display());
        return Err(Error::invalid("folder", why));
    }
    let lock = lock(path)?;
    remove_leftovers(path)?;
    let mut memory: M = snapshot::load(&head, M::HEAD)?;
    let timeline = memory.timeline();
    if timeline.schema() != schema {
        let expected = format!("the fields {:?}, as in {}", timeline.schema().fields(), path.display());
        return Err(Error::mismatch("schema", expected, format!("{:?}", schema.fields())));
    }
    let (length, capacity) = (timeline.length(), timeline.storage().capacity());
    let maps = schema.fields().iter().enumerate().map(|(i, field)| {
        map(&rows_file(path, i), row_bytes(field.dtype, &field.shape)? as u64 * capacity as u64)
    });
    let maps = maps.collect::<Result<_>>()?;
    let reach = Reach::open(path, length, timeline.reached())?;
    let (reached, len) = (reach.reached(), timeline.rows() * timeline.written().min(length as u64) as usize);
    let folder = Folder { path: path.to_owned(), reach, _lock: lock };
    memory.timeline_mut().replace_storage(Rows::in_folder(capacity, len, schema, maps, folder));
    memory.forget(reached)?;
    Ok(memory)
}

/// Writes everything to the disk: first the rows, then the head that counts on them.
pub(crate) fn flush<M: Foldable>(memory: &mut M) -> Result<()> {
    let storage = memory.timeline().storage();
    let Some(folder) = storage.folder() else {
        return Err(Error::invalid("flush", "this memory is not in a folder; save() writes it to a file"));
    };
    let head = folder.path.join(HEAD);
    storage.sync()?;
    let without_rows = Rows::new(storage.capacity())?;
    let rows = memory.timeline_mut().replace_storage(without_rows);
    let saved = snapshot::save(head, M::HEAD, memory);
    memory.timeline_mut().replace_storage(rows);
    saved
}

const HEAD: &str = "head";

fn rows_file(folder: &Path, field: usize) -> PathBuf {
    folder.join(format!("{field}.rows"))
}

/// A folder that is open; nobody else can open it until this is gone.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    reach: Reach,
    _lock: Lock,
}

impl Folder {
    /// Makes the files of so many rows of every field; the head is the first flush's.
    pub(crate) fn create(path: &Path, schema: &Schema, capacity: usize, length: usize) -> Result<Rows> {
        fs::create_dir_all(path).map_err(Error::io(path))?;
        let lock = lock(path)?;
        if path.join(HEAD).exists() {
            let why = format!("there is a memory in {} already; open it, or take another", path.display());
            return Err(Error::invalid("folder", why));
        }
        remove_leftovers(path)?;
        let fields = schema.fields().iter().enumerate();
        let files: Vec<(PathBuf, u64)> = fields
            .map(|(i, field)| {
                let bytes = row_bytes(field.dtype, &field.shape)? as u64;
                let bytes = bytes.checked_mul(capacity as u64).filter(|&bytes| bytes < isize::MAX as u64);
                let why = || format!("{capacity} rows of {:?} are more than can be addressed", field.shape);
                Ok((rows_file(path, i), bytes.ok_or_else(|| Error::invalid("capacity", why()))?))
            })
            .collect::<Result<_>>()?;
        let made = files.iter().try_for_each(|(file, bytes)| set_aside(file, *bytes));
        let reach = made.and_then(|()| Reach::create(path, length));
        let reach = reach.inspect_err(|_| {
            // A full disk is not left full.
            files.iter().for_each(|(file, _)| drop(fs::remove_file(file)));
        })?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
        let maps = files.iter().map(|(file, bytes)| map(file, *bytes)).collect::<Result<_>>()?;
        let folder = Self { path: path.to_owned(), reach, _lock: lock };
        Ok(Rows::in_folder(capacity, 0, schema, maps, folder))
    }

    /// To be called before the step before `time` is written, and any before that.
    #[inline]
    pub(crate) fn reach(&mut self, time: u64) -> Result<()> {
        self.reach.to(time)
    }

    /// For errors.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The lock of a folder. Given back in so many words: a child that is just being started has the file too.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Takes the lock of a folder.
pub(crate) fn lock(folder: &Path) -> Result<Lock> {
    let path = folder.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => {
            let why = format!("{} is open already, here or in another process", folder.display());
            Err(Error::invalid("folder", why))
        }
        Err(TryLockError::Error(source)) => Err(Error::io(&path)(source)),
    }
}

/// What lies in a folder lasts when the folder itself is on the disk.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(folder).and_then(|file| file.sync_all()).map_err(Error::io(folder))?;
    Ok(())
}

/// A save that was killed leaves its temporary file.
fn remove_leftovers(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if name.starts_with(".head.") && name.ends_with(".tmp") {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

/// Files of no bytes cannot be mapped.
fn file_bytes(bytes: u64) -> u64 {
    bytes.max(8)
}

/// Writes zeros, rather than leaving a hole: a disk that is full must say so now. Later, when a page of the
/// mapping finds no place, the process would be killed.
fn set_aside(path: &Path, bytes: u64) -> Result<()> {
    let zeros = vec![0; 1 << 20];
    let bytes = file_bytes(bytes);
    let write = || -> io::Result<()> {
        let mut file = File::create(path)?;
        let mut left = bytes;
        while left > 0 {
            let n = left.min(zeros.len() as u64) as usize;
            file.write_all(&zeros[..n])?;
            left -= n as u64;
        }
        file.sync_all()
    };
    write().map_err(|error| {
        let why = format!("{bytes} bytes could not be set aside: {error}");
        Error::io(path)(io::Error::new(error.kind(), why))
    })
}

/// Maps a file that must have as many bytes as are needed.
fn map(path: &Path, bytes: u64) -> Result<MmapMut> {
    let bytes = file_bytes(bytes);
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(Error::io(path))?;
    let there = file.metadata().map_err(Error::io(path))?.len();
    if there != bytes {
        let why =
            format!("has {there} bytes where the head needs {bytes}: it was truncated, or is another's");
        return Err(Error::format(path, why));
    }
    let bytes = usize::try_from(bytes).map_err(|_| Error::format(path, "is larger than can be addressed"))?;
    // SAFETY: what changes the file while it is mapped would change the slice, and what truncates it would
    // kill the process on the next access. Its folder is locked, so no other mapping of this library exists;
    // that nothing else meddles with the files of an open memory is asked of the caller, in the documentation
    // of every function that leads here. Every bit pattern of the mapping is a valid value.
    #[allow(unsafe_code)]
    let map = unsafe { MmapOptions::new().len(bytes).map_mut(&file) };
    map.map_err(Error::io(path))
}

/// How far a ring was written, in a mapped file of its own. It only ever grows.
///
/// After the process is killed, what it stored in a mapping is there, all of it, in order: `reached` is exact.
/// After the machine went down it is not, as the pages went to the disk in any order, or never. So rows that
/// were held are overwritten only up to `reserved`, which is on the disk beforehand, a part of the ring at a time. Which of the two has happened is told by the boot that stands beside them.
#[derive(Debug)]
struct Reach {
    /// As five words; see the constants.
    map: MmapMut,
    path: PathBuf,
    /// Of the ring: up to there nothing is overwritten.
    length: u64,
    reached: u64,
    reserved: u64,
}

const MAGIC: u64 = u64::from_le_bytes(*b"engram\x93\x01");
const AT_MAGIC: usize = 0;
const AT_REACHED: usize = 1;
const AT_RESERVED: usize = 2;
const AT_BOOT: usize = 3;
const WORDS: usize = 5;
/// Steps that a machine that goes down costs at most; fewer would have small rings wait for the disk all the time.
fn reserve(length: u64) -> u64 {
    (length / 16).max(4096)
}

impl Reach {
    fn create(folder: &Path, length: usize) -> Result<Self> {
        let path = folder.join("reach");
        set_aside(&path, 8 * WORDS as u64)?;
        let map = map(&path, 8 * WORDS as u64)?;
        let mut reach = Self { map, path, length: length as u64, reached: 0, reserved: 0 };
        reach.set(AT_MAGIC, MAGIC);
        reach.begin()?;
        Ok(reach)
    }

    /// Of a ring whose last flush knew that it was written up to `flushed`.
    fn open(folder: &Path, length: usize, flushed: u64) -> Result<Self> {
        let path = folder.join("reach");
        let map = map(&path, 8 * WORDS as u64)?;
        let mut reach = Self { map, path, length: length as u64, reached: 0, reserved: 0 };
        if reach.get(AT_MAGIC) != MAGIC {
            let why = "is not what it should be, or was written on a machine of the other byte order";
            return Err(Error::format(&reach.path, why));
        }
        let (reached, reserved) = (reach.get(AT_REACHED), reach.get(AT_RESERVED));
        let same_boot = boot().is_some_and(|boot| boot == [reach.get(AT_BOOT), reach.get(AT_BOOT + 1)]);
        if same_boot && (reached < flushed || (reached > reach.length && reached > reserved)) {
            let why = format!("says {reached} of {reserved} where the head says {flushed}: it was altered");
            return Err(Error::format(&reach.path, why));
        }
        reach.reached = if same_boot { reached } else { flushed.max(reached).max(reserved) };
        reach.reserved = reserved.max(if reach.reached > reach.length { reach.reached } else { 0 });
        reach.begin()?;
        Ok(reach)
    }

    fn reached(&self) -> u64 {
        self.reached
    }

    #[inline]
    fn to(&mut self, time: u64) -> Result<()> {
        if time > self.reached {
            if time > self.length && time > self.reserved {
                self.reserve(time)?;
            }
            self.reached = time;
            self.set(AT_REACHED, time);
        }
        // The rows are written after this, in the program as in the source.
        compiler_fence(Ordering::SeqCst);
        Ok(())
    }

    #[cold]
    fn reserve(&mut self, time: u64) -> Result<()> {
        let reserved = time.saturating_add(reserve(self.length));
        self.set(AT_RESERVED, reserved);
        self.sync()?;
        self.reserved = reserved;
        Ok(())
    }

    /// What was found is on the disk before it is said to be of this boot.
    fn begin(&mut self) -> Result<()> {
        self.set(AT_REACHED, self.reached);
        self.set(AT_RESERVED, self.reserved);
        self.sync()?;
        let boot = boot().unwrap_or_default();
        self.set(AT_BOOT, boot[0]);
        self.set(AT_BOOT + 1, boot[1]);
        self.sync()
    }

    fn sync(&self) -> Result<()> {
        self.map.flush().map_err(Error::io(&self.path))
    }

    fn words(&self) -> &[u64] {
        bytemuck::try_cast_slice(&self.map).unwrap_or_default()
    }

    fn get(&self, word: usize) -> u64 {
        self.words().get(word).copied().unwrap_or_default()
    }

    #[inline]
    fn set(&mut self, word: usize, value: u64) {
        let words: &mut [u64] = bytemuck::try_cast_slice_mut(&mut self.map).unwrap_or_default();
        if let Some(word) = words.get_mut(word) {
            *word = value;
        }
    }
}

/// Names the time since the machine was started; none where the system does not say.
fn boot() -> Option<[u64; 2]> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = u128::from_str_radix(&id.trim().replace('-', ""), 16).ok()?;
    Some([(id >> 64) as u64, id as u64])
}
