//! What the sleeper shares with those who predict and experience.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use candle_core::Tensor;
use cl_core::{Error, Result};
use cl_replay::{History, HistoryReader};

use super::{Awake, Durability, Fault, Health, Mind, Served};
use crate::State;

/// While the journal's lock is held others are taken, while others are held none.
pub(super) struct Shared<M: Mind> {
    journal: Mutex<History>,
    durability: Durability,
    health: Mutex<Health>,
    changed: Condvar,
    stopping: AtomicBool,
    /// Held as long as it takes to clone the pointer, or to put another there.
    served: RwLock<Arc<Served<M::Model>>>,
}

impl<M: Mind> Shared<M> {
    pub(super) fn new(
        journal: History,
        served: Arc<Served<M::Model>>,
        durability: Durability,
        acknowledged: u64,
    ) -> Self {
        let (version, taken) = (served.version, served.experiences);
        let health = Health { state: State::Awake, version, acknowledged, taken, fault: None };
        Self {
            journal: Mutex::new(journal),
            durability,
            health: Mutex::new(health),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
            served: RwLock::new(served),
        }
    }

    pub(super) fn model(&self) -> Arc<Served<M::Model>> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn experience(&self, batch: &[(&str, &Tensor)], columns: &[&Tensor]) -> Result<Range<u64>> {
        let mut journal = lock(&self.journal);
        let times = journal.append(batch)?;
        // It is in the journal, and the mind will come to it, whatever the disk says.
        let synced = match self.durability {
            Durability::Process => Ok(()),
            Durability::Machine => journal.sync(),
        };
        self.change(|health| health.acknowledged = times.end);
        // No new model comes while the journal is held: this one, or the next, is told; never both, never none.
        let served = self.model();
        if let Some(awake) = M::awake(&served.model) {
            self.tell(awake, columns, times.start);
        }
        synced.map(|()| times)
    }

    /// Serves a model, once it was told everything that it has not slept over.
    pub(super) fn publish(&self, served: Arc<Served<M::Model>>, reader: &mut HistoryReader) -> Result<()> {
        if let Some(awake) = M::awake(&served.model) {
            // Most of it while others go on, and what has come in the meantime while they wait.
            let told = self.tell_all(awake, reader, served.experiences)?;
            let _journal = lock(&self.journal);
            self.tell_all(awake, reader, told)?;
            self.serve(served);
        } else {
            self.serve(served);
        }
        Ok(())
    }

    fn serve(&self, served: Arc<Served<M::Model>>) {
        let version = served.version;
        let before = {
            let mut place = self.served.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *place, served)
        };
        // Where nobody predicts with it any more it goes here, and not while the lock is held.
        drop(before);
        self.change(|health| health.version = version);
    }

    fn tell_all(&self, awake: &dyn Awake, reader: &mut HistoryReader, from: u64) -> Result<u64> {
        let end = reader.refresh()?.end;
        for batch in reader.batches(from) {
            let (first, fields) = batch?;
            let columns: Vec<&Tensor> = fields.iter().map(|(_, column)| column).collect();
            self.tell(awake, &columns, first);
        }
        Ok(end)
    }

    fn tell(&self, awake: &dyn Awake, columns: &[&Tensor], first: u64) {
        if let Err(error) = awake.experience(columns) {
            let why = format!("the awake model did not learn experience {first}: {error}");
            self.change(|health| _ = health.fault.get_or_insert(Fault { taken: first, why, times: 1 }));
        }
    }

    pub(super) fn health(&self) -> Health {
        lock(&self.health).clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Health)) {
        change(&mut lock(&self.health));
        self.changed.notify_all();
    }

    pub(super) fn wait_until(
        &self,
        timeout: Duration,
        mut condition: impl FnMut(&Health) -> bool,
    ) -> Result<Health> {
        let health = lock(&self.health);
        let (health, waited) = self
            .changed
            .wait_timeout_while(health, timeout, |health| !condition(health))
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            let why = format!("it was not so within {timeout:?}: {:?}", *health);
            return Err(Error::Unavailable { what: "what was waited for".to_owned(), why });
        }
        Ok(health.clone())
    }

    /// For the sleeper: waits until there is more than this; tells whether it is to go on.
    pub(super) fn wait_for_more(&self, taken: u64) -> bool {
        let health = lock(&self.health);
        let wait = |health: &mut Health| health.acknowledged <= taken && !self.stopping();
        drop(self.changed.wait_while(health, wait));
        !self.stopping()
    }

    /// For the sleeper: waits so long; tells whether it is to go on.
    pub(super) fn rest(&self, time: Duration) -> bool {
        drop(self.changed.wait_timeout_while(lock(&self.health), time, |_| !self.stopping()));
        !self.stopping()
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn stop(&self) {
        // With the lock, or one who is about to wait would miss it.
        self.change(|_| self.stopping.store(true, Ordering::Release));
    }
}

/// A panic of somebody who had the lock leaves what is behind it whole: nothing in between can fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
