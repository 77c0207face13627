//! The rows of our own tables, from the committed runs.

use std::collections::BTreeMap;

use cl_core::{Error, Result};
use cl_metrics::Summary;

use crate::report::{self, Report};
use crate::results::{self, Record};
use crate::runner::{self, Options};
use crate::suites::{self, Setting, Suite};

/// A suite and its committed runs: a line for each table that the tree names.
const COMMITTED: &[(&str, &str)] = &[
    ("split-mnist", include_str!("../../../results/split-mnist.jsonl")),
    ("split-mnist-hsu", include_str!("../../../results/split-mnist-hsu.jsonl")),
    ("gem-rotations", include_str!("../../../results/gem-rotations.jsonl")),
    ("der-rotated", include_str!("../../../results/der-rotated.jsonl")),
    ("gss-disjoint", include_str!("../../../results/gss-disjoint.jsonl")),
    ("gss-permuted", include_str!("../../../results/gss-permuted.jsonl")),
    ("agem-permuted", include_str!("../../../results/agem-permuted.jsonl")),
    ("er-tiny", include_str!("../../../results/er-tiny.jsonl")),
    ("mer", include_str!("../../../results/mer.jsonl")),
    ("mnist-360", include_str!("../../../results/mnist-360.jsonl")),
    ("cls-er", include_str!("../../../results/cls-er.jsonl")),
];

/// A row of one of our tables. Accuracies are final averages over tasks, in percent, over seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The suite.
    pub suite: String,
    /// `task`, `domain` or `class`.
    pub scenario: String,
    /// The row's name in the table.
    pub row: String,
    /// What was measured.
    pub ours: Summary,
    /// The same table where nothing is done against forgetting, if it has such a row.
    pub lower: Option<Summary>,
    /// The same table where all tasks are trained on at once, if it has such a row.
    pub upper: Option<Summary>,
    /// Samples of the stream per second of processor time, as a multiple of those of the lower bound: medians
    /// over seeds. `None` too where that was trained by another protocol.
    pub speed: Option<f64>,
}

/// The tables that were asked for, each read once.
#[derive(Default)]
pub(super) struct Tables(BTreeMap<String, (Suite, Report)>);

impl Tables {
    pub(super) fn row(&mut self, suite: &str, scenario: &str, row: &str) -> Result<Measured> {
        if !self.0.contains_key(suite) {
            self.0.insert(suite.to_owned(), table(suite)?);
        }
        let (of, report) = &self.0[suite];
        let missing =
            || Error::invalid("measured row", format!("{suite} has no runs of {row:?} in {scenario}"));
        let table = report.tables.iter().find(|table| table.scenario == scenario).ok_or_else(missing)?;
        let runs = |name: &str| {
            table.rows.iter().find(|row| row.method == name).filter(|row| !row.records.is_empty())
        };
        let (found, setting) = (runs(row).ok_or_else(missing)?, setting(of, row));
        // The bound of the same protocol, or of one that trains as long, or the first.
        let bound = |method: &str| {
            let rows = of.rows.iter().filter(|row| row.method == method).filter_map(|row| runs(row.name));
            rows.min_by_key(|row| far(setting, self::setting(of, &row.method)))
        };
        let (lower, upper) = (bound("None"), bound("Joint"));
        // A row that has its own protocol in everything is not slower or faster for its method.
        let alike = lower.filter(|row| far(setting, self::setting(of, &row.method)) < 2);
        let slower = |lower: &report::Row| speed(&found.records) / speed(&lower.records);
        Ok(Measured {
            suite: suite.to_owned(),
            scenario: scenario.to_owned(),
            row: row.to_owned(),
            ours: accuracy(&found.records)?,
            lower: lower.map(|row| accuracy(&row.records)).transpose()?,
            upper: upper.map(|row| accuracy(&row.records)).transpose()?,
            speed: alike.map(slower),
        })
    }
}

fn table(name: &str) -> Result<(Suite, Report)> {
    let committed = COMMITTED.iter().find(|(suite, _)| *suite == name);
    let Some((_, text)) = committed else {
        let names = COMMITTED.iter().map(|(suite, _)| *suite).collect::<Vec<_>>().join(", ");
        return Err(Error::invalid(
            "measured row",
            format!("no runs of {name:?} are committed; there are {names}"),
        ));
    };
    let (suite, records) = (suites::suite(name)?, results::embedded(&format!("{name}.jsonl"), text)?);
    let report = runner::stored(&suite, &records, &Options::default())?;
    Ok((suite, report))
}

fn setting<'s>(suite: &'s Suite, row: &str) -> &'s Setting {
    let own = suite.rows.iter().find(|of| of.name == row).and_then(|of| of.setting.as_ref());
    own.unwrap_or(&suite.setting)
}

fn far(one: &Setting, other: &Setting) -> u8 {
    match () {
        () if one == other => 0,
        () if one.protocol.budget == other.protocol.budget => 1,
        () => 2,
    }
}

fn accuracy(records: &[Record]) -> Result<Summary> {
    let accuracy = cl_metrics::metric("acc").ok_or_else(|| Error::invalid("metric", "there is no acc"))?;
    let none = || Error::invalid("measured row", "a run without a final accuracy");
    let of = |record: &Record| accuracy.of(&record.r_matrix()?).ok_or_else(none);
    Ok(Summary::of(&records.iter().map(of).collect::<Result<Vec<_>>>()?)?.percent())
}

fn speed(records: &[Record]) -> f64 {
    let mut speeds: Vec<_> = records.iter().map(|record| record.samples_per_cpu_second).collect();
    speeds.sort_by(f64::total_cmp);
    speeds[speeds.len() / 2]
}
