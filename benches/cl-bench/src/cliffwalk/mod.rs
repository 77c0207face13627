//! The suite `per-cliffwalk`: the Blind Cliffwalk of Schaul et al. 2016 (Prioritized Experience Replay, ICLR
//! 2016, arXiv 1511.05952; section 3.1, figures 1 and 2, appendix B.1). How many Q-learning updates does it
//! take until all action values are learned, by what decides which transition is replayed next?
//!
//! | from the paper's text | |
//! |---|---|
//! | environment | n states, two actions; the wrong one ends the episode, the right one leads on; a reward of 1 at the end of all states, 0 elsewhere; which action is right alternates |
//! | memory | "filled by exhaustively executing all 2ⁿ possible sequences of actions until termination (in random order)": 2^(n+1) − 2 transitions |
//! | learning | Q-learning with η = 1/4 and γ = 1 − 1/n, n from 2 to 16; a table, or the one-hot state with a bias of 1; parameters "initialized with small values near zero, θᵢ ∼ N(0, 0.1)" |
//! | learned | the mean squared error between estimates and truth is below 10⁻³ |
//! | oracle | "greedily selects the transition that maximally reduces the global loss in its current state (in hindsight, after the parameter update)" |
//! | greedy | the largest \|δ\| of those last encountered; new transitions have the maximal priority |
//! | rank, proportional | P(i) ∝ pᵢ^α with pᵢ = 1 / rank(i), or \|δᵢ\| + ε |
//! | shown | medians and smallest and largest of 10 runs |
//!
//! | not said there | here |
//! |---|---|
//! | whether 0.1 is a variance or a standard deviation | a standard deviation |
//! | whether the mean is weighted | over all 2n pairs of state and action alike |
//! | α and ε of the Cliffwalk | α = 0.7 by rank and 0.6 proportional, the paper's choice for Atari (table 3); ε = 10⁻⁶ |
//! | importance weights | none (β = 0): transitions are certain, so that no draw is biased |
//! | the maximal priority | 1, as p₁ in algorithm 1 |
//! | \|δ\| of before or after the update | before, as in algorithm 1 |
//! | parameters of the linear case | one set for each action: with a shared one there would be nothing for the alternation to prevent |
//!
//! Transitions of the same state and action are equal, so that a memory is a list of such pairs. Uniform
//! replay, the ranking and the sum tree draw from all 2^(n+1) − 2 of them; only the oracle, to which equal
//! transitions are one, looks at 2n.

mod findings;
mod learn;
#[cfg(test)]
mod tests;
mod values;
mod walk;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

pub use findings::Findings;
pub use learn::{End, Outcome, Strategy};
pub use values::Representation;

use crate::clock;
use crate::results::{Config, Line, Lines};
use learn::learn;
use walk::Walk;

/// The suite's name on the command line.
pub const NAME: &str = "per-cliffwalk";

/// How many seeds the paper has, and the suite if it is not told otherwise.
pub const SEEDS: u64 = 10;

/// What is held fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// The smallest and the largest number of states; all between them are run.
    pub states: (usize, usize),
    /// η.
    pub step_size: f64,
    /// The standard deviation of the first parameters.
    pub initial_std: f64,
    /// The mean squared error below which the values are learned.
    pub learned_below: f64,
    /// α of the draws by rank.
    pub alpha_rank: f64,
    /// α of the proportional draws.
    pub alpha_proportional: f64,
    /// What is added to |δ| in proportional draws.
    pub epsilon: f64,
    /// The priority of a transition that was not replayed yet.
    pub first_priority: f64,
    /// A run is given up after so many updates for each transition in the memory.
    pub most_updates_per_transition: u64,
}

impl Default for Protocol {
    /// That of the paper, completed as the module says.
    fn default() -> Self {
        Self {
            states: (2, 16),
            step_size: 0.25,
            initial_std: 0.1,
            learned_below: 1e-3,
            alpha_rank: 0.7,
            alpha_proportional: 0.6,
            epsilon: 1e-6,
            first_priority: 1.0,
            most_updates_per_transition: 200,
        }
    }
}

impl Protocol {
    fn config(&self) -> Result<Config> {
        let values = serde_json::to_value(self).map_err(|e| Error::invalid("protocol", e.to_string()))?;
        Ok(Config::new(values))
    }

    fn check(&self) -> Result<()> {
        match self.states {
            (1..=16, last) if self.states.0 <= last && last <= 16 => Ok(()),
            (first, last) => {
                let why = format!("{first} to {last} is not a range within 1 to 16");
                Err(Error::invalid("states", why))
            }
        }
    }
}

/// One strategy with one seed, over all numbers of states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`NAME`].
    pub suite: String,
    /// How values follow from parameters.
    pub representation: Representation,
    /// How transitions are chosen.
    pub strategy: Strategy,
    /// What everything random is drawn from.
    pub seed: u64,
    /// The protocol, resolved.
    pub config: Config,
    /// One for each number of states, ascending.
    pub outcomes: Vec<Outcome>,
    /// Processor time.
    pub cpu_seconds: f64,
    /// The version of this program.
    pub version: String,
}

impl Line for Run {
    type Key = (Representation, Strategy, u64, String);

    fn key(&self) -> Self::Key {
        (self.representation, self.strategy, self.seed, self.config.hash.clone())
    }

    fn check(&self) -> Result<()> {
        if self.suite != NAME {
            return Err(Error::invalid("suite", format!("{} is not {NAME}", self.suite)));
        }
        if !self.cpu_seconds.is_finite() {
            return Err(Error::invalid("cpu_seconds", "it must be finite"));
        }
        Ok(())
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { representation, strategy, seed, cpu_seconds, .. } = self;
        write!(f, "{} {} seed {seed}: ", representation.name(), strategy.name())?;
        match self.outcomes.last() {
            Some(Outcome { states, updates, end: End::Learned }) => {
                write!(f, "{updates} updates with {states} states")?;
            }
            Some(Outcome { states, updates, .. }) => {
                write!(f, "not learned with {states} states ({updates} updates)")?;
            }
            None => write!(f, "nothing was asked for")?,
        }
        write!(f, ", {cpu_seconds:.1} s for all")
    }
}

/// How to run the suite.
#[derive(Debug, Clone)]
pub struct Options {
    /// Seeds 0, 1, ... below this.
    pub seeds: u64,
    /// Where `results.jsonl` and the report go.
    pub out: PathBuf,
    /// What is held fixed.
    pub protocol: Protocol,
}

/// What came of it.
#[derive(Debug)]
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

/// Makes the runs that are not in the results file yet, one after the other, each of them on disk before the
/// next begins. `stop` ends the one in progress. `say` is told of every run.
///
/// # Errors
/// A protocol of no states, or of more than 16; those of [`Lines::open`]; a disk that is full.
pub fn run(options: &Options, stop: &AtomicBool, say: &mut dyn FnMut(&str)) -> Result<Done> {
    let Options { seeds, out, protocol } = options;
    protocol.check()?;
    let config = protocol.config()?;
    let (mut results, torn) = Lines::<Run>::open(out)?;
    if let Some(torn) = torn {
        say(&torn.to_string());
    }
    let (mut made, mut found, mut interrupted) = (0, 0, false);
    'all: for seed in 0..*seeds {
        for (representation, strategy) in cells() {
            if results.contains(&(representation, strategy, seed, config.hash.clone())) {
                found += 1;
                continue;
            }
            let start = clock::thread_cpu_seconds();
            let outcomes = (protocol.states.0..=protocol.states.1)
                .map(|states| learn(Walk { states }, representation, strategy, protocol, seed, stop))
                .collect::<Result<_>>();
            let outcomes = match outcomes {
                Err(Error::Interrupted) => {
                    interrupted = true;
                    break 'all;
                }
                other => other?,
            };
            let run = Run {
                suite: NAME.into(),
                representation,
                strategy,
                seed,
                config: config.clone(),
                outcomes,
                cpu_seconds: clock::thread_cpu_seconds() - start,
                version: env!("CARGO_PKG_VERSION").into(),
            };
            results.append(&run)?;
            say(&run.to_string());
            made += 1;
        }
    }
    let findings = Findings::of(protocol, *seeds, results.records())?;
    Ok(Done { findings, made, found, interrupted })
}

/// Everything that is compared.
fn cells() -> impl Iterator<Item = (Representation, Strategy)> {
    let each = |representation| Strategy::ALL.map(|strategy| (representation, strategy));
    Representation::ALL.into_iter().flat_map(each)
}
