//! How fast our training steps are, beside PyTorch's and Avalanche's.
//!
//! Everything runs on one thread and is counted in samples per CPU second. The contestants of a case
//! take turns, round after round, and a ratio is the median of the rounds' ratios: what slows the
//! machine for a while slows both sides of it.
//!
//! | case | one step |
//! |---|---|
//! | `mlp-128` | 784-400-400-10, ReLU, batch 128: forward, softmax cross-entropy, backward, SGD |
//! | `mlp-128-adam` | the same with Adam |
//! | `mlp-10` | 784-100-100-10, batch 10, SGD |
//! | `er-10` | the same with a reservoir of 200, 10 replayed beside the 10 that arrive; these are counted |
//! | `fisher-exact` | diagonal Fisher of 784-400-400-10, expectation over the 10 classes; any batch |
//! | `cnn-64` | 3×32×32, batch 64: conv 3×3 (32), ReLU, pool 2, conv 3×3 (64), ReLU, pool 2, linear 10; SGD |
//!
//! Inputs are synthetic, in [0, 1], made beforehand as one tensor and sliced: 12 000 samples (2 048
//! images, 2 048 samples for the Fisher). The peers' side is in `benches/peers/`.

mod machine;
mod measure;
pub mod ours;
mod peers;
mod report;
mod stats;
mod table;
mod venv;
mod worker;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use cl_core::{Error, Result};

use crate::clock::cpu_seconds;

pub use machine::Machine;
pub use measure::Measurement;
pub use peers::{AVALANCHE, PYTORCH, PYTORCH_AVX512, PeerOptions};
pub use report::{Failure, Rate, Ratio, Report, Verdict};
pub use stats::Spread;
pub use venv::VENV_VARIABLE;
pub use worker::Hello;

use measure::calibrate;
use peers::Peers;

/// A kind of training step whose speed is measured.
pub trait Case {
    /// Its name in [`COMPARISONS`].
    fn name(&self) -> &str;

    /// Goes on for `steps` steps from where the last call stopped, and returns how many samples of
    /// the stream were trained on (replayed ones do not count).
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
    /// The peer.
    pub peer: &'static str,
    /// Its case.
    pub peer_case: &'static str,
    /// The ratio that we mean to reach, where we mean to.
    pub aim: Option<f64>,
}

const fn aim(case: &'static str, peer: &'static str, peer_case: &'static str, aim: f64) -> Comparison {
    Comparison { case, peer, peer_case, aim: Some(aim) }
}

const fn shown(case: &'static str, peer: &'static str, peer_case: &'static str) -> Comparison {
    Comparison { case, peer, peer_case, aim: None }
}

/// What is compared with what, in the order of the table.
pub const COMPARISONS: &[Comparison] = &[
    aim("mlp-128", PYTORCH, "mlp-128", 1.75),
    aim("mlp-128", PYTORCH_AVX512, "mlp-128", 0.85),
    shown("mlp-128-adam", PYTORCH, "mlp-128-adam"),
    shown("mlp-128-adam", PYTORCH_AVX512, "mlp-128-adam"),
    aim("mlp-10", PYTORCH, "mlp-10", 2.75),
    shown("mlp-10", PYTORCH_AVX512, "mlp-10"),
    aim("er-10", AVALANCHE, "er-10", 10.0),
    shown("er-10", AVALANCHE, "er-10-5exp"),
    shown("er-10", PYTORCH, "er-10"),
    aim("fisher-exact", PYTORCH, "fisher-loop", 50.0),
    aim("fisher-exact", PYTORCH, "fisher-vmap", 3.0),
    shown("fisher-exact", PYTORCH, "fisher-factored"),
    shown("fisher-exact", PYTORCH_AVX512, "fisher-factored"),
    aim("cnn-64", PYTORCH, "cnn-64", 0.9),
    shown("cnn-64", PYTORCH_AVX512, "cnn-64"),
];

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
    /// The folder for `speed.jsonl` and `speed.md`, written anew after every case.
    pub out: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { rounds: 9, turn: Duration::from_millis(500), cases: vec![], peers: None, out: None }
    }
}

/// Measures `ours` and, if the options say so, the peers beside them.
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
/// cannot be had; [`Error::Io`] if the report cannot be written; what `ours` returns.
pub fn run(
    options: &Options,
    ours: impl FnOnce() -> Result<Vec<Box<dyn Case>>> + Send,
    stop: &(dyn Fn() -> bool + Sync),
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<Report> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .map_err(|error| Error::Unavailable { what: "a thread pool".into(), why: error.to_string() })?;
    pool.install(|| {
        let cases = chosen(ours()?, &options.cases)?;
        let peers = match &options.peers {
            Some(peers) => Peers::prepare(peers, say)?,
            None => Peers::none(),
        };
        contest(options, cases, peers, COMPARISONS, stop, say)
    })
}

/// The cases by the names that were asked for, in their own order.
fn chosen(cases: Vec<Box<dyn Case>>, names: &[String]) -> Result<Vec<Box<dyn Case>>> {
    if let Some(unknown) = names.iter().find(|name| !cases.iter().any(|case| case.name() == *name)) {
        let known: Vec<&str> = cases.iter().map(|case| case.name()).collect();
        return Err(Error::invalid(format!("case {unknown:?}"), format!("there are {}", known.join(", "))));
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    Ok(cases.into_iter().filter(|case| wanted(case.name())).collect())
}

/// All cases, one after the other; the report grows and is saved after each.
fn contest(
    options: &Options,
    mut cases: Vec<Box<dyn Case>>,
    mut peers: Peers,
    comparisons: &[Comparison],
    stop: &dyn Fn() -> bool,
    say: &mut dyn FnMut(&str),
) -> Result<Report> {
    if options.rounds == 0 {
        return Err(Error::invalid("rounds", "at least one is needed"));
    }
    let mut report = Report::new(Machine::here());
    for case in &mut cases {
        let opponents =
            comparisons.iter().filter(|c| c.case == case.name() && peers.has(c.peer)).copied().collect();
        say(&format!("{} ...", case.name()));
        let finished = Match::new(case.as_mut(), &mut peers, opponents).play(options, stop)?;
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
    case: &'a mut dyn Case,
    peers: &'a mut Peers,
    contestants: Vec<Contestant>,
}

struct Contestant {
    /// `None`: ourselves.
    opponent: Option<Comparison>,
    /// Steps in a turn.
    steps: usize,
    /// Samples per CPU second, one for each round.
    rates: Vec<f64>,
    /// Set once: who failed plays no more.
    failure: Option<Error>,
}

impl<'a> Match<'a> {
    fn new(case: &'a mut dyn Case, peers: &'a mut Peers, opponents: Vec<Comparison>) -> Self {
        let contestants = std::iter::once(None)
            .chain(opponents.into_iter().map(Some))
            .map(|opponent| Contestant { opponent, steps: 0, rates: vec![], failure: None })
            .collect();
        Self { case, peers, contestants }
    }

    /// `None` if it was stopped before the last round.
    fn play(mut self, options: &Options, stop: &dyn Fn() -> bool) -> Result<Option<Finished>> {
        for index in 0..self.contestants.len() {
            if stop() {
                return Ok(None);
            }
            let opponent = self.contestants[index].opponent;
            let steps = calibrate(options.turn, |steps| self.turn(opponent, steps));
            let contestant = &mut self.contestants[index];
            match steps {
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
                let Contestant { opponent, steps, failure: None, .. } = self.contestants[index] else {
                    continue;
                };
                if stop() {
                    return Ok(None);
                }
                let measured = self.turn(opponent, steps);
                let contestant = &mut self.contestants[index];
                match measured {
                    Ok(measured) => contestant.rates.push(measured.samples_per_cpu_second()),
                    Err(error) => contestant.failure = Some(error),
                }
            }
        }
        Ok(Some(self.finished()))
    }

    fn finished(self) -> Finished {
        Finished { case: self.case.name().to_owned(), contestants: self.contestants }
    }

    fn turn(&mut self, opponent: Option<Comparison>, steps: usize) -> Result<Measurement> {
        let Some(Comparison { peer, peer_case, .. }) = opponent else {
            let (wall, cpu) = (Instant::now(), cpu_seconds());
            let samples = self.case.run(steps)?;
            let measured = Measurement {
                samples: samples as u64,
                cpu_seconds: cpu_seconds() - cpu,
                wall_seconds: wall.elapsed().as_secs_f64(),
            };
            return measured.checked(&format!("engram, {}", self.case.name()));
        };
        self.peers.run(peer, peer_case, steps)
    }
}

/// A match that was played to the end.
struct Finished {
    case: String,
    contestants: Vec<Contestant>,
}

impl Finished {
    fn enter(self, report: &mut Report) {
        let Self { case, contestants } = self;
        let mut ours = None;
        for Contestant { opponent, rates, failure, .. } in contestants {
            match (failure, opponent) {
                (Some(error), opponent) => report.failures.push(Failure {
                    case: opponent.map_or(case.clone(), |c| c.peer_case.into()),
                    by: opponent.map_or("engram", |c| c.peer).into(),
                    why: error.to_string(),
                }),
                (None, None) => ours = Some(rates),
                (None, Some(comparison)) => {
                    if let Some(ours) = &ours {
                        report.ratios.extend(Ratio::new(&comparison, ours, &rates));
                    }
                }
            }
        }
        if let Some(ours) = ours {
            report.rates.extend(Rate::new(&case, &ours));
        }
    }
}

#[cfg(test)]
mod tests;
