//! `cargo xtask data`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What data sets there are, and where their files lie
    List,
    /// Downloads what is missing of a data set, checked by size and sha256
    Fetch {
        /// The data set
        name: String,
    },
    /// Checks the files of a data set, or of all
    Verify {
        /// The data set; all if not given
        name: Option<String>,
    },
}

pub fn main(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::List => {
            for manifest in cl_data::manifests() {
                println!("{}", cl_data::locate(&manifest.name)?);
            }
        }
        Command::Fetch { name } => println!("{}", cl_data::fetch(&name)?),
        Command::Verify { name } => {
            let names = match name {
                Some(name) => vec![name],
                None => cl_data::manifests().iter().map(|manifest| manifest.name.clone()).collect(),
            };
            let mut complete = true;
            for name in names {
                let report = cl_data::verify(&name)?;
                complete &= report.is_complete();
                println!("{report}");
            }
            if !complete {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
