//! A small network answers handwritten digits, a larger one those that it is likely to help with.
//!
//! `cargo run --release -p cl-dual-process --example cascade_of_two_nets`

use candle_core::{DType, Device, Module};
use cl_core::{Params, Result, Rng, TensorOps, Units, rng};
use cl_data::{Batches, LastBatch, Samples};
use cl_dual_process::calibrate::threshold_for_share;
use cl_dual_process::curve::normalised_area;
use cl_dual_process::{
    BodyAndHead, ByRef, Cascade, Confidence, First, LearnedRule, LearnedRuleConfig, Score, System, Threshold,
    right,
};
use cl_nn::{Activation, Linear, Mlp, Optimizer, OptimizerConfig};

/// Trains both, fits the rule, and sends on a fifth.
///
/// # Errors
/// candle's own.
pub fn main() -> Result<()> {
    let digits = cl_data::load("digits")?;
    // The order of the file is that of the writers: every third digit is held out.
    let (held, train): (Vec<u32>, Vec<u32>) = (0..digits.train.len() as u32).partition(|row| row % 3 == 0);
    let (held, train) = (digits.train.gather(&held)?, digits.train.gather(&train)?);

    // System 1: eight hidden units, which the rule may see.
    let weights = &mut rng(0, "weights");
    let layer = |inputs, outputs, activation, rng: &mut Rng| {
        Linear::new(inputs, outputs, activation, DType::F32, &Device::Cpu, rng)
    };
    let body = layer(64, 8, Activation::Relu, weights)?;
    let head = layer(8, 10, Activation::Identity, weights)?;
    let mut params = Params::new();
    params.extend("body", body.params()?)?;
    params.extend("head", head.params()?)?;
    let fast = BodyAndHead { body, head };
    learn(&fast, &params, &train, 6)?;
    // System 2: forty times as large.
    let slow = Mlp::new(&[64, 256, 32, 10], DType::F32, &Device::Cpu, weights)?;
    learn(&slow, slow.params(), &train, 30)?;

    // The rule is fitted on digits that neither has seen.
    let first = First::of(&fast, &held.x)?;
    let labels = held.labels()?;
    let second = right(&slow.forward(&held.x)?, &labels)?;
    let config = LearnedRuleConfig { epochs: 100, batch: 32, ..Default::default() };
    let rule = LearnedRule::fit(&first, &labels, &second, config, &mut rng(0, "rule"))?;
    let above = threshold_for_share(&rule.scores(&first)?, 0.2)?;

    let score = |first: &First| rule.scores(first);
    let mut cascade = Cascade::new(ByRef(&fast), ByRef(&slow), Threshold { score, above });
    let answered = cascade.answer(&digits.test.x)?;

    let labels = digits.test.labels()?;
    let part =
        |right: &[bool]| 100.0 * right.iter().filter(|&&right| right).count() as f64 / right.len() as f64;
    let [alone, both] =
        [&answered.first.logits, &slow.forward(&digits.test.x)?].map(|logits| right(logits, &labels));
    let (alone, both) = (alone?, both?);
    let together = right(&answered.logits, &labels)?;
    println!("System 1 alone: {:.1} %, System 2 alone: {:.1} %", part(&alone), part(&both));
    println!("together: {:.1} %, with {:.1} % sent on", part(&together), 100.0 * answered.share());
    for (name, scores) in [
        ("maximum softmax", Confidence::MaxSoftmax.scores(&answered.first)?),
        ("learned rule", rule.scores(&answered.first)?),
    ] {
        println!("{name}: A = {:.2}", normalised_area(&scores, &alone, &both)?);
    }
    assert!(part(&together) > part(&alone) + 2.0 && answered.share() < 0.3);
    Ok(())
}

fn learn(system: &impl System, params: &Params, samples: &Samples, epochs: usize) -> Result<()> {
    let mut optimizer = Optimizer::new(OptimizerConfig::adam(3e-3))?;
    let mut batches = Batches::new(samples.len(), 32, rng(0, "batches"), LastBatch::Drop)?;
    for _ in 0..epochs * batches.per_epoch() {
        let batch = samples.gather(batches.next_batch())?;
        let loss = system.answer(&batch.x)?.cross_entropy(&batch.y, Units::All, None)?;
        optimizer.backward_step(params, &loss)?;
    }
    Ok(())
}
