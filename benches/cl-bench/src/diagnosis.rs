//! What is wrong with the runs of a suite, in plain words: a section for each run, added to a file as runs end.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use cl_core::{Error, Result};
use cl_metrics::diagnose::{Finding, Trace};

/// The file in a bench's folder.
pub const FILE: &str = "diagnosis.md";

/// How many runs were looked at, and how much was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Diagnosed {
    /// Runs that were looked at.
    pub runs: usize,
    /// Findings of all of them together.
    pub findings: usize,
}

impl std::fmt::Display for Diagnosed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let many = |n, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        write!(f, "diagnosis: {} in {}", many(self.findings, "finding"), many(self.runs, "run"))
    }
}

/// The section of a run. `trace` is what was seen of it: of one that was stopped and gone on with, not all.
pub fn section(run: &str, trace: &Trace, findings: &[Finding]) -> String {
    let mut text = format!("## {run}\n\n");
    if let Some(first) = trace.observations.first().filter(|first| first.step > 0) {
        let _ = writeln!(text, "Seen from step {} on: the run was stopped before.\n", first.step);
    }
    if findings.is_empty() {
        text.push_str("Nothing was found.\n\n");
    }
    for Finding { kind, severity, what, evidence, remedy } in findings {
        let _ = writeln!(text, "**{severity}, {kind}.** {what}\n\n* Seen: {evidence}\n* To do: {remedy}\n");
    }
    text
}

/// Adds a section to the file in this folder.
///
/// # Errors
/// A file that cannot be written.
pub fn append(dir: &Path, section: &str) -> Result<PathBuf> {
    let path = dir.join(FILE);
    let mut file =
        std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path))?;
    file.write_all(section.as_bytes()).map_err(Error::io(&path))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use cl_metrics::diagnose::{Kind, Severity};

    use super::*;

    #[test]
    fn a_section_says_what_was_found() {
        let finding = Finding {
            kind: Kind::LambdaTooSmall,
            severity: Severity::Warning,
            what: "It is weak.".into(),
            evidence: "0.01.".into(),
            remedy: "More.".into(),
        };
        let text = section("EWC task seed 1", &Trace::default(), &[finding]);
        let expected = "## EWC task seed 1\n\n**Warning, λ too small.** It is weak.\n\n* Seen: 0.01.\n* To do: More.\n\n";
        assert_eq!(text, expected);
        assert!(section("ER", &Trace::default(), &[]).contains("Nothing was found."));
        assert_eq!(Diagnosed { runs: 1, findings: 2 }.to_string(), "diagnosis: 2 findings in 1 run");
    }
}
