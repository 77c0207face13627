//! Metrics against brute force, and what is chosen on held-out rows.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use cl_dual_process::calibrate::{
    calibration_error, threshold_for_accuracy, threshold_for_cost, threshold_for_share,
};
use cl_dual_process::curve::{auroc, normalised_area, normalised_area_at_cost};
use cl_dual_process::{Costs, DeferralCurve, RiskCoverage, Temperature};
use proptest::prelude::*;

/// Scores with many ties, and which rows each system has right.
fn outcomes(most: usize) -> impl Strategy<Value = (Vec<f64>, Vec<bool>, Vec<bool>)> {
    proptest::collection::vec((0..5i32, any::<bool>(), any::<bool>()), 1..most).prop_map(|rows| {
        let scores = rows.iter().map(|row| f64::from(row.0) / 4.0).collect();
        (scores, rows.iter().map(|row| row.1).collect(), rows.iter().map(|row| row.2).collect())
    })
}

/// All orders in which rows may be deferred that the scores allow.
fn orders(scores: &[f64]) -> Vec<Vec<usize>> {
    fn go(left: &[usize], scores: &[f64], so_far: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if left.is_empty() {
            all.push(so_far.clone());
        }
        let most = left.iter().map(|&row| scores[row]).fold(f64::NEG_INFINITY, f64::max);
        for &row in left.iter().filter(|&&row| scores[row] == most) {
            so_far.push(row);
            let rest: Vec<usize> = left.iter().copied().filter(|&other| other != row).collect();
            go(&rest, scores, so_far, all);
            so_far.pop();
        }
    }
    let mut all = Vec::new();
    go(&(0..scores.len()).collect::<Vec<_>>(), scores, &mut Vec::new(), &mut all);
    all
}

fn accuracy(first: &[bool], second: &[bool], deferred: &[usize]) -> f64 {
    let right =
        (0..first.len()).filter(|row| if deferred.contains(row) { second[*row] } else { first[*row] });
    right.count() as f64 / first.len() as f64
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

proptest! {
    /// The mean over every order of rows of equal score, one by one.
    #[test]
    fn curves_are_means_over_orders((scores, first, second) in outcomes(7)) {
        let (n, orders) = (scores.len(), orders(&scores));
        let curve = DeferralCurve::of(&scores, &first, &second).unwrap();
        for k in 0..=n {
            let expected = mean(orders.iter().map(|order| accuracy(&first, &second, &order[..k])));
            prop_assert!((curve.at(k as f64 / n as f64).unwrap() - expected).abs() < 1e-9);
        }
        let risks = RiskCoverage::of(&scores, &first).unwrap();
        let risk = |order: &[usize], k: usize| order[n - k..].iter().filter(|&&row| !first[row]).count() as f64 / k as f64;
        for k in 1..=n {
            let expected = mean(orders.iter().map(|order| risk(order, k)));
            prop_assert!((risks.at(k as f64 / n as f64).unwrap() - expected).abs() < 1e-9);
        }
        let aurc = mean(orders.iter().map(|order| mean((1..=n).map(|k| risk(order, k)))));
        prop_assert!((risks.aurc() - aurc).abs() < 1e-9);
        // The best order has the wrong rows first, as far as they are deferred.
        let doubt: Vec<f64> = first.iter().map(|&right| f64::from(u8::from(!right))).collect();
        let best = RiskCoverage::of(&doubt, &first).unwrap();
        prop_assert!(best.excess().abs() < 1e-9 && risks.excess() > -1e-9);
        prop_assert!((risks.aurc() - best.aurc() - risks.excess()).abs() < 1e-9);
    }

    /// No order of any rows is above the oracle or below its opposite, and A is where it lies between chance and it.
    #[test]
    fn nothing_is_above_the_oracle((scores, first, second) in outcomes(40)) {
        let n = scores.len() as f64;
        let [curve, oracle, random] = [
            DeferralCurve::of(&scores, &first, &second).unwrap(),
            DeferralCurve::oracle(&first, &second).unwrap(),
            DeferralCurve::random(&first, &second).unwrap(),
        ];
        for k in 0..=scores.len() {
            let at = k as f64 / n;
            prop_assert!(curve.at(at).unwrap() <= oracle.at(at).unwrap() + 1e-9);
        }
        let ends = [first.iter().filter(|&&r| r).count() as f64 / n, second.iter().filter(|&&r| r).count() as f64 / n];
        prop_assert!((random.area() - 0.5 * (ends[0] + ends[1])).abs() < 1e-9);
        match normalised_area(&scores, &first, &second) {
            Ok(a) => {
                prop_assert!((a - (curve.area() - random.area()) / (oracle.area() - random.area())).abs() < 1e-9);
                prop_assert!(a <= 1.0 + 1e-9);
                // Deciding that costs is worth less, where System 2 is better on the whole; by the steps of a fine grid.
                let cost = 0.37;
                let grid = mean((0..20_000).map(|k| curve.at(((f64::from(k) + 0.5) / 20_000.0 - cost).max(0.0)).unwrap()));
                prop_assert!((curve.area_at_cost(cost).unwrap() - grid).abs() < 1e-3);
                let charged = normalised_area_at_cost(&scores, &first, &second, cost).unwrap();
                prop_assert!((charged - (curve.area_at_cost(cost).unwrap() - random.area()) / (oracle.area() - random.area())).abs() < 1e-9);
            }
            Err(error) => {
                let gain = |row: usize| i8::from(second[row]) - i8::from(first[row]);
                prop_assert!((0..scores.len()).all(|row| gain(row) == gain(0)), "{error}");
            }
        }
        if let Some(share) = curve.least_share(ends[1]) {
            prop_assert!(curve.at(share).unwrap() >= ends[1] - 1e-12);
        }
    }

    /// Over all pairs, ties a half.
    #[test]
    fn auroc_counts_pairs((scores, positive, _) in outcomes(40)) {
        let (mut sum, mut pairs) = (0.0, 0.0);
        for (a, _) in scores.iter().zip(&positive).filter(|(_, p)| **p) {
            for (b, _) in scores.iter().zip(&positive).filter(|(_, p)| !**p) {
                pairs += 1.0;
                sum += if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 };
            }
        }
        match auroc(&scores, &positive) {
            Ok(found) => prop_assert!((found - sum / pairs).abs() < 1e-12),
            Err(error) => prop_assert!(pairs == 0.0, "{error}"),
        }
    }

    /// What is chosen holds on the rows it was chosen on, and nothing cheaper would.
    #[test]
    fn thresholds_keep_their_word((scores, first, second) in outcomes(40), share in 0.0..=1.0f64, target in 0.0..=1.0f64) {
        let n = scores.len() as f64;
        let above = |threshold: f64| scores.iter().filter(|&&score| score > threshold).count() as f64;
        let chosen = threshold_for_share(&scores, share).unwrap();
        prop_assert!(above(chosen) <= share * n + 1e-6);
        let lower = scores.iter().copied().filter(|&s| s < chosen).fold(f64::NEG_INFINITY, f64::max);
        prop_assert!(chosen == f64::NEG_INFINITY || above(lower.max(chosen - 1e-3)) >= above(chosen));
        // One more group of equal scores would be too much.
        let next = scores.iter().filter(|&&score| score >= chosen).count() as f64;
        prop_assert!(chosen == f64::NEG_INFINITY || next > share * n - 1e-6);
        let costs = Costs { fast: 5, slow: 50 };
        let same = threshold_for_cost(&scores, &costs, costs.mean(share)).unwrap();
        prop_assert!(above(same) * 50.0 + n * 5.0 <= costs.mean(share) * n + 1e-4);

        let reached = |threshold: f64| {
            let deferred: Vec<usize> = (0..scores.len()).filter(|&row| scores[row] > threshold).collect();
            accuracy(&first, &second, &deferred)
        };
        let every: Vec<f64> = scores.iter().copied().chain([f64::NEG_INFINITY]).collect();
        match threshold_for_accuracy(&scores, &first, &second, target) {
            Ok(threshold) => {
                prop_assert!(reached(threshold) >= target - 1e-9);
                for &other in every.iter().filter(|&&other| above(other) < above(threshold)) {
                    prop_assert!(reached(other) < target, "{other} would have been enough");
                }
            }
            Err(error) => prop_assert!(every.iter().all(|&other| reached(other) < target), "{error}"),
        }
    }
}

/// The temperature that was taken away is found again, and no temperature of a grid is better.
#[test]
fn the_temperature_is_the_best_of_a_grid() {
    use rand::Rng as _;
    let rng = &mut cl_core::rng(0, "temperature");
    let (n, classes) = (4000, 4);
    let (mut logits, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let row: Vec<f64> = (0..classes).map(|_| rng.random_range(-3.0..3.0)).collect();
        let p: Vec<f64> = row.iter().map(|z| z.exp()).collect();
        let mut left = rng.random::<f64>() * p.iter().sum::<f64>();
        let label = p.iter().position(|p| {
            left -= p;
            left < 0.0
        });
        labels.push(label.unwrap_or(classes - 1) as u32);
        logits.extend(row.iter().map(|z| 2.5 * z));
    }
    let logits = Tensor::from_vec(logits, (n, classes), &Device::Cpu).unwrap();
    let found = Temperature::fit(&logits, &labels).unwrap();
    // 4000 labels: a tenth is five standard errors.
    assert!((found.get() - 2.5).abs() < 0.25, "{found:?}");
    let loss = |t: f64| {
        let z = Temperature::new(t).unwrap().apply(&logits).unwrap().to_vec2::<f64>().unwrap();
        let one =
            |(z, &label): (&Vec<f64>, &u32)| z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[label as usize];
        z.iter().zip(&labels).map(one).sum::<f64>()
    };
    let best = loss(found.get());
    for k in 1..400 {
        assert!(loss(f64::from(k) / 20.0) >= best - 1e-9);
    }
    let calibrated = found.apply(&logits).unwrap();
    let errors = [&logits, &calibrated].map(|logits| calibration_error(logits, &labels, 15).unwrap());
    assert!(errors[1] < 0.03 && errors[0] > 0.1, "{errors:?}");
}

/// By hand: two bins of 0.5 each hold a row of confidence 0.75 that is right, and two of 0.6, one of which is.
#[test]
fn the_calibration_error_is_that_of_the_bins() {
    let row = |p: f64| [p.ln(), (1.0 - p).ln()];
    let logits = Tensor::new(&[row(0.75), row(0.6), row(0.6)], &Device::Cpu).unwrap();
    let found = calibration_error(&logits, &[0, 0, 1], 10).unwrap();
    let expected = (1.0 * (1.0 - 0.75) + 2.0 * (0.6f64 - 0.5)) / 3.0;
    assert!((found - expected).abs() < 1e-12, "{found}");
}

fn says<T: std::fmt::Debug>(result: cl_core::Result<T>, what: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(what), "{error}");
}

#[test]
fn what_cannot_be_is_refused() {
    says(DeferralCurve::of(&[], &[], &[]), "none");
    says(DeferralCurve::of(&[0.0], &[true], &[true, false]), "each of 1 rows");
    says(DeferralCurve::of(&[0.0, 1.0], &[true], &[true]), "each of 1 rows");
    says(DeferralCurve::of(&[f64::NAN], &[true], &[true]), "row 0 is NaN");
    says(DeferralCurve::of(&[0.0], &[true], &[true]).unwrap().at(1.5), "1.5");
    says(normalised_area(&[0.0, 1.0], &[true, false], &[true, false]), "no order of deferral");
    says(auroc(&[0.0, 1.0], &[true, true]), "all of them are positive");
    says(RiskCoverage::of(&[], &[]), "none");
    says(threshold_for_share(&[], 0.5), "none");
    says(threshold_for_share(&[0.1], -0.5), "-0.5");
    says(threshold_for_accuracy(&[0.1, 0.2], &[true, false], &[true, false], 0.9), "0.5000 at best");
    let logits = Tensor::new(&[[2f32, 0.0], [0.0, 1.0]], &Device::Cpu).unwrap();
    says(Temperature::fit(&logits, &[0, 1]), "every row is right");
    says(Temperature::fit(&logits, &[1, 0]), "no better than chance");
    says(Temperature::fit(&logits, &[0, 2]), "none of 2 classes");
    says(Temperature::new(0.0), "positive");
    says(calibration_error(&logits, &[0, 1], 0), "bins");
}
