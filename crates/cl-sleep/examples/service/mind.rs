//! The mind of the example: the UCI digits, two classes at a time, and a network that sleeps over them.

use std::cell::Cell;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Tensor};
use cl_core::snapshot::Kind;
use cl_core::{Result, TensorOps, Units};
use cl_data::Samples;
use cl_nn::Mlp;
use cl_replay::{Field, Schema};
use cl_sleep::service::{Mind, Served};
use cl_sleep::{Circadian, Experiences, Keep, Learnt, Replay, ReplayCount, Rhythm, Sleep, State, Tags};
use serde::{Deserialize, Serialize};

/// Whether the thread that sleeps is one like those that predict.
pub static EQUAL: AtomicBool = AtomicBool::new(false);

/// A memory of what came, a clock in steps, and a network that learns in sleep.
#[derive(Serialize, Deserialize)]
pub struct Digits {
    memory: Experiences,
    clock: Circadian,
    slow: Mlp,
}

impl Digits {
    pub fn born() -> Result<Self> {
        // A day is some 110 digits, a night some 1,000 cycles.
        let rhythm =
            Rhythm { rise: 80.0, fall: 800.0, upper: 0.8, lower: 0.2, amplitude: 0.05, period: 500.0 };
        let mut weights = cl_core::rng(0, "weights");
        Ok(Self {
            memory: Experiences::new(500, Keep::Sample { gain: 0.0 }, cl_core::rng(0, "memory"))?,
            clock: Circadian::new(rhythm)?,
            slow: Mlp::new(&[64, 256, 256, 10], DType::F32, &Device::Cpu, &mut weights)?,
        })
    }
}

impl Mind for Digits {
    const KIND: Kind = Kind::new("example/digits", 1);
    type Model = Mlp;

    fn model(&self) -> Result<Mlp> {
        self.slow.copy()
    }

    fn experience(&mut self, columns: &[&Tensor]) -> Result<bool> {
        let n = self.memory.add(columns, &Tags::default())?.len();
        Ok(self.clock.advance(n as f64) == State::Asleep)
    }

    fn sleep(&mut self, wake: &dyn Fn() -> bool) -> Result<()> {
        let Self { memory, clock, slow } = self;
        let mut learn = |replay: &Replay| {
            let (x, y) = (&replay.columns[0], &replay.columns[1]);
            let loss = slow.predict(x)?.cross_entropy(y, Units::All, None)?.to_scalar::<f32>()?;
            slow.descend(x, y, Units::All, None, 0.05)?;
            Ok(Learnt::from(f64::from(loss)))
        };
        // A cycle is a step of the clock.
        let now = Cell::new(*clock);
        let rested = || {
            let mut later = now.get();
            let state = later.advance(1.0);
            now.set(later);
            state == State::Awake
        };
        let night = Sleep { cycles: 10_000, batch: 64, ..Sleep::default() };
        let mut source = memory.by(&ReplayCount { exponent: 0.5 })?;
        night.run_until(&|| wake() || rested(), &mut source, &mut learn)?;
        *clock = now.get();
        Ok(())
    }

    /// Linux has a class of threads for which nobody ever waits. Without it sleep is a thread like others, which is given up between two
    /// cycles.
    fn settle_in() {
        let Ok(thread) = std::fs::read_link("/proc/thread-self") else { return };
        if let Some(id) = thread.file_name()
            && !EQUAL.load(Ordering::Relaxed)
        {
            let _ = Command::new("chrt").args(["--idle", "--pid", "0"]).arg(id).status();
        }
    }
}

pub fn schema() -> Result<Schema> {
    Schema::new([Field::new("x", DType::F32, [64]), Field::new("y", DType::U32, [])])
}

/// What comes, and what is asked.
pub struct World {
    /// Two classes after two others, and from the beginning again.
    stream: Samples,
    pub test: Samples,
}

impl World {
    pub fn new() -> Result<Self> {
        let digits = cl_data::load("digits")?;
        let classes = digits.train.labels()?;
        let mut rows: Vec<u32> = (0..digits.train.len() as u32).collect();
        rows.sort_by_key(|&row| classes[row as usize] / 2);
        Ok(Self { stream: digits.train.gather(&rows)?, test: digits.test })
    }

    /// The experience of this number: pixels (1, 64) and class (1).
    pub fn experience(&self, number: u64) -> Result<[Tensor; 2]> {
        let row = (number % self.stream.len() as u64) as usize;
        let one = self.stream.slice(row..row + 1)?;
        Ok([one.x, one.y])
    }
}

pub fn accuracy(model: &Mlp, samples: &Samples) -> Result<f64> {
    let said = model.predict(&samples.x)?.argmax(1)?.to_vec1::<u32>()?;
    let right = said.iter().zip(samples.labels()?).filter(|(said, right)| **said == *right).count();
    Ok(right as f64 / samples.len() as f64)
}

/// What a version predicts, to the last bit: a hash of the logits of some test digits.
pub fn bits(served: &Served<Mlp>, samples: &Samples) -> Result<u64> {
    let logits = served.predict(&samples.slice(0..32)?.x)?.flatten_all()?.to_vec1::<f32>()?;
    // FNV-1a.
    let bytes = logits.iter().flat_map(|logit| logit.to_bits().to_le_bytes());
    Ok(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}
