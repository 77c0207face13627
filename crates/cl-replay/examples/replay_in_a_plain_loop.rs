//! Replay added to a training loop of plain candle: two tasks one after the other, with and without a
//! reservoir of 40 samples.
//!
//! Both tasks tell two clouds of points apart, with one network and one output. What the first task needs
//! is in other places than what the second needs, so training on the second alone forgets the first.
//!
//! `cargo run -p cl-replay --example replay_in_a_plain_loop`

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer, SGD, loss::cross_entropy};
use cl_core::{Result, Rng};
use cl_replay::{Draw, Reservoir};
use rand::Rng as _;

fn main() -> Result<()> {
    println!("accuracy on task 1 after task 2");
    let without = run(None)?;
    println!("  without a memory       {without:.3}");
    let with = run(Some(Reservoir::new(40, cl_core::rng(0, "memory"))?))?;
    println!("  with 40 samples kept   {with:.3}");
    assert!(without < 0.7 && with > 0.9, "replay should be worth more than this");
    Ok(())
}

/// Trains on both tasks in turn; returns the accuracy on the first.
fn run(mut memory: Option<Reservoir>) -> Result<f32> {
    let mut init = cl_core::rng(0, "weights");
    let (hidden, hidden_vars) = linear(2, 32, &mut init)?;
    let (output, output_vars) = linear(32, 2, &mut init)?;
    let forward = |x: &Tensor| output.forward(&hidden.forward(x)?.relu()?);
    let mut sgd = SGD::new([hidden_vars, output_vars].concat(), 0.1)?;

    let mut data = cl_core::rng(0, "data");
    for task in 0..2 {
        for _ in 0..300 {
            let (x, y) = batch(task, 10, &mut data)?;
            let (mut all_x, mut all_y) = (x.clone(), y.clone());
            if let Some(memory) = &mut memory {
                if !memory.is_empty() {
                    let (old_x, old_y) = memory.sample(10, Draw::WithReplacement)?;
                    all_x = Tensor::cat(&[&all_x, &old_x], 0)?;
                    all_y = Tensor::cat(&[&all_y, &old_y], 0)?;
                }
                memory.offer(&x, &y)?;
            }
            sgd.backward_step(&cross_entropy(&forward(&all_x)?, &all_y)?)?;
        }
    }

    let (x, y) = batch(0, 1000, &mut cl_core::rng(0, "test"))?;
    let right = forward(&x)?.argmax(D::Minus1)?.eq(&y)?;
    Ok(right.to_dtype(DType::F32)?.mean_all()?.to_scalar()?)
}

/// Two clouds: class 0 on the left and 1 on the right in task 0, above it and the other way round in task 1.
fn batch(task: u32, n: usize, rng: &mut Rng) -> Result<(Tensor, Tensor)> {
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let class = rng.random_range(0..2u32);
        let side = if class == task { -1.0 } else { 1.0 };
        x.extend([side + rng.random_range(-0.5..0.5f32), 2.0 * task as f32 + rng.random_range(-0.5..0.5f32)]);
        y.push(class);
    }
    Ok((Tensor::from_vec(x, (n, 2), &Device::Cpu)?, Tensor::from_vec(y, n, &Device::Cpu)?))
}

/// candle's CPU generator has no seed, hence weights of our own: uniform within 1/√inputs.
fn linear(inputs: usize, outputs: usize, rng: &mut Rng) -> Result<(Linear, [Var; 2])> {
    let bound = 1.0 / (inputs as f32).sqrt();
    let weights: Vec<f32> = (0..inputs * outputs).map(|_| rng.random_range(-bound..bound)).collect();
    let weight = Var::from_vec(weights, (outputs, inputs), &Device::Cpu)?;
    let bias = Var::zeros(outputs, DType::F32, &Device::Cpu)?;
    Ok((Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone())), [weight, bias]))
}
