//! The sleep phase: what was experienced is replayed to the slow learner.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{Fading, Learnt, Reason, Replay, Source};

/// What learns in sleep: the slow learner. A closure is one as well.
pub trait Consolidate {
    /// A step on what is replayed, at its own learning rate.
    ///
    /// # Errors
    /// The learner's own: sleep ends with them.
    fn learn(&mut self, replay: &Replay) -> Result<Learnt>;
}

impl<F: FnMut(&Replay) -> Result<Learnt>> Consolidate for F {
    fn learn(&mut self, replay: &Replay) -> Result<Learnt> {
        self(replay)
    }
}

/// A sleep phase: cycles of drawing a batch, learning it, and letting go of it. It ends with the first of its reasons to.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_sleep::{Ended, Experiences, Keep, Learnt, Replay, Sleep, Tags, Uniform};
///
/// let mut memory = Experiences::new(100, Keep::Sample { gain: 0.0 }, cl_core::rng(0, "memory"))?;
/// memory.add(&[&Tensor::arange(0f32, 10., &Device::Cpu)?], &Tags::default())?;
///
/// let mut slow = 0.0; // it learns the mean
/// let mut learn = |replay: &Replay| {
///     let mean = f64::from(replay.columns[0].mean_all()?.to_scalar::<f32>()?);
///     let error = mean - slow;
///     slow += 0.1 * error;
///     Ok(Learnt::from(error * error))
/// };
/// let night = Sleep { cycles: 200, batch: 10, ..Sleep::default() };
/// let slept = night.run(&mut memory.by(&Uniform)?, &mut learn)?;
/// assert_eq!((slept.ended, slept.losses.len()), (Ended::Cycles, 200));
/// assert!((slow - 4.5).abs() < 0.2);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sleep {
    /// At most so many cycles.
    pub cycles: usize,
    /// Experiences of a cycle.
    pub batch: usize,
    /// At most so long. A cycle that would end later than this, if it took as long as the longest so far, is not begun: the
    /// deadline is kept but for a cycle that is longer than all before it.
    #[serde(default)]
    pub time: Option<Duration>,
    /// Whether it ends when nothing more is learnt.
    #[serde(default)]
    pub converged: Option<Converged>,
    /// How the fast memory lets go.
    #[serde(default)]
    pub fading: Option<Fading>,
}

impl Default for Sleep {
    /// 100 cycles of 32 experiences, of which nothing is let go.
    fn default() -> Self {
        Self { cycles: 100, batch: 32, time: None, converged: None, fading: None }
    }
}

/// When nothing more is learnt: the mean loss of the last cycles is not below that of as many before by a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Converged {
    /// How many cycles are taken together.
    pub window: usize,
    /// The part.
    pub tolerance: f64,
}

/// Why a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// All cycles are done.
    Cycles,
    /// The time is up.
    Deadline,
    /// Nothing more was learnt.
    Converged,
    /// It was woken.
    Woken,
    /// There is nothing to replay, or nothing any more.
    Empty,
}

/// What happened in a sleep.
#[derive(Debug, Clone, PartialEq)]
pub struct Slept {
    /// Why it ended.
    pub ended: Ended,
    /// The loss of each cycle.
    pub losses: Vec<f64>,
    /// What was replayed, by its memory ([`Reason::memory`]) and its number: how often, and why it was the last time.
    pub replayed: BTreeMap<(u32, u64), (u32, Reason)>,
    /// How many experiences were forgotten.
    pub forgotten: usize,
    /// How long it took.
    pub took: Duration,
}

impl Sleep {
    /// Sleeps to the end.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a batch of none, a fading outside [0, 1], a window of none, or a loss that is not finite, before which nothing
    /// is let go; those of source and learner.
    pub fn run(&self, source: &mut dyn Source, learner: &mut dyn Consolidate) -> Result<Slept> {
        self.run_until(&|| false, source, learner)
    }

    /// The same; before each cycle `wake` is asked whether to wake up.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_until(
        &self,
        wake: &dyn Fn() -> bool,
        source: &mut dyn Source,
        learner: &mut dyn Consolidate,
    ) -> Result<Slept> {
        let start = Instant::now();
        self.run_by(&|| start.elapsed(), wake, source, learner)
    }

    /// The same by another clock, which tells how long it has been asleep.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_by(
        &self,
        clock: &dyn Fn() -> Duration,
        wake: &dyn Fn() -> bool,
        source: &mut dyn Source,
        learner: &mut dyn Consolidate,
    ) -> Result<Slept> {
        self.check()?;
        let mut slept = Slept {
            ended: Ended::Cycles,
            losses: Vec::new(),
            replayed: BTreeMap::new(),
            forgotten: 0,
            took: Duration::ZERO,
        };
        let mut longest = Duration::ZERO;
        slept.ended = loop {
            let begun = clock();
            if slept.losses.len() >= self.cycles {
                break Ended::Cycles;
            }
            if wake() {
                break Ended::Woken;
            }
            if self.time.is_some_and(|time| begun + longest >= time) {
                break Ended::Deadline;
            }
            if source.is_empty() {
                break Ended::Empty;
            }
            let replay = source.draw(self.batch)?;
            let learnt = learner.learn(&replay)?;
            if !learnt.loss.is_finite() {
                let why = format!(
                    "it is {} in cycle {}: lower the slow learner's rate",
                    learnt.loss,
                    slept.losses.len()
                );
                return Err(Error::invalid("loss in sleep", why));
            }
            source.learnt(&replay, &learnt)?;
            if let Some(fading) = self.fading {
                slept.forgotten += source.fade(&replay, fading)?;
            }
            for reason in replay.reasons {
                let entry =
                    slept.replayed.entry((reason.memory, reason.id)).or_insert_with(|| (0, reason.clone()));
                *entry = (entry.0 + 1, reason);
            }
            slept.losses.push(learnt.loss);
            longest = longest.max(clock().saturating_sub(begun));
            if self.converged.is_some_and(|converged| converged.holds(&slept.losses)) {
                break Ended::Converged;
            }
        };
        slept.took = clock();
        Ok(slept)
    }

    fn check(&self) -> Result<()> {
        if self.batch == 0 {
            return Err(Error::invalid("batch of a sleep", "a batch has at least one experience"));
        }
        if let Some(Converged { window, tolerance }) = self.converged
            && (window == 0 || !tolerance.is_finite())
        {
            let why = format!(
                "a window of {window} cycles and a tolerance of {tolerance}: one or more, and finite"
            );
            return Err(Error::invalid("convergence of a sleep", why));
        }
        if let Some(Fading { rate, forget_below }) = self.fading
            && !((0.0..=1.0).contains(&rate) && forget_below.is_finite())
        {
            let why =
                format!("a rate of {rate} that forgets below {forget_below}: the rate is a part, in [0, 1]");
            return Err(Error::invalid("fading", why));
        }
        Ok(())
    }
}

impl Converged {
    fn holds(self, losses: &[f64]) -> bool {
        let Some(from) = losses.len().checked_sub(2 * self.window) else { return false };
        let (before, now) = losses[from..].split_at(self.window);
        let sum = |losses: &[f64]| losses.iter().sum::<f64>();
        sum(now) >= sum(before) - self.tolerance * sum(before).abs()
    }
}
