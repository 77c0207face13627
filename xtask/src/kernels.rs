//! `cargo xtask kernels`: whether the CUDA kernels compile, on a machine that needs no GPU for it.

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use cl_core::kernels::{ALL, Kernels, OPTIONS};
use cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts};

/// Ampere and Hopper.
const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90"];

/// Compiles all of them, and says which do not.
pub fn main() -> Result<ExitCode> {
    let mut wrong = 0;
    let variants =
        ALL.iter().flat_map(|kernels| kernels.variants.iter().map(move |variant| (kernels, variant)));
    for (kernels, variant) in variants {
        for arch in ARCHITECTURES {
            match compile(kernels, variant, arch)? {
                Ok(entries) => println!("{:<20} {arch}  {entries} kernels  {variant}", kernels.name),
                Err(log) => {
                    wrong += 1;
                    eprintln!("{} {arch} {variant}: does not compile\n{log}", kernels.name);
                }
            }
        }
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many kernels came of it, or what the compiler says against it.
fn compile(kernels: &Kernels, variant: &str, arch: &str) -> Result<std::result::Result<usize, String>> {
    let mut options: Vec<String> = OPTIONS.iter().map(|option| (*option).to_owned()).collect();
    options.push(format!("--gpu-architecture={arch}"));
    let options =
        CompileOptions { options, name: Some(format!("{}.cu", kernels.name)), ..CompileOptions::default() };
    let source = kernels.source(variant);
    // Where the library is missing, cudarc panics.
    let compiled = std::panic::catch_unwind(|| compile_ptx_with_opts(&source, options)).map_err(|_| {
        anyhow!("libnvrtc, CUDA's compiler, cannot be loaded: its folder must be in LD_LIBRARY_PATH")
    })?;
    match compiled {
        Ok(ptx) => {
            let entries = ptx.to_src().matches(".entry").count();
            if entries == 0 {
                bail!("{} has no kernel", kernels.name);
            }
            Ok(Ok(entries))
        }
        Err(CompileError::CompileError { log, .. }) => Ok(Err(log.to_string_lossy().into_owned())),
        Err(error) => Err(error).context("CUDA's compiler failed: are its builtins beside it?"),
    }
}
