//! The numbers of a report, computed and formatted once for all renderings.

use std::collections::BTreeSet;

use cl_core::{Error, Result};
use cl_metrics::{Family, InformationMatrix, METRICS, RMatrix, Summary};

use super::{Report, Row, Table};
use crate::published::{Published, Verdict, verdict};
use crate::results::Record;

/// A table whose cells are text already.
#[derive(Debug)]
pub struct Grid {
    /// What it shows, scenario included.
    pub caption: String,
    pub columns: Vec<Column>,
    pub lines: Vec<Line>,
}

#[derive(Debug)]
pub struct Column {
    pub name: String,
    /// Whether its cells are numbers, to be set flush right.
    pub numeric: bool,
}

impl Column {
    pub fn numbers(name: impl Into<String>) -> Self {
        Self { name: name.into(), numeric: true }
    }

    pub fn words(name: impl Into<String>) -> Self {
        Self { name: name.into(), numeric: false }
    }
}

#[derive(Debug)]
pub struct Line {
    /// `ok`, `missed`, or `open` where nothing was decided.
    pub status: &'static str,
    /// One per column; the first is the method.
    pub cells: Vec<String>,
}

impl Line {
    /// Of which nothing is to be decided.
    pub fn open(cells: impl IntoIterator<Item = String>) -> Self {
        Self { status: "open", cells: cells.into_iter().collect() }
    }
}

/// A method's mean accuracies, for the drawings.
pub struct Drawn {
    pub method: String,
    /// The mean over seeds, untrained row included.
    pub r: RMatrix,
    /// After each task, the mean accuracy over the tasks seen so far: mean and SEM over seeds. For a
    /// joint run a single point, its final accuracy.
    pub curve: Vec<Summary>,
}

/// One scenario.
pub struct Section {
    pub scenario: String,
    /// Ours beside the published numbers.
    pub comparison: Grid,
    pub drawn: Vec<Drawn>,
    /// Every other metric, a grid per family.
    pub metrics: Vec<Grid>,
    /// Seeds, configuration, time and memory.
    pub cost: Grid,
}

pub struct View<'a> {
    pub report: &'a Report,
    /// How many verdicts of each kind.
    pub headline: String,
    pub sections: Vec<Section>,
    pub verdicts: Vec<(String, String, Verdict)>,
}

impl<'a> View<'a> {
    pub fn new(report: &'a Report) -> Result<Self> {
        let mut sections = Vec::new();
        let mut verdicts = Vec::new();
        let mut not_run = 0;
        for table in &report.tables {
            let runs = table.rows.iter().map(|row| Runs::of(row, table)).collect::<Result<Vec<_>>>()?;
            not_run += runs.iter().filter(|r| r.matrices.is_empty()).count();
            for runs in &runs {
                if let Some(ours) = &runs.acc {
                    let said = verdict(ours, runs.row.published.as_ref());
                    verdicts.push((table.scenario.clone(), runs.row.method.clone(), said));
                }
            }
            sections.push(section(report, table, &runs)?);
        }
        Ok(Self { report, headline: headline(&verdicts, not_run), sections, verdicts })
    }
}

/// A row with its checked matrices.
struct Runs<'a> {
    row: &'a Row,
    matrices: Vec<RMatrix>,
    /// Final average accuracy, in percent. `None` if the method was not run.
    acc: Option<Summary>,
}

impl<'a> Runs<'a> {
    fn of(row: &'a Row, table: &Table) -> Result<Self> {
        let mut seeds = BTreeSet::new();
        for record in &row.records {
            let what = || format!("{} in the {} scenario", row.method, table.scenario);
            if record.scenario != table.scenario {
                let why = format!("a record of the {} scenario is among its runs", record.scenario);
                return Err(Error::invalid(what(), why));
            }
            let (hash, first) = (&record.config.hash, &row.records[0].config.hash);
            if hash != first {
                let why = format!("runs of two configurations ({first}, {hash}) cannot share a row");
                return Err(Error::invalid(what(), why));
            }
            if !seeds.insert(record.seed) {
                return Err(Error::invalid(what(), format!("seed {} occurs twice", record.seed)));
            }
        }
        let matrices = row.records.iter().map(Record::r_matrix).collect::<Result<Vec<_>>>()?;
        let runs = Self { row, matrices, acc: None };
        Ok(Self { acc: runs.metric("acc")?, ..runs })
    }

    /// A metric over seeds, in percent. `None` where it is undefined for these runs, or there is none.
    fn metric(&self, name: &str) -> Result<Option<Summary>> {
        let Some(metric) = cl_metrics::metric(name) else {
            return Err(Error::invalid("metric", format!("there is none called {name}")));
        };
        self.over(|r| metric.of(r))
    }

    fn over(&self, value: impl Fn(&RMatrix) -> Option<f64>) -> Result<Option<Summary>> {
        match self.matrices.iter().map(value).collect::<Option<Vec<_>>>() {
            Some(values) if !values.is_empty() => Ok(Some(Summary::of(&values)?.percent())),
            _ => Ok(None),
        }
    }
}

fn section(report: &Report, table: &Table, runs: &[Runs<'_>]) -> Result<Section> {
    let caption = |what: &str| format!("{}, {} scenario: {what}", report.title, table.scenario);
    let families = [
        (Family::Accuracy, "other accuracies, %"),
        (Family::BackwardTransfer, "backward transfer, points"),
        (Family::ForwardTransfer, "forward transfer, points"),
        (Family::Forgetting, "forgetting, points"),
    ];
    Ok(Section {
        scenario: table.scenario.clone(),
        comparison: comparison(caption("final average accuracy, %"), runs),
        drawn: runs.iter().filter_map(|r| drawn(r).transpose()).collect::<Result<_>>()?,
        metrics: families
            .into_iter()
            .map(|(family, what)| metrics(caption(what), family, runs))
            .chain(information(caption("information"), runs).transpose())
            .collect::<Result<_>>()?,
        cost: cost(caption("runs and their cost"), runs)?,
    })
}

fn comparison(caption: String, runs: &[Runs<'_>]) -> Grid {
    let columns = [
        ("method", false),
        ("ours: mean ± SEM", true),
        ("std", true),
        ("seeds", true),
        ("published", true),
        ("read in", false),
        ("difference", true),
        ("tolerance", true),
        ("verdict", false),
    ];
    let mut grid = Grid { caption, columns: named(columns), lines: runs.iter().map(compared).collect() };
    let again: Vec<_> = runs.iter().map(|runs| runs.row.published.and_then(|p| p.rerun)).collect();
    if again.iter().any(Option::is_some) {
        grid.columns.push(Column { name: "their code, run again".into(), numeric: true });
        for (line, again) in grid.lines.iter_mut().zip(again) {
            let said = again.map(|r| format!("{:.2} ± {:.2} std ({})", r.mean, r.std, r.n));
            line.cells.push(said.unwrap_or_else(|| "–".into()));
        }
    }
    grid
}

fn compared(runs: &Runs<'_>) -> Line {
    let published = runs.row.published.as_ref();
    let [theirs, read_in] = [published.map(printed), published.map(|p| p.provenance.to_string())];
    let Some(ours) = &runs.acc else {
        let cells =
            [Some(runs.row.method.clone()), None, None, Some("0".into()), theirs, read_in, None, None];
        return line("open", cells.into_iter().chain([Some("not run".into())]));
    };
    let said = verdict(ours, published);
    let status = match said {
        Verdict::Reproduced => "ok",
        Verdict::Off { .. } => "missed",
        _ => "open",
    };
    let cells = [
        Some(runs.row.method.clone()),
        Some(plus_minus(ours)),
        ours.std.map(|std| format!("{std:.2}")),
        Some(ours.n.to_string()),
        theirs,
        read_in,
        published.map(|p| signed(ours.mean - p.mean)),
        published.and_then(|p| Some(format!("{:.2}", p.tolerance(ours)?))),
        Some(minus(said.to_string())),
    ];
    line(status, cells)
}

fn drawn(runs: &Runs<'_>) -> Result<Option<Drawn>> {
    let (Some(first), Some(acc)) = (runs.matrices.first(), runs.acc) else { return Ok(None) };
    let curve = match first.seen_so_far() {
        None => vec![acc],
        Some(curve) => (0..curve.len())
            .map(|i| {
                // The mean below refuses matrices of different shapes, so nothing is left out here.
                let after: Vec<f64> =
                    runs.matrices.iter().filter_map(|r| r.seen_so_far()?.get(i).copied()).collect();
                Ok(Summary::of(&after)?.percent())
            })
            .collect::<Result<_>>()?,
    };
    let r = RMatrix::mean(&runs.matrices)?;
    Ok(Some(Drawn { method: runs.row.method.clone(), r, curve }))
}

fn metrics(caption: String, family: Family, runs: &[Runs<'_>]) -> Result<Grid> {
    let names: Vec<_> =
        METRICS.iter().filter(|m| m.family == family && m.name != "acc").map(|m| m.name).collect();
    let mut lines = Vec::new();
    for runs in runs.iter().filter(|r| !r.matrices.is_empty()) {
        let mut cells = vec![Some(runs.row.method.clone())];
        for name in &names {
            cells.push(runs.metric(name)?.as_ref().map(plus_minus));
        }
        // A joint run has none of these.
        if cells.iter().skip(1).any(Option::is_some) {
            lines.push(line("open", cells));
        }
    }
    let columns = named(std::iter::once(("method", false)).chain(names.into_iter().map(|n| (n, true))));
    Ok(Grid { caption, columns, lines })
}

/// What is known, in bits, of the rows whose runs tell; no table where none does.
fn information(caption: String, runs: &[Runs<'_>]) -> Result<Option<Grid>> {
    let columns = [
        ("method", false),
        ("retained, bits/sample", true),
        ("forgotten, bits/sample", true),
        ("KL(old ‖ all), bits", true),
    ];
    let over = |records: &[Record], of: &dyn Fn(&Record) -> Option<f64>| -> Result<Option<String>> {
        match records.iter().map(of).collect::<Option<Vec<_>>>() {
            Some(values) if !values.is_empty() => Ok(Some(plus_minus(&Summary::of(&values)?))),
            _ => Ok(None),
        }
    };
    let mut lines = Vec::new();
    for records in runs.iter().map(|runs| &runs.row.records) {
        let retained = |record: &Record| {
            let last = record.bits.as_ref()?.last()?;
            Some(last.iter().sum::<f64>() / last.len() as f64)
        };
        let forgotten =
            |record: &Record| InformationMatrix::new(record.bits.clone()?).ok()?.mean_forgetting();
        let cells = [
            over(records, &retained)?,
            over(records, &forgotten)?,
            over(records, &|record: &Record| record.stability)?,
        ];
        if let Some(record) = records.first().filter(|_| cells.iter().any(Option::is_some)) {
            lines.push(line("open", std::iter::once(Some(record.method.clone())).chain(cells)));
        }
    }
    Ok((!lines.is_empty()).then(|| Grid { caption, columns: named(columns), lines }))
}

fn cost(caption: String, runs: &[Runs<'_>]) -> Result<Grid> {
    let columns = [
        ("method", false),
        ("seeds", true),
        ("configuration", false),
        ("training, s", true),
        ("CPU, s", true),
        ("samples per CPU s", true),
        ("peak memory, MiB", true),
        ("version", false),
    ];
    let mut lines = Vec::new();
    for records in runs.iter().map(|r| &r.row.records).filter(|r| !r.is_empty()) {
        let mean = |of: fn(&Record) -> f64, decimals: usize| -> Result<Option<String>> {
            let mean = Summary::of(&records.iter().map(of).collect::<Vec<_>>())?.mean;
            Ok(Some(format!("{mean:.decimals$}")))
        };
        let versions: BTreeSet<_> = records.iter().map(|r| r.version.as_str()).collect();
        let peak = records.iter().map(|r| r.peak_rss_bytes).max().unwrap_or(0);
        lines.push(line(
            "open",
            [
                Some(records[0].method.clone()),
                Some(ranges(records.iter().map(|r| r.seed).collect())),
                Some(records[0].config.hash.clone()),
                mean(|r| r.train_seconds, 1)?,
                mean(|r| r.cpu_seconds, 1)?,
                mean(|r| r.samples_per_cpu_second, 0)?,
                Some(format!("{:.0}", peak as f64 / f64::from(1 << 20))),
                Some(versions.into_iter().collect::<Vec<_>>().join(", ")),
            ],
        ));
    }
    Ok(Grid { caption, columns: named(columns), lines })
}

fn headline(verdicts: &[(String, String, Verdict)], not_run: usize) -> String {
    let count = |of: fn(&Verdict) -> bool| verdicts.iter().filter(|(.., v)| of(v)).count();
    let counts = [
        (count(|v| *v == Verdict::Reproduced), "reproduced"),
        (count(Verdict::is_missed), "off"),
        (count(|v| matches!(v, Verdict::AsTheirCode { .. })), "off as the authors' code is"),
        (count(|v| *v == Verdict::TooFewSeeds), "with too few seeds"),
        (count(|v| *v == Verdict::NotVerified), "without a verified number"),
        (count(|v| *v == Verdict::NothingPublished), "with nothing published"),
        (not_run, "not run"),
    ];
    let said: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if said.is_empty() { "nothing was run".into() } else { said.join(", ") }
}

fn named<'a>(columns: impl IntoIterator<Item = (&'a str, bool)>) -> Vec<Column> {
    columns.into_iter().map(|(name, numeric)| Column { name: name.into(), numeric }).collect()
}

/// A missing cell is a dash.
fn line(status: &'static str, cells: impl IntoIterator<Item = Option<String>>) -> Line {
    Line { status, cells: cells.into_iter().map(|cell| cell.unwrap_or_else(|| "–".into())).collect() }
}

fn plus_minus(s: &Summary) -> String {
    let mean = minus(format!("{:.2}", s.mean));
    s.sem.map_or(mean.clone(), |sem| format!("{mean} ± {sem:.2}"))
}

fn printed(p: &Published) -> String {
    p.error.map_or(format!("{:.2}", p.mean), |error| format!("{:.2} ± {error:.2} {}", p.mean, p.kind))
}

fn signed(x: f64) -> String {
    minus(format!("{x:+.2}"))
}

/// The minus sign, as wide as the plus, in place of the hyphen.
fn minus(number: String) -> String {
    number.replace('-', "−")
}

/// 1, 2, 3, 5 as "1–3, 5".
fn ranges(mut seeds: Vec<u64>) -> String {
    seeds.sort_unstable();
    let consecutive = seeds.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    let range = |run: &[u64]| match run {
        [only] => only.to_string(),
        [first, .., last] => format!("{first}–{last}"),
        [] => String::new(),
    };
    consecutive.map(range).collect::<Vec<_>>().join(", ")
}
