//! A-GEM in a training loop of plain candle: two tasks one after the other, with and without the
//! projection against 40 samples of the first.
//!
//! Both tasks tell two clouds of points apart, with one network and one output; training on the second
//! alone forgets the first.
//!
//! `cargo run -p cl-project --example agem_in_a_plain_loop`

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer, SGD, loss::cross_entropy};
use cl_core::{Params, Result, Rng};
use cl_project::AGem;
use rand::Rng as _;

fn main() -> Result<()> {
    println!("accuracy on task 1 after task 2");
    let without = run(None)?;
    println!("  plain gradient        {without:.3}");
    let with = run(Some(AGem::default()))?;
    println!("  projected gradient    {with:.3}");
    assert!(without < 0.7 && with > 0.9, "the projection should be worth more than this");
    Ok(())
}

/// Trains on both tasks in turn; returns the accuracy on the first.
fn run(agem: Option<AGem>) -> Result<f32> {
    let mut params = Params::new();
    let mut init = cl_core::rng(0, "weights");
    let hidden = linear("hidden", 2, 32, &mut params, &mut init)?;
    let output = linear("output", 32, 2, &mut params, &mut init)?;
    let loss = |x: &Tensor, y: &Tensor| -> Result<Tensor> {
        Ok(cross_entropy(&output.forward(&hidden.forward(x)?.relu()?)?, y)?)
    };
    let mut sgd = SGD::new(params.iter().map(|p| p.var.clone()).collect(), 0.1)?;

    let mut data = cl_core::rng(0, "data");
    let (memory_x, memory_y) = batch(0, 40, &mut data)?;
    for task in 0..2 {
        for _ in 0..300 {
            let (x, y) = batch(task, 10, &mut data)?;
            let mut grads = loss(&x, &y)?.backward()?;
            if let Some(agem) = agem.filter(|_| task > 0) {
                let reference = params.gradients(&loss(&memory_x, &memory_y)?.backward()?)?;
                agem.project(&mut grads, &params, &reference)?;
            }
            sgd.step(&grads)?;
        }
    }

    let (x, y) = batch(0, 1000, &mut cl_core::rng(0, "test"))?;
    let logits = output.forward(&hidden.forward(&x)?.relu()?)?;
    Ok(logits.argmax(D::Minus1)?.eq(&y)?.to_dtype(DType::F32)?.mean_all()?.to_scalar()?)
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

/// A layer of candle's whose variables are listed in `params`; weights uniform within 1/√inputs.
fn linear(name: &str, inputs: usize, outputs: usize, params: &mut Params, rng: &mut Rng) -> Result<Linear> {
    let bound = 1.0 / (inputs as f32).sqrt();
    let weights: Vec<f32> = (0..inputs * outputs).map(|_| rng.random_range(-bound..bound)).collect();
    let weight = Var::from_vec(weights, (outputs, inputs), &Device::Cpu)?;
    let bias = Var::zeros(outputs, DType::F32, &Device::Cpu)?;
    params.push(format!("{name}.weight"), weight.clone())?;
    params.push(format!("{name}.bias"), bias.clone())?;
    Ok(Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone())))
}
