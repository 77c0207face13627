//! Suites that measure something else than accuracies: each run measures one [part](Experiment::Part) with one seed and is a line
//! of the results file, so that an interrupted bench goes on where it stopped.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use cl_core::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::clock;
use crate::report::study::Study;
use crate::results::{Config, Line, Lines};

/// A suite, with what is held fixed in it: its serde form is the configuration of its runs.
pub trait Experiment: Serialize {
    /// Its name on the command line.
    const NAME: &'static str;
    /// How many seeds, if it is not told otherwise.
    const SEEDS: u64;
    /// What one run measures.
    type Part: Clone + fmt::Debug + fmt::Display + Serialize + DeserializeOwned;

    /// Everything that is measured, in order.
    fn parts(&self) -> Vec<Self::Part>;

    /// Measures.
    ///
    /// # Errors
    /// Data that is not there; a protocol that asks for what there is not.
    fn measure(&self, part: &Self::Part, seed: u64) -> Result<Measured>;

    /// The report of runs of this configuration.
    ///
    /// # Errors
    /// A run that lacks numbers.
    fn study(&self, runs: &[&Run<Self::Part>]) -> Result<Study>;
}

/// What a run found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// Numbers by name; most have one for each probe.
    pub values: BTreeMap<String, Vec<f64>>,
    /// Pictures by name, a hexadecimal digit a pixel.
    pub pictures: BTreeMap<String, String>,
}

impl Measured {
    /// Of these numbers under one name.
    pub fn of(name: &str, values: Vec<f64>) -> Self {
        Self { values: BTreeMap::from([(name.to_owned(), values)]), ..Self::default() }
    }
}

/// One part measured with one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run<P> {
    /// The suite's name.
    pub suite: String,
    /// What was measured.
    pub part: P,
    /// What everything random is drawn from.
    pub seed: u64,
    /// The protocol, resolved.
    pub config: Config,
    /// See [`Measured`].
    pub values: BTreeMap<String, Vec<f64>>,
    /// See [`Measured`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pictures: BTreeMap<String, String>,
    /// Processor time.
    pub cpu_seconds: f64,
    /// The version of this program.
    pub version: String,
}

impl<P> Run<P> {
    /// The numbers of this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there are none.
    pub fn values(&self, name: &str) -> Result<&[f64]> {
        let none = || Error::invalid(format!("a run of {}", self.suite), format!("it has no `{name}`"));
        self.values.get(name).filter(|values| !values.is_empty()).map(Vec::as_slice).ok_or_else(none)
    }
}

/// A part by its serde form, a seed, and the hash of a configuration.
pub type Key = (String, u64, String);

fn key<P: Serialize>(part: &P, seed: u64, config: &Config) -> Result<Key> {
    let part = serde_json::to_string(part).map_err(|e| Error::invalid("part", e.to_string()))?;
    Ok((part, seed, config.hash.clone()))
}

impl<P: Clone + Serialize + DeserializeOwned> Line for Run<P> {
    type Key = Key;

    fn key(&self) -> Key {
        key(&self.part, self.seed, &self.config).expect("what came from JSON, or goes there, has this form")
    }

    fn check(&self) -> Result<()> {
        key(&self.part, self.seed, &self.config)?;
        let numbers = self.values.values().flatten().chain([&self.cpu_seconds]);
        match numbers.into_iter().find(|x| !x.is_finite()) {
            Some(x) => Err(Error::invalid("values", format!("{x} is not finite"))),
            None => Ok(()),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Done {
    /// The report of all that is stored of what was asked for.
    pub study: Study,
    /// Runs that were made now.
    pub made: usize,
    /// Runs that were there already.
    pub found: usize,
    /// Whether it was stopped before the end.
    pub interrupted: bool,
}

/// Makes the runs with seeds below `seeds` that are not in `out/results.jsonl` yet, one after the other, each of them on disk
/// before the next begins. `stop` ends it after the one in progress. `say` is told of every run.
///
/// # Errors
/// Those of [`Experiment::measure`] and [`Lines::open`]; a disk that is full.
pub fn run<E: Experiment>(
    experiment: &E,
    seeds: u64,
    out: &Path,
    stop: &AtomicBool,
    say: &mut dyn FnMut(&str),
) -> Result<Done> {
    let config = config(experiment)?;
    let (mut results, torn) = Lines::<Run<E::Part>>::open(out)?;
    if let Some(torn) = torn {
        say(&torn.to_string());
    }
    let (mut made, mut found, mut interrupted) = (0, 0, false);
    let all = (0..seeds).flat_map(|seed| experiment.parts().into_iter().map(move |part| (part, seed)));
    for (part, seed) in all {
        if results.contains(&key(&part, seed, &config)?) {
            found += 1;
            continue;
        }
        if stop.load(Ordering::Relaxed) {
            interrupted = true;
            break;
        }
        let start = clock::thread_cpu_seconds();
        let Measured { values, pictures } = experiment.measure(&part, seed)?;
        let run = Run {
            suite: E::NAME.into(),
            part,
            seed,
            config: config.clone(),
            values,
            pictures,
            cpu_seconds: clock::thread_cpu_seconds() - start,
            version: env!("CARGO_PKG_VERSION").into(),
        };
        results.append(&run)?;
        say(&format!("{} seed {seed}: {:.1} s", run.part, run.cpu_seconds));
        made += 1;
    }
    Ok(Done { study: study(experiment, seeds, results.records())?, made, found, interrupted })
}

/// The report of those of `runs` that are of this configuration and have seeds below `seeds`.
///
/// # Errors
/// As [`Experiment::study`].
pub fn study<E: Experiment>(experiment: &E, seeds: u64, runs: &[Run<E::Part>]) -> Result<Study> {
    let config = config(experiment)?;
    let these = |run: &&Run<E::Part>| run.config.hash == config.hash && run.seed < seeds;
    experiment.study(&runs.iter().filter(these).collect::<Vec<_>>())
}

fn config<E: Experiment>(experiment: &E) -> Result<Config> {
    let values = serde_json::to_value(experiment).map_err(|e| Error::invalid("protocol", e.to_string()))?;
    Ok(Config::new(values))
}
