//! The suites `dual-mnist` and `dual-fashion`: a small network answers every image, a larger one those that an arbiter sends on. How
//! well do arbiters choose, with clean labels, with labels that are wrong, and with images that are turned; and are deadlines held?
//!
//! The networks and what they take are those of a baseline that was measured before: one hidden layer of 32, 25 408 multiply-adds,
//! and two convolutions, 834 816 of them. A third of the training set is held out: the learned rule is fitted and thresholds are
//! chosen on it, and the test set is for the report alone.

mod deadline;
mod findings;
mod nets;
mod routing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cl_core::Result;
use cl_data::DataSet;
use cl_dual_process::LearnedRuleConfig;
use serde::{Deserialize, Serialize};

use crate::experiment::{Experiment, Measured, Run};
use crate::images::images;
use crate::report::study::Study;
use nets::{Cnn, Fast, Split};

/// What is held fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// The data set.
    pub data: String,
    /// What is measured.
    pub parts: Vec<Part>,
    /// The part of the training set that neither system is trained on.
    pub held_out: f64,
    /// Passes over the rest, of System 1 and of System 2.
    pub epochs: [usize; 2],
    /// Rows of a step.
    pub batch: usize,
    /// Adam's learning rate, which falls along a cosine.
    pub lr: f64,
    /// The chance that a label is drawn from all.
    pub noise: f64,
    /// How far images are turned at most, to either side.
    pub degrees: f32,
    /// How the learned rule is fitted.
    pub rule: LearnedRuleConfig,
    /// Requests for each deadline.
    pub requests: usize,
}

impl Protocol {
    fn on(data: &str, parts: &[Part]) -> Self {
        Self {
            data: data.into(),
            parts: parts.to_vec(),
            held_out: 1.0 / 3.0,
            epochs: [3, 5],
            batch: 64,
            lr: 2e-3,
            noise: 0.3,
            degrees: 60.0,
            rule: LearnedRuleConfig::default(),
            requests: 100_000,
        }
    }
}

/// What one run measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The data as they are.
    Clean,
    /// Labels drawn anew by chance in what is trained on and held out, of all classes; those of the test are right.
    Noise,
    /// Labels drawn anew by chance everywhere, of half of the classes (as Jitkrittum et al. 2023 have it).
    ClassNoise,
    /// Networks that were trained on upright images; what is held out and tested is turned, each image by an angle of its own.
    Rotation,
    /// Requests with a deadline, and a System 2 that stalls.
    Deadline,
}

impl Part {
    /// Those in which arbiters are compared.
    const ROUTED: [Self; 4] = [Self::Clean, Self::Noise, Self::ClassNoise, Self::Rotation];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clean => "clean",
            Self::Noise => "label noise",
            Self::ClassNoise => "label noise in half of the classes",
            Self::Rotation => "rotation",
            Self::Deadline => "deadlines",
        })
    }
}

type Nets = Arc<(Fast, Cnn)>;

/// The networks of a seed. Those of clean data, which two parts share, are kept until others are asked for.
fn networks(data: &DataSet, split: &Split, protocol: &Protocol, part: Part, seed: u64) -> Result<Nets> {
    static CLEAN: Mutex<Option<(Protocol, u64, Nets)>> = Mutex::new(None);
    if !matches!(part, Part::Clean | Part::Rotation) {
        return Ok(Arc::new(nets::trained(data, split, protocol, seed)?));
    }
    let mut clean = CLEAN.lock().unwrap_or_else(PoisonError::into_inner);
    match &*clean {
        Some((of, with, nets)) if of == protocol && *with == seed => Ok(Arc::clone(nets)),
        _ => {
            let nets = Arc::new(nets::trained(data, split, protocol, seed)?);
            *clean = Some((protocol.clone(), seed, Arc::clone(&nets)));
            Ok(nets)
        }
    }
}

impl Protocol {
    fn run(&self, part: Part, seed: u64) -> Result<Measured> {
        let data = images(&self.data)?;
        if part == Part::Deadline {
            return deadline::measure(&data, self, seed);
        }
        let split = Split::of(&data, self, part, seed)?;
        let nets = networks(&data, &split, self, part, seed)?;
        routing::measure(&nets.0, &nets.1, &split, self, seed)
    }
}

macro_rules! suite {
    ($name:ident, $suite:literal, $data:literal, $parts:expr, $what:literal) => {
        #[doc = $what]
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Protocol);

        impl Default for $name {
            fn default() -> Self {
                Self(Protocol::on($data, &$parts))
            }
        }

        impl Experiment for $name {
            const NAME: &'static str = $suite;
            const SEEDS: u64 = 5;
            type Part = Part;

            fn parts(&self) -> Vec<Part> {
                self.0.parts.clone()
            }

            fn measure(&self, part: &Part, seed: u64) -> Result<Measured> {
                self.0.run(*part, seed)
            }

            fn study(&self, runs: &[&Run<Part>]) -> Result<Study> {
                findings::study(Self::NAME, &self.0, runs)
            }
        }
    };
}

suite!(
    Mnist,
    "dual-mnist",
    "mnist",
    [Part::Clean, Part::Rotation, Part::Noise, Part::ClassNoise, Part::Deadline],
    "Handwritten digits, and deadlines."
);
suite!(
    Fashion,
    "dual-fashion",
    "fashion-mnist",
    [Part::Clean, Part::Rotation, Part::Noise, Part::ClassNoise],
    "Articles of clothing."
);
