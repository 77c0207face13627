//! `cargo xtask bench dnc-copy`, `dnc-recall`, `babi` and `babi-20`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;
use cl_bench::experiment::Done;
use cl_bench::sequences::{self, Options, Suite, run};

use crate::study::finish;

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
    let sequences::Done { findings, made, found, interrupted } = done;
    finish(&Done { study: findings.study(), made, found, interrupted }, start, &out, check)
}
