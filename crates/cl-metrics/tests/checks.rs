//! What the types refuse, and what holds for every matrix.
#![allow(clippy::unwrap_used)]

use cl_metrics::{RMatrix, Summary, all};
use proptest::prelude::*;

fn refused(baseline: Vec<f64>, rows: Vec<Vec<f64>>) -> String {
    RMatrix::new(baseline, rows).unwrap_err().to_string()
}

#[test]
fn a_malformed_matrix_is_refused_with_the_cell() {
    let ok = || vec![vec![0.5; 2]; 2];
    assert!(refused(vec![], vec![]).contains("untrained row is empty"));
    assert!(refused(vec![0.5; 2], vec![]).contains("got 0 rows"));
    assert!(refused(vec![0.5; 3], vec![vec![0.5; 3]; 2]).contains("expected 3 rows"));
    assert!(refused(vec![0.5; 2], vec![vec![0.5; 2], vec![0.5; 3]]).contains("row 2, one per task, got 3"));
    assert!(refused(vec![0.5, f64::NAN], ok()).contains("R[0, 2]: NaN"));
    assert!(refused(vec![0.5; 2], vec![vec![0.5, 0.5], vec![98.0, 0.5]]).contains("R[2, 1]: 98"));
    assert!(refused(vec![-0.1, 0.5], ok()).contains("R[0, 1]: -0.1"));
    assert!(refused(vec![f64::INFINITY, 0.5], ok()).contains("inf"));
    assert!(RMatrix::new(vec![0.0, 1.0], ok()).is_ok());
}

#[test]
fn the_mean_matrix_averages_cell_by_cell() {
    let a = RMatrix::new(vec![0.0, 0.2], vec![vec![0.4, 0.6], vec![0.8, 1.0]]).unwrap();
    let b = RMatrix::new(vec![1.0, 0.4], vec![vec![0.6, 0.6], vec![0.2, 1.0]]).unwrap();
    let mean = RMatrix::mean(&[a.clone(), b]).unwrap();
    for (got, want) in
        mean.baseline().iter().chain(mean.rows().iter().flatten()).zip([0.5, 0.3, 0.5, 0.6, 0.5, 1.0])
    {
        assert!((got - want).abs() < 1e-12);
    }
    let joint = RMatrix::new(vec![0.0, 0.2], vec![vec![0.4, 0.6]]).unwrap();
    assert!(RMatrix::mean(&[a, joint]).unwrap_err().to_string().contains("got 1 rows of 2 tasks"));
    assert!(RMatrix::mean(&[]).is_err());
}

#[test]
fn summary_of_known_values() {
    let s = Summary::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
    assert_eq!((s.n, s.mean), (8, 5.0));
    assert!((s.std.unwrap() - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
    // As van de Ven et al. print it: population variance over n - 1.
    assert!((s.sem.unwrap() - (4.0f64 / 7.0).sqrt()).abs() < 1e-12);
    let percent = Summary::of(&[0.5, 0.7]).unwrap().percent();
    assert!((percent.mean - 60.0).abs() < 1e-12);
    assert!((percent.sem.unwrap() - 10.0).abs() < 1e-12);
}

#[test]
fn one_seed_has_no_error_and_none_has_no_mean() {
    let s = Summary::of(&[0.7]).unwrap();
    assert_eq!((s.n, s.mean, s.std, s.sem), (1, 0.7, None, None));
    assert!(Summary::of(&[]).is_err());
    assert!(Summary::of(&[0.1, f64::NAN]).unwrap_err().to_string().contains("NaN"));
}

fn accuracies(n: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(0.0..=1.0f64, n)
}

fn matrices() -> impl Strategy<Value = RMatrix> {
    (2..7usize).prop_flat_map(|t| {
        (accuracies(t), prop::collection::vec(accuracies(t), t))
            .prop_map(|(b, rows)| RMatrix::new(b, rows).unwrap())
    })
}

/// The same matrix with every accuracy, or only the trained ones, mapped.
fn map(r: &RMatrix, baseline: impl Fn(f64) -> f64, rows: impl Fn(f64) -> f64) -> RMatrix {
    RMatrix::new(
        r.baseline().iter().map(|&a| baseline(a)).collect(),
        r.rows().iter().map(|row| row.iter().map(|&a| rows(a)).collect()).collect(),
    )
    .unwrap()
}

proptest! {
    #[test]
    fn identities_between_the_variants(r in matrices()) {
        let m = all(&r);
        let t = r.tasks() as f64;
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        prop_assert!(near(m["bwt_gem_code"], m["bwt_gem_paper"] * (t - 1.0) / t));
        prop_assert!(near(m["bti"], m["bwt_gem_code"]));
        prop_assert!(near(m["acc"] - m["learning_accuracy"], m["bti"]));
        prop_assert!(near(m["forgetting_avalanche"], -m["bwt_gem_paper"]));
        prop_assert!(near(m["fwt_gem_code"], m["fwt_gem_paper"] * (t - 1.0) / t));
        let b = r.baseline()[1..].iter().sum::<f64>() / (t - 1.0);
        prop_assert!(near(m["fwt_continuum"] - b, m["fwt_gem_paper"]));
        prop_assert!(near(m["rem"] + m["bwt_plus"], 1.0 + m["bwt_diaz_rodriguez"]));
    }

    #[test]
    fn forgetting_is_ordered_by_what_its_maximum_sees(r in matrices()) {
        let m = all(&r);
        let at_most = |a: &str, b: &str| m[a] <= m[b] + 1e-12;
        prop_assert!(m["forgetting_mammoth"] >= 0.0);
        prop_assert!(at_most("forgetting_avalanche", "forgetting_continuum"));
        prop_assert!(at_most("forgetting_continuum", "forgetting_agem"));
        prop_assert!(at_most("forgetting_continuum", "forgetting_mammoth"));
        prop_assert!(at_most("forgetting_agem", "worst_case_forgetting"));
    }

    #[test]
    fn metrics_are_bounded_and_complete(r in matrices()) {
        let m = all(&r);
        prop_assert_eq!(m.len(), cl_metrics::METRICS.len());
        for (name, value) in m {
            prop_assert!((-1.0 - 1e-12..=1.0 + 1e-12).contains(&value), "{} = {}", name, value);
        }
    }

    #[test]
    fn a_run_that_never_changes_transfers_and_forgets_nothing(row in (2..7usize).prop_flat_map(accuracies)) {
        let r = RMatrix::new(row.clone(), vec![row.clone(); row.len()]).unwrap();
        for (name, value) in all(&r) {
            let zero = name.starts_with("bwt") || name.starts_with("forgetting") || name.starts_with("fwt_gem")
                || ["bti", "worst_case_forgetting"].contains(&name);
            prop_assert!(!zero || value.abs() < 1e-12, "{} = {}", name, value);
        }
    }

    #[test]
    fn only_forward_transfer_reads_the_untrained_row(r in matrices()) {
        let (before, after) = (all(&r), all(&map(&r, |_| 0.0, |a| a)));
        for (name, value) in before {
            prop_assert!(name.starts_with("fwt_gem") || value == after[name], "{}", name);
        }
    }

    #[test]
    fn differences_scale_with_the_accuracies(r in matrices()) {
        let (whole, half) = (all(&r), all(&map(&r, |a| a / 2.0, |a| a / 2.0)));
        for (name, value) in whole {
            prop_assert!(name == "rem" || (value / 2.0 - half[name]).abs() < 1e-12, "{}", name);
        }
    }

    #[test]
    fn the_mean_commutes_with_the_linear_metrics(pair in (2..6usize).prop_flat_map(|t| {
        let one = move || (accuracies(t), prop::collection::vec(accuracies(t), t))
            .prop_map(|(b, rows)| RMatrix::new(b, rows).unwrap());
        (one(), one())
    })) {
        let mean = all(&RMatrix::mean(&[pair.0.clone(), pair.1.clone()]).unwrap());
        let (a, b) = (all(&pair.0), all(&pair.1));
        for name in ["acc", "learning_accuracy", "bwt_gem_paper", "bwt_diaz_rodriguez", "fwt_gem_paper",
                     "average_incremental_accuracy"] {
            prop_assert!((mean[name] - (a[name] + b[name]) / 2.0).abs() < 1e-12, "{}", name);
        }
    }

    #[test]
    fn shifting_values_moves_the_mean_alone(values in prop::collection::vec(-1.0..1.0f64, 2..20)) {
        let s = Summary::of(&values).unwrap();
        let moved = Summary::of(&values.iter().map(|v| v + 1.0).collect::<Vec<_>>()).unwrap();
        prop_assert!((moved.mean - s.mean - 1.0).abs() < 1e-9);
        prop_assert!((moved.sem.unwrap() - s.sem.unwrap()).abs() < 1e-9);
        prop_assert!(s.sem.unwrap() <= s.std.unwrap());
    }
}
