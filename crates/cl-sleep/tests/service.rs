//! A service: what it promises of predictions, sleeps and files. That it survives kills is in `service_kills.rs`.
#![allow(clippy::unwrap_used)]

mod toy;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use cl_core::snapshot::Kind;
use cl_core::{Error, Result};
use cl_nn::Mlp;
use cl_replay::{Field, HistoryReader, Schema};
use cl_sleep::service::{Awake, Durability, Health, Mind, Service, Settings};
use cl_sleep::{Circadian, State};
use serde::{Deserialize, Serialize};
use toy::{
    Calm, LONG, Toy, Trouble, bits, experience, newborn, open, schema, settings, trouble, twin,
    wait_until_blocked,
};

/// Experiences up to the first record that begins at `n` or later.
fn experience_until(service: &Service<Toy>, n: u64) -> u64 {
    while service.health().acknowledged < n {
        experience(service);
    }
    service.health().acknowledged
}

/// Those that are in the journal.
fn journalled(folder: &Path) -> u64 {
    HistoryReader::open(folder.join("journal")).unwrap().steps().end
}

#[test]
fn a_version_is_of_the_journal_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut versions = BTreeMap::new();
    let mut seen = |service: &Service<Toy>| {
        let model = service.model();
        let new = bits(&model);
        assert_eq!(*versions.entry(model.version).or_insert_with(|| new.clone()), new);
    };
    let mut end = 0;
    // Closed and opened at any time, slowly and in haste.
    for step in 0..40 {
        let service = open(dir.path(), 1);
        seen(&service);
        end = experience_until(&service, end + step * 7 % 31);
        if step % 3 == 0 {
            service.wait_for(end, LONG).unwrap();
            seen(&service);
        }
        seen(&service);
    }
    let service = open(dir.path(), 1);
    service.wait_for(end, LONG).unwrap();
    seen(&service);
    let twin = twin(end, 1, 1);
    assert!(twin.len() > 10 && versions.len() > 5, "{} of {}", versions.len(), twin.len());
    assert!(versions.iter().all(|(version, bits)| twin[version] == *bits));
    assert_eq!(versions.last_key_value(), twin.last_key_value());
    // And they differ from one another.
    let mut all: Vec<_> = twin.into_values().map(|(_, logits)| logits).collect();
    let n = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), n);
}

/// A sleep that cannot go on until the test lets it: whatever returns before that did not wait for it.
#[test]
fn nothing_waits_for_sleep() {
    let dir = tempfile::tempdir().unwrap();
    trouble(2, Trouble::Block);
    let service = open(dir.path(), 2);
    let _calm = Calm(2);
    let before = bits(&service.model());
    let mut end = experience_until(&service, 60);
    wait_until_blocked(2);
    assert_eq!(service.health().state, State::Asleep);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let model = service.model();
                    // Nor is anything seen of the half of the sleep that is over.
                    assert_eq!((model.version, bits(&model)), (0, before.clone()));
                }
            });
        }
        end = experience_until(&service, 300);
    });
    let health = service.health();
    assert_eq!((health.version, health.acknowledged), (0, end));
    assert!(health.taken < 60 && health.fault.is_none());
    trouble(2, Trouble::None);
    let health = service.wait_for(end, LONG).unwrap();
    assert!(health.version > 3 && health.state == State::Awake);
    assert_eq!(bits(&service.model()), twin(end, 2, 1)[&health.version]);
}

#[test]
fn what_fails_in_sleep_leaves_the_awake_model_whole() {
    for (seed, what, why) in
        [(3, Trouble::Panic, "it panicked: a terrible dream"), (4, Trouble::Error, "dream: a nightmare")]
    {
        let dir = tempfile::tempdir().unwrap();
        let service = open(dir.path(), seed);
        // A night that goes well.
        let mut end = 0;
        while service.model().version == 0 {
            end = experience(&service);
            service.wait_for(end, LONG).unwrap();
        }
        let before = bits(&service.model());
        trouble(seed, what);
        end = experience_until(&service, end + 60);
        // It begins again, from the checkpoint, and again.
        let health =
            service.wait_until(LONG, |health| health.fault.as_ref().is_some_and(|f| f.times >= 3)).unwrap();
        let fault = health.fault.clone().unwrap();
        assert_eq!(fault.why, why);
        assert!(fault.taken < end);
        assert_eq!((service.model().version, bits(&service.model())), (1, before));
        let error = service.wait_for(end, LONG).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains(&format!("at {}", fault.taken)), "{error}");
        // Experiences are kept all the same.
        end = experience_until(&service, end + 10);
        assert_eq!(journalled(dir.path()), end);
        trouble(seed, Trouble::None);
        let health = service.wait_until(LONG, |health| health.taken == end).unwrap();
        assert_eq!((health.fault, health.state), (None, State::Awake));
        let twin = twin(end, seed, 1);
        assert_eq!((health.version, bits(&service.model())), twin.into_iter().next_back().unwrap());
    }
}

/// A disk that does not take the checkpoint: nothing is served that is not on it, and nothing is lost.
#[test]
fn a_checkpoint_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let service = open(dir.path(), 18);
    let before = bits(&service.model());
    let (mind, away) = (dir.path().join("mind"), dir.path().join("away"));
    fs::rename(&mind, &away).unwrap();
    fs::create_dir_all(mind.join("something")).unwrap();
    let mut end = experience_until(&service, 100);
    let fault = service.wait_until(LONG, |health| health.fault.is_some()).unwrap().fault.unwrap();
    assert!(fault.why.contains(mind.to_str().unwrap()), "{fault:?}");
    assert_eq!((service.model().version, bits(&service.model())), (0, before));
    end = experience_until(&service, end + 10);
    fs::remove_dir_all(&mind).unwrap();
    // Nor is there one to begin again with.
    let gone =
        |health: &Health| health.fault.as_ref().is_some_and(|fault| fault.why.contains("`Service::rebuild`"));
    service.wait_until(LONG, gone).unwrap();
    fs::rename(&away, &mind).unwrap();
    let health = service.wait_until(LONG, |health| health.taken == end).unwrap();
    assert_eq!(health.fault, None);
    assert_eq!(bits(&service.model()), twin(end, 18, 1)[&health.version]);
}

#[test]
fn dropped_in_the_middle_of_a_sleep() {
    let dir = tempfile::tempdir().unwrap();
    trouble(5, Trouble::Linger);
    let service = open(dir.path(), 5);
    let _calm = Calm(5);
    let end = experience_until(&service, 100);
    wait_until_blocked(5);
    let kept = service.model();
    let before = bits(&kept);
    drop(service);
    assert_eq!(bits(&kept), before, "who has a model keeps it");
    trouble(5, Trouble::None);
    let service = open(dir.path(), 5);
    assert_eq!(bits(&service.model()), before);
    let health = service.wait_for(end, LONG).unwrap();
    assert!(health.version > 0);
    assert_eq!(bits(&service.model()), twin(end, 5, 1)[&health.version]);
}

#[test]
fn a_damaged_checkpoint_is_refused_and_can_be_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let service = open(dir.path(), 6);
    let end = experience_until(&service, 200);
    let version = service.wait_for(end, LONG).unwrap().version;
    let right = bits(&service.model());
    drop(service);
    let path = dir.path().join("mind");
    let whole = fs::read(&path).unwrap();
    let step = whole.len() / 40;
    let cut = (0..whole.len()).step_by(step).map(|at| whole[..at].to_vec());
    let flipped = (0..whole.len()).step_by(step).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    });
    for bytes in cut.chain(flipped).collect::<Vec<_>>() {
        fs::write(&path, &bytes).unwrap();
        let error = Service::open(dir.path(), &schema(), settings(), || newborn(6, 1)).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains("Service::rebuild"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "nothing is changed");
    }
    let damaged = fs::read(&path).unwrap();
    let service = Service::rebuild(dir.path(), &schema(), settings(), || newborn(6, 1)).unwrap();
    assert_eq!(service.wait_for(end, LONG).unwrap().version, version);
    assert_eq!(bits(&service.model()), right);
    drop(service);
    assert_eq!(fs::read(dir.path().join("mind.before")).unwrap(), damaged);
    assert_eq!(fs::read(&path).unwrap(), whole, "the same checkpoint, byte for byte");
}

/// The checkpoint of another mind, or of another version of it.
#[test]
fn another_mind_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), 7));
    #[derive(Serialize, Deserialize)]
    struct Other;
    impl Mind for Other {
        const KIND: Kind = Kind::new("test/toy", 2);
        type Model = ();
        fn model(&self) -> Result<()> {
            Ok(())
        }
        fn experience(&mut self, _columns: &[&Tensor]) -> Result<bool> {
            Ok(false)
        }
        fn sleep(&mut self, _wake: &dyn Fn() -> bool) -> Result<()> {
            Ok(())
        }
    }
    let error = Service::open(dir.path(), &schema(), settings(), || Ok(Other)).unwrap_err().to_string();
    assert!(error.contains("version 1 of `test/toy`") && error.contains("Service::rebuild"), "{error}");
}

/// The file of the journal.
fn segment(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "steps")).max().unwrap()
}

/// An append that was killed: what came before it is there, and what comes after it goes to its place.
#[test]
fn a_torn_journal_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let service = open(dir.path(), 8);
    let end = experience_until(&service, 100);
    service.wait_for(end, LONG).unwrap();
    drop(service);
    let whole = fs::read(segment(dir.path())).unwrap();
    // The last record, cut anywhere. What was acknowledged is gone with it: so no kill can cut.
    let mut reader = HistoryReader::open(dir.path().join("journal")).unwrap();
    let last = reader.batches(0).map(|batch| batch.unwrap().0).last().unwrap();
    for bytes in [1, 20, 60] {
        fs::write(segment(dir.path()), &whole[..whole.len() - bytes]).unwrap();
        let service = open(dir.path(), 8);
        assert_eq!(service.health().acknowledged, last);
        assert_eq!(experience(&service), end);
        let version = service.wait_for(end, LONG).unwrap().version;
        assert_eq!(bits(&service.model()), twin(end, 8, 1)[&version]);
        drop(service);
        assert_eq!(fs::read(segment(dir.path())).unwrap(), whole);
    }
}

#[test]
fn a_journal_that_does_not_go_with_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let service = open(dir.path(), 9);
    let end = experience_until(&service, 100);
    service.wait_for(end, LONG).unwrap();
    assert!(service.model().version > 0);
    drop(service);
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    let error = Service::open(dir.path(), &schema(), settings(), || newborn(9, 1)).unwrap_err().to_string();
    assert!(error.contains("restore the missing files") && error.contains("0..0"), "{error}");
    // Another schema.
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), 9));
    let other = Schema::new([Field::new("x", DType::F32, [5])]).unwrap();
    let error = Service::open(dir.path(), &other, settings(), || newborn(9, 1)).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
}

#[test]
fn the_oldest_experiences_may_go_once_they_were_slept_over() {
    let dir = tempfile::tempdir().unwrap();
    let service = open(dir.path(), 10);
    let end = experience_until(&service, 100);
    service.wait_for(end, LONG).unwrap();
    let (version, of) = (service.model().version, service.model().experiences);
    let right = bits(&service.model());
    drop(service);
    // What stands in for the deletion of a segment: a journal that begins later.
    let path = segment(dir.path());
    let mut reader = HistoryReader::open(dir.path().join("journal")).unwrap();
    let kept: Vec<_> = reader.batches(of).map(Result::unwrap).collect();
    fs::write(
        path.with_file_name(format!("{of:020}.steps")),
        &fs::read(&path).unwrap()[bytes_before(&path, of)..],
    )
    .unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(kept[0].0, of);
    let service = open(dir.path(), 10);
    assert_eq!((service.model().version, bits(&service.model())), (version, right));
    service.wait_for(end, LONG).unwrap();
    experience_until(&service, end + 100);
    drop(service);
    // But nothing can be made of it from the beginning.
    let error =
        Service::rebuild(dir.path(), &schema(), settings(), || newborn(10, 1)).unwrap_err().to_string();
    assert!(error.contains("taken in 0 experiences"), "{error}");
    assert!(dir.path().join("mind").exists());
    fs::remove_file(dir.path().join("mind")).unwrap();
    assert!(Service::open(dir.path(), &schema(), settings(), || newborn(10, 1)).is_err());
}

/// Where in a segment the record begins that begins with this experience.
fn bytes_before(path: &Path, step: u64) -> usize {
    let bytes = fs::read(path).unwrap();
    let (mut at, mut first) = (0, 0);
    while first < step {
        at += 8 + u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        first += toy::record(first)[0].dims()[0] as u64;
    }
    at
}

#[test]
fn one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let service = open(dir.path(), 11);
    for error in [
        Service::open(dir.path(), &schema(), settings(), || newborn(11, 1)).unwrap_err(),
        Service::rebuild(dir.path(), &schema(), settings(), || newborn(11, 1)).unwrap_err(),
    ] {
        assert!(error.to_string().contains("open already"), "{error}");
    }
    experience(&service);
    drop(service);
    drop(open(dir.path(), 11));
}

#[test]
fn what_is_refused_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let service = open(dir.path(), 12);
    let end = experience(&service);
    let x = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let y = |n: usize| Tensor::zeros(n, DType::U32, &Device::Cpu).unwrap();
    let scalar = Tensor::new(1f32, &Device::Cpu).unwrap();
    let seven = Tensor::new(&[0u32, 7], &Device::Cpu).unwrap();
    let refused: [(&[&Tensor], &str); 8] = [
        (&[&x(&[2, 5]), &y(2)], "expected \"x\" as f32 [2, 4], got f32 [2, 5]"),
        (&[&x(&[2, 4]), &y(3)], "expected \"y\" as u32 [2], got u32 [3]"),
        (&[&x(&[2, 4]), &x(&[2])], "expected \"y\" as u32 [2], got f32 [2]"),
        (&[&x(&[2, 4])], "expected 2 columns: x, y, got 1"),
        (&[], "expected 2 columns"),
        (&[&x(&[0, 4]), &y(0)], "it has no row"),
        (&[&scalar, &y(1)], "it has no row"),
        (&[&x(&[2, 4]), &seven], "7 is not one of the three classes"),
    ];
    for (columns, why) in refused {
        let error = service.experience(columns).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!((service.health().acknowledged, journalled(dir.path())), (end, end));
    }
    let end = experience(&service);
    assert_eq!(service.wait_for(end, LONG).unwrap().fault, None);
    let error = service.wait_for(end + 1, Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[test]
fn an_acknowledgement_can_wait_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { durability: Durability::Machine, ..settings() };
    let service = Service::open(dir.path(), &schema(), settings, || newborn(13, 1)).unwrap();
    let end = experience_until(&service, 50);
    let version = service.wait_for(end, LONG).unwrap().version;
    assert_eq!(bits(&service.model()), twin(end, 13, 1)[&version]);
}

/// What a save leaves behind that was killed.
#[test]
fn leftovers_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), 14));
    fs::write(dir.path().join(".mind.abc.tmp"), "half").unwrap();
    fs::write(dir.path().join("notes"), "of somebody else").unwrap();
    drop(open(dir.path(), 14));
    assert!(!dir.path().join(".mind.abc.tmp").exists() && dir.path().join("notes").exists());
}

// --- A model that learns while awake ---

/// Remembers all that the mind has not slept over, beside the slow learner.
struct Quick {
    seed: u64,
    slow: Mlp,
    recent: RwLock<Vec<Vec<f32>>>,
}

impl Awake for Quick {
    fn experience(&self, columns: &[&Tensor]) -> Result<()> {
        let rows = columns[0].to_vec2::<f32>()?;
        if rows[0][0] < 0.0 {
            return Err(Error::invalid("x", "below 0"));
        }
        if std::thread::current().name() == Some("sleeper") {
            toy::hold(self.seed);
        }
        self.recent.write().unwrap().extend(rows);
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Swift(Toy);

impl Mind for Swift {
    const KIND: Kind = Kind::new("test/swift", 1);
    type Model = Quick;
    fn model(&self) -> Result<Quick> {
        Ok(Quick { seed: self.0.seed, slow: self.0.model()?, recent: RwLock::default() })
    }
    fn experience(&mut self, columns: &[&Tensor]) -> Result<bool> {
        self.0.experience(columns)
    }
    fn sleep(&mut self, wake: &dyn Fn() -> bool) -> Result<()> {
        self.0.sleep(wake)
    }
    fn awake(model: &Quick) -> Option<&dyn Awake> {
        Some(model)
    }
}

#[test]
fn what_is_awake_learns_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Service::open(dir.path(), &schema(), settings(), || Ok(Swift(newborn(15, 1)?))).unwrap();
    let mut end = 0;
    let mut rows: Vec<Vec<f32>> = Vec::new();
    let more = |service: &Service<Swift>, end: &mut u64, rows: &mut Vec<Vec<f32>>| {
        let [x, y] = toy::record(*end);
        *end = service.experience(&[&x, &y]).unwrap().end;
        rows.extend(x.to_vec2::<f32>().unwrap());
    };
    // Always exactly what has come since the version was made, whatever it is doing.
    let check = |service: &Service<Swift>, rows: &[Vec<f32>]| {
        let model = service.model();
        assert_eq!(*model.recent.read().unwrap(), rows[model.experiences as usize..]);
        model.version
    };
    trouble(15, Trouble::Block);
    let service = open();
    let _calm = Calm(15);
    while end < 60 {
        more(&service, &mut end, &mut rows);
        assert_eq!(check(&service, &rows), 0);
    }
    wait_until_blocked(15);
    for _ in 0..10 {
        more(&service, &mut end, &mut rows);
        assert_eq!(check(&service, &rows), 0);
    }
    // A version is about to be served, and another experience comes.
    trouble(15, Trouble::Hold);
    wait_until_blocked(15);
    more(&service, &mut end, &mut rows);
    assert_eq!(check(&service, &rows), 0);
    trouble(15, Trouble::None);
    service.wait_until(LONG, |health| health.version == 1).unwrap();
    check(&service, &rows);
    // Versions come while experiences do.
    for _ in 0..200 {
        more(&service, &mut end, &mut rows);
        check(&service, &rows);
    }
    service.wait_for(end, LONG).unwrap();
    let version = check(&service, &rows);
    assert!(version > 5);
    drop(service);
    let service = open();
    assert_eq!(check(&service, &rows), version);
    // As the slow learner of the twin.
    let (slow, twin) = (&service.model().slow, twin(end, 15, 1));
    let served = cl_sleep::service::Served {
        version,
        experiences: service.model().experiences,
        model: slow.copy().unwrap(),
    };
    assert_eq!(bits(&served), twin[&version]);
}

#[test]
fn what_the_awake_model_refuses_is_kept_and_told() {
    let dir = tempfile::tempdir().unwrap();
    trouble(16, Trouble::Block);
    let service = Service::open(dir.path(), &schema(), settings(), || Ok(Swift(newborn(16, 1)?))).unwrap();
    let _calm = Calm(16);
    let x = Tensor::ones((60, 4), DType::F32, &Device::Cpu).unwrap();
    let y = Tensor::zeros(60, DType::U32, &Device::Cpu).unwrap();
    service.experience(&[&x, &y]).unwrap();
    wait_until_blocked(16);
    assert_eq!(service.experience(&[&x.neg().unwrap(), &y]).unwrap(), 60..120);
    let fault = service.health().fault.unwrap();
    assert!(fault.why.contains("did not learn experience 60: x: below 0"), "{fault:?}");
    assert_eq!(service.model().recent.read().unwrap().len(), 60);
    trouble(16, Trouble::None);
    let health = service.wait_until(LONG, |health| health.taken == 120).unwrap();
    assert_eq!(health.fault, None);
}

/// Several threads experience at once: each record once, and in one order.
#[test]
fn many_experience_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let service = Arc::new(open(dir.path(), 17));
    let threads: Vec<_> = (0..4u32)
        .map(|thread| {
            let service = Arc::clone(&service);
            std::thread::spawn(move || {
                for i in 0..50 {
                    let x = Tensor::full((thread * 100 + i) as f32, (1, 4), &Device::Cpu).unwrap();
                    let y = Tensor::full(thread % 3, 1, &Device::Cpu).unwrap();
                    service.experience(&[&x, &y]).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    service.wait_for(200, LONG).unwrap();
    let mut reader = HistoryReader::open(dir.path().join("journal")).unwrap();
    let mut all: Vec<f32> = Vec::new();
    for batch in reader.batches(0) {
        all.push(batch.unwrap().1.get("x").unwrap().to_vec2::<f32>().unwrap()[0][0]);
    }
    all.sort_unstable_by(f32::total_cmp);
    let right: Vec<f32> = (0..4).flat_map(|thread| (0..50).map(move |i| (thread * 100 + i) as f32)).collect();
    assert_eq!(all, right);
}

// --- A clock in hours ---

/// Sleeps once a day, by the time that stands in the journal.
#[derive(Serialize, Deserialize)]
struct Hours {
    clock: Circadian,
    now: f64,
    fell_asleep: Vec<f64>,
}

impl Mind for Hours {
    const KIND: Kind = Kind::new("test/hours", 1);
    type Model = Vec<f64>;
    fn model(&self) -> Result<Vec<f64>> {
        Ok(self.fell_asleep.clone())
    }
    fn experience(&mut self, columns: &[&Tensor]) -> Result<bool> {
        let mut tired = false;
        for hour in columns[0].to_vec1::<f64>()? {
            let before = self.clock.state();
            let state = self.clock.advance(hour - self.now);
            self.now = hour;
            tired |= (before, state) == (State::Awake, State::Asleep);
        }
        Ok(tired)
    }
    fn sleep(&mut self, _wake: &dyn Fn() -> bool) -> Result<()> {
        self.fell_asleep.push(self.now);
        Ok(())
    }
}

/// The time is a column, so it does not matter when it is looked at: also a clock in hours gives the same versions.
#[test]
fn a_clock_in_hours() {
    let schema = Schema::new([Field::new("hour", DType::F64, [])]).unwrap();
    let birth = || Ok(Hours { clock: Circadian::new(Circadian::HUMAN)?, now: 0.0, fell_asleep: Vec::new() });
    let run = |reopened: bool| {
        let dir = tempfile::tempdir().unwrap();
        let mut service = Service::open(dir.path(), &schema, settings(), birth).unwrap();
        // Every ten minutes, for forty days.
        for i in 1..=40 * 24 * 6u32 {
            if reopened && i % 500 == 0 {
                drop(service);
                service = Service::open(dir.path(), &schema, settings(), birth).unwrap();
            }
            service.experience(&[&Tensor::new(&[f64::from(i) / 6.0], &Device::Cpu).unwrap()]).unwrap();
        }
        service.wait_for(40 * 24 * 6, LONG).unwrap();
        service.model().model.clone()
    };
    let nights = run(false);
    assert!((38..=41).contains(&nights.len()), "{nights:?}");
    let bits = |nights: &[f64]| nights.iter().map(|night| night.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&run(true)), bits(&nights));
}
