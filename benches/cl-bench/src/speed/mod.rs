//! How fast our code is, beside the libraries that people use for the same.
//!
//! Everything runs on one thread and is counted in samples per CPU second. The contestants of a case
//! take turns, round after round, and a ratio is the median of the rounds' ratios: what slows the
//! machine for a while slows both sides of it.
//!
//! | contest | cases |
//! |---|---|
//! | [`TRAINING`], `cargo xtask bench speed` | training steps, beside PyTorch's and Avalanche's |
//! | [`METHODS`], `cargo xtask bench method-speed` | steps of whole methods, beside PyTorch's and Avalanche's |
//! | [`MEMORY`], `cargo xtask bench memory-speed` | what memories compute, beside PyTorch's |
//! | [`DNC`], `cargo xtask bench dnc-speed` | training steps of a differentiable neural computer, beside the package `dnc` |
//! | [`REPLAY`], `cargo xtask bench replay-speed` | what a replay buffer does, beside the libraries of reinforcement learning |
//!
//! [`gpu`] is none: its peers are programs of their own, and it measures wall time.
//!
//! A contest is data: our cases, the peers, what is compared with what, and what we mean to reach. The
//! peers' side is in `benches/peers/`.

pub mod dnc;
pub mod gpu;
pub mod gpu_retrieval;
mod machine;
mod measure;
pub mod memory;
pub mod methods;
mod peers;
pub mod replay;
mod report;
mod stats;
mod table;
pub mod training;
mod venv;
mod worker;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use cl_core::{Error, Result};

use crate::clock::cpu_seconds;

pub use dnc::DNC;
pub use machine::Machine;
pub use measure::Measurement;
pub use memory::MEMORY;
pub use methods::METHODS;
pub use peers::{Environment, Peer, PeerOptions};
pub use replay::REPLAY;
pub use report::{Failure, Rate, Ratio, Report, Verdict};
pub use stats::Spread;
pub use training::TRAINING;
pub use venv::VENV_VARIABLE;
pub use worker::Hello;

use measure::calibrate;
use peers::Peers;

/// Ourselves as the opponent of another case of ours.
pub const ENGRAM: &str = "engram";

/// A list of cases, and what they are compared with.
pub struct Contest {
    /// How it is called and shown.
    pub heading: Heading,
    /// Our cases, in the order of the table.
    pub cases: &'static [Entry],
    /// What is compared with what, in the order of the table.
    pub comparisons: &'static [Comparison],
    /// The peers that the comparisons name.
    pub peers: &'static [Peer],
}

/// How a contest is called and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heading {
    /// The name of its command and of its files, `NAME.jsonl` and `NAME.md`.
    pub name: &'static str,
    /// The title of its page.
    pub title: &'static str,
    /// In what its tables are.
    pub unit: Unit,
}

/// The unit of a table. What is measured and stored is always samples per CPU second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Samples per CPU second: more is better.
    SamplesPerSecond,
    /// Nanoseconds of CPU time for one transition: less is better.
    Nanoseconds,
}

/// A case of ours: its name, and what sets it up. It is set up when it is its turn, and put away after.
pub struct Entry {
    /// Its name in the comparisons.
    pub name: &'static str,
    /// Sets it up.
    pub make: fn() -> Result<Box<dyn Case>>,
}

impl Entry {
    /// A case by its name and what sets it up.
    #[must_use]
    pub const fn new(name: &'static str, make: fn() -> Result<Box<dyn Case>>) -> Self {
        Self { name, make }
    }
}

/// Work whose speed is measured.
pub trait Case {
    /// Goes on for `steps` steps from where the last call stopped, and returns how many samples were
    /// dealt with: those of the stream that were trained on (replayed ones do not count), or the
    /// transitions that were drawn, changed or added.
    ///
    /// # Errors
    ///
    /// Whatever keeps a step from being made.
    fn run(&mut self, steps: usize) -> Result<usize>;
}

/// A case of ours beside one of a peer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Our case.
    pub case: &'static str,
    /// The peer, or [`ENGRAM`].
    pub peer: &'static str,
    /// Its case.
    pub peer_case: &'static str,
    /// The ratio that we mean to reach, where we mean to.
    pub aim: Aim,
}

/// The ratio that we mean to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// None: the ratio is shown.
    None,
    /// Against this peer.
    AtLeast(f64),
    /// Against this peer if it is the fastest in this run of those that our case has such an aim against.
    IfFastest(f64),
}

const fn aim(case: &'static str, peer: &'static str, peer_case: &'static str, aim: f64) -> Comparison {
    Comparison { case, peer, peer_case, aim: Aim::AtLeast(aim) }
}

const fn shown(case: &'static str, peer: &'static str, peer_case: &'static str) -> Comparison {
    Comparison { case, peer, peer_case, aim: Aim::None }
}

const fn if_fastest(case: &'static str, peer: &'static str, aim: f64) -> Comparison {
    Comparison { case, peer, peer_case: case, aim: Aim::IfFastest(aim) }
}

/// What to measure, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// Turns that every contestant gets.
    pub rounds: usize,
    /// CPU time of one turn.
    pub turn: Duration,
    /// Names of our cases; none means all.
    pub cases: Vec<String>,
    /// The peers, if they are wanted.
    pub peers: Option<PeerOptions>,
    /// The folder for the contest's two files, written anew after every case.
    pub out: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { rounds: 9, turn: Duration::from_millis(500), cases: vec![], peers: None, out: None }
    }
}

/// Measures our cases of a contest and, if the options say so, the peers beside them.
///
/// `say` is told how it goes on, a line at a time. `stop` is asked between turns; once it says so, the
/// report holds what was measured to the end. A peer that fails costs its own rows only: they are
/// among [`Report::failures`].
///
/// Our side runs in a rayon pool of one thread. candle takes the number of threads from
/// `RAYON_NUM_THREADS`, which should be 1 as well; more CPU time than one thread can use is an error.
///
/// # Errors
///
/// [`Error::Invalid`] for a case that does not exist; [`Error::Unavailable`] if the peers' environment
/// cannot be had; [`Error::Io`] if the report cannot be written.
pub fn run(
    contest: &Contest,
    options: &Options,
    stop: &(dyn Fn() -> bool + Sync),
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<Report> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .map_err(|error| Error::Unavailable { what: "a thread pool".into(), why: error.to_string() })?;
    pool.install(|| {
        let entries = chosen(contest.cases, &options.cases)?;
        let peers = match &options.peers {
            Some(peers) => Peers::prepare(contest.peers, peers, say)?,
            None => Peers::none(),
        };
        play(contest, options, &entries, peers, stop, say)
    })
}

/// The cases by the names that were asked for, in their own order.
fn chosen(entries: &'static [Entry], names: &[String]) -> Result<Vec<&'static Entry>> {
    if let Some(unknown) = names.iter().find(|name| !entries.iter().any(|entry| entry.name == *name)) {
        let known: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
        return Err(Error::invalid(format!("case {unknown:?}"), format!("there are {}", known.join(", "))));
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    Ok(entries.iter().filter(|entry| wanted(entry.name)).collect())
}

/// All chosen cases, one after the other; the report grows and is saved after each.
fn play(
    contest: &Contest,
    options: &Options,
    entries: &[&Entry],
    mut peers: Peers,
    stop: &dyn Fn() -> bool,
    say: &mut dyn FnMut(&str),
) -> Result<Report> {
    if options.rounds == 0 {
        return Err(Error::invalid("rounds", "at least one is needed"));
    }
    let mut report = Report::new(contest.heading, Machine::here());
    for entry in entries {
        say(&format!("{} ...", entry.name));
        let finished = Match::new(contest, entry, &mut peers).play(options, stop)?;
        match finished {
            Some(finished) => finished.enter(&mut report),
            None => report.interrupted = true,
        }
        report.machine.peers =
            peers.hellos().iter().map(|(name, hello)| ((*name).into(), hello.clone())).collect();
        report.note_useless_stub();
        if let Some(dir) = &options.out {
            report.save(dir)?;
        }
        if report.interrupted {
            break;
        }
    }
    Ok(report)
}

/// One of our cases and its opponents.
struct Match<'a> {
    case: &'static str,
    peers: &'a mut Peers,
    contestants: Vec<Contestant>,
}

struct Contestant {
    player: Player,
    /// `None`: our case itself.
    comparison: Option<Comparison>,
    /// Steps in a turn.
    steps: usize,
    /// Samples per CPU second, one for each round.
    rates: Vec<f64>,
    /// Set once: who failed plays no more.
    failure: Option<Error>,
}

/// Who takes a turn.
enum Player {
    /// A case of ours, once it is set up.
    Ours(&'static str, fn() -> Result<Box<dyn Case>>, Option<Box<dyn Case>>),
    /// A peer and its case.
    Peer(&'static str, &'static str),
}

impl Player {
    fn ours(entry: &Entry) -> Self {
        Self::Ours(entry.name, entry.make, None)
    }

    /// The first turn sets it up.
    fn turn(&mut self, peers: &mut Peers, steps: usize) -> Result<Measurement> {
        let (name, make, ready) = match self {
            Self::Peer(peer, case) => return peers.run(peer, case, steps),
            Self::Ours(name, make, ready) => (name, make, ready),
        };
        let case = match ready {
            Some(case) => case,
            None => ready.insert(make()?),
        };
        let (wall, cpu) = (Instant::now(), cpu_seconds());
        let samples = case.run(steps)?;
        let measured = Measurement {
            samples: samples as u64,
            cpu_seconds: cpu_seconds() - cpu,
            wall_seconds: wall.elapsed().as_secs_f64(),
        };
        measured.checked(&format!("engram, {name}"))
    }
}

impl<'a> Match<'a> {
    fn new(contest: &Contest, entry: &Entry, peers: &'a mut Peers) -> Self {
        let opponent = |comparison: &Comparison| {
            let Comparison { peer, peer_case, .. } = *comparison;
            if peer != ENGRAM {
                return peers.has(peer).then_some(Player::Peer(peer, peer_case));
            }
            contest.cases.iter().find(|other| other.name == peer_case).map(Player::ours)
        };
        let opponents = contest.comparisons.iter().filter(|comparison| comparison.case == entry.name);
        let contestants = std::iter::once((None, Player::ours(entry)))
            .chain(opponents.filter_map(|comparison| Some((Some(*comparison), opponent(comparison)?))))
            .map(|(comparison, player)| Contestant {
                player,
                comparison,
                steps: 0,
                rates: vec![],
                failure: None,
            })
            .collect();
        Self { case: entry.name, peers, contestants }
    }

    /// `None` if it was stopped before the last round.
    fn play(mut self, options: &Options, stop: &dyn Fn() -> bool) -> Result<Option<Finished>> {
        for index in 0..self.contestants.len() {
            if stop() {
                return Ok(None);
            }
            let contestant = &mut self.contestants[index];
            match calibrate(options.turn, |steps| contestant.player.turn(self.peers, steps)) {
                Ok(steps) => contestant.steps = steps,
                Err(error) => contestant.failure = Some(error),
            }
            // Without us there is nothing to compare with.
            if index == 0 && contestant.failure.is_some() {
                return Ok(Some(self.finished()));
            }
        }
        let count = self.contestants.len();
        for round in 0..options.rounds {
            // Each round starts with another one, so that nobody always runs in the same wake.
            for index in (0..count).map(|turn| (round + turn) % count) {
                let contestant = &mut self.contestants[index];
                if contestant.failure.is_some() {
                    continue;
                }
                if stop() {
                    return Ok(None);
                }
                match contestant.player.turn(self.peers, contestant.steps) {
                    Ok(measured) => contestant.rates.push(measured.samples_per_cpu_second()),
                    Err(error) => contestant.failure = Some(error),
                }
            }
        }
        Ok(Some(self.finished()))
    }

    fn finished(self) -> Finished {
        Finished { case: self.case, contestants: self.contestants }
    }
}

/// A match that was played to the end.
struct Finished {
    case: &'static str,
    contestants: Vec<Contestant>,
}

impl Finished {
    fn enter(self, report: &mut Report) {
        let Self { case, contestants } = self;
        let (mut ours, mut ratios) = (None, vec![]);
        for Contestant { comparison, rates, failure, .. } in contestants {
            match (failure, comparison) {
                (Some(error), comparison) => report.failures.push(Failure {
                    case: comparison.map_or(case, |c| c.peer_case).into(),
                    by: comparison.map_or(ENGRAM, |c| c.peer).into(),
                    why: error.to_string(),
                }),
                (None, None) => ours = Some(rates),
                (None, Some(comparison)) => {
                    if let Some(ours) = &ours {
                        ratios.extend(Ratio::new(&comparison, ours, &rates).map(|r| (comparison.aim, r)));
                    }
                }
            }
        }
        report.ratios.extend(Ratio::judged(ratios));
        if let Some(ours) = ours {
            report.rates.extend(Rate::new(case, &ours));
        }
    }
}

#[cfg(test)]
mod tests;
