//! On what the numbers were taken.

use std::{collections::BTreeMap, process::Command};

use serde::Serialize;

use super::worker::Hello;

/// The machine and the versions, printed with the numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// The processor's name for itself.
    pub cpu: String,
    /// Logical processors. Each contestant uses one of them.
    pub cpus: usize,
    /// Operating system and architecture.
    pub system: String,
    /// What `rustc --version` says.
    pub rustc: String,
    /// The version of this workspace, and whether it was built with optimisation.
    pub engram: String,
    /// What the peers said of themselves, by name.
    pub peers: BTreeMap<String, Hello>,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        Self {
            cpu: std::fs::read_to_string("/proc/cpuinfo")
                .ok()
                .and_then(|info| model_name(&info))
                .unwrap_or_else(|| "unknown processor".into()),
            cpus: std::thread::available_parallelism().map_or(1, Into::into),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            rustc: rustc_version().unwrap_or_else(|| "rustc of unknown version".into()),
            engram: format!(
                "{}{}",
                env!("CARGO_PKG_VERSION"),
                if cfg!(debug_assertions) { " (debug build!)" } else { "" }
            ),
            peers: BTreeMap::new(),
        }
    }

    /// One line for each fact.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("{}, {} CPUs, {}", self.cpu, self.cpus, self.system),
            format!("engram {}, {}", self.engram, self.rustc),
        ];
        lines.extend(self.peers.iter().map(|(name, hello)| {
            let versions: Vec<String> =
                hello.versions.iter().map(|(what, version)| format!("{what} {version}")).collect();
            let product = hello
                .matmul_gflops
                .map_or(String::new(), |gflops| format!("; 1024² product {gflops:.0} GFLOP/s"));
            format!("{name}: {}{product}", versions.join(", "))
        }));
        lines
    }
}

fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn rustc_version() -> Option<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named() {
        let info = "processor\t: 0\nmodel name\t: AMD EPYC 9B45\nflags\t\t: fpu\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(model_name(info).as_deref(), Some("AMD EPYC 9B45"));
        assert_eq!(model_name("Processor: ARMv8"), None);
    }
}
