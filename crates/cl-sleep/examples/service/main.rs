//! A model answers 1,000 times a second while it learns in its sleep, in another thread: how long each answer takes, awake and
//! asleep, and what it has learnt. With `--kills`, that is killed in its sleep so many times, and must be what it would have been.
//!
//! `cargo run --release -p cl-sleep --example service -- [--seconds N] [--kills N] [--equal] [--folder PATH]`
//!
//! `taskset -c 0` in front of it gives both threads one core; `--equal` leaves it to the system which of them is first. Without `--folder` it is in a temporary one.

mod kills;
mod mind;
mod serve;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use cl_core::{Error, Result};
use cl_sleep::service::{Service, Settings};

use mind::Digits;

fn main() -> Result<()> {
    let (mut seconds, mut kills, mut folder, mut child) = (15, 0, None, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let missing = || Error::invalid(&arg, "its value is missing or none");
        match arg.as_str() {
            "--seconds" => seconds = args.next().and_then(|n| n.parse().ok()).ok_or_else(missing)?,
            "--kills" => kills = args.next().and_then(|n| n.parse().ok()).ok_or_else(missing)?,
            "--folder" => folder = Some(PathBuf::from(args.next().ok_or_else(missing)?)),
            "--equal" => mind::EQUAL.store(true, Ordering::Relaxed),
            "--child" => child = true,
            _ => return Err(Error::invalid(arg, "there is no such argument")),
        }
    }
    let temporary = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
    let folder = folder.unwrap_or_else(|| temporary.path().to_owned());
    match (child, kills) {
        (true, _) => kills::child(&folder),
        (_, 0) => serve::measure(&folder, Duration::from_secs(seconds)),
        (_, kills) => kills::run(&folder, kills),
    }
}

fn open(folder: &Path) -> Result<Service<Digits>> {
    Service::open(folder, &mind::schema()?, Settings::default(), Digits::born)
}
