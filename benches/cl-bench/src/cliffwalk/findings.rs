//! Medians over seeds, how they grow, and which of the paper's claims they bear out.

use std::path::Path;

use cl_core::{Error, Result};

use super::learn::{End, Strategy};
use super::values::Representation;
use super::walk::Walk;
use super::{NAME, Protocol, Run};
use crate::line::slope;
use crate::report::Written;
use crate::report::study::{Chart, Claim, Section, Study};
use crate::report::svg::{Axis, Point, Series};
use crate::report::view::{Column, Grid, Line};
use crate::speed::Spread;

/// The stored runs of a protocol, over seeds.
#[derive(Debug)]
pub struct Findings {
    protocol: Protocol,
    rows: Vec<Row>,
    /// The runs that are missing are not counted.
    seeds: (usize, usize),
    versions: Vec<String>,
}

/// A strategy.
#[derive(Debug)]
struct Row {
    representation: Representation,
    strategy: Strategy,
    /// For each number of states.
    cells: Vec<Cell>,
}

/// A strategy and a number of states.
#[derive(Debug, Clone, Copy)]
struct Cell {
    walk: Walk,
    /// Of the updates; None unless every run has learned.
    updates: Option<Spread>,
    learned: usize,
    of: usize,
}

impl Findings {
    /// Of the runs of this protocol with a seed below `seeds`; others are left out.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a run without the outcomes that the protocol asks for.
    pub fn of(protocol: &Protocol, seeds: u64, runs: &[Run]) -> Result<Self> {
        let config = protocol.config()?;
        let runs: Vec<&Run> =
            runs.iter().filter(|run| run.config.hash == config.hash && run.seed < seeds).collect();
        let walks = || (protocol.states.0..=protocol.states.1).map(|states| Walk { states });
        for run in &runs {
            if !run.outcomes.iter().map(|outcome| outcome.states).eq(walks().map(|walk| walk.states)) {
                let (first, last) = protocol.states;
                let why = format!("not the outcomes for {first} to {last} states, one each");
                return Err(Error::invalid(run.to_string(), why));
            }
        }
        let mut rows = Vec::new();
        for (representation, strategy) in super::cells() {
            let of_row =
                || runs.iter().filter(move |r| r.representation == representation && r.strategy == strategy);
            let cell = |(at, walk): (usize, Walk)| {
                let outcomes = || of_row().map(move |run| run.outcomes[at]);
                let learned: Vec<f64> =
                    outcomes().filter(|o| o.end == End::Learned).map(|o| o.updates as f64).collect();
                let of = outcomes().count();
                let updates = if learned.len() == of { Spread::of(&learned) } else { None };
                Cell { walk, updates, learned: learned.len(), of }
            };
            rows.push(Row { representation, strategy, cells: walks().enumerate().map(cell).collect() });
        }
        let per_row = || rows.iter().map(|row| row.cells.first().map_or(0, |cell| cell.of));
        let seeds = (per_row().min().unwrap_or(0), per_row().max().unwrap_or(0));
        let mut versions: Vec<String> = runs.iter().map(|run| run.version.clone()).collect();
        versions.sort();
        versions.dedup();
        Ok(Self { protocol: protocol.clone(), rows, seeds, versions })
    }

    /// The tables, for the terminal.
    pub fn text(&self) -> String {
        self.study().text()
    }

    /// The whole report but for the charts, as Markdown.
    pub fn markdown(&self) -> String {
        self.study().markdown()
    }

    /// Writes `report.md` and `report.html` into the folder, each whole or not at all.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<Written> {
        self.study().write(dir.as_ref())
    }

    /// The paper's claims, which are about figures: no number is printed there.
    pub fn claims(&self) -> Vec<Claim> {
        use Representation::{Linear, Tabular};
        use Strategy::{Greedy, Oracle, Proportional, Rank, Uniform};
        let exponential = |representation| {
            let doublings = self.medians(representation, Oracle).and_then(|oracle| {
                let uniform = self.medians(representation, Uniform)?;
                slope(
                    uniform
                        .iter()
                        .zip(&oracle)
                        .map(|((walk, u), (_, o))| (walk.states as f64, (u / o).log2())),
                )
            });
            match doublings {
                Some(doublings) => {
                    (format!("× {:.2} for every state", doublings.exp2()), Some(doublings >= 0.5))
                }
                None => self.unlearned(representation, Oracle),
            }
        };
        let large = |representation, strategy| match self.medians(representation, strategy) {
            Some(medians) => {
                let ratios: Option<Vec<(usize, f64)>> =
                    self.medians(representation, Uniform).map(|uniform| {
                        let ratio = |((walk, u), (_, m)): (&(Walk, f64), &(Walk, f64))| (walk.states, u / m);
                        uniform.iter().zip(&medians).map(ratio).filter(|(n, _)| *n >= FROM).collect()
                    });
                match ratios.as_deref() {
                    Some([.., (n, last)]) if *n >= MANY => {
                        let fewer = ratios.iter().flatten().all(|(_, ratio)| *ratio > 1.0);
                        (format!("{last:.1} times fewer at n = {n}"), Some(fewer && *last >= LARGE))
                    }
                    _ => ("runs are missing".into(), None),
                }
            }
            None => self.unlearned(representation, strategy),
        };
        let between = |strategies: &[Strategy]| {
            // The smallest ratio of two strategies, from FROM states on.
            let least = |more: Strategy, fewer: Strategy| {
                let (more, fewer) = (self.medians(Tabular, more)?, self.medians(Tabular, fewer)?);
                let from = more.iter().zip(&fewer).filter(|((walk, _), _)| walk.states >= FROM);
                Some(from.map(|((_, m), (_, f))| m / f).fold(f64::INFINITY, f64::min))
            };
            let worst = |ratios: Vec<Option<f64>>| {
                ratios.into_iter().try_fold(f64::INFINITY, |least, ratio| Some(least.min(ratio?)))
            };
            let above = worst(strategies.iter().map(|&strategy| least(strategy, Oracle)).collect());
            let below = worst(strategies.iter().map(|&strategy| least(Uniform, strategy)).collect());
            match (above, below) {
                (Some(above), Some(below)) => (
                    format!(
                        "at least {above:.2} times the oracle's, and {below:.2} times fewer than uniform"
                    ),
                    Some(above > 1.0 && below > 1.0),
                ),
                _ => ("runs are missing".into(), None),
            }
        };
        let claim = |source: &str, text: &str, asked: &str, (found, holds)| {
            let [source, text, asked] = [source, text, asked].map(str::to_owned);
            Claim { source, text, asked, found, holds }
        };
        vec![
            claim(
                "section 3.1, figures 1 and 2 left",
                "tabular: a good order can lead to exponential speed-ups over uniform choice",
                ASKED_OF_THE_ORACLE,
                exponential(Tabular),
            ),
            claim(
                "section 3.2, figure 2 left",
                "tabular: greedy prioritization needs substantially less than uniform",
                ASKED_OF_SPEED_UPS,
                large(Tabular, Greedy),
            ),
            claim(
                "section 3.3, figure 2 right",
                "linear: rank-based draws give large speed-ups over uniform",
                ASKED_OF_SPEED_UPS,
                large(Linear, Rank),
            ),
            claim(
                "section 3.3, figure 2 right",
                "linear: proportional draws give large speed-ups over uniform",
                ASKED_OF_SPEED_UPS,
                large(Linear, Proportional),
            ),
            claim(
                "figure 2, not in words",
                "every prioritization lies between uniform and the oracle",
                "tabular: more updates than the oracle, fewer than uniform, for n ≥ 4",
                between(&[Greedy, Rank, Proportional]),
            ),
            claim(
                "figure 2 right",
                "linear: the oracle's speed-up is exponential too",
                ASKED_OF_THE_ORACLE,
                exponential(Linear),
            ),
        ]
    }

    fn row(&self, representation: Representation, strategy: Strategy) -> Option<&Row> {
        self.rows.iter().find(|row| row.representation == representation && row.strategy == strategy)
    }

    /// The medians of a strategy, if every run has learned.
    fn medians(&self, representation: Representation, strategy: Strategy) -> Option<Vec<(Walk, f64)>> {
        self.row(representation, strategy)?.medians()
    }

    /// Of a strategy without all its medians: from where on it does not learn.
    fn unlearned(&self, representation: Representation, strategy: Strategy) -> (String, Option<bool>) {
        let cells = self.row(representation, strategy).map_or(&[][..], |row| &row.cells);
        match cells.iter().find(|cell| cell.learned < cell.of) {
            Some(first) => {
                let (n, lost, of) = (first.walk.states, first.of - first.learned, first.of);
                (format!("{lost} of {of} runs do not learn at n = {n}"), Some(false))
            }
            None => ("runs are missing".into(), None),
        }
    }

    /// All of it, as a report.
    pub fn study(&self) -> Study {
        Study {
            title: "Blind Cliffwalk",
            suite: NAME,
            source: SOURCE,
            claims: self.claims(),
            sections: Representation::ALL.map(|representation| self.section(representation)).into(),
            protocol: self.protocol_lines(),
            notes: NOTES.iter().map(|&note| note.into()).collect(),
        }
    }

    fn section(&self, representation: Representation) -> Section {
        let rows: Vec<&Row> = self.rows.iter().filter(|row| row.representation == representation).collect();
        let (heading, caption) = match representation {
            Representation::Tabular => {
                ("Tabular", "Tabular: updates (median), and how many times fewer than uniform")
            }
            Representation::Linear => {
                ("Linear", "Linear: updates (median), and how many times fewer than uniform")
            }
        };
        let columns = ["states", "transitions"].into_iter().chain(rows.iter().map(|row| row.strategy.name()));
        let mut lines: Vec<Line> = Vec::new();
        let uniform = rows.iter().find(|row| row.strategy == Strategy::Uniform);
        for at in 0..rows.first().map_or(0, |row| row.cells.len()) {
            let walk = rows[0].cells[at].walk;
            let base = uniform.and_then(|row| row.cells[at].updates);
            let mut cells = vec![walk.states.to_string(), walk.transitions().to_string()];
            cells.extend(rows.iter().map(|row| cell(row, row.cells[at], base)));
            lines.push(Line { status: "open", cells });
        }
        let slopes = rows.iter().map(|row| {
            let logs = |(walk, median): &(Walk, f64)| ((walk.transitions() as f64).log10(), median.log10());
            let slope = row.medians().and_then(|medians| slope(medians.iter().map(logs)));
            slope.map_or("–".into(), |slope| format!("{slope:.2}"))
        });
        let cells = ["slope".into(), "–".into()].into_iter().chain(slopes).collect();
        lines.push(Line { status: "open", cells });
        let series = rows.iter().map(|row| Series {
            name: row.strategy.name().into(),
            theory: false,
            points: row.cells.iter().map_while(point).collect(),
        });
        let grid = Grid { caption: caption.into(), columns: columns.map(Column::numbers).collect(), lines };
        let chart = Chart {
            series: series.collect(),
            axes: [Axis::log("transitions in the memory"), Axis::log("updates until all values are learned")],
            caption: "Medians over seeds, and a band from the smallest to the largest run; both axes are \
                      logarithmic. A curve ends where not every run learns; a dotted line leads on to its name.",
        };
        Section { heading, grid, chart: Some(chart), pictures: Vec::new() }
    }

    fn protocol_lines(&self) -> Vec<(String, String)> {
        let p = &self.protocol;
        let (fewest, most) = self.seeds;
        let seeds = if fewest == most { most.to_string() } else { format!("{fewest} to {most}") };
        [
            ("states", format!("{} to {}", p.states.0, p.states.1)),
            ("seeds", seeds),
            (
                "learning",
                format!(
                    "Q-learning, step size {}, discount 1 − 1/n, one transition for each update",
                    p.step_size
                ),
            ),
            ("first parameters", format!("normal, mean 0, standard deviation {}", p.initial_std)),
            ("learned", format!("mean squared error over all states and actions below {}", p.learned_below)),
            ("rank", format!("α = {}, exact ranks", p.alpha_rank)),
            ("proportional", format!("α = {}, ε = {}", p.alpha_proportional, p.epsilon)),
            (
                "priorities",
                format!(
                    "|δ| of the last replay; {} before the first; no importance weights",
                    p.first_priority
                ),
            ),
            (
                "given up",
                format!("after {} updates for each transition in the memory", p.most_updates_per_transition),
            ),
            ("version", self.versions.join(", ")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

impl Row {
    fn medians(&self) -> Option<Vec<(Walk, f64)>> {
        self.cells.iter().map(|cell| Some((cell.walk, cell.updates?.median))).collect()
    }
}

/// Speed-ups are looked at from so many states on: below, the memory is as small as the number of updates
/// that any order needs.
const FROM: usize = 4;

/// How many times fewer updates are a large speed-up, with so many states or more.
const LARGE: f64 = 5.0;
const MANY: usize = 16;

const ASKED_OF_SPEED_UPS: &str = "fewer updates for n ≥ 4, a fifth or less at n = 16";

const ASKED_OF_THE_ORACLE: &str = "uniform / oracle grows by √2 or more for every state";

const SOURCE: &str = "Schaul et al. 2016, Prioritized Experience Replay, arXiv 1511.05952, figures 1 and 2";

const NOTES: &[&str] = &[
    "The paper shows curves and prints no numbers: what is compared is what its text and captions say of them.",
    "Figure 2 shows uniform, oracle and greedy with a table, uniform, oracle, rank and proportional with the \
     linear representation. The other combinations are ours.",
    "A number of updates is a median over seeds; it is given where every run has learned, and otherwise how \
     many did. Slopes are of a straight line fitted to log updates against log transitions, over all numbers \
     of states alike.",
    "New transitions have the maximal priority, so that all are replayed before any is replayed again, or \
     nearly so: prioritization cannot need much less than one update for each transition. The oracle can.",
    "With the linear representation the oracle gets stuck. An update moves the estimates of all other states \
     with the same action by half as much as its own, and there are errors that no single update can reduce \
     without increasing others by as much: from five states on, two opposite ones of the same action are \
     enough. What is left to choose is an update that changes nothing, for ever. What the authors' oracle \
     did about this the text does not say.",
];

/// A median, with its ratio to uniform.
fn cell(row: &Row, cell: Cell, uniform: Option<Spread>) -> String {
    match (cell.updates, uniform) {
        (None, _) if cell.of == 0 => "not run".into(),
        (None, _) => format!("{} of {} learned", cell.learned, cell.of),
        (Some(own), Some(uniform)) if row.strategy != Strategy::Uniform => {
            let ratio = uniform.median / own.median;
            let decimals = usize::from(ratio < 100.0);
            format!("{:.0} ({ratio:.decimals$}×)", own.median)
        }
        (Some(own), _) => format!("{:.0}", own.median),
    }
}

fn point(cell: &Cell) -> Option<Point> {
    let updates = cell.updates?;
    let x = cell.walk.transitions() as f64;
    // A run that begins below the threshold needs none, which has no logarithm.
    (updates.min > 0.0).then_some(Point { x, low: updates.min, median: updates.median, high: updates.max })
}
