//! One measurement, and how many steps a round should have.

use std::time::Duration;

use cl_core::{Error, Result};
use serde::Deserialize;

/// What a number of steps cost.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Measurement {
    /// Samples of the stream that were trained on.
    pub samples: u64,
    /// CPU time of the process.
    pub cpu_seconds: f64,
    /// Time on the clock on the wall.
    pub wall_seconds: f64,
}

impl Measurement {
    /// The quantity that is compared.
    #[must_use]
    pub fn samples_per_cpu_second(&self) -> f64 {
        self.samples as f64 / self.cpu_seconds
    }

    /// Refuses what cannot be: times that are none, and more CPU time than one thread can use.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`], which names `who`.
    pub fn checked(self, who: &str) -> Result<Self> {
        let Self { samples, cpu_seconds, wall_seconds } = self;
        let is_time = |seconds: f64| seconds.is_finite() && seconds > 0.0;
        if samples == 0 || !is_time(cpu_seconds) || !is_time(wall_seconds) {
            let why = format!(
                "{samples} samples in {cpu_seconds} CPU and {wall_seconds} wall seconds is no measurement"
            );
            return Err(Error::invalid(who, why));
        }
        // The two clocks tick apart by some milliseconds.
        if cpu_seconds > 1.2 * wall_seconds + 0.02 {
            let why = format!(
                "used {cpu_seconds:.3} CPU seconds in {wall_seconds:.3}, more than one thread can; set \
                 RAYON_NUM_THREADS=1 and OMP_NUM_THREADS=1"
            );
            return Err(Error::invalid(who, why));
        }
        Ok(self)
    }
}

/// How many steps take about `target`: doubles, at least, until a run is long enough to tell. What it
/// runs on the way is the warm-up.
///
/// # Errors
///
/// Those of `run`.
pub fn calibrate(target: Duration, mut run: impl FnMut(usize) -> Result<Measurement>) -> Result<usize> {
    let target = target.as_secs_f64();
    let mut steps = 1;
    loop {
        let seconds = run(steps)?.cpu_seconds;
        let wanted = (steps as f64 * target / seconds).round().max(1.0);
        if seconds >= target / 2.0 || steps >= MOST_STEPS {
            return Ok((wanted as usize).min(MOST_STEPS));
        }
        steps = (wanted as usize).clamp(2 * steps, 32 * steps).min(MOST_STEPS);
    }
}

/// A case whose steps cost nothing must not be calibrated for ever.
const MOST_STEPS: usize = 1 << 30;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn linear(seconds_a_step: f64) -> impl FnMut(usize) -> Result<Measurement> {
        move |steps| {
            let seconds = steps as f64 * seconds_a_step;
            Ok(Measurement { samples: 1, cpu_seconds: seconds, wall_seconds: seconds })
        }
    }

    #[test]
    fn a_round_takes_the_target_time() {
        let target = Duration::from_millis(500);
        assert_eq!(calibrate(target, linear(1e-3)).unwrap(), 500);
        assert_eq!(calibrate(target, linear(1e-7)).unwrap(), 5_000_000);
        // A step that is longer than the target is a round of its own.
        assert_eq!(calibrate(target, linear(3.0)).unwrap(), 1);
        assert_eq!(calibrate(target, linear(1e-30)).unwrap(), MOST_STEPS);
    }

    /// A slow first run (page faults, thread pools) must not end in rounds that are too short.
    #[test]
    fn set_up_time_does_not_shorten_the_rounds() {
        let mut first = true;
        let mut steady = linear(1e-3);
        let run = |steps| {
            let extra = if std::mem::take(&mut first) { 0.1 } else { 0.0 };
            steady(steps).map(|m| Measurement { cpu_seconds: m.cpu_seconds + extra, ..m })
        };
        assert_eq!(calibrate(Duration::from_millis(500), run).unwrap(), 500);
    }

    #[test]
    fn impossible_measurements_are_refused() {
        let fine = Measurement { samples: 10, cpu_seconds: 0.5, wall_seconds: 0.5 };
        assert_eq!(fine.checked("x").unwrap(), fine);
        assert_eq!(fine.samples_per_cpu_second(), 20.0);
        for wrong in [
            Measurement { samples: 0, ..fine },
            Measurement { cpu_seconds: 0.0, ..fine },
            Measurement { cpu_seconds: f64::NAN, ..fine },
            Measurement { wall_seconds: -1.0, ..fine },
        ] {
            assert!(wrong.checked("x").unwrap_err().to_string().contains("is no measurement"));
        }
        let two_threads = Measurement { cpu_seconds: 0.98, ..fine };
        let error = two_threads.checked("engram, mlp-128").unwrap_err().to_string();
        assert!(error.starts_with("engram, mlp-128: used 0.980 CPU seconds in 0.500"), "{error}");
    }
}
