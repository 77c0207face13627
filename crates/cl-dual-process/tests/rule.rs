//! The learned rule where maximum softmax is known to fail.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use cl_dual_process::curve::normalised_area;
use cl_dual_process::{Confidence, First, LearnedRule, LearnedRuleConfig, Score};
use rand::Rng as _;

/// Rows of four classes: System 1 is unsure of classes 0 and 1, a little less of 2 and 3; System 2 knows 2 and 3 only.
struct Specialist {
    first: First,
    labels: Vec<u32>,
    second: Vec<bool>,
}

fn specialist(n: usize, seed: u64) -> Specialist {
    let rng = &mut cl_core::rng(seed, "specialist");
    let (mut logits, mut labels, mut second) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..n {
        let label: usize = rng.random_range(0..4);
        let sharp = if label < 2 { 0.7 } else { 1.0 };
        // The two classes of a pair are hard to tell apart, and pairs are not.
        for class in 0..4 {
            let near = if class / 2 == label / 2 { 3.0 } else { 0.0 };
            logits
                .push((near + if class == label { sharp } else { 0.0 } + rng.random_range(-1.0..1.0)) as f32);
        }
        labels.push(label as u32);
        second.push(label >= 2 || rng.random::<bool>());
    }
    let logits = Tensor::from_vec(logits, (n, 4), &Device::Cpu).unwrap();
    Specialist { first: First { x: logits.clone(), logits, features: None }, labels, second }
}

fn quick() -> LearnedRuleConfig {
    LearnedRuleConfig { epochs: 10, batch: 64, ..Default::default() }
}

/// It learns from 2000 rows where System 2 is of use. With twenty other seeds the difference was never below 0.1.
#[test]
fn a_specialist_is_asked_for_what_it_knows() {
    let (held, test) = (specialist(2000, 0), specialist(2000, 1));
    let config = LearnedRuleConfig { epochs: 60, batch: 32, weight_decay: 0.0, ..Default::default() };
    let rule =
        LearnedRule::fit(&held.first, &held.labels, &held.second, config, &mut cl_core::rng(0, "rule"))
            .unwrap();
    let right = cl_dual_process::right(&test.first.logits, &test.labels).unwrap();
    let area = |scores: Vec<f64>| normalised_area(&scores, &right, &test.second).unwrap();
    let learned = area(rule.scores(&test.first).unwrap());
    let softmax = area(Confidence::MaxSoftmax.scores(&test.first).unwrap());
    assert!(learned > softmax + 0.1, "{learned}, {softmax}");
    // Chances are chances: on the mean they are what happens.
    let chances = rule.chances(&test.first).unwrap();
    let mean = |which: usize| chances.iter().map(|chance| chance[which]).sum::<f64>() / 2000.0;
    let part = |right: &[bool]| right.iter().filter(|&&right| right).count() as f64 / 2000.0;
    for (which, right) in [&right, &test.second].into_iter().enumerate() {
        let (said, happened) = (mean(which), part(right));
        assert!((said - happened).abs() < 0.04, "System {}: {said}, {happened}", which + 1);
    }
    assert_eq!(rule.multiply_adds(), 4 * 32 + 32 * 4 + 2 * (3 + 4 + 4));
}

/// Equal seeds, equal bits; and it can be kept.
#[test]
fn it_is_reproducible_and_can_be_saved() {
    let held = specialist(300, 0);
    let fit = |seed| {
        let rng = &mut cl_core::rng(seed, "rule");
        LearnedRule::fit(&held.first, &held.labels, &held.second, quick(), rng).unwrap()
    };
    let scores = fit(3).scores(&held.first).unwrap();
    assert_eq!(scores, fit(3).scores(&held.first).unwrap());
    assert_ne!(scores, fit(4).scores(&held.first).unwrap());
    let saved = serde_json::to_string(&fit(3)).unwrap();
    let restored: LearnedRule = serde_json::from_str(&saved).unwrap();
    // JSON may round the last bit of what inputs are centred by.
    for (a, b) in scores.iter().zip(restored.scores(&held.first).unwrap()) {
        assert!((a - b).abs() < 1e-6);
    }
}

#[test]
fn what_cannot_be_learned_from_is_refused() {
    let held = specialist(100, 0);
    let fit = |first: &First, labels: &[u32], second: &[bool], config| {
        LearnedRule::fit(first, labels, second, config, &mut cl_core::rng(0, "rule")).unwrap_err().to_string()
    };
    let Specialist { first, labels, second } = &held;
    let few = specialist(20, 0);
    assert!(fit(&few.first, &few.labels, &few.second, quick()).contains("fewer than 64"));
    assert!(fit(first, &[1; 100], second, quick()).contains("class 1"));
    assert!(fit(first, &labels[1..], second, quick()).contains("100 rows"));
    assert!(fit(first, labels, &second[1..], quick()).contains("100 rows"));
    assert!(fit(first, &[&labels[1..], &[4]].concat(), second, quick()).contains("none of 4"));
    for (config, what) in [
        (LearnedRuleConfig { hidden: 0, ..quick() }, "hidden"),
        (LearnedRuleConfig { lr: f64::NAN, ..quick() }, "learning rate"),
        (LearnedRuleConfig { weight_decay: -1.0, ..quick() }, "weight decay"),
        (LearnedRuleConfig { lr: 1e30, ..quick() }, "diverge"),
    ] {
        let said = fit(first, labels, second, config);
        assert!(said.contains(what), "{what}: {said}");
    }
    let rule = LearnedRule::fit(first, labels, second, quick(), &mut cl_core::rng(0, "rule")).unwrap();
    let with_features = First { features: Some(first.logits.clone()), ..first.clone() };
    assert!(rule.scores(&with_features).unwrap_err().to_string().contains("4 classes and 0 features"));
    let nan = First { logits: (&first.logits * f64::NAN).unwrap(), ..first.clone() };
    assert!(rule.scores(&nan).unwrap_err().to_string().contains("NaN"));
}
