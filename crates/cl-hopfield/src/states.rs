//! States of ±1 units, a bit each.

use cl_core::{Error, Result, Rng};
use rand::Rng as _;
use rand::seq::index;
use serde::{Deserialize, Serialize};

/// One state of a network of ±1 units, a bit each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct State {
    units: usize,
    /// Bits beyond the last unit are 0.
    words: Vec<u64>,
}

/// What serde keeps of a [`State`].
#[derive(Serialize, Deserialize)]
struct Saved {
    units: usize,
    words: Vec<u64>,
}

impl From<State> for Saved {
    fn from(State { units, words }: State) -> Self {
        Self { units, words }
    }
}

impl TryFrom<Saved> for State {
    type Error = Error;

    fn try_from(Saved { units, words }: Saved) -> Result<Self> {
        let beyond = words.last().is_some_and(|last| !units.is_multiple_of(64) && last >> (units % 64) != 0);
        if words.len() != units.div_ceil(64) || beyond {
            return Err(Error::invalid("saved state", format!("its words are not those of {units} units")));
        }
        Ok(Self { units, words })
    }
}

impl State {
    /// All units at −1.
    pub fn new(units: usize) -> Self {
        Self { units, words: vec![0; units.div_ceil(64)] }
    }

    /// From the units: `true` is +1.
    pub fn from_bits(bits: impl IntoIterator<Item = bool>) -> Self {
        let mut state = Self::new(0);
        for bit in bits {
            if state.units.is_multiple_of(64) {
                state.words.push(0);
            }
            state.units += 1;
            state.set(state.units - 1, bit);
        }
        state
    }

    /// Each unit +1 or −1 with the same chance.
    pub fn random(units: usize, rng: &mut Rng) -> Self {
        Self::from_bits((0..units).map(|_| rng.random::<bool>()))
    }

    /// The number of units.
    pub fn len(&self) -> usize {
        self.units
    }

    /// Whether it has no units.
    pub fn is_empty(&self) -> bool {
        self.units == 0
    }

    /// Whether a unit is +1.
    ///
    /// # Panics
    /// If there is no such unit.
    pub fn get(&self, unit: usize) -> bool {
        assert!(unit < self.units, "unit {unit} of {}", self.units);
        self.words[unit / 64] >> (unit % 64) & 1 == 1
    }

    /// Sets a unit to +1 (`true`) or −1.
    ///
    /// # Panics
    /// If there is no such unit.
    pub fn set(&mut self, unit: usize, up: bool) {
        assert!(unit < self.units, "unit {unit} of {}", self.units);
        let bit = 1 << (unit % 64);
        match up {
            true => self.words[unit / 64] |= bit,
            false => self.words[unit / 64] &= !bit,
        }
    }

    /// The units in order.
    pub fn bits(&self) -> impl Iterator<Item = bool> + '_ {
        (0..self.units).map(|unit| self.get(unit))
    }

    /// The units as +1.0 and −1.0.
    pub fn signs(&self) -> Vec<f64> {
        self.bits().map(sign).collect()
    }

    /// The same with so many units turned over, drawn without replacement.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than there are.
    pub fn corrupted(&self, flips: usize, rng: &mut Rng) -> Result<Self> {
        if flips > self.units {
            return Err(Error::invalid("flips", format!("{flips} of {} units", self.units)));
        }
        let mut state = self.clone();
        for unit in index::sample(rng, self.units, flips) {
            state.set(unit, !state.get(unit));
        }
        Ok(state)
    }

    /// Σᵢ sᵢtᵢ, from −n to n.
    ///
    /// # Panics
    /// If the other has another number of units.
    pub fn product(&self, other: &Self) -> i64 {
        assert_eq!(self.units, other.units, "states of one network");
        let differ: u32 = self.words.iter().zip(&other.words).map(|(a, b)| (a ^ b).count_ones()).sum();
        self.units as i64 - 2 * i64::from(differ)
    }

    /// The mean of sᵢtᵢ: 1 where they are the same, 0 for states that have nothing to do with one another.
    ///
    /// # Panics
    /// If the other has another number of units.
    pub fn overlap(&self, other: &Self) -> f64 {
        self.product(other) as f64 / self.units as f64
    }
}

pub(crate) fn sign(up: bool) -> f64 {
    if up { 1.0 } else { -1.0 }
}

/// States of one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SavedStates", into = "SavedStates")]
pub struct States {
    units: usize,
    rows: Vec<State>,
}

/// What serde keeps of [`States`].
#[derive(Serialize, Deserialize)]
struct SavedStates {
    units: usize,
    rows: Vec<State>,
}

impl From<States> for SavedStates {
    fn from(States { units, rows }: States) -> Self {
        Self { units, rows }
    }
}

impl TryFrom<SavedStates> for States {
    type Error = Error;

    fn try_from(SavedStates { units, rows }: SavedStates) -> Result<Self> {
        let mut states = Self::new(units);
        rows.into_iter().try_for_each(|row| states.push(row))?;
        Ok(states)
    }
}

impl States {
    /// None yet, of so many units.
    pub fn new(units: usize) -> Self {
        Self { units, rows: Vec::new() }
    }

    /// So many random ones.
    pub fn random(units: usize, rows: usize, rng: &mut Rng) -> Self {
        Self { units, rows: (0..rows).map(|_| State::random(units, rng)).collect() }
    }

    /// Adds one.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another number of units.
    pub fn push(&mut self, state: State) -> Result<()> {
        if state.len() != self.units {
            return Err(Error::mismatch(
                "states",
                format!("{} units", self.units),
                format!("{} units", state.len()),
            ));
        }
        self.rows.push(state);
        Ok(())
    }

    /// The number of units of each.
    pub fn units(&self) -> usize {
        self.units
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A copy of one of them.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> State {
        self.rows[row].clone()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &State> {
        self.rows.iter()
    }
}
