//! How the files of a data set are.

use std::fmt::{self, Display};
use std::path::PathBuf;

/// The state of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It is there; its content was not looked at.
    Present,
    /// It is there, and its content is as the manifest says.
    Verified,
    /// It was downloaded just now, and its content is as the manifest says.
    Downloaded,
    /// It is there but cannot be used, for this reason.
    Damaged(String),
    /// It is in none of the places.
    Missing,
}

/// One line of a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// The file's name.
    pub name: String,
    /// The size it should have.
    pub bytes: u64,
    /// Where it is, or where a download would put it; `None` without a cache folder.
    pub path: Option<PathBuf>,
    /// How it is.
    pub status: Status,
}

/// The state of a data set's files; displayed as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The data set.
    pub name: String,
    /// Its files; none if it is part of the program.
    pub files: Vec<FileReport>,
}

impl Report {
    /// Whether every file is here and, as far as it was looked at, as it should be.
    pub fn is_complete(&self) -> bool {
        let good = |status: &Status| !matches!(status, Status::Missing | Status::Damaged(_));
        self.files.iter().all(|file| good(&file.status))
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.pad("present"),
            Self::Verified => f.pad("verified"),
            Self::Downloaded => f.pad("downloaded"),
            Self::Damaged(_) => f.pad("damaged"),
            Self::Missing => f.pad("missing"),
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.files.is_empty() {
            return write!(f, "{}: part of the program, no files", self.name);
        }
        write!(f, "{}", self.name)?;
        let width = self.files.iter().map(|file| file.name.len()).max().unwrap_or(0);
        for FileReport { name, bytes, path, status } in &self.files {
            write!(f, "\n  {status:<10}  {name:<width$}  {bytes:>10} bytes")?;
            match (path, status) {
                (_, Status::Missing) | (None, _) => {}
                (Some(path), Status::Damaged(why)) => write!(f, "  {}: {why}", path.display())?,
                (Some(path), _) => write!(f, "  {}", path.display())?,
            }
        }
        Ok(())
    }
}
