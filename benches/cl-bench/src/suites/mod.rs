//! The suites as data: which tables there are, by which protocol, with which coefficients, and what was
//! published.
//!
//! A row of a table is one line here. The names of methods are those of the registry; a row may have a
//! name of its own where the paper has one.

mod agem_permuted;
mod cls_er;
mod der;
mod er_tiny;
mod gem_rotations;
mod gss_disjoint;
mod gss_permuted;
mod mer;
mod mnist_360;
mod si_permuted;
mod split_digits;
mod split_mnist;
mod split_mnist_hsu;
mod van_de_ven_permuted;

use cl_core::{Error, Result};
use cl_data::Scenario;
use cl_methods::Protocol;
use cl_methods::train::Precision;
use serde::Serialize;
use serde_json::Value;

use crate::published::{Published, Rerun};

/// A table of a paper.
#[derive(Debug, Clone)]
pub struct Suite {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// The paper, or what it is for.
    pub source: &'static str,
    /// What is held fixed.
    pub setting: Setting,
    /// The first seed; the others follow.
    pub first_seed: u64,
    /// Seeds where the command line names no number.
    pub seeds: u64,
    /// The rows, in the paper's order.
    pub rows: Vec<Row>,
    /// Remarks for the report, a paragraph each.
    pub notes: Vec<&'static str>,
}

impl Suite {
    /// The suite with all training steps in this precision: another protocol, whose results are other results.
    pub fn in_precision(mut self, precision: Precision) -> Self {
        self.setting.protocol.precision = precision;
        for setting in self.rows.iter_mut().filter_map(|row| row.setting.as_mut()) {
            setting.protocol.precision = precision;
        }
        self
    }
}

/// What is held fixed in a table. Part of what identifies a result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// The data set.
    pub data: &'static str,
    /// Zero pixels added on every side.
    pub padding: usize,
    /// Mean and standard deviation that pixels are normalised with, if they are.
    pub normalise: Option<(f32, f32)>,
    /// What makes the tasks.
    #[serde(skip_serializing_if = "Kind::is_split")]
    pub kind: Kind,
    /// Training samples of each task, drawn for it, where it has not all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_samples: Option<usize>,
    /// Test samples of each task, its first, where it has not all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_samples: Option<usize>,
    /// How many tasks there are.
    pub tasks: usize,
    /// The order of the classes.
    pub classes: Classes,
    /// The output units that take part in training, in the class scenario.
    pub active: Active,
    /// Network, optimizer and budget.
    pub protocol: Protocol,
}

/// What makes the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Each has a share of the classes.
    Split,
    /// Each has all classes, and turns the images by an angle that the run's seed draws.
    Rotated {
        /// Angles are below this many degrees.
        below: f32,
        /// Whether they rise: one in each of as many equal parts as there are tasks.
        rising: bool,
    },
    /// Each has all classes, and permutes the pixels as the run's seed says.
    Permuted,
    /// There is one: pairs of the first classes, which turn ([`cl_data::three_sixty`]).
    ThreeSixty {
        /// How many classes.
        classes: usize,
        /// How often each pair comes.
        rounds: usize,
    },
}

impl Kind {
    fn is_split(&self) -> bool {
        *self == Self::Split
    }
}

/// The order of the classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Classes {
    /// 0, 1, 2, ...
    Fixed,
    /// Shuffled by each run's seed.
    PerSeed,
    /// Those that the code of van de Ven et al. 2022 draws from each run's seed.
    VanDeVen,
    /// Those that the comparison of van de Ven & Tolias 2018 draws: run 1 has its first seed, and so on.
    VanDeVen2018,
}

/// The output units that take part in training, in the class scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Active {
    /// All, those of later tasks too.
    All,
    /// Those of the tasks so far.
    SeenSoFar,
}

/// A row of a table.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name in the table.
    pub name: &'static str,
    /// The method, by its name in the registry.
    pub method: &'static str,
    /// What differs from the setting of the suite, if anything does.
    pub setting: Option<Setting>,
    /// Seeds where the command line names no number, if it takes others than the suite.
    pub seeds: Option<u64>,
    /// The scenarios it exists in.
    pub cells: Vec<Cell>,
}

/// A row in one scenario.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The scenario.
    pub scenario: Scenario,
    /// The coefficients of the method.
    pub config: Value,
    /// The published number, if there is one.
    pub published: Option<Published>,
}

/// All suites; the first is the default.
pub fn suites() -> Vec<Suite> {
    vec![
        split_digits::suite(),
        split_mnist::suite(),
        split_mnist_hsu::suite(),
        gem_rotations::suite(),
        der::rotated(),
        der::permuted(),
        gss_disjoint::suite(),
        gss_permuted::suite(),
        agem_permuted::suite(),
        er_tiny::suite(),
        mer::suite(),
        mnist_360::suite(),
        cls_er::suite(),
        si_permuted::suite(),
        van_de_ven_permuted::suite(),
    ]
}

/// The suite of this name.
///
/// # Errors
/// There is none; the message lists those there are.
pub fn suite(name: &str) -> Result<Suite> {
    let all = suites();
    let names = all.iter().map(|suite| suite.name).collect::<Vec<_>>().join(", ");
    all.into_iter()
        .find(|suite| suite.name == name)
        .ok_or_else(|| Error::invalid("suite", format!("there is none named {name:?}; there are {names}")))
}

const ALL: [Scenario; 3] = Scenario::ALL;

/// A row in all scenarios, with coefficients for each and nothing published.
fn row(name: &'static str, method: &'static str, configs: [Value; 3]) -> Row {
    let cells =
        ALL.into_iter().zip(configs).map(|(scenario, config)| Cell { scenario, config, published: None });
    Row { name, method, setting: None, seeds: None, cells: cells.collect() }
}

/// The same coefficients in all scenarios.
fn same(config: Value) -> [Value; 3] {
    [config.clone(), config.clone(), config]
}

impl Row {
    /// Puts what the authors' code gave, run by run, beside the published number of a row of one scenario.
    fn rerun(mut self, runs: &[f64]) -> Self {
        for published in self.cells.iter_mut().filter_map(|cell| cell.published.as_mut()) {
            published.rerun = Rerun::of(runs);
        }
        self
    }

    /// Puts the published numbers beside a row.
    fn published(mut self, numbers: [Option<Published>; 3]) -> Self {
        for (cell, number) in self.cells.iter_mut().zip(numbers) {
            cell.published = number;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use cl_methods::Registry;

    #[test]
    fn every_row_can_be_built() {
        let registry = Registry::standard();
        for suite in suites() {
            for row in &suite.rows {
                for cell in &row.cells {
                    registry.build(row.method, &cell.config, 0).unwrap();
                }
            }
        }
    }

    #[test]
    fn an_unknown_suite_lists_those_there_are() {
        let error = suite("split-mnits").unwrap_err().to_string();
        assert!(
            error.contains("split-mnits") && error.contains("there are split-digits, split-mnist"),
            "{error}"
        );
        assert!(suites().iter().all(|suite| error.contains(suite.name)), "{error}");
    }

    /// The tables as they stand; a changed coefficient or published number shows here.
    #[test]
    fn tables() {
        let rows: Vec<_> = suites()
            .iter()
            .flat_map(|suite| {
                suite.rows.iter().flat_map(|row| {
                    row.cells.iter().map(|cell| {
                        let published = cell.published.map_or_else(String::new, |p| {
                            format!("{:.2} ± {:?} {} {}", p.mean, p.error, p.kind, p.provenance)
                        });
                        format!(
                            "{} | {} | {} | {} | {} | {published}",
                            suite.name, row.name, cell.scenario, row.method, cell.config
                        )
                    })
                })
            })
            .collect();
        insta::assert_snapshot!(rows.join("\n"));
    }
}
