//! Episodes: what followed upon what, to be replayed forward and backward.

use candle_core::Tensor;
use cl_core::{Error, Result, Rng};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::replay::weigh;
use crate::{Priority, Trace};

/// In which direction an episode is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// As it happened.
    Forward,
    /// From its end: what led to it comes after it, as after a reward (Foster & Wilson 2006).
    Reverse,
}

/// An episode: steps of named columns in the order of time, and its trace; its number is when it began.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Episode {
    /// The columns (steps, ...).
    #[serde(with = "cl_core::snapshot::tensor")]
    pub steps: Vec<Tensor>,
    /// What is known of it.
    pub trace: Trace,
}

impl Episode {
    /// How many steps it has.
    pub fn len(&self) -> usize {
        self.steps.first().and_then(|column| column.dims().first().copied()).unwrap_or(0)
    }

    /// Whether it has none; none of a [`Hippocampus`] is so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its columns in this direction, as copies.
    ///
    /// # Errors
    /// candle's own.
    pub fn replay(&self, direction: Direction) -> Result<Vec<Tensor>> {
        let n = self.len() as u32;
        let order: Vec<u32> = match direction {
            Direction::Forward => (0..n).collect(),
            Direction::Reverse => (0..n).rev().collect(),
        };
        let device = self.steps.first().map_or(&candle_core::Device::Cpu, |column| column.device());
        let order = Tensor::from_vec(order, n as usize, device)?;
        Ok(self.steps.iter().map(|column| column.index_select(&order, 0)).collect::<Result<_, _>>()?)
    }
}

/// A bounded number of episodes. When it is full the one of the lowest priority leaves, of equal ones the oldest.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_sleep::{Direction, Hippocampus, Salience};
///
/// let mut hippocampus = Hippocampus::new(2, Salience { gain: 1.0 }, cl_core::rng(0, "replay"))?;
/// for (salience, places) in [(0.0, [0f32, 1.0, 2.0]), (1.0, [3.0, 4.0, 5.0]), (0.5, [6.0, 7.0, 8.0])] {
///     hippocampus.store(vec![Tensor::new(&places, &Device::Cpu)?], salience)?;
/// }
/// assert!(hippocampus.episodes().iter().all(|episode| episode.trace.salience > 0.0));
///
/// let id = hippocampus.draw()?;
/// let places = hippocampus.replay(id, Direction::Reverse)?;
/// assert!(matches!(places[0].to_vec1::<f32>()?.as_slice(), [5.0, 4.0, 3.0] | [8.0, 7.0, 6.0]));
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hippocampus<P> {
    capacity: usize,
    priority: P,
    episodes: Vec<Episode>,
    seen: u64,
    rng: Rng,
}

impl<P: Priority> Hippocampus<P> {
    /// Room for `capacity` episodes; draws come from `rng`.
    ///
    /// # Errors
    /// [`Error::Invalid`] on no room.
    pub fn new(capacity: usize, priority: P, rng: Rng) -> Result<Self> {
        if capacity == 0 {
            return Err(Error::invalid("capacity", "there must be room for one episode at least"));
        }
        Ok(Self { capacity, priority, episodes: Vec::new(), seen: 0, rng })
    }

    /// Stores an episode that has ended: columns (steps, ...) of as many steps, at least one, and its tag in [0, 1]. Its number is
    /// returned; it may be the one that does not stay.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where the numbers of steps differ; [`Error::Invalid`] on an episode without steps or a tag that is
    /// none, and as [`Experiences::by`](crate::Experiences::by) on a priority that is none. Nothing is changed then.
    pub fn store(&mut self, steps: Vec<Tensor>, salience: f32) -> Result<u64> {
        let n = steps.first().and_then(|column| column.dims().first().copied()).unwrap_or(0);
        if n == 0 {
            return Err(Error::invalid("episode", "it has no step: columns are (steps, ...)"));
        }
        if let Some(odd) = steps.iter().find(|column| column.dims().first() != Some(&n)) {
            let (expected, got) = (format!("{n} steps in every column"), format!("{:?}", odd.dims()));
            return Err(Error::mismatch("episode", expected, got));
        }
        if !(0.0..=1.0).contains(&salience) {
            return Err(Error::invalid("salience", format!("{salience} is not in [0, 1]")));
        }
        let largest = |of: fn(&Trace) -> f32| self.episodes.iter().map(|e| of(&e.trace)).fold(0.0, f32::max);
        let (surprise, interference) = match self.episodes.is_empty() {
            true => (1.0, 1.0),
            false => (largest(|t| t.surprise), largest(|t| t.interference)),
        };
        let id = self.seen;
        let trace =
            Trace { id, salience, importance: 1.0, surprise, interference, replays: 0, strength: 1.0 };
        // Copies: nothing that is done to the tensors later changes what happened.
        let steps =
            steps.iter().map(|column| column.detach().force_contiguous()).collect::<Result<_, _>>()?;
        let new = Episode { steps, trace };
        let weights = self.episodes.iter().chain([&new]).map(|e| weigh(&self.priority, &e.trace, id + 1));
        let weights = weights.collect::<Result<Vec<f64>>>()?;
        self.seen += 1;
        self.episodes.push(new);
        if self.episodes.len() > self.capacity {
            let least = weights.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at);
            self.episodes.remove(least);
        }
        Ok(id)
    }

    /// Draws an episode by priority: its number.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is none, or all priorities are 0.
    pub fn draw(&mut self) -> Result<u64> {
        let weigh = |episode: &Episode| weigh(&self.priority, &episode.trace, self.seen);
        let weights = self.episodes.iter().map(weigh).collect::<Result<Vec<f64>>>()?;
        let total: f64 = weights.iter().sum();
        if total == 0.0 {
            let why = format!("{} episodes, and no priority above 0: nothing can be drawn", weights.len());
            return Err(Error::invalid("replay", why));
        }
        let mut mass = self.rng.random::<f64>() * total;
        let mut last = 0;
        for (episode, weight) in self.episodes.iter().zip(weights) {
            if weight > 0.0 {
                last = episode.trace.id;
                if mass < weight {
                    break;
                }
                mass -= weight;
            }
        }
        Ok(last)
    }

    /// The columns (steps, ...) of an episode in this direction, as copies; its replay is counted.
    ///
    /// # Errors
    /// [`Error::Invalid`] on an episode that is not there.
    pub fn replay(&mut self, id: u64, direction: Direction) -> Result<Vec<Tensor>> {
        let episode = self.find(id)?;
        let steps = episode.replay(direction)?;
        episode.trace.replays = episode.trace.replays.saturating_add(1);
        Ok(steps)
    }

    /// What was measured of an episode: see [`Trace`].
    ///
    /// # Errors
    /// As [`replay`](Self::replay).
    pub fn trace_mut(&mut self, id: u64) -> Result<&mut Trace> {
        Ok(&mut self.find(id)?.trace)
    }

    fn find(&mut self, id: u64) -> Result<&mut Episode> {
        let seen = self.seen;
        let found = self.episodes.iter_mut().find(|episode| episode.trace.id == id);
        found.ok_or_else(|| {
            Error::invalid("episode", format!("number {id} of {seen} is not there, or not any more"))
        })
    }

    /// All episodes, the oldest first.
    pub fn episodes(&self) -> &[Episode] {
        &self.episodes
    }
}
