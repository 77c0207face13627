//! A small run whose numbers are pinned, resuming, and what the report says.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicBool;

use super::*;
use crate::results::FILE_NAME;

static GO: AtomicBool = AtomicBool::new(false);

fn small(out: &std::path::Path, seeds: u64) -> Options {
    Options { seeds, out: out.into(), protocol: Protocol { states: (2, 5), ..Protocol::default() } }
}

fn outcome(states: usize, representation: Representation, strategy: Strategy, seed: u64) -> Outcome {
    learn(Walk { states }, representation, strategy, &Protocol::default(), seed, &GO).unwrap()
}

/// Updates of every strategy: a change of a number here is a change of every result.
#[test]
fn small_walks_are_pinned() {
    let mut table = String::new();
    for (representation, strategy) in cells() {
        let updates: Vec<u64> = [2, 3, 5, 7]
            .into_iter()
            .flat_map(|states| [0, 1].map(|seed| outcome(states, representation, strategy, seed).updates))
            .collect();
        table += &format!("{} {}: {updates:?}\n", representation.name(), strategy.name());
    }
    insta::assert_snapshot!(table);
}

/// The oracle of a table is not beaten by any order: it needs no more updates than the others, seed by seed.
/// Uniform replay is beaten by all.
#[test]
fn the_order_is_that_of_the_paper() {
    for seed in 0..3 {
        let updates = |strategy| outcome(8, Representation::Tabular, strategy, seed).updates;
        let [uniform, oracle, greedy, rank, proportional] = Strategy::ALL.map(updates);
        for prioritized in [greedy, rank, proportional] {
            assert!(oracle < prioritized && 3 * prioritized < uniform, "{prioritized}");
        }
    }
}

/// Two opposite errors of one action, and no update reduces one without increasing the others by more.
#[test]
fn the_linear_oracle_gets_stuck() {
    let stuck = outcome(10, Representation::Linear, Strategy::Oracle, 0);
    assert_eq!(stuck.end, End::Stuck);
    assert_eq!(outcome(10, Representation::Tabular, Strategy::Oracle, 0).end, End::Learned);
}

#[test]
fn a_run_is_given_up_at_the_cap() {
    let protocol = Protocol { most_updates_per_transition: 1, ..Protocol::default() };
    let walk = Walk { states: 4 };
    let end = learn(walk, Representation::Tabular, Strategy::Uniform, &protocol, 0, &GO).unwrap();
    assert_eq!(end, Outcome { states: 4, updates: walk.transitions() as u64, end: End::Capped });
}

/// What is stored is not run again, more seeds are added to it, and the numbers are those of one go.
#[test]
fn goes_on_where_it_stopped() {
    let (dir, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let numbers = |done: &Done| done.findings.text();
    let first = run(&small(dir.path(), 1), &GO, &mut |_| {}).unwrap();
    assert_eq!((first.made, first.found, first.interrupted), (10, 0, false));
    // Torn by an interrupted write.
    let path = dir.path().join(FILE_NAME);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
    let mut said = Vec::new();
    let more = run(&small(dir.path(), 2), &GO, &mut |line| said.push(line.to_owned())).unwrap();
    assert_eq!((more.made, more.found), (11, 9));
    assert!(said[0].contains("torn") && said.len() == 12, "{said:?}");
    let at_once = run(&small(whole.path(), 2), &GO, &mut |_| {}).unwrap();
    assert_eq!(numbers(&more), numbers(&at_once));
    let fewer = run(&small(dir.path(), 1), &GO, &mut |_| {}).unwrap();
    assert_eq!((fewer.made, fewer.found), (0, 10));
    assert_eq!(numbers(&fewer), numbers(&first));

    // Another protocol is another run.
    let other = Protocol { states: (2, 3), alpha_rank: 0.5, ..Protocol::default() };
    let other = Options { protocol: other, ..small(dir.path(), 1) };
    assert_eq!(run(&other, &GO, &mut |_| {}).unwrap().made, 10);
}

#[test]
fn stops_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let done = run(&small(dir.path(), 1), &AtomicBool::new(true), &mut |_| {}).unwrap();
    assert_eq!((done.made, done.interrupted), (0, true));
    assert!(done.findings.text().contains("not run"), "{}", done.findings.text());
    assert!(done.findings.claims().iter().all(|claim| claim.holds.is_none()));
}

#[test]
fn bad_input_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for states in [(0, 4), (5, 4), (2, 17)] {
        let protocol = Protocol { states, ..Protocol::default() };
        let options = Options { protocol, ..small(dir.path(), 1) };
        assert!(run(&options, &GO, &mut |_| {}).unwrap_err().to_string().contains("states"));
    }
    // The results of a table of accuracies.
    std::fs::write(dir.path().join(FILE_NAME), "{\"suite\":\"split-mnist\",\"seed\":0}\n").unwrap();
    let error = run(&small(dir.path(), 1), &GO, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("line 1 is not a result"), "{error}");
}

#[test]
fn the_report_is_this() {
    let dir = tempfile::tempdir().unwrap();
    let done = run(&small(dir.path(), 3), &GO, &mut |_| {}).unwrap();
    insta::assert_snapshot!("report", done.findings.markdown().replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    let written = done.findings.write(dir.path()).unwrap();
    assert_eq!(std::fs::read_to_string(written.markdown).unwrap(), done.findings.markdown());
    let html = std::fs::read_to_string(written.html).unwrap();
    for needs in ["<script", "<link", "@import", "src="] {
        assert!(!html.contains(needs), "{needs}");
    }
    assert_eq!(html.matches("<svg").count(), 4, "two charts, each for a wide and a narrow screen");
    for tag in ["table", "section", "figure", "div", "svg", "dl", "main"] {
        let (open, close) =
            (html.matches(&format!("<{tag}")).count(), html.matches(&format!("</{tag}>")).count());
        assert_eq!(open, close, "{tag}");
    }
}
