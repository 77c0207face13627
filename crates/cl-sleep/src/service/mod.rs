//! A model that serves predictions while it learns in its sleep, and forgets nothing that it has acknowledged.
//!
//! ```text
//!  experience ──► journal on disk ──► acknowledged          any thread
//!                    │
//!                    ▼ in order
//!                  mind: fast memory, clock, slow learner    one thread, in the background
//!                    │ at the end of each sleep: checkpoint, then
//!                    ▼ a new version
//!  prediction ◄── model                                      any thread, never waits for sleep
//! ```
//!
//! A [`Mind`] is yours: some forty lines over any candle model. A [`Service`] runs it in a folder: `journal`, a
//! [`cl_replay::History`] of everything that was experienced, and `mind`, a snapshot of the mind at the end of its last sleep.
//!
//! * **A prediction never waits for sleep.** It takes the [model](Service::model) that is served, which nobody changes; the lock on it is
//!   held by the sleeper for as long as it takes to put another pointer there.
//!   The processor is another matter: on a core that they share, sleep offers it to others between two cycles, and gives it up at once
//!   where its thread is in a lower class, which [`Mind::settle_in`] can see to.
//! * **Nothing is lost after its acknowledgement**, whenever the process is killed; with [`Durability::Machine`], whenever the machine goes
//!   down. The journal is also the queue: what comes during sleep waits on the disk, not in memory, and there is no end to it.
//!   Its oldest segments may be deleted once they were slept over; then the mind cannot be [made anew](Service::rebuild) from it.
//! * **A sleep happens wholly or not at all.** One that was killed, woken by the end of the program, or that failed is slept again from
//!   the last checkpoint, and nobody ever sees what it had done. So a sleep must be shorter than the time between two kills.
//! * **Version k is the same bits in every run**: of the mind's state at birth, and the journal's records up to the sleep. That holds as
//!   far as the mind keeps to it: randomness from a generator of its own state, and no look at the time. A [clock](crate::Circadian)
//!   in steps does, and one in seconds does where the time of each experience is a column of the journal; a sleep with a deadline, or
//!   when nothing comes, does not.

mod checkpoint;
mod shared;
mod sleeper;

use std::fmt;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use candle_core::Tensor;
use cl_core::snapshot::Kind;
use cl_core::{Error, Result};
use cl_replay::{History, HistoryReader, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::State;
use checkpoint::Checkpoint;
use shared::Shared;
use sleeper::Sleeper;

const JOURNAL: &str = "journal";
/// Small enough that the rest of one is read again after each sleep.
const SEGMENT: u64 = 8 << 20;

/// What learns and sleeps: fast memory, schedule or clock, slow learner, and their random generators. Its serde form is all of
/// its state; it is restored on the CPU.
pub trait Mind: Serialize + DeserializeOwned + Send + 'static {
    /// Name and version of its fields, for its checkpoints.
    const KIND: Kind;

    /// What predictions are made with.
    type Model: Send + Sync + 'static;

    /// What is served from now on: a **copy** of the learner. A network that is trained in place would change under those who
    /// predict with it. Asked for after each sleep, and of a mind that was just restored.
    ///
    /// # Errors
    /// The learner's own.
    fn model(&self) -> Result<Self::Model>;

    /// Takes in experiences, in columns (n, ...) as they were given to the service, and tells whether it is time to sleep now.
    ///
    /// # Errors
    /// The memory's own: see [`Health::fault`].
    fn experience(&mut self, columns: &[&Tensor]) -> Result<bool>;

    /// Sleeps. `wake` is to be asked before each cycle, as [`Sleep::run_until`](crate::Sleep::run_until) does: where it says yes the program is
    /// about to end, and this sleep will be slept anew.
    ///
    /// # Errors
    /// The learner's own: see [`Health::fault`].
    fn sleep(&mut self, wake: &dyn Fn() -> bool) -> Result<()>;

    /// Refuses what the mind could not learn, before it is acknowledged. The columns fit the schema. What is once in the journal is
    /// tried until it is learnt.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(_model: &Self::Model, _columns: &[&Tensor]) -> Result<()> {
        Ok(())
    }

    /// Called in the thread in the background before anything else is: to lower its priority, where predictions have to share a core
    /// with it. The example `service` does so.
    fn settle_in() {}

    /// What of the served model learns while awake, at once; nothing, unless you say so. A new model is told everything that it
    /// has not slept over before it is served.
    fn awake(_model: &Self::Model) -> Option<&dyn Awake> {
        None
    }
}

/// The part of a served model that takes in every experience as it is acknowledged, such as a memory that answers with what is
/// nearest. It is used by several threads, and predictions wait for its own locks: hold them briefly.
pub trait Awake {
    /// Learns columns (n, ...).
    ///
    /// # Errors
    /// Its own. It is told to [`Health::fault`]; the experience is in the journal all the same.
    fn experience(&self, columns: &[&Tensor]) -> Result<()>;
}

/// A version of the model.
#[derive(Debug)]
pub struct Served<T> {
    /// How many sleeps it is of.
    pub version: u64,
    /// How many experiences it has slept over, or forgotten.
    pub experiences: u64,
    /// What predicts.
    pub model: T,
}

impl<T> Deref for Served<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.model
    }
}

/// What an acknowledged experience outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A kill of the process.
    #[default]
    Process,
    /// That, and a crash of the machine: an acknowledgement waits for the disk.
    Machine,
}

/// How a service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What an acknowledged experience outlives.
    pub durability: Durability,
    /// How long the sleeper rests when the mind has failed, before it begins again; twice as long after each further time in a row, up to
    /// 64 times.
    pub rest: Duration,
}

impl Default for Settings {
    /// [`Durability::Process`], and a rest of a second.
    fn default() -> Self {
        Self { durability: Durability::default(), rest: Duration::from_secs(1) }
    }
}

/// How a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether the mind sleeps.
    pub state: State,
    /// The version that is served.
    pub version: u64,
    /// How many experiences were acknowledged, ever.
    pub acknowledged: u64,
    /// How many of them the mind has taken in, every sleep included that was due then.
    pub taken: u64,
    /// What went wrong, until the mind has got past it.
    pub fault: Option<Fault>,
}

/// What went wrong in the background: the mind returned an error or panicked, or a file could not be read or written. What is served
/// stays as it is; the mind is restored from its checkpoint after a [rest](Settings::rest), and begins again from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// How many experiences the mind had taken in.
    pub taken: u64,
    /// The error, or the panic's message.
    pub why: String,
    /// How many times in a row.
    pub times: u32,
}

/// A model that serves predictions while its mind sleeps in a thread in the background. Shared by reference, or in an `Arc`.
///
/// When it is dropped it waits until the mind has come to a place where it asks whether to wake.
///
/// ```
/// use std::{cell::Cell, time::Duration};
///
/// use candle_core::{DType, Device, Tensor};
/// use cl_core::snapshot::Kind;
/// use cl_replay::{Field, Schema};
/// use cl_sleep::service::{Mind, Service, Settings};
/// use cl_sleep::{Circadian, Experiences, Keep, Learnt, Replay, Rhythm, Sleep, State, Tags, Uniform};
///
/// /// Learns a mean, and sleeps when it is tired.
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Mean {
///     memory: Experiences,
///     clock: Circadian,
///     mean: f64,
/// }
///
/// impl Mind for Mean {
///     const KIND: Kind = Kind::new("example/mean", 1);
///     type Model = f64;
///
///     fn model(&self) -> cl_core::Result<f64> {
///         Ok(self.mean)
///     }
///
///     fn experience(&mut self, columns: &[&Tensor]) -> cl_core::Result<bool> {
///         let n = self.memory.add(columns, &Tags::default())?.len();
///         Ok(self.clock.advance(n as f64) == State::Asleep)
///     }
///
///     fn sleep(&mut self, wake: &dyn Fn() -> bool) -> cl_core::Result<()> {
///         let Self { memory, clock, mean } = self;
///         let mut learn = |replay: &Replay| {
///             let error = f64::from(replay.columns[0].mean_all()?.to_scalar::<f32>()?) - *mean;
///             *mean += 0.05 * error;
///             Ok(Learnt::from(error * error))
///         };
///         // A cycle is a step of the clock: it sleeps until it is awake.
///         let now = Cell::new(*clock);
///         let rested = || {
///             let mut later = now.get();
///             let state = later.advance(1.0);
///             now.set(later);
///             state == State::Awake
///         };
///         let night = Sleep { cycles: 1_000, batch: 8, ..Sleep::default() };
///         night.run_until(&|| wake() || rested(), &mut memory.by(&Uniform)?, &mut learn)?;
///         *clock = now.get();
///         Ok(())
///     }
/// }
///
/// # fn main() -> cl_core::Result<()> {
/// # let dir = tempfile::tempdir().expect("a temporary folder");
/// # let folder = dir.path().join("service");
/// let schema = Schema::new([Field::new("x", DType::F32, [])])?;
/// let birth = || {
///     let rhythm = Rhythm { rise: 100.0, fall: 100.0, upper: 0.6, lower: 0.2, amplitude: 0.0, period: 1e3 };
///     let memory = Experiences::new(50, Keep::Newest, cl_core::rng(0, "memory"))?;
///     Ok(Mean { memory, clock: Circadian::new(rhythm)?, mean: 0.0 })
/// };
/// let service = Service::open(&folder, &schema, Settings::default(), birth)?;
/// for _ in 0..100 {
///     let acknowledged = service.experience(&[&Tensor::full(7f32, 4, &Device::Cpu)?])?;
///     assert_eq!(acknowledged.end % 4, 0); // it is on its way to the disk, and not lost any more
///     let _prediction: f64 = service.model().model; // at any time
/// }
/// let health = service.wait_for(400, Duration::from_secs(60))?;
/// assert!(health.version >= 2);
/// assert!((service.model().model - 7.0).abs() < 0.1);
/// drop(service); // or a kill
///
/// let service = Service::open(&folder, &schema, Settings::default(), birth)?;
/// assert_eq!((service.model().version, service.health().acknowledged), (health.version, 400));
/// # Ok(())
/// # }
/// ```
pub struct Service<M: Mind> {
    schema: Schema,
    shared: Arc<Shared<M>>,
    sleeper: Option<JoinHandle<()>>,
}

impl<M: Mind> Service<M> {
    /// Opens the service in this folder, or makes it there with the mind that `birth` gives. The version of the last sleep is served at
    /// once; what the mind has not taken in yet it goes on with in the background.
    ///
    /// # Errors
    /// [`Error::Invalid`] where somebody has it open, or the journal does not go with the checkpoint; [`Error::Mismatch`] on another
    /// schema; [`Error::Format`] where journal or checkpoint is damaged: for the latter there is [`rebuild`](Self::rebuild);
    /// [`Error::Io`] where the folder cannot be read or written; those of `birth` and of [`Mind::model`].
    pub fn open(
        folder: impl AsRef<Path>,
        schema: &Schema,
        settings: Settings,
        birth: impl FnOnce() -> Result<M>,
    ) -> Result<Self> {
        let folder = folder.as_ref();
        let journal = Self::journal(folder, schema)?;
        checkpoint::remove_leftovers(folder)?;
        Self::start(folder, schema, settings, birth, journal)
    }

    /// The same from the journal alone, beginning with a mind that was just born: all its sleeps are slept again, in the background, and
    /// give the same versions. A checkpoint that is there is renamed to `mind.before`.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Error::Invalid`] where the oldest part of the journal is gone; nothing is changed then.
    pub fn rebuild(
        folder: impl AsRef<Path>,
        schema: &Schema,
        settings: Settings,
        birth: impl FnOnce() -> Result<M>,
    ) -> Result<Self> {
        let folder = folder.as_ref();
        let journal = Self::journal(folder, schema)?;
        checkpoint::check(folder, 0, &journal.steps())?;
        checkpoint::remove_leftovers(folder)?;
        checkpoint::set_aside(folder)?;
        Self::start(folder, schema, settings, birth, journal)
    }

    /// The journal, which nobody else has open then.
    fn journal(folder: &Path, schema: &Schema) -> Result<History> {
        let path = folder.join(JOURNAL);
        match History::with_segments(&path, schema.clone(), SEGMENT) {
            // There is one already.
            Err(Error::Invalid { .. }) => History::open(path, schema),
            new => new,
        }
    }

    fn start(
        folder: &Path,
        schema: &Schema,
        settings: Settings,
        birth: impl FnOnce() -> Result<M>,
        journal: History,
    ) -> Result<Self> {
        let steps = journal.steps();
        let begin = match Checkpoint::load(folder)? {
            Some(checkpoint) => {
                checkpoint::check(folder, checkpoint.experiences, &steps)?;
                checkpoint
            }
            None => {
                checkpoint::check(folder, 0, &steps)?;
                let newborn = Checkpoint { version: 0, experiences: 0, mind: birth()? };
                newborn.save(folder)?;
                newborn
            }
        };
        let (version, experiences) = (begin.version, begin.experiences);
        let served = Arc::new(Served { version, experiences, model: begin.mind.model()? });
        let mut reader = HistoryReader::open(folder.join(JOURNAL))?;
        let shared = Arc::new(Shared::new(journal, Arc::clone(&served), settings.durability, steps.end));
        shared.publish(served, &mut reader)?;
        let sleeper = Sleeper { folder: folder.to_owned(), shared: Arc::clone(&shared), rest: settings.rest };
        let thread = Builder::new().name("sleeper".to_owned()).spawn(move || sleeper.run(begin));
        let sleeper = Some(thread.map_err(Error::io(folder))?);
        Ok(Self { schema: schema.clone(), shared, sleeper })
    }

    /// What is served now. A prediction is made with it: it stays as it is, however long it is kept, but for what is
    /// [awake](Mind::awake) in it.
    pub fn model(&self) -> Arc<Served<M::Model>> {
        self.shared.model()
    }

    /// Keeps experiences: columns (n, ...) in the order of the schema's fields, on the CPU. Their numbers are returned, counted from 0, when
    /// they cannot be lost any more, in the sense of the [`Durability`]. It waits for the file, and for others who do the same; not for
    /// sleep.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where a column is of another shape, dtype or number of rows than it should be, [`Error::Invalid`] where there
    /// is no row, and what [`Mind::check`] says: nothing is then kept. [`Error::Io`] where the file cannot be written, nothing is
    /// then kept either, or where the disk does not confirm it: then it may be kept or not.
    pub fn experience(&self, columns: &[&Tensor]) -> Result<Range<u64>> {
        let batch = self.named(columns)?;
        M::check(&self.model(), columns)?;
        self.shared.experience(&batch, columns)
    }

    /// The columns by name, if they fit.
    fn named<'t>(&self, columns: &[&'t Tensor]) -> Result<Vec<(&str, &'t Tensor)>> {
        let fields = self.schema.fields();
        if columns.len() != fields.len() {
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            let expected = format!("{} columns: {}", fields.len(), names.join(", "));
            return Err(Error::mismatch("experience", expected, columns.len().to_string()));
        }
        let rows = columns.first().and_then(|column| column.dims().first().copied()).unwrap_or(0);
        if rows == 0 {
            return Err(Error::invalid(
                "experience",
                "it has no row: columns are (n, ...) with n of 1 or more",
            ));
        }
        for (field, column) in fields.iter().zip(columns) {
            let right = column.dims().split_first() == Some((&rows, &field.shape[..]));
            if !right || column.dtype() != field.dtype {
                let shape: Vec<usize> = [rows].into_iter().chain(field.shape.iter().copied()).collect();
                let expected = format!("{:?} as {} {shape:?}", field.name, field.dtype.as_str());
                let got = format!("{} {:?}", column.dtype().as_str(), column.dims());
                return Err(Error::mismatch("experience", expected, got));
            }
        }
        Ok(fields.iter().map(|field| field.name.as_str()).zip(columns.iter().copied()).collect())
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Waits until the mind has taken in so many experiences, and slept where it was due.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where that was not so within `timeout`, or the mind failed.
    pub fn wait_for(&self, experiences: u64, timeout: Duration) -> Result<Health> {
        let health =
            self.wait_until(timeout, |health| health.taken >= experiences || health.fault.is_some())?;
        match &health.fault {
            Some(Fault { taken, why, .. }) if health.taken < experiences => {
                let why = format!("the mind failed at {taken}: {why}");
                Err(Error::Unavailable { what: format!("a mind of {experiences} experiences"), why })
            }
            _ => Ok(health),
        }
    }

    /// Waits until its health is as you wish. The condition must not ask the service itself.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where that was not so within `timeout`.
    pub fn wait_until(&self, timeout: Duration, condition: impl FnMut(&Health) -> bool) -> Result<Health> {
        self.shared.wait_until(timeout, condition)
    }
}

impl<M: Mind> fmt::Debug for Service<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl<M: Mind> Drop for Service<M> {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(sleeper) = self.sleeper.take() {
            // It does not panic: what the mind does is caught.
            let _ = sleeper.join();
        }
    }
}
