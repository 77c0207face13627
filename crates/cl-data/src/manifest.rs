//! What a data set consists of, and where it can be had.

use std::sync::OnceLock;

use cl_core::{Error, Result};
use serde::Deserialize;

/// A data set of four IDX files, as described by a file of the folder `datasets`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name to load it by, and of the folder that holds its files.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// The number of classes.
    pub classes: usize,
    /// Channels, rows and columns of an image.
    pub image: [usize; 3],
    /// Under which licence the data may be used.
    pub licence: String,
    /// What to cite.
    pub citation: String,
    /// Folders to download the files from, in order of preference; each ends in `/`.
    pub urls: Vec<String>,
    /// The files: each [`Part`] once.
    pub files: Vec<DataFile>,
}

/// One file of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// What it holds.
    pub part: Part,
    /// Its name, without a folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The digest of its content, in lower-case hexadecimal.
    pub sha256: String,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The images to learn from.
    TrainImages,
    /// Their classes.
    TrainLabels,
    /// The images to evaluate on.
    TestImages,
    /// Their classes.
    TestLabels,
}

impl Part {
    /// All parts of a data set.
    pub const ALL: [Self; 4] = [Self::TrainImages, Self::TrainLabels, Self::TestImages, Self::TestLabels];
}

const EMBEDDED: [&str; 2] =
    [include_str!("../../../datasets/mnist.toml"), include_str!("../../../datasets/fashion-mnist.toml")];

/// The manifests of this version, part of the program.
pub fn manifests() -> &'static [Manifest] {
    static MANIFESTS: OnceLock<Vec<Manifest>> = OnceLock::new();
    MANIFESTS.get_or_init(|| {
        EMBEDDED.iter().map(|text| Manifest::parse(text).expect("a test parses every manifest")).collect()
    })
}

/// The manifest of the data set `name`.
///
/// # Errors
/// [`Error::Invalid`], which lists the names, for another name.
pub fn manifest(name: &str) -> Result<&'static Manifest> {
    manifests().iter().find(|manifest| manifest.name == name).ok_or_else(|| {
        Error::invalid("data set", format!("`{name}` is not one of {}", crate::names().join(", ")))
    })
}

impl Manifest {
    /// A manifest from its TOML text, checked.
    ///
    /// # Errors
    /// [`Error::Invalid`] for text that is not one, and for names that would lead out of the data
    /// set's folder, digests that are none, and missing or repeated parts.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: String| Error::invalid("manifest", why);
        let manifest: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let names = manifest.files.iter().map(|file| &file.name).chain([&manifest.name]);
        for name in names {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                return Err(wrong(format!("`{name}`: names are of letters, digits, `-`, `_` and `.`")));
            }
        }
        for file in &manifest.files {
            let hexadecimal = |c: char| matches!(c, '0'..='9' | 'a'..='f');
            if file.sha256.len() != 64 || !file.sha256.chars().all(hexadecimal) {
                return Err(wrong(format!("{}: sha256 is 64 digits of lower-case hexadecimal", file.name)));
            }
        }
        for part in Part::ALL {
            if manifest.files.iter().filter(|file| file.part == part).count() != 1 {
                return Err(wrong(format!("{}: {part:?} must be there exactly once", manifest.name)));
            }
        }
        match manifest.urls.iter().find(|url| !url.ends_with('/')) {
            Some(url) => Err(wrong(format!("{url}: the address of a folder, with `/` at its end"))),
            None => Ok(manifest),
        }
    }
}
