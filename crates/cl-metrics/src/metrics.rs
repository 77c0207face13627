//! Every metric that follows from the R matrix, each variant under its own name.
//!
//! The formulas count tasks and training phases from 1, as the papers do; T is their number and b the
//! untrained row.

use std::collections::BTreeMap;

use cl_core::{Error, Result};

use crate::matrix::{RMatrix, mean};

/// What a metric speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// How much is known.
    Accuracy,
    /// What later tasks did to earlier ones; negative where they harmed.
    BackwardTransfer,
    /// What earlier tasks did for later ones.
    ForwardTransfer,
    /// What was lost; positive where something was.
    Forgetting,
}

/// One metric: its name, formula and source.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name, variant included, as results files and reports spell it.
    pub name: &'static str,
    /// The formula, over R\[i,j\] and b\[j\].
    pub formula: &'static str,
    /// The paper or the code that computes it so, and what it equals elsewhere.
    pub source: &'static str,
    /// What it speaks of.
    pub family: Family,
    of: fn(&RMatrix) -> Option<f64>,
}

impl Metric {
    /// The metric of one run, as a fraction. `None` where it is undefined: for a joint run all but
    /// `acc`; for a single task whatever compares two tasks.
    pub fn of(&self, r: &RMatrix) -> Option<f64> {
        (self.of)(r)
    }
}

/// All of them, by family.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "acc",
        formula: "(1/T) Σ_j R[T,j]",
        source: "ACC of GEM, A_T of A-GEM, retained accuracy (RA) of MER",
        family: Family::Accuracy,
        of: |r| Some(mean(r.last())),
    },
    Metric {
        name: "learning_accuracy",
        formula: "(1/T) Σ_j R[j,j]",
        source: "LA of MER; the diagonal mean of GEM's code",
        family: Family::Accuracy,
        of: |r| full(r).map(learning_accuracy),
    },
    Metric {
        name: "average_incremental_accuracy",
        formula: "(1/T) Σ_i (1/i) Σ_{j≤i} R[i,j]",
        source: "iCaRL; AAA of the online literature",
        family: Family::Accuracy,
        of: |r| r.seen_so_far().map(|curve| mean(&curve)),
    },
    Metric {
        name: "a_diaz_rodriguez",
        formula: "Σ_{i≥j} R[i,j] / (T(T+1)/2)",
        source: "A of Díaz-Rodríguez et al. 2018; Continuum",
        family: Family::Accuracy,
        of: |r| full(r).map(|r| mean_over(r, |i, j| (i >= j).then(|| r.at(i, j)))),
    },
    Metric {
        name: "bwt_gem_paper",
        formula: "(1/(T−1)) Σ_{j<T} (R[T,j] − R[j,j])",
        source: "GEM, the paper; Mammoth",
        family: Family::BackwardTransfer,
        of: |r| several(r).map(|r| bwt_sum(r) / (r.tasks() - 1) as f64),
    },
    Metric {
        name: "bwt_gem_code",
        formula: "(1/T) Σ_j (R[T,j] − R[j,j])",
        source: "GEM, the code: the last term is 0 and is counted",
        family: Family::BackwardTransfer,
        of: |r| several(r).map(|r| bwt_sum(r) / r.tasks() as f64),
    },
    Metric {
        name: "bti",
        formula: "(1/T) Σ_j R[T,j] − (1/T) Σ_j R[j,j]",
        source: "MER: RA − LA; equals bwt_gem_code",
        family: Family::BackwardTransfer,
        of: |r| several(r).map(|r| mean(r.last()) - learning_accuracy(r)),
    },
    Metric {
        name: "bwt_diaz_rodriguez",
        formula: "Σ_{i≥2} Σ_{j<i} (R[i,j] − R[j,j]) / (T(T−1)/2)",
        source: "Díaz-Rodríguez et al. 2018; Continuum",
        family: Family::BackwardTransfer,
        of: bwt_diaz_rodriguez,
    },
    Metric {
        name: "rem",
        formula: "1 − |min(bwt_diaz_rodriguez, 0)|",
        source: "REM of Díaz-Rodríguez et al. 2018; Continuum",
        family: Family::BackwardTransfer,
        of: |r| bwt_diaz_rodriguez(r).map(|bwt| 1.0 - bwt.min(0.0).abs()),
    },
    Metric {
        name: "bwt_plus",
        formula: "max(bwt_diaz_rodriguez, 0)",
        source: "BWT⁺ of Díaz-Rodríguez et al. 2018; Continuum",
        family: Family::BackwardTransfer,
        of: |r| bwt_diaz_rodriguez(r).map(|bwt| bwt.max(0.0)),
    },
    Metric {
        name: "fwt_gem_paper",
        formula: "(1/(T−1)) Σ_{j≥2} (R[j−1,j] − b[j])",
        source: "GEM, the paper; Mammoth",
        family: Family::ForwardTransfer,
        of: |r| several(r).map(|r| fwt_sum(r, |j| r.at(0, j)) / (r.tasks() - 1) as f64),
    },
    Metric {
        name: "fwt_gem_code",
        formula: "(1/T) Σ_{j≥2} (R[j−1,j] − b[j])",
        source: "GEM, the code: a first term of 0 is counted",
        family: Family::ForwardTransfer,
        of: |r| several(r).map(|r| fwt_sum(r, |j| r.at(0, j)) / r.tasks() as f64),
    },
    Metric {
        name: "fwt_continuum",
        formula: "(1/(T−1)) Σ_{j≥2} R[j−1,j]",
        source: "Continuum: as GEM's, without b",
        family: Family::ForwardTransfer,
        of: |r| several(r).map(|r| fwt_sum(r, |_| 0.0) / (r.tasks() - 1) as f64),
    },
    Metric {
        name: "fwt_diaz_rodriguez",
        formula: "Σ_{i<j} R[i,j] / (T(T−1)/2)",
        source: "Díaz-Rodríguez et al. 2018",
        family: Family::ForwardTransfer,
        of: |r| several(r).map(|r| mean_over(r, |i, j| (i < j).then(|| r.at(i, j)))),
    },
    Metric {
        name: "forgetting_agem",
        formula: "(1/(T−1)) Σ_{j<T} (max_{1≤l<T} R[l,j] − R[T,j])",
        source: "A-GEM, the code: rows before task j was learned count too",
        family: Family::Forgetting,
        of: |r| several(r).map(|r| mean(&lost(r, |_| 1, r.tasks() - 1))),
    },
    Metric {
        name: "worst_case_forgetting",
        formula: "max_{j<T} (max_{1≤l<T} R[l,j] − R[T,j])",
        source: "A-GEM, Table 2",
        family: Family::Forgetting,
        of: |r| several(r).map(|r| lost(r, |_| 1, r.tasks() - 1).into_iter().fold(f64::MIN, f64::max)),
    },
    Metric {
        name: "forgetting_continuum",
        formula: "(1/(T−1)) Σ_{j<T} (max_{j≤l<T} R[l,j] − R[T,j])",
        source: "Continuum, after RWalk eq. 3: only rows since task j was learned",
        family: Family::Forgetting,
        of: |r| several(r).map(|r| mean(&lost(r, |j| j, r.tasks() - 1))),
    },
    Metric {
        name: "forgetting_mammoth",
        formula: "(1/(T−1)) Σ_{j<T} (max_{l≥j−1} R[l,j] − R[T,j]), 1 ≤ l ≤ T",
        source: "Mammoth: the last row counts, so never negative; a row holds the tasks seen so far and \
                 the next one, what is missing counts as 0",
        family: Family::Forgetting,
        of: |r| several(r).map(|r| mean(&lost(r, |j| j.saturating_sub(1).max(1), r.tasks()))),
    },
    Metric {
        name: "forgetting_avalanche",
        formula: "(1/(T−1)) Σ_{j<T} (R[j,j] − R[T,j])",
        source: "Avalanche: first value after learning minus the last, no maximum; equals −bwt_gem_paper",
        family: Family::Forgetting,
        of: |r| several(r).map(|r| mean(&lost(r, |j| j, 0))),
    },
];

/// Every metric that is defined for this run, by name, as fractions.
pub fn all(r: &RMatrix) -> BTreeMap<&'static str, f64> {
    METRICS.iter().filter_map(|m| Some((m.name, m.of(r)?))).collect()
}

/// The metric of that name, if there is one.
pub fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|m| m.name == name)
}

/// Intransigence of RWalk per task: I_k = a*_k − R\[k,k\], how much worse a task was learned than by a
/// reference network. `reference[k]` is a*_k, the accuracy on task k of a network trained jointly on
/// tasks 1 to k, a fraction; it does not follow from R, which is why this is not in [`METRICS`].
///
/// # Errors
///
/// A joint run; a reference of another length than the tasks, or with a value outside 0..=1.
pub fn intransigence(r: &RMatrix, reference: &[f64]) -> Result<Vec<f64>> {
    let Some(r) = full(r) else {
        return Err(Error::invalid("intransigence", "a joint run has no R[k,k]; give the run of a method"));
    };
    if reference.len() != r.tasks() {
        return Err(Error::mismatch(
            "intransigence",
            format!("{} reference accuracies, one per task", r.tasks()),
            format!("{}", reference.len()),
        ));
    }
    if let Some(bad) = reference.iter().find(|a| !(0.0..=1.0).contains(*a)) {
        return Err(Error::invalid(
            "reference",
            format!("{bad} is not an accuracy; give a fraction in 0..=1, not percent"),
        ));
    }
    Ok(reference.iter().enumerate().map(|(k, a)| a - r.at(k + 1, k + 1)).collect())
}

/// The run, if it has a row for every task.
fn full(r: &RMatrix) -> Option<&RMatrix> {
    r.is_full().then_some(r)
}

/// The run, if it has a row for every task and something to compare.
fn several(r: &RMatrix) -> Option<&RMatrix> {
    full(r).filter(|r| r.tasks() > 1)
}

fn learning_accuracy(r: &RMatrix) -> f64 {
    (1..=r.tasks()).map(|j| r.at(j, j)).sum::<f64>() / r.tasks() as f64
}

fn bwt_sum(r: &RMatrix) -> f64 {
    let last = r.tasks();
    (1..last).map(|j| r.at(last, j) - r.at(j, j)).sum()
}

fn fwt_sum(r: &RMatrix, baseline: impl Fn(usize) -> f64) -> f64 {
    (2..=r.tasks()).map(|j| r.at(j - 1, j) - baseline(j)).sum()
}

fn bwt_diaz_rodriguez(r: &RMatrix) -> Option<f64> {
    several(r).map(|r| mean_over(r, |i, j| (j < i).then(|| r.at(i, j) - r.at(j, j))))
}

/// The mean over those cells (i, j) of rows 1 to T for which `cell` gives a value.
fn mean_over(r: &RMatrix, cell: impl Fn(usize, usize) -> Option<f64>) -> f64 {
    let pairs = (1..=r.tasks()).flat_map(|i| (1..=r.tasks()).map(move |j| (i, j)));
    mean(&pairs.filter_map(|(i, j)| cell(i, j)).collect::<Vec<_>>())
}

/// For each task but the last: its best accuracy over rows `from(j)` to `to`, at least row `from(j)`
/// itself, minus its last.
fn lost(r: &RMatrix, from: impl Fn(usize) -> usize, to: usize) -> Vec<f64> {
    let best = |j: usize| (from(j)..=to.max(from(j))).map(|l| r.at(l, j)).fold(0.0, f64::max);
    (1..r.tasks()).map(|j| best(j) - r.at(r.tasks(), j)).collect()
}
