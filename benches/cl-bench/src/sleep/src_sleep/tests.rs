//! A small run on the digits that come with the build, and what the report says of it.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicBool;

use super::*;
use crate::experiment;

static GO: AtomicBool = AtomicBool::new(false);

fn small() -> Protocol {
    let training = Protocol::default().training;
    Protocol {
        data: "digits".into(),
        images: 100,
        training: cl_methods::Protocol {
            hidden: vec![40, 40],
            batch: 10,
            weights: Weights::Xavier,
            ..training
        },
        method: json!({ "steps": 200, "more": 100, "window": { "image": [1, 8, 8], "side": 4 } }),
        ..Protocol::default()
    }
}

#[test]
fn small_runs_are_pinned_and_the_report_is_this() {
    let dir = tempfile::tempdir().unwrap();
    let done = experiment::run(&small(), 2, dir.path(), &GO, &mut |_| {}).unwrap();
    insta::assert_snapshot!("report", done.study.markdown().replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    let html = done.study.html().unwrap();
    assert_eq!(html.matches("<svg").count(), 4, "two charts, each for two screens");
    assert!(!html.contains("NaN"));
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

/// Until the first sleep both are the same run; what is measured before a sleep is not what is measured after.
#[test]
fn control_and_sleep_part_with_the_first_sleep() {
    let (control, sleep) =
        (small().measure(&Part::Control, 3).unwrap(), small().measure(&Part::Sleep, 3).unwrap());
    let (control, before, after) =
        (&control.values["after"], &sleep.values["before"], &sleep.values["after"]);
    assert_eq!([control.len(), before.len(), after.len()], [25; 3]);
    assert_eq!(control[..5], before[..5]);
    assert_ne!(before[..5], after[..5]);
    assert_ne!(control[5..10], before[5..10]);
    let joint = small().measure(&Part::Joint, 3).unwrap();
    assert_eq!((joint.values["after"].len(), &joint.values["test images"]), (1, &vec![355.0]));
}
