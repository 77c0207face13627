//! `cargo xtask bench speed`, `method-speed`, `memory-speed`, `dnc-speed` and `replay-speed`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use cl_bench::speed::{self, Contest, DNC, MEMORY, METHODS, Options, PeerOptions, REPLAY, TRAINING, gpu};

/// The contest of that name.
pub fn contest(name: &str) -> Option<&'static Contest> {
    [&TRAINING, &METHODS, &MEMORY, &DNC, &REPLAY].into_iter().find(|contest| contest.heading.name == name)
}

#[derive(clap::Args)]
#[command(next_help_heading = "With `speed`, `method-speed`, `memory-speed`, `dnc-speed` and `replay-speed`")]
#[group(id = "speed")]
pub struct Args {
    /// Beside ours, measure the peers from virtual environments that are made for it
    #[arg(long)]
    peers: bool,
    /// A virtual environment with the peers that is there already
    #[arg(long, value_name = "DIR", requires = "peers")]
    venv: Option<PathBuf>,
    /// Only this case; may be given several times
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Turns that every contestant gets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
}

impl Args {
    pub fn refuse_for_suites(&self) -> Result<()> {
        if self.peers || self.venv.is_some() || !self.cases.is_empty() || self.rounds.is_some() {
            bail!(
                "--peers, --venv, --case and --rounds go with `cargo xtask bench speed`, `method-speed`, `memory-speed`, `dnc-speed` and `replay-speed`"
            );
        }
        Ok(())
    }
}

pub fn main(
    contest: &Contest,
    args: Args,
    out: Option<PathBuf>,
    check: bool,
    stop: &AtomicBool,
) -> Result<ExitCode> {
    let name = contest.heading.name;
    let out = out.unwrap_or_else(|| PathBuf::from("bench-out").join(name));
    let mut options = Options { cases: args.cases, out: Some(out.clone()), ..Options::default() };
    if args.peers {
        options.peers = Some(PeerOptions { venv: args.venv, ..PeerOptions::default() });
    }
    if let Some(rounds) = args.rounds {
        options.rounds = rounds as usize;
    }
    let stopped = || stop.load(Ordering::Relaxed);
    let report = speed::run(contest, &options, &stopped, &mut |line| eprintln!("{line}"))?;
    println!("{}", report.text());
    println!("{name}.jsonl and {name}.md are in {}", out.display());
    if report.interrupted {
        return Ok(ExitCode::from(130));
    }
    Ok(if check && !report.stands() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `cargo xtask bench gpu-speed`.
pub fn on_gpu(device: &str, args: &Args, out: Option<PathBuf>, check: bool) -> Result<ExitCode> {
    if args.peers || args.venv.is_some() {
        bail!(
            "{} takes --device, --case, --rounds, --out and --check, no other flag; its peers are scripts in benches/gpu/peers",
            gpu::NAME
        );
    }
    let part = |name: &String| match gpu::Part::ALL.into_iter().find(|part| part.name() == name) {
        Some(part) => Ok(part),
        None => bail!(
            "{} has no case {name:?}: it has {}",
            gpu::NAME,
            gpu::Part::ALL.map(gpu::Part::name).join(" and ")
        ),
    };
    let mut parts = args.cases.iter().map(part).collect::<Result<Vec<_>>>()?;
    if parts.is_empty() {
        parts = gpu::Part::ALL.to_vec();
    }
    let device = cl_core::device(device)?;
    if device.is_cpu() && parts != [gpu::Part::Replay] {
        bail!(
            "{} is of a GPU: name one with --device, such as --device cuda (--case replay is of the CPU too)",
            gpu::NAME
        );
    }
    let out = out.unwrap_or_else(|| PathBuf::from("bench-out").join(gpu::NAME));
    let report = gpu::run(&device, &parts, args.rounds.unwrap_or(20) as usize)?;
    report.write(&out)?;
    println!("{}", report.markdown());
    println!("gpu-speed.jsonl and gpu-speed.md are in {}", out.display());
    Ok(if check && !report.stands() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
