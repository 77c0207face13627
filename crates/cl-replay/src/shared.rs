//! One memory, several threads.

use std::sync::{Arc, PoisonError, RwLock};

use cl_core::{Error, Result};

/// A memory that several threads use: one that writes, or several that draw at the same time.
///
/// **The rule**: whoever changes the memory has it alone, for the whole of the closure; whoever draws sees it
/// as it is between two changes. So an addition is seen wholly or not at all, and the rows, items, weights and
/// priorities of one sample are of one moment. They are copies: nothing that is done later changes them.
///
/// There is no thread in it and no queue. Who comes when is up to the system, so what is drawn while somebody
/// writes is not the same in every run; but each thread draws with its own generator (`sample_with`), and one
/// that draws while nobody writes draws the same, however many others do. A sample that is drawn with the
/// memory's own generator (`sample`) is a change of the memory.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_replay::{Draw, Field, Items, Schema, Shared};
///
/// # fn main() -> cl_core::Result<()> {
/// let schema = Schema::new([Field::new("x", DType::F32, [2])])?;
/// let memory = Shared::new(Items::new(schema, 100, cl_core::rng(0, "memory"))?);
/// memory.write(|items| items.add(&[("x", &Tensor::zeros((5, 2), DType::F32, &Device::Cpu)?)]))?;
/// let sampler = memory.clone(); // the same memory
/// let thread = std::thread::spawn(move || {
///     let mut rng = cl_core::rng(0, "sampler 1");
///     sampler.read(|items| items.sample_with(32, Draw::WithReplacement, &mut rng))
/// });
/// let sample = thread.join().expect("it does not panic")?;
/// assert_eq!(sample.get("x")?.dims(), [32, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Shared<M>(Arc<RwLock<M>>);

impl<M> Clone for Shared<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Shared<M> {
    /// Shares a memory, or whatever has one.
    pub fn new(memory: M) -> Self {
        Self(Arc::new(RwLock::new(memory)))
    }

    /// Changes the memory, as the only one who has it: adds, sets priorities, flushes. It must not use the same
    /// memory through another handle. Of a memory on a GPU the change is only begun when the closure returns, and every thread has
    /// an order of its own there: end it with `device.synchronize()`.
    ///
    /// # Errors
    /// That of the closure; [`Error::Invalid`] where another thread panicked while it changed the memory, which
    /// may then be half changed.
    pub fn write<R>(&self, change: impl FnOnce(&mut M) -> Result<R>) -> Result<R> {
        change(&mut *self.0.write().map_err(half_changed)?)
    }

    /// Draws from the memory, or looks at it, while nobody changes it.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn read<R>(&self, look: impl FnOnce(&M) -> Result<R>) -> Result<R> {
        look(&*self.0.read().map_err(half_changed)?)
    }
}

fn half_changed<T>(_: PoisonError<T>) -> Error {
    Error::invalid("shared memory", "a thread panicked while it changed it: restore it from what was saved")
}
