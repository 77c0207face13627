//! The suite `hopfield-mnist`: handwritten digits are stored, a part of each is hidden, and the memories of [`cl_hopfield`] fill it
//! in. Unlike random patterns, digits are much alike: what is known of the capacity for those says little here.
//!
//! Beside the memories stands what needs none of their dynamics: the stored digit that fits the visible pixels best, and the one
//! that is nearest to the cue of bits, in which hidden pixels are blank. A digit is
//! completed where at most a hundredth of its pixels is off by more than half of what lies between white and black.

mod complete;
mod findings;
mod pictures;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use cl_core::Result;
use serde::{Deserialize, Serialize};

use crate::experiment::{Experiment, Measured, Run};
use crate::images::images;
use crate::report::study::Study;
use complete::Digits;

/// What is held fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// The data set.
    pub data: String,
    /// Memories that are compared.
    pub models: Vec<Model>,
    /// How many digits are stored.
    pub stored: Vec<usize>,
    /// β of the continuous network, by which it is looked at alone.
    pub betas: Vec<f64>,
    /// How many of the stored digits are completed.
    pub completed: usize,
}

/// β of the continuous network where others stand beside it: large for patterns of length 1, so that the nearest one decides.
const BETA: f64 = 300.0;

impl Default for Protocol {
    fn default() -> Self {
        Self {
            data: "mnist".into(),
            models: vec![
                Model::BestFit,
                Model::NearestCue,
                Model::Hebb,
                Model::PseudoInverse,
                Model::Rectified(3),
                Model::Rectified(20),
                Model::Exponential,
                Model::Continuous(BETA),
            ],
            stored: vec![10, 30, 100, 300, 1000],
            betas: vec![1.0, 3.0, 10.0, 30.0, 100.0, 300.0],
            completed: 100,
        }
    }
}

/// What fills in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// The stored digit with the fewest bits that differ among those visible: no memory, but what one could at best do.
    BestFit,
    /// The stored digit with the fewest bits that differ from the cue, what is hidden as blank: what networks of ±1 units are
    /// given.
    NearestCue,
    /// The classical network, Hebb's rule.
    Hebb,
    /// The classical network, the pseudo-inverse.
    PseudoInverse,
    /// Dense memory, F(z) = zᵃ where z > 0.
    Rectified(u32),
    /// Dense memory, F(z) = eᶻ.
    Exponential,
    /// The continuous network with this β: patterns without what is common to them, brought to length 1.
    Continuous(f64),
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BestFit => write!(f, "best fit"),
            Self::NearestCue => write!(f, "nearest to the cue"),
            Self::Hebb => write!(f, "Hebb"),
            Self::PseudoInverse => write!(f, "pseudo-inverse"),
            Self::Rectified(degree) => write!(f, "dense, degree {degree}"),
            Self::Exponential => write!(f, "exponential"),
            Self::Continuous(beta) => write!(f, "continuous, β = {beta}"),
        }
    }
}

/// Which pixels are hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hidden {
    /// The lower half.
    Lower,
    /// Half of all pixels, drawn once for all digits.
    Scattered,
}

impl Hidden {
    const ALL: [Self; 2] = [Self::Lower, Self::Scattered];
}

/// What one run measures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// How many digits are completed.
    Completed {
        /// By what.
        model: Model,
        /// From what is not hidden.
        hidden: Hidden,
        /// Among how many.
        stored: usize,
    },
    /// One digit of each class, to be looked at.
    Pictures {
        /// From what is not hidden.
        hidden: Hidden,
        /// Among how many.
        stored: usize,
    },
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed { model, hidden, stored } => {
                write!(f, "{model}, {stored} digits, {hidden:?} hidden")
            }
            Self::Pictures { hidden, stored } => write!(f, "pictures, {stored} digits, {hidden:?} hidden"),
        }
    }
}

impl Protocol {
    fn most(&self) -> usize {
        self.stored.iter().copied().max().unwrap_or(0)
    }
}

impl Experiment for Protocol {
    const NAME: &'static str = "hopfield-mnist";
    const SEEDS: u64 = 3;
    type Part = Part;

    fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        for hidden in Hidden::ALL {
            for &stored in &self.stored {
                let alone = self.betas.iter().map(|&beta| Model::Continuous(beta));
                let models = self.models.iter().copied().chain(alone);
                for part in models.map(|model| Part::Completed { model, hidden, stored }) {
                    if !parts.contains(&part) {
                        parts.push(part);
                    }
                }
            }
            parts.push(Part::Pictures { hidden, stored: self.most() });
        }
        parts
    }

    fn measure(&self, part: &Part, seed: u64) -> Result<Measured> {
        let all = images(&self.data)?;
        match *part {
            Part::Completed { model, hidden, stored } => {
                let digits = Digits::drawn(&all, stored, self.most(), seed)?;
                let these: Vec<usize> = (0..stored.min(self.completed)).collect();
                let visible = digits.visible(hidden, seed)?;
                match digits.complete(model, &visible, &these, seed)? {
                    Some(found) => {
                        let wrong = these.iter().zip(&found).map(|(&row, found)| digits.wrong(row, found));
                        Ok(Measured::of("wrong", wrong.collect()))
                    }
                    None => Ok(Measured::default()),
                }
            }
            // One look is enough.
            Part::Pictures { .. } if seed > 0 => Ok(Measured::default()),
            Part::Pictures { hidden, stored } => {
                let digits = Digits::drawn(&all, stored, self.most(), seed)?;
                let visible = digits.visible(hidden, seed)?;
                let these = digits.one_of_each_class();
                let mut measured = Measured::default();
                let original = these.iter().map(|&row| digits.image(row));
                let mut add = |name: &str, picture: String| measured.pictures.insert(name.into(), picture);
                add("stored", pictures::encoded(original.clone(), None));
                add("cue", pictures::encoded(original, Some(&visible)));
                let mut values = BTreeMap::new();
                for (name, model) in pictures::MODELS {
                    if let Some(found) = digits.complete(model, &visible, &these, seed)? {
                        add(name, pictures::encoded(found.iter().map(Vec::as_slice), None));
                        let wrong = these.iter().zip(&found).map(|(&row, found)| digits.wrong(row, found));
                        values.insert(name.into(), wrong.collect());
                    }
                }
                Ok(Measured { values, ..measured })
            }
        }
    }

    fn study(&self, runs: &[&Run<Part>]) -> Result<Study> {
        findings::study(self, runs)
    }
}
