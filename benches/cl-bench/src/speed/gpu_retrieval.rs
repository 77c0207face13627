//! What retrieval costs on a GPU: softmax(βQKᵀ)V of a head of 64 or 128 numbers, few and many queries over 2¹⁴ to 2²² keys.
//! `benches/gpu/peers/attention.py` measures PyTorch's scaled_dot_product_attention on the same sizes.

use std::fmt::Write as _;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use cl_core::init::Init;
use cl_core::{Result, TensorOps, rng};
use serde::Serialize;

use super::Spread;

const WIDTHS: [usize; 2] = [64, 128];
const QUERIES: [usize; 3] = [1, 64, 4096];
const KEYS: [usize; 3] = [1 << 14, 1 << 18, 1 << 22];
const DTYPES: [DType; 2] = [DType::BF16, DType::F32];
/// Seconds that a round is to take.
const ROUND: f64 = 0.1;

/// How far a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// The result.
    Forward,
    /// And the gradients of queries, keys and values.
    Backward,
    /// The result and the gradient of queries, with keys and values that are stored.
    BackwardOfQueries,
}

impl Pass {
    /// Products of queries × keys × width that cannot be done without: scores and result; again scores, that of gradients and values,
    /// and one for each gradient.
    fn products(self) -> usize {
        match self {
            Self::Forward => 2,
            Self::Backward => 7,
            Self::BackwardOfQueries => 5,
        }
    }
}

/// A case, measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Retrieval {
    /// bf16 or f32.
    pub dtype: &'static str,
    /// Numbers in a query, a key and a value.
    pub width: usize,
    /// How many there are.
    pub queries: usize,
    /// How many there are.
    pub keys: usize,
    /// How far.
    pub pass: Pass,
    /// Seconds of a call.
    pub seconds: Spread,
}

impl Retrieval {
    fn teraflops(&self) -> f64 {
        let operations = 2 * self.pass.products() * self.queries * self.keys * self.width;
        operations as f64 / self.seconds.median / 1e12
    }
}

/// The table of a report.
pub fn table(cases: &[Retrieval]) -> String {
    let mut table = String::from(
        "\n## Retrieval\n\nsoftmax(βQKᵀ)V; Tflop/s of the products that cannot be done without. The peer is \
         `benches/gpu/peers/attention.py`.\n\n| dtype | width | queries | keys | pass | µs | Tflop/s |\n|---|---|---|---|---|---|---|\n",
    );
    for case in cases {
        let pass = match case.pass {
            Pass::Forward => "forward",
            Pass::Backward => "and backward",
            Pass::BackwardOfQueries => "and ∂Q alone",
        };
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} | {pass} | {:.1} | {:.1} |",
            case.dtype,
            case.width,
            case.queries,
            case.keys,
            case.seconds.median * 1e6,
            case.teraflops(),
        );
    }
    table
}

/// Measures on this device, `rounds` times each.
///
/// # Errors
/// Too little memory there.
pub fn run(device: &Device, rounds: usize) -> Result<Vec<Retrieval>> {
    let mut cases = Vec::new();
    for dtype in DTYPES {
        for width in WIDTHS {
            for keys in KEYS {
                let [k, v] = ["keys", "values"].map(|stream| numbers(stream, keys, width, dtype, device));
                let (k, v) = (Var::from_tensor(&k?)?, Var::from_tensor(&v?)?);
                for queries in QUERIES {
                    let q = Var::from_tensor(&numbers("queries", queries, width, dtype, device)?)?;
                    for pass in [Pass::Forward, Pass::Backward, Pass::BackwardOfQueries] {
                        let seconds = measure(&q, &k, &v, pass, device, rounds)?;
                        let dtype = dtype.as_str();
                        cases.push(Retrieval { dtype, width, queries, keys, pass, seconds });
                    }
                }
            }
        }
    }
    Ok(cases)
}

/// Rows of random numbers; beyond 2¹⁴ they are the same again.
fn numbers(stream: &str, rows: usize, width: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let some = rows.min(1 << 14);
    let drawn = Init::Normal(1.0).var((some, width), DType::F32, &Device::Cpu, &mut rng(0, stream))?;
    let there = drawn.as_detached_tensor().to_device(device)?.to_dtype(dtype)?;
    Ok(there.broadcast_as((rows / some, some, width))?.contiguous()?.reshape((rows, width))?)
}

fn measure(q: &Var, k: &Var, v: &Var, pass: Pass, device: &Device, rounds: usize) -> Result<Spread> {
    let beta = 1.0 / (q.dim(1)? as f64).sqrt();
    let call = || -> Result<()> {
        match pass {
            Pass::Forward => {
                q.detach().retrieve(&k.detach(), &v.detach(), beta, None)?;
            }
            Pass::Backward => {
                q.retrieve(k, v, beta, None)?.sum_all()?.backward()?;
            }
            Pass::BackwardOfQueries => {
                q.retrieve(&k.detach(), &v.detach(), beta, None)?.sum_all()?.backward()?;
            }
        }
        Ok(())
    };
    let timed = |calls: usize| -> Result<f64> {
        device.synchronize()?;
        let start = Instant::now();
        for _ in 0..calls {
            call()?;
        }
        device.synchronize()?;
        Ok(start.elapsed().as_secs_f64() / calls as f64)
    };
    timed(2)?; // compiles, and fills the pool of memory
    let calls = (ROUND / timed(2)?).clamp(1.0, 1000.0) as usize;
    let seconds = (0..rounds.max(1)).map(|_| timed(calls)).collect::<Result<Vec<f64>>>()?;
    Ok(Spread::of(&seconds).expect("a round was measured"))
}
