//! What recomputation is worth: a step of 64 layers of 512 units on 4096 samples, with all activations kept and in segments of 8 layers.
//! Peak memory is that of the process, where Linux tells it.
//!
//! ```console
//! $ cargo run --release -p cl-nn --example deep_stack
//! ```

use std::process::Command;
use std::time::Instant;

use candle_core::{DType, Device, Module, Tensor};
use cl_core::{Activation, Error, Params, Result};
use cl_nn::{Linear, checkpoint};

const LAYERS: usize = 64;
const WIDTH: usize = 512;
const SAMPLES: usize = 4096;

fn main() -> Result<()> {
    if let Some(segment) = std::env::args().nth(1).and_then(|segment| segment.parse().ok()) {
        return step(segment);
    }
    println!("{LAYERS} layers; an activation is {:.1} MB", (SAMPLES * WIDTH * 4) as f64 / 1e6);
    // Each in a process of its own: memory that was used once is not given back.
    let program = std::env::current_exe().map_err(Error::io("this program"))?;
    for segment in ["1", "4", "8", "16"] {
        Command::new(&program).arg(segment).status().map_err(Error::io(&program))?;
    }
    Ok(())
}

/// One step, in segments of so many layers.
fn step(segment: usize) -> Result<()> {
    let rng = &mut cl_core::rng(0, "weights");
    let layer = |_| Linear::new(WIDTH, WIDTH, Activation::Relu, DType::F32, &Device::Cpu, rng);
    let layers: Vec<Linear> = (0..LAYERS).map(layer).collect::<Result<_>>()?;
    let x = Tensor::ones((SAMPLES, WIDTH), DType::F32, &Device::Cpu)?;
    let (start, before) = (Instant::now(), peak_mb());
    let y = if segment == 1 { through(&layers, &x)? } else { in_segments(&layers, segment, &x)? };
    let gradients = y.sqr()?.mean_all()?.backward()?;
    let took = start.elapsed().as_secs_f64();
    let more =
        before.zip(peak_mb()).map_or("unknown".into(), |(before, after)| format!("{:.0} MB", after - before));
    let name = if segment == 1 { "all kept".into() } else { format!("segments of {segment}") };
    println!("{name:>14}: {more} more at the peak, {took:.2} s");
    drop(gradients);
    Ok(())
}

fn through(layers: &[Linear], x: &Tensor) -> Result<Tensor> {
    Ok(layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x))?)
}

fn in_segments(layers: &[Linear], segment: usize, x: &Tensor) -> Result<Tensor> {
    layers.chunks(segment).try_fold(x.clone(), |x, layers| {
        let mut params = Params::new();
        for (at, layer) in layers.iter().enumerate() {
            params.extend(&at.to_string(), layer.params()?)?;
        }
        let layers = layers.to_vec();
        checkpoint(&params, &x, move |x| through(&layers, x))
    })
}

/// The largest resident size so far, in MB.
fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kb| kb / 1e3)
}
