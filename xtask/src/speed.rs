//! `cargo xtask bench speed`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use cl_bench::speed::{self, Options, PeerOptions, ours};

#[derive(clap::Args)]
#[command(next_help_heading = "With `speed`")]
#[group(id = "speed")]
pub struct Args {
    /// Beside ours, measure PyTorch and Avalanche from a virtual environment that is made for it
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
            bail!("--peers, --venv, --case and --rounds go with `cargo xtask bench speed`");
        }
        Ok(())
    }
}

pub fn main(args: Args, out: Option<PathBuf>, check: bool, stop: &AtomicBool) -> Result<ExitCode> {
    let out = out.unwrap_or_else(|| PathBuf::from("bench-out/speed"));
    let mut options = Options { cases: args.cases, out: Some(out.clone()), ..Options::default() };
    if args.peers {
        let default = PeerOptions::default();
        options.peers = Some(PeerOptions { venv: args.venv.or(default.venv.clone()), ..default });
    }
    if let Some(rounds) = args.rounds {
        options.rounds = rounds as usize;
    }
    let stopped = || stop.load(Ordering::Relaxed);
    let report = speed::run(&options, ours::cases, &stopped, &mut |line| eprintln!("{line}"))?;
    println!("{}", report.text());
    println!("speed.jsonl and speed.md are in {}", out.display());
    if report.interrupted {
        return Ok(ExitCode::from(130));
    }
    Ok(if check && !report.stands() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
