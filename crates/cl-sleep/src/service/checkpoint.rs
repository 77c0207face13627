//! The mind on disk, as it was at the end of its last sleep.

use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::path::Path;

use cl_core::snapshot::{self, Kind};
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Mind;

const FILE: &str = "mind";
const KIND: Kind = Kind::new("cl-sleep/service", 1);

pub(super) struct Checkpoint<M> {
    /// How many sleeps it is of.
    pub(super) version: u64,
    /// How many experiences of the journal are in it.
    pub(super) experiences: u64,
    pub(super) mind: M,
}

/// As it is in the file. The mind is a snapshot of its own kind: its fields change without those beside it.
#[derive(Serialize, Deserialize)]
struct Saved {
    version: u64,
    experiences: u64,
    mind: Vec<u8>,
}

impl<M: Mind> Checkpoint<M> {
    /// Replaces the one in the folder, wholly or not at all.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        let mind = snapshot::to_bytes(M::KIND, &self.mind)?;
        let saved = Saved { version: self.version, experiences: self.experiences, mind };
        snapshot::save(folder.join(FILE), KIND, &saved)
    }

    /// That in the folder; none where there is none.
    pub(super) fn load(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let advise = |why: String| {
            let advice = "the journal has everything that was experienced, and `Service::rebuild` makes the mind from it anew";
            Error::format(&path, format!("{why}; {advice}"))
        };
        let saved: Saved = match snapshot::load(&path, KIND) {
            Ok(saved) => saved,
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(Error::Format { why, .. }) => return Err(advise(why)),
            Err(other) => return Err(other),
        };
        let mind = snapshot::from_bytes(&saved.mind, M::KIND).map_err(|error| match error {
            Error::Format { why, .. } => advise(format!("the mind in it: {why}")),
            other => other,
        })?;
        Ok(Some(Self { version: saved.version, experiences: saved.experiences, mind }))
    }
}

/// Whether a mind of so many experiences can go on with a journal of these.
pub(super) fn check(folder: &Path, experiences: u64, journal: &Range<u64>) -> Result<()> {
    if (journal.start..=journal.end).contains(&experiences) {
        return Ok(());
    }
    let why = format!(
        "the mind in {} has taken in {experiences} experiences, and the journal holds {journal:?}: what comes next must be there; \
         restore the missing files of one or the other",
        folder.display()
    );
    Err(Error::invalid("journal", why))
}

/// Out of the way, for a rebuild.
pub(super) fn set_aside(folder: &Path) -> Result<()> {
    let path = folder.join(FILE);
    match fs::rename(&path, folder.join("mind.before")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// A save that was killed leaves its temporary file.
pub(super) fn remove_leftovers(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if name.starts_with(".mind.") && name.ends_with(".tmp") {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}
