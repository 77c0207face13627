//! Elastic weight consolidation added to a training loop of plain candle-nn: its layers, its loss, its AdamW.
//! Two tasks one after the other, with and without the penalty.
//!
//! Both tasks tell two clouds of points apart, with one network and one output. What the first task needs
//! is in other inputs than what the second needs, and still training on the second alone forgets the first.
//!
//! `cargo run -p cl-regularize --example ewc_in_your_loop`

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{AdamW, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear, loss::cross_entropy};
use cl_core::init::Init;
use cl_core::{Params, Result, Rng, Units};
use cl_regularize::{Ewc, EwcConfig, Fisher};
use rand::Rng as _;

fn main() -> Result<()> {
    println!("accuracy on      task 1   task 2");
    let [first, second] = run(0.0)?;
    println!("  without EWC     {first:.3}    {second:.3}");
    assert!(first < 0.8 && second > 0.95, "the second task should undo the first");
    let [first, second] = run(1000.0)?;
    println!("  with EWC        {first:.3}    {second:.3}");
    assert!(first > 0.9 && second > 0.9, "EWC should keep both");
    Ok(())
}

/// Trains on both tasks in turn; returns the accuracy on each.
fn run(lambda: f64) -> Result<[f32; 2]> {
    let map = VarMap::new();
    let builder = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let hidden = linear(4, 32, builder.pp("hidden"))?;
    let output = linear(32, 2, builder.pp("output"))?;
    let forward = |x: &Tensor| output.forward(&hidden.forward(x)?.relu()?);
    let mut adam =
        AdamW::new(map.all_vars(), ParamsAdamW { lr: 0.005, weight_decay: 0.0, ..Default::default() })?;

    // All that EWC needs to know of the network: its variables, in an order that stays.
    let vars = map.data().lock().expect("no thread has panicked").clone();
    let params = Params::sorted(vars)?;
    seed(&params)?;

    let mut ewc = Ewc::new(EwcConfig { lambda, ..Default::default() })?;
    let mut rng = cl_core::rng(0, "data");
    for task in 0..2 {
        for _ in 0..300 {
            let (x, y) = batch(task, 32, &mut rng)?;
            let loss = cross_entropy(&forward(&x)?, &y)?;
            adam.backward_step(&(loss + ewc.penalty(&params)?)?)?; // the penalty is one more term
        }
        let (x, y) = batch(task, 200, &mut rng)?;
        let forward = |x: &Tensor| Ok(forward(x)?);
        let fisher = Fisher::Exact.estimate_by_loop(&params, forward, &x, &y, Units::All, &mut rng)?;
        ewc.consolidate(&params, fisher)?;
    }

    let accuracy = |task| -> Result<f32> {
        let (x, y) = batch(task, 1000, &mut cl_core::rng(0, "test"))?;
        Ok(forward(&x)?.argmax(D::Minus1)?.eq(&y)?.to_dtype(DType::F32)?.mean_all()?.to_scalar()?)
    };
    Ok([accuracy(0)?, accuracy(1)?])
}

/// The class is the sign of the first two inputs in task 0, of the last two in task 1; the other two are
/// noise that has a mean of its own.
fn batch(task: usize, n: usize, rng: &mut Rng) -> Result<(Tensor, Tensor)> {
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let class = rng.random_range(0..2u32);
        let side = if class == 1 { 1.0 } else { -1.0 };
        for input in 0..4 {
            let mean = if input / 2 == task { side } else { 0.0 };
            x.push(mean + rng.random_range(-0.8..0.8f32));
        }
        y.push(class);
    }
    Ok((Tensor::from_vec(x, (n, 4), &Device::Cpu)?, Tensor::from_vec(y, n, &Device::Cpu)?))
}

/// candle's CPU generator has no seed: weights of our own, so that every run prints the same.
fn seed(params: &Params) -> Result<()> {
    let mut rng = cl_core::rng(0, "weights");
    for param in params.iter() {
        let values = Init::Uniform(0.4).var(param.var.shape(), DType::F32, &Device::Cpu, &mut rng)?;
        param.var.set(&values)?;
    }
    Ok(())
}
