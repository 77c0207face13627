//! The committed results: the tables made from them, and the README's.
//!
//! `UPDATE_README=1 cargo test -p cl-bench --test committed` writes the README's tables anew.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use cl_bench::report::Report;
use cl_bench::runner::{self, Options};
use cl_bench::{results, suites};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The report of the committed runs of a suite, each row of which has at least so many seeds.
fn report(suite: &str, at_least: u64) -> Report {
    let suite = suites::suite(suite).unwrap();
    let (records, torn) =
        results::read(root().join(format!("benches/results/{}.jsonl", suite.name))).unwrap();
    assert!(torn.is_none());
    let report = runner::stored(&suite, &records, &Options::default()).unwrap();
    let mut of_this_configuration = 0;
    for table in &report.tables {
        for row in &table.rows {
            let (method, scenario, seeds) = (&row.method, &table.scenario, row.records.len());
            assert!(seeds as u64 >= at_least, "{method}, {scenario}: {seeds} seeds of this configuration");
            of_this_configuration += seeds;
        }
    }
    assert_eq!(records.len(), of_this_configuration, "runs of another configuration are committed too");
    report
}

/// The text between two markers of the README.
fn check_readme(name: &str, table: &str) {
    let path = root().join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- table: {name} -->\n");
    let start = readme.find(&begin).unwrap_or_else(|| panic!("the README has no {begin}")) + begin.len();
    let end = start + readme[start..].find("<!-- end -->").unwrap();
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, format!("{}{table}{}", &readme[..start], &readme[end..])).unwrap();
        return;
    }
    assert_eq!(
        &readme[start..end],
        table,
        "the README's table {name} is not that of the results; UPDATE_README=1"
    );
}

/// A verified published number that the committed results miss; with the cause, where one is known.
const KNOWN: &[(&str, &str, &str)] = &[];

fn missed(report: &Report) -> Vec<(String, String, String)> {
    let missed = report.verdicts().unwrap().into_iter().filter(|(_, _, verdict)| verdict.is_missed());
    missed.map(|(scenario, method, verdict)| (scenario, method, verdict.to_string())).collect()
}

#[test]
fn speed() {
    let speed = std::fs::read_to_string(root().join("benches/results/speed.md")).unwrap();
    let table = &speed[speed.find("| case |").unwrap()..];
    assert!(!table.contains("missed"), "{table}");
    check_readme("speed", table);
}

#[test]
fn split_mnist() {
    let report = report("split-mnist", 10);
    assert_eq!(missed(&report), []);
    check_readme("split-mnist", &report.summary().unwrap());
}

#[test]
fn split_mnist_hsu() {
    let report = report("split-mnist-hsu", 5);
    let expected: Vec<_> =
        KNOWN.iter().map(|&(scenario, method, by)| (scenario.into(), method.into(), by.into())).collect();
    assert_eq!(missed(&report), expected);
    check_readme("split-mnist-hsu", &report.summary().unwrap());
}
