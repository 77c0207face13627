//! What a run found, and its two files.

use std::{fs, io::Write, path::Path};

use cl_core::{Error, Result};
use serde::Serialize;

use super::{
    Aim, Comparison, Heading, Machine, Spread, table,
    training::{PYTORCH, PYTORCH_AVX512},
};

/// Everything that was measured, and on what.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Of what it is the report.
    pub heading: Heading,
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
    /// Whether the peer is the fastest of those that the aim of the case is meant for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fastest: bool,
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
    /// From one number a round on either side; `None` if there are none. It has no verdict yet.
    #[must_use]
    pub fn new(comparison: &Comparison, ours: &[f64], theirs: &[f64]) -> Option<Self> {
        let ratio = Spread::of_ratios(ours, theirs)?;
        Some(Self {
            case: comparison.case.into(),
            peer: comparison.peer.into(),
            peer_case: comparison.peer_case.into(),
            ours_median: Spread::of(ours)?.median,
            theirs_median: Spread::of(theirs)?.median,
            ours: ours.to_vec(),
            theirs: theirs.to_vec(),
            ratio,
            fastest: false,
            aim: None,
            verdict: None,
        })
    }

    /// Judges the ratios of one case, each by its aim. Of those with [`Aim::IfFastest`] only the one
    /// against the fastest peer is judged: the one whose own median is the greatest.
    #[must_use]
    pub fn judged(ratios: Vec<(Aim, Self)>) -> Vec<Self> {
        let race = ratios.iter().filter(|(aim, _)| matches!(aim, Aim::IfFastest(_)));
        let fastest = race.map(|(_, ratio)| ratio.theirs_median).reduce(f64::max);
        let judged = ratios.into_iter().map(|(aim, mut ratio)| {
            match aim {
                Aim::AtLeast(aim) => ratio.aim = Some(aim),
                Aim::IfFastest(aim) if fastest == Some(ratio.theirs_median) => {
                    (ratio.fastest, ratio.aim) = (true, Some(aim));
                }
                Aim::IfFastest(_) | Aim::None => {}
            }
            let verdict = |aim| if ratio.ratio.median >= aim { Verdict::Met } else { Verdict::Missed };
            Self { verdict: ratio.aim.map(verdict), ..ratio }
        });
        judged.collect()
    }
}

/// One line of the report's JSON.
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
    pub(super) fn new(heading: Heading, machine: Machine) -> Self {
        let (rates, ratios, failures, notes) = (vec![], vec![], vec![], vec![]);
        Self { heading, machine, rates, ratios, failures, notes, interrupted: false }
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

    /// Writes `NAME.jsonl` and `NAME.md` in `dir`, each whole or not at all; the name is the contest's.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with the file that could not be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let name = self.heading.name;
        replace(&dir.join(format!("{name}.jsonl")), &self.json_lines())?;
        replace(&dir.join(format!("{name}.md")), &self.markdown())
    }

    /// On a processor where MKL takes its fast path anyway, the preloaded stub makes no difference, and
    /// the rows of both peers say the same.
    pub(super) fn note_useless_stub(&mut self) {
        let gflops = |peer: &str| self.machine.peers.get(peer).and_then(|hello| hello.matmul_gflops);
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
