//! A hand-written R for which every variant of "the same" metric gives another number.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;

use cl_metrics::{Family, METRICS, RMatrix, all, intransigence, metric};

/// Task 1 is known better after task 3 than when it was learned; task 2 is best guessed before any
/// training on it; task 3 ends above all it had before. Each variant sees something else of that.
fn r() -> RMatrix {
    RMatrix::new(
        vec![0.25, 0.20, 0.30, 0.10],
        vec![
            vec![0.80, 0.96, 0.40, 0.35],
            vec![0.70, 0.90, 0.45, 0.20],
            vec![0.85, 0.60, 0.64, 0.50],
            vec![0.75, 0.30, 0.66, 0.92],
        ],
    )
    .unwrap()
}

/// Worked out by hand from the matrix above.
const BY_HAND: &[(&str, f64)] = &[
    ("acc", 2.63 / 4.0),
    ("learning_accuracy", 3.26 / 4.0),
    ("average_incremental_accuracy", (0.80 + 1.60 / 2.0 + 2.09 / 3.0 + 2.63 / 4.0) / 4.0),
    ("a_diaz_rodriguez", (0.80 + 1.60 + 2.09 + 2.63) / 10.0),
    // (.75-.80) + (.30-.90) + (.66-.64) = -.63
    ("bwt_gem_paper", -0.63 / 3.0),
    ("bwt_gem_code", -0.63 / 4.0),
    ("bti", -0.63 / 4.0),
    // Row 2: -.10; row 3: .05 - .30; row 4: -.63.
    ("bwt_diaz_rodriguez", -0.98 / 6.0),
    ("rem", 1.0 - 0.98 / 6.0),
    ("bwt_plus", 0.0),
    // .96 + .45 + .50 = 1.91, minus b: .20 + .30 + .10.
    ("fwt_gem_paper", 1.31 / 3.0),
    ("fwt_gem_code", 1.31 / 4.0),
    ("fwt_continuum", 1.91 / 3.0),
    ("fwt_diaz_rodriguez", (0.96 + 0.40 + 0.35 + 0.45 + 0.20 + 0.50) / 6.0),
    // Best before the last row: .85, .96, .64.
    ("forgetting_agem", (0.10 + 0.66 - 0.02) / 3.0),
    ("worst_case_forgetting", 0.66),
    // Since learned: .85, .90, .64.
    ("forgetting_continuum", (0.10 + 0.60 - 0.02) / 3.0),
    // With the last row and one task ahead: .85, .96, .66.
    ("forgetting_mammoth", (0.10 + 0.66 + 0.00) / 3.0),
    ("forgetting_avalanche", 0.63 / 3.0),
];

#[test]
fn every_metric_equals_the_hand_computed_value() {
    let got = all(&r());
    for (name, want) in BY_HAND {
        assert!((got[name] - want).abs() < 1e-12, "{name}: {} instead of {want}", got[name]);
    }
    assert_eq!(got.len(), BY_HAND.len(), "a metric without a hand-computed value");
}

#[test]
fn within_a_family_no_two_variants_agree() {
    // bti is another name for bwt_gem_code.
    for family in [Family::Accuracy, Family::BackwardTransfer, Family::ForwardTransfer, Family::Forgetting] {
        let values: Vec<_> = METRICS
            .iter()
            .filter(|m| m.family == family && m.name != "bti")
            .map(|m| (m.name, m.of(&r())))
            .collect();
        for (k, (name, value)) in values.iter().enumerate() {
            for (other, other_value) in &values[..k] {
                assert!((value.unwrap() - other_value.unwrap()).abs() > 1e-3, "{name} = {other}");
            }
        }
    }
}

#[test]
fn mammoth_does_not_see_what_it_has_not_evaluated() {
    // Task 3 is best after task 1, two tasks before its own: Mammoth's row 1 ends at task 2.
    let r = RMatrix::new(
        vec![0.0; 4],
        vec![
            vec![0.5, 0.5, 1.0, 0.5],
            vec![0.5, 0.5, 0.5, 0.5],
            vec![0.5, 0.5, 0.5, 0.5],
            vec![0.5, 0.5, 0.5, 0.5],
        ],
    )
    .unwrap();
    assert_eq!(metric("forgetting_mammoth").unwrap().of(&r), Some(0.0));
    assert_eq!(metric("forgetting_agem").unwrap().of(&r), Some(0.5 / 3.0));
}

#[test]
fn a_joint_run_has_an_accuracy_and_nothing_else() {
    let joint = RMatrix::new(vec![0.1; 3], vec![vec![0.9, 0.8, 0.7]]).unwrap();
    let got = all(&joint);
    assert_eq!(got.keys().collect::<Vec<_>>(), [&"acc"]);
    assert!((got["acc"] - 0.8).abs() < 1e-12);
    assert_eq!(joint.seen_so_far(), None);
    assert!(intransigence(&joint, &[1.0; 3]).unwrap_err().to_string().contains("joint"));
}

#[test]
fn a_single_task_has_nothing_to_compare() {
    let got = all(&RMatrix::new(vec![0.1], vec![vec![0.9]]).unwrap());
    let names: Vec<_> = got.keys().copied().collect();
    assert_eq!(names, ["a_diaz_rodriguez", "acc", "average_incremental_accuracy", "learning_accuracy"]);
    assert!(got.values().all(|v| *v == 0.9));
}

#[test]
fn intransigence_is_the_gap_to_the_reference_at_the_diagonal() {
    let got = intransigence(&r(), &[0.90, 0.90, 0.90, 0.90]).unwrap();
    for (got, want) in got.iter().zip([0.10, 0.0, 0.26, -0.02]) {
        assert!((got - want).abs() < 1e-12);
    }
    assert!(intransigence(&r(), &[0.9; 3]).unwrap_err().to_string().contains("4 reference accuracies"));
    assert!(intransigence(&r(), &[0.9, 0.9, 0.9, 90.0]).unwrap_err().to_string().contains("not percent"));
}

#[test]
fn table_of_metrics() {
    let mut table = String::new();
    for m in METRICS {
        let value = m.of(&r()).unwrap();
        writeln!(table, "{:?} | {} | {} | {} | {value:.6}", m.family, m.name, m.formula, m.source).unwrap();
    }
    insta::assert_snapshot!(table);
}

#[test]
fn names_are_unique_and_found() {
    for m in METRICS {
        assert_eq!(METRICS.iter().filter(|other| other.name == m.name).count(), 1, "{}", m.name);
        assert!(metric(m.name).is_some());
    }
    assert!(metric("forgetting").is_none());
}
