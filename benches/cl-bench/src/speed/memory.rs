//! What memories compute, beside PyTorch's fused attention.
//!
//! Patterns are 2¹⁷ of 64 numbers, drawn from a normal distribution; they are keys and values both, β is 1/8.
//!
//! | case | one step |
//! |---|---|
//! | `retrieve-1024` | 1024 queries |
//! | `retrieve-1` | one query |
//! | `retrieve-train` | 1024 queries, and the gradients of queries, keys and values |

use candle_core::{DType, Device, Tensor, Var};
use cl_core::init::Init;
use cl_core::{Result, TensorOps};

use super::{Case, Comparison, Contest, Entry, Environment, Heading, Peer, Unit, aim};

const PYTORCH: &str = "pytorch";

const ENVIRONMENT: Environment =
    Environment { requirements: "requirements.txt", cache: "", variable: super::VENV_VARIABLE, each: false };

/// `cargo xtask bench memory-speed`.
pub static MEMORY: Contest = Contest {
    heading: Heading { name: "memory-speed", title: "Speed of memories", unit: Unit::SamplesPerSecond },
    cases: CASES,
    comparisons: COMPARISONS,
    peers: &[Peer { name: PYTORCH, worker: "pytorch_memory", environment: &ENVIRONMENT, avx512_stub: false }],
};

const COMPARISONS: &[Comparison] = &[
    aim("retrieve-1024", PYTORCH, "retrieve-1024", 1.5),
    aim("retrieve-1", PYTORCH, "retrieve-1", 1.5),
    aim("retrieve-train", PYTORCH, "retrieve-train", 1.0),
];

const CASES: &[Entry] = &[
    Entry::new("retrieve-1024", || Retrieve::make(1024, false)),
    Entry::new("retrieve-1", || Retrieve::make(1, false)),
    Entry::new("retrieve-train", || Retrieve::make(1024, true)),
];

const PATTERNS: usize = 1 << 17;
const WIDTH: usize = 64;
const BETA: f64 = 0.125;

/// Queries over patterns.
struct Retrieve {
    queries: Var,
    patterns: Var,
    train: bool,
}

impl Retrieve {
    fn make(queries: usize, train: bool) -> Result<Box<dyn Case>> {
        let rng = &mut cl_core::rng(0, "speed");
        let mut normal = |rows| Init::Normal(1.0).var((rows, WIDTH), DType::F32, &Device::Cpu, rng);
        let (queries, patterns) = (normal(queries)?, normal(PATTERNS)?);
        Ok(Box::new(Self { queries, patterns, train }))
    }
}

impl Case for Retrieve {
    fn run(&mut self, steps: usize) -> Result<usize> {
        for _ in 0..steps {
            if self.train {
                let (keys, values) = (self.patterns.as_tensor(), self.patterns.as_tensor());
                let found = self.queries.retrieve(keys, values, BETA, None)?;
                std::hint::black_box(found.sum_all()?.backward()?);
            } else {
                let patterns: Tensor = self.patterns.as_detached_tensor();
                let found = self.queries.as_detached_tensor().retrieve(&patterns, &patterns, BETA, None)?;
                std::hint::black_box(found);
            }
        }
        Ok(steps * self.queries.dim(0)?)
    }
}
