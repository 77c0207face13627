//! The developer's commands: `cargo xtask bench`, `cargo xtask compare`, `cargo xtask advise` and `cargo xtask data`.

mod advise;
mod bench;
mod compare;
mod data;
#[cfg(feature = "kernels")]
mod kernels;
mod sequences;
mod speed;
mod study;
mod watch;

use clap::{Parser, Subcommand};

/// candle allocates every result anew; glibc's allocator returns the large ones to the kernel each time,
/// which costs more than half of a small training step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Engram's developer commands", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reproduces the tables of papers, or measures speed
    Bench(bench::Args),
    /// Puts two results files beside each other, seed by seed
    Compare(compare::Args),
    /// Says which method is for your case, and the measured rows that speak for it
    Advise(advise::Args),
    /// Lists, fetches and verifies data sets
    Data(data::Args),
    /// Compiles every CUDA kernel by NVRTC, which needs no GPU
    #[cfg(feature = "kernels")]
    Kernels,
}

fn main() -> std::process::ExitCode {
    let result = match Args::parse().command {
        Command::Bench(args) => bench::main(args),
        Command::Compare(args) => compare::main(&args),
        Command::Advise(args) => advise::main(args),
        Command::Data(args) => data::main(args),
        #[cfg(feature = "kernels")]
        Command::Kernels => kernels::main(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
