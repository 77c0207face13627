//! A small mind for the tests of the service, and the experiences that it has.
#![allow(clippy::unwrap_used, dead_code)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use cl_core::snapshot::Kind;
use cl_core::{Error, Result, TensorOps, Units};
use cl_nn::Mlp;
use cl_replay::{Field, Schema};
use cl_sleep::service::{Mind, Served, Service, Settings};
use cl_sleep::{Circadian, Experiences, Keep, Learnt, Replay, ReplayCount, Rhythm, Sleep, State, Tags};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

pub const LONG: Duration = Duration::from_secs(120);

/// What a test does to the sleeps of its own minds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trouble {
    None,
    Panic,
    Error,
    /// Waits in the middle of a sleep until it is over.
    Block,
    /// Waits there, and wakes where it should.
    Linger,
    /// Nothing to a sleep; but who is told of experiences before it is served waits.
    Hold,
}

/// Ends the trouble of a mind, or a test that fails would wait for it in its end.
pub struct Calm(pub u64);

impl Drop for Calm {
    fn drop(&mut self) {
        trouble(self.0, Trouble::None);
    }
}

/// By the seed of the mind.
static TROUBLE: Mutex<BTreeMap<u64, (Trouble, bool)>> = Mutex::new(BTreeMap::new());
static CHANGED: Condvar = Condvar::new();

pub fn trouble(seed: u64, trouble: Trouble) {
    TROUBLE.lock().unwrap().insert(seed, (trouble, false));
    CHANGED.notify_all();
}

/// Returns when a sleep of this mind is in its middle and waits, or what else its trouble has to wait.
pub fn wait_until_blocked(seed: u64) {
    let troubles = TROUBLE.lock().unwrap();
    let waited =
        CHANGED.wait_timeout_while(troubles, LONG, |all| !all.get(&seed).is_some_and(|t| t.1)).unwrap();
    assert!(!waited.1.timed_out(), "nobody came to where there is trouble");
}

fn have_trouble(seed: u64, wake: &dyn Fn() -> bool) -> Result<()> {
    let mut troubles = TROUBLE.lock().unwrap();
    let Some((trouble, there)) = troubles.get_mut(&seed) else { return Ok(()) };
    match *trouble {
        Trouble::None | Trouble::Hold => return Ok(()),
        Trouble::Error => return Err(Error::invalid("dream", "a nightmare")),
        Trouble::Panic => {
            drop(troubles);
            panic!("a terrible dream")
        }
        Trouble::Block | Trouble::Linger => *there = true,
    }
    CHANGED.notify_all();
    while match troubles.get(&seed) {
        Some((Trouble::Block, _)) => true,
        Some((Trouble::Linger, _)) => !wake(),
        _ => false,
    } {
        troubles = CHANGED.wait_timeout(troubles, Duration::from_millis(1)).unwrap().0;
    }
    Ok(())
}

/// For a new model that is told what it has not slept over.
pub fn hold(seed: u64) {
    let mut troubles = TROUBLE.lock().unwrap();
    while let Some((Trouble::Hold, there)) = troubles.get_mut(&seed) {
        *there = true;
        CHANGED.notify_all();
        troubles = CHANGED.wait(troubles).unwrap();
    }
}

/// A network that learns three classes in its sleep, when it is tired.
#[derive(Serialize, Deserialize)]
pub struct Toy {
    pub seed: u64,
    pub memory: Experiences,
    pub clock: Circadian,
    pub slow: Mlp,
    /// How often its parameters are learnt in a cycle: so long a sleep takes.
    pub effort: usize,
}

pub fn newborn(seed: u64, effort: usize) -> Result<Toy> {
    // Some forty experiences to a day, some seventy cycles to a night.
    let rhythm = Rhythm { rise: 30.0, fall: 60.0, upper: 0.75, lower: 0.2, amplitude: 0.05, period: 150.0 };
    Ok(Toy {
        seed,
        memory: Experiences::new(64, Keep::Sample { gain: 0.0 }, cl_core::rng(seed, "memory"))?,
        clock: Circadian::new(rhythm)?,
        slow: Mlp::new(&[4, 16, 3], DType::F32, &Device::Cpu, &mut cl_core::rng(seed, "weights"))?,
        effort,
    })
}

impl Mind for Toy {
    const KIND: Kind = Kind::new("test/toy", 1);
    type Model = Mlp;

    fn model(&self) -> Result<Mlp> {
        self.slow.copy()
    }

    fn experience(&mut self, columns: &[&Tensor]) -> Result<bool> {
        let n = self.memory.add(columns, &Tags::default())?.len();
        Ok(self.clock.advance(n as f64) == State::Asleep)
    }

    fn sleep(&mut self, wake: &dyn Fn() -> bool) -> Result<()> {
        let told = std::env::var_os(FOLDER).is_some();
        if told {
            println!("\nasleep");
        }
        let Self { seed, memory, clock, slow, effort } = self;
        let mut cycles = 0;
        let mut learn = |replay: &Replay| {
            cycles += 1;
            if cycles == 20 {
                have_trouble(*seed, wake)?;
            }
            let (x, y) = (&replay.columns[0], &replay.columns[1]);
            let loss = slow.predict(x)?.cross_entropy(y, Units::All, None)?.to_scalar::<f32>()?;
            for _ in 0..*effort {
                slow.descend(x, y, Units::All, None, 0.01)?;
            }
            Ok(Learnt::from(f64::from(loss)))
        };
        let now = Cell::new(*clock);
        let rested = || {
            let mut later = now.get();
            let state = later.advance(1.0);
            now.set(later);
            state == State::Awake
        };
        let night = Sleep { cycles: 1_000, batch: 8, ..Sleep::default() };
        let mut source = memory.by(&ReplayCount { exponent: 0.5 })?;
        night.run_until(&|| wake() || rested(), &mut source, &mut learn)?;
        *clock = now.get();
        if told {
            println!("\nawake");
        }
        Ok(())
    }

    fn check(_model: &Mlp, columns: &[&Tensor]) -> Result<()> {
        match columns[1].to_vec1::<u32>()?.into_iter().find(|y| *y > 2) {
            Some(y) => Err(Error::invalid("label", format!("{y} is not one of the three classes"))),
            None => Ok(()),
        }
    }
}

/// For a child that is killed.
pub const FOLDER: &str = "CL_SLEEP_TEST_FOLDER";

pub fn schema() -> Schema {
    Schema::new([Field::new("x", DType::F32, [4]), Field::new("y", DType::U32, [])]).unwrap()
}

/// The record that begins with the experience of this number.
pub fn record(first: u64) -> [Tensor; 2] {
    let n = 1 + (first * 7 % 5) as usize;
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for i in first..first + n as u64 {
        let mut rng = cl_core::rng(i, "experience");
        let class = rng.random_range(0..3u32);
        x.extend((0..4).map(|j| rng.random::<f32>() + if j == class { 1.0 } else { 0.0 }));
        y.push(class);
    }
    [Tensor::from_vec(x, (n, 4), &Device::Cpu).unwrap(), Tensor::from_vec(y, n, &Device::Cpu).unwrap()]
}

/// Has the service experience one more record; returns how many experiences there are then.
pub fn experience(service: &Service<Toy>) -> u64 {
    let first = service.health().acknowledged;
    let [x, y] = record(first);
    let acknowledged = service.experience(&[&x, &y]).unwrap();
    assert_eq!(acknowledged.start, first);
    acknowledged.end
}

/// Of a version: how many experiences it is of, and what it predicts, to the last bit.
pub type Bits = (u64, Vec<u32>);

pub fn bits(served: &Served<Mlp>) -> Bits {
    let probe = Tensor::new(&[[0.1f32, 0.9, 0.4, 0.2], [1.3, 0.2, 0.8, 0.6]], &Device::Cpu).unwrap();
    let logits = served.predict(&probe).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    (served.experiences, logits.into_iter().map(f32::to_bits).collect())
}

/// No file waits in these tests.
pub fn settings() -> Settings {
    Settings { rest: Duration::from_millis(1), ..Settings::default() }
}

pub fn open(folder: &Path, seed: u64) -> Service<Toy> {
    Service::open(folder, &schema(), settings(), || newborn(seed, 1)).unwrap()
}

/// All versions that come of the first `n` experiences, of a service that nobody interrupts.
pub fn twin(n: u64, seed: u64, effort: usize) -> BTreeMap<u64, Bits> {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::open(dir.path(), &schema(), settings(), || newborn(seed, effort)).unwrap();
    let mut versions = BTreeMap::from([(0, bits(&service.model()))]);
    let mut end = 0;
    while end < n {
        end = experience(&service);
        service.wait_for(end, LONG).unwrap();
        let model = service.model();
        versions.insert(model.version, bits(&model));
    }
    assert_eq!(end, n, "it ends with a record");
    let last = *versions.last_key_value().unwrap().0;
    assert_eq!(versions.len() as u64, last + 1, "every version was seen");
    versions
}
