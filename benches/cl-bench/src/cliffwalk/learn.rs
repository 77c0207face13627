//! One learner: which transition it replays next, and how many updates it needs.

use std::sync::atomic::{AtomicBool, Ordering};

use cl_core::{Error, Result, Rng};
use cl_replay::{Ranking, Strata, SumTree};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::Protocol;
use super::values::{Representation, Values};
use super::walk::{Pair, Walk};

/// How the next transition is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Each transition with the same probability.
    Uniform,
    /// In hindsight: the transition after whose update the error of all values is smallest.
    Oracle,
    /// The one with the largest |δ| when it was last replayed.
    Greedy,
    /// By the rank of that |δ|: P(i) ∝ (1 / rank(i))^α.
    Rank,
    /// In proportion to it: P(i) ∝ (|δᵢ| + ε)^α.
    Proportional,
}

impl Strategy {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Uniform, Self::Oracle, Self::Greedy, Self::Rank, Self::Proportional];

    /// As it is written in results and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Oracle => "oracle",
            Self::Greedy => "greedy",
            Self::Rank => "rank",
            Self::Proportional => "proportional",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The error fell below the threshold.
    Learned,
    /// The oracle chose an update that changes nothing, and would for ever.
    Stuck,
    /// There was no end within the updates that a run may take.
    Capped,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The number of states, n.
    pub states: usize,
    /// How many updates were made until it ended.
    pub updates: u64,
    /// How it ended.
    pub end: End,
}

/// Fills the memory once and replays one transition for every update, until the values are learned. Memory,
/// first values and draws have random streams of their own: the strategies of one seed begin alike.
///
/// # Errors
/// [`Error::Interrupted`] if `stop` is set; those of the memories.
pub fn learn(
    walk: Walk,
    representation: Representation,
    strategy: Strategy,
    protocol: &Protocol,
    seed: u64,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let mut values =
        Values::new(walk, representation, protocol.initial_std, &mut cl_core::rng(seed, "cliffwalk values"))?;
    let memory = walk.memory(&mut cl_core::rng(seed, "cliffwalk memory"));
    let mut replay = Replay::new(strategy, memory.len(), protocol)?;
    let mut rng = cl_core::rng(seed, "cliffwalk draws");
    let cap = protocol.most_updates_per_transition * memory.len() as u64;
    let mut updates = 0;
    let end = loop {
        if values.error() < protocol.learned_below {
            break End::Learned;
        }
        if updates == cap {
            break End::Capped;
        }
        if updates % (1 << 16) == 0 && stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let drawn = replay.draw(&mut rng)?;
        let pair = match drawn {
            Some(item) => Pair::of(memory[item] as usize),
            None => best(walk, &values, protocol.step_size),
        };
        let delta = values.td_error(pair);
        let before = drawn.is_none().then(|| values.clone());
        values.update(pair, protocol.step_size * delta);
        updates += 1;
        match drawn {
            Some(item) => replay.seen(item, delta)?,
            // The oracle's choice follows from the values alone.
            None if before.as_ref() == Some(&values) => break End::Stuck,
            None => {}
        }
    };
    Ok(Outcome { states: walk.states, updates, end })
}

/// The oracle's choice. Transitions of a pair are equal, so that it is one of 2n, not of 2^(n+1) − 2; the
/// first of equally good ones.
fn best(walk: Walk, values: &Values, step_size: f64) -> Pair {
    let mut best = (f64::INFINITY, Pair::of(0));
    for pair in walk.pairs() {
        let error = values.error_after(pair, step_size * values.td_error(pair));
        if error < best.0 {
            best = (error, pair);
        }
    }
    best.1
}

/// What a strategy knows of the transitions. A new one has no TD error yet and the largest priority there
/// can be so far, p₁ = 1 in the paper's algorithm 1.
enum Replay {
    Uniform { len: usize },
    Oracle,
    Greedy(Ranking),
    Rank(Ranking),
    Proportional { tree: SumTree, alpha: f64, epsilon: f64 },
}

impl Replay {
    fn new(strategy: Strategy, len: usize, protocol: &Protocol) -> Result<Self> {
        let ranking = |alpha| {
            let mut ranking = Ranking::new(len, alpha)?;
            let items: Vec<u32> = (0..len as u32).collect();
            ranking.set_batch(&items, &vec![protocol.first_priority as f32; len])?;
            Ok::<_, Error>(ranking)
        };
        Ok(match strategy {
            Strategy::Uniform => Self::Uniform { len },
            Strategy::Oracle => Self::Oracle,
            // Draws of the largest priority need no exponent.
            Strategy::Greedy => Self::Greedy(ranking(0.0)?),
            Strategy::Rank => Self::Rank(ranking(protocol.alpha_rank)?),
            Strategy::Proportional => {
                let (alpha, epsilon) = (protocol.alpha_proportional, protocol.epsilon);
                let mut tree = SumTree::new(len)?;
                let first = (protocol.first_priority + epsilon).powf(alpha) as f32;
                tree.set_range(0, &vec![first; len])?;
                Self::Proportional { tree, alpha, epsilon }
            }
        })
    }

    /// The next transition; None if that is for the oracle to say.
    fn draw(&self, rng: &mut Rng) -> Result<Option<usize>> {
        Ok(match self {
            Self::Uniform { len } => Some(rng.random_range(0..*len)),
            Self::Oracle => None,
            Self::Greedy(ranking) => Some(ranking.at(1)?),
            Self::Rank(ranking) => Some(ranking.sample(1, Strata::Independent, rng)?[0] as usize),
            Self::Proportional { tree, .. } => Some(tree.sample(1, Strata::Independent, rng)?[0] as usize),
        })
    }

    /// A transition was replayed, with this TD error.
    fn seen(&mut self, item: usize, delta: f64) -> Result<()> {
        match self {
            Self::Uniform { .. } | Self::Oracle => Ok(()),
            Self::Greedy(ranking) | Self::Rank(ranking) => ranking.set(item, delta.abs() as f32),
            Self::Proportional { tree, alpha, epsilon } => {
                tree.set(item, (delta.abs() + *epsilon).powf(*alpha) as f32)
            }
        }
    }
}
