//! Runs of the smallest suite: parallel, interrupted, gone on with.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cl_bench::results::{self, Record};
use cl_bench::runner::{self, Done, Options, Watch};
use cl_bench::suites::{Suite, suite};
use cl_core::{Error, Result};
use cl_methods::train::{Budget, Precision};
use cl_methods::{Batch, Learner, Method, Registry};

/// Counts what happens, and stops everything after so many finished runs.
#[derive(Default)]
struct Counter {
    ended: AtomicUsize,
    stop_after: Option<usize>,
    stop: AtomicBool,
}

impl Watch for Counter {
    fn begin(&self, _run: &str, _number: usize, _of: usize) {}

    fn step(&self, _run: &str, _done: usize, _total: usize) {}

    fn end(&self, _run: &str, _record: &Record) {
        let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        if self.stop_after == Some(ended) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn warn(&self, text: &str) {
        panic!("unexpected warning: {text}");
    }
}

/// Split digits, short.
fn short() -> Suite {
    let mut suite = suite("split-digits").unwrap();
    suite.setting.protocol.budget = Budget::Iterations(10);
    suite.setting.protocol.hidden = vec![20];
    suite
}

fn options(out: &Path, jobs: usize) -> Options {
    let methods = ["None", "EWC", "SI", "ER"].map(str::to_owned).to_vec();
    Options { methods, seeds: Some(2), jobs, out: out.to_owned(), ..Options::default() }
}

fn run(options: &Options, watch: &Counter) -> Result<Done> {
    runner::run(&short(), &Registry::standard(), options, &watch.stop, watch)
}

/// What must not depend on how it was run: everything but times and memory.
fn numbers(out: &Path) -> Vec<(String, Vec<f64>, Vec<Vec<f64>>)> {
    let (records, _) = results::read(out.join("results.jsonl")).unwrap();
    let mut numbers: Vec<_> =
        records.into_iter().map(|r| (format!("{:?}", r.key()), r.baseline, r.r)).collect();
    numbers.sort_by(|a, b| a.0.cmp(&b.0));
    numbers
}

#[test]
fn numbers_do_not_depend_on_jobs_or_interruptions() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    for (dir, jobs) in dirs.iter().zip([1, 2]) {
        let done = run(&options(dir.path(), jobs), &Counter::default()).unwrap();
        assert_eq!((done.made, done.found, done.interrupted), (24, 0, false));
    }
    let third = options(dirs[2].path(), 2);
    let watch = Counter { stop_after: Some(5), ..Counter::default() };
    let done = run(&third, &watch).unwrap();
    assert!(done.interrupted);
    let kept = done.made;
    assert!((5..24).contains(&kept), "{kept}");
    let done = run(&third, &Counter::default()).unwrap();
    assert_eq!((done.made, done.found, done.interrupted), (24 - kept, kept, false));

    let one = numbers(dirs[0].path());
    assert_eq!(one.len(), 24);
    assert_eq!(one, numbers(dirs[1].path()));
    assert_eq!(one, numbers(dirs[2].path()));
}

/// What is known in bits is stored with a run, and stands in the report.
#[test]
fn information_is_stored_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options { seeds: Some(2), ..options(dir.path(), 2) };
    options.methods.push("Joint".to_owned());
    let done = run(&options, &Counter::default()).unwrap();
    let (records, _) = results::read(dir.path().join("results.jsonl")).unwrap();
    for record in &records {
        let bits = record.bits.as_ref().unwrap();
        assert_eq!(bits.len(), record.r.len());
        assert_eq!(record.stability.is_some(), record.method != "Joint", "{}", record.method);
        // Two classes of about the same frequency: a bit a sample at most; five tasks as one problem of ten: log₂ 10.
        let most = if record.scenario == "class" { 1.01 } else { 1.0001 };
        assert!(bits.iter().flatten().all(|&bits| bits <= most), "{bits:?}");
    }
    let report = done.report.write(dir.path()).unwrap();
    let page = std::fs::read_to_string(report.html.with_extension("md")).unwrap();
    assert!(page.contains("retained, bits/sample"), "{page}");
    let of_joint = page.lines().filter(|line| line.starts_with("| Joint") && line.ends_with("| – | – |"));
    assert_eq!(of_joint.count(), 3, "{page}");
}

/// Watched runs have the same numbers; each has its section, and what is stored already is not looked at.
#[test]
fn a_diagnosis_changes_no_number() {
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    run(&options(dirs[0].path(), 2), &Counter::default()).unwrap();
    let watched = Options { diagnose: true, ..options(dirs[1].path(), 2) };
    let done = run(&watched, &Counter::default()).unwrap();
    let diagnosed = done.diagnosed.unwrap();
    assert!(diagnosed.runs == 24 && diagnosed.findings > 0, "{diagnosed}");
    assert_eq!(numbers(dirs[0].path()), numbers(dirs[1].path()));
    assert!(!dirs[0].path().join("diagnosis.md").exists());
    let text = std::fs::read_to_string(dirs[1].path().join("diagnosis.md")).unwrap();
    assert_eq!(text.matches("## ").count(), 24);
    assert_eq!(text.matches("* To do: ").count(), diagnosed.findings);
    let again = run(&watched, &Counter::default()).unwrap();
    assert_eq!((again.made, again.diagnosed.unwrap().runs), (0, 0));
}

/// Stops everything after so many reports of steps of the first run.
struct Impatient {
    reports: AtomicUsize,
    stop: AtomicBool,
    patience: usize,
}

impl Watch for Impatient {
    fn begin(&self, _run: &str, _number: usize, _of: usize) {}

    fn step(&self, _run: &str, done: usize, _total: usize) {
        // The reports of a run are of its whole, wherever it began.
        if self.reports.fetch_max(done, Ordering::Relaxed) < self.patience && done >= self.patience {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn end(&self, _run: &str, _record: &Record) {}

    fn warn(&self, text: &str) {
        panic!("unexpected warning: {text}");
    }
}

/// Stopped in the middle of a run: it is kept, gone on with to the same numbers, and then nothing of it is left but its
/// line. A file that was damaged costs what was computed of that run, and is said.
#[test]
fn a_run_that_was_stopped_goes_on() {
    let mut suite = short();
    suite.setting.protocol.budget = Budget::Iterations(1500);
    suite.setting.protocol.hidden = vec![60, 60];
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let options = |out: &Path| Options {
        methods: vec!["ER".to_owned()],
        seeds: Some(1),
        jobs: 1,
        scenario: Some(cl_data::Scenario::Class),
        out: out.to_owned(),
        ..Options::default()
    };
    let run = |out: &Path, watch: &dyn Watch, stop: &AtomicBool| {
        runner::run(&suite, &Registry::standard(), &options(out), stop, watch).unwrap()
    };
    let never = AtomicBool::new(false);
    run(dirs[0].path(), &Counter::default(), &never);
    for dir in &dirs[1..] {
        let watch = Impatient { reports: AtomicUsize::new(0), stop: AtomicBool::new(false), patience: 1 };
        let done = run(dir.path(), &watch, &watch.stop);
        assert!(done.interrupted && done.made == 0);
        assert!(watch.reports.load(Ordering::Relaxed) < 7500);
    }
    let kept = |out: &Path| -> Vec<std::path::PathBuf> {
        let Ok(files) = std::fs::read_dir(out.join(cl_bench::unfinished::FOLDER)) else { return Vec::new() };
        files.map(|file| file.unwrap().path()).collect()
    };
    assert_eq!(kept(dirs[1].path()).len(), 1);
    let record = |out: &Path| results::read(out.join("results.jsonl")).unwrap().0.remove(0);
    let unfinished = cl_bench::unfinished::Unfinished::within(dirs[1].path());
    let key = record(dirs[0].path()).key();
    let before = unfinished.find(&key).unwrap().unwrap();
    assert!(before.cpu > 0.0 && before.wall > 0.0);
    // As if it had taken long: the time of both parts is that of the run.
    unfinished.keep(&key, &cl_bench::unfinished::Kept { cpu: 1000.0, wall: 2000.0, ..before }).unwrap();
    run(dirs[1].path(), &Counter::default(), &never);
    let after = record(dirs[1].path());
    assert!(after.cpu_seconds > 1000.0 && after.train_seconds > 2000.0, "{after:?}");
    assert!(kept(dirs[1].path()).is_empty());
    assert_eq!(numbers(dirs[0].path()), numbers(dirs[1].path()));

    #[derive(Default)]
    struct Warned(AtomicUsize);
    impl Watch for Warned {
        fn begin(&self, _run: &str, _number: usize, _of: usize) {}
        fn step(&self, _run: &str, _done: usize, _total: usize) {}
        fn end(&self, _run: &str, _record: &Record) {}
        fn warn(&self, text: &str) {
            assert!(text.contains("begins anew") && text.contains("truncated"), "{text}");
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let file = kept(dirs[2].path()).pop().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 7]).unwrap();
    let warned = Warned::default();
    run(dirs[2].path(), &warned, &never);
    assert_eq!(warned.0.load(Ordering::Relaxed), 1);
    assert_eq!(numbers(dirs[0].path()), numbers(dirs[2].path()));
    assert!(kept(dirs[2].path()).is_empty());
}

#[test]
fn methods_differ() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { seeds: Some(1), ..options(dir.path(), 2) };
    run(&options, &Counter::default()).unwrap();
    let numbers = numbers(dir.path());
    for (i, a) in numbers.iter().enumerate() {
        for b in &numbers[i + 1..] {
            if a.0.contains("domain") && b.0.contains("domain") {
                assert_ne!(a.2, b.2, "{} and {}", a.0, b.0);
            }
        }
    }
}

/// Fails at its third batch.
struct Broken(usize);

impl Method for Broken {
    fn observe(&mut self, _learner: &mut Learner, _batch: &Batch) -> Result<()> {
        self.0 += 1;
        if self.0 < 3 { Ok(()) } else { Err(Error::invalid("broken", "as it should be")) }
    }
}

#[test]
fn an_error_in_one_run_keeps_the_others() {
    let mut registry = Registry::standard();
    registry.register("Broken", |_, _| Ok(Box::new(Broken(0)))).unwrap();
    let mut suite = short();
    suite.rows.truncate(2);
    suite.rows.push(cl_bench::suites::Row { name: "Broken", method: "Broken", ..suite.rows[0].clone() });
    let dir = tempfile::tempdir().unwrap();
    let options = Options { jobs: 1, out: dir.path().to_owned(), ..Options::default() };
    let watch = Counter::default();
    let error = runner::run(&suite, &registry, &options, &watch.stop, &watch).unwrap_err();
    assert_eq!(error.to_string(), "broken: as it should be");
    assert_eq!(numbers(dir.path()).len(), 6);
}

#[test]
fn what_is_not_there_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let with = |methods: &[&str], seeds| Options {
        methods: methods.iter().map(|&m| m.to_owned()).collect(),
        seeds: Some(seeds),
        ..options(&out, 1)
    };
    let error = |options| run(&options, &Counter::default()).unwrap_err().to_string();
    assert!(
        error(with(&["EWC", "EWK"], 1)).contains("\"EWK\" is not in the suite split-digits; it has None")
    );
    assert!(error(with(&[], 0)).contains("at least one"));
    assert!(!out.exists());
}

#[test]
fn names_of_methods_are_read_kindly() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { methods: vec!["online ewc".into()], seeds: Some(1), ..options(dir.path(), 1) };
    assert_eq!(run(&options, &Counter::default()).unwrap().made, 3);
}

/// Another precision is another protocol: its results stand beside those in f32, and its report says so. What cannot be trained in
/// it is refused before anything runs.
#[test]
fn a_precision_is_a_protocol_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let methods = ["None", "Joint", "EWC", "SI", "ER"].map(str::to_owned).to_vec();
    let options =
        Options { methods, seeds: Some(1), jobs: 2, out: dir.path().to_owned(), ..Options::default() };
    let run = |precision, options: &Options| {
        let stop = AtomicBool::new(false);
        runner::run(&short().in_precision(precision), &Registry::standard(), options, &stop, &())
    };
    let made = [Precision::F32, Precision::Bf16, Precision::F16].map(|precision| {
        let done = run(precision, &options).unwrap();
        let said = format!("{:?}", done.report).contains(&format!("{precision}, parameters in f32"));
        assert_eq!(said, precision != Precision::F32);
        (done.made, done.found)
    });
    assert_eq!(made, [(15, 0); 3]);
    assert_eq!(run(Precision::Bf16, &options).unwrap().found, 15);
    let refused = Options { methods: vec!["LwF".to_owned()], ..options };
    let error = run(Precision::Bf16, &refused).unwrap_err().to_string();
    assert!(error.contains("LwF trains in f32 only, not in bf16"), "{error}");
}
