//! F(i,t): the bits of an old task that were known once and are not any more.

use cl_core::{Error, Result};

/// I(θ_t; D_i) for every task i after every task t, in bits per sample, and what was lost of it.
///
/// F(i,t) = max_{i≤s≤t} I(θ_s; D_i) − I(θ_t; D_i) for i ≤ t: s runs over the evaluations since task i was
/// learned, the present one among them. So F ≥ 0, and F(i,i) = 0. It is `forgetting_mammoth` with bits for
/// accuracies and without the row before task i was learned. Unlike accuracy it sees a model that is still right
/// but less sure.
///
/// ```
/// use cl_metrics::InformationMatrix;
///
/// let bits = InformationMatrix::new(vec![vec![0.9, -0.2], vec![0.4, 0.8]])?;
/// assert_eq!(bits.forgetting(), [vec![0.0], vec![0.5, 0.0]]);
/// assert_eq!(bits.mean_forgetting(), Some(0.5));
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct InformationMatrix {
    rows: Vec<Vec<f64>>,
}

impl InformationMatrix {
    /// Checks and wraps the bits: `rows[t][i]` is I(θ;D) on the test samples of task i after task t, T rows of
    /// T tasks. Entries of tasks not yet learned are not read, but must be there; they are often negative.
    ///
    /// # Errors
    /// No task; rows that are not T of T values (a joint run forgets nothing: it has no matrix); a value that is
    /// not finite.
    pub fn new(rows: Vec<Vec<f64>>) -> Result<Self> {
        let tasks = rows.len();
        if tasks == 0 {
            return Err(Error::invalid("information matrix", "there is no row; give one per task"));
        }
        for (t, row) in rows.iter().enumerate() {
            if row.len() != tasks {
                return Err(Error::mismatch(
                    "information matrix",
                    format!("{tasks} values in row {}, one per task, as there are {tasks} rows", t + 1),
                    format!("{} values", row.len()),
                ));
            }
            if let Some(i) = row.iter().position(|bits| !bits.is_finite()) {
                return Err(Error::invalid(
                    format!("I[{}, {}]", t + 1, i + 1),
                    format!("{} is not a number of bits; every evaluation needs a finite one", row[i]),
                ));
            }
        }
        Ok(Self { rows })
    }

    /// T, the number of tasks.
    pub fn tasks(&self) -> usize {
        self.rows.len()
    }

    /// The bits: `rows()[t][i]` on task i after task t, both from 0.
    pub fn rows(&self) -> &[Vec<f64>] {
        &self.rows
    }

    /// All F(i,t), in bits per sample: `[t][i]` for i ≤ t, both from 0. Row t has t + 1 entries, the last is 0.
    pub fn forgetting(&self) -> Vec<Vec<f64>> {
        (0..self.tasks()).map(|t| (0..=t).map(|i| self.lost(i, t)).collect()).collect()
    }

    /// (1/(T−1)) Σ_{i<T} F(i,T): the mean at the end. The last task is left out, as it cannot be forgotten yet.
    /// `None` for a single task.
    pub fn mean_forgetting(&self) -> Option<f64> {
        let last = self.tasks() - 1;
        (last > 0).then(|| (0..last).map(|i| self.lost(i, last)).sum::<f64>() / last as f64)
    }

    fn lost(&self, i: usize, t: usize) -> f64 {
        let best = self.rows[i..=t].iter().map(|row| row[i]).fold(f64::NEG_INFINITY, f64::max);
        best - self.rows[t][i]
    }
}
