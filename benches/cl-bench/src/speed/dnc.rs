//! A step of training of a differentiable neural computer, beside the package `dnc` (pytorch-dnc).
//!
//! The case `dnc-train`: a memory of 128 slots of 64 with 4 read heads, an LSTM of 256 units, sequences of 20 steps of 64 numbers,
//! 16 at a time; forward, backward and Adam, the loss being the mean square of the output. In `dnc-train-no-links` ours has no
//! links.

use candle_core::{DType, Device, Tensor};
use cl_core::Result;
use cl_core::init::Init;
use cl_nn::{Optimizer, OptimizerConfig};
use cl_working_memory::controller::Controller;
use cl_working_memory::{Config, Dnc, MemoryAccess};

use super::{Case, Comparison, Contest, ENGRAM, Entry, Environment, Heading, Peer, Unit, aim, shown};

const PYTORCH_DNC: &str = "pytorch-dnc";

const ENVIRONMENT: Environment = Environment {
    requirements: "requirements-dnc.txt",
    cache: "dnc",
    variable: "ENGRAM_DNC_VENV",
    each: false,
};

/// `cargo xtask bench dnc-speed`.
pub static DNC: Contest = Contest {
    heading: Heading {
        name: "dnc-speed",
        title: "Speed of the differentiable neural computer",
        unit: Unit::SamplesPerSecond,
    },
    cases: &[
        Entry::new("dnc-train", || Train::make(true)),
        Entry::new("dnc-train-no-links", || Train::make(false)),
    ],
    comparisons: COMPARISONS,
    peers: &[Peer { name: PYTORCH_DNC, worker: "dnc", environment: &ENVIRONMENT, avx512_stub: false }],
};

const COMPARISONS: &[Comparison] =
    &[aim("dnc-train", PYTORCH_DNC, "dnc-train", 5.0), shown("dnc-train-no-links", ENGRAM, "dnc-train")];

const STEPS: usize = 20;
const BATCH: usize = 16;
const WIDTH: usize = 64;

struct Train {
    dnc: Dnc,
    optimizer: Optimizer,
    sequences: Tensor,
}

impl Train {
    fn make(link: bool) -> Result<Box<dyn Case>> {
        let memory = MemoryAccess { width: 64, heads: 4, link, ..MemoryAccess::default() };
        let controller = Controller::Lstm { units: 256 };
        let config = Config { inputs: WIDTH, outputs: WIDTH, slots: 128, memory, controller };
        let rng = &mut cl_core::rng(0, "speed");
        let dnc = Dnc::new(config, DType::F32, &Device::Cpu, rng)?;
        let sequences = Init::Normal(1.0).var((STEPS, BATCH, WIDTH), DType::F32, &Device::Cpu, rng)?;
        let optimizer = Optimizer::new(OptimizerConfig::adam(1e-3))?;
        Ok(Box::new(Self { dnc, optimizer, sequences: sequences.as_detached_tensor() }))
    }
}

impl Case for Train {
    fn run(&mut self, steps: usize) -> Result<usize> {
        let params = self.dnc.params()?;
        for _ in 0..steps {
            let (outputs, _) = self.dnc.forward(&self.sequences, &self.dnc.state(BATCH)?)?;
            self.optimizer.backward_step(&params, &outputs.sqr()?.mean_all()?)?;
        }
        Ok(steps * BATCH)
    }
}
