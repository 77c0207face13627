//! The thread in the background, which alone has the mind.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use candle_core::Tensor;
use cl_core::{Error, Result};
use cl_replay::HistoryReader;

use super::checkpoint::Checkpoint;
use super::shared::Shared;
use super::{Fault, JOURNAL, Mind, Served};
use crate::State;

pub(super) struct Sleeper<M: Mind> {
    pub(super) folder: PathBuf,
    pub(super) shared: Arc<Shared<M>>,
    pub(super) rest: Duration,
}

impl<M: Mind> Sleeper<M> {
    /// Until the service stops.
    pub(super) fn run(self, begin: Checkpoint<M>) {
        M::settle_in();
        let mut begin = Some(begin);
        loop {
            // A mind that failed may be half changed. It is dropped, whatever state it is in, and another restored.
            let lived = catch_unwind(AssertUnwindSafe(|| self.live(begin.take())));
            let why = match lived {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("it panicked: {}", message(&*panic)),
            };
            let times = self.fault(why);
            if !self.shared.rest(self.rest.saturating_mul(1 << (times - 1).min(6))) {
                return;
            }
        }
    }

    fn fault(&self, why: String) -> u32 {
        let mut times = 1;
        self.shared.change(|health| {
            health.state = State::Awake;
            let before = health.fault.as_ref().filter(|fault| fault.taken == health.taken);
            times = before.map_or(1, |fault| fault.times.saturating_add(1));
            health.fault = Some(Fault { taken: health.taken, why, times });
        });
        times
    }

    /// Follows the journal, from this mind on or from that of the checkpoint, until the service stops or something fails.
    fn live(&self, begin: Option<Checkpoint<M>>) -> Result<()> {
        let begin = match begin {
            Some(begin) => Some(begin),
            None => Checkpoint::load(&self.folder)?,
        };
        let mut now = begin.ok_or_else(|| {
            Error::format(
                &self.folder,
                "the checkpoint of the mind is gone; open the service again with `Service::rebuild`",
            )
        })?;
        self.shared.change(|health| health.taken = now.experiences);
        let mut reader = HistoryReader::open(self.folder.join(JOURNAL))?;
        loop {
            reader.refresh()?;
            if self.wake(&mut now, &mut reader)? {
                if !self.sleep(&mut now, &mut reader)? {
                    return Ok(());
                }
                self.took(now.experiences);
            } else if !self.shared.wait_for_more(now.experiences) {
                return Ok(());
            }
        }
    }

    /// Takes in what the reader sees, until the mind is tired: then yes.
    fn wake(&self, now: &mut Checkpoint<M>, reader: &mut HistoryReader) -> Result<bool> {
        for batch in reader.batches(now.experiences) {
            if self.shared.stopping() {
                return Ok(false);
            }
            let (first, fields) = batch?;
            let columns: Vec<&Tensor> = fields.iter().map(|(_, column)| column).collect();
            let rows = columns.first().and_then(|column| column.dims().first().copied()).unwrap_or(0);
            let tired = now.mind.experience(&columns)?;
            now.experiences = first + rows as u64;
            if tired {
                return Ok(true);
            }
            self.took(now.experiences);
        }
        Ok(false)
    }

    /// Whether it slept to the end; otherwise it was woken, and of what it did nothing is kept.
    fn sleep(&self, now: &mut Checkpoint<M>, reader: &mut HistoryReader) -> Result<bool> {
        self.shared.change(|health| health.state = State::Asleep);
        let woken = Cell::new(false);
        let wake = || {
            // Whoever waits to predict on this core goes first: without that, sleep has it until its slice of time is over.
            std::thread::yield_now();
            woken.set(woken.get() || self.shared.stopping());
            woken.get()
        };
        now.mind.sleep(&wake)?;
        if woken.get() {
            return Ok(false);
        }
        now.version += 1;
        let (version, experiences) = (now.version, now.experiences);
        let served = Arc::new(Served { version, experiences, model: now.mind.model()? });
        // On the disk first the experiences, then the mind that is made of them; then it is served. So no checkpoint is ahead of the
        // journal, and nothing that was ever served is taken back.
        reader.sync()?;
        now.save(&self.folder)?;
        self.shared.publish(served, reader)?;
        self.shared.change(|health| health.state = State::Awake);
        Ok(true)
    }

    fn took(&self, experiences: u64) {
        self.shared.change(|health| {
            health.taken = experiences;
            // It has got past what went wrong.
            health.fault.take_if(|fault| fault.taken < experiences);
        });
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
