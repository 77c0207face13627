//! PackNet on a model of plain candle, in a loop that was there before: three tasks that contradict each
//! other, one after the other, with and without it.
//!
//! A task tells the two halves of a square apart. The line between them turns by a right angle from task to
//! task, so that the third calls white what the first called black.
//!
//! `cargo run -p cl-isolate --example packnet_on_your_model`

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{AdamW, Linear, Module, Optimizer, loss::cross_entropy};
use cl_core::{Params, Result, Rng, init::Init};
use cl_isolate::PackNet;

const TASKS: usize = 3;

/// The model: two layers of candle's, and their variables by name.
struct Model {
    hidden: Linear,
    output: Linear,
    params: Params,
}

fn main() -> Result<()> {
    println!("accuracy on tasks 0, 1, 2 after all three");
    let without = plain()?;
    println!("  one after the other   {without:.3?}");
    let with = packed()?;
    println!("  PackNet               {with:.3?}");
    assert!(without[0] < 0.5 && with.iter().all(|accuracy| *accuracy > 0.9), "PackNet should be worth more");
    Ok(())
}

fn plain() -> Result<Vec<f32>> {
    let model = Model::new()?;
    let mut adam = AdamW::new_lr(model.params.iter().map(|p| p.var.clone()).collect(), 0.01)?;
    let mut data = cl_core::rng(0, "data");
    for task in 0..TASKS {
        for _ in 0..300 {
            let (x, y) = batch(task, 32, &mut data)?;
            adam.backward_step(&cross_entropy(&model.forward(&x)?, &y)?)?;
        }
    }
    (0..TASKS).map(|task| model.accuracy(task)).collect()
}

fn packed() -> Result<Vec<f32>> {
    let model = Model::new()?;
    let mut packnet = PackNet::new(&model.params, &[])?;
    let mut data = cl_core::rng(0, "data");
    for task in 0..TASKS {
        let mut adam = AdamW::new_lr(model.params.iter().map(|p| p.var.clone()).collect(), 0.01)?;
        packnet.begin(&model.params)?;
        for step in 0..300 {
            if step == 200 {
                packnet.prune(&model.params, 0.5)?;
            }
            let (x, y) = batch(task, 32, &mut data)?;
            let mut grads = cross_entropy(&model.forward(&x)?, &y)?.backward()?;
            packnet.mask_gradients(&mut grads, &model.params)?;
            adam.step(&grads)?;
            packnet.hold(&model.params)?;
        }
        packnet.finish(&model.params)?;
    }
    let memory = packnet.memory();
    for (task, has) in memory.tasks.iter().enumerate() {
        println!("  task {task} has {} weights and {} biases", has.weights, has.shared);
    }
    println!("  {} weights are free; the masks of all tasks take {} bytes", memory.free, memory.mask_bytes);
    (0..TASKS).map(|task| packnet.as_task(&model.params, task, || model.accuracy(task))).collect()
}

impl Model {
    fn new() -> Result<Self> {
        let mut params = Params::new();
        let mut rng = cl_core::rng(0, "weights");
        let hidden = linear("hidden", 2, 64, &mut params, &mut rng)?;
        let output = linear("output", 64, 2, &mut params, &mut rng)?;
        Ok(Self { hidden, output, params })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.output.forward(&self.hidden.forward(x)?.relu()?)?)
    }

    fn accuracy(&self, task: usize) -> Result<f32> {
        let (x, y) = batch(task, 1000, &mut cl_core::rng(0, "test"))?;
        let right = self.forward(&x)?.argmax(D::Minus1)?.eq(&y)?;
        Ok(right.to_dtype(DType::F32)?.mean_all()?.to_scalar()?)
    }
}

/// Points of the square, and on which side of the task's line they are.
fn batch(task: usize, n: usize, rng: &mut Rng) -> Result<(Tensor, Tensor)> {
    let x = Init::Uniform(1.0).var((n, 2), DType::F32, &Device::Cpu, rng)?.as_detached_tensor();
    let turn = task as f32 * std::f32::consts::FRAC_PI_2 + 0.3;
    let normal = Tensor::new(&[[turn.cos()], [turn.sin()]], &Device::Cpu)?;
    let y = x.matmul(&normal)?.squeeze(1)?.gt(0f32)?.to_dtype(DType::U32)?;
    Ok((x, y))
}

/// A layer of candle's whose variables are listed in `params`.
fn linear(name: &str, inputs: usize, outputs: usize, params: &mut Params, rng: &mut Rng) -> Result<Linear> {
    let weight = Init::FanIn.var((outputs, inputs), DType::F32, &Device::Cpu, rng)?;
    let bias = Var::zeros(outputs, DType::F32, &Device::Cpu)?;
    params.push(format!("{name}.weight"), weight.clone())?;
    params.push(format!("{name}.bias"), bias.clone())?;
    Ok(Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone())))
}
