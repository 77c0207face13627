//! Arbiters compared on the test set, with what was chosen on held-out rows.

use std::collections::BTreeMap;

use cl_core::{Result, rng};
use cl_dual_process::calibrate::{calibration_error, threshold_for_accuracy, threshold_for_share};
use cl_dual_process::curve::{auroc, normalised_area_at_cost};
use cl_dual_process::{
    Arbiter, Budget, ByRef, Cascade, Confidence, Costs, DeferralCurve, First, LearnedRule, RiskCoverage,
    Score, Temperature, Threshold, right,
};

use super::Protocol;
use super::nets::{self, Answers, Cnn, Fast, Split};
use crate::experiment::Measured;

/// What is compared, the learned rule last; names of values in the results.
pub const ARBITERS: [&str; 4] = ["max_softmax", "margin", "entropy", "learned"];

/// Where the learned one stands among them.
const LEARNED: usize = ARBITERS.len() - 1;

/// Points of a stored curve, the first at 0 and the last at 1.
pub const POINTS: usize = 51;

/// Budgets, in System 2's multiply-adds a row, for which the accuracy is stored.
pub const BUDGETS: [f64; 4] = [0.05, 0.1, 0.2, 0.4];

/// The deferral for which a threshold is chosen on held-out rows.
pub const SHARE: f64 = 0.18;

/// How far below System 2's accuracy on held-out rows a threshold is chosen for.
const BELOW: f64 = 0.001;

pub fn measure(fast: &Fast, slow: &Cnn, split: &Split, protocol: &Protocol, seed: u64) -> Result<Measured> {
    let [held, test] = [&split.held_out, &split.test].map(|samples| Answers::of(fast, slow, samples));
    let (held, test) = (held?, test?);
    let rule =
        LearnedRule::fit(&held.first, &held.labels, &held.right[1], protocol.rule, &mut rng(seed, "rule"))?;
    let (one, two) = (nets::multiply_adds(fast), slow.multiply_adds());
    let costs = |arbiter: usize| {
        let deciding = if arbiter == LEARNED { rule.multiply_adds() } else { 0 };
        Costs { fast: one + deciding, slow: two }
    };
    let confidence = [Confidence::MaxSoftmax, Confidence::Margin, Confidence::Entropy];
    let learned = |first: &First| rule.scores(first);
    let scores = |answers: &Answers| -> Result<Vec<Vec<f64>>> {
        let known = confidence.iter().map(|confidence| confidence.scores(&answers.first));
        known.chain([rule.scores(&answers.first)]).collect()
    };
    let (held_scores, test_scores) = (scores(&held)?, scores(&test)?);
    // Whether System 1 alone is to be believed is another question than whether System 2 helps.
    let mut doubts = test_scores.clone();
    let chances = rule.chances(&test.first)?;
    doubts[LEARNED] = chances.into_iter().map(|[first, _]| 1.0 - first).collect();

    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut add = |name: &str, value: f64| values.entry(name.to_owned()).or_default().push(value);
    let [first, second] = &test.right;
    add("accuracy", share_of(first));
    add("accuracy", share_of(second));
    for multiply_adds in [one, two, rule.multiply_adds()] {
        add("multiply_adds", multiply_adds as f64);
    }
    let wrong: Vec<bool> = first.iter().map(|right| !right).collect();
    let gained: Vec<bool> = first.iter().zip(second).map(|(first, second)| !first && *second).collect();
    for (at, (scores, doubts)) in test_scores.iter().zip(&doubts).enumerate() {
        let overhead = costs(at).fast - one;
        let overhead = overhead as f64 / two as f64;
        add("area", normalised_area_at_cost(scores, first, second, 0.0)?);
        add("area_at_cost", normalised_area_at_cost(scores, first, second, overhead)?);
        add("auroc_wrong", auroc(doubts, &wrong)?);
        add("auroc_gained", auroc(scores, &gained)?);
        let (curve, risk) = (DeferralCurve::of(scores, first, second)?, RiskCoverage::of(doubts, first)?);
        add("aurc", risk.aurc());
        add("e_aurc", risk.excess());
        add("share_for_98.2", curve.least_share(0.982).unwrap_or(1.0));
        add("share_for_second", curve.least_share(share_of(second) - BELOW).unwrap_or(1.0));
        for share in shares() {
            add(&format!("curve.{}", ARBITERS[at]), curve.at(share)?);
            add(&format!("risk.{}", ARBITERS[at]), risk.at(share)?);
        }
        for budget in BUDGETS {
            let share = costs(at).share(afford(budget, costs(at)))?;
            add(&format!("at_budget.{}", ARBITERS[at]), curve.at(share)?);
        }
    }
    let oracle = DeferralCurve::oracle(first, second)?;
    for share in shares() {
        add("curve.oracle", oracle.at(share)?);
    }

    // What is chosen on held-out rows, by cascades that send on what they defer and nothing else.
    for at in [0, LEARNED] {
        let name = ARBITERS[at];
        let target = share_of(&held.right[1]) - BELOW;
        let for_share = threshold_for_share(&held_scores[at], SHARE)?;
        let [a, b] = &held.right;
        let mut thresholds = vec![("share", for_share)];
        // Where no threshold comes so near, there is none.
        thresholds
            .extend(threshold_for_accuracy(&held_scores[at], a, b, target).ok().map(|t| ("accuracy", t)));
        for (chosen, above) in thresholds {
            let found = if at == LEARNED {
                cascade(fast, slow, Threshold { score: learned, above }, split)?
            } else {
                cascade(fast, slow, Threshold { score: confidence[at], above }, split)?
            };
            found.into_iter().for_each(|x| add(&format!("for_{chosen}.{name}"), x));
        }
        let per_row = afford(BUDGETS[1], costs(at));
        let found = if at == LEARNED {
            cascade(fast, slow, Budget::new(learned, costs(at), per_row, 10.0, 1000)?, split)?
        } else {
            cascade(fast, slow, Budget::new(confidence[at], costs(at), per_row, 10.0, 1000)?, split)?
        };
        add(&format!("stream.{name}"), costs(at).mean(found[0]) / two as f64);
        add(&format!("stream.{name}"), found[1]);
    }

    let temperature = Temperature::fit(&held.first.logits, &held.labels)?;
    add("temperature", temperature.get());
    let warmed = temperature.apply(&test.first.logits)?;
    for logits in [&test.first.logits, &warmed] {
        add("calibration_error", calibration_error(logits, &test.labels, 15)?);
    }
    Ok(Measured { values, ..Measured::default() })
}

/// So many of System 2's multiply-adds, but what System 1 takes at least: between small networks there is little.
fn afford(budget: f64, costs: Costs) -> f64 {
    (budget * costs.slow as f64).max(costs.fast as f64)
}

/// 0, 0.02, .. 1.
pub fn shares() -> impl Iterator<Item = f64> {
    (0..POINTS).map(|k| k as f64 / (POINTS - 1) as f64)
}

fn share_of(which: &[bool]) -> f64 {
    which.iter().filter(|&&yes| yes).count() as f64 / which.len() as f64
}

/// The share that is deferred of the test set, in batches of 100, and the accuracy.
fn cascade(fast: &Fast, slow: &Cnn, arbiter: impl Arbiter, split: &Split) -> Result<[f64; 2]> {
    let mut cascade = Cascade::new(ByRef(fast), ByRef(slow), arbiter);
    let (mut deferred, mut rights) = (0, 0);
    for chunk in split.test.chunks(100)? {
        let chunk = chunk?;
        let answered = cascade.answer(&chunk.x)?;
        deferred += answered.deferred.len();
        rights += right(&answered.logits, &chunk.labels()?)?.into_iter().filter(|&right| right).count();
    }
    let n = split.test.len() as f64;
    Ok([deferred as f64 / n, rights as f64 / n])
}
