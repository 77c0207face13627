//! The suite `motion-online`: movements are forecast online, while their dynamics switch, and nobody says when.
//!
//! A network is given the last two seconds of a movement and forecasts the next three. Windows come as they are seen, each once,
//! from regimes that come and go. What was learned of a regime is gone when it comes back, unless something is done: experience
//! replay in every step, or a fast learner on the stream and a slow one that is taught in sleep. All that do more than learn what
//! comes have gradients of as many windows.
//!
//! The setting is that of online forecasting with dual learning systems for driving; the world is generated, so there is no number
//! to compare with but those of the other rows.

mod findings;
mod learners;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{Device, Tensor};
use cl_core::{Error, Result};
use cl_data::{Batches, LastBatch};
use rand::seq::SliceRandom as _;
use serde::{Deserialize, Serialize};

use crate::experiment::{Experiment, Measured, Run};
use crate::report::study::Study;
use learners::Learner;
use world::{Regime, Windows};

/// What is held fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// How often each regime is visited.
    pub rounds: usize,
    /// Scenes of a visit.
    pub scenes: usize,
    /// Movements in a scene: the windows of a batch.
    pub batch: usize,
    /// Looks at held-out windows in a visit, each in the later half of its part of it.
    pub looks: usize,
    /// Held-out windows of each regime.
    pub held_out: usize,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Windows that can be kept, in all memories together.
    pub memory: usize,
    /// How many of them are the newest, where there are two memories.
    pub short: usize,
    /// Windows between two nights; as many are replayed in a night.
    pub day: usize,
    /// Windows of a step in sleep.
    pub dreams: usize,
    /// How many of these are of the newest, where there are two memories.
    pub recent: usize,
    /// What is left of the slow learner's rate at the end of a night.
    pub lowest: f64,
    /// Similar windows by which a learner is chosen.
    pub neighbours: usize,
    /// The rates of Adam.
    pub rates: Rates,
}

/// The rates of Adam.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Of what learns what comes, and nothing else.
    pub online: f64,
    /// Of experience replay.
    pub replay: f64,
    /// Of the fast learner.
    pub fast: f64,
    /// Of the slow learner, when a night begins.
    pub slow: f64,
    /// Of the upper bound.
    pub joint: f64,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            rounds: 3,
            scenes: 40,
            batch: 8,
            looks: 4,
            held_out: 500,
            hidden: vec![64, 64],
            memory: 1000,
            short: 300,
            day: 800,
            dreams: 8,
            recent: 1,
            lowest: 0.05,
            neighbours: 3,
            rates: Rates { online: 0.003, replay: 0.003, fast: 0.003, slow: 0.01, joint: 0.003 },
        }
    }
}

/// What one run measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What comes is learned.
    Online,
    /// What comes is learned twice: as many gradients as the others have.
    Twice,
    /// Experience replay from a reservoir, as many windows as come.
    Replay,
    /// The same with what is replayed in a step of its own: as many steps as the sleepers take.
    ReplayApart,
    /// A fast learner, and a slow one that is taught in sleep, from the same reservoir.
    Sleep,
    /// The same with a memory that is in part of the newest windows.
    DualMemory,
    /// All windows of the stream, shuffled, twice.
    Joint,
}

impl Part {
    const ALL: [Self; 7] = [
        Self::Online,
        Self::Twice,
        Self::Replay,
        Self::ReplayApart,
        Self::Sleep,
        Self::DualMemory,
        Self::Joint,
    ];

    /// By whom it forecasts.
    fn readouts(self) -> &'static [Readout] {
        match self {
            Self::Sleep | Self::DualMemory => &[Readout::Fast, Readout::Slow, Readout::Chosen],
            _ => &[Readout::Only],
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Online => "online",
            Self::Twice => "online, twice",
            Self::Replay => "ER",
            Self::ReplayApart => "ER, steps apart",
            Self::Sleep => "sleep",
            Self::DualMemory => "sleep, dual memory",
            Self::Joint => "joint",
        })
    }
}

/// By whom is forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readout {
    /// The only network there is.
    Only,
    /// The fast learner.
    Fast,
    /// The slow one.
    Slow,
    /// The one that does better on what is similar.
    Chosen,
}

impl fmt::Display for Readout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Only => "only",
            Self::Fast => "fast",
            Self::Slow => "slow",
            Self::Chosen => "chosen",
        })
    }
}

/// The errors of a forecast: the mean over all positions, and that of the last.
const ERRORS: [&str; 2] = ["ADE", "FDE"];

/// Numbers of a run by name, to a tenth of a millimetre.
#[derive(Default)]
struct Values(BTreeMap<String, Vec<f64>>);

impl Values {
    fn push(&mut self, readout: Readout, what: &str, errors: [f64; 2]) {
        for (name, error) in ERRORS.into_iter().zip(errors) {
            let rounded = (1e4 * error).round() / 1e4;
            self.0.entry(format!("{readout}, {what}, {name}")).or_default().push(rounded);
        }
    }
}

/// The mean of each of both.
fn mean(errors: &[[f64; 2]]) -> [f64; 2] {
    [0, 1].map(|at| errors.iter().map(|error| error[at]).sum::<f64>() / errors.len() as f64)
}

impl Protocol {
    fn check(&self) -> Result<()> {
        let part = self.scenes / self.looks.max(1);
        if self.looks == 0 || part * self.looks != self.scenes || self.scenes == 0 {
            let why = format!("{} looks cannot share {} scenes equally", self.looks, self.scenes);
            return Err(Error::invalid("looks", why));
        }
        if self.dreams == 0 || !self.day.is_multiple_of(self.dreams) {
            let why =
                format!("a night of {} windows cannot be replayed in steps of {}", self.day, self.dreams);
            return Err(Error::invalid("dreams", why));
        }
        Ok(())
    }

    /// The regimes as they come: all of them in each round, none after itself.
    fn visits(&self, seed: u64) -> Vec<Regime> {
        let mut rng = cl_core::rng(seed, "visits");
        let mut all: Vec<Regime> = Vec::new();
        for _ in 0..self.rounds {
            let mut round = Regime::ALL;
            round.shuffle(&mut rng);
            if all.last() == round.first() {
                round.reverse();
            }
            all.extend(round);
        }
        all
    }

    /// The windows of each visit, batch by batch.
    fn stream(&self, visits: &[Regime], seed: u64) -> impl Iterator<Item = Result<Vec<Vec<Windows>>>> {
        let mut rng = cl_core::rng(seed, "stream");
        let (scenes, batch) = (self.scenes, self.batch);
        visits.iter().copied().map(move |regime| {
            (0..scenes).map(|_| world::scene(regime, batch, &mut rng)).collect::<Result<_>>()
        })
    }

    /// The upper bound: the stream's windows, shuffled, twice.
    fn joint(&self, learner: &mut Learner, visits: &[Regime], seed: u64) -> Result<()> {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for visit in self.stream(visits, seed) {
            for windows in visit?.into_iter().flatten() {
                x.push(windows.x);
                y.push(windows.y);
            }
        }
        let (x, y) = (Tensor::cat(&x, 0)?, Tensor::cat(&y, 0)?);
        let rng = cl_core::rng(seed, "batches");
        let mut batches = Batches::new(x.dim(0)?, 2 * self.batch, rng, LastBatch::Keep)?;
        for _ in 0..2 * batches.per_epoch() {
            let rows = batches.next_batch();
            let rows = Tensor::from_slice(rows, rows.len(), &Device::Cpu)?;
            learner.experience(&Windows { x: x.index_select(&rows, 0)?, y: y.index_select(&rows, 0)? })?;
        }
        Ok(())
    }
}

impl Experiment for Protocol {
    const NAME: &'static str = "motion-online";
    const SEEDS: u64 = 10;
    type Part = Part;

    fn parts(&self) -> Vec<Part> {
        Part::ALL.into()
    }

    fn measure(&self, part: &Part, seed: u64) -> Result<Measured> {
        self.check()?;
        let visits = self.visits(seed);
        let mut rng = cl_core::rng(seed, "held-out windows");
        let held_out = Regime::ALL.map(|regime| world::held_out(regime, self.held_out, &mut rng));
        let held_out = held_out.into_iter().collect::<Result<Vec<_>>>()?;
        let on_held_out = |learner: &Learner, readout, windows: &Windows| {
            world::errors(&learner.forecast(readout, &windows.x)?, &windows.y)
        };
        let mut learner = Learner::new(self, *part, seed)?;
        let mut values = Values::default();
        if *part == Part::Joint {
            self.joint(&mut learner, &visits, seed)?;
        } else {
            let part_of_visit = self.scenes / self.looks;
            for (at, scenes) in self.stream(&visits, seed).enumerate() {
                let mut online = vec![Vec::new(); part.readouts().len()];
                for (scene, batches) in scenes?.into_iter().enumerate() {
                    for windows in batches {
                        for (errors, &readout) in online.iter_mut().zip(part.readouts()) {
                            errors.push(on_held_out(&learner, readout, &windows)?);
                        }
                        learner.experience(&windows)?;
                    }
                    // Not at the end of a part, where a night may just have passed.
                    if scene % part_of_visit != 3 * part_of_visit / 4 {
                        continue;
                    }
                    for &readout in part.readouts() {
                        let mut past = Vec::new();
                        for (&regime, windows) in Regime::ALL.iter().zip(&held_out) {
                            if regime == visits[at] {
                                values.push(readout, "present", on_held_out(&learner, readout, windows)?);
                            } else if visits[..at].contains(&regime) {
                                past.push(on_held_out(&learner, readout, windows)?);
                            }
                        }
                        if !past.is_empty() {
                            values.push(readout, "past", mean(&past));
                        }
                    }
                }
                for (errors, &readout) in online.iter().zip(part.readouts()) {
                    values.push(readout, "as it came", mean(errors));
                }
            }
        }
        for &readout in part.readouts() {
            let all = held_out.iter().map(|windows| on_held_out(&learner, readout, windows));
            values.push(readout, "all at the end", mean(&all.collect::<Result<Vec<_>>>()?));
        }
        let mut measured = Measured::of("gradients", vec![learner.learned() as f64]);
        measured.values.extend(values.0);
        Ok(measured)
    }

    fn study(&self, runs: &[&Run<Part>]) -> Result<Study> {
        findings::study(self, runs)
    }
}
