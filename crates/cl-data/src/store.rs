//! Where the files of a data set are: looked up, checked, downloaded.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use cl_core::{Error, Result};
use sha2::{Digest, Sha256};

use crate::download::{self, Mirror};
use crate::manifest::{DataFile, Manifest, Part};
use crate::{DataSet, FileReport, Report, Samples, Status, digits, idx, manifest, manifests};

/// The places where files of data sets are looked for, in this order.
///
/// 1. `data_dir/<set>/`: the user's own copy. A file there that is not the one in the manifest is an
///    error, never passed over.
/// 2. `cache_dir/<set>/`: what was downloaded before. A damaged file there is fetched again.
/// 3. The addresses of the manifest, if `download` allows it, into `cache_dir`.
///
/// Whatever the place, size and sha256 are checked before a byte is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locations {
    /// The folder that holds a folder per data set.
    pub data_dir: Option<PathBuf>,
    /// The folder for downloads.
    pub cache_dir: Option<PathBuf>,
    /// Whether to ask the network for what is in neither.
    pub download: bool,
}

/// Which files of the data set `name` are on this machine, and where; their content is not read.
///
/// # Errors
/// [`Error::Invalid`] for an unknown name.
pub fn locate(name: &str) -> Result<Report> {
    on_files(name, |manifest| Ok(Locations::from_env().locate(manifest)))
}

/// Like [`locate`], with sizes and digests checked. Nothing is downloaded.
///
/// # Errors
/// [`Error::Invalid`] for an unknown name.
pub fn verify(name: &str) -> Result<Report> {
    on_files(name, |manifest| Ok(Locations::from_env().verify(manifest)))
}

/// Downloads the files of the data set `name` that are not on this machine, and checks the others.
///
/// # Errors
/// As [`load`](crate::load).
pub fn fetch(name: &str) -> Result<Report> {
    on_files(name, |manifest| Locations::from_env().fetch(manifest))
}

fn on_files(name: &str, report: impl FnOnce(&Manifest) -> Result<Report>) -> Result<Report> {
    match name {
        digits::NAME => Ok(Report { name: name.into(), files: Vec::new() }),
        _ => report(manifest(name)?),
    }
}

impl Locations {
    /// `$CL_DATA_DIR`, and the folder `engram` in `$XDG_CACHE_HOME` or else in `~/.cache`; with
    /// downloads.
    pub fn from_env() -> Self {
        let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = folder("XDG_CACHE_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
        Self {
            data_dir: folder("CL_DATA_DIR"),
            cache_dir: cache.map(|cache| cache.join("engram")),
            download: true,
        }
    }

    /// Which files are here; their content is not read.
    pub fn locate(&self, manifest: &Manifest) -> Report {
        self.report(manifest, |_, _| Status::Present)
    }

    /// Which files are here and what they should be. Nothing is downloaded.
    pub fn verify(&self, manifest: &Manifest) -> Report {
        self.report(manifest, |path, file| match read(path, file) {
            Ok(_) => Status::Verified,
            Err(Error::Format { why, .. }) => Status::Damaged(why),
            Err(error) => Status::Damaged(error.to_string()),
        })
    }

    /// Downloads what is not here, and checks all.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn fetch(&self, manifest: &Manifest) -> Result<Report> {
        let files = self.obtain(manifest)?.into_iter().map(|obtained| FileReport {
            name: obtained.file.name.clone(),
            bytes: obtained.file.bytes,
            path: Some(obtained.path),
            status: obtained.status,
        });
        Ok(Report { name: manifest.name.clone(), files: files.collect() })
    }

    /// The data set, with pixels in `[0, 1]`.
    ///
    /// # Errors
    /// [`Error::Unavailable`], once for all files that are missing and could not be downloaded;
    /// [`Error::Format`] for a file in `data_dir` that is not the one in the manifest.
    pub fn load(&self, manifest: &Manifest) -> Result<DataSet> {
        let obtained = self.obtain(manifest)?;
        let part = |part| {
            obtained
                .iter()
                .find(|obtained| obtained.file.part == part)
                .ok_or_else(|| Error::invalid("manifest", format!("{}: {part:?} is missing", manifest.name)))
        };
        let samples = |images, labels| samples(manifest, part(images)?, part(labels)?);
        Ok(DataSet {
            name: manifest.name.clone(),
            train: samples(Part::TrainImages, Part::TrainLabels)?,
            test: samples(Part::TestImages, Part::TestLabels)?,
            classes: manifest.classes,
            image: manifest.image,
        })
    }

    /// Every file of the set, read and checked.
    fn obtain<'m>(&self, manifest: &'m Manifest) -> Result<Vec<Obtained<'m>>> {
        let mut obtained = Vec::new();
        let mut missing = Vec::new();
        let mut damaged = Vec::new();
        for file in &manifest.files {
            let Some((place, path)) = self.find(manifest, file) else {
                missing.push(file);
                continue;
            };
            match read(&path, file) {
                Ok(content) => obtained.push(Obtained { file, path, status: Status::Verified, content }),
                Err(error) if place == Place::Data => return Err(error),
                Err(error) => {
                    missing.push(file);
                    damaged.push(error.to_string());
                }
            }
        }
        let mut failures = Vec::new();
        let mut mirrors: Vec<_> = manifest.urls.iter().map(|url| Mirror::new(url)).collect();
        missing.retain(|file| match self.download(manifest, file, &mut mirrors, &mut failures) {
            Some(downloaded) => {
                obtained.push(downloaded);
                false
            }
            None => true,
        });
        if missing.is_empty() {
            obtained.sort_by_key(|obtained| manifest.files.iter().position(|file| file == obtained.file));
            return Ok(obtained);
        }
        damaged.append(&mut failures);
        Err(self.unavailable(manifest, &missing, &damaged))
    }

    /// The file from the first mirror that has it, put into the cache.
    fn download<'m>(
        &self,
        manifest: &Manifest,
        file: &'m DataFile,
        mirrors: &mut [Mirror<'_>],
        failures: &mut Vec<String>,
    ) -> Option<Obtained<'m>> {
        let path = self.cache_dir.as_ref()?.join(&manifest.name).join(&file.name);
        if !self.download {
            return None;
        }
        for answer in mirrors.iter_mut().filter_map(|mirror| mirror.get(file)) {
            match answer.and_then(|content| download::store(&content, &path).map(|()| content)) {
                Ok(content) => return Some(Obtained { file, path, status: Status::Downloaded, content }),
                Err(why) => failures.push(why),
            }
        }
        None
    }

    /// One error for all that is missing: which files, where they were looked for, what to do.
    fn unavailable(&self, manifest: &Manifest, missing: &[&DataFile], failures: &[String]) -> Error {
        use std::fmt::Write as _;
        let name = &manifest.name;
        let files: Vec<_> = missing.iter().map(|file| file.name.as_str()).collect();
        let mut why = format!("{} of its {} files missing", missing.len(), manifest.files.len());
        let mut line = |text: fmt::Arguments<'_>| write!(why, "\n  {text}").expect("a String takes all");
        line(format_args!("missing: {}", files.join(", ")));
        match &self.data_dir {
            Some(folder) => line(format_args!("looked in {} (CL_DATA_DIR)", folder.join(name).display())),
            None => line(format_args!("CL_DATA_DIR is not set")),
        }
        match &self.cache_dir {
            Some(folder) => line(format_args!("looked in {} (cache)", folder.join(name).display())),
            None => line(format_args!("no cache folder to download to: set XDG_CACHE_HOME or HOME")),
        }
        for failure in failures {
            line(format_args!("{failure}"));
        }
        if !self.download {
            line(format_args!("downloads are switched off"));
        }
        line(format_args!("what to do: run `cargo xtask data fetch {name}` where there is a network, or"));
        line(format_args!("set CL_DATA_DIR to a folder that holds {name}/ with these files, from"));
        line(format_args!("{}", manifest.urls.join(" or ")));
        Error::Unavailable { what: format!("data set {name}"), why }
    }

    /// The first place that holds the file.
    fn find(&self, manifest: &Manifest, file: &DataFile) -> Option<(Place, PathBuf)> {
        let places = [(Place::Data, &self.data_dir), (Place::Cache, &self.cache_dir)];
        places.into_iter().find_map(|(place, folder)| {
            let path = folder.as_ref()?.join(&manifest.name).join(&file.name);
            // What cannot be looked at is there, and reading it will say why it cannot be used.
            path.try_exists().unwrap_or(true).then_some((place, path))
        })
    }

    fn report(&self, manifest: &Manifest, status: impl Fn(&Path, &DataFile) -> Status) -> Report {
        let files = manifest.files.iter().map(|file| {
            let (path, status) = match self.find(manifest, file) {
                Some((_, path)) => (Some(path.clone()), status(&path, file)),
                None => {
                    let target = self.cache_dir.as_ref();
                    (target.map(|cache| cache.join(&manifest.name).join(&file.name)), Status::Missing)
                }
            };
            FileReport { name: file.name.clone(), bytes: file.bytes, path, status }
        });
        Report { name: manifest.name.clone(), files: files.collect() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Data,
    Cache,
}

/// A file that is what the manifest says.
struct Obtained<'m> {
    file: &'m DataFile,
    path: PathBuf,
    status: Status,
    content: Vec<u8>,
}

/// Decodes one half of a set. What goes wrong here is not damage, but a manifest that does not fit
/// its files.
fn samples(manifest: &Manifest, images: &Obtained<'_>, labels: &Obtained<'_>) -> Result<Samples> {
    let decoded = idx::parse_images(&images.content, &images.path)?;
    let [channels, rows, columns] = manifest.image;
    if [1, decoded.rows, decoded.columns] != manifest.image {
        let why =
            format!("images of {}×{}, expected {channels}×{rows}×{columns}", decoded.rows, decoded.columns);
        return Err(Error::format(&images.path, why));
    }
    let classes = idx::parse_labels(&labels.content, &labels.path)?;
    if classes.len() != decoded.count {
        let why = format!("{} labels for {} images", classes.len(), decoded.count);
        return Err(Error::format(&labels.path, why));
    }
    if let Some(class) = classes.iter().find(|&&class| usize::from(class) >= manifest.classes) {
        return Err(Error::format(&labels.path, format!("class {class} of {} classes", manifest.classes)));
    }
    let n = decoded.count;
    let bytes = Tensor::from_vec(decoded.pixels, (n, rows * columns), &Device::Cpu)?;
    let x = bytes.to_dtype(DType::F32)?.broadcast_div(&Tensor::new(255_f32, &Device::Cpu)?)?;
    let y: Vec<u32> = classes.into_iter().map(u32::from).collect();
    Samples::new(x, Tensor::from_vec(y, n, &Device::Cpu)?)
}

/// The content of the file at `path`, if it is the one in the manifest.
fn read(path: &Path, file: &DataFile) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let reader = fs::File::open(path).map_err(Error::io(path))?;
    reader.take(file.bytes + 1).read_to_end(&mut content).map_err(Error::io(path))?;
    check(&content, file).map_err(|why| Error::format(path, format!("{why}; replace it")))?;
    Ok(content)
}

/// Compares size and digest with the manifest's.
pub(crate) fn check(content: &[u8], file: &DataFile) -> Result<(), String> {
    let found = match content.len() as u64 {
        long if long > file.bytes => "more".to_owned(),
        short if short < file.bytes => format!("{short} bytes"),
        _ => match sha256(content) {
            digest if digest == file.sha256 => return Ok(()),
            digest => format!("sha256 {digest}"),
        },
    };
    // MNIST and Fashion-MNIST give their files the same names.
    let namesake = |other: &&Manifest| {
        other.files.iter().any(|twin| twin.name == file.name && twin.sha256 != file.sha256)
    };
    let namesakes = manifests().iter().find(namesake);
    let other = namesakes.map_or_else(|| "another file".into(), |set| format!("{}'s of that name", set.name));
    Err(format!(
        "expected {} bytes with sha256 {}, found {found}: truncated, altered or {other}",
        file.bytes, file.sha256
    ))
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
