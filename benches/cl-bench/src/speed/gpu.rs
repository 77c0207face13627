//! What operations cost on a GPU, beside what a copy within its memory costs: they are bound by memory, or by what a launch
//! costs.
//!
//! | size | what |
//! |---|---|
//! | large | one tensor of 10⁸ numbers: bytes that must be read and written, over the time, over what a copy reaches |
//! | small | all parameters of a network of 784-400-400-10: the time of a call |
//! | replay | a prioritized memory of 2²² rows of 84 numbers: 4096 of them drawn and gathered, given new priorities, added |
//! | [retrieval](super::gpu_retrieval) | which is bound by arithmetic where queries are many |
//!
//! `replay` is also measured on the CPU.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use cl_core::{AdamStep, Error, Quadratic, Result, SgdStep, TensorOps};
use cl_replay::{DeviceItems, DeviceReplay, Field, Prioritized, Schema};
use rand::Rng as _;
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
/// What a batch of replay aims at: µs of a call of a few launches that depend on one another.
const AIM_REPLAY: f64 = 40.0;
/// Rows of the memory of the replay cases, numbers of a row, rows of a batch.
const REPLAY: (usize, usize, usize) = (1 << 22, 84, 4096);

/// Cases that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Of the parameters of a network, which need a GPU.
    Parameters,
    /// Of a replay memory.
    Replay,
    /// Of retrieval, which needs a GPU.
    Retrieval,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Parameters, Self::Replay, Self::Retrieval];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parameters => "parameters",
            Self::Replay => "replay",
            Self::Retrieval => "retrieval",
        }
    }
}

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
    /// The most µs that a call should take, for the others.
    pub microseconds: Option<f64>,
}

impl Measured {
    /// Whether it reaches what it aims at. The copy has no aim.
    pub fn stands(&self) -> bool {
        self.of_copy.is_none_or(|share| share >= AIM_OF_COPY)
            && self.microseconds.is_none_or(|most| self.seconds.median * 1e6 <= most)
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
            let (share, aim) = match (case.of_copy, case.microseconds) {
                (Some(share), _) => (format!("{share:.3}"), format!("{AIM_OF_COPY} of the copy")),
                (None, Some(most)) => (String::new(), format!("{most} µs")),
                (None, None) => (String::new(), String::new()),
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
        if self.retrieval.is_empty() { page } else { page + &gpu_retrieval::table(&self.retrieval) }
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

/// Measures these parts on this device, `rounds` times each.
///
/// # Errors
/// Too little memory there; what an operation cannot.
pub fn run(device: &Device, parts: &[Part], rounds: usize) -> Result<GpuReport> {
    let mut cases = Vec::new();
    if parts.contains(&Part::Parameters) {
        cases = of_parameters(&[LARGE], device, rounds, 5)?;
        let copy = cases[0].gigabytes_per_second();
        for case in &mut cases[1..] {
            case.of_copy = Some(case.gigabytes_per_second() / copy);
        }
        let small: Vec<usize> = SMALL.windows(2).flat_map(|pair| [pair[0] * pair[1], pair[1]]).collect();
        for case in of_parameters(&small, device, rounds, 200)?.into_iter().skip(1) {
            cases.push(Measured { microseconds: Some(AIM_MICROSECONDS), ..case });
        }
    }
    if parts.contains(&Part::Replay) {
        let aim = (!device.is_cpu()).then_some(AIM_REPLAY);
        for case in of_replay(REPLAY, device, rounds, if device.is_cpu() { 2 } else { 100 })? {
            cases.push(Measured { microseconds: aim, ..case });
        }
    }
    let retrieval = match parts.contains(&Part::Retrieval) {
        true => gpu_retrieval::run(device, rounds)?,
        false => Vec::new(),
    };
    Ok(GpuReport { device: cl_core::device_name(device)?, cases, retrieval })
}

/// A memory of `capacity` rows of `width` f32 that is full, with random priorities: batches of `n` drawn and gathered, given
/// priorities, added.
fn of_replay(
    (capacity, width, n): (usize, usize, usize),
    device: &Device,
    rounds: usize,
    calls: usize,
) -> Result<Vec<Measured>> {
    let mut rng = cl_core::rng(0, "gpu-speed");
    let schema = Schema::new([Field::new("row", DType::F32, [width])])?;
    let config = Prioritized { alpha: 0.6, ..Prioritized::default() };
    let mut memory = DeviceReplay::builder(schema, capacity)
        .prioritized(config)
        .build(device, cl_core::rng(0, "memory"))?;
    let rows: Vec<f32> = (0..n * width).map(|_| rng.random()).collect();
    let rows = Tensor::from_vec(rows, (n, width), device)?;
    let add = |memory: &mut DeviceReplay| memory.add(&[("row", &rows)]);
    // Every row is written: such as never were share one page of zeros, on the CPU.
    while !memory.is_full() {
        add(&mut memory)?;
    }
    let mut priorities = |n: usize| {
        let priorities: Vec<f32> = (0..n).map(|_| 1.0 - rng.random::<f32>()).collect();
        Tensor::from_vec(priorities, n, device)
    };
    let items = |slots: Tensor, written: u64| DeviceItems { slots, written };
    let written = memory.written();
    let all = Tensor::arange(0, capacity as u32, device)?;
    memory.update_priorities(&items(all, written), &priorities(capacity)?)?;
    // New indices and priorities at every call, as from a learner.
    let updates: Vec<(Tensor, Tensor)> =
        (0..61).map(|_| Ok((memory.sample(n, 0.4)?.items.slots, priorities(n)?))).collect::<Result<_>>()?;
    let mut next = updates.iter().cycle();
    let mut update = |memory: &mut DeviceReplay| {
        let (slots, priorities) = next.next().expect("endless");
        let written = memory.written();
        memory.update_priorities(&items(slots.clone(), written), priorities)
    };
    type Call<'a> = &'a mut dyn FnMut(&mut DeviceReplay) -> Result<()>;
    let bytes = n * width * size_of::<f32>() * 2;
    let operations: [(&'static str, usize, Call<'_>); 3] = [
        ("prioritized draw + gather of 4096 rows of 2^22", bytes, &mut |memory| {
            memory.sample(n, 0.4).map(|_| ())
        }),
        ("priorities of 4096 rows of 2^22", 8 * n, &mut update),
        ("4096 rows added to 2^22", bytes, &mut |memory| add(memory)),
    ];
    let measure = |(operation, bytes, call): (&'static str, usize, Call<'_>)| {
        let seconds = timed(device, rounds, calls, &mut || call(&mut memory))?;
        Ok(Measured { operation, numbers: (n * width, 1), bytes, seconds, of_copy: None, microseconds: None })
    };
    operations.into_iter().map(measure).collect()
}

/// Seconds of a call, `rounds` times the mean of `calls`.
fn timed(
    device: &Device,
    rounds: usize,
    calls: usize,
    call: &mut dyn FnMut() -> Result<()>,
) -> Result<Spread> {
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
    Ok(Spread::of(&seconds).expect("a round was measured"))
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
        let seconds = timed(device, rounds, calls, &mut || call())?;
        let bytes = passes * numbers * size_of::<f32>();
        let numbers = (numbers, sizes.len());
        measured.push(Measured { operation, numbers, bytes, seconds, of_copy: None, microseconds: None });
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The cases of replay run, and the page says what they aim at.
    #[test]
    fn replay_is_measured_on_the_cpu_too() {
        let cases = of_replay((64, 3, 16), &Device::Cpu, 2, 2).unwrap();
        assert_eq!(cases.len(), 3);
        assert!(cases.iter().all(|case| case.seconds.median > 0.0 && case.stands()));
        assert_eq!(cases[0].bytes, 16 * 3 * 4 * 2);
        let slow = Measured { microseconds: Some(0.0), ..cases[0].clone() };
        assert!(!slow.stands());
        let report = GpuReport { device: "CPU".to_owned(), cases: vec![slow], retrieval: Vec::new() };
        assert!(report.markdown().contains("| 0 µs: missed |"), "{}", report.markdown());
    }
}
