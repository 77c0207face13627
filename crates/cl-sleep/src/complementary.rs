//! The two learners together.

use candle_core::Tensor;
use cl_core::Result;

use crate::{Consolidate, Event, Experiences, Priority, Schedule, Sleep, Slept, Tags};

/// What learns while awake: the fast learner. A closure is one as well.
pub trait Experience {
    /// Learns from a batch of columns (n, ...) as it comes, and tells each one's error of prediction before that, if it knows.
    ///
    /// # Errors
    /// The learner's own.
    fn experience(&mut self, columns: &[&Tensor]) -> Result<Option<Vec<f32>>>;
}

impl<F: FnMut(&[&Tensor]) -> Result<Option<Vec<f32>>>> Experience for F {
    fn experience(&mut self, columns: &[&Tensor]) -> Result<Option<Vec<f32>>> {
        self(columns)
    }
}

/// A fast learner and a slow one over one memory (McClelland, McNaughton & O'Reilly 1995): what comes is learnt by the fast one and
/// kept; when the schedule says so, what is kept is replayed to the slow one. No border of a task is needed.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_sleep::{Complementary, Every, Experiences, Keep, Learnt, Replay, Sleep, Surprise, Tags};
///
/// // Two learners of a mean: one follows the last number, the other what it sleeps over.
/// let (mut fast, mut slow) = (0f32, 0f32);
/// let memory = Experiences::new(50, Keep::Sample { gain: 0.0 }, cl_core::rng(0, "memory"))?;
/// let mut brain = Complementary {
///     fast: |columns: &[&Tensor]| {
///         let x = columns[0].to_vec1::<f32>()?;
///         let error = x.iter().map(|x| (x - fast).abs()).collect();
///         fast = x[x.len() - 1];
///         Ok(Some(error))
///     },
///     slow: |replay: &Replay| {
///         let x = replay.columns[0].to_vec1::<f32>()?;
///         let errors: Vec<f32> = x.iter().map(|x| (x - slow).abs()).collect();
///         slow += 0.2 * (x.iter().sum::<f32>() / x.len() as f32 - slow);
///         Ok(Learnt { loss: f64::from(errors[0]), surprise: Some(errors), interference: None })
///     },
///     memory,
///     priority: Surprise { exponent: 0.0, floor: 1.0 },
///     schedule: Every::new(100)?,
///     sleep: Sleep { cycles: 30, batch: 20, ..Sleep::default() },
/// };
/// let mut nights = 0;
/// for value in [0f32, 10.0] {
///     for _ in 0..20 {
///         nights += brain.experience(&[&Tensor::full(value, 10, &Device::Cpu)?], &Tags::default())?.iter().count();
///     }
/// }
/// drop(brain);
/// assert_eq!((nights, fast), (4, 10.0));
/// assert!((3.0..7.0).contains(&slow), "{slow}");
/// # Ok::<(), cl_core::Error>(())
/// ```
pub struct Complementary<F, S, P, C> {
    /// The fast learner.
    pub fast: F,
    /// The slow one.
    pub slow: S,
    /// What is kept of what came.
    pub memory: Experiences,
    /// What of it is replayed.
    pub priority: P,
    /// When.
    pub schedule: C,
    /// How.
    pub sleep: Sleep,
}

impl<F: Experience, S: Consolidate, P: Priority, C: Schedule> Complementary<F, S, P, C> {
    /// Learns from a batch and keeps it; then sleeps, if it is time to. `tags` may say more than the fast learner does; where both tell
    /// the surprise, the tags are believed.
    ///
    /// # Errors
    /// Those of the learners and of the memory. What the memory refuses the fast learner has learnt already.
    pub fn experience(&mut self, columns: &[&Tensor], tags: &Tags<'_>) -> Result<Option<Slept>> {
        let felt = self.fast.experience(columns)?;
        let surprise = tags.surprise.or(felt.as_deref());
        let n = self.memory.add(columns, &Tags { surprise, ..*tags })?.len() as u64;
        let mean = |felt: &[f32]| felt.iter().map(|x| f64::from(*x)).sum::<f64>() / felt.len().max(1) as f64;
        self.told(Event::Experienced { n, loss: felt.as_deref().map(mean) })
    }

    /// Tells the schedule of something else: the end of a task, a time in which nothing came.
    ///
    /// # Errors
    /// As [`experience`](Self::experience).
    pub fn told(&mut self, event: Event) -> Result<Option<Slept>> {
        if !self.schedule.due(event) || self.memory.is_empty() {
            return Ok(None);
        }
        self.sleep_now().map(Some)
    }

    /// Sleeps now.
    ///
    /// # Errors
    /// As [`Sleep::run`].
    pub fn sleep_now(&mut self) -> Result<Slept> {
        self.sleep.run(&mut self.memory.by(&self.priority)?, &mut self.slow)
    }
}
