//! What operations cost on a GPU, beside what a copy within its memory costs: they are bound by memory, or by what a launch
//! costs.
//!
//! | size | what |
//! |---|---|
//! | large | one tensor of 10⁸ numbers: bytes that must be read and written, over the time, over what a copy reaches |
//! | small | all parameters of a network of 784-400-400-10: the time of a call |
//!
//! And what [retrieval](super::gpu_retrieval) costs, which is bound by arithmetic where queries are many.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use cl_core::{AdamStep, Error, Quadratic, Result, SgdStep, TensorOps};
use serde::Serialize;

use super::Spread;
use super::gpu_retrieval::{self, Retrieval};

/// Its name on the command line.
pub const NAME: &str = "gpu-speed";

/// Numbers of the large tensor.
const LARGE: usize = 100_000_000;
/// Widths of the small network.
const SMALL: [usize; 4] = [784, 400, 400, 10];
/// What the large cases aim at: the share of the copy's bandwidth.
const AIM_OF_COPY: f64 = 0.85;
/// What the small cases aim at: µs of a call.
const AIM_MICROSECONDS: f64 = 20.0;

/// A case, measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// The operation.
    pub operation: &'static str,
    /// How many numbers each operand has, over how many tensors.
    pub numbers: (usize, usize),
    /// Bytes read and written in a call.
    pub bytes: usize,
    /// Seconds of a call.
    pub seconds: Spread,
    /// Its bandwidth over that of the copy, for the large ones.
    pub of_copy: Option<f64>,
}

impl Measured {
    /// Whether it reaches what it aims at. The copy has no aim.
    pub fn stands(&self) -> bool {
        match self.of_copy {
            Some(share) => share >= AIM_OF_COPY,
            None => self.operation == "copy" || self.seconds.median * 1e6 <= AIM_MICROSECONDS,
        }
    }

    fn gigabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds.median / 1e9
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuReport {
    /// What the device calls itself.
    pub device: String,
    /// In the order of the table.
    pub cases: Vec<Measured>,
    /// In the order of theirs; they have peers, and no aims.
    pub retrieval: Vec<Retrieval>,
}

impl GpuReport {
    /// Whether every case reaches its aim.
    pub fn stands(&self) -> bool {
        self.cases.iter().all(Measured::stands)
    }

    /// A page with the table.
    pub fn markdown(&self) -> String {
        let mut page = format!(
            "# Speed of operations on a GPU\n\n{}, f32, medians. `cargo xtask bench {NAME} --device cuda`, built with `--features \
             cuda`.\n\n| operation | numbers | tensors | µs | GB/s | of the copy | aim |\n|---|---|---|---|---|---|---|\n",
            self.device
        );
        for case in &self.cases {
            let (share, aim) = match case.of_copy {
                Some(share) => (format!("{share:.3}"), format!("{AIM_OF_COPY} of the copy")),
                None if case.operation == "copy" => (String::new(), String::new()),
                None => (String::new(), format!("{AIM_MICROSECONDS} µs")),
            };
            let verdict = if case.stands() { "" } else { ": missed" };
            let _ = writeln!(
                page,
                "| {} | {} | {} | {:.1} | {:.0} | {share} | {aim}{verdict} |",
                case.operation,
                case.numbers.0,
                case.numbers.1,
                case.seconds.median * 1e6,
                case.gigabytes_per_second(),
            );
        }
        page + &gpu_retrieval::table(&self.retrieval)
    }

    /// Writes `gpu-speed.md` and `gpu-speed.jsonl` into a folder.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn write(&self, out: &Path) -> Result<()> {
        std::fs::create_dir_all(out).map_err(Error::io(out))?;
        let json = serde_json::to_string(self).expect("numbers and names");
        for (file, text) in [("gpu-speed.md", self.markdown()), ("gpu-speed.jsonl", json + "\n")] {
            let path = out.join(file);
            std::fs::write(&path, text).map_err(Error::io(&path))?;
        }
        Ok(())
    }
}

/// Measures on this device, `rounds` times each.
///
/// # Errors
/// Too little memory there; what an operation cannot.
pub fn run(device: &Device, rounds: usize) -> Result<GpuReport> {
    let mut cases = of_parameters(&[LARGE], device, rounds, 5)?;
    let copy = cases[0].gigabytes_per_second();
    for case in &mut cases[1..] {
        case.of_copy = Some(case.gigabytes_per_second() / copy);
    }
    let small: Vec<usize> = SMALL.windows(2).flat_map(|pair| [pair[0] * pair[1], pair[1]]).collect();
    cases.extend(of_parameters(&small, device, rounds, 200)?.into_iter().skip(1));
    let retrieval = gpu_retrieval::run(device, rounds)?;
    Ok(GpuReport { device: cl_core::device_name(device)?, cases, retrieval })
}

/// The copy, then the operations, on parameters of these sizes; a round is so many calls.
fn of_parameters(sizes: &[usize], device: &Device, rounds: usize, calls: usize) -> Result<Vec<Measured>> {
    let zeros = |factor: usize| -> Result<Vec<Var>> {
        sizes.iter().map(|&n| Ok(Var::zeros((factor, n), DType::F32, device)?)).collect()
    };
    let refs = |vars: &'_ [Var]| -> Vec<Tensor> { vars.iter().map(|var| var.as_tensor().clone()).collect() };
    let (theta, grad, sums, before, moments) = (zeros(1)?, zeros(1)?, zeros(1)?, zeros(1)?, zeros(2)?);
    let [t, g, s, b] = [&theta, &grad, &sums, &before].map(|vars| refs(vars));
    let m: Vec<Tensor> = sizes
        .iter()
        .zip(&moments)
        .map(|(&n, moments)| Ok(moments.as_tensor().reshape((2, 1, n))?))
        .collect::<Result<_>>()?;
    let [t, g, s, b, m] = [&t, &g, &s, &b, &m].map(|tensors| tensors.iter().collect::<Vec<&Tensor>>());
    let bowls: Vec<Quadratic> =
        s.iter().zip(&b).map(|(f, a)| Quadratic { importance: f.detach(), anchor: a.detach() }).collect();
    let sgd = SgdStep { lr: 0.1, momentum: 0.0, weight_decay: 0.0 };
    let adam =
        AdamStep { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false, t: 1 };
    type Call<'a> = Box<dyn Fn() -> Result<()> + 'a>;
    let operations: Vec<(&'static str, usize, Call<'_>)> = vec![
        ("copy", 2, Box::new(|| Ok(theta.iter().zip(&g).try_for_each(|(theta, g)| theta.set(&g.detach()))?))),
        ("sgd_step", 3, Box::new(|| Tensor::sgd_step_all(&t, &g, None, sgd))),
        ("adam_step", 7, Box::new(|| Tensor::adam_step_all(&t, &g, &m, adam))),
        ("accumulate_sq", 3, Box::new(|| Tensor::accumulate_sq_all(&s, &g, 0.9, 0.1))),
        ("path_integral", 6, Box::new(|| Tensor::path_integral_all(&s, &g, &t, &b))),
        (
            "add_penalty_gradient",
            5,
            Box::new(|| {
                let bowls: Vec<&[Quadratic]> = bowls.iter().map(std::slice::from_ref).collect();
                Tensor::add_penalty_gradient_all(&g, &t, &bowls, 1.0)
            }),
        ),
        (
            "quadratic_penalty, with its gradient kept",
            4,
            Box::new(|| {
                let bowls: Vec<&[Quadratic]> = bowls.iter().map(std::slice::from_ref).collect();
                Tensor::quadratic_penalty_all(&t, &bowls).map(drop)
            }),
        ),
    ];
    let numbers: usize = sizes.iter().sum();
    let mut measured = Vec::new();
    for (operation, passes, call) in operations {
        call()?; // compiles, and fills the pool of memory
        let mut seconds = Vec::new();
        for _ in 0..rounds.max(1) {
            device.synchronize()?;
            let start = Instant::now();
            for _ in 0..calls {
                call()?;
            }
            device.synchronize()?;
            seconds.push(start.elapsed().as_secs_f64() / calls as f64);
        }
        let seconds = Spread::of(&seconds).expect("a round was measured");
        let bytes = passes * numbers * size_of::<f32>();
        measured.push(Measured { operation, numbers: (numbers, sizes.len()), bytes, seconds, of_copy: None });
    }
    Ok(measured)
}
