//! `cargo xtask bench dnc-copy`, `dnc-recall` and `babi`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;
use cl_bench::sequences::{Options, Suite, run};

pub fn main(
    suite: &'static Suite,
    rows: Vec<String>,
    seeds: Option<u64>,
    out: Option<PathBuf>,
    check: bool,
    stop: &AtomicBool,
) -> Result<ExitCode> {
    let out = out.unwrap_or_else(|| PathBuf::from("bench-out").join(suite.name));
    let options = Options { seeds: seeds.unwrap_or(suite.seeds), out: out.clone(), rows };
    let start = Instant::now();
    let done = run(suite, &options, stop, &mut |line| eprintln!("{line}"))?;
    let written = done.findings.write(&out)?;
    println!("{}", done.findings.text());
    println!(
        "{} runs made in {:.0} s, {} were there already; results and report in {}",
        done.made,
        start.elapsed().as_secs_f64(),
        done.found,
        out.display()
    );
    println!("open {}", written.html.display());
    if done.interrupted {
        eprintln!("interrupted: finished runs are kept, the same command goes on from here");
        return Ok(ExitCode::from(130));
    }
    let missed: Vec<_> =
        done.findings.claims().into_iter().filter(|claim| claim.holds == Some(false)).collect();
    if check && !missed.is_empty() {
        for claim in &missed {
            eprintln!("missed: {}: {}", claim.text, claim.found);
        }
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
