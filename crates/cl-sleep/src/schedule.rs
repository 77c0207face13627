//! When to sleep.

use std::num::NonZeroU64;
use std::time::Duration;

use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What happened, as a [`Schedule`] is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// So many experiences came, with this mean loss if it is known.
    Experienced {
        /// How many.
        n: u64,
        /// Of the awake learner, before it learnt them.
        loss: Option<f64>,
    },
    /// A task has ended, where anybody knows.
    TaskEnded,
    /// Nothing has come for so long.
    Idle(Duration),
}

/// When to sleep. No border of a task is needed for any of them but [`AtTaskEnds`].
pub trait Schedule {
    /// Whether it is time to, now that this has happened.
    fn due(&mut self, event: Event) -> bool;
}

/// After every `n` experiences.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Every {
    n: NonZeroU64,
    since: u64,
}

impl Every {
    /// # Errors
    /// [`Error::Invalid`] on 0.
    pub fn new(n: u64) -> Result<Self> {
        let n = NonZeroU64::new(n).ok_or_else(|| {
            let why = "sleep after every 0 experiences is sleep without end: name 1 or more";
            Error::invalid("schedule", why)
        })?;
        Ok(Self { n, since: 0 })
    }
}

impl Schedule for Every {
    fn due(&mut self, event: Event) -> bool {
        let Event::Experienced { n, .. } = event else { return false };
        self.since += n;
        let due = self.since >= self.n.get();
        self.since %= self.n.get();
        due
    }
}

/// At the end of each task.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct AtTaskEnds;

impl Schedule for AtTaskEnds {
    fn due(&mut self, event: Event) -> bool {
        event == Event::TaskEnded
    }
}

/// When nothing has come for as long as this.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WhenIdle(pub Duration);

impl Schedule for WhenIdle {
    fn due(&mut self, event: Event) -> bool {
        matches!(event, Event::Idle(time) if time >= self.0)
    }
}

/// When the loss has risen: the test of Page and Hinkley (Page 1954), m ← m + (loss − mean − δ), against its smallest value so far.
///
/// After an alarm it begins anew.
///
/// ```
/// use cl_sleep::{Event, OnDrift, Schedule};
///
/// let mut drift = OnDrift::new(0.05, 2.0)?;
/// let mut told = |loss| drift.due(Event::Experienced { n: 10, loss: Some(loss) });
/// assert!((0..100).all(|i| !told(if i % 2 == 0 { 0.4 } else { 0.6 }))); // noise
/// let after = (0..100).take_while(|_| !told(1.5)).count(); // something else
/// assert!(after < 5);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OnDrift {
    delta: f64,
    threshold: f64,
    n: u64,
    mean: f64,
    sum: f64,
    least: f64,
}

impl OnDrift {
    /// A rise of `delta` is tolerated; `threshold` is what the sum of what exceeds it may reach.
    ///
    /// # Errors
    /// [`Error::Invalid`] on numbers that are negative or not finite.
    pub fn new(delta: f64, threshold: f64) -> Result<Self> {
        if !(delta >= 0.0 && delta.is_finite() && threshold > 0.0 && threshold.is_finite()) {
            let why = format!(
                "a tolerance of {delta} and a threshold of {threshold}: the first is at least 0, the second above"
            );
            return Err(Error::invalid("drift", why));
        }
        Ok(Self { delta, threshold, n: 0, mean: 0.0, sum: 0.0, least: 0.0 })
    }
}

impl Schedule for OnDrift {
    fn due(&mut self, event: Event) -> bool {
        let Event::Experienced { loss: Some(loss), .. } = event else { return false };
        if !loss.is_finite() {
            return false;
        }
        self.n += 1;
        self.mean += (loss - self.mean) / self.n as f64;
        self.sum += loss - self.mean - self.delta;
        self.least = self.least.min(self.sum);
        let due = self.sum - self.least > self.threshold;
        if due {
            (self.n, self.mean, self.sum, self.least) = (0, 0.0, 0.0, 0.0);
        }
        due
    }
}

/// Whenever one of several says so.
#[derive(Default)]
pub struct AnyOf(pub Vec<Box<dyn Schedule>>);

impl Schedule for AnyOf {
    fn due(&mut self, event: Event) -> bool {
        // All of them are told.
        self.0.iter_mut().fold(false, |due, schedule| schedule.due(event) | due)
    }
}

impl Schedule for Box<dyn Schedule> {
    fn due(&mut self, event: Event) -> bool {
        (**self).due(event)
    }
}
