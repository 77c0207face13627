//! A service that is killed in its sleep: nothing that was acknowledged is lost, and what it learns is the same to the last bit.
#![allow(clippy::unwrap_used)]

mod toy;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use candle_core::Tensor;
use cl_core::snapshot::Kind;
use cl_nn::Mlp;
use cl_replay::HistoryReader;
use cl_sleep::service::{Awake, Mind, Served, Service};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use toy::{Bits, FOLDER, LONG, Toy, bits, experience, newborn, record, schema, settings, twin};

const SEED: u64 = 100;
/// Nights of some tens of milliseconds.
const EFFORT: usize = 8;
const KILLS: usize = 20;

fn open(folder: &Path) -> Service<Toy> {
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

// --- Killed at the moments that matter ---

const MOMENT: &str = "CL_SLEEP_TEST_MOMENT";
const MOMENTS: [&str; 3] = ["slept, not saved", "being saved", "saved, not served"];

/// A mind that ends the process at a moment of its third night, as a kill would: nothing is cleaned up, nothing is flushed.
#[derive(Serialize, Deserialize)]
struct Brittle {
    toy: Toy,
    nights: u64,
    #[serde(with = "fuse")]
    fuse: u64,
}

fn perhaps_die(moment: &str, nights: u64) {
    let here = std::thread::current().name() == Some("sleeper");
    if here && nights == 3 && std::env::var(MOMENT).is_ok_and(|at| at == moment) {
        std::process::abort();
    }
}

/// The number of nights, the last thing that is written.
mod fuse {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    pub fn serialize<S: Serializer>(nights: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        super::perhaps_die(super::MOMENTS[1], *nights);
        nights.serialize(serializer)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        u64::deserialize(deserializer)
    }
}

impl Mind for Brittle {
    const KIND: Kind = Kind::new("test/brittle", 1);
    type Model = (u64, Mlp);
    fn model(&self) -> cl_core::Result<(u64, Mlp)> {
        perhaps_die(MOMENTS[0], self.nights);
        Ok((self.nights, self.toy.model()?))
    }
    fn experience(&mut self, columns: &[&Tensor]) -> cl_core::Result<bool> {
        self.toy.experience(columns)
    }
    fn sleep(&mut self, wake: &dyn Fn() -> bool) -> cl_core::Result<()> {
        self.nights += 1;
        self.fuse += 1;
        self.toy.sleep(wake)
    }
    fn awake((nights, _): &(u64, Mlp)) -> Option<&dyn Awake> {
        perhaps_die(MOMENTS[2], *nights);
        None
    }
}

/// Has 200 experiences and some, if it lives so long.
fn live(folder: &Path) -> Service<Brittle> {
    let born = || Ok(Brittle { toy: newborn(SEED, 1)?, nights: 0, fuse: 0 });
    let service = Service::open(folder, &schema(), settings(), born).unwrap();
    while service.health().acknowledged < 200 {
        let [x, y] = record(service.health().acknowledged);
        let end = service.experience(&[&x, &y]).unwrap().end;
        println!("\nacknowledged {end}");
    }
    service.wait_for(service.health().acknowledged, LONG).unwrap();
    service
}

#[test]
#[ignore = "the child of a test"]
fn child_that_ends_itself() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    drop(live(Path::new(&folder)));
}

#[test]
fn killed_at_the_moments_that_matter() {
    let apart = tempfile::tempdir().unwrap();
    let right = live(apart.path());
    let bits_of = |service: &Service<Brittle>| {
        let model = service.model();
        let served =
            Served { version: model.version, experiences: model.experiences, model: model.1.copy().unwrap() };
        (served.version, bits(&served))
    };
    assert!(right.model().version > 3);
    for (at, moment) in MOMENTS.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_ends_itself", "--ignored", "--nocapture"])
            .env(FOLDER, dir.path())
            .env(MOMENT, moment)
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(!out.status.success() && !log.contains("test result"), "{moment}: {log}");
        let acknowledged =
            log.lines().filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok()).max();
        let there = HistoryReader::open(dir.path().join("journal")).unwrap().steps().end;
        assert!(there >= acknowledged.unwrap(), "{moment}");
        // What was on the disk whole counts, and nothing else.
        let born = || -> cl_core::Result<Brittle> { panic!("there is a checkpoint") };
        let service = Service::open(dir.path(), &schema(), settings(), born).unwrap();
        assert_eq!(service.model().version, if at == 2 { 3 } else { 2 }, "{moment}");
        drop(service);
        assert_eq!(bits_of(&live(dir.path())), bits_of(&right), "{moment}");
    }
}
