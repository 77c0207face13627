//! What to replay first: priorities of consolidation.

use serde::{Deserialize, Serialize};

use crate::Trace;

/// How much an experience should be replayed, beside the others: it is drawn in proportion.
///
/// Priorities are multiplied by [`and`](Self::and). A closure is one as well.
///
/// ```
/// use cl_sleep::{Importance, Priority, Recency, Trace};
///
/// let trace = Trace { id: 90, salience: 0.0, importance: 4.0, surprise: 0.0, interference: 0.0, replays: 0, strength: 1.0 };
/// let priority = Recency { half_life: 10.0 }.and(Importance { exponent: 1.0 });
/// assert_eq!(priority.of(&trace, 100), 0.5 * 4.0); // ten experiences ago
/// assert_eq!(priority.reasons(&trace, 100), [("recency", 0.5), ("importance", 4.0)]);
/// ```
pub trait Priority {
    /// Of an experience, at a time: the number of experiences so far. At least 0, and finite.
    fn of(&self, trace: &Trace, now: u64) -> f64;

    /// Its name in a report.
    fn name(&self) -> &'static str {
        "priority"
    }

    /// What it is made of, by name: the factors of a product, otherwise itself.
    fn reasons(&self, trace: &Trace, now: u64) -> Vec<(&'static str, f64)> {
        vec![(self.name(), self.of(trace, now))]
    }

    /// The product of this priority and another.
    fn and<P: Priority>(self, other: P) -> Product<Self, P>
    where
        Self: Sized,
    {
        Product(self, other)
    }
}

impl<F: Fn(&Trace, u64) -> f64> Priority for F {
    fn of(&self, trace: &Trace, now: u64) -> f64 {
        self(trace, now)
    }
}

impl Priority for Box<dyn Priority> {
    fn of(&self, trace: &Trace, now: u64) -> f64 {
        (**self).of(trace, now)
    }

    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn reasons(&self, trace: &Trace, now: u64) -> Vec<(&'static str, f64)> {
        (**self).reasons(trace, now)
    }
}

/// The product of two.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Product<A, B>(pub A, pub B);

impl<A: Priority, B: Priority> Priority for Product<A, B> {
    fn of(&self, trace: &Trace, now: u64) -> f64 {
        self.0.of(trace, now) * self.1.of(trace, now)
    }

    fn name(&self) -> &'static str {
        "product"
    }

    fn reasons(&self, trace: &Trace, now: u64) -> Vec<(&'static str, f64)> {
        [self.0.reasons(trace, now), self.1.reasons(trace, now)].concat()
    }
}

/// All alike.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Uniform;

impl Priority for Uniform {
    fn of(&self, _trace: &Trace, _now: u64) -> f64 {
        1.0
    }

    fn name(&self) -> &'static str {
        "uniform"
    }
}

/// 1 + gain · salience: a tag multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Salience {
    /// How much more a full tag counts than none.
    pub gain: f64,
}

impl Priority for Salience {
    fn of(&self, trace: &Trace, _now: u64) -> f64 {
        1.0 + self.gain * f64::from(trace.salience)
    }

    fn name(&self) -> &'static str {
        "salience"
    }
}

/// (surprise + floor)^exponent: what is predicted badly, as in prioritized experience replay (Schaul et al. 2016).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Surprise {
    /// 0 is uniform, 1 in proportion.
    pub exponent: f64,
    /// What an experience without error still has.
    pub floor: f64,
}

impl Priority for Surprise {
    fn of(&self, trace: &Trace, _now: u64) -> f64 {
        (f64::from(trace.surprise) + self.floor).powf(self.exponent)
    }

    fn name(&self) -> &'static str {
        "surprise"
    }
}

/// 2^(−age / half-life): what came of late.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Recency {
    /// In experiences.
    pub half_life: f64,
}

impl Priority for Recency {
    fn of(&self, trace: &Trace, now: u64) -> f64 {
        (-(now.saturating_sub(trace.id) as f64) / self.half_life).exp2()
    }

    fn name(&self) -> &'static str {
        "recency"
    }
}

/// importance^exponent: what its worth is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// 0 is uniform, 1 in proportion.
    pub exponent: f64,
}

impl Priority for Importance {
    fn of(&self, trace: &Trace, _now: u64) -> f64 {
        f64::from(trace.importance).powf(self.exponent)
    }

    fn name(&self) -> &'static str {
        "importance"
    }
}

/// (interference + floor)^exponent: what something else is about to overwrite (after Aljundi et al. 2019).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interference {
    /// 0 is uniform, 1 in proportion.
    pub exponent: f64,
    /// What an experience without interference still has.
    pub floor: f64,
}

impl Priority for Interference {
    fn of(&self, trace: &Trace, _now: u64) -> f64 {
        (f64::from(trace.interference) + self.floor).powf(self.exponent)
    }

    fn name(&self) -> &'static str {
        "interference"
    }
}

/// (1 + replays)^−exponent: what had its turn waits for the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReplayCount {
    /// 0 is uniform; the larger, the more it is a round of turns.
    pub exponent: f64,
}

impl Priority for ReplayCount {
    fn of(&self, trace: &Trace, _now: u64) -> f64 {
        (1.0 + f64::from(trace.replays)).powf(-self.exponent)
    }

    fn name(&self) -> &'static str {
        "replay count"
    }
}

/// strength^exponent: what is still there; see [`Fading`](crate::Fading).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Strength {
    /// 0 is uniform, 1 in proportion.
    pub exponent: f64,
}

impl Priority for Strength {
    fn of(&self, trace: &Trace, _now: u64) -> f64 {
        f64::from(trace.strength).powf(self.exponent)
    }

    fn name(&self) -> &'static str {
        "strength"
    }
}
