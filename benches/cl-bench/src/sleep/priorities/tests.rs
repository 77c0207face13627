//! A small run on the digits that come with the build, and what the report says of it.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicBool;

use super::*;
use crate::experiment;

static GO: AtomicBool = AtomicBool::new(false);

fn small() -> Protocol {
    Protocol {
        data: "digits".into(),
        hidden: 20,
        sizes: Sizes { list: 20, lists: 3, day: 60, exam: 50 },
        ..Protocol::default()
    }
}

#[test]
fn small_runs_are_pinned_and_the_report_is_this() {
    let dir = tempfile::tempdir().unwrap();
    let done = experiment::run(&small(), 2, dir.path(), &GO, &mut |_| {}).unwrap();
    insta::assert_snapshot!("report", done.study.markdown().replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    done.study.html().unwrap();
    let again = experiment::run(&small(), 2, dir.path(), &GO, &mut |_| {}).unwrap();
    assert_eq!((again.made, again.study.text()), (0, done.study.text()));
}

#[test]
fn stops_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let done = experiment::run(&small(), 1, dir.path(), &AtomicBool::new(true), &mut |_| {}).unwrap();
    assert_eq!((done.made, done.interrupted), (0, true));
    assert!(done.study.claims().iter().all(|claim| claim.holds.is_none()));
    done.study.html().unwrap();
}

/// The days, nights and exams of a stream are the same whatever is replayed: only then are runs of one seed pairs.
#[test]
fn a_stream_is_a_function_of_its_seed() {
    let images = images("digits").unwrap();
    let sizes = small().sizes;
    for of in Of::ALL {
        let days = |seed| -> Vec<Vec<f32>> {
            let stream = Stream::new(of, &images, &sizes, seed).unwrap();
            let x = |segment: &Segment| segment.samples.x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            stream.segments.iter().map(x).collect()
        };
        assert_eq!(days(3), days(3));
        assert_ne!(days(3), days(4));
        let stream = Stream::new(of, &images, &sizes, 3).unwrap();
        for segment in &stream.segments {
            let n = segment.samples.len();
            assert_eq!((segment.salience.len(), segment.importance.len()), (n, n));
            assert!(segment.samples.labels().unwrap().iter().all(|y| *y < 10));
        }
        let tags: f32 = stream.segments.iter().flat_map(|segment| &segment.salience).sum();
        assert_eq!(tags, if of == Of::Tagged { 30.0 } else { 0.0 });
    }
}
