//! How a state is updated until it stays.

use cl_core::{Error, Result, Rng};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::State;

/// The order in which the units of a sweep are updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// One after the other, each seeing what those before it have become: the energy never rises.
    InTurn,
    /// The same in an order drawn anew for each sweep.
    Shuffled,
    /// All at once, from the state as it was: it may go round in a circle of two.
    AtOnce,
}

/// What came of a cue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// The state in the end.
    pub state: State,
    /// Sweeps over all units, the last of which changed nothing if it settled.
    pub sweeps: usize,
    /// Whether a sweep changed nothing.
    pub settled: bool,
}

/// A network whose units can be updated.
pub(crate) trait Network {
    /// The state as it is now, beside what the network keeps up to date with it.
    type Held;

    fn units(&self) -> usize;
    fn hold(&self, state: State) -> Self::Held;
    fn state(held: &Self::Held) -> &State;
    /// What a unit should be, the others as they are.
    fn wanted(&self, held: &Self::Held, unit: usize) -> bool;
    /// Turns a unit over.
    fn flip(&self, held: &mut Self::Held, unit: usize);

    fn recall(&self, cue: &State, order: Order, sweeps: usize, rng: &mut Rng) -> Result<Recall> {
        if cue.len() != self.units() {
            return Err(Error::mismatch(
                "recall",
                format!("a cue of {} units", self.units()),
                format!("{} units", cue.len()),
            ));
        }
        let mut held = self.hold(cue.clone());
        let mut units: Vec<usize> = (0..cue.len()).collect();
        for sweep in 1..=sweeps {
            if order == Order::Shuffled {
                units.shuffle(rng);
            }
            let differs = |held: &Self::Held, unit| self.wanted(held, unit) != Self::state(held).get(unit);
            let mut flips = 0;
            if order == Order::AtOnce {
                let turned: Vec<usize> = units.iter().copied().filter(|&unit| differs(&held, unit)).collect();
                turned.iter().for_each(|&unit| self.flip(&mut held, unit));
                flips = turned.len();
            } else {
                for &unit in &units {
                    if differs(&held, unit) {
                        self.flip(&mut held, unit);
                        flips += 1;
                    }
                }
            }
            if flips == 0 {
                return Ok(Recall { state: Self::state(&held).clone(), sweeps: sweep, settled: true });
            }
        }
        Ok(Recall { state: Self::state(&held).clone(), sweeps, settled: false })
    }
}
