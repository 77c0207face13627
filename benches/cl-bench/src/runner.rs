//! Runs a suite: what is not in the results file yet, many runs at once, one thread each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use candle_core::Device;
use cl_core::{Error, Result, Units};
use cl_data::{ClassOrder, DataSet, Pixels, Scenario, Stream, TrainSamples, Transform};
use cl_methods::train::{Precision, Progress, Training};
use cl_methods::{Observer, Registry};
pub use cl_metrics::diagnose::Finding;
use serde_json::json;

use crate::class_orders;
use crate::clock;
use crate::diagnosis::{self, Diagnosed};
use crate::in_words;
use crate::report::{Report, Row as ReportRow, Table};
use crate::results::{Config, Key, Record, Results};
use crate::suites::{Active, Cell, Classes, Kind, Row, Setting, Suite};
use crate::unfinished::{Kept, Unfinished};

/// A run is saved as often, so that a crash costs no more.
const BETWEEN_SAVES: Duration = Duration::from_secs(120);

/// Which part of a suite to run, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only this scenario.
    pub scenario: Option<Scenario>,
    /// Only rows of these names, or of these methods; all if empty.
    pub methods: Vec<String>,
    /// How many seeds; the suite's own number if not given.
    pub seeds: Option<u64>,
    /// Runs at the same time; at least one.
    pub jobs: usize,
    /// Where `results.jsonl` and the report go.
    pub out: PathBuf,
    /// Where networks learn, as [`cl_core::device`] has it; the CPU if empty. Numbers of a GPU are not those of the CPU to the
    /// last bit; a stored run of either counts.
    pub device: String,
    /// Whether a GPU may round the operands of matrix products to TF32 ([`cl_core::allow_tf32`]); the record of a run says so.
    pub tf32: bool,
    /// Whether each run that is made is watched, and what is wrong with it said and added to `diagnosis.md`. The numbers
    /// of a run are the same; stored runs are not looked at.
    pub diagnose: bool,
}

/// Told what happens, from any thread. Whoever does not want to know gives `&()`.
pub trait Watch: Sync {
    /// A run begins: its name, and which of how many it is.
    fn begin(&self, _run: &str, _number: usize, _of: usize) {}
    /// A run has taken `done` of `total` steps.
    fn step(&self, _run: &str, _done: usize, _total: usize) {}
    /// A run is stored, with this final accuracy in percent.
    fn end(&self, _run: &str, _record: &Record) {}
    /// What is wrong with the run that has just ended: at least one finding.
    fn found(&self, _run: &str, _findings: &[Finding]) {}
    /// Something the user should know.
    fn warn(&self, text: &str) {
        eprintln!("warning: {text}");
    }
}

impl Watch for () {}

/// What came of it.
#[derive(Debug)]
pub struct Done {
    /// All that is stored of what was asked for, beside the published numbers.
    pub report: Report,
    /// Runs that were made now.
    pub made: usize,
    /// Runs that were there already.
    pub found: usize,
    /// What was found in the runs that were made now, where it was asked for.
    pub diagnosed: Option<Diagnosed>,
    /// Whether it was stopped before the end.
    pub interrupted: bool,
}

/// One run.
#[derive(Debug, Clone)]
struct Run<'a> {
    row: &'a Row,
    cell: &'a Cell,
    setting: &'a Setting,
    seed: u64,
    key: Key,
    config: Config,
}

impl Run<'_> {
    fn name(&self) -> String {
        format!("{} {} seed {}", self.row.name, self.cell.scenario, self.seed)
    }
}

/// Runs what is missing and gives the report of what was asked for. Each finished run is on disk before
/// the next begins on its thread; `stop` ends all of them at their next step, where the same call goes on with them later.
/// An error in one run stops the others too; what was computed is kept.
pub fn run(
    suite: &Suite,
    registry: &Registry,
    options: &Options,
    stop: &AtomicBool,
    watch: &dyn Watch,
) -> Result<Done> {
    let runs = plan(suite, options)?;
    // A method that cannot be made, or a device that is not there, is found before anything is computed.
    let device = open(&options.device)?;
    cl_core::allow_tf32(options.tf32);
    for run in &runs {
        let method = registry.build(run.row.method, &run.cell.config, run.seed)?;
        let precision = run.setting.protocol.precision;
        if precision != Precision::F32 && !method.can_train_in_half() {
            let why = format!(
                "{} trains in f32 only, not in {precision}: name the rows that do not with --method",
                run.row.name
            );
            return Err(Error::invalid("precision", why));
        }
        if !device.is_cpu() && !method.can_leave_the_cpu() {
            let why =
                format!("{} learns on the CPU only: name the rows that do not with --method", run.row.name);
            return Err(Error::invalid("device", why));
        }
    }
    if options.diagnose && !device.is_cpu() {
        return Err(Error::invalid("device", "a run that is looked at is on the CPU"));
    }
    let (results, torn) = Results::open(&options.out)?;
    if let Some(torn) = torn {
        watch.warn(&torn.to_string());
    }
    let waiting: VecDeque<_> = runs.iter().filter(|run| !results.contains(&run.key)).collect();
    let (made, found) = (waiting.len(), runs.len() - waiting.len());
    let jobs = options.jobs.clamp(1, made.max(1));
    let shared = Shared {
        registry,
        stop,
        watch,
        data: Mutex::default(),
        of: made,
        queue: Mutex::new(waiting),
        results: Mutex::new(results),
        unfinished: Unfinished::within(&options.out),
        failed: Mutex::new(None),
        out: &options.out,
        device: &options.device,
        tf32: options.tf32,
        diagnosed: options.diagnose.then(Mutex::default),
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| shared.work(suite));
        }
    });
    let left = lock(&shared.queue).len();
    let interrupted = stop.load(Ordering::Relaxed);
    if let Some(error) = lock(&shared.failed).take()
        && !(interrupted && matches!(error, Error::Interrupted))
    {
        return Err(error);
    }
    let results = lock(&shared.results);
    Ok(Done {
        report: report(suite, &runs, |key| results.get(key)),
        made: made - left,
        found,
        diagnosed: shared.diagnosed.as_ref().map(|diagnosed| *lock(diagnosed)),
        interrupted,
    })
}

/// What all threads see.
struct Shared<'a> {
    registry: &'a Registry,
    stop: &'a AtomicBool,
    watch: &'a dyn Watch,
    /// Data sets by their setting, loaded once.
    data: Mutex<BTreeMap<String, Arc<DataSet>>>,
    of: usize,
    queue: Mutex<VecDeque<&'a Run<'a>>>,
    results: Mutex<Results>,
    unfinished: Unfinished,
    /// The first error.
    failed: Mutex<Option<Error>>,
    out: &'a Path,
    device: &'a str,
    tf32: bool,
    /// None where runs are not watched.
    diagnosed: Option<Mutex<Diagnosed>>,
}

impl Shared<'_> {
    fn work(&self, suite: &Suite) {
        // Each thread its own: a GPU then works on several runs at once.
        let device = match open(self.device) {
            Ok(device) => device,
            Err(error) => {
                lock(&self.failed).get_or_insert(error);
                return;
            }
        };
        loop {
            let run = {
                let mut queue = lock(&self.queue);
                if self.stop.load(Ordering::Relaxed) || lock(&self.failed).is_some() {
                    return;
                }
                let Some(run) = queue.pop_front() else { return };
                self.watch.begin(&run.name(), self.of - queue.len(), self.of);
                run
            };
            let mut observer = Observer::new();
            let stored = self.one(suite, run, &device, &mut observer).and_then(|record| {
                lock(&self.results).append(&record)?;
                self.unfinished.forget(&run.key)?;
                Ok(record)
            });
            match stored {
                Ok(record) => {
                    self.watch.end(&run.name(), &record);
                    if let Err(error) = self.diagnose(&run.name(), &observer) {
                        lock(&self.failed).get_or_insert(error);
                        return;
                    }
                }
                Err(error) => {
                    lock(&self.queue).push_front(run);
                    lock(&self.failed).get_or_insert(error);
                    return;
                }
            }
        }
    }

    /// Says and writes what is wrong with a run that has ended, where that is asked for.
    fn diagnose(&self, run: &str, observer: &Observer) -> Result<()> {
        let Some(diagnosed) = &self.diagnosed else { return Ok(()) };
        let findings = observer.findings();
        if !findings.is_empty() {
            self.watch.found(run, &findings);
        }
        let mut diagnosed = lock(diagnosed);
        diagnosed.runs += 1;
        diagnosed.findings += findings.len();
        diagnosis::append(self.out, &diagnosis::section(run, observer.trace(), &findings))?;
        Ok(())
    }

    fn one(&self, suite: &Suite, run: &Run<'_>, device: &Device, observer: &mut Observer) -> Result<Record> {
        let stream = self.stream(run)?;
        let build = || self.registry.build(run.row.method, &run.cell.config, run.seed);
        let (mut method, mut stopped) = (build()?, build()?);
        let protocol = &run.setting.protocol;
        let name = run.name();
        let mut clock = Stopwatch::new();
        let kept = self.unfinished.find(&run.key).and_then(|kept| {
            let Some(kept) = kept else { return Ok(None) };
            let (stream, stopped) = (&stream, &mut *stopped);
            let restore = move || {
                let method = stopped;
                Training::restore(stream, method, protocol, run.seed, &kept.training)
            };
            (clock.wall, clock.cpu) = (kept.wall, kept.cpu);
            let training = cl_core::snapshot::tensor::on(device, restore)?;
            Ok(Some(training))
        });
        let kept = kept.unwrap_or_else(|error| {
            self.watch.warn(&format!("{name} begins anew: {error}"));
            None
        });
        let mut training = match kept {
            Some(training) => training,
            None => Training::new(&stream, &mut *method, protocol, run.seed)?,
        };
        training = training.on(device)?;
        if self.diagnosed.is_some() {
            training = training.watched(observer);
        }
        clock.resume();
        let (mut shown, mut saved) = (Instant::now(), Instant::now());
        let stop = || self.stop.load(Ordering::Relaxed) || lock(&self.failed).is_some();
        let outcome = loop {
            let mut progress = |progress: Progress| {
                match progress {
                    Progress::Step { done, total } => {
                        if stop() || saved.elapsed() > BETWEEN_SAVES {
                            return Err(Error::Interrupted);
                        }
                        if shown.elapsed().as_millis() > 100 {
                            shown = Instant::now();
                            self.watch.step(&name, done, total);
                        }
                    }
                    Progress::Evaluate => clock.pause(),
                    Progress::Resume => clock.resume(),
                }
                Ok(())
            };
            match training.run(&mut progress) {
                Ok(outcome) => break outcome,
                Err(Error::Interrupted) => {
                    clock.pause();
                    // Somebody's own method may be none that can be saved: it begins anew.
                    if let Ok(training) = training.save() {
                        let kept = Kept { training, wall: clock.wall, cpu: clock.cpu };
                        self.unfinished.keep(&run.key, &kept)?;
                    }
                    if stop() {
                        return Err(Error::Interrupted);
                    }
                    saved = Instant::now();
                    clock.resume();
                }
                Err(error) => return Err(error),
            }
        };
        clock.pause();
        let r = cl_metrics::RMatrix::new(outcome.baseline.clone(), outcome.r.clone())?;
        Ok(Record {
            suite: suite.name.to_owned(),
            scenario: run.cell.scenario.to_string(),
            method: run.row.name.to_owned(),
            seed: run.seed,
            config: run.config.clone(),
            metrics: cl_metrics::all(&r).into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            r: outcome.r,
            bits: outcome.bits.filter(|bits| !bits.is_empty()),
            stability: outcome.stability,
            device: self.device_name(device)?,
            baseline: outcome.baseline,
            train_seconds: clock.wall,
            cpu_seconds: clock.cpu,
            samples_per_cpu_second: outcome.samples as f64 / clock.cpu.max(1e-9),
            peak_rss_bytes: clock::peak_rss_bytes().unwrap_or(0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// What a record says of the GPU that it is of.
    fn device_name(&self, device: &Device) -> Result<Option<String>> {
        if device.is_cpu() {
            return Ok(None);
        }
        let products = if self.tf32 { ", products in TF32" } else { "" };
        Ok(Some(cl_core::device_name(device)? + products))
    }

    fn stream(&self, run: &Run<'_>) -> Result<Stream> {
        let setting = run.setting;
        let key = format!("{} {} {:?}", setting.data, setting.padding, setting.normalise);
        let data = {
            let mut loaded = lock(&self.data);
            match loaded.get(&key) {
                Some(data) => data.clone(),
                None => {
                    let mut data = cl_data::load(setting.data)?;
                    if setting.padding > 0 {
                        data = data.padded(setting.padding)?;
                    }
                    if let Some((mean, std)) = setting.normalise {
                        data = data.normalised(mean, std)?;
                    }
                    loaded.entry(key).or_insert(Arc::new(data)).clone()
                }
            }
        };
        stream(&data, setting, run.cell.scenario, run.seed)
    }
}

/// The device of this name; the CPU for an empty one.
fn open(name: &str) -> Result<Device> {
    if name.is_empty() { Ok(Device::Cpu) } else { cl_core::device(name) }
}

/// The tasks of a run: all that is drawn comes from its seed.
fn stream(data: &DataSet, setting: &Setting, scenario: Scenario, seed: u64) -> Result<Stream> {
    let mut stream = whole_stream(data, setting, scenario, seed)?;
    if let Some(n) = setting.test_samples {
        for task in &mut stream.tasks {
            task.test = task.test.first(n)?;
        }
    }
    Ok(stream)
}

fn whole_stream(data: &DataSet, setting: &Setting, scenario: Scenario, seed: u64) -> Result<Stream> {
    let train = match setting.train_samples {
        Some(n) => TrainSamples::Drawn { n, seed },
        None => TrainSamples::All,
    };
    let transforms = match setting.kind {
        Kind::Split => return split(data, setting, scenario, seed)?.with_train(train),
        Kind::Rotated { below, rising } => {
            let angles = if rising { cl_data::rising_angles } else { cl_data::rotation_angles };
            let angles = angles(setting.tasks, below, seed)?;
            angles
                .into_iter()
                .map(|degrees| Transform::Rotation { degrees, pixels: Pixels::Nearest })
                .collect()
        }
        Kind::Permuted => cl_data::permutations(data.image, setting.tasks, seed),
        Kind::ThreeSixty { classes, rounds } => {
            return cl_data::three_sixty(data, classes, rounds, seed)?.with_train(train);
        }
    };
    let kind = if setting.kind == Kind::Permuted { "permuted" } else { "rotated" };
    cl_data::transformed(kind, data, transforms, train, scenario)
}

/// The classes in tasks of equally many.
fn split(data: &DataSet, setting: &Setting, scenario: Scenario, seed: u64) -> Result<Stream> {
    let order = match setting.classes {
        Classes::Fixed => ClassOrder::Fixed,
        Classes::PerSeed => ClassOrder::Shuffled(seed),
        Classes::VanDeVen => ClassOrder::Given(class_orders::van_de_ven(seed)?),
        Classes::VanDeVen2018 => ClassOrder::Given(class_orders::van_de_ven_2018(seed)?),
    };
    let mut stream = cl_data::split(data, setting.tasks, scenario, order)?;
    if setting.active == Active::SeenSoFar && scenario == Scenario::Class {
        for task in &mut stream.tasks {
            task.units = Units::First((task.index + 1) * task.classes.len());
        }
    }
    Ok(stream)
}

/// Wall and processor time of a thread, evaluations left out.
struct Stopwatch {
    wall: f64,
    cpu: f64,
    since: Option<(Instant, f64)>,
}

impl Stopwatch {
    fn new() -> Self {
        Self { wall: 0.0, cpu: 0.0, since: None }
    }

    fn resume(&mut self) {
        self.since = Some((Instant::now(), clock::thread_cpu_seconds()));
    }

    fn pause(&mut self) {
        if let Some((wall, cpu)) = self.since.take() {
            self.wall += wall.elapsed().as_secs_f64();
            self.cpu += clock::thread_cpu_seconds() - cpu;
        }
    }
}

/// All runs that were asked for, seed by seed, so that a table that was stopped has a few seeds of
/// everything rather than everything of a few rows.
fn plan<'a>(suite: &'a Suite, options: &Options) -> Result<Vec<Run<'a>>> {
    let is = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
    for wanted in &options.methods {
        if !suite.rows.iter().any(|row| is(row.name, wanted) || is(row.method, wanted)) {
            let names = suite.rows.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
            return Err(Error::invalid(
                "method",
                format!("{wanted:?} is not in the suite {}; it has {names}", suite.name),
            ));
        }
    }
    if options.seeds == Some(0) {
        return Err(Error::invalid("seeds", "at least one is needed"));
    }
    let seeds = |row: &Row| options.seeds.or(row.seeds).unwrap_or(suite.seeds);
    let most = suite.rows.iter().map(seeds).max().unwrap_or(0);
    let mut runs = Vec::new();
    for number in 0..most {
        let seed = suite.first_seed + number;
        for row in suite.rows.iter().filter(|row| number < seeds(row)) {
            let wanted = options.methods.is_empty()
                || options.methods.iter().any(|m| is(row.name, m) || is(row.method, m));
            for cell in row.cells.iter().filter(|_| wanted) {
                if options.scenario.is_some_and(|scenario| scenario != cell.scenario) {
                    continue;
                }
                let setting = row.setting.as_ref().unwrap_or(&suite.setting);
                // Said before anything runs, not after hours.
                match setting.classes {
                    Classes::VanDeVen => drop(class_orders::van_de_ven(seed)?),
                    Classes::VanDeVen2018 => drop(class_orders::van_de_ven_2018(seed)?),
                    Classes::Fixed | Classes::PerSeed => {}
                }
                let config = Config::new(
                    json!({ "method": row.method, "coefficients": cell.config, "setting": setting }),
                );
                let key = Key {
                    suite: suite.name.to_owned(),
                    scenario: cell.scenario.to_string(),
                    method: row.name.to_owned(),
                    seed,
                    config_hash: config.hash.clone(),
                };
                runs.push(Run { row, cell, setting, seed, key, config });
            }
        }
    }
    Ok(runs)
}

/// The report of a suite from stored records, such as the committed ones. Records of another configuration
/// than the suite's present one are left out.
///
/// # Errors
/// As [`run`] for options that do not fit the suite.
pub fn stored(suite: &Suite, records: &[Record], options: &Options) -> Result<Report> {
    let by_key: BTreeMap<Key, &Record> = records.iter().map(|record| (record.key(), record)).collect();
    Ok(report(suite, &plan(suite, options)?, |key| by_key.get(key).copied()))
}

fn report<'r>(suite: &Suite, runs: &[Run<'_>], record: impl Fn(&Key) -> Option<&'r Record>) -> Report {
    let mut tables = Vec::new();
    for scenario in Scenario::ALL {
        let mut rows: Vec<ReportRow> = Vec::new();
        for row in &suite.rows {
            let of_row: Vec<_> =
                runs.iter().filter(|run| run.row.name == row.name && run.cell.scenario == scenario).collect();
            let Some(first) = of_row.first() else { continue };
            rows.push(ReportRow {
                method: row.name.to_owned(),
                records: of_row.iter().filter_map(|run| record(&run.key)).cloned().collect(),
                published: first.cell.published,
            });
        }
        if !rows.is_empty() {
            tables.push(Table { scenario: scenario.to_string(), rows });
        }
    }
    let mut notes: Vec<String> = suite.notes.iter().map(|&note| note.to_owned()).collect();
    let records = || tables.iter().flat_map(|table| &table.rows).flat_map(|row| &row.records);
    let devices: BTreeSet<&str> = records().filter_map(|record| record.device.as_deref()).collect();
    for device in devices {
        let runs = records().filter(|record| record.device.as_deref() == Some(device)).count();
        notes.push(format!("{runs} runs of {} were made on a GPU: {device}.", records().count()));
    }
    Report {
        title: suite.title.to_owned(),
        suite: suite.name.to_owned(),
        source: suite.source.to_owned(),
        protocol: in_words::protocol(suite),
        tables,
        notes,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::suites::suite;

    /// Every seed draws its own samples, angles and permutations; the same seed draws the same.
    #[test]
    fn a_stream_is_a_function_of_its_seed() {
        let data = cl_data::load("digits").unwrap();
        let setting = suite("split-digits").unwrap().setting;
        let rotated = |rising| Kind::Rotated { below: 180.0, rising };
        for kind in [Kind::Split, rotated(true), rotated(false), Kind::Permuted] {
            let setting =
                Setting { kind, train_samples: Some(50), classes: Classes::Fixed, ..setting.clone() };
            let inputs = |seed| -> Vec<_> {
                let stream = stream(&data, &setting, Scenario::Domain, seed).unwrap();
                assert_eq!(stream.tasks.len(), 5);
                let of = |task: &cl_data::Task| task.train.all().unwrap().x.to_vec2::<f32>().unwrap();
                stream.tasks.iter().map(of).collect()
            };
            let (one, other) = (inputs(1), inputs(2));
            assert_eq!(one, inputs(1), "{kind:?}");
            for (task, (one, other)) in one.iter().zip(&other).enumerate() {
                assert!(one.len() == 50 && one != other, "{kind:?}, task {task}");
            }
        }
        // The angles alone, on all samples.
        for rising in [true, false] {
            let setting = Setting { kind: rotated(rising), train_samples: None, ..setting.clone() };
            let angles = |seed| -> Vec<_> {
                let tasks = stream(&data, &setting, Scenario::Domain, seed).unwrap().tasks;
                tasks.into_iter().map(|task| task.transform).collect()
            };
            assert!(angles(1) == angles(1) && angles(1) != angles(2));
        }
    }
}
