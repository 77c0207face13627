//! The suites `dnc-copy`, `dnc-recall`, `babi` and `babi-20`: what networks with a memory learn of sequences.
//!
//! | suite | task | after |
//! |---|---|---|
//! | `dnc-copy` | repeat a sequence of bits | Graves et al. 2014, 2016 |
//! | `dnc-recall` | the item that followed the one that is asked for | Graves et al. 2014 |
//! | `babi`, `babi-20` | answer questions about a short story | Weston et al. 2015; Graves et al. 2016 |
//!
//! A run is a row of a suite with a seed: it trains until its protocol's end, notes a curve of training, measures what the suite asks
//! about, and watches where the memory is written and read in one sequence. Runs are lines of a results file, so that an
//! interrupted bench goes on. One thread each.

mod babi;
mod bits;
mod copy;
mod findings;
mod recall;
#[cfg(test)]
mod tests;
mod train;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

pub use findings::Findings;
pub use train::{Mark, Training};
pub use watch::Watched;

use crate::clock;
use crate::results::{Config, Line, Lines};

/// A suite: what is learned, and what is asked of it.
pub struct Suite {
    /// Its name on the command line.
    pub name: &'static str,
    /// The title of its page.
    pub title: &'static str,
    /// Where the task is from.
    pub source: &'static str,
    /// How many seeds, if it is not told otherwise.
    pub seeds: u64,
    /// What is learned.
    pub rows: &'static [Row],
    /// What is measured, in the order of the table; in percent, all of them.
    pub measures: &'static [Measure],
    /// Remarks.
    pub notes: &'static [&'static str],
}

/// One thing to be learned.
pub struct Row {
    /// Its name in results and reports.
    pub name: &'static str,
    /// All settings, resolved.
    pub protocol: fn() -> Result<serde_json::Value>,
    /// Learns it, with everything random drawn from the seed.
    pub learn: fn(u64, &AtomicBool) -> Result<Learned>,
}

/// A number that is measured after training, in percent.
pub struct Measure {
    /// Its name in results.
    pub name: &'static str,
    /// What is asked of every run, if anything is.
    pub asked: Option<Asked>,
    /// The rows of which it is asked; empty for all.
    pub of: &'static [&'static str],
}

/// What is asked of a measured number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Asked {
    /// In every run.
    AtMost(f64),
    /// In every run.
    AtLeast(f64),
}

impl Asked {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "at most {most} % in every run"),
            Self::AtLeast(least) => write!(f, "at least {least} % in every run"),
        }
    }
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// How many steps of the optimizer were taken.
    pub steps: u64,
    /// How many steps had a loss or a gradient that was not finite, and were left out.
    pub not_finite: u64,
    /// The curve of training.
    pub curve: Vec<Mark>,
    /// What was measured, by its name.
    pub measured: BTreeMap<String, f64>,
    /// Where the memory was written and read in a sequence.
    pub watched: Vec<Watched>,
}

/// A row with a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The suite's name.
    pub suite: String,
    /// The row's name.
    pub row: String,
    /// What everything random is drawn from.
    pub seed: u64,
    /// The protocol, resolved.
    pub config: Config,
    /// What came of it.
    #[serde(flatten)]
    pub learned: Learned,
    /// Processor time.
    pub cpu_seconds: f64,
    /// The version of this program.
    pub version: String,
}

impl Line for Run {
    type Key = (String, String, u64, String);

    fn key(&self) -> Self::Key {
        (self.suite.clone(), self.row.clone(), self.seed, self.config.hash.clone())
    }

    fn check(&self) -> Result<()> {
        let of_curve = self.learned.curve.iter().flat_map(|mark| [mark.loss, mark.error]);
        let all = of_curve.chain(self.learned.measured.values().copied()).chain([self.cpu_seconds]);
        match all.into_iter().all(f64::is_finite) {
            true => Ok(()),
            false => Err(Error::invalid(self.to_string(), "a number in it is not finite")),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suite, row, seed, learned, cpu_seconds, .. } = self;
        write!(f, "{suite}, {row}, seed {seed}:")?;
        for (name, value) in &learned.measured {
            write!(f, " {name} {value:.2} %;")?;
        }
        write!(f, " {} steps in {cpu_seconds:.0} s", learned.steps)
    }
}

/// All of them.
pub static SUITES: [&Suite; 4] = [&copy::SUITE, &recall::SUITE, &babi::SUITE, &babi::ALL];

/// The suite of this name.
pub fn suite(name: &str) -> Option<&'static Suite> {
    SUITES.into_iter().find(|suite| suite.name == name)
}

/// How to run a suite.
#[derive(Debug, Clone)]
pub struct Options {
    /// Seeds 0, 1, ... below this.
    pub seeds: u64,
    /// Where `results.jsonl` and the report go.
    pub out: PathBuf,
    /// Only these rows; none means all.
    pub rows: Vec<String>,
}

/// What came of it.
pub struct Done {
    /// All that is stored of what was asked for.
    pub findings: Findings,
    /// Runs that were made now.
    pub made: usize,
    /// Runs that were there already.
    pub found: usize,
    /// Whether it was stopped before the end.
    pub interrupted: bool,
}

/// Makes the runs that are not in the results file yet, one after the other, each of them on disk before the next begins. `stop`
/// ends the one in progress, which is then made anew. `say` is told of every run.
///
/// # Errors
/// A row that does not exist; data that are not here; those of [`Lines::open`]; a disk that is full.
pub fn run(
    suite: &'static Suite,
    options: &Options,
    stop: &AtomicBool,
    say: &mut dyn FnMut(&str),
) -> Result<Done> {
    let known = |name: &String| suite.rows.iter().any(|row| row.name == name);
    if let Some(unknown) = options.rows.iter().find(|name| !known(name)) {
        let names: Vec<&str> = suite.rows.iter().map(|row| row.name).collect();
        return Err(Error::invalid(format!("row `{unknown}`"), format!("there are {}", names.join(", "))));
    }
    let wanted = |row: &&Row| options.rows.is_empty() || options.rows.iter().any(|name| name == row.name);
    let (mut results, torn) = Lines::<Run>::open(&options.out)?;
    if let Some(torn) = torn {
        say(&torn.to_string());
    }
    let (mut made, mut found, mut interrupted) = (0, 0, false);
    'all: for seed in 0..options.seeds {
        for row in suite.rows.iter().filter(wanted) {
            let config = Config::new((row.protocol)()?);
            if results.contains(&(suite.name.into(), row.name.into(), seed, config.hash.clone())) {
                found += 1;
                continue;
            }
            let start = clock::thread_cpu_seconds();
            let learned = match (row.learn)(seed, stop) {
                Err(Error::Interrupted) => {
                    interrupted = true;
                    break 'all;
                }
                other => other?,
            };
            let run = Run {
                suite: suite.name.into(),
                row: row.name.into(),
                seed,
                config,
                learned,
                cpu_seconds: clock::thread_cpu_seconds() - start,
                version: env!("CARGO_PKG_VERSION").into(),
            };
            results.append(&run)?;
            say(&run.to_string());
            made += 1;
        }
    }
    let findings = Findings::of(suite, options.seeds, results.records())?;
    Ok(Done { findings, made, found, interrupted })
}
