//! `cargo xtask compare`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use cl_bench::compare::{Comparison, METRIC};
use cl_bench::results::{self, FILE_NAME, Record};

#[derive(clap::Args)]
pub struct Args {
    /// Results: a file, or the folder of a bench
    first: PathBuf,
    /// Others of the same suites
    second: PathBuf,
    /// Of which metric, by its name in the files
    #[arg(long, value_name = "NAME", default_value = METRIC)]
    metric: String,
    /// Exit with 1 if the difference of a row is beyond its 95 % interval
    #[arg(long)]
    check: bool,
}

pub fn main(args: &Args) -> Result<ExitCode> {
    let comparison = Comparison::of(&runs(&args.first)?, &runs(&args.second)?, &args.metric)?;
    print!("{comparison}");
    let beyond = comparison.rows.iter().any(|row| row.within_noise() == Some(false));
    Ok(if args.check && beyond { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn runs(path: &Path) -> Result<Vec<Record>> {
    let file = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
    let (runs, torn) = results::read(&file).with_context(|| {
        "compare reads the results of suites of accuracies, such as bench-out/split-digits".to_owned()
    })?;
    if let Some(torn) = torn {
        eprintln!("{torn}");
    }
    Ok(runs)
}
