//! The suite `hopfield-capacity`: how many random patterns the memories of [`cl_hopfield`] hold.
//!
//! | | measured | theory |
//! |---|---|---|
//! | classical | the overlap of what is recalled from stored patterns with them, against the load K/N | Amit, Gutfreund & Sompolinsky 1985: lost from 0.138 on |
//! | polynomial of degree a | the K up to which one update from a stored pattern leaves a hundredth of the bits wrong, or none | Krotov & Hopfield 2016: both go with Nᵃ⁻¹, the latter divided by ln N |
//! | exponential | wrong bits after a sweep with 2^(N/2) patterns, from a stored pattern and with a tenth of its bits flipped | Demircigil et al. 2017: none from the pattern; e^(αN), α < ½I(1 − 2ρ), with a part ρ flipped |
//! | continuous | the error of one update, against β, the length of the patterns, their dimension and number | Ramsauer et al. 2021, theorem 4; what is retrieved depends on βR² |

mod continuous;
mod discrete;
mod findings;
#[cfg(test)]
mod tests;
mod theory;

use std::fmt;

use cl_core::Result;
use serde::{Deserialize, Serialize};

use crate::experiment::{Experiment, Measured, Run};
use crate::report::study::Study;

/// What is held fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// Units of the classical network.
    pub units: Vec<usize>,
    /// Its loads K/N.
    pub loads: Vec<f64>,
    /// Patterns that are recalled at each load.
    pub recalled: usize,
    /// Units of polynomial memories, by degree.
    pub polynomial: Vec<(u32, Vec<usize>)>,
    /// Patterns that are updated once to see how many bits turn, of several memories where one has fewer.
    pub updated: usize,
    /// Units of exponential memories.
    pub exponential: Vec<usize>,
    /// βR² at which β and R are exchanged, and the dimension and number of those patterns.
    pub sharpness: Vec<f64>,
    /// The dimension and the number of those patterns.
    pub sharpness_patterns: (usize, usize),
    /// Dimensions d of patterns of length √d, at β = 1.
    pub dimensions: Vec<usize>,
    /// Numbers of them.
    pub numbers: Vec<usize>,
    /// The length of the noise on a cue, as a part of that of the pattern.
    pub noise: f64,
    /// Patterns that are retrieved.
    pub retrieved: usize,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            units: vec![500, 1000, 2000],
            loads: vec![0.05, 0.08, 0.10, 0.12, 0.13, 0.14, 0.15, 0.16, 0.18, 0.20, 0.25],
            recalled: 25,
            polynomial: vec![
                (2, vec![250, 500, 1000, 2000]),
                (3, vec![60, 100, 160, 240]),
                (4, vec![40, 60, 80, 110]),
            ],
            updated: 500,
            exponential: vec![20, 24, 28],
            sharpness: vec![1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0],
            sharpness_patterns: (32, 4096),
            dimensions: vec![8, 16, 32, 64],
            numbers: vec![64, 256, 1024, 4096, 16384, 65536],
            noise: 0.1,
            retrieved: 25,
        }
    }
}

/// How many bits may be wrong after one update from a stored pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowed {
    /// A hundredth of them.
    Hundredth,
    /// None: fewer than one in ten patterns.
    None,
}

/// What bits of a cue are flipped, and among how many patterns it is recalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cue {
    /// The pattern itself, among 2^(N/2).
    Whole,
    /// A tenth flipped, among 2^(N/2).
    Flipped,
    /// A tenth flipped, among e^(αN) with α = ½I(0.8), as many as theory has for that.
    FlippedAmongFewer,
}

/// What one run measures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Overlaps of recalled patterns in the classical network.
    Overlap {
        /// N.
        units: usize,
        /// K/N.
        load: f64,
    },
    /// The capacity of a polynomial memory.
    Capacity {
        /// a.
        degree: u32,
        /// N.
        units: usize,
        /// Wrong bits.
        allowed: Allowed,
    },
    /// Wrong bits in an exponential memory.
    Exponential {
        /// N.
        units: usize,
        /// From where on.
        cue: Cue,
    },
    /// The error of an update of the continuous network.
    Continuous {
        /// d.
        dimension: usize,
        /// How many there are.
        patterns: usize,
        /// R, the length of each.
        radius: f64,
        /// β.
        beta: f64,
    },
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap { units, load } => write!(f, "classical, {units} units, load {load}"),
            Self::Capacity { degree, units, allowed } => {
                let allowed = if *allowed == Allowed::None { "no" } else { "1 %" };
                write!(f, "degree {degree}, {units} units, {allowed} wrong bits")
            }
            Self::Exponential { units, cue } => write!(f, "exponential, {units} units, {cue:?}"),
            Self::Continuous { dimension, patterns, radius, beta } => {
                write!(f, "continuous, {patterns} patterns of {dimension}, R = {radius:.2}, β = {beta:.4}")
            }
        }
    }
}

impl Protocol {
    /// βR² by β, all patterns of the length √d; and by R, with β = 1.
    fn sharp(&self, sharpness: f64) -> [Part; 2] {
        let (dimension, patterns) = self.sharpness_patterns;
        let part = |radius, beta| Part::Continuous { dimension, patterns, radius, beta };
        [part((dimension as f64).sqrt(), sharpness / dimension as f64), part(sharpness.sqrt(), 1.0)]
    }

    /// Patterns of the length √d, β = 1.
    fn among(dimension: usize, patterns: usize) -> Part {
        Part::Continuous { dimension, patterns, radius: (dimension as f64).sqrt(), beta: 1.0 }
    }
}

impl Experiment for Protocol {
    const NAME: &'static str = "hopfield-capacity";
    const SEEDS: u64 = 3;
    type Part = Part;

    fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        for &units in &self.units {
            parts.extend(self.loads.iter().map(|&load| Part::Overlap { units, load }));
        }
        for (degree, units) in &self.polynomial {
            for &units in units {
                let part = |allowed| Part::Capacity { degree: *degree, units, allowed };
                parts.extend([Allowed::Hundredth, Allowed::None].map(part));
            }
        }
        for &units in &self.exponential {
            let part = |cue| Part::Exponential { units, cue };
            parts.extend([Cue::Whole, Cue::Flipped, Cue::FlippedAmongFewer].map(part));
        }
        parts.extend(self.sharpness.iter().flat_map(|&sharpness| self.sharp(sharpness)));
        for &dimension in &self.dimensions {
            parts.extend(self.numbers.iter().map(|&patterns| Self::among(dimension, patterns)));
        }
        // A part that two tables show is measured once.
        let mut seen: Vec<Part> = Vec::new();
        for part in parts {
            if !seen.contains(&part) {
                seen.push(part);
            }
        }
        seen
    }

    fn measure(&self, part: &Part, seed: u64) -> Result<Measured> {
        match *part {
            Part::Overlap { units, load } => {
                discrete::overlaps(units, load, self.recalled, seed).map(|all| Measured::of("overlap", all))
            }
            Part::Capacity { degree, units, allowed } => {
                let capacity = discrete::capacity(degree, units, allowed, self.updated, seed)?;
                Ok(Measured::of("capacity", vec![capacity]))
            }
            Part::Exponential { units, cue } => discrete::exponential(units, cue, self.updated, seed),
            Part::Continuous { dimension, patterns, radius, beta } => {
                let sphere = continuous::Sphere { dimension, patterns, radius };
                continuous::errors(sphere, beta, self.noise, self.retrieved, seed)
            }
        }
    }

    fn study(&self, runs: &[&Run<Part>]) -> Result<Study> {
        findings::study(self, runs)
    }
}
