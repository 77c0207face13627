//! When to be awake: the clock of sleep and wakefulness.

use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The two-process model of sleep (Borbély 1982; Daan, Beersma & Borbély 1984): the pressure S to sleep rises while awake,
/// S ← 1 − (1−S)·e^(−Δ/rise), and falls in sleep, S ← S·e^(−Δ/fall). Sleep begins where S reaches upper + C, and ends where it falls
/// to lower + C, with C(t) = amplitude·sin(2πt/period), the circadian rhythm. Time is in any unit: steps or seconds.
///
/// ```
/// use cl_sleep::{Circadian, State};
///
/// // Hours.
/// let mut clock = Circadian::new(Circadian::HUMAN)?;
/// let days: Vec<State> = (0..24 * 30).map(|_| clock.advance(1.0)).collect();
/// let asleep = days.iter().filter(|state| **state == State::Asleep).count() as f64 / 30.0;
/// assert!((6.0..10.0).contains(&asleep), "{asleep} hours a day");
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Circadian {
    rhythm: Rhythm,
    state: State,
    pressure: f64,
    time: f64,
}

/// Asleep or awake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Learning from what comes.
    Awake,
    /// Consolidating.
    Asleep,
}

/// The constants of a [`Circadian`] clock; times in its unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rhythm {
    /// Time constant of the pressure while awake.
    pub rise: f64,
    /// Time constant of the pressure in sleep.
    pub fall: f64,
    /// The pressure at which sleep begins, but for the rhythm.
    pub upper: f64,
    /// The pressure at which it ends, but for the rhythm.
    pub lower: f64,
    /// How far the rhythm moves both.
    pub amplitude: f64,
    /// The length of a day.
    pub period: f64,
}

impl Circadian {
    /// Of humans, in hours (Daan, Beersma & Borbély 1984): 18.2 and 4.2 hours; here about eight hours of sleep a day.
    pub const HUMAN: Rhythm =
        Rhythm { rise: 18.2, fall: 4.2, upper: 0.67, lower: 0.17, amplitude: 0.1, period: 24.0 };

    /// A clock that begins awake at the beginning of a day, just after sleep.
    ///
    /// # Errors
    /// [`Error::Invalid`] on times that are not positive, or thresholds that the pressure cannot reach: 0 < lower ∓ amplitude < upper ∓
    /// amplitude < 1.
    pub fn new(rhythm: Rhythm) -> Result<Self> {
        let Rhythm { rise, fall, upper, lower, amplitude, period } = rhythm;
        if let Some(time) = [rise, fall, period].into_iter().find(|time| !(*time > 0.0 && time.is_finite())) {
            return Err(Error::invalid("rhythm", format!("{time} is not a positive time")));
        }
        if !(amplitude >= 0.0 && lower - amplitude > 0.0 && lower < upper && upper + amplitude < 1.0) {
            let why = format!(
                "the pressure is between 0 and 1, and must reach {lower} and {upper}, each moved by up to {amplitude}"
            );
            return Err(Error::invalid("rhythm", why));
        }
        Ok(Self { rhythm, state: State::Awake, pressure: lower, time: 0.0 })
    }

    /// Lets time pass, at least 0, and says what it has come to. A crossing is seen when it is asked for.
    pub fn advance(&mut self, time: f64) -> State {
        let Rhythm { rise, fall, upper, lower, amplitude, period } = self.rhythm;
        let passed = if time.is_finite() { time.max(0.0) } else { 0.0 };
        self.time += passed;
        let rhythm = amplitude * (std::f64::consts::TAU * self.time / period).sin();
        match self.state {
            State::Awake => {
                self.pressure = 1.0 - (1.0 - self.pressure) * (-passed / rise).exp();
                if self.pressure >= upper + rhythm {
                    self.state = State::Asleep;
                }
            }
            State::Asleep => {
                self.pressure *= (-passed / fall).exp();
                if self.pressure <= lower + rhythm {
                    self.state = State::Awake;
                }
            }
        }
        self.state
    }

    /// Asleep or awake.
    pub fn state(&self) -> State {
        self.state
    }

    /// The pressure to sleep, in [0, 1].
    pub fn pressure(&self) -> f64 {
        self.pressure
    }
}
