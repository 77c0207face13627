//! The data sets themselves.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use cl_core::Error;
use cl_data::{ClassOrder, DataSet, Samples, Scenario, idx, load, manifest, manifests, names, split};
use sha2::{Digest, Sha256};

fn counts(samples: &Samples) -> Vec<usize> {
    let mut counts = vec![0; 10];
    samples.labels().unwrap().iter().for_each(|&class| counts[class as usize] += 1);
    counts
}

fn inputs(samples: &Samples) -> Vec<Vec<f32>> {
    samples.x.to_vec2().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn names_are_listed() {
    assert_eq!(names(), ["digits", "mnist", "fashion-mnist"]);
    let error = load("cifar").unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }));
    assert_eq!(error.to_string(), "data set: `cifar` is not one of digits, mnist, fashion-mnist");
    for manifest in manifests() {
        assert!(!manifest.licence.is_empty() && !manifest.citation.is_empty() && !manifest.urls.is_empty());
    }
}

/// The split is documented and fixed: a change would make all stored results on it worthless.
#[test]
fn digits_are_pinned() {
    let digits = load("digits").unwrap();
    assert_eq!((digits.classes, digits.image), (10, [1, 8, 8]));
    assert_eq!((digits.train.len(), digits.test.len(), digits.train.features()), (1442, 355, 64));
    assert_eq!(counts(&digits.train), [143, 146, 142, 147, 145, 146, 145, 144, 140, 144]);
    assert_eq!(counts(&digits.test), [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]);
    let first = [0., 0., 5., 13., 9., 1., 0., 0., 0., 0., 13., 15., 10., 15., 5., 0.];
    assert_eq!(inputs(&digits.train)[0][..16], first.map(|v: f32| v / 16.));
    let bytes = |samples: &Samples| -> Vec<u8> {
        let x = inputs(samples).into_iter().flatten().map(|v| (v * 16.) as u8);
        x.chain(samples.labels().unwrap().into_iter().map(|y| y as u8)).collect()
    };
    let (train, test) = (bytes(&digits.train), bytes(&digits.test));
    assert_eq!(hex(&train), "d5517839a928f2d0aebc063963464d2eaf573b1e32a2a1a29581cc93bb7fb97b");
    assert_eq!(hex(&test), "dffb3bbc3bee43a253e1a27dcd91eed7938a7aa43dbb1099812cb3e7392d9b1c");
    assert!(inputs(&digits.train).iter().flatten().all(|v| (0. ..=1.).contains(v)));
}

#[test]
fn normalised_is_affine() {
    let digits = load("digits").unwrap();
    let normal = digits.clone().normalised(0.25, 0.5).unwrap();
    for (old, new) in [(&digits.train, &normal.train), (&digits.test, &normal.test)] {
        for (old, new) in inputs(old).iter().flatten().zip(inputs(new).iter().flatten()) {
            assert_eq!(*new, (old - 0.25) / 0.5);
        }
        assert_eq!(old.labels().unwrap(), new.labels().unwrap());
    }
    for (mean, std) in [(0., 0.), (0., -1.), (f32::NAN, 1.), (0., f32::INFINITY)] {
        assert!(matches!(digits.clone().normalised(mean, std), Err(Error::Invalid { .. })));
    }
}

#[test]
fn padded_adds_a_border_of_zeros() {
    let digits = load("digits").unwrap();
    let padded = digits.clone().padded(2).unwrap();
    assert_eq!((padded.image, padded.test.features()), ([1, 12, 12], 144));
    for (old, new) in inputs(&digits.train).iter().zip(inputs(&padded.train)).take(50) {
        for (i, &value) in new.iter().enumerate() {
            let inside = (2..10).contains(&(i / 12)) && (2..10).contains(&(i % 12));
            assert_eq!(value, if inside { old[(i / 12 - 2) * 8 + i % 12 - 2] } else { 0. });
        }
    }
    assert_eq!(inputs(&digits.clone().padded(0).unwrap().test), inputs(&digits.test));

    // Two channels: each gets its own border.
    let two = DataSet { image: [2, 4, 8], ..digits.clone() }.padded(1).unwrap();
    assert_eq!(two.image, [2, 6, 10]);
    let (old, new) = (&inputs(&digits.train)[3], &inputs(&two.train)[3]);
    assert_eq!(new[60 + 11..60 + 19], old[32..40]);
    assert!(new[50..71].iter().all(|&v| v == 0.));
    assert!(DataSet { image: [1, 28, 28], ..digits }.padded(2).is_err());
}

/// Whether the real files of a data set are here, or a line that says that the test did without.
fn real_files(name: &str) -> bool {
    let here = std::env::var_os("CL_DATA_DIR").is_some_and(|folder| Path::new(&folder).join(name).is_dir());
    if !here {
        eprintln!("skipped: needs the folder {name} in CL_DATA_DIR");
    }
    here
}

#[test]
fn mnist_and_fashion_mnist() {
    for (name, first, sum) in
        [("mnist", [5, 0, 4, 1, 9], 0.13066), ("fashion-mnist", [9, 0, 0, 3, 0], 0.28604)]
    {
        if !real_files(name) {
            continue;
        }
        let data = load(name).unwrap();
        assert_eq!((data.train.len(), data.test.len()), (60_000, 10_000));
        assert_eq!((data.train.features(), data.classes, data.image), (784, 10, [1, 28, 28]));
        assert_eq!(data.train.labels().unwrap()[..5], first);
        let largest = data.train.x.max_all().unwrap().to_scalar::<f32>().unwrap();
        assert_eq!(largest, 1.0);
        // The well-known means of the training pixels: .1307 and .2860.
        let x = data.train.x.to_dtype(candle_core::DType::F64).unwrap();
        let mean = x.mean_all().unwrap().to_scalar::<f64>().unwrap();
        assert!((mean - sum).abs() < 1e-5, "{mean}");

        let stream = split(&data, 5, Scenario::Task, ClassOrder::Shuffled(2)).unwrap();
        assert_eq!(stream.name, format!("split-{name}"));
        assert_eq!(stream.tasks.iter().map(|task| task.train.len()).sum::<usize>(), 60_000);
        assert_eq!(stream.tasks.iter().map(|task| task.test.len()).sum::<usize>(), 10_000);
    }
}

#[test]
fn decoded_files_are_the_canonical_ones() {
    if !real_files("mnist") {
        return;
    }
    let report = cl_data::verify("mnist").unwrap();
    assert!(report.is_complete(), "{report}");
    let path = |name: &str| {
        let file = report.files.iter().find(|file| file.name.starts_with(name)).unwrap();
        file.path.clone().unwrap()
    };
    // Of the uncompressed file, header included.
    let images = idx::read_images(path("t10k-images")).unwrap();
    let header = [0x803, images.count as u32, images.rows as u32, images.columns as u32];
    let plain: Vec<u8> = header.into_iter().flat_map(u32::to_be_bytes).chain(images.pixels).collect();
    assert_eq!(hex(&plain), "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7");
    let labels = idx::read_labels(path("t10k-labels")).unwrap();
    let plain: Vec<u8> = [0x801, 10_000_u32].into_iter().flat_map(u32::to_be_bytes).chain(labels).collect();
    assert_eq!(hex(&plain), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2");
    assert!(manifest("mnist").unwrap().files.iter().all(|file| file.bytes > 0));
}
