//! Mean and spread over seeds.

use cl_core::{Error, Result};

/// The mean over seeds, with both errors that papers print. They differ by √n: the standard deviation
/// says how far one more seed may fall from the mean, the standard error how far the mean may be off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many seeds.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Standard deviation, √(Σ(x−mean)² / (n−1)). `None` for one seed.
    pub std: Option<f64>,
    /// Standard error of the mean, std/√n. `None` for one seed. The code of van de Ven et al. prints
    /// √(var/(n−1)) with var divided by n: the same number.
    pub sem: Option<f64>,
}

impl Summary {
    /// Of one value per seed.
    ///
    /// # Errors
    ///
    /// No value, or one that is not finite.
    pub fn of(values: &[f64]) -> Result<Self> {
        if values.is_empty() {
            return Err(Error::invalid("values", "there is none to summarise; give one per seed"));
        }
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            return Err(Error::invalid(
                "values",
                format!("{bad} among them; every seed needs a finite value"),
            ));
        }
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let std = (n > 1).then(|| {
            let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
            (squares / (n - 1) as f64).sqrt()
        });
        Ok(Self { n, mean, std, sem: std.map(|s| s / (n as f64).sqrt()) })
    }

    /// The same in percent, for a summary of fractions.
    #[must_use]
    pub fn percent(self) -> Self {
        let percent = |x: f64| 100.0 * x;
        Self { n: self.n, mean: percent(self.mean), std: self.std.map(percent), sem: self.sem.map(percent) }
    }
}
