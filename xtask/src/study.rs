//! `cargo xtask bench per-cliffwalk`, `hopfield-capacity`, `dual-mnist`, `src-sleep` and others: suites with a report of their own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;
use cl_bench::cliffwalk;
use cl_bench::dual;
use cl_bench::experiment::{self, Done, Experiment};
use cl_bench::hopfield::{capacity, mnist};
use cl_bench::sleep::{motion, priorities, src_sleep};

/// Runs a suite into a folder.
type Run = fn(Option<u64>, &Path, &AtomicBool) -> cl_core::Result<Done>;

/// Their names, what they are, and how they are run.
pub const STUDIES: [(&str, &str, Run); 8] = [
    (cliffwalk::NAME, "updates that prioritized replay needs", run_cliffwalk),
    (
        capacity::Protocol::NAME,
        "how many patterns associative memories hold, beside theory",
        run::<capacity::Protocol>,
    ),
    (mnist::Protocol::NAME, "handwritten digits, completed by associative memories", run::<mnist::Protocol>),
    (
        src_sleep::Protocol::NAME,
        "sleep replay consolidation: what each sleep brings back",
        run::<src_sleep::Protocol>,
    ),
    (
        motion::Protocol::NAME,
        "movements forecast online: replay, and two learners of which one sleeps",
        run::<motion::Protocol>,
    ),
    (
        priorities::Protocol::NAME,
        "priorities of consolidation: what each is good for",
        run::<priorities::Protocol>,
    ),
    (
        dual::Mnist::NAME,
        "which digits a small network should send on to a larger one, and deadlines",
        run::<dual::Mnist>,
    ),
    (dual::Fashion::NAME, "the same for articles of clothing", run::<dual::Fashion>),
];

fn say(line: &str) {
    eprintln!("{line}");
}

fn run_cliffwalk(seeds: Option<u64>, out: &Path, stop: &AtomicBool) -> cl_core::Result<Done> {
    let (seeds, protocol) = (seeds.unwrap_or(cliffwalk::SEEDS), cliffwalk::Protocol::default());
    let done = cliffwalk::run(&cliffwalk::Options { seeds, out: out.into(), protocol }, stop, &mut say)?;
    let cliffwalk::Done { findings, made, found, interrupted } = done;
    Ok(Done { study: findings.study(), made, found, interrupted })
}

fn run<E: Experiment + Default>(seeds: Option<u64>, out: &Path, stop: &AtomicBool) -> cl_core::Result<Done> {
    experiment::run(&E::default(), seeds.unwrap_or(E::SEEDS), out, stop, &mut say)
}

pub fn main(
    name: &str,
    run: Run,
    seeds: Option<u64>,
    out: Option<PathBuf>,
    check: bool,
    stop: &AtomicBool,
) -> Result<ExitCode> {
    let out = out.unwrap_or_else(|| PathBuf::from("bench-out").join(name));
    let start = Instant::now();
    finish(&run(seeds, &out, stop)?, start, &out, check)
}

/// Writes the report, says what came of it, and what is missed.
pub fn finish(done: &Done, start: Instant, out: &Path, check: bool) -> Result<ExitCode> {
    let written = done.study.write(out)?;
    println!("{}", done.study.text());
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
    let missed: Vec<_> = done.study.claims().iter().filter(|claim| claim.holds == Some(false)).collect();
    if check && !missed.is_empty() {
        for claim in &missed {
            eprintln!("missed: {}: {}", claim.text, claim.found);
        }
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
