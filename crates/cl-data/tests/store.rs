//! Finding, checking and downloading files, with a server of our own on the loopback.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cl_core::Error;
use cl_data::{DataFile, Locations, Manifest, Part, Status, manifest};
use sha2::{Digest, Sha256};

/// Nobody listens on the discard port.
const NOBODY: &str = "http://127.0.0.1:9/";

fn idx(header: &[u32], values: &[u8]) -> Vec<u8> {
    header.iter().flat_map(|v| v.to_be_bytes()).chain(values.iter().copied()).collect()
}

/// The files of a small set: two training images, one test image of 2×2.
fn contents() -> [(&'static str, Part, Vec<u8>); 4] {
    [
        ("train-images", Part::TrainImages, idx(&[0x803, 2, 2, 2], &[0, 51, 102, 255, 255, 0, 0, 51])),
        ("train-labels", Part::TrainLabels, idx(&[0x801, 2], &[2, 0])),
        ("test-images", Part::TestImages, idx(&[0x803, 1, 2, 2], &[255, 255, 0, 0])),
        ("test-labels", Part::TestLabels, idx(&[0x801, 1], &[1])),
    ]
}

fn toy(urls: &[&str]) -> Manifest {
    let file = |(name, part, content): (&str, Part, Vec<u8>)| DataFile {
        part,
        name: name.into(),
        bytes: content.len() as u64,
        sha256: Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    Manifest {
        name: "toy".into(),
        title: "Toy".into(),
        classes: 3,
        image: [1, 2, 2],
        licence: "none".into(),
        citation: "none".into(),
        urls: urls.iter().map(|&url| url.into()).collect(),
        files: contents().map(file).into(),
    }
}

/// Two empty folders.
struct Folders {
    root: tempfile::TempDir,
}

impl Folders {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    fn locations(&self) -> Locations {
        Locations { data_dir: Some(self.data()), cache_dir: Some(self.cache()), download: true }
    }

    /// Writes all files of the set into a folder.
    fn fill(&self, folder: &Path) {
        fs::create_dir_all(folder.join("toy")).unwrap();
        for (name, _, content) in contents() {
            fs::write(folder.join("toy").join(name), content).unwrap();
        }
    }
}

/// Serves what `answer` makes of a path, headers included; returns the address and the log of paths.
fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/some/folder/", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            lines.find(|line| line.as_ref().unwrap().is_empty());
            let name = request.split(' ').nth(1).unwrap().trim_start_matches("/some/folder/").to_owned();
            log.lock().unwrap().push(name.clone());
            stream.write_all(&answer(&name)).unwrap();
        }
    });
    (address, asked)
}

fn content(name: &str) -> Vec<u8> {
    contents().into_iter().find(|file| file.0 == name).unwrap().2
}

fn ok(body: &[u8]) -> Vec<u8> {
    response("200 OK", body.len(), body)
}

fn response(status: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn files_under(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder.join("toy"))
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

const ALL: [&str; 4] = ["test-images", "test-labels", "train-images", "train-labels"];

#[test]
fn loads_from_the_data_folder() {
    let folders = Folders::new();
    folders.fill(&folders.data());
    let data = folders.locations().load(&toy(&[NOBODY])).unwrap();
    assert_eq!((data.name.as_str(), data.classes, data.image), ("toy", 3, [1, 2, 2]));
    let x: Vec<Vec<f32>> = data.train.x.to_vec2().unwrap();
    assert_eq!(x, [[0., 51. / 255., 102. / 255., 1.], [1., 0., 0., 51. / 255.]]);
    assert_eq!(data.train.labels().unwrap(), [2, 0]);
    assert_eq!(data.test.labels().unwrap(), [1]);
    assert!(!folders.cache().exists(), "nothing was to be downloaded");
}

/// The first place wins: a cache with other files is not even looked at.
#[test]
fn data_folder_comes_before_the_cache() {
    let folders = Folders::new();
    folders.fill(&folders.data());
    folders.fill(&folders.cache());
    fs::write(folders.cache().join("toy/train-labels"), "rubbish").unwrap();
    let report = folders.locations().verify(&toy(&[NOBODY]));
    assert!(report.is_complete(), "{report}");
    assert!(report.files.iter().all(|file| file.path.as_ref().unwrap().starts_with(folders.data())));
    // What the first place lacks, the second may have.
    fs::remove_file(folders.data().join("toy/test-labels")).unwrap();
    assert_eq!(folders.locations().load(&toy(&[NOBODY])).unwrap().test.len(), 1);
}

/// Neither passed over for the intact copy in the cache nor downloaded again.
#[test]
fn a_wrong_file_in_the_data_folder_is_an_error() {
    let right = content("train-images");
    let mut flipped = right.clone();
    flipped[20] ^= 1;
    let longer = [&right[..], &[0]].concat();
    for (wrong, says) in [
        (&flipped[..], "found sha256"),
        (&right[..7], "found 7 bytes"),
        (&longer, "found more"),
        (&[], "found 0 bytes"),
    ] {
        let folders = Folders::new();
        folders.fill(&folders.data());
        folders.fill(&folders.cache());
        let path = folders.data().join("toy/train-images");
        fs::write(&path, wrong).unwrap();
        let (address, asked) = serve(|name| ok(&content(name)));
        let toy = toy(&[&address]);
        let error = folders.locations().load(&toy).unwrap_err();
        let Error::Format { path: named, why } = &error else { panic!("{error:?}") };
        assert_eq!(*named, path);
        assert!(why.contains(&toy.files[0].sha256) && why.contains(says), "{why}");
        assert!(folders.locations().fetch(&toy).is_err());
        assert!(asked.lock().unwrap().is_empty());

        let report = folders.locations().verify(&toy);
        assert!(!report.is_complete());
        let damaged: Vec<_> =
            report.files.iter().filter(|f| matches!(f.status, Status::Damaged(_))).collect();
        assert_eq!(damaged.len(), 1);
        assert!(report.to_string().contains("damaged     train-images"), "{report}");
        assert!(folders.locations().locate(&toy).files.iter().all(|file| file.status == Status::Present));
    }
}

/// The two sets have files of the same names.
#[test]
fn a_namesake_is_recognised() {
    let folders = Folders::new();
    fs::create_dir_all(folders.data().join("fashion-mnist")).unwrap();
    let path = folders.data().join("fashion-mnist/train-labels-idx1-ubyte.gz");
    fs::write(&path, "what else").unwrap();
    let locations = Locations { download: false, ..folders.locations() };
    let error = locations.load(manifest("fashion-mnist").unwrap()).unwrap_err().to_string();
    assert!(error.starts_with(path.to_str().unwrap()) && error.contains("mnist's of that name"), "{error}");
}

#[test]
fn an_unreadable_file_is_an_error_that_names_it() {
    let folders = Folders::new();
    folders.fill(&folders.data());
    let path = folders.data().join("toy/train-images");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = folders.locations().load(&toy(&[NOBODY])).unwrap_err();
    assert!(matches!(&error, Error::Io { path: named, .. } if *named == path), "{error:?}");
}

#[test]
fn no_network_is_one_error() {
    let folders = Folders::new();
    let error = folders.locations().load(&toy(&[NOBODY])).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }));
    let text = error.to_string();
    assert!(text.starts_with("data set toy is not available"), "{text}");
    for name in ALL {
        assert!(text.contains(name), "{text}");
    }
    for place in [folders.data(), folders.cache()] {
        assert!(text.contains(place.join("toy").to_str().unwrap()), "{text}");
    }
    // One attempt a mirror, not one a file.
    assert_eq!(text.matches("http://127.0.0.1:9/train-images: ").count(), 1, "{text}");
    assert_eq!(text.matches("refused").count(), 1, "{text}");
    assert!(text.contains("cargo xtask data fetch toy") && text.contains("set CL_DATA_DIR"), "{text}");
}

#[test]
fn the_error_names_only_what_is_missing() {
    let folders = Folders::new();
    folders.fill(&folders.data());
    fs::remove_file(folders.data().join("toy/test-labels")).unwrap();
    let locations = Locations { download: false, ..folders.locations() };
    let text = locations.load(&toy(&[NOBODY])).unwrap_err().to_string();
    assert!(text.contains("1 of its 4 files missing") && text.contains("missing: test-labels\n"), "{text}");
    assert!(text.contains("downloads are switched off"), "{text}");
    let report = locations.locate(&toy(&[NOBODY]));
    assert_eq!(report.files.iter().filter(|file| file.status == Status::Missing).count(), 1);
}

#[test]
fn no_folders_at_all_is_an_error_that_says_so() {
    let nowhere = Locations { data_dir: None, cache_dir: None, download: true };
    let text = nowhere.load(&toy(&[NOBODY])).unwrap_err().to_string();
    assert!(text.contains("CL_DATA_DIR is not set") && text.contains("set XDG_CACHE_HOME or HOME"), "{text}");
}

#[test]
fn downloads_into_the_cache_once() {
    let folders = Folders::new();
    let (address, asked) = serve(|name| ok(&content(name)));
    let toy = toy(&[&address]);
    let report = folders.locations().fetch(&toy).unwrap();
    assert!(report.files.iter().all(|file| file.status == Status::Downloaded), "{report}");
    assert_eq!(files_under(&folders.cache()), ALL, "and no temporary files");
    assert!(!folders.data().exists(), "the user's folder is the user's");
    assert_eq!(asked.lock().unwrap().len(), 4);

    let again = folders.locations().fetch(&toy).unwrap();
    assert!(again.files.iter().all(|file| file.status == Status::Verified), "{again}");
    assert_eq!(folders.locations().load(&toy).unwrap().train.len(), 2);
    assert_eq!(asked.lock().unwrap().len(), 4, "the second time from the cache");
}

#[test]
fn a_damaged_file_in_the_cache_is_fetched_again() {
    let folders = Folders::new();
    folders.fill(&folders.cache());
    let path = folders.cache().join("toy/test-images");
    fs::write(&path, "torn").unwrap();
    let text = folders.locations().load(&toy(&[NOBODY])).unwrap_err().to_string();
    assert!(
        text.contains(&format!("{}: expected", path.display())) && text.contains("missing: test-images\n"),
        "{text}"
    );

    let (address, asked) = serve(|name| ok(&content(name)));
    let report = folders.locations().fetch(&toy(&[&address])).unwrap();
    let statuses: Vec<_> = report.files.iter().map(|file| (file.name.as_str(), &file.status)).collect();
    assert_eq!(
        statuses,
        [
            ("train-images", &Status::Verified),
            ("train-labels", &Status::Verified),
            ("test-images", &Status::Downloaded),
            ("test-labels", &Status::Verified),
        ]
    );
    assert_eq!(*asked.lock().unwrap(), ["test-images"]);
    assert_eq!(fs::read(path).unwrap(), content("test-images"));
}

/// Wrong bytes, a body that breaks off, one that never ends, and a refusal: nothing reaches the cache.
#[test]
fn a_bad_answer_is_not_kept() {
    type Answer = fn(&str) -> Vec<u8>;
    let answers: [(Answer, &str); 5] = [
        (
            |name| {
                let mut body = content(name);
                *body.last_mut().unwrap() ^= 1;
                ok(&body)
            },
            "found sha256",
        ),
        (|name| response("200 OK", content(name).len(), &content(name)[..5]), "broke off after 5 of"),
        (|name| ok(&content(name)[..5]), "found 5 bytes"),
        (|_| ok(&[0; 100_000]), "found more"),
        // Not "404" alone: a port can hold these digits.
        (|_| response("404 Not Found", 0, b""), "http status: 404"),
    ];
    for (answer, says) in answers {
        let folders = Folders::new();
        let (address, asked) = serve(answer);
        let error = folders.locations().load(&toy(&[&address])).unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        let text = error.to_string();
        assert_eq!(text.matches(says).count(), 4, "{says}: {text}");
        assert!(text.contains(&format!("{address}train-images: ")), "{text}");
        assert_eq!(asked.lock().unwrap().len(), 4);
        assert_eq!(files_under(&folders.cache()), [""; 0], "{says}");
    }
}

#[test]
fn the_next_mirror_helps_out() {
    let folders = Folders::new();
    let (lacking, _) = serve(|name| match name {
        "test-labels" => response("404 Not Found", 0, b""),
        _ => ok(&content(name)),
    });
    let (whole, asked) = serve(|name| ok(&content(name)));
    assert_eq!(folders.locations().load(&toy(&[NOBODY, &lacking, &whole])).unwrap().test.len(), 1);
    assert_eq!(*asked.lock().unwrap(), ["test-labels"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let folders = Folders::new();
    fs::write(folders.cache(), "a file where the folder should be").unwrap();
    let (address, _) = serve(|name| ok(&content(name)));
    let text = folders.locations().load(&toy(&[&address])).unwrap_err().to_string();
    let path = folders.cache().join("toy/train-images");
    assert!(text.contains(&format!("{}: could not be written", path.display())), "{text}");
}

/// Files that pass their digests but do not fit together: the manifest is wrong, and the file named.
#[test]
fn files_must_fit_the_manifest() {
    let folders = Folders::new();
    folders.fill(&folders.data());
    let fails = |manifest: Manifest, file: &str, says: &str| {
        let text = folders.locations().load(&manifest).unwrap_err().to_string();
        assert!(text.contains(file) && text.contains(says), "{text}");
    };
    fails(Manifest { image: [1, 3, 2], ..toy(&[]) }, "train-images", "images of 2×2, expected 1×3×2");
    fails(Manifest { classes: 2, ..toy(&[]) }, "train-labels", "class 2 of 2 classes");
    let mut swapped = toy(&[]);
    (swapped.files[1].part, swapped.files[3].part) = (Part::TestLabels, Part::TrainLabels);
    fails(swapped, "test-labels", "1 labels for 2 images");
    let mut turned = toy(&[]);
    (turned.files[0].part, turned.files[1].part) = (Part::TrainLabels, Part::TrainImages);
    fails(turned, "train-labels", "magic number");
}

#[test]
fn manifests_are_checked() {
    let good = format!(
        "name = 'm'\ntitle = ''\nclasses = 2\nimage = [1, 2, 2]\nlicence = ''\ncitation = ''\nurls = ['http://a/']\n{}",
        ["train-images", "train-labels", "test-images", "test-labels"]
            .map(|part| format!(
                "[[files]]\npart = '{part}'\nname = '{part}.gz'\nbytes = 1\nsha256 = '{}'\n",
                "0".repeat(64)
            ))
            .concat()
    );
    assert_eq!(Manifest::parse(&good).unwrap().files.len(), 4);
    for (from, to, says) in [
        ("name = 'm'", "name = '../m'", "names are of"),
        ("'train-labels.gz'", "'/etc/passwd'", "names are of"),
        ("'train-labels.gz'", "'..'", "names are of"),
        ("http://a/", "http://a", "with `/` at its end"),
        ("part = 'train-labels'", "part = 'train-images'", "exactly once"),
        ("sha256 = '0", "sha256 = 'G", "hexadecimal"),
        ("sha256 = '0", "sha256 = '", "hexadecimal"),
        ("title", "titel", "unknown field"),
        ("bytes = 1", "bytes = -1", "invalid value"),
    ] {
        let error = Manifest::parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn digits_need_no_files() {
    for report in [cl_data::locate("digits"), cl_data::verify("digits"), cl_data::fetch("digits")] {
        let report = report.unwrap();
        assert!(report.is_complete());
        assert_eq!(report.to_string(), "digits: part of the program, no files");
    }
    assert!(cl_data::verify("digit").is_err());
}
