//! System 2 remembers: what System 1 doubts is answered by the most similar digits in a memory. It learns a digit that is new as soon as
//! it is stored, without training.
//!
//! `cargo run --release -p cl-dual-process --example retrieval_as_system_2`

use std::collections::HashMap;

use candle_core::{D, DType, Device, Module, Tensor};
use cl_core::{Result, TensorOps, Units, rng};
use cl_data::{Batches, LastBatch};
use cl_dual_process::{Cascade, Confidence, TopShare, from_fn, right};
use cl_hopfield::Store;
use cl_nn::{Mlp, Optimizer, OptimizerConfig};

/// Neighbours that vote.
const NEIGHBOURS: usize = 5;

/// Trains System 1, fills the memory, and answers with both.
///
/// # Errors
/// candle's own.
pub fn main() -> Result<()> {
    let digits = cl_data::load("digits")?;
    let fast = Mlp::new(&[64, 8, 10], DType::F32, &Device::Cpu, &mut rng(0, "weights"))?;
    let mut optimizer = Optimizer::new(OptimizerConfig::adam(3e-3))?;
    let mut batches = Batches::new(digits.train.len(), 32, rng(0, "batches"), LastBatch::Drop)?;
    for _ in 0..5 * batches.per_epoch() {
        let batch = digits.train.gather(batches.next_batch())?;
        let loss = fast.forward(&batch.x)?.cross_entropy(&batch.y, Units::All, None)?;
        optimizer.backward_step(fast.params(), &loss)?;
    }

    // Digits at length 1: the nearest is the one with the largest product.
    let mut store = Store::with_room(64, digits.train.len())?;
    let mut class_of = HashMap::new();
    for (pattern, label) in unit(&digits.train.x)?.to_vec2::<f32>()?.iter().zip(digits.train.labels()?) {
        class_of.insert(store.insert(pattern)?, label);
    }
    let remember = from_fn(|x: &Tensor| {
        let mut votes = Vec::new();
        for nearest in store.nearest(&unit(x)?, NEIGHBOURS)? {
            // A vote of none counts a little, so that its logarithm is finite.
            let mut sum = [0.01f32; 10];
            nearest.iter().for_each(|(id, product)| sum[class_of[id] as usize] += product);
            votes.extend(sum.map(f32::ln));
        }
        Ok(Tensor::from_vec(votes, (x.dim(0)?, 10), x.device())?)
    });

    let mut cascade = Cascade::new(fast, remember, TopShare { score: Confidence::MaxSoftmax, share: 0.2 });
    let answered = cascade.answer(&digits.test.x)?;
    let labels = digits.test.labels()?;
    let part = |logits: &Tensor| -> Result<f64> {
        let right = right(logits, &labels)?;
        Ok(100.0 * right.iter().filter(|&&right| right).count() as f64 / right.len() as f64)
    };
    let (alone, together) = (part(&answered.first.logits)?, part(&answered.logits)?);
    println!("System 1 alone: {alone:.1} %");
    println!("with a memory of {} digits for the most doubtful fifth: {together:.1} %", store.len());
    assert!(together > alone + 2.0);
    Ok(())
}

/// Each row brought to length 1.
fn unit(rows: &Tensor) -> Result<Tensor> {
    Ok(rows.broadcast_div(&rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)?)
}
