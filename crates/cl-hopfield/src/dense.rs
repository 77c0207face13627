//! Dense associative memory: E = −Σ F(xᵀs), where F grows faster than a square.

use cl_core::{Error, Result, Rng};
use serde::{Deserialize, Serialize};

use crate::classical::columns;
use crate::recall::Network;
use crate::states::sign;
use crate::{Order, Recall, State, States};

/// F in E = −Σμ F(xμᵀs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interaction {
    /// F(z) = zᵃ (Krotov & Hopfield 2016, eq. 3). 2 is the classical network; with an even degree a pattern's negative is as
    /// good as the pattern.
    Polynomial(u32),
    /// F(z) = zᵃ where z > 0, and 0 elsewhere.
    Rectified(u32),
    /// F(z) = eᶻ (Demircigil et al. 2017).
    Exponential,
}

impl Interaction {
    fn check(self) -> Result<()> {
        match self {
            Self::Polynomial(degree @ 0..=1) | Self::Rectified(degree @ 0..=1) => {
                let why = format!("degree {degree}: patterns are told apart from 2 on");
                Err(Error::invalid("interaction", why))
            }
            _ => Ok(()),
        }
    }

    /// The logarithm and the sign of F(z), or zero: raised to a power, or exponentiated, z itself may be no number.
    fn log(self, z: f64) -> Option<(f64, f64)> {
        match self {
            Self::Exponential => Some((z, 1.0)),
            Self::Rectified(_) if z <= 0.0 => None,
            Self::Polynomial(_) if z == 0.0 => None,
            Self::Polynomial(degree) if z < 0.0 && degree % 2 == 1 => {
                Some((f64::from(degree) * (-z).ln(), -1.0))
            }
            Self::Polynomial(degree) | Self::Rectified(degree) => {
                Some((f64::from(degree) * z.abs().ln(), 1.0))
            }
        }
    }
}

/// A memory of ±1 patterns, which are kept as they are, a bit a unit.
///
/// A unit is updated by the difference of energies: it becomes +1 where Σμ F(xμᵢ + Σⱼ≠ᵢ xμⱼsⱼ) is more than
/// Σμ F(−xμᵢ + Σⱼ≠ᵢ xμⱼsⱼ) (Krotov & Hopfield 2016, eq. 4). Sums are taken relative to their largest term, so that no degree and
/// no number of units overflows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Dense {
    patterns: States,
    interaction: Interaction,
    /// For each unit what it is in every pattern.
    columns: Vec<Vec<u64>>,
    /// F at every product that there can be, −(n + 1), …, n + 1.
    table: Table,
}

/// F at whole numbers.
#[derive(Debug, Clone, PartialEq)]
enum Table {
    /// As it is, where all sums of it are whole numbers that f64 holds exactly: equal energies are seen to be equal.
    Exact(Vec<f64>),
    /// Its logarithm and sign; `None` where it is 0.
    Logs(Vec<Option<(f64, f64)>>),
}

/// What serde keeps of a [`Dense`].
#[derive(Serialize, Deserialize)]
struct Saved {
    patterns: States,
    interaction: Interaction,
}

impl From<Dense> for Saved {
    fn from(Dense { patterns, interaction, .. }: Dense) -> Self {
        Self { patterns, interaction }
    }
}

impl TryFrom<Saved> for Dense {
    type Error = Error;

    fn try_from(Saved { patterns, interaction }: Saved) -> Result<Self> {
        Self::new(patterns, interaction)
    }
}

impl Dense {
    /// A memory of these patterns.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no patterns, patterns of no units, a degree below 2.
    pub fn new(patterns: States, interaction: Interaction) -> Result<Self> {
        interaction.check()?;
        if patterns.units() == 0 || patterns.is_empty() {
            let why = format!("{} of {} units", patterns.len(), patterns.units());
            return Err(Error::invalid("patterns", why));
        }
        let n = patterns.units() as i64 + 1;
        let terms = 2 * patterns.len() as i64;
        let largest = |degree| n.checked_pow(degree)?.checked_mul(terms);
        let table = match interaction {
            Interaction::Polynomial(degree) | Interaction::Rectified(degree)
                if largest(degree).is_some_and(|most| most < 1 << 53) =>
            {
                let least = if interaction == Interaction::Rectified(degree) { 0 } else { -n };
                Table::Exact((-n..=n).map(|z| z.max(least).pow(degree) as f64).collect())
            }
            _ => Table::Logs((-n..=n).map(|z| interaction.log(z as f64)).collect()),
        };
        Ok(Self { columns: columns(&patterns), patterns, interaction, table })
    }

    /// What is stored.
    pub fn patterns(&self) -> &States {
        &self.patterns
    }

    /// F.
    pub fn interaction(&self) -> Interaction {
        self.interaction
    }

    /// Where F(z) stands in the table.
    fn at(&self, z: i64) -> usize {
        (z + self.patterns.units() as i64 + 1) as usize
    }

    /// ln |E| and the sign of E = −Σμ F(xμᵀs); `None` where it is 0. E itself is more than f64 holds from a few hundred units on.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a state of another number of units.
    pub fn log_energy(&self, state: &State) -> Result<Option<(f64, f64)>> {
        self.check(state.len())?;
        let log = |z: i64| self.interaction.log(z as f64);
        let terms: Vec<_> = self.patterns.iter().filter_map(|x| log(x.product(state))).collect();
        let most = terms.iter().fold(f64::NEG_INFINITY, |most, term| most.max(term.0));
        let sum: f64 = terms.iter().map(|(log, sign)| sign * (log - most).exp()).sum();
        Ok((sum != 0.0).then(|| (most + sum.abs().ln(), -sum.signum())))
    }

    fn check(&self, units: usize) -> Result<()> {
        if units != self.patterns.units() {
            return Err(Error::mismatch(
                "dense memory",
                format!("{} units", self.patterns.units()),
                format!("{units} units"),
            ));
        }
        Ok(())
    }

    /// From a cue on, until a sweep changes nothing, or for so many sweeps. A unit whose two energies are the same stays as it is.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a cue of another number of units.
    pub fn recall(&self, cue: &State, order: Order, sweeps: usize, rng: &mut Rng) -> Result<Recall> {
        Network::recall(self, cue, order, sweeps, rng)
    }
}

/// A state and its product with every pattern.
pub(crate) struct Held {
    state: State,
    products: Vec<i64>,
}

impl Dense {
    /// What a unit is in the patterns, in order.
    fn column(&self, unit: usize) -> impl Iterator<Item = bool> + '_ {
        let column = &self.columns[unit];
        (0..self.patterns.len()).map(move |row| column[row / 64] >> (row % 64) & 1 == 1)
    }
}

impl Network for Dense {
    type Held = Held;

    fn units(&self) -> usize {
        self.patterns.units()
    }

    fn hold(&self, state: State) -> Held {
        Held { products: self.patterns.iter().map(|x| x.product(&state)).collect(), state }
    }

    fn state(held: &Held) -> &State {
        &held.state
    }

    fn wanted(&self, held: &Held, unit: usize) -> bool {
        let now = held.state.get(unit);
        // Without the unit itself, and then with it as it is in the pattern, and turned over.
        let both = || {
            self.column(unit).zip(&held.products).map(|(up, product)| {
                let rest = product - if up == now { 1 } else { -1 };
                let own = if up { 1 } else { -1 };
                (self.at(rest + own), self.at(rest - own))
            })
        };
        let difference: f64 = match &self.table {
            Table::Exact(values) => both().map(|(up, down)| values[up] - values[down]).sum(),
            Table::Logs(logs) => {
                let terms = both().flat_map(|(up, down)| [logs[up], logs[down]]);
                let most = terms.flatten().fold(f64::NEG_INFINITY, |most, (log, _)| most.max(log));
                let value = |at: usize| logs[at].map_or(0.0, |(log, sign)| sign * (log - most).exp());
                both().map(|(up, down)| value(up) - value(down)).sum()
            }
        };
        match difference {
            0.0 => now,
            difference => difference > 0.0,
        }
    }

    fn flip(&self, held: &mut Held, unit: usize) {
        let up = !held.state.get(unit);
        held.state.set(unit, up);
        let change = 2 * sign(up) as i64;
        for (of_pattern, product) in self.column(unit).zip(&mut held.products) {
            *product += if of_pattern { change } else { -change };
        }
    }
}
