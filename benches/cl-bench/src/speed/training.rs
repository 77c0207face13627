//! Training steps, beside PyTorch's and Avalanche's.
//!
//! | case | one step |
//! |---|---|
//! | `mlp-128` | 784-400-400-10, ReLU, batch 128: forward, softmax cross-entropy, backward, SGD |
//! | `mlp-128-adam` | the same with Adam |
//! | `mlp-10` | 784-100-100-10, batch 10, SGD |
//! | `er-10` | the same with a reservoir of 200, 10 replayed beside the 10 that arrive; these are counted |
//! | `fisher-exact` | diagonal Fisher of 784-400-400-10, expectation over the 10 classes; any batch |
//! | `cnn-64` | 3×32×32, batch 64: conv 3×3 (32), ReLU, pool 2, conv 3×3 (64), ReLU, pool 2, linear 10; SGD |
//!
//! Inputs are synthetic, in [0, 1], made beforehand as one tensor and sliced: 12 000 samples (2 048
//! images, 2 048 samples for the Fisher).

use candle_core::{DType, Device, Module, Tensor};
use cl_core::{Params, Result, Rng, TensorOps, Units};
use cl_nn::{Activation, Conv2d, Conv2dConfig, Linear, MaxPool2d, Mlp, Optimizer, OptimizerConfig};
use cl_regularize::Fisher;
use cl_replay::{Draw, Reservoir};
use rand::Rng as _;

use super::{Case, Comparison, Contest, Entry, Environment, Heading, Peer, Unit, aim, shown};

/// PyTorch as `pip` installs it.
pub const PYTORCH: &str = "pytorch";
/// The same with MKL made to take its AVX-512 path on an AMD processor.
pub const PYTORCH_AVX512: &str = "pytorch-mkl-avx512";
/// Avalanche, on PyTorch as installed.
pub const AVALANCHE: &str = "avalanche";

const ENVIRONMENT: Environment =
    Environment { requirements: "requirements.txt", cache: "", variable: super::VENV_VARIABLE, each: false };

/// `cargo xtask bench speed`.
pub static TRAINING: Contest = Contest {
    heading: Heading { name: "speed", title: "Speed", unit: Unit::SamplesPerSecond },
    cases: CASES,
    comparisons: COMPARISONS,
    peers: &[
        Peer { name: PYTORCH, worker: "pytorch", environment: &ENVIRONMENT, avx512_stub: false },
        Peer { name: AVALANCHE, worker: "avalanche", environment: &ENVIRONMENT, avx512_stub: false },
        Peer { name: PYTORCH_AVX512, worker: "pytorch", environment: &ENVIRONMENT, avx512_stub: true },
    ],
};

const COMPARISONS: &[Comparison] = &[
    aim("mlp-128", PYTORCH, "mlp-128", 1.75),
    aim("mlp-128", PYTORCH_AVX512, "mlp-128", 0.85),
    shown("mlp-128-adam", PYTORCH, "mlp-128-adam"),
    shown("mlp-128-adam", PYTORCH_AVX512, "mlp-128-adam"),
    aim("mlp-10", PYTORCH, "mlp-10", 2.75),
    shown("mlp-10", PYTORCH_AVX512, "mlp-10"),
    aim("er-10", AVALANCHE, "er-10", 10.0),
    shown("er-10", AVALANCHE, "er-10-5exp"),
    shown("er-10", PYTORCH, "er-10"),
    aim("fisher-exact", PYTORCH, "fisher-loop", 50.0),
    aim("fisher-exact", PYTORCH, "fisher-vmap", 3.0),
    shown("fisher-exact", PYTORCH, "fisher-factored"),
    shown("fisher-exact", PYTORCH_AVX512, "fisher-factored"),
    aim("cnn-64", PYTORCH, "cnn-64", 0.9),
    shown("cnn-64", PYTORCH_AVX512, "cnn-64"),
];

const CLASSES: u32 = 10;
const DEVICE: Device = Device::Cpu;

const CASES: &[Entry] = &[
    Entry::new("mlp-128", || Train::mlp(&[784, 400, 400, 10], 128, OptimizerConfig::sgd(0.01))),
    Entry::new("mlp-128-adam", || Train::mlp(&[784, 400, 400, 10], 128, OptimizerConfig::adam(0.001))),
    Entry::new("mlp-10", || Train::mlp(&[784, 100, 100, 10], 10, OptimizerConfig::sgd(0.01))),
    Entry::new("er-10", Replay::make),
    Entry::new("fisher-exact", ExactFisher::make),
    Entry::new("cnn-64", Train::cnn),
];

/// Inputs in [0, 1] and labels, made beforehand and sliced.
struct Data {
    x: Tensor,
    y: Tensor,
    batch: usize,
    next: usize,
}

impl Data {
    fn new(shape: &[usize], samples: usize, batch: usize) -> Result<Self> {
        let mut rng = cl_core::rng(0, "speed");
        let features: usize = shape.iter().product();
        let x: Vec<f32> = (0..samples * features).map(|_| rng.random()).collect();
        let y: Vec<u32> = (0..samples).map(|_| rng.random_range(0..CLASSES)).collect();
        let dims: Vec<usize> = std::iter::once(samples).chain(shape.iter().copied()).collect();
        let (x, y) = (Tensor::from_vec(x, dims, &DEVICE)?, Tensor::from_vec(y, samples, &DEVICE)?);
        Ok(Self { x, y, batch, next: 0 })
    }

    fn batch(&mut self) -> Result<(Tensor, Tensor)> {
        if self.next + self.batch > self.y.dim(0)? {
            self.next = 0;
        }
        let start = self.next;
        self.next += self.batch;
        Ok((self.x.narrow(0, start, self.batch)?, self.y.narrow(0, start, self.batch)?))
    }
}

type Forward = Box<dyn Fn(&Tensor) -> Result<Tensor>>;

/// A plain training loop.
struct Train {
    forward: Forward,
    params: Params,
    optimizer: Optimizer,
    data: Data,
}

impl Train {
    fn mlp(widths: &[usize], batch: usize, optimizer: OptimizerConfig) -> Result<Box<dyn Case>> {
        let net = Mlp::new(widths, DType::F32, &DEVICE, &mut weights())?;
        let params = net.params().clone();
        Ok(Box::new(Self {
            forward: Box::new(move |x| Ok(net.forward(x)?)),
            params,
            optimizer: Optimizer::new(optimizer)?,
            data: Data::new(&[widths[0]], 12_000, batch)?,
        }))
    }

    fn cnn() -> Result<Box<dyn Case>> {
        let mut rng = weights();
        let padded = Conv2dConfig { stride: 1, padding: 1 };
        let first = Conv2d::new(3, 32, 3, padded, &mut rng)?;
        let second = Conv2d::new(32, 64, 3, padded, &mut rng)?;
        let head = Linear::new(64 * 8 * 8, 10, Activation::Identity, DType::F32, &DEVICE, &mut rng)?;
        let mut params = Params::new();
        for (name, conv) in [("first", &first), ("second", &second)] {
            params.push(format!("{name}.weight"), conv.weight.clone())?;
            params.push(format!("{name}.bias"), conv.bias.clone())?;
        }
        params.extend("head", head.params()?)?;
        let pool = MaxPool2d::new(2);
        Ok(Box::new(Self {
            forward: Box::new(move |x| {
                let x = first.forward_relu(x, Some(pool))?;
                let x = second.forward_relu(&x, Some(pool))?;
                Ok(head.forward(&x.flatten_from(1)?)?)
            }),
            params,
            optimizer: Optimizer::new(OptimizerConfig::sgd(0.01))?,
            data: Data::new(&[3, 32, 32], 2_048, 64)?,
        }))
    }
}

impl Case for Train {
    fn run(&mut self, steps: usize) -> Result<usize> {
        for _ in 0..steps {
            let (x, y) = self.data.batch()?;
            let loss = (self.forward)(&x)?.cross_entropy(&y, Units::All, None)?;
            self.optimizer.backward_step(&self.params, &loss)?;
        }
        Ok(steps * self.data.batch)
    }
}

/// Experience replay on a stream of batches of 10: a reservoir of 200, 10 replayed with each.
struct Replay {
    net: Mlp,
    optimizer: Optimizer,
    memory: Reservoir,
    data: Data,
}

impl Replay {
    fn make() -> Result<Box<dyn Case>> {
        Ok(Box::new(Self {
            net: Mlp::new(&[784, 100, 100, 10], DType::F32, &DEVICE, &mut weights())?,
            optimizer: Optimizer::new(OptimizerConfig::sgd(0.01))?,
            memory: Reservoir::new(200, cl_core::rng(0, "memory"))?,
            data: Data::new(&[784], 12_000, 10)?,
        }))
    }
}

impl Case for Replay {
    fn run(&mut self, steps: usize) -> Result<usize> {
        for _ in 0..steps {
            let (x, y) = self.data.batch()?;
            let (both_x, both_y) = if self.memory.is_empty() {
                (x.clone(), y.clone())
            } else {
                let (old_x, old_y) = self.memory.sample(10, Draw::WithReplacement)?;
                (Tensor::cat(&[&x, &old_x], 0)?, Tensor::cat(&[&y, &old_y], 0)?)
            };
            let loss = self.net.forward(&both_x)?.cross_entropy(&both_y, Units::All, None)?;
            self.optimizer.backward_step(self.net.params(), &loss)?;
            self.memory.offer(&x, &y)?;
        }
        Ok(steps * self.data.batch)
    }
}

/// The exact diagonal Fisher information.
struct ExactFisher {
    net: Mlp,
    data: Data,
    rng: Rng,
}

impl ExactFisher {
    fn make() -> Result<Box<dyn Case>> {
        Ok(Box::new(Self {
            net: Mlp::new(&[784, 400, 400, 10], DType::F32, &DEVICE, &mut weights())?,
            data: Data::new(&[784], 2_048, 256)?,
            rng: cl_core::rng(0, "fisher"),
        }))
    }
}

impl Case for ExactFisher {
    fn run(&mut self, steps: usize) -> Result<usize> {
        for _ in 0..steps {
            let (x, y) = self.data.batch()?;
            Fisher::Exact.estimate(&self.net, &x, &y, Units::All, &mut self.rng)?;
        }
        Ok(steps * self.data.batch)
    }
}

fn weights() -> Rng {
    cl_core::rng(0, "weights")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_case_runs_and_is_compared_with_something() {
        for entry in CASES {
            assert!((entry.make)().unwrap().run(2).unwrap() > 0);
            assert!(COMPARISONS.iter().any(|c| c.case == entry.name), "{}", entry.name);
        }
    }
}
