//! A service that is killed in its sleep: nothing that was acknowledged is lost, and what it learns is the same to the last bit.
#![allow(clippy::unwrap_used)]

mod toy;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cl_replay::HistoryReader;
use cl_sleep::service::Service;
use rand::Rng as _;
use toy::{Bits, FOLDER, LONG, bits, experience, newborn, record, schema, settings, twin};

const SEED: u64 = 100;
/// Nights of some tens of milliseconds.
const EFFORT: usize = 8;
const KILLS: usize = 20;

fn open(folder: &Path) -> Service<toy::Toy> {
    Service::open(folder, &schema(), settings(), || newborn(SEED, EFFORT)).unwrap()
}

/// Predicts without a pause, experiences as long as the mind keeps up, and tells all of it.
#[test]
#[ignore = "the child of a test"]
fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let service = open(Path::new(&folder));
    println!("\nopened {}", service.health().acknowledged);
    let (begun, mut versions) = (Instant::now(), BTreeMap::new());
    // Not for ever, should the parent be gone.
    while begun.elapsed() < Duration::from_secs(60) {
        let model = service.model();
        let (experiences, logits) = bits(&model);
        let first = versions.entry(model.version).or_insert_with(|| {
            println!("\nversion {} {experiences} {logits:?}", model.version);
            logits.clone()
        });
        assert_eq!(*first, logits, "a version never changes");
        let health = service.health();
        if health.acknowledged < health.taken + 60 {
            println!("\nacknowledged {}", experience(&service));
        } else {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

/// What a child told until it was killed.
#[derive(Default)]
struct Told {
    acknowledged: u64,
    asleep: bool,
    versions: Vec<(u64, Bits)>,
}

impl Told {
    fn line(&mut self, line: &str) {
        let number = |text: &str| text.parse::<u64>().unwrap();
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["asleep"] => self.asleep = true,
            ["awake"] => self.asleep = false,
            ["opened" | "acknowledged", end] => self.acknowledged = number(end),
            ["version", version, experiences, logits @ ..] => {
                let logits = logits.iter().map(|bits| bits.trim_matches(['[', ']', ',']).parse().unwrap());
                self.versions.push((number(version), (number(experiences), logits.collect())));
            }
            _ => {}
        }
    }
}

#[test]
fn killed_in_sleep_twenty_times() {
    let dir = tempfile::tempdir().unwrap();
    let mut delays = cl_core::rng(5, "delays");
    let mut night = Duration::from_millis(10);
    let (mut asleep, mut acknowledged, mut seen) = (0, 0, Vec::new());
    for _ in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--ignored", "--nocapture"])
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (tell, changes) = mpsc::channel();
        let log = std::thread::spawn(move || {
            let (mut told, mut line) = (Told::default(), String::new());
            // A line that the kill has cut is none.
            while out.read_line(&mut line).is_ok_and(|n| n > 0) && line.ends_with('\n') {
                let asleep = told.asleep;
                told.line(line.trim_end());
                if told.asleep != asleep {
                    tell.send((told.asleep, Instant::now())).unwrap();
                }
                line.clear();
            }
            told
        });
        // Some nights pass; then it is killed at any moment of one, or just after.
        let mut fell_asleep = changes.recv_timeout(LONG).unwrap().1;
        for _ in 0..delays.random_range(0..3) {
            night = night.max(changes.recv_timeout(LONG).unwrap().1 - fell_asleep);
            fell_asleep = changes.recv_timeout(LONG).unwrap().1;
        }
        std::thread::sleep(night.mul_f64(delays.random_range(0.0..1.2)));
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        let told = log.join().unwrap();
        asleep += usize::from(told.asleep);
        assert!(told.acknowledged >= acknowledged, "what was acknowledged before is there");
        acknowledged = told.acknowledged;
        let newest = seen.iter().map(|(version, _)| *version).max().unwrap_or(0);
        assert!(told.versions[0].0 >= newest, "what was served once is not taken back");
        seen.extend(told.versions);
        let there = HistoryReader::open(dir.path().join("journal")).unwrap().steps();
        // One that was on its way may be there or not.
        assert!(
            there.start == 0 && (acknowledged..=acknowledged + 5).contains(&there.end),
            "{there:?} {acknowledged}"
        );
    }
    // Every experience is there, as it was.
    let mut reader = HistoryReader::open(dir.path().join("journal")).unwrap();
    let mut end = 0;
    for batch in reader.batches(0) {
        let (first, fields) = batch.unwrap();
        let [x, y] = record(first);
        assert_eq!(first, end);
        assert_eq!(fields.get("x").unwrap().to_vec2::<f32>().unwrap(), x.to_vec2::<f32>().unwrap());
        assert_eq!(fields.get("y").unwrap().to_vec1::<u32>().unwrap(), y.to_vec1::<u32>().unwrap());
        end = first + y.dims()[0] as u64;
    }
    assert!(end >= acknowledged);
    let service = open(dir.path());
    service.wait_for(end, LONG).unwrap();
    let model = service.model();
    seen.push((model.version, bits(&model)));
    let twin = twin(end, SEED, EFFORT);
    for (version, bits) in &seen {
        assert_eq!(twin[version], *bits, "version {version}");
    }
    assert_eq!(model.version as usize, twin.len() - 1);
    println!(
        "nights of up to {night:?}, {asleep} of {KILLS} kills in sleep, {end} experiences, {} versions",
        twin.len()
    );
    assert!(asleep > KILLS / 2 && twin.len() > 10, "or little was tested");
}
