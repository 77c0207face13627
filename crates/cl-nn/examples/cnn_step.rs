//! Times the training step of a small convolutional network: 32×32×3, batch 64, two blocks of
//! convolution, ReLU and pooling, one linear layer, SGD.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release -p cl-nn --example cnn_step -- 40`

use std::time::Instant;

use candle_core::{Device, Module, Tensor, Var};
use candle_nn::{Linear, Optimizer, SGD};
use cl_nn::{Conv2d, Conv2dConfig, MaxPool2d};
use rand::Rng as _;

/// candle allocates every result anew; the system's allocator gives large buffers back each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let steps: usize = std::env::args().nth(1).map_or(Ok(40), |steps| steps.parse())?;
    let mut rng = cl_core::rng(0, "cnn_step");
    let pixels: Vec<f32> = (0..BATCH * 3 * 32 * 32).map(|_| rng.random_range(-1.0..1.0)).collect();
    let labels: Vec<u32> = (0..BATCH).map(|_| rng.random_range(0..10)).collect();
    let x = Tensor::from_vec(pixels, (BATCH, 3, 32, 32), &Device::Cpu)?;
    let y = Tensor::from_vec(labels, BATCH, &Device::Cpu)?;

    let config = Conv2dConfig { stride: 1, padding: 1 };
    let pool = Some(MaxPool2d::new(2));
    let (first, second) =
        (Conv2d::new(3, 32, 3, config, &mut rng)?, Conv2d::new(32, 64, 3, config, &mut rng)?);
    let weights: Vec<f32> = (0..10 * 4096).map(|_| rng.random_range(-1.0..1.0) / 64.0).collect();
    let weight = Var::from_vec(weights, (10, 4096), &Device::Cpu)?;
    let bias = Var::zeros(10, candle_core::DType::F32, &Device::Cpu)?;
    let linear = Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone()));
    let layers = [&first, &second].into_iter().flat_map(|layer| [layer.weight.clone(), layer.bias.clone()]);
    let mut sgd = SGD::new(layers.chain([weight.clone(), bias.clone()]).collect(), 0.01)?;

    let mut times = Vec::with_capacity(steps);
    let mut walls = Vec::with_capacity(steps);
    let mut losses = Vec::with_capacity(steps);
    for _ in 0..steps {
        let (from, clock) = (cpu_seconds()?, Instant::now());
        let features = second.forward_relu(&first.forward_relu(&x, pool)?, pool)?;
        let logits = linear.forward(&features.flatten_from(1)?)?;
        let loss = candle_nn::loss::cross_entropy(&logits, &y)?;
        sgd.backward_step(&loss)?;
        walls.push(clock.elapsed().as_secs_f64());
        times.push(cpu_seconds()? - from);
        losses.push(loss.to_scalar::<f32>()?);
    }
    let (Some(first), Some(last)) = (losses.first(), losses.last()) else { return Ok(()) };
    println!("loss {first:.3} to {last:.3}");
    for (name, times) in [("CPU", &mut times), ("wall", &mut walls)] {
        // The first steps warm up the caches and the allocator.
        times.drain(..(steps - 1).min(5));
        times.sort_by(f64::total_cmp);
        println!("{name}: median {:.2} ms, least {:.2} ms", times[times.len() / 2] * 1e3, times[0] * 1e3);
    }
    Ok(())
}

/// CPU time of all threads in seconds, from Linux's own account.
fn cpu_seconds() -> std::io::Result<f64> {
    let mut nanoseconds = 0.0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += stat.split(' ').next().and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    }
    Ok(nanoseconds * 1e-9)
}
