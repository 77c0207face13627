//! What a run found, and its two files.

use std::{fs, io::Write, path::Path};

use cl_core::{Error, Result};
use serde::Serialize;

use super::{
    Comparison, Machine, Spread,
    peers::{PYTORCH, PYTORCH_AVX512},
    table,
};

/// Everything that was measured, and on what.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The machine and the versions.
    pub machine: Machine,
    /// Our speeds, a line for each case.
    pub rates: Vec<Rate>,
    /// Ours over a peer's, a line for each comparison.
    pub ratios: Vec<Ratio>,
    /// What could not be measured.
    pub failures: Vec<Failure>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
}

/// How fast a case of ours is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rate {
    /// The case.
    pub case: String,
    /// Samples per CPU second.
    pub samples_per_cpu_second: Spread,
    /// The same, round by round.
    pub rounds: Vec<f64>,
}

/// How fast a case of ours is as a multiple of a peer's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ratio {
    /// Our case.
    pub case: String,
    /// The peer.
    pub peer: String,
    /// The peer's case.
    pub peer_case: String,
    /// Our samples per CPU second, round by round.
    pub ours: Vec<f64>,
    /// The peer's.
    pub theirs: Vec<f64>,
    /// Median of ours.
    pub ours_median: f64,
    /// Median of the peer's.
    pub theirs_median: f64,
    /// Of the rounds' ratios.
    pub ratio: Spread,
    /// What the median of the ratios should reach.
    pub aim: Option<f64>,
    /// Whether it does.
    pub verdict: Option<Verdict>,
}

/// Whether an aim is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The median ratio is at least the aim.
    Met,
    /// It is below.
    Missed,
}

/// A case that could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The case.
    pub case: String,
    /// Whose: `engram` or the name of a peer.
    pub by: String,
    /// The reason, with the end of a peer's stderr.
    pub why: String,
}

impl Rate {
    /// From one number a round; `None` if there are none.
    #[must_use]
    pub fn new(case: &str, rounds: &[f64]) -> Option<Self> {
        let samples_per_cpu_second = Spread::of(rounds)?;
        Some(Self { case: case.into(), samples_per_cpu_second, rounds: rounds.to_vec() })
    }
}

impl Ratio {
    /// From one number a round on either side; `None` if there are none.
    #[must_use]
    pub fn new(comparison: &Comparison, ours: &[f64], theirs: &[f64]) -> Option<Self> {
        let ratio = Spread::of_ratios(ours, theirs)?;
        let verdict = |aim| if ratio.median >= aim { Verdict::Met } else { Verdict::Missed };
        Some(Self {
            case: comparison.case.into(),
            peer: comparison.peer.into(),
            peer_case: comparison.peer_case.into(),
            ours_median: Spread::of(ours)?.median,
            theirs_median: Spread::of(theirs)?.median,
            ours: ours.to_vec(),
            theirs: theirs.to_vec(),
            ratio,
            aim: comparison.aim,
            verdict: comparison.aim.map(verdict),
        })
    }
}

/// One line of `speed.jsonl`.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line<'a> {
    Machine(&'a Machine),
    Rate(&'a Rate),
    Ratio(&'a Ratio),
    Failure(&'a Failure),
    Note { text: &'a str },
    Interrupted {},
}

impl Report {
    pub(super) fn new(machine: Machine) -> Self {
        Self { machine, rates: vec![], ratios: vec![], failures: vec![], notes: vec![], interrupted: false }
    }

    /// Whether every aim that was measured is reached and nothing failed or was cut short.
    #[must_use]
    pub fn stands(&self) -> bool {
        let missed = |ratio: &Ratio| ratio.verdict == Some(Verdict::Missed);
        self.failures.is_empty() && !self.interrupted && !self.ratios.iter().any(missed)
    }

    /// The table for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        table::text(self)
    }

    /// The same as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        table::markdown(self)
    }

    /// One JSON object a line: the machine, then all that was found, with every round's numbers.
    #[must_use]
    pub fn json_lines(&self) -> String {
        let lines = std::iter::once(Line::Machine(&self.machine))
            .chain(self.rates.iter().map(Line::Rate))
            .chain(self.ratios.iter().map(Line::Ratio))
            .chain(self.failures.iter().map(Line::Failure))
            .chain(self.notes.iter().map(|text| Line::Note { text }))
            .chain(self.interrupted.then_some(Line::Interrupted {}));
        let text = |line| serde_json::to_string(&line).expect("strings and numbers always serialise") + "\n";
        lines.map(text).collect()
    }

    /// Writes `speed.jsonl` and `speed.md` in `dir`, each whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with the file that could not be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        replace(&dir.join("speed.jsonl"), &self.json_lines())?;
        replace(&dir.join("speed.md"), &self.markdown())
    }

    /// On a processor where MKL takes its fast path anyway, the preloaded stub makes no difference, and
    /// the rows of both peers say the same.
    pub(super) fn note_useless_stub(&mut self) {
        let gflops = |peer: &str| self.machine.peers.get(peer).map(|hello| hello.matmul_gflops);
        let (Some(shipped), Some(forced)) = (gflops(PYTORCH), gflops(PYTORCH_AVX512)) else { return };
        let note = format!(
            "{PYTORCH_AVX512} is no faster than {PYTORCH} at a product of matrices here ({forced:.0} and \
             {shipped:.0} GFLOP/s): MKL chooses the same path for both"
        );
        if forced < 1.2 * shipped && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// Through a temporary file beside it.
fn replace(path: &Path, text: &str) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let written = fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(Error::io(&temporary))?;
    fs::rename(&temporary, path).map_err(Error::io(path))
}
