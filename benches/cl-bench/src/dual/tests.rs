//! A small run on the digits that come with the build, and what the report says of it.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicBool;

use super::*;
use crate::experiment;

/// A suite of this test alone: the digits of the build, and fewer of everything.
fn small(parts: &[Part]) -> Mnist {
    let rule = LearnedRuleConfig { epochs: 5, ..LearnedRuleConfig::default() };
    let protocol = Protocol { epochs: [2, 2], rule, requests: 300, ..Protocol::on("digits", parts) };
    Mnist(protocol)
}

#[test]
fn small_runs_make_a_report_and_are_not_made_again() {
    let suite = small(&[Part::Clean, Part::Rotation, Part::Noise, Part::ClassNoise, Part::Deadline]);
    let dir = tempfile::tempdir().unwrap();
    let done = experiment::run(&suite, 2, dir.path(), &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert_eq!((done.made, done.found), (10, 0));
    assert!(done.study.claims().iter().all(|claim| claim.holds.is_some()), "{:#?}", done.study.claims());
    let html = done.study.html().unwrap();
    assert_eq!(html.matches("<svg").count(), 10, "five charts, each for two screens");
    for needs in ["<script", "<link", "@import", "src=", "NaN"] {
        assert!(!html.contains(needs), "{needs}");
    }
    assert!(!done.study.markdown().contains("not run"), "{}", done.study.markdown());
    // Once more: nothing is left to do, and the report is the same.
    let again = experiment::run(&suite, 2, dir.path(), &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert_eq!((again.made, again.study.text()), (0, done.study.text()));
}

/// Whichever part comes first: what two of them share is the same networks.
#[test]
fn equal_seeds_give_equal_numbers() {
    let run = |part| small(&[Part::Clean, Part::Rotation]).0.run(part, 7).unwrap();
    let (clean, turned) = (run(Part::Clean), run(Part::Rotation));
    small(&[]).0.run(Part::Noise, 3).unwrap();
    let other = small(&[Part::Clean, Part::Rotation]).0.run(Part::Clean, 8).unwrap();
    assert_eq!((run(Part::Rotation), run(Part::Clean)), (turned, clean.clone()));
    assert_ne!(other, clean);
}

#[test]
fn stops_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let suite = small(&[Part::Clean, Part::Deadline]);
    let done = experiment::run(&suite, 1, dir.path(), &AtomicBool::new(true), &mut |_| {}).unwrap();
    assert_eq!((done.made, done.interrupted), (0, true));
    assert!(done.study.claims().iter().all(|claim| claim.holds.is_none()));
    done.study.html().unwrap();
}

/// The labels that are wrong are those that should be, and the rows of the parts are the same ones.
#[test]
fn labels_are_noisy_where_they_should_be() {
    let data = images("digits").unwrap();
    let protocol = small(&[]).0;
    let split = |part| Split::of(&data, &protocol, part, 5).unwrap();
    let labels = |samples: &cl_data::Samples| samples.labels().unwrap();
    let (clean, noise, half) = (split(Part::Clean), split(Part::Noise), split(Part::ClassNoise));
    assert_eq!(labels(&noise.test), labels(&data.test));
    let changed = |old: &[u32], new: &[u32], of: &dyn Fn(u32) -> bool| {
        let these: Vec<_> = old.iter().zip(new).filter(|(old, _)| of(**old)).collect();
        these.iter().filter(|(old, new)| old != new).count() as f64 / these.len() as f64
    };
    // A label drawn from ten is another one with 0.9: 0.27 of 480, ± 0.02.
    let found = changed(&labels(&clean.held_out), &labels(&noise.held_out), &|_| true);
    assert!((found - 0.27).abs() < 0.08, "{found}");
    let found = changed(&labels(&data.test), &labels(&half.test), &|label| label < 5);
    assert!((found - 0.27).abs() < 0.12, "{found}");
    assert_eq!(changed(&labels(&data.test), &labels(&half.test), &|label| label >= 5), 0.0);
    let turned = split(Part::Rotation);
    assert_eq!(labels(&turned.test), labels(&data.test));
    assert_eq!(turned.test.len(), data.test.len());
    assert!((clean.held_out.len() as f64 / data.train.len() as f64 - 1.0 / 3.0).abs() < 0.01);
}

/// The sizes that the baseline was measured with.
#[test]
fn the_networks_take_what_they_are_said_to() {
    let mut data = (*images("digits").unwrap()).clone();
    let x = candle_core::Tensor::zeros((2, 784), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    data.train = cl_data::Samples::new(x, data.train.y.narrow(0, 0, 2).unwrap()).unwrap();
    let (fast, slow) = nets::untrained(&data, 0).unwrap();
    assert_eq!((nets::multiply_adds(&fast), slow.multiply_adds()), (25_408, 834_816));
}
