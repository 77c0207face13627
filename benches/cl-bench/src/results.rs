//! The results file: one JSON line per finished run, appended when the run ends and never rewritten. What a
//! line holds is the suite's: a [`Record`] in the tables of accuracies, another [`Line`] elsewhere.
//!
//! What was computed is kept: an interrupted write leaves at most one torn last line, which the next
//! [`Lines::open`] cuts off and reports; everything before it stands. A file that is not ours, or
//! was altered, is an error and stays as it is.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::hash::Hash;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cl_core::{Error, Result};
use cl_metrics::RMatrix;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The name of the results file within its folder.
pub const FILE_NAME: &str = "results.jsonl";

/// How every line begins, `suite` being the first field. Tells a torn line from a foreign file.
const BEGINNING: &[u8] = br#"{"suite":"#;

/// What a line of a results file holds. Its first field is the name of its suite, in `suite`.
pub trait Line: Clone + Serialize + DeserializeOwned {
    /// What makes a run this run: equal keys, equal numbers.
    type Key: Clone + fmt::Debug + Eq + Hash;

    /// What makes this run this run.
    fn key(&self) -> Self::Key;

    /// Refuses what could not be read again. JSON knows no NaN and no infinity: it would store `null`.
    ///
    /// # Errors
    ///
    /// Names what is wrong.
    fn check(&self) -> Result<()>;
}

/// One finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The suite it belongs to.
    pub suite: String,
    /// The scenario: `task`, `domain` or `class`.
    pub scenario: String,
    /// The method, by its name in the registry.
    pub method: String,
    /// The seed everything random was drawn from.
    pub seed: u64,
    /// The hyper-parameters and the protocol, resolved.
    pub config: Config,
    /// The R matrix: accuracy after each training phase (row) on each task (column), fractions.
    pub r: Vec<Vec<f64>>,
    /// Its untrained row.
    pub baseline: Vec<f64>,
    /// Every metric that follows from `r` and `baseline`, fractions by name.
    pub metrics: BTreeMap<String, f64>,
    /// What is known of the test samples of each task (column) after each phase (row), in bits per sample. Not there where an
    /// output was not finite, and in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<Vec<Vec<f64>>>,
    /// How far the last task has moved what is known of the parameters, in bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stability: Option<f64>,
    /// The GPU that it ran on, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Wall time of training, in seconds.
    pub train_seconds: f64,
    /// Processor time of training, in seconds.
    pub cpu_seconds: f64,
    /// Training samples (replayed ones not counted) per second of processor time.
    pub samples_per_cpu_second: f64,
    /// The most memory the process has held, in bytes.
    pub peak_rss_bytes: u64,
    /// The version of this program.
    pub version: String,
}

/// What a run was configured with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Tells configurations apart: the first 16 hexadecimal digits of the SHA-256 of `values`.
    pub hash: String,
    /// All settings, resolved.
    pub values: serde_json::Value,
}

impl Config {
    /// Settings and their hash, which does not depend on the order of keys.
    pub fn new(values: serde_json::Value) -> Self {
        let digest = Sha256::digest(sorted(&values).to_string());
        let hash = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { hash, values }
    }
}

/// The same value with the keys of every object in order, whatever map serde_json was built with.
fn sorted(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            let ordered: BTreeMap<_, _> = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            ordered.into_iter().collect()
        }
        serde_json::Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// What makes a run this run: equal keys, equal numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// See [`Record::suite`].
    pub suite: String,
    /// See [`Record::scenario`].
    pub scenario: String,
    /// See [`Record::method`].
    pub method: String,
    /// See [`Record::seed`].
    pub seed: u64,
    /// See [`Config::hash`].
    pub config_hash: String,
}

impl Record {
    /// What makes this run this run.
    pub fn key(&self) -> Key {
        Key {
            suite: self.suite.clone(),
            scenario: self.scenario.clone(),
            method: self.method.clone(),
            seed: self.seed,
            config_hash: self.config.hash.clone(),
        }
    }

    /// The checked R matrix.
    ///
    /// # Errors
    ///
    /// Those of [`RMatrix::new`].
    pub fn r_matrix(&self) -> Result<RMatrix> {
        RMatrix::new(self.baseline.clone(), self.r.clone())
    }
}

impl Line for Record {
    type Key = Key;

    fn key(&self) -> Key {
        self.key()
    }

    fn check(&self) -> Result<()> {
        self.r_matrix()?;
        let times = [
            ("train_seconds", self.train_seconds),
            ("cpu_seconds", self.cpu_seconds),
            ("samples_per_cpu_second", self.samples_per_cpu_second),
        ];
        let bits = self.bits.iter().flatten().flatten().map(|bits| ("bits", *bits));
        let information = bits.chain(self.stability.map(|bits| ("stability", bits)));
        for (name, value) in
            self.metrics.iter().map(|(k, v)| (k.as_str(), *v)).chain(times).chain(information)
        {
            if !value.is_finite() {
                return Err(Error::invalid(name, format!("{value} cannot be stored; it must be finite")));
            }
        }
        Ok(())
    }
}

/// A torn last line that [`Lines::open`] cut off: a write that was interrupted. That run is lost and
/// will be computed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub path: PathBuf,
    /// Which line, from 1.
    pub line: usize,
    /// How many bytes it had.
    pub bytes: usize,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: the last line ({}, {} bytes) was torn by an interrupted write; the {} before it are kept, \
             that run will be computed again",
            self.path.display(),
            self.line,
            self.bytes,
            self.line - 1
        )
    }
}

/// A results file open for appending, locked against other processes until it is dropped.
#[derive(Debug)]
pub struct Lines<L: Line> {
    path: PathBuf,
    file: Box<dyn Storage>,
    length: u64,
    records: Vec<L>,
    index: HashMap<L::Key, usize>,
}

/// The results file of a table of accuracies.
pub type Results = Lines<Record>;

/// What [`Lines`] needs of a file. A trait so that a test can fill the disk.
trait Storage: Write + Seek + Send + fmt::Debug {
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    /// Gives the lock back.
    fn release(&mut self) {}
}

impl Storage for File {
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn release(&mut self) {
        self.unlock().ok(); // it ends with the file in any case
    }
}

/// A child process that is being started holds copies of all open files for a moment, and with them the
/// lock, beyond the end of this value: so it is given back here.
impl<L: Line> Drop for Lines<L> {
    fn drop(&mut self) {
        self.file.release();
    }
}

impl<L: Line> Lines<L> {
    /// Opens `dir/results.jsonl` for appending, making both where missing, and reads what is there. A
    /// torn last line is cut off and returned as a warning.
    ///
    /// # Errors
    ///
    /// Another process has it open; it cannot be read or made; it is not a results file; a line other
    /// than a torn last one is malformed, or occurs twice. The file is left as it is.
    pub fn open(dir: impl AsRef<Path>) -> Result<(Self, Option<Torn>)> {
        let dir = dir.as_ref();
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let path = dir.join(FILE_NAME);
        must_be_regular(&path)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io(&path))?;
        lock(&file, &path)?;

        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(Error::io(&path))?;
        let Parsed { records, index, kept, torn, unfinished } = parse(&path, &bytes)?;
        let mut results = Self { path, file: Box::new(file), length: kept as u64, records, index };
        if torn.is_some() {
            results.file.truncate(results.length).map_err(Error::io(&results.path))?;
        }
        if unfinished {
            results.write(b"\n")?;
        }
        Ok((results, torn))
    }

    /// Adds a finished run, on the disk when this returns.
    ///
    /// # Errors
    ///
    /// A record that cannot be stored (an accuracy outside 0..=1, a number that is not finite) or is
    /// there already; a write that fails, on a full disk for instance: the file is then cut back to
    /// what it was, and stays usable.
    pub fn append(&mut self, record: &L) -> Result<()> {
        record.check()?;
        let key = record.key();
        if self.index.contains_key(&key) {
            return Err(Error::format(
                &self.path,
                format!("{key:?} is stored already; ask `contains` first"),
            ));
        }
        let mut line = serde_json::to_vec(record).map_err(|e| Error::invalid("record", e.to_string()))?;
        line.push(b'\n');
        self.write(&line)?;
        self.index.insert(key, self.records.len());
        self.records.push(record.clone());
        Ok(())
    }

    /// Writes at the end, all or nothing.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self
            .file
            .seek(SeekFrom::Start(self.length))
            .and_then(|_| self.file.write_all(bytes))
            .and_then(|()| self.file.flush())
            .and_then(|()| self.file.sync());
        if let Err(cause) = written {
            let kept = format!("the {} results before it are kept", self.records.len());
            let why = match self.file.truncate(self.length) {
                Ok(()) => format!("{cause}; this result could not be stored, {kept}"),
                Err(again) => format!("{cause}; {kept}, but a torn line is left at the end ({again})"),
            };
            return Err(Error::io(&self.path)(io::Error::new(cause.kind(), why)));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Whether that run is stored.
    pub fn contains(&self, key: &L::Key) -> bool {
        self.index.contains_key(key)
    }

    /// That run, if it is stored.
    pub fn get(&self, key: &L::Key) -> Option<&L> {
        self.index.get(key).map(|&at| &self.records[at])
    }

    /// All runs, in the order in which they ended.
    pub fn records(&self) -> &[L] {
        &self.records
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a results file without touching or locking it. A torn last line is left out and returned.
    ///
    /// # Errors
    ///
    /// It cannot be read, is not a results file, or a line is malformed or occurs twice.
    pub fn read(path: impl AsRef<Path>) -> Result<(Vec<L>, Option<Torn>)> {
        let path = path.as_ref();
        must_be_regular(path)?;
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let Parsed { records, torn, .. } = parse::<L>(path, &bytes)?;
        Ok((records, torn))
    }
}

/// Reads the results file of a table of accuracies; see [`Lines::read`].
///
/// # Errors
///
/// As there.
pub fn read(path: impl AsRef<Path>) -> Result<(Vec<Record>, Option<Torn>)> {
    Results::read(path)
}

/// The runs of a results file that was built into the program.
pub(crate) fn embedded(path: &str, text: &str) -> Result<Vec<Record>> {
    Ok(parse(Path::new(path), text.as_bytes())?.records)
}

/// A device or a folder in the file's place would be read for ever, or give an error without its name.
fn must_be_regular(path: &Path) -> Result<()> {
    match path.metadata() {
        Ok(meta) if !meta.is_file() => {
            Err(Error::format(path, "is not a regular file; remove it or choose another folder"))
        }
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(path)(e)),
        _ => Ok(()),
    }
}

fn lock(file: &File, path: &Path) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::Unavailable {
            what: path.display().to_string(),
            why: "another process is writing to it; wait until it has ended, or choose another folder".into(),
        }),
        // A file system without locks: better unguarded than not at all.
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(e)) => Err(Error::io(path)(e)),
    }
}

struct Parsed<L: Line> {
    records: Vec<L>,
    index: HashMap<L::Key, usize>,
    /// How many bytes from the start are whole records.
    kept: usize,
    torn: Option<Torn>,
    /// Whether the last line is whole but for its newline.
    unfinished: bool,
}

fn parse<L: Line>(path: &Path, bytes: &[u8]) -> Result<Parsed<L>> {
    let mut parsed =
        Parsed { records: Vec::<L>::new(), index: HashMap::new(), kept: 0, torn: None, unfinished: false };
    for (at, line) in bytes.split_inclusive(|&b| b == b'\n').enumerate() {
        let ended = line.ends_with(b"\n");
        match record::<L>(line) {
            Ok(record) => {
                if let Some(first) = parsed.index.insert(record.key(), at) {
                    let (first, second) = (first + 1, at + 1);
                    let why = format!("lines {first} and {second} are the same run; remove one of them");
                    return Err(Error::format(path, why));
                }
                parsed.records.push(record);
                parsed.kept += line.len();
                parsed.unfinished = !ended;
            }
            Err(_) if !ended && is_torn(line) => {
                parsed.torn = Some(Torn { path: path.to_owned(), line: at + 1, bytes: line.len() });
            }
            Err(why) => {
                return Err(Error::format(
                    path,
                    format!(
                        "line {} is not a result of this program ({why}); mend or remove that line, or \
                         choose another folder",
                        at + 1
                    ),
                ));
            }
        }
    }
    Ok(parsed)
}

fn record<L: Line>(line: &[u8]) -> std::result::Result<L, String> {
    let record: L = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    record.check().map_err(|e| e.to_string())?;
    Ok(record)
}

/// Whether a line without an end can be what an interrupted write left: the start of a record, or the
/// zeros that some file systems leave after a power cut. Anything else is somebody else's file.
fn is_torn(line: &[u8]) -> bool {
    let start = &line[..line.len().min(BEGINNING.len())];
    BEGINNING.starts_with(start) || line.iter().all(|&b| b == 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The file, on a disk with room for so many bytes more.
    #[derive(Debug)]
    struct NearlyFull {
        file: File,
        room: usize,
        sync_fails: bool,
    }

    impl Write for NearlyFull {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 && !bytes.is_empty() {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let n = self.file.write(&bytes[..bytes.len().min(self.room)])?;
            self.room -= n;
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.file.flush()
        }
    }

    impl Seek for NearlyFull {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.file.seek(to)
        }
    }

    impl Storage for NearlyFull {
        fn truncate(&mut self, length: u64) -> io::Result<()> {
            self.file.set_len(length)
        }

        fn sync(&mut self) -> io::Result<()> {
            if self.sync_fails { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
        }
    }

    fn run(seed: u64) -> Record {
        Record {
            suite: "split-digits".into(),
            scenario: "class".into(),
            method: "EWC".into(),
            seed,
            config: Config::new(serde_json::json!({"lambda": 1e9})),
            r: vec![vec![0.9, 0.1 + 0.2], vec![1.0 / 3.0, 0.8]],
            baseline: vec![0.1, 0.5],
            metrics: BTreeMap::from([("acc".into(), 0.55)]),
            bits: None,
            stability: None,
            device: None,
            train_seconds: 1.25,
            cpu_seconds: 1.0,
            samples_per_cpu_second: 12_345.678,
            peak_rss_bytes: 1 << 26,
            version: "0.1.0".into(),
        }
    }

    /// Opens the results of `dir` on a disk with that much room.
    fn open_on(dir: &Path, room: usize, sync_fails: bool) -> Results {
        let (mut results, torn) = Results::open(dir).unwrap();
        assert_eq!(torn, None);
        let file = OpenOptions::new().write(true).open(&results.path).unwrap();
        results.file = Box::new(NearlyFull { file, room, sync_fails });
        results
    }

    #[test]
    fn a_full_disk_is_named_and_leaves_no_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let (mut results, _) = Results::open(dir.path()).unwrap();
        results.append(&run(1)).unwrap();
        let path = results.path().to_owned();
        drop(results);
        let before = std::fs::read(&path).unwrap();
        let line = before.len();
        // Each way to fail: at once, in the middle, one byte short, and only when synced.
        for (room, sync_fails) in [(0, false), (line / 2, false), (line - 1, false), (10 * line, true)] {
            let mut full = open_on(dir.path(), room, sync_fails);
            let error = full.append(&run(2)).unwrap_err().to_string();
            assert!(
                error.contains(FILE_NAME) && error.contains("the 1 results before it are kept"),
                "{error}"
            );
            assert_eq!(std::fs::read(&path).unwrap(), before);
            assert!(!full.contains(&run(2).key()));
        }
        // Room was made: the same object goes on.
        let mut full = open_on(dir.path(), line / 2, false);
        full.append(&run(2)).unwrap_err();
        full.file = Box::new(OpenOptions::new().write(true).open(&path).unwrap());
        full.append(&run(3)).unwrap();
        drop(full);
        assert_eq!(read(&path).unwrap(), (vec![run(1), run(3)], None));
    }

    /// The operating system's own full disk, where it has one.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_full_device_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (mut results, _) = Results::open(dir.path()).unwrap();
        results.file = Box::new(OpenOptions::new().write(true).open("/dev/full").unwrap());
        let error = results.append(&run(1)).unwrap_err();
        let Error::Io { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("No space left"), "{error}");
    }

    #[test]
    fn a_torn_line_looks_like_the_start_of_ours() {
        for ours in [&b"{"[..], br#"{"suite""#, br#"{"suite":"split"#, b"\0\0\0"] {
            assert!(is_torn(ours));
        }
        for foreign in [&b"suite"[..], b"{\"a\":1", b"\x7fELF", b"\0\0{"] {
            assert!(!is_torn(foreign));
        }
    }
}
