//! A progressive network on three tasks, and what it costs: each task adds a column that sees those before.
//!
//! A task tells the inside of a ring from its outside; the rings of later tasks are wider. What the first
//! column has found, distances from the middle, serves the others.
//!
//! `cargo run -p cl-isolate --example progressive_columns`

use candle_core::{D, DType, Device, Tensor};
use cl_core::{Result, Rng, TensorOps, Units, init::Init};
use cl_isolate::{AdapterConfig, MlpColumn, Progressive};
use cl_nn::{Optimizer, OptimizerConfig};

const TASKS: usize = 3;

fn main() -> Result<()> {
    let mut rng = cl_core::rng(0, "weights");
    let mut data = cl_core::rng(0, "data");
    let mut net = Progressive::new(AdapterConfig { width: Some(8), ..Default::default() })?;
    let mut learned = Vec::new();
    for task in 0..TASKS {
        let column = MlpColumn::new(&[2, 32, 32, 2], DType::F32, &Device::Cpu, &mut rng)?;
        net.add(column, &mut rng)?;
        let params = net.params()?; // of the new column alone: all others are frozen
        let mut adam = Optimizer::new(OptimizerConfig::adam(0.01))?;
        for _ in 0..300 {
            let (x, y) = batch(task, 32, &mut data)?;
            let loss = net.forward(&x, task)?.cross_entropy(&y, Units::All, None)?;
            adam.backward_step(&params, &loss)?;
        }
        learned.push(accuracy(&net, task)?);
    }

    println!("task  accuracy when learned, and now    weights and bytes of column, of adapters");
    for (task, memory) in net.memory()?.iter().enumerate() {
        let now = accuracy(&net, task)?;
        assert!(now == learned[task] && now > 0.9, "an old task stays as it is");
        println!(
            "{task:>4}  {:>21.3}  {now:>7.3}    {:>6} {:>6}  {:>6} {:>6}",
            learned[task], memory.weights, memory.bytes, memory.adapter_weights, memory.adapter_bytes
        );
    }
    Ok(())
}

fn accuracy(net: &Progressive<MlpColumn>, task: usize) -> Result<f32> {
    let (x, y) = batch(task, 1000, &mut cl_core::rng(0, "test"))?;
    let right = net.forward(&x, task)?.argmax(D::Minus1)?.eq(&y)?;
    Ok(right.to_dtype(DType::F32)?.mean_all()?.to_scalar()?)
}

/// Points of the square, and whether they are inside the task's ring.
fn batch(task: usize, n: usize, rng: &mut Rng) -> Result<(Tensor, Tensor)> {
    let x = Init::Uniform(1.0).var((n, 2), DType::F32, &Device::Cpu, rng)?.as_detached_tensor();
    let y = x.sqr()?.sum(1)?.lt(0.5 + 0.2 * task as f32)?.to_dtype(DType::U32)?;
    Ok((x, y))
}
