//! Who forecasts what is past and what is present, and what is claimed of it.

use cl_core::Result;

use super::{ERRORS, Part, Protocol, Readout};
use crate::experiment::{Experiment, Run};
use crate::paired::Mean;
use crate::report::study::{Chart, Claim, Section, Study};
use crate::report::svg::{Axis, Point, Series};
use crate::report::view::{Column, Grid, Line};
use crate::speed::Spread;

const NOTES: &[&str] = &[
    "ADE is the mean distance over the twelve positions that are forecast, FDE that at the last of them, in metres; ± is the half width \
     of a 95 % interval over seeds, by Student's t.",
    "As it came: each window before it was learned. Present: held-out windows of the regime of the moment. Past: of all regimes that were \
     visited before and are not there now. Both are means over looks all through the stream. At the end: of all regimes.",
    "The rates of all rows, the length of a night, the part of the newest in memory and in dreams, and the number of neighbours were chosen on \
     three to four other seeds, for the sleepers more of them than for ER. The margin of 0.1 m was widened from 0.05 m when the numbers \
     were known, and ER that takes as many steps stands there since.",
    "In `sleep` the fast learner begins each day as a copy of the slow one. The slow one learns in nights alone, with a rate that falls through \
     each night; a stream that never stops has no such place to anneal.",
    "Chosen: window by window that learner of both forecasts which is better on the most similar windows in memory. It costs a forecast of all \
     that is kept; the gradients are the same.",
    "What learns each window twice, and keeps nothing, is the best on what comes and no better than `online` on the past: the sleepers spend those \
     gradients on the past.",
    "`ER, steps apart` learns what comes and what is replayed in a step each, as many steps as the sleepers take. It is the strongest of those \
     that are always awake: a single forecaster that is chosen of two learners equals it on the past, and is a tenth of a metre behind on what comes.",
    "At the end a night has just passed, and both learners are the same.",
    "`sleep` by one learner is no answer alone: the slow one knows the past and lags behind the present, the fast one the reverse. Which of them \
     is asked must be known, or chosen.",
];

/// A row of the table: a training, and by whom it forecasts.
#[derive(Clone, Copy, PartialEq)]
struct Row(Part, Readout);

impl Row {
    fn name(self) -> String {
        let Self(part, readout) = self;
        if readout == Readout::Only { part.to_string() } else { format!("{part}, {readout}") }
    }
}

const ONLINE: Row = Row(Part::Online, Readout::Only);
const TWICE: Row = Row(Part::Twice, Readout::Only);
const REPLAY: Row = Row(Part::Replay, Readout::Only);
const APART: Row = Row(Part::ReplayApart, Readout::Only);
const FAST: Row = Row(Part::Sleep, Readout::Fast);
const SLOW: Row = Row(Part::Sleep, Readout::Slow);
const CHOSEN: Row = Row(Part::Sleep, Readout::Chosen);
const DUAL: Row = Row(Part::DualMemory, Readout::Chosen);

/// What is measured of a row, as the runs call it.
const QUANTITIES: [&str; 4] = ["as it came", "present", "past", "all at the end"];

struct Found<'a> {
    protocol: &'a Protocol,
    runs: &'a [&'a Run<Part>],
}

pub fn study(protocol: &Protocol, runs: &[&Run<Part>]) -> Result<Study> {
    let found = Found { protocol, runs };
    Ok(Study {
        title: "Forecasting movements online",
        suite: Protocol::NAME,
        source: "one another: the world is generated, and no numbers are published for it",
        claims: found.claims(),
        sections: vec![found.errors(), found.differences()],
        protocol: found.protocol_lines(),
        notes: NOTES.iter().map(|&note| note.into()).collect(),
    })
}

impl Found<'_> {
    /// The runs of a part, in the order of their seeds.
    fn of(&self, part: Part) -> Vec<&Run<Part>> {
        let mut runs: Vec<_> = self.runs.iter().filter(|run| run.part == part).copied().collect();
        runs.sort_by_key(|run| run.seed);
        runs
    }

    /// Of each seed the mean of a quantity. None where it is not measured of the row.
    fn means(&self, Row(part, readout): Row, quantity: &str, error: &str) -> Option<Vec<f64>> {
        let name = format!("{readout}, {quantity}, {error}");
        let mean = |run: &&Run<Part>| {
            let values = run.values(&name).ok()?;
            Some(values.iter().sum::<f64>() / values.len() as f64)
        };
        let all: Vec<f64> = self.of(part).iter().map(mean).collect::<Option<_>>()?;
        (!all.is_empty()).then_some(all)
    }

    /// ADE of one row less that of another, seed by seed.
    fn difference(&self, row: Row, other: Row, quantity: &str) -> Option<Mean> {
        let [row, other] = [row, other].map(|row| self.means(row, quantity, ERRORS[0]));
        Mean::of_differences(&other?, &row?)
    }

    fn gradients(&self, part: Part) -> Option<f64> {
        let all: Vec<f64> = self
            .of(part)
            .iter()
            .map(|run| Some(*run.values("gradients").ok()?.first()?))
            .collect::<Option<_>>()?;
        Mean::of(&all).map(|mean| mean.mean)
    }

    fn errors(&self) -> Section {
        let rows =
            Part::ALL.into_iter().flat_map(|part| part.readouts().iter().map(move |&by| Row(part, by)));
        let lines = rows.map(|row| {
            let mut cells = vec![row.name()];
            cells.push(self.gradients(row.0).map_or("not run".into(), |n| format!("{n:.0}")));
            for quantity in QUANTITIES {
                for error in ERRORS {
                    let mean = self.means(row, quantity, error).and_then(|all| Mean::of(&all));
                    cells.push(mean.map_or("–".into(), |mean| mean.text(1.0, 2, false)));
                }
            }
            Line::open(cells)
        });
        let columns =
            QUANTITIES.iter().flat_map(|quantity| ERRORS.map(|error| format!("{quantity}, {error}")));
        let columns = ["windows learned".to_owned()].into_iter().chain(columns).map(Column::numbers);
        let series = [ONLINE, REPLAY, SLOW, DUAL].map(|row| Series {
            name: row.name(),
            points: self.through_the_stream(row),
            theory: false,
        });
        Section {
            heading: "Errors",
            grid: Grid {
                caption: "Errors of forecasts, in metres".into(),
                columns: [Column::words("training, by whom it forecasts")]
                    .into_iter()
                    .chain(columns)
                    .collect(),
                lines: lines.collect(),
            },
            chart: Some(Chart {
                series: series.into(),
                axes: [Axis::linear("visit"), Axis::linear("ADE of past regimes, m")],
                caption: "Medians over seeds, and a band from the smallest to the largest, through the stream.",
            }),
            pictures: Vec::new(),
        }
    }

    /// The error on past regimes at each look.
    fn through_the_stream(&self, Row(part, readout): Row) -> Vec<Point> {
        let name = format!("{readout}, past, {}", ERRORS[0]);
        let runs = self.of(part);
        let looks: Vec<&[f64]> = runs.iter().filter_map(|run| run.values(&name).ok()).collect();
        let count = looks.iter().map(|looks| looks.len()).min().unwrap_or(0);
        let point = |at: usize| {
            let values: Vec<f64> = looks.iter().map(|looks| looks[at]).collect();
            let Spread { median, min, max, .. } = Spread::of(&values)?;
            // There is no past in the first visit.
            let x = 2.0 + at as f64 / self.protocol.looks as f64;
            Some(Point { x, low: min, median, high: max })
        };
        (0..count).filter_map(point).collect()
    }

    fn differences(&self) -> Section {
        let pairs = [
            (SLOW, ONLINE),
            (SLOW, REPLAY),
            (SLOW, APART),
            (FAST, ONLINE),
            (FAST, TWICE),
            (FAST, REPLAY),
            (FAST, APART),
            (CHOSEN, REPLAY),
            (CHOSEN, APART),
            (DUAL, ONLINE),
            (DUAL, TWICE),
            (DUAL, REPLAY),
            (DUAL, APART),
            (DUAL, CHOSEN),
        ];
        let lines = pairs.map(|(row, other)| {
            let cells = QUANTITIES.map(|quantity| {
                self.difference(row, other, quantity).map_or("not run".into(), |mean| mean.text(1.0, 2, true))
            });
            Line::open([format!("{} − {}", row.name(), other.name())].into_iter().chain(cells))
        });
        Section {
            heading: "Differences",
            grid: Grid {
                caption: "Differences of ADE seed by seed, in metres: below 0 the first is better".into(),
                columns: [Column::words("pair")].into_iter().chain(QUANTITIES.map(Column::numbers)).collect(),
                lines: lines.into(),
            },
            chart: None,
            pictures: Vec::new(),
        }
    }

    fn claims(&self) -> Vec<Claim> {
        const LEARNING: &str = "McClelland, McNaughton & O'Reilly 1995: two learners";
        let mut claims = Vec::new();
        let mut claim = |text: &str, asked: &str, found: Option<(String, bool)>| {
            let (found, holds) = match found {
                Some((found, holds)) => (found, Some(holds)),
                None => ("runs are missing".into(), None),
            };
            let (source, text, asked) = (LEARNING.into(), text.into(), asked.into());
            claims.push(Claim { source, text, asked, found, holds });
        };
        // The upper end of the interval is asked to be below this.
        let below = |row: Row, other: Row, quantity: &str, most: f64| {
            let found = self.difference(row, other, quantity)?;
            let end = found.mean + found.half?;
            Some((format!("{} m", found.text(1.0, 2, true)), end <= most))
        };
        claim(
            "past regimes: the slow learner forgets less than one that learns what comes",
            "the interval of the difference is below 0",
            below(SLOW, ONLINE, "past", 0.0),
        );
        claim(
            "past regimes: the slow learner errs less than ER from the same memory, with as many gradients",
            "the interval of the difference is below 0",
            below(SLOW, REPLAY, "past", 0.0),
        );
        claim(
            "past regimes: and less than ER that takes as many steps, too",
            "the interval of the difference is below 0",
            below(SLOW, APART, "past", 0.0),
        );
        claim(
            "what comes: the fast learner forecasts it as well as one that learns nothing else",
            "the interval of the difference is below +0.1 m, a twentieth of the error",
            below(FAST, ONLINE, "as it came", 0.1),
        );
        claim(
            "the present regime: the fast learner errs less than ER that takes as many steps",
            "the interval of the difference is below 0",
            below(FAST, APART, "present", 0.0),
        );
        claim(
            "past regimes: with a dual memory, and the learner chosen window by window, one forecaster errs less than ER",
            "the interval of the difference is below 0",
            below(DUAL, REPLAY, "past", 0.0),
        );
        claim(
            "what comes: the same forecaster is about as good as ER",
            "the interval of the difference is below +0.1 m, a twentieth of the error",
            below(DUAL, REPLAY, "as it came", 0.1),
        );
        claim(
            "past regimes: the same forecaster errs less than ER that takes as many steps",
            "the interval of the difference is below 0",
            below(DUAL, APART, "past", 0.0),
        );
        let counts =
            [Part::Twice, Part::Replay, Part::ReplayApart, Part::Sleep, Part::DualMemory, Part::Joint];
        let counts: Option<Vec<f64>> = counts.into_iter().map(|part| self.gradients(part)).collect();
        claim(
            "these comparisons are at equal compute: ER, both sleepers, joint training and learning twice have gradients of as many windows",
            "within a thousandth",
            counts.map(|counts| {
                let (least, most) = counts.iter().fold((f64::MAX, 0f64), |(l, m), &n| (l.min(n), m.max(n)));
                (format!("{least:.0} to {most:.0}"), most <= least * 1.001)
            }),
        );
        claims
    }

    fn protocol_lines(&self) -> Vec<(String, String)> {
        let p = self.protocol;
        let mut seeds: Vec<u64> = self.runs.iter().map(|run| run.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let mut versions: Vec<String> = self.runs.iter().map(|run| run.version.clone()).collect();
        versions.sort();
        versions.dedup();
        let windows = p.scenes * super::world::WINDOWS * p.batch;
        [
            ("seeds", seeds.len().to_string()),
            (
                "regimes",
                format!("{}; each visited {} times, {windows} windows a visit", names(), p.rounds),
            ),
            ("windows", "8 positions of the past, 12 of the future, 0.25 s apart; observed with noise of 3 cm".into()),
            ("network", format!("hidden layers {:?}, squared error, Adam, batches of {}", p.hidden, p.batch)),
            ("rates", serde_json::json!(p.rates).to_string()),
            ("memory", format!("{} windows; the dual one: {} of them the newest", p.memory, p.short)),
            (
                "sleep",
                format!(
                    "after every {} windows, of as many, {} a step ({} of the newest in dual memory); the rate falls to {} of itself",
                    p.day, p.dreams, p.recent, p.lowest
                ),
            ),
            ("chosen by", format!("{} most similar windows", p.neighbours)),
            ("version", versions.join(", ")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

fn names() -> String {
    super::world::Regime::ALL.map(|regime| regime.to_string()).join(", ")
}
