//! Runs that were stopped, kept beside the results until they are gone on with.

use std::path::{Path, PathBuf};

use cl_core::snapshot::{self, Kind};
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::results::Key;

/// The folder of the unfinished runs within that of the results.
pub const FOLDER: &str = "unfinished";

const KIND: Kind = Kind::new("cl-bench/unfinished", 1);

/// A run that was stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// What [`cl_methods::train::Training`] has saved.
    pub training: Vec<u8>,
    /// Seconds of training so far.
    pub wall: f64,
    /// Processor seconds of training so far.
    pub cpu: f64,
}

/// The unfinished runs of a folder, a file each.
#[derive(Debug, Clone)]
pub struct Unfinished {
    folder: PathBuf,
}

impl Unfinished {
    /// Those beside the results in `out`.
    pub fn within(out: &Path) -> Self {
        Self { folder: out.join(FOLDER) }
    }

    fn file(&self, key: &Key) -> PathBuf {
        let sum = Sha256::digest(format!("{key:?}"));
        let name: String = sum.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name + ".snap")
    }

    /// Keeps a run, in place of what was kept of it before.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn keep(&self, key: &Key, kept: &Kept) -> Result<()> {
        std::fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder))?;
        snapshot::save(self.file(key), KIND, kept)
    }

    /// What is kept of a run.
    ///
    /// # Errors
    /// A file that is damaged, or of another version.
    pub fn find(&self, key: &Key) -> Result<Option<Kept>> {
        let file = self.file(key);
        if !file.exists() {
            return Ok(None);
        }
        snapshot::load(file, KIND).map(Some)
    }

    /// Removes what is kept of a run that is finished; the folder with the last of them.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn forget(&self, key: &Key) -> Result<()> {
        let file = self.file(key);
        if file.exists() {
            std::fs::remove_file(&file).map_err(Error::io(&file))?;
            // It stays where other runs are in it.
            let _ = std::fs::remove_dir(&self.folder);
        }
        Ok(())
    }

    /// Removes all of them.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn forget_all(&self) -> Result<()> {
        let Ok(files) = std::fs::read_dir(&self.folder) else { return Ok(()) };
        for file in files.flatten().map(|file| file.path()) {
            if file.extension().is_some_and(|extension| extension == "snap") {
                std::fs::remove_file(&file).map_err(Error::io(&file))?;
            }
        }
        let _ = std::fs::remove_dir(&self.folder);
        Ok(())
    }
}
