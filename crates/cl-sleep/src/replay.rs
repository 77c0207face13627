//! What is drawn in sleep, why, and what came of it.

use candle_core::Tensor;
use cl_core::{Error, Result};
use cl_replay::{Strata, SumTree};
use serde::{Deserialize, Serialize};

use crate::experiences::numbers;
use crate::{Experiences, Priority, Trace};

/// A batch that is replayed.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The experiences (n, ...), column by column.
    pub columns: Vec<Tensor>,
    /// Which they are; empty where they are of nobody's memory.
    pub ids: Vec<u64>,
    /// Why they were drawn, one for each of `ids`.
    pub reasons: Vec<Reason>,
    slots: Vec<u32>,
}

impl Replay {
    /// Columns (n, ...) that are nobody's experience, such as a model dreams them up.
    pub fn made_up(columns: Vec<Tensor>) -> Self {
        Self { columns, ids: Vec::new(), reasons: Vec::new(), slots: Vec::new() }
    }
}

/// Why an experience was replayed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Of which memory: 0 where there is one, 1 for the second of two that are [interleaved](Interleaved).
    pub memory: u32,
    /// Which.
    pub id: u64,
    /// With what probability each draw took it.
    pub probability: f64,
    /// What its priority was made of, by name.
    pub factors: Vec<(String, f64)>,
}

/// What a learner says of a batch that it has learnt.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Learnt {
    /// The mean loss, before the step.
    pub loss: f64,
    /// The error of prediction of each experience; see [`Trace::surprise`].
    pub surprise: Option<Vec<f32>>,
    /// See [`Trace::interference`].
    pub interference: Option<Vec<f32>>,
}

impl From<f64> for Learnt {
    fn from(loss: f64) -> Self {
        Self { loss, ..Self::default() }
    }
}

/// How the fast memory lets go of what was consolidated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fading {
    /// What part of its strength each replay takes from an experience, in [0, 1].
    pub rate: f64,
    /// Those whose strength is below this are forgotten at the end of a cycle.
    pub forget_below: f64,
}

/// What sleep draws from.
pub trait Source {
    /// `n` experiences.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is nothing to draw from.
    fn draw(&mut self, n: usize) -> Result<Replay>;

    /// Told what the learner said of what was drawn.
    ///
    /// # Errors
    /// Numbers that do not fit.
    fn learnt(&mut self, _replay: &Replay, _learnt: &Learnt) -> Result<()> {
        Ok(())
    }

    /// Lets go of what was just replayed; tells how many were forgotten.
    ///
    /// # Errors
    /// Priorities that are none now.
    fn fade(&mut self, _replay: &Replay, _fading: Fading) -> Result<usize> {
        Ok(0)
    }

    /// Whether there is nothing to draw from, or not any more: sleep ends then.
    fn is_empty(&self) -> bool {
        false
    }
}

/// Draws from [`Experiences`] with replacement, in proportion to a priority: [`Experiences::by`].
#[derive(Debug)]
pub struct ByPriority<'a, P: ?Sized> {
    memory: &'a mut Experiences,
    priority: &'a P,
    tree: SumTree,
    /// What priorities are divided by, so that all of them are within the range of the tree.
    largest: f64,
}

impl Experiences {
    /// To draw from it by priority. Priorities are those of now; they are taken anew for what is replayed. Where all are 0 there is nothing to
    /// draw from, and a sleep ends before it begins.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a priority that is negative or not finite.
    pub fn by<'a, P: Priority + ?Sized>(&'a mut self, priority: &'a P) -> Result<ByPriority<'a, P>> {
        let mut weights = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            weights.push(match entry {
                Some(entry) => weigh(priority, &entry.trace, self.seen())?,
                None => 0.0,
            });
        }
        let largest = weights.iter().copied().fold(0.0, f64::max);
        let largest = if largest > 0.0 { largest } else { 1.0 };
        let mut tree = SumTree::new(self.capacity())?;
        let leaves: Vec<f32> = weights.iter().map(|weight| leaf(*weight, largest)).collect();
        tree.set_range(0, &leaves)?;
        Ok(ByPriority { memory: self, priority, tree, largest })
    }
}

/// The priority of an experience.
pub(crate) fn weigh<P: Priority + ?Sized>(priority: &P, trace: &Trace, now: u64) -> Result<f64> {
    let weight = priority.of(trace, now);
    if weight >= 0.0 && weight.is_finite() {
        return Ok(weight);
    }
    let why = format!("`{}` is {weight} for {trace:?}: it must be finite and at least 0", priority.name());
    Err(Error::invalid("priority", why))
}

/// As the tree takes it: no less than what it can tell from 0.
fn leaf(weight: f64, largest: f64) -> f32 {
    if weight == 0.0 { 0.0 } else { (weight / largest).clamp(1e-20, 1e20) as f32 }
}

impl<P: Priority + ?Sized> ByPriority<'_, P> {
    fn weigh_again(&mut self, slots: &[u32]) -> Result<()> {
        let now = self.memory.seen();
        for &slot in slots {
            let Some(entry) = self.memory.entries[slot as usize] else { continue };
            let weight = weigh(self.priority, &entry.trace, now)?;
            self.tree.set(slot as usize, leaf(weight, self.largest))?;
        }
        Ok(())
    }
}

impl<P: Priority + ?Sized> Source for ByPriority<'_, P> {
    fn draw(&mut self, n: usize) -> Result<Replay> {
        if self.memory.is_empty() {
            return Err(Error::invalid("replay", "the memory holds no experience: add some before sleep"));
        }
        if self.is_empty() {
            let why =
                format!("`{}` is 0 for every experience: there is nothing to draw", self.priority.name());
            return Err(Error::invalid("replay", why));
        }
        let slots = self.tree.sample(n, Strata::Stratified, &mut self.memory.rng)?;
        let columns = self.memory.rows.gather(&slots)?;
        let (now, total) = (self.memory.seen(), self.tree.total());
        let mut reasons = Vec::with_capacity(n);
        for &slot in &slots {
            let Some(entry) = self.memory.entries[slot as usize] else {
                return Err(Error::invalid("memory", "an empty slot was drawn"));
            };
            let factors = self.priority.reasons(&entry.trace, now);
            reasons.push(Reason {
                memory: 0,
                id: entry.trace.id,
                probability: f64::from(self.tree.get(slot as usize)?) / total,
                factors: factors.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            });
        }
        Ok(Replay { columns, ids: reasons.iter().map(|reason| reason.id).collect(), reasons, slots })
    }

    fn learnt(&mut self, replay: &Replay, learnt: &Learnt) -> Result<()> {
        let n = replay.slots.len();
        // Zeros stand for what was not said, and are not read.
        let surprise = numbers("surprise", learnt.surprise.as_deref(), n, 0.0)?;
        let interference = numbers("interference", learnt.interference.as_deref(), n, 0.0)?;
        for (row, &slot) in replay.slots.iter().enumerate() {
            let Some(entry) = &mut self.memory.entries[slot as usize] else { continue };
            entry.trace.replays = entry.trace.replays.saturating_add(1);
            if learnt.surprise.is_some() {
                entry.trace.surprise = surprise[row];
            }
            if learnt.interference.is_some() {
                entry.trace.interference = interference[row];
            }
        }
        self.weigh_again(&replay.slots)
    }

    fn fade(&mut self, replay: &Replay, fading: Fading) -> Result<usize> {
        for &slot in &replay.slots {
            if let Some(entry) = &mut self.memory.entries[slot as usize] {
                entry.trace.strength *= (1.0 - fading.rate) as f32;
            }
        }
        let vacated = self.memory.vacate(|trace| f64::from(trace.strength) < fading.forget_below);
        for &slot in &vacated {
            self.tree.set(slot as usize, 0.0)?;
        }
        self.weigh_again(&replay.slots)?;
        Ok(vacated.len())
    }

    fn is_empty(&self) -> bool {
        self.memory.is_empty() || self.tree.total() == 0.0
    }
}

/// Replays something else than what was experienced: what `imagine` makes of the columns that another source draws. A
/// Hopfield store completes them, a model answers them anew.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_sleep::{Dreams, Experiences, Keep, Source, Tags, Uniform};
///
/// let mut memory = Experiences::new(4, Keep::Newest, cl_core::rng(0, "memory"))?;
/// memory.add(&[&Tensor::new(&[3f32, 3.0], &Device::Cpu)?], &Tags::default())?;
/// let mut dreams = Dreams::of(memory.by(&Uniform)?, |columns: &[Tensor]| Ok(vec![(&columns[0] + 0.5)?]));
/// assert_eq!(dreams.draw(2)?.columns[0].to_vec1::<f32>()?, [3.5, 3.5]);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Dreams<S, F> {
    source: S,
    imagine: F,
}

impl<S: Source, F: FnMut(&[Tensor]) -> Result<Vec<Tensor>>> Dreams<S, F> {
    /// Of what `source` draws.
    pub fn of(source: S, imagine: F) -> Self {
        Self { source, imagine }
    }
}

impl<S: Source, F: FnMut(&[Tensor]) -> Result<Vec<Tensor>>> Source for Dreams<S, F> {
    fn draw(&mut self, n: usize) -> Result<Replay> {
        let replay = self.source.draw(n)?;
        let columns = (self.imagine)(&replay.columns)?;
        let rows = |columns: &[Tensor]| columns.iter().map(|c| c.dims().first().copied()).collect::<Vec<_>>();
        if rows(&columns).iter().any(|rows| *rows != Some(n)) {
            let (expected, got) = (format!("columns of {n} rows"), format!("{:?}", rows(&columns)));
            return Err(Error::mismatch("what was imagined", expected, got));
        }
        Ok(Replay { columns, ..replay })
    }

    fn learnt(&mut self, replay: &Replay, learnt: &Learnt) -> Result<()> {
        self.source.learnt(replay, learnt)
    }

    fn fade(&mut self, replay: &Replay, fading: Fading) -> Result<usize> {
        self.source.fade(replay, fading)
    }

    fn is_empty(&self) -> bool {
        self.source.is_empty()
    }
}

/// Interleaves what two sources draw: half of each batch from either, of an odd one more from the first, or all from one while the other
/// has nothing. What is new is
/// learnt among what is old, which is what keeps the old (McClelland, McNaughton & O'Reilly 1995).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_sleep::{Experiences, Interleaved, Keep, Source, Tags, Uniform};
///
/// let memory = |value: f32| -> cl_core::Result<Experiences> {
///     let mut memory = Experiences::new(4, Keep::Newest, cl_core::rng(0, "memory"))?;
///     memory.add(&[&Tensor::full(value, 2, &Device::Cpu)?], &Tags::default())?;
///     Ok(memory)
/// };
/// let (mut today, mut before) = (memory(1.0)?, memory(2.0)?);
/// let mut both = Interleaved::of(today.by(&Uniform)?, before.by(&Uniform)?);
/// assert_eq!(both.draw(4)?.columns[0].to_vec1::<f32>()?, [1.0, 1.0, 2.0, 2.0]);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Interleaved<A, B> {
    first: A,
    second: B,
    /// What each gave last.
    parts: [Option<Replay>; 2],
}

impl<A: Source, B: Source> Interleaved<A, B> {
    /// Of these two.
    pub fn of(first: A, second: B) -> Self {
        Self { first, second, parts: [None, None] }
    }
}

impl<A: Source, B: Source> Source for Interleaved<A, B> {
    fn draw(&mut self, n: usize) -> Result<Replay> {
        let from_second = match (self.first.is_empty(), self.second.is_empty()) {
            (_, true) => 0,
            (true, false) => n,
            (false, false) => n / 2,
        };
        let first = if from_second < n { Some(self.first.draw(n - from_second)?) } else { None };
        let second = if from_second > 0 { Some(self.second.draw(from_second)?) } else { None };
        let of_second = |reason: &Reason| Reason { memory: reason.memory + 1, ..reason.clone() };
        let both = match (&first, &second) {
            (Some(first), Some(second)) => {
                if first.columns.len() != second.columns.len() {
                    let [first, second] =
                        [first, second].map(|replay| format!("{} columns", replay.columns.len()));
                    return Err(Error::mismatch("interleaved replay", first, second));
                }
                let columns = first.columns.iter().zip(&second.columns);
                Replay {
                    columns: columns.map(|(a, b)| Tensor::cat(&[a, b], 0)).collect::<Result<_, _>>()?,
                    ids: [&first.ids[..], &second.ids].concat(),
                    reasons: first
                        .reasons
                        .iter()
                        .cloned()
                        .chain(second.reasons.iter().map(of_second))
                        .collect(),
                    slots: Vec::new(),
                }
            }
            (Some(first), None) => first.clone(),
            (None, Some(second)) => {
                Replay { reasons: second.reasons.iter().map(of_second).collect(), ..second.clone() }
            }
            (None, None) => Replay::made_up(Vec::new()),
        };
        self.parts = [first, second];
        Ok(both)
    }

    fn learnt(&mut self, _replay: &Replay, learnt: &Learnt) -> Result<()> {
        let rows = |part: &Option<Replay>| {
            let columns = part.as_ref().and_then(|replay| replay.columns.first());
            columns.and_then(|column| column.dims().first().copied()).unwrap_or(0)
        };
        let [n, m] = [rows(&self.parts[0]), rows(&self.parts[1])];
        for (name, numbers) in [("surprise", &learnt.surprise), ("interference", &learnt.interference)] {
            if let Some(numbers) = numbers
                && numbers.len() != n + m
            {
                let expected = format!("{} numbers, one for each experience", n + m);
                return Err(Error::mismatch(name, expected, numbers.len().to_string()));
            }
        }
        let part = |from: usize, to: usize| {
            let cut = |numbers: &Option<Vec<f32>>| numbers.as_ref().map(|numbers| numbers[from..to].to_vec());
            Learnt {
                loss: learnt.loss,
                surprise: cut(&learnt.surprise),
                interference: cut(&learnt.interference),
            }
        };
        if let Some(first) = &self.parts[0] {
            self.first.learnt(first, &part(0, n))?;
        }
        if let Some(second) = &self.parts[1] {
            self.second.learnt(second, &part(n, n + m))?;
        }
        Ok(())
    }

    fn fade(&mut self, _replay: &Replay, fading: Fading) -> Result<usize> {
        let mut forgotten = 0;
        if let Some(first) = &self.parts[0] {
            forgotten += self.first.fade(first, fading)?;
        }
        if let Some(second) = &self.parts[1] {
            forgotten += self.second.fade(second, fading)?;
        }
        Ok(forgotten)
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.second.is_empty()
    }
}
