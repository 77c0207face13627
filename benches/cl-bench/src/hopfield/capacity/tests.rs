//! Small runs whose numbers are pinned, resuming, and what the report says.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicBool;

use super::*;
use crate::experiment::{self, Done};
use crate::results::{FILE_NAME, Lines};

static GO: AtomicBool = AtomicBool::new(false);

fn small() -> Protocol {
    Protocol {
        units: vec![50, 100],
        loads: vec![0.08, 0.12, 0.16, 0.3],
        recalled: 4,
        polynomial: vec![(2, vec![40, 80]), (3, vec![15, 30]), (4, vec![8, 12])],
        updated: 20,
        exponential: vec![12],
        sharpness: vec![1.0, 16.0],
        sharpness_patterns: (8, 50),
        dimensions: vec![4, 16],
        numbers: vec![10, 100],
        retrieved: 5,
        ..Protocol::default()
    }
}

fn run(dir: &std::path::Path, seeds: u64, say: &mut dyn FnMut(&str)) -> Done {
    experiment::run(&small(), seeds, dir, &GO, say).unwrap()
}

/// A change of a number here is a change of every result.
#[test]
fn small_runs_are_pinned_and_the_report_is_this() {
    let dir = tempfile::tempdir().unwrap();
    let done = run(dir.path(), 2, &mut |_| {});
    let markdown = done.study.markdown().replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!("report", markdown);
    let written = done.study.write(dir.path()).unwrap();
    assert_eq!(std::fs::read_to_string(written.markdown).unwrap(), done.study.markdown());
    let html = std::fs::read_to_string(written.html).unwrap();
    assert_eq!(html.matches("<svg").count(), 10, "five charts, each for a wide and a narrow screen");
    for needs in ["<script", "<link", "@import", "src=", "NaN"] {
        assert!(!html.contains(needs), "{needs}");
    }
    for tag in ["table", "section", "figure", "div", "svg", "dl", "main"] {
        let (open, close) =
            (html.matches(&format!("<{tag}")).count(), html.matches(&format!("</{tag}>")).count());
        assert_eq!(open, close, "{tag}");
    }
}

/// What is stored is not run again, more seeds are added to it, and the numbers are those of one go.
#[test]
fn goes_on_where_it_stopped() {
    let (dir, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let parts = small().parts().len();
    let first = run(dir.path(), 1, &mut |_| {});
    assert_eq!((first.made, first.found, first.interrupted), (parts, 0, false));
    // Torn by an interrupted write.
    let path = dir.path().join(FILE_NAME);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
    let mut said = Vec::new();
    let more = run(dir.path(), 2, &mut |line| said.push(line.to_owned()));
    assert_eq!((more.made, more.found), (parts + 1, parts - 1));
    assert!(said[0].contains("torn") && said.len() == parts + 2, "{said:?}");
    assert_eq!(more.study.text(), run(whole.path(), 2, &mut |_| {}).study.text());
    let fewer = run(dir.path(), 1, &mut |_| {});
    assert_eq!((fewer.made, fewer.found), (0, parts));
    assert_eq!(fewer.study.text(), first.study.text());

    // Another protocol is another run.
    let other = Protocol { recalled: 3, ..small() };
    assert_eq!(experiment::run(&other, 1, dir.path(), &GO, &mut |_| {}).unwrap().made, parts);
}

#[test]
fn stops_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(true);
    let done = experiment::run(&small(), 1, dir.path(), &stop, &mut |_| {}).unwrap();
    assert_eq!((done.made, done.interrupted), (0, true));
    assert!(done.study.text().contains("not run"), "{}", done.study.text());
    assert!(done.study.claims().iter().all(|claim| claim.holds.is_none()));
    done.study.html().unwrap();
}

/// A result without its numbers, or with some that JSON does not know, is refused.
#[test]
fn bad_results_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 1, &mut |_| {});
    let (mut runs, _) = Lines::<Run<Part>>::read(dir.path().join(FILE_NAME)).unwrap();
    runs[0].values.clear();
    let error = experiment::study(&small(), 1, &runs).unwrap_err().to_string();
    assert!(error.contains("it has no `overlap`"), "{error}");
    runs[1].values.insert("overlap".into(), vec![f64::NAN]);
    let other = tempfile::tempdir().unwrap();
    let (mut lines, _) = Lines::<Run<Part>>::open(other.path()).unwrap();
    assert!(lines.append(&runs[1]).unwrap_err().to_string().contains("not finite"));
    // The results of a table of accuracies.
    std::fs::write(dir.path().join(FILE_NAME), "{\"suite\":\"split-mnist\",\"seed\":0}\n").unwrap();
    let error = experiment::run(&small(), 1, dir.path(), &GO, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("line 1 is not a result"), "{error}");
}

/// A verdict is taken from the numbers: with others it is another.
#[test]
fn claims_follow_the_numbers() {
    let protocol = Protocol { units: vec![500, 1000], loads: vec![0.10, 0.12, 0.16, 0.18, 0.20], ..small() };
    let verdicts = |overlap: &dyn Fn(usize, f64) -> f64, slope: f64, [wrong, near]: [f64; 2]| {
        let run = |part: Part| {
            let value = match part {
                Part::Overlap { units, load } => overlap(units, load),
                Part::Capacity { units, .. } => (units as f64).powf(slope),
                Part::Exponential { .. } => wrong,
                Part::Continuous { .. } => 0.0,
            };
            let names: &[&str] = match part {
                Part::Overlap { .. } => &["overlap"],
                Part::Capacity { .. } => &["capacity"],
                Part::Exponential { .. } => &["wrong", "nearest"],
                Part::Continuous { .. } => &["error", "bound"],
            };
            let of = |name: &str| if name == "nearest" { near } else { value };
            let values = names.iter().map(|name| ((*name).to_owned(), vec![of(name); 20])).collect();
            Run {
                suite: Protocol::NAME.into(),
                part,
                seed: 0,
                config: crate::results::Config::new(serde_json::to_value(&protocol).unwrap()),
                values,
                pictures: Default::default(),
                cpu_seconds: 0.0,
                version: "0".into(),
            }
        };
        let runs: Vec<_> = protocol.parts().into_iter().map(run).collect();
        let study = experiment::study(&protocol, 1, &runs).unwrap();
        study.claims().iter().map(|claim| claim.holds.unwrap()).collect::<Vec<_>>()
    };
    let falls = |units: usize, load: f64| {
        let edge = 100.0 / units as f64;
        if load < 0.138 { theory::overlap(load) - 0.004 } else { 0.4 + edge }
    };
    // Held, lost, as theory, sharper; slopes of degrees 2, 3 and 4 with a hundredth of the bits, and with none; the exponential.
    let good = verdicts(&falls, 2.0, [0.0, 1.0]);
    assert_eq!(good[..10], [true, true, true, true, false, true, false, false, true, false]);
    let exponential = |wrong, near| verdicts(&falls, 2.0, [wrong, near])[10];
    assert!(exponential(0.0, 2.0) && !exponential(1.0, 2.0) && !exponential(0.0, 1.0));
    let bad = verdicts(&|_, load| 0.98 - load, 1.1, [1.0, 2.0]);
    assert_eq!(bad[..10], [false, false, false, false, true, false, false, true, false, false]);
}
