//! Two results files beside each other: what a change in the code, in a coefficient or of the device did to each row.
//!
//! Runs are paired by suite, scenario, method and seed; those that only one file has are counted and left out. Their
//! configurations may differ: that may be what is looked at, and it is said.

use std::collections::BTreeMap;
use std::fmt;

use cl_core::{Error, Result};

use crate::paired::Mean;
use crate::results::Record;

/// What is compared if nothing else is asked for: the mean accuracy over all tasks in the end.
pub const METRIC: &str = "acc";

/// All rows that both files have, in the order of their names.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Of which metric.
    pub metric: String,
    /// One for each suite, scenario and method.
    pub rows: Vec<Row>,
    /// Runs that only the first file has, and only the second.
    pub alone: [usize; 2],
}

/// One row of a suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The suite.
    pub suite: String,
    /// The scenario.
    pub scenario: String,
    /// The method.
    pub method: String,
    /// How many seeds both files have.
    pub seeds: usize,
    /// The mean of each file.
    pub means: [Mean; 2],
    /// The second minus the first, seed by seed.
    pub difference: Mean,
    /// Whether their configurations are the same.
    pub same_config: bool,
}

impl Row {
    /// Whether the 95 % interval of the difference holds 0; of one seed there is none.
    pub fn within_noise(&self) -> Option<bool> {
        self.difference.half.map(|half| self.difference.mean.abs() <= half)
    }
}

impl Comparison {
    /// Of two files' runs.
    ///
    /// # Errors
    /// [`Error::Invalid`] where they have no run in common, or a run has no such metric.
    pub fn of(a: &[Record], b: &[Record], metric: &str) -> Result<Self> {
        let key = |run: &Record| (run.suite.clone(), run.scenario.clone(), run.method.clone(), run.seed);
        // Of several configurations of one row the last stands, as its author has come to it.
        let of = |runs: &[Record]| -> BTreeMap<_, Record> {
            runs.iter().map(|run| (key(run), run.clone())).collect()
        };
        let (a, b) = (of(a), of(b));
        let mut rows = BTreeMap::<_, Vec<(&Record, &Record)>>::new();
        for (key, run) in &a {
            if let Some(other) = b.get(key) {
                rows.entry((&key.0, &key.1, &key.2)).or_default().push((run, other));
            }
        }
        let paired: usize = rows.values().map(Vec::len).sum();
        if paired == 0 {
            let why = "the two files have no run of one suite, scenario, method and seed in common";
            return Err(Error::invalid("results", why));
        }
        let value = |run: &Record| {
            run.metrics.get(metric).copied().ok_or_else(|| {
                let there = run.metrics.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                Error::invalid("metric", format!("a run has no {metric:?}; there are {there}"))
            })
        };
        let rows = rows.into_iter().map(|((suite, scenario, method), pairs)| {
            let first = pairs.iter().map(|(a, _)| value(a)).collect::<Result<Vec<f64>>>()?;
            let second = pairs.iter().map(|(_, b)| value(b)).collect::<Result<Vec<f64>>>()?;
            let none = || Error::invalid("results", "a value is not finite");
            Ok(Row {
                suite: suite.clone(),
                scenario: scenario.clone(),
                method: method.clone(),
                seeds: pairs.len(),
                means: [Mean::of(&first).ok_or_else(none)?, Mean::of(&second).ok_or_else(none)?],
                difference: Mean::of_differences(&first, &second).ok_or_else(none)?,
                same_config: pairs.iter().all(|(a, b)| a.config.hash == b.config.hash),
            })
        });
        let alone = [a.len() - paired, b.len() - paired];
        Ok(Self { metric: metric.to_owned(), rows: rows.collect::<Result<_>>()?, alone })
    }
}

/// A table in Markdown, and what chance alone would do.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metric = &self.metric;
        writeln!(f, "| suite | scenario | method | seeds | {metric}, first | second | difference | |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            let verdict = match row.within_noise() {
                None => "one seed",
                Some(true) => "within noise",
                Some(false) => "beyond noise",
            };
            let config = if row.same_config { "" } else { ", other configuration" };
            let [first, second] = row.means.map(|mean| mean.text(1.0, 4, false));
            let difference = row.difference.text(1.0, 4, true);
            writeln!(
                f,
                "| {} | {} | {} | {} | {first} | {second} | {difference} | {verdict}{config} |",
                row.suite, row.scenario, row.method, row.seeds
            )?;
        }
        let told: Vec<bool> = self.rows.iter().filter_map(Row::within_noise).collect();
        let beyond = told.iter().filter(|within| !**within).count();
        write!(
            f,
            "\n± is half of a 95 % interval by Student's t; differences are seed by seed. {beyond} of {} are beyond it, of \
             equals 1 in 20 would be.",
            told.len()
        )?;
        match self.alone {
            [0, 0] => writeln!(f),
            [first, second] => {
                writeln!(f, " Left out: {first} runs only of the first file, {second} of the second.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(method: &str, seed: u64, acc: f64, lr: f64) -> Record {
        Record {
            suite: "split-digits".into(),
            scenario: "class".into(),
            method: method.into(),
            seed,
            config: crate::results::Config::new(serde_json::json!({ "lr": lr })),
            r: vec![vec![acc]],
            baseline: vec![0.1],
            metrics: [(METRIC.to_owned(), acc)].into(),
            bits: None,
            stability: None,
            device: None,
            train_seconds: 1.0,
            cpu_seconds: 1.0,
            samples_per_cpu_second: 1.0,
            peak_rss_bytes: 1,
            version: "0".into(),
        }
    }

    /// By hand: differences .1, .2, .3 have the mean .2 and the half width 4.303 · .1/√3 = .248; of .20, .21, .22 it is
    /// .025.
    #[test]
    fn pairs_are_of_one_seed() {
        let a: Vec<Record> = [
            ("ER", 0, 0.1),
            ("ER", 1, 0.2),
            ("ER", 2, 0.3),
            ("EWC", 0, 0.1),
            ("EWC", 1, 0.2),
            ("EWC", 2, 0.3),
        ]
        .map(|(method, seed, acc)| run(method, seed, acc, 1.0))
        .into();
        let b: Vec<Record> = [
            ("ER", 2, 0.6),
            ("ER", 1, 0.4),
            ("ER", 0, 0.2),
            ("ER", 7, 0.9),
            ("EWC", 0, 0.30),
            ("EWC", 1, 0.41),
            ("EWC", 2, 0.52),
            ("None", 0, 0.5),
        ]
        .map(|(method, seed, acc)| run(method, seed, acc, if method == "EWC" { 2.0 } else { 1.0 }))
        .into();
        let found = Comparison::of(&a, &b, METRIC).unwrap();
        assert_eq!(found.alone, [0, 2]);
        let [er, ewc] = found.rows.as_slice() else { panic!("{found}") };
        assert!((er.difference.mean - 0.2).abs() < 1e-12 && (er.means[1].mean - 0.4).abs() < 1e-12);
        assert_eq!((er.seeds, er.within_noise(), er.same_config), (3, Some(true), true));
        assert_eq!((ewc.within_noise(), ewc.same_config), (Some(false), false));
        insta::assert_snapshot!(found);

        let one = Comparison::of(&a[..1], &b, METRIC).unwrap();
        assert_eq!(one.rows[0].within_noise(), None);
        let error = Comparison::of(&a, &b[3..4], METRIC).unwrap_err().to_string();
        assert!(error.contains("in common"), "{error}");
        let error = Comparison::of(&a, &b, "accuracy").unwrap_err().to_string();
        assert!(error.contains("there are acc"), "{error}");
    }
}
