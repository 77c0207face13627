//! The classical Hopfield network: pairwise weights, E = −½ sᵀWs + sᵀb.

use cl_core::{Error, Result, Rng};
use serde::{Deserialize, Serialize};

use crate::recall::Network;
use crate::states::sign;
use crate::{Order, Recall, State, States};

/// A network of ±1 units with symmetric weights and no weight from a unit to itself (Hopfield 1982).
///
/// Stored by Hebb's rule, about 0.138 N random patterns are found again with few wrong bits, and about N / (2 ln N) without
/// any (Amit, Gutfreund & Sompolinsky 1985; McEliece et al. 1987).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Classical {
    units: usize,
    /// (units, units), symmetric, the diagonal 0: whole numbers by Hebb's rule, so that sums of them are exact.
    weights: Vec<f64>,
    /// What all of them are to be multiplied by.
    scale: f64,
    /// What a unit's field must exceed.
    thresholds: Vec<f64>,
}

/// What serde keeps of a [`Classical`].
#[derive(Serialize, Deserialize)]
struct Saved {
    weights: Vec<f64>,
    scale: f64,
    thresholds: Vec<f64>,
}

impl From<Classical> for Saved {
    fn from(Classical { weights, scale, thresholds, .. }: Classical) -> Self {
        Self { weights, scale, thresholds }
    }
}

impl TryFrom<Saved> for Classical {
    type Error = Error;

    fn try_from(Saved { weights, scale, thresholds }: Saved) -> Result<Self> {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(Error::invalid("scale", format!("{scale} is not a positive number")));
        }
        Ok(Self { scale, ..Self::new(weights, thresholds)? })
    }
}

impl Classical {
    /// Of these weights (units, units), row by row, and thresholds (units).
    ///
    /// # Errors
    /// [`Error::Invalid`] unless the weights are symmetric and finite, with zeros on the diagonal, as many as the thresholds
    /// ask for.
    pub fn new(weights: Vec<f64>, thresholds: Vec<f64>) -> Result<Self> {
        let units = thresholds.len();
        if weights.len() != units * units {
            let why = format!("{} weights, where {units} units have {}", weights.len(), units * units);
            return Err(Error::invalid("weights", why));
        }
        let wrong = |(i, j): (usize, usize)| {
            let weight = weights[i * units + j];
            !weight.is_finite() || weight != weights[j * units + i] || i == j && weight != 0.0
        };
        if let Some((i, j)) = (0..units).flat_map(|i| (0..=i).map(move |j| (i, j))).find(|&pair| wrong(pair))
        {
            let why = format!("those between {i} and {j} are not finite, equal, and 0 where the two are one");
            return Err(Error::invalid("weights", why));
        }
        if let Some(unit) = thresholds.iter().position(|threshold| !threshold.is_finite()) {
            return Err(Error::invalid("thresholds", format!("{} of unit {unit}", thresholds[unit])));
        }
        Ok(Self { units, weights, scale: 1.0, thresholds })
    }

    /// By Hebb's rule: W = (1/N) Σ x xᵀ without its diagonal; no thresholds.
    ///
    /// # Errors
    /// [`Error::Invalid`] for patterns of no units.
    pub fn hebbian(patterns: &States) -> Result<Self> {
        let n = units_of(patterns)?;
        let mut weights = vec![0.0; n * n];
        // Rows of signs for each unit: a weight is the product of two of them.
        let columns = columns(patterns);
        for i in 0..n {
            for j in 0..i {
                let same: u32 =
                    columns[i].iter().zip(&columns[j]).map(|(a, b)| (!(a ^ b)).count_ones()).sum();
                let padding = columns[i].len() * 64 - patterns.len();
                let product = 2 * (i64::from(same) - padding as i64) - patterns.len() as i64;
                (weights[i * n + j], weights[j * n + i]) = (product as f64, product as f64);
            }
        }
        Ok(Self { units: n, weights, scale: 1.0 / n as f64, thresholds: vec![0.0; n] })
    }

    /// By the pseudo-inverse (Personnaz, Guyon & Dreyfus 1985): W projects on the patterns, without its diagonal; no
    /// thresholds. It stores any patterns that are linearly independent, up to about half as many as there are units with
    /// basins to speak of.
    ///
    /// # Errors
    /// [`Error::Invalid`] for patterns of no units, none at all, and such that depend on one another.
    pub fn pseudo_inverse(patterns: &States) -> Result<Self> {
        let n = units_of(patterns)?;
        let k = patterns.len();
        // C = XXᵀ/N over the patterns, and W = Xᵀ C⁻¹ X / N by the factors of C (Cholesky): W = ZᵀZ / N, LZ = X.
        let mut factor = vec![0.0; k * k];
        let rows: Vec<&State> = patterns.iter().collect();
        let mut z: Vec<Vec<f64>> = Vec::with_capacity(k);
        for i in 0..k {
            for j in 0..=i {
                let product = rows[i].product(rows[j]) as f64 / n as f64;
                let done: f64 = (0..j).map(|l| factor[i * k + l] * factor[j * k + l]).sum();
                let left = product - done;
                if i == j {
                    // In units of 1, which is what a pattern has with itself.
                    if left < 1e-9 {
                        let why =
                            format!("pattern {i} is made of those before it: no weights tell them apart");
                        return Err(Error::invalid("patterns", why));
                    }
                    factor[i * k + i] = left.sqrt();
                } else {
                    factor[i * k + j] = left / factor[j * k + j];
                }
            }
            let mut row = rows[i].signs();
            for (j, before) in z.iter().enumerate() {
                let scale = factor[i * k + j];
                row.iter_mut().zip(before).for_each(|(x, b)| *x -= scale * b);
            }
            row.iter_mut().for_each(|x| *x /= factor[i * k + i]);
            z.push(row);
        }
        let mut weights = vec![0.0; n * n];
        for row in &z {
            for i in 0..n {
                let scale = row[i] / n as f64;
                weights[i * n..][..i].iter_mut().zip(row).for_each(|(w, x)| *w += scale * x);
            }
        }
        for i in 0..n {
            for j in 0..i {
                weights[j * n + i] = weights[i * n + j];
            }
        }
        Self::new(weights, vec![0.0; n])
    }

    /// The number of units.
    pub fn units(&self) -> usize {
        self.units
    }

    /// The weight between two units.
    ///
    /// # Panics
    /// If there are no such units.
    pub fn weight(&self, i: usize, j: usize) -> f64 {
        assert!(i < self.units && j < self.units, "units {i} and {j} of {}", self.units);
        self.scale * self.weights[i * self.units + j]
    }

    /// E = −½ Σᵢⱼ wᵢⱼ sᵢ sⱼ + Σᵢ bᵢ sᵢ.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a state of another number of units.
    pub fn energy(&self, state: &State) -> Result<f64> {
        if state.len() != self.units {
            return Err(Error::mismatch(
                "energy",
                format!("{} units", self.units),
                format!("{} units", state.len()),
            ));
        }
        let signs = state.signs();
        let of =
            |unit: usize| signs[unit] * (self.thresholds[unit] - 0.5 * self.scale * self.input(&signs, unit));
        Ok((0..self.units).map(of).sum())
    }

    /// Σⱼ wᵢⱼ sⱼ, not scaled.
    fn input(&self, signs: &[f64], unit: usize) -> f64 {
        self.weights[unit * self.units..][..self.units].iter().zip(signs).map(|(w, s)| w * s).sum()
    }

    /// From a cue on, sᵢ ← sgn(Σⱼ wᵢⱼ sⱼ − bᵢ) until a sweep changes nothing, or for so many sweeps. A unit whose field is at its
    /// threshold stays as it is. The generator is asked in [`Order::Shuffled`] only.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a cue of another number of units.
    pub fn recall(&self, cue: &State, order: Order, sweeps: usize, rng: &mut Rng) -> Result<Recall> {
        Network::recall(self, cue, order, sweeps, rng)
    }
}

/// A state and what comes into each unit, which a flip changes for all: settled units cost nothing.
pub(crate) struct Held {
    state: State,
    inputs: Vec<f64>,
}

impl Network for Classical {
    type Held = Held;

    fn units(&self) -> usize {
        self.units
    }

    fn hold(&self, state: State) -> Held {
        let signs = state.signs();
        Held { inputs: (0..self.units).map(|unit| self.input(&signs, unit)).collect(), state }
    }

    fn state(held: &Held) -> &State {
        &held.state
    }

    fn wanted(&self, held: &Held, unit: usize) -> bool {
        match self.scale * held.inputs[unit] - self.thresholds[unit] {
            0.0 => held.state.get(unit),
            field => field > 0.0,
        }
    }

    fn flip(&self, held: &mut Held, unit: usize) {
        let up = !held.state.get(unit);
        held.state.set(unit, up);
        let change = 2.0 * sign(up);
        let weights = &self.weights[unit * self.units..][..self.units];
        held.inputs.iter_mut().zip(weights).for_each(|(input, w)| *input += change * w);
    }
}

fn units_of(patterns: &States) -> Result<usize> {
    match (patterns.units(), patterns.len()) {
        (0, _) => Err(Error::invalid("patterns", "they have no units")),
        (_, 0) => Err(Error::invalid("patterns", "there are none to store")),
        (n, _) => Ok(n),
    }
}

/// For each unit what it is in every pattern, a bit each.
pub(crate) fn columns(patterns: &States) -> Vec<Vec<u64>> {
    let mut columns = vec![vec![0; patterns.len().div_ceil(64)]; patterns.units()];
    for (row, state) in patterns.iter().enumerate() {
        for (column, up) in columns.iter_mut().zip(state.bits()) {
            column[row / 64] |= u64::from(up) << (row % 64);
        }
    }
    columns
}
