//! A small run on the digits that come with the build, and what the report says of it.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicBool;

use super::*;
use crate::experiment;

static GO: AtomicBool = AtomicBool::new(false);

fn small() -> Protocol {
    Protocol {
        data: "digits".into(),
        stored: vec![5, 60],
        betas: vec![1.0, 300.0],
        completed: 10,
        ..Protocol::default()
    }
}

#[test]
fn small_runs_are_pinned_and_the_report_is_this() {
    let dir = tempfile::tempdir().unwrap();
    let done = experiment::run(&small(), 2, dir.path(), &GO, &mut |_| {}).unwrap();
    insta::assert_snapshot!("report", done.study.markdown().replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    let html = done.study.html().unwrap();
    assert_eq!(html.matches("<svg").count(), 8, "three charts, each for two screens, and two drawings");
    for needs in ["<script", "<link", "@import", "src=", "NaN"] {
        assert!(!html.contains(needs), "{needs}");
    }
    // Once more: nothing is left to do, and the report is the same.
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

/// The control fills in the digit itself where its visible half is its own; what is off is counted.
#[test]
fn the_best_fit_is_the_digit_where_it_can_be_told() {
    let all = images("digits").unwrap();
    let digits = Digits::drawn(&all, 20, 60, 3).unwrap();
    let more = Digits::drawn(&all, 60, 60, 3).unwrap();
    assert!((0..20).all(|row| digits.image(row) == more.image(row)), "fewer are among more");
    let visible = digits.visible(Hidden::Lower, 3).unwrap();
    assert_eq!(visible, [[true; 32], [false; 32]].concat());
    assert_eq!(digits.visible(Hidden::Scattered, 3).unwrap().iter().filter(|&&v| v).count(), 32);
    let these: Vec<usize> = (0..20).collect();
    let found = digits.complete(Model::BestFit, &visible, &these, 3).unwrap().unwrap();
    let right = these.iter().filter(|&&row| digits.wrong(row, &found[row]) == 0.0).count();
    assert!(right >= 18, "{right}");
    let turned: Vec<f32> = digits.image(0).iter().map(|x| 1.0 - x).collect();
    assert!(digits.wrong(0, &turned) > 0.5);
    assert!(Digits::drawn(&all, 3, 1_000_000, 0).is_err());
}
