//! The checked matrix of accuracies that every metric is computed from.

use cl_core::{Error, Result};

/// R: the accuracy on every task after every training phase, and before the first.
///
/// `R[i, j]` is the accuracy on task j after training phase i, for tasks 1 to T and phases 1 to T. Row 0
/// is the untrained network, b in the papers. A joint run trains once on all tasks together: it has a
/// single row, and every metric that needs the others is undefined for it.
#[derive(Clone, Debug, PartialEq)]
pub struct RMatrix {
    baseline: Vec<f64>,
    rows: Vec<Vec<f64>>,
}

impl RMatrix {
    /// Checks and wraps the accuracies, fractions in 0..=1: `baseline[j]` of the untrained network,
    /// `rows[i][j]` after training phase i, on each of the T tasks.
    ///
    /// # Errors
    ///
    /// No task; a number of rows that is neither T nor 1; a row of another length than T; a value that
    /// is not a number, or outside 0..=1.
    pub fn new(baseline: Vec<f64>, rows: Vec<Vec<f64>>) -> Result<Self> {
        let tasks = baseline.len();
        if tasks == 0 {
            return Err(Error::invalid(
                "R matrix",
                "the untrained row is empty; it needs one accuracy per task",
            ));
        }
        if rows.len() != tasks && rows.len() != 1 {
            return Err(Error::mismatch(
                "R matrix",
                format!("{tasks} rows, one per task (or a single row for a joint run)"),
                format!("{} rows", rows.len()),
            ));
        }
        for (i, row) in std::iter::once(&baseline).chain(&rows).enumerate() {
            if row.len() != tasks {
                return Err(Error::mismatch(
                    "R matrix",
                    format!("{tasks} accuracies in row {i}, one per task"),
                    format!("{} accuracies", row.len()),
                ));
            }
            if let Some(j) = row.iter().position(|a| !(0.0..=1.0).contains(a)) {
                return Err(Error::invalid(
                    format!("R[{i}, {}]", j + 1),
                    format!("{} is not an accuracy; give a fraction in 0..=1, not percent", row[j]),
                ));
            }
        }
        Ok(Self { baseline, rows })
    }

    /// The mean of several seeds, cell by cell.
    ///
    /// # Errors
    ///
    /// No matrix; matrices of different shapes.
    pub fn mean(matrices: &[Self]) -> Result<Self> {
        let [first, rest @ ..] = matrices else {
            return Err(Error::invalid("R matrices", "there is none to average; give at least one"));
        };
        let shape = |m: &Self| format!("{} rows of {} tasks", m.rows.len(), m.tasks());
        if let Some(other) = rest.iter().find(|m| shape(m) != shape(first)) {
            return Err(Error::mismatch("mean of R matrices", shape(first), shape(other)));
        }
        let n = matrices.len() as f64;
        let cell = |pick: &dyn Fn(&Self) -> f64| matrices.iter().map(pick).sum::<f64>() / n;
        let baseline = (0..first.tasks()).map(|j| cell(&|m| m.baseline[j])).collect();
        let rows = (0..first.rows.len())
            .map(|i| (0..first.tasks()).map(|j| cell(&|m| m.rows[i][j])).collect())
            .collect();
        Ok(Self { baseline, rows })
    }

    /// T, the number of tasks.
    pub fn tasks(&self) -> usize {
        self.baseline.len()
    }

    /// Row 0: the accuracy of the untrained network on every task.
    pub fn baseline(&self) -> &[f64] {
        &self.baseline
    }

    /// Rows 1 to T: the accuracies on every task after each training phase (one row for a joint run).
    pub fn rows(&self) -> &[Vec<f64>] {
        &self.rows
    }

    /// The last row: the accuracy on every task when training has ended.
    pub fn last(&self) -> &[f64] {
        self.rows.last().expect("new and mean keep at least one row")
    }

    /// Whether there is a row for every task. Only a joint run of more than one task has not.
    pub fn is_full(&self) -> bool {
        self.rows.len() == self.tasks()
    }

    /// The mean accuracy over the tasks seen so far, after each task: (1/i) Σ_{j≤i} R\[i,j\] for i = 1..T.
    /// `None` for a joint run.
    pub fn seen_so_far(&self) -> Option<Vec<f64>> {
        self.is_full().then(|| (1..=self.tasks()).map(|i| mean(&self.rows[i - 1][..i])).collect())
    }

    /// R\[i, j\] with the papers' indices: i = 0 is the untrained row, tasks count from 1.
    pub(crate) fn at(&self, i: usize, j: usize) -> f64 {
        if i == 0 { self.baseline[j - 1] } else { self.rows[i - 1][j - 1] }
    }
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
