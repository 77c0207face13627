//! Means over seeds, what was asked and whether it holds, and the pictures.

use std::path::Path;

use cl_core::{Error, Result};

use super::{Measure, Row, Run, Suite};
use crate::report::Written;
use crate::report::study::{Chart, Claim, Picture, Section, Study};
use crate::report::svg::{self, Axis, Point, Series};
use crate::report::view::{Column, Grid, Line};
use crate::results::Config;

/// Where claims stand that are in no paper.
const OURS: &str = "an aim of ours";

/// The stored runs of a suite's protocols, over seeds.
pub struct Findings {
    suite: &'static Suite,
    seeds: u64,
    rows: Vec<(&'static Row, Vec<Run>)>,
}

impl Findings {
    /// Of the runs of these protocols with a seed below `seeds`; others are left out.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a run without a measured number.
    pub fn of(suite: &'static Suite, seeds: u64, runs: &[Run]) -> Result<Self> {
        let mut rows = Vec::new();
        for row in suite.rows {
            let config = Config::new((row.protocol)()?);
            let mut of_row: Vec<Run> = runs
                .iter()
                .filter(|run| run.suite == suite.name && run.row == row.name && run.seed < seeds)
                .filter(|run| run.config.hash == config.hash)
                .cloned()
                .collect();
            of_row.sort_by_key(|run| run.seed);
            for run in &of_row {
                if let Some(missing) =
                    suite.measures.iter().find(|m| !run.learned.measured.contains_key(m.name))
                {
                    return Err(Error::invalid(
                        run.to_string(),
                        format!("`{}` was not measured", missing.name),
                    ));
                }
            }
            rows.push((row, of_row));
        }
        Ok(Self { suite, seeds, rows })
    }

    /// The tables, for the terminal.
    pub fn text(&self) -> String {
        self.study().text()
    }

    /// The whole report but for the pictures, as Markdown.
    pub fn markdown(&self) -> String {
        self.study().markdown()
    }

    /// One small table for a README.
    pub fn summary(&self) -> String {
        let mut out = String::new();
        crate::report::markdown::grid(&mut out, &self.table());
        out
    }

    /// Writes `report.md` and `report.html` into the folder, each whole or not at all.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn write(&self, dir: &Path) -> Result<Written> {
        self.study().write(dir)
    }

    /// What is asked, in order.
    pub fn claims(&self) -> Vec<Claim> {
        let mut claims = Vec::new();
        for (row, runs) in &self.rows {
            let complete = runs.len() as u64 == self.seeds;
            for measure in self.suite.measures {
                let Some(asked) = measure.asked.filter(|_| asked_of(measure, row)) else { continue };
                let values = values(measure, runs);
                let all = values.iter().all(|value| asked.holds(*value));
                claims.push(Claim {
                    source: OURS.into(),
                    text: format!("{}: {}", row.name, measure.name),
                    asked: asked.to_string(),
                    found: spread(&values).unwrap_or_else(|| "no runs".into()),
                    // One that misses it decides, whatever is still to come.
                    holds: (complete || !all).then_some(all),
                });
            }
            let left_out: u64 = runs.iter().map(|run| run.learned.not_finite).sum();
            claims.push(Claim {
                source: OURS.into(),
                text: format!("{}: steps with a number that is not finite", row.name),
                asked: "none in any run".into(),
                found: left_out.to_string(),
                holds: (complete || left_out > 0).then_some(left_out == 0),
            });
        }
        claims
    }

    /// Means over seeds.
    fn table(&self) -> Grid {
        let number = |name: &str| Column { name: name.into(), numeric: true };
        let measures = self.suite.measures.iter().map(|m| number(m.name));
        let columns = [Column { name: "row".into(), numeric: false }, number("seeds")].into_iter();
        let columns = columns.chain(measures).chain([number("steps"), number("CPU s")]);
        let lines = self.rows.iter().map(|(row, runs)| {
            let mut cells = vec![row.name.to_owned(), runs.len().to_string()];
            cells.extend(self.suite.measures.iter().map(|m| {
                let values = values(m, runs);
                spread(&values).unwrap_or_else(|| "–".into())
            }));
            let steps: Vec<f64> = runs.iter().map(|run| run.learned.steps as f64).collect();
            let seconds: Vec<f64> = runs.iter().map(|run| run.cpu_seconds).collect();
            cells.extend([&steps, &seconds].map(|v| mean(v).map_or("–".into(), |mean| format!("{mean:.0}"))));
            Line { status: "open", cells }
        });
        Grid {
            caption: format!(
                "{}: errors in percent, mean over seeds (smallest to largest)",
                self.suite.title
            ),
            lines: lines.collect(),
            columns: columns.collect(),
        }
    }

    /// All of it, as a report.
    pub fn study(&self) -> Study {
        let mut protocol: Vec<(String, String)> = self
            .rows
            .iter()
            .map(|(row, _)| {
                let settings = (row.protocol)().map_or_else(|e| e.to_string(), |values| values.to_string());
                (row.name.to_owned(), settings)
            })
            .collect();
        let mut versions: Vec<&str> = self.runs().map(|run| run.version.as_str()).collect();
        versions.sort_unstable();
        versions.dedup();
        protocol.push(("version".into(), versions.join(", ")));
        Study {
            title: self.suite.title,
            suite: self.suite.name,
            source: self.suite.source,
            claims: self.claims(),
            sections: vec![Section {
                heading: "Learned",
                grid: self.table(),
                chart: Some(Chart {
                    series: self.rows.iter().map(|(row, runs)| curve(row, runs)).collect(),
                    axes: [Axis::from_zero("steps of training"), Axis::from_zero("training error, %")],
                    caption: "The mean over the steps since the mark before: medians over seeds, and a band from the smallest to \
                              the largest run.",
                }),
                pictures: self.pictures(),
            }],
            protocol,
            notes: self.suite.notes.iter().map(|&note| note.into()).collect(),
        }
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.rows.iter().flat_map(|(_, runs)| runs)
    }

    /// Where the memory of the first seed of each row is written and read.
    fn pictures(&self) -> Vec<Picture> {
        let first = self.rows.iter().filter_map(|(row, runs)| Some((row, runs.first()?)));
        first
            .flat_map(|(row, run)| {
                run.learned.watched.iter().map(|watched| Picture {
                    caption: format!("{}, seed {}: {}", row.name, run.seed, watched.what),
                    svg: svg::weights(&watched.weights),
                })
            })
            .collect()
    }
}

fn asked_of(measure: &Measure, row: &Row) -> bool {
    measure.of.is_empty() || measure.of.contains(&row.name)
}

fn values(measure: &Measure, runs: &[Run]) -> Vec<f64> {
    runs.iter().filter_map(|run| run.learned.measured.get(measure.name).copied()).collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The mean, and the smallest and largest.
fn spread(values: &[f64]) -> Option<String> {
    let mean = mean(values)?;
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(format!("{mean:.2} ({least:.2} to {most:.2})"))
}

/// Medians over seeds, mark by mark.
fn curve(row: &Row, runs: &[Run]) -> Series {
    let marks = runs.iter().map(|run| run.learned.curve.len()).min().unwrap_or(0);
    let points = (0..marks).map(|k| {
        let mut errors: Vec<f64> = runs.iter().map(|run| run.learned.curve[k].error).collect();
        errors.sort_by(f64::total_cmp);
        Point {
            x: runs[0].learned.curve[k].step as f64,
            low: errors[0],
            median: errors[errors.len() / 2],
            high: errors[errors.len() - 1],
        }
    });
    Series { name: row.name.into(), points: points.collect(), theory: false }
}
